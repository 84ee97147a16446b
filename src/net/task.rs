//! The one owner of the Swarm.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
    future::pending,
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    mdns,
    swarm::{ConnectionId, DialError, SwarmEvent, dial_opts::DialOpts, dial_opts::PeerCondition},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, trace};

use super::{
    Hints, Link, Links, NetError, PeerKey, Standing,
    gate::Gate,
    hints, key, links,
    streams::Registry,
    swarm::{Behaviour, BehaviourEvent},
};

/// How long somebody unknown may stay connected without becoming known; joining takes seconds.
pub(super) const STRANGER_STAY: Duration = Duration::from_secs(60);
/// Addresses tried in one dial.
const ADDRS_PER_DIAL_MAX: usize = 16;

type Done<T> = oneshot::Sender<Result<T, NetError>>;

/// The few questions that only the owner of the Swarm can answer.
pub(super) enum Ask {
    Listen {
        addr: SocketAddr,
        done: Done<SocketAddr>,
    },
    Dial {
        peer: Option<PeerKey>,
        addrs: Vec<SocketAddr>,
        done: Done<PeerKey>,
    },
    /// A caller of `Dial` has given up.
    Abandon {
        peer: PeerKey,
    },
    Disconnect {
        peer: PeerKey,
    },
    /// Shows that the task turns.
    Turn {
        done: Done<()>,
    },
    #[cfg(test)]
    Count {
        done: Done<usize>,
    },
}

/// The task that owns the Swarm; spawn its [`NetTask::run`].
pub struct NetTask {
    me: PeerKey,
    swarm: Swarm<Behaviour>,
    inbox: mpsc::Receiver<Ask>,
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    links: watch::Sender<Links>,
    hints: watch::Sender<Hints>,
    local: watch::Sender<BTreeSet<SocketAddr>>,
    listening: HashMap<ListenerId, Listening>,
    dials: HashMap<ConnectionId, Dial>,
    peers: BTreeMap<PeerKey, Peer>,
    serial: u64,
}

struct Listening {
    asked: SocketAddr,
    done: Option<Done<SocketAddr>>,
}

struct Dial {
    peer: Option<PeerKey>,
    left: Vec<SocketAddr>,
    reasons: Vec<(SocketAddr, String)>,
    waiting: Vec<Done<PeerKey>>,
    /// Its callers were told of another link meanwhile, so its own may still be the one to keep.
    served: bool,
}

impl Dial {
    fn finish(self, result: impl Fn() -> Result<PeerKey, NetError>) {
        for waiting in self.waiting {
            let _gone = waiting.send(result());
        }
    }

    fn unwanted(&self) -> bool {
        !self.served && self.waiting.iter().all(oneshot::Sender::is_closed)
    }
}

struct Peer {
    /// The first is the link; the others wait for the other end to close them.
    connections: Vec<(ConnectionId, Link)>,
    standing: Standing,
    leaves_at: Option<Instant>,
}

impl std::fmt::Debug for NetTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetTask").field("me", &self.me).finish_non_exhaustive()
    }
}

