//! The key that makes this store a peer: an ed25519 key of libp2p in `<store>/swarm/key`.
//!
//! Made once, with the directory 0700 and the file 0600: it is whole under its name or not there at
//! all. The file has libp2p's own protobuf form, so that other tools read it. Invariants: the
//! secret is in no log, no error and no debug output; what is signed starts with a domain of its
//! own, so that a signature for one purpose is never one for another. The store's owner lock keeps
//! two processes from making two keys; two stores with one key are their owner's mistake.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use libp2p::PeerId;
use libp2p::identity::{KeyType, Keypair, PublicKey};

/// The key's directory in the store's.
const DIR: &str = "swarm";
const FILE: &str = "key";
/// A key that is being made; left by a crash alone.
const DRAFT: &str = "key.tmp";
/// Length of the file: a tag, a type, a length, then secret and public half.
const FILE_LEN: usize = 68;
const SECRET_LEN: usize = 32;
/// Length of a signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// This store as a peer.
#[derive(Clone)]
pub struct Identity {
    keypair: Keypair,
    peer_id: PeerId,
}

/// Why a store has no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is not a key.
    #[error("the key {path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Others may read the file, or put another in its place.
    #[error("{path} is open to other users (mode {mode:03o})")]
    TooOpen {
        /// The file or its directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they should be at most.
        wanted: u32,
    },
    /// The system has no random bytes.
    #[error("no key can be made: {0}")]
    Random(#[source] getrandom::Error),
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, with the path.
        action: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Identity {
    /// The identity of the store in the directory `store`, which is made when there is none.
    /// Blocks.
    ///
    /// # Errors
    /// [`IdentityError`]; what is there is never replaced.
    pub fn open_or_create(store: &Path) -> Result<Self, IdentityError> {
        let dir = store.join(DIR);
        if let Some(identity) = Self::open(store)? {
            return Ok(identity);
        }
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("creating", &dir)(e));
            }
            Ok(()) | Err(_) => {}
        }
        check_mode(&dir, 0o700, 0o022)?;
        let mut secret = [0; SECRET_LEN];
        getrandom::fill(&mut secret).map_err(IdentityError::Random)?;
        // libp2p clears the array.
        let keypair = Keypair::ed25519_from_bytes(&mut secret).expect("any 32 bytes are a secret");
        write_key(&dir, &keypair)?;
        Self::open(store)?.ok_or(IdentityError::Damaged {
            path: dir.join(FILE),
            reason: "it was there a moment ago, and is not now",
        })
    }

    /// The identity of the store in the directory `store`, if it has one. Blocks.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(store: &Path) -> Result<Option<Self>, IdentityError> {
        let dir = store.join(DIR);
        let path = dir.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("opening", &path)(e)),
        };
        check_mode(&dir, 0o700, 0o022)?;
        check_mode(&path, 0o600, 0o077)?;
        let mut bytes = Vec::with_capacity(FILE_LEN + 1);
        let limit = FILE_LEN as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(failed("reading", &path))?;
        decode(&bytes).map(Some).map_err(|reason| IdentityError::Damaged { path, reason })
    }

    fn new(keypair: Keypair) -> Self {
        let peer_id = keypair.public().to_peer_id();
        Self { keypair, peer_id }
    }

    /// One that is the same in every run.
    #[cfg(test)]
    pub(crate) fn from_secret(mut secret: [u8; SECRET_LEN]) -> Self {
        Self::new(Keypair::ed25519_from_bytes(&mut secret).expect("any 32 bytes are a secret"))
    }

    /// The peer that this is.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The key, for the transports, which prove with it who we are.
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// Signs `message` for one purpose.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let signed = self.keypair.sign(&[domain, message].concat());
        let signed = signed.expect("an ed25519 key signs anything");
        signed.try_into().expect("an ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id)
    }
}

/// Whether `peer` has signed `message` for this purpose; `None` when its id does not hold an
/// ed25519 key.
pub fn verify(peer: &PeerId, domain: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    let key = public_key(peer)?;
    Some(key.verify(&[domain, message].concat(), signature))
}

