//! The fold under attack: every refusal has a line, and no order of arrival matters.

use std::collections::BTreeSet;

use super::sample::{Fleet, HOUR_MS, NOW, certificate, hlc, host_id, key, later, pairs, tag};
use super::*;
use crate::{
    identity::{
        Cosigned, EntryId, Executor, FleetId, HostId, Kind, Operator, Payload, PublicKey, Root, SecretKey,
        Signed, Stream, Token, Transport, WriterId,
    },
    time::{SKEW_MAX, Timestamp},
    wire::{self, Value, Wire},
    wire_record,
};

/// Every order of the numbers below `n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    (0..n)
        .flat_map(|place| {
            shorter.iter().map(move |rest| {
                let mut all = rest.clone();
                all.insert(place, n - 1);
                all
            })
        })
        .collect()
}

/// A request as the layers above make them.
#[derive(Clone, Debug)]
struct Order {
    certificate: EntryId,
    issued: Timestamp,
    expires: Timestamp,
    selector: String,
    roster: Vec<HostId>,
    run_as: String,
}
wire_record!(Order closed { certificate, issued, expires, selector, roster, run_as });
impl Payload for Order {
    const KIND: Kind = Kind::Order;
    const BYTES_MAX: usize = 16 * 1024;
    type Signer = Operator;
}
impl Asks for Order {
    fn ask(&self) -> Ask<'_> {
        Ask {
            certificate: self.certificate,
            verb: Verb::Run,
            selector: &self.selector,
            roster: Meant::Named(&self.roster),
            run_as: Some(&self.run_as),
            issued: self.issued,
            expires: self.expires,
        }
    }
}

fn order(under: EntryId, hosts: &[u8], selector: &str) -> Order {
    let mut roster: Vec<_> = hosts.iter().map(|host| host_id(*host)).collect();
    roster.sort_unstable();
    Order {
        certificate: under,
        issued: NOW,
        expires: later(HOUR_MS),
        selector: selector.to_owned(),
        roster,
        run_as: AGENT_USER.to_owned(),
    }
}

fn with_host(
    change: impl FnOnce(&mut Certificate),
    tags: &[(&str, &str)],
) -> (Authority, Fleet, SecretKey<Operator>, EntryId) {
    let (inviter, operator) = (key::<Operator>(1), key::<Operator>(2));
    let mut limited = certificate("bo", &operator);
    change(&mut limited);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &inviter), limited]);
    let mut authority = fleet.authority();
    let invitation = fleet.invite(&inviter, ids[0], 1, tags, 9);
    assert!(authority.absorb_host(fleet.enrol(&invitation, 1, 1, tags)).unwrap());
    (authority, fleet, operator, ids[1])
}

fn verdict(
    authority: &Authority,
    fleet: &Fleet,
    by: &SecretKey<Operator>,
    order: Order,
    now: Timestamp,
) -> Result<(), Refusal> {
    let admitted = authority.admit(Signed::sign(fleet.id(), by, order))?;
    let host = authority.host(&host_id(1)).unwrap();
    authority.judge(&admitted, host.id(), None, host, &[], now).map(|_| ())
}

