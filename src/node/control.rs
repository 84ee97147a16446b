//! What the agent answers on its socket.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, broadcast, mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    authority::{Departure, Host, ListError, ListId, MemberList, Standing},
    control::{
        Answer, CONTROL_VERSION, Caller, Handler, Health, HostRow, ListAsk, PeerRow, Reply, Request,
        StatusReport,
    },
    executor::message::{Start, ToExecutor},
    identity::{self, EntryId, HostId, Kind, SecretKey, Signed, Stream},
    net::Net,
    replica::{Equivocation, Item, Replica, Report, first_hour},
    services::{
        audit,
        authority::root_problems,
        hosts::{listing, serve as hosts},
        inventory::Inventory,
        past::Past,
        replication::{Misbehaved, Replication},
        run::{FetchRequest, LivePiece, News, Runs, Shipping, Sink, Ways},
        upkeep,
    },
    store::{self, Store},
    sync::Seen,
    time::Timestamp,
    wire::{self, Bytes},
};

use super::{clock, mesh};

/// Bytes of entries in one reply.
const ITEMS_BYTES_MAX: usize = 256 * 1024;
/// Names of hosts in one line.
const NAMED_MAX: usize = 8;
/// Names that several hosts have, of those that are listed as a problem.
const SAME_NAMES_MAX: usize = 8;
/// Hosts that contradict themselves, in a status.
const FORKED_MAX: usize = 8;
/// How long a member that misbehaved, and is not shunned, is shown.
const MISBEHAVED_SHOWN: Duration = Duration::from_secs(3600);
/// How long the executor may take to say its counters.
const COUNTERS_WITHIN: Duration = Duration::from_secs(5);
/// Answers at a time that take a copy of much of the replica.
pub(super) const BULK_MAX: usize = 4;
/// How long a command line may take to read such an answer.
const BULK_WITHIN: Duration = Duration::from_secs(120);
/// Entries that are handed over at once.
const SUBMIT_ITEMS_MAX: usize = 256;
/// Pieces of live output that wait for a command line.
const LIVE_PIECES_MAX: usize = 32;
/// How long the executor may take to erase the host.
const ERASE_WITHIN: Duration = Duration::from_secs(30);
/// How long a departure is given to reach the neighbours before the agent ends.
const DEPARTURE_SPREADS: Duration = Duration::from_millis(1500);

/// Linked hosts that are asked for their time.
const CLOCKS_MAX: usize = 8;

/// All that answering takes.
pub(super) struct Node {
    pub(super) me: HostId,
    pub(super) store: Store,
    pub(super) net: Net,
    pub(super) replication: Replication,
    pub(super) runs: Runs,
    pub(super) shipping: Shipping,
    pub(super) ways: Ways,
    pub(super) stream_key: SecretKey<Stream>,
    pub(super) executor: mpsc::Sender<ToExecutor>,
    pub(super) start: Start,
    pub(super) confinement: String,
    pub(super) started: Timestamp,
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// What of this host cannot be looked at.
    pub(super) unseen: watch::Receiver<Vec<String>>,
    /// What peers knew of this host's own past.
    pub(super) past: Past,
    pub(super) inventory: Inventory,
    pub(super) advertise: Vec<SocketAddr>,
    /// Where it was told to listen.
    pub(super) wanted: Vec<SocketAddr>,
    pub(super) bulk: Semaphore,
    /// Where the audit chain is.
    pub(super) audit: PathBuf,
    /// Where the store is, for its size.
    pub(super) store_dir: PathBuf,
    /// True once the executor has erased the host.
    pub(super) erased: watch::Receiver<bool>,
    pub(super) stop: CancellationToken,
}

impl Handler for Node {
    fn owner(&self) -> u32 {
        self.start.executor_uid
    }

