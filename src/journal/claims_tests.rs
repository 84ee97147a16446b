use std::fs::File;
use std::io;

use proptest::prelude::*;

use super::*;

/// What the disk does wrong, and a count of the syncs that were asked for.
#[derive(Debug, Default)]
pub(super) struct Fault {
    /// Bytes of the next write that come through before it fails.
    write: Option<(usize, i32)>,
    sync: Option<i32>,
    syncs: usize,
}

impl Fault {
    pub(super) fn write(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let Some((through, errno)) = self.write.take() else { return Ok(()) };
        file.write_all_at(&bytes[..through.min(bytes.len())], at)?;
        Err(io::Error::from_raw_os_error(errno))
    }
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        self.sync.take().map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}

const HOUR: Timestamp = Timestamp(3_600_000);

fn order(number: u8) -> Order {
    [number; 32]
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("claims");
    Place { _directory: directory, path }
}

/// Three claims, two results, one of them acknowledged.
fn some(path: &Path) -> Claims {
    let mut claims = Claims::open(path).unwrap();
    for number in 1..=3 {
        assert_eq!(claims.claim(order(number), HOUR, Timestamp(number.into()), None).unwrap(), Claimed::New);
    }
    claims.finish(order(1), b"one", None).unwrap();
    claims.settle(order(1));
    claims.finish(order(2), b"two", None).unwrap();
    claims
}

fn assert_some(claims: &Claims) {
    assert_eq!(claims.unfinished(), [order(3)]);
    assert_eq!(claims.unsettled().collect::<Vec<_>>(), [(order(2), &b"two"[..])]);
    assert_eq!(claims.result(&order(1)).unwrap().unwrap(), b"one");
    assert_eq!(claims.result(&order(3)).unwrap(), None);
    assert_eq!(claims.claimed_at(&order(3)), Some(Timestamp(3)));
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    assert_some(&some(&place.path));
    let mut claims = Claims::open(&place.path).unwrap();
    assert!(!claims.torn());
    assert_some(&claims);
    assert_eq!(claims.claim(order(1), HOUR, HOUR, None).unwrap(), Claimed::Already);
    assert_eq!(claims.claim(order(3), HOUR, HOUR, None).unwrap(), Claimed::Already);
    assert!(matches!(claims.finish(order(2), b"again", None), Err(JournalError::AlreadyFinished)));
    assert!(matches!(claims.finish(order(9), b"never", None), Err(JournalError::NotClaimed)));
    let long = vec![0; RESULT_BYTES_MAX + 1];
    assert!(matches!(claims.finish(order(3), &long, None), Err(JournalError::TooLong { .. })));
    claims.finish(order(3), &long[1..], None).unwrap();
    assert_eq!(std::fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Claims::open(&place.path), Err(JournalError::InUse { .. })));
}

#[test]
fn an_order_costs_two_syncs_and_its_acknowledgement_none() {
    let place = place();
    let mut claims = Claims::open(&place.path).unwrap();
    claims.fault = Some(Fault::default());
    claims.claim(order(1), HOUR, HOUR, None).unwrap();
    assert_eq!(claims.fault.as_ref().unwrap().syncs, 1);
    claims.claim(order(1), HOUR, HOUR, None).unwrap();
    assert_eq!(claims.fault.as_ref().unwrap().syncs, 1);
    claims.finish(order(1), b"one", None).unwrap();
    claims.settle(order(1));
    claims.settle(order(1));
    assert_eq!(claims.fault.as_ref().unwrap().syncs, 2);
    drop(claims);
    let mut claims = Claims::open(&place.path).unwrap();
    assert_eq!(claims.unsettled().count(), 1, "an acknowledgement that was never written is lost");
    claims.settle(order(1));
    claims.flush().unwrap();
    drop(claims);
    assert_eq!(Claims::open(&place.path).unwrap().unsettled().count(), 0);
}

#[test]
fn a_failed_write_claims_nothing_and_the_journal_goes_on() {
    let place = place();
    let mut claims = some(&place.path);
    for (through, errno) in [(0, libc::ENOSPC), (1, libc::ENOSPC), (30, libc::EDQUOT), (9999, libc::EIO)] {
        claims.fault = Some(Fault { write: Some((through, errno)), ..Fault::default() });
        let error = claims.claim(order(4), HOUR, HOUR, None).unwrap_err();
        assert_eq!(matches!(error, JournalError::DiskFull { .. }), errno != libc::EIO, "{error}");
        assert_some(&claims);
    }
    drop(claims);
    let mut claims = Claims::open(&place.path).unwrap();
    assert!(!claims.torn());
    assert_some(&claims);
    assert_eq!(claims.claim(order(4), HOUR, HOUR, None).unwrap(), Claimed::New);
}

