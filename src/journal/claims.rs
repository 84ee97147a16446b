//! Which orders this host claimed and what came of them: one file, appended to and synced.
//!
//! Decides what may be run: an order whose claim is not on disk is not run, one whose claim is, is never
//! run again. Always holds: at most the last record of the file was not synced. So a last record that a
//! power cut left torn was acknowledged to nobody and is cut off, while any other bad byte is an error
//! that names its place. It does not know a clock: what may be forgotten is decided by the signed time
//! that it is given.
//!
//! *Why an acknowledgement waits in memory:* [`Claims::settle`] costs no sync. A record of its own that is
//! not synced could be lost while a later one is kept, which looks like damage; so it rides in the next
//! synced record, and a crash before that only means that a result is sent once more.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{self, CHECK_BYTES, JournalError, Locked, failed};
use crate::identity::Payload;
use crate::replica::AuditRecord;
use crate::time::Timestamp;
use crate::wire::{Bytes, WireError, decode, encode};
use crate::wire_choice;

/// Orders that are claimed at once; claims above it are refused until some expire.
pub const CLAIMS_MAX: usize = 100_000;
/// The longest result of one order.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Above this no claim is accepted before the file is compacted; results still are.
const FILE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Acknowledgements that ride in one record.
const RIDERS_MAX: usize = 512;
const RECORD_BYTES_MAX: usize = RESULT_BYTES_MAX + RIDERS_MAX * 40 + AUDIT_BYTES_MAX + 256;
/// The longest record of the audit chain.
const AUDIT_BYTES_MAX: usize = <AuditRecord as Payload>::BYTES_MAX;

const MAGIC: [u8; 8] = *b"mustercl";
const FORMAT: u32 = 1;
/// Magic, format, check.
const FILE_HEADER_BYTES: usize = 8 + 4 + CHECK_BYTES;
/// Length, its complement, check.
const HEADER_BYTES: usize = 4 + 4 + CHECK_BYTES;
/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

type Order = [u8; 32];

/// One record of the file. `settled` are acknowledgements that came since the record before; `audit` is a record
/// of the audit chain that is synced with it, and stands here until it is on disk in its own file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    Claim { order: Order, expires: Timestamp, at: Timestamp, settled: Vec<Order>, audit: Option<Bytes> },
    Finish { order: Order, result: Bytes, settled: Vec<Order>, audit: Option<Bytes> },
    Settled { settled: Vec<Order> },
    Floor { expires: Timestamp },
    Restored { before: Timestamp, audit: Option<Bytes> },
}
wire_choice!(Record {
    0 = Claim { order, expires, at, settled, audit },
    1 = Finish { order, result, settled, audit },
    2 = Settled { settled },
    3 = Floor { expires },
    4 = Restored { before, audit },
});

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is on disk: this order may be run, now, once.
    New,
    /// It was claimed before and must not be run.
    Already,
    /// It expires no later than an order that was forgotten, so it may have been claimed before.
    BelowFloor,
}

#[derive(Debug)]
struct Claim {
    expires: Timestamp,
    at: Timestamp,
    result: Option<Outcome>,
}

/// A result in memory until it is acknowledged, then only its place in the file.
#[derive(Debug)]
enum Outcome {
    Unsettled(Vec<u8>),
    Settled { offset: u64, bytes: usize },
}

/// The journal of claims. Holds the file's lock.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the claims are what it is named for")]
pub struct Claims {
    path: PathBuf,
    file: Locked,
    /// Where the next record goes; all before it is synced.
    end: u64,
    claims: BTreeMap<Order, Claim>,
    /// Where each result's record stands.
    places: BTreeMap<Order, (u64, usize)>,
    floor: Timestamp,
    /// What was issued up to here may have been run by a state that was lost.
    restored: Timestamp,
    /// Acknowledged, but not yet on disk.
    riders: Vec<Order>,
    /// What the file holds of the audit chain, as it was when it was opened.
    audits: Vec<Bytes>,
    torn: bool,
    poisoned: bool,
    #[cfg(test)]
    fault: Option<tests::Fault>,
}

