//! Which member is asked: dials, shows a card, and asks who answers.
//!
//! Dials begin a moment after one another and the first that leads to a member wins, so that an address at which
//! nobody answers any more costs next to nothing. A member that is known from what was verified before must prove
//! the key that it is known by; one that is not known yet is taken only by whoever goes on to verify the fleet
//! (`unproven`), never in the middle of something.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{sleep, timeout};

use super::cache::Known;
use crate::{
    control::{
        CERTIFICATE_OF_KEY, CONTROL_VERSION, CardReply, CardRequest, Remote, Reply, Request, ShowCard,
    },
    identity::{FleetId, HostId, PublicKey},
    journal::signer::OperatorSigner,
    net::{Channel, Net, PeerKey},
    replica::Card,
    time::Timestamp,
    wire::Bytes,
};

/// Addresses that are tried at most.
const TRIED_MAX: usize = 24;
/// How long after one dial the next begins.
const NEXT_AFTER: Duration = Duration::from_millis(150);
/// How long one address may take to lead to a member.
const MEMBER_WITHIN: Duration = Duration::from_secs(5);
/// How long all of them may.
const ANY_WITHIN: Duration = Duration::from_secs(8);
/// How long one message may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a card is good. It is shown again at half of that while the command line lives.
pub(super) const CARD_VALID: Duration = Duration::from_secs(3600);
/// How long a host that was not reached is not tried again.
const AWAY_FOR: Duration = Duration::from_secs(15);

/// A member that was reached and has taken the card.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) peer: PeerKey,
    pub(super) host: HostId,
    /// What it answers to a hello.
    pub(super) hello: Reply,
    /// Where it was reached.
    pub(super) address: Option<SocketAddr>,
    /// Whether it is not known yet by the key that it proved.
    pub(super) unproven: bool,
}

/// Why no member is asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WayError {
    /// Nobody answers.
    #[error("no member of the fleet answers at {}", addresses(tried))]
    Unreachable {
        /// Where it was tried, and what came of it.
        tried: Vec<(SocketAddr, String)>,
    },
    /// A member answers, and does not take the card.
    #[error("a member of the fleet refuses this operator: {why}")]
    Refused {
        /// In its words.
        why: String,
    },
}

