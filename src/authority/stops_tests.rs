//! What takes away: rotations, revocations, suspensions, halts, and what narrows. Everything in every order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::sample::{Fleet, HOUR_MS, NOW, certificate, host_id, key, later, pairs, tag};
use super::*;
use crate::{
    identity::{Cosigned, EntryId, FleetId, HostId, Kind, Operator, Payload, Root, SecretKey, Signed},
    time::Timestamp,
    wire_record,
};

/// A request as the layers above make them.
#[derive(Clone, Debug)]
struct Order {
    certificate: EntryId,
    issued: Timestamp,
    roster: Vec<HostId>,
}
wire_record!(Order closed { certificate, issued, roster });
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
            selector: "all",
            roster: Meant::Named(&self.roster),
            run_as: Some(AGENT_USER),
            issued: self.issued,
            expires: self.issued.after(std::time::Duration::from_secs(3600)),
        }
    }
}

pub(super) fn verdict_at(
    authority: &Authority,
    fleet: FleetId,
    by: &SecretKey<Operator>,
    under: EntryId,
    issued: Timestamp,
) -> Result<(), Refusal> {
    let order = Order { certificate: under, issued, roster: vec![host_id(1)] };
    let admitted = authority.admit(Signed::sign(fleet, by, order))?;
    let host = authority.host(&host_id(1)).unwrap();
    authority.judge(&admitted, host_id(1), None, host, &[], issued).map(|_| ())
}

pub(super) fn verdict(
    authority: &Authority,
    fleet: FleetId,
    by: &SecretKey<Operator>,
    under: EntryId,
) -> Result<(), Refusal> {
    verdict_at(authority, fleet, by, under, NOW)
}

/// Anything that an authority takes.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Root(Cosigned<RootUpdate>),
    Grant(Signed<Grant>),
    Suspension(Signed<Suspension>),
    Halt(Signed<Halt>),
    Host(Box<Enrolled>),
    Op(Signed<Op>),
}

impl Object {
    /// The id of a suspension or halt.
    pub(super) fn id(&self) -> Option<EntryId> {
        match self {
            Self::Suspension(suspension) => Some(suspension.id()),
            Self::Halt(halt) => Some(halt.id()),
            _ => None,
        }
    }

    /// True if it was new, nothing if it has to come again.
    pub(super) fn give(&self, authority: &mut Authority) -> Option<bool> {
        match self {
            Self::Root(update) => authority.absorb_root(update.bytes()).ok(),
            Self::Grant(grant) => authority.absorb_grant(grant.clone()).ok(),
            Self::Suspension(suspension) => authority.absorb_suspension(suspension.clone()).ok(),
            Self::Halt(halt) => authority.absorb_halt(halt.clone()).ok(),
            Self::Host(host) => authority.absorb_host((**host).clone()).ok(),
            Self::Op(op) => authority.absorb_op(op).ok(),
        }
    }
}

/// Gives everything in this order, again and again until nothing is new, as reconciliation does.
pub(super) fn fold<'a>(start: &Authority, objects: &(impl Iterator<Item = &'a Object> + Clone)) -> Authority {
    let mut authority = start.clone();
    while objects.clone().filter(|object| object.give(&mut authority) == Some(true)).count() > 0 {}
    authority
}

pub(super) type Rights = BTreeMap<EntryId, (Certificate, Option<(EntryId, Option<String>)>)>;
pub(super) type Hosts = BTreeMap<HostId, (Standing, BTreeMap<String, TagState>)>;

/// All that can be told of an authority.
pub(super) fn state(
    authority: &Authority,
) -> (Rights, Hosts, BTreeSet<EntryId>, BTreeSet<EntryId>, Option<EntryId>) {
    let rights = authority.certificates_and_stops().map(|(id, certificate, stop)| {
        (*id, (certificate.clone(), stop.map(|stop| (stop.id, stop.by.clone()))))
    });
    let hosts = authority.hosts().map(|host| (host.id(), (host.standing(), host.tags().clone())));
    (
        rights.collect(),
        hosts.collect(),
        authority.stops().map(|stop| stop.id).collect(),
        authority.halts().map(|halt| halt.id).collect(),
        authority.chain().head(),
    )
}

pub(super) fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let longer = |place: usize, rest: &Vec<usize>| {
        let mut all = rest.clone();
        all.insert(place, n - 1);
        all
    };
    (0..n).flat_map(|place| shorter.iter().map(move |rest| longer(place, rest))).collect()
}

/// A fleet of ana and bo, who may do everything, with a host that ana invited and bo tagged.
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) ana: SecretKey<Operator>,
    pub(super) bo: SecretKey<Operator>,
    pub(super) under: Vec<EntryId>,
    pub(super) host: Enrolled,
    pub(super) tagged: Signed<Op>,
    pub(super) start: Authority,
}

