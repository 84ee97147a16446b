//! Nothing runs without a signature that allows it here and now.

use std::sync::Arc;

use super::harness::{Host, operator, until};
use crate::{
    authority::{
        Certificate, ListPlace, MemberList, RootChange, Verb,
        sample::{self, HOUR_MS, NOW, host_id, key, later, tag},
    },
    executor::message::ToExecutor,
    identity::{
        FleetId, HostId, Operator, SecretKey, Signed, SignedError,
        ssh::{Proof, sample::SoftToken},
    },
    replica::{Action, Handed, Outcome, Roster},
    time::Timestamp,
    wire::Bytes,
};

const OK: Outcome = Outcome::Exited { code: 0 };

#[test]
fn an_order_by_a_key_without_a_certificate_is_counted_and_nothing_else() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    // Operator 3 has none, and names another's.
    mesh.order(&host.order_of(3, "exit 0", |_| {}));
    mesh.order(&host.order_of(2, "exit 0", |order| order.certificate = host.under[0]));
    // One of another fleet.
    let body = host.order("exit 0", |_| {}).body().clone();
    mesh.order(&Signed::sign(FleetId([9; 32]), &operator(1), body.clone()));
    // One whose bytes were changed after it was signed.
    let mut bytes = Signed::sign(host.fleet.id(), &operator(1), body).bytes().to_vec();
    let at = bytes.windows(4).position(|word| word == b"echo").unwrap();
    bytes[at] = b'E';
    mesh.send(&ToExecutor::Order { order: Handed::bare(&bytes) });
    assert_eq!(mesh.counter("orders_dropped"), 4);
    mesh.send(&ToExecutor::Order { order: Handed::bare(b"\x1b[2Jno order") });
    mesh.send(&ToExecutor::Order { order: Handed::bare(host.fleet.departure(5, NOW).bytes()) });
    assert_eq!(mesh.counter("orders_malformed"), 1);
    assert_eq!(mesh.counter("orders_dropped"), 5);
    assert_eq!(host.runs(), 0);
    assert!(!host.log().contains('\x1b'));
}

#[test]
fn an_order_by_a_token_runs_if_it_was_touched_for_it_and_no_other_signature_stands_in() {
    let mut token = SoftToken::new(2, "ssh:");
    let host = Host::with(|eve| eve.key = token.key(), 1);
    let (_agent, mut mesh) = host.start();
    let name = token.key().name();
    let body = |host: &Host| host.order_of(2, "exit 0", |_| {}).body().clone();
    // Software that has the token's secret: its key is another, which has no certificate.
    let software = SecretKey::<Operator>::from_seed(&[2; 32]);
    assert_eq!(token.key().blob()[34..66], software.public().bytes());
    mesh.order(&Signed::sign(host.fleet.id(), &software, body(&host)));
    let signed_by = |token: &mut SoftToken| {
        Signed::sign_by::<SignedError>(host.fleet.id(), name, body(&host), |bytes| {
            Ok(Proof::SkEd25519(token.prove(bytes)))
        })
    };
    let touched = signed_by(&mut token).unwrap();
    // Nobody makes the others by way of `sign_by`: it is their bytes that differ, as a liar makes them.
    let point = touched.bytes().windows(4).position(|part| part == b"ssh:").unwrap();
    for (at, to) in [(point + 4, 0), (point + 3, b'x'), (point + 5, 9)] {
        let mut bytes = touched.bytes().to_vec();
        bytes[at] = to;
        mesh.send(&ToExecutor::Order { order: Handed::bare(&bytes) });
    }
    assert_eq!(mesh.counter("orders_dropped") + mesh.counter("orders_malformed"), 4);
    assert_eq!(host.runs(), 0);
    mesh.order(&touched);
    assert_eq!(mesh.outcome(&touched), OK);
    assert_eq!(host.runs(), 1);
}

