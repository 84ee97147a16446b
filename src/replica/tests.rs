//! The same entries in any order, with repeats and losses, give the same replica; and the exchange of
//! tips ends.

use std::{
    collections::{BTreeSet, HashMap},
    sync::OnceLock,
};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{Ledger, Merged, Replica, Spot};
use crate::replica::*;
use crate::{
    authority::{
        AGENT_USER, Approval, Certificate, Cut, Departure, Enrolled, Enrolment, Host, HostCertificate,
        Invitation, Op, OpAction, Refusal, RootChange, RootUpdate, Standing, TagState, Verb, Whom,
        sample::{Fleet, HOUR_MS, NOW, certificate, hlc, host_id, key, later, tag},
    },
    identity::{
        Cosigned, EntryId, HostId, JoinToken, Operator, Payload, SecretKey, Signed, StreamId, WriterId,
    },
    time::Timestamp,
    wire::{self, Bytes},
};

// ---- makers

fn facet(text: &str) -> Bytes {
    let node = NodeFacet { agent: text.to_owned(), os: "Debian".to_owned(), addresses: Vec::new() };
    Bytes(wire::encode(&node))
}

/// A facet that is too long to ride along.
fn rows(which: usize) -> Bytes {
    let row = |at: usize| {
        vec![blake3::hash(&[u8::try_from(at).unwrap()]).to_string(), (at % 9 / 8 * which).to_string()]
    };
    let columns = vec!["a".to_owned(), "b".to_owned()];
    Bytes(
        Tables { tables: vec![Table { name: "t".to_owned(), columns, rows: (0..90).map(row).collect() }] }
            .canonical(),
    )
}

fn head(fleet: &Fleet, host: u8, place: (u32, u64), at: u64, facets: &[&Bytes]) -> (Entry, Vec<Packed>) {
    let named = facets.iter().enumerate().map(|(n, bytes)| FacetRef {
        name: if n == 0 { FACET_NODE.to_owned() } else { format!("z{n}") },
        hash: FacetHash::of(&bytes.0),
        bytes: u32::try_from(bytes.0.len()).unwrap(),
        at: None,
    });
    let body = Head {
        epoch: place.0,
        sequence: place.1,
        previous: None,
        at: hlc(later(at)),
        facets: named.collect(),
        audit: None,
    };
    (
        Entry::Head(Signed::sign(fleet.id(), &key(host), body)),
        facets.iter().map(|bytes| Packed::alone(&bytes.0)).collect(),
    )
}

fn order(fleet: &Fleet, by: &SecretKey<Operator>, under: EntryId, nonce: u8) -> Signed<Order> {
    let body = Order {
        nonce: [nonce; 16],
        certificate: under,
        issued: NOW,
        expires: later(HOUR_MS),
        selector: "all".to_owned(),
        roster: Roster::Inline { hosts: vec![host_id(1)] },
        action: Action::Argv { argv: vec![Bytes::from(&b"true"[..])] },
        run_as: AGENT_USER.to_owned(),
        limits: Limits { timeout_ms: 1000, output_bytes_max: 1000 },
        keepers: Vec::new(),
        reason: None,
    };
    Signed::sign(fleet.id(), by, body)
}

fn cancel(
    fleet: &Fleet,
    by: &SecretKey<Operator>,
    order: &Signed<Order>,
    at: u64,
    expires: Timestamp,
) -> Entry {
    let body = Cancellation { order: order.id(), at: later(at), expires };
    Entry::Cancellation(Signed::sign(fleet.id(), by, body))
}

/// Entries to draw from: everything that a fleet can hold, with most ways of getting it wrong.
struct World {
    fleet: Fleet,
    entries: Vec<(Entry, Vec<Packed>)>,
    by_id: HashMap<EntryId, Entry>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(make_world)
}

