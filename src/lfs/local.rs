//! LFS content in the directories of git repositories: `<lfs>/objects/aa/bb/<oid>`.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use mega_storage::{FileId, Pointer};

use super::LfsError;

/// Directories in which git-lfs keeps objects, the nearest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LocalObjects {
    dirs: Vec<PathBuf>,
}

impl LocalObjects {
    /// Looks in these `lfs` directories (the parents of `objects`), in this order.
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    /// Where git-lfs keeps the object in the directory `lfs`.
    pub fn path_in(lfs: &std::path::Path, id: &FileId) -> PathBuf {
        let hex = id.to_string();
        lfs.join("objects").join(&hex[..2]).join(&hex[2..4]).join(hex)
    }

    /// Opens the content that `pointer` names, if a directory has a file of that name and length.
    ///
    /// # Errors
    /// When a file is there but cannot be opened.
    pub fn open(&self, pointer: &Pointer) -> Result<Option<File>, LfsError> {
        for dir in &self.dirs {
            let path = Self::path_in(dir, &pointer.file);
            let error =
                |e| LfsError::Io { action: format!("opening {}", path.display()), source: e };
            match File::open(&path) {
                Ok(file) => {
                    let facts = file.metadata().map_err(error)?;
                    if facts.is_file() && facts.len() == pointer.len {
                        return Ok(Some(file));
                    }
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(e) => return Err(error(e)),
            }
        }
        Ok(None)
    }
}
