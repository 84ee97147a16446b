//! For tests: a fleet made of signed entries, and an agent that serves it on a real socket.

use std::{
    collections::HashMap,
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, CONTROL_VERSION, Handler, Health, HostLine, HostRow, PeerRow, Reply, Request, StatusReport,
    StoreCheck, serve,
};
use crate::{
    authority::{
        ANY, Authority, Certificate, Departure, Enrolled, Enrolment, Genesis, HostCertificate, HostKeys,
        Invitation, Op, OpAction, RootChain, RootChange, Verb,
    },
    identity::{
        Cosigned, EntryId, HostId, Operator, Payload, PublicKey, Root, SealPublic, SecretKey, Signed, Stream,
        Token, WriterId,
    },
    journal::OperatorHome,
    replica::{
        Entry, FACET_NODE, FacetHash, FacetRef, Head, Item, Merged, NodeFacet, Packed, Replica, Tables,
    },
    time::{Hlc, Timestamp},
    wire::{self, Bytes},
};

/// When everything in these tests happens: 2026-01-01T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_767_225_600_000);
const DAY: Duration = Duration::from_secs(86_400);

/// A fleet made of signed entries.
pub(crate) struct TestFleet {
    pub(crate) chain: RootChain,
    pub(crate) operator: SecretKey<Operator>,
    pub(crate) certificate: EntryId,
    pub(crate) replica: Replica,
    keys: HashMap<HostId, SecretKey<Stream>>,
}

impl TestFleet {
    /// A fleet called acme, with one operator called ana who may do everything for 30 days.
    pub(crate) fn acme() -> Self {
        Self::with(|_| {})
    }

    /// The same, with what `change` makes of ana's certificate.
    pub(crate) fn with(change: impl FnOnce(&mut Certificate)) -> Self {
        Self::named("acme", change)
    }

    /// Another fleet, with the same keys.
    pub(crate) fn other() -> Self {
        Self::named("other", |_| {})
    }

    fn named(name: &str, change: impl FnOnce(&mut Certificate)) -> Self {
        let root = SecretKey::<Root>::from_seed(&[1; 32]);
        let operator = SecretKey::<Operator>::from_seed(&[2; 32]);
        let genesis = Genesis {
            name: name.to_owned(),
            roots: vec![root.public()],
            threshold: 1,
            founded: NOW.before(DAY),
            nonce: [7; 16],
            recovery: None,
        };
        let mut chain = RootChain::found(genesis, &[&root]).unwrap();
        let mut certificate = Certificate {
            person: "ana".to_owned(),
            key: operator.public().into(),
            verbs: Verb::ALL.to_vec(),
            scope: "all".to_owned(),
            tags: vec![(ANY.to_owned(), ANY.to_owned())],
            run_as: vec![ANY.to_owned()],
            hosts_max: None,
            not_before: NOW.before(DAY),
            not_after: NOW.after(DAY * 30),
            approvals: 0,
        };
        change(&mut certificate);
        let update = Cosigned::sign(chain.fleet(), &[&root], chain.next(RootChange::Certify(certificate)));
        chain.absorb(update.bytes()).unwrap();
        let replica = Replica::new(Authority::new(chain.clone()));
        Self { chain, operator, certificate: update.id(), replica, keys: HashMap::new() }
    }

    /// Merges an entry.
    pub(crate) fn merge(&mut self, bytes: &[u8], facets: &[Packed]) -> Merged {
        let entry = Entry::verify(bytes, self.chain.fleet()).unwrap();
        self.replica.merge(entry, facets).unwrap()
    }

    fn sign<T: Payload<Signer = Operator>>(&self, body: T) -> Signed<T> {
        Signed::sign(self.chain.fleet(), &self.operator, body)
    }