#[test]
fn a_failed_sync_poisons_the_journal_until_it_is_opened_again() {
    let place = place();
    let mut claims = some(&place.path);
    claims.fault = Some(Fault { sync: Some(libc::EIO), ..Fault::default() });
    assert!(matches!(claims.claim(order(4), HOUR, HOUR, None), Err(JournalError::Io { .. })));
    assert!(matches!(claims.claim(order(5), HOUR, HOUR, None), Err(JournalError::Poisoned { .. })));
    assert!(matches!(claims.finish(order(3), b"", None), Err(JournalError::Poisoned { .. })));
    assert!(matches!(claims.compact(HOUR, Duration::ZERO), Err(JournalError::Poisoned { .. })));
    drop(claims);
    assert_some(&Claims::open(&place.path).unwrap());
}

#[test]
fn a_cut_at_any_byte_loses_the_last_record_and_says_so() {
    let place = place();
    drop(some(&place.path));
    let bytes = std::fs::read(&place.path).unwrap();
    let mut ends = vec![FILE_HEADER_BYTES];
    while let Read::Good(body) = read_record(*ends.last().unwrap() as u64, &bytes[*ends.last().unwrap()..]) {
        ends.push(ends.last().unwrap() + HEADER_BYTES + body.len());
    }
    assert_eq!(ends.len(), 6);
    for cut in 0..bytes.len() {
        std::fs::write(&place.path, &bytes[..cut]).unwrap();
        let opened = Claims::open(&place.path);
        if cut < FILE_HEADER_BYTES {
            assert!(matches!(opened, Err(JournalError::Corrupt { offset: 0, .. })), "cut at {cut}");
            continue;
        }
        let claims = opened.unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(claims.torn(), !ends.contains(&cut), "cut at {cut}");
        assert_eq!(claims.len(), whole.min(3), "cut at {cut}");
        assert_eq!(std::fs::metadata(&place.path).unwrap().len(), ends[whole] as u64);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_that_names_the_place() {
    let place = place();
    drop(some(&place.path));
    let bytes = std::fs::read(&place.path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&place.path, &bad).unwrap();
        match Claims::open(&place.path) {
            Err(JournalError::Corrupt { offset, .. }) => assert!(offset <= bit as u64 / 8, "bit {bit}"),
            other => panic!("bit {bit}: {other:?}"),
        }
        assert_eq!(std::fs::read(&place.path).unwrap(), bad, "a damaged file is left as it is");
    }
}

#[test]
fn a_newer_format_and_what_is_no_journal_are_left_alone() {
    let place = place();
    std::fs::write(&place.path, file_header(2)).unwrap();
    assert!(matches!(Claims::open(&place.path), Err(JournalError::Newer { version: 2, .. })));
    std::fs::write(&place.path, b"").unwrap();
    assert!(matches!(Claims::open(&place.path), Err(JournalError::Corrupt { offset: 0, .. })));
    let link = place.path.with_file_name("link");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    assert!(Claims::open(&link).is_err());
    assert!(Claims::open(&place.path.join("no/such")).is_err());
}

#[test]
fn compaction_forgets_only_what_is_finished_acknowledged_and_expired_by_signed_time() {
    let place = place();
    let mut claims = Claims::open(&place.path).unwrap();
    let expires = |number: u8| Timestamp(u64::from(number) * 1_000);
    for number in 1..=6 {
        claims.claim(order(number), expires(number), Timestamp(1), None).unwrap();
    }
    for number in [1, 2, 3, 5] {
        claims.finish(order(number), &[number], None).unwrap();
    }
    for number in [1, 2, 5] {
        claims.settle(order(number));
    }
    let margin = Duration::from_secs(1);
    assert_eq!(claims.compact(Timestamp(2_000), margin).unwrap(), 0);
    assert_eq!(claims.compact(Timestamp(4_500), margin).unwrap(), 2);
    let check = |claims: &Claims| {
        assert_eq!(claims.expiry_floor(), expires(2));
        assert_eq!(claims.unfinished(), [order(4), order(6)]);
        assert_eq!(claims.unsettled().collect::<Vec<_>>(), [(order(3), &[3_u8][..])]);
        assert_eq!(claims.result(&order(5)).unwrap().unwrap(), [5]);
    };
    check(&claims);
    // A forgotten order, and any other that expires no later, is never taken again.
    assert_eq!(claims.claim(order(1), expires(1), Timestamp(1), None).unwrap(), Claimed::BelowFloor);
    assert_eq!(claims.claim(order(9), expires(2), Timestamp(1), None).unwrap(), Claimed::BelowFloor);
    drop(claims);
    let mut claims = Claims::open(&place.path).unwrap();
    check(&claims);
    assert_eq!(claims.claim(order(2), expires(2), Timestamp(1), None).unwrap(), Claimed::BelowFloor);
    assert_eq!(claims.claim(order(4), expires(4), Timestamp(1), None).unwrap(), Claimed::Already);
    assert_eq!(claims.claim(order(7), expires(7), Timestamp(1), None).unwrap(), Claimed::New);
    claims.finish(order(4), b"four", None).unwrap();
    assert_eq!(claims.result(&order(4)).unwrap().unwrap(), b"four");
    assert!(matches!(Claims::open(&place.path), Err(JournalError::InUse { .. })));
}

#[test]
fn a_compaction_that_cannot_be_written_leaves_the_old_file() {
    let place = place();
    let mut claims = some(&place.path);
    let aside = place.path.with_file_name("claims.new");
    std::fs::create_dir(&aside).unwrap();
    assert!(claims.compact(Timestamp(u64::MAX), Duration::ZERO).is_err());
    assert_some(&claims);
    std::fs::remove_dir(&aside).unwrap();
    std::fs::write(&aside, b"left by a crash").unwrap();
    assert_eq!(claims.compact(Timestamp(u64::MAX), Duration::ZERO).unwrap(), 1);
    assert_eq!(claims.claim(order(4), HOUR.after(Duration::from_secs(1)), HOUR, None).unwrap(), Claimed::New);
    drop(claims);
    assert_eq!(Claims::open(&place.path).unwrap().unfinished(), [order(3), order(4)]);
}

#[test]
fn claims_are_bounded() {
    let place = place();
    let mut claims = Claims::open(&place.path).unwrap();
    for number in 0..CLAIMS_MAX as u64 {
        let mut order = [0; 32];
        order[..8].copy_from_slice(&number.to_be_bytes());
        claims.claims.insert(order, Claim { expires: HOUR, at: HOUR, result: None });
    }
    assert!(matches!(claims.claim(order(255), HOUR, HOUR, None), Err(JournalError::TooMany { .. })));
}

#[derive(Clone, Debug)]
enum Step {
    Claim(u8),
    Finish(u8, usize),
    Settle(u8),
    Compact(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..12).prop_map(Step::Claim),
        4 => (0_u8..12, 0_usize..1500).prop_map(|(number, bytes)| Step::Finish(number, bytes)),
        2 => (0_u8..12).prop_map(Step::Settle),
        1 => (0_u64..14_000).prop_map(Step::Compact),
    ];
    proptest::collection::vec(step, 1..30)
}

