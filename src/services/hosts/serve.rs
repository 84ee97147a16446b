//! The host's side: says of itself what the fleet should know, and answers pings.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    identity::{FleetId, HostId, SecretKey, Signed, Stream},
    net::{Net, NetError, PeerKey, Protocol, Standing},
    replica::{FACET_NODE, FacetHash, FacetRef, Head, Item, NodeFacet, Packed},
    store::Store,
    time::{Hlc, Timestamp},
    wire::{self, Bytes},
    wire_choice, wire_record,
};

/// Pings at a time.
const PINGS_MAX: usize = 64;
/// How long one leg of a ping may take.
const PING_WITHIN: Duration = Duration::from_secs(5);
/// Pings of others that are passed on at a time: each asks every neighbour, so that many at once would be a
/// flood for which somebody else pays.
const RELAYED_MAX: usize = 8;
/// Hosts that may pass a ping on.
const HOPS_MAX: u8 = 2;
/// Longest name of a system that is published, in bytes.
const OS_BYTES_MAX: usize = 128;

/// Asks a host whether it is there.
#[derive(Clone, Debug)]
pub struct PingRequest {
    /// Which host.
    target: HostId,
    /// How many hosts may pass it on.
    hops: u8,
}
wire_record!(PingRequest { target, hops });

/// The answer.
#[derive(Clone, Debug)]
pub enum PingReply {
    /// It is, behind these.
    Pong {
        /// The hosts that passed it on, the first one first.
        via: Vec<HostId>,
    },
    /// No way was found.
    NoWay {},
}
wire_choice!(PingReply { 0 = Pong { via }, 1 = NoWay {} });

/// Ping.
#[derive(Debug)]
enum Ping {}
impl Protocol for Ping {
    const NAME: &'static str = "/muster/ping/1";
    const MESSAGE_BYTES_MAX: usize = 4096;
    const ADMITS: Standing = Standing::Card;
    type Request = PingRequest;
    type Reply = PingReply;
}

/// Answers pings, for this host and for those it is linked to, until `stop`.
///
/// # Errors
/// When the protocol is served already.
pub async fn serve(me: HostId, net: Net, store: Store, stop: CancellationToken) -> Result<(), NetError> {
    let mut incoming = net.accept::<Ping>(PINGS_MAX)?;
    let mut pings = JoinSet::new();
    let relayed = Arc::new(Semaphore::new(RELAYED_MAX));
    loop {
        let arrival = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            arrival = incoming.next() => arrival,
        };
        while pings.try_join_next().is_some() {}
        let Some(mut arrival) = arrival else { return Ok(()) };
        let (net, store, relayed) = (net.clone(), store.clone(), Arc::clone(&relayed));
        pings.spawn(async move {
            let Ok(Some(request)) = arrival.channel.recv_request(PING_WITHIN).await else { return };
            let reply = if request.target == me {
                PingReply::Pong { via: Vec::new() }
            } else {
                let hops = request.hops.min(HOPS_MAX);
                let found = match relayed.try_acquire() {
                    Ok(_turn) => {
                        Box::pin(reach(&net, &store, request.target, hops, Some(arrival.peer))).await
                    }
                    Err(_) => None,
                };
                match found {
                    Some((_, mut via)) => {
                        via.insert(0, me);
                        PingReply::Pong { via }
                    }
                    None => PingReply::NoWay {},
                }
            };
            if let Err(error) = arrival.channel.send_reply(&reply, PING_WITHIN).await {
                debug!(%error, "a pong was not taken");
            }
        });
    }
}

/// Pings a host: over the link to it, or through hosts that are linked. The round trip and who is in
/// between; nothing if no way was found.
pub async fn reach_host(net: &Net, store: &Store, target: HostId) -> Option<(Duration, Vec<HostId>)> {
    reach(net, store, target, HOPS_MAX, None).await
}

async fn reach(
    net: &Net,
    store: &Store,
    target: HostId,
    hops: u8,
    not: Option<PeerKey>,
) -> Option<(Duration, Vec<HostId>)> {
    let key = store
        .read(|replica| replica.authority().host(&target).map(|host| PeerKey(host.transport().bytes())))?;
    let links: Vec<PeerKey> = net.links().borrow().keys().copied().collect();
    if links.contains(&key) {
        return once(net, key, PingRequest { target, hops: 0 }).await;
    }
    let hops = hops.checked_sub(1)?;
    let mut asked = JoinSet::new();
    for peer in links {
        if Some(peer) != not && net.standing(peer) == Standing::Member {
            let net = net.clone();
            asked.spawn(async move { once(&net, peer, PingRequest { target, hops }).await });
        }
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Some(found)) = answer {
            return Some(found);
        }
    }
    None
}

async fn once(net: &Net, peer: PeerKey, request: PingRequest) -> Option<(Duration, Vec<HostId>)> {
    let mut channel = net.open::<Ping>(peer, PING_WITHIN).await.ok()?;
    let sent = Instant::now();
    channel.send_request(&request, PING_WITHIN).await.ok()?;
    match channel.recv_reply(PING_WITHIN).await.ok()?? {
        PingReply::Pong { via } => Some((sent.elapsed(), via)),
        PingReply::NoWay {} => None,
    }
}

/// What this host publishes of itself.
#[derive(Debug)]
pub struct Publisher {
    fleet: FleetId,
    key: SecretKey<Stream>,
    epoch: u32,
    sequence: u64,
    at: Hlc,
}

impl Publisher {
    /// A publisher that starts a new epoch, so that no place in the stream can be signed twice.
    pub fn new(fleet: FleetId, key: SecretKey<Stream>, epoch: u32) -> Self {
        Self { fleet, key, epoch, sequence: 0, at: Hlc::default() }
    }

    /// Signs a new head.
    pub fn publish(&mut self, node: &NodeFacet, now: Timestamp) -> Item {
        let facet = wire::encode(node);
        self.at = self.at.next(now);
        let head = Head {
            epoch: self.epoch,
            sequence: self.sequence,
            previous: None,
            at: self.at,
            facets: vec![FacetRef {
                name: FACET_NODE.to_owned(),
                hash: FacetHash::of(&facet),
                bytes: u32::try_from(facet.len()).unwrap_or(u32::MAX),
                at: None,
            }],
        };
        self.sequence += 1;
        let signed = Signed::sign(self.fleet, &self.key, head);
        Item { entry: Bytes::from(signed.bytes()), facets: vec![Packed::alone(&facet)] }
    }
}

/// What an agent that listens at `addresses` says of itself.
pub fn describe(addresses: &[SocketAddr]) -> NodeFacet {
    NodeFacet {
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        os: os_name().unwrap_or_else(|| "unknown".to_owned()),
        addresses: addresses.iter().map(ToString::to_string).collect(),
    }
}

/// `PRETTY_NAME` of os-release(5).
fn os_name() -> Option<String> {
    let text =
        fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = value.trim().trim_matches(['"', '\'']);
    (name.len() <= OS_BYTES_MAX).then(|| name.to_owned())
}
