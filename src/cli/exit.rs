//! From an error to the exit code and the hint: every kind is decided here. No table has a `_ =>`.

use std::io;

use mega_fuse::MountError;
use mega_storage::StoreError;

use super::{FAILED, OK, USAGE};
use crate::config::ConfigError;
use crate::control::{ControlError, Exit};
use crate::git::SourceError;
use crate::http::ServeError;
use crate::lfs::LfsError;
use crate::node::NodeError;
use crate::swarm::identity::IdentityError;
use crate::swarm::net::NetError;

/// An error with what to do about it, when there is something to do.
fn failed(error: &dyn std::error::Error, code: u8, hint: Option<String>) -> Exit {
    Exit { code, error: Some(error.to_string()), hint }
}

pub(super) fn of_config(error: &ConfigError) -> Exit {
    let hint = match error {
        ConfigError::NoHome => "say where the store is with --store DIR or $MEGA_STORE",
        ConfigError::Path(_) => "--store and $MEGA_STORE take a directory's path",
    };
    failed(error, USAGE, Some(hint.to_owned()))
}

pub(super) fn of_control(error: &ControlError) -> Exit {
    let hint = match error {
        ControlError::Gone => Some("try again"),
        ControlError::Cut => Some("its log is in the store's directory log/; then try again"),
        ControlError::RequestTooLong { .. } => Some("split the command into several"),
        ControlError::Protocol { .. } => Some("use the version of mega-store that has it open"),
        ControlError::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => return reader_gone(),
        ControlError::Output(_) | ControlError::Io { .. } => None,
    };
    failed(error, FAILED, hint.map(str::to_owned))
}

pub(super) fn of_node(error: &NodeError) -> Exit {
    let hint = match error {
        NodeError::Store(error) => return of_store(error),
        NodeError::Git(error) => return of_git(error),
        NodeError::Lfs(error) => return of_lfs(error),
        NodeError::Mount(error) => return of_mount(error),
        NodeError::Serve(error) => return of_serve(error),
        NodeError::Identity(error) => return of_identity(error),
        NodeError::Net(error) => return of_net(error),
        NodeError::NoPeer { .. } => Some("'mega-store peer list' shows those known".to_owned()),
        NodeError::NoToken { .. } => Some("'mega-store token list' shows all".to_owned()),
        NodeError::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => return reader_gone(),
        NodeError::Output(_) | NodeError::Io { .. } => None,
        NodeError::BadArgument { .. } => return failed(error, USAGE, Some(add_help())),
        NodeError::NoPath { spec, .. } => {
            Some(format!("'mega-store ls {spec}' shows what is there"))
        }
        NodeError::NotAFile { .. } => Some("'mega-store ls' lists directories".to_owned()),
        NodeError::LfsAbsent { .. } => Some(
            "import again where its LFS server can be reached; 'mega-store debug cat-object' \
             shows the pointer"
                .to_owned(),
        ),
        NodeError::NoFile { .. } => {
            Some("'mega-store file add PATH' prints the ids of what it takes in".to_owned())
        }
        NodeError::BadRange { len, .. } => {
            Some(format!("offsets go from 0 to {}", len.saturating_sub(1)))
        }
        NodeError::NoDefaultName { .. } => {
            Some("give a name: mega-store import SOURCE NAME".to_owned())
        }
        NodeError::OtherOrigin { name, .. } => Some(format!(
            "to import into it all the same, say 'import SOURCE {name}'; else give another name"
        )),
        NodeError::RefWithoutObject { .. } => {
            Some("the source is damaged: 'git fsck' there says more".to_owned())
        }
        NodeError::Remote { url, .. } if url.starts_with("p2p://") => {
            Some("'mega-store peer list' shows which peers are reached".to_owned())
        }
        NodeError::Remote { .. } => {
            Some("'git ls-remote URL' shows whether git can reach it".to_owned())
        }
        NodeError::Address(_) => return failed(error, USAGE, Some(add_help())),
        NodeError::TargetNotEmpty { .. } => {
            Some("name a directory that does not exist yet".to_owned())
        }
        NodeError::RepoMounted { dir, .. } => Some(format!("mega-store unmount {}", dir.display())),
        NodeError::NoBranch { name, .. } => {
            Some(format!("'mega-store repo show {name}' lists its branches"))
        }
        NodeError::CannotHoldMounts { .. } => Some("try again when it has ended".to_owned()),
    };
    failed(error, FAILED, hint)
}

const NEWER: &str = "use the newer mega-store that made it; if there was none, the file FORMAT is \
                     damaged: 'mega-store backup restore BACKUPDIR STOREDIR'";