/// What is tried, the certificate, the order, the time, the verdict.
type Case = (&'static str, fn(&mut Certificate), fn(&mut Order), Timestamp, Result<(), Refusal>);

#[test]
fn an_order_is_acted_on_only_within_its_certificate() {
    let bo = || "bo".to_owned();
    let open: fn(&mut Certificate) = |_| {};
    let plain: fn(&mut Order) = |_| {};
    let cases: Vec<Case> = vec![
        ("all is well", open, plain, NOW, Ok(())),
        (
            "another certificate",
            open,
            |o| o.certificate = EntryId([5; 32]),
            NOW,
            Err(Refusal::UnknownCertificate),
        ),
        (
            "no verb",
            |c| c.verbs = vec![Verb::Session, Verb::Tag],
            plain,
            NOW,
            Err(Refusal::VerbNotGranted { person: bo(), verb: "run" }),
        ),
        (
            "approvals",
            |c| c.approvals = 1,
            plain,
            NOW,
            Err(Refusal::NeedsApproval { person: bo(), given: 0, needed: 1 }),
        ),
        (
            "another user",
            |c| c.run_as = vec!["web".into()],
            |o| o.run_as = "root".into(),
            NOW,
            Err(Refusal::RunAsNotGranted { person: bo(), user: "root".into() }),
        ),
        (
            "the agent's user, where only another is listed",
            |c| c.run_as = vec!["web".into()],
            plain,
            NOW,
            Err(Refusal::RunAsNotGranted { person: bo(), user: AGENT_USER.into() }),
        ),
        ("a listed user", |c| c.run_as = vec!["web".into()], |o| o.run_as = "web".into(), NOW, Ok(())),
        (
            "too many hosts",
            |c| c.hosts_max = Some(1),
            |o| {
                let mut hosts = vec![host_id(1), host_id(2)];
                hosts.sort_unstable();
                o.roster = hosts;
            },
            NOW,
            Err(Refusal::TooManyHosts { person: bo(), hosts: 2, limit: 1 }),
        ),
        ("as many hosts as allowed", |c| c.hosts_max = Some(1), plain, NOW, Ok(())),
        (
            "no hosts allowed",
            |c| c.hosts_max = Some(0),
            plain,
            NOW,
            Err(Refusal::TooManyHosts { person: bo(), hosts: 1, limit: 0 }),
        ),
        (
            "a host twice",
            open,
            |o| o.roster = vec![host_id(1), host_id(1)],
            NOW,
            Err(Refusal::Malformed("the roster is not in order")),
        ),
        ("not in the roster", open, |o| o.roster = vec![host_id(2)], NOW, Err(Refusal::NotInRoster)),
        ("an empty roster", open, |o| o.roster = vec![], NOW, Err(Refusal::NotInRoster)),
        (
            "a year",
            open,
            |o| o.expires = Timestamp(NOW.0 + 365 * 24 * HOUR_MS),
            NOW,
            Err(Refusal::ValidTooLong),
        ),
        ("30 days", open, |o| o.expires = Timestamp(NOW.0 + 30 * 24 * HOUR_MS), NOW, Ok(())),
        (
            "a millisecond over 30 days",
            open,
            |o| o.expires = Timestamp(NOW.0 + 30 * 24 * HOUR_MS + 1),
            NOW,
            Err(Refusal::ValidTooLong),
        ),
        ("it ends before it starts", open, |o| o.expires = NOW, NOW, Err(Refusal::ValidTooLong)),
        ("the end of time", open, |o| o.expires = Timestamp(u64::MAX), NOW, Err(Refusal::ValidTooLong)),
        (
            "issued before the certificate",
            |c| c.not_before = Timestamp(NOW.0 + 1),
            plain,
            NOW,
            Err(Refusal::CertificateExpired { person: bo() }),
        ),
        (
            "issued after the certificate",
            |c| c.not_after = Timestamp(NOW.0 - 1),
            plain,
            NOW,
            Err(Refusal::CertificateExpired { person: bo() }),
        ),
        (
            "the certificate ended since",
            |c| c.not_after = NOW,
            plain,
            later(1),
            Err(Refusal::CertificateExpired { person: bo() }),
        ),
        ("on its last moment", open, plain, later(HOUR_MS), Ok(())),
        ("past its expiry", open, plain, later(HOUR_MS + 1), Err(Refusal::Expired { at: later(HOUR_MS) })),
        ("within what clocks may differ", open, plain, NOW.before(SKEW_MAX), Ok(())),
        (
            "from the future",
            open,
            plain,
            Timestamp(NOW.before(SKEW_MAX).0 - 1),
            Err(Refusal::NotYet { issued: NOW }),
        ),
        ("clock of 1970", open, plain, Timestamp(0), Err(Refusal::NotYet { issued: NOW })),
        (
            "out of scope",
            |c| c.scope = "tag.role = db".into(),
            plain,
            NOW,
            Err(Refusal::OutOfScope { person: bo(), scope: "tag.role = db".into() }),
        ),
        ("in scope", |c| c.scope = "tag.role = web".into(), plain, NOW, Ok(())),
        (
            "a scope with a tag that the host has not",
            |c| c.scope = "tag.env != prod".into(),
            plain,
            NOW,
            Err(Refusal::OutOfScope { person: bo(), scope: "tag.env != prod".into() }),
        ),
        (
            "a scope over a fact",
            |c| c.scope = "missing fact.locked".into(),
            plain,
            NOW,
            Err(Refusal::OutOfScope { person: bo(), scope: "missing fact.locked".into() }),
        ),
        (
            "a scope that a name satisfies",
            |c| c.scope = "tag.role = web or name = host-1".into(),
            plain,
            NOW,
            Err(Refusal::OutOfScope { person: bo(), scope: "tag.role = web or name = host-1".into() }),
        ),
        (
            "a scope that cannot be read",
            |c| c.scope = String::new(),
            plain,
            NOW,
            Err(Refusal::OutOfScope { person: bo(), scope: String::new() }),
        ),
        (
            "not selected",
            open,
            |o| o.selector = "tag.role = db".into(),
            NOW,
            Err(Refusal::NotSelected { selector: "tag.role = db".into() }),
        ),
        (
            "selected by nobody",
            open,
            |o| o.selector = "none".into(),
            NOW,
            Err(Refusal::NotSelected { selector: "none".into() }),
        ),
        (
            "a fact cannot widen a tag",
            open,
            |o| o.selector = "tag.role = db and fact.os.id = db".into(),
            NOW,
            Err(Refusal::NotSelected { selector: "tag.role = db and fact.os.id = db".into() }),
        ),
        ("a fact is not for the judge", open, |o| o.selector = "fact.os.id = db".into(), NOW, Ok(())),
    ];
    for (what, change, ask, now, expected) in cases {
        let (authority, fleet, operator, under) = with_host(change, &[("role", "web")]);
        let mut wanted = order(under, &[1], "all");
        ask(&mut wanted);
        assert_eq!(verdict(&authority, &fleet, &operator, wanted, now), expected, "{what}");
    }
}

#[test]
fn a_selector_that_cannot_be_read_is_refused() {
    let (authority, fleet, operator, under) = with_host(|_| {}, &[]);
    for text in ["", "tag.role", "tag.role = web or", "(", &"a".repeat(5000)] {
        let refused = verdict(&authority, &fleet, &operator, order(under, &[1], text), NOW);
        assert!(matches!(refused, Err(Refusal::BadSelector(_))), "{text:?}: {refused:?}");
    }
}

#[test]
fn a_conflicting_tag_is_in_no_scope_and_selects_nothing() {
    let (mut authority, fleet, operator, under) = with_host(|c| c.scope = "tag.role = web".into(), &[]);
    let one = fleet.op(&operator, under, 1, None, &[], tag(1, "role", Some("web")));
    let other = fleet.op(&operator, under, 2, None, &[], tag(1, "role", Some("db")));
    assert!(authority.absorb_op(&one).unwrap());
    assert_eq!(verdict(&authority, &fleet, &operator, order(under, &[1], "all"), NOW), Ok(()));
    assert!(authority.absorb_op(&other).unwrap());
    let refused = verdict(&authority, &fleet, &operator, order(under, &[1], "all"), NOW).unwrap_err();
    assert!(matches!(refused, Refusal::OutOfScope { .. }));
}

#[test]
fn keys_of_other_purposes_sign_no_order() {
    let (authority, fleet, _, under) = with_host(|_| {}, &[]);
    let seeds: [(&str, [u8; 32]); 6] = [
        ("stream", *key::<Stream>(1).seed()),
        ("transport", *key::<Transport>(1).seed()),
        ("executor", *key::<Executor>(1).seed()),
        ("root", *key::<Root>(1).seed()),
        ("token", *key::<Token>(1).seed()),
        ("stranger", [77; 32]),
    ];
    for (what, seed) in seeds {
        let thief = SecretKey::<Operator>::from_seed(&seed);
        let refused = verdict(&authority, &fleet, &thief, order(under, &[1], "all"), NOW);
        assert_eq!(refused, Err(Refusal::NotTheHolder), "{what}");
        let op = fleet.op(&thief, under, 1, None, &[], tag(1, "role", Some("db")));
        assert_eq!(authority.recognise_op(&op), Err(Refusal::NotTheHolder), "{what}");
        assert_eq!(authority.keeps_op(&op), Err(Refusal::NotTheHolder), "{what}");
        // Not even an op that this version cannot read takes room.
        let op = fleet.op(&thief, under, 1, None, &[], OpAction::Unknown { tag: 9 });
        assert_eq!(authority.keeps_op(&op), Err(Refusal::NotTheHolder), "{what}");
        let invitation = fleet.invite(&thief, under, 1, &[], 1);
        assert_eq!(authority.keeps_invitation(&invitation), Err(Refusal::NotTheHolder), "{what}");
    }
}

#[test]
fn an_object_of_another_fleet_with_the_same_keys_is_refused() {
    let (_, fleet, operator, under) = with_host(|_| {}, &[]);
    let genesis = Genesis { nonce: [2; 16], ..fleet.chain.genesis().clone() };
    let other = RootChain::found(genesis, &[&fleet.root]).unwrap();
    assert_ne!(other.fleet(), fleet.id());
    let op = fleet.op(&operator, under, 1, None, &[], tag(1, "role", Some("db")));
    assert!(Signed::<Op>::verify(op.bytes(), other.fleet()).is_err());
    let update = fleet.chain.updates().last().unwrap().bytes().to_vec();
    let mut other = other;
    assert!(matches!(other.absorb(&update), Err(ChainError::Signed(_))));
    let genesis = fleet.chain.updates()[0].bytes().to_vec();
    assert!(matches!(RootChain::open(&genesis, other.fleet()), Err(ChainError::NotGenesis(_))));
    assert!(other.absorb(&genesis).is_err());
}

// ---- root chain

fn founded(roots: &[u8], threshold: u8, signed_by: &[u8]) -> Result<RootChain, ChainError> {
    let mut keys: Vec<_> = roots.iter().map(|n| key::<Root>(*n).public()).collect();
    keys.sort_unstable();
    let genesis =
        Genesis { name: "acme".into(), roots: keys, threshold, founded: NOW, nonce: [0; 16], recovery: None };
    let signers: Vec<_> = signed_by.iter().map(|n| key::<Root>(*n)).collect();
    RootChain::found(genesis, &signers.iter().collect::<Vec<_>>())
}

#[test]
fn a_genesis_must_be_able_to_govern() {
    assert!(founded(&[1, 2, 3], 2, &[1, 3]).is_ok());
    for (what, roots, threshold, signed_by) in [
        ("no roots", &[][..], 0, &[1][..]),
        ("threshold of zero", &[1], 0, &[1]),
        ("threshold too high", &[1, 2], 3, &[1, 2]),
        ("a root twice", &[1, 1], 1, &[1]),
        ("too few signatures", &[1, 2], 2, &[1]),
        ("signed by others", &[1, 2], 1, &[3]),
    ] {
        assert!(matches!(founded(roots, threshold, signed_by), Err(ChainError::BadGenesis(_))), "{what}");
    }
    let mut weak = [0; 32];
    weak[0] = 1;
    let mut roots = vec![PublicKey::from_bytes(weak), key::<Root>(1).public()];
    roots.sort_unstable();
    let genesis =
        Genesis { name: "acme".into(), roots, threshold: 1, founded: NOW, nonce: [0; 16], recovery: None };
    assert_eq!(
        RootChain::found(genesis, &[&key::<Root>(1)]).unwrap_err(),
        ChainError::BadGenesis("a root key is weak or no key")
    );
}

#[test]
fn what_too_few_roots_signed_is_not_kept_and_does_not_stand_in_the_way() {
    let mut chain = founded(&[1, 2, 3], 2, &[1, 2]).unwrap();
    let (a, b, stranger) = (key::<Root>(1), key::<Root>(2), key::<Root>(9));
    let next = chain.next(RootChange::Certify(certificate("ana", &key(1))));
    let sign = |keys: &[&SecretKey<Root>]| Cosigned::sign(chain.fleet(), keys, next.clone());
    let stripped = sign(&[&a]);
    let foreign = sign(&[&a, &stranger]);
    let whole = sign(&[&a, &b]);
    assert_eq!(stripped.id(), whole.id(), "an id leaves the signatures out");
    assert_eq!(chain.absorb(stripped.bytes()), Err(ChainError::TooFewRoots));
    assert_eq!(chain.absorb(foreign.bytes()), Err(ChainError::TooFewRoots));
    assert_eq!(chain.updates().len(), 1);
    assert_eq!(chain.absorb(whole.bytes()), Ok(true));
    assert_eq!(chain.certificates().count(), 1);
    assert_eq!(chain.absorb(stripped.bytes()), Ok(false), "it changes nothing afterwards either");
    assert_eq!(chain.certificates().count(), 1);
}

#[test]
fn every_order_of_arrival_gives_the_same_branch() {
    let fleet = Fleet::new();
    let genesis = fleet.chain.updates()[0].id();
    let certify = |parent, sequence, person: &str| {
        fleet.update(Some(parent), sequence, RootChange::Certify(certificate(person, &key(1))))
    };
    // Two branches of two, and a third update on one of them.
    let (a1, b1) = (certify(genesis, 1, "a1"), certify(genesis, 1, "b1"));
    let (a2, b2) = (certify(a1.id(), 2, "a2"), certify(b1.id(), 2, "b2"));
    let (a3, wrong) = (certify(a2.id(), 3, "a3"), certify(a1.id(), 7, "wrong place"));
    let updates = [&a1, &b1, &a2, &b2, &a3];
    let winner = if a1.id() < b1.id() { vec![&a1, &a2, &a3] } else { vec![&b1, &b2] };
    let expected: Vec<_> = winner.iter().map(|update| update.id()).collect();
    for order in permutations(updates.len()) {
        let mut authority = fleet.authority();
        // What comes before its parent is refused, and comes again.
        let mut taken = BTreeSet::new();
        while taken.len() < updates.len() {
            for at in &order {
                match authority.absorb_root(updates[*at].bytes()) {
                    Ok(new) => assert_eq!(new, taken.insert(*at), "a repeat is nothing new"),
                    Err(error) => assert_eq!(error, ChainError::Gap),
                }
            }
        }
        assert!(matches!(authority.absorb_root(wrong.bytes()), Err(ChainError::BadChange(_))));
        let certificates: Vec<_> = authority.chain().certificates().map(|(id, _)| id).collect();
        assert_eq!(certificates, expected, "{order:?}");
        assert_eq!(authority.certificates().count(), expected.len());
        assert_eq!(authority.chain().forks(), 1);
    }
}

/// A body that some newer version made.
struct Raw(Value);
impl Wire for Raw {
    fn to_value(&self) -> Value {
        self.0.clone()
    }
    fn from_value(value: Value, _: &'static str) -> Result<Self, wire::WireError> {
        Ok(Self(value))
    }
}
impl Payload for Raw {
    const KIND: Kind = Kind::Root;
    const BYTES_MAX: usize = 64 * 1024;
    type Signer = Root;
}

/// A root update as some newer version would sign it.
fn update_with_change(fleet: &Fleet, parent: EntryId, sequence: u32, change: Value) -> Vec<u8> {
    let body = Value::Array(vec![Value::from(sequence), parent.to_value(), change]);
    Cosigned::sign(fleet.id(), &[&fleet.root], Raw(body)).bytes().to_vec()
}

#[test]
fn what_a_newer_version_says_stops_the_chain_and_is_kept() {
    let fleet = Fleet::new();
    let genesis = fleet.chain.updates()[0].id();
    let known = certificate("ana", &key(1)).to_value();
    let longer = |value: &Value, more: Value| {
        let mut items = value.as_array().unwrap().clone();
        items.push(more);
        Value::Array(items)
    };
    let mut strange_verb = known.as_array().unwrap().clone();
    strange_verb[2] = Value::Array(vec![Value::from(0), Value::from(99)]);
    let one = Value::from(1);
    for (what, change) in [
        ("an unknown kind", Value::Array(vec![Value::from(9), Value::from("x")])),
        (
            "an unknown field in a certificate",
            Value::Array(vec![one.clone(), longer(&known, Value::Bool(true))]),
        ),
        ("an unknown verb", Value::Array(vec![one.clone(), Value::Array(strange_verb)])),
        ("a field behind the certificate", Value::Array(vec![one, known.clone(), Value::Bool(true)])),
    ] {
        let bytes = update_with_change(&fleet, genesis, 1, change);
        let mut authority = fleet.authority();
        assert!(authority.absorb_root(&bytes).unwrap(), "{what}");
        let stopped = authority.chain().stopped_at().expect(what);
        let behind = fleet.update(Some(stopped), 2, RootChange::Certify(certificate("bo", &key(2))));
        assert!(authority.absorb_root(behind.bytes()).unwrap());
        assert_eq!(authority.certificates().count(), 0, "{what}");
        assert_eq!(authority.chain().updates()[1].bytes(), bytes, "{what}: kept as it came");
    }
    // A certificate that lacks a field is no newer one.
    let mut short = known.as_array().unwrap().clone();
    short.pop();
    let bytes =
        update_with_change(&fleet, genesis, 1, Value::Array(vec![Value::from(1), Value::Array(short)]));
    assert!(fleet.authority().absorb_root(&bytes).is_err());
}

#[test]
fn a_second_genesis_on_the_chain_changes_nothing() {
    let (mut authority, fleet, operator, under) = with_host(|_| {}, &[]);
    let second = fleet.chain.genesis().clone();
    let parent = authority.chain().updates().last().unwrap().id();
    let update = fleet.update(Some(parent), 3, RootChange::Found(second));
    assert!(authority.absorb_root(update.bytes()).unwrap());
    assert_eq!(authority.chain().stopped_at(), Some(update.id()));
    assert_eq!(verdict(&authority, &fleet, &operator, order(under, &[1], "all"), NOW), Ok(()));
}

#[test]
fn a_lost_branch_takes_what_it_allowed_with_it_whatever_came_first() {
    let fleet = Fleet::new();
    let genesis = fleet.chain.updates()[0].id();
    let certify =
        |n: u8| fleet.update(Some(genesis), 1, RootChange::Certify(certificate("ana", &key::<Operator>(n))));
    let (one, two) = (certify(1), certify(2));
    let (loser, by, winner) = if one.id() < two.id() { (two, key(2), one) } else { (one, key(1), two) };
    let invitation = fleet.invite(&by, loser.id(), 1, &[("role", "web")], 1);
    let host = fleet.enrol(&invitation, 1, 1, &[("role", "web")]);
    let op = fleet.op(&by, loser.id(), 1, None, &[], tag(1, "env", Some("prod")));

    let mut early = fleet.authority();
    early.absorb_root(loser.bytes()).unwrap();
    early.absorb_host(host.clone()).unwrap();
    early.absorb_op(&op).unwrap();
    assert_eq!(early.host(&host_id(1)).unwrap().standing(), Standing::Member);
    assert_eq!(early.host(&host_id(1)).unwrap().tags().len(), 2);
    early.absorb_root(winner.bytes()).unwrap();

    let mut late = fleet.authority();
    late.absorb_root(winner.bytes()).unwrap();
    assert_eq!(late.absorb_host(host.clone()).unwrap_err(), Refusal::UnknownCertificate);
    late.absorb_root(loser.bytes()).unwrap();
    late.absorb_host(host).unwrap();
    late.absorb_op(&op).unwrap();

    for authority in [&early, &late] {
        let host = authority.host(&host_id(1)).unwrap();
        assert_eq!(host.standing(), Standing::Disowned);
        assert!(!host.tags().contains_key("env"));
        assert_eq!(authority.members().count(), 0);
        assert_eq!(authority.recognise_op(&op), Err(Refusal::UnknownCertificate));
        let signed = Signed::sign(fleet.id(), &by, order(loser.id(), &[1], "all"));
        assert_eq!(authority.admit(signed).unwrap_err(), Refusal::UnknownCertificate);
    }
}

// ---- hosts

type Join = fn(&mut Enrolment);

#[test]
fn an_enrolment_is_refused_beyond_its_invitation() {
    let operator = key::<Operator>(1);
    let mut mixed = certificate("ana", &operator);
    mixed.tags = pairs(&[("role", "web"), ("env", "*")]);
    let (fleet, ids) = Fleet::with(&[mixed]);
    let tags = [("role", "web"), ("env", "test")];
    let invitation = fleet.invite(&operator, ids[0], 1, &tags, 9);
    let weak = {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    };
    let cases: Vec<(&str, Join, Option<Refusal>)> = vec![
        ("as invited", |_| {}, None),
        ("with fewer tags", |e| e.tags = pairs(&[("env", "test")]), None),
        (
            "a tag more",
            |e| e.tags.push(("zone".into(), "a".into())),
            Some(Refusal::TagNotGranted { tag: "zone=a".into() }),
        ),
        (
            "another value",
            |e| e.tags = pairs(&[("role", "db")]),
            Some(Refusal::TagNotGranted { tag: "role=db".into() }),
        ),
        (
            "a tag twice",
            |e| e.tags = pairs(&[("role", "web"), ("role", "web")]),
            Some(Refusal::TagNotGranted { tag: "role=web".into() }),
        ),
        (
            "too many tags",
            |e| e.tags = vec![("role".into(), "web".into()); 65],
            Some(Refusal::TooMany { what: "tags", limit: 64 }),
        ),
        ("a bad name", |e| e.name = "Web\u{1b}[2J".into(), Some(Refusal::BadName)),
        ("no name", |e| e.name = String::new(), Some(Refusal::BadName)),
        ("too late", |e| e.at = later(HOUR_MS + 1), Some(Refusal::TokenExpired)),
    ];
    for (what, change, expected) in cases {
        let mut enrolment = Fleet::enrolment(1, &tags);
        change(&mut enrolment);
        let bytes = fleet.host_certificate(&invitation, &key(1), &key(1), enrolment);
        let enrolled = Enrolled::verify(bytes.bytes(), fleet.id()).unwrap();
        let mut authority = fleet.authority();
        assert_eq!(authority.absorb_host(enrolled).err(), expected, "{what}");
        assert_eq!(authority.hosts().count(), usize::from(expected.is_none()), "{what}");
    }
    for what in ["transport", "executor"] {
        let mut enrolment = Fleet::enrolment(1, &tags);
        match what {
            "transport" => enrolment.keys.transport = PublicKey::from_bytes(weak),
            _ => enrolment.keys.executor = PublicKey::from_bytes(weak),
        }
        let bytes = fleet.host_certificate(&invitation, &key(1), &key(1), enrolment);
        let enrolled = Enrolled::verify(bytes.bytes(), fleet.id()).unwrap();
        assert_eq!(fleet.authority().absorb_host(enrolled).unwrap_err(), Refusal::WeakKey, "{what}");
    }
    // The links between the three signatures.
    let enrolment = || Fleet::enrolment(1, &tags);
    let other_token = fleet.host_certificate(&invitation, &key(2), &key(1), enrolment());
    assert!(Enrolled::verify(other_token.bytes(), fleet.id()).is_err(), "another token's key");
    let other_stream = fleet.host_certificate(&invitation, &key(1), &key(2), enrolment());
    assert!(Enrolled::verify(other_stream.bytes(), fleet.id()).is_err(), "another host's stream key");
}

type Grant = fn(&mut Certificate);
type Limit = fn(&mut Invitation);

#[test]
fn an_invitation_is_refused_beyond_its_certificate() {
    let operator = key::<Operator>(1);
    let ana = || "ana".to_owned();
    let cases: Vec<(&str, Grant, Limit, Option<Refusal>)> = vec![
        ("as granted", |_| {}, |_| {}, None),
        (
            "no verb",
            |c| c.verbs = vec![Verb::Tag, Verb::Run],
            |_| {},
            Some(Refusal::VerbNotGranted { person: ana(), verb: "invite" }),
        ),
        (
            "needs approvals",
            |c| c.approvals = 1,
            |_| {},
            Some(Refusal::VerbNotGranted { person: ana(), verb: "invite" }),
        ),
        (
            "another tag",
            |c| c.tags = pairs(&[("role", "web")]),
            |i| i.tags = pairs(&[("role", "db")]),
            Some(Refusal::TagNotGranted { tag: "role=db".into() }),
        ),
        (
            "no tag at all",
            |_| {},
            |i| i.tags = pairs(&[("Role", "db")]),
            Some(Refusal::TagNotGranted { tag: "Role=db".into() }),
        ),
        ("too long", |_| {}, |i| i.expires = later(31 * 24 * HOUR_MS), Some(Refusal::ValidTooLong)),
        (
            "outside the certificate's time",
            |_| {},
            |i| i.issued = Timestamp(0),
            Some(Refusal::CertificateExpired { person: ana() }),
        ),
        (
            "unknown certificate",
            |_| {},
            |i| i.certificate = EntryId([3; 32]),
            Some(Refusal::UnknownCertificate),
        ),
    ];
    for (what, grant, change, expected) in cases {
        let mut granted = certificate("ana", &operator);
        grant(&mut granted);
        let (fleet, ids) = Fleet::with(&[granted]);
        let mut body = fleet.invite(&operator, ids[0], 1, &[("role", "web")], 1).body().clone();
        change(&mut body);
        let invitation = Signed::sign(fleet.id(), &operator, body);
        assert_eq!(fleet.authority().recognise_invitation(&invitation).err(), expected, "{what}");
        assert_eq!(fleet.authority().keeps_invitation(&invitation).err(), expected, "{what}");
    }
}

#[test]
fn an_over_used_token_quarantines_all_its_redeemers_whatever_the_order() {
    let operator = key::<Operator>(1);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &operator)]);
    let stolen = fleet.invite(&operator, ids[0], 1, &[], 2);
    let other = fleet.invite(&operator, ids[0], 2, &[], 1);
    let hosts = [
        fleet.enrol(&stolen, 1, 1, &[]),
        fleet.enrol(&stolen, 1, 2, &[]),
        fleet.enrol(&stolen, 1, 3, &[]),
        fleet.enrol(&other, 2, 4, &[]),
    ];
    for order in permutations(hosts.len()) {
        let mut authority = fleet.authority();
        for at in order {
            assert!(authority.absorb_host(hosts[at].clone()).unwrap());
            assert!(!authority.absorb_host(hosts[at].clone()).unwrap(), "a repeat is no further use");
        }
        assert_eq!(authority.redeemed(&stolen.id()), 3);
        for n in 1..=3 {
            assert_eq!(authority.host(&host_id(n)).unwrap().standing(), Standing::Quarantined, "{n}");
        }
        assert_eq!(authority.host(&host_id(4)).unwrap().standing(), Standing::Member);
    }
}

