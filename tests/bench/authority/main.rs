//! What it costs to fold the authority of a large fleet, over entries whose signatures were checked:
//! `cargo bench --bench authority`. Without optimisation (`--profile dev`) it only shows that it runs.
//!
//! 10,000 hosts by 100 operators, each of whom invited 100 hosts and tagged each of them once, and 1,000 suspensions of
//! persons, hosts and tokens. From scratch is everything from the root chain on; a change is one more suspension,
//! which leaves what its cut names, as the command line makes them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a bench: what fails ends it, and figures are for people"
)]

use std::time::{Duration, Instant};

use muster::{
    authority::{
        ANY, Authority, Certificate, Cut, Enrolled, Enrolment, Genesis, HostCertificate, HostKeys,
        Invitation, Op, OpAction, RootChain, RootChange, Suspension, TagChange, Verb, Whom, half,
    },
    identity::{
        Cosigned, EntryId, Executor, HostId, Operator, Root, SealPublic, SecretKey, Signed, Stream, StreamId,
        Token, Transport, WriterId,
    },
    time::{Hlc, Timestamp},
    wire::Bytes,
};

const HOSTS: usize = 10_000;
const OPERATORS: usize = 100;
const SUSPENSIONS: usize = 1_000;
const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// From scratch, and one change, at most.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1));

fn seed(kind: u8, number: usize) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    seed
}

struct Objects {
    chain: RootChain,
    hosts: Vec<Enrolled>,
    ops: Vec<Signed<Op>>,
    suspensions: Vec<Signed<Suspension>>,
    more: Vec<Signed<Suspension>>,
}

fn certificate(number: usize, key: &SecretKey<Operator>) -> Certificate {
    Certificate {
        person: format!("person-{number}"),
        key: key.public().into(),
        verbs: Verb::ALL.to_vec(),
        scope: "all".to_owned(),
        tags: vec![(ANY.to_owned(), ANY.to_owned())],
        run_as: vec![ANY.to_owned()],
        hosts_max: None,
        not_before: Timestamp(0),
        not_after: Timestamp(u64::MAX),
        approvals: 0,
    }
}

