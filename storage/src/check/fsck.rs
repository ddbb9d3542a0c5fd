//! One repository: its references, what they reach, the LFS files that are named there.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::connect::Connect;
use super::finding::{Finding, Stands, What};
use super::lfs::Manifests;
use super::{FINDINGS_MAX, fault, uses};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::name::RefName;
use crate::object::check::{Problem, Severity};
use crate::object::{ObjectKind, SPECIAL_BLOB_LEN_MAX, SpecialContent, check_special_blob};
use crate::progress::{Progress, Unit};
use crate::read::Pointer;
use crate::refs::{RefTarget, SYMREF_HOPS_MAX};
use crate::repos::Repo;
use crate::settings::{FsckLevel, RepoSettings};
use crate::store::Store;

/// Where branches are.
const BRANCHES: &[u8] = b"refs/heads/";

/// What a repository's check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FsckReport {
    /// What was found; at most 100,000.
    pub findings: Vec<Finding>,
    /// Findings that are not listed.
    pub more: u64,
    /// References.
    pub ref_count: u64,
    /// Objects that they reach and that are here.
    pub object_count: u64,
    /// LFS files that are named there.
    pub file_count: u64,
}

impl FsckReport {
    /// Whether nothing but warnings was found.
    pub fn is_sound(&self) -> bool {
        self.more == 0 && self.findings.iter().all(|finding| !finding.is_error)
    }
}

/// What a check collects.
pub(super) struct Findings {
    pub(super) all: Vec<Finding>,
    more: u64,
    settings: RepoSettings,
}

impl Findings {
    pub(super) fn error(&mut self, what: What) {
        self.add(what, true);
    }

    fn add(&mut self, what: What, is_error: bool) {
        if self.all.len() < FINDINGS_MAX {
            self.all.push(Finding { what, is_error, stands: None });
        } else {
            self.more += u64::from(is_error);
        }
    }

    /// A content check's finding: as bad as `git fsck --strict` finds it, or as the repository's
    /// settings say for pushes.
    pub(super) fn content(&mut self, id: ObjectId, kind: ObjectKind, problem: Problem) {
        let level = self.settings.fsck_level(problem.id);
        let is_error = match (problem.severity, level) {
            (Severity::Fatal, _) => true,
            (_, Some(FsckLevel::Ignore)) => return,
            (_, Some(FsckLevel::Warn)) => false,
            (_, Some(FsckLevel::Error)) => true,
            (Severity::Error | Severity::Warn, None) => true,
            (Severity::Info, None) => false,
        };
        self.add(What::Content { id, kind, problem }, is_error);
    }
}

impl Store {
    /// Checks a repository. Nothing of it goes to gc meanwhile.
    ///
    /// # Errors
    /// When the store cannot be used at all, [`StoreError::Interrupted`]. Damage is no error.
    pub fn fsck(&self, repo: &Repo, progress: &dyn Progress) -> Result<FsckReport> {
        let _stays = self.lease(repo.id);
        let settings = match self.settings(repo.id) {
            Err(error) => fault::reason_of(error).map(|_| RepoSettings::default())?,
            Ok(settings) => settings,
        };
        let mut findings = Findings { all: Vec::new(), more: 0, settings };
        let (refs, bad) = uses::references(self, repo.id)?;
        for (name, reason) in bad {
            findings.error(match name {
                Some(name) => What::Ref { name, reason },
                None => What::Refs { reason },
            });
        }
        let mut connect = Connect::new(self, repo, &mut findings, progress);
        let mut tips = Vec::new();
        for (_, target) in &refs {
            if let RefTarget::Direct(id) = target {
                tips.push(*id);
            }
        }
        connect.follow(&tips)?;
        let branches: Vec<(RefName, Option<ObjectKind>)> = refs
            .iter()
            .filter_map(|(name, target)| match target {
                RefTarget::Direct(id) => Some((name.clone(), connect.kind(id)?)),
                RefTarget::Symbolic(_) => None,
            })
            .collect();
        let object_count = connect.object_count();
        let pointers = std::mem::take(&mut connect.pointers);
        connect.check_special()?;
        check_refs(&refs, &branches, &mut findings);
        progress.start("checking LFS files", Some(pointers.len() as u64), Unit::Objects);
        let mut manifests = Manifests::new(self, repo);
        let file_count = pointers.len() as u64;
        for ((file, len), blob) in pointers {
            let pointer = Pointer { file, len };
            if let Some(reason) = manifests.problem(&pointer)? {
                findings.error(What::File { file, blob, reason });
            }
            progress.advance(1);
            if progress.interrupted() {
                return Err(StoreError::Interrupted);
            }
        }
        let mut report = FsckReport {
            findings: findings.all,
            more: findings.more,
            ref_count: refs.len() as u64,
            object_count,
            file_count,
        };
        find_places(self, repo, &mut report.findings, progress)?;
        report.findings.sort_by_cached_key(|f| (!f.is_error, f.what.kind(), f.what.to_string()));
        Ok(report)
    }
}