#[test]
fn of_two_certificates_of_one_host_the_same_stands_everywhere() {
    let operator = key::<Operator>(1);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &operator)]);
    let invitation = fleet.invite(&operator, ids[0], 1, &[("role", "web")], 1);
    let second = fleet.invite(&operator, ids[0], 2, &[("role", "db")], 1);
    let renamed = Enrolment {
        name: "other".into(),
        keys: HostKeys { transport: key(50).public(), ..Fleet::keys(1) },
        ..Fleet::enrolment(1, &[("role", "web")])
    };
    let renamed = fleet.host_certificate(&invitation, &key(1), &key(1), renamed);
    let certificates = [
        fleet.enrol(&invitation, 1, 1, &[("role", "web")]),
        Enrolled::verify(renamed.bytes(), fleet.id()).unwrap(),
        fleet.enrol(&second, 2, 1, &[("role", "db")]),
    ];
    let lowest = certificates.iter().min_by_key(|enrolled| enrolled.certificate().id()).unwrap();
    for order in permutations(certificates.len()) {
        let mut authority = fleet.authority();
        for at in order {
            authority.absorb_host(certificates[at].clone()).unwrap();
        }
        let host = authority.host(&host_id(1)).unwrap();
        assert_eq!(host.enrolled().certificate().id(), lowest.certificate().id());
        assert_eq!(host.standing(), Standing::Member);
        let transport = lowest.enrolment().keys.transport;
        assert_eq!(authority.host_by_transport(&transport).map(Host::id), Some(host_id(1)));
        let others = certificates.iter().map(|other| other.enrolment().keys.transport);
        for other in others.filter(|other| *other != transport) {
            assert!(authority.host_by_transport(&other).is_none());
        }
        let redeemed = authority.redeemed(&invitation.id()) + authority.redeemed(&second.id());
        assert_eq!(redeemed, 1);
    }
}

