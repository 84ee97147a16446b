//! Links: who may have one, whom one is made to, and on which a stream is opened.

use std::{collections::HashSet, time::Duration};

use tracing::{debug, warn};

use super::{
    Sync,
    driver::{Done, Driver, random},
};
use crate::{
    authority::Host,
    identity::{HostId, PublicKey},
    net::PeerKey,
    replica::Replica,
    routing::Candidate,
    sync::Event,
    time::Timestamp,
};

/// How long a member that misbehaved is shunned. Long enough that a flood is nothing, short enough that
/// a host that was only broken comes back by itself.
pub(super) const SHUNNED_FOR: Duration = Duration::from_secs(600);
/// Streams that one member may open in a [`CALM`]; two hosts that dial each other need two.
const STREAMS_A_CALM: u32 = 6;
/// A link without a stream is given up after so long.
const STREAMLESS_MAX: Duration = Duration::from_secs(60);
/// First wait before a stream is opened again that ended at once; doubles up to the longest.
const REOPEN_AFTER: Duration = Duration::from_millis(500);
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(20);
/// How long a neighbour is given to read that a link to it is given up; shorter than [`REOPEN_AFTER`].
const BYE_TAKES: Duration = Duration::from_millis(300);
/// How long opening a link or a stream may take.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// A link that has no stream.
#[derive(Clone, Copy)]
pub(super) struct Streamless {
    since: Timestamp,
    tries: u32,
    again: Timestamp,
}

/// The key that a member's links are known by.
pub(super) fn peer_key(replica: &Replica, host: &HostId) -> Option<PeerKey> {
    replica.authority().host(host).map(|host| PeerKey(host.transport().bytes()))
}

impl Driver {
    pub(super) fn host_of(&self, peer: PeerKey) -> Option<HostId> {
        let key = PublicKey::from_bytes(peer.0);
        self.store.read(|replica| replica.authority().host_by_transport(&key).map(Host::id))
    }

    /// The host of a peer that a stream may be shared with.
    pub(super) fn welcome(&self, peer: PeerKey) -> Option<HostId> {
        self.host_of(peer).filter(|host| !self.shunned.contains_key(host))
    }

    pub(super) fn tell_gate(&mut self) {
        let (version, members) = self.store.read(|replica| {
            let members = replica.authority().members();
            let welcome = members.filter(|host| !self.shunned.contains_key(&host.id()));
            let members = welcome.map(|host| PeerKey(host.transport().bytes())).collect();
            (replica.authority_version(), members)
        });
        self.gate_told = Some(version);
        self.candidates = None;
        self.net.set_members(members);
    }

    /// Cuts a member off that did what no honest one does, and does not let it back for a while: as a
    /// stranger it may only join, which it has no token for.
    pub(super) fn shun(&mut self, peer: HostId, why: &'static str) {
        warn!(%peer, why, "a member is shunned");
        let now = (self.clock)();
        self.machine.blame(peer, why, now);
        self.shunned.insert(peer, now.after(SHUNNED_FOR));
        self.cut(peer);
        self.tell_gate();
    }

    /// Whether a member may open one more stream now.
    pub(super) fn may_arrive(&mut self, host: HostId) -> bool {
        let arrivals = self.arrivals.entry(host).or_default();
        *arrivals += 1;
        let may = *arrivals <= STREAMS_A_CALM;
        if !may {
            debug!(%host, "opens too many streams");
        }
        may
    }

    pub(super) fn failed_to_open(&mut self, peer: HostId, now: Timestamp) {
        let row = self.streamless.entry(peer).or_insert(Streamless { since: now, tries: 0, again: now });
        let wait = REOPEN_AFTER * (1 << row.tries.min(6));
        row.tries += 1;
        row.again = now.after(wait.min(REOPEN_AFTER_MAX));
    }

    /// Ends a link that is only one too many. The neighbour is told first: it would take it for a loss.
    pub(super) fn give_up(&mut self, peer: HostId) {
        let now = (self.clock)();
        self.handle(Event::GivesUp(peer));
        self.down(peer, Event::Down(peer));
        // No new stream is opened until the link is gone, which gives the old one the time to say it.
        self.failed_to_open(peer, now);
        if let Some(key) = self.store.read(|replica| peer_key(replica, &peer)) {
            let net = self.net.clone();
            self.tasks.spawn(async move {
                tokio::time::sleep(BYE_TAKES).await;
                let _stopped = net.disconnect(key).await;
                Done::Other
            });
        }
    }

