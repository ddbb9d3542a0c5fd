//! The one task that owns libp2p.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::StreamProtocol;
use libp2p::core::ConnectedPoint;
use libp2p::futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{
    self, GetClosestPeersError, GetProvidersOk, GetRecordOk, InboundRequest, QueryId, QueryResult,
    Quorum, Record, RecordKey,
};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, mdns, relay};
use tokio::sync::{mpsc, oneshot};

use super::announce::Announcements;
use super::behaviour::{Behaviour, BehaviourEvent, build};
use super::limits::ANNOUNCEMENTS_AT_ONCE;
use super::peers::Peers;
use super::scope::{Scope, is_relayed, is_useful, names, scope_of, shown, useful_only};
use super::{Command, NetError, NetEvent, NetOptions, NetSelf, NetUse, Reach, ValueCheck};

/// How often what has no event of its own is looked after.
const TICK: Duration = Duration::from_millis(250);
/// A question that comes before any node is known waits this long for one.
const FIRST_NODE_TIME: Duration = Duration::from_secs(3);
/// A node that nobody has reached by then asks a relay to be reachable through it.
const RELAY_AFTER: Duration = Duration::from_secs(15);
/// Relays that a node is reachable through.
const RELAYS_MAX: usize = 2;
/// An announcement that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(20);
/// A known node that is not connected is dialled again after this.
const REDIAL: Duration = Duration::from_secs(30);

/// What a question to the DHT is for.
enum Query {
    Providers(mpsc::Sender<PeerId>, HashSet<PeerId>),
    Values(mpsc::Sender<Vec<u8>>),
    Announce(RecordKey),
    Put(RecordKey, Option<oneshot::Sender<Result<(), NetError>>>),
    Addresses(PeerId),
}

pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    options: NetOptions,
    check: Arc<dyn ValueCheck>,
    events: mpsc::UnboundedSender<NetEvent>,
    peers: Peers,
    queries: HashMap<QueryId, Query>,
    /// Questions that wait for the first node to be known, and until when.
    early: Vec<(Instant, Command)>,
    keys: Announcements,
    values: Announcements,
    own_values: HashMap<RecordKey, Vec<u8>>,
    announced: HashSet<RecordKey>,
    /// Values that no other node has taken yet.
    homeless: HashSet<RecordKey>,
    relays: HashSet<PeerId>,
    asked_relays: HashSet<PeerId>,
    started: Instant,
    redial: Instant,
    query_count: u64,
}

impl Task {
    pub(super) fn new(
        key: &Keypair,
        options: NetOptions,
        used: NetUse,
        events: mpsc::UnboundedSender<NetEvent>,
    ) -> Result<Self, NetError> {
        let mut swarm = build(key, &options)?;
        for address in &options.listen {
            let listening = swarm.listen_on(address.clone());
            listening.map_err(|e| NetError::Listen {
                address: address.clone(),
                reason: e.to_string(),
            })?;
        }
        if options.reach == Reach::No {
            swarm.behaviour_mut().kad.set_mode(Some(kad::Mode::Client));
        }
        for (peer, address) in &options.bootstrap {
            swarm.behaviour_mut().kad.add_address(peer, address.clone());
        }
        let now = Instant::now();
        let mut task = Self {
            swarm,
            check: used.check,
            options,
            events,
            peers: Peers::default(),
            queries: HashMap::new(),
            early: Vec::new(),
            keys: Announcements::default(),
            values: Announcements::default(),
            own_values: HashMap::new(),
            announced: HashSet::new(),
            homeless: HashSet::new(),
            relays: HashSet::new(),
            asked_relays: HashSet::new(),
            started: now,
            redial: now,
            query_count: 0,
        };
        task.accept(&used.accept)?;
        Ok(task)
    }

