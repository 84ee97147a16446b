//! The handle that everybody but the owning task holds.

use std::{
    collections::{BTreeSet, HashSet},
    fmt, io,
    marker::PhantomData,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout},
};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::{
    Channel, Hints, Io, Links, NetTask, PeerKey, Protocol, Standing,
    gate::Gate,
    key,
    streams::{AcceptFailure, Arrived, OpenAsk, OpenFailure, Registry},
    swarm,
    task::Ask,
};

/// Asks to the owning task that may be waiting before the next caller waits its turn.
const ASKS_MAX: usize = 64;
/// Dials under way at the same time.
const DIALS_AT_ONCE_MAX: usize = 16;
/// How long a listener may take to come up.
const LISTEN: Duration = Duration::from_secs(10);

/// How long a connection that gives way to another takes to be seen gone.
const RELINK: Duration = Duration::from_secs(1);

/// What the network is started with.
#[derive(Clone)]
pub struct Settings {
    /// Seed of this host's ed25519 key pair.
    pub seed: [u8; 32],
    /// The key that every packet is wrapped in; who does not hold it cannot say a word.
    pub psk: [u8; 32],
    /// Announce this host on the local network by mDNS and listen for others.
    pub lan: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("lan", &self.lan).finish_non_exhaustive()
    }
}

/// Why the network could not do what was asked. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The owning task has ended, so the node is shutting down.
    #[error("the network is shut down")]
    Stopped,
    /// The seed makes no key pair.
    #[error("the seed is no ed25519 seed")]
    Seed,
    /// The local network cannot be watched.
    #[error("cannot use mDNS")]
    Lan(#[source] io::Error),
    /// The address could not be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are no public key.
    #[error("{0} is no ed25519 key")]
    Key(PeerKey),
    /// It is this host itself.
    #[error("that is this host itself")]
    Myself,
    /// No address led to the peer.
    #[error("cannot reach {}{}", peer_words(*peer), reason_words(reasons))]
    Dial {
        /// The peer, where its key was known.
        peer: Option<PeerKey>,
        /// Each address that was tried, and why it did not lead there.
        reasons: Vec<(SocketAddr, String)>,
    },
    /// There is no link to the peer; dial it first.
    #[error("no link to {0}")]
    NotLinked(PeerKey),
    /// The peer does not speak the protocol, or not with us.
    #[error("{peer} does not offer {protocol} to this host")]
    NotOffered {
        /// The peer.
        peer: PeerKey,
        /// The protocol.
        protocol: &'static str,
    },
    /// The link broke while the stream was opened.
    #[error("link to {0} lost")]
    LinkLost(PeerKey),
    /// The peer did not answer in time.
    #[error("{peer} does not answer within {} s", within.as_secs_f32())]
    TimedOut {
        /// The peer.
        peer: PeerKey,
        /// The time there was.
        within: Duration,
    },
    /// Another service accepts this protocol already.
    #[error("{0} is accepted already")]
    Taken(&'static str),
}

fn peer_words(peer: Option<PeerKey>) -> String {
    peer.map_or_else(|| "a host there".to_owned(), |peer| peer.to_string())
}

fn reason_words(reasons: &[(SocketAddr, String)]) -> String {
    if reasons.is_empty() {
        return ": no address".to_owned();
    }
    let words: Vec<_> = reasons.iter().map(|(addr, reason)| format!("{addr}: {reason}")).collect();
    format!(": {}", words.join("; "))
}

/// What was turned away since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams that found no free slot.
    pub busy: u64,
}

/// Handle to the network: cheap to clone.
#[derive(Clone)]
pub struct Net {
    me: PeerKey,
    asks: mpsc::Sender<Ask>,
    dials: Arc<Semaphore>,
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    links: watch::Receiver<Links>,
    hints: watch::Receiver<Hints>,
    local: watch::Receiver<BTreeSet<SocketAddr>>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Makes the handle to share and the task to spawn. Call it inside a tokio runtime.
#[expect(clippy::needless_pass_by_value, reason = "the secrets move in; the caller keeps no copy")]
pub fn start(settings: Settings) -> Result<(Net, NetTask), NetError> {
    let Settings { seed, psk, lan } = settings;
    let (pair, me) = key::keypair(seed).ok_or(NetError::Seed)?;
    let registry = Arc::new(Registry::default());
    let gate = Arc::new(Gate::default());
    let swarm = swarm::build(&pair, psk, lan, Arc::clone(&registry), Arc::clone(&gate))?;
    let (asks, inbox) = mpsc::channel(ASKS_MAX);
    let (links_out, links) = watch::channel(Links::new());
    let (hints_out, hints) = watch::channel(Hints::new());
    let (local_out, local) = watch::channel(BTreeSet::new());
    let dials = Arc::new(Semaphore::new(DIALS_AT_ONCE_MAX));
    let task = NetTask::new(
        me,
        swarm,
        inbox,
        Arc::clone(&registry),
        Arc::clone(&gate),
        links_out,
        hints_out,
        local_out,
    );
    Ok((Net { me, asks, dials, registry, gate, links, hints, local }, task))
}

impl Net {
    /// This host's own key.
    pub fn me(&self) -> PeerKey {
        self.me
    }