    async fn answer(&self, request: Request, answer: &mut Answer<'_>) -> io::Result<()> {
        match request {
            Request::Hello { .. } => answer.send(&self.hello()).await,
            Request::Status {} => answer.send(&Reply::Status { status: self.status().await }).await,
            Request::Fleet { heads } => self.bulk(answer, |replica| replica.fleet_items(heads)).await,
            Request::Waited {} => {
                let recoveries = self.store.read(|replica| replica.authority().recoveries_that_count());
                answer.send(&Reply::Waited { recoveries }).await
            }
            Request::Hosts {} => answer.send(&Reply::Hosts { hosts: self.hosts().await }).await,
            Request::Peers {} => answer.send(&Reply::Peers { peers: self.peers().await }).await,
            Request::Submit { items } => {
                let reply = self.submit(items).await;
                answer.send(&reply).await
            }
            Request::Orders {} => self.bulk(answer, Replica::order_items).await,
            Request::Watch { order, follow } => self.watch(order, follow, answer).await,
            Request::Output { read, order, host, stream, from } => {
                let request = FetchRequest { read, order, host, stream, hops: u8::MAX, from };
                let way = (self.ways)(order, host).await;
                let last = match self.runs.output(request, way, &mut Local(answer)).await {
                    Ok(()) => Reply::End {},
                    Err(why) => Reply::Error { why, refused: false },
                };
                answer.send(&last).await
            }
            Request::Ship { blob, at, bytes } => {
                let reply = match self.shipping.take(&blob, at, &bytes.0) {
                    Ok(_) => Reply::Accepted {},
                    Err(why) => Reply::Error { why, refused: false },
                };
                answer.send(&reply).await
            }
            Request::List { list, ask } => answer.send(&self.list(list, ask)).await,
            Request::Live { read, order } => self.live(read, order, answer).await,
            Request::Ping { host } => {
                let reply = if host == self.me {
                    Reply::Pong { rtt_us: 0, via: Vec::new() }
                } else {
                    match hosts::reach_host(&self.net, &self.store, host).await {
                        Some((rtt, via)) => {
                            Reply::Pong { rtt_us: u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX), via }
                        }
                        None => Reply::Error {
                            why: "the host does not answer, neither directly nor through a neighbour"
                                .to_owned(),
                            refused: false,
                        },
                    }
                };
                answer.send(&reply).await
            }
            Request::AuditChain {} => {
                let _turn = self.bulk.acquire().await.map_err(io::Error::other)?;
                audit::show_chain(&self.audit, answer).await
            }
            Request::StoreCheck {} => {
                let _turn = self.bulk.acquire().await.map_err(io::Error::other)?;
                let reply = match self.store.check(clock::now()).await {
                    Ok(check) => Reply::StoreCheck { check: upkeep::report(&check, None) },
                    Err(why) => Reply::Error { why, refused: false },
                };
                answer.send(&reply).await
            }
            Request::InventorySearch { expression, columns, limit } => {
                let _turn = self.bulk.acquire().await.map_err(io::Error::other)?;
                let seen = self.hosts().await;
                send_all(answer, self.inventory.search(expression, columns, limit, seen).await).await
            }
            Request::InventoryShow { host, table } => {
                let _turn = self.bulk.acquire().await.map_err(io::Error::other)?;
                let seen = self.hosts().await;
                send_all(answer, self.inventory.show(&host, table.as_deref(), &seen)).await
            }
            Request::Explain { expression } => {
                let _turn = self.bulk.acquire().await.map_err(io::Error::other)?;
                answer.send(&self.inventory.explain(&expression).await).await
            }
            Request::InventoryTypes {} => answer.send(&self.inventory.types().await).await,
            Request::HostLines {} => {
                let _turn = self.bulk.acquire().await.map_err(io::Error::other)?;
                let seen = self.hosts().await;
                let lines = self.store.read(|replica| listing::lines(replica, seen));
                send_all(answer, listing::replies(lines)).await
            }
            Request::Words { kind, start, limit } => {
                let words = self.words(&kind, &start, limit).await;
                answer.send(&Reply::Words { words }).await
            }
            Request::Health {} => answer.send(&Reply::Health { health: self.health().await }).await,
            Request::Invite {} => answer.send(&self.invite()).await,
            Request::Leave {} => {
                let reply = self.leave(answer.caller).await;
                let sent = answer.send(&reply).await;
                if matches!(reply, Reply::Accepted {}) {
                    // There is no host any more that this process could speak for.
                    self.stop.cancel();
                }
                sent
            }
        }
    }
}

