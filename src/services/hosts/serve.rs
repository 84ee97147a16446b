//! The host's side: answers pings.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    control::ClockRow,
    identity::HostId,
    net::{Net, NetError, PeerKey, Protocol, Standing},
    store::Store,
    time::Timestamp,
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
        /// What time it is there. Its own word, and only from the host that was asked for.
        clock: Option<Timestamp>,
    },
    /// No way was found.
    NoWay {},
}
wire_choice!(PingReply { 0 = Pong { via, clock }, 1 = NoWay {} });

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
pub async fn serve(
    me: HostId,
    net: Net,
    store: Store,
    clock: fn() -> Timestamp,
    stop: CancellationToken,
) -> Result<(), NetError> {
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
                PingReply::Pong { via: Vec::new(), clock: Some(clock()) }
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
                        // On the way back it would be older than it says.
                        PingReply::Pong { via, clock: None }
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

/// How the clocks of some hosts that are linked stand to `clock`: `most` of them at most, asked at once. Those
/// that do not answer, or do not say, are left out.
pub async fn clocks(net: &Net, store: &Store, clock: fn() -> Timestamp, most: usize) -> Vec<ClockRow> {
    let links: Vec<PeerKey> = net.links().borrow().keys().copied().collect();
    let hosts: Vec<(HostId, String, PeerKey)> = store.read(|replica| {
        let members = replica.authority().members();
        let linked = members
            .map(|host| (host.id(), host.name().to_owned(), PeerKey(host.transport().bytes())))
            .filter(|(_, _, key)| links.contains(key));
        linked.take(most).collect()
    });
    let mut asked = JoinSet::new();
    for (host, name, key) in hosts {
        let net = net.clone();
        asked.spawn(async move {
            let answer = asked_once(&net, key, PingRequest { target: host, hops: 0 }).await?;
            let (there, here) = (answer.clock?, clock());
            let half = answer.took / 2;
            let then = here.before(half);
            let (ahead, by) =
                if there > then { (true, there.since(then)) } else { (false, then.since(there)) };
            let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            Some(ClockRow { host, name, ahead, by_ms: ms(by), error_ms: ms(half).saturating_add(1) })
        });
    }
    let mut rows = Vec::new();
    while let Some(answer) = asked.join_next().await {
        rows.extend(answer.ok().flatten());
    }
    rows.sort_by(|a: &ClockRow, b| a.name.cmp(&b.name).then(a.host.cmp(&b.host)));
    rows
}

/// A pong.
struct Answer {
    took: Duration,
    via: Vec<HostId>,
    clock: Option<Timestamp>,
}

async fn once(net: &Net, peer: PeerKey, request: PingRequest) -> Option<(Duration, Vec<HostId>)> {
    asked_once(net, peer, request).await.map(|answer| (answer.took, answer.via))
}

async fn asked_once(net: &Net, peer: PeerKey, request: PingRequest) -> Option<Answer> {
    let mut channel = net.open::<Ping>(peer, PING_WITHIN).await.ok()?;
    let sent = Instant::now();
    channel.send_request(&request, PING_WITHIN).await.ok()?;
    match channel.recv_reply(PING_WITHIN).await.ok()?? {
        PingReply::Pong { via, clock } => Some(Answer { took: sent.elapsed(), via, clock }),
        PingReply::NoWay {} => None,
    }
}
