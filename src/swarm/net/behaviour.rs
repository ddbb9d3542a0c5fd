//! The protocols that a node speaks, put together.

use std::time::Duration;

use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::{self, StoreInserts};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{
    PeerId, StreamProtocol, SwarmBuilder, autonat, dcutr, identify, mdns, noise, ping, relay, tcp,
    yamux,
};

use super::dht::DhtRows;
use super::limits::{
    CONNECT_TIME, CONNECTIONS_MAX, IDLE_TIME, INCOMING_MAX, PENDING_MAX, PER_PEER_MAX, QUERY_TIME,
    RELAY_BYTES_MAX, RELAY_TIME,
};
use super::{NetError, NetOptions};

/// The name of our DHT: nodes of others are not in it.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/mega/kad/1");
const IDENTIFY_PROTOCOL: &str = "/mega/id/1";

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) banned: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<DhtRows>,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) reach_client: autonat::v2::client::Behaviour,
    pub(super) reach_server: autonat::v2::server::Behaviour,
    pub(super) relay_client: relay::client::Behaviour,
    pub(super) relay: Toggle<relay::Behaviour>,
    pub(super) punch: dcutr::Behaviour,
    pub(super) streams: libp2p_stream::Behaviour,
}

/// Puts a swarm together. Must be called inside of a tokio runtime.
pub(super) fn build(key: &Keypair, options: &NetOptions) -> Result<Swarm<Behaviour>, NetError> {
    let failed = |e: &dyn std::fmt::Display| NetError::Start { reason: e.to_string() };
    let builder = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|e| failed(&e))?;
    #[cfg(feature = "quic")]
    let builder = builder.with_quic();
    let builder = builder
        .with_dns()
        .map_err(|e| failed(&e))?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(|e| failed(&e))?;
    let swarm = builder
        .with_behaviour(|key, relay_client| behaviour(key, relay_client, options))
        .map_err(|e| failed(&e))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIME))
        .with_connection_timeout(CONNECT_TIME)
        .build();
    Ok(swarm)
}

fn behaviour(
    key: &Keypair,
    relay_client: relay::client::Behaviour,
    options: &NetOptions,
) -> Result<Behaviour, Box<dyn std::error::Error + Send + Sync>> {
    let own = PeerId::from(key.public());
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX))
        .with_max_established_incoming(Some(INCOMING_MAX))
        .with_max_established(Some(CONNECTIONS_MAX))
        .with_max_established_per_peer(Some(PER_PEER_MAX));
    let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
        .with_agent_version(concat!("mega-store/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    // A machine without a network, or whose network lets no multicast through, has other ways.
    let mdns = options.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), own));
    let mdns = mdns.and_then(|started| {
        let failed = |error: &std::io::Error| {
            tracing::warn!(%error, "peers on the local network are not looked for");
        };
        started.inspect_err(failed).ok()
    });
    let relay = options.relay.then(|| {
        let config = relay::Config {
            max_circuit_bytes: RELAY_BYTES_MAX,
            max_circuit_duration: RELAY_TIME,
            ..relay::Config::default()
        };
        relay::Behaviour::new(own, config)
    });
    let ping = ping::Config::new().with_interval(Duration::from_secs(15));
    Ok(Behaviour {
        banned: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        kad: kad::Behaviour::with_config(own, DhtRows::new(own), kad_config(options)),
        mdns: mdns.into(),
        reach_client: autonat::v2::client::Behaviour::default(),
        reach_server: autonat::v2::server::Behaviour::default(),
        relay_client,
        relay: relay.into(),
        punch: dcutr::Behaviour::new(own),
        streams: libp2p_stream::Behaviour::new(),
    })
}

fn kad_config(options: &NetOptions) -> kad::Config {
    let times = options.profile.times();
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_query_timeout(QUERY_TIME)
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_provider_record_ttl(Some(times.life))
        // Announced again by our own timetable: Kademlia's own repeats all keys at once.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_record_ttl(Some(times.record_life))
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(300)));
    config
}
