//! The references of a push: one synced transaction, all of it or what can be of it.

use std::collections::BTreeMap;

use mega_storage::{Expect, RefEdit, RefName, RefTarget, RefTransaction, StoreError};

use super::channel::Channel;
use super::{Command, policy};
use crate::git::Service;

/// Why a command was not done in git's words, when the transaction says so.
const FAILED: &str = "failed to update ref";

/// Carries the commands out that nothing speaks against; refuses the others. Durable when it
/// returns.
///
/// # Errors
/// When the store cannot be read: nothing has been done then.
pub(super) fn apply(
    service: &Service<'_>,
    commands: &mut [Command],
    is_atomic: bool,
    channel: &Channel<'_>,
) -> Result<(), StoreError> {
    policy::check_changes(service, commands, channel)?;
    let edits = edits(service, commands)?;
    if is_atomic && commands.iter().any(|command| command.refusal.is_some()) {
        refuse_all(commands, "atomic push failure");
        return Ok(());
    }
    if edits.edits.is_empty() {
        return Ok(());
    }
    channel.decide();
    let refs = service.store.refs();
    let outcomes = if is_atomic {
        refs.apply(service.repo.id, &edits).map(|()| BTreeMap::new())
    } else {
        refs.apply_each(service.repo.id, &edits)
    };
    match outcomes {
        Ok(failed) if failed.is_empty() => {}
        Ok(failed) => {
            let aliases = policy::aliases(service, commands)?;
            tell_each(service, commands, &aliases, &failed, channel)?;
        }
        Err(error) => {
            if super::reason::is_ours(&error) && !is_conflict(&error) {
                tracing::error!(repo = %service.repo.name, %error, "a push failed");
                channel.say("error", "the server failed");
            } else {
                channel.say("error", &error.to_string());
            }
            refuse_all(commands, if is_atomic { "atomic transaction failed" } else { FAILED });
        }
    }
    Ok(())
}

fn refuse_all(commands: &mut [Command], reason: &'static str) {
    commands.iter_mut().for_each(|command| command.refuse(reason));
}

fn is_conflict(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::RefMoved { .. }
            | StoreError::RefConflict { .. }
            // Made by somebody else since this push began to make it.
            | StoreError::RepoExists { .. }
    )
}

/// The edits of the commands that are not refused. Two that lead to one reference by way of
/// symbolic ones must agree, and are one.
fn edits(service: &Service<'_>, commands: &mut [Command]) -> Result<RefTransaction, StoreError> {
    let aliases = policy::aliases(service, commands)?;
    let mut edits: Vec<RefEdit> = Vec::with_capacity(commands.len());
    let mut places: BTreeMap<RefName, usize> = BTreeMap::new();
    for command in commands.iter_mut().filter(|command| command.refusal.is_none()) {
        let Ok(name) = &command.name else { continue };
        let name = aliases.get(name).unwrap_or(name).clone();
        let expect = command.old.map_or(Expect::Absent, |old| Expect::Is(RefTarget::Direct(old)));
        let edit = RefEdit { name, expect, new: command.new.map(RefTarget::Direct) };
        if !aliases.is_empty() {
            match places.get(&edit.name) {
                Some(&place) if edits[place] == edit => continue,
                Some(_) => {
                    command.refuse("inconsistent aliased update");
                    continue;
                }
                None => drop(places.insert(edit.name.clone(), edits.len())),
            }
        }
        edits.push(edit);
    }
    Ok(RefTransaction { edits })
}

/// Refuses the commands whose edits could not be made.
fn tell_each(
    service: &Service<'_>,
    commands: &mut [Command],
    aliases: &BTreeMap<RefName, RefName>,
    failed: &BTreeMap<RefName, StoreError>,
    channel: &Channel<'_>,
) -> Result<(), StoreError> {
    for command in commands.iter_mut().filter(|command| command.refusal.is_none()) {
        let Ok(name) = &command.name else { continue };
        let target = aliases.get(name).unwrap_or(name);
        let Some(error) = failed.get(target) else { continue };
        if let (None, Some(old)) = (command.new, command.old)
            && service.store.refs().get(service.repo.id, target)?.is_none()
            && !service.store.objects().is_member(service.repo.id, &old)?
        {
            // Nothing is there, and what the client saw there never was here: as it wants it.
            channel.say("warning", &format!("deleting a non-existent ref {name}"));
            continue;
        }
        channel.say("error", &error.to_string());
        command.refuse(FAILED);
    }
    Ok(())
}