impl NetTask {
    #[expect(clippy::too_many_arguments, reason = "the other ends of everything that a handle holds")]
    pub(super) fn new(
        me: PeerKey,
        swarm: Swarm<Behaviour>,
        inbox: mpsc::Receiver<Ask>,
        registry: Arc<Registry>,
        gate: Arc<Gate>,
        links: watch::Sender<Links>,
        hints: watch::Sender<Hints>,
        local: watch::Sender<BTreeSet<SocketAddr>>,
    ) -> Self {
        Self {
            me,
            swarm,
            inbox,
            registry,
            gate,
            links,
            hints,
            local,
            listening: HashMap::new(),
            dials: HashMap::new(),
            peers: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Runs until `stop` fires or every handle is dropped. Links, streams and queues end with it.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let wake = self.next_wake();
            let sleep = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                ask = self.inbox.recv() => match ask {
                    Some(ask) => self.on_ask(ask),
                    None => break,
                },
                () = self.gate.changed.notified() => self.review(),
                () = sleep => self.review(),
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
        self.registry.stop();
        self.links.send_replace(Links::new());
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Listen { addr, done } => match self.swarm.listen_on(key::multiaddr(addr)) {
                Ok(id) => {
                    self.listening.insert(id, Listening { asked: addr, done: Some(done) });
                }
                Err(error) => {
                    let source = io::Error::other(root_cause(&error));
                    let _gone = done.send(Err(NetError::Listen { addr, source }));
                }
            },
            Ask::Dial { peer, addrs, done } => self.on_dial(peer, addrs, done),
            Ask::Abandon { peer } => {
                let mut dials = self.dials.values().filter(|dial| dial.peer == Some(peer));
                if dials.all(Dial::unwanted) && !self.peers.contains_key(&peer) {
                    self.dials.retain(|_, dial| dial.peer != Some(peer));
                    self.disconnect(peer);
                }
            }
            Ask::Disconnect { peer } => self.disconnect(peer),
            Ask::Turn { done } => {
                let _gone = done.send(Ok(()));
            }
            #[cfg(test)]
            Ask::Count { done } => {
                let counters = self.swarm.network_info().connection_counters().num_connections();
                let _gone = done.send(Ok(counters as usize));
            }
        }
    }

    fn on_dial(&mut self, peer: Option<PeerKey>, addrs: Vec<SocketAddr>, done: Done<PeerKey>) {
        if let Some(peer) = peer {
            let already = if peer == self.me {
                Some(Err(NetError::Myself))
            } else if self.peers.contains_key(&peer) {
                Some(Ok(peer))
            } else {
                None
            };
            if let Some(already) = already {
                let _gone = done.send(already);
                return;
            }
            let same = |dial: &&mut Dial| {
                dial.peer == Some(peer)
                    && !dial.unwanted()
                    && addrs.iter().all(|addr| dial.left.contains(addr))
            };
            if let Some(dial) = self.dials.values_mut().find(same) {
                dial.waiting.push(done);
                return;
            }
        }
        let local = self.local.borrow().clone();
        let mut left: Vec<SocketAddr> = Vec::new();
        for addr in addrs {
            if !local.contains(&addr) && !left.contains(&addr) && left.len() < ADDRS_PER_DIAL_MAX {
                left.push(addr);
            }
        }
        self.begin(Dial { peer, left, reasons: Vec::new(), waiting: vec![done], served: false });
    }

    /// Dials the addresses that are left.
    fn begin(&mut self, dial: Dial) {
        let addrs: Vec<Multiaddr> = dial.left.iter().copied().map(key::multiaddr).collect();
        // A new port each time: with the listening one, two hosts that dial each other at once may
        // both end up as the dialling end of one TCP connection.
        let opts = match (dial.peer, addrs.first()) {
            (_, None) => {
                let (peer, reasons) = (dial.peer, dial.reasons.clone());
                return dial.finish(|| Err(NetError::Dial { peer, reasons: reasons.clone() }));
            }
            (Some(peer), Some(_)) => match peer.id() {
                Some(id) => DialOpts::peer_id(id)
                    .addresses(addrs)
                    .condition(PeerCondition::Always)
                    .allocate_new_port()
                    .build(),
                None => return dial.finish(|| Err(NetError::Key(peer))),
            },
            (None, Some(addr)) => {
                DialOpts::unknown_peer_id().address(addr.clone()).allocate_new_port().build()
            }
        };
        let id = opts.connection_id();
        match self.swarm.dial(opts) {
            Ok(()) => {
                self.dials.insert(id, dial);
            }
            Err(error) => self.on_dial_error(dial, &error),
        }
    }

