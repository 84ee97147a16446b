//! A fleet to simulate: real keys, really signed entries, made from numbers alone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    authority::{
        AGENT_USER, ANY, Authority, Certificate, Enrolled, Enrolment, Genesis, HostCertificate, HostKeys,
        Invitation, ListError, MemberList, Op, OpAction, RootChain, RootChange, TagChange, Verb,
    },
    identity::{
        Cosigned, EntryId, Executor, FleetId, HostId, Operator, PublicKey, Purpose, Root, SealPublic,
        SecretKey, Signed, Stream, Token, Transport, WriterId,
    },
    replica::{
        Action, Cancellation, Entry, Head, Item, Kept, Limits, Order, Outcome, Output, Receipt, Replica,
        Report, ResultRecord, Roster,
    },
    time::{Hlc, Timestamp},
    wire::Bytes,
};

use super::facets::Published;

/// When every simulation begins, by a clock that is right.
pub const START: Timestamp = Timestamp(1_800_000_000_000);
const HOUR_MS: u64 = 3_600_000;
/// Hosts that one invitation admits here. Each one more costs a look at all before it.
const A_TOKEN: usize = 64;

/// The key number `number` of its purpose. Everybody can compute it.
fn key<P: Purpose>(number: usize) -> SecretKey<P> {
    let mut seed = [0x5a; 32];
    let purpose = P::NAME.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    for (to, from) in seed.iter_mut().zip(purpose.to_le_bytes().into_iter().chain(number.to_le_bytes())) {
        *to = from;
    }
    SecretKey::from_seed(&seed)
}

fn hlc(at: Timestamp) -> Hlc {
    Hlc::default().next(at)
}

/// A founded fleet, its one operator, and as many hosts as were asked for, by number.
#[derive(Debug)]
pub struct Fleet {
    chain: RootChain,
    operator: SecretKey<Operator>,
    certificate: EntryId,
    streams: Vec<SecretKey<Stream>>,
    executors: Vec<SecretKey<Executor>>,
    hosts: Vec<Enrolled>,
    numbers: HashMap<HostId, usize>,
    /// What the operator's command line at each host has signed, in order: its journal.
    ops: BTreeMap<usize, Vec<Signed<Op>>>,
    nonce: u64,
}

impl Fleet {
    /// Founds a fleet with so many hosts.
    ///
    /// # Panics
    /// When the shipping authority does not take a genesis, an update or a certificate that was just signed.
    #[expect(clippy::expect_used, reason = "its parts are always the same, and the first test would show it")]
    pub fn found(hosts: usize) -> Self {
        let (root, operator) = (key::<Root>(1), key::<Operator>(1));
        let genesis = Genesis {
            name: "simulated".to_owned(),
            roots: vec![root.public()],
            threshold: 1,
            founded: Timestamp(0),
            nonce: [1; 16],
            recovery: None,
        };
        let mut chain = RootChain::found(genesis, &[&root]).expect("a genesis under its root");
        let fleet = chain.fleet();
        let any = (ANY.to_owned(), ANY.to_owned());
        let update = chain.next(RootChange::Certify(Certificate {
            person: "ana".to_owned(),
            key: operator.public().into(),
            verbs: Verb::ALL.to_vec(),
            scope: "all".to_owned(),
            tags: vec![any],
            run_as: vec![ANY.to_owned(), AGENT_USER.to_owned()],
            hosts_max: None,
            not_before: Timestamp(0),
            not_after: Timestamp(START.0 + 100 * 365 * 24 * HOUR_MS),
            approvals: 0,
        }));
        let update = Cosigned::sign(fleet, &[&root], update);
        chain.absorb(update.bytes()).expect("an update under its root");
        let mut made = Self {
            chain,
            operator,
            certificate: update.id(),
            streams: (0..hosts).map(key).collect(),
            executors: (0..hosts).map(key).collect(),
            hosts: Vec::new(),
            numbers: HashMap::new(),
            ops: BTreeMap::new(),
            nonce: 0,
        };
        for (number, stream) in made.streams.iter().enumerate() {
            let token = number / A_TOKEN;
            let enrolled = Enrolled::verify(made.enrol(number, token, stream).bytes(), fleet)
                .expect("a certificate that was just signed");
            made.numbers.insert(enrolled.host(), number);
            made.hosts.push(enrolled);
        }
        made
    }

    fn enrol(&self, number: usize, token: usize, stream: &SecretKey<Stream>) -> Signed<HostCertificate> {
        let fleet = self.fleet();
        let token = key::<Token>(token);
        let invitation = Invitation {
            approve: false,
            certificate: self.certificate,
            token: token.public(),
            tags: Vec::new(),
            uses: u32::try_from(A_TOKEN).unwrap_or(u32::MAX),
            issued: START,
            expires: Timestamp(START.0 + HOUR_MS),
        };
        let invitation = Signed::sign(fleet, &self.operator, invitation);
        let keys = HostKeys {
            stream: stream.public(),
            transport: key::<Transport>(number).public(),
            executor: key::<Executor>(number).public(),
            seal: SealPublic([9; 32]),
        };
        let enrolment =
            Enrolment { name: format!("host-{number}"), tags: Vec::new(), keys, at: Timestamp(START.0 + 1) };
        let enrolment = Signed::sign(fleet, &token, enrolment);
        let body = HostCertificate {
            invitation: Bytes::from(invitation.bytes()),
            enrolment: Bytes::from(enrolment.bytes()),
        };
        Signed::sign(fleet, stream, body)
    }