const NO_FORMAT: &str = "nothing is made over it: put FORMAT back ('mega-store 1' and a newline), \
                         or 'mega-store backup restore BACKUPDIR STOREDIR'";
const OTHER_BYTES: &str = "the disk returned other bytes than were written: 'mega-store verify \
                           --repair --from URL' puts a sound copy in their place";
const DAMAGED_DATABASE: &str = "a file of the database is damaged: 'mega-store verify' says what \
                                can still be read, 'mega-store backup restore BACKUPDIR STOREDIR' \
                                makes the store anew";

fn of_store(error: &StoreError) -> Exit {
    let say = |words: &str| Some(words.to_owned());
    let hint = match error {
        StoreError::NotAStore { path } => Some(format!(
            "make one with 'mega-store --store {} init', or say where it is with --store DIR",
            path.display()
        )),
        StoreError::StoreExists { .. } => say("it can be used as it is; or name another"),
        StoreError::NotABackup { .. } => {
            say("'mega-store backup create DIR' makes one in a directory that is absent or empty")
        }
        StoreError::DamagedBackup { .. } => {
            say("'mega-store backup list DIR' shows others; --number takes one of them")
        }
        StoreError::Held { .. } => say("wait until it has ended, then try again"),
        StoreError::FormatNewer { .. } => say(NEWER),
        StoreError::DamagedFormat { .. } => say(NO_FORMAT),
        StoreError::DiskFull { .. } => {
            say("free some space and run the command again: what was stored is intact")
        }
        StoreError::Stopped { .. } => {
            say("look at the disk (dmesg), then start again what has the store open: what was \
             acknowledged is intact")
        }
        StoreError::DamagedRow { .. } | StoreError::DamagedChunk { .. } => say(OTHER_BYTES),
        error if error.is_corruption() => say(DAMAGED_DATABASE),
        StoreError::MissingChunk { .. } | StoreError::MissingObject { .. } => {
            say("import its source again")
        }
        StoreError::MissingFile { .. } => say("'mega-store file show SHA256' says more"),
        StoreError::Name(_) => return failed(error, USAGE, Some(add_help())),
        StoreError::NoRepo { .. } => say("'mega-store repo list' shows all"),
        StoreError::RepoExists { .. } => say("choose another name"),
        StoreError::Partial { origin, .. } => Some(format!(
            "take the whole of it in under another name: mega-store import {origin} NAME"
        )),
        StoreError::NoRevision { repo, .. } => {
            Some(format!("'mega-store repo show {repo}' lists branches and tags"))
        }
        StoreError::RefMoved { .. } => say("something else moved it meanwhile: try again"),
        StoreError::RefConflict { .. } => say("remove the other reference first"),
        StoreError::RefRepeated { .. } => None,
        StoreError::RepoGone { .. } => say("it was deleted meanwhile"),
        StoreError::Setting { .. } => {
            let hint = "'mega-store repo config --help' lists the settings";
            return failed(error, USAGE, Some(hint.to_owned()));
        }
        StoreError::Pack(_) => say("'git fsck' at the source says whether it is damaged there"),
        StoreError::NotFetched { .. } => {
            say("what is here stays readable; try again when its server can be reached")
        }
        StoreError::Interrupted => Some(interrupted()),
        StoreError::Io { .. }
        | StoreError::Db { .. }
        | StoreError::WrongKind { .. }
        | StoreError::MalformedObject { .. }
        | StoreError::NoCommits
        | StoreError::Collision { .. }
        | StoreError::FileHashMismatch { .. }
        | StoreError::FileLenMismatch { .. }
        | StoreError::Limit { .. } => None,
    };
    failed(error, FAILED, hint)
}

fn of_git(error: &SourceError) -> Exit {
    let hint = match error {
        SourceError::NoProgram => Some("install git; it must be in $PATH".to_owned()),
        SourceError::NotARepository { .. } => {
            Some("SOURCE is a git repository's directory, or a URL that git can fetch".to_owned())
        }
        SourceError::Shallow { path } => {
            Some(format!("complete it with 'git -C {} fetch --unshallow'", path.display()))
        }
        SourceError::Format { .. } => None,
        SourceError::Partial { .. } => {
            Some("import its remote's URL instead: mega-store import URL NAME".to_owned())
        }
        SourceError::AlternatesDepth { .. } => {
            Some("'git repack -a -d' there makes it independent of its alternates".to_owned())
        }
        SourceError::Failed { command, .. } if command == "fetch" || command == "ls-remote" => {
            Some("'git ls-remote URL' shows whether git itself can reach it".to_owned())
        }
        SourceError::Failed { .. } => {
            Some("'git fsck' at the source says whether it is damaged".to_owned())
        }
        SourceError::Interrupted => Some(interrupted()),
        SourceError::Unexpected { .. } | SourceError::Unsafe { .. } | SourceError::Io { .. } => {
            None
        }
    };
    failed(error, FAILED, hint)
}