#[test]
fn a_host_that_left_does_not_take_another_ones_transport_key_with_it() {
    let operator = key::<Operator>(1);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &operator)]);
    let invitation = fleet.invite(&operator, ids[0], 1, &[], 9);
    let (victim, thief) = if host_id(1) < host_id(2) { (2, 1) } else { (1, 2) };
    let mut authority = fleet.authority();
    authority.absorb_host(fleet.enrol(&invitation, 1, victim, &[])).unwrap();
    let mut copied = Fleet::enrolment(thief, &[]);
    copied.keys.transport = key(victim).public();
    let copied = fleet.host_certificate(&invitation, &key(1), &key(thief), copied);
    authority.absorb_host(Enrolled::verify(copied.bytes(), fleet.id()).unwrap()).unwrap();
    authority.absorb_departure(fleet.departure(thief, NOW)).unwrap();
    let found = authority.host_by_transport(&key(victim).public()).unwrap();
    assert_eq!((found.id(), found.standing()), (host_id(victim), Standing::Member));
}

#[test]
fn a_departure_is_final_and_about_the_signer_alone() {
    let (mut authority, fleet, _, _) = with_host(|_| {}, &[]);
    assert_eq!(authority.absorb_departure(fleet.departure(2, NOW)).unwrap_err(), Refusal::Gap);
    assert_eq!(authority.members().count(), 1);
    let (one, two) = (fleet.departure(1, NOW), fleet.departure(1, later(1)));
    let (low, high) = if one.id() < two.id() { (one, two) } else { (two, one) };
    assert!(authority.absorb_departure(high).unwrap());
    assert!(authority.absorb_departure(low.clone()).unwrap());
    assert!(!authority.absorb_departure(low.clone()).unwrap());
    let host = authority.host(&host_id(1)).unwrap();
    assert_eq!((host.standing(), host.departure().unwrap().id()), (Standing::Left, low.id()));
}

