//! The batch API, as the git-lfs documents have it.

use serde_json::{Value, json};

use super::*;

fn ask(context: &LfsContext<'_>, request: &Value, links: &Links<'_>) -> Result<Value, LfsError> {
    let request: BatchRequest = parse(request.to_string().as_bytes())?;
    let answer = batch(context, &request, links)?;
    Ok(serde_json::to_value(answer).expect("JSON"))
}

fn object(id: &FileId, size: i64) -> Value {
    json!({"oid": id.to_string(), "size": size})
}

#[test]
fn downloads_are_offered_for_what_the_repository_has() {
    let world = World::new();
    let id = world.put(b"content");
    let absent = file_id(b"absent");
    let elsewhere = file_id(b"elsewhere");
    let context = LfsContext { repo: &world.other, ..world.context() };
    upload(&context, &elsewhere, Some(9), &mut &b"elsewhere"[..]).expect("taken in");
    let request = json!({
        "operation": "download", "transfers": ["basic"], "ref": {"name": "refs/heads/main"},
        "objects": [object(&id, 7), object(&absent, 6), object(&elsewhere, 9), object(&id, 8)],
        "hash_algo": "sha256",
    });
    let links = Links { authorization: Some("Basic x"), expires_in_s: Some(60), ..LINKS };
    let answer = ask(&world.context(), &request, &links).expect("answered");
    assert_eq!(
        answer,
        json!({
            "transfer": "basic", "hash_algo": "sha256",
            "objects": [
                {"oid": id.to_string(), "size": 7, "authenticated": true, "actions": {"download": {
                    "href": format!("http://h/a.git/info/lfs/objects/{id}"),
                    "header": {"Authorization": "Basic x"}, "expires_in": 60,
                }}},
                {"oid": absent.to_string(), "size": 6,
                 "error": {"code": 404, "message": "Object does not exist"}},
                {"oid": elsewhere.to_string(), "size": 9,
                 "error": {"code": 404, "message": "Object does not exist"}},
                {"oid": id.to_string(), "size": 8,
                 "error": {"code": 422, "message": "the object has 7 bytes, not 8"}},
            ],
        })
    );
}

#[test]
fn uploads_are_asked_for_whatever_others_have() {
    let world = World::new();
    let id = world.put(b"content");
    let context = LfsContext { repo: &world.other, ..world.context() };
    let request = json!({"operation": "upload", "objects": [object(&id, 7)]});
    let there = ask(&world.context(), &request, &LINKS).expect("answered");
    assert_eq!(there["objects"], json!([{"oid": id.to_string(), "size": 7}]));
    let absent = ask(&context, &request, &LINKS).expect("answered");
    let href = &absent["objects"][0]["actions"]["upload"]["href"];
    assert_eq!(*href, format!("http://h/a.git/info/lfs/objects/{id}"));
}

#[test]
fn the_agents_transfer_is_chosen_where_it_is_known() {
    let world = World::new();
    let id = world.put(b"content");
    let ask = |transfers: Value| {
        let request =
            json!({"operation": "download", "transfers": transfers, "objects": [object(&id, 7)]});
        ask(&world.context(), &request, &LINKS)
    };
    let href = |answer: &Value| answer["objects"][0]["actions"]["download"]["href"].clone();
    let answer = ask(json!(["basic", "lfs-standalone-file", "mega"])).expect("answered");
    assert_eq!(answer["transfer"], "mega");
    assert_eq!(href(&answer), format!("http://h/a.git/info/lfs/mega/v1/objects/{id}"));
    for transfers in [json!([]), json!(null), json!(["tus", "basic"])] {
        assert_eq!(ask(transfers).expect("answered")["transfer"], "basic");
    }
    assert_eq!(ask(json!(["tus"])).expect_err("refused").status(), 422);
}

