//! `cargo x flips`: a bit of a file of the store changes while nobody has it open. `verify` names
//! what is damaged and who needs it, or there is nothing to name; what is read is right or
//! refused, never other bytes; and a second store, or a backup, brings all of it back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use super::Plan;
use super::load::{Counts, Repo, Server, Site};
use super::subject::{copy_store, text};
use crate::args::Args;
use crate::random::Random;

const NAME: &str = "team/model";
/// Changes that are acknowledged before the bits change.
const STEP_COUNT: usize = 40;
/// Seconds that one command may take.
const PATIENCE: &str = "120";
/// What the program makes anew, or nobody reads: the reserve, words, and whose store it is.
const NOT_CONTENT: [&str; 5] = ["ballast", "log", "tmp", "owner", "control.sock"];

/// What came of the rounds.
#[derive(Default)]
struct Ends {
    /// Nothing that is read was changed.
    harmless: u64,
    /// All that was damaged was mended.
    mended: u64,
    /// Content was mended; a file of the database stays damaged, and is named.
    named: u64,
    /// The store did not open, and said what to do.
    refused: u64,
}

/// What `verify` said.
struct Answer {
    code: i32,
    said: String,
    complaint: String,
}

/// What reading everything came to. Other bytes than were written are an error of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Right,
    Refused,
}

struct Scene {
    site: Site,
    repo: Repo,
    /// The store before anything was changed.
    sound: PathBuf,
    backups: PathBuf,
}

/// Runs `cargo x flips`.
///
/// # Errors
/// Wrong arguments, or the first round that failed, with the bit that was changed.
pub fn run(args: Args) -> Result<(), String> {
    let plan = Plan::read(args, "flips", 300)?;
    let mut random = Random::labelled(plan.seed, "flips");
    let scene = Scene::new(&plan, &mut random)?;
    let second = Site::new(&plan.program, &plan.folder.join("second"))?;
    copy_store(&scene.sound, &second.store)?;
    let server = Server::start(&second)?;
    let url = scene.repo.url(&server);
    let mut ends = Ends::default();
    for round in 0..plan.rounds {
        copy_store(&scene.sound, &scene.site.store)?;
        let files = contents(&scene.site.store)?;
        let path = &files[random.below(files.len())];
        let (at, len) = flip(path, &mut random)?;
        let name = path.strip_prefix(&scene.site.store).unwrap_or(path).display();
        let place = format!("round {round}: byte {at} of {len} of {name}");
        let from = if random.once_in(2) { url.clone() } else { shown(&scene.backups) };
        let end = scene.round(&from, &mut ends).map_err(|e| format!("{place}: {e}"))?;
        println!("{place}: {end}");
    }
    server.kill()?;
    plan.clean()?;
    let Ends { harmless, mended, named, refused } = ends;
    println!(
        "flips: {} rounds: {mended} mended, {named} named and restored, {refused} refused and \
         restored, {harmless} where nothing is read, 0 failed",
        plan.rounds
    );
    Ok(())
}

impl Scene {
    /// A store with acknowledged work, settled on the disk, and a backup of it.
    fn new(plan: &Plan, random: &mut Random) -> Result<Self, String> {
        let site = Site::new(&plan.program, &plan.folder.join("first"))?;
        site.mega(&["init"])?;
        fs::create_dir_all(site.folder.join("team")).map_err(|e| e.to_string())?;
        let mut repo = Repo::new(&site, NAME)?;
        let server = Server::start(&site)?;
        let (is_over, mut counts) = (AtomicBool::new(false), Counts::default());
        for _ in 0..STEP_COUNT {
            repo.step(&site, &server, random, &is_over, &mut counts)?;
        }
        server.end()?;
        site.mega(&["gc", "--grace", "0"])?;
        site.mega(&["debug", "compact"])?;
        let backups = plan.folder.join("backups");
        site.mega(&["backup", "create", &shown(&backups)])?;
        let sound = plan.folder.join("sound");
        fs::rename(&site.store, &sound).map_err(|e| e.to_string())?;
        let scene = Self { site, repo, sound, backups };
        copy_store(&scene.sound, &scene.site.store)?;
        match (scene.verify(&[])?.code, scene.read_all()?) {
            (0, Reading::Right) => Ok(scene),
            _ => Err("the store is damaged before anything was changed".to_owned()),
        }
    }