impl World {
    pub(super) fn new() -> Self {
        let (ana, bo) = (key::<Operator>(1), key::<Operator>(2));
        let (fleet, under) = Fleet::with(&[certificate("ana", &ana), certificate("bo", &bo)]);
        let invitation = fleet.invite(&ana, under[0], 1, &[("role", "web")], 9);
        let host = fleet.enrol(&invitation, 1, 1, &[("role", "web")]);
        let tagged = fleet.op(&bo, under[1], 1, None, &[], tag(1, "env", Some("prod")));
        let mut start = fleet.authority();
        start.absorb_host(host.clone()).unwrap();
        start.absorb_op(&tagged).unwrap();
        Self { fleet, ana, bo, under, host, tagged, start }
    }

    /// What leaves all that ana and bo did.
    pub(super) fn cut(&self) -> Cut {
        let alone = vec![half(&self.host.invitation().id())];
        Cut { streams: vec![(self.tagged.stream(), self.tagged.body().sequence)], alone }
    }

    pub(super) fn ana_is(&self, authority: &Authority) -> Result<(), Refusal> {
        verdict(authority, self.fleet.id(), &self.ana, self.under[0])
    }

    pub(super) fn bo_is(&self, authority: &Authority) -> Result<(), Refusal> {
        verdict(authority, self.fleet.id(), &self.bo, self.under[1])
    }

    pub(super) fn person(name: &str) -> Whom {
        Whom::Person { name: name.to_owned() }
    }
}

pub(super) fn suspended(person: &str, by: &str) -> Result<(), Refusal> {
    let reason = "a stolen laptop".to_owned();
    Err(Refusal::Suspended { person: person.to_owned(), by: by.to_owned(), reason })
}

// ---- suspensions

#[test]
fn a_suspension_stops_a_person_a_key_or_a_certificate_and_leaves_what_its_cut_names() {
    let world = World::new();
    for whom in
        [World::person("bo"), Whom::Key { key: world.bo.public() }, Whom::Certificate { id: world.under[1] }]
    {
        let mut authority = world.start.clone();
        let suspension = world.fleet.suspend(&world.ana, world.under[0], whom, world.cut());
        assert!(authority.absorb_suspension(suspension.clone()).unwrap());
        assert!(!authority.absorb_suspension(suspension).unwrap(), "a repeat is nothing new");
        assert_eq!(world.bo_is(&authority), suspended("bo", "ana"));
        assert_eq!(world.ana_is(&authority), Ok(()));
        let host = authority.host(&host_id(1)).unwrap();
        assert_eq!(host.tags()["env"], TagState::Set("prod".into()), "what the cut leaves stands");
        let next =
            world.fleet.op(&world.bo, world.under[1], 1, Some(&world.tagged), &[], tag(1, "env", None));
        assert_eq!(authority.recognise_op(&next), suspended("bo", "ana"));
        assert!(authority.absorb_op(&next).unwrap(), "it is kept all the same");
        let host = authority.host(&host_id(1)).unwrap();
        assert_eq!(host.tags()["env"], TagState::Set("prod".into()), "and changes nothing");
    }
}

#[test]
fn of_a_stream_that_a_suspension_does_not_name_nothing_stands_and_two_cuts_take_the_lower() {
    let world = World::new();
    let second =
        world.fleet.op(&world.bo, world.under[1], 1, Some(&world.tagged), &[], tag(1, "tier", Some("1")));
    let (mut start, stream) = (world.start.clone(), second.stream());
    start.absorb_op(&second).unwrap();
    let cut = |last: Option<u64>| {
        let streams = last.into_iter().map(|last| (stream, last)).collect();
        let cut = Cut { streams, alone: Vec::new() };
        Object::Suspension(world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), cut))
    };
    let tags = |cuts: &[Option<u64>]| {
        let cuts: Vec<Object> = cuts.iter().map(|last| cut(*last)).collect();
        let authority = fold(&start, &cuts.iter());
        authority.host(&host_id(1)).unwrap().tags().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(tags(&[]), ["env", "role", "tier"]);
    assert_eq!(tags(&[Some(1)]), ["env", "role", "tier"]);
    assert_eq!(tags(&[Some(0)]), ["env", "role"]);
    assert_eq!(tags(&[None]), ["role"]);
    assert_eq!(tags(&[Some(1), Some(0)]), ["env", "role"]);
    assert_eq!(tags(&[Some(0), Some(1)]), ["env", "role"]);
    assert_eq!(tags(&[Some(1), None]), ["role"]);
}