struct Local<'a, 'b>(&'a mut Answer<'b>);
impl Sink for Local<'_, '_> {
    async fn piece(&mut self, bytes: Bytes) -> Result<(), String> {
        self.0.send(&Reply::Chunk { bytes }).await.map_err(|error| error.to_string())
    }
}

/// Sends an answer of several replies, to whoever reads it in time.
async fn send_all(answer: &mut Answer<'_>, replies: Vec<Reply>) -> io::Result<()> {
    let sending = async {
        for reply in &replies {
            answer.send(reply).await?;
        }
        Ok(())
    };
    timeout(BULK_WITHIN, sending).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn send_items(answer: &mut Answer<'_>, items: Vec<Item>) -> io::Result<()> {
    let mut items = items.into_iter().peekable();
    loop {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(item) =
            items.next_if(|item| batch.is_empty() || bytes + item.weight() <= ITEMS_BYTES_MAX)
        {
            bytes += item.weight();
            batch.push(item);
        }
        let more = items.peek().is_some();
        answer.send(&Reply::Items { items: batch, more }).await?;
        if !more {
            return Ok(());
        }
    }
}

impl Node {
    /// Sends what may be a copy of much of the replica. A few at a time, and not for ever: who asks for all
    /// and does not read must not fill the memory, nor keep others from asking.
    async fn bulk(
        &self,
        answer: &mut Answer<'_>,
        look: impl FnOnce(&Replica) -> Vec<Item>,
    ) -> io::Result<()> {
        let _turn = self.bulk.acquire().await.map_err(io::Error::other)?;
        timeout(BULK_WITHIN, send_items(answer, self.store.read(look)))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    fn list(&self, id: ListId, ask: ListAsk) -> Reply {
        match ask {
            ListAsk::Has {} if self.store.has_list(&id) => Reply::Accepted {},
            ListAsk::Has {} => Reply::List { hosts: None },
            ListAsk::Read {} => {
                Reply::List { hosts: self.store.read(|replica| replica.list(&id).map(|list| list.bytes())) }
            }
            ListAsk::Keep { hosts } => match MemberList::read(&hosts.0) {
                Ok(list) if list.id() == id => {
                    self.store.keep_list(list);
                    Reply::Accepted {}
                }
                Ok(_) => Reply::Error { why: ListError::Other.to_string(), refused: false },
                Err(error) => Reply::Error { why: error.to_string(), refused: false },
            },
        }
    }

    fn hello(&self) -> Reply {
        let (fleet, genesis) = self.store.read(|replica| {
            let updates = replica.authority().chain().updates();
            let genesis = updates.first().map(|genesis| Bytes::from(genesis.bytes())).unwrap_or_default();
            (replica.fleet(), genesis)
        });
        Reply::Hello {
            version: CONTROL_VERSION,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            fleet,
            genesis,
            host: self.me,
        }
    }

    async fn status(&self) -> StatusReport {
        let mut counters = self.runs.counters(COUNTERS_WITHIN).await;
        counters.extend(self.store.refused());
        counters.extend(self.replication.counters().map(|(name, count)| (name.to_owned(), count)));
        counters.push(("order_verifications_mesh".to_owned(), identity::verifications(Kind::Order as u16)));
        counters.push(("result_verifications_mesh".to_owned(), identity::verifications(Kind::Result as u16)));
        let mut problems = self.problems.borrow().clone();
        problems.extend(self.unseen.borrow().iter().cloned());
        problems.extend(self.store.problems());
        let presence = self.replication.presence().await;
        let count = |of: fn(&Seen) -> bool| {
            u32::try_from(presence.values().filter(|seen| of(seen)).count()).unwrap_or(u32::MAX)
        };
        let up = count(|seen| matches!(seen, Seen::Up));
        let unreachable = count(|seen| matches!(seen, Seen::Unreachable { .. }));
        let links = u32::try_from(self.replication.links().await.len()).unwrap_or(u32::MAX);
        let misbehaved = self.replication.misbehaved().await;
        problems.extend(self.store.read(|replica| misbehaving(&misbehaved, replica, clock::now())));
        let (members, entries, root, orders) = self.store.read(|replica| {
            problems.extend(root_problems(replica.authority()));
            problems.extend(same_names(replica));
            problems.extend(over_used(replica));
            problems.extend(waiting(replica));
            match replica.forks().saturating_sub(replica.authority().chain().forks()) {
                0 => {}
                forks => problems.push(format!("{forks} streams were signed twice at one place")),
            }
            problems.extend(forked(replica));
            problems.extend(self.past.problem());
            let root = replica.roots(first_hour(clock::now())).root();
            (replica.authority().members().count(), replica.entries(), root, replica.orders().count())
        });
        StatusReport {
            started: self.started,
            executor_pid: self.start.executor_pid,
            mesh_pid: std::process::id(),
            listen: self.net.local_addrs().iter().map(ToString::to_string).collect(),
            members: u32::try_from(members).unwrap_or(u32::MAX),
            links,
            entries: entries as u64,
            root: Some(root),
            orders: orders as u64,
            results_unsettled: self.replication.unsettled().await,
            confinement: self.confinement.clone(),
            problems,
            counters,
            presence: Some((up, unreachable)),
            name: self.name(&self.me),
            store_bytes: Some(store::disk_bytes(&self.store_dir)),
        }
    }

    async fn hosts(&self) -> Vec<HostRow> {
        let presence = self.replication.presence().await;
        let now = clock::now();
        self.store.read(|replica| {
            replica
                .authority()
                .hosts()
                .map(|host| {
                    let id = host.id();
                    let here = presence.get(&id).copied().unwrap_or(Seen::Unknown);
                    let state = match host.standing() {
                        Standing::Member if id == self.me => "self",
                        Standing::Member => match here {
                            Seen::Up => "up",
                            Seen::Unreachable { .. } => "unreachable",
                            Seen::Unknown => "unknown",
                        },
                        other => other.word(),
                    };
                    let said = replica.head(&id).map(|head| Timestamp(head.body().at.0 >> 16));
                    let (seen, since, witnesses) = match here {
                        Seen::Up => (Some(now), None, None),
                        Seen::Unreachable { since, witnesses } => (Some(since), Some(since), Some(witnesses)),
                        Seen::Unknown => (said, None, None),
                    };
                    HostRow { host: id, state: state.to_owned(), seen, since, witnesses }
                })
                .collect()
        })
    }

    /// Words for a shell to finish.
    async fn words(&self, kind: &str, start: &str, limit: u32) -> Vec<String> {
        if kind == "type" {
            // The only kind that is not read off the replica at once.
            let Reply::Types { types } = self.inventory.types().await else { return Vec::new() };
            let names = types.into_iter().map(|row| row.name).filter(|name| name.starts_with(start));
            return names.take(limit as usize).collect();
        }
        self.store.read(|replica| listing::words(replica, kind, start, limit))
    }

    async fn health(&self) -> Health {
        let clocks = hosts::clocks(&self.net, &self.store, clock::now, CLOCKS_MAX).await;
        let versions = self.store.read(listing::versions);
        let dialled_in = self.replication.links().await.iter().filter(|link| !link.dialled).count() as u64;
        Health { store_bytes: store::disk_bytes(&self.store_dir), clocks, versions, dialled_in }
    }

    fn name(&self, host: &HostId) -> Option<String> {
        self.store.read(|replica| replica.authority().host(host).map(|host| host.name().to_owned()))
    }

    async fn peers(&self) -> Vec<PeerRow> {
        let links = self.replication.links().await;
        links
            .into_iter()
            .map(|row| PeerRow {
                host: Some(row.host),
                address: row.remote.to_string(),
                dialled: row.dialled,
                since: row.since,
                rtt_us: row.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                name: self.name(&row.host),
            })
            .collect()
    }

    async fn submit(&self, items: Vec<Item>) -> Reply {
        if items.len() > SUBMIT_ITEMS_MAX {
            let why = format!("{} entries at once, where {SUBMIT_ITEMS_MAX} are the most", items.len());
            return Reply::Error { why, refused: false };
        }
        let (_, refusal) = self.store.merge(None, items, clock::now());
        if let Some(why) = refusal {
            return Reply::Error { why, refused: true };
        }
        match self.store.flushed().await {
            Ok(()) => Reply::Accepted {},
            Err(error) => Reply::Error {
                why: format!("taken and spread, but not on this host's disk: {error}"),
                refused: false,
            },
        }
    }

    async fn watch(&self, order: EntryId, follow: bool, answer: &mut Answer<'_>) -> io::Result<()> {
        let mut news = self.runs.news();
        // The output too: a report may come with another's output first, and with its own later.
        let mut sent = HashSet::new();
        let mut fresh = |report: &Report| sent.insert(blake3::hash(&wire::encode(report)));
        let mut catch_up = true;
        if follow {
            for host in self.runs.at_work(&order) {
                answer.send(&Reply::Running { order, host }).await?;
            }
        }
        loop {
            if catch_up {
                catch_up = false;
                for report in self.store.kept(&order) {
                    if fresh(&report) {
                        answer.send(&Reply::Report { report }).await?;
                    }
                }
            }
            if !follow {
                return answer.send(&Reply::End {}).await;
            }
            let item = tokio::select! {
                () = answer.hung_up() => return Err(io::ErrorKind::ConnectionAborted.into()),
                item = news.recv() => item,
            };
            match item {
                Ok(News::Report(report)) if report.order == order => {
                    if fresh(&report) {
                        answer.send(&Reply::Report { report }).await?;
                    }
                }
                Ok(News::Running(of, host)) if of == order => {
                    answer.send(&Reply::Running { order, host }).await?;
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => catch_up = true,
                Err(broadcast::error::RecvError::Closed) => return answer.send(&Reply::End {}).await,
            }
        }
    }

    /// What commands write, to a command line that reads it at its own pace.
    async fn live(&self, read: Bytes, order: EntryId, answer: &mut Answer<'_>) -> io::Result<()> {
        let (pieces, mut coming) = mpsc::channel(LIVE_PIECES_MAX);
        let following = self.runs.follow(read, order, Arc::clone(&self.ways), pieces);
        let mut following = std::pin::pin!(following);
        loop {
            let piece = tokio::select! {
                () = answer.hung_up() => return Ok(()),
                () = &mut following => return answer.send(&Reply::End {}).await,
                piece = coming.recv() => piece,
            };
            let Some((host, LivePiece { stream, at, bytes })) = piece else {
                return answer.send(&Reply::End {}).await;
            };
            answer.send(&Reply::Live { host, stream, at, bytes }).await?;
        }
    }

    fn invite(&self) -> Reply {
        let mut addresses: Vec<String> = mesh::addresses(&self.net, &self.advertise, &self.wanted)
            .iter()
            .map(ToString::to_string)
            .collect();
        self.store.read(|replica| {
            for host in replica.authority().members() {
                if host.id() != self.me
                    && let Some(node) = replica.node_facet(&host.id())
                {
                    addresses.extend(node.addresses.into_iter().take(1));
                }
            }
        });
        addresses.truncate(16);
        Reply::Invite { shield: self.start.member.shield, addresses }
    }

    async fn leave(&self, caller: Caller) -> Reply {
        let Caller::User { uid } = caller else {
            let why = "a host leaves by its own command line alone".to_owned();
            return Reply::Error { why, refused: true };
        };
        if uid != 0 && uid != self.start.executor_uid {
            let why = "only root and the agent's own user can take this host out of the fleet".to_owned();
            return Reply::Error { why, refused: true };
        }
        let fleet = self.store.read(Replica::fleet);
        let departure = Signed::sign(fleet, &self.stream_key, Departure { at: clock::now() });
        let bytes = Bytes::from(departure.bytes());
        let (_, refusal) = self.store.merge(None, vec![Item::bare(&bytes.0)], clock::now());
        if let Some(why) = refusal {
            return Reply::Error { why, refused: true };
        }
        // Replication says nothing of what it has sent. Without a neighbour there is nobody to wait for.
        if !self.replication.links().await.is_empty() {
            tokio::time::sleep(DEPARTURE_SPREADS).await;
        }
        let failed = |why: &str| Reply::Error { why: why.to_owned(), refused: false };
        if self.executor.send(ToExecutor::Leave { departure: bytes }).await.is_err() {
            return failed("the executor is gone");
        }
        let mut erased = self.erased.clone();
        match timeout(ERASE_WITHIN, erased.wait_for(|erased| *erased)).await {
            Ok(Ok(_)) => Reply::Accepted {},
            Ok(Err(_)) | Err(_) => failed("the others know that this host leaves, but it is not erased here"),
        }
    }
}

/// Who is shunned, or was throttled within the last hour, by name.
fn misbehaving(rows: &[Misbehaved], replica: &Replica, now: Timestamp) -> Vec<String> {
    let recent = |row: &&Misbehaved| row.shunned || now.since(row.at.min(now)) < MISBEHAVED_SHOWN;
    rows.iter()
        .filter(recent)
        .map(|row| {
            let name = replica
                .authority()
                .host(&row.host)
                .map_or_else(|| row.host.to_string(), |host| host.name().to_owned());
            let what = if row.shunned { "is shunned" } else { "misbehaved" };
            format!("{name} {what}: {}", row.why)
        })
        .collect()
}

/// Whose heads stand twice at one place, by name: another machine has the key, or a copy of the disk runs.
fn forked(replica: &Replica) -> Vec<String> {
    let name = |host: &HostId| {
        let known = replica.authority().host(host);
        known.map_or_else(|| host.to_string(), |host| host.name().to_owned())
    };
    let proofs = replica.equivocations().take(FORKED_MAX);
    let words = |proof: &Equivocation| {
        format!(
            "{} says two different things in one place: it was cloned, or its key was stolen, and it is out of \
             the fleet. Stop all copies but one, run muster leave there, and let it join anew",
            name(&proof.host())
        )
    };
    let back = replica.audit_forks().take(FORKED_MAX).map(|(host, (earlier, later))| {
        let far = |head: &Signed<crate::replica::Head>| {
            head.body()
                .audit
                .map_or_else(|| "none".to_owned(), |at| format!("{}:{}", at.sequence, at.id.short()))
        };
        let (was, is) = (far(earlier), far(later));
        let name = name(host);
        format!("{name} takes back its audit chain: it showed {was}, and then {is}; see: muster audit verify")
    });
    proofs.map(words).chain(back).collect()
}

/// Tokens that more hosts redeemed than they allow, and the way out.
fn over_used(replica: &Replica) -> Vec<String> {
    let mut tokens: BTreeMap<EntryId, (u32, Vec<&str>)> = BTreeMap::new();
    for host in replica.authority().hosts().filter(|host| host.standing() == Standing::Quarantined) {
        let invitation = host.enrolled().invitation();
        let (_, names) =
            tokens.entry(invitation.id()).or_insert_with(|| (invitation.body().uses, Vec::new()));
        names.push(host.name());
    }
    let said = tokens.into_iter().map(|(id, (uses, mut names))| {
        names.sort_unstable();
        let redeemed = replica.authority().redeemed(&id);
        let shown = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = match names.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "a token for {uses} was used {redeemed} times, so {shown}{more} are quarantined: let in those that \
             are yours with muster host admit, turn the others away with muster host deny"
        )
    });
    said.take(NAMED_MAX).collect()
}

/// Hosts that wait for an operator.
fn waiting(replica: &Replica) -> Option<String> {
    let mut waiting: Vec<&str> = replica
        .authority()
        .hosts()
        .filter(|host| host.standing() == Standing::Pending)
        .map(Host::name)
        .collect();
    waiting.sort_unstable();
    let shown = waiting.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match waiting.len() {
        0 => None,
        1 => Some(format!("{shown} waits for an operator: muster host admit")),
        many => Some(format!("{many} hosts wait for an operator, such as {shown}: muster host admit")),
    }
}

/// Members of one name. That is no fault (two hosts may join at the same time in two places), but a name
/// then does not say which is meant.
fn same_names(replica: &Replica) -> Vec<String> {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for host in replica.authority().members() {
        *names.entry(host.name()).or_default() += 1;
    }
    let same = names.into_iter().filter(|(_, hosts)| *hosts > 1);
    same.take(SAME_NAMES_MAX).map(|(name, hosts)| format!("{hosts} hosts have the name {name}")).collect()
}