#[test]
fn names_are_labels_of_small_letters() {
    for good in ["a", "web-1", "a.b", "0", &"a".repeat(63)] {
        assert!(check_name(good), "{good}");
    }
    for bad in ["", "-a", "a-", ".a", "a.", "A", "a b", "a_b", "ä", "a\n", &"a".repeat(64)] {
        assert!(!check_name(bad), "{bad:?}");
    }
}

// ---- tags

fn tags_of(authority: &Authority, host: u8) -> Vec<(String, TagState)> {
    authority.host(&host_id(host)).unwrap().tags().clone().into_iter().collect()
}

fn set(key: &str, value: &str) -> (String, TagState) {
    (key.to_owned(), TagState::Set(value.to_owned()))
}

#[test]
fn writes_that_saw_each_other_replace_and_others_conflict_until_one_names_both() {
    let (mut authority, fleet, operator, under) = with_host(|_| {}, &[("role", "web")]);
    let op = |writer, previous, supersedes: &[EntryId], value| {
        fleet.op(&operator, under, writer, previous, supersedes, tag(1, "role", value))
    };
    assert_eq!(tags_of(&authority, 1), [set("role", "web")]);
    let first = op(1, None, &authority.live_writes(&host_id(1), "role"), Some("db"));
    assert!(authority.absorb_op(&first).unwrap());
    assert!(!authority.absorb_op(&first).unwrap());
    assert_eq!(tags_of(&authority, 1), [set("role", "db")]);
    assert_eq!(authority.live_writes(&host_id(1), "role"), [first.id()]);

    let unseen = op(2, None, &[], Some("cache"));
    authority.absorb_op(&unseen).unwrap();
    assert_eq!(tags_of(&authority, 1), [("role".to_owned(), TagState::Conflict)]);
    let same = op(3, None, &[unseen.id()], Some("db"));
    authority.absorb_op(&same).unwrap();
    assert_eq!(tags_of(&authority, 1), [set("role", "db")], "two that say the same do not conflict");

    let resolved = op(1, Some(&first), &authority.live_writes(&host_id(1), "role"), None);
    authority.absorb_op(&resolved).unwrap();
    assert_eq!(tags_of(&authority, 1), []);
    authority.retract_op(&resolved);
    assert_eq!(tags_of(&authority, 1), [set("role", "db")]);
}