    pub(super) fn cut(&mut self, peer: HostId) {
        self.down(peer, Event::Down(peer));
        if let Some(key) = self.store.read(|replica| peer_key(replica, &peer)) {
            let net = self.net.clone();
            self.tasks.spawn(async move {
                let _stopped = net.disconnect(key).await;
                Done::Other
            });
        }
    }

    pub(super) fn dial(&mut self, host: HostId) {
        let found = self.store.read(|replica| {
            let addresses = replica.node_facet(&host).map(|node| node.listen()).unwrap_or_default();
            peer_key(replica, &host).map(|key| (key, addresses))
        });
        let (key, mut addresses) = match found {
            Some(found) if host != self.me => found,
            _ => return self.neighbours.dialled(host, false, (self.clock)(), &mut random),
        };
        if let Some(seen) = self.net.hints().borrow().get(&key) {
            addresses.extend(seen.iter().copied());
        }
        if addresses.is_empty() {
            return self.neighbours.dialled(host, false, (self.clock)(), &mut random);
        }
        if !self.dialling.insert(host) {
            return;
        }
        let net = self.net.clone();
        self.tasks.spawn(async move {
            let dialled = net.dial(key, addresses, OPEN_WITHIN).await;
            if let Err(error) = &dialled {
                debug!(%host, %error, "not reached");
            }
            Done::Dialled(host, dialled.is_ok())
        });
    }

    /// Opens the stream on links that this end dialled and that have none, and gives up links on which
    /// neither end gets one.
    pub(super) fn on_links(&mut self) {
        let now = (self.clock)();
        let links = self.net.links().borrow().clone();
        let mut linked = HashSet::new();
        let mut given_up = Vec::new();
        for (peer, link) in links {
            let Some(host) = self.welcome(peer) else { continue };
            linked.insert(host);
            if self.streams.contains_key(&host) {
                continue;
            }
            let row = self.streamless.entry(host).or_insert(Streamless { since: now, tries: 0, again: now });
            // A clock that was set back.
            row.since = row.since.min(now);
            row.again = row.again.min(now.after(REOPEN_AFTER_MAX));
            if now.since(row.since) > STREAMLESS_MAX {
                given_up.push(host);
            } else if link.dialled_by_us && row.again <= now && self.opening.insert(host) {
                let net = self.net.clone();
                self.tasks.spawn(async move {
                    match net.open::<Sync>(peer, OPEN_WITHIN).await {
                        Ok(channel) => Done::Opened(host, Some(Box::new(channel))),
                        Err(error) => {
                            debug!(%host, %error, "no sync stream");
                            Done::Opened(host, None)
                        }
                    }
                });
            }
        }
        for host in given_up {
            debug!(%host, "a link without a stream is given up");
            self.neighbours.dialled(host, false, now, &mut random);
            self.cut(host);
        }
        let streams = &self.streams;
        self.streamless.retain(|host, _| linked.contains(host) || streams.contains_key(host));
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Dialled(host, reached) => {
                self.dialling.remove(&host);
                self.neighbours.dialled(host, reached, (self.clock)(), &mut random);
                if !reached {
                    self.handle(Event::Unreached(host));
                }
                self.on_links();
            }
            Done::Opened(host, channel) => {
                self.opening.remove(&host);
                if let Some(channel) = channel {
                    let (sender, receiver) = channel.split_opener();
                    self.on_stream(host, sender, receiver);
                } else {
                    self.failed_to_open(host, (self.clock)());
                }
            }
            Done::Slept => self.handle(Event::Woken),
            Done::Other => {}
        }
    }

    /// Who could be linked: looked up again only when an entry or an announcement came.
    pub(super) fn look_for_candidates(&mut self) {
        let hints = self.net.hints().borrow().clone();
        let version = self.store.read(Replica::version);
        if self.candidates.as_ref().is_some_and(|(at, seen, _)| *at == version && *seen == hints) {
            return;
        }
        let members = self.store.read(|replica| {
            let candidate = |host: &Host| Candidate {
                host: host.id(),
                reachable: replica.node_facet(&host.id()).is_some_and(|node| !node.listen().is_empty())
                    || hints.contains_key(&PeerKey(host.transport().bytes())),
            };
            let members = replica.authority().members();
            members.filter(|host| !self.shunned.contains_key(&host.id())).map(candidate).collect()
        });
        self.candidates = Some((version, hints, members));
    }
}
