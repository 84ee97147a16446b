//! A host's audit chain on disk: appended to, never rewritten, bounded.
//!
//! Decides where the chain stands when the file is opened. Always holds: what is in the file is a chain; a record
//! that was synced with a claim is in the file, or will be once that works. *Why no sync of its own:* each record
//! is synced as part of a claim or a result ([`Claims`](super::Claims)), which are two syncs an order already. So
//! this file may lose its end in a power cut, and takes it back from there; it is synced before those are
//! rewritten.
//!
//! A file that is damaged before that is set aside, not cut: it is somebody's evidence. The chain then goes on in
//! another, behind the last record that is known, and its first record there should say so; whoever saw records
//! that are not known any more sees that they are gone.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::disk::{JournalError, failed};
use crate::{
    identity::{EntryId, Payload as _, Signed, peek},
    replica::{AuditHead, AuditRecord},
    wire::{Bytes, FrameReader, frame},
};

/// The newest records.
const CURRENT: &str = "chain";
/// Those before them.
const EARLIER: &str = "chain.1";
/// A file above this is put in the place of the earlier one: about 100,000 records. Two are kept.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The chain of this host. One process writes it.
#[derive(Debug)]
pub struct AuditLog {
    dir: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    head: Option<AuditHead>,
    /// Synced with a claim, and not in the file yet. No more than the claims that hold them.
    behind: VecDeque<Vec<u8>>,
    /// Whether something is written that is not synced.
    unsynced: bool,
    damaged: bool,
}

impl AuditLog {
    /// Opens the chain in a directory, or makes both, and brings it up to `synced`, the records that the claims
    /// hold.
    ///
    /// # Errors
    /// When the files cannot be read or made.
    pub fn open(dir: &Path, synced: &[Bytes]) -> Result<Self, JournalError> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make", dir, error));
            }
            _ => {}
        }
        let (current, earlier) = (dir.join(CURRENT), dir.join(EARLIER));
        if !current.exists() && earlier.exists() {
            // Between the two renames of a rotation: what was to become the current one is not relied on yet.
            fs::rename(&earlier, &current).map_err(|error| failed("rename", &earlier, error))?;
        }
        let bytes = match fs::read(&current) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read", &current, error)),
        };
        let mut held = BTreeMap::new();
        for record in synced {
            if let Ok(body) = Signed::<AuditRecord>::own(&record.0) {
                held.insert(body.sequence, (body, record));
            }
        }
        let (mut end, mut head) =
            chain_in(&bytes, |sequence| held.get(&sequence).map(|(_, record)| &record.0));
        let next = head.map_or(0, |head| head.sequence.saturating_add(1));
        let damaged = match held.range(next..).next() {
            // Records are lost that are nowhere else.
            Some((_, (first, _))) => !follows(head, first),
            // Without a claim that holds it, what is not whole was synced.
            None => end != bytes.len(),
        };
        if damaged {
            let aside = dir.join("chain.damaged");
            match fs::rename(&current, &aside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("set aside", &current, error));
                }
                _ => {}
            }
            end = 0;
            // What the claims hold of it is known, whatever the file lost.
            let last = held.values().next_back().and_then(|(body, record)| {
                let id = peek(&record.0).ok()?.id;
                Some(AuditHead { sequence: body.sequence, id })
            });
            head = head.max(last);
        }
        let file = open(&current)?;
        file.set_len(end as u64).map_err(|error| failed("cut", &current, error))?;
        let mut log = Self {
            dir: dir.to_owned(),
            file,
            bytes: end as u64,
            bytes_max: FILE_BYTES_MAX,
            head,
            behind: VecDeque::new(),
            unsynced: true,
            damaged,
        };
        for (body, record) in held.values() {
            let Ok(header) = peek(&record.0) else { continue };
            if follows(log.head, body) {
                log.head = Some(AuditHead { sequence: body.sequence, id: header.id });
                log.behind.push_back(record.0.clone());
            }
        }
        log.write_behind();
        Ok(log)
    }

    /// The newest record.
    pub fn head(&self) -> Option<AuditHead> {
        self.head
    }

    /// The place of the next record, and the one before it.
    pub fn next(&self) -> (u64, Option<EntryId>) {
        self.head.map_or((0, None), |head| (head.sequence.saturating_add(1), Some(head.id)))
    }

    /// Whether the file was found damaged and set aside.
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// Takes a record that was synced with a claim. What cannot be written now is written later.
    pub fn append(&mut self, record: &Signed<AuditRecord>) {
        self.head = Some(AuditHead::of(record));
        self.behind.push_back(record.bytes().to_vec());
        self.write_behind();
    }

    /// Adds a record of its own, which no claim holds: it is in the chain once it is on disk.
    ///
    /// # Errors
    /// When that cannot be done; it is no record then.
    pub fn add(&mut self, record: &Signed<AuditRecord>) -> Result<(), JournalError> {
        // Those before it first.
        self.sync()?;
        let path = self.dir.join(CURRENT);
        let framed = frame(record.bytes(), AuditRecord::BYTES_MAX).unwrap_or_default();
        let written = (&self.file).write_all(&framed).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let _tried_again = self.file.set_len(self.bytes);
            return Err(failed("write", &path, error));
        }
        self.bytes += framed.len() as u64;
        self.head = Some(AuditHead::of(record));
        Ok(())
    }

    fn write_behind(&mut self) {
        while let Some(record) = self.behind.front() {
            let Ok(framed) = frame(record, AuditRecord::BYTES_MAX) else { return };
            if (&self.file).write_all(&framed).is_err() {
                // A part of it must not stand before the next.
                let _tried_again = self.file.set_len(self.bytes);
                return;
            }
            self.bytes += framed.len() as u64;
            self.unsynced = true;
            self.behind.pop_front();
        }
    }

    /// Brings to disk what was appended: before the claims that hold it are rewritten.
    ///
    /// # Errors
    /// When something is not on disk.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.write_behind();
        let path = self.dir.join(CURRENT);
        if !self.behind.is_empty() {
            return Err(failed("write", &path, io::ErrorKind::StorageFull.into()));
        }
        if self.unsynced {
            self.file.sync_data().map_err(|error| failed("sync", &path, error))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Whether the next record should say that older ones are not kept, and begin another file.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Begins another file with this record; the one before the last is dropped.
    ///
    /// # Errors
    /// When that cannot be done; the chain goes on where it was.
    pub fn rotate(&mut self, first: &Signed<AuditRecord>) -> Result<(), JournalError> {
        self.sync()?;
        let (current, earlier, aside) =
            (self.dir.join(CURRENT), self.dir.join(EARLIER), self.dir.join("chain.new"));
        let framed = frame(first.bytes(), AuditRecord::BYTES_MAX).unwrap_or_default();
        let _left_behind = fs::remove_file(&aside);
        let file = open(&aside)?;
        let written = (&file).write_all(&framed).and_then(|()| file.sync_all());
        written.map_err(|error| failed("write", &aside, error))?;
        fs::rename(&current, &earlier).map_err(|error| failed("rename", &current, error))?;
        fs::rename(&aside, &current).map_err(|error| failed("rename", &aside, error))?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| failed("sync the directory of", &current, error))?;
        (self.file, self.bytes, self.unsynced) = (file, framed.len() as u64, false);
        self.head = Some(AuditHead::of(first));
        Ok(())
    }
}