    /// Its id.
    pub fn fleet(&self) -> FleetId {
        self.chain.fleet()
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// A host's id.
    pub fn id(&self, host: usize) -> HostId {
        self.hosts.get(host).map_or(HostId([0; 32]), Enrolled::host)
    }

    /// Which host has this id.
    pub fn number(&self, host: &HostId) -> Option<usize> {
        self.numbers.get(host).copied()
    }

    /// A replica that knows the root chain alone.
    pub fn bare_replica(&self) -> Replica {
        Replica::new(Authority::new(self.chain.clone()))
    }

    /// A replica to which the first so many hosts belong.
    pub fn replica(&self, members: usize) -> Replica {
        let mut replica = self.bare_replica();
        for host in self.hosts.iter().take(members) {
            // Its own certificates, made above: what they are worth is what the tests of a fleet show.
            let _taken = replica.merge(Entry::Host(Box::new(host.clone())), &[]);
        }
        replica
    }

    /// The entry that makes a host a member.
    pub fn certificate(&self, host: usize) -> Option<Item> {
        self.hosts.get(host).map(|host| Item::bare(host.certificate().bytes()))
    }

    /// Seals a host's head.
    pub fn head(
        &self,
        host: usize,
        place: (u32, u64),
        previous: Option<EntryId>,
        at: Timestamp,
        published: &Published,
    ) -> Option<Item> {
        let head = Head {
            epoch: place.0,
            sequence: place.1,
            previous,
            at: hlc(at),
            facets: published.refs().to_vec(),
            audit: None,
        };
        let signed = Signed::sign(self.fleet(), self.streams.get(host)?, head);
        Some(Item { entry: Bytes::from(signed.bytes()), facets: published.packed().to_vec() })
    }

    /// Signs the next op of the command line at host `at`: a tag on another host.
    pub fn tag(&mut self, at: usize, host: usize, key: &str, value: &str, now: Timestamp) {
        let (fleet, of) = (self.fleet(), self.id(host));
        let stream = self.ops.entry(at).or_default();
        let mut writer = [0; 16];
        for (to, from) in writer.iter_mut().zip(at.to_le_bytes()) {
            *to = from;
        }
        let body = Op {
            writer: WriterId(writer),
            sequence: stream.len() as u64,
            previous: stream.last().map(Signed::id),
            at: hlc(now),
            certificate: self.certificate,
            supersedes: Vec::new(),
            action: OpAction::Tag {
                host: of,
                changes: vec![TagChange { key: key.to_owned(), value: Some(value.to_owned()) }],
            },
        };
        stream.push(Signed::sign(fleet, &self.operator, body));
    }

    /// All ops of the command line at a host, in order.
    pub fn ops_of(&self, at: usize) -> &[Signed<Op>] {
        self.ops.get(&at).map_or(&[], Vec::as_slice)
    }

    /// All hosts, as the list that orders for many mark hosts of.
    pub fn list(&self) -> Result<Arc<MemberList>, ListError> {
        MemberList::of(self.hosts.iter().map(Enrolled::host)).map(Arc::new)
    }

    /// Signs an order for these hosts; for nobody where they are more than an order can be for.
    pub fn order(&mut self, roster: &[usize], keepers: &[usize], now: Timestamp) -> Signed<Order> {
        let mut hosts: Vec<HostId> = roster.iter().map(|host| self.id(*host)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        self.nonce += 1;
        let mut nonce = [0; 16];
        for (to, from) in nonce.iter_mut().zip(self.nonce.to_le_bytes()) {
            *to = from;
        }
        let body = Order {
            nonce,
            certificate: self.certificate,
            issued: now,
            expires: Timestamp(now.0 + 24 * HOUR_MS),
            selector: "all".to_owned(),
            roster: Roster::of(&hosts, || self.list())
                .unwrap_or_else(|_| Roster::Inline { hosts: Vec::new() }),
            action: Action::Argv { argv: vec![Bytes::from(&b"true"[..])] },
            run_as: AGENT_USER.to_owned(),
            limits: Limits { timeout_ms: 1000, output_bytes_max: 1000 },
            keepers: keepers.iter().map(|host| self.id(*host)).collect(),
            reason: None,
        };
        Signed::sign(self.fleet(), &self.operator, body)
    }

    /// Cancels it.
    pub fn cancellation(&self, order: &Signed<Order>, now: Timestamp) -> Signed<Cancellation> {
        let body = Cancellation { order: order.id(), at: now, expires: order.body().expires };
        Signed::sign(self.fleet(), &self.operator, body)
    }

    /// A keeper's word that it has these on disk.
    pub fn receipt(&self, keeper: usize, kept: &[Kept]) -> Option<Signed<Receipt>> {
        let key = self.streams.get(keeper)?;
        Some(Signed::sign(self.fleet(), key, Receipt { kept: kept.to_vec() }))
    }

    /// What a host's executor says came of an order.
    pub fn report(&self, order: EntryId, host: usize, now: Timestamp) -> Option<Report> {
        let record = ResultRecord {
            order,
            host: self.id(host),
            outcome: Outcome::Exited { code: 0 },
            started: now,
            took_ms: 1,
            stdout: Output::default(),
            stderr: Output::default(),
            left_behind: 0,
        };
        let signed = self.result(host, record)?;
        let (host, record) = (self.id(host), Bytes::from(signed.bytes()));
        Some(Report { order, host, record, stdout: None, stderr: None })
    }

    /// A result as a host's executor signs it.
    pub(super) fn result(&self, host: usize, record: ResultRecord) -> Option<Signed<ResultRecord>> {
        Some(Signed::sign(self.fleet(), self.executors.get(host)?, record))
    }

    /// The key that a host's results are verified with.
    pub(super) fn executor(&self, host: usize) -> Option<PublicKey<Executor>> {
        self.executors.get(host).map(SecretKey::public)
    }
}
