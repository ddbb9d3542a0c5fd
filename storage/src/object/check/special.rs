//! The second step: blobs that trees name `.gitmodules` or `.gitattributes`.
//!
//! Such a blob may come before or after the tree that gives it its meaning, so trees only note it.
//! When all objects are there, the caller reads each noted blob and has it checked.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;

use super::config::{self, Setting};
use super::{Problem, shown, url};
use crate::id::ObjectId;
use crate::object::ObjectKind;

/// A special blob longer than this need not be read: it is too large. It is git's limit for
/// `.gitattributes`; for `.gitmodules` git's is the threshold of big files.
pub const SPECIAL_BLOB_LEN_MAX: u64 = 100 << 20;

/// Longest line of a `.gitattributes`, in bytes, its end not counted.
const ATTRIBUTES_LINE_LEN_MAX: usize = 2047;

/// What a tree's name makes of a blob; it may be both.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SpecialRole {
    /// It stands at `.gitmodules`.
    pub modules: bool,
    /// It stands at `.gitattributes`.
    pub attributes: bool,
}

impl SpecialRole {
    pub(super) const MODULES: Self = Self { modules: true, attributes: false };
    pub(super) const ATTRIBUTES: Self = Self { modules: false, attributes: true };
}

/// Objects that trees gave a special name.
#[derive(Clone, Default, Debug)]
pub struct SpecialBlobs {
    roles: BTreeMap<ObjectId, SpecialRole>,
}

impl SpecialBlobs {
    pub(super) fn note(&mut self, id: &[u8], role: SpecialRole) {
        if let Some(id) = ObjectId::from_slice(id) {
            self.add(id, role);
        }
    }

    fn add(&mut self, id: ObjectId, role: SpecialRole) {
        let known = self.roles.entry(id).or_default();
        known.modules |= role.modules;
        known.attributes |= role.attributes;
    }

    /// Takes over what another thread has noted.
    pub fn merge(&mut self, other: Self) {
        for (id, role) in other.roles {
            self.add(id, role);
        }
    }

    /// What was noted, ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, SpecialRole)> {
        self.roles.iter().map(|(id, role)| (id, *role))
    }

    /// Whether the object was noted.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.roles.contains_key(id)
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// How many objects were noted.
    pub fn len(&self) -> usize {
        self.roles.len()
    }
}

/// What was found of a noted object.
#[derive(Clone, Copy, Debug)]
pub enum SpecialContent<'a> {
    /// It is not here.
    Missing,
    /// It is longer than [`SPECIAL_BLOB_LEN_MAX`] and was not read.
    TooLarge,
    /// Its kind and content.
    Object(ObjectKind, &'a [u8]),
}

/// Adds the problems of a noted object to `out`.
pub fn check_special_blob(role: SpecialRole, content: SpecialContent<'_>, out: &mut Vec<Problem>) {
    let mut tell = |modules, attributes, what: &str| {
        if role.modules {
            out.push(Problem::error(modules, format!(".gitmodules {what}")));
        }
        if role.attributes {
            out.push(Problem::error(attributes, format!(".gitattributes {what}")));
        }
    };
    match content {
        SpecialContent::Missing => {
            tell("gitmodulesMissing", "gitattributesMissing", "is missing");
        }
        SpecialContent::Object(ObjectKind::Blob, data) => {
            if role.modules {
                check_modules(data, out);
            }
            if role.attributes {
                check_attributes(data, out);
            }
        }
        SpecialContent::Object(..) => {
            tell("gitmodulesBlob", "gitattributesBlob", "is not a blob");
        }
        SpecialContent::TooLarge => {
            tell("gitmodulesLarge", "gitattributesLarge", "is too large to be read");
        }
    }
}

/// Git reads a `.gitattributes` up to its first NUL.
fn check_attributes(data: &[u8], out: &mut Vec<Problem>) {
    let text = data.split(|&b| b == 0).next().unwrap_or_default();
    if text.split(|&b| b == b'\n').any(|line| line.len() > ATTRIBUTES_LINE_LEN_MAX) {
        let detail = ".gitattributes has lines that are too long";
        out.push(Problem::error("gitattributesLineLength", detail));
    }
}

fn check_modules(data: &[u8], out: &mut Vec<Problem>) {
    let parsed = config::parse(data, |setting| check_setting(&setting, out));
    if parsed.is_none() {
        out.push(Problem::info("gitmodulesParse", ".gitmodules cannot be read as configuration"));
    }
}

fn check_setting(setting: &Setting<'_>, out: &mut Vec<Problem>) {
    let Some((name, key)) = setting.submodule() else {
        return;
    };
    let mut tell = |id, what, value| {
        let detail = format!("a submodule's {what} is '{}'", shown(value));
        out.push(Problem::error(id, detail));
    };
    if !is_safe_name(name) {
        tell("gitmodulesName", "name", name);
    }
    let Some(value) = setting.value() else {
        return;
    };
    match key {
        b"url" if !url::is_safe(value) => tell("gitmodulesUrl", "url", value),
        b"path" if value.starts_with(b"-") => tell("gitmodulesPath", "path", value),
        b"update" if value.starts_with(b"!") => tell("gitmodulesUpdate", "update", value),
        _ => {}
    }
}

/// A name becomes a directory: it is not empty and has no `..` between separators of any system.
fn is_safe_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.split(|b| matches!(b, b'/' | b'\\')).any(|part| part == b"..")
}