impl Claims {
    /// Reads the file, or makes an empty one where there is none. A last record that was torn is cut off
    /// ([`Claims::torn`]).
    ///
    /// # Errors
    /// [`JournalError::Corrupt`], [`JournalError::Newer`] and the others leave the file as it was.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (file, fresh) = match disk::open(path)? {
            Some(file) => (file, false),
            None => (disk::replace(path, &file_header(FORMAT), &mut false)?, true),
        };
        let mut claims = Self {
            path: path.to_path_buf(),
            file,
            end: FILE_HEADER_BYTES as u64,
            claims: BTreeMap::new(),
            places: BTreeMap::new(),
            floor: Timestamp::default(),
            restored: Timestamp::default(),
            riders: Vec::new(),
            audits: Vec::new(),
            torn: false,
            poisoned: false,
            #[cfg(test)]
            fault: None,
        };
        if !fresh {
            claims.load()?;
        }
        Ok(claims)
    }

    fn load(&mut self) -> Result<(), JournalError> {
        let bytes = std::fs::read(&self.path).map_err(|error| failed("read", &self.path, error))?;
        let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| self.corrupt(0))?;
        let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(|| self.corrupt(0))?;
        let format = u32::from_be_bytes(*format);
        if rest.get(..CHECK_BYTES) != file_header(format).get(12..) {
            return Err(self.corrupt(0));
        }
        if format > FORMAT {
            return Err(JournalError::Newer { path: self.path.clone(), version: format });
        }
        let mut offset = FILE_HEADER_BYTES;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let at = offset as u64;
            match read_record(at, rest) {
                Read::Good(body) => {
                    let record = decode(body, RECORD_BYTES_MAX).map_err(|error| match error {
                        WireError::UnknownTag { .. } => {
                            JournalError::Newer { path: self.path.clone(), version: FORMAT + 1 }
                        }
                        _ => self.corrupt(at),
                    })?;
                    if let Record::Claim { audit: Some(audit), .. }
                    | Record::Finish { audit: Some(audit), .. }
                    | Record::Restored { audit: Some(audit), .. } = &record
                    {
                        self.audits.push(audit.clone());
                    }
                    self.apply(record, at, body.len()).ok_or_else(|| self.corrupt(at))?;
                    offset += HEADER_BYTES + body.len();
                }
                Read::Torn => {
                    self.torn = true;
                    self.file
                        .set_len(at)
                        .and_then(|()| self.file.sync_all())
                        .map_err(|error| failed("cut", &self.path, error))?;
                    break;
                }
                Read::Bad => return Err(self.corrupt(at)),
            }
        }
        self.end = offset as u64;
        Ok(())
    }

    /// Takes a record that is on disk. `None` if it contradicts those before it.
    fn apply(&mut self, record: Record, offset: u64, bytes: usize) -> Option<()> {
        let settled = match record {
            Record::Claim { order, expires, at, settled, audit: _ } => {
                self.claims.insert(order, Claim { expires, at, result: None }).is_none().then_some(())?;
                settled
            }
            Record::Finish { order, result, settled, audit: _ } => {
                let claim = self.claims.get_mut(&order)?;
                claim.result.replace(Outcome::Unsettled(result.0)).is_none().then_some(())?;
                self.places.insert(order, (offset, bytes));
                settled
            }
            Record::Settled { settled } => settled,
            Record::Floor { expires } => {
                self.floor = self.floor.max(expires);
                Vec::new()
            }
            Record::Restored { before, audit: _ } => {
                self.restored = self.restored.max(before);
                Vec::new()
            }
        };
        for order in settled {
            self.forget_bytes(&order);
        }
        Some(())
    }

    /// Lets go of the bytes of an acknowledged result. Tells whether there was one.
    fn forget_bytes(&mut self, order: &Order) -> bool {
        let Some(place) = self.places.get(order) else { return false };
        let Some(claim) = self.claims.get_mut(order) else { return false };
        let held = matches!(claim.result, Some(Outcome::Unsettled(_)));
        claim.result = Some(Outcome::Settled { offset: place.0, bytes: place.1 });
        held
    }

    /// Tells whether the last record was torn and cut off when the file was opened: something that was
    /// acknowledged to nobody.
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// The latest expiry of an order that was forgotten.
    pub fn expiry_floor(&self) -> Timestamp {
        self.floor
    }

    /// The latest time for which this directory is known to be older than what the host did: an order issued up
    /// to then and not claimed may have been run all the same.
    pub fn restored_before(&self) -> Timestamp {
        self.restored
    }

    /// Notes that this directory was restored from an older copy (one sync), and `audit` with it. Never undone.
    pub fn restore(&mut self, before: Timestamp, audit: Option<&[u8]>) -> Result<(), JournalError> {
        self.write(Record::Restored { before, audit: audit.map(Bytes::from) })
    }

    /// How many orders are claimed and not yet forgotten.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Tells whether no order is claimed.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// The records of the audit chain that the file held when it was opened, in their order. Taken once, before
    /// anything is compacted.
    pub fn take_audits(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.audits)
    }

    /// Claims an order: with [`Claimed::New`] the claim is on disk (one sync), and `audit` with it. If it fails,
    /// nothing is claimed.
    pub fn claim(
        &mut self,
        order: Order,
        expires: Timestamp,
        now: Timestamp,
        audit: Option<&[u8]>,
    ) -> Result<Claimed, JournalError> {
        if self.claims.contains_key(&order) {
            return Ok(Claimed::Already);
        }
        if expires <= self.floor {
            return Ok(Claimed::BelowFloor);
        }
        if self.claims.len() >= CLAIMS_MAX || self.end >= FILE_BYTES_MAX {
            return Err(JournalError::TooMany { claims: self.claims.len() });
        }
        let settled = self.next_riders();
        self.write(Record::Claim { order, expires, at: now, settled, audit: audit.map(Bytes::from) })?;
        Ok(Claimed::New)
    }

    /// Keeps the result of a claimed order (one sync), and `audit` with it. If it fails, the order has no result.
    pub fn finish(&mut self, order: Order, result: &[u8], audit: Option<&[u8]>) -> Result<(), JournalError> {
        if result.len() > RESULT_BYTES_MAX {
            return Err(JournalError::TooLong { bytes: result.len(), limit: RESULT_BYTES_MAX });
        }
        match self.claims.get(&order) {
            None => return Err(JournalError::NotClaimed),
            Some(claim) if claim.result.is_some() => return Err(JournalError::AlreadyFinished),
            Some(_) => {}
        }
        let settled = self.next_riders();
        self.write(Record::Finish { order, result: result.into(), settled, audit: audit.map(Bytes::from) })
    }

    /// Notes that a keeper has the order's result. Costs no sync: after a crash the result may be among
    /// the unsettled once more.
    pub fn settle(&mut self, order: Order) {
        if self.forget_bytes(&order) {
            self.riders.push(order);
        }
    }

    /// Brings to disk what [`Claims::settle`] noted: for an orderly stop.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        while !self.riders.is_empty() {
            let settled = self.next_riders();
            self.write(Record::Settled { settled })?;
        }
        Ok(())
    }

    /// The orders that are claimed and have no result. Right after a start nobody is running them: they
    /// are indeterminate.
    pub fn unfinished(&self) -> Vec<Order> {
        let open = self.claims.iter().filter(|(_, claim)| claim.result.is_none());
        open.map(|(order, _)| *order).collect()
    }

    /// When an order was claimed, by the clock of that time.
    pub fn claimed_at(&self, order: &Order) -> Option<Timestamp> {
        self.claims.get(order).map(|claim| claim.at)
    }

    /// The results that no keeper has acknowledged.
    pub fn unsettled(&self) -> impl Iterator<Item = (Order, &[u8])> {
        self.claims.iter().filter_map(|(order, claim)| match &claim.result {
            Some(Outcome::Unsettled(bytes)) => Some((*order, bytes.as_slice())),
            _ => None,
        })
    }

    /// The result of an order, if it has one. One that was acknowledged is read from the file again.
    pub fn result(&self, order: &Order) -> Result<Option<Vec<u8>>, JournalError> {
        let Some(outcome) = self.claims.get(order).and_then(|claim| claim.result.as_ref()) else {
            return Ok(None);
        };
        let (offset, bytes) = match outcome {
            Outcome::Unsettled(bytes) => return Ok(Some(bytes.clone())),
            Outcome::Settled { offset, bytes } => (*offset, *bytes),
        };
        let mut record = vec![0; HEADER_BYTES + bytes];
        self.file.read_exact_at(&mut record, offset).map_err(|error| failed("read", &self.path, error))?;
        let Read::Good(body) = read_record(offset, &record) else { return Err(self.corrupt(offset)) };
        match decode(body, RECORD_BYTES_MAX) {
            Ok(Record::Finish { order: found, result, .. }) if found == *order => Ok(Some(result.0)),
            _ => Err(self.corrupt(offset)),
        }
    }

    /// Forgets the orders that are finished, acknowledged, and expired more than `margin` before
    /// `signed_now`, a time that somebody with the right to signed. Returns how many. The file is written
    /// anew and takes the place of the old one; if that fails, the old one stands.
    pub fn compact(&mut self, signed_now: Timestamp, margin: Duration) -> Result<usize, JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let goes = |claim: &Claim| {
            matches!(claim.result, Some(Outcome::Settled { .. })) && claim.expires.after(margin) < signed_now
        };
        let (mut floor, mut dropped) = (self.floor, 0);
        for claim in self.claims.values().filter(|claim| goes(claim)) {
            floor = floor.max(claim.expires);
            dropped += 1;
        }
        if dropped == 0 {
            return Ok(0);
        }
        let mut records = vec![Record::Floor { expires: floor }];
        if self.restored > Timestamp::default() {
            records.push(Record::Restored { before: self.restored, audit: None });
        }
        for (order, claim) in self.claims.iter().filter(|(_, claim)| !goes(claim)) {
            let (order, settled) = (*order, Vec::new());
            records.push(Record::Claim { order, expires: claim.expires, at: claim.at, settled, audit: None });
            if let Some(outcome) = &claim.result {
                let result = Bytes(self.result(&order)?.unwrap_or_default());
                let acknowledged = matches!(outcome, Outcome::Settled { .. });
                // Its own acknowledgement may ride with it: it is applied after the result.
                let settled = if acknowledged { vec![order] } else { Vec::new() };
                records.push(Record::Finish { order, result, settled, audit: None });
            }
        }
        let mut bytes = file_header(FORMAT).to_vec();
        let mut placed = Vec::with_capacity(records.len());
        for record in records {
            let (at, body) = (bytes.len() as u64, encode(&record));
            bytes.extend(record_bytes(at, &body));
            placed.push((record, at, body.len()));
        }
        let mut renamed = false;
        let made = disk::replace(&self.path, &bytes, &mut renamed);
        // Under a name that is not synced, later claims could go to a file that a power cut takes back.
        self.poisoned = renamed && made.is_err();
        self.file = made?;
        self.end = bytes.len() as u64;
        self.claims.clear();
        self.places.clear();
        self.riders.clear();
        for (record, at, bytes) in placed {
            self.apply(record, at, bytes).ok_or_else(|| self.corrupt(at))?;
        }
        Ok(dropped)
    }

    fn corrupt(&self, offset: u64) -> JournalError {
        JournalError::Corrupt { path: self.path.clone(), offset }
    }

    fn next_riders(&self) -> Vec<Order> {
        self.riders.iter().take(RIDERS_MAX).copied().collect()
    }

    /// Appends one record, syncs, and takes it over.
    fn write(&mut self, record: Record) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let (offset, body) = (self.end, encode(&record));
        let bytes = record_bytes(offset, &body);
        if let Err(error) = self.append(&bytes) {
            // What a failed write left must not be taken for a torn record that somebody relied on.
            self.poisoned |= self.file.set_len(offset).is_err();
            return Err(failed("write", &self.path, error));
        }
        if let Err(error) = self.sync() {
            // The kernel may have dropped the pages and call the next sync a success.
            self.poisoned = true;
            let _ = self.file.set_len(offset);
            return Err(failed("sync", &self.path, error));
        }
        self.end = offset + bytes.len() as u64;
        let riders = match &record {
            Record::Claim { settled, .. } | Record::Finish { settled, .. } | Record::Settled { settled } => {
                settled.len()
            }
            Record::Floor { .. } | Record::Restored { .. } => 0,
        };
        self.riders.drain(..riders.min(self.riders.len()));
        self.apply(record, offset, body.len()).ok_or_else(|| self.corrupt(offset))
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        #[cfg(test)]
        if let Some(fault) = &mut self.fault {
            fault.write(&self.file, bytes, self.end)?;
        }
        self.file.write_all_at(bytes, self.end)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        #[cfg(test)]
        if let Some(fault) = &mut self.fault {
            fault.sync()?;
        }
        self.file.sync_data()
    }
}

