//! What comes out of rows, of any mixture of reports; and what hostile bytes do.

use std::{collections::BTreeSet, sync::OnceLock};

use proptest::prelude::*;

use super::*;
use crate::{
    authority::{
        AGENT_USER,
        sample::{Fleet, HOUR_MS, NOW, certificate, host_id, key, later},
    },
    identity::{Kind, Operator, Payload},
    replica::{Action, Entry, Limits, Order, Outcome, Roster},
    sync::{MESSAGE_BYTES_MAX, Message},
};

/// Hosts that are in the roster; the last is known nowhere.
const ROSTER: u8 = 100;
const UNKNOWN: u8 = ROSTER - 1;
/// A member that the order is not for.
const OUTSIDE: u8 = ROSTER;

struct World {
    replica: Replica,
    order: EntryId,
    small: EntryId,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let ana = key::<Operator>(1);
        let (fleet, ids) = Fleet::with(&[certificate("ana", &ana)]);
        let invitation = fleet.invite(&ana, ids[0], 1, &[], u32::from(ROSTER));
        let mut replica = Replica::new(fleet.authority());
        for host in (0..=OUTSIDE).filter(|host| *host != UNKNOWN) {
            let host = fleet.enrol(&invitation, 1, host, &[]);
            replica.merge(Entry::Host(Box::new(host)), &[]).unwrap();
        }
        let mut order = |nonce: u8, hosts: u8| {
            let mut hosts: Vec<HostId> = (0..hosts).map(host_id).collect();
            hosts.sort_unstable();
            let body = Order {
                nonce: [nonce; 16],
                certificate: ids[0],
                issued: NOW,
                expires: later(HOUR_MS),
                selector: "all".to_owned(),
                roster: Roster::Inline { hosts },
                action: Action::Argv { argv: vec![Bytes::from(&b"true"[..])] },
                run_as: AGENT_USER.to_owned(),
                limits: Limits { timeout_ms: 1000, output_bytes_max: 1000 },
                keepers: vec![host_id(0)],
                reason: None,
            };
            let signed = Signed::sign(fleet.id(), &ana, body);
            let entry = Entry::verify(signed.bytes(), fleet.id()).unwrap();
            replica.merge(entry, &[]).unwrap();
            signed.id()
        };
        let (order, small) = (order(1, ROSTER), order(2, 64));
        World { replica, order, small }
    })
}

/// A record with a field that only newer versions know.
#[derive(Clone)]
struct Newer(ResultRecord);
impl Wire for Newer {
    fn to_value(&self) -> Value {
        let Value::Array(mut fields) = self.0.to_value() else { unreachable!() };
        fields.push(Value::from("from a newer version"));
        Value::Array(fields)
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        ResultRecord::from_value(value, field).map(Self)
    }
}
impl Payload for Newer {
    const KIND: Kind = Kind::Result;
    const BYTES_MAX: usize = ResultRecord::BYTES_MAX;
    type Signer = Executor;
}

fn body(host: u8, outcome: Outcome, started: u64, took_ms: u64, printed: &[u8]) -> ResultRecord {
    let stdout = Output {
        hash: *blake3::hash(printed).as_bytes(),
        kept: printed.len() as u64,
        produced: printed.len() as u64,
    };
    ResultRecord {
        order: world().order,
        host: host_id(host),
        outcome,
        started: crate::time::Timestamp(started),
        took_ms,
        stdout,
        stderr: Output::default(),
        left_behind: 0,
    }
}

fn signed<T: Payload<Signer = Executor>>(host: u8, by: u8, body: T, printed: &[u8]) -> Report {
    let record = Signed::sign(world().replica.fleet(), &key(by), body);
    let (record, stdout) = (Bytes::from(record.bytes()), Some(Bytes::from(printed)));
    Report { order: world().order, host: host_id(host), record, stdout, stderr: None }
}

/// What a host reports when all goes as it should.
fn report(host: u8, took_ms: u64) -> Report {
    let started = NOW.0 + u64::from(host) * 7;
    signed(host, host, body(host, Outcome::Exited { code: 0 }, started, took_ms, b"ok\n"), b"ok\n")
}