fn of_lfs(error: &LfsError) -> Exit {
    let hint = match error {
        LfsError::Endpoint { .. } => {
            Some("'git config lfs.url' at the source names the LFS server")
        }
        LfsError::Trust { .. } => {
            Some("'git config --get-urlmatch http.sslCAInfo URL' names the file")
        }
        LfsError::Unauthorized { .. } => Some("let a git credential helper know name and password"),
        LfsError::Network { .. } | LfsError::Status { .. } | LfsError::Answer { .. } => {
            Some("import again later: only what is missing is fetched")
        }
        LfsError::Interrupted => return failed(error, FAILED, Some(interrupted())),
        LfsError::Io { .. } => None,
    };
    failed(error, FAILED, hint.map(str::to_owned))
}

fn of_serve(error: &ServeError) -> Exit {
    let hint = match error {
        ServeError::NoTokens { .. } => Some(
            "make one first: mega-store token create --repo '*' --write; or listen on 127.0.0.1",
        ),
        ServeError::Listen { .. } => Some("choose another address or port with --listen"),
        ServeError::Tls { .. } => Some("--tls-cert and --tls-key take PEM files"),
        ServeError::Store(error) => return of_store(error),
    };
    failed(error, FAILED, hint.map(str::to_owned))
}

fn of_identity(error: &IdentityError) -> Exit {
    let hint = match error {
        IdentityError::Damaged { path, .. } => Some(format!(
            "put {} back from a backup; without it, move it away: this store then becomes another \
             peer",
            path.display()
        )),
        IdentityError::TooOpen { path, wanted, .. } => {
            Some(format!("chmod {wanted:o} {}", path.display()))
        }
        IdentityError::Random(_) | IdentityError::Io { .. } => None,
    };
    failed(error, FAILED, hint)
}

fn of_net(error: &NetError) -> Exit {
    let hint = match error {
        NetError::Listen { .. } => {
            Some("give another address with --swarm-listen, or port 0".to_owned())
        }
        NetError::Unreachable { .. } | NetError::NotReady { .. } => Some(
            "if its address is known: mega-store peer add /ip4/ADDRESS/tcp/PORT/p2p/PEER"
                .to_owned(),
        ),
        NetError::Banned { peer } => Some(format!("mega-store peer remove {peer} forgets the ban")),
        NetError::Start { .. } | NetError::Dht { .. } | NetError::Stopped => None,
    };
    failed(error, FAILED, hint)
}

fn of_mount(error: &MountError) -> Exit {
    let hint = match error {
        MountError::NotFound { path } => Some(format!("mkdir {}", path.display())),
        MountError::NotADirectory { .. } | MountError::NotEmpty { .. } => {
            Some("give an empty directory".to_owned())
        }
        MountError::AlreadyMounted { path, .. } => {
            Some(format!("mega-store unmount {}", path.display()))
        }
        MountError::DeadForeign { path } => Some(format!("fusermount3 -u {}", path.display())),
        MountError::NotMounted { .. } => Some("'mega-store status' lists the mounts".to_owned()),
        MountError::NotOurs { path, .. } => Some(format!("umount {}", path.display())),
        MountError::NoFuse { .. } => {
            Some("load the kernel module 'fuse' and allow access to /dev/fuse".to_owned())
        }
        MountError::NoFusermount { .. } => Some("install the package fuse3, or be root".to_owned()),
        MountError::Refused { .. } => {
            Some("--allow-other needs 'user_allow_other' in /etc/fuse.conf".to_owned())
        }
        MountError::Io { .. } => None,
    };
    failed(error, FAILED, hint)
}

/// Whoever reads our output has read enough: no error, nothing to say.
fn reader_gone() -> Exit {
    Exit { code: OK, error: None, hint: None }
}

fn add_help() -> String {
    "add --help to see what the command takes".to_owned()
}

fn interrupted() -> String {
    "run it again to go on: nothing that was stored is lost".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mega_storage::RepoName;

    #[test]
    fn codes_are_those_of_the_contract() {
        let name = RepoName::new("x").expect("a name");
        let no_repo = of_node(&StoreError::NoRepo { name }.into());
        assert_eq!(no_repo.code, FAILED);
        assert!(no_repo.hint.is_some());
        let bad = NodeError::BadArgument { text: "x".into(), expected: "y" };
        assert_eq!(of_node(&bad).code, USAGE);
        let gone = of_node(&NodeError::Output(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(gone, Exit::default());
        let full = of_node(&NodeError::Output(io::ErrorKind::StorageFull.into()));
        assert_eq!(full.code, FAILED);
    }
}