    fn round(&self, from: &str, ends: &mut Ends) -> Result<String, String> {
        let found = self.verify(&[])?;
        let Some(damages) = damages(&found) else {
            if found.code == 0 || !found.complaint.contains("backup restore") {
                let Answer { code, complaint, .. } = found;
                return Err(format!("it ended with {code}, and does not say why: {complaint}"));
            }
            self.restore()?;
            ends.refused += 1;
            let reason = found.complaint.lines().next().unwrap_or_default().to_owned();
            return Ok(format!("refused ({reason}), restored"));
        };
        let reading = self.read_all()?;
        if found.code == 0 {
            if reading == Reading::Refused {
                return Err("something cannot be read, and verify found no damage".to_owned());
            }
            ends.harmless += 1;
            return Ok("nothing is read there".to_owned());
        }
        if let Some(nameless) = damages.iter().find(|damage| !is_named(damage)) {
            return Err(format!("nobody knows who needs it: {nameless:?}"));
        }
        let count = damages.len();
        let mended = self.verify(&["--repair", "--from", from])?;
        if mended.code == 0 {
            let again = self.verify(&[])?;
            if again.code != 0 || self.read_all()? == Reading::Refused {
                return Err(format!("mended, and yet: {}{}", again.said, again.complaint));
            }
            ends.mended += 1;
            return Ok(format!("{count} named, mended from {from}"));
        }
        for damage in self::damages(&mended).unwrap_or_default() {
            let is_open = damage.iter().any(|line| line.starts_with("    not mended"));
            if is_open && !damage[0].starts_with("row") {
                return Err(format!("a sound copy is there, and yet: {damage:?}"));
            }
        }
        self.read_all()?;
        self.restore()?;
        ends.named += 1;
        Ok(format!("{count} named, content mended from {from}, restored"))
    }