    /// Adds a host; the same fleet of the same calls has the same ids.
    pub(crate) fn host(&mut self, name: &str, tags: &[(&str, &str)]) -> HostId {
        let seed = |purpose: u8| {
            let mut seed = *blake3::hash(name.as_bytes()).as_bytes();
            seed[0] = purpose;
            let [low, high] = u16::try_from(self.keys.len()).unwrap().to_le_bytes();
            seed[1] = low;
            seed[2] ^= high;
            seed
        };
        let tags: Vec<(String, String)> =
            tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let token = SecretKey::<Token>::from_seed(&seed(0));
        let invitation = self.sign(Invitation {
            approve: false,
            certificate: self.certificate,
            token: token.public(),
            tags: tags.clone(),
            uses: 1,
            issued: NOW.before(DAY),
            expires: NOW,
        });
        let stream = SecretKey::<Stream>::from_seed(&seed(1));
        let keys = HostKeys {
            stream: stream.public(),
            transport: SecretKey::from_seed(&seed(2)).public(),
            executor: SecretKey::from_seed(&seed(3)).public(),
            seal: SealPublic([9; 32]),
        };
        let fleet = self.chain.fleet();
        let enrolment = Enrolment { name: name.to_owned(), tags, keys, at: NOW.before(DAY) };
        let enrolment = Signed::sign(fleet, &token, enrolment);
        let certificate = HostCertificate {
            invitation: Bytes::from(invitation.bytes()),
            enrolment: Bytes::from(enrolment.bytes()),
        };
        let certificate = Signed::sign(fleet, &stream, certificate);
        let id = Enrolled::verify(certificate.bytes(), fleet).unwrap().host();
        self.merge(invitation.bytes(), &[]);
        self.merge(certificate.bytes(), &[]);
        self.keys.insert(id, stream);
        id
    }

    /// What a host says of itself, in its first head.
    pub(crate) fn says(&mut self, host: HostId, agent: &str, os: &str, addresses: &[&str]) {
        let node = NodeFacet {
            agent: agent.to_owned(),
            os: os.to_owned(),
            addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        };
        let facet = wire::encode(&node);
        let facets = vec![FacetRef {
            name: FACET_NODE.to_owned(),
            hash: FacetHash::of(&facet),
            bytes: u32::try_from(facet.len()).unwrap(),
            at: None,
        }];
        let head =
            Head { epoch: 1, sequence: 1, previous: None, at: Hlc::default().next(NOW), facets, audit: None };
        let head = Signed::sign(self.chain.fleet(), &self.keys[&host], head);
        self.merge(head.bytes(), &[Packed::alone(&facet)]);
    }

    /// What a host says of itself in a later head: its node facet as before, and these tables, which are so
    /// since `at`.
    pub(crate) fn tells(&mut self, host: HostId, at: Timestamp, facets: &[(&str, Tables)]) {
        let last = self.replica.head(&host).map(|head| head.body().clone());
        let (sequence, kept) = last.map_or((0, Vec::new()), |head| (head.sequence, head.facets));
        let mut refs: Vec<FacetRef> = kept.into_iter().filter(|facet| facet.name == FACET_NODE).collect();
        let mut packed = Vec::new();
        for (name, tables) in facets {
            let bytes = tables.clone().canonical();
            refs.push(FacetRef {
                name: (*name).to_owned(),
                hash: FacetHash::of(&bytes),
                bytes: u32::try_from(bytes.len()).unwrap(),
                at: Some(at),
            });
            packed.push(Packed::alone(&bytes));
        }
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        let at = Hlc::default().next(NOW);
        let head = Head { epoch: 1, sequence: sequence + 1, previous: None, at, facets: refs, audit: None };
        let head = Signed::sign(self.chain.fleet(), &self.keys[&host], head);
        self.merge(head.bytes(), &packed);
    }

    /// Saves a selector, or takes the group away.
    pub(crate) fn group(&mut self, name: &str, selector: Option<&str>) {
        let mut writer = [0; 16];
        writer[0] = u8::try_from(self.replica.authority().live_group_writes(name).len()).unwrap();
        writer[1..].iter_mut().zip(name.bytes()).for_each(|(into, byte)| *into = byte);
        let op = self.sign(Op {
            writer: WriterId(writer),
            sequence: 0,
            previous: None,
            at: self.replica.authority().group_seen(name).next(NOW),
            certificate: self.certificate,
            supersedes: self.replica.authority().live_group_writes(name),
            action: OpAction::Group { name: name.to_owned(), selector: selector.map(str::to_owned) },
        });
        self.merge(op.bytes(), &[]);
    }

