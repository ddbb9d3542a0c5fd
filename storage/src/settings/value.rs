//! Keys and values of settings: which there are, and what they may be.

use crate::name::REF_NAME_LEN_MAX;

/// Every key but `receive.fsck.<id>`, as it is shown.
const KEYS: [&str; 17] = [
    "receive.denyDeleteCurrent",
    "receive.denyDeletes",
    "receive.denyNonFastForwards",
    "receive.fsckObjects",
    "receive.hideRefs",
    "receive.maxInputSize",
    "receive.maxRefs",
    "receive.postReceive",
    "receive.protect",
    "receive.quota",
    "swarm.allowRead",
    "swarm.allowWrite",
    "swarm.seed",
    "swarm.upstream",
    "transfer.hideRefs",
    "uploadpack.advertiseBundleURIs",
    "uploadpack.hideRefs",
];
const FSCK: &str = "receive.fsck.";
/// Longest id of a check, in bytes: git's have up to 26.
const FSCK_ID_LEN_MAX: usize = 64;
/// Lengths of a peer's id as text: 46 for a hash of a key, 52 and 53 for keys that are in it.
const PEER_LEN: std::ops::RangeInclusive<usize> = 46..=60;
/// Longest address of a server, in bytes.
const ADDRESS_LEN_MAX: usize = 2048;
/// Longest path of a program, in bytes.
const PROGRAM_LEN_MAX: usize = 4096;

/// How bad a check's finding is for a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FsckLevel {
    /// Nothing is said.
    Ignore,
    /// The pusher is told.
    Warn,
    /// The push is refused.
    Error,
}

impl FsckLevel {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "ignore" => Some(Self::Ignore),
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// When a copy of a peer's public repository is served on to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SeedPolicy {
    /// While it is mounted, and whenever this store serves peers.
    Always,
    /// While it is mounted.
    #[default]
    Mounted,
    /// Never.
    Never,
}

impl SeedPolicy {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "always" => Some(Self::Always),
            "mounted" => Some(Self::Mounted),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// The key as it is shown, whatever case it came in. A check's id stays as it came.
pub(super) fn canonical(key: &str) -> Option<String> {
    if let Some(known) = KEYS.iter().find(|known| known.eq_ignore_ascii_case(key)) {
        return Some((*known).to_owned());
    }
    let (front, id) = key.split_at_checked(FSCK.len())?;
    let named = !id.is_empty()
        && id.len() <= FSCK_ID_LEN_MAX
        && id.bytes().all(|b| b.is_ascii_alphanumeric());
    (front.eq_ignore_ascii_case(FSCK) && named).then(|| format!("{FSCK}{id}"))
}

/// Git's words for yes and no.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A number with git's units: k, m and g, powers of 1,024; t as well.
pub(super) fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.as_bytes().last()? {
        b'k' => (lower.strip_suffix('k')?, 10),
        b'm' => (lower.strip_suffix('m')?, 20),
        b'g' => (lower.strip_suffix('g')?, 30),
        b't' => (lower.strip_suffix('t')?, 40),
        _ => (lower.as_str(), 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A branch pattern as a pattern of full names: `main` is `refs/heads/main`.
pub(super) fn pattern(text: &str) -> Option<String> {
    let full =
        if text.starts_with("refs/") { text.to_owned() } else { format!("refs/heads/{text}") };
    let good = !text.is_empty()
        && full.len() <= REF_NAME_LEN_MAX
        && !full.ends_with('/')
        && !full.contains(|c: char| c.is_control() || c == ' ');
    good.then_some(full)
}

/// The front of names to hide: `refs/...` or `HEAD`, `^` and `!` before it as git has them. Slashes
/// at its end mean nothing.
pub(super) fn hidden(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/');
    let name = text.strip_prefix('!').unwrap_or(text);
    let name = name.strip_prefix('^').unwrap_or(name);
    let good = (name == "HEAD" || name == "refs" || name.starts_with("refs/"))
        && name.len() <= REF_NAME_LEN_MAX
        && !name.contains(|c: char| c.is_control() || c == ' ');
    good.then(|| text.to_owned())
}

/// A peer's id as libp2p writes it: base58, which has no 0, O, I and l.
pub(super) fn peer(text: &str) -> Option<String> {
    let is_digit = |b: u8| b.is_ascii_alphanumeric() && !b"0OIl".contains(&b);
    (PEER_LEN.contains(&text.len()) && text.bytes().all(is_digit)).then(|| text.to_owned())
}

/// The address of a repository on a server, without user and password: settings are shown.
pub(super) fn upstream(text: &str) -> Option<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let (host, path) = rest.split_once('/')?;
    let is_plain = |c: char| c.is_ascii_graphic() && !"@?#%".contains(c);
    let good = !host.is_empty()
        && path.strip_suffix(".git").is_some_and(|name| !name.is_empty())
        && text.len() <= ADDRESS_LEN_MAX
        && rest.chars().all(is_plain);
    good.then(|| text.to_owned())
}

/// The absolute path of a program. Whether it is there is seen when it is run.
pub(super) fn program(text: &str) -> Option<String> {
    let good = text.starts_with('/') && text.len() <= PROGRAM_LEN_MAX && !text.contains('\0');
    good.then(|| text.to_owned())
}
