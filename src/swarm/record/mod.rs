//! Signed records of repositories.

mod key;

pub use key::RepoKey;