fn make_world() -> World {
    let fleet = Fleet::new();
    let (ana, bo, cy) = (key::<Operator>(1), key::<Operator>(2), key::<Operator>(3));
    let mut entries: Vec<(Entry, Vec<Packed>)> = Vec::new();
    let mut add = |entry: Entry| entries.push((entry, Vec::new()));

    // The root chain: two operators, then two branches, and something new at the end of one.
    let genesis = fleet.chain.updates()[0].id();
    let certify =
        |parent, sequence, body: Certificate| fleet.update(Some(parent), sequence, RootChange::Certify(body));
    let of_ana = certify(genesis, 1, certificate("ana", &ana));
    let of_bo = certify(of_ana.id(), 2, certificate("bo", &bo));
    let left = certify(of_bo.id(), 3, certificate("cy", &cy));
    let right = certify(of_bo.id(), 3, certificate("cy of the other branch", &cy));
    let newer = fleet.update(Some(left.id()), 4, RootChange::Unknown { tag: 9 });
    for update in [&of_ana, &of_bo, &left, &right, &newer] {
        add(Entry::Root(update.clone()));
    }

    // A certificate that is passed on, and who stops whom.
    let dee = key::<Operator>(4);
    let mut narrow = certificate("dee", &dee);
    narrow.verbs.retain(|verb| *verb != Verb::Grant);
    let of_dee = fleet.grant(&bo, of_bo.id(), narrow.clone());
    narrow.run_as.push("everyone".to_owned());
    let wider = fleet.grant(&dee, of_dee.id(), narrow);
    let nothing = Cut::default();
    let by_dee = fleet.suspend(&dee, of_dee.id(), Whom::Certificate { id: left.id() }, nothing.clone());
    let of_person =
        fleet.suspend(&ana, of_ana.id(), Whom::Person { name: "dee".to_owned() }, nothing.clone());
    let of_host = fleet.suspend(&cy, right.id(), Whom::Host { id: host_id(1) }, nothing.clone());
    let by_thief = fleet.suspend(&key(40), of_ana.id(), Whom::Key { key: bo.public() }, nothing);
    let halts = [fleet.halt(&ana, of_ana.id(), "tag.role = web"), fleet.halt(&key(40), of_bo.id(), "all")];
    for grant in [&of_dee, &wider] {
        add(Entry::Grant(grant.clone()));
    }
    for suspension in [by_dee, of_person, of_host, by_thief] {
        add(Entry::Suspension(suspension));
    }
    for halt in halts {
        add(Entry::Halt(halt));
    }

    // Tokens: one that is over-used, one that is not, one of each branch.
    let once = fleet.invite(&ana, of_ana.id(), 1, &[("role", "web")], 1);
    let often = fleet.invite(&bo, of_bo.id(), 2, &[("role", "db"), ("env", "prod")], 5);
    let of_left = fleet.invite(&cy, left.id(), 3, &[("zone", "l")], 1);
    let of_right = fleet.invite(&cy, right.id(), 4, &[("zone", "r")], 1);
    let passed_on = fleet.invite(&dee, of_dee.id(), 5, &[("zone", "d")], 1);
    for invitation in [&once, &often, &of_left, &of_right, &passed_on] {
        add(Entry::Invitation(invitation.clone()));
    }
    let mut enrol = |invitation: &Signed<Invitation>, token, host, tags: &[(&str, &str)]| {
        add(Entry::Host(Box::new(fleet.enrol(invitation, token, host, tags))));
    };
    enrol(&once, 1, 1, &[("role", "web")]);
    enrol(&once, 1, 2, &[("role", "web")]);
    enrol(&often, 2, 3, &[("role", "db")]);
    enrol(&often, 2, 4, &[]);
    enrol(&of_left, 3, 5, &[("zone", "l")]);
    enrol(&of_right, 4, 6, &[("zone", "r")]);
    enrol(&passed_on, 5, 7, &[("zone", "d")]);
    // Certificates of hosts that have one already.
    enrol(&often, 2, 2, &[("env", "prod")]);
    enrol(&of_right, 4, 3, &[("zone", "r")]);
    enrol(&of_left, 3, 3, &[("zone", "l")]);
    // Words about hosts of the over-used token, and about one that needs none; of who may say so and who may not.
    for (by, under, about, admitted) in [
        (&ana, of_ana.id(), fleet.enrol(&once, 1, 1, &[("role", "web")]), true),
        (&ana, of_ana.id(), fleet.enrol(&once, 1, 2, &[("role", "web")]), false),
        (&bo, of_bo.id(), fleet.enrol(&once, 1, 2, &[("role", "web")]), true),
        (&cy, left.id(), fleet.enrol(&often, 2, 3, &[("role", "db")]), false),
        (&dee, of_dee.id(), fleet.enrol(&once, 1, 1, &[("role", "web")]), false),
    ] {
        let word = crate::authority::Admission::about(under, &about, admitted, later(3000));
        add(Entry::Admission(Signed::sign(fleet.id(), by, word)));
    }
    for at in [0, 1, 2] {
        add(Entry::Departure(fleet.departure(4, later(at))));
    }

    // Streams: straight ones, a forked one, and one of each branch.
    let op = |by: &SecretKey<Operator>,
              under: &Cosigned<RootUpdate>,
              writer: u8,
              previous: Option<&Signed<Op>>,
              supersedes: &[EntryId],
              action: OpAction|
     -> Signed<Op> { fleet.op(by, under.id(), writer, previous, supersedes, action) };
    let mut straight = vec![op(&ana, &of_ana, 1, None, &[], tag(1, "role", Some("a")))];
    for (n, value) in ["b", "c", "d"].into_iter().enumerate() {
        let last = straight.last().unwrap();
        let seen = if n == 1 { Vec::new() } else { vec![last.id()] };
        let next = op(&ana, &of_ana, 1, Some(last), &seen, tag(1, "role", Some(value)));
        straight.push(next);
    }
    let strange = op(&bo, &of_bo, 1, None, &[], OpAction::Unknown { tag: 7 });
    let bold = op(&bo, &of_bo, 1, Some(&strange), &[straight[1].id()], tag(1, "role", Some("e")));
    let gone = op(&bo, &of_bo, 1, Some(&bold), &[], tag(3, "role", None));
    let unborn = op(&bo, &of_bo, 1, Some(&gone), &[], tag(99, "role", Some("x")));
    let retired = op(&bo, &of_bo, 1, Some(&unborn), &[], OpAction::Retire { host: host_id(3) });
    let called = OpAction::Rename { host: host_id(1), name: "one".to_owned() };
    let called = op(&bo, &of_bo, 1, Some(&retired), &[], called);
    let mixed = op(&cy, &left, 1, None, &[], tag(2, "zone", Some("one")));
    let mixed_on = op(&cy, &right, 1, Some(&mixed), &[mixed.id()], tag(2, "zone", Some("two")));

    let f0 = op(&ana, &of_ana, 2, None, &[], tag(2, "env", Some("f0")));
    let f1 = op(&ana, &of_ana, 2, Some(&f0), &[f0.id()], tag(2, "env", Some("f1")));
    let x2 = op(&ana, &of_ana, 2, Some(&f1), &[f1.id()], tag(2, "env", Some("x2")));
    let x3 = op(&ana, &of_ana, 2, Some(&x2), &[], tag(3, "env", Some("x3")));
    let x4 = op(&ana, &of_ana, 2, Some(&x3), &[straight[0].id()], tag(1, "role", Some("x4")));
    let y2 = op(&ana, &of_ana, 2, Some(&f1), &[], tag(2, "env", Some("y2")));
    let y3 = op(&ana, &of_ana, 2, Some(&y2), &[], tag(3, "env", Some("y3")));
    let y4 = op(&ana, &of_ana, 2, Some(&y3), &[], tag(3, "env", Some("y4")));
    let z2 = op(&ana, &of_ana, 2, Some(&f1), &[], tag(2, "env", None));
    let x4_too = op(&ana, &of_ana, 2, Some(&x3), &[], tag(3, "env", Some("x4 too")));
    // Follows nothing that exists.
    let adrift = {
        let body = Op { previous: Some(EntryId([3; 32])), ..x3.body().clone() };
        Signed::sign(fleet.id(), &ana, body)
    };
    // Two firsts.
    let twins = [Some("t"), None].map(|value| op(&bo, &of_bo, 3, None, &[], tag(3, "tier", value)));
    let after_twin = op(&bo, &of_bo, 3, Some(&twins[0]), &[], tag(3, "tier", Some("u")));
    // By nobody who may.
    let thief = fleet.op(&key(40), of_ana.id(), 1, None, &[], tag(1, "role", Some("root")));
    for op in straight.iter().chain(&twins).chain([
        &strange,
        &bold,
        &gone,
        &unborn,
        &retired,
        &called,
        &mixed,
        &mixed_on,
        &f0,
        &f1,
        &x2,
        &x3,
        &x4,
        &y2,
        &y3,
        &y4,
        &z2,
        &x4_too,
        &adrift,
        &after_twin,
        &thief,
    ]) {
        add(Entry::Op(op.clone()));
    }

    // Orders, and cancellations of which only some count.
    let orders = [
        order(&fleet, &ana, of_ana.id(), 1),
        order(&fleet, &bo, of_bo.id(), 2),
        order(&fleet, &cy, left.id(), 3),
        order(&fleet, &cy, right.id(), 4),
        order(&fleet, &key(40), of_ana.id(), 5),
        order(&fleet, &dee, of_dee.id(), 6),
        order(&fleet, &ana, of_ana.id(), 7),
    ];
    for order in &orders {
        add(Entry::Order(order.clone()));
    }
    let end = later(HOUR_MS);
    add(cancel(&fleet, &ana, &orders[0], 1, end));
    add(cancel(&fleet, &ana, &orders[0], 2, end));
    add(cancel(&fleet, &ana, &orders[0], 3, Timestamp(u64::MAX)));
    add(cancel(&fleet, &bo, &orders[0], 4, end));
    add(cancel(&fleet, &cy, &orders[2], 5, end));
    add(cancel(&fleet, &cy, &orders[3], 5, end));

    // What was said on orders, some of which nobody holds; of two of one voice the newer stands.
    let approve = |by: &SecretKey<Operator>, under: EntryId, order: EntryId, given, at| {
        let (at, expires, reason) = (later(at), later(2 * HOUR_MS), String::new());
        let body = Approval { certificate: under, order, given, at, expires, reason };
        Entry::Approval(Signed::sign(fleet.id(), by, body))
    };
    let (one, nowhere) = (orders[0].id(), EntryId([9; 32]));
    add(approve(&bo, of_bo.id(), one, true, 1));
    add(approve(&bo, of_bo.id(), one, true, 2));
    add(approve(&bo, of_bo.id(), one, false, 2));
    add(approve(&cy, left.id(), one, true, 1));
    add(approve(&dee, of_dee.id(), nowhere, true, 1));
    add(approve(&key(40), of_bo.id(), nowhere, true, 1));

    // Heads, of which two pairs stand at one place.
    let (shared, own, long) = (facet("1.0"), facet("2.0"), facet("a longer version number"));
    entries.push(head(&fleet, 1, (0, 1), 0, &[&shared]));
    entries.push(head(&fleet, 1, (0, 2), 1, &[&shared, &own]));
    entries.push(head(&fleet, 1, (0, 2), 2, &[&own]));
    entries.push(head(&fleet, 1, (1, 0), 3, &[&own]));
    entries.push(head(&fleet, 1, (1, 0), 4, &[&long]));
    // Both pairs prove the same of one host.
    let heads: Vec<Signed<Head>> = entries
        .iter()
        .filter_map(|(entry, _)| if let Entry::Head(head) = entry { Some(head.clone()) } else { None })
        .collect();
    for pair in [&heads[1..3], &heads[3..5]] {
        let proof = Equivocation::of(fleet.id(), &pair[0], &pair[1]).unwrap();
        entries.push((Entry::Equivocation(Box::new(proof)), Vec::new()));
    }
    entries.push(head(&fleet, 3, (0, 1), 0, &[&shared]));
    entries.push(head(&fleet, 3, (0, u64::MAX), 0, &[]));
    entries.push(head(&fleet, 5, (0, 1), 0, &[&shared]));
    entries.push(head(&fleet, 40, (0, 1), 0, &[&shared]));
    // Long ones, as differences to others and alone.
    let [base, one, two] = [0, 1, 2].map(rows);
    let against = |bytes: &Bytes, base: &Bytes| {
        Packed::against(&bytes.0, FacetHash::of(&base.0).half(), &base.0).unwrap()
    };
    for (host, sequence, named, along) in [
        (2, 1, &one, vec![Packed::alone(&base.0), against(&one, &base)]),
        (2, 2, &two, vec![Packed::alone(&one.0), against(&two, &one)]),
        (4, 1, &two, vec![Packed::alone(&base.0), against(&two, &base)]),
        (4, 2, &one, vec![Packed::alone(&one.0)]),
        (6, 1, &base, vec![Packed::alone(&two.0), against(&base, &two)]),
    ] {
        entries.push((
            head(&fleet, host, (0, sequence), sequence, &[&shared, named]).0,
            [along, vec![Packed::alone(&shared.0)]].concat(),
        ));
    }
    // One that lies about a facet's length, and one that comes without its facet.
    if let Entry::Head(honest) = head(&fleet, 4, (0, 1), 0, &[&shared]).0 {
        let mut body = honest.body().clone();
        body.facets[0].bytes += 1;
        entries.push((Entry::Head(Signed::sign(fleet.id(), &key(4), body)), vec![Packed::alone(&shared.0)]));
    }
    entries.push((head(&fleet, 4, (0, 0), 0, &[&facet("never sent")]).0, Vec::new()));

    let by_id = entries.iter().map(|(entry, _)| (entry.id(), entry.clone())).collect();
    World { fleet, entries, by_id }
}

