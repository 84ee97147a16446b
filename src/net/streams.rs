//! Opens streams on the kept connection and hands arriving ones to their services.
//!
//! A protocol is only offered to peers of its standing, so negotiation itself refuses the others. An
//! arriving stream takes a slot of its service at once; without a free one it is closed and counted.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::{Ready, ready as now};
use libp2p::{
    InboundUpgrade, Multiaddr, OutboundUpgrade, PeerId, Stream, StreamProtocol,
    core::{Endpoint, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::debug;

use super::{PeerKey, Standing, gate::Gate, key};

/// Streams that callers may be waiting for on one connection before the next caller waits its turn.
const OPENING_MAX: usize = 16;
/// How long the other end may take to agree on a protocol.
pub(super) const NEGOTIATION: Duration = Duration::from_secs(10);
/// Strangers connected at the same time; enough for several people joining at once.
pub(super) const STRANGERS_MAX: usize = 16;
/// Half-open connections from one address, out of [`super::swarm::PENDING_MAX`] in all: one address
/// cannot take them all, and a hundred agents on one machine can still start together.
const PENDING_PER_ADDRESS_MAX: usize = 192;

/// Why the other end gave no stream.
#[derive(Debug)]
pub(super) enum OpenFailure {
    NotOffered,
    TimedOut,
    Lost,
}

pub(super) struct OpenAsk {
    pub(super) protocol: &'static str,
    pub(super) answer: Answer,
}

type Answer = oneshot::Sender<Result<Stream, OpenFailure>>;

/// A stream that has taken its slot.
pub(super) struct Arrived {
    pub(super) peer: PeerKey,
    pub(super) standing: Standing,
    pub(super) stream: Stream,
    pub(super) slot: OwnedSemaphorePermit,
}

struct Acceptor {
    admits: Standing,
    slots: Arc<Semaphore>,
    queue: mpsc::Sender<Arrived>,
}

/// Which services accept, and where streams are opened; shared by the connections and the handles.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    pub(super) busy: AtomicU64,
}

#[derive(Default)]
struct State {
    acceptors: BTreeMap<&'static str, Acceptor>,
    openers: HashMap<PeerKey, mpsc::Sender<OpenAsk>>,
    stopped: bool,
}

/// Why a service cannot accept.
pub(super) enum AcceptFailure {
    Stopped,
    Taken,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accept(
        &self,
        protocol: &'static str,
        admits: Standing,
        slots: usize,
    ) -> Result<mpsc::Receiver<Arrived>, AcceptFailure> {
        let mut state = self.lock();
        if state.stopped {
            return Err(AcceptFailure::Stopped);
        }
        if state.acceptors.get(protocol).is_some_and(|acceptor| !acceptor.queue.is_closed()) {
            return Err(AcceptFailure::Taken);
        }
        // Each place in the queue is held by a stream with a slot, so the queue is never over-full.
        let slots = slots.max(1);
        let (queue, arrivals) = mpsc::channel(slots);
        let acceptor = Acceptor { admits, slots: Arc::new(Semaphore::new(slots)), queue };
        state.acceptors.insert(protocol, acceptor);
        Ok(arrivals)
    }

    pub(super) fn opener(&self, peer: PeerKey) -> Option<mpsc::Sender<OpenAsk>> {
        self.lock().openers.get(&peer).cloned()
    }

    /// Ends every service's queue and every opening.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        *state = State { stopped: true, ..State::default() };
    }

    fn offered(&self, standing: Standing) -> Vec<StreamProtocol> {
        let state = self.lock();
        state
            .acceptors
            .iter()
            .filter(|(_, acceptor)| standing >= acceptor.admits && !acceptor.queue.is_closed())
            .map(|(name, _)| StreamProtocol::new(name))
            .collect()
    }

    fn arrive(&self, peer: PeerKey, standing: Standing, protocol: &StreamProtocol, stream: Stream) {
        let state = self.lock();
        let Some(acceptor) = state.acceptors.get(protocol.as_ref()) else { return };
        if standing < acceptor.admits {
            debug!(%peer, service = %protocol, "no longer admitted, stream closed");
            return;
        }
        let slot = Arc::clone(&acceptor.slots).try_acquire_owned();
        let handed =
            slot.is_ok_and(|slot| acceptor.queue.try_send(Arrived { peer, standing, stream, slot }).is_ok());
        if !handed {
            self.busy.fetch_add(1, Ordering::Relaxed);
            debug!(%peer, service = %protocol, "busy, stream closed");
        }
    }
}