#[test]
fn an_operator_is_told_why_an_order_is_refused_and_nothing_starts() {
    let host = Host::with(
        |eve| {
            eve.scope = "tag.role = db".to_owned();
            eve.hosts_max = Some(1);
        },
        1,
    );
    let (_agent, mut mesh) = host.start();
    let mut refused = |order: Signed<crate::replica::Order>, word: &str| {
        let why = mesh.refusal(&order);
        assert!(why.contains(word), "{why:?}, where {word:?} was to be said");
        assert_eq!(host.runs(), 0, "{why}");
    };
    refused(host.order_of(2, "exit 0", |_| {}), "does not cover this host");
    refused(
        host.order("exit 0", |order| order.roster = Roster::Inline { hosts: vec![host_id(7)] }),
        "not in the roster",
    );
    refused(host.order("exit 0", |order| order.selector = "tag.role = db".to_owned()), "do not match");
    refused(host.order("exit 0", |order| order.selector = "((".to_owned()), "cannot be read");
    refused(host.order("exit 0", |order| order.expires = later(500)), "expired");
    refused(
        host.order("exit 0", |order| {
            order.issued = later(HOUR_MS);
            order.expires = later(2 * HOUR_MS);
        }),
        "in the future",
    );
    refused(host.order("exit 0", |order| order.expires = later(31 * 24 * HOUR_MS)), "30 days");
    refused(
        host.order("exit 0", |order| {
            order.issued = Timestamp(0);
            order.expires = later(HOUR_MS);
        }),
        "30 days",
    );
    let two = || Roster::Inline {
        hosts: {
            let mut hosts = vec![host.id, host_id(7)];
            hosts.sort();
            hosts
        },
    };
    refused(host.order_of(2, "exit 0", |order| order.roster = two()), "2 hosts");
    refused(host.order("exit 0", |order| order.run_as = "no-such-user-here".to_owned()), "no user");
    refused(host.order("exit 0", |order| order.action = Action::Argv { argv: Vec::new() }), "no program");
    refused(
        host.order("exit 0", |order| {
            order.action = Action::Argv { argv: vec![Bytes::from(&b"a"[..]); 5000] };
        }),
        "4096 arguments",
    );
}

/// A list of so many hosts with this one among them, and a roster of all of it but those that `without` names.
fn listed(host: &Host, others: u32, without: &[HostId]) -> (MemberList, Roster) {
    let other = |number: u32| HostId(*blake3::hash(&number.to_be_bytes()).as_bytes());
    let list = MemberList::of((0..others).map(other).chain([host.id])).unwrap();
    let hosts: Vec<HostId> = list.hosts().iter().filter(|host| !without.contains(host)).copied().collect();
    let roster = Roster::of(&hosts, || Ok(Arc::new(list.clone()))).unwrap();
    (list, roster)
}

#[test]
fn who_is_marked_in_a_list_runs_by_the_proof_of_its_own_place_and_by_nothing_else() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let (list, roster) = listed(&host, 9_999, &[]);
    let place = list.place(&host.id).unwrap();
    assert!((1..=14).contains(&place.path.len()));
    let order = |roster: &Roster| host.order("exit 0", |order| order.roster = roster.clone());
    let good = order(&roster);
    mesh.handed(&good, Some(place.clone()));
    assert_eq!(mesh.result(), (good.id(), OK));
    assert_eq!(host.runs(), 1);

    let mut refused = |roster: &Roster, place: Option<ListPlace>, word: &str| {
        let order = order(roster);
        mesh.handed(&order, place);
        let (id, outcome) = mesh.result();
        assert_eq!(id, order.id());
        assert!(matches!(&outcome, Outcome::Refused { why } if why.contains(word)), "{outcome:?}: {word}");
        assert_eq!(host.runs(), 1);
    };
    refused(&roster, None, "not proven");
    // Another's place, with its proof and with this host's own.
    let neighbour = list.hosts()[(place.index as usize + 1) % list.hosts().len()];
    let others = list.place(&neighbour).unwrap();
    refused(&roster, Some(others.clone()), "not proven");
    refused(&roster, Some(ListPlace { index: others.index, path: place.path.clone() }), "not proven");
    let mut path = place.path.clone();
    path[0][0] ^= 1;
    refused(&roster, Some(ListPlace { index: place.index, path }), "not proven");
    refused(&roster, Some(ListPlace { index: u32::MAX, path: vec![[0; 32]; 4000] }), "not proven");
    // The proof holds, and it is not marked.
    let (_, without) = listed(&host, 9_999, &[host.id]);
    refused(&without, Some(place.clone()), "not in the roster");
    // The list that the mesh process has is another one of the same length, and this host is in that.
    let strangers =
        (20_000..30_000_u32).map(|number| HostId(*blake3::hash(&number.to_be_bytes()).as_bytes()));
    let strangers = MemberList::of(strangers).unwrap();
    let all = Roster::of(strangers.hosts(), || Ok(Arc::new(strangers.clone()))).unwrap();
    refused(&all, Some(place.clone()), "not proven");
    // The name is right, and the length is not.
    let Roster::Bitmap { list: named, members, bits } = roster.clone() else { unreachable!() };
    let bits = Bytes(bits.0.into_iter().chain([0]).collect());
    let longer = Roster::Bitmap { list: named, members: members + 8, bits };
    refused(&longer, Some(place.clone()), "not proven");
    // A form that is not the one there is for these hosts.
    let few = Roster::Bitmap { list: named, members, bits: Bytes(vec![0xff; 64]) };
    refused(&few, Some(place), "not as long");
}

