//! The host's side: looks at this machine when it changed, and seals a head when there is something new to say.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep, sleep_until, timeout},
};
use tracing::{debug, warn};

use super::diff::{self, Looked, Pace};
use crate::{
    host::{FACETS, Looks, Watch},
    identity::{EntryId, FleetId, HostId, SecretKey, Signed, Stream},
    replica::{AuditHead, FACET_NODE, FacetHash, FacetRef, Head, Item, NodeFacet, Packed, choose_base},
    store::Store,
    time::{Hlc, Timestamp},
    wire::{self, Bytes},
};

/// How long a host that joins waits for the lists of others, so that its own can be a difference to one of
/// them: a few hundred bytes for each member to fetch instead of ten thousand.
const BASES_WITHIN: Duration = Duration::from_secs(3);
/// How often is looked whether they came.
const BASES_EVERY: Duration = Duration::from_millis(100);
/// How often the addresses are looked at.
const ADDRESSES_EVERY: Duration = Duration::from_secs(30);
/// Longest name of a system that is published, in bytes.
const OS_BYTES_MAX: usize = 128;

/// Notes a place of the stream on disk; why it could not, in words.
pub(super) type Note = Box<dyn FnMut(u32, u64) -> Result<(), String> + Send>;

/// How often a head is sealed for the audit chain alone. Shorter holds the host to more of its chain, at 300 bytes
/// a time for each member.
const AUDIT_EVERY_MS: u64 = 5 * 60_000;

/// How far this host's audit chain is, as its executor says; the outer one is none where it does not.
pub type AuditHeads = Box<dyn Fn() -> BoxFuture<'static, Option<Option<AuditHead>>> + Send + Sync>;

/// Where what is published comes from.
pub struct Sources<A> {
    /// When to look.
    pub watch: Watch,
    /// How to look.
    pub looks: Looks,
    /// Where this host can be reached.
    pub addresses: A,
    /// Notes an epoch and a sequence before a head is signed there.
    pub note: Note,
    /// How far the audit chain is.
    pub audit: AuditHeads,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// Takes what cannot be looked at, in words.
    pub problems: watch::Sender<Vec<String>>,
}

impl<A> fmt::Debug for Sources<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Seals this host's heads.
#[derive(Debug)]
pub struct Publisher {
    fleet: FleetId,
    host: HostId,
    key: SecretKey<Stream>,
    epoch: u32,
    sequence: u64,
    at: Hlc,
    previous: Option<EntryId>,
    /// What was said last.
    said: Vec<FacetRef>,
    /// How far the audit chain is, how far it was when that was said last, and when.
    audit: Option<AuditHead>,
    audit_said: (Option<AuditHead>, Timestamp),
}

impl Publisher {
    /// A publisher that starts a new epoch, so that no place in the stream can be signed twice. `last` is the
    /// newest head of this host that is known.
    pub fn new(fleet: FleetId, key: SecretKey<Stream>, epoch: u32, last: Option<&Signed<Head>>) -> Self {
        let mut said = last.map_or_else(Vec::new, |head| head.body().facets.clone());
        // Another version of the agent may have said more, which nobody would ever look at again.
        said.retain(|facet| facet.name == FACET_NODE || FACETS.contains(&facet.name.as_str()));
        Self {
            fleet,
            host: HostId::of(&key.public()),
            key,
            epoch,
            sequence: 0,
            at: last.map_or_else(Hlc::default, |head| head.body().at),
            previous: last.map(Signed::id),
            said,
            audit: last.and_then(|head| head.body().audit),
            audit_said: (None, Timestamp(0)),
        }
    }

    /// Goes on after a head that this directory did not know of.
    pub fn follows(&mut self, head: &Signed<Head>) {
        self.previous = Some(head.id());
        self.at = self.at.max(head.body().at);
        self.epoch = self.epoch.max(head.body().epoch.saturating_add(1));
    }

