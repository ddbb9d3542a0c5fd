//! `mount.mega`: the same program as mount(8) calls it, from fstab or `mount -t mega`.
//!
//! `mount.mega NAME[@REV] DIR [-sfnv] [-N namespace] [-o options]` becomes a `mount` command line.
//! Options that every filesystem has and that change nothing for a read-only mount are accepted;
//! unknown ones are refused unless `-s`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::USAGE;
use crate::control::Exit;

/// What mount(8), fstab and systemd write that is not for us.
const PLAIN_OPTIONS: [&str; 24] = [
    "_netdev",
    "async",
    "atime",
    "auto",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "group",
    "loud",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nosuid",
    "owner",
    "relatime",
    "ro",
    "rw",
    "silent",
    "suid",
    "users",
];

/// Turns the arguments of `mount.mega` into those of `mega-store mount`; leaves others as they are.
pub(super) fn translate(args: Vec<OsString>) -> Result<Vec<OsString>, Exit> {
    let name = args.first().map(|arg| Path::new(arg).file_name().unwrap_or_default());
    if name != Some(OsStr::new("mount.mega")) {
        return Ok(args);
    }
    Helper::parse(&args[1..]).and_then(Helper::command).map_err(|error| Exit {
        code: USAGE,
        error: Some(format!("mount.mega: {error}")),
        hint: Some(
            "mount.mega NAME[@REV] DIR -o store=DIR,allow_other,lfs=all|attr|off,plain=SIZE,\
             upstream=URL"
                .to_owned(),
        ),
    })
}

#[derive(Default)]
struct Helper {
    operands: Vec<OsString>,
    options: Vec<String>,
    is_sloppy: bool,
    is_fake: bool,
}

impl Helper {
    fn parse(args: &[OsString]) -> Result<Self, String> {
        let mut helper = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(text) = arg.to_str().filter(|text| text.starts_with('-') && text.len() > 1)
            else {
                helper.operands.push(arg.clone());
                continue;
            };
            let mut letters = text[1..].chars();
            while let Some(letter) = letters.next() {
                match letter {
                    's' => helper.is_sloppy = true,
                    'f' => helper.is_fake = true,
                    'n' | 'v' => {}
                    'o' | 'N' | 't' => {
                        let rest = letters.as_str().to_owned();
                        let value = match rest.as_str() {
                            "" => args.next().and_then(|value| value.to_str()).unwrap_or_default(),
                            rest => rest,
                        };
                        if letter == 'o' {
                            helper.options.extend(value.split(',').map(str::to_owned));
                        }
                        break;
                    }
                    other => return Err(format!("unknown option -{other}")),
                }
            }
        }
        Ok(helper)
    }

    fn command(self) -> Result<Vec<OsString>, String> {
        let [spec, dir] = self.operands.as_slice() else {
            return Err("a repository and a directory are needed".to_owned());
        };
        let mut global: Vec<OsString> = vec!["mega-store".into()];
        let mut local: Vec<OsString> = vec!["mount".into()];
        for option in self.options.iter().filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("store", path)) => global.extend(["--store".into(), path.into()]),
                Some(("plain", size)) => local.extend(["--plain".into(), size.into()]),
                Some(("upstream", url)) => local.extend(["--upstream".into(), url.into()]),
                Some(("lfs", mode)) => local.extend(["--lfs".into(), mode.into()]),
                Some((key, _)) if key.starts_with("x-") || key == "comment" => {}
                None if option == "allow_other" => local.push("--allow-other".into()),
                None if PLAIN_OPTIONS.contains(&option.as_str()) => {}
                None if option.starts_with("x-") || option == "user" || option == "nouser" => {}
                Some(_) | None if self.is_sloppy => {}
                Some(_) | None => return Err(format!("unknown option '{option}'")),
            }
        }
        if self.is_fake {
            return Ok(vec!["mega-store".into(), "--version".into()]);
        }
        global.extend(local);
        global.extend(["--".into(), spec.clone(), dir.clone()]);
        Ok(global)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(args: &[&str]) -> Result<String, String> {
        let args = args.iter().map(OsString::from).collect();
        translate(args)
            .map(|args| args.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" "))
            .map_err(|exit| exit.error.expect("an error"))
    }

    #[test]
    fn what_mount_passes_is_understood() {
        for (args, command) in [
            (
                &["/sbin/mount.mega", "a/b@v1", "/mnt", "-o", "store=/s,allow_other,lfs=all"][..],
                "mega-store --store /s mount --allow-other --lfs all -- a/b@v1 /mnt",
            ),
            (
                &["mount.mega", "a", "/mnt", "-o", "plain=20g"],
                "mega-store mount --plain 20g -- a /mnt",
            ),
            (
                &["mount.mega", "a", "/mnt", "-o", "upstream=http://h/a.git"],
                "mega-store mount --upstream http://h/a.git -- a /mnt",
            ),
            (&["mount.mega", "a", "/mnt", "-n", "-v"], "mega-store mount -- a /mnt"),
            (&["mount.mega", "-oro,noatime", "a", "/m"], "mega-store mount -- a /m"),
            (&["mount.mega", "a", "/m", "-s", "-o", "odd=1"], "mega-store mount -- a /m"),
            (&["mount.mega", "a", "/m", "-o", "x-systemd.automount"], "mega-store mount -- a /m"),
            (&["mount.mega", "a", "/m", "-f"], "mega-store --version"),
            (&["mega-store", "ls", "-o"], "mega-store ls -o"),
        ] {
            assert_eq!(translated(args).as_deref(), Ok(command));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for args in [
            &["mount.mega", "a"][..],
            &["mount.mega", "a", "/m", "b"],
            &["mount.mega", "a", "/m", "-o", "odd"],
            &["mount.mega", "a", "/m", "-z"],
        ] {
            assert!(translated(args).is_err(), "{args:?}");
        }
    }
}