/// The ed25519 key that a peer's id holds. There is one form of an id for each key.
pub fn public_key(peer: &PeerId) -> Option<PublicKey> {
    // A multihash that is no hash (code 0): a byte of length, then the key.
    let bytes = peer.to_bytes();
    let [0, _, encoded @ ..] = bytes.as_slice() else { return None };
    let key = PublicKey::try_decode_protobuf(encoded).ok()?;
    (key.key_type() == KeyType::Ed25519 && key.to_peer_id() == *peer).then_some(key)
}

fn decode(bytes: &[u8]) -> Result<Identity, &'static str> {
    if bytes.len() != FILE_LEN {
        return Err("it does not have 68 bytes");
    }
    let keypair = Keypair::from_protobuf_encoding(bytes);
    let keypair =
        keypair.map_err(|_| "it is no private key, or its halves do not belong together")?;
    match keypair.key_type() {
        KeyType::Ed25519 => Ok(Identity::new(keypair)),
        _ => Err("it is no ed25519 key"),
    }
}

/// Writes the key under another name, syncs it, and gives it its name.
fn write_key(dir: &Path, keypair: &Keypair) -> Result<(), IdentityError> {
    let (draft, path) = (dir.join(DRAFT), dir.join(FILE));
    match fs::remove_file(&draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &draft)(e)),
        Ok(()) | Err(_) => {}
    }
    let bytes = keypair.to_protobuf_encoding().expect("an ed25519 key has this form");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let mut file = file.map_err(failed("creating", &draft))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed("writing", &draft))?;
    fs::rename(&draft, &path).map_err(failed("naming", &path))?;
    for dir in [Some(dir), dir.parent()].into_iter().flatten() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("syncing", dir))?;
    }
    Ok(())
}