#[test]
fn tag_ops_mean_the_same_in_every_order() {
    let (authority, fleet, operator, under) = with_host(|_| {}, &[("role", "web")]);
    let op = |writer, supersedes: &[EntryId], value| {
        fleet.op(&operator, under, writer, None, supersedes, tag(1, "role", value))
    };
    let a = op(1, &[], Some("a"));
    let b = op(2, &[], Some("b"));
    let both = op(3, &[a.id(), b.id()], Some("c"));
    let late = op(4, &[a.id()], None);
    let ops = [&a, &b, &both, &late];
    for order in permutations(ops.len()) {
        let mut authority = authority.clone();
        for at in order {
            authority.absorb_op(ops[at]).unwrap();
        }
        assert_eq!(tags_of(&authority, 1), [("role".to_owned(), TagState::Conflict)]);
        let mut live = authority.live_writes(&host_id(1), "role");
        live.sort_unstable();
        let mut expected = vec![both.id(), late.id()];
        expected.sort_unstable();
        assert_eq!(live, expected);
    }
}

#[test]
fn tags_wait_for_their_host() {
    let operator = key::<Operator>(1);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &operator)]);
    let invitation = fleet.invite(&operator, ids[0], 1, &[("role", "web")], 1);
    let mut authority = fleet.authority();
    let op = fleet.op(&operator, ids[0], 1, None, &[], tag(1, "env", Some("prod")));
    authority.absorb_op(&op).unwrap();
    authority.absorb_host(fleet.enrol(&invitation, 1, 1, &[("role", "web")])).unwrap();
    assert_eq!(tags_of(&authority, 1), [set("env", "prod"), set("role", "web")]);
}

