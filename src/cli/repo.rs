//! `repo`: repositories as a whole.

use mega_storage::{
    Expect, RefEdit, RefName, RefTarget, RefTransaction, Repo, RepoName, SettingChange, Visibility,
};
use serde::Serialize;

use super::output::{Done, JsonName, Output, count, name};
use super::parse;
use crate::control::{ConfigChange, RepoCall, Request};
use crate::node::{self, Node, NodeError};

/// List, make, rename and delete repositories
///
/// With --json, list and show print one object a repository: name, visibility, head, origin,
/// created_unix; show adds objects and refs [{name, target, symbolic}].
#[derive(clap::Subcommand, Debug)]
pub(super) enum Verb {
    /// List all repositories
    List,
    /// Show a repository with its references
    Show {
        /// The repository
        #[arg(value_parser = parse::repo_name)]
        name: String,
    },
    /// Make an empty repository
    ///
    /// It is private, and its HEAD is the branch main.
    Create {
        /// The repository
        #[arg(value_parser = parse::repo_name)]
        name: String,
    },
    /// Delete a repository
    ///
    /// Its references are gone at once. One that is mounted is not deleted.
    Delete {
        /// The repository
        #[arg(value_parser = parse::repo_name)]
        name: String,
    },
    /// Give a repository another name
    Rename {
        /// The name it has
        #[arg(value_parser = parse::repo_name)]
        old: String,
        /// The name it gets
        #[arg(value_parser = parse::repo_name)]
        new: String,
    },
    /// Make a second repository with the same content
    ///
    /// Nothing is stored twice. From then on the two are independent.
    Fork {
        /// The repository to copy
        #[arg(value_parser = parse::repo_name)]
        name: String,
        /// The copy's name
        #[arg(value_parser = parse::repo_name)]
        new: String,
    },
    /// Set the branch that HEAD stands on
    Head {
        /// The repository
        #[arg(value_parser = parse::repo_name)]
        name: String,
        /// A branch
        branch: String,
    },
    /// Set who may see a repository
    ///
    /// public: everyone. mesh: peers that are allowed in. private: its owner and whom a token lets
    /// in.
    Visibility {
        /// The repository
        #[arg(value_parser = parse::repo_name)]
        name: String,
        /// Who
        #[arg(value_parser = ["public", "mesh", "private"])]
        visibility: String,
    },
    /// Show or change a repository's settings, in git's words
    ///
    /// Without KEY: all that are set. With KEY: its values, one a line. A value replaces those
    /// that were there.
    ///
    /// receive.fsckObjects (true): check what is pushed as 'git fsck' does; receive.fsck.ID =
    /// ignore, warn or error for one of its checks. receive.protect: a branch, as main or
    /// release/*, that no push rewinds or deletes (repeatable). receive.denyDeletes,
    /// receive.denyNonFastForwards (false): for all branches. receive.denyDeleteCurrent (true).
    /// receive.quota: bytes of git objects, as 500m or 2g. receive.maxInputSize: bytes of one
    /// push. receive.maxRefs (100000): references that one push may change. receive.postReceive:
    /// absolute path of a program to run after each push, for a minute at the most.
    /// transfer.hideRefs, receive.hideRefs, uploadpack.hideRefs: references that are not shown
    /// (repeatable).
    /// uploadpack.advertiseBundleURIs (true): tell clients of a bundle of the default branch.
    /// swarm.allowRead, swarm.allowWrite: the id of a peer that may read, or read and push, the
    /// repository whatever its visibility (repeatable). swarm.seed (mounted): when a copy of a
    /// peer's public repository is served on: always, while it is mounted, or never.
    /// swarm.upstream: address of the same repository on a mega-store server, which is asked for
    /// what no peer answers, from the next mount on.
    Config {
        /// The repository
        #[arg(value_parser = parse::repo_name)]
        name: String,
        /// The setting
        key: Option<String>,
        /// Its value
        value: Option<String>,
        /// Remove the setting
        #[arg(long, requires = "key", conflicts_with_all = ["value", "add"])]
        unset: bool,
        /// Keep the values that it has
        #[arg(long, requires = "value")]
        add: bool,
    },
}

