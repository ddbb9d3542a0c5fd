//! `serve`: git, LFS and the store's own routes over HTTP, until a signal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;
use libp2p::{Multiaddr, PeerId};

use super::hold::{self, END_WAIT, Event};
use super::reach::{self, Context};
use super::run::Holder;
use super::{absolute, exit, parse, peer};
use crate::control::{Exit, Reply};
use crate::http::{Limits, ServeOptions, TlsFiles};
use crate::node::{NodeError, Serving, SwarmOptions};
use crate::swarm::net::{NetOptions, Reach};

/// Serve git, LFS and content by its hash over HTTP
///
/// Stock git and git-lfs clone from it and push to it. On this machine alone (127.0.0.1) and before
/// the first token is made, whoever reaches it is the owner; after that, and on other addresses,
/// everyone needs a token for what is not public: 'mega-store token create'.
///
/// With --swarm it is a peer too: other stores mount from it by its peer id what is public, or what
/// they are allowed, and find it through the peers that they know. Its addresses are printed, as
/// 'mega-store peer add' takes them.
///
/// The command holds the store and answers other commands until Ctrl-C. The first signal lets
/// transfers end that are running, the second ends them too. Writes, peers' too, are noted in
/// log/audit.log in the store.
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
    /// Be a peer too: serve what is public, or allowed, to other stores, and be found by them
    #[arg(long)]
    swarm: bool,
    /// Address to listen on for peers; may be given more than once
    #[arg(long, value_name = "MULTIADDR", requires = "swarm", value_parser = multiaddr)]
    swarm_listen: Vec<Multiaddr>,
    /// A peer to find others through, beside those that are known; may be given more than once
    #[arg(long, value_name = "MULTIADDR", requires = "swarm", value_parser = peer::split)]
    bootstrap: Vec<(PeerId, Multiaddr)>,
    /// Do not look for peers on the local network
    #[arg(long, requires = "swarm")]
    no_mdns: bool,
    /// Carry connections of peers that cannot reach one another
    #[arg(long, requires = "swarm")]
    relay: bool,
    /// Whether peers can open connections to this one; auto: others are asked to try
    #[arg(long, requires = "swarm", value_enum, default_value = "auto")]
    reachable: Reachable,
    /// Bytes a second that may go to peers, or with k, m or g
    #[arg(long, value_name = "SIZE", requires = "swarm", value_parser = parse::size)]
    upload: Option<u64>,
    /// Bytes a second that may come from peers, or with k, m or g
    #[arg(long, value_name = "SIZE", requires = "swarm", value_parser = parse::size)]
    download: Option<u64>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Reachable {
    /// Others are asked to try
    Auto,
    /// They can
    Yes,
    /// They cannot
    No,
}

fn multiaddr(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|e| format!("it is no address as /ip4/0.0.0.0/tcp/4001: {e}"))
}

/// How long addresses that are being opened are waited for.
const LISTEN_TIME: Duration = Duration::from_secs(2);

/// `ADDR:PORT`; `localhost` stands for 127.0.0.1.
fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| "it is not ADDRESS:PORT, as 127.0.0.1:8417 or [::1]:8417".to_owned())
}

impl Args {
    fn swarm_options(&self) -> SwarmOptions {
        let mut net = NetOptions {
            bootstrap: self.bootstrap.clone(),
            mdns: !self.no_mdns,
            relay: self.relay,
            reach: match self.reachable {
                Reachable::Auto => Reach::Auto,
                Reachable::Yes => Reach::Yes,
                Reachable::No => Reach::No,
            },
            ..NetOptions::default()
        };
        if !self.swarm_listen.is_empty() {
            net.listen.clone_from(&self.swarm_listen);
        }
        SwarmOptions { net, download: self.download, upload: self.upload }
    }

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
    let serving = match Serving::start(node.store(), node.audit(), &options) {
        Ok(serving) => serving,
        Err(error) => return exit::of_node(&error),
    };
    if args.swarm {
        match node.swarm(&args.swarm_options()) {
            Ok(swarm) => {
                swarm.announce();
                serving.show_swarm(swarm.clone());
                for address in swarm.addresses(LISTEN_TIME) {
                    Reply::note(context.terminal, &format!("peer {address}"));
                }
            }
            Err(error) => return exit::of_node(&error),
        }
    }
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
