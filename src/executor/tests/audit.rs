//! What the audit chain says of orders, and that it says it whatever happens.

use rustix::process::Signal;

use super::harness::{Host, until};
use crate::{
    authority::sample::NOW,
    executor::message::ToExecutor,
    identity::{EntryId, Payload as _},
    journal::audit_files,
    replica::{AuditEvent, AuditFault, AuditHead, AuditRecord, AuditWalk, Audited, Outcome},
    wire::{Bytes, FrameReader},
};

const OK: Outcome = Outcome::Exited { code: 0 };

/// The chain as it is on disk, verified against what was seen of it before.
pub(super) fn chain(host: &Host, known: &[AuditHead]) -> (Vec<AuditRecord>, Option<AuditHead>) {
    let mut walk = AuditWalk::new(host.fleet.id(), host.executor_key(), known.to_vec());
    let mut records = Vec::new();
    for file in audit_files(&host.path("state/executor/audit")) {
        let mut reader = FrameReader::new(AuditRecord::BYTES_MAX);
        reader.push(&std::fs::read(file).unwrap());
        while let Some(record) = reader.next_frame().unwrap() {
            records.push(walk.take(&record).unwrap().body().clone());
        }
    }
    (records, walk.end().unwrap().map(|(_, head)| head))
}

/// In one word each, with the order it is about.
fn told(records: &[AuditRecord]) -> Vec<(&'static str, EntryId)> {
    let word = |record: &AuditRecord| match &record.what {
        Audited::Known(AuditEvent::Accepted { order, .. }) => ("accepted", *order),
        Audited::Known(AuditEvent::Refused { order, .. }) => ("refused", *order),
        Audited::Known(AuditEvent::Ended { order, .. }) => ("ended", *order),
        Audited::Known(AuditEvent::Cancelled { order, .. }) => ("cancelled", *order),
        Audited::Known(AuditEvent::Stopped { order, .. }) => ("stopped", *order),
        Audited::Known(AuditEvent::Renewed {}) => ("renewed", EntryId([0; 32])),
        other => panic!("{other:?}"),
    };
    records.iter().map(word).collect()
}

#[test]
fn every_order_that_is_accepted_or_refused_is_in_the_chain_once_with_its_end() {
    let host = Host::new();
    let ran = host.order("exit 3", |_| {});
    let late = host.order("exit 0", |order| order.expires = NOW.after(std::time::Duration::from_millis(1)));
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&ran), Outcome::Exited { code: 3 });
    assert_eq!(mesh.refusal(&late), "expired");
    for _ in 0..20 {
        mesh.order(&ran);
        mesh.order(&late);
    }
    assert_eq!(mesh.counter("orders_repeated"), 40);
    let (records, head) = chain(&host, &[]);
    let (ran_id, late_id) = (ran.id(), late.id());
    assert_eq!(told(&records), [("accepted", ran_id), ("ended", ran_id), ("refused", late_id)]);
    assert_eq!(head.unwrap().sequence, 2);
    let Audited::Known(AuditEvent::Accepted { issuer, run_as, .. }) = &records[0].what else {
        unreachable!()
    };
    assert_eq!((*issuer, run_as.as_str()), (ran.signer(), ran.body().run_as.as_str()));
    let Audited::Known(AuditEvent::Ended { outcome, .. }) = &records[1].what else { unreachable!() };
    assert_eq!(*outcome, Outcome::Exited { code: 3 });
    let Audited::Known(AuditEvent::Refused { why, .. }) = &records[2].what else { unreachable!() };
    assert_eq!(why, "expired");
}

/// The executor is killed between any two records: the file may lose its end, as in a power cut, and whatever was
/// shown before is still there.
#[test]
fn the_chain_goes_on_after_a_kill_and_loses_nothing_with_the_end_of_its_file() {
    let host = Host::new();
    let mut known = Vec::new();
    let mut orders = Vec::new();
    for round in 0..3_usize {
        let (mut agent, mut mesh) = host.start();
        let order = host.order("exit 0", |_| {});
        // What no keeper acknowledged is offered again.
        mesh.order(&order);
        until("its result", || mesh.result().0 == order.id());
        orders.push(order.id());
        known.extend(chain(&host, &known).1);
        if round == 1 {
            agent.signal(Signal::TERM);
            assert!(agent.wait().success());
        } else {
            agent.kill();
        }
        let path = host.path("state/executor/audit/chain");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 100 * round]).unwrap();
    }
    let (_agent, _mesh) = host.start();
    let (records, _) = chain(&host, &known);
    let expected: Vec<_> = orders.iter().flat_map(|id| [("accepted", *id), ("ended", *id)]).collect();
    assert_eq!(told(&records), expected);
}