    /// Says that this host's key signs in two places: another head at the place of `head`, which this process did
    /// not sign. Both together are the proof that takes it out of the fleet.
    pub fn contradict(&mut self, head: &Signed<Head>, store: &Store, now: Timestamp) {
        let Head { epoch, sequence, .. } = *head.body();
        (self.epoch, self.sequence, self.previous) = (epoch, sequence, None);
        let item = self.seal(Vec::new(), Vec::new(), now);
        let (_, refusal) = store.merge(None, vec![item], now);
        if let Some(refusal) = refusal {
            debug!(refusal, "a proof was not taken");
        }
    }

    /// A head of this host that this process did not sign, at or behind the place that it signed last. One before that
    /// is its own of earlier, which stands where what it said since was not taken.
    fn other(&self, store: &Store) -> Option<Signed<Head>> {
        let last = (self.epoch, self.sequence.checked_sub(1)?);
        let place = |head: &Signed<Head>| (head.body().epoch, head.body().sequence);
        store.read(|replica| {
            let head = replica.head(&self.host)?;
            let foreign = place(head) >= last && Some(head.id()) != self.previous;
            foreign.then(|| head.clone())
        })
    }

    /// What to say after a look, if it is anything new.
    fn next(&self, looked: &BTreeMap<&'static str, Looked>, now: Timestamp) -> Option<diff::Next> {
        let next = diff::next(&self.said, looked, now);
        let (said, at) = self.audit_said;
        // A clock that was set back makes it wait no longer than that.
        let audited = self.audit != said && (now.0 < at.0 || now.0 - at.0 >= AUDIT_EVERY_MS);
        (next.facets != self.said || audited).then_some(next)
    }

    /// Asks how far the audit chain is. Without a word it is as far as it was.
    async fn hear_audit(&mut self, audit: &AuditHeads) {
        if let Some(head) = audit().await {
            self.audit = head;
        }
    }

    /// Signs a head with these facets, of which those in `packed` are new.
    fn seal(&mut self, facets: Vec<FacetRef>, packed: Vec<Packed>, now: Timestamp) -> Item {
        self.at = self.at.next(now);
        self.said.clone_from(&facets);
        let (epoch, sequence, previous) = (self.epoch, self.sequence, self.previous);
        self.audit_said = (self.audit, now);
        let head = Head { epoch, sequence, previous, at: self.at, facets, audit: self.audit };
        self.sequence += 1;
        let signed = Signed::sign(self.fleet, &self.key, head);
        self.previous = Some(signed.id());
        Item { entry: Bytes::from(signed.bytes()), facets: packed }
    }

