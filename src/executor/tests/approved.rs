//! Orders that need approvals: nothing runs before enough persons approved it, and then once.

use super::harness::{Host, Mesh, operator};
use crate::{
    authority::{
        Approval, Certificate, Cut, Whom, half,
        sample::{HOUR_MS, later},
    },
    identity::{Operator, SecretKey, Signed},
    link::message::ToExecutor,
    replica::{AuditEvent, Audited, Handed, Order, Outcome},
    wire::Bytes,
};

const OK: Outcome = Outcome::Exited { code: 0 };

/// Operator 2 asks, and needs one approval; operator 1 may give it.
fn host() -> Host {
    Host::with(|eve: &mut Certificate| eve.approvals = 1, 1)
}

fn approval(
    host: &Host,
    by: &SecretKey<Operator>,
    order: &Signed<Order>,
    change: impl FnOnce(&mut Approval),
) -> Signed<Approval> {
    let mut body = Approval {
        certificate: host.under[0],
        order: order.id(),
        given: true,
        at: later(1),
        expires: order.body().expires,
        reason: String::new(),
    };
    change(&mut body);
    Signed::sign(host.fleet.id(), by, body)
}

fn hand(mesh: &mut Mesh<'_>, order: &Signed<Order>, approvals: &[&[u8]]) {
    let approvals = approvals.iter().map(|bytes| Bytes::from(*bytes)).collect();
    mesh.send(&ToExecutor::Order { order: Handed { approvals, ..Handed::bare(order.bytes()) } });
}

#[test]
fn an_order_waits_unclaimed_until_it_is_approved_and_then_runs_once() {
    let host = host();
    let order = host.order_of(2, "exit 0", |_| {});
    let given = approval(&host, &operator(1), &order, |_| {});
    {
        let (agent, mut mesh) = host.start();
        for _ in 0..3 {
            mesh.order(&order);
        }
        assert_eq!(mesh.counter("orders_waiting_approval"), 3);
        agent.kill();
    }
    // What waited left nothing behind.
    let (_agent, mut mesh) = host.start();
    for _ in 0..3 {
        hand(&mut mesh, &order, &[given.bytes()]);
    }
    assert_eq!(mesh.result(), (order.id(), OK));
    assert_eq!((mesh.counter("orders_repeated"), host.runs()), (2, 1));
    let (records, _) = super::audit::chain(&host, &[]);
    let Audited::Known(AuditEvent::Accepted { approved_by, .. }) = &records[0].what else { panic!() };
    assert_eq!(approved_by, &["ana"]);
    assert_eq!(records.len(), 2, "that it waited is in no record");
}

#[test]
fn a_mesh_process_forges_no_approval() {
    let host = host();
    let order = host.order_of(2, "exit 0", |_| {});
    let other = host.order_of(2, "exit 0", |_| {});
    let given = approval(&host, &operator(1), &order, |_| {});
    let by_whom_asks = approval(&host, &operator(2), &order, |body| body.certificate = host.under[1]);
    let with_their_key = approval(&host, &operator(2), &order, |_| {});
    let by_nobody = approval(&host, &operator(9), &order, |_| {});
    let of_another = approval(&host, &operator(1), &other, |_| {});
    let longer = approval(&host, &operator(1), &order, |body| body.expires = later(HOUR_MS + 1));
    let cancellation = host.cancellation(1, &order);
    let ToExecutor::Cancel { cancellation } = cancellation else { unreachable!() };
    let mut sent: Vec<Vec<u8>> = [&by_whom_asks, &with_their_key, &by_nobody, &of_another, &longer]
        .map(|one| one.bytes().to_vec())
        .to_vec();
    sent.extend([Vec::new(), cancellation.0, order.bytes().to_vec(), vec![0xff; 4096]]);
    // Every byte of a good one, altered; a bit each, so that none is altered back.
    sent.extend((0..given.bytes().len()).map(|at| {
        let mut altered = given.bytes().to_vec();
        altered[at] ^= 1 << (at % 8);
        altered
    }));
    let (_agent, mut mesh) = host.start();
    for part in sent.chunks(64) {
        let part: Vec<&[u8]> = part.iter().map(Vec::as_slice).collect();
        hand(&mut mesh, &order, &part);
    }
    assert_eq!(mesh.counter("orders_waiting_approval"), sent.len().div_ceil(64) as u64);
    // A good one behind more than there may be is not looked for.
    let many: Vec<&[u8]> = std::iter::repeat_n(by_nobody.bytes(), 64).chain([given.bytes()]).collect();
    hand(&mut mesh, &order, &many);
    assert_eq!((mesh.counter("spawns"), host.runs()), (0, 0));
    hand(&mut mesh, &order, &[by_nobody.bytes(), given.bytes()]);
    assert_eq!(mesh.result(), (order.id(), OK));
}

#[test]
fn a_refusal_is_for_good() {
    let host = host();
    let order = host.order_of(2, "exit 0", |_| {});
    let given = approval(&host, &operator(1), &order, |_| {});
    let refused = approval(&host, &operator(1), &order, |body| {
        (body.given, body.reason) = (false, "not now".to_owned());
    });
    let (_agent, mut mesh) = host.start();
    hand(&mut mesh, &order, &[given.bytes(), refused.bytes()]);
    let (_, outcome) = mesh.result();
    assert_eq!(outcome, Outcome::Refused { why: "ana refused to approve it (not now)".to_owned() });
    hand(&mut mesh, &order, &[given.bytes()]);
    assert_eq!((mesh.counter("orders_repeated"), host.runs()), (1, 0));
}

#[test]
fn an_approval_after_the_end_or_of_somebody_suspended_starts_nothing() {
    let host = host();
    let order = host.order_of(2, "exit 0", |_| {});
    let given = approval(&host, &operator(1), &order, |_| {});
    let (_agent, mut mesh) = host.start();
    let whom = Whom::Person { name: "ana".to_owned() };
    // The host that she invited stays.
    let cut = Cut { alone: vec![half(&host.invitation.id())], ..Cut::default() };
    let suspension = host.fleet.suspend(&operator(1), host.under[0], whom, cut);
    assert_eq!(mesh.learn(&[suspension.bytes()]), 1);
    hand(&mut mesh, &order, &[given.bytes()]);
    assert_eq!(mesh.counter("orders_waiting_approval"), 1);
    host.set_clock(later(HOUR_MS + 1));
    hand(&mut mesh, &order, &[given.bytes()]);
    assert_eq!(mesh.result().1, Outcome::Refused { why: "expired".to_owned() });
    assert_eq!(host.runs(), 0);
}

#[test]
fn what_is_cancelled_while_it_waits_says_so_and_is_never_run() {
    let host = host();
    let order = host.order_of(2, "exit 0", |_| {});
    let (_agent, mut mesh) = host.start();
    mesh.order(&order);
    mesh.send(&host.cancellation(2, &order));
    mesh.order(&order);
    assert_eq!(mesh.result(), (order.id(), Outcome::Cancelled {}));
    let given = approval(&host, &operator(1), &order, |_| {});
    hand(&mut mesh, &order, &[given.bytes()]);
    assert_eq!((mesh.counter("orders_repeated"), host.runs()), (1, 0));
}
