//! A chain, and everything that can be done to it.

use super::*;
use crate::{
    authority::sample::{NOW, key},
    identity::SecretKey,
};

const FLEET: FleetId = FleetId([7; 32]);

fn executor() -> SecretKey<Executor> {
    key(3)
}

fn record(sequence: u64, previous: Option<EntryId>, what: Audited) -> Signed<AuditRecord> {
    let body = AuditRecord { sequence, previous, at: NOW, dropped: 0, what };
    Signed::sign(FLEET, &executor(), body)
}

fn event(number: u8) -> Audited {
    let (order, issuer) = (EntryId([number; 32]), key::<Operator>(9).public());
    Audited::Known(match number % 3 {
        0 => AuditEvent::Accepted {
            order,
            issuer,
            verb: Verb::Run,
            run_as: "root".into(),
            approved_by: vec!["ana".into()],
        },
        1 => AuditEvent::Refused { order, issuer, verb: Verb::Run, why: "expired".into() },
        _ => AuditEvent::Ended { order, outcome: Outcome::Exited { code: 0 }, result: EntryId([1; 32]) },
    })
}

/// Records from this number on, after that one.
fn chain_from(first: u64, mut previous: Option<EntryId>, records: u8) -> Vec<Signed<AuditRecord>> {
    let mut made = Vec::new();
    for number in 0..records {
        let what =
            if number == 0 && first > 0 { Audited::Known(AuditEvent::Rotated {}) } else { event(number) };
        let next = record(first + u64::from(number), previous, what);
        previous = Some(next.id());
        made.push(next);
    }
    made
}

fn bytes(records: &[Signed<AuditRecord>]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.bytes().to_vec()).collect()
}

fn walk(records: &[Vec<u8>], known: &[AuditHead]) -> Result<Option<(u64, AuditHead)>, AuditFault> {
    let mut walk = AuditWalk::new(FLEET, executor().public(), known.to_vec());
    for record in records {
        walk.take(record)?;
    }
    walk.end()
}

fn index_of(fault: &AuditFault) -> Option<u64> {
    match fault {
        AuditFault::Altered { index, .. }
        | AuditFault::Stranger { index, .. }
        | AuditFault::Missing { index, .. }
        | AuditFault::Repeated { index, .. }
        | AuditFault::Forked { index, .. } => Some(*index),
        AuditFault::Beheaded { .. } | AuditFault::Rewritten { .. } | AuditFault::CutShort { .. } => None,
    }
}

#[test]
fn a_chain_is_walked_from_its_first_record_to_its_last() {
    let chain = chain_from(0, None, 7);
    let head = AuditHead::of(&chain[6]);
    assert_eq!(walk(&bytes(&chain), &[]), Ok(Some((0, head))));
    let known: Vec<_> = chain.iter().map(AuditHead::of).collect();
    assert_eq!(walk(&bytes(&chain), &known), Ok(Some((0, head))));
    assert_eq!(walk(&[], &[]), Ok(None));
    // Older ones are not kept: what is left says so, and still holds the host to them.
    let later = chain_from(7, Some(head.id), 3);
    let last = AuditHead::of(&later[2]);
    assert_eq!(walk(&bytes(&later), &[head]), Ok(Some((7, last))));
    let other = AuditHead { id: EntryId([9; 32]), ..head };
    assert_eq!(walk(&bytes(&later), &[other]), Err(AuditFault::Rewritten { known: other, found: head.id }));
}

/// Each byte of each record, changed in each bit, taken out, and doubled.
#[test]
fn any_one_byte_that_is_changed_taken_out_or_put_in_is_named_by_its_record() {
    let good = bytes(&chain_from(0, None, 4));
    let mut tried = 0;
    for (index, record) in good.iter().enumerate() {
        for at in 0..record.len() {
            let mut all = good.clone();
            let mut check = |changed: Vec<u8>, what: &str| {
                all[index] = changed;
                let fault = walk(&all, &[]).expect_err(what);
                assert!(matches!(fault, AuditFault::Altered { .. }), "{what} {index} {at}: {fault}");
                assert_eq!(index_of(&fault), Some(index as u64), "{what} {index} {at}: {fault}");
                tried += 1;
            };
            for bit in 0..8 {
                let mut changed = record.clone();
                changed[at] ^= 1 << bit;
                check(changed, "a bit changed");
            }
            let mut shorter = record.clone();
            shorter.remove(at);
            check(shorter, "a byte taken out");
            let mut longer = record.clone();
            longer.insert(at, record[at]);
            check(longer, "a byte doubled");
        }
    }
    assert!(tried > 4 * 200 * 10, "{tried}");
}

