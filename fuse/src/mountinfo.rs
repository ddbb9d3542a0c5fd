//! What is mounted where, from `/proc/self/mountinfo`: the one truth about mounts, ours and
//! others'.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The filesystem type under which mounts appear: how we know our own.
pub const FS_TYPE: &str = "fuse.mega-store";

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MountEntry {
    /// Device numbers, major and minor: one pair for each mount's session.
    pub(crate) device: (u32, u32),
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    /// Type, with its subtype.
    pub(crate) fs_type: String,
    /// What is mounted, as its mounter named it.
    pub(crate) source: String,
}

impl MountEntry {
    /// Whether it is one of ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.fs_type == FS_TYPE
    }
}

/// The topmost mount at exactly `path`, which must be resolved.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn mount_at(path: &Path) -> io::Result<Option<MountEntry>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|&b| b == b'\n').filter_map(parse_line).rfind(|entry| entry.path == path))
}

/// `36 35 98:0 /root /path options - type source options`, with optional fields before the dash.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&b| b == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let path = unescape(fields.nth(1)?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let fs_type = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next()?);
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        path: OsString::from_vec(path).into(),
        fs_type,
        source: String::from_utf8_lossy(&source).into_owned(),
    })
}

/// The kernel writes blanks and backslashes as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'\\'
            && let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest
        {
            plain.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
            rest = after;
        } else {
            plain.push(*first);
        }
    }
    plain
}

/// Resolves a path whose last part may be a dead mount, which cannot be looked at.
///
/// # Errors
/// When the directory above cannot be resolved.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            let above = match path.parent() {
                Some(above) if !above.as_os_str().is_empty() => above,
                Some(_) | None => Path::new("."),
            };
            let name = path.file_name().unwrap_or_default();
            Ok(above.canonicalize()?.join(name))
        }
        resolved => resolved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_escapes() {
        let line = b"2035 26 0:59 / /mnt/a\\040b\\134c ro,nosuid shared:7 master:1 - \
            fuse.mega-store mega-store:repo@v1 ro,user_id=0";
        let entry = parse_line(line).expect("an entry");
        assert_eq!(entry.device, (0, 59));
        assert_eq!(entry.path, Path::new("/mnt/a b\\c"));
        assert!(entry.is_ours());
        assert_eq!(entry.source, "mega-store:repo@v1");
        assert_eq!(parse_line(b""), None);
        assert_eq!(parse_line(b"1 2 x:y / /p - a b"), None);
    }

    #[test]
    fn the_root_is_mounted_and_is_not_ours() {
        let root = mount_at(Path::new("/")).expect("read");
        assert!(root.is_none_or(|entry| !entry.is_ours()));
    }
}