#[test]
fn the_cap_of_a_certificate_counts_the_marked() {
    let host = Host::with(|eve| eve.hosts_max = Some(599), 1);
    let (_agent, mut mesh) = host.start();
    let (list, roster) = listed(&host, 599, &[]);
    let order = host.order_of(2, "exit 0", |order| order.roster = roster);
    mesh.handed(&order, list.place(&host.id));
    let (_, outcome) = mesh.result();
    assert!(matches!(&outcome, Outcome::Refused { why } if why.contains("600 hosts")), "{outcome:?}");
    let (list, roster) = listed(&host, 598, &[]);
    let order = host.order_of(2, "exit 0", |order| order.roster = roster);
    mesh.handed(&order, list.place(&host.id));
    assert_eq!(mesh.result(), (order.id(), OK));
}

#[test]
fn verbs_users_and_times_of_a_certificate_hold_on_the_host_itself() {
    for (change, word) in [
        (|eve| eve.verbs.retain(|verb| *verb != Verb::Run), "does not allow run"),
        (|eve| eve.run_as = vec!["nobody".to_owned()], "running as @agent"),
        (|eve| eve.not_after = NOW, "not valid at that time"),
        (|eve| eve.not_before = later(1), "not valid at that time"),
        (|eve| eve.scope = "host.name = here".to_owned(), "does not cover"),
    ] as [(fn(&mut Certificate), &str); 5]
    {
        let host = Host::with(change, 1);
        let (_agent, mut mesh) = host.start();
        let why = mesh.refusal(&host.order_of(2, "exit 0", |_| {}));
        assert!(why.contains(word), "{why:?}, where {word:?} was to be said");
        assert_eq!(host.runs(), 0);
    }
}

#[test]
fn an_order_that_waited_is_judged_again_when_its_turn_comes() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let gate = host.path("gate");
    let waits = format!("while ! test -e {}; do sleep 0.02; done", gate.display());
    let first: Vec<_> = (0..64).map(|_| host.order(&waits, |_| {})).collect();
    for order in &first {
        mesh.order(order);
    }
    let late = host.order("exit 0", |_| {});
    let cancelled = host.order("exit 0", |_| {});
    let good = host.order("exit 0", |order| order.expires = later(9 * HOUR_MS));
    for order in [&late, &cancelled, &good] {
        mesh.order(order);
        mesh.order(order);
    }
    mesh.send(&host.cancellation(2, &good));
    mesh.send(&host.cancellation(1, &cancelled));
    until("all to run that may", || {
        mesh.counter("mesh_starts");
        host.runs() == 64
    });
    host.set_clock(later(2 * HOUR_MS));
    std::fs::write(gate, "").unwrap();
    let mut outcomes = std::collections::BTreeMap::new();
    while outcomes.len() < 67 {
        let (id, outcome) = mesh.result();
        assert!(outcomes.insert(id, outcome).is_none(), "two results of one order");
    }
    assert!(first.iter().all(|order| outcomes[&order.id()] == OK));
    assert_eq!(outcomes[&late.id()], Outcome::Refused { why: "expired".to_owned() });
    assert!(matches!(outcomes[&cancelled.id()], Outcome::Refused { .. } | Outcome::Cancelled {}));
    assert_eq!(outcomes[&good.id()], OK);
    assert_eq!(host.runs(), 65);
}

#[test]
fn only_who_issued_an_order_cancels_it() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let order = host.order("exec sleep 1000", |_| {});
    mesh.order(&order);
    until("the command to run", || host.runs() == 1);
    mesh.send(&host.cancellation(2, &order));
    mesh.send(&host.cancellation(3, &order));
    assert_eq!(mesh.counter("cancellations_refused"), 2);
    mesh.send(&host.cancellation(1, &order));
    assert_eq!(mesh.result(), (order.id(), Outcome::Cancelled {}));
}

#[test]
fn an_order_that_was_cancelled_before_it_came_does_not_run() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let order = host.order("exit 0", |_| {});
    mesh.send(&host.cancellation(1, &order));
    // Nobody else's word takes the issuer's place.
    mesh.send(&host.cancellation(2, &order));
    mesh.send(&host.cancellation(3, &order));
    assert_eq!(mesh.outcome(&order), Outcome::Cancelled {});
    let order = host.order("exit 0", |_| {});
    mesh.send(&host.cancellation(2, &order));
    assert_eq!(mesh.outcome(&order), OK);
    assert_eq!(host.runs(), 1);
}