// ---- what two replicas must agree on

/// Id, certificate, standing, tags, departure.
type HostView = (HostId, EntryId, Standing, Vec<(String, TagState)>, Option<EntryId>);

#[derive(Debug, PartialEq)]
struct View {
    roots: [Roots; 2],
    entries: BTreeSet<EntryId>,
    certificates: Vec<EntryId>,
    hosts: Vec<HostView>,
    stops: Vec<EntryId>,
    halts: Vec<EntryId>,
    invitations: Vec<EntryId>,
    streams: Vec<(StreamId, Vec<EntryId>, Vec<EntryId>)>,
    heads: Vec<(HostId, EntryId, Option<NodeFacet>)>,
    facets: BTreeSet<FacetHash>,
    orders: Vec<EntryId>,
    cancellations: Vec<(EntryId, EntryId)>,
    approvals: Vec<EntryId>,
}

impl Replica {
    /// Computes the ledger and the counts of facets again, from nothing but what is held.
    fn check(&self) {
        let mut again = Ledger::new(self.fleet());
        for update in self.authority.chain().updates().into_iter().skip(1) {
            again.enter(update.id(), Spot::Root, None);
        }
        for grant in self.authority.grants() {
            again.enter(grant.id(), Spot::Grant, None);
        }
        for suspension in self.authority.suspensions() {
            again.enter(suspension.id(), Spot::Suspension, None);
        }
        for halt in self.authority.signed_halts() {
            again.enter(halt.id(), Spot::Halt, None);
        }
        for word in self.authority.admissions() {
            again.enter(word.id(), Spot::Admission, None);
        }
        for (id, invitation) in &self.invitations {
            again.enter(*id, Spot::Invitation, Some(invitation.body().expires));
        }
        for host in self.authority.hosts() {
            again.enter(host.enrolled().certificate().id(), Spot::Host(host.id()), None);
            if let Some(departure) = host.departure() {
                again.enter(departure.id(), Spot::Departure(host.id()), None);
            }
        }
        for proof in self.equivocations() {
            again.enter(proof.id(), Spot::Equivocation(proof.host()), None);
        }
        for (stream, held) in &self.operators {
            for op in &held.ops {
                again.enter(op.id(), Spot::Op { stream: *stream, sequence: op.body().sequence }, None);
            }
            for op in held.forked() {
                again.enter(op.id(), Spot::Fork(*stream), None);
            }
        }
        for (host, head) in self.heads() {
            again.enter(head.id(), Spot::Head(*host), None);
        }
        for (id, order) in &self.orders {
            again.enter(*id, Spot::Order, Some(order.body().expires));
        }
        for (order, cancellation) in &self.cancellations {
            again.enter(cancellation.id(), Spot::Cancellation(*order), Some(cancellation.body().expires));
        }
        for approval in self.approvals.all() {
            let (order, expires) = (approval.body().order, approval.body().expires);
            again.enter(approval.id(), Spot::Approval(order), Some(expires));
        }
        let hours = [0, first_hour(NOW), first_hour(NOW) + 2, first_hour(later(3 * HOUR_MS)), u64::MAX];
        for hour in hours {
            assert_eq!(self.roots(hour), again.sums().roots(hour), "the sums");
        }
        assert!(self.ledger.ids().eq(again.ids()), "the index");
        let genesis = EntryId(self.fleet().0);
        for id in self.ledger.ids() {
            assert_eq!(self.ledger.spot(id), again.spot(id));
            let half = *id.0.first_chunk::<16>().unwrap();
            if let Some(Spot::Head(host)) = self.ledger.spot(id) {
                assert_eq!(self.head(&host).unwrap().id(), *id);
                assert_eq!((self.entry_item(id), self.find(&half)), (None, None));
                assert_eq!(self.head_place(&host).unwrap().half, half);
            } else {
                let item = self.entry_item(id).unwrap();
                assert_eq!(crate::identity::peek(&item.entry.0).unwrap().id, *id);
                assert_eq!(self.find(&half), Some(*id));
            }
        }
        let fed: Vec<(u64, Element)> = self.since(0).collect();
        assert!(fed.is_sorted_by(|a, b| a.0 < b.0) && fed.last().is_none_or(|last| last.0 <= self.lsn()));
        let fed: BTreeSet<EntryId> = fed
            .iter()
            .map(|(_, element)| match element {
                Element::Entry(id) => *id,
                Element::Head(host) => self.head(host).unwrap().id(),
            })
            .collect();
        assert!(self.ledger.ids().filter(|id| **id != genesis).eq(&fed), "one row an element");
        self.facets.check(self.heads().map(|(_, head)| head));
    }

