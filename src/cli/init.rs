//! `init`: makes a store.

use mega_storage::StoreError;

use super::exit;
use super::output::Output;
use super::reach::Context;
use crate::control::{Exit, Reply};
use crate::node::{Node, NodeError};

/// Make a store
///
/// The directory must be absent or empty. `import`, `file add` and `repo create` make the default
/// store by themselves when there is none; a store that --store or $MEGA_STORE names is made only
/// here.
///
/// A store has one owner: only the user who made it, and root, can use it.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "Examples:\n  mega-store init\n  mega-store --store /data/models init")]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, context: &Context<'_>) -> Exit {
    let path = &context.location.path;
    match Node::create(path) {
        Ok(_) => {
            context.terminal.note(&format!("made a store in {}", path.display()));
            let out = Output::new(context.terminal, context.global.json);
            let made = serde_json::json!({ "store": path.to_string_lossy() });
            let shown =
                if out.is_json() { out.json(&made).and_then(|()| out.flush()) } else { Ok(()) };
            shown.map_or_else(|e| exit::of_node(&e), |()| Exit::default())
        }
        Err(error @ NodeError::Store(StoreError::Held { .. })) => {
            let mut exit = exit::of_node(&error);
            exit.hint = Some("there is a store already".to_owned());
            exit
        }
        Err(error) => exit::of_node(&error),
    }
}