#[test]
fn a_tag_is_on_disk_before_it_is_acknowledged() {
    let host = Host::new();
    let (agent, mut mesh) = host.start();
    let on_db = || host.order("exit 0", |order| order.selector = "tag.role = db".to_owned());
    assert!(mesh.refusal(&on_db()).contains("do not match"));
    let mut action = tag(1, "role", Some("db"));
    if let crate::authority::OpAction::Tag { host: of, .. } = &mut action {
        *of = host.id;
    }
    let op = host.fleet.op(&operator(1), host.under[0], 1, None, &[], action.clone());
    // What is none of its business, or signed by nobody, is not taken.
    let others = host.fleet.op(&operator(1), host.under[0], 2, None, &[], tag(1, "role", Some("db")));
    let thief = host.fleet.op(&key::<Operator>(7), host.under[0], 3, None, &[], action);
    assert_eq!(mesh.learn(&[others.bytes(), b"junk", thief.bytes()]), 0);
    assert!(mesh.refusal(&on_db()).contains("do not match"));
    assert_eq!(mesh.learn(&[op.bytes()]), 1);
    agent.kill();
    let (_agent, mut mesh) = host.start();
    for _ in 0..2 {
        mesh.result();
    }
    assert_eq!(mesh.outcome(&on_db()), OK);
    assert_eq!(mesh.learn(&[op.bytes()]), 1, "known is as good as new");
}

#[test]
fn what_cannot_be_written_is_not_acknowledged_even_when_it_is_sent_again() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let mut action = tag(1, "role", Some("db"));
    if let crate::authority::OpAction::Tag { host: of, .. } = &mut action {
        *of = host.id;
    }
    let op = host.fleet.op(&operator(1), host.under[0], 1, None, &[], action);
    // A directory is in the way of the new file.
    let in_the_way = host.path("state/executor/trust.new");
    std::fs::create_dir(&in_the_way).unwrap();
    for _ in 0..2 {
        mesh.send(&ToExecutor::Learn { entries: vec![Bytes::from(op.bytes())] });
        mesh.counter("mesh_starts");
    }
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(mesh.learn(&[op.bytes()]), 1);
    assert!(host.path("state/executor/trust").exists());
}

#[test]
fn nothing_after_a_root_update_that_this_version_does_not_know_gives_a_right() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let certify = || RootChange::Certify(sample::certificate("bob", &operator(3)));
    let strange = host.root_update(None, RootChange::Unknown { tag: 9 });
    let after = host.root_update(Some(&strange), certify());
    mesh.learn(&[strange.bytes(), after.bytes()]);
    let of_bob = |under| host.order_of(3, "exit 0", |order| order.certificate = under);
    mesh.order(&of_bob(after.id()));
    assert_eq!(mesh.counter("orders_dropped"), 1);
    // Who had rights before keeps them.
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
    // Without it, the same certificate counts.
    let other = Host::new();
    let (_agent, mut mesh) = other.start();
    let update = other.root_update(None, certify());
    assert_eq!(mesh.learn(&[update.bytes()]), 1);
    assert_eq!(mesh.outcome(&other.order_of(3, "exit 0", |order| order.certificate = update.id())), OK);
}

#[test]
fn a_host_whose_token_was_overused_runs_nothing_more() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
    // Another token's redeemers are none of its business.
    let invitation = host.fleet.invite(&operator(1), host.under[0], 10, &[], 1);
    assert_eq!(mesh.learn(&[host.fleet.enrol(&invitation, 10, 20, &[]).certificate().bytes()]), 0);
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
    let other = host.fleet.enrol(&host.invitation, 9, 21, &[]);
    assert_eq!(mesh.learn(&[other.certificate().bytes()]), 1);
    let why = mesh.refusal(&host.order("exit 0", |_| {}));
    assert!(why.contains("over-used"), "{why}");
    assert_eq!(host.runs(), 2);
}

#[test]
fn a_host_that_left_runs_nothing_more() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let departure = Signed::sign(host.fleet.id(), &host.stream, crate::authority::Departure { at: NOW });
    assert_eq!(mesh.learn(&[host.fleet.departure(5, NOW).bytes()]), 0);
    assert_eq!(mesh.learn(&[departure.bytes()]), 1);
    let why = mesh.refusal(&host.order("exit 0", |_| {}));
    assert!(why.contains("has left"), "{why}");
    assert_eq!(host.runs(), 0);
}
