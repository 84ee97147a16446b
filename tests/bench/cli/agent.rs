//! A fleet of signed entries, and a thread that answers for its agent.

use std::{io, os::unix::net::UnixListener, path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use muster::{
    authority::{
        ANY, Authority, Certificate, Enrolled, Enrolment, Genesis, HostCertificate, HostKeys, Invitation,
        RootChain, RootChange, Verb,
    },
    control::{Answer, CONTROL_VERSION, Handler, Reply, Request, StatusReport, serve},
    identity::{Cosigned, HostId, Operator, Purpose, Root, SealPublic, SecretKey, Signed, Stream, Token},
    journal::OperatorHome,
    replica::{Entry, FACET_NODE, FacetHash, FacetRef, Head, Item, NodeFacet, Packed, Replica},
    services::hosts::listing,
    time::{Hlc, Timestamp},
    wire::{self, Bytes},
};
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(86_400);
/// Bytes of entries in one reply, as the agent's.
const ITEMS_BYTES_MAX: usize = 256 * 1024;

fn key<P: Purpose>(number: usize) -> SecretKey<P> {
    SecretKey::from_seed(blake3::hash(format!("{} {number}", P::NAME).as_bytes()).as_bytes())
}

struct Answers {
    replica: Replica,
    genesis: Bytes,
    me: HostId,
}

impl Handler for Answers {
    async fn answer(&self, request: Request, answer: &mut Answer<'_>) -> io::Result<()> {
        let replica = &self.replica;
        let reply = match request {
            Request::Hello { .. } => Reply::Hello {
                version: CONTROL_VERSION,
                agent: env!("CARGO_PKG_VERSION").to_owned(),
                fleet: replica.fleet(),
                genesis: self.genesis.clone(),
                host: self.me,
            },
            Request::HostLines {} => {
                for reply in listing::replies(listing::lines(replica, Vec::new())) {
                    answer.send(&reply).await?;
                }
                return Ok(());
            }
            Request::Fleet { heads } => {
                let mut items = replica.fleet_items(heads).into_iter().peekable();
                while items.peek().is_some() {
                    let (mut batch, mut bytes) = (Vec::new(), 0);
                    while let Some(item) =
                        items.next_if(|item| batch.is_empty() || bytes + item.weight() <= ITEMS_BYTES_MAX)
                    {
                        bytes += item.weight();
                        batch.push(item);
                    }
                    let more = items.peek().is_some();
                    answer.send(&Reply::Items { items: batch, more }).await?;
                }
                return Ok(());
            }
            Request::Words { kind, start, limit } => {
                Reply::Words { words: listing::words(replica, &kind, &start, limit) }
            }
            Request::Hosts {} => Reply::Hosts { hosts: Vec::new() },
            Request::Peers {} => Reply::Peers { peers: Vec::new() },
            Request::Status {} => Reply::Status { status: StatusReport::default() },
            other => Reply::Error { why: format!("not here: {other:?}"), refused: false },
        };
        answer.send(&reply).await
    }
}

/// Answers until it is dropped.
pub(crate) struct Agent {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Makes a fleet of so many hosts, an operator of it in `dir`, and a socket there.
    pub(crate) fn start(dir: &Path, hosts: usize) -> Self {
        let answers = made(dir, hosts);
        let listener = UnixListener::bind(dir.join("agent.sock")).unwrap();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, Arc::new(answers), until)).unwrap();
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn made(dir: &Path, hosts: usize) -> Answers {
    let millis = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = Timestamp(u64::try_from(millis).unwrap());
    let (root, operator) = (key::<Root>(0), key::<Operator>(0));
    let genesis = Genesis {
        name: "bench".to_owned(),
        roots: vec![root.public()],
        threshold: 1,
        founded: now.before(DAY),
        nonce: [7; 16],
        recovery: None,
    };
    let mut chain = RootChain::found(genesis, &[&root]).unwrap();
    let certificate = Certificate {
        person: "ana".to_owned(),
        key: operator.public().into(),
        verbs: Verb::ALL.to_vec(),
        scope: "all".to_owned(),
        tags: vec![(ANY.to_owned(), ANY.to_owned())],
        run_as: vec![ANY.to_owned()],
        hosts_max: None,
        not_before: now.before(DAY),
        not_after: now.after(DAY * 30),
        approvals: 0,
    };
    let update = Cosigned::sign(chain.fleet(), &[&root], chain.next(RootChange::Certify(certificate)));
    chain.absorb(update.bytes()).unwrap();
    let certificate = update.id();
    OperatorHome::create(&dir.join("operators/bench"), &operator, &chain).unwrap();
    let fleet = chain.fleet();
    let genesis = Bytes::from(chain.updates()[0].bytes());
    let mut replica = Replica::new(Authority::new(chain));
    let mut me = None;
    let tags = vec![("role".to_owned(), "web".to_owned()), ("env".to_owned(), "prod".to_owned())];
    let token = key::<Token>(0);
    let invitation = Invitation {
        approve: false,
        certificate,
        token: token.public(),
        tags: tags.clone(),
        uses: 100_000,
        issued: now.before(DAY),
        expires: now.after(DAY),
    };
    let invitation = Signed::sign(fleet, &operator, invitation);
    let merge = |replica: &mut Replica, item: &Item| {
        let entry = Entry::verify(&item.entry.0, fleet).unwrap();
        replica.merge(entry, &item.facets).unwrap();
    };
    merge(&mut replica, &Item::bare(invitation.bytes()));
    for number in 0..hosts {
        let stream = key::<Stream>(number);
        let keys = HostKeys {
            stream: stream.public(),
            transport: key::<muster::identity::Transport>(number).public(),
            executor: key::<muster::identity::Executor>(number).public(),
            seal: SealPublic([9; 32]),
        };
        let enrolment = Enrolment { name: format!("m{number:05}"), tags: tags.clone(), keys, at: now };
        let certificate = HostCertificate {
            invitation: Bytes::from(invitation.bytes()),
            enrolment: Bytes::from(Signed::sign(fleet, &token, enrolment).bytes()),
        };
        let certificate = Signed::sign(fleet, &stream, certificate);
        me.get_or_insert(Enrolled::verify(certificate.bytes(), fleet).unwrap().host());
        merge(&mut replica, &Item::bare(certificate.bytes()));
        let node = NodeFacet {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            addresses: vec![format!("10.{}.{}.{}:7946", number >> 16, number >> 8 & 255, number & 255)],
        };
        let facet = wire::encode(&node);
        let facets = vec![FacetRef {
            name: FACET_NODE.to_owned(),
            hash: FacetHash::of(&facet),
            bytes: u32::try_from(facet.len()).unwrap(),
            at: None,
        }];
        let head =
            Head { epoch: 1, sequence: 1, previous: None, at: Hlc::default().next(now), facets, audit: None };
        let head = Signed::sign(fleet, &stream, head);
        merge(&mut replica, &Item { entry: Bytes::from(head.bytes()), facets: vec![Packed::alone(&facet)] });
    }
    Answers { replica, genesis, me: me.unwrap() }
}
