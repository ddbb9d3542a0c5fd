//! Where the store is: `--store`, else `$MEGA_STORE`, else `$XDG_DATA_HOME/mega-store`, else
//! `~/.local/share/mega-store`. Nothing else is configured outside the store.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The environment variable that names the store.
pub const STORE_VARIABLE: &str = "MEGA_STORE";

/// Where the store should be, and whether somebody chose the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreLocation {
    /// Absolute path of the store's directory. It may not exist.
    pub path: PathBuf,
    /// Nobody named it: it is the place that is used without being asked, and may be made without
    /// being asked.
    pub is_default: bool,
}

/// Why no place for the store could be found.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither `XDG_DATA_HOME` nor `HOME` is set.
    #[error("neither $HOME nor $XDG_DATA_HOME is set, so there is no default store")]
    NoHome,
    /// The path cannot be made absolute.
    #[error("the store's path cannot be used: {0}")]
    Path(#[source] io::Error),
}

/// Decides where the store is. `variable` reads the environment.
///
/// # Errors
/// When nothing names a place, or the path is empty.
pub fn store_location(
    flag: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<StoreLocation, ConfigError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (path, is_default) = match flag.map(Path::to_owned).or_else(|| set(STORE_VARIABLE)) {
        Some(path) => (path, false),
        None => {
            // The XDG specification: a relative path there is to be ignored.
            let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
            let data = data.or_else(|| set("HOME").map(|home| home.join(".local/share")));
            (data.ok_or(ConfigError::NoHome)?.join("mega-store"), true)
        }
    };
    let path = std::path::absolute(path).map_err(ConfigError::Path)?;
    Ok(StoreLocation { path, is_default })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(flag: Option<&str>, set: &[(&str, &str)]) -> (String, bool) {
        let variable = |name: &str| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let found = store_location(flag.map(Path::new), &variable).expect("a place");
        (found.path.to_string_lossy().into_owned(), found.is_default)
    }

    #[test]
    fn the_nearest_wish_wins() {
        let all = [("MEGA_STORE", "/m"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(locate(Some("/f"), &all), ("/f".to_owned(), false));
        assert_eq!(locate(None, &all), ("/m".to_owned(), false));
        assert_eq!(locate(None, &all[1..]), ("/x/mega-store".to_owned(), true));
        assert_eq!(locate(None, &all[2..]), ("/h/.local/share/mega-store".to_owned(), true));
    }

    #[test]
    fn empty_and_relative_variables_are_no_wish() {
        let set = [("MEGA_STORE", ""), ("XDG_DATA_HOME", "rel"), ("HOME", "/h")];
        assert_eq!(locate(None, &set), ("/h/.local/share/mega-store".to_owned(), true));
        assert!(matches!(store_location(None, &|_| None), Err(ConfigError::NoHome)));
        assert!(store_location(Some(Path::new("")), &|_| None).is_err());
    }
}
