//! Every route as everybody. A route without an entry here fails.

use mega_storage::RepoName;

use super::super::routes::ROUTES;
use super::super::table::Route;
use super::world::{HELLO, Person, World};

/// Stands for every status that says that the caller was let in.
const IN: u16 = 0;

/// What anonymous, stranger, reader, writer and operator get.
type Statuses = [u16; 5];

/// Everybody.
const ALL: Statuses = [IN, IN, IN, IN, IN];
/// Our own routes to what is private.
const OWN: Statuses = [404, 404, IN, IN, IN];
/// Git and LFS, reading what is private.
const READ: Statuses = [401, 404, IN, IN, IN];
/// Git and LFS, writing what is private.
const WRITE: Statuses = [401, 404, 403, IN, IN];
/// Git and LFS, writing to a public repository that no token but the operator's is for.
const WRITE_OPEN: Statuses = [401, 403, 403, 403, IN];

/// One route: how it is asked, and what becomes of it with the private repository and with the
/// public one.
struct Entry {
    method: &'static str,
    pattern: &'static str,
    service: Option<&'static str>,
    /// With `REPO`, `SHA1`, `TIP`, `FILE` and `CHUNK` to be put in.
    path: &'static str,
    sent: Option<(&'static str, &'static str)>,
    secret: Statuses,
    open: Statuses,
}

const fn get(pattern: &'static str, path: &'static str, secret: Statuses, open: Statuses) -> Entry {
    Entry { method: "GET", pattern, service: None, path, sent: None, secret, open }
}

const fn lfs(
    method: &'static str,
    pattern: &'static str,
    path: &'static str,
    body: &'static str,
    secret: Statuses,
    open: Statuses,
) -> Entry {
    let sent = Some(("application/vnd.git-lfs+json", body));
    Entry { method, pattern, service: None, path, sent, secret, open }
}

const BATCH: &str = r#"{"operation":"download","objects":[]}"#;
const FORCE: &str = r#"{"force":true}"#;
const OPERATOR: Statuses = [401, 403, 403, 403, IN];
const DUMB: Statuses = [403, 403, 403, 403, 403];