#[test]
fn a_suspended_inviters_hosts_stay_if_the_cut_names_their_token_and_else_do_not_count() {
    let world = World::new();
    let standing = |cut: Cut| {
        let suspension = world.fleet.suspend(&world.bo, world.under[1], World::person("ana"), cut);
        let mut authority = world.start.clone();
        authority.absorb_suspension(suspension).unwrap();
        authority.host(&host_id(1)).unwrap().standing()
    };
    assert_eq!(standing(world.cut()), Standing::Member);
    assert_eq!(standing(Cut::default()), Standing::Disowned);
}

#[test]
fn a_host_or_a_token_can_be_suspended_and_lifted_and_revoked() {
    let mut world = World::new();
    let token = world.host.invitation().id();
    for whom in [Whom::Host { id: host_id(1) }, Whom::Token { id: token }] {
        let mut authority = world.start.clone();
        let suspension = world.fleet.suspend(&world.ana, world.under[0], whom.clone(), Cut::default());
        authority.absorb_suspension(suspension.clone()).unwrap();
        assert_eq!(authority.host(&host_id(1)).unwrap().standing(), Standing::Suspended);
        assert_eq!(authority.members().count(), 0);
        let lift = Lift { stops: vec![suspension.id()], at: NOW, reason: String::new() };
        let lift = world.fleet.update(world.fleet.chain.head(), 3, RootChange::Lift(lift));
        authority.absorb_root(lift.bytes()).unwrap();
        assert_eq!(authority.host(&host_id(1)).unwrap().standing(), Standing::Member);
    }
    let whom = Whom::Host { id: host_id(1) };
    let (cut, reason) = (Cut::default(), "sold".to_owned());
    world.fleet.change(RootChange::Revoke(Revocation { whom, cut, reason }));
    let mut authority = world.fleet.authority();
    authority.absorb_host(world.host.clone()).unwrap();
    assert_eq!(authority.host(&host_id(1)).unwrap().standing(), Standing::Revoked);
}

#[test]
fn who_has_no_right_to_it_suspends_and_halts_nobody() {
    let (ana, eve) = (key::<Operator>(1), key::<Operator>(2));
    let mut limited = certificate("eve", &eve);
    limited.verbs.retain(|verb| *verb != Verb::Suspend);
    let mut expired = certificate("old", &eve);
    expired.not_after = Timestamp(NOW.0 - 1);
    let (fleet, under) = Fleet::with(&[certificate("ana", &ana), limited, expired]);
    let mut authority = fleet.authority();
    let mut tried = |by: &SecretKey<Operator>, under: EntryId| {
        let suspension = fleet.suspend(by, under, World::person("ana"), Cut::default());
        let halted = authority.absorb_halt(fleet.halt(by, under, "all")).unwrap_err();
        let refusal = authority.absorb_suspension(suspension).unwrap_err();
        assert_eq!(refusal, halted);
        refusal
    };
    assert_eq!(tried(&eve, under[1]), Refusal::VerbNotGranted { person: "eve".into(), verb: "suspend" });
    assert_eq!(tried(&eve, under[2]), Refusal::CertificateExpired { person: "old".into() });
    assert_eq!(tried(&eve, under[0]), Refusal::NotTheHolder);
    assert_eq!(tried(&key(9), EntryId([9; 32])), Refusal::UnknownCertificate);
    // A certificate that needs approvals for whatever it does still stops at once.
    let mut careful = certificate("cem", &key(3));
    careful.approvals = 2;
    let (fleet, under) = Fleet::with(&[careful]);
    let suspension = fleet.suspend(&key(3), under[0], World::person("ana"), Cut::default());
    assert!(fleet.authority().absorb_suspension(suspension).unwrap());
}

#[test]
fn two_admins_who_suspend_each_other_are_both_suspended_in_any_order_until_the_roots_decide() {
    let mut world = World::new();
    let by_ana = world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), world.cut());
    let by_bo = world.fleet.suspend(&world.bo, world.under[1], World::person("ana"), world.cut());
    let objects = [Object::Suspension(by_ana.clone()), Object::Suspension(by_bo)];
    for order in permutations(2) {
        let authority = fold(&world.start, &order.iter().map(|at| &objects[*at]));
        assert_eq!(world.ana_is(&authority), suspended("ana", "bo"));
        assert_eq!(world.bo_is(&authority), suspended("bo", "ana"));
    }
    let lift = Lift { stops: vec![by_ana.id()], at: NOW, reason: String::new() };
    world.fleet.change(RootChange::Lift(lift));
    let lifted =
        world.fleet.chain.updates().iter().map(|u| Object::Root((*u).clone())).skip(3).collect::<Vec<_>>();
    let all: Vec<Object> = objects.into_iter().chain(lifted).collect();
    for order in permutations(3) {
        let authority = fold(&world.start, &order.iter().map(|at| &all[*at]));
        assert_eq!(world.ana_is(&authority), suspended("ana", "bo"));
        let late = later(1);
        assert_eq!(verdict_at(&authority, world.fleet.id(), &world.bo, world.under[1], late), Ok(()));
        let early = world.bo_is(&authority);
        assert_eq!(early, Err(Refusal::BeforeLift { person: "bo".into() }), "it may have waited somewhere");
    }
}

