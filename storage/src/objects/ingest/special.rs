//! The second step of the content checks: blobs that trees name `.gitmodules` or `.gitattributes`.

use std::collections::BTreeMap;

use super::quarantine::Quarantine;
use super::resolve::Resolved;
use super::whole::PackReader;
use crate::error::Result;
use crate::id::{ObjectId, RepoId};
use crate::object::ObjectKind;
use crate::object::check::{SPECIAL_BLOB_LEN_MAX, SpecialContent, check_special_blob};
use crate::objects::ObjectStore;

/// Checks every noted blob, from the pack or from what is stored. One that is in neither is no
/// problem here: a tree may name objects that come later. What only another repository has is in
/// neither: a check's word would tell of it.
pub(super) fn check(
    store: &ObjectStore,
    repo: RepoId,
    quarantine: &Quarantine,
    resolved: &mut Resolved,
) -> Result<()> {
    if resolved.special.is_empty() {
        return Ok(());
    }
    let mut found = Vec::new();
    {
        let reader = PackReader::new(quarantine, resolved)?;
        let noted: BTreeMap<&ObjectId, u32> = resolved
            .objects
            .iter()
            .zip(0..)
            .filter(|(object, _)| resolved.special.contains(&object.id))
            .map(|(object, position)| (&object.id, position))
            .collect();
        for (id, role) in resolved.special.iter() {
            let (kind, len, data) = match noted.get(id) {
                Some(&position) => {
                    let object = &resolved.objects[position as usize];
                    let small = object.len <= SPECIAL_BLOB_LEN_MAX;
                    (object.kind, object.len, small.then(|| reader.read(position)).transpose()?)
                }
                None if !store.is_member(repo, id)? => continue,
                None => match store.header(id)? {
                    Some(header) if header.len <= SPECIAL_BLOB_LEN_MAX => {
                        let object = store.read(id)?;
                        (header.kind, header.len, object.map(|o| o.data))
                    }
                    Some(header) => (header.kind, header.len, None),
                    None => continue,
                },
            };
            found.extend(problems(id, role, kind, len, data.as_deref()));
        }
    }
    for (id, problem) in found {
        resolved.problems.add(id, problem);
    }
    Ok(())
}

fn problems(
    id: &ObjectId,
    role: crate::object::check::SpecialRole,
    kind: ObjectKind,
    len: u64,
    data: Option<&[u8]>,
) -> Vec<(ObjectId, crate::object::check::Problem)> {
    let content = match data {
        Some(data) => SpecialContent::Object(kind, data),
        None if len > SPECIAL_BLOB_LEN_MAX => SpecialContent::TooLarge,
        None => return Vec::new(),
    };
    let mut found = Vec::new();
    check_special_blob(role, content, &mut found);
    found.into_iter().map(|problem| (*id, problem)).collect()
}