#[rustfmt::skip]
const ENTRIES: &[Entry] = &[
    get("/healthz", "/healthz", ALL, ALL),
    get("/readyz", "/readyz", ALL, ALL),
    get("/metrics", "/metrics", OPERATOR, OPERATOR),
    get("/v1/openapi.json", "/v1/openapi.json", ALL, ALL),
    get("/v1/status", "/v1/status", ALL, ALL),
    get("/v1/repos", "/v1/repos", ALL, ALL),
    get("/v1/object/{oid}", "/v1/object/SHA1?repo=REPO", OWN, ALL),
    get("/v1/file/{oid}", "/v1/file/FILE?repo=REPO", OWN, ALL),
    get("/v1/file/{oid}/chunks", "/v1/file/FILE/chunks?repo=REPO", OWN, ALL),
    get("/v1/file/chunks/{oid}", "/v1/file/chunks/CHUNK?repo=REPO&file=FILE", OWN, ALL),
    get("/v1/{repo}/objects", "/v1/REPO/objects", OWN, ALL),
    Entry {
        service: Some("git-upload-pack"),
        ..get("/{repo}.git/info/refs", "/REPO.git/info/refs?service=git-upload-pack", READ, ALL)
    },
    Entry {
        service: Some("git-receive-pack"),
        ..get("/{repo}.git/info/refs", "/REPO.git/info/refs?service=git-receive-pack", WRITE,
            WRITE_OPEN)
    },
    get("/{repo}.git/info/refs", "/REPO.git/info/refs", DUMB, DUMB),
    get("/{repo}.git/info/bundle/{oid}", "/REPO.git/info/bundle/TIP", READ, ALL),
    Entry {
        method: "POST",
        sent: Some(("application/x-git-upload-pack-request", "0000")),
        ..get("/{repo}.git/git-upload-pack", "/REPO.git/git-upload-pack", READ, ALL)
    },
    Entry {
        method: "POST",
        sent: Some(("application/x-git-receive-pack-request", "0000")),
        ..get("/{repo}.git/git-receive-pack", "/REPO.git/git-receive-pack", WRITE, WRITE_OPEN)
    },
    lfs("POST", "/{repo}.git/info/lfs/objects/batch", "/REPO.git/info/lfs/objects/batch",
        BATCH, READ, ALL),
    lfs("POST", "/{repo}.git/info/lfs/objects/verify", "/REPO.git/info/lfs/objects/verify",
        r#"{"oid":"FILE","size":3}"#, READ, ALL),
    get("/{repo}.git/info/lfs/objects/{oid}/chunks", "/REPO.git/info/lfs/objects/FILE/chunks",
        READ, ALL),
    get("/{repo}.git/info/lfs/objects/{oid}/{sub_oid}",
        "/REPO.git/info/lfs/objects/FILE/FILE?offset=0&size=3", READ, ALL),
    get("/{repo}.git/info/lfs/objects/{oid}", "/REPO.git/info/lfs/objects/FILE", READ, ALL),
    lfs("PUT", "/{repo}.git/info/lfs/objects/{oid}", "/REPO.git/info/lfs/objects/FILE",
        "abc", WRITE, WRITE_OPEN),
    lfs("POST", "/{repo}.git/info/lfs/locks/verify", "/REPO.git/info/lfs/locks/verify",
        "{}", WRITE, WRITE_OPEN),
    get("/{repo}.git/info/lfs/locks", "/REPO.git/info/lfs/locks", READ, ALL),
    lfs("POST", "/{repo}.git/info/lfs/locks", "/REPO.git/info/lfs/locks",
        r#"{"path":"a"}"#, WRITE, WRITE_OPEN),
    lfs("POST", "/{repo}.git/info/lfs/locks/{id}/unlock", "/REPO.git/info/lfs/locks/LOCK/unlock",
        FORCE, WRITE, WRITE_OPEN),
    lfs("POST", "/{repo}.git/info/lfs/mega/v1/objects/{oid}/missing",
        "/REPO.git/info/lfs/mega/v1/objects/FILE/missing", "", WRITE, WRITE_OPEN),
    lfs("POST", "/{repo}.git/info/lfs/mega/v1/objects/{oid}/send",
        "/REPO.git/info/lfs/mega/v1/objects/FILE/send", "", WRITE, WRITE_OPEN),
    lfs("POST", "/{repo}.git/info/lfs/mega/v1/objects/{oid}/finish",
        "/REPO.git/info/lfs/mega/v1/objects/FILE/finish", "", WRITE, WRITE_OPEN),
    get("/{repo}.git/info/lfs/mega/v1/objects/{oid}/chunks",
        "/REPO.git/info/lfs/mega/v1/objects/FILE/chunks", READ, ALL),
    lfs("POST", "/{repo}.git/info/lfs/mega/v1/objects/{oid}/fetch",
        "/REPO.git/info/lfs/mega/v1/objects/FILE/fetch", r#"{"ranges":[]}"#, READ, ALL),
];

fn entry_of(route: &Route) -> &'static Entry {
    let is_of = |entry: &&Entry| {
        entry.pattern == route.pattern
            && entry.method == route.method.as_str()
            && entry.service == route.service
    };
    let found = ENTRIES.iter().find(is_of);
    found.unwrap_or_else(|| panic!("no entry for {} {}", route.method.as_str(), route.pattern))
}

struct Walk {
    world: World,
    file: String,
    chunk: String,
    lock: String,
}

/// What somebody gets: status, and everything that could tell two answers apart.
#[derive(PartialEq, Eq, Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Walk {
    fn new() -> Self {
        let world = World::with_repos();
        let file = world.add_file("open", b"abc");
        assert_eq!(world.add_file("secret", b"abc"), file);
        let chunk = world.store.files().chunk_spans(&file, 0, 1).expect("read")[0].chunk.id;
        let repo = world.repo("secret").id;
        let lock = world.store.locks().create(repo, "x", "somebody").expect("locked");
        let (file, chunk, lock) = (file.to_string(), chunk.to_string(), lock.id.to_string());
        Self { world, file, chunk, lock }
    }

    fn ask(&self, entry: &Entry, repo: &str, person: &Person) -> Answer {
        let fill = |text: &str| {
            text.replace("REPO", repo)
                .replace("SHA1", HELLO)
                .replace("TIP", &self.world.tip(repo))
                .replace("FILE", &self.file)
                .replace("CHUNK", &self.chunk)
                .replace("LOCK", &self.lock)
        };
        let mut request = self.world.request(entry.method, &fill(entry.path), person);
        if let Some((media_type, body)) = entry.sent {
            request = request.header("content-type", media_type).body(fill(body));
        }
        let answer = request.send().expect("an answer");
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or("?").to_owned();
        Answer {
            status: answer.status().as_u16(),
            headers: answer
                .headers()
                .iter()
                .filter(|(name, _)| *name != "date")
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: String::from_utf8_lossy(&answer.bytes().expect("a body")).into_owned(),
        }
    }
}

#[test]
fn everybody_gets_what_the_table_says() {
    let walk = Walk::new();
    let people = walk.world.people();
    let everybody =
        [people.anonymous, people.stranger, people.reader, people.writer, people.operator];
    for route in ROUTES {
        let entry = entry_of(route);
        for (repo, expected) in [("open", entry.open), ("secret", entry.secret)] {
            for (index, (person, expected)) in everybody.iter().zip(expected).enumerate() {
                let answer = walk.ask(entry, repo, person);
                let is_in = ![401, 403, 404, 405, 415, 500].contains(&answer.status)
                    // A lock, or a file that this very walk has removed.
                    || (entry.pattern.ends_with("unlock") && answer.status == 404);
                let is_right = if expected == IN { is_in } else { answer.status == expected };
                assert!(is_right, "{} {repo} as {index}: {answer:?}", route.pattern);
            }
        }
    }
    assert_eq!(ENTRIES.len(), ROUTES.len(), "an entry for a route that is no more");
}

#[test]
fn what_may_not_be_seen_looks_like_what_is_not_there() {
    let walk = Walk::new();
    let people = walk.world.people();
    let unknown = Person(Some("mst_nobody-knows-this-token-at-all".to_owned()));
    for entry in ENTRIES.iter().filter(|entry| entry.path.contains("REPO")) {
        for person in [&people.anonymous, &people.stranger, &unknown] {
            let (hidden, absent) =
                (walk.ask(entry, "secret", person), walk.ask(entry, "absent", person));
            assert_eq!(hidden, absent, "{}", entry.pattern);
            let is_refused = [401, 403, 404].contains(&hidden.status);
            assert!(is_refused, "{}: {hidden:?}", entry.pattern);
        }
    }
}

#[test]
fn a_repository_in_parts_is_refused_wherever_its_name_is_a_folder() {
    let walk = Walk::new();
    let origin = "https://elsewhere.example/team/model";
    let name = RepoName::new("parts").expect("a name");
    walk.world.store.repos().create_partial(&name, origin).expect("made");
    let people = walk.world.people();
    for entry in ENTRIES.iter().filter(|e| e.pattern.contains("{repo}") && e.open != DUMB) {
        let answer = walk.ask(entry, "parts", &people.operator);
        assert_eq!(answer.status, 409, "{}: {answer:?}", entry.pattern);
        assert!(answer.body.contains(origin), "{}: {answer:?}", entry.pattern);
        for person in [&people.anonymous, &people.stranger] {
            let (hidden, absent) =
                (walk.ask(entry, "parts", person), walk.ask(entry, "absent", person));
            assert_eq!(hidden, absent, "{}: an origin is nobody's business", entry.pattern);
        }
    }
    assert_eq!(walk.world.store.refs().list(walk.world.repo("parts").id, b"").expect("read"), []);
}

#[test]
fn the_owner_gets_everything() {
    let walk = Walk::new();
    for route in ROUTES {
        let entry = entry_of(route);
        let answer = walk.ask(entry, "secret", &Person(None));
        let is_dumb = entry.open == DUMB;
        let is_in = ![401, 403, 404, 405, 415, 500].contains(&answer.status);
        assert!(is_in != is_dumb, "{}: {answer:?}", route.pattern);
    }
}

#[test]
fn the_document_has_every_route() {
    let document = super::super::openapi::document();
    let paths = document["paths"].as_object().expect("paths");
    let operations: usize = paths.values().map(|p| p.as_object().map_or(0, |o| o.len())).sum();
    assert_eq!(operations, ROUTES.len());
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().expect("a name");
        assert!(document["components"]["schemas"][name].is_object(), "no schema {name}");
    }
}