#[test]
fn a_revoked_admin_suspends_nobody_but_what_the_roots_leave_standing_stands() {
    let world = World::new();
    let suspension = world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), world.cut());
    let revoke = |alone: Vec<[u8; 16]>| {
        let cut = Cut { alone, ..world.cut() };
        let revocation = Revocation { whom: World::person("ana"), cut, reason: "left".into() };
        Object::Root(world.fleet.update(world.fleet.chain.head(), 3, RootChange::Revoke(revocation)))
    };
    let mut keeps = vec![half(&suspension.id()), half(&world.host.invitation().id())];
    keeps.sort_unstable();
    let suspension = Object::Suspension(suspension);
    for order in permutations(2) {
        let objects = [revoke(vec![half(&world.host.invitation().id())]), suspension.clone()];
        let authority = fold(&world.start, &order.iter().map(|at| &objects[*at]));
        assert_eq!(world.bo_is(&authority), Ok(()), "{order:?}");
        let refusal = Refusal::Revoked { person: "ana".into(), reason: "left".into() };
        assert_eq!(world.ana_is(&authority), Err(refusal), "{order:?}");
        let objects = [revoke(keeps.clone()), suspension.clone()];
        let authority = fold(&world.start, &order.iter().map(|at| &objects[*at]));
        assert_eq!(world.bo_is(&authority), suspended("bo", "ana"), "{order:?}");
    }
}

// ---- halts

#[test]
fn a_halt_refuses_every_order_on_the_hosts_that_it_selects_and_the_roots_end_it() {
    let world = World::new();
    let halted = Err(Refusal::Halted { by: "bo".into(), reason: "smoke".into() });
    for (selector, verdict) in [
        ("all", halted.clone()),
        ("tag.role = web", halted.clone()),
        ("tag.role = db", Ok(())),
        // A tag that the host does not bear selects nothing, here as everywhere.
        ("tag.rack != 4", Ok(())),
    ] {
        let mut authority = world.start.clone();
        let halt = world.fleet.halt(&world.bo, world.under[1], selector);
        assert!(authority.absorb_halt(halt.clone()).unwrap());
        assert_eq!(world.ana_is(&authority), verdict, "{selector}");
        let lift = Lift { stops: vec![halt.id()], at: NOW, reason: String::new() };
        let lift = world.fleet.update(world.fleet.chain.head(), 3, RootChange::Lift(lift));
        authority.absorb_root(lift.bytes()).unwrap();
        assert_eq!(world.ana_is(&authority), Ok(()), "{selector}");
    }
    let facts = world.fleet.halt(&world.bo, world.under[1], "name = web-1");
    assert!(matches!(world.start.clone().absorb_halt(facts), Err(Refusal::BadSelector(_))));
    // Who is suspended can still stop everything; who is revoked cannot.
    let mut authority = world.start.clone();
    let suspension = world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), world.cut());
    authority.absorb_suspension(suspension).unwrap();
    authority.absorb_halt(world.fleet.halt(&world.bo, world.under[1], "all")).unwrap();
    assert_eq!(world.ana_is(&authority), halted);
}

#[test]
fn a_limited_admin_halts_within_the_scope_alone() {
    let (ana, eve) = (key::<Operator>(1), key::<Operator>(2));
    for (scope, halted) in [("tag.role = db", false), ("tag.role = web", true)] {
        let mut limited = certificate("eve", &eve);
        scope.clone_into(&mut limited.scope);
        let (fleet, under) = Fleet::with(&[certificate("ana", &ana), limited]);
        let invitation = fleet.invite(&ana, under[0], 1, &[("role", "web")], 9);
        let mut authority = fleet.authority();
        authority.absorb_host(fleet.enrol(&invitation, 1, 1, &[("role", "web")])).unwrap();
        authority.absorb_halt(fleet.halt(&eve, under[1], "all")).unwrap();
        assert_eq!(verdict(&authority, fleet.id(), &ana, under[0]).is_err(), halted, "{scope}");
    }
}

// ---- what is passed on