    fn view(&self) -> View {
        let authority = self.authority();
        View {
            roots: [self.roots(0), self.roots(first_hour(NOW))],
            entries: self.ledger.ids().copied().collect(),
            certificates: authority.certificates().map(|(id, _)| *id).collect(),
            hosts: authority
                .hosts()
                .map(|host| {
                    let tags = host.tags().clone().into_iter().collect();
                    let certificate = host.enrolled().certificate().id();
                    (host.id(), certificate, host.standing(), tags, host.departure().map(Signed::id))
                })
                .collect(),
            stops: authority.stops().map(|stop| stop.id).collect(),
            halts: authority.halts().map(|halt| halt.id).collect(),
            invitations: self.invitations.keys().copied().collect(),
            streams: self
                .operators
                .iter()
                .map(|(id, stream)| {
                    let ops = stream.ops.iter().map(Signed::id).collect();
                    (*id, ops, stream.forked().map(Signed::id).collect())
                })
                .collect(),
            heads: self.heads().map(|(host, head)| (*host, head.id(), self.node_facet(host))).collect(),
            // What is held beside, as a base, depends on what came first.
            facets: self
                .heads()
                .flat_map(|(_, head)| &head.body().facets)
                .map(|facet| {
                    assert!(self.facet_bytes(&facet.hash).is_some());
                    facet.hash
                })
                .collect(),
            orders: self.orders().map(|order| order.signed().id()).collect(),
            cancellations: self.cancellations.iter().map(|(order, c)| (*order, c.id())).collect(),
            approvals: self.approvals.all().map(Signed::id).collect(),
        }
    }
}