/// The files of a chain, oldest first; those that there are.
pub fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    [EARLIER, CURRENT].map(|name| dir.join(name)).into_iter().filter(|path| path.exists())
}

/// For the mesh process to be read: its group is the directory's, where that is so set up.
fn open(path: &Path) -> Result<File, JournalError> {
    let file = File::options().append(true).create(true).mode(0o640).open(path);
    let file = file.map_err(|error| failed("open", path, error))?;
    let mode = file.set_permissions(fs::Permissions::from_mode(0o640));
    mode.map_err(|error| failed("open", path, error))?;
    Ok(file)
}

fn follows(head: Option<AuditHead>, next: &AuditRecord) -> bool {
    match head {
        Some(head) => next.sequence == head.sequence.saturating_add(1) && next.previous == Some(head.id),
        None => next.sequence == 0,
    }
}

/// How many bytes of a file are a chain of whole records, and its last; `held` are those that stand elsewhere too,
/// by their place: what differs from them is no part of it. What this process wrote itself: its own signatures are
/// not checked again.
fn chain_in<'a>(bytes: &[u8], held: impl Fn(u64) -> Option<&'a Vec<u8>>) -> (usize, Option<AuditHead>) {
    let mut reader = FrameReader::new(AuditRecord::BYTES_MAX);
    reader.push(bytes);
    let (mut end, mut head) = (0, None);
    while let Ok(Some(record)) = reader.next_frame() {
        let (Ok(body), Ok(header)) = (Signed::<AuditRecord>::own(&record), peek(&record)) else { break };
        // The first record of a later file follows one that stands elsewhere.
        let other = held(body.sequence).is_some_and(|held| *held != record);
        if other || (head.is_some() && !follows(head, &body)) {
            break;
        }
        head = Some(AuditHead { sequence: body.sequence, id: header.id });
        end += crate::wire::FRAME_HEADER_BYTES + record.len();
    }
    (end, head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::sample::{NOW, key},
        identity::{Executor, FleetId},
        replica::{AuditEvent, AuditWalk, Audited},
    };

    const FLEET: FleetId = FleetId([7; 32]);

    fn next(log: &AuditLog) -> Signed<AuditRecord> {
        let (sequence, previous) = log.next();
        let what = Audited::Known(AuditEvent::Rotated {});
        Signed::sign(
            FLEET,
            &key::<Executor>(3),
            AuditRecord { sequence, previous, at: NOW, dropped: 0, what },
        )
    }

    fn walked(dir: &Path) -> Option<(u64, AuditHead)> {
        let mut walk = AuditWalk::new(FLEET, key::<Executor>(3).public(), Vec::new());
        for file in files(dir) {
            let mut reader = FrameReader::new(AuditRecord::BYTES_MAX);
            reader.push(&fs::read(file).unwrap());
            while let Some(record) = reader.next_frame().unwrap() {
                walk.take(&record).unwrap();
            }
        }
        walk.end().unwrap()
    }

    /// Whatever of the file a power cut takes, the claims give back: any length, or zeros at the end.
    #[test]
    fn what_a_power_cut_takes_from_the_file_comes_back_from_the_claims() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(dir.path(), &[]).unwrap();
        let records: Vec<_> = (0..4)
            .map(|_| {
                let record = next(&log);
                log.append(&record);
                record
            })
            .collect();
        let head = log.head();
        drop(log);
        let synced: Vec<Bytes> = records.iter().map(|record| Bytes::from(record.bytes())).collect();
        let whole = fs::read(dir.path().join(CURRENT)).unwrap();
        for length in 0..=whole.len() {
            let mut zeros = whole.clone();
            zeros[length..].fill(0);
            for left in [whole[..length].to_vec(), zeros] {
                fs::write(dir.path().join(CURRENT), left).unwrap();
                let log = AuditLog::open(dir.path(), &synced).unwrap();
                assert_eq!((log.head(), log.damaged()), (head, false), "at {length}");
                assert_eq!(fs::read(dir.path().join(CURRENT)).unwrap(), whole, "at {length}");
            }
        }
        assert_eq!(walked(dir.path()), Some((0, head.unwrap())));
        // Nothing is lost where the claims hold only the newest ones.
        fs::write(dir.path().join(CURRENT), &whole[..whole.len() - 1]).unwrap();
        assert_eq!(AuditLog::open(dir.path(), &synced[3..]).unwrap().head(), head);
    }

    #[test]
    fn a_chain_that_lost_what_is_nowhere_else_is_set_aside_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(dir.path(), &[]).unwrap();
        for _ in 0..4 {
            let record = next(&log);
            log.append(&record);
        }
        let last = next(&log);
        log.append(&last);
        drop(log);
        let current = dir.path().join(CURRENT);
        let mut bytes = fs::read(&current).unwrap();
        bytes[300] ^= 1;
        fs::write(&current, &bytes).unwrap();
        let mut log = AuditLog::open(dir.path(), &[Bytes::from(last.bytes())]).unwrap();
        assert!(log.damaged());
        assert_eq!(log.head(), Some(AuditHead::of(&last)), "the claims know it");
        let (sequence, previous) = log.next();
        let renewed = AuditRecord {
            sequence,
            previous,
            at: NOW,
            dropped: 0,
            what: Audited::Known(AuditEvent::Renewed {}),
        };
        let renewed = Signed::sign(FLEET, &key::<Executor>(3), renewed);
        log.add(&renewed).unwrap();
        drop(log);
        assert_eq!(walked(dir.path()), Some((5, AuditHead::of(&renewed))));
        let log = AuditLog::open(dir.path(), &[Bytes::from(last.bytes())]).unwrap();
        assert_eq!((log.head(), log.damaged()), (Some(AuditHead::of(&renewed)), false));
        assert_eq!(fs::read(dir.path().join("chain.damaged")).unwrap(), bytes);
    }

    #[test]
    fn a_file_that_is_full_is_followed_by_another_and_the_chain_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(dir.path(), &[]).unwrap();
        log.bytes_max = 1000;
        for _ in 0..40 {
            let record = next(&log);
            if log.is_full() {
                log.rotate(&record).unwrap();
            } else {
                log.append(&record);
            }
        }
        let head = log.head().unwrap();
        assert_eq!(head.sequence, 39);
        drop(log);
        let (first, last) = walked(dir.path()).unwrap();
        assert!(first > 20 && last == head, "{first}");
        assert_eq!(AuditLog::open(dir.path(), &[]).unwrap().head(), Some(head));
        // A crash between the two renames.
        fs::rename(dir.path().join(CURRENT), dir.path().join("chain.new")).unwrap();
        let log = AuditLog::open(dir.path(), &[]).unwrap();
        assert!(log.head().unwrap().sequence < 39 && !log.damaged());
    }
}