fn make() -> Objects {
    let root = SecretKey::<Root>::from_seed(&seed(1, 0));
    let genesis = Genesis {
        name: "acme".to_owned(),
        roots: vec![root.public()],
        threshold: 1,
        founded: Timestamp(0),
        nonce: [1; 16],
    };
    let mut chain = RootChain::found(genesis, &[&root]).unwrap();
    let keys: Vec<SecretKey<Operator>> =
        (0..OPERATORS).map(|number| SecretKey::from_seed(&seed(2, number))).collect();
    let mut under: Vec<EntryId> = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let change = RootChange::Certify(certificate(number, key));
        let update = Cosigned::sign(chain.fleet(), &[&root], chain.next(change));
        chain.absorb(update.bytes()).unwrap();
        under.push(update.id());
    }
    let fleet = chain.fleet();
    let invitations: Vec<Signed<Invitation>> = keys
        .iter()
        .enumerate()
        .map(|(number, key)| {
            let body = Invitation {
                approve: false,
                certificate: under[number],
                token: SecretKey::<Token>::from_seed(&seed(3, number)).public(),
                tags: vec![("role".to_owned(), "web".to_owned())],
                uses: u32::MAX,
                issued: NOW,
                expires: NOW.after(Duration::from_secs(3600)),
            };
            Signed::sign(fleet, key, body)
        })
        .collect();
    let writer = WriterId([7; 16]);
    let mut last: Vec<Option<(u64, EntryId)>> = vec![None; OPERATORS];
    let (mut hosts, mut ops) = (Vec::new(), Vec::new());
    for number in 0..HOSTS {
        let by = number % OPERATORS;
        let stream = SecretKey::<Stream>::from_seed(&seed(4, number));
        let enrolment = Enrolment {
            name: format!("host-{number}"),
            tags: vec![("role".to_owned(), "web".to_owned())],
            keys: HostKeys {
                stream: stream.public(),
                transport: SecretKey::<Transport>::from_seed(&seed(5, number)).public(),
                executor: SecretKey::<Executor>::from_seed(&seed(6, number)).public(),
                seal: SealPublic([9; 32]),
            },
            at: NOW,
        };
        let token = SecretKey::<Token>::from_seed(&seed(3, by));
        let body = HostCertificate {
            invitation: Bytes::from(invitations[by].bytes()),
            enrolment: Bytes::from(Signed::sign(fleet, &token, enrolment).bytes()),
        };
        let certificate = Signed::sign(fleet, &stream, body);
        hosts.push(Enrolled::verify(certificate.bytes(), fleet).unwrap());
        let op = Op {
            writer,
            sequence: last[by].map_or(0, |(sequence, _)| sequence + 1),
            previous: last[by].map(|(_, id)| id),
            at: Hlc(NOW.0 << 16),
            certificate: under[by],
            supersedes: Vec::new(),
            action: OpAction::Tag {
                host: HostId::of(&stream.public()),
                changes: vec![TagChange { key: "env".to_owned(), value: Some("prod".to_owned()) }],
            },
        };
        let op = Signed::sign(fleet, &keys[by], op);
        last[by] = Some((op.body().sequence, op.id()));
        ops.push(op);
    }
    let suspend = |by: usize, whom: Whom, at: u64| {
        let of = match &whom {
            Whom::Person { name } => name.strip_prefix("person-").and_then(|number| number.parse().ok()),
            _ => None,
        };
        // What the command line makes: all that the suspended did so far stands.
        let cut = of.map_or_else(Cut::default, |of: usize| Cut {
            streams: vec![(StreamId::of_operator(&keys[of].public(), writer), last[of].unwrap().0)],
            alone: vec![half(&invitations[of].id())],
        });
        let (at, reason) = (Timestamp(NOW.0 + at), String::new());
        let body = Suspension { certificate: under[by], whom, at, effective: at, cut, reason };
        Signed::sign(fleet, &keys[by], body)
    };
    let suspensions = (0..SUSPENSIONS).map(|number| {
        let by = number % OPERATORS;
        let whom = match number % 10 {
            0 => Whom::Person { name: format!("person-{}", (number / 10) % 50) },
            _ => Whom::Host { id: hosts[number].host() },
        };
        suspend(by, whom, number as u64)
    });
    let suspensions: Vec<_> = suspensions.collect();
    // One more each: of persons of whom 100 hosts and 100 tags hang, and of hosts.
    let more = (50..100).flat_map(|number| {
        [
            suspend(0, Whom::Person { name: format!("person-{number}") }, 0),
            suspend(1, Whom::Host { id: hosts[5_000 + number].host() }, 0),
        ]
    });
    let more: Vec<_> = more.collect();
    Objects { chain, hosts, ops, suspensions, more }
}

fn main() {
    let objects = make();
    let mut best: Option<(Duration, Authority)> = None;
    for _ in 0..5 {
        let (hosts, suspensions) = (objects.hosts.clone(), objects.suspensions.clone());
        let chain = objects.chain.clone();
        let begun = Instant::now();
        let mut authority = Authority::new(chain);
        for suspension in suspensions {
            authority.absorb_suspension(suspension).unwrap();
        }
        for host in hosts {
            authority.absorb_host(host).unwrap();
        }
        for op in &objects.ops {
            authority.absorb_op(op).unwrap();
        }
        let took = begun.elapsed();
        if best.as_ref().is_none_or(|(least, _)| took < *least) {
            best = Some((took, authority));
        }
    }
    let (scratch, mut authority) = best.unwrap();
    let members = authority.members().count();
    println!("from scratch: {scratch:?} ({members} members of {HOSTS}; bound {:?})", BOUNDS.0);
    let mut changes: Vec<Duration> = Vec::new();
    for suspension in objects.more {
        let begun = Instant::now();
        assert!(authority.absorb_suspension(suspension).unwrap());
        changes.push(begun.elapsed());
    }
    changes.sort_unstable();
    let (middle, most) = (changes[changes.len() / 2], *changes.last().unwrap());
    println!("one change: p50 {middle:?}, most {most:?} (bound {:?})", BOUNDS.1);
    assert!(
        cfg!(debug_assertions) || scratch < BOUNDS.0 && most < BOUNDS.1,
        "slower than the figures of the issue"
    );
}