    /// A host's last entry.
    pub(crate) fn leaves(&mut self, host: HostId) {
        let last = Signed::sign(self.chain.fleet(), &self.keys[&host], Departure { at: NOW.before(DAY / 2) });
        self.merge(last.bytes(), &[]);
    }

    /// The operator's directory for this fleet, in `operators`.
    pub(crate) fn operator_home(&self, operators: &Path) -> OperatorHome {
        OperatorHome::create(&operators.join("acme"), &self.operator, &self.chain).unwrap()
    }

    /// A host's key.
    pub(crate) fn stream_key(&self, host: HostId) -> SecretKey<Stream> {
        SecretKey::from_seed(&self.keys[&host].seed())
    }

    /// The operator's key.
    pub(crate) fn operator_key(&self) -> PublicKey<Operator> {
        self.operator.public()
    }
}

/// What the fake agent answers with, and what it was asked to take.
pub(crate) struct Script {
    pub(crate) replica: Replica,
    /// What it hands over beside the replica.
    pub(crate) extra: Vec<Item>,
    pub(crate) host: HostId,
    pub(crate) rows: Vec<HostRow>,
    pub(crate) status: StatusReport,
    pub(crate) peers: Vec<PeerRow>,
    /// By host: the answer to a ping.
    pub(crate) pings: HashMap<HostId, Result<(u64, Vec<HostId>), String>>,
    /// Where members listen.
    pub(crate) addresses: Vec<String>,
    /// What a submission is refused with: the words, and whether for want of a right.
    pub(crate) refuse: Option<(String, bool)>,
    /// Whether the host was told to leave.
    pub(crate) left: bool,
    /// How many entries were taken.
    pub(crate) taken: usize,
    /// Answers questions about inventory.
    pub(crate) inventory: Option<Inventory>,
    /// What makes the list of hosts, which is a capability's to say.
    pub(crate) lines: Option<Lines>,
    /// By kind: words to finish.
    pub(crate) words: HashMap<String, Vec<String>>,
    /// What it says of its health.
    pub(crate) health: Health,
    /// What a check of the store says.
    pub(crate) check: Option<StoreCheck>,
}

/// Makes the list of hosts.
pub(crate) type Lines = fn(&Replica, Vec<HostRow>) -> Vec<HostLine>;
/// Answers some requests.
pub(crate) type Inventory = Arc<dyn Fn(Request) -> BoxFuture<'static, Vec<Reply>> + Send + Sync>;

impl Script {
    /// Serves the fleet as host `host`, which is linked to nobody.
    pub(crate) fn of(fleet: &TestFleet, host: HostId) -> Self {
        Self {
            replica: fleet.replica.clone(),
            extra: Vec::new(),
            host,
            rows: Vec::new(),
            status: StatusReport::default(),
            peers: Vec::new(),
            pings: HashMap::new(),
            addresses: Vec::new(),
            refuse: None,
            left: false,
            taken: 0,
            inventory: None,
            lines: None,
            words: HashMap::new(),
            health: Health::default(),
            check: None,
        }
    }

    /// Says how the agent sees a host.
    pub(crate) fn sees(&mut self, host: HostId, state: &str, seen: Option<Timestamp>) {
        let gone = state == "unreachable";
        self.rows.push(HostRow {
            host,
            state: state.to_owned(),
            seen,
            since: seen.filter(|_| gone),
            witnesses: gone.then_some(4),
        });
    }