    /// Starts listening and returns the bound address: port 0 becomes the port that was found.
    pub async fn listen(&self, addr: SocketAddr) -> Result<SocketAddr, NetError> {
        // The transport shares its ports (SO_REUSEPORT), so it would not notice another agent there.
        if addr.port() != 0 {
            std::net::TcpListener::bind(addr).map_err(|source| NetError::Listen { addr, source })?;
        }
        let answer = self.ask(|done| Ask::Listen { addr, done });
        timeout(LISTEN, answer).await.unwrap_or_else(|_| {
            Err(NetError::Listen { addr, source: io::Error::from(io::ErrorKind::TimedOut) })
        })
    }

    /// The addresses that this host listens on; with an unspecified one, those of every interface.
    pub fn local_addrs(&self) -> BTreeSet<SocketAddr> {
        self.local.borrow().clone()
    }

    /// Links to `peer` by whichever of `addrs` answers first, unless there is a link already.
    ///
    /// A caller over the bound on dials waits its turn inside `within`. Dropping it leaves no link
    /// behind: a dial that nobody waits for ends by itself.
    pub async fn dial(
        &self,
        peer: PeerKey,
        addrs: Vec<SocketAddr>,
        within: Duration,
    ) -> Result<(), NetError> {
        let tried = addrs.clone();
        if let Ok(done) = timeout(within, self.dial_in_turn(Some(peer), addrs)).await {
            return done.map(|_| ());
        }
        self.tell(Ask::Abandon { peer }).await?;
        Err(no_answer(Some(peer), &tried, within))
    }

    /// Links to whoever answers at `addr` and says who that is. Dropping it is as in [`Net::dial`].
    pub async fn dial_unknown(&self, addr: SocketAddr, within: Duration) -> Result<PeerKey, NetError> {
        match timeout(within, self.dial_in_turn(None, vec![addr])).await {
            Ok(done) => done,
            Err(_) => Err(no_answer(None, &[addr], within)),
        }
    }

    async fn dial_in_turn(&self, peer: Option<PeerKey>, addrs: Vec<SocketAddr>) -> Result<PeerKey, NetError> {
        let _turn = self.dials.acquire().await.map_err(|_| NetError::Stopped)?;
        self.ask(|done| Ask::Dial { peer, addrs, done }).await
    }

    /// Ends the link to `peer` and any dial to it.
    pub async fn disconnect(&self, peer: PeerKey) -> Result<(), NetError> {
        self.tell(Ask::Disconnect { peer }).await
    }

    /// Waits until the task that owns the links has come round to this.
    pub async fn turn(&self) -> Result<(), NetError> {
        self.ask(|done| Ask::Turn { done }).await
    }

    /// Who is connected, as a value that can be watched.
    pub fn links(&self) -> watch::Receiver<Links> {
        self.links.clone()
    }

    /// Peers that announce themselves on the local network, unproven; empty without `lan`.
    pub fn hints(&self) -> watch::Receiver<Hints> {
        self.hints.clone()
    }

    /// Names the members. A linked peer that was one and is none now is disconnected.
    pub fn set_members(&self, members: HashSet<PeerKey>) {
        self.gate.set_members(members);
    }

    /// Takes `peer` for the holder of a good card until then; `false` when there are too many.
    pub fn admit_card(&self, peer: PeerKey, until: Instant) -> bool {
        self.gate.admit_card(peer, until)
    }

    /// Takes `peer` for a card's holder no longer; where it is nothing else, its link ends.
    pub fn dismiss_card(&self, peer: PeerKey) {
        self.gate.dismiss_card(peer);
    }

    /// How `peer` stands now.
    pub fn standing(&self, peer: PeerKey) -> Standing {
        self.gate.standing(peer)
    }

    /// What was turned away since the start.
    pub fn counts(&self) -> Counts {
        Counts { busy: self.registry.busy.load(Ordering::Relaxed) }
    }