impl Verb {
    pub(super) fn request(&self) -> Request {
        Request::Repo(match self {
            Self::List => RepoCall::List,
            Self::Show { name } => RepoCall::Show(name.clone()),
            Self::Create { name } => RepoCall::Create(name.clone()),
            Self::Delete { name } => RepoCall::Delete(name.clone()),
            Self::Rename { old, new } => RepoCall::Rename { old: old.clone(), new: new.clone() },
            Self::Fork { name, new } => RepoCall::Fork { name: name.clone(), new: new.clone() },
            Self::Head { name, branch } => {
                RepoCall::Head { name: name.clone(), branch: branch.clone() }
            }
            Self::Visibility { name, visibility } => {
                RepoCall::Visibility { name: name.clone(), visibility: visibility.clone() }
            }
            Self::Config { name, key, value, unset, add } => {
                let change = match value.clone() {
                    Some(value) if *add => ConfigChange::Add(value),
                    Some(value) => ConfigChange::Set(value),
                    None if *unset => ConfigChange::Unset,
                    None => ConfigChange::Show,
                };
                RepoCall::Config { name: name.clone(), key: key.clone(), change }
            }
        })
    }
}

pub(super) fn answer(node: &Node, call: &RepoCall, out: &Output<'_>) -> Result<Done, NodeError> {
    let repos = node.store().repos();
    match call {
        RepoCall::List => {
            for repo in repos.list()? {
                let row = Row::new(node, &repo)?;
                out.either(&row, format_args!("{}", row.name))?;
            }
        }
        RepoCall::Show(name) => show(node, &repos.get(&RepoName::new(name)?)?, out)?,
        RepoCall::Create(name) => {
            let repo = repos.create(&RepoName::new(name)?, Visibility::Private)?;
            let main = RefName::new(b"refs/heads/main")?;
            let new = Some(RefTarget::Symbolic(main));
            let edit = RefEdit { name: RefName::head(), expect: Expect::Absent, new };
            node.store().refs().apply(repo.id, &RefTransaction { edits: vec![edit] })?;
            changed(node, &repo.name, "made", out)?;
        }
        RepoCall::Delete(name) => {
            node::delete_repo(node, &RepoName::new(name)?)?;
            out.note(format_args!("{name}: deleted"));
        }
        RepoCall::Rename { old, new } => {
            let new = RepoName::new(new)?;
            repos.rename(&RepoName::new(old)?, &new)?;
            changed(node, &new, &format!("renamed from {old}"), out)?;
        }
        RepoCall::Fork { name, new } => {
            let fork = repos.fork(&RepoName::new(name)?, &RepoName::new(new)?)?;
            changed(node, &fork.name, &format!("forked from {name}"), out)?;
        }
        RepoCall::Head { name, branch } => {
            let name = RepoName::new(name)?;
            let head = node::set_head(node, &name, branch)?;
            changed(node, &name, &format!("HEAD is {head}"), out)?;
        }
        RepoCall::Visibility { name, visibility } => {
            let name = RepoName::new(name)?;
            repos.set_visibility(&name, visibility_of(visibility)?)?;
            changed(node, &name, visibility, out)?;
        }
        RepoCall::Config { name, key, change } => {
            return config(node, &RepoName::new(name)?, key.as_deref(), change, out);
        }
    }
    Ok(Done::Whole)
}