fn perform(claims: &mut Claims, step: &Step) {
    let expires = |number: u8| Timestamp(u64::from(number) * 1_000);
    match *step {
        Step::Claim(number) => {
            claims.claim(order(number), expires(number), Timestamp(1), None).unwrap();
        }
        Step::Finish(number, bytes) => drop(claims.finish(order(number), &vec![number; bytes], None)),
        Step::Settle(number) => claims.settle(order(number)),
        Step::Compact(now) => drop(claims.compact(Timestamp(now), Duration::from_secs(1)).unwrap()),
    }
}

/// All that was promised: who is claimed, and with what result.
fn promised(claims: &Claims) -> Vec<(Order, Option<Vec<u8>>)> {
    claims.claims.keys().map(|order| (*order, claims.result(order).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(disk::power_cuts(200)))]

    /// Runs steps, cuts the power in the last one, and starts again.
    #[test]
    fn a_power_cut_loses_nothing_that_was_acknowledged(
        steps in steps(), last in 20_u8..30, finish in any::<bool>(), sectors in any::<u16>(), length in 0_usize..120,
    ) {
        let place = place();
        let mut claims = Claims::open(&place.path).unwrap();
        for step in &steps {
            perform(&mut claims, step);
        }
        if finish {
            perform(&mut claims, &Step::Claim(last));
        }
        let (before, floor, end) = (promised(&claims), claims.expiry_floor(), usize::try_from(claims.end).unwrap());
        perform(&mut claims, &if finish { Step::Finish(last, 1200) } else { Step::Claim(last) });
        let after = promised(&claims);
        drop(claims);

        // Of what was not synced, the file may have any length and any of the sectors.
        let mut disk = std::fs::read(&place.path).unwrap();
        let kept = end + (disk.len() - end) * length / 100;
        disk.truncate(kept);
        for (at, byte) in disk.iter_mut().enumerate().skip(end) {
            if sectors & (1 << (at / 512 % 16)) == 0 {
                *byte = 0;
            }
        }
        std::fs::write(&place.path, &disk).unwrap();
        let mut claims = Claims::open(&place.path).unwrap();
        let found = promised(&claims);
        prop_assert!(found == before || found == after, "found {found:?}, before {before:?}");
        prop_assert_eq!(claims.expiry_floor(), floor);
        for (order, _) in before {
            let again = claims.claim(order, Timestamp(u64::MAX), Timestamp(1), None).unwrap();
            prop_assert_eq!(again, Claimed::Already);
        }
    }

    /// No bytes make it panic, and damage is never taken for an empty journal.
    #[test]
    fn damage_is_never_taken_for_less(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let place = place();
        drop(some(&place.path));
        let mut bytes = std::fs::read(&place.path).unwrap();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        std::fs::write(&place.path, &bytes).unwrap();
        let opened = Claims::open(&place.path);
        let named = matches!(opened, Err(JournalError::Corrupt { .. } | JournalError::Newer { .. }));
        prop_assert!(named);
    }
}
