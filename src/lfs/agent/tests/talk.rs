//! The lines between git-lfs and the agent.

use super::*;

#[test]
fn several_files_in_one_conversation_one_of_them_absent() {
    let remote = StoreRemote::new();
    let ours = Clone::new();
    let here = ours.add(b"content");
    assert!(is_well(&ours.upload(&remote, &here)));
    let absent = Pointer { file: file_id(b"absent"), len: 6 };
    let lines = [
        init("download"),
        download_line(&absent),
        download_line(&here),
        json!({"event": "terminate"}),
        json!({"event": "never read"}),
    ];
    let said = Clone::new().talk(&remote, &lines, &no_history);
    assert_eq!(said[0], json!({}));
    assert_eq!((&said[1]["event"], &said[1]["error"]["code"]), (&json!("complete"), &json!(404)));
    assert_eq!(
        said[2],
        json!({
            "event": "progress", "oid": here.file.to_string(), "bytesSoFar": 7, "bytesSinceLast": 7,
        })
    );
    assert_eq!(said[3]["event"], "complete");
    assert!(said[3]["path"].is_string() && said.len() == 4, "{said:?}");
}

#[test]
fn a_remote_that_is_no_peer_is_told_so() {
    let remote = StoreRemote::new();
    let ours = Clone::new();
    let pointer = ours.add(b"content");
    let mut line = ours.upload_line(&pointer);
    line["action"] = json!(null);
    let said = ours.talk(&remote, &[init("upload"), line], &no_history);
    let message = said[1]["error"]["message"].as_str().expect("a message");
    assert!(message.contains("it has no server"), "{message}");
}

#[test]
fn lines_that_make_no_sense_end_the_conversation_with_an_answer() {
    let remote = StoreRemote::new();
    let agent =
        Agent { lfs_dir: PathBuf::from("/nonexistent"), earlier: &no_history, remote: &remote };
    let long = format!("{{\"event\":\"init\",\"x\":\"{}\"}}\n", "x".repeat(1 << 20));
    for line in ["{}\n", "x\n", "{\"event\":\"other\"}\n", "{\"event\":\"upload\"}\n", "\n", &long]
    {
        let mut output = Vec::new();
        assert!(run(&agent, &no_peer, &mut line.as_bytes(), &mut output).is_err(), "{line:.40}");
        let said: Value = serde_json::from_slice(&output).expect("an answer");
        assert!(said["error"]["message"].is_string(), "{said}");
    }
    let mut output = Vec::new();
    run(&agent, &no_peer, &mut &b""[..], &mut output).expect("git-lfs has gone");
    assert!(output.is_empty());
}

#[test]
fn secrets_are_not_in_debug_texts() {
    let target: Target = serde_json::from_value(json!({
        "href": "http://u:hunter2@h/", "header": {"Authorization": "hunter2"},
    }))
    .expect("a target");
    assert!(!format!("{target:?}").contains("hunter2"));
}
