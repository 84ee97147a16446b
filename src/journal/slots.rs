//! Two slots in one file, written in turn: a small value that is replaced as a whole.
//!
//! A power cut can only spoil the slot that was being written, whose value nobody was told is safe; the
//! other one still holds the value before. Two bad slots are an error, never a fresh start.

use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::disk::{self, CHECK_BYTES, JournalError, Locked, failed};
use crate::wire::{Wire, decode, encode};

const MAGIC: [u8; 8] = *b"mustersl";
const FORMAT: u32 = 1;
const SLOT_BYTES: usize = 4096;
/// Magic, format, count, length, check.
const HEADER_BYTES: usize = 8 + 4 + 8 + 4 + CHECK_BYTES;
/// The longest encoded value that a slot holds.
pub const SLOT_BODY_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;

/// A value of type `T` that survives power cuts. Holds the file's lock.
#[derive(Debug)]
pub struct Slots<T> {
    path: PathBuf,
    file: Option<Locked>,
    /// How often it was written; even counts stand in the first slot.
    count: u64,
    torn: bool,
    poisoned: bool,
    kind: PhantomData<T>,
}

impl<T: Wire> Slots<T> {
    /// Opens the file and reads the newest value; `None` if there is no such file yet.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when the file exists and neither slot is good.
    pub fn open(path: &Path) -> Result<(Self, Option<T>), JournalError> {
        let path = path.to_path_buf();
        let mut slots = Self {
            file: disk::open(&path)?,
            path,
            count: 0,
            torn: false,
            poisoned: false,
            kind: PhantomData,
        };
        let Some(file) = &slots.file else { return Ok((slots, None)) };
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        let corrupt = |offset| JournalError::Corrupt { path: slots.path.clone(), offset };
        if file.metadata().map_err(|error| failed("read", &slots.path, error))?.len() != bytes.len() as u64 {
            return Err(corrupt(0));
        }
        file.read_exact_at(&mut bytes, 0).map_err(|error| failed("read", &slots.path, error))?;
        let (first, second) = bytes.split_at(SLOT_BYTES);
        let mut newest: Option<(u64, &[u8])> = None;
        for (parity, slot) in [(0, first), (1, second)] {
            match read_slot(slot) {
                Slot::Newer(version) => return Err(JournalError::Newer { path: slots.path, version }),
                Slot::Holds(count, body) if count % 2 == parity => {
                    if newest.is_none_or(|(other, _)| count > other) {
                        newest = Some((count, body));
                    }
                }
                Slot::Empty => {}
                _ => slots.torn = true,
            }
        }
        let (count, body) = newest.ok_or_else(|| corrupt(0))?;
        let value = decode(body, SLOT_BODY_BYTES_MAX).map_err(|_| corrupt(count % 2 * SLOT_BYTES as u64))?;
        slots.count = count;
        Ok((slots, Some(value)))
    }

    /// One whose first value takes the place of whatever stands under this name.
    pub(super) fn anew(path: &Path) -> Self {
        let path = path.to_path_buf();
        Self { path, file: None, count: 0, torn: false, poisoned: false, kind: PhantomData }
    }

    /// Tells whether one of the slots was bad when the file was opened: a store was cut short, or the
    /// newest value was damaged and this is the one before.
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// Replaces the value. When it returns, the value is on disk; when it fails, the old one still is,
    /// and after a failed sync nothing more is accepted until the file is opened again.
    pub fn store(&mut self, value: &T) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let body = encode(value);
        if body.len() > SLOT_BODY_BYTES_MAX {
            return Err(JournalError::TooLong { bytes: body.len(), limit: SLOT_BODY_BYTES_MAX });
        }
        let Some(file) = &self.file else {
            let mut both = write_slot(0, &body);
            both.resize(2 * SLOT_BYTES, 0);
            let mut renamed = false;
            let made = disk::replace(&self.path, &both, &mut renamed);
            self.poisoned = renamed && made.is_err();
            self.file = Some(made?);
            return Ok(());
        };
        let count = self.count + 1;
        let written = file.write_all_at(&write_slot(count, &body), count % 2 * SLOT_BYTES as u64);
        if let Err(error) = written.and_then(|()| file.sync_data()) {
            self.poisoned = true;
            return Err(failed("write", &self.path, error));
        }
        self.count = count;
        Ok(())
    }
}

enum Slot<'a> {
    Empty,
    Bad,
    Newer(u32),
    Holds(u64, &'a [u8]),
}

fn write_slot(count: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut slot = Vec::with_capacity(2 * SLOT_BYTES);
    slot.extend(MAGIC);
    slot.extend(FORMAT.to_be_bytes());
    slot.extend(count.to_be_bytes());
    slot.extend(length);
    slot.extend(disk::check(count, &[&FORMAT.to_be_bytes(), body]));
    slot.extend(body);
    slot.resize(SLOT_BYTES, 0);
    slot
}