    /// Opens a stream that speaks `P` on the link to `peer`; it does not dial. Safe to drop.
    pub async fn open<P: Protocol>(&self, peer: PeerKey, within: Duration) -> Result<Channel<P>, NetError> {
        let opened = timeout(within, async {
            loop {
                let before = self.link_serial(peer);
                match self.open_once(peer, P::NAME).await {
                    Err(NetError::LinkLost(_)) if self.relinked(peer, before).await => {}
                    other => return other,
                }
            }
        });
        let io = opened.await.unwrap_or(Err(NetError::TimedOut { peer, within }))?;
        Ok(Channel::on(io))
    }

    fn link_serial(&self, peer: PeerKey) -> Option<u64> {
        self.links.borrow().get(&peer).map(|link| link.serial)
    }

    /// Whether the link that was lost has given way to another one to the same peer.
    async fn relinked(&self, peer: PeerKey, before: Option<u64>) -> bool {
        let mut links = self.links.clone();
        let changed = links.wait_for(|links| links.get(&peer).map(|link| link.serial) != before);
        timeout(RELINK, changed).await.is_ok() && self.link_serial(peer).is_some()
    }

    async fn open_once(&self, peer: PeerKey, protocol: &'static str) -> Result<Io, NetError> {
        let connection = self.registry.opener(peer).ok_or(NetError::NotLinked(peer))?;
        let (answer, stream) = oneshot::channel();
        connection.send(OpenAsk { protocol, answer }).await.map_err(|_| NetError::LinkLost(peer))?;
        match stream.await {
            Ok(Ok(stream)) => Ok(Io::new(stream.compat(), None)),
            Ok(Err(OpenFailure::NotOffered)) => Err(NetError::NotOffered { peer, protocol }),
            Ok(Err(OpenFailure::TimedOut)) => {
                Err(NetError::TimedOut { peer, within: super::streams::NEGOTIATION })
            }
            Ok(Err(OpenFailure::Lost)) | Err(_) => Err(NetError::LinkLost(peer)),
        }
    }

    /// Accepts streams that speak `P`, of which `slots` may be alive at the same time, until the result
    /// is dropped. More are closed as they come, and counted.
    pub fn accept<P: Protocol>(&self, slots: usize) -> Result<Incoming<P>, NetError> {
        match self.registry.accept(P::NAME, P::ADMITS, slots) {
            Ok(arrivals) => Ok(Incoming { arrivals, protocol: PhantomData }),
            Err(AcceptFailure::Stopped) => Err(NetError::Stopped),
            Err(AcceptFailure::Taken) => Err(NetError::Taken(P::NAME)),
        }
    }

    /// Connections that exist or are being made, duplicates included.
    #[cfg(test)]
    pub(super) async fn connections(&self) -> usize {
        self.ask(|done| Ask::Count { done }).await.unwrap_or_default()
    }

    async fn tell(&self, ask: Ask) -> Result<(), NetError> {
        self.asks.send(ask).await.map_err(|_| NetError::Stopped)
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, NetError>>) -> Ask,
    ) -> Result<T, NetError> {
        let (done, answer) = oneshot::channel();
        self.tell(ask(done)).await?;
        answer.await.map_err(|_| NetError::Stopped)?
    }
}

fn no_answer(peer: Option<PeerKey>, addrs: &[SocketAddr], within: Duration) -> NetError {
    let reason = format!("no answer within {} s", within.as_secs_f32());
    NetError::Dial { peer, reasons: addrs.iter().map(|addr| (*addr, reason.clone())).collect() }
}

/// Streams arriving for one service.
#[derive(Debug)]
pub struct Incoming<P: Protocol> {
    arrivals: mpsc::Receiver<Arrived>,
    protocol: PhantomData<fn() -> P>,
}

/// A stream that somebody opened. It holds one of its service's slots until it is dropped, halves and
/// bytes included.
#[derive(Debug)]
pub struct Arrival<P: Protocol> {
    /// Who opened it.
    pub peer: PeerKey,
    /// How they stood when it arrived; at least what `P` asks.
    pub standing: Standing,
    /// The stream.
    pub channel: Channel<P>,
}

impl<P: Protocol> Incoming<P> {
    #[cfg(test)]
    pub(super) fn arrivals_are_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// The next stream, or `None` when the network is shut down. Safe to drop. A slow caller loses
    /// none that found a slot.
    pub async fn next(&mut self) -> Option<Arrival<P>> {
        let Arrived { peer, standing, stream, slot } = self.arrivals.recv().await?;
        let channel = Channel::accepted(Io::new(stream.compat(), Some(slot)));
        Some(Arrival { peer, standing, channel })
    }
}