fn seats() -> Seats<'static> {
    world().replica.seats(&world().order).unwrap()
}

fn packed(reports: &[Report]) -> (Vec<Row>, Vec<Report>) {
    pack(world().order, reports, &seats(), &world().replica)
}

fn unpacked(rows: &[Row]) -> Result<Vec<Report>, NoResults> {
    unpack(world().order, rows, &seats(), &world().replica)
}

fn sorted(reports: impl IntoIterator<Item = Report>) -> Vec<Report> {
    let mut reports: Vec<Report> = reports.into_iter().collect();
    reports.sort_by(|a, b| (a.host, &a.record.0, &a.stdout).cmp(&(b.host, &b.record.0, &b.stdout)));
    reports
}

/// All reports of messages, and how long those are as they travel.
fn through(messages: &[Message]) -> (Vec<Report>, usize) {
    let (mut reports, mut bytes) = (Vec::new(), 0);
    for message in messages {
        let encoded = wire::encode(message);
        assert!(encoded.len() <= MESSAGE_BYTES_MAX);
        bytes += encoded.len();
        match wire::decode(&encoded, MESSAGE_BYTES_MAX).unwrap() {
            Message::Combined { rows, working: None, .. } => reports.extend(unpacked(&rows).unwrap()),
            Message::Reports { reports: plain } => reports.extend(plain),
            other => panic!("{other:?}"),
        }
    }
    (reports, bytes)
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Exited { code: 0 }),
        1 => (-2..300).prop_map(|code| Outcome::Exited { code }),
        1 => Just(Outcome::TimedOut {}),
        1 => "[a-c]{0,2}".prop_map(|why| Outcome::Refused { why }),
    ]
}

