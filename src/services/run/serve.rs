//! The host's side: orders go to the executor, results go where they are kept, outputs to who may read.
//!
//! It decides nothing about orders: every one whose roster has this host goes to the executor, with what
//! that must know to judge it sent before. What the executor answers goes to replication, which finds
//! the way back.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Shipping;
use crate::{
    authority::Admitted,
    executor::message::{MESSAGE_BYTES_MAX, ToExecutor, ToMesh},
    identity::{EntryId, HostId, SecretKey, Signed, Stream},
    net::Net,
    replica::{AuditHead, Handed, Kept, Order, RECEIPT_REPORTS_MAX, Receipt, Replica, Report},
    store::{Change, Store},
    sync::Event,
    time::Timestamp,
    wire::Bytes,
};

/// Orders of which it is remembered who works on them. What is forgotten shows when it is done.
const AT_WORK_MAX: usize = 1024;
/// News on orders that a slow watcher may be behind.
const NEWS_MAX: usize = 4096;
/// Bytes of entries in one message to the executor.
const LEARN_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;
/// Redeemers of an over-used token that the executor is told of. A token for more hosts than that is for the
/// fleet to count: there the executor does not hear that it was over-used.
const REDEEMERS_MAX: usize = 1024;
/// What is kept is acknowledged together so often: one write to the disk and one signature for many results.
/// Nobody waits for it, since a result is seen at once.
const RECEIPTS_EVERY: Duration = Duration::from_millis(50);

/// What happens to orders that this host keeps the results of.
#[derive(Clone, Debug)]
pub enum News {
    /// A report came.
    Report(Report),
    /// A host works on it.
    Running(EntryId, HostId),
}

/// Whether an order may be handed to the executor.
pub(super) type Clears = Arc<dyn Fn(&EntryId, &Order) -> bool + Send + Sync>;

/// How far the executor's audit chain is; the outer one is none before it has said that.
pub type AuditSaid = Option<Option<AuditHead>>;

/// What the loop is started with.
pub struct Parts {
    /// This host.
    pub me: HostId,
    /// The store.
    pub store: Store,
    /// The network.
    pub net: Net,
    /// Says which orders may be handed to the executor now.
    pub clears: Clears,
    /// Changes when it says so of more.
    pub cleared: watch::Receiver<u64>,
    /// Where outputs are.
    pub spool: PathBuf,
    /// What is shipped with orders.
    pub shipping: Shipping,
    /// To the executor.
    pub executor: mpsc::Sender<ToExecutor>,
    /// To replication.
    pub events: mpsc::Sender<Event>,
    /// Signs what this host keeps for others.
    pub stream_key: SecretKey<Stream>,
    /// What time it is.
    pub clock: fn() -> Timestamp,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("me", &self.me).finish_non_exhaustive()
    }
}

/// What the executor was told.
#[derive(Debug, Default)]
struct Known {
    /// Entries.
    told: HashSet<EntryId>,
    /// The authority's version when all that it should judge by was gone over last.
    authority: Option<u64>,
}

/// A handle on the service.
#[derive(Clone, Debug)]
pub struct Runs {
    pub(super) parts: Arc<Parts>,
    /// Orders that are worked on here, as far as they took long enough to be spoken of.
    pub(super) working: watch::Sender<BTreeSet<EntryId>>,
    news: broadcast::Sender<News>,
    counters: watch::Sender<Vec<(String, u64)>>,
    /// How far the executor's audit chain is, once it has said that.
    audit: watch::Sender<AuditSaid>,
    unsaid: Arc<Mutex<Vec<Kept>>>,
    /// Who works on what, of what this host keeps the results of.
    at_work: Arc<Mutex<BTreeMap<EntryId, BTreeSet<HostId>>>>,
}

