//! What can be asked of the process that has the store open: one closed enum, as it travels.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One call: a request and how its answer should look.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`super::PROTOCOL_VERSION`] of the caller.
    pub version: u32,
    /// The answer is JSON.
    pub json: bool,
    /// The caller's environment as far as git needs it to reach and to authenticate to a server.
    pub environment: Vec<(String, OsText)>,
    /// What is asked.
    pub request: Request,
}

/// Everything that needs the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Takes in a git repository.
    Import(ImportCall),
    /// Writes a repository out as plain git.
    Export(ExportCall),
    /// Repositories: their names, heads, visibility.
    Repo(RepoCall),
    /// Files without a repository.
    File(FileCall),
    /// Access tokens.
    Token(TokenCall),
    /// `peer`.
    Peer(PeerCall),
    /// What peers know of a repository.
    Discover {
        /// Its id, or its name at a peer.
        repo: String,
    },
    /// Lists a directory of a revision.
    Ls(LsCall),
    /// Writes a file of a revision out.
    Cat {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// The file, relative to the revision's root.
        path: OsText,
    },
    /// Makes a revision appear as a directory.
    Mount(MountCall),
    /// Ends a mount.
    Unmount {
        /// Absolute path of the mount.
        dir: OsText,
    },
    /// A protocol of git's with a repository at a peer, over a socket that the asker listens on.
    GitStream {
        /// `p2p://PEER/repo/NAME`.
        url: String,
        /// What for.
        service: PeerService,
        /// Absolute path of the socket.
        socket: OsText,
    },
    /// Brings content of a repository that is filled as it is read.
    Prefetch(PrefetchCall),
    /// Keeps a repository's content whatever the limit, or no more.
    Pin {
        /// The repository.
        repo: String,
        /// It may go again.
        remove: bool,
    },
    /// `cache`.
    Cache(CacheCall),
    /// Removes what nobody has any more.
    Gc {
        /// Say what would go.
        dry_run: bool,
        /// How long what was given up stays, in seconds.
        grace_s: u64,
    },
    /// Checks that what is named exists, git's content checks included.
    Fsck {
        /// The repository; all when absent.
        repo: Option<String>,
    },
    /// Hashes everything again.
    Verify(VerifyCall),
    /// Keeps the store a second time.
    Backup {
        /// Absolute path of a directory of backups.
        dir: OsText,
    },
    /// Who has the store open, its mounts, its size.
    Status,
    /// Numbers of the store, or of one repository.
    Stats {
        /// The repository; all when absent.
        repo: Option<String>,
    },
    /// One git object's content.
    CatObject {
        /// SHA-1 in hex.
        id: String,
    },
    /// Many git objects, as `git cat-file --batch` writes them.
    CatObjects {
        /// SHA-1 in hex, one a line.
        ids: String,
        /// Hash each again first.
        verify: bool,
    },
    /// Rewrites the database so that each row is stored once.
    Compact,
    /// The chunks of a file.
    ShowManifest {
        /// SHA-256 in hex.
        id: String,
    },
    /// The chunk that holds a byte of a file.
    LocateChunk {
        /// SHA-256 in hex.
        id: String,
        /// Offset of the byte in the file.
        offset: u64,
    },
}

/// What git does with a repository at a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerService {
    /// It fetches.
    Fetch,
    /// It pushes.
    Push,
    /// git-lfs sends and fetches files.
    Lfs,
}

/// `import`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImportCall {
    /// Absolute path of a directory, or a URL.
    pub source: OsText,
    /// The repository's name here; made from the source when absent.
    pub name: Option<String>,
    /// References that are gone from the source go here too.
    pub prune: bool,
}

/// `export`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExportCall {
    /// The repository.
    pub repo: String,
    /// Absolute path of the directory to make.
    pub dir: OsText,
    /// Write the LFS content too.
    pub lfs: bool,
}

/// `repo ...`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepoCall {
    /// All repositories.
    List,
    /// One repository with its references.
    Show(String),
    /// A new, empty repository.
    Create(String),
    /// Removes a repository.
    Delete(String),
    /// Gives a repository another name.
    Rename {
        /// The name it has.
        old: String,
        /// The name it gets.
        new: String,
    },
    /// A second repository with the same content.
    Fork {
        /// The repository to copy.
        name: String,
        /// The copy's name.
        new: String,
    },
    /// Sets the default branch.
    Head {
        /// The repository.
        name: String,
        /// A branch, or a reference's full name.
        branch: String,
    },
    /// Sets who may see the repository.
    Visibility {
        /// The repository.
        name: String,
        /// `private`, `mesh` or `public`.
        visibility: String,
    },
    /// Shows or changes settings.
    Config {
        /// The repository.
        name: String,
        /// The setting; all when absent.
        key: Option<String>,
        /// What becomes of it.
        change: ConfigChange,
    },
}