#[test]
fn a_certificate_is_passed_on_narrowed_and_never_wider() {
    type Change = fn(&mut Certificate);
    let (ana, cem) = (key::<Operator>(1), key::<Operator>(3));
    let mut from = certificate("ana", &ana);
    from.verbs = vec![Verb::Run, Verb::Tag, Verb::Grant];
    from.tags = pairs(&[("team", ANY), ("env", "prod")]);
    from.run_as = vec!["web".into(), AGENT_USER.into()];
    from.hosts_max = Some(10);
    let (fleet, under) = Fleet::with(&[from.clone()]);
    let mut narrow = from.clone();
    narrow.key = cem.public().into();
    "cem".clone_into(&mut narrow.person);
    narrow.verbs = vec![Verb::Run];
    let wider = |what| Err(Refusal::Wider { person: "ana".to_owned(), what });
    let cases: [(&str, Change, Result<bool, Refusal>); 16] = [
        ("the same but for passing on", |_| {}, Ok(true)),
        ("fewer users", |c| c.run_as = vec!["web".into()], Ok(true)),
        ("one team", |c| c.tags = pairs(&[("team", "a")]), Ok(true)),
        ("fewer hosts", |c| c.hosts_max = Some(1), Ok(true)),
        ("more approvals", |c| c.approvals = 1, Ok(true)),
        ("another scope, for both have to hold", |c| "tag.role = db".clone_into(&mut c.scope), Ok(true)),
        ("passing on", |c| c.verbs.push(Verb::Grant), wider("it cannot be passed on again")),
        ("another verb", |c| c.verbs.push(Verb::Suspend), wider("a verb")),
        ("another user", |c| c.run_as.push("root".into()), wider("a user to run as")),
        ("any user", |c| c.run_as = vec![ANY.into()], wider("a user to run as")),
        ("another tag", |c| c.tags = pairs(&[("env", "staging")]), wider("a tag")),
        ("any value of a tag", |c| c.tags = pairs(&[("env", ANY)]), wider("a tag")),
        ("more hosts", |c| c.hosts_max = Some(11), wider("the hosts in one order")),
        ("any number of hosts", |c| c.hosts_max = None, wider("the hosts in one order")),
        ("earlier", |c| c.not_before = Timestamp(c.not_before.0 - 1), wider("its validity")),
        ("longer", |c| c.not_after = Timestamp(c.not_after.0 + 1), wider("its validity")),
    ];
    for (what, change, expected) in cases {
        let mut passed = narrow.clone();
        change(&mut passed);
        let granted = fleet.authority().absorb_grant(fleet.grant(&ana, under[0], passed));
        assert_eq!(granted, expected, "{what}");
    }
    let mut facts = narrow.clone();
    "name = a".clone_into(&mut facts.scope);
    let granted = fleet.authority().absorb_grant(fleet.grant(&ana, under[0], facts));
    assert!(matches!(granted, Err(Refusal::BadSelector(_))));
    // Nor by who holds none, nor on again, nor by who may not pass on.
    let mut authority = fleet.authority();
    let grant = fleet.grant(&ana, under[0], narrow.clone());
    authority.absorb_grant(grant.clone()).unwrap();
    let refused = |by: &SecretKey<Operator>, under: EntryId| {
        authority.clone().absorb_grant(fleet.grant(by, under, narrow.clone())).unwrap_err()
    };
    assert_eq!(refused(&cem, under[0]), Refusal::NotTheHolder);
    assert_eq!(refused(&cem, EntryId([7; 32])), Refusal::UnknownCertificate);
    let again = Refusal::Wider { person: "cem".into(), what: "it cannot be passed on again" };
    assert_eq!(refused(&cem, grant.id()), again);
}

