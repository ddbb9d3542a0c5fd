//! Git clients of other people, installed from their registries into the folder that tests, demo
//! and comparisons share (`tools/common.sh`).

use std::process::Command;

use super::world::needs;

/// A Python that has these packages, each as `NAME==VERSION`.
pub fn python_with(packages: &str) -> Option<String> {
    installed(&format!("venv {packages}"), packages)
}

/// A node and the folder of the modules that it needs, of a package as `NAME@VERSION`.
pub fn node_with(package: &str) -> Option<(String, String)> {
    let paths = installed(&format!("node_with {package}"), package)?;
    let (node, modules) = paths.split_once('\n').expect("two paths");
    Some((node.to_owned(), modules.to_owned()))
}

fn installed(words: &str, what: &str) -> Option<String> {
    let script = format!(". {}/tools/common.sh; {words}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("bash").args(["-c", &script]).output().expect("started");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    needs(&format!("{what} from its registry"), output.status.success()).then_some(path)
}