/// What becomes of a setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigChange {
    /// Nothing: it is shown.
    Show,
    /// It has this value and no other.
    Set(String),
    /// It has this value too.
    Add(String),
    /// It has no value.
    Unset,
}

/// `file ...`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileCall {
    /// Takes files in.
    Add(Vec<OsText>),
    /// What is known of a file.
    Show(String),
    /// Writes a file out.
    Cat {
        /// SHA-256 in hex.
        id: String,
        /// `A-B`, `A-` or `-N` in bytes; all when absent.
        range: Option<String>,
    },
    /// Gives up the owner's right to a file.
    Remove(String),
}

/// `peer ...`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PeerCall {
    /// Who this store is.
    Id,
    /// Those that are known.
    List,
    /// Knows one at an address and lets it into the mesh.
    Add(String),
    /// Forgets one.
    Remove(String),
    /// The record of a repository of this store.
    Record {
        /// Its name, or its id among peers.
        repo: String,
        /// As the slides draw it.
        slides: bool,
    },
}

/// `token ...`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenCall {
    /// Makes a token.
    Create {
        /// The repository that it opens; all when absent.
        repo: Option<String>,
        /// It may write.
        write: bool,
        /// Seconds until it ends; never when absent.
        expires_s: Option<u64>,
        /// What its owner calls it.
        note: String,
    },
    /// All tokens, without their secrets.
    List,
    /// Takes a token away.
    Revoke(u32),
}

/// `prefetch`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrefetchCall {
    /// The repository's name, or the address of one on a server or at a peer.
    pub repo: String,
    /// The revision.
    pub revision: String,
    /// Paths in the revision; all of it when there are none.
    pub paths: Vec<OsText>,
}

/// `verify`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VerifyCall {
    /// Most bytes a second.
    pub rate: Option<u64>,
    /// How long at most, in seconds.
    pub time_s: Option<u64>,
    /// Mend what is damaged.
    pub repair: bool,
    /// Where sound copies may be, too: an absolute path or a URL.
    pub from: Option<OsText>,
}

/// `cache ...`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheCall {
    /// What there is, and the limit.
    Show,
    /// Sets the limit, in bytes; none when absent.
    Limit(Option<u64>),
    /// Removes what exceeds the limit, now.
    Evict,
}

/// `ls`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LsCall {
    /// The repository.
    pub repo: String,
    /// The revision.
    pub revision: String,
    /// A path in the revision; its root when absent.
    pub path: Option<OsText>,
}

/// `mount`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MountCall {
    /// The repository's name, or the address of one on a server.
    pub repo: String,
    /// The revision.
    pub revision: String,
    /// Absolute path of the directory.
    pub dir: OsText,
    /// Other users may enter it.
    pub allow_other: bool,
    /// Which LFS pointers appear as their content.
    pub lfs: LfsMode,
    /// Most bytes of plain copies of large files; none are kept without it.
    #[serde(default)]
    pub plain_len: Option<u64>,
    /// The address of the same repository on a server, which is asked beside peers.
    #[serde(default)]
    pub upstream: Option<String>,
}

/// Which LFS pointers appear as their content in a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LfsMode {
    /// Every blob that is a pointer.
    All,
    /// Pointers where `.gitattributes` says `filter=lfs`, as git does.
    Attr,
    /// None.
    Off,
}

/// Text of the operating system, which need not be UTF-8. Travels as a string where it is UTF-8,
/// else as numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OsText(pub OsString);

impl OsText {
    /// The text as a path.
    pub fn to_path(&self) -> PathBuf {
        PathBuf::from(&self.0)
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<T: AsRef<OsStr>> From<T> for OsText {
    fn from(text: T) -> Self {
        Self(text.as_ref().to_owned())
    }
}

impl Serialize for OsText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(self.0.as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for OsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Text(text) => text.into(),
            Either::Bytes(bytes) => OsString::from_vec(bytes),
        }))
    }
}
