//! Which commands are not carried out, and why: names, hidden references, deletions, rewinds.

use std::collections::{BTreeMap, BTreeSet};

use mega_storage::object::ObjectKind;
use mega_storage::{ObjectId, RefName, RefTarget, StoreError};

use super::Command;
use super::channel::Channel;
use crate::git::Service;

const BRANCHES: &[u8] = b"refs/heads/";
/// From this many commands on, one pass over all references is cheaper than looking each name up.
const ONE_PASS_COUNT: usize = 256;

/// What can be said before the pack is read: names that git does not take, those that are hidden,
/// those that stand twice.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn check_names(
    service: &Service<'_>,
    commands: &mut [Command],
) -> Result<(), StoreError> {
    for command in commands.iter_mut() {
        let is_deletion = command.new.is_none();
        match &command.name {
            Err(_) => command.refuse("funny refname"),
            // What an import brought can go.
            Ok(name) if !is_deletion && is_funny(name) => command.refuse("funny refname"),
            Ok(name) if service.settings.hides_from_push(name) => {
                let what = if is_deletion { "deleting" } else { "updating" };
                command.refuse(format!("deny {what} a hidden ref"));
            }
            Ok(_) => {}
        }
    }
    let mut order: Vec<usize> = (0..commands.len()).collect();
    order.retain(|&index| commands[index].refusal.is_none());
    // Stable: the first of a name stays the first.
    order.sort_by(|&a, &b| commands[a].name_bytes().cmp(commands[b].name_bytes()));
    let is_same =
        |pair: &&[usize]| commands[pair[0]].name_bytes() == commands[pair[1]].name_bytes();
    let repeated: Vec<usize> = order.windows(2).filter(is_same).map(|pair| pair[1]).collect();
    for index in repeated {
        commands[index].refuse("multiple updates for one ref");
    }
    Ok(())
}

/// What stands directly below `refs/`, as in git; and branches that no git command would make: an
/// option's name, and the name of what stands for the current branch.
fn is_funny(name: &RefName) -> bool {
    let branch = name.as_bytes().strip_prefix(BRANCHES);
    let is_single = !name.as_bytes().get(5..).is_some_and(|rest| rest.contains(&b'/'));
    is_single || branch.is_some_and(|branch| branch.starts_with(b"-") || branch == b"HEAD")
}

/// Symbolic references among the names of commands, each with the reference it leads to. A push to
/// one is a push to that, as in git.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn aliases(
    service: &Service<'_>,
    commands: &[Command],
) -> Result<BTreeMap<RefName, RefName>, StoreError> {
    let (refs, repo) = (service.store.refs(), service.repo.id);
    let names =
        commands.iter().filter(|c| c.refusal.is_none()).filter_map(|c| c.name.as_ref().ok());
    let mut aliases = BTreeMap::new();
    let mut follow = |name: &RefName, mut target: RefName| -> Result<(), StoreError> {
        for _ in 0..mega_storage::SYMREF_HOPS_MAX {
            match refs.get(repo, &target)? {
                Some(RefTarget::Symbolic(next)) => target = next,
                Some(RefTarget::Direct(_)) | None => break,
            }
        }
        aliases.insert(name.clone(), target);
        Ok(())
    };
    if commands.len() < ONE_PASS_COUNT {
        for name in names {
            if let Some(RefTarget::Symbolic(target)) = refs.get(repo, name)? {
                follow(name, target)?;
            }
        }
        return Ok(aliases);
    }
    let names: BTreeSet<&RefName> = names.collect();
    for (name, target) in refs.list(repo, b"refs/")? {
        if let RefTarget::Symbolic(target) = target
            && names.contains(&name)
        {
            follow(&name, target)?;
        }
    }
    Ok(aliases)
}

/// What can be said once the objects are here, in the order in which git looks.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn check_changes(
    service: &Service<'_>,
    commands: &mut [Command],
    channel: &Channel<'_>,
) -> Result<(), StoreError> {
    let head = match service.store.refs().get(service.repo.id, &RefName::head())? {
        Some(RefTarget::Symbolic(branch)) => Some(branch),
        Some(RefTarget::Direct(_)) | None => None,
    };
    for command in commands.iter_mut().filter(|command| command.refusal.is_none()) {
        let Ok(name) = &command.name else { continue };
        let refusal = match (command.old, command.new) {
            (_, None) => check_deletion(service, name, head.as_ref()),
            (Some(old), Some(new)) => check_rewind(service, name, &old, &new)?,
            (None, Some(_)) => None,
        };
        if let Some((reason, words)) = refusal {
            channel.say("error", &words);
            command.refuse(reason);
        }
    }
    check_branches(service, commands, channel)
}

type Refusal = Option<(&'static str, String)>;

fn check_deletion(service: &Service<'_>, name: &RefName, head: Option<&RefName>) -> Refusal {
    let is_branch = name.as_bytes().starts_with(BRANCHES);
    if (is_branch && service.settings.denies_deletes()) || service.settings.is_protected(name) {
        return Some(("deletion prohibited", format!("denying ref deletion for {name}")));
    }
    if head == Some(name) && service.settings.denies_deleting_head() {
        let words = format!("refusing to delete the current branch: {name}");
        return Some(("deletion of the current branch prohibited", words));
    }
    None
}

fn check_rewind(
    service: &Service<'_>,
    name: &RefName,
    old: &ObjectId,
    new: &ObjectId,
) -> Result<Refusal, StoreError> {
    let is_branch = name.as_bytes().starts_with(BRANCHES);
    let forbids =
        (is_branch && service.settings.denies_rewinds()) || service.settings.is_protected(name);
    if !forbids || old == new {
        return Ok(None);
    }
    let members = service.store.objects().are_members(service.repo.id, &[*old])?;
    // What is not here is not what the reference stands at either: the swap will tell.
    if members == [true] && !service.store.is_ancestor(service.repo.id, old, new)? {
        let words = format!("denying non-fast-forward {name} (you should pull first)");
        return Ok(Some(("non-fast-forward", words)));
    }
    Ok(None)
}

/// A branch is a commit.
fn check_branches(
    service: &Service<'_>,
    commands: &mut [Command],
    channel: &Channel<'_>,
) -> Result<(), StoreError> {
    let is_branch = |c: &Command| c.refusal.is_none() && c.name_bytes().starts_with(BRANCHES);
    let mut tips: Vec<ObjectId> =
        commands.iter().filter(|c| is_branch(c)).filter_map(|c| c.new).collect();
    tips.sort_unstable();
    tips.dedup();
    let kinds = service.store.objects().kinds(&tips)?;
    for command in commands.iter_mut().filter(|c| is_branch(c)) {
        let Some(new) = command.new else { continue };
        let kind = tips.binary_search(&new).ok().and_then(|index| kinds[index]);
        if kind.is_some_and(|kind| kind != ObjectKind::Commit) {
            let name = String::from_utf8_lossy(command.name_bytes()).into_owned();
            let words = format!("trying to write non-commit object {new} to branch '{name}'");
            channel.say("error", &words);
            command.refuse("failed to update ref");
        }
    }
    Ok(())
}
