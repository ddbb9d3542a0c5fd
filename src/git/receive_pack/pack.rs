//! The pack of a push: into quarantine, checked, connected; kept when a command still wants it.

use mega_storage::object::{Problem, Severity};
use mega_storage::{
    FsckLevel, IngestOptions, IngestReport, ObjectId, PackError, PackInput, PackLimits,
    PreparedPack, RepoSettings, StoreError,
};

use super::channel::Channel;
use super::commands::Request;
use super::{Command, ReceiveReport, Watched, reason};
use crate::git::Service;

/// Takes the pack in. Commands that need what is missing are refused; the others go on. What is
/// returned keeps the pack's objects from gc until references name them.
///
/// # Errors
/// The reason for `unpack`: then nothing is kept, and no command is carried out.
pub(super) fn take(
    service: &Service<'_>,
    request: &mut Request,
    input: &mut Watched<'_>,
    channel: &Channel<'_>,
    done: &mut ReceiveReport,
) -> Result<Option<IngestReport>, String> {
    let told = |error: StoreError| {
        if reason::is_ours(&error) {
            tracing::error!(repo = %service.repo.name, %error, "a push failed");
        }
        reason::of_store(&error)
    };
    let room = room(service).map_err(told)?;
    let options = IngestOptions { limits: limits(service.settings, room), links: true };
    let objects = service.store.objects();
    let prepared =
        objects.prepare_pack(service.repo.id, PackInput::Stream(input), &options, channel);
    let mut prepared = prepared.map_err(|error| match error {
        StoreError::Limit { what: "length of a pack", limit, .. } if room == Some(limit) => {
            over_quota(service)
        }
        error => told(error),
    })?;
    channel.talk();
    if service.settings.checks_objects() {
        check_content(service.settings, &prepared, channel).map_err(told)?;
    }
    let is_whole = connect(service, request, &mut prepared, channel).map_err(told)?;
    let is_wanted = |command: &Command| command.new.is_some() && command.refusal.is_none();
    if !is_whole || !request.commands.iter().any(is_wanted) {
        return Ok(None);
    }
    if channel_stops(channel) {
        return Err(told(StoreError::Interrupted));
    }
    channel.decide();
    // From here on the push counts on files that are here.
    for pointer in prepared.pointers() {
        service.store.files().has_for_push(service.repo.id, &pointer.file).map_err(told)?;
    }
    (done.pack_len, done.object_count) = (prepared.pack_len(), prepared.object_count());
    let taken = prepared.commit().map_err(|error| {
        (done.pack_len, done.object_count) = (0, 0);
        told(error)
    })?;
    if let Some(closed) = &taken.closed {
        service.store.keep_closure(service.repo.id, closed);
    }
    Ok(Some(taken))
}

fn channel_stops(channel: &Channel<'_>) -> bool {
    mega_storage::Progress::interrupted(channel)
}

/// How many bytes the repository's quota leaves.
fn room(service: &Service<'_>) -> Result<Option<u64>, StoreError> {
    let Some(quota) = service.settings.quota_len() else { return Ok(None) };
    Ok(Some(quota.saturating_sub(service.store.objects().usage(service.repo.id)?)))
}

fn over_quota(service: &Service<'_>) -> String {
    let quota = service.settings.quota_len().unwrap_or_default();
    format!("the repository would exceed its quota ({quota} bytes)")
}

fn limits(settings: &RepoSettings, room: Option<u64>) -> PackLimits {
    let mut limits = PackLimits::default();
    for len in [settings.max_input_len(), room].into_iter().flatten() {
        limits.pack_len_max = limits.pack_len_max.min(len);
    }
    limits
}

/// Weighs what git's checks found: as `index-pack --strict` does, unless the repository says
/// otherwise for a check.
fn check_content(
    settings: &RepoSettings,
    prepared: &PreparedPack<'_>,
    channel: &Channel<'_>,
) -> Result<(), StoreError> {
    let mut refused = None;
    for (id, problem) in prepared.problems() {
        match level(settings, problem) {
            FsckLevel::Ignore => {}
            FsckLevel::Warn => channel.say("warning", &format!("object {id}: {problem}")),
            FsckLevel::Error => {
                channel.say("error", &format!("object {id}: {problem}"));
                let problem = problem.to_string();
                refused.get_or_insert(PackError::Content { id: *id, problem });
            }
        }
    }
    refused.map_or(Ok(()), |error| Err(error.into()))
}

fn level(settings: &RepoSettings, problem: &Problem) -> FsckLevel {
    match (problem.severity, settings.fsck_level(problem.id)) {
        // Git lets nobody demote it.
        (Severity::Fatal, _) => FsckLevel::Error,
        (_, Some(level)) => level,
        (Severity::Error | Severity::Warn, None) => FsckLevel::Error,
        (Severity::Info, None) => FsckLevel::Warn,
    }
}

/// Refuses commands whose objects are not all here. Those for what the repository had before go on:
/// that is whole. `false` when nothing of the pack may be kept.
fn connect(
    service: &Service<'_>,
    request: &mut Request,
    prepared: &mut PreparedPack<'_>,
    channel: &Channel<'_>,
) -> Result<bool, StoreError> {
    let is_shallow = request.is_shallow;
    let new = request.commands.iter().filter(|c| c.refusal.is_none()).filter_map(|c| c.new);
    let mut tips: Vec<ObjectId> = new.collect();
    tips.sort_unstable();
    tips.dedup();
    let missing = prepared.missing(&tips)?;
    tips.retain(|tip| missing.binary_search(tip).is_err());
    let lacking = "missing necessary objects";
    for command in &mut request.commands {
        if command.new.is_some_and(|id| missing.binary_search(&id).is_ok()) {
            command.refuse(lacking);
        }
    }
    let reason = match prepared.check_connected(&tips) {
        Ok(()) => return Ok(true),
        Err(error @ StoreError::Pack(PackError::MissingLink { .. })) if is_shallow => {
            channel.say("error", &error.to_string());
            "shallow update not allowed"
        }
        Err(
            error @ (StoreError::Pack(
                PackError::MissingLink { .. }
                | PackError::WrongLink { .. }
                | PackError::TreeTooDeep { .. },
            )
            | StoreError::MalformedObject { .. }
            | StoreError::MissingObject { .. }),
        ) => {
            channel.say("error", &error.to_string());
            lacking
        }
        Err(error) => return Err(error),
    };
    let members = service.store.objects().are_members(service.repo.id, &tips)?;
    for command in &mut request.commands {
        let index = command.new.map(|id| tips.binary_search(&id));
        if let Some(Ok(index)) = index
            && !members[index]
        {
            command.refuse(reason);
        }
    }
    Ok(false)
}
