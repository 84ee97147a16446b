//! A fleet whose every key the test holds, and an agent that answers as it is told.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    authority::{
        ANY, Authority, Certificate, Enrolment, Genesis, HostCertificate, HostKeys, Invitation, ListId,
        MemberList, RootChain, RootChange, Verb,
    },
    control::{
        Answer, CONTROL_VERSION, FoundRow, Handler, HostRow, ListAsk, Reply, Request, StreamName, serve,
    },
    identity::{
        Cosigned, EntryId, Executor, FleetId, HostId, Kind, Operator, Root, SealPublic, SecretKey, Signed,
        Stream, Token, Transport, peek,
    },
    journal::OperatorHome,
    replica::{
        Blob, Entry, FACET_NODE, FacetHash, FacetRef, Head, Item, NodeFacet, Order, Outcome, Output, Packed,
        ReadRequest, Replica, Report, ResultRecord, Seats,
    },
    services::run::{Interrupt, Interrupts, RunError, RunRequest, Streams, World, run},
    targets::Targets,
    terminal::{Format, Style, prompt::Question},
    time::{Hlc, Timestamp},
    wire::{self, Bytes},
};

pub(super) const NOW: Timestamp = Timestamp(1_767_225_600_000);
/// Long enough that no machine is slower; nothing waits for it to pass.
pub(super) const LONG: Duration = Duration::from_secs(120);
/// What tests about silence wait for it: others answer long before.
pub(super) const SHORT: Duration = Duration::from_secs(3);

pub(super) struct Member {
    pub(super) name: String,
    pub(super) id: HostId,
    pub(super) executor: SecretKey<Executor>,
}

pub(super) struct Fleet {
    pub(super) chain: RootChain,
    pub(super) operator: SecretKey<Operator>,
    pub(super) certificate: EntryId,
    /// Another's.
    pub(super) inviting: EntryId,
    pub(super) members: Vec<Member>,
    pub(super) replica: Replica,
}

pub(super) fn grant(operator: &SecretKey<Operator>) -> Certificate {
    Certificate {
        person: "ana".to_owned(),
        key: operator.public().into(),
        verbs: vec![Verb::Run, Verb::Invite, Verb::Tag, Verb::Read],
        scope: "all".to_owned(),
        tags: vec![(ANY.to_owned(), ANY.to_owned())],
        run_as: vec![ANY.to_owned()],
        hosts_max: None,
        not_before: NOW.before(Duration::from_secs(3600)),
        not_after: NOW.after(Duration::from_secs(365 * 86_400)),
        approvals: 0,
    }
}

impl Fleet {
    /// A fleet of these hosts, each with the tag `role`; those whose role is `quiet` do not listen.
    pub(super) fn of(hosts: &[(&str, &str)]) -> Self {
        Self::with(hosts, |_| {})
    }

    pub(super) fn with(hosts: &[(&str, &str)], narrow: impl FnOnce(&mut Certificate)) -> Self {
        let (root, operator) =
            (SecretKey::<Root>::from_seed(&[1; 32]), SecretKey::<Operator>::from_seed(&[2; 32]));
        let genesis = Genesis {
            name: "test".to_owned(),
            roots: vec![root.public()],
            threshold: 1,
            founded: NOW,
            nonce: [0; 16],
            recovery: None,
        };
        let mut chain = RootChain::found(genesis, &[&root]).unwrap();
        // Another certificate invites, so that a narrow one does not keep hosts out.
        let inviter = SecretKey::<Operator>::from_seed(&[3; 32]);
        let mut certify = |certificate| {
            let update =
                Cosigned::sign(chain.fleet(), &[&root], chain.next(RootChange::Certify(certificate)));
            chain.absorb(update.bytes()).unwrap();
            update.id()
        };
        let inviting = certify(grant(&inviter));
        let mut certificate = grant(&operator);
        narrow(&mut certificate);
        let certificate = certify(certificate);
        let mut replica = Replica::new(Authority::new(chain.clone()));
        let mut members = Vec::new();
        for (at, (name, role)) in hosts.iter().enumerate() {
            let member = join(&mut replica, &inviter, inviting, at, name, role);
            members.push(member);
        }
        Self { chain, operator, certificate, inviting, members, replica }
    }