#[test]
fn what_was_cut_off_by_a_kill_ends_as_indeterminate_in_the_chain() {
    let host = Host::new();
    let (agent, mut mesh) = host.start();
    let order = host.order("exec sleep 1000", |_| {});
    mesh.order(&order);
    until("the command to run", || host.runs() == 1);
    agent.kill();
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.result().0, order.id());
    let (records, _) = chain(&host, &[]);
    assert_eq!(told(&records), [("accepted", order.id()), ("ended", order.id())]);
    let Audited::Known(AuditEvent::Ended { outcome, .. }) = &records[1].what else { unreachable!() };
    assert!(matches!(outcome, Outcome::Indeterminate { .. }), "{outcome:?}");
}

/// Orders of nobody are counted: signing a record of each would let anyone fill the disk.
#[test]
fn an_order_of_nobody_leaves_no_record_but_is_counted_in_the_next() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let mine = host.order("exit 0", |_| {});
    let stranger = crate::authority::sample::key::<crate::identity::Operator>(77);
    let theirs = crate::identity::Signed::sign(host.fleet.id(), &stranger, mine.body().clone());
    for _ in 0..5 {
        mesh.order(&theirs);
    }
    assert_eq!(mesh.counter("orders_dropped"), 5);
    assert_eq!(chain(&host, &[]).0, []);
    assert_eq!(mesh.outcome(&mine), OK);
    let (records, _) = chain(&host, &[]);
    assert_eq!(records.iter().map(|record| record.dropped).collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn what_is_cancelled_or_stopped_while_it_runs_is_in_the_chain_once_and_by_whom() {
    let host = Host::with(|_| {}, 1);
    let (_agent, mut mesh) = host.start();
    let (theirs, mine) = (host.order("exec sleep 1000", |_| {}), host.order_of(2, "exec sleep 1000", |_| {}));
    mesh.order(&theirs);
    until("the first command to run", || host.runs() == 1);
    for _ in 0..2 {
        mesh.send(&host.cancellation(1, &theirs));
    }
    assert_eq!(mesh.result(), (theirs.id(), Outcome::Cancelled {}));
    mesh.order(&mine);
    until("the second command to run", || host.runs() == 2);
    let halt = host.fleet.halt(&crate::authority::sample::key(1), host.under[0], "all");
    mesh.send(&ToExecutor::Learn { entries: vec![Bytes::from(halt.bytes())] });
    until("its result", || mesh.result().0 == mine.id());
    let (records, _) = chain(&host, &[]);
    let (theirs, mine) = (theirs.id(), mine.id());
    let expected = [
        ("accepted", theirs),
        ("cancelled", theirs),
        ("ended", theirs),
        ("accepted", mine),
        ("stopped", mine),
        ("ended", mine),
    ];
    assert_eq!(told(&records), expected);
}

#[test]
fn a_chain_that_was_damaged_goes_on_and_says_so_and_who_saw_it_sees_no_other() {
    let host = Host::new();
    let (mut agent, mut mesh) = host.start();
    for _ in 0..3 {
        let order = host.order("exit 0", |_| {});
        assert_eq!(mesh.outcome(&order), OK);
    }
    let (before, known) = chain(&host, &[]);
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    let path = host.path("state/executor/audit/chain");
    let whole = std::fs::read(&path).unwrap();
    let bytes = whole[..whole.len() - 1].to_vec();
    std::fs::write(&path, &bytes).unwrap();
    // What the claims hold of it as well is put right from there.
    let (mut agent, _mesh) = host.start();
    assert_eq!(chain(&host, &known.into_iter().collect::<Vec<_>>()).0, before);
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    // Without them it goes on behind the last record that is whole, and says that it is another file.
    std::fs::write(&path, &bytes).unwrap();
    std::fs::remove_file(host.path("state/executor/claims")).unwrap();
    let (_agent, mut mesh) = host.start();
    let order = host.order("exit 0", |_| {});
    assert_eq!(mesh.outcome(&order), OK);
    let (records, _) = chain(&host, &[]);
    assert_eq!(records[0].sequence, before.len() as u64 - 1);
    assert_eq!(told(&records)[0].0, "renewed");
    assert_eq!(told(&records)[1..], [("accepted", order.id()), ("ended", order.id())]);
    assert_eq!(std::fs::read(host.path("state/executor/audit/chain.damaged")).unwrap(), bytes);
    // Who saw the record that is lost sees that another stands there.
    let mut walk = AuditWalk::new(host.fleet.id(), host.executor_key(), known.into_iter().collect());
    let mut reader = FrameReader::new(AuditRecord::BYTES_MAX);
    reader.push(&std::fs::read(&path).unwrap());
    let first = reader.next_frame().unwrap().unwrap();
    assert!(matches!(walk.take(&first), Err(AuditFault::Rewritten { .. })));
}
