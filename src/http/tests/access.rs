//! Who is who: the owner, tokens and their ends, proxies, and repositories that a push makes.

use std::time::{Duration, Instant};

use mega_storage::{RepoName, StoreError, TokenScope, Visibility};

use super::super::{ServeError, now_unix};
use super::world::{Person, Plan, World, git, options, try_start};

#[test]
fn the_first_token_ends_the_owners_open_door() {
    let world = World::with_repos();
    let names = |person: &Person| {
        let list: serde_json::Value = world.get_as("/v1/repos", person).json().expect("JSON");
        list["repos"].as_array().expect("a list").len()
    };
    let nobody = Person(None);
    assert_eq!(names(&nobody), 2, "the owner sees all");
    let token = world.token(TokenScope::All, false, None);
    assert_eq!(names(&nobody), 1, "anonymous sees what is public");
    assert_eq!(names(&token), 2);
    for token in world.store.tokens().list().expect("read") {
        assert!(world.store.tokens().revoke(token.id).expect("written"));
    }
    assert_eq!(names(&nobody), 1, "a revoked token does not make an owner again");
    assert_eq!(world.get_as("/v1/repos", &token).status(), 401);
}

#[test]
fn a_proxys_requests_are_not_the_owners() {
    let world = World::with_repos();
    for field in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
        let request = world.request("GET", "/v1/secret/objects", &Person(None));
        let answer = request.header(field, "for=1.2.3.4").send().expect("an answer");
        assert_eq!(answer.status(), 404, "{field}");
    }
}

#[test]
fn a_token_is_a_password_until_it_ends() {
    let world = World::with_repos();
    let live = world.token(TokenScope::All, false, Some(now_unix() + 3_600));
    let ended = world.token(TokenScope::All, true, Some(now_unix()));
    let path = "/secret.git/info/refs?service=git-upload-pack";
    assert_eq!(world.get_as(path, &live).status(), 200);
    assert_eq!(world.get_as(path, &ended).status(), 401);
    let request = world.request("GET", path, &Person(None)).basic_auth("anyone", live.0);
    assert_eq!(request.send().expect("an answer").status(), 200);
    let request = world.request("GET", path, &Person(None)).basic_auth("anyone", Some("wrong"));
    let refused = request.send().expect("an answer");
    assert_eq!(refused.status(), 401);
    for field in ["www-authenticate", "lfs-authenticate"] {
        let challenge = refused.headers()[field].to_str().expect("text");
        assert!(challenge.starts_with("Basic realm="), "{field}: {challenge}");
    }
}