fn empty() -> Replica {
    Replica::new(world().fleet.authority())
}

/// Delivers entries in this order, again and again until nothing more is taken.
fn saturated(chosen: &[usize]) -> Replica {
    let mut replica = empty();
    for _ in 0..100 {
        let mut changed = false;
        for at in chosen {
            let (entry, facets) = &world().entries[*at];
            let took = replica.merge(entry.clone(), facets);
            changed |= matches!(took, Ok(Merged::New | Merged::Forked));
        }
        if !changed {
            replica.check();
            return replica;
        }
    }
    panic!("the same entries change the replica for ever");
}

fn deliver(replica: &mut Replica, item: &Item) -> Result<Merged, Refusal> {
    let id = crate::identity::peek(&item.entry.0).unwrap().id;
    replica.merge(world().by_id[&id].clone(), &item.facets)
}

/// As a neighbour does: with what it lacks of the facets fetched from where the head came from.
fn deliver_from(from: &Replica, replica: &mut Replica, mut item: Item) {
    for round in 0.. {
        let missing = replica.missing_facets(&item).facets;
        if missing.is_empty() {
            break;
        }
        assert!(round < 3, "it asks without end");
        item.facets
            .extend(missing.iter().map(|half| from.packed(half).expect("who names it holds it").clone()));
    }
    let _ = deliver(replica, &item);
}

/// One exchange each way between all pairs; `lost` says of each item whether it got lost. Returns how
/// many were sent.
fn exchange(replicas: &mut [Replica], mut lost: impl FnMut() -> bool) -> usize {
    let mut sent = 0;
    for from in 0..replicas.len() {
        for to in 0..replicas.len() {
            let items = lacking(&replicas[from], &replicas[to].tip(&Sections::ALL, TipForm::Full, NOW), NOW);
            assert!(from != to || items.is_empty(), "a replica lacks something of itself");
            sent += items.len();
            for item in items {
                if !lost() {
                    let source = replicas[from].clone();
                    deliver_from(&source, &mut replicas[to], item);
                }
            }
        }
    }
    sent
}

fn exchange_to_the_end(replicas: &mut [Replica]) {
    for _ in 0..20 {
        if exchange(replicas, || false) == 0 {
            return;
        }
    }
    let lacking = lacking(&replicas[0], &replicas[1].tip(&Sections::ALL, TipForm::Full, NOW), NOW);
    panic!("the exchange does not end: {lacking:?} of {replicas:?}");
}

fn shuffled(orders: usize) -> impl Strategy<Value = (Vec<bool>, Vec<Vec<Index>>)> {
    let count = world().entries.len();
    (vec(proptest::bool::weighted(0.85), count), vec(vec(any::<Index>(), count), orders))
}

