//! What is shown before it is signed for, and what is shipped before it is ordered.

use std::time::Duration;

use serde_json::Value;

use super::{
    agent::{Desk, Fleet, NOW, Seen, on, told},
    foreseen,
};
use crate::{
    control::StreamName,
    replica::{Action, BLOB_BYTES_MAX, Blob, Outcome, Roster},
    services::run::{
        Event, ExitMode, RunError, Streams, Tally, View,
        live::{Ledger, Piece},
        verify,
        view::Job,
    },
    terminal::Format,
    wire::Bytes,
};

const ONE: &[(&str, &str)] = &[("a", "x")];

/// The events of a job whose host wrote `shown` piece by piece, and then signed that it wrote `said`; what it comes
/// to, and the talk.
fn shown_before(shown: &[&[u8]], said: &[u8]) -> (Vec<Value>, u8, String) {
    let fleet = Fleet::of(ONE);
    let host = &fleet.members[0];
    let order = foreseen::order(&fleet, |order| order.roster = Roster::Inline { hosts: vec![host.id] });
    let id = order.id();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams::new(&mut out, &mut err, Format::Jsonl);
    let mut job = Job::of(&order, order.body().roster.named(), &fleet.replica, NOW);
    job.begin(&mut streams, View::Auto).unwrap();
    let mut ledger = Ledger::default();
    let mut hear = |job: &mut Job<'_>, streams: &mut Streams<'_>, at: u64, bytes: &[u8]| {
        let piece = Piece { host: host.id, stream: StreamName::Stdout, at, bytes: bytes.to_vec() };
        if let Some(chunk) = ledger.hear(piece) {
            job.happens(streams, &Event::Chunk(chunk), Duration::ZERO).unwrap();
        }
    };
    let mut at = 0;
    for bytes in shown {
        hear(&mut job, &mut streams, at, bytes);
        at += bytes.len() as u64;
    }
    let seen = Seen { fleet: fleet.chain.fleet(), id, order: order.body(), asked: 1, cancelled: false };
    let report = seen.report(host, Outcome::Exited { code: 0 }, said, b"");
    let mut tally = Tally::new(&[host.id]);
    tally.report(host.id, verify(&report, id, fleet.replica.authority()));
    job.settled(&mut streams, &mut tally, host.id, Duration::ZERO).unwrap();
    // Too late to be heard.
    hear(&mut job, &mut streams, at, b"late");
    let code = tally.code(ExitMode::Summary);
    let events = String::from_utf8(out).unwrap();
    (
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        code,
        String::from_utf8(err).unwrap(),
    )
}

fn chunks(events: &[Value]) -> Vec<(u64, &str)> {
    let chunks = events.iter().filter(|event| event["event"] == "chunk");
    chunks.map(|chunk| (chunk["seq"].as_u64().unwrap(), chunk["data"].as_str().unwrap())).collect()
}

#[test]
fn what_was_written_live_is_told_at_once_and_the_result_brings_only_the_rest() {
    let (events, code, err) = shown_before(&[b"one\n", b"two\n"], b"one\ntwo\nthree\n");
    assert_eq!(chunks(&events), [(0, "one\n"), (1, "two\n"), (2, "three\n")]);
    assert_eq!(events.last().unwrap()["event"], "exit");
    assert!(code == 0 && !err.contains("✗"), "{code} {err}");
    let (events, code, _) = shown_before(&[b"one\n"], b"one\n");
    assert_eq!((chunks(&events), code), (vec![(0, "one\n")], 0));
    let (events, code, _) = shown_before(&[], b"one\n");
    assert_eq!((chunks(&events), code), (vec![(0, "one\n")], 0));
}

#[test]
fn what_was_written_live_and_is_not_what_was_signed_is_said_and_never_exit_0() {
    for said in [&b"all is lost\n"[..], b"all\n", b""] {
        let (events, code, err) = shown_before(&[b"all is ", b"well\n"], said);
        assert_eq!(code, 6);
        assert!(err.contains("✗ output of a: what was shown is not what was signed"), "{err}");
        assert_eq!(events.last().unwrap()["status"], "failed", "{events:?}");
    }
}

#[tokio::test]
async fn what_an_order_names_is_handed_over_before_the_order() {
    let desk = Desk::new(Fleet::of(ONE), |seen, member| told(seen.ok(member, "done\n")));
    let mut request = on("a");
    // More than one message, not UTF-8; and nothing at all.
    request.script = Some([b"#!/bin/sh\n".to_vec(), vec![0xff; 1_300_000]].concat());
    request.stdin = Some(Vec::new());
    let ran = desk.run(&request).await;
    assert_eq!(ran.code(), 0);
    let state = desk.state.lock().unwrap();
    let shipped: Vec<_> = state.shipped.values().cloned().collect();
    assert!(shipped.contains(request.script.as_ref().unwrap()) && shipped.contains(&Vec::new()));
    let Action::Shipped { argv, stdin, script } = &state.orders[0].body().action else { panic!() };
    assert_eq!(argv, &[&b"uname"[..], b"-r"].map(Bytes::from));
    assert_eq!((stdin, script), (&Some(Blob::of(b"")), &request.script.as_deref().map(Blob::of)));
}

#[tokio::test]
async fn what_is_too_long_to_ship_is_said_and_nothing_is_sent() {
    let desk = Desk::new(Fleet::of(ONE), |seen, member| told(seen.ok(member, "done\n")));
    let mut request = on("a");
    request.stdin = Some(vec![0; usize::try_from(BLOB_BYTES_MAX).unwrap() + 1]);
    let ran = desk.run(&request).await;
    assert!(matches!(ran.error(), RunError::Usage { .. }) && ran.error().to_string().contains("16.0 MiB"));
    assert_eq!(desk.submitted(), 0);
    assert!(desk.state.lock().unwrap().shipped.is_empty());
}
