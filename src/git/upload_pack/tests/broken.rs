//! Transfers that break: from this end they look broken, from the other they cost nothing more.

use std::io;
use std::sync::Arc;

use super::*;

/// Takes so many bytes, then fails for good.
struct Brittle {
    left: usize,
    writes_after: usize,
}

impl Write for Brittle {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.writes_after += 1;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = data.len().min(self.left);
        self.left -= len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_goes_away_is_noticed_wherever_it_is() {
    let world = World::with_history(600, 9);
    let main = world.id("main");
    let fetch = command("fetch", &[format!("want {main}"), "done".into()]);
    let (whole, _) = world.serve(Protocol::V2, &fetch);
    let settings = world.settings();
    let service = world.service(Protocol::V2, &settings);
    for left in (0..whole.len() - 1).step_by(whole.len() / 50) {
        let mut out = Brittle { left, writes_after: 0 };
        let served = serve(&service, &mut Cursor::new(&fetch), &mut out);
        assert!(matches!(served, Err(GitError::ClientGone(_))), "{left}: {served:?}");
        assert!(out.writes_after <= 2, "{left}: it was written to {} times", out.writes_after);
    }
}

#[test]
fn what_fails_inside_a_pack_is_told_and_has_no_end() {
    let world = World::with_history(600, 10);
    let main = world.id("main");
    let fetch = command("fetch", &[format!("want {main}"), "deepen 9".into(), "done".into()]);
    let (_, report) = world.serve(Protocol::V2, &fetch);
    assert!(report.expect("sent").object_count > Some(20));
    let mut broken_count = 0;
    for patience in 0..40 {
        world.patience.store(patience, Ordering::Relaxed);
        let (out, served) = world.serve(Protocol::V2, &fetch);
        let told = answer(&out);
        let Err(error) = served else { break };
        assert!(matches!(error, GitError::Store(mega_storage::StoreError::Interrupted)));
        if told.lines.is_empty() {
            continue;
        }
        broken_count += 1;
        assert!(!told.is_ended && told.error.is_some(), "{patience}: {told:?}");
        // Without sidebands there is nothing but an end too early.
        world.patience.store(patience, Ordering::Relaxed);
        let plain = request(&[format!("want {main}"), FLUSH.into(), "done".into()]);
        let (out, served) = world.serve(Protocol::V0, &plain);
        let told = answer(&out);
        assert!(served.is_err() && told.lines.iter().all(|line| line == "NAK\n"));
    }
    assert!(broken_count > 0);
}

#[test]
fn what_fails_before_the_answer_leaves_nothing_written() {
    let world = World::with_history(600, 10);
    let tree = world.id("main~3^{tree}");
    world.patience.store(0, Ordering::Relaxed);
    let fetch = command("fetch", &[format!("want {tree}"), "done".into()]);
    let (out, served) = world.serve(Protocol::V2, &fetch);
    assert!(out.is_empty() && matches!(served, Err(GitError::Store(_))), "{served:?}");
}

#[test]
fn real_git_sees_that_a_transfer_broke() {
    let world = Arc::new(World::with_history(600, 10));
    let url = bridge::start(&world);
    let dir = tempfile::tempdir().expect("a directory");
    for version in 0..3 {
        world.patience.store(0, Ordering::Relaxed);
        let output = git_command()
            .args(["-c", &format!("protocol.version={version}"), "clone", "-q", &url, "c"])
            .current_dir(dir.path())
            .output()
            .expect("git");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains("the server is stopping"), "{words}");
        assert!(!dir.path().join("c").exists(), "git takes it back");
    }
}

#[test]
fn a_thin_pack_leaves_out_what_the_client_has() {
    let world = World::with_history(900, 12);
    let text: String = (0..4000).map(|line| format!("line {line} of a long file\n")).collect();
    std::fs::write(world.git_dir().join("long"), &text).expect("written");
    world.git(&["add", "long"]);
    world.git(&["commit", "-q", "-m", "long"]);
    let old = world.id("HEAD");
    world.sync();
    // The new version comes as a delta of the old, as from a push.
    std::fs::write(world.git_dir().join("long"), format!("{text}one more\n")).expect("written");
    world.git(&["commit", "-q", "-a", "-m", "longer"]);
    let new = world.id("HEAD");
    let thin = git_pack(&world, &["--thin"], &format!("{new}\n^{old}\n"));
    let input = PackInput::Stream(&mut &thin[..]);
    let options = IngestOptions::default();
    world.store.objects().ingest_pack(world.repo.id, input, &options, &NoProgress).expect("taken");
    world.sync();
    let fetch = |word: &str| {
        let lines = [format!("want {new}"), format!("have {old}"), "done".into(), word.to_owned()];
        let lines: Vec<&String> = lines.iter().filter(|line| !line.is_empty()).collect();
        answer(&world.serve(Protocol::V2, &command("fetch", &lines)).0).pack
    };
    let (thin, whole) = (fetch("thin-pack"), fetch(""));
    let (completed, sent) = (world.pack_ids(&thin), world.pack_ids(&whole));
    assert!(completed.is_superset(&sent) && completed.len() > sent.len(), "bases are left out");
    assert!(thin.len() * 4 < whole.len(), "{} of {}", thin.len(), whole.len());
}

fn git_pack(world: &World, args: &[&str], revisions: &str) -> Vec<u8> {
    let mut git = git_command();
    git.arg("-C").arg(world.git_dir());
    git.args(["pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset"]).args(args);
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git");
    child.stdin.take().expect("a pipe").write_all(revisions.as_bytes()).expect("written");
    child.wait_with_output().expect("ended").stdout
}
