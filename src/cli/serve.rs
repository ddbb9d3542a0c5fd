//! `serve`: git, LFS and the store's own routes over HTTP, until a signal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::unbounded;

use super::hold::{self, END_WAIT, Event};
use super::reach::{self, Context};
use super::run::Holder;
use super::{absolute, exit};
use crate::control::{Exit, Reply};
use crate::http::{Limits, ServeOptions, TlsFiles};
use crate::node::{NodeError, Serving};

/// Serve git, LFS and content by its hash over HTTP
///
/// Stock git and git-lfs clone from it and push to it. On this machine alone (127.0.0.1) and before
/// the first token is made, whoever reaches it is the owner; after that, and on other addresses,
/// everyone needs a token for what is not public: 'mega-store token create'.
///
/// The command holds the store and answers other commands until Ctrl-C. The first signal lets
/// transfers end that are running, the second ends them too. Writes are noted in log/audit.log in
/// the store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Standard output has a line for each address when it is ready: its URL. With --json one object:
urls, read_only, pid.

Examples:
  mega-store serve
  git push http://127.0.0.1:8417/team/model.git main
  mega-store serve --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem")]
pub(super) struct Args {
    /// Address and port to listen on; may be given more than once
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8417", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Refuse every change
    #[arg(long)]
    read_only: bool,
    /// Certificate chain for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// `ADDR:PORT`; `localhost` stands for 127.0.0.1.
fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| "it is not ADDRESS:PORT, as 127.0.0.1:8417 or [::1]:8417".to_owned())
}

impl Args {
    fn options(&self) -> ServeOptions {
        let files = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        let tls = files.map(|(certificate, key)| TlsFiles {
            certificate: absolute(certificate),
            key: absolute(key),
        });
        ServeOptions {
            listen: self.listen.clone(),
            tls,
            is_read_only: self.read_only,
            limits: Limits::default(),
        }
    }
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Exit {
    let node = match reach::open_to_keep(context) {
        Ok(node) => Arc::new(node),
        Err(exit) => return exit,
    };
    let (send, events) = unbounded();
    hold::watch_signals(send);
    let options = args.options();
    let serving = match Serving::start(node.store(), &options) {
        Ok(serving) => serving,
        Err(error) => return exit::of_node(&error),
    };
    let holder = Holder { keeps_mounts: true, listens: true };
    let control = reach::listen(&node, holder, Box::new(|| ()));
    if let Err(error) = announce(&serving, args, context) {
        // Whoever started it may have closed its output; it serves all the same.
        tracing::warn!("{error}");
    }
    for event in &events {
        match event {
            Event::Stop => break,
            Event::Changed => {}
        }
    }
    Reply::note(context.terminal, "ending; once more ends running transfers too");
    serving.end(&events);
    node.mounts().unmount_all(END_WAIT);
    drop(control);
    Exit::default()
}

/// Says where it is.
fn announce(serving: &Serving, args: &Args, context: &Context<'_>) -> Result<(), NodeError> {
    let urls = serving.urls();
    let out = if context.global.json {
        let pid = std::process::id();
        let ready = serde_json::json!({ "urls": urls, "read_only": args.read_only, "pid": pid });
        format!("{ready}\n")
    } else {
        urls.iter().map(|url| format!("{url}\n")).collect()
    };
    Reply::out(context.terminal, out.as_bytes()).map_err(NodeError::Output)?;
    if let (Some(url), false) = (urls.first(), args.read_only) {
        let hint = format!("push with: git push {url}/NAME.git BRANCH");
        Reply::note(context.terminal, &hint);
    }
    let is_open = args.listen.iter().any(|address| !address.ip().is_loopback());
    if is_open && args.tls_cert.is_none() {
        let hint = "without --tls-cert and --tls-key, tokens travel readable for the network";
        Reply::note(context.terminal, hint);
    }
    Ok(())
}
