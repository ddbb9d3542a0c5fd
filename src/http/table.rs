//! What a route is, and which one a path belongs to.
//!
//! A pattern is literal segments, `{repo}` (one to four segments; a `.git` at their end is not part
//! of the name where the pattern says `{repo}.git`), and names in braces for one segment each.

use hyper::Method;
use utoipa::openapi::{RefOr, Schema};

use super::call::Call;
use super::error::HttpError;

/// Most segments of a repository's name.
const REPO_SEGMENTS_MAX: usize = 4;

/// A route's method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// GET, and HEAD.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}

impl Verb {
    /// As it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.as_str() == method.as_str() || (self == Self::Get && *method == Method::HEAD)
    }
}

/// Whose protocol a route speaks: the shape of its errors, and whether it asks for a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Ours.
    Api,
    /// Git's smart HTTP.
    Git,
    /// LFS.
    Lfs,
}

/// What a caller needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The handler itself shows each caller what they may see.
    OwnEyes,
    /// To read the repository in the path.
    Read,
    /// To write to the repository in the path.
    Write,
    /// To see the server's own numbers.
    Operator,
}

/// How much work an answer may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// As other requests.
    Light,
    /// A pack in or out: only so many at once.
    Pack,
}

/// A parameter of the query.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// A schema with its name.
pub type Named = (String, RefOr<Schema>);

/// What a good answer has.
pub struct Offer {
    /// Its media type.
    pub media_type: &'static str,
    /// Its JSON: schemas by name, its own first.
    pub schema: Option<fn() -> Vec<Named>>,
}

/// A handler: answers through [`Call::out`], or fails.
pub type Handler = fn(&mut Call<'_>) -> Result<(), HttpError>;

/// One route.
#[derive(Clone, Copy)]
pub struct Route {
    /// GET stands for HEAD too.
    pub method: Verb,
    /// The path.
    pub pattern: &'static str,
    /// What the query's `service` must be.
    pub service: Option<&'static str>,
    /// Whose protocol.
    pub group: Group,
    /// What a caller needs.
    pub need: Need,
    /// A caller that may make repositories may name one that is not there yet.
    pub makes_repo: bool,
    /// How much work.
    pub load: Load,
    /// Media types that a body may have; none means that the route takes no body that a page could
    /// send.
    pub takes: &'static [&'static str],
    /// Answers it.
    pub handler: Handler,
    /// For people.
    pub doc: &'static str,
    /// The query's parameters.
    pub parameters: &'static [Parameter],
    /// What it answers with.
    pub offers: &'static [Offer],
}

impl Route {
    /// A route that reads.
    pub const fn get(
        group: Group,
        pattern: &'static str,
        need: Need,
        handler: Handler,
        doc: &'static str,
    ) -> Self {
        Self {
            method: Verb::Get,
            pattern,
            service: None,
            group,
            need,
            makes_repo: false,
            load: Load::Light,
            takes: &[],
            handler,
            doc,
            parameters: &[],
            offers: &[],
        }
    }

    /// A route that takes a body of one of these media types.
    pub const fn post(
        group: Group,
        pattern: &'static str,
        need: Need,
        handler: Handler,
        takes: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self { method: Verb::Post, takes, ..Self::get(group, pattern, need, handler, doc) }
    }

    /// A route that takes content of any type.
    pub const fn put(
        group: Group,
        pattern: &'static str,
        need: Need,
        handler: Handler,
        doc: &'static str,
    ) -> Self {
        Self { method: Verb::Put, ..Self::get(group, pattern, need, handler, doc) }
    }

    /// The same for one `service` only.
    pub const fn of_service(self, service: &'static str) -> Self {
        Self { service: Some(service), ..self }
    }

    /// The same, where the repository may be made.
    pub const fn makes_repo(self) -> Self {
        Self { makes_repo: true, ..self }
    }

    /// The same with a pack.
    pub const fn with_pack(self) -> Self {
        Self { load: Load::Pack, ..self }
    }