#[test]
fn what_was_passed_on_holds_where_both_scopes_do_and_falls_with_the_grant() {
    let world = World::new();
    let cem = key::<Operator>(3);
    let passed_on = |scope: &str| {
        let mut narrow = certificate("cem", &cem);
        narrow.verbs = vec![Verb::Run];
        scope.clone_into(&mut narrow.scope);
        world.fleet.grant(&world.ana, world.under[0], narrow)
    };
    let mut limited = World::new();
    let mut from = certificate("eve", &key(4));
    "tag.role = db".clone_into(&mut from.scope);
    let under_eve = limited.fleet.certify(from);
    let mut narrow = certificate("cem", &cem);
    narrow.verbs = vec![Verb::Run];
    let grant = limited.fleet.grant(&key(4), under_eve, narrow);
    let mut authority = limited.fleet.authority();
    authority.absorb_host(limited.host.clone()).unwrap();
    authority.absorb_grant(grant.clone()).unwrap();
    let out = Refusal::OutOfScope { person: "cem".into(), scope: "tag.role = db".into() };
    assert_eq!(verdict(&authority, limited.fleet.id(), &cem, grant.id()), Err(out), "all, of what eve has");

    for (scope, allowed) in [("tag.role = web", true), ("tag.role = db", false)] {
        let grant = passed_on(scope);
        let mut authority = world.start.clone();
        authority.absorb_grant(grant.clone()).unwrap();
        let verdict = |authority: &Authority| verdict(authority, world.fleet.id(), &cem, grant.id());
        assert_eq!(verdict(&authority).is_ok(), allowed);
        // Whoever suspends ana says whether what she passed on stands.
        let mut cut = world.cut();
        let mut void = authority.clone();
        let whom = World::person("ana");
        void.absorb_suspension(world.fleet.suspend(&world.bo, world.under[1], whom.clone(), cut.clone()))
            .unwrap();
        assert_eq!(verdict(&void), suspended("cem", "bo"));
        cut.alone.push(half(&grant.id()));
        cut.alone.sort_unstable();
        authority.absorb_suspension(world.fleet.suspend(&world.bo, world.under[1], whom, cut)).unwrap();
        assert_eq!(verdict(&authority).is_ok(), allowed);
    }
}

// ---- the root chain

fn roots_of(numbers: &[u8]) -> Vec<SecretKey<Root>> {
    numbers.iter().map(|number| key::<Root>(*number)).collect()
}

fn founded(numbers: &[u8], threshold: u8) -> RootChain {
    let keys = roots_of(numbers);
    let mut roots: Vec<_> = keys.iter().map(SecretKey::public).collect();
    roots.sort_unstable();
    let genesis = Genesis {
        name: "acme".into(),
        roots,
        threshold,
        founded: Timestamp(0),
        nonce: [1; 16],
        recovery: None,
    };
    RootChain::found(genesis, &keys.iter().collect::<Vec<_>>()).unwrap()
}

fn signed(chain: &RootChain, update: RootUpdate, by: &[u8]) -> Cosigned<RootUpdate> {
    Cosigned::sign(chain.fleet(), &roots_of(by).iter().collect::<Vec<_>>(), update)
}

fn roots(numbers: &[u8], threshold: u8) -> RootChange {
    let mut keys: Vec<_> = roots_of(numbers).iter().map(SecretKey::public).collect();
    keys.sort_unstable();
    RootChange::Roots(Roots { keys, threshold })
}

#[test]
fn a_rotation_needs_the_roots_before_and_each_new_key_and_then_only_the_new_ones_govern() {
    let mut chain = founded(&[1, 2, 3], 2);
    let certify = |person: &str| RootChange::Certify(certificate(person, &key(1)));
    let rotation = chain.next(roots(&[2, 4, 5], 2));
    let mut absorb = |update: RootUpdate, by: &[u8]| {
        let update = signed(&chain, update, by);
        chain.absorb(update.bytes())
    };
    assert_eq!(absorb(rotation.clone(), &[1, 4, 5]), Err(ChainError::TooFewRoots));
    assert_eq!(absorb(rotation.clone(), &[4, 5]), Err(ChainError::TooFewRoots));
    assert_eq!(absorb(rotation.clone(), &[1, 2]), Err(ChainError::NotProved));
    assert_eq!(absorb(rotation.clone(), &[1, 3, 4]), Err(ChainError::NotProved));
    assert_eq!(absorb(rotation, &[1, 2, 4, 5]), Ok(true));
    let next = chain.next(certify("ana"));
    let mut absorb = |by: &[u8]| {
        let update = signed(&chain, next.clone(), by);
        chain.absorb(update.bytes())
    };
    assert_eq!(absorb(&[1, 3]), Err(ChainError::TooFewRoots), "rotated out");
    assert_eq!(absorb(&[1, 2]), Err(ChainError::TooFewRoots));
    assert_eq!(absorb(&[2, 5]), Ok(true));
    for (problem, change) in [
        ("its threshold cannot be met", roots(&[1], 2)),
        ("its threshold cannot be met", roots(&[1], 0)),
        ("its root keys must be there, in order, each once", roots(&[], 0)),
    ] {
        let update = signed(&chain, chain.next(change), &[2, 4, 5, 1]);
        assert_eq!(chain.absorb(update.bytes()), Err(ChainError::BadChange(problem)));
    }
}

