//! The lock that says which process has a store open.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Result, StoreError};

/// The exclusive lock of a store's file `owner`, until it is dropped.
pub(crate) struct OwnerLock(File);

impl OwnerLock {
    /// Takes the lock of the store in `path` and writes this process into the file.
    ///
    /// # Errors
    /// [`StoreError::Held`] naming the owner.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let owner_path = path.join("owner");
        let action = || format!("opening {}", owner_path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let opened = match options.open(&owner_path) {
            // It can be locked all the same, by those who read.
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&owner_path),
            opened => opened,
        };
        let mut owner = opened.map_err(|e| StoreError::io(action(), e))?;
        if let Err(error) = flock(&owner, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                let action = format!("locking {}", owner_path.display());
                return Err(StoreError::io(action, error.into()));
            }
            let mut holder = String::new();
            let _ = owner.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                text => text.to_owned(),
            };
            return Err(StoreError::Held { path: path.to_owned(), holder });
        }
        let args: Vec<String> =
            std::env::args_os().map(|a| a.to_string_lossy().into_owned()).take(4).collect();
        let line = format!("process {} ({})\n", std::process::id(), args.join(" "));
        let _ = owner.set_len(0);
        // Only a help for whoever is refused: a full disk must not keep the store closed.
        let _ = owner.write_all(line.as_bytes());
        Ok(Self(owner))
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // Closing alone leaves it locked for as long as a process that is just being started has a
        // copy of the descriptor.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_goes_though_a_copy_of_the_descriptor_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = OwnerLock::take(dir.path()).expect("free");
        assert!(matches!(OwnerLock::take(dir.path()), Err(StoreError::Held { .. })));
        let copy = lock.0.try_clone().expect("a copy");
        drop(lock);
        drop(OwnerLock::take(dir.path()).expect("free again"));
        drop(copy);
    }
}
