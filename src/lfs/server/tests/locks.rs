//! The locking API, as the git-lfs documents have it.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::locks::{self, *};
use super::*;

fn as_user<'a>(world: &'a World, actor: &'a str) -> LfsContext<'a> {
    LfsContext { rights: Rights::Write, actor, ..world.context() }
}

fn lock(context: &LfsContext<'_>, path: &str) -> Result<Lock, LfsError> {
    let request = json!({"path": path, "ref": {"name": "refs/heads/main"}});
    let request: CreateRequest = parse(request.to_string().as_bytes())?;
    create(context, &request).map(|answer| answer.lock)
}

fn value(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).expect("JSON")
}

fn paths(locks: &[Lock]) -> Vec<&str> {
    locks.iter().map(|lock| lock.path.as_str()).collect()
}

#[test]
fn a_lock_is_made_once_and_told_to_the_second() {
    let world = World::new();
    let ada = as_user(&world, "ada");
    let made = lock(&ada, "foo/bar.zip").expect("made");
    let json = value(&made);
    assert_eq!(json["id"], "1");
    assert_eq!((&json["path"], &json["owner"]), (&json!("foo/bar.zip"), &json!({"name": "ada"})));
    let time = json["locked_at"].as_str().expect("a time");
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    let error = lock(&as_user(&world, "bob"), "foo/bar.zip").expect_err("locked");
    let (status, body) = seen(&error);
    assert_eq!(status, 409);
    assert_eq!(body, json!({"lock": json, "message": "already created lock", "request_id": "7"}));
    assert_eq!(lock(&ada, "../x").expect_err("refused").status(), 422);
}

#[test]
fn deleting_takes_the_owner_or_force() {
    let world = World::new();
    let (ada, bob) = (as_user(&world, "ada"), as_user(&world, "bob"));
    let made = lock(&ada, "x").expect("made");
    let request = |force: Value| -> DeleteRequest {
        parse(json!({"force": force, "ref": {"name": "refs/heads/x"}}).to_string().as_bytes())
            .expect("readable")
    };
    for (id, force, status) in
        [(made.id.as_str(), json!(false), 403), ("2", json!(true), 404), ("x", json!(null), 404)]
    {
        let error = delete(&bob, id, &request(force)).expect_err("refused");
        assert_eq!(error.status(), status, "{id}: {error}");
    }
    let other = LfsContext { repo: &world.other, ..ada };
    assert_eq!(delete(&other, &made.id, &request(json!(true))).expect_err("no").status(), 404);
    assert_eq!(delete(&bob, &made.id, &request(json!(true))).expect("by force").lock, made);
    let again = lock(&bob, "x").expect("free again");
    assert_eq!(delete(&bob, &again.id, &DeleteRequest::default()).expect("his own").lock, again);
}

#[test]
fn readers_list_and_do_no_more() {
    let world = World::new();
    let reader = LfsContext { rights: Rights::Read, actor: "eve", ..world.context() };
    assert_eq!(lock(&reader, "x").expect_err("refused").status(), 403);
    assert_eq!(
        locks::verify(&reader, &VerifyLocksRequest::default()).expect_err("no").status(),
        403
    );
    assert_eq!(delete(&reader, "1", &DeleteRequest::default()).expect_err("no").status(), 403);
    let listed = list(&reader, &ListQuery::default()).expect("listed");
    assert_eq!(value(&listed), json!({"locks": []}));
}

#[test]
fn lists_have_pages_and_filters() {
    let world = World::new();
    let ada = as_user(&world, "ada");
    for index in 0..7 {
        lock(&ada, &format!("f{index}")).expect("made");
    }
    let ask = |query: ListQuery| list(&ada, &query);
    let mut found = Vec::new();
    let mut cursor = None;
    let mut pages = 0;
    loop {
        let limit = Some("3".to_owned());
        let page = ask(ListQuery { cursor, limit, ..ListQuery::default() }).expect("listed");
        found.extend(page.locks);
        cursor = page.next_cursor;
        pages += 1;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, paths(&found).len()), (3, 7));
    assert!(paths(&found).is_sorted());
    let text = |text: &str| Some(text.to_owned());
    let by_path =
        ListQuery { path: text("f4"), refspec: text("refs/heads/z"), ..Default::default() };
    assert_eq!(paths(&ask(by_path).expect("listed").locks), ["f4"]);
    let by_id = ListQuery { id: text("2"), path: text(""), ..Default::default() };
    assert_eq!(paths(&ask(by_id).expect("listed").locks), ["f1"]);
    let no_id = ListQuery { id: text("some-uuid"), ..Default::default() };
    assert_eq!(ask(no_id).expect("listed").locks, []);
    for query in [
        ListQuery { cursor: text("x"), ..Default::default() },
        ListQuery { limit: text("-1"), ..Default::default() },
    ] {
        assert_eq!(ask(query).expect_err("refused").status(), 400);
    }
    let all = ListQuery { limit: text("0"), ..Default::default() };
    assert_eq!(ask(all).expect("listed").locks.len(), 7, "0 is no limit of the client's");
}

#[test]
fn verify_tells_ours_from_theirs() {
    let world = World::new();
    let (ada, bob) = (as_user(&world, "ada"), as_user(&world, "bob"));
    for (context, path) in [(&ada, "a1"), (&bob, "b1"), (&ada, "a2"), (&bob, "b2"), (&bob, "b3")] {
        lock(context, path).expect("made");
    }
    let ask = |body: Value| {
        let request: VerifyLocksRequest = parse(body.to_string().as_bytes()).expect("readable");
        locks::verify(&ada, &request).expect("answered")
    };
    let page = ask(json!({"limit": 3, "ref": {"name": "refs/heads/main"}}));
    assert_eq!((paths(&page.ours), paths(&page.theirs)), (vec!["a1", "a2"], vec!["b1"]));
    let cursor = page.next_cursor.expect("more");
    let page = ask(json!({"cursor": cursor, "limit": null}));
    assert_eq!((paths(&page.ours), paths(&page.theirs)), (vec![], vec!["b2", "b3"]));
    assert_eq!(page.next_cursor, None);
    let none = VerifyLocksAnswer { ours: vec![], theirs: vec![], next_cursor: None };
    assert_eq!(value(&none), json!({"ours": [], "theirs": []}));
}