    /// `verify`, which must end by itself.
    fn verify(&self, more: &[&str]) -> Result<Answer, String> {
        let mut command = self.site.command(Path::new("timeout"));
        command.arg(PATIENCE).arg(&self.site.program).arg("--store").arg(&self.site.store);
        let output = command.arg("verify").args(more).output().map_err(|e| e.to_string())?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(code @ (0 | 1)) if !complaint.contains("panicked") => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                Ok(Answer { code, said, complaint })
            }
            _ => Err(format!("verify ended with {}: {complaint}", output.status)),
        }
    }

    /// Reads every branch through a mount and all of it as an export.
    fn read_all(&self) -> Result<Reading, String> {
        let mut reading = self.read_export()?;
        for id in self.repo.refs.values() {
            if self.read_mount(id)? == Reading::Refused {
                reading = Reading::Refused;
            }
        }
        Ok(reading)
    }

    fn read_export(&self) -> Result<Reading, String> {
        let copy = self.site.folder.join("export");
        if copy.exists() {
            fs::remove_dir_all(&copy).map_err(|e| format!("{}: {e}", copy.display()))?;
        }
        if self.site.mega(&["export", NAME, &shown(&copy), "--lfs"]).is_err() {
            return Ok(Reading::Refused);
        }
        self.site.git(&copy, &["fsck", "--full", "--strict"])?;
        for (branch, id) in &self.repo.refs {
            let is = self.site.git(&copy, &["rev-parse", &format!("refs/heads/{branch}")])?;
            if is.trim() != id {
                return Err(format!("the export's {branch} is {is}, not {id}"));
            }
        }
        let objects = shown(&copy.join("lfs/objects"));
        let files = "find \"$0\" -type f -print0 | xargs -0 -r sha256sum";
        for line in text(Command::new("sh").args(["-c", files, &objects]))?.lines() {
            let (sum, path) = line.split_once("  ").unwrap_or((line, ""));
            if !path.ends_with(sum) {
                return Err(format!("wrong bytes in an export: {line}"));
            }
        }
        Ok(Reading::Right)
    }

    fn read_mount(&self, id: &str) -> Result<Reading, String> {
        let folder = self.site.folder.join("mount");
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        self.site.git(&self.repo.work, &["checkout", "-q", "-f", id])?;
        let (place, path) = (format!("{NAME}@{id}"), shown(&folder));
        if self.site.mega(&["mount", &place, &path]).is_err() {
            return Ok(Reading::Refused);
        }
        let mut reading = Reading::Right;
        let compared = compare(&self.repo.work, &folder, &mut reading);
        self.site.mega(&["unmount", &path])?;
        // Its process has the store for a moment longer.
        text(Command::new("flock").arg(self.site.store.join("owner")).arg("true"))?;
        compared.map(|()| reading)
    }

    /// Makes the store anew from the backup, and reads it.
    fn restore(&self) -> Result<(), String> {
        let store = &self.site.store;
        fs::remove_dir_all(store).map_err(|e| format!("{}: {e}", store.display()))?;
        self.site.mega(&["backup", "restore", &shown(&self.backups), &shown(store)])?;
        match self.read_all()? {
            Reading::Right => Ok(()),
            Reading::Refused => Err("what was restored cannot be read".to_owned()),
        }
    }
}

/// What was listed as damaged, each with its lines; `None` when nothing was verified.
fn damages(answer: &Answer) -> Option<Vec<Vec<&str>>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    for line in answer.said.lines() {
        if line.starts_with("verified") {
            return Some(all);
        }
        match all.last_mut() {
            Some(damage) if line.starts_with("    ") => damage.push(line),
            _ => all.push(vec![line]),
        }
    }
    None
}

/// Content is named with who needs it, everything else with its place.
fn is_named(damage: &[&str]) -> bool {
    let is_content = ["object", "chunk", "file"].iter().any(|kind| damage[0].starts_with(kind));
    !is_content || damage.iter().any(|line| line.starts_with("    needed by "))
}

/// Changes one bit; at which byte, of how many.
fn flip(path: &Path, random: &mut Random) -> Result<(usize, usize), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = fs::read(path).map_err(failed)?;
    let at = random.below(bytes.len());
    bytes[at] ^= 1 << random.below(8);
    fs::write(path, &bytes).map_err(failed)?;
    Ok((at, bytes.len()))
}

/// The files of a store that say something, in order.
fn contents(store: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut files, mut folders) = (Vec::new(), vec![store.to_owned()]);
    while let Some(folder) = folders.pop() {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            let is_content = NOT_CONTENT.iter().all(|name| entry.file_name() != *name);
            if kind.is_dir() && is_content {
                folders.push(path);
            } else if kind.is_file() && is_content && entry.metadata().map_err(failed)?.len() > 0 {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Compares what both have, file by file.
fn compare(work: &Path, mount: &Path, reading: &mut Reading) -> Result<(), String> {
    for entry in fs::read_dir(work).map_err(|e| format!("{}: {e}", work.display()))? {
        let entry = entry.map_err(|e| e.to_string())?;
        if entry.file_name() == ".git" {
            continue;
        }
        let truth = fs::read(entry.path()).map_err(|e| format!("{}: {e}", work.display()))?;
        match fs::read(mount.join(entry.file_name())) {
            Ok(bytes) if bytes == truth => {}
            Ok(_) => return Err(format!("wrong bytes in a mount: {:?}", entry.file_name())),
            Err(_) => *reading = Reading::Refused,
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
