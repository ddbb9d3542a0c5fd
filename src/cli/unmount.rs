//! `unmount`: ends a mount, whichever process serves it.

use std::path::PathBuf;

use super::output::{Done, Output};
use super::reach::{self, Context};
use super::{absolute, exit};
use crate::control::{self, Exit, OsText, Reply, Request};
use crate::node::{Node, NodeError};

/// End a mount
///
/// The directory is empty again at once. Files that are still open in it stay readable until they
/// are closed; the process that serves the mount ends after its last one. 'fusermount3 -u DIR' and
/// 'umount DIR' do as well. A mount whose process died is removed too.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "Examples:\n  mega-store unmount /mnt/model")]
pub(super) struct Args {
    /// The directory
    dir: PathBuf,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Exit {
    let dir = absolute(&args.dir);
    // The process that has this store open may serve the mount, or another one, or none any more.
    if let Ok(Some(stream)) = control::connect(&context.location.path) {
        let call = reach::new_call(context, Request::Unmount { dir: OsText::from(&dir) });
        if let Ok(exit) = control::call(stream, &call, context.terminal)
            && exit.code == super::OK
        {
            return exit;
        }
    }
    match mega_fuse::unmount_path(&dir) {
        Ok(()) => {
            context.terminal.note(&format!("{} is unmounted", dir.display()));
            Exit::default()
        }
        Err(error) => exit::of_node(&error.into()),
    }
}

pub(super) fn answer(node: &Node, dir: &OsText, out: &Output<'_>) -> Result<Done, NodeError> {
    let dir = dir.to_path();
    if !node.mounts().unmount(&dir)? {
        return Err(mega_fuse::MountError::NotMounted { path: dir }.into());
    }
    out.note(format_args!("{} is unmounted", dir.display()));
    Ok(Done::Whole)
}