/// The chosen entries in the order that the indexes give.
fn arrange(chosen: &[bool], order: &[Index]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..chosen.len()).filter(|at| chosen[*at]).collect();
    let mut arranged = Vec::new();
    for index in order {
        if !left.is_empty() {
            arranged.push(left.swap_remove(index.index(left.len())));
        }
    }
    arranged
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_held_is_a_function_of_the_set((chosen, orders) in shuffled(2)) {
        let one = saturated(&arrange(&chosen, &orders[0]));
        let other = saturated(&arrange(&chosen, &orders[1]));
        prop_assert_eq!(one.view(), other.view());
        // And so is what was written to disk and read again.
        let mut again = empty();
        for item in one.all() {
            deliver(&mut again, &item).unwrap();
        }
        prop_assert_eq!(one.view(), again.view());
    }

    #[test]
    fn while_the_versions_stand_so_does_what_they_count((chosen, orders) in shuffled(1)) {
        let members = |replica: &Replica| -> Vec<HostId> { replica.authority().members().map(Host::id).collect() };
        let mut replica = empty();
        let mut last = replica.clone();
        // Twice: what was refused may be taken the second time, and what was taken is known.
        for entry in arrange(&chosen, &orders[0]).repeat(2) {
            let (entry, facets) = &world().entries[entry];
            let _ = replica.merge(entry.clone(), facets);
            replica.check();
            if replica.version() == last.version() {
                prop_assert_eq!(replica.view(), last.view());
            }
            if replica.authority_version() == last.authority_version() {
                prop_assert_eq!(members(&replica), members(&last));
            }
            last = replica.clone();
        }
        let past = later(3 * HOUR_MS);
        let expired = replica.invitations.len() + replica.orders.len() + replica.cancellations.len();
        let (version, digest) = (replica.version(), replica.digest(past));
        let swept = replica.sweep(past);
        prop_assert_eq!(swept.len(), expired);
        prop_assert_eq!(replica.version() == version, swept.is_empty());
        prop_assert_eq!(replica.digest(past), digest);
        replica.check();
    }

    #[test]
    fn replicas_that_lost_much_agree_when_nothing_is_lacking(
        (chosen, orders) in shuffled(3),
        heard in vec(vec(0_u8..3, world().entries.len()), 3),
        losses in vec(any::<bool>(), 64),
    ) {
        // Each entry is heard twice, once or never at each replica.
        let mut replicas: Vec<Replica> = (0..3).map(|_| empty()).collect();
        for (at, replica) in replicas.iter_mut().enumerate() {
            for entry in arrange(&chosen, &orders[at]) {
                for _ in 0..heard[at][entry] {
                    let (entry, facets) = &world().entries[entry];
                    let _ = replica.merge(entry.clone(), facets);
                }
            }
        }
        let mut next = losses.iter().cycle();
        for _ in 0..2 {
            exchange(&mut replicas, || *next.next().unwrap());
        }
        exchange_to_the_end(&mut replicas);
        let views: Vec<_> = replicas.iter().map(Replica::view).collect();
        prop_assert_eq!(&views[0], &views[1]);
        prop_assert_eq!(&views[0], &views[2]);
    }

    #[test]
    fn a_full_replica_fills_others_that_hold_any_part((chosen, orders) in shuffled(2), part in any::<Index>()) {
        let full = saturated(&arrange(&chosen, &orders[0]));
        let expected = full.view();
        let some = arrange(&chosen, &orders[1]);
        let some = saturated(&some[..part.index(some.len() + 1)]);
        let mut replicas = [full, some, empty()];
        exchange_to_the_end(&mut replicas);
        for replica in &replicas {
            prop_assert_eq!(&replica.view(), &expected);
        }
    }

    #[test]
    fn the_short_forms_of_a_tip_find_what_the_long_one_finds(chosen in vec(any::<bool>(), world().entries.len())) {
        let is_head = |at: &usize| matches!(world().entries[*at].0, Entry::Head(_));
        let some: Vec<usize> = (0..chosen.len()).filter(|at| chosen[*at] || !is_head(at)).collect();
        let (full, some) = (full(), saturated(&some));
        let ids = |form, sections: &Sections| -> BTreeSet<EntryId> {
            let tip = some.tip(sections, form, NOW);
            let tip: Tip = wire::decode(&wire::encode(&tip), 1 << 20).unwrap();
            let items = lacking(full, &tip, NOW);
            items.iter().map(|item| crate::identity::peek(&item.entry.0).unwrap().id).collect()
        };
        let long = ids(TipForm::Full, &Sections::ALL);
        let newer: BTreeSet<EntryId> = long
            .iter()
            .filter(|id| {
                let Entry::Head(head) = &world().by_id[id] else { return true };
                let place = |place: HeadPlace| (place.epoch, place.sequence);
                let held = some.head_place(&HostId::of(&head.signer())).map(place);
                held != Some((head.body().epoch, head.body().sequence))
            })
            .copied()
            .collect();
        // All but heads that stand at the same place.
        prop_assert_eq!(&ids(TipForm::Rows, &Sections::ALL), &newer);
        prop_assert_eq!(full.roots(0).members, some.roots(0).members);
        prop_assert_eq!(&ids(TipForm::Dense, &Sections::ALL), &newer);
        // A section whose roots are equal need not be spoken of.
        let differing = Sections::differing(&full.roots(0), &some.roots(0));
        prop_assert_eq!(&ids(TipForm::Full, &differing), &long);
        prop_assert_eq!(differing.is_empty(), long.is_empty());
    }

    #[test]
    fn no_tip_makes_a_replica_panic_or_answer_without_bound(
        bytes in vec(vec(any::<u8>(), 0..200), 6),
        hour in any::<u64>(),
        form in 0..3,
    ) {
        let replica = full();
        let mut bytes = bytes.into_iter().map(Bytes);
        let mut next = || bytes.next();
        let heads = match form {
            0 => HeadTips::Dense { members: replica.roots(0).members, places: next().unwrap() },
            1 => HeadTips::Rows { rows: next().unwrap() },
            _ => HeadTips::Full { rows: next().unwrap() },
        };
        let strange = Tip { hour, members: next(), set: next(), ops: next(), heads: Some(heads) };
        let everything = replica.all().len();
        prop_assert!(lacking(replica, &strange, NOW).len() <= everything);
        let bytes = wire::encode(&strange);
        prop_assert_eq!(wire::decode::<Tip>(&bytes, 1 << 20).unwrap(), strange);
    }

    #[test]
    fn no_bytes_make_verification_panic(bytes in vec(any::<u8>(), 0..256), text in "(mst1)?[ -~é]{0,80}") {
        prop_assert!(Entry::verify(&bytes, world().fleet.id()).is_err());
        let _ = (wire::decode::<Item>(&bytes, 1024), wire::decode::<Tip>(&bytes, 1024));
        prop_assert!(JoinToken::from_text(&text).is_err());
        try_all_kinds(&bytes);
    }

    #[test]
    fn no_mutated_entry_is_taken_for_another(
        which in any::<Index>(),
        edits in vec((any::<Index>(), any::<u8>(), 0_u8..3), 1..4),
    ) {
        let (entry, _) = &world().entries[which.index(world().entries.len())];
        let mut bytes = entry.bytes().to_vec();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if !bytes.is_empty() => { bytes.remove(at); }
                _ => {}
            }
        }
        if bytes != entry.bytes() {
            prop_assert!(Entry::verify(&bytes, world().fleet.id()).is_err());
        }
        try_all_kinds(&bytes);
    }
}

/// Everything that the world has to give, in the order in which it was made.
fn full() -> &'static Replica {
    static FULL: OnceLock<Replica> = OnceLock::new();
    FULL.get_or_init(|| saturated(&(0..world().entries.len()).collect::<Vec<_>>()))
}

fn try_all_kinds(bytes: &[u8]) {
    fn refused<T: Payload>(bytes: &[u8]) {
        if let Ok(signed) = Signed::<T>::verify(bytes, world().fleet.id()) {
            assert!(world().by_id.contains_key(&signed.id()), "something that nobody signed");
        }
    }
    refused::<Invitation>(bytes);
    refused::<Enrolment>(bytes);
    refused::<HostCertificate>(bytes);
    refused::<Departure>(bytes);
    refused::<Op>(bytes);
    refused::<Head>(bytes);
    refused::<Order>(bytes);
    refused::<Cancellation>(bytes);
    refused::<ResultRecord>(bytes);
    refused::<Card>(bytes);
    refused::<ReadRequest>(bytes);
    if let Ok(signed) = Cosigned::<RootUpdate>::verify(bytes, world().fleet.id()) {
        assert!(world().by_id.contains_key(&signed.id()), "something that nobody signed");
    }
    let _ = Enrolled::verify(bytes, world().fleet.id());
}