#[test]
fn what_loses_a_fork_gives_nothing_but_still_revokes_unless_a_checkpoint_ends_it() {
    let mut world = World::new();
    let head = world.fleet.chain.head();
    let revoke = |name: &str| {
        let (whom, cut) = (World::person(name), world.cut());
        RootChange::Revoke(Revocation { whom, cut, reason: String::new() })
    };
    let certify = |number: u8| RootChange::Certify(certificate("cem", &key(number)));
    // Both take something away, so the lower id wins; whichever loses, both are revoked.
    let (one, two) = (world.fleet.update(head, 3, revoke("ana")), world.fleet.update(head, 3, revoke("bo")));
    let (winner, loser) = if one.id() < two.id() { (&one, &two) } else { (&two, &one) };
    let behind_winner = world.fleet.update(Some(winner.id()), 4, certify(3));
    let behind_loser = world.fleet.update(Some(loser.id()), 4, certify(4));
    let objects = [&one, &two, &behind_winner, &behind_loser].map(|update| Object::Root(update.clone()));
    let mut states = BTreeSet::new();
    for order in permutations(4) {
        let authority = fold(&world.start, &order.iter().map(|at| &objects[*at]));
        assert!(matches!(world.ana_is(&authority), Err(Refusal::Revoked { .. })));
        assert!(matches!(world.bo_is(&authority), Err(Refusal::Revoked { .. })));
        let certified = |id: EntryId| authority.certificates().any(|(held, _)| *held == id);
        assert!(certified(behind_winner.id()) && !certified(behind_loser.id()));
        assert_eq!(authority.chain().forks(), 1);
        assert_eq!(authority.chain().fork_evidence().len(), 1);
        states.insert(format!("{:?}", state(&authority)));
    }
    assert_eq!(states.len(), 1);
    // The roots say that what branched off is to count for nothing.
    let checkpoint =
        world.fleet.update(Some(behind_winner.id()), 5, RootChange::Checkpoint(Checkpoint::default()));
    let checkpointed = [Object::Root(checkpoint)];
    let authority = fold(&world.start, &objects.iter().chain(&checkpointed));
    let revoked = [world.ana_is(&authority).is_err(), world.bo_is(&authority).is_err()];
    assert_eq!(revoked.iter().filter(|revoked| **revoked).count(), 1);
    let _ = world.fleet.change(RootChange::Checkpoint(Checkpoint::default()));
}

#[test]
fn of_two_histories_that_which_takes_away_wins() {
    let world = World::new();
    let head = world.fleet.chain.head();
    let rotation = Roots { keys: vec![world.fleet.root.public()], threshold: 1 };
    let rotation = world.fleet.update(head, 3, RootChange::Roots(rotation));
    for number in 1..20 {
        let certify = world.fleet.update(head, 3, RootChange::Certify(certificate("x", &key(number))));
        let mut authority = world.start.clone();
        authority.absorb_root(certify.bytes()).unwrap();
        authority.absorb_root(rotation.bytes()).unwrap();
        assert_eq!(authority.chain().head(), Some(rotation.id()));
    }
}

#[test]
fn a_kind_that_is_not_known_stops_the_chain_while_what_is_known_to_be_taken_stays_taken() {
    let world = World::new();
    let head = world.fleet.chain.head();
    let unknown = world.fleet.update(head, 3, RootChange::Unknown { tag: 99 });
    let revocation = Revocation { whom: World::person("bo"), cut: world.cut(), reason: String::new() };
    let behind = world.fleet.update(Some(unknown.id()), 4, RootChange::Revoke(revocation));
    let certify = RootChange::Certify(certificate("cem", &key(3)));
    let further = world.fleet.update(Some(behind.id()), 5, certify.clone());
    let beside = world.fleet.update(head, 3, certify);
    let suspension =
        world.fleet.suspend(&world.bo, world.under[1], Whom::Host { id: host_id(1) }, Cut::default());
    let objects = [&unknown, &behind, &further, &beside].map(|update| Object::Root(update.clone()));
    let objects = objects.into_iter().chain([Object::Suspension(suspension)]).collect::<Vec<_>>();
    for order in permutations(5) {
        let authority = fold(&world.start, &order.iter().map(|at| &objects[*at]));
        assert_eq!(authority.chain().stopped_at(), Some(unknown.id()), "whatever stands beside it");
        assert_eq!(authority.certificates().count(), 1, "ana is left");
        assert!(matches!(world.bo_is(&authority), Err(Refusal::Revoked { .. })));
        assert_eq!(authority.host(&host_id(1)).unwrap().standing(), Standing::Member, "bo is revoked");
    }
}