#[test]
fn a_record_that_is_left_out_shown_again_or_moved_is_named() {
    let chain = chain_from(0, None, 6);
    let good = bytes(&chain);
    let head = AuditHead::of(&chain[5]);
    for out in 0..6_u64 {
        let mut all = good.clone();
        all.remove(usize::try_from(out).unwrap());
        let expected = match out {
            0 => AuditFault::Beheaded { found: 1 },
            5 => AuditFault::CutShort { known: head, last: Some(AuditHead::of(&chain[4])) },
            out => AuditFault::Missing { index: out, expected: out, found: out + 1 },
        };
        assert_eq!(walk(&all, &[head]), Err(expected), "without {out}");
    }
    for from in 0..6_u64 {
        for to in from + 1..=6 {
            let mut all = good.clone();
            all.insert(usize::try_from(to).unwrap(), good[usize::try_from(from).unwrap()].clone());
            let expected = AuditFault::Repeated { index: to, expected: to, found: from };
            assert_eq!(walk(&all, &[head]), Err(expected), "{from} again at {to}");
        }
    }
    for left in 0..5_usize {
        let mut all = good.clone();
        all.swap(left, left + 1);
        let fault = walk(&all, &[head]).expect_err("two changed places");
        let index = left as u64;
        let expected = match left {
            0 => AuditFault::Beheaded { found: 1 },
            _ => AuditFault::Missing { index, expected: index, found: index + 1 },
        };
        assert_eq!(fault, expected);
    }
}

#[test]
fn a_host_that_rewrites_what_it_showed_is_caught_and_two_records_prove_it() {
    let chain = chain_from(0, None, 5);
    let head = AuditHead::of(&chain[4]);
    // From number 2 on it tells another story, whole in itself.
    let mut other = chain[..2].to_vec();
    let mut previous = other[1].id();
    for number in 2..6 {
        let next = record(number, Some(previous), event(100 + u8::try_from(number).unwrap()));
        previous = next.id();
        other.push(next);
    }
    assert!(walk(&bytes(&other), &[]).is_ok());
    let found = other[4].id();
    assert_eq!(walk(&bytes(&other), &[head]), Err(AuditFault::Rewritten { known: head, found }));
    let early = AuditHead::of(&chain[2]);
    let found = other[2].id();
    assert_eq!(walk(&bytes(&other), &[head, early]), Err(AuditFault::Rewritten { known: early, found }));
    // A tail of the one after the beginning of the other.
    let mixed: Vec<_> = chain[..3].iter().chain(&other[3..]).cloned().collect();
    let (expected, found) = (Some(chain[2].id()), Some(other[2].id()));
    assert_eq!(walk(&bytes(&mixed), &[]), Err(AuditFault::Forked { index: 3, expected, found }));
    let proof = |one: &Signed<AuditRecord>, other: &Signed<AuditRecord>| {
        fork(FLEET, executor().public(), one.bytes(), other.bytes())
    };
    let expected = (AuditHead::of(&chain[3]), AuditHead::of(&other[3]));
    assert_eq!(proof(&chain[3], &other[3]), Some(expected));
    assert_eq!(proof(&chain[3], &chain[3]), None);
    assert_eq!(proof(&chain[3], &other[4]), None);
    assert_eq!(fork(FLEET, key(4).public(), chain[3].bytes(), other[3].bytes()), None);
    assert_eq!(fork(FleetId([8; 32]), executor().public(), chain[3].bytes(), other[3].bytes()), None);
}

#[test]
fn a_record_of_another_host_or_fleet_is_named_and_one_of_a_newer_version_is_kept() {
    let chain = chain_from(0, None, 2);
    let mut all = bytes(&chain);
    let body =
        AuditRecord { sequence: 2, previous: Some(chain[1].id()), at: NOW, dropped: 3, what: event(2) };
    let stranger = key::<Executor>(5);
    all.push(Signed::sign(FLEET, &stranger, body.clone()).bytes().to_vec());
    assert_eq!(walk(&all, &[]), Err(AuditFault::Stranger { index: 2, found: stranger.public() }));
    all[2] = Signed::sign(FleetId([8; 32]), &executor(), body.clone()).bytes().to_vec();
    assert!(matches!(walk(&all, &[]), Err(AuditFault::Altered { index: 2, .. })));
    let newer = AuditRecord { what: Audited::Newer { tag: 77 }, ..body };
    let newer = Signed::sign(FLEET, &executor(), newer);
    all[2] = newer.bytes().to_vec();
    assert_eq!(walk(&all, &[]), Ok(Some((0, AuditHead::of(&newer)))));
    let first = record(0, Some(EntryId([1; 32])), event(0));
    let expected = AuditFault::Forked { index: 0, expected: None, found: Some(EntryId([1; 32])) };
    assert_eq!(walk(&bytes(&[first]), &[]), Err(expected));
}
