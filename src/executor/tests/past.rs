//! A state directory that is older than what the host did, or was brought to it more often than once.

use std::fs;

use super::harness::Host;
use crate::{
    authority::sample::{NOW, later},
    identity::{Executor, SecretKey, Signed},
    link::message::ToExecutor,
    replica::{Outcome, ResultRecord},
    time::{SKEW_MAX, Timestamp},
    wire::Bytes,
};

const OK: Outcome = Outcome::Exited { code: 0 };

/// Everything that the executor wrote, as a snapshot has it.
fn copy(host: &Host, from: &str, to: &str) {
    let (from, to) = (host.path(from), host.path(to));
    let _none = fs::remove_dir_all(&to);
    let copied = std::process::Command::new("cp").arg("-a").args([&from, &to]).status().unwrap();
    assert!(copied.success());
}

fn adopt(order: &Signed<crate::replica::Order>, record: &Bytes) -> ToExecutor {
    ToExecutor::Adopt { order: Bytes::from(order.bytes()), record: record.clone() }
}

#[test]
fn an_order_whose_result_a_peer_kept_is_not_run_again_by_an_older_copy_of_the_state() {
    let host = Host::new();
    copy(&host, "state/executor", "snapshot");
    let order = host.order("exit 0", |_| {});
    let (agent, mut mesh) = host.start();
    mesh.order(&order);
    let report = mesh.report();
    agent.kill();
    drop(mesh);
    copy(&host, "snapshot", "state/executor");
    let (agent, mut mesh) = host.start();
    mesh.send(&adopt(&order, &report.record));
    mesh.order(&order);
    assert_eq!((mesh.counter("orders_recovered"), mesh.counter("orders_repeated")), (1, 1));
    assert_eq!(mesh.counter("spawns"), 0);
    // Nor after a restart, when nobody tells it.
    agent.kill();
    drop(mesh);
    let (_agent, mut mesh) = host.start();
    // What was acknowledged may be offered once more.
    assert_eq!(mesh.result(), (order.id(), OK));
    mesh.order(&order);
    assert_eq!((mesh.counter("orders_repeated"), mesh.counter("spawns")), (1, 0));
    assert_eq!(host.runs(), 1);
}

#[test]
fn only_a_result_that_its_own_key_signed_keeps_an_order_from_being_run() {
    let host = Host::new();
    let (order, other) = (host.order("exit 0", |_| {}), host.order("exit 0", |order| order.nonce = [9; 16]));
    let (_agent, mut mesh) = host.start();
    mesh.order(&other);
    let report = mesh.report();
    let body = Signed::<ResultRecord>::own(&report.record.0).unwrap();
    let thief = SecretKey::<Executor>::from_seed(&[99; 32]);
    let fleet = crate::identity::peek(order.bytes()).unwrap().fleet;
    let forged = Signed::sign(fleet, &thief, ResultRecord { order: order.id(), ..body });
    mesh.send(&adopt(&order, &Bytes::from(forged.bytes())));
    // Its own word about another order is none about this one.
    mesh.send(&adopt(&order, &report.record));
    mesh.send(&ToExecutor::Adopt { order: Bytes(vec![1]), record: report.record });
    assert_eq!((mesh.counter("adoptions_refused"), mesh.counter("orders_recovered")), (3, 0));
    assert_eq!(mesh.outcome(&order), OK);
}

#[test]
fn after_a_restoration_nothing_that_was_ordered_before_is_run_and_what_is_ordered_then_is() {
    let host = Host::new();
    copy(&host, "state/executor", "snapshot");
    let (order, waits) = (host.order("exit 0", |_| {}), host.order("exit 0", |order| order.nonce = [8; 16]));
    let (agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&order), OK);
    agent.kill();
    drop(mesh);
    copy(&host, "snapshot", "state/executor");
    let (agent, mut mesh) = host.start();
    // Whatever a mesh process says, it holds up to now alone.
    mesh.send(&ToExecutor::Restored { before: Timestamp(u64::MAX) });
    let why = mesh.refusal(&order);
    assert!(why.contains("restored from an older copy"), "{why}");
    agent.kill();
    drop(mesh);
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.result().0, order.id(), "it is offered until it is kept");
    let why = mesh.refusal(&waits);
    assert!(why.contains("restored from an older copy"), "{why}");
    host.set_clock(NOW.after(SKEW_MAX).after(SKEW_MAX));
    let new = host.order("exit 0", |order| {
        order.issued = NOW.after(SKEW_MAX).after(SKEW_MAX);
        order.expires = later(3_600_000);
    });
    assert_eq!(mesh.outcome(&new), OK);
    assert_eq!(host.runs(), 2);
}

#[test]
fn a_command_that_is_delivered_ten_thousand_times_is_started_once() {
    let host = Host::new();
    let order = host.order("exit 0", |_| {});
    let (_agent, mut mesh) = host.start();
    for some in 0..100 {
        for _ in 0..100 {
            mesh.order(&order);
        }
        if some == 0 {
            assert_eq!(mesh.result(), (order.id(), OK));
        }
        mesh.counter("spawns");
    }
    assert_eq!((mesh.counter("spawns"), mesh.counter("orders_repeated")), (1, 9_999));
    assert_eq!(host.runs(), 1);
}

#[test]
fn a_clock_that_jumps_ten_years_ahead_and_back_moves_no_floor_and_forgets_no_claim() {
    let host = Host::new();
    let (order, then) = (host.order("exit 0", |_| {}), host.order("exit 0", |order| order.nonce = [7; 16]));
    let (agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&order), OK);
    let years = std::time::Duration::from_secs(10 * 365 * 86_400);
    host.set_clock(NOW.after(years));
    assert_eq!(mesh.refusal(&then), "expired");
    mesh.settle(order.id());
    mesh.settle(then.id());
    mesh.counter("spawns");
    agent.kill();
    drop(mesh);
    // Restarted under the wrong clock: it sweeps by signed time alone.
    let (agent, mut mesh) = host.start();
    for _ in 0..2 {
        mesh.result();
    }
    mesh.counter("spawns");
    agent.kill();
    drop(mesh);
    host.set_clock(NOW);
    let claims = crate::journal::Claims::open(&host.path("state/executor/claims")).unwrap();
    assert_eq!(
        (claims.len(), claims.expiry_floor(), claims.restored_before()),
        (2, Timestamp(0), Timestamp(0))
    );
    drop(claims);
    let (_agent, mut mesh) = host.start();
    for _ in 0..2 {
        mesh.result();
    }
    mesh.order(&order);
    mesh.order(&then);
    assert_eq!((mesh.counter("orders_repeated"), mesh.counter("spawns")), (2, 0));
    assert_eq!(mesh.outcome(&host.order("exit 0", |order| order.nonce = [6; 16])), OK, "it can be commanded");
}

#[test]
fn a_clock_of_1970_runs_nothing_and_once_it_is_right_what_is_ordered_then() {
    let host = Host::new();
    host.set_clock(Timestamp(0));
    let (_agent, mut mesh) = host.start();
    let why = mesh.refusal(&host.order("exit 0", |_| {}));
    assert!(why.contains("in the future"), "{why}");
    host.set_clock(NOW);
    assert_eq!(mesh.outcome(&host.order("exit 0", |order| order.nonce = [5; 16])), OK);
}