    /// Has a task for each protocol take its streams at once: those that nobody takes are dropped.
    fn accept(&mut self, accept: &[StreamProtocol]) -> Result<(), NetError> {
        for protocol in accept {
            let incoming = self.streams().accept(protocol.clone());
            let mut incoming = incoming.map_err(|e| NetError::Start { reason: e.to_string() })?;
            let (events, protocol) = (self.events.clone(), protocol.clone());
            tokio::spawn(async move {
                while let Some((peer, stream)) = incoming.next().await {
                    let protocol = protocol.clone();
                    if events.send(NetEvent::Stream { peer, protocol, stream }).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(())
    }

    pub(super) fn own(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub(super) fn streams(&self) -> libp2p_stream::Control {
        self.swarm.behaviour().streams.new_control()
    }

    /// Runs until the last [`super::Net`] has gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.happened(event),
                _ = tick.tick() => self.look_after(Instant::now()),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Dial(peer, addresses, reply) => self.dial(peer, addresses, Some(reply)),
            Command::Provide(key) => {
                self.keys.add(key, Instant::now());
                self.announce(Instant::now());
            }
            Command::Unprovide(key) => {
                self.keys.remove(&key);
                self.announced.remove(&key);
                self.swarm.behaviour_mut().kad.stop_providing(&key);
            }
            Command::Unput(key) => {
                self.values.remove(&key);
                self.own_values.remove(&key);
                self.homeless.remove(&key);
                self.swarm.behaviour_mut().kad.remove_record(&key);
            }
            Command::Providers(..) | Command::Get(..) | Command::Put(..) => {
                match self.table_len() {
                    0 => self.early.push((Instant::now() + FIRST_NODE_TIME, command)),
                    _ => self.query(command),
                }
            }
            Command::Ban(peer, time) => {
                self.peers.ban(peer, Instant::now() + time);
                self.swarm.behaviour_mut().banned.block_peer(peer);
                self.swarm.behaviour_mut().kad.remove_peer(&peer);
            }
            Command::Peers(reply) => {
                let _ = reply.send(self.peers.list());
            }
            Command::Own(reply) => {
                let _ = reply.send(self.own_state());
            }
            #[cfg(test)]
            Command::Rows(reply) => {
                let _ = reply.send(self.swarm.behaviour_mut().kad.store_mut().all());
            }
        }
    }

    fn table_len(&mut self) -> usize {
        self.swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    fn own_state(&mut self) -> NetSelf {
        NetSelf {
            table_len: self.table_len(),
            listening: self.swarm.listeners().cloned().collect(),
            confirmed: self.swarm.external_addresses().cloned().collect(),
            is_server: self.swarm.behaviour().kad.mode() == kad::Mode::Server,
            announced_count: self.keys.len(),
            query_count: self.query_count,
            running_count: self.queries.len(),
        }
    }

    fn query(&mut self, command: Command) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let (id, query) = match command {
            Command::Providers(key, found) => {
                (kad.get_providers(key), Query::Providers(found, HashSet::new()))
            }
            Command::Get(key, found) => (kad.get_record(key), Query::Values(found)),
            Command::Put(key, value, reply) => {
                self.own_values.insert(key.clone(), value);
                self.values.add(
                    key.clone(),
                    Instant::now() + self.options.profile.times().record_interval,
                );
                return self.put(key, Some(reply));
            }
            _ => return,
        };
        self.note(id, query);
    }

    fn note(&mut self, id: QueryId, query: Query) {
        self.query_count += 1;
        self.queries.insert(id, query);
    }

    fn put(&mut self, key: RecordKey, reply: Option<oneshot::Sender<Result<(), NetError>>>) {
        let Some(value) = self.own_values.get(&key) else { return };
        let mut record = Record::new(key.clone(), value.clone());
        record.publisher = Some(*self.swarm.local_peer_id());
        match self.swarm.behaviour_mut().kad.put_record(record, Quorum::One) {
            Ok(id) => self.note(id, Query::Put(key, reply)),
            Err(error) => {
                self.put_failed(key);
                if let Some(reply) = reply {
                    let _ = reply.send(Err(NetError::Dht { reason: error.to_string() }));
                }
            }
        }
    }

    /// Tries again in a while, or when the first node is known.
    fn put_failed(&mut self, key: RecordKey) {
        if self.own_values.contains_key(&key) {
            self.values.again(&key, Instant::now() + RETRY);
            self.homeless.insert(key);
        }
    }

    fn dial(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        reply: Option<oneshot::Sender<Result<(), NetError>>>,
    ) {
        let early = match (self.peers.is_connected(&peer), self.peers.is_banned(&peer)) {
            (_, true) => Some(Err(NetError::Banned { peer })),
            (true, false) => Some(Ok(())),
            (false, false) => None,
        };
        if let Some(answer) = early {
            if let Some(reply) = reply {
                let _ = reply.send(answer);
            }
            return;
        }
        let is_first = self.peers.wait(peer, reply);
        if is_first || !addresses.is_empty() {
            self.try_dial(peer, addresses);
        }
    }

    fn try_dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        match self.swarm.dial(dial) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dial_failed(peer, &error),
        }
    }

    /// Asks the DHT where the peer is, once; then gives up.
    fn dial_failed(&mut self, peer: PeerId, error: &DialError) {
        let has_nodes = self.table_len() > 0;
        match self.peers.dial_mut(&peer) {
            Some(dial) if !dial.has_searched && has_nodes => {
                dial.has_searched = true;
                let id = self.swarm.behaviour_mut().kad.get_closest_peers(peer);
                self.note(id, Query::Addresses(peer));
            }
            _ => self.peers.fail(peer, &shown(error), Instant::now()),
        }
    }

    fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaved(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                let event = self.peers.down(peer_id, connection_id);
                self.tell(event);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                tracing::debug!(%peer, %error, "a peer cannot be dialled");
                self.dial_failed(peer, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listening(address),
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "the swarm's listener");
            }
            SwarmEvent::ListenerClosed { addresses, .. } => {
                for address in &addresses {
                    self.relays.retain(|relay| !names(address, relay));
                }
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let mut address = match endpoint {
            ConnectedPoint::Dialer { address, .. } => address.clone(),
            ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr.clone(),
        };
        if names(&address, &peer) && !is_relayed(&address) {
            address.pop();
        }
        let event = self.peers.up(peer, id, address, endpoint.is_relayed());
        self.tell(event);
    }

    fn tell(&self, event: Option<NetEvent>) {
        if let Some(event) = event {
            let _ = self.events.send(event);
        }
    }

    /// Others are told of an address at once when this node is known to be reachable.
    fn listening(&mut self, address: Multiaddr) {
        let is_meant = |listen: &Multiaddr| scope_of(listen) == Some(Scope::Machine);
        let is_loopback = scope_of(&address) == Some(Scope::Machine);
        if self.options.reach == Reach::Yes
            && !is_relayed(&address)
            && (!is_loopback || self.options.listen.iter().any(is_meant))
        {
            self.swarm.add_external_address(address);
        }
    }

    fn behaved(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => {
                self.identified(connection_id, peer_id, info);
            }
            BehaviourEvent::Ping(event) => {
                if let Ok(time) = event.result {
                    self.peers.set_rtt(&event.peer, time);
                    self.tell(Some(NetEvent::Rtt { peer: event.peer, time }));
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    if is_useful(&address, Scope::Machine) {
                        self.dial(peer, vec![address], None);
                    }
                }
            }
            BehaviourEvent::RelayClient(relay::client::Event::ReservationReqAccepted {
                relay_peer_id,
                ..
            }) => {
                self.relays.insert(relay_peer_id);
            }
            BehaviourEvent::Kad(event) => self.kad(event),
            _ => {}
        }
    }