/// The part of the Swarm that this module is: streams, and the bounds on who may connect.
pub(super) struct Behaviour {
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    half_open: HashMap<ConnectionId, IpAddr>,
    connections: HashMap<ConnectionId, Connection>,
}

struct Connection {
    peer: PeerKey,
    inbound: bool,
    opener: mpsc::Sender<OpenAsk>,
}

/// Why a connection was turned away.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("too many strangers")]
    Strangers,
    #[error("too many half-open connections from one address")]
    HalfOpen,
    #[error("a key of another kind")]
    Key,
}

impl Behaviour {
    pub(super) fn new(registry: Arc<Registry>, gate: Arc<Gate>) -> Self {
        Self { registry, gate, half_open: HashMap::new(), connections: HashMap::new() }
    }

    /// Opens streams to `peer` on this connection from now on, or on none.
    pub(super) fn prefer(&self, peer: PeerKey, connection: Option<ConnectionId>) {
        let opener = connection.and_then(|id| self.connections.get(&id)).map(|c| c.opener.clone());
        let mut state = self.registry.lock();
        match opener {
            Some(opener) if !state.stopped => state.openers.insert(peer, opener),
            _ => state.openers.remove(&peer),
        };
    }

    fn handler(
        &mut self,
        id: ConnectionId,
        peer: &PeerId,
        inbound: bool,
    ) -> Result<Handler, ConnectionDenied> {
        let peer = PeerKey::of_id(peer).ok_or_else(|| ConnectionDenied::new(Denied::Key))?;
        if inbound && self.gate.standing(peer) == Standing::Stranger {
            let others = self.connections.values().filter(|other| {
                other.inbound && other.peer != peer && self.gate.standing(other.peer) == Standing::Stranger
            });
            if others.count() >= STRANGERS_MAX {
                return Err(ConnectionDenied::new(Denied::Strangers));
            }
        }
        let (opener, asks) = mpsc::channel(OPENING_MAX);
        self.connections.insert(id, Connection { peer, inbound, opener });
        Ok(Handler { peer, registry: Arc::clone(&self.registry), gate: Arc::clone(&self.gate), asks })
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = key::socket_addr(remote).map(|addr| addr.ip()) else { return Ok(()) };
        if self.half_open.values().filter(|other| **other == ip).count() >= PENDING_PER_ADDRESS_MAX {
            return Err(ConnectionDenied::new(Denied::HalfOpen));
        }
        self.half_open.insert(id, ip);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.half_open.remove(&id);
        self.handler(id, &peer, true)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(id, &peer, false)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let gone = match event {
            FromSwarm::ConnectionClosed(closed) => closed.connection_id,
            FromSwarm::ListenFailure(failure) => failure.connection_id,
            FromSwarm::DialFailure(failure) => failure.connection_id,
            _ => return,
        };
        self.half_open.remove(&gone);
        self.connections.remove(&gone);
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// One connection's end of it.
pub(super) struct Handler {
    peer: PeerKey,
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    asks: mpsc::Receiver<OpenAsk>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Answer;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        let offer = Offer(self.registry.offered(self.gate.standing(self.peer)));
        SubstreamProtocol::new(offer, ()).with_timeout(NEGOTIATION)
    }

    /// A link without streams is still a link: it ends when somebody ends it.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Offer, Answer, Infallible>> {
        loop {
            let Some(ask) = ready!(self.asks.poll_recv(cx)) else { return Poll::Pending };
            if !ask.answer.is_closed() {
                let offer = Offer(vec![StreamProtocol::new(ask.protocol)]);
                let protocol = SubstreamProtocol::new(offer, ask.answer).with_timeout(NEGOTIATION);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Answer>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => {
                let standing = self.gate.standing(self.peer);
                self.registry.arrive(self.peer, standing, &protocol, stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info: answer,
            }) => {
                let _gone = answer.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: answer, error }) => {
                let failure = match error {
                    StreamUpgradeError::NegotiationFailed => OpenFailure::NotOffered,
                    StreamUpgradeError::Timeout => OpenFailure::TimedOut,
                    StreamUpgradeError::Io(_) => OpenFailure::Lost,
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _gone = answer.send(Err(failure));
            }
            _ => {}
        }
    }
}

/// The protocols that one end would speak on a new stream.
pub(super) struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        now(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        now(Ok((stream, protocol)))
    }
}