fn addresses(tried: &[(SocketAddr, String)]) -> String {
    let words: Vec<String> = tried.iter().take(4).map(|(address, _)| address.to_string()).collect();
    let more = tried.len().saturating_sub(words.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    if words.is_empty() { "any address".to_owned() } else { format!("{}{more}", words.join(", ")) }
}

/// One try that did not lead to a member.
enum Miss {
    Nobody(String),
    Refused(String),
}

/// How members are found.
pub(super) struct Way {
    net: Net,
    fleet: FleetId,
    signer: Arc<OperatorSigner>,
    clock: fn() -> Timestamp,
    given: Vec<SocketAddr>,
    known: Mutex<BTreeMap<HostId, Known>>,
    /// The member that is asked; while it is looked for, others wait.
    current: tokio::sync::Mutex<Option<Member>>,
    /// Members that have taken a card, and when it was shown.
    shown: Mutex<HashMap<PeerKey, (Timestamp, Member)>>,
    /// Hosts that were not reached, and when.
    away: Mutex<HashMap<HostId, Timestamp>>,
    /// What a person should hear.
    said: Mutex<Vec<String>>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Way {
    pub(super) fn new(
        net: Net,
        fleet: FleetId,
        signer: Arc<OperatorSigner>,
        clock: fn() -> Timestamp,
        given: Vec<SocketAddr>,
        known: Vec<Known>,
    ) -> Self {
        let known = known.into_iter().map(|known| (known.host, known)).collect();
        Self {
            net,
            fleet,
            signer,
            clock,
            given,
            known: Mutex::new(known),
            current: tokio::sync::Mutex::default(),
            shown: Mutex::default(),
            away: Mutex::default(),
            said: Mutex::default(),
        }
    }

    /// From now on, these are the members.
    pub(super) fn learn(&self, known: Vec<Known>) {
        *lock(&self.known) = known.into_iter().map(|known| (known.host, known)).collect();
    }

    /// Whether `host` is a member by what was verified, and `peer` is its key.
    pub(super) fn proves(&self, host: HostId, peer: PeerKey) -> bool {
        lock(&self.known).get(&host).is_some_and(|known| known.transport == peer.0)
    }

    /// What a person should hear; each is given once.
    pub(super) fn said(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.said))
    }

    fn is_linked(&self, peer: PeerKey) -> bool {
        self.net.links().borrow().contains_key(&peer)
    }

    /// The member to ask: the one that was asked before if it is still linked, else whoever answers first.
    pub(super) async fn member(&self) -> Result<Member, WayError> {
        let mut current = self.current.lock().await;
        if let Some(member) = current.as_ref().filter(|member| self.is_linked(member.peer)) {
            return Ok(member.clone());
        }
        let before = current.take();
        let found = timeout(ANY_WITHIN, self.first(before.is_some())).await;
        let found = found.unwrap_or_else(|_| {
            let tried = self.given.iter().map(|address| (*address, "no answer in time".to_owned()));
            Err(WayError::Unreachable { tried: tried.collect() })
        });
        match found {
            Ok(found) => {
                if let Some(before) = before {
                    let (before, now) = (self.name_of(&before), self.name_of(&found));
                    lock(&self.said).push(format!("{before} went away; went on with {now}"));
                }
                *current = Some(found.clone());
                Ok(found)
            }
            Err(error) => {
                *current = before;
                Err(error)
            }
        }
    }

    fn name_of(&self, member: &Member) -> String {
        lock(&self.known).get(&member.host).map_or_else(|| member.host.short(), |known| known.name.clone())
    }

    /// A member by its host, if that is known and reached.
    pub(super) async fn host(&self, host: HostId) -> Option<Member> {
        if let Some(member) = self.current.lock().await.as_ref()
            && member.host == host
            && self.is_linked(member.peer)
        {
            return Some(member.clone());
        }
        let known = lock(&self.known).get(&host).cloned()?;
        let peer = PeerKey(known.transport);
        if let Some((_, member)) = lock(&self.shown).get(&peer)
            && self.is_linked(peer)
        {
            return Some(member.clone());
        }
        let now = (self.clock)();
        let away = lock(&self.away).get(&host).is_some_and(|at| now.since(*at.min(&now)) < AWAY_FOR);
        let addresses = known.dialled();
        if away || addresses.is_empty() {
            return None;
        }
        let address = addresses.first().copied();
        let reached = async {
            self.net.dial(peer, addresses, MEMBER_WITHIN).await.ok()?;
            self.admitted(peer, address).await.ok()
        };
        let reached = timeout(MEMBER_WITHIN, reached).await.ok().flatten().filter(|member| !member.unproven);
        if reached.is_none() {
            lock(&self.away).insert(host, now);
        }
        reached
    }

    /// Whoever answers first. `proven`: only a member that is known already.
    async fn first(&self, proven: bool) -> Result<Member, WayError> {
        let mut addresses = self.given.clone();
        for known in lock(&self.known).values() {
            addresses.extend(known.dialled().into_iter().take(1));
        }
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        addresses.truncate(TRIED_MAX);
        let one = |address| async move {
            let reached = timeout(MEMBER_WITHIN, self.at(address)).await;
            (address, reached.unwrap_or_else(|_| Err(Miss::Nobody("no answer in time".to_owned()))))
        };
        let (mut waiting, mut tries) = (addresses.into_iter(), FuturesUnordered::new());
        let (mut tried, mut refused) = (Vec::new(), None);
        loop {
            tries.extend(waiting.next().map(one));
            // The next begins in a moment, or at once where one has failed: without a network all fail at once.
            let Ok(ended) = timeout(NEXT_AFTER, tries.next()).await else { continue };
            let Some((address, reached)) = ended else { break };
            match reached {
                Ok(member) if proven && member.unproven => {
                    tried.push((address, "who answers is not known as a member".to_owned()));
                }
                Ok(member) => return Ok(member),
                Err(Miss::Nobody(why)) => tried.push((address, why)),
                Err(Miss::Refused(why)) => refused = Some(why),
            }
        }
        Err(refused.map_or(WayError::Unreachable { tried }, |why| WayError::Refused { why }))
    }

    async fn at(&self, address: SocketAddr) -> Result<Member, Miss> {
        let nobody = |error: &dyn fmt::Display| Miss::Nobody(error.to_string());
        let peer = self.net.dial_unknown(address, MEMBER_WITHIN).await.map_err(|error| nobody(&error))?;
        self.admitted(peer, Some(address)).await
    }

    /// Shows a card to `peer` and asks who it is.
    async fn admitted(&self, peer: PeerKey, address: Option<SocketAddr>) -> Result<Member, Miss> {
        let nobody = |error: &dyn fmt::Display| Miss::Nobody(error.to_string());
        let at = (self.clock)();
        self.show(peer, at).await?;
        let mut channel = self.net.open::<Remote>(peer, WITHIN).await.map_err(|error| nobody(&error))?;
        let hello = Request::Hello { version: CONTROL_VERSION };
        channel.send_request(&hello, WITHIN).await.map_err(|error| nobody(&error))?;
        let hello = match channel.recv_reply(WITHIN).await.map_err(|error| nobody(&error))? {
            Some(hello @ Reply::Hello { .. }) => hello,
            Some(Reply::Error { why, .. }) => return Err(Miss::Nobody(why)),
            _ => return Err(Miss::Nobody("it does not say who it is".to_owned())),
        };
        let Reply::Hello { host, fleet, .. } = &hello else { return Err(Miss::Nobody(String::new())) };
        if *fleet != self.fleet {
            return Err(Miss::Nobody("it belongs to another fleet".to_owned()));
        }
        let unproven = match lock(&self.known).get(host) {
            Some(known) if known.transport != peer.0 => {
                return Err(Miss::Nobody("it has not the key of the host that it says it is".to_owned()));
            }
            known => known.is_none(),
        };
        let member = Member { peer, host: *host, hello, address, unproven };
        lock(&self.shown).insert(peer, (at, member.clone()));
        Ok(member)
    }

    async fn show(&self, peer: PeerKey, now: Timestamp) -> Result<(), Miss> {
        let nobody = |error: &dyn fmt::Display| Miss::Nobody(error.to_string());
        let card = Card {
            certificate: CERTIFICATE_OF_KEY,
            transport: PublicKey::from_bytes(self.net.me().0),
            issued: now,
            expires: now.after(CARD_VALID),
        };
        let card = self.signer.sign(self.fleet, card).map_err(|error| Miss::Refused(error.to_string()))?;
        let card = Bytes::from(card.bytes());
        let mut channel = self.net.open::<ShowCard>(peer, WITHIN).await.map_err(|error| nobody(&error))?;
        let shown = channel.send_request(&CardRequest { card }, WITHIN).await;
        shown.map_err(|error| nobody(&error))?;
        match channel.recv_reply(WITHIN).await.map_err(|error| nobody(&error))? {
            Some(CardReply::Admitted { .. }) => Ok(()),
            Some(CardReply::Refused { why }) => Err(Miss::Refused(why.chars().take(200).collect())),
            None => Err(Miss::Nobody("it hung up at the card".to_owned())),
        }
    }

    /// Shows cards again before they run out, for ever.
    pub(super) async fn renew(&self) {
        loop {
            sleep(CARD_VALID / 20).await;
            let now = (self.clock)();
            let due: Vec<PeerKey> = lock(&self.shown)
                .iter()
                .filter(|(peer, (at, _))| now.since(*at) > CARD_VALID / 2 && self.is_linked(**peer))
                .map(|(peer, _)| *peer)
                .collect();
            for peer in due {
                if self.show(peer, now).await.is_ok()
                    && let Some((at, _)) = lock(&self.shown).get_mut(&peer)
                {
                    *at = now;
                }
            }
        }
    }

    /// A conversation with a member, greeted.
    pub(super) async fn open(&self, member: &Member) -> Result<Channel<Remote>, String> {
        let gone = |error: &dyn fmt::Display| error.to_string();
        let mut channel = self.net.open::<Remote>(member.peer, WITHIN).await.map_err(|error| gone(&error))?;
        let hello = Request::Hello { version: CONTROL_VERSION };
        channel.send_request(&hello, WITHIN).await.map_err(|error| gone(&error))?;
        Ok(channel)
    }

    /// A member did not keep a conversation: it is linked anew, or another is.
    pub(super) async fn lost(&self, member: &Member) {
        lock(&self.shown).remove(&member.peer);
        // Nothing to end is no error here.
        let _gone_already = self.net.disconnect(member.peer).await;
    }
}