/// Refuses permissions that have any bit of `banned`.
fn check_mode(path: &Path, wanted: u32, banned: u32) -> Result<(), IdentityError> {
    let meta = fs::metadata(path).map_err(failed("looking at", path))?;
    let mode = meta.mode() & 0o777;
    match mode & banned {
        0 => Ok(()),
        _ => Err(IdentityError::TooOpen { path: path.to_owned(), mode, wanted }),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError + use<> {
    let action = format!("{action} {}", path.display());
    move |source| IdentityError::Io { action, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn it_is_made_once_and_is_its_owners_alone() {
        let store = tempfile::tempdir().expect("a directory");
        assert!(Identity::open(store.path()).expect("read").is_none());
        let first = Identity::open_or_create(store.path()).expect("made");
        assert!(first.peer_id().to_base58().starts_with("12D3Koo"), "{}", first.peer_id());
        let path = store.path().join("swarm/key");
        let bytes = fs::read(&path).expect("there");
        assert_eq!((mode(&path), mode(&store.path().join("swarm"))), (0o600, 0o700));
        assert_eq!((bytes.len(), &bytes[..4]), (FILE_LEN, &[8, 1, 18, 64][..]));
        let again = Identity::open_or_create(store.path()).expect("read");
        assert_eq!(again.peer_id(), first.peer_id());
        assert_eq!(fs::read(&path).expect("there"), bytes);
        let other = tempfile::tempdir().expect("a directory");
        let other = Identity::open_or_create(other.path()).expect("made");
        assert_ne!(other.peer_id(), first.peer_id());
        let names: Vec<_> = fs::read_dir(store.path().join("swarm")).expect("listed").collect();
        assert_eq!(names.len(), 1, "no draft is left");
    }

    #[test]
    fn what_a_crash_left_does_not_stand_in_the_way() {
        let store = tempfile::tempdir().expect("a directory");
        fs::create_dir(store.path().join("swarm")).expect("made");
        chmod(&store.path().join("swarm"), 0o700);
        fs::write(store.path().join("swarm/key.tmp"), "half").expect("written");
        Identity::open_or_create(store.path()).expect("made");
        assert!(!store.path().join("swarm/key.tmp").exists());
    }

    #[test]
    fn the_secret_does_not_show() {
        let store = tempfile::tempdir().expect("a directory");
        let identity = Identity::open_or_create(store.path()).expect("made");
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.peer_id()));
    }

    #[test]
    fn a_damaged_key_is_named_and_kept() {
        let store = tempfile::tempdir().expect("a directory");
        Identity::open_or_create(store.path()).expect("made");
        let path = store.path().join("swarm/key");
        let good = fs::read(&path).expect("there");
        let mut other_half = good.clone();
        other_half[FILE_LEN - 1] ^= 1;
        let mut other_type = good.clone();
        other_type[1] = 2;
        let longer = [good.as_slice(), b"\n"].concat();
        for bad in [vec![], good[..67].to_vec(), longer, vec![0; FILE_LEN], other_half, other_type]
        {
            fs::write(&path, &bad).expect("written");
            for opened in
                [Identity::open_or_create(store.path()).map(Some), { Identity::open(store.path()) }]
            {
                let error = opened.expect_err("refused");
                assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
                assert!(error.to_string().contains("swarm/key is damaged: "), "{error}");
            }
            assert_eq!(fs::read(&path).expect("there"), bad, "never replaced");
        }
        fs::write(&path, good).expect("written");
        Identity::open(store.path()).expect("good again").expect("there");
    }

    #[test]
    fn a_key_that_others_could_read_or_replace_is_refused() {
        let store = tempfile::tempdir().expect("a directory");
        Identity::open_or_create(store.path()).expect("made");
        let (dir, key) = (store.path().join("swarm"), store.path().join("swarm/key"));
        let refused = |path: &Path| {
            let error = Identity::open_or_create(store.path()).expect_err("refused");
            assert!(
                matches!(&error, IdentityError::TooOpen { path: p, .. } if p == path),
                "{error}"
            );
        };
        for bad in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
            chmod(&key, bad);
            refused(&key);
        }
        chmod(&key, 0o400);
        Identity::open(store.path()).expect("read").expect("there");
        for bad in [0o770, 0o707, 0o777] {
            chmod(&dir, bad);
            refused(&dir);
        }
        chmod(&dir, 0o755);
        Identity::open(store.path()).expect("nobody can replace it").expect("there");
    }

    #[test]
    fn a_signature_is_for_one_purpose_one_message_and_one_peer() {
        let stores = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let [one, two] = stores.map(|s| Identity::open_or_create(s.path()).expect("made"));
        let signature = one.sign(b"a/1:", b"message");
        let check = |by: &Identity, domain: &[u8], message: &[u8]| {
            verify(&by.peer_id(), domain, message, &signature)
        };
        assert_eq!(check(&one, b"a/1:", b"message"), Some(true));
        assert_eq!(check(&one, b"b/1:", b"message"), Some(false));
        assert_eq!(check(&one, b"a/1:", b"messag"), Some(false));
        assert_eq!(check(&two, b"a/1:", b"message"), Some(false));
        assert_eq!(verify(&one.peer_id(), b"a/1:", b"message", &signature[1..]), Some(false));
    }

    #[test]
    fn only_ids_that_hold_their_key_can_be_checked() {
        let store = tempfile::tempdir().expect("a directory");
        let one = Identity::open_or_create(store.path()).expect("made");
        assert_eq!(public_key(&one.peer_id()), Some(one.keypair().public()));
        let hashed = PeerId::from_bytes(&[&[0x12, 32][..], &[7; 32]].concat()).expect("an id");
        assert_eq!(verify(&hashed, b"", b"", b""), None);
        // The same key with a field that protobuf passes over: another id, which is refused.
        let key = one.keypair().public().encode_protobuf();
        let padded = [key.as_slice(), &[0x18, 0]].concat();
        let padded = [&[0, padded.len() as u8][..], &padded].concat();
        let padded = PeerId::from_bytes(&padded).expect("an id");
        assert_eq!(public_key(&padded), None);
        let short = PeerId::from_bytes(&[&[0, 3][..], &key[..3]].concat()).expect("an id");
        assert_eq!(public_key(&short), None);
    }
}
