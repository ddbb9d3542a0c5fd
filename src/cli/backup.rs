//! `backup`: a store kept a second time, elsewhere.

use std::path::{Path, PathBuf};

use mega_storage::{BackupInfo, BackupReport, Backups};

use super::absolute;
use super::output::{Done, Output, count, name, size};
use super::reach::{self, Context};
use super::run::exit_of;
use crate::control::{Exit, OsText, Request};
use crate::node::{Node, NodeError};

/// Keep the store a second time, elsewhere
///
/// A directory of backups has any number of them; what they share is there once, and a new one
/// copies only what is new. Each is the whole store at one moment: repositories, LFS content,
/// settings, tokens (their hashes), and the key that makes it the peer that it is: keep the
/// directory as safe as the store. It belongs on another disk.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// Make a backup
    ///
    /// Pushes, clones and mounts go on meanwhile; writes wait for some milliseconds. Ended in the
    /// middle, it leaves no backup, and the next one copies what is left.
    Create {
        /// A directory of backups; made when it is absent or empty
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// List the backups of a directory
    List {
        /// The directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Read all backups of a directory and compare every byte with what was written
    ///
    /// The exit code is 1 when something is damaged. The next 'backup create' writes anew what is
    /// missing or has another length, as far as the store still has it.
    Verify {
        /// The directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Make a store of a backup
    ///
    /// Every byte is compared with what was backed up on the way. The store is then used as any
    /// other: --store STOREDIR. Two stores of one backup are one peer to others: do not let both
    /// serve.
    Restore {
        /// A directory of backups
        #[arg(value_name = "BACKUPDIR")]
        dir: PathBuf,
        /// Where the store is made: absent, or an empty directory
        #[arg(value_name = "STOREDIR")]
        target: PathBuf,
        /// The backup's number; the newest when it is not given
        #[arg(long, value_name = "N")]
        number: Option<u32>,
    },
}

pub(super) fn run(verb: &Verb, context: &Context<'_>) -> Exit {
    if let Verb::Create { dir } = verb {
        let dir = OsText::from(absolute(dir));
        return reach::perform(context, Request::Backup { dir });
    }
    context.terminal.stop_gently();
    let out = Output::new(context.terminal, context.global.json);
    exit_of(|| {
        let done = match verb {
            Verb::Create { .. } => Done::Whole,
            Verb::List { dir } => list(dir, &out)?,
            Verb::Verify { dir } => verify(dir, &out)?,
            Verb::Restore { dir, target, number } => restore(dir, target, *number, &out)?,
        };
        out.flush()?;
        Ok(done)
    })
}

/// Makes a backup of the open store.
pub(super) fn answer(node: &Node, dir: &OsText, out: &Output<'_>) -> Result<Done, NodeError> {
    let dir = dir.to_path();
    if dir.starts_with(node.store().path()) {
        let text = dir.display().to_string();
        return Err(NodeError::BadArgument { text, expected: "a directory outside of the store" });
    }
    let backups = Backups::open(&dir, true)?;
    let BackupReport { backup, copied_count, copied_len } =
        backups.create(node.store(), out.progress())?;
    let (files, all) = (count(backup.file_count, "file"), size(backup.len));
    let (copied, copied_size) = (count(copied_count, "new file"), size(copied_len));
    out.either(
        &serde_json::json!({
            "number": backup.number, "made_unix": backup.made_unix, "files": backup.file_count,
            "bytes": backup.len, "copied_files": copied_count, "copied_bytes": copied_len,
        }),
        format_args!("backup {}: {files}, {all}; copied {copied}, {copied_size}", backup.number),
    )?;
    Ok(Done::Whole)
}

fn list(dir: &Path, out: &Output<'_>) -> Result<Done, NodeError> {
    let backups = Backups::open(dir, false)?;
    let all = backups.list()?;
    for BackupInfo { number, made_unix, file_count, len } in &all {
        let (files, len_text) = (count(*file_count, "file"), size(*len));
        out.either(
            &serde_json::json!({
                "number": number, "made_unix": made_unix, "files": file_count, "bytes": len,
            }),
            format_args!("{number}  {}  {files}, {len_text}", time(*made_unix)),
        )?;
    }
    let stored = size(backups.stored_len());
    out.note(format_args!("{}, {stored} on the disk together", count(all.len() as u64, "backup")));
    Ok(Done::Whole)
}

/// A time for a person: UTC.
fn time(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Civil from days, for the years that a clock of now can show.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn verify(dir: &Path, out: &Output<'_>) -> Result<Done, NodeError> {
    let backups = Backups::open(dir, false)?;
    let damages = backups.verify(out.progress())?;
    for damage in &damages {
        let numbers: Vec<String> = damage.backups.iter().map(u32::to_string).collect();
        let (path, reason) = (&damage.path, name(damage.reason.as_bytes()));
        out.either(
            &serde_json::json!({"path": path, "reason": damage.reason, "backups": damage.backups}),
            format_args!("{path}: {reason} (needed by {})", numbers.join(", ")),
        )?;
    }
    if damages.is_empty() {
        out.note(format_args!("{}: no damage", count(backups.list()?.len() as u64, "backup")));
        return Ok(Done::Whole);
    }
    Ok(Done::Partly {
        error: format!("{} found", count(damages.len() as u64, "damaged file")),
        hint: "'mega-store backup create DIR' makes a sound one from the store".to_owned(),
    })
}

fn restore(
    dir: &Path,
    target: &Path,
    number: Option<u32>,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let backups = Backups::open(dir, false)?;
    let info = backups.restore(number, target, out.progress())?;
    let (files, len, shown) = (count(info.file_count, "file"), size(info.len), target.display());
    out.either(
        &serde_json::json!({
            "number": info.number, "made_unix": info.made_unix, "files": info.file_count,
            "bytes": info.len, "store": target.to_string_lossy(),
        }),
        format_args!("{shown}: backup {} of {}, {files}, {len}", info.number, time(info.made_unix)),
    )?;
    Ok(Done::Whole)
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_for_people() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(time(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(time(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(time(4_102_444_799), "2099-12-31 23:59:59 UTC");
    }
}