/// Branches stand at commits, symbolic references end.
fn check_refs(
    refs: &[(RefName, RefTarget)],
    kinds: &[(RefName, Option<ObjectKind>)],
    findings: &mut Findings,
) {
    for (name, kind) in kinds {
        let is_branch = name.as_bytes().starts_with(BRANCHES) || *name == RefName::head();
        if let Some(kind) = kind.filter(|kind| is_branch && *kind != ObjectKind::Commit) {
            let reason = format!("not a commit but a {}", kind.as_str());
            findings.error(What::Ref { name: name.clone(), reason });
        }
    }
    let by_name: BTreeMap<&RefName, &RefTarget> = refs.iter().map(|(n, t)| (n, t)).collect();
    for (name, target) in refs {
        let mut next = Some(target);
        for _ in 0..=SYMREF_HOPS_MAX {
            match next {
                Some(RefTarget::Symbolic(to)) => next = by_name.get(to).copied(),
                Some(RefTarget::Direct(_)) | None => break,
            }
        }
        if matches!(next, Some(RefTarget::Symbolic(_))) {
            let reason = "it leads from reference to reference without an end".to_owned();
            findings.error(What::Ref { name: name.clone(), reason });
        }
    }
}

/// Says where what was found stands.
fn find_places(
    store: &Store,
    repo: &Repo,
    findings: &mut [Finding],
    progress: &dyn Progress,
) -> Result<()> {
    let wanted: HashSet<ObjectId> = findings.iter().filter_map(|f| f.what.object()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    progress.start("looking where it stands", None, Unit::Objects);
    let found: HashMap<ObjectId, Stands> = uses::places(store, repo.id, wanted, progress)?;
    for finding in findings {
        finding.stands = finding.what.object().and_then(|id| found.get(&id).cloned());
    }
    Ok(())
}

impl Connect<'_> {
    /// Checks the blobs that trees give a special name.
    fn check_special(mut self) -> Result<()> {
        let special = std::mem::take(&mut self.special);
        for (id, role) in special.iter() {
            let mut problems = Vec::new();
            let kind = self.kind(id).flatten();
            let Some(kind) = kind else {
                if !self.is_partial() {
                    check_special_blob(role, SpecialContent::Missing, &mut problems);
                }
                self.tell(*id, ObjectKind::Blob, problems);
                continue;
            };
            let header = match self.store().objects().header(id) {
                Ok(header) => header,
                Err(error) => fault::reason_of(error).map(|_| None)?,
            };
            if header.is_some_and(|header| header.len > SPECIAL_BLOB_LEN_MAX) {
                check_special_blob(role, SpecialContent::TooLarge, &mut problems);
            } else {
                match self.store().objects().read(id) {
                    Ok(Some(object)) => {
                        let content = SpecialContent::Object(object.kind, &object.data);
                        check_special_blob(role, content, &mut problems);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let reason = fault::reason_of(error)?;
                        self.unreadable(*id, reason);
                    }
                }
            }
            self.tell(*id, kind, problems);
        }
        Ok(())
    }
}
