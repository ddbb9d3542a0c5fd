//! The agent spoken to as git-lfs does, with a server that is a store in the same process.

mod alone;
mod remote;
mod scenes;
mod talk;

use std::fs;
use std::path::PathBuf;

use mega_storage::{FileId, Pointer};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::remote::StoreRemote;
use super::*;
use crate::lfs::LocalObjects;

/// One user's repository, as far as git-lfs's files go.
struct Clone {
    dir: TempDir,
}

impl Clone {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, id: &FileId) -> PathBuf {
        LocalObjects::path_in(self.dir.path(), id)
    }

    /// Puts a file where git-lfs keeps it.
    fn add(&self, content: &[u8]) -> Pointer {
        let pointer = Pointer { file: file_id(content), len: content.len() as u64 };
        let path = self.path(&pointer.file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content).expect("written");
        pointer
    }

    /// Runs the agent on these lines; returns what it said.
    fn talk(&self, remote: &dyn Remote, lines: &[Value], earlier: &Earlier<'_>) -> Vec<Value> {
        let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut output = Vec::new();
        let lfs_dir = self.dir.path().to_owned();
        let agent = Agent { lfs_dir, earlier, remote };
        run(&agent, &no_peer, &mut input.as_bytes(), &mut output).expect("a conversation");
        let lines = output.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
    }

    /// Sends one file; returns the last thing said of it.
    fn upload(&self, remote: &dyn Remote, pointer: &Pointer) -> Value {
        let said = self.talk(remote, &[init("upload"), self.upload_line(pointer)], &no_history);
        check_progress(&said, pointer)
    }

    fn upload_line(&self, pointer: &Pointer) -> Value {
        json!({
            "event": "upload", "oid": pointer.file.to_string(), "size": pointer.len,
            "path": self.path(&pointer.file), "action": action(pointer),
        })
    }

    /// Fetches one file as git-lfs does, which moves it to its place.
    fn download(&self, remote: &dyn Remote, pointer: &Pointer) -> Value {
        let said = self.talk(remote, &[init("download"), download_line(pointer)], &no_history);
        let end = check_progress(&said, pointer);
        if let Some(path) = end["path"].as_str() {
            let place = self.path(&pointer.file);
            fs::create_dir_all(place.parent().expect("a parent")).expect("made");
            fs::rename(path, place).expect("moved");
        }
        end
    }
}

fn download_line(pointer: &Pointer) -> Value {
    json!({
        "event": "download", "oid": pointer.file.to_string(), "size": pointer.len,
        "action": action(pointer),
    })
}

fn init(operation: &str) -> Value {
    json!({
        "event": "init", "operation": operation, "remote": "origin", "concurrent": true,
        "concurrenttransfers": 3,
    })
}

fn action(pointer: &Pointer) -> Value {
    let href = format!("http://h/a.git/info/lfs/mega/v1/objects/{}", pointer.file);
    json!({"href": href, "header": {"Authorization": "Basic x"}, "expires_in": 60})
}

/// There is no remote but the server.
fn no_peer(name: &str, _: Operation) -> Result<Box<dyn Remote>, LfsError> {
    Err(LfsError::Answer { host: name.to_owned(), reason: "it has no server".to_owned() })
}

fn no_history(_: &Pointer) -> Vec<FileId> {
    Vec::new()
}

/// The progress adds up, and to the whole when it went well; returns the last thing said.
fn check_progress(said: &[Value], pointer: &Pointer) -> Value {
    assert_eq!(said[0], json!({}), "the answer to init");
    let mut so_far = 0;
    for event in &said[1..said.len() - 1] {
        assert_eq!(event["event"], "progress");
        so_far += event["bytesSinceLast"].as_u64().expect("a number");
        assert_eq!(event["bytesSoFar"].as_u64(), Some(so_far));
    }
    let end = said.last().expect("an end");
    assert_eq!(
        (&end["event"], &end["oid"]),
        (&json!("complete"), &json!(pointer.file.to_string()))
    );
    if end.get("error").is_none() {
        assert_eq!(so_far, pointer.len);
    }
    end.clone()
}

fn is_well(end: &Value) -> bool {
    end.get("error").is_none()
}

fn file_id(content: &[u8]) -> FileId {
    use sha2::{Digest, Sha256};
    FileId::from_bytes(Sha256::digest(content).into())
}

/// Bytes that do not repeat; the same for the same seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    crate::lfs::server::noise(len, seed)
}
