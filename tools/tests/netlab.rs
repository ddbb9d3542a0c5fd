//! The lab as scenarios use it: real hosts, real packets, the part of its self-check that a busy
//! machine cannot miss.
//!
//! Skipped loudly without root or a TUN device, and never when `CI` is set.

use std::path::Path;
use std::process::Command;

/// The lab's word for a machine that cannot have one.
const SKIPPED: i32 = 77;

#[test]
fn a_lab_does_what_it_says() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(tools.join("scenarios/selftest"))
        .arg("--quick")
        .env("MEGA_X", env!("CARGO_BIN_EXE_x"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Python starts");
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(SKIPPED) {
        assert!(std::env::var_os("CI").is_none(), "CI must have a lab: {words}");
        eprintln!("{words}");
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{words}");
    assert!(said.ends_with("all held\n"), "{said}\n{words}");
}
