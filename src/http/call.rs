//! One request, admitted: everything that a handler needs.

use std::io::Read;

use mega_storage::{Repo, RepoDraft, RepoName, Store, StoreError};

use super::Shared;
use super::access::{Caller, Rights};
use super::answer::{Responder, Stop};
use super::ask::Ask;
use super::bridge::BodyReader;
use super::error::HttpError;
use super::table::{Names, Need, Route};
use crate::audit::Entry;

/// One request.
pub struct Call<'a> {
    /// What the server has for all requests.
    pub shared: &'a Shared,
    /// Its head.
    pub ask: &'a Ask,
    /// Its route.
    pub route: &'static Route,
    /// What stands in its path.
    pub names: Names,
    /// Who asks.
    pub caller: Caller,
    /// The repository in the path; none where the path names none, or one to be made.
    pub repo: Option<Repo>,
    /// Holds the repository in the path while it is to be made.
    pub draft: Option<RepoDraft>,
    /// Its body.
    pub body: BodyReader,
    /// Takes the answer.
    pub out: Responder,
    /// Tells when to stop.
    pub stop: Stop,
}

impl<'a> Call<'a> {
    /// The store.
    pub fn store(&self) -> &'a Store {
        &self.shared.store
    }

    /// Checks what the route needs, and finds the repository in the path.
    ///
    /// # Errors
    /// The answer to whoever may not.
    pub(super) fn admit(&mut self) -> Result<(), HttpError> {
        if self.route.need != Need::Nothing && matches!(self.caller, Caller::Unknown) {
            return Err(HttpError::unauthorized());
        }
        if self.route.is_write() && self.shared.is_read_only {
            return Err(HttpError::read_only());
        }
        match self.route.need {
            Need::Nothing | Need::OwnEyes => Ok(()),
            Need::Operator if self.caller.is_operator() => Ok(()),
            Need::Operator if self.caller.is_nobody() => Err(HttpError::unauthorized()),
            Need::Operator => Err(HttpError::not_for_you()),
            Need::Read => self.find_repo(Rights::Read),
            Need::Write => self.find_repo(Rights::Write),
        }
    }

    fn find_repo(&mut self, needed: Rights) -> Result<(), HttpError> {
        let name = self.repo_name();
        let found = match &name {
            Some(name) => self.store().repos().find(name)?,
            None => None,
        };
        let rights = found.as_ref().map_or(Rights::None, |repo| self.caller.rights(repo));
        if rights >= needed {
            // Every route below a repository's name needs the whole of it.
            found.as_ref().map_or(Ok(()), Repo::check_whole)?;
            self.repo = found;
            return Ok(());
        }
        let may_make = self.route.makes_repo && self.caller.may_create() && name.is_some();
        if found.is_none() && may_make {
            return Ok(());
        }
        Err(self.refusal(rights))
    }

    /// The answer to whoever may do with a repository only what `rights` says, and asked for more.
    ///
    /// Invariant: without the right to read it is the same whether the repository is there.
    pub fn refusal(&self, rights: Rights) -> HttpError {
        use super::table::Group;
        let asks_password = match self.route.group {
            Group::Git | Group::Lfs => true,
            Group::Api => rights >= Rights::Read,
        };
        match rights {
            _ if self.caller.is_nobody() && asks_password => HttpError::unauthorized(),
            Rights::None => HttpError::not_found(),
            Rights::Read | Rights::Write | Rights::Owner => HttpError::forbidden(),
        }
    }

    /// The name in the path; none when it cannot be a repository's.
    pub fn repo_name(&self) -> Option<RepoName> {
        RepoName::new(self.names.get("repo")?).ok()
    }

    /// The repository in the path.
    ///
    /// # Errors
    /// 404 for one that is still to be made.
    pub fn repo(&self) -> Result<&Repo, HttpError> {
        self.repo.as_ref().ok_or_else(HttpError::not_found)
    }

    /// The repository in the path; where there is none, one that is made by what this request puts
    /// into it, and by nothing else.
    ///
    /// # Errors
    /// As [`mega_storage::RepoStore::draft`]; 404 to whoever may not.
    pub fn repo_or_new(&mut self) -> Result<Repo, HttpError> {
        if let Some(repo) = &self.repo {
            return Ok(repo.clone());
        }
        let name = self.repo_name().ok_or_else(HttpError::not_found)?;
        if !self.caller.may_create() {
            return Err(HttpError::not_found());
        }
        if self.shared.is_read_only {
            return Err(HttpError::read_only());
        }
        match self.store().repos().draft(&name) {
            Ok(draft) => {
                let repo = draft.repo().clone();
                self.draft = Some(draft);
                self.repo = Some(repo.clone());
                Ok(repo)
            }
            // Somebody else's push came at the same time, and is done.
            Err(StoreError::RepoExists { .. }) => {
                self.find_repo(Rights::Write)?;
                Ok(self.repo()?.clone())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The repository that `repo=` names, in which a caller looks for content by its hash. Without
    /// one it is looked for in all that are public.
    ///
    /// # Errors
    /// 404 for one that they may not read.
    pub fn scope(&self) -> Result<Option<Repo>, HttpError> {
        let Some(name) = self.ask.parameter("repo") else { return Ok(None) };
        let name = RepoName::new(name).map_err(|_| HttpError::not_found())?;
        let found = self.store().repos().find(&name)?;
        let readable = found.filter(|repo| self.caller.rights(repo) >= Rights::Read);
        readable.map(Some).ok_or_else(HttpError::not_found)
    }

    /// Whether the caller is the owner and named no repository: then all content is theirs.
    pub fn sees_all(&self) -> bool {
        matches!(self.caller, Caller::Owner) && self.ask.parameter("repo").is_none()
    }

    /// Writes a line about it into the audit log.
    pub(super) fn note(&self, action: &str, status: u16) {
        let repo = self.repo.as_ref().map(|repo| repo.name.clone()).or_else(|| self.repo_name());
        let id = self.names.get("oid").filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit()));
        self.shared.audit.note(&Entry {
            who: &self.caller.name(),
            from: Some(self.ask.from.ip().to_string()),
            action,
            route: format!("{} {}", self.route.method.as_str(), self.route.pattern),
            repo: repo.as_ref().map(RepoName::as_str),
            id: id.map(str::to_owned),
            status,
            in_len: self.body.read_len(),
        });
    }

    /// Reads a body that is small.
    ///
    /// # Errors
    /// 413 past `len_max` bytes.
    pub fn small_body(&mut self, len_max: u64) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        let read = (&mut self.body).take(len_max + 1).read_to_end(&mut body);
        read.map_err(|error| HttpError::of_body(&error))?;
        if body.len() as u64 > len_max {
            return Err(HttpError::too_large(len_max));
        }
        Ok(body)
    }
}