/// The edge cases of git-lfs's own test of servers, and some more.
#[test]
fn each_object_has_its_own_error() {
    let world = World::new();
    let good = file_id(b"good").to_string();
    let upper = good.to_uppercase();
    let max = i64::try_from(limits::OBJECT_LEN_MAX).expect("small");
    let cases: Vec<(&str, i64, Option<u64>)> = vec![
        ("a345cde", 99, Some(422)),
        ("1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef12", 99, Some(422)),
        ("bf3e3e2af9366a3b704ax0c31de5afa64193ebabffde2091936ad2G7510bc03a", 99, Some(422)),
        ("../../../../../../../../etc/passwd/////////////////////////////\0", 99, Some(422)),
        (&upper, 99, Some(422)),
        (&good, -1, Some(422)),
        (&good, i64::MIN, Some(422)),
        (&good, max + 1, Some(422)),
        (&good, max, None),
        (&good, 0, None),
    ];
    let objects: Vec<Value> =
        cases.iter().map(|(oid, size, _)| json!({"oid": oid, "size": size})).collect();
    let request = json!({"operation": "upload", "transfers": ["basic"], "objects": objects});
    let answer = ask(&world.context(), &request, &LINKS).expect("answered");
    for ((oid, size, code), object) in cases.iter().zip(answer["objects"].as_array().expect("all"))
    {
        assert_eq!(object["error"]["code"].as_u64(), *code, "{oid} {size}");
        assert_eq!(object["actions"].is_object(), code.is_none(), "{oid} {size}");
    }
    let request = json!({"operation": "upload", "hash_algo": "sha512", "objects": objects});
    let answer = ask(&world.context(), &request, &LINKS).expect("answered");
    assert_eq!(answer["objects"][9]["error"]["code"], 409);
}

#[test]
fn requests_that_make_no_sense_are_refused_whole() {
    let world = World::new();
    let status = |request: Value| ask(&world.context(), &request, &LINKS).map_err(|e| e.status());
    for (request, expected) in [
        (json!({"operation": "delete", "objects": []}), 422),
        (json!({"objects": []}), 422),
        (json!({"operation": "upload", "objects": [{"oid": "x"}]}), 422),
        (json!({"operation": "upload", "objects": [{"oid": "x", "size": 1.5}]}), 422),
        (json!({"operation": "upload", "objects": [{"oid": "x", "size": u64::MAX}]}), 422),
        (json!({"operation": "upload", "transfers": vec!["basic"; 65]}), 413),
        (json!({"operation": "upload", "ref": {"name": "x".repeat(1025)}}), 413),
        (json!([]), 422),
    ] {
        assert_eq!(status(request.clone()).map(|_| ()), Err(expected), "{request}");
    }
    let read_only = LfsContext { rights: Rights::Read, ..world.context() };
    let upload = json!({"operation": "upload", "objects": []});
    assert_eq!(ask(&read_only, &upload, &LINKS).expect_err("refused").status(), 403);
    let none = ask(&world.context(), &upload, &LINKS).expect("an empty batch");
    assert_eq!(none["objects"], json!([]));
}

#[test]
fn so_many_objects_and_no_more() {
    let world = World::new();
    let object = json!({"oid": "x", "size": 1});
    for (count, fits) in [(limits::BATCH_OBJECTS_MAX, true), (limits::BATCH_OBJECTS_MAX + 1, false)]
    {
        let request = json!({"operation": "download", "objects": vec![object.clone(); count]});
        let answer = ask(&world.context(), &request, &LINKS);
        match answer {
            Ok(answer) => {
                assert!(fits && answer["objects"].as_array().expect("all").len() == count);
            }
            Err(error) => assert!(!fits && error.status() == 413, "{error}"),
        }
    }
    let long = vec![b' '; limits::JSON_LEN_MAX as usize + 1];
    assert_eq!(parse::<BatchRequest>(&long).expect_err("refused").status(), 413);
}

#[test]
fn the_quota_is_shared_by_the_objects_of_a_batch() {
    let world = World::new();
    world.put(b"1234567");
    let context = LfsContext { quota: Some(17), ..world.context() };
    let [a, b, c] = [b"a", b"b", b"c"].map(|content| file_id(content));
    let request =
        json!({"operation": "upload", "objects": [object(&a, 6), object(&b, 5), object(&c, 4)]});
    let answer = ask(&context, &request, &LINKS).expect("answered");
    let codes: Vec<_> =
        (0..3).map(|index| answer["objects"][index]["error"]["code"].as_u64()).collect();
    assert_eq!(codes, [None, Some(507), None]);
}