/// What a replica with this tip lacks, as it travels.
fn lacking(replica: &Replica, theirs: &Tip, now: Timestamp) -> Vec<Item> {
    let lacked = replica.lacking(theirs, now);
    let items: Vec<Item> = lacked.iter().map(|lacked| lacked.item(replica)).collect();
    for (lacked, item) in lacked.iter().zip(&items) {
        assert_eq!(lacked.weight(replica), item.weight());
    }
    items
}

#[test]
fn the_world_holds_what_the_properties_are_about() {
    let replica = full();
    let standings: Vec<_> = replica.authority().hosts().map(Host::standing).collect();
    for standing in [Standing::Member, Standing::Left, Standing::Disowned] {
        assert!(standings.contains(&standing), "{standing:?}");
    }
    let view = replica.view();
    assert!(view.hosts.iter().any(|host| host.3.iter().any(|(_, tag)| *tag == TagState::Conflict)));
    assert!(view.streams.iter().filter(|stream| !stream.2.is_empty()).count() >= 2);
    assert!(view.orders.len() >= 3 && !view.cancellations.is_empty());
    assert!(replica.authority().chain().forks() == 1 && replica.forks() > 3);
    assert!(replica.operator_stream(&StreamId::of_operator(&key(1).public(), WriterId([1; 16]))).len() == 4);
}

#[test]
fn a_cancellation_is_the_orders_signers_and_ends_with_it() {
    let (ana, bo) = (key::<Operator>(1), key::<Operator>(2));
    let (fleet, ids) = Fleet::with(&[certificate("ana", &ana), certificate("bo", &bo)]);
    let order = order(&fleet, &ana, ids[0], 1);
    let end = order.body().expires;
    let mut replica = Replica::new(fleet.authority());
    let good = cancel(&fleet, &ana, &order, 1, end);
    assert_eq!(replica.merge(good.clone(), &[]), Err(Refusal::Gap), "it waits for its order");
    replica.merge(Entry::Order(order.clone()), &[]).unwrap();
    assert_eq!(replica.merge(cancel(&fleet, &bo, &order, 1, end), &[]), Err(Refusal::NotTheHolder));
    for other in [Timestamp(0), NOW, Timestamp(end.0 + 1), Timestamp(u64::MAX)] {
        let refused = replica.merge(cancel(&fleet, &ana, &order, 1, other), &[]);
        assert!(matches!(refused, Err(Refusal::Malformed(_))), "{other:?}");
    }
    assert!(replica.cancellation(&order.id()).is_none());
    assert_eq!(replica.merge(good.clone(), &[]), Ok(Merged::New));
    assert_eq!(replica.merge(good, &[]), Ok(Merged::Known));
    assert!(replica.cancellation(&order.id()).is_some());
}

#[test]
fn what_is_past_is_neither_counted_nor_sent_and_is_swept_together() {
    let ana = key::<Operator>(1);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &ana)]);
    let order = order(&fleet, &ana, ids[0], 1);
    let cancelled = cancel(&fleet, &ana, &order, 1, order.body().expires);
    let invitation = fleet.invite(&ana, ids[0], 1, &[], 1);
    let fresh = Replica::new(fleet.authority());
    let mut replica = fresh.clone();
    for entry in [Entry::Order(order), cancelled, Entry::Invitation(invitation)] {
        assert_eq!(replica.merge(entry, &[]), Ok(Merged::New));
    }
    // It counts until the hour after that in which it expires is over.
    let expires = later(HOUR_MS);
    let past = Timestamp((expires.0 / HOUR_MS + 2) * HOUR_MS);
    let last = Timestamp(past.0 - 1);
    let tip = |at| fresh.tip(&Sections::ALL, TipForm::Full, at);
    assert_eq!(lacking(&replica, &tip(last), last).len(), 3);
    assert!(replica.sweep(last).is_empty());
    assert_eq!(replica.digest(past), fresh.digest(past));
    assert!(lacking(&replica, &tip(past), past).is_empty());
    // Of two whose clocks differ, the later hour counts at both ends.
    assert!(lacking(&replica, &tip(past), last).is_empty());
    assert_eq!(replica.roots(first_hour(past)), fresh.roots(first_hour(last).max(first_hour(past))));
    assert_eq!(replica.sweep(past).len(), 3);
    assert_eq!(replica.entries(), fresh.entries());
    assert_eq!(replica.digest(NOW), fresh.digest(NOW));
}

#[test]
fn a_dense_tip_of_other_members_says_nothing_of_heads() {
    let (full, none) = (full(), empty());
    let heads = Sections { members: false, set: false, ops: false, heads: true };
    assert_eq!(lacking(full, &none.tip(&heads, TipForm::Dense, NOW), NOW), []);
    assert_eq!(lacking(full, &none.tip(&heads, TipForm::Rows, NOW), NOW).len(), full.heads().count());
    assert_eq!(lacking(full, &Tip::default(), NOW), [], "nor does one that speaks of nothing");
}

#[test]
fn numbers_of_any_size_come_back_and_others_do_not() {
    for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number);
        let mut rest = bytes.as_slice();
        assert_eq!((take_varint(&mut rest), rest), (Some(number), &[][..]));
        assert_eq!(take_varint(&mut &bytes[..bytes.len() - 1]), None, "cut short");
    }
    assert_eq!(take_varint(&mut &[0xff; 12][..]), None, "too long");
    assert_eq!(
        take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]),
        None,
        "too great"
    );
}

#[test]
fn the_feed_tells_each_element_once_and_its_newest() {
    let fleet = Fleet::new();
    let mut replica = saturated(&(0..world().entries.len()).collect::<Vec<_>>());
    let (lsn, host) = (replica.lsn(), host_id(1));
    assert_eq!(replica.since(lsn).count(), 0);
    assert_eq!(replica.since(u64::MAX).count(), 0);
    for sequence in 1..4 {
        let (entry, facets) = head(&world().fleet, 1, (9, sequence), 0, &[&facet("3.0")]);
        replica.merge(entry, &facets).unwrap();
    }
    assert_eq!(replica.since(lsn).collect::<Vec<_>>(), [(lsn + 3, Element::Head(host))]);
    assert_eq!(replica.since(0).filter(|(_, element)| *element == Element::Head(host)).count(), 1);
    assert_eq!(replica.hosts_by_prefix(&host.0[..8]), [host]);
    assert_eq!(replica.hosts_by_prefix(&[0xee; 8]), []);
    assert_ne!(Replica::new(fleet.authority()).roots(0), saturated(&[0]).roots(0));
}

