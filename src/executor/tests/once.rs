//! At most one spawn of an order, whatever happens.

use std::fmt::Write as _;

use rustix::process::Signal;

use super::harness::{Host, until};
use crate::{
    authority::sample::{HOUR_MS, NOW, later},
    journal::{Claimed, Claims},
    replica::Outcome,
    time::Timestamp,
};

const OK: Outcome = Outcome::Exited { code: 0 };

#[test]
fn an_order_is_in_the_journal_before_its_command_runs() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let claims = host.path("state/executor/claims");
    let (claims, wanted) = (claims.display(), host.path("wanted"));
    let looks = format!("od -An -tx1 -v {claims} | tr -d ' \\n' | grep -q -f {}", wanted.display());
    let order = host.order(&looks, |_| {});
    let mut hex = String::new();
    for byte in order.id().0 {
        write!(hex, "{byte:02x}").unwrap();
    }
    std::fs::write(&wanted, hex).unwrap();
    assert_eq!(mesh.outcome(&order), OK);
}

#[test]
fn a_repeat_is_not_run_whoever_brings_it_and_after_whatever_restart() {
    let host = Host::new();
    let order = host.order("exit 0", |_| {});
    let refused =
        host.order("exit 0", |order| order.expires = NOW.after(std::time::Duration::from_millis(1)));
    let (agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&order), OK);
    assert_eq!(mesh.refusal(&refused), "expired");
    for _ in 0..50 {
        mesh.order(&order);
        mesh.order(&refused);
    }
    assert_eq!(mesh.counter("orders_repeated"), 100);
    mesh.settle(order.id());
    mesh.settle(refused.id());
    // Answered, so that both were taken.
    mesh.counter("mesh_starts");
    // A new mesh process, which knows of nothing.
    drop(mesh);
    let mut mesh = host.mesh();
    mesh.order(&order);
    assert_eq!(mesh.counter("orders_repeated"), 101);
    // The executor is killed, and comes back; what was acknowledged may be offered once more.
    agent.kill();
    let (mut agent, mut mesh) = host.start();
    for _ in 0..2 {
        let (id, _) = mesh.result();
        mesh.settle(id);
    }
    mesh.counter("mesh_starts");
    mesh.order(&order);
    mesh.order(&refused);
    assert_eq!(mesh.counter("orders_repeated"), 2);
    // It is stopped as it should be, and comes back.
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    let (_agent, mut mesh) = host.start();
    mesh.order(&order);
    assert_eq!(mesh.counter("orders_repeated"), 1);
    assert_eq!(host.runs(), 1);
}

#[test]
fn what_was_claimed_and_not_finished_is_indeterminate_and_never_run() {
    let host = Host::new();
    let order = host.order("exit 0", |_| {});
    // As it is after a kill between the claim and the spawn.
    let mut claims = Claims::open(&host.path("state/executor/claims")).unwrap();
    assert_eq!(claims.claim(order.id().0, order.body().expires, NOW, None).unwrap(), Claimed::New);
    drop(claims);
    let (agent, mut mesh) = host.start();
    let (id, outcome) = mesh.result();
    assert!(id == order.id() && matches!(&outcome, Outcome::Indeterminate { .. }), "{outcome:?}");
    mesh.order(&order);
    assert_eq!(mesh.counter("orders_repeated"), 1);
    // A kill between the spawn and the result.
    let order = host.order("exec sleep 1000", |_| {});
    mesh.order(&order);
    until("the command to run", || host.runs() == 1);
    agent.kill();
    let (_agent, mut mesh) = host.start();
    let mut ids = [mesh.result(), mesh.result()].map(|(id, outcome)| {
        assert!(matches!(&outcome, Outcome::Indeterminate { .. }), "{outcome:?}");
        id
    });
    ids.reverse();
    assert!(ids.contains(&order.id()));
    mesh.order(&order);
    assert_eq!((mesh.counter("orders_repeated"), host.runs()), (1, 1));
}

