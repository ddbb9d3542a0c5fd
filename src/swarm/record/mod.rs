//! Signed records of repositories.