#[test]
fn a_host_cannot_bring_back_a_tag_by_signing_its_certificate_anew() {
    let operator = key::<Operator>(1);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &operator)]);
    let invitation = fleet.invite(&operator, ids[0], 1, &[("role", "web")], 1);
    // A host can try as many times of joining as it likes until it has the id that it wants.
    let again = |n: u64| {
        let enrolment = Enrolment { at: later(n), ..Fleet::enrolment(1, &[("role", "web")]) };
        let bytes = fleet.host_certificate(&invitation, &key(1), &key(1), enrolment);
        Enrolled::verify(bytes.bytes(), fleet.id()).unwrap()
    };
    let (high, low) = (again(1), again(2));
    let (high, low) =
        if low.certificate().id() < high.certificate().id() { (high, low) } else { (low, high) };
    let mut authority = fleet.authority();
    authority.absorb_host(high).unwrap();
    let seen = authority.live_writes(&host_id(1), "role");
    let off = fleet.op(&operator, ids[0], 1, None, &seen, tag(1, "role", None));
    authority.absorb_op(&off).unwrap();
    assert_eq!(tags_of(&authority, 1), []);
    assert!(authority.absorb_host(low).unwrap());
    assert_eq!(tags_of(&authority, 1), []);
}

#[test]
fn a_tag_is_refused_beyond_the_certificate() {
    let (authority, fleet, operator, under) =
        with_host(|c| c.tags = pairs(&[("role", "web"), ("env", "*")]), &[]);
    let check = |action| authority.recognise_op(&fleet.op(&operator, under, 1, None, &[], action));
    assert_eq!(check(tag(1, "role", Some("web"))), Ok(()));
    assert_eq!(check(tag(1, "role", None)), Ok(()));
    assert_eq!(check(tag(1, "env", Some("prod"))), Ok(()));
    for (key, value, shown) in [
        ("role", Some("db"), "role=db"),
        ("zone", Some("a"), "zone=a"),
        ("zone", None, "zone="),
        ("env", Some(""), "env="),
        ("env", Some("a\nb"), "env=a\nb"),
        ("*", Some("web"), "*=web"),
    ] {
        assert_eq!(check(tag(1, key, value)), Err(Refusal::TagNotGranted { tag: shown.into() }));
    }
    let (authority, fleet, operator, under) = with_host(|c| c.verbs = vec![Verb::Run, Verb::Invite], &[]);
    let op = fleet.op(&operator, under, 1, None, &[], tag(1, "role", Some("web")));
    let refused = Refusal::VerbNotGranted { person: "bo".into(), verb: "tag" };
    assert_eq!(authority.recognise_op(&op), Err(refused));
}