    pub(super) fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|member| member.name == name).unwrap()
    }
}

fn seed(at: usize, purpose: u8) -> [u8; 32] {
    *blake3::hash(&[&at.to_be_bytes()[..], &[purpose]].concat()).as_bytes()
}

fn join(
    replica: &mut Replica,
    inviter: &SecretKey<Operator>,
    certificate: EntryId,
    at: usize,
    name: &str,
    role: &str,
) -> Member {
    let fleet = replica.fleet();
    let (token, stream, executor) = (
        SecretKey::<Token>::from_seed(&seed(at, 1)),
        SecretKey::<Stream>::from_seed(&seed(at, 2)),
        SecretKey::<Executor>::from_seed(&seed(at, 3)),
    );
    let tags = vec![("role".to_owned(), role.to_owned())];
    let invitation = Signed::sign(
        fleet,
        inviter,
        Invitation {
            approve: false,
            certificate,
            token: token.public(),
            tags: tags.clone(),
            uses: 1,
            issued: NOW,
            expires: NOW.after(Duration::from_secs(60)),
        },
    );
    let keys = HostKeys {
        stream: stream.public(),
        transport: SecretKey::<Transport>::from_seed(&seed(at, 4)).public(),
        executor: executor.public(),
        seal: SealPublic([9; 32]),
    };
    let enrolment = Signed::sign(fleet, &token, Enrolment { name: name.to_owned(), tags, keys, at: NOW });
    let host = Signed::sign(
        fleet,
        &stream,
        HostCertificate {
            invitation: Bytes::from(invitation.bytes()),
            enrolment: Bytes::from(enrolment.bytes()),
        },
    );
    let addresses = if role == "quiet" { vec![] } else { vec![format!("10.0.0.{at}:7373")] };
    let facet =
        Bytes(wire::encode(&NodeFacet { agent: "0.1.0".to_owned(), os: "Test".to_owned(), addresses }));
    let head = Signed::sign(
        fleet,
        &stream,
        Head {
            epoch: 1,
            sequence: 1,
            previous: None,
            at: Hlc::default().next(NOW),
            facets: vec![FacetRef {
                name: FACET_NODE.to_owned(),
                hash: FacetHash::of(&facet.0),
                bytes: u32::try_from(facet.0.len()).unwrap(),
                at: None,
            }],
            audit: None,
        },
    );
    replica.merge(Entry::verify(host.bytes(), fleet).unwrap(), &[]).unwrap();
    replica.merge(Entry::verify(head.bytes(), fleet).unwrap(), &[Packed::alone(&facet.0)]).unwrap();
    Member { name: name.to_owned(), id: HostId::of(&stream.public()), executor }
}

/// An order as its hosts see it.
pub(super) struct Seen<'a> {
    pub(super) fleet: FleetId,
    pub(super) id: EntryId,
    pub(super) order: &'a Order,
    /// How often somebody asked what came of it, this time too.
    pub(super) asked: usize,
    /// Whether it was cancelled.
    pub(super) cancelled: bool,
}

impl Seen<'_> {
    /// What a host's executor signs when a command ends.
    pub(super) fn record(&self, host: HostId, outcome: Outcome) -> ResultRecord {
        ResultRecord {
            order: self.id,
            host,
            outcome,
            started: NOW,
            took_ms: 412,
            stdout: output(b""),
            stderr: output(b""),
            left_behind: 0,
        }
    }

    pub(super) fn signed(&self, by: &SecretKey<Executor>, record: ResultRecord) -> Report {
        let host = record.host;
        let record = Signed::sign(self.fleet, by, record);
        Report { order: self.id, host, record: Bytes::from(record.bytes()), stdout: None, stderr: None }
    }

    /// A whole, true report.
    pub(super) fn report(&self, member: &Member, outcome: Outcome, stdout: &[u8], stderr: &[u8]) -> Report {
        let mut record = self.record(member.id, outcome);
        (record.stdout, record.stderr) = (output(stdout), output(stderr));
        let mut report = self.signed(&member.executor, record);
        (report.stdout, report.stderr) = (Some(Bytes::from(stdout)), Some(Bytes::from(stderr)));
        report
    }

    pub(super) fn ok(&self, member: &Member, stdout: &str) -> Report {
        self.report(member, Outcome::Exited { code: 0 }, stdout.as_bytes(), b"")
    }
}