    /// Says where this host is at once, in a head of the new epoch, then all that is known of it, and again what
    /// changes. Ends with a head that another process signed with this host's key.
    pub async fn run<A: Fn() -> Vec<SocketAddr>>(
        &mut self,
        store: &Store,
        sources: &mut Sources<A>,
    ) -> Signed<Head> {
        let mut changes = store.changes();
        let mut problems: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut looked: BTreeMap<&'static str, Looked> = BTreeMap::new();
        let node = |addresses: Vec<SocketAddr>| Ok(Some(wire::encode(&describe(&addresses))));
        // A head of the old epoch is no sign of life. What did not change keeps its hash, so this is cheap.
        looked.insert(FACET_NODE, node((sources.addresses)()));
        self.hear_audit(&sources.audit).await;
        let now = (sources.clock)();
        let mut pace = Pace::new(now);
        let first = diff::next(&self.said, &std::mem::take(&mut looked), now);
        self.say(store, first, now, sources, &mut problems).await;
        let _leave = pace.take(now);

        self.hear_bases(store).await;
        let mut addresses = interval(ADDRESSES_EVERY);
        // Until when nothing more may be said.
        let mut held_back: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = addresses.tick() => {
                    looked.insert(FACET_NODE, node((sources.addresses)()));
                    self.hear_audit(&sources.audit).await;
                }
                facets = sources.watch.next() => {
                    for facet in facets {
                        let collected = sources.looks.collect(facet).await;
                        let mut wrong = collected.problems;
                        let found = collected.tables.and_then(|tables| {
                            let any = !tables.tables.is_empty();
                            any.then(|| diff::fitting(facet, tables.canonical())).transpose()
                        });
                        if let Err(why) = &found {
                            wrong.push(format!("the inventory of this host is not up to date: {why}"));
                        }
                        problems.insert(facet, wrong);
                        looked.insert(facet, found);
                    }
                }
                () = until(held_back), if held_back.is_some() => {}
                // Whatever changed, this is quickly looked at.
                _ = changes.recv() => match self.other(store) {
                    Some(other) => return other,
                    None => continue,
                },
            }
            let now = (sources.clock)();
            held_back = None;
            match self.next(&looked, now) {
                None => looked.clear(),
                Some(next) => match pace.take(now) {
                    Ok(()) => {
                        self.say(store, next, now, sources, &mut problems).await;
                        looked.clear();
                    }
                    // What is looked at until then takes the place of what was.
                    Err(ms) => held_back = Some(Instant::now() + Duration::from_millis(ms)),
                },
            }
            let watching = sources.watch.problem().map(str::to_owned);
            let all: Vec<String> = problems.values().flatten().cloned().chain(watching).collect();
            sources.problems.send_if_modified(|said| {
                let differs = *said != all;
                *said = all;
                differs
            });
        }
    }

    /// Packs what is new, seals and stores.
    async fn say<A>(
        &mut self,
        store: &Store,
        next: diff::Next,
        now: Timestamp,
        sources: &mut Sources<A>,
        problems: &mut BTreeMap<&'static str, Vec<String>>,
    ) {
        let packing = store.clone();
        // Packing a long list against several bases is work for some hundred milliseconds.
        let packed = tokio::task::spawn_blocking(move || pack(&packing, next.new)).await.unwrap_or_default();
        if let Err(why) = (sources.note)(self.epoch, self.sequence) {
            let why = format!("what this host says of itself is not signed: {why}");
            problems.insert(FACET_NODE, vec![why]);
            return;
        }
        let item = self.seal(next.facets, packed, now);
        let (_, refusal) = store.merge(None, vec![item], now);
        let stands = store.read(|replica| replica.head(&self.host).map(Signed::id)) == self.previous;
        let wrong = match refusal {
            Some(why) => vec![format!("what this host says of itself was not taken: {why}")],
            None if !stands => vec!["another agent speaks with this host's key".to_owned()],
            None => Vec::new(),
        };
        for problem in &wrong {
            warn!(problem, "a head was not taken");
        }
        problems.insert(FACET_NODE, wrong);
    }

    /// Waits, at most [`BASES_WITHIN`], until lists of others are here that this host's can be a difference to.
    /// Not where it has said its own before, nor where there is nobody else.
    async fn hear_bases(&self, store: &Store) {
        if self.said.len() > 1 {
            return;
        }
        let heard = async {
            while store
                .read(|replica| replica.authority().members().count() > 1 && replica.bases().next().is_none())
            {
                sleep(BASES_EVERY).await;
            }
        };
        let _in_time = timeout(BASES_WITHIN, heard).await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Packs facets against those that are held.
fn pack(store: &Store, new: BTreeMap<FacetHash, Vec<u8>>) -> Vec<Packed> {
    let pack = |(hash, bytes): (FacetHash, Vec<u8>)| {
        let (held, near) = store.read(|replica| {
            let held = replica.packed(&hash.half()).cloned();
            let near = if held.is_some() { Vec::new() } else { replica.near(&bytes) };
            (held, near)
        });
        held.unwrap_or_else(|| choose_base(&bytes, &near))
    };
    new.into_iter().map(pack).collect()
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
    let read = std::fs::read_to_string;
    let text = read("/etc/os-release").or_else(|_| read("/usr/lib/os-release")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = value.trim().trim_matches(['"', '\'']);
    (name.len() <= OS_BYTES_MAX).then(|| name.to_owned())
}