#[test]
fn an_op_from_outside_the_certificates_time_or_over_its_bounds_is_refused() {
    let (authority, fleet, operator, under) = with_host(|_| {}, &[]);
    let plain = fleet.op(&operator, under, 1, None, &[], tag(1, "role", Some("web"))).body().clone();
    let check = |body: Op| authority.recognise_op(&Signed::sign(fleet.id(), &operator, body));
    let expired = Refusal::CertificateExpired { person: "bo".into() };
    for at in [Timestamp(0), later(2 * 365 * 24 * HOUR_MS)] {
        assert_eq!(check(Op { at: hlc(at), ..plain.clone() }), Err(expired.clone()));
    }
    let many = Op { supersedes: vec![EntryId([0; 32]); 65], ..plain.clone() };
    assert_eq!(check(many), Err(Refusal::TooMany { what: "superseded writes", limit: 64 }));
    let change = TagChange { key: "role".into(), value: Some("web".into()) };
    let action = OpAction::Tag { host: HostId([0; 32]), changes: vec![change; 65] };
    assert_eq!(
        check(Op { action, ..plain.clone() }),
        Err(Refusal::TooMany { what: "changes in an op", limit: 64 })
    );
    assert_eq!(check(Op { writer: WriterId([7; 16]), ..plain }), Ok(()));
}

#[test]
fn an_op_that_says_more_than_is_understood_is_not_applied() {
    let known = tag(1, "role", Some("web")).to_value();
    let mut longer = known.as_array().unwrap().clone();
    longer.push(Value::Bool(true));
    let read = OpAction::from_value(Value::Array(longer), "action").unwrap();
    assert_eq!(read, OpAction::Unknown { tag: 0 });
    let mut strange = known.as_array().unwrap().clone();
    strange[2] = Value::Array(vec![Value::Array(vec!["role".into(), "web".into(), Value::Bool(true)])]);
    let read = OpAction::from_value(Value::Array(strange), "action").unwrap();
    assert_eq!(read, OpAction::Unknown { tag: 0 });
    assert_eq!(OpAction::from_value(known, "action").unwrap(), tag(1, "role", Some("web")));
}

#[test]
fn a_fleet_of_another_id_opens_nothing() {
    let fleet = Fleet::new();
    let genesis = fleet.chain.updates()[0].bytes().to_vec();
    assert!(RootChain::open(&genesis, fleet.id()).is_ok());
    assert_eq!(
        RootChain::open(&genesis, FleetId([3; 32])).unwrap_err(),
        ChainError::NotGenesis(FleetId([3; 32]))
    );
}