pub(super) fn output(bytes: &[u8]) -> Output {
    let length = bytes.len() as u64;
    Output { hash: *blake3::hash(bytes).as_bytes(), kept: length, produced: length }
}

pub(super) fn told(report: Report) -> Vec<Reply> {
    vec![Reply::Report { report }]
}

type Answers = dyn Fn(&Seen<'_>, &Member) -> Vec<Reply> + Send + Sync;
type Pieces = dyn Fn(HostId, StreamName) -> Box<dyn Iterator<Item = Vec<u8>> + Send> + Send + Sync;

#[derive(Default)]
pub(super) struct State {
    pub(super) orders: Vec<Signed<Order>>,
    asked: usize,
    /// The orders that were cancelled.
    pub(super) cancelled: Vec<EntryId>,
    /// How many orders it takes; any number if it is not said.
    pub(super) takes: Option<usize>,
    /// Who an expression is true for, whatever it is.
    pub(super) found: Vec<HostId>,
    /// Who is up.
    pub(super) up: Vec<HostId>,
    /// Whether the agent goes away once it has told what it knows of an order.
    pub(super) leaves: bool,
    /// Requests to read output whose signature and order hold.
    pub(super) reads: usize,
    /// Lists that it has.
    pub(super) lists: BTreeMap<ListId, Arc<MemberList>>,
    /// Whether nobody answers any more.
    pub(super) silent: bool,
    /// What was shipped.
    pub(super) shipped: BTreeMap<Blob, Vec<u8>>,
}

struct Agent {
    fleet: Arc<Fleet>,
    answers: Box<Answers>,
    pieces: Box<Pieces>,
    state: Arc<Mutex<State>>,
}

impl Handler for Agent {
    async fn answer(&self, request: Request, answer: &mut Answer<'_>) -> io::Result<()> {
        let fleet = &self.fleet;
        match request {
            Request::Hello { .. } => {
                let genesis = Bytes::from(fleet.chain.updates()[0].bytes());
                let host = fleet.members[0].id;
                answer
                    .send(&Reply::Hello {
                        version: CONTROL_VERSION,
                        agent: "test".to_owned(),
                        fleet: fleet.chain.fleet(),
                        genesis,
                        host,
                    })
                    .await
            }
            Request::Fleet { heads } => {
                let mut items = fleet.replica.all();
                items.retain(|item| heads || peek(&item.entry.0).unwrap().kind != Kind::Head as u16);
                let rest = items.split_off(items.len() / 2);
                answer.send(&Reply::Items { items, more: true }).await?;
                answer.send(&Reply::Items { items: rest, more: false }).await
            }
            Request::Orders {} => {
                let items = {
                    let state = self.state.lock().unwrap();
                    state.orders.iter().map(|order| Item::bare(order.bytes())).collect()
                };
                answer.send(&Reply::Items { items, more: false }).await
            }
            Request::Submit { items } => {
                let taken = items.into_iter().all(|item| {
                    let mut state = self.state.lock().unwrap();
                    match Entry::verify(&item.entry.0, fleet.chain.fleet()).unwrap() {
                        Entry::Order(_) if state.takes == Some(state.orders.len()) => return false,
                        Entry::Order(order) => state.orders.push(order),
                        Entry::Cancellation(cancellation) => {
                            assert!(state.orders.iter().any(|order| order.id() == cancellation.body().order));
                            state.cancelled.push(cancellation.body().order);
                        }
                        other => panic!("{other:?}"),
                    }
                    true
                });
                let why = "no more in this test".to_owned();
                let reply = if taken { Reply::Accepted {} } else { Reply::Error { why, refused: false } };
                answer.send(&reply).await
            }
            Request::Watch { order, follow } => {
                let replies: Vec<Reply> = {
                    let mut state = self.state.lock().unwrap();
                    state.asked += 1;
                    let signed = state.orders.iter().find(|signed| signed.id() == order);
                    let seen = signed.map(|signed| Seen {
                        fleet: fleet.chain.fleet(),
                        id: order,
                        order: signed.body(),
                        asked: state.asked,
                        cancelled: state.cancelled.contains(&order),
                    });
                    let list = |seen: &Seen<'_>| {
                        seen.order.roster.list().and_then(|list| state.lists.get(&list).cloned())
                    };
                    let hosts = |seen: &Seen<'_>| {
                        let seats = Seats::of(&seen.order.roster, list(seen).as_deref()).map(|s| s.to_vec());
                        seats.unwrap_or_default()
                    };
                    seen.iter()
                        .filter(|_| !state.silent)
                        .flat_map(|seen| {
                            hosts(seen).into_iter().flat_map(|host| {
                                let member = fleet.members.iter().find(|member| member.id == host);
                                (self.answers)(seen, member.unwrap())
                            })
                        })
                        .collect()
                };
                for reply in replies {
                    answer.send(&reply).await?;
                }
                if self.state.lock().unwrap().leaves {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                if follow {
                    answer.hung_up().await;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                answer.send(&Reply::End {}).await
            }
            Request::Output { read, order, host, stream, from: None } => {
                let read = Signed::<ReadRequest>::verify(&read.0, fleet.chain.fleet()).unwrap();
                assert_eq!((read.body().order, read.signer()), (order, fleet.operator.public()));
                self.state.lock().unwrap().reads += 1;
                for piece in (self.pieces)(host, stream) {
                    answer.send(&Reply::Chunk { bytes: Bytes(piece) }).await?;
                }
                answer.send(&Reply::End {}).await
            }
            Request::List { list, ask } => {
                let reply = {
                    let mut state = self.state.lock().unwrap();
                    match ask {
                        ListAsk::Has {} if state.lists.contains_key(&list) => Reply::Accepted {},
                        ListAsk::Has {} => Reply::List { hosts: None },
                        ListAsk::Read {} => {
                            Reply::List { hosts: state.lists.get(&list).map(|list| list.bytes()) }
                        }
                        ListAsk::Keep { hosts } => {
                            let held = MemberList::read(&hosts.0).unwrap();
                            assert_eq!(held.id(), list);
                            state.lists.insert(list, Arc::new(held));
                            Reply::Accepted {}
                        }
                    }
                };
                answer.send(&reply).await
            }
            Request::Ship { blob, at, bytes } => {
                {
                    let mut state = self.state.lock().unwrap();
                    let shipped = state.shipped.entry(blob).or_default();
                    assert_eq!(shipped.len() as u64, at, "in order");
                    shipped.extend(bytes.0);
                }
                answer.send(&Reply::Accepted {}).await
            }
            Request::InventorySearch { .. } => {
                let about = |host: &HostId| HostRow {
                    host: *host,
                    state: "up".to_owned(),
                    seen: None,
                    since: None,
                    witnesses: None,
                };
                let found = self.state.lock().unwrap().found.clone();
                let row = |host: &HostId| FoundRow {
                    about: about(host),
                    name: "what the agent says".to_owned(),
                    values: Vec::new(),
                    changed: None,
                };
                let rows = found.iter().map(row).collect();
                answer
                    .send(&Reply::Found { paths: Vec::new(), rows, left_out: 0, cut: false, more: false })
                    .await
            }
            Request::Hosts {} => {
                let up = self.state.lock().unwrap().up.clone();
                let hosts = fleet.members.iter().map(|member| HostRow {
                    host: member.id,
                    state: if up.contains(&member.id) { "up" } else { "unknown" }.to_owned(),
                    seen: Some(NOW.before(Duration::from_secs(3 * 3600))),
                    since: None,
                    witnesses: None,
                });
                answer.send(&Reply::Hosts { hosts: hosts.collect() }).await
            }
            _ => answer.send(&Reply::Error { why: "not in this test".to_owned(), refused: false }).await,
        }
    }
}

/// The agent at work, and the operator's directory.
pub(super) struct Desk {
    pub(super) fleet: Arc<Fleet>,
    pub(super) home: OperatorHome,
    pub(super) socket: PathBuf,
    pub(super) state: Arc<Mutex<State>>,
    _tasks: JoinSet<io::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Desk {
    pub(super) fn new(
        fleet: Fleet,
        answers: impl Fn(&Seen<'_>, &Member) -> Vec<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::with_output(fleet, answers, |_, _| Box::new(std::iter::empty()))
    }

    pub(super) fn with_output(
        fleet: Fleet,
        answers: impl Fn(&Seen<'_>, &Member) -> Vec<Reply> + Send + Sync + 'static,
        pieces: impl Fn(HostId, StreamName) -> Box<dyn Iterator<Item = Vec<u8>> + Send> + Send + Sync + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = OperatorHome::create(&dir.path().join("operator"), &fleet.operator, &fleet.chain).unwrap();
        assert_eq!(home.certificate, fleet.certificate);
        let socket = dir.path().join("agent.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (fleet, state) = (Arc::new(fleet), Arc::<Mutex<State>>::default());
        let agent = Agent {
            fleet: Arc::clone(&fleet),
            answers: Box::new(answers),
            pieces: Box::new(pieces),
            state: Arc::clone(&state),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(agent), CancellationToken::new()));
        Self { fleet, home, socket, state, _tasks: tasks, _dir: dir }
    }

    pub(super) async fn run(&self, request: &RunRequest) -> Ran {
        self.run_as(request, Format::Table, Person::default()).await
    }

    pub(super) async fn run_as(&self, request: &RunRequest, format: Format, mut person: Person) -> Ran {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let interrupts_of = std::mem::take(&mut person.interrupts);
        let mut streams = Streams::new(&mut out, &mut err, format);
        streams.out_terminal = person.at_terminal;
        streams.err_terminal = person.at_terminal;
        streams.in_terminal = person.at_terminal;
        streams.out_style = Style { color: person.color };
        (streams.columns, streams.err_columns) = (person.columns, person.columns);
        let mut asked = Vec::new();
        let mut ask = |question: Question, _: &str| {
            asked.push(question);
            Ok(person.agrees)
        };
        let mut listen = || interrupts(&interrupts_of);
        let mut world = World { clock: &|| NOW, nonce: [9; 16], ask: &mut ask, listen: &mut listen };
        let code = run(request, &self.home, &self.socket, &mut streams, &mut world).await;
        Ran { code, out, err: String::from_utf8(err).unwrap(), asked }
    }

    pub(super) fn submitted(&self) -> usize {
        self.state.lock().unwrap().orders.len()
    }
}

/// These, and then none for ever.
pub(super) fn interrupts(interrupts: &[Interrupt]) -> Interrupts {
    stream::iter(interrupts.to_vec()).chain(stream::pending()).boxed()
}

#[derive(Default)]
pub(super) struct Person {
    pub(super) at_terminal: bool,
    pub(super) agrees: bool,
    pub(super) interrupts: Vec<Interrupt>,
    pub(super) color: bool,
    pub(super) columns: Option<usize>,
}

pub(super) struct Ran {
    pub(super) code: Result<u8, RunError>,
    pub(super) out: Vec<u8>,
    pub(super) err: String,
    pub(super) asked: Vec<Question>,
}

impl Ran {
    pub(super) fn code(&self) -> u8 {
        match &self.code {
            Ok(code) => *code,
            Err(error) => panic!("{error} after {}", self.err),
        }
    }
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }
    pub(super) fn error(&self) -> &RunError {
        self.code.as_ref().unwrap_err()
    }
}

pub(super) fn all() -> RunRequest {
    request(Targets::everyone())
}

pub(super) fn on(host: &str) -> RunRequest {
    request(Targets { hosts: vec![host.to_owned()], ..Targets::default() })
}

pub(super) fn request(target: Targets) -> RunRequest {
    let mut request = RunRequest::new(target, vec![b"uname".to_vec(), b"-r".to_vec()]);
    request.wait = LONG;
    request
}

/// Takes bytes, counts them and keeps none.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) bytes: usize,
    pub(super) longest: usize,
    pub(super) hasher: blake3::Hasher,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        self.longest = self.longest.max(bytes.len());
        self.hasher.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
