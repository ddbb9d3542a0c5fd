//! Remotes that have no server: the agent speaks with a peer over streams.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::lfs::pieces::{BROKEN, GOOD};
use crate::lfs::server::serve;

/// What the other end of a stream does.
type Behave<'a> = dyn Fn(&UnixStream) + Sync + 'a;

impl Clone {
    /// Has git-lfs send or fetch one file of the remote `p`, whose streams end at `behave`; the
    /// last that was said, and the streams that were opened.
    fn alone(&self, operation: &str, pointer: &Pointer, behave: &Behave<'_>) -> (Value, u64) {
        let mut line = match operation {
            "upload" => self.upload_line(pointer),
            _ => download_line(pointer),
        };
        line["action"] = json!(null);
        let input = format!("{}\n{line}\n", init(operation));
        let (mut output, opened) = (Vec::new(), AtomicU64::new(0));
        let remote = StoreRemote::new();
        thread::scope(|scope| {
            let connect = |url: &str| {
                assert_eq!(url, "p2p://p");
                opened.fetch_add(1, Ordering::Relaxed);
                let (ours, theirs) = UnixStream::pair()?;
                scope.spawn(move || behave(&theirs));
                Ok(ours)
            };
            let alone = |name: &str, _| -> Result<Box<dyn Remote + '_>, LfsError> {
                assert_eq!(name, "origin");
                Ok(Box::new(StreamRemote::new("p2p://p".to_owned(), &connect)))
            };
            let lfs_dir = self.dir.path().to_owned();
            let agent = Agent { lfs_dir, earlier: &no_history, remote: &remote };
            run(&agent, &alone, &mut input.as_bytes(), &mut output).expect("a conversation");
        });
        let mut lines = output.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let last = lines.next_back().expect("an answer");
        (serde_json::from_slice(last).expect("JSON"), opened.into_inner())
    }
}

#[test]
fn files_go_to_a_peer_and_come_back_though_streams_end() {
    let peer = StoreRemote::new();
    let ours = Clone::new();
    // Enough for the first request on a stream, not for all of them.
    let behave = |mut stream: &UnixStream| {
        let mut input = io::BufReader::new(stream).take(5 << 20);
        let _ = serve(&peer.context(), &mut input, &mut stream, &|_| ());
    };
    let content = noise(30 << 20, 5);
    let large = ours.add(&content);
    let (end, opened) = ours.alone("upload", &large, &behave);
    assert!(is_well(&end), "{end}");
    assert!(opened > 5, "{opened} streams");
    // A file that is there is not sent again.
    let (end, opened) = ours.alone("upload", &large, &behave);
    assert!(is_well(&end) && opened == 1, "{end}, {opened} streams");
    for few in [ours.add(b"little"), ours.add(b"")] {
        assert!(is_well(&ours.alone("upload", &few, &behave).0));
        assert!(peer.has(&few.file));
    }
    let theirs = Clone::new();
    let (end, opened) = theirs.alone("download", &large, &behave);
    let path = end["path"].as_str().unwrap_or_else(|| panic!("{end}"));
    assert!(fs::read(path).expect("there") == content);
    assert_eq!(opened, 1, "streams for small questions");
    let absent = Pointer { file: file_id(b"absent"), len: 6 };
    let (end, _) = theirs.alone("download", &absent, &behave);
    assert_eq!(end["error"]["code"], json!(404), "{end}");
}

#[test]
fn a_peer_that_speaks_nonsense_or_breaks_off_is_an_error() {
    let long = Pointer { file: file_id(b"x"), len: 3 << 20 };
    let answers: [(&[u8], &str); 5] = [
        (b"", "broke off"),
        (&[0xff, 0xff, 0, 0, 0, 0], "HTTP 65535"),
        (&[0, 200, 0, 0, 0, 0], "broke off"),
        (&[0, 200, 0, 1, 0, 1, 9], "too long"),
        (&[0, 200, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0], "too long"),
    ];
    assert_eq!((GOOD, BROKEN), (200, u32::MAX), "as the answers have them");
    for (answer, expected) in answers {
        let behave = |mut stream: &UnixStream| {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(answer);
        };
        let (end, _) = Clone::new().alone("download", &long, &behave);
        let message = end["error"]["message"].as_str().unwrap_or_else(|| panic!("{end}"));
        assert!(message.contains(expected), "{answer:?}: {message}");
    }
    let refused = |url: &str| -> io::Result<UnixStream> { Err(io::Error::other(url.to_owned())) };
    let gone = StreamRemote::new("p2p://p".to_owned(), &refused);
    let target = Target { href: long.file.to_string(), header: Default::default() };
    assert!(matches!(gone.chunks(&target), Err(LfsError::Network { .. })));
}