    fn on_dial_error(&mut self, mut dial: Dial, error: &DialError) {
        if let Some(peer) = dial.peer
            && self.peers.contains_key(&peer)
        {
            return dial.finish(|| Ok(peer));
        }
        debug!(peer = ?dial.peer, %error, "dial failed");
        let give_up = |dial: &mut Dial, why: &str| {
            for addr in std::mem::take(&mut dial.left) {
                dial.reasons.push((addr, why.to_owned()));
            }
        };
        match error {
            // One address led elsewhere, which ended the attempt on the others.
            DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                if dial.peer.is_none() {
                    return dial.finish(|| Err(NetError::Myself));
                }
                match key::socket_addr(address) {
                    Some(addr) if dial.left.contains(&addr) => {
                        dial.left.retain(|left| *left != addr);
                        dial.reasons.push((addr, "another host answers there".to_owned()));
                        if !dial.left.is_empty() && !dial.unwanted() {
                            return self.begin(dial);
                        }
                    }
                    _ => give_up(&mut dial, "another host answers there"),
                }
            }
            DialError::Transport(errors) => {
                for (address, error) in errors {
                    if let Some(addr) = key::socket_addr(address) {
                        dial.left.retain(|left| *left != addr);
                        dial.reasons.push((addr, root_cause(error)));
                    }
                }
                give_up(&mut dial, "not tried");
            }
            DialError::Denied { cause } => give_up(&mut dial, &root_cause(cause)),
            DialError::NoAddresses => give_up(&mut dial, "not an address"),
            DialError::DialPeerConditionFalse(_) | DialError::Aborted => give_up(&mut dial, "given up"),
        }
        let (peer, reasons) = (dial.peer, dial.reasons.clone());
        dial.finish(|| Err(NetError::Dial { peer, reasons: reasons.clone() }));
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                if let Some(peer) = PeerKey::of_id(&peer_id) {
                    self.on_established(peer, connection_id, &endpoint);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                if let Some(peer) = PeerKey::of_id(&peer_id) {
                    debug!(%peer, ?cause, "connection closed");
                    self.on_closed(peer, connection_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    self.on_dial_error(dial, &error);
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                debug!(addr = %send_back_addr, %error, "connection refused");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let Some(addr) = key::socket_addr(&address) else { return };
                info!(%addr, "listening");
                self.local.send_modify(|local| {
                    local.insert(addr);
                });
                if let Some(listening) = self.listening.get_mut(&listener_id)
                    && let Some(done) = listening.done.take()
                {
                    let _gone = done.send(Ok(SocketAddr::new(listening.asked.ip(), addr.port())));
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.unlisten(&[address]),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.unlisten(&addresses);
                let Some(Listening { asked: addr, done }) = self.listening.remove(&listener_id) else {
                    return;
                };
                info!(%addr, ?reason, "no longer listening");
                if let Some(done) = done {
                    let source = reason.err().unwrap_or_else(|| io::ErrorKind::Interrupted.into());
                    let _gone = done.send(Err(NetError::Listen { addr, source }));
                }
            }
            SwarmEvent::ListenerError { error, .. } => debug!(%error, "listener"),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event)) => self.on_mdns(event),
            other => trace!(?other, "swarm"),
        }
    }

    fn unlisten(&mut self, addresses: &[Multiaddr]) {
        self.local.send_modify(|local| {
            for addr in addresses.iter().filter_map(key::socket_addr) {
                local.remove(&addr);
            }
        });
    }

    fn on_mdns(&mut self, event: mdns::Event) {
        let (change, seen): (fn(&mut Hints, PeerKey, SocketAddr) -> bool, _) = match event {
            mdns::Event::Discovered(seen) => (hints::add, seen),
            mdns::Event::Expired(seen) => (hints::remove, seen),
        };
        self.hints.send_if_modified(|hints| {
            let mut modified = false;
            for (id, address) in &seen {
                if let Some((peer, addr)) = PeerKey::of_id(id).zip(key::socket_addr(address)) {
                    modified |= change(hints, peer, addr);
                }
            }
            modified
        });
    }

    fn on_established(&mut self, peer: PeerKey, id: ConnectionId, endpoint: &ConnectedPoint) {
        let (address, dialled_by_us) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (address, true),
            ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr, false),
        };
        let dial = self.dials.remove(&id);
        let unwanted =
            dialled_by_us && dial.as_ref().is_none_or(Dial::unwanted) && !self.peers.contains_key(&peer);
        let Some(remote) = key::socket_addr(address).filter(|_| !unwanted) else {
            self.swarm.close_connection(id);
            return;
        };
        self.serial += 1;
        let link = Link { dialled_by_us, remote, since: Instant::now(), serial: self.serial };
        let standing = self.gate.standing(peer);
        let entry = self.peers.entry(peer).or_insert(Peer {
            connections: Vec::new(),
            standing,
            leaves_at: (standing == Standing::Stranger && !dialled_by_us).then(|| link.since + STRANGER_STAY),
        });
        let place = match entry.connections.first() {
            Some((_, kept)) if !links::replaces(&link, kept, self.me < peer) => 1,
            _ => 0,
        };
        entry.connections.insert(place, (id, link));
        if let Some((kept_id, kept)) = entry.connections.first().copied() {
            let swarm = &mut self.swarm;
            entry.connections.retain(|(id, other)| {
                let closes = *id != kept_id && links::closes(other, &kept);
                !(closes && swarm.close_connection(*id))
            });
        }
        self.publish(peer);
        debug!(%peer, addr = %remote, dialled_by_us, "connected");
        if let Some(dial) = dial {
            dial.finish(|| Ok(peer));
        }
        for dial in self.dials.values_mut().filter(|dial| dial.peer == Some(peer)) {
            dial.served = true;
            for waiting in dial.waiting.drain(..) {
                let _gone = waiting.send(Ok(peer));
            }
        }
    }

    fn on_closed(&mut self, peer: PeerKey, id: ConnectionId) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.connections.retain(|(other, _)| *other != id);
        if entry.connections.is_empty() {
            self.peers.remove(&peer);
        }
        self.publish(peer);
    }

    /// Says which connection to `peer` is its link now.
    fn publish(&mut self, peer: PeerKey) {
        let kept = self.peers.get(&peer).and_then(|entry| entry.connections.first()).copied();
        self.swarm.behaviour().streams.prefer(peer, kept.map(|(id, _)| id));
        self.links.send_if_modified(|links| match kept {
            Some((_, link)) => links.insert(peer, link) != Some(link),
            None => links.remove(&peer).is_some(),
        });
    }

    fn disconnect(&mut self, peer: PeerKey) {
        self.peers.remove(&peer);
        self.publish(peer);
        if let Some(id) = peer.id() {
            // Ends dials under way as well; it is an error only when there is nothing to end.
            let _nothing = self.swarm.disconnect_peer_id(id);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let leaves_at = self.peers.values().filter_map(|peer| peer.leaves_at);
        leaves_at.chain(self.gate.next_end()).min()
    }

    /// Looks at everybody's standing again, and ends the links of those who lost theirs or stayed
    /// strangers for too long.
    fn review(&mut self) {
        let now = Instant::now();
        let mut leaving = Vec::new();
        for (peer, entry) in &mut self.peers {
            let before = std::mem::replace(&mut entry.standing, self.gate.standing(*peer));
            let demoted = entry.standing == Standing::Stranger && before > Standing::Stranger;
            if entry.standing > Standing::Stranger {
                entry.leaves_at = None;
            }
            if demoted || entry.leaves_at.is_some_and(|at| at <= now) {
                leaving.push(*peer);
            }
        }
        for peer in leaving {
            debug!(%peer, "no longer admitted, link ended");
            self.disconnect(peer);
        }
    }
}

/// The innermost cause, where the system's own words are.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
