//! What admins stop and roots take, by the executor's own copy alone.

use super::harness::{Host, until};
use crate::{
    authority::{
        Checkpoint, Cut, Denial, Lift, Revocation, RootChange, Whom, half,
        sample::{HOUR_MS, key, later},
    },
    identity::{Cosigned, Root, Signed},
    link::message::{ToExecutor, ToMesh},
    replica::Outcome,
    wire::Bytes,
};

const OK: Outcome = Outcome::Exited { code: 0 };

/// What leaves that this host is a member.
fn cut(host: &Host) -> Cut {
    Cut { streams: Vec::new(), alone: vec![half(&host.invitation.id())] }
}

fn ana() -> Whom {
    Whom::Person { name: "ana".to_owned() }
}

#[test]
fn a_suspension_ends_what_runs_and_what_waits_of_that_person_and_nothing_else() {
    let host = Host::with(|_| {}, 1);
    let (_agent, mut mesh) = host.start();
    // As many as run at a time, all of ana's but one.
    let go = host.path("go").display().to_string();
    let others = host.order_of(2, &format!("while ! test -e {go}; do sleep 0.05; done"), |_| {});
    mesh.order(&others);
    let running: Vec<_> = (0..63).map(|_| host.order("exec sleep 1000", |_| {})).collect();
    for order in &running {
        mesh.order(order);
    }
    let waiting = host.order("exit 0", |_| {});
    mesh.order(&waiting);
    until("all but one to run", || host.runs() == 64);

    let suspension = host.fleet.suspend(&key(2), host.under[1], ana(), cut(&host));
    mesh.send(&ToExecutor::Learn { entries: vec![Bytes::from(suspension.bytes())] });
    let mut ended = 0;
    while ended < 64 {
        let (order, outcome) = mesh.result();
        let why = match &outcome {
            Outcome::Indeterminate { why } if order != waiting.id() => why,
            Outcome::Refused { why } if order == waiting.id() => why,
            other => panic!("{order}: {other:?}"),
        };
        assert!(why.contains("ana is suspended by eve (a stolen laptop)"), "{why}");
        ended += 1;
    }
    assert_eq!(host.runs(), 64, "what waited did not start");
    let why = mesh.refusal(&host.order("exit 0", |_| {}));
    assert!(why.contains("ana is suspended by eve"), "{why}");
    std::fs::write(host.path("go"), "").unwrap();
    assert_eq!(mesh.result(), (others.id(), OK));
}

#[test]
fn what_was_suspended_stays_so_after_a_restart_until_the_roots_lift_it() {
    let host = Host::with(|_| {}, 1);
    let suspension = host.fleet.suspend(&key(2), host.under[1], ana(), cut(&host));
    let (agent, mut mesh) = host.start();
    assert_eq!(mesh.learn(&[suspension.bytes()]), 1);
    agent.kill();
    let (_agent, mut mesh) = host.start();
    let before = host.order("exit 0", |_| {});
    assert!(mesh.refusal(&before).contains("suspended"));
    let lift = Lift { stops: vec![suspension.id()], at: later(100), reason: String::new() };
    let lift = host.root_update(None, RootChange::Lift(lift));
    assert_eq!(mesh.learn(&[lift.bytes()]), 1);
    let old = mesh.refusal(&host.order("exit 0", |_| {}));
    assert!(old.contains("before the suspension of ana was lifted"), "{old}");
    let after = host.order("exit 0", |order| order.issued = later(500));
    assert_eq!(mesh.outcome(&after), OK);
    mesh.order(&before);
    assert_eq!(mesh.counter("spawns"), 1, "what was refused stays refused");
}

#[test]
fn a_halt_ends_what_runs_here_and_refuses_the_rest_and_only_within_its_selector() {
    let host = Host::with(|_| {}, 1);
    let (_agent, mut mesh) = host.start();
    let elsewhere = host.fleet.halt(&key(2), host.under[1], "tag.role = db");
    mesh.order(&host.order("exec sleep 1000", |_| {}));
    until("it to run", || host.runs() == 1);
    mesh.send(&ToExecutor::Learn { entries: vec![Bytes::from(elsewhere.bytes())] });
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
    let here = host.fleet.halt(&key(2), host.under[1], "tag.role = web");
    mesh.send(&ToExecutor::Learn { entries: vec![Bytes::from(here.bytes())] });
    let (_, outcome) = mesh.result();
    assert!(
        matches!(&outcome, Outcome::Indeterminate { why } if why.contains("halted by eve (smoke)")),
        "{outcome:?}"
    );
    assert!(mesh.refusal(&host.order("exit 0", |_| {})).contains("halted by eve"));
    let lift = Lift { stops: vec![here.id()], at: later(HOUR_MS), reason: String::new() };
    mesh.learn(&[host.root_update(None, RootChange::Lift(lift)).bytes()]);
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
}