#[test]
fn a_fork_is_found_at_its_place_however_far_both_went_on() {
    let ana = key::<Operator>(1);
    let (fleet, ids) = Fleet::with(&[certificate("ana", &ana)]);
    let common = fleet.op(&ana, ids[0], 1, None, &[], tag(1, "role", Some("web")));
    let branch = |value: &str, length| {
        let mut ops = vec![common.clone()];
        for _ in 0..length {
            ops.push(fleet.op(&ana, ids[0], 1, ops.last(), &[], tag(1, "env", Some(value))));
        }
        let mut replica = Replica::new(fleet.authority());
        for op in ops {
            assert_eq!(replica.merge(Entry::Op(op), &[]), Ok(Merged::New));
        }
        replica
    };
    for (one, other) in [(1, 1), (1, 9), (9, 9), (3, 4)] {
        let mut replicas = [branch("a", one), branch("b", other)];
        let mut rounds = 0;
        while replicas[0].digest(NOW) != replicas[1].digest(NOW) {
            rounds += 1;
            assert!(rounds < 4, "{one} and {other}");
            for (from, to) in [(0, 1), (1, 0)] {
                for item in
                    lacking(&replicas[from], &replicas[to].tip(&Sections::ALL, TipForm::Full, NOW), NOW)
                {
                    let _ = replicas[to].merge(Entry::verify(&item.entry.0, fleet.id()).unwrap(), &[]);
                }
            }
        }
        let stream = StreamId::of_operator(&ana.public(), WriterId([1; 16]));
        for replica in &replicas {
            assert_eq!(
                replica.operator_stream(&stream).iter().map(Signed::id).collect::<Vec<_>>(),
                [common.id()]
            );
            assert_eq!(replica.forks(), 1);
            let proof = replica.operators[&stream].forked().map(Signed::id).collect::<Vec<_>>();
            assert!(proof.len() == 2 && proof.iter().all(|id| replica.holds(id)), "so that it is passed on");
            assert_eq!(replica.entries(), fleet.chain.updates().len() + 3);
            let next = fleet.op(&ana, ids[0], 1, Some(&common), &[], tag(1, "env", Some("c")));
            assert_ne!(replica.clone().merge(Entry::Op(next), &[]), Ok(Merged::New), "it is frozen");
        }
    }
}

#[test]
fn a_token_whose_certificate_lost_is_not_found() {
    let (ana, fleet) = (key::<Operator>(1), Fleet::new());
    let genesis = fleet.chain.updates()[0].id();
    let certify = |person| fleet.update(Some(genesis), 1, RootChange::Certify(certificate(person, &ana)));
    let (one, other) = (certify("ana"), certify("ana again"));
    let (winner, loser) = if one.id() < other.id() { (one, other) } else { (other, one) };
    let invitation = fleet.invite(&ana, loser.id(), 1, &[], 1);
    let token = invitation.body().token;
    let mut replica = Replica::new(fleet.authority());
    replica.merge(Entry::Root(loser), &[]).unwrap();
    replica.merge(Entry::Invitation(invitation), &[]).unwrap();
    assert!(replica.invitation_of(&token).is_some());
    replica.merge(Entry::Root(winner), &[]).unwrap();
    assert!(replica.invitation_of(&token).is_none());
}

/// Heads of one host that say how far its audit chain is: each by its place in the stream, and by the number and
/// the id of the last record.
fn audited(fleet: &Fleet, place: u64, audit: Option<(u64, u8)>) -> Entry {
    let audit = audit.map(|(sequence, id)| AuditHead { sequence, id: EntryId([id; 32]) });
    let body =
        Head { epoch: 0, sequence: place, previous: None, at: hlc(later(place)), facets: Vec::new(), audit };
    Entry::Head(Signed::sign(fleet.id(), &key(1), body))
}

#[test]
fn a_host_that_takes_back_its_audit_chain_is_held_to_what_it_showed_in_either_order() {
    let key_of_ana: SecretKey<Operator> = key(1);
    let (fleet, under) = Fleet::with(&[certificate("ana", &key_of_ana)]);
    let invitation = fleet.invite(&key_of_ana, under[0], 9, &[], 9);
    let host = fleet.enrol(&invitation, 9, 1, &[]);
    // Later, and: (earlier, later) of the chain; whether that is a proof.
    let cases = [
        (Some((4, 1)), Some((5, 2)), false),
        (Some((4, 1)), Some((4, 1)), false),
        (None, Some((0, 1)), false),
        (Some((4, 1)), Some((3, 1)), true),
        (Some((4, 1)), Some((4, 2)), true),
        (Some((4, 1)), None, true),
    ];
    for (earlier, later, proves) in cases {
        let heads = [audited(&fleet, 1, earlier), audited(&fleet, 2, later)];
        for reversed in [false, true] {
            let mut replica = Replica::new(fleet.authority());
            replica.merge(Entry::Host(Box::new(host.clone())), &[]).unwrap();
            let mut both = heads.to_vec();
            if reversed {
                both.reverse();
            }
            for head in both {
                replica.merge(head, &[]).unwrap();
            }
            let proofs: Vec<_> = replica
                .audit_forks()
                .map(|(_, (one, other))| (one.body().sequence, other.body().sequence))
                .collect();
            let expected = if proves { vec![(1, 2)] } else { Vec::new() };
            assert_eq!(proofs, expected, "{earlier:?} {later:?} {reversed}");
        }
    }
}