#[test]
fn a_clock_that_is_ten_years_ahead_for_a_while_makes_nothing_run_again_and_nothing_refused_later() {
    let mut host = Host::new();
    host.sweep_ms = Some(10);
    let ran = host.order("exit 0", |_| {});
    let month = host.order("exit 0", |order| order.expires = later(29 * 24 * HOUR_MS));
    let (_agent, mut mesh) = host.start();
    for order in [&ran, &month] {
        assert_eq!(mesh.outcome(order), OK);
        mesh.settle(order.id());
    }
    // Ten years on by the clock, and swept many times: whoever asks now is told that it is too late.
    host.set_clock(later(10 * 365 * 24 * HOUR_MS));
    let late = host.order("exit 0", |_| {});
    assert_eq!(mesh.refusal(&late), "expired");
    mesh.settle(late.id());
    for _ in 0..10 {
        mesh.order(&ran);
    }
    // And back.
    host.set_clock(later(2000));
    for order in [&ran, &month, &late] {
        mesh.order(order);
    }
    assert_eq!(mesh.counter("orders_repeated"), 13);
    assert_eq!(host.runs(), 2);
    // A new order, which expires long before the one that ran for a month, is taken.
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
}

#[test]
fn what_is_forgotten_by_signed_time_is_refused_even_by_a_clock_that_went_back() {
    let mut host = Host::new();
    host.sweep_ms = Some(10);
    let first = host.order("exit 0", |_| {});
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&first), OK);
    mesh.settle(first.id());
    // Three days on, an order that was issued then says that the time has passed.
    let then = later(3 * 24 * HOUR_MS);
    host.set_clock(then);
    let second = host.order("exit 0", |order| {
        order.issued = then;
        order.expires = Timestamp(then.0 + HOUR_MS);
    });
    assert_eq!(mesh.outcome(&second), OK);
    until("the first claim to be forgotten", || {
        let claims = std::fs::read(host.path("state/executor/claims")).unwrap();
        !claims.windows(32).any(|bytes| bytes == first.id().0)
    });
    host.set_clock(later(1000));
    let why = mesh.refusal(&first);
    assert!(why.contains("too old"), "{why}");
    assert_eq!(host.runs(), 2);
}

#[test]
fn a_result_is_offered_until_a_keeper_has_it() {
    let host = Host::new();
    let order = host.order("echo said; exit 3", |_| {});
    let (mut agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&order), Outcome::Exited { code: 3 });
    for _ in 0..2 {
        agent.kill();
        let (again, mut mesh) = host.start();
        let report = mesh.report();
        assert_eq!((report.order, report.stdout.unwrap().0), (order.id(), b"said\n".to_vec()));
        agent = again;
    }
    let (mut agent, mut mesh) = {
        agent.kill();
        host.start()
    };
    assert_eq!(mesh.result().0, order.id());
    mesh.settle(order.id());
    mesh.counter("mesh_starts");
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    let (_agent, mut mesh) = host.start();
    // Nothing is offered: the answer to this comes first.
    assert_eq!(mesh.counter("mesh_starts"), 1);
}

#[test]
fn without_room_for_the_claim_nothing_runs_then_or_later() {
    use rustix::process::{Resource, Rlimit, prlimit};
    let host = Host::new();
    let (agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
    // Its files may grow no more: a full disk, for one process.
    let size = std::fs::metadata(host.path("state/executor/claims")).unwrap().len();
    let unlimited =
        prlimit(Some(agent.pid()), Resource::Fsize, Rlimit { current: Some(size), maximum: None }).unwrap();
    let orders: Vec<_> = (0..3).map(|_| host.order("exit 0", |_| {})).collect();
    for order in &orders {
        let why = mesh.refusal(order);
        assert!(why.contains("cannot record the claim"), "{why}");
    }
    assert_eq!(host.runs(), 1);
    // There is room again. What was refused stays refused, and that is recorded now.
    prlimit(Some(agent.pid()), Resource::Fsize, unlimited).unwrap();
    for order in &orders {
        mesh.order(order);
    }
    assert_eq!(mesh.counter("orders_repeated"), 3);
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
    until("the refusals to be recorded", || {
        let claims = std::fs::read(host.path("state/executor/claims")).unwrap();
        // Once in the claim and in its audit record, once in the record of the result and in the result itself.
        let named = |id: [u8; 32]| claims.windows(32).filter(|bytes| *bytes == id).count();
        orders.iter().all(|order| named(order.id().0) == 4)
    });
    agent.kill();
    let (_agent, mut mesh) = host.start();
    for _ in 0..5 {
        mesh.result();
    }
    for order in &orders {
        mesh.order(order);
    }
    assert_eq!(mesh.counter("orders_repeated"), 3);
    assert_eq!(host.runs(), 2);
}