fn any_report() -> impl Strategy<Value = Report> {
    let time = prop_oneof![4 => (0_u64..2_000).prop_map(|ms| NOW.0 + ms), 1 => any::<u64>()];
    let took = prop_oneof![4 => 0_u64..50, 1 => any::<u64>()];
    let printed =
        prop_oneof![3 => Just(b"ok\n".to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..40)];
    // Mostly as it should be; else in another's name, with a field more, cut short, or plain noise.
    let flaw = prop_oneof![8 => Just(0), 1 => 1..8_u8];
    (0..=OUTSIDE, outcomes(), time, took, printed, flaw).prop_map(
        |(host, outcome, at, took, printed, flaw)| {
            let body = body(host, outcome, at, took, &printed);
            let mut report = match flaw {
                1 => signed(host, host.wrapping_add(1), body, &printed),
                2 => signed(host, host, Newer(body), &printed),
                _ => signed(host, host, body, &printed),
            };
            match flaw {
                3 => report.record.0.truncate(100),
                4 => report.record = Bytes(printed),
                5 => report.host = host_id(host ^ 1),
                6 => report.record.0[200] ^= 1,
                7 => (report.stdout, report.stderr) = (None, report.stdout),
                _ => {}
            }
            report
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_comes_out_of_rows_is_what_went_in_whatever_that_was(
        reports in proptest::collection::vec(any_report(), 0..60),
    ) {
        let (rows, plain) = packed(&reports);
        let out = unpacked(&rows).unwrap();
        prop_assert_eq!(sorted(out.into_iter().chain(plain)), sorted(reports));
    }

    #[test]
    fn the_order_the_grouping_and_repeats_of_what_is_joined_do_not_matter(
        reports in proptest::collection::vec(any_report(), 1..40),
        turns in proptest::collection::vec((0..40_usize, 1..9_usize), 1..20),
    ) {
        let all = |parts: &mut dyn Iterator<Item = &[Report]>| {
            let mut joined = Gathered::default();
            for part in parts {
                through(&in_messages(part.to_vec(), &world().replica)).0.into_iter().for_each(|r| joined.add(r));
            }
            joined.into_reports()
        };
        let whole = all(&mut [reports.as_slice()].into_iter());
        // Each alone, backwards; then some of them again, in groups that overlap.
        let again = turns.iter().map(|(from, count)| {
            let from = (*from).min(reports.len());
            &reports[from..(from + count).min(reports.len())]
        });
        let pieces = all(&mut reports.chunks(1).rev().chain(again));
        prop_assert_eq!(&whole, &pieces);
        prop_assert_eq!(in_messages(whole, &world().replica), in_messages(pieces, &world().replica));
    }

    #[test]
    fn hostile_rows_do_not_panic_and_stand_for_no_more_than_they_may(
        reports in proptest::collection::vec(any_report(), 1..20),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (rows, _) = packed(&reports);
        let message = Message::Combined { order: world().order, rows, working: None };
        let mut bytes = wire::encode(&message);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Message::Combined { rows, working, .. }) = wire::decode(&bytes, MESSAGE_BYTES_MAX) {
            if let Ok(reports) = unpacked(&rows) {
                prop_assert!(reports.len() <= rows.iter().map(Row::hosts).sum());
            }
            if let Some(Ok(hosts)) = working.map(|places| unpack_places(&places, &seats())) {
                prop_assert!(hosts.len() <= seats().len());
            }
        }
    }

    #[test]
    fn places_come_back_and_noise_makes_none_that_the_roster_does_not_have(
        places in proptest::collection::btree_set(0..u32::from(ROSTER), 0..100),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let hosts = unpack_places(&pack_places(places.iter().copied()), &seats()).unwrap();
        let back: BTreeSet<u32> = hosts.iter().filter_map(|host| seats().index_of(host)).collect();
        prop_assert_eq!(back, places);
        if let Ok(hosts) = unpack_places(&Bytes(noise), &seats()) {
            let all: BTreeSet<HostId> = hosts.iter().copied().collect();
            prop_assert!(all.len() == hosts.len() && all.iter().all(|host| seats().contains(host)));
        }
    }
}

#[test]
fn equal_results_take_a_signature_and_three_bytes_a_host_and_verify() {
    let reports: Vec<Report> = (0..UNKNOWN).map(|host| report(host, 1)).collect();
    let messages = in_messages(reports.clone(), &world().replica);
    assert_eq!(messages.len(), 1);
    let (out, bytes) = through(&messages);
    assert_eq!(sorted(out.clone()), sorted(reports.clone()));
    let hosts = usize::from(UNKNOWN);
    assert!(bytes < hosts * (64 + 3) + 200, "{bytes} B for {hosts} hosts");
    let (_, plain) = through(&[Message::Reports { reports }]);
    assert!(plain > 4 * bytes, "{plain} B as they are");
    for report in out {
        let record = Signed::<ResultRecord>::verify(&report.record.0, world().replica.fleet()).unwrap();
        assert_eq!(record.signer(), executor(&report.host, &world().replica).unwrap());
    }
}

#[test]
fn what_would_not_come_back_as_it_was_travels_as_it_is() {
    let newer = body(3, Outcome::Exited { code: 0 }, NOW.0, 1, b"");
    let mut elsewhere = newer.clone();
    elsewhere.order = world().small;
    for (what, report, combines) in [
        ("as it should be", report(3, 1), true),
        ("a field more", signed(3, 3, Newer(newer.clone()), b""), true),
        ("another signer", signed(3, 4, newer.clone(), b""), false),
        ("another order inside", signed(3, 3, elsewhere, b""), false),
        ("another host inside", Report { host: host_id(5), ..signed(3, 3, newer, b"") }, false),
        ("a host that nobody knows", report(UNKNOWN, 1), false),
        ("a host outside", report(OUTSIDE, 1), false),
        (
            "output that is not what the record says",
            Report { stdout: Some(Bytes(vec![1])), ..report(3, 1) },
            true,
        ),
        ("output that does not travel", Report { stdout: None, ..report(3, 1) }, true),
        ("noise", Report { record: Bytes(vec![7; 300]), ..report(3, 1) }, false),
        ("output that is too long", Report { stderr: Some(Bytes(vec![0; 4096])), ..report(3, 1) }, false),
    ] {
        let (rows, plain) = packed(std::slice::from_ref(&report));
        assert_eq!((rows.len(), plain.len()), (usize::from(combines), usize::from(!combines)), "{what}");
        assert_eq!(unpacked(&rows).unwrap().into_iter().chain(plain).collect::<Vec<_>>(), [report], "{what}");
    }
}

#[test]
fn two_words_of_one_host_stand_in_two_rows_and_a_row_with_a_host_twice_is_none() {
    let reports = [report(3, 1), report(3, 2), report(4, 1)];
    let (rows, _) = packed(&reports);
    assert_eq!(rows.iter().map(Row::hosts).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(sorted(unpacked(&rows).unwrap()), sorted(reports));
    assert_eq!(places(&[0, 0, 0], 3), Ok(vec![0, 1, 2]), "a place cannot be said twice");
    for beyond in [&[0, 0, 0, 0][..], &[3], &[0, u64::MAX], &[u64::MAX, u64::MAX]] {
        assert_eq!(places(beyond, 3), Err(NoResults));
    }
}

#[test]
fn rows_that_are_too_many_or_stand_for_too_much_are_none() {
    let reports: Vec<Report> = (0..UNKNOWN).map(|host| report(host, 1)).collect();
    let (rows, _) = packed(&reports);
    let changed = |change: fn(&mut Row)| {
        let mut row = rows[0].clone();
        change(&mut row);
        unpacked(&[row])
    };
    assert!(changed(|_| {}).is_ok());
    assert!(changed(|row| row.stdout = Some(Bytes(vec![0; 4097]))).is_err(), "output");
    assert!(changed(|row| row.said = Bytes(vec![0x80])).unwrap().is_empty(), "nothing said");
    assert!(changed(|row| row.said = Bytes(vec![0; 5000])).is_err(), "no array");
    assert!(changed(|row| row.signatures.0.truncate(63)).is_err(), "a part of a signature");
    assert!(changed(|row| row.signatures.0.clear()).is_err(), "nobody's");
    assert!(changed(|row| row.signatures.0.extend([0; 64])).is_err(), "one more than places");
    assert!(changed(|row| row.hosts.0.push(0)).is_err(), "more than columns");
    assert!(unpacked(&vec![rows[0].clone(); COMBINED_ROWS_MAX + 1]).is_err(), "rows");
    assert!(unpacked(&vec![rows[0].clone(); 11]).is_err(), "hosts");
    let mut long = rows[0].clone();
    long.stdout = Some(Bytes(vec![0; 4096]));
    assert!(unpacked(&vec![long.clone(); 9]).is_ok());
    long.signatures = Bytes(vec![0; 64 * COMBINED_HOSTS_MAX]);
    assert!(long.unpacked() > UNPACKED_BYTES_MAX && unpacked(&[long]).is_err(), "bytes that it stands for");
}

#[test]
fn a_small_roster_is_not_combined() {
    let small = Report { order: world().small, ..report(3, 1) };
    assert!(
        matches!(&in_messages(vec![small], &world().replica)[..], [Message::Reports { reports }] if reports.len() == 1)
    );
}

#[test]
fn many_long_results_are_cut_into_messages_that_may_be_sent() {
    let printed = vec![b'x'; 4096];
    let reports: Vec<Report> = (0..UNKNOWN)
        .flat_map(|host| (0..12).map(move |ms| (host, ms)))
        .map(|(host, ms)| {
            let mut own = printed.clone();
            own[..2].copy_from_slice(&[host, ms]);
            signed(host, host, body(host, Outcome::Exited { code: 0 }, NOW.0, 1, &own), &own)
        })
        .collect();
    let messages = in_messages(reports.clone(), &world().replica);
    assert!(messages.len() > 10);
    assert!(messages.iter().all(|message| message.weight() < COMBINED_BYTES_MAX + 10_000));
    assert_eq!(sorted(through(&messages).0), sorted(reports));
}