#[test]
fn hosts_and_operators_change_nothing_of_the_chain() {
    let world = World::new();
    let update = world.fleet.chain.next(RootChange::Certify(certificate("eve", &key(9))));
    for seed in [1, 2, 3, 9] {
        // Another key than the root's, whatever else it is good for.
        let key = SecretKey::<Root>::from_seed(&key::<Operator>(seed).seed());
        let forged = Cosigned::sign(world.fleet.id(), &[&key], update.clone());
        assert_eq!(world.start.clone().absorb_root(forged.bytes()), Err(ChainError::TooFewRoots));
    }
    let elsewhere = Cosigned::sign(FleetId([7; 32]), &[&world.fleet.root], update);
    assert!(matches!(world.start.clone().absorb_root(elsewhere.bytes()), Err(ChainError::Signed(_))));
}

// ---- every order, with repeats

/// Objects that bear on each other in every way, and a fleet that they are of.
fn tangle() -> (World, Vec<Object>) {
    let world = World::new();
    let cem = key::<Operator>(3);
    let head = world.fleet.chain.head();
    let mut narrow = certificate("cem", &cem);
    narrow.verbs = vec![Verb::Run, Verb::Tag, Verb::Suspend, Verb::Invite];
    let grant = world.fleet.grant(&world.ana, world.under[0], narrow);
    let by_cem = world.fleet.suspend(&cem, grant.id(), World::person("bo"), Cut::default());
    let by_bo = world.fleet.suspend(&world.bo, world.under[1], World::person("ana"), world.cut());
    let of_host =
        world.fleet.suspend(&world.ana, world.under[0], Whom::Host { id: host_id(2) }, Cut::default());
    let halt = world.fleet.halt(&cem, grant.id(), "tag.role = web");
    let invitation = world.fleet.invite(&cem, grant.id(), 2, &[("role", "db")], 9);
    let second = world.fleet.enrol(&invitation, 2, 2, &[("role", "db")]);
    let tagged = world.fleet.op(&cem, grant.id(), 3, None, &[], tag(2, "env", Some("prod")));
    let lift = Lift { stops: vec![by_bo.id()], at: later(HOUR_MS), reason: String::new() };
    let lift = world.fleet.update(head, 3, RootChange::Lift(lift));
    let revocation = Revocation { whom: World::person("cem"), cut: Cut::default(), reason: String::new() };
    let revoke = world.fleet.update(head, 3, RootChange::Revoke(revocation));
    let behind = world.fleet.update(Some(lift.id()), 4, RootChange::Certify(certificate("dee", &key(5))));
    let objects = vec![
        Object::Grant(grant),
        Object::Suspension(by_cem),
        Object::Suspension(by_bo),
        Object::Suspension(of_host),
        Object::Halt(halt),
        Object::Host(Box::new(second)),
        Object::Op(tagged),
        Object::Root(lift),
        Object::Root(revoke),
        Object::Root(behind),
    ];
    (world, objects)
}

#[test]
fn any_four_objects_mean_the_same_in_every_order() {
    let (world, objects) = tangle();
    let orders = permutations(4);
    for first in 0..objects.len() {
        let four = [0, 1, 3, 6].map(|step| &objects[(first + step) % objects.len()]);
        let of = |order: &Vec<usize>| state(&fold(&world.start, &order.iter().map(|at| four[*at])));
        let expected = of(&orders[0]);
        assert!(orders.iter().all(|order| of(order) == expected), "from {first}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_objects_mean_the_same_in_any_order_with_any_repeats(
        order in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle(),
        repeats in proptest::collection::vec(0..10_usize, 0..20),
    ) {
        let (world, objects) = tangle();
        let expected = state(&fold(&world.start, &objects.iter()));
        let given: Vec<usize> = repeats.into_iter().chain(order).collect();
        let folded = fold(&world.start, &given.iter().map(|at| &objects[*at]));
        prop_assert_eq!(state(&folded), expected);
    }

    #[test]
    fn without_what_the_roots_say_no_object_gives_back_what_another_took(
        order in Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        // The first seven: everything but the root updates.
        let (world, objects) = tangle();
        let mut authority = world.start.clone();
        let mut stopped: BTreeSet<EntryId> = BTreeSet::new();
        let mut halts: BTreeSet<EntryId> = BTreeSet::new();
        for _ in 0..3 {
            for at in &order {
                objects[*at].give(&mut authority);
                let now: BTreeSet<_> = authority
                    .certificates_and_stops()
                    .filter_map(|(id, _, stop)| stop.map(|_| *id))
                    .collect();
                prop_assert!(stopped.is_subset(&now), "{:?} came back", stopped.difference(&now));
                stopped = now;
                let now: BTreeSet<_> = authority.halts().map(|halt| halt.id).collect();
                prop_assert!(halts.is_subset(&now));
                halts = now;
            }
        }
        prop_assert_eq!(stopped.len(), 3, "ana, bo, and what ana passed on: it is not in the cut");
    }
}