#[test]
fn a_revoked_operator_is_told_so_and_one_who_was_passed_a_certificate_acts_within_it() {
    let host = Host::with(|_| {}, 1);
    let (_agent, mut mesh) = host.start();
    let mut narrow = crate::authority::sample::certificate("cem", &key(3));
    narrow.verbs = vec![crate::authority::Verb::Run];
    narrow.hosts_max = Some(1);
    let grant = host.fleet.grant(&key(2), host.under[1], narrow);
    let by_cem = |then: &str| host.order_of(3, then, |order| order.certificate = grant.id());
    mesh.order(&by_cem("exit 0"));
    assert_eq!(mesh.counter("orders_dropped"), 1, "nothing is known of it");
    assert_eq!(mesh.learn(&[grant.bytes()]), 1);
    assert_eq!(mesh.outcome(&by_cem("exit 0")), OK);
    let whom = Whom::Person { name: "eve".to_owned() };
    let revocation = Revocation { whom, cut: Cut::default(), reason: "left".to_owned() };
    let revoke = host.root_update(None, RootChange::Revoke(revocation));
    assert_eq!(mesh.learn(&[revoke.bytes()]), 1);
    assert!(mesh.refusal(&host.order_of(2, "exit 0", |_| {})).contains("eve is revoked (left)"));
    assert!(
        mesh.refusal(&by_cem("exit 0")).contains("cem is revoked (left)"),
        "what eve passed on falls too"
    );
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
}

#[test]
fn a_mesh_process_that_makes_up_suspensions_stops_nobody() {
    let host = Host::with(|eve| eve.verbs.retain(|verb| *verb != crate::authority::Verb::Suspend), 1);
    let (_agent, mut mesh) = host.start();
    let without_right = host.fleet.suspend(&key(2), host.under[1], ana(), Cut::default());
    let stranger = host.fleet.suspend(&key(9), host.under[0], ana(), Cut::default());
    let halt = host.fleet.halt(&key(2), host.under[1], "all");
    let entries = [without_right.bytes(), stranger.bytes(), halt.bytes()];
    mesh.send(&ToExecutor::Learn { entries: entries.map(Bytes::from).to_vec() });
    assert!(matches!(mesh.next(), Some(ToMesh::Learned { entries: 0 })));
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
}

#[test]
fn a_recovery_counts_here_once_it_waited_here_across_restarts_and_a_denial_ends_it() {
    const DAY: u64 = 24 * HOUR_MS;
    let host = Host::with(|_| {}, 1);
    let recover = host.fleet.recover(
        host.fleet.chain.head(),
        host.fleet.chain.next(RootChange::Checkpoint(Checkpoint::default())).sequence,
        9,
    );
    let certificate = crate::authority::sample::certificate("dee", &key(5));
    let body = crate::authority::RootUpdate {
        sequence: recover.body().sequence + 1,
        parent: Some(recover.id()),
        change: RootChange::Certify(certificate),
    };
    let behind = Cosigned::sign(host.fleet.id(), &[&key::<Root>(9)], body);
    let by_dee = |at: u64| {
        host.order_of(5, "exit 0", |order| {
            order.certificate = behind.id();
            order.issued = later(at);
            order.expires = later(at + HOUR_MS);
        })
    };
    let (agent, mut mesh) = host.start();
    assert_eq!(mesh.learn(&[recover.bytes(), behind.bytes()]), 2);
    mesh.order(&by_dee(1000));
    assert_eq!(mesh.counter("spawns"), 0, "it waits");
    agent.kill();
    host.set_clock(later(2 * DAY));
    let (agent, mut mesh) = host.start();
    mesh.order(&by_dee(2 * DAY));
    assert_eq!(mesh.counter("spawns"), 0, "it waits still");
    agent.kill();
    host.set_clock(later(4 * DAY));
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&by_dee(4 * DAY)), OK, "three days after this host saw it, restarts and all");
    let deny = Denial { recovery: recover.id(), reason: "stolen".to_owned() };
    mesh.learn(&[host.root_update(None, RootChange::Deny(deny)).bytes()]);
    mesh.order(&by_dee(4 * DAY + 1));
    assert_eq!(mesh.counter("spawns"), 1, "denied");
}

#[test]
fn a_flood_of_suspensions_by_one_key_halts_this_host_and_is_remembered_within_its_share() {
    let host = Host::with(|_| {}, 1);
    let (agent, mut mesh) = host.start();
    let mut entries: Vec<_> = (0..1_003_u32)
        .map(|number| {
            let whom = Whom::Person { name: format!("p{number}") };
            host.fleet.suspend(&key(2), host.under[1], whom, Cut::default())
        })
        .collect();
    // The highest first, so that others put out what was taken before.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.id()));
    let bytes: Vec<&[u8]> = entries.iter().map(Signed::bytes).collect();
    for part in bytes.chunks(100) {
        mesh.learn(part);
    }
    let why = mesh.refusal(&host.order("exit 0", |_| {}));
    assert!(why.contains("halted by eve") && why.contains("more suspensions"), "{why}");
    agent.kill();
    let (_agent, mut mesh) = host.start();
    // What was told before and not taken in comes first, once more.
    let order = host.order("exit 0", |_| {});
    mesh.order(&order);
    let outcome = loop {
        let (id, outcome) = mesh.result();
        if id == order.id() {
            break outcome;
        }
    };
    assert!(matches!(&outcome, Outcome::Refused { why } if why.contains("halted by eve")), "{outcome:?}");
}
