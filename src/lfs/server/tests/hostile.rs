//! Whatever bytes come as a request: an answer or an error, never a panic, and nothing stored.

use proptest::prelude::*;

use super::super::{chunked, locks};
use super::*;

/// Bytes that look like requests: broken pieces of them, and noise.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "null",
        "true",
        "-1",
        "1e999",
        "18446744073709551616",
        "\"operation\"",
        "\"upload\"",
        "\"download\"",
        "\"objects\"",
        "\"oid\"",
        "\"size\"",
        "\"transfers\"",
        "\"basic\"",
        "\"ref\"",
        "\"name\"",
        "\"hash_algo\"",
        "\"sha256\"",
        "\"path\"",
        "\"force\"",
        "\"cursor\"",
        "\"limit\"",
        "\"ranges\"",
        "\"offset\"",
        "\"len\"",
        "\"bases\"",
        "\"../../x\"",
        "\"\\u0000\"",
        "\u{fffd}",
        "\"4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\"",
    ]);
    prop_oneof![
        3 => prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => valid().prop_flat_map(|text| {
            let len = text.len();
            (Just(text), 0..len, any::<u8>())
        })
        .prop_map(|(text, at, byte)| {
            let mut bytes = text.into_bytes();
            bytes[at] = byte;
            bytes
        }),
    ]
}

fn valid() -> impl Strategy<Value = String> {
    let oid = "[0-9a-f]{64}";
    (oid, any::<i64>(), "[a-z]{1,9}").prop_map(|(oid, size, word)| {
        format!(
            r#"{{"operation":"upload","transfers":["{word}","basic"],"ref":{{"name":"{word}"}},
               "objects":[{{"oid":"{oid}","size":{size}}}],"hash_algo":null,"path":"{word}",
               "size":{size},"oid":"{oid}","ranges":[{{"offset":{size},"len":{size}}}]}}"#
        )
    })
}

#[test]
fn any_bytes_have_an_answer() {
    let world = World::new();
    let id = world.put(&noise(100_000, 1));
    let context = world.context();
    let run = |bytes: Vec<u8>| {
        if let Ok(request) = parse::<BatchRequest>(&bytes) {
            let _ = batch(&context, &request, &LINKS);
        }
        if let Ok(request) = parse::<VerifyRequest>(&bytes) {
            let _ = verify(&context, &request);
        }
        if let Ok(request) = parse::<locks::CreateRequest>(&bytes) {
            let reader = LfsContext { rights: Rights::Read, ..context };
            assert!(locks::create(&reader, &request).is_err());
        }
        if let Ok(request) = parse::<locks::VerifyLocksRequest>(&bytes) {
            let _ = locks::verify(&context, &request);
        }
        if let Ok(request) = parse::<locks::DeleteRequest>(&bytes) {
            let _ = locks::delete(&context, &String::from_utf8_lossy(&bytes), &request);
        }
        let framed = [&(bytes.len() as u32).to_be_bytes()[..], &bytes, &[0, 0, 0, 9]].concat();
        for body in [&bytes, &framed] {
            let _ = chunked::missing(&context, &id, &mut &body[..]);
            let _ = chunked::send(&context, &file_id(b"x"), &mut &body[..]);
            let _ = chunked::finish(&context, &file_id(b"x"), &mut &body[..], &mut Vec::new());
            let _ = chunked::fetch(&context, &id, body).map(|out| out.write_to(&mut Vec::new()));
        }
        Ok(())
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1500));
    runner.run(&body(), run).expect("no panic");
    let files: Vec<_> = world.store.files().files(world.repo.id).collect();
    assert_eq!(files.len(), 1, "nothing was made");
}