    fn identified(&mut self, id: ConnectionId, peer: PeerId, info: identify::Info) {
        let via = self.peers.way(&peer, id).and_then(scope_of).unwrap_or(Scope::World);
        if info.protocols.contains(&super::behaviour::KAD_PROTOCOL) {
            for address in info.listen_addrs.into_iter().filter(|a| is_useful(a, via)) {
                self.swarm.behaviour_mut().kad.add_address(&peer, address);
            }
        }
        if info.protocols.contains(&relay::HOP_PROTOCOL_NAME) {
            self.asked_relays.insert(peer);
        }
        // What a peer calls itself is shown to people: nothing that moves a cursor.
        let printable = info.agent_version.chars().filter(|c| !c.is_control());
        self.peers.set_agent(&peer, printable.take(64).collect());
    }

    fn kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest { request } => self.inbound(request),
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.progressed(id, result, step.last);
            }
            kad::Event::RoutingUpdated { .. } => {
                for (_, command) in std::mem::take(&mut self.early) {
                    self.query(command);
                }
                for key in self.homeless.drain() {
                    self.values.again(&key, Instant::now());
                }
            }
            _ => {}
        }
    }

    fn inbound(&mut self, request: InboundRequest) {
        let rows = self.swarm.behaviour_mut().kad.store_mut();
        let kept = match request {
            InboundRequest::AddProvider { record: Some(record) } => {
                rows.add_provider(useful_only(record))
            }
            InboundRequest::PutRecord { record: Some(record), .. } => {
                let old = rows.get(&record.key);
                let old = old.as_ref().map(|old| old.value.as_slice());
                match self.check.is_good(record.key.as_ref(), &record.value, old) {
                    true => rows.put(record),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        };
        if let Err(error) = kept {
            tracing::debug!(%error, "a row of the DHT is not kept");
        }
    }

    fn progressed(&mut self, id: QueryId, result: QueryResult, is_last: bool) {
        match (self.queries.get_mut(&id), result) {
            (
                Some(Query::Providers(found, seen)),
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                let (now, own) = (Instant::now(), *self.swarm.local_peer_id());
                let is_new = |peer: &PeerId| *peer != own && !self.peers.is_dead(peer, now);
                let mut fresh = Vec::new();
                for peer in providers.into_iter().filter(is_new) {
                    if seen.insert(peer) && found.try_send(peer).is_ok() {
                        fresh.push(peer);
                    }
                }
                // Now: their addresses are known for as long as the question runs.
                for peer in fresh {
                    self.dial(peer, Vec::new(), None);
                }
            }
            (
                Some(Query::Values(found)),
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found_record))),
            ) => {
                let _ = found.try_send(found_record.record.value);
            }
            (Some(Query::Put(..)), QueryResult::PutRecord(result)) => {
                let Some(Query::Put(key, reply)) = self.queries.remove(&id) else { return };
                match &result {
                    Ok(_) => drop(self.homeless.remove(&key)),
                    Err(_) => self.put_failed(key),
                }
                if let Some(reply) = reply {
                    let told = result.map(|_| ());
                    let _ = reply.send(told.map_err(|e| NetError::Dht { reason: e.to_string() }));
                }
            }
            (Some(Query::Announce(_)), QueryResult::StartProviding(Err(error))) => {
                if let Some(Query::Announce(key)) = self.queries.remove(&id) {
                    tracing::debug!(%error, "an announcement failed");
                    self.keys.again(&key, Instant::now() + RETRY);
                }
            }
            (Some(Query::Addresses(_)), QueryResult::GetClosestPeers(result)) => {
                if let Some(Query::Addresses(peer)) = self.queries.remove(&id) {
                    self.found_addresses(peer, result);
                }
            }
            _ => {}
        }
        if is_last {
            self.queries.remove(&id);
            // Room for the next announcement, if one is due.
            self.announce(Instant::now());
        }
    }

    fn found_addresses(&mut self, peer: PeerId, result: kad::GetClosestPeersResult) {
        let peers = match result {
            Ok(found) => found.peers,
            Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        let addresses = peers.into_iter().find(|info| info.peer_id == peer).map(|info| info.addrs);
        match addresses.filter(|addresses| !addresses.is_empty()) {
            Some(addresses) => self.try_dial(peer, addresses),
            None => self.peers.fail(peer, "nobody knows where it is", Instant::now()),
        }
    }

    fn look_after(&mut self, now: Instant) {
        for peer in self.peers.pardon(now) {
            self.swarm.behaviour_mut().banned.unblock_peer(peer);
        }
        for (until, command) in std::mem::take(&mut self.early) {
            match until <= now {
                true => self.query(command),
                false => self.early.push((until, command)),
            }
        }
        self.announce(now);
        if now >= self.redial {
            self.redial = now + REDIAL;
            self.swarm.behaviour_mut().kad.store_mut().expire(now);
            for (peer, address) in self.options.bootstrap.clone() {
                self.dial(peer, vec![address], None);
            }
        }
        self.ask_relay(now);
    }

    /// Announces what is due, a few at a time.
    fn announce(&mut self, now: Instant) {
        if self.table_len() == 0 {
            return;
        }
        let is_announcement = |query: &&Query| matches!(query, Query::Announce(_));
        let mut running = self.queries.values().filter(is_announcement).count();
        let times = self.options.profile.times();
        while running < ANNOUNCEMENTS_AT_ONCE {
            let announced = &self.announced;
            let is_first = |key: &RecordKey| !announced.contains(key);
            let Some(key) = self.keys.take(now, times.interval, is_first) else { break };
            self.announced.insert(key.clone());
            match self.swarm.behaviour_mut().kad.start_providing(key.clone()) {
                Ok(id) => self.note(id, Query::Announce(key)),
                Err(error) => tracing::warn!(%error, "a key is not announced"),
            }
            running += 1;
        }
        while let Some(key) = self.values.take(now, times.record_interval, |_| false) {
            self.put(key, None);
        }
    }

    /// Becomes reachable through a relay when no way in was found.
    fn ask_relay(&mut self, now: Instant) {
        let is_hidden = match self.options.reach {
            Reach::Yes => false,
            Reach::No => true,
            Reach::Auto => now >= self.started + RELAY_AFTER,
        };
        let has_way = self.swarm.external_addresses().any(|address| !is_relayed(address));
        if !is_hidden || has_way || self.relays.len() >= RELAYS_MAX {
            return;
        }
        for peer in std::mem::take(&mut self.asked_relays) {
            let way = self.peers.list().into_iter().find(|row| row.peer == peer);
            let way = way.and_then(|row| row.addresses.into_iter().find(|a| !is_relayed(a)));
            let Some(way) = way.and_then(|way| way.with_p2p(peer).ok()) else { continue };
            if let Err(error) = self.swarm.listen_on(way.with(Protocol::P2pCircuit)) {
                tracing::debug!(%peer, %error, "a relay was not asked");
            }
        }
    }
}