    fn reply(&mut self, request: Request) -> Reply {
        let no = |why: &str| Reply::Error { why: why.to_owned(), refused: false };
        match request {
            Request::Hello { .. } => Reply::Hello {
                version: CONTROL_VERSION,
                agent: "0.1.0".to_owned(),
                fleet: self.replica.fleet(),
                genesis: Bytes::from(self.replica.authority().chain().updates()[0].bytes()),
                host: self.host,
            },
            Request::Status {} => Reply::Status { status: self.status.clone() },
            Request::Waited {} => {
                let recoveries = self.replica.authority().recoveries_that_count();
                Reply::Waited { recoveries }
            }
            Request::Fleet { heads } => {
                let mut items = self.replica.all();
                items.retain(|item| heads || item.facets.is_empty());
                items.extend(self.extra.iter().cloned());
                Reply::Items { items, more: false }
            }
            Request::Hosts {} => Reply::Hosts { hosts: self.rows.clone() },
            Request::Peers {} => Reply::Peers { peers: self.peers.clone() },
            Request::Submit { items } => {
                if let Some((why, refused)) = &self.refuse {
                    return Reply::Error { why: why.clone(), refused: *refused };
                }
                for item in items {
                    let entry = Entry::verify(&item.entry.0, self.replica.fleet()).unwrap();
                    if let Err(refusal) = self.replica.merge(entry, &item.facets) {
                        return Reply::Error { why: refusal.to_string(), refused: true };
                    }
                    self.taken += 1;
                }
                Reply::Accepted {}
            }
            Request::Ping { host } => match self.pings.get(&host) {
                Some(Ok((rtt_us, via))) => Reply::Pong { rtt_us: *rtt_us, via: via.clone() },
                Some(Err(why)) => no(why),
                None => no("no path"),
            },
            Request::Invite {} => Reply::Invite { shield: [5; 32], addresses: self.addresses.clone() },
            Request::Leave {} => {
                self.left = true;
                Reply::Accepted {}
            }
            Request::HostLines {} => {
                let rows = self.lines.map(|lines| lines(&self.replica, self.rows.clone()));
                Reply::HostLines { rows: rows.unwrap_or_default(), more: false }
            }
            Request::Words { kind, start, limit } => {
                let words = self.words.get(&kind).into_iter().flatten();
                let words = words.filter(|word| word.starts_with(&start)).take(limit as usize);
                Reply::Words { words: words.cloned().collect() }
            }
            Request::Health {} => Reply::Health { health: self.health.clone() },
            Request::StoreCheck {} => {
                self.check.clone().map_or_else(|| no("not in this test"), |check| Reply::StoreCheck { check })
            }
            Request::AuditChain {}
            | Request::Orders {}
            | Request::Watch { .. }
            | Request::Output { .. }
            | Request::Ship { .. }
            | Request::Live { .. }
            | Request::List { .. }
            | Request::InventorySearch { .. }
            | Request::InventoryShow { .. }
            | Request::InventoryTypes {}
            | Request::Explain { .. } => no("not in this test"),
        }
    }
}

struct Shared(Mutex<Script>);

impl Handler for Shared {
    async fn answer(&self, request: Request, answer: &mut Answer<'_>) -> io::Result<()> {
        let inventory = self.0.lock().unwrap_or_else(PoisonError::into_inner).inventory.clone();
        let replies = match inventory {
            Some(inventory)
                if matches!(
                    request,
                    Request::InventorySearch { .. }
                        | Request::InventoryShow { .. }
                        | Request::InventoryTypes {}
                        | Request::Explain { .. }
                ) =>
            {
                inventory(request).await
            }
            _ => vec![self.0.lock().unwrap_or_else(PoisonError::into_inner).reply(request)],
        };
        for reply in &replies {
            answer.send(reply).await?;
        }
        Ok(())
    }
}

/// An agent that serves a script on a real socket, in a thread of its own, until it is dropped.
pub(crate) struct FakeAgent {
    dir: tempfile::TempDir,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl FakeAgent {
    pub(crate) fn start(script: Script) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
        let (shared, stop) = (Arc::new(Shared(Mutex::new(script))), CancellationToken::new());
        let (handler, until) = (Arc::clone(&shared), stop.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, handler, until)).unwrap();
        });
        Self { dir, shared, stop, thread: Some(thread) }
    }

    /// A directory that lives as long as the agent, with its socket in it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    /// Looks at the script, or changes it.
    pub(crate) fn script<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.shared.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