#[test]
fn a_secret_is_nowhere_but_with_its_holder() {
    let world = World::with_repos();
    let token = world.token(TokenScope::All, true, None).0.expect("a token");
    let url = format!("http://x:{token}@{}/secret.git", world.address);
    let work = world.dir.path().join("work-secret");
    let (is_good, said) = git(&work, &["push", "-q", &url, "main:two"]);
    assert!(is_good, "{said}");
    let audit = world.store.path().join("log/audit.log");
    // The line is written when the answer is out.
    let is_said = |log: &str| {
        log.lines().any(|line| line.contains("token 1") && line.contains("\"repo\":\"secret\""))
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut log = String::new();
    while !is_said(&log) {
        assert!(Instant::now() < deadline, "{log}");
        log = std::fs::read_to_string(&audit).expect("a log");
    }
    assert!(!log.contains(&token) && !log.contains(&token[4..]));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&audit).expect("is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn a_push_makes_a_repository_for_those_who_may() {
    let world = World::with_repos();
    let people = world.people();
    let work = world.dir.path().join("work-secret");
    let push = |person: &Person, name: &str| {
        let user = person.0.as_ref().map(|token| format!("x:{token}@")).unwrap_or_default();
        let url = format!("http://{user}{}/{name}.git", world.address);
        git(&work, &["push", "-q", &url, "main"])
    };
    let find = |name: &str| {
        let name = RepoName::new(name).expect("a name");
        world.store.repos().find(&name).expect("read")
    };
    for (index, person) in [&people.anonymous, &people.stranger, &people.writer].iter().enumerate()
    {
        let name = format!("new{index}");
        let (is_good, said) = push(person, &name);
        assert!(!is_good && find(&name).is_none(), "{said}");
    }
    let (is_good, said) = push(&people.operator, "new/one");
    assert!(is_good, "{said}");
    assert_eq!(find("new/one").expect("made").visibility, Visibility::Private);
    // Asking whether a push would be taken makes nothing.
    let path = "/new/two.git/info/refs?service=git-receive-pack";
    assert_eq!(world.get_as(path, &people.operator).status(), 200);
    let probe = world
        .request("POST", "/new/two.git/git-receive-pack", &people.operator)
        .header("content-type", "application/x-git-receive-pack-request")
        .body("0000");
    assert_eq!(probe.send().expect("an answer").status(), 200);
    assert!(find("new/two").is_none());
    for bad in ["v1", "a..b", "a%2f..%2fb"] {
        let path = format!("/{bad}.git/info/refs?service=git-receive-pack");
        let status = world.get_as(&path, &people.operator).status();
        assert!([400, 404].contains(&status.as_u16()), "{bad}: {status}");
    }
}

#[test]
fn a_read_only_server_takes_nothing_from_anyone() {
    let world = World::new(Plan { is_read_only: true, ..Plan::default() });
    let name = RepoName::new("a").expect("a name");
    world.store.repos().create(&name, Visibility::Private).expect("made");
    let upload = "/a.git/info/refs?service=git-upload-pack";
    assert_eq!(world.get(upload).status(), 200);
    for path in
        ["/a.git/info/refs?service=git-receive-pack", "/b.git/info/refs?service=git-receive-pack"]
    {
        let answer = world.get(path);
        assert_eq!(answer.status(), 403, "{path}");
        assert!(answer.text().expect("text").contains("read-only"));
    }
    let put =
        world.request("PUT", &format!("/a.git/info/lfs/objects/{}", "0".repeat(64)), &Person(None));
    assert_eq!(put.body("x").send().expect("an answer").status(), 403);
    let batch = r#"{"operation":"upload","objects":[]}"#;
    let batch = world
        .request("POST", "/a.git/info/lfs/objects/batch", &Person(None))
        .header("content-type", "application/vnd.git-lfs+json")
        .body(batch);
    assert_eq!(batch.send().expect("an answer").status(), 403);
}

#[test]
fn others_are_let_in_only_with_tokens() {
    let world = World::new(Plan::default());
    let everywhere = vec!["0.0.0.0:0".parse().expect("an address")];
    let options = options(everywhere, &Plan::default());
    let refused = try_start(&world.store, &options);
    assert!(matches!(refused, Err(ServeError::NoTokens { .. })), "{refused:?}");
    world.token(TokenScope::All, true, Some(now_unix()));
    assert!(try_start(&world.store, &options).is_err(), "an ended token is none");
    world.token(TokenScope::All, false, None);
    try_start(&world.store, &options).expect("started");
}

#[test]
fn a_token_does_not_outlive_its_repository() {
    let world = World::with_repos();
    let people = world.people();
    let name = RepoName::new("secret").expect("a name");
    let path = "/secret.git/info/refs?service=git-upload-pack";
    assert_eq!(world.get_as(path, &people.reader).status(), 200);
    world.store.repos().delete(&name).expect("deleted");
    world.store.repos().create(&name, Visibility::Private).expect("made");
    assert_eq!(world.get_as(path, &people.reader).status(), 404);
    let gone = world.store.repos().get(&RepoName::new("gone").expect("a name"));
    assert!(matches!(gone, Err(StoreError::NoRepo { .. })));
}