    /// The same with these parameters.
    pub const fn parameters(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    /// The same with these answers.
    pub const fn offers(self, offers: &'static [Offer]) -> Self {
        Self { offers, ..self }
    }

    /// Whether the route's purpose is a change.
    pub fn is_write(&self) -> bool {
        self.need == Need::Write && self.method != Verb::Get
    }
}

/// What stands in the path at the names in braces, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names(Vec<(&'static str, String)>);

impl Names {
    /// What stands at `{name}`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

/// What a table has for a path.
pub enum Found<'a> {
    /// A route.
    Route(&'a Route, Names),
    /// The path is a route's, but not with this method. The methods that it has.
    OtherMethod(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Finds the route of a path: the first that fits.
pub fn find<'a>(
    table: &'a [Route],
    method: &Method,
    segments: &[String],
    service: Option<&str>,
) -> Found<'a> {
    let mut others: Vec<&'static str> = Vec::new();
    for route in table {
        if route.service.is_some() && route.service != service {
            continue;
        }
        let Some(names) = fit(route.pattern, segments) else { continue };
        if route.method.takes(method) {
            return Found::Route(route, names);
        }
        let name = route.method.as_str();
        if !others.contains(&name) {
            others.push(name);
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethod(others) }
}

/// What the segments have at the pattern's names; `None` when they do not fit.
fn fit(pattern: &'static str, segments: &[String]) -> Option<Names> {
    let parts: Vec<&'static str> = pattern.split('/').skip(1).collect();
    let mut names = Names::default();
    let mut rest = segments;
    for (index, part) in parts.iter().enumerate() {
        let take = match *part {
            "{repo}" | "{repo}.git" => rest.len().checked_sub(parts.len() - index - 1)?,
            _ => 1,
        };
        let (taken, left) = rest.split_at_checked(take)?;
        rest = left;
        if let Some(name) = part.strip_prefix("{repo}") {
            if taken.is_empty() || taken.len() > REPO_SEGMENTS_MAX {
                return None;
            }
            let repo = taken.join("/");
            let bare = repo.strip_suffix(name).map(str::to_owned);
            names.0.push(("repo", bare.unwrap_or(repo)));
        } else if let Some(name) = part.strip_prefix('{') {
            names.0.push((name.strip_suffix('}')?, taken.first()?.clone()));
        } else if taken.first()? != part {
            return None;
        }
    }
    rest.is_empty().then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
        let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
        fit(pattern, &segments).map(|names| names.0)
    }

    #[test]
    fn a_repository_has_one_to_four_segments() {
        let repo = |path| names("/{repo}.git/info/refs", path).map(|n| n[0].1.clone());
        assert_eq!(repo("/a.git/info/refs").as_deref(), Some("a"));
        assert_eq!(repo("/a/info/refs").as_deref(), Some("a"));
        assert_eq!(repo("/a/b/c/d.git/info/refs").as_deref(), Some("a/b/c/d"));
        assert_eq!(repo("/a/info/refs/info/refs").as_deref(), Some("a/info/refs"));
        assert_eq!(repo("/a/b/c/d/e/info/refs"), None);
        assert_eq!(repo("/info/refs"), None);
        assert_eq!(repo("/a.git/info"), None);
        assert_eq!(
            names("/v1/{repo}/objects", "/v1/a/b/objects"),
            Some(vec![("repo", "a/b".into())])
        );
        assert_eq!(names("/v1/{repo}/objects", "/v1/objects"), None);
    }

    #[test]
    fn other_names_have_one_segment() {
        let pattern = "/{repo}.git/x/{oid}/{sub}";
        let expected = vec![("repo", "a/b".to_owned()), ("oid", "1".into()), ("sub", "2".into())];
        assert_eq!(names(pattern, "/a/b.git/x/1/2"), Some(expected));
        assert_eq!(names("/v1/file/{oid}", "/v1/file"), None);
        assert_eq!(names("/v1/file/{oid}", "/v1/file/1/2"), None);
    }
}