fn file_header(format: u32) -> [u8; FILE_HEADER_BYTES] {
    let format = format.to_be_bytes();
    let check = disk::check(0, &[&MAGIC, &format]);
    let mut header = [0; FILE_HEADER_BYTES];
    for (to, from) in header.iter_mut().zip(MAGIC.iter().chain(&format).chain(&check)) {
        *to = *from;
    }
    header
}

fn record_bytes(offset: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(length.to_be_bytes());
    bytes.extend((!length).to_be_bytes());
    bytes.extend(disk::check(offset, &[body]));
    bytes.extend(body);
    bytes
}

enum Read<'a> {
    Good(&'a [u8]),
    /// The rest of the file is a record whose write was cut short.
    Torn,
    Bad,
}

/// Reads the record at the start of `rest`, the file from `offset` to its end.
///
/// A write that was cut leaves any of its sectors as they were, which beyond the old end of the file means
/// zeros, or the file shorter. Only what that explains is torn; all else is damage.
fn read_record(offset: u64, rest: &[u8]) -> Read<'_> {
    let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Read::Torn };
    let [l0, l1, l2, l3, c0, c1, c2, c3, check @ ..] = *header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if length != !u32::from_be_bytes([c0, c1, c2, c3]) || length as usize > RECORD_BYTES_MAX {
        return if lost_sector(offset, header) { Read::Torn } else { Read::Bad };
    }
    let Some(body) = after.get(..length as usize) else { return Read::Torn };
    if check == disk::check(offset, &[body]) {
        return Read::Good(body);
    }
    if body.len() == after.len() && lost_sector(offset, rest) { Read::Torn } else { Read::Bad }
}

/// Tells whether the part of `bytes`, which stand at `offset`, in some sector is all zeros.
fn lost_sector(offset: u64, bytes: &[u8]) -> bool {
    let into = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or_default();
    let (first, rest) = bytes.split_at((SECTOR_BYTES - into).min(bytes.len()));
    let lost = |part: &[u8]| part.iter().all(|byte| *byte == 0);
    lost(first) || rest.chunks(SECTOR_BYTES).any(lost)
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