fn config(
    node: &Node,
    name: &RepoName,
    key: Option<&str>,
    change: &ConfigChange,
    out: &Output<'_>,
) -> Result<Done, NodeError> {
    let store = node.store();
    let repo = store.repos().get(name)?;
    let change = match (change, key) {
        (ConfigChange::Show, _) | (_, None) => None,
        (ConfigChange::Set(value), Some(key)) => Some((key, SettingChange::Set(value.clone()))),
        (ConfigChange::Add(value), Some(key)) => Some((key, SettingChange::Add(value.clone()))),
        (ConfigChange::Unset, Some(key)) => Some((key, SettingChange::Unset)),
    };
    if let Some((key, change)) = change {
        store.set_setting(repo.id, key, &change)?;
        out.note(format_args!(
            "{name}: {key} is {}",
            match &change {
                SettingChange::Set(value) => format!("{value} now"),
                SettingChange::Add(value) => format!("{value} too now"),
                SettingChange::Unset => "not set now".to_owned(),
            }
        ));
        return Ok(Done::Whole);
    }
    let settings = store.settings(repo.id)?;
    let mut is_there = key.is_none();
    for (own, value) in settings.entries() {
        if key.is_some_and(|key| !key.eq_ignore_ascii_case(own)) {
            continue;
        }
        is_there = true;
        let row = Setting { key: own, value };
        match key {
            Some(_) => out.either(&row, format_args!("{value}"))?,
            None => out.either(&row, format_args!("{own}={value}"))?,
        }
    }
    if is_there {
        return Ok(Done::Whole);
    }
    Ok(Done::Partly {
        error: format!("{name} has no setting {}", key.unwrap_or_default()),
        hint: format!("'mega-store repo config {name}' shows those that it has"),
    })
}

#[derive(Serialize)]
struct Setting<'a> {
    key: &'a str,
    value: &'a str,
}

fn visibility_of(text: &str) -> Result<Visibility, NodeError> {
    [Visibility::Private, Visibility::Mesh, Visibility::Public]
        .into_iter()
        .find(|visibility| visibility.as_str() == text)
        .ok_or_else(|| NodeError::BadArgument {
            text: text.to_owned(),
            expected: "public, mesh or private",
        })
}

/// Says what was done; with JSON, shows the repository as it is now.
fn changed(node: &Node, name: &RepoName, what: &str, out: &Output<'_>) -> Result<(), NodeError> {
    if out.is_json() {
        out.json(&Row::new(node, &node.store().repos().get(name)?)?)?;
    }
    out.note(format_args!("{name}: {what}"));
    Ok(())
}

#[derive(Serialize)]
struct Row {
    name: String,
    visibility: &'static str,
    head: Option<String>,
    origin: Option<String>,
    created_unix: u64,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    row: Row,
    objects: u64,
    refs: Vec<ShownRef>,
}

#[derive(Serialize)]
struct ShownRef {
    #[serde(flatten)]
    name: JsonName,
    /// The object that it leads to; null when it leads nowhere.
    target: Option<String>,
    /// The reference that it stands for.
    symbolic: Option<String>,
}

impl Row {
    fn new(node: &Node, repo: &Repo) -> Result<Self, NodeError> {
        Ok(Self {
            name: repo.name.to_string(),
            visibility: repo.visibility.as_str(),
            head: node::head_branch(node, repo)?,
            origin: repo.origin.clone(),
            created_unix: repo.created_unix,
        })
    }
}

fn show(node: &Node, repo: &Repo, out: &Output<'_>) -> Result<(), NodeError> {
    let row = Row::new(node, repo)?;
    let objects = node.store().objects().member_count(repo.id)?;
    let refs = node.store().refs().list(repo.id, b"refs/")?;
    if out.is_json() {
        let shown = |(name, target): &(RefName, RefTarget)| {
            Ok(ShownRef {
                name: JsonName::new(name.as_bytes()),
                target: node.store().refs().resolve(repo.id, name)?.map(|id| id.to_string()),
                symbolic: match target {
                    RefTarget::Direct(_) => None,
                    RefTarget::Symbolic(to) => Some(to.to_string()),
                },
            })
        };
        let refs = refs.iter().map(shown).collect::<Result<_, NodeError>>()?;
        return out.json(&Shown { row, objects, refs });
    }
    out.line(format_args!("name        {}", row.name))?;
    out.line(format_args!("visibility  {}", row.visibility))?;
    out.line(format_args!("head        {}", row.head.as_deref().unwrap_or("none")))?;
    out.line(format_args!(
        "origin      {}",
        name(row.origin.as_deref().unwrap_or("none").as_bytes())
    ))?;
    out.line(format_args!(
        "contents    {}, {}",
        count(objects, "object"),
        count(refs.len() as u64, "ref")
    ))?;
    for (reference, target) in refs {
        out.line(format_args!("{target} {}", name(reference.as_bytes())))?;
    }
    Ok(())
}
