//! `cargo x tree`: a directory of small source files, for comparisons of mounts with file systems.

use std::fs;
use std::path::Path;

use super::{named, text};
use crate::args::Args;
use crate::random::Random;

/// Files in one folder.
const FOLDER_FILES: usize = 100;
/// Folders in one folder.
const GROUP_FOLDERS: usize = 25;

/// Runs `cargo x tree`.
///
/// # Errors
/// Wrong arguments, or a folder that cannot be written.
pub fn run(mut args: Args) -> Result<(), String> {
    let file_count = args.option("--files")?.unwrap_or(50_000);
    let seed = args.option("--seed")?.unwrap_or(1);
    let out = args.required("OUT")?;
    args.finish()?;
    write(Path::new(&out), file_count, seed)
}

/// Writes `file_count` files below `out`, a hundred a folder, folders three deep.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &Path, file_count: usize, seed: u64) -> Result<(), String> {
    for folder_index in 0..file_count.div_ceil(FOLDER_FILES) {
        let mut random = Random::labelled(seed, &format!("folder {folder_index}"));
        let group_index = folder_index / GROUP_FOLDERS;
        let mut group = Random::labelled(seed, &format!("group {group_index}"));
        let group = format!("{}{group_index}", text::word(&mut group));
        let name = format!("{}{folder_index}", text::word(&mut random));
        let folder = out.join("src").join(group).join(name);
        fs::create_dir_all(&folder).map_err(named(&folder))?;
        let left = file_count - folder_index * FOLDER_FILES;
        for file_index in 0..left.min(FOLDER_FILES) {
            let path = folder.join(format!("{}_{file_index}.rs", text::word(&mut random)));
            let line_count = text::line_count(&mut random);
            fs::write(&path, text::file(&mut random, line_count)).map_err(named(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_written() {
        let out = std::env::temp_dir().join(format!("mega-tree-{}", std::process::id()));
        write(&out, 250, 3).expect("written");
        let (mut file_count, mut folders) = (0, vec![out.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("listed").map(|entry| entry.expect("read")) {
                if entry.file_type().expect("known").is_dir() {
                    folders.push(entry.path());
                } else {
                    file_count += 1;
                }
            }
        }
        fs::remove_dir_all(&out).expect("removed");
        assert_eq!(file_count, 250);
    }
}