impl Runs {
    /// The service, not running yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
            working: watch::Sender::new(BTreeSet::new()),
            news: broadcast::channel(NEWS_MAX).0,
            counters: watch::channel(Vec::new()).0,
            audit: watch::Sender::new(None),
            unsaid: Arc::default(),
            at_work: Arc::default(),
        }
    }

    /// Hears of every report and every start from now on; who falls behind looks at what is kept.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Asks the executor for its counters.
    pub async fn counters(&self, within: Duration) -> Vec<(String, u64)> {
        let mut counters = self.counters.subscribe();
        counters.mark_unchanged();
        if self.parts.executor.send(ToExecutor::Count {}).await.is_err() {
            return Vec::new();
        }
        let _late = tokio::time::timeout(within, counters.changed()).await;
        counters.borrow_and_update().clone()
    }

    /// Asks the executor how far its audit chain is; `None` if it does not say.
    pub async fn audit_head(&self, within: Duration) -> AuditSaid {
        let mut audit = self.audit.subscribe();
        audit.mark_unchanged();
        self.parts.executor.send(ToExecutor::AuditHead {}).await.ok()?;
        tokio::time::timeout(within, audit.changed()).await.ok()?.ok()?;
        *audit.borrow_and_update()
    }

    /// Takes changes of the store to the executor, until `stop`.
    pub async fn feed(self, stop: CancellationToken) {
        let mut changes = self.parts.store.changes();
        let mut arrivals = self.parts.shipping.arrivals();
        let mut lists = self.parts.store.lists();
        let mut cleared = self.parts.cleared.clone();
        let mut known = Known::default();
        self.feed_all(&mut known).await;
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => return,
                // Orders that waited for what they mark hosts of.
                Ok(()) = lists.changed() => {
                    self.feed_all(&mut known).await;
                    continue;
                }
                // Orders that waited for what peers know of this host's past.
                Ok(()) = cleared.changed() => {
                    self.feed_all(&mut known).await;
                    continue;
                }
                // An order that waited for what was shipped with it.
                Ok(()) = arrivals.changed() => {
                    self.feed_all(&mut known).await;
                    continue;
                }
                change = changes.recv() => change,
            };
            match change {
                Ok(change) => self.feed_change(&change, &mut known).await,
                Err(broadcast::error::RecvError::Lagged(_)) => self.feed_all(&mut known).await,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// An order comes alone, as a rule, among many that are known: then nothing else is gone over. Anything
    /// else that concerns the executor is seldom.
    async fn feed_change(&self, change: &Change, known: &mut Known) {
        let (kept, orders) = self.parts.store.read(|replica| {
            let orders: Option<Vec<_>> = change.items.iter().map(|(id, _)| replica.order(id)).collect();
            let orders = orders.filter(|_| known.authority == Some(replica.authority_version()));
            let orders = orders.map(|orders| self.unknown_orders(orders.into_iter(), replica, known, false));
            (orders.is_some(), orders.unwrap_or_default())
        });
        if kept {
            self.tell_executor(orders).await;
        } else if Self::concerns_executor(change) {
            self.feed_all(known).await;
        }
    }

    fn concerns_executor(change: &Change) -> bool {
        use crate::identity::{Kind, peek};
        change.items.iter().any(|(_, item)| {
            peek(&item.entry.0).is_ok_and(|header| {
                [
                    Kind::Root,
                    Kind::Grant,
                    Kind::Suspension,
                    Kind::Halt,
                    Kind::Op,
                    Kind::Host,
                    Kind::Admission,
                    Kind::Departure,
                    Kind::Equivocation,
                    Kind::Order,
                    Kind::Cancellation,
                    Kind::Approval,
                ]
                .into_iter()
                .any(|kind| kind as u16 == header.kind)
            })
        })
    }

    /// Sends the executor what it does not know yet: first what it judges by, then orders, each after its
    /// cancellation, since the executor remembers only so many of those.
    async fn feed_all(&self, known: &mut Known) {
        let me = self.parts.me;
        let messages = self.parts.store.read(|replica| {
            known.authority = Some(replica.authority_version());
            known.told.retain(|id| replica.holds(id));
            let mut learn = Vec::new();
            for update in replica.authority().chain().updates().into_iter().skip(1) {
                if known.told.insert(update.id()) {
                    learn.push(Bytes::from(update.bytes()));
                }
            }
            let authority = replica.authority();
            let grants = authority.grants().map(|grant| (grant.id(), grant.bytes()));
            let suspensions = authority.suspensions().map(|suspension| (suspension.id(), suspension.bytes()));
            let halts = authority.signed_halts().map(|halt| (halt.id(), halt.bytes()));
            for (id, bytes) in grants.chain(suspensions).chain(halts) {
                if known.told.insert(id) {
                    learn.push(Bytes::from(bytes));
                }
            }
            for op in replica.ops_about(&me) {
                if known.told.insert(op.id()) {
                    learn.push(Bytes::from(op.bytes()));
                }
            }
            for (id, bytes) in ends_of_membership(replica, &me) {
                if known.told.insert(id) {
                    learn.push(bytes);
                }
            }
            let learned = !learn.is_empty();
            let mut messages = in_messages(learn);
            messages.extend(self.unknown_orders(replica.orders(), replica, known, learned));
            messages
        });
        self.tell_executor(messages).await;
    }

    /// Those of `orders` that are for this host and that the executor was not told of, each after its
    /// cancellation; and those that need approvals if there is something new to judge them by, as there is if it
    /// `learned` anything just before.
    fn unknown_orders<'a>(
        &self,
        orders: impl Iterator<Item = &'a Admitted<Order>>,
        replica: &Replica,
        known: &mut Known,
        learned: bool,
    ) -> Vec<ToExecutor> {
        let mut messages = Vec::new();
        for order in orders {
            let signed = order.signed();
            // Where its list is not here it is gone over again when that comes.
            if !replica.seats_of(signed.body()).is_some_and(|seats| seats.contains(&self.parts.me)) {
                continue;
            }
            if !(self.parts.clears)(&signed.id(), signed.body()) {
                continue;
            }
            let cancellation = replica.cancellation(&signed.id());
            let cancellation = cancellation.filter(|cancellation| known.told.insert(cancellation.id()));
            let cancelled = cancellation.is_some();
            if let Some(cancellation) = cancellation {
                messages.push(ToExecutor::Cancel { cancellation: Bytes::from(cancellation.bytes()) });
            }
            let needs = replica.authority().approvals_needed(order) > 0;
            // Without what belongs to it the executor could do nothing with it.
            if (!needs && known.told.contains(&signed.id())) || !self.parts.shipping.ready(signed.body()) {
                continue;
            }
            // The executor keeps nothing of an order that too few approve. So such a one is handed over anew whenever
            // anything came that it is judged by; what was claimed meets its claim.
            let approvals = if needs { replica.approvals(&signed.id()) } else { Vec::new() };
            let more = approvals.iter().filter(|approval| known.told.insert(approval.id())).count() > 0;
            let anew = needs && (learned || more || cancelled);
            if known.told.insert(signed.id()) || anew {
                let list = signed.body().roster.list().and_then(|list| replica.list(&list));
                let place = list.and_then(|list| list.place(&self.parts.me));
                let approvals = approvals.iter().map(|approval| Bytes::from(approval.bytes())).collect();
                let order = Handed { order: Bytes::from(signed.bytes()), place, approvals };
                messages.push(ToExecutor::Order { order });
            }
        }
        messages
    }

    async fn tell_executor(&self, messages: Vec<ToExecutor>) {
        for message in messages {
            if self.parts.executor.send(message).await.is_err() {
                return;
            }
        }
    }

    /// Something from the executor.
    pub async fn from_executor(&self, message: ToMesh) {
        let event = match message {
            ToMesh::Report { report } => {
                self.working.send_if_modified(|working| working.remove(&report.order));
                Event::Results(vec![report])
            }
            ToMesh::Running { order } => {
                self.working.send_if_modified(|working| working.insert(order));
                Event::Working(order)
            }
            ToMesh::AuditHead { head } => {
                self.audit.send_replace(Some(head));
                return;
            }
            ToMesh::Counters { counters } => {
                self.counters.send_replace(counters);
                return;
            }
            ToMesh::Start { .. } | ToMesh::Learned { .. } | ToMesh::Erased {} | ToMesh::Alive {} => return,
        };
        let _stopping = self.parts.events.send(event).await;
    }

    /// Keeps reports: visible at once, acknowledged when they are on disk. What is not kept is not
    /// acknowledged.
    pub fn keep(&self, reports: Vec<Report>, tasks: &mut JoinSet<()>) {
        let (new, held) = self.parts.store.keep(reports);
        for report in new {
            {
                let mut at_work = lock(&self.at_work);
                if let Some(hosts) = at_work.get_mut(&report.order) {
                    hosts.remove(&report.host);
                    if hosts.is_empty() {
                        at_work.remove(&report.order);
                    }
                }
            }
            let _nobody_watches = self.news.send(News::Report(report));
        }
        let first = {
            let mut unsaid = lock(&self.unsaid);
            let first = unsaid.is_empty() && !held.is_empty();
            unsaid.extend(held);
            first
        };
        if first {
            let this = self.clone();
            tasks.spawn(async move {
                sleep(RECEIPTS_EVERY).await;
                let held = std::mem::take(&mut *lock(&this.unsaid));
                this.acknowledge(held).await;
            });
        }
    }

    async fn acknowledge(&self, held: Vec<Kept>) {
        let parts = &self.parts;
        if let Err(error) = parts.store.flushed().await {
            return warn!(%error, "results are kept in memory only, so not acknowledged");
        }
        let fleet = parts.store.read(Replica::fleet);
        for kept in held.chunks(RECEIPT_REPORTS_MAX) {
            let receipt = Signed::sign(fleet, &parts.stream_key, Receipt { kept: kept.to_vec() });
            let _stopping = parts.events.send(Event::Kept(receipt)).await;
        }
    }

    /// Hosts work on an order.
    pub fn running(&self, order: EntryId, hosts: Vec<HostId>) {
        {
            let mut at_work = lock(&self.at_work);
            if at_work.len() >= AT_WORK_MAX && !at_work.contains_key(&order) {
                at_work.pop_first();
            }
            at_work.entry(order).or_default().extend(&hosts);
        }
        for host in hosts {
            let _nobody_watches = self.news.send(News::Running(order, host));
        }
    }

    /// The hosts that said that they work on an order and have not said what came of it. For whoever comes to
    /// watch it later; who watches from the start has heard of each.
    pub fn at_work(&self, order: &EntryId) -> BTreeSet<HostId> {
        lock(&self.at_work).get(order).cloned().unwrap_or_default()
    }

    /// A keeper holds this host's result.
    pub async fn settled(&self, order: EntryId) {
        let _stopping = self.parts.executor.send(ToExecutor::Settled { order }).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What decides whether this host is a member: its own departure, what operators said of it while it waited, and
/// the certificates of those who redeemed its token beyond what that allows.
fn ends_of_membership(replica: &Replica, me: &HostId) -> Vec<(EntryId, Bytes)> {
    let authority = replica.authority();
    let Some(host) = authority.host(me) else { return Vec::new() };
    let mut ends = Vec::new();
    if let Some(departure) = host.departure() {
        ends.push((departure.id(), Bytes::from(departure.bytes())));
    }
    ends.extend(authority.admissions_of(me).map(|word| (word.id(), Bytes::from(word.bytes()))));
    if let Some(proof) = replica.equivocation(me) {
        ends.push((proof.id(), Bytes::from(proof.bytes())));
    }
    let invitation = host.enrolled().invitation();
    let uses = usize::try_from(invitation.body().uses).unwrap_or(usize::MAX);
    if authority.redeemed(&invitation.id()) > uses && uses < REDEEMERS_MAX {
        // As many as it takes beside this host, the same ones every time.
        let others = authority
            .hosts()
            .filter(|other| other.id() != *me && other.enrolled().invitation().id() == invitation.id());
        ends.extend(others.take(uses).map(|other| {
            let certificate = other.enrolled().certificate();
            (certificate.id(), Bytes::from(certificate.bytes()))
        }));
    }
    ends
}

/// As few messages as they fit in.
fn in_messages(entries: Vec<Bytes>) -> Vec<ToExecutor> {
    let mut messages = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        if bytes + entry.0.len() > LEARN_BYTES_MAX && !batch.is_empty() {
            messages.push(ToExecutor::Learn { entries: std::mem::take(&mut batch) });
            bytes = 0;
        }
        bytes += entry.0.len();
        batch.push(entry);
    }
    if !batch.is_empty() {
        messages.push(ToExecutor::Learn { entries: batch });
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::{Authority, sample},
        replica::Entry,
        wire,
    };

    #[test]
    fn what_is_to_be_learned_fits_in_messages_and_keeps_its_order() {
        let entries: Vec<Bytes> = (0..200_u8).map(|number| Bytes(vec![number; 16 * 1024])).collect();
        let messages = in_messages(entries.clone());
        let mut learned = Vec::new();
        for message in messages {
            assert!(wire::encode(&message).len() <= MESSAGE_BYTES_MAX);
            let ToExecutor::Learn { entries } = message else { panic!("{message:?}") };
            learned.extend(entries);
        }
        assert_eq!(learned, entries);
        assert!(in_messages(Vec::new()).is_empty());
    }

    #[test]
    fn the_executor_hears_of_a_departure_and_of_an_overused_token() {
        let ana = sample::key(1);
        let (fleet, under) = sample::Fleet::with(&[sample::certificate("ana", &ana)]);
        let mut replica = Replica::new(Authority::new(fleet.chain.clone()));
        let merge = |replica: &mut Replica, bytes: &[u8]| {
            replica.merge(Entry::verify(bytes, fleet.id()).unwrap(), &[]).unwrap();
        };
        let mine = fleet.invite(&ana, under[0], 9, &[], 2);
        let other = fleet.invite(&ana, under[0], 10, &[], 9);
        let hosts =
            [fleet.enrol(&mine, 9, 1, &[]), fleet.enrol(&mine, 9, 2, &[]), fleet.enrol(&other, 10, 3, &[])];
        for host in &hosts {
            merge(&mut replica, host.certificate().bytes());
        }
        let me = sample::host_id(1);
        assert!(ends_of_membership(&replica, &me).is_empty());
        let third = fleet.enrol(&mine, 9, 4, &[]);
        merge(&mut replica, third.certificate().bytes());
        let mut told: Vec<_> = ends_of_membership(&replica, &me).into_iter().map(|(id, _)| id).collect();
        told.sort();
        let mut wanted = vec![hosts[1].certificate().id(), third.certificate().id()];
        wanted.sort();
        assert_eq!(told, wanted);
        let departure = fleet.departure(1, sample::NOW);
        merge(&mut replica, departure.bytes());
        assert_eq!(ends_of_membership(&replica, &me)[0].0, departure.id());
    }
}