fn read_slot(slot: &[u8]) -> Slot<'_> {
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let header = || {
        let rest = slot.strip_prefix(&MAGIC)?;
        let (format, rest) = rest.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (check, rest) = rest.split_first_chunk::<CHECK_BYTES>()?;
        let length = u32::from_be_bytes(*length) as usize;
        Some((u32::from_be_bytes(*format), u64::from_be_bytes(*count), length, check, rest))
    };
    let Some((format, count, length, check, rest)) = header() else { return Slot::Bad };
    let Some(body) = rest.get(..length) else { return Slot::Bad };
    if *check != disk::check(count, &[&format.to_be_bytes(), body]) {
        return Slot::Bad;
    }
    if format > FORMAT {
        return Slot::Newer(format);
    }
    Slot::Holds(count, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reopen(path: &Path) -> Result<Option<u64>, JournalError> {
        Slots::<u64>::open(path).map(|(_, value)| value)
    }

    #[test]
    fn the_newest_value_is_read_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("floor");
        assert_eq!(reopen(&path).unwrap(), None);
        let mut slots = Slots::open(&path).unwrap().0;
        for value in 0..5_u64 {
            slots.store(&value).unwrap();
            drop(slots);
            let (opened, read) = Slots::open(&path).unwrap();
            assert_eq!(read, Some(value));
            assert!(!opened.torn());
            slots = opened;
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Slots::<u64>::open(&path), Err(JournalError::InUse { .. })));
    }

    #[test]
    fn two_bad_slots_are_an_error_and_never_a_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("floor");
        let mut slots = Slots::open(&path).unwrap().0;
        slots.store(&1_u64).unwrap();
        slots.store(&2).unwrap();
        drop(slots);
        let good = std::fs::read(&path).unwrap();
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
        let mut bad = good.clone();
        bad[SLOT_BYTES + HEADER_BYTES] ^= 1;
        write(&bad);
        let (slots, value) = Slots::<u64>::open(&path).unwrap();
        assert_eq!((value, slots.torn()), (Some(1), true));
        drop(slots);
        for spoil in [0, 8, 12, 20, 24, HEADER_BYTES] {
            let mut both = bad.clone();
            both[spoil] ^= 1;
            write(&both);
            assert!(matches!(reopen(&path), Err(JournalError::Corrupt { .. })), "byte {spoil}");
        }
        for length in [0, 1, SLOT_BYTES, good.len() - 1] {
            write(&good[..length]);
            assert!(matches!(reopen(&path), Err(JournalError::Corrupt { .. })), "length {length}");
        }
    }

    #[test]
    fn a_newer_format_and_a_value_too_long_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("floor");
        let mut slots = Slots::open(&path).unwrap().0;
        slots.store(&"a".to_owned()).unwrap();
        let long = slots.store(&"a".repeat(SLOT_BYTES)).unwrap_err();
        assert!(matches!(long, JournalError::TooLong { .. }));
        drop(slots);
        assert_eq!(Slots::<String>::open(&path).unwrap().1, Some("a".to_owned()));
        let mut bytes = write_slot(0, &encode(&7_u64));
        bytes[11] = 2;
        let check = disk::check(0, &[&2_u32.to_be_bytes(), &encode(&7_u64)]);
        bytes[24..32].copy_from_slice(&check);
        bytes.resize(2 * SLOT_BYTES, 0);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(reopen(&path), Err(JournalError::Newer { version: 2, .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(disk::power_cuts(64)))]
        /// A store that was cut leaves the old value or the new one: any subset of its sectors may have
        /// come to the disk.
        #[test]
        fn a_power_cut_leaves_the_old_value_or_the_new_one(stores in 1_u64..6, sectors in any::<u8>(), cut in 0_usize..512) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("floor");
            let mut slots = Slots::open(&path).unwrap().0;
            let value = |number: u64| vec![number; 300];
            for number in 0..stores {
                slots.store(&value(number)).unwrap();
            }
            let before = std::fs::read(&path).unwrap();
            slots.store(&value(stores)).unwrap();
            drop(slots);
            let after = std::fs::read(&path).unwrap();
            let mut disk = before.clone();
            for (at, byte) in disk.iter_mut().enumerate() {
                // The last sector that came through came through in part.
                let kept = sectors & (1 << (at / 512 % 8)) != 0 && (at / 512 % 8 != 7 || at % 512 < cut);
                if kept {
                    *byte = after[at];
                }
            }
            std::fs::write(&path, disk).unwrap();
            let read = Slots::<Vec<u64>>::open(&path).unwrap().1.unwrap();
            prop_assert!(read == value(stores) || read == value(stores - 1));
        }
    }
}
