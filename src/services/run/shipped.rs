//! What was shipped with orders, as this host keeps it: files by hash, bounded.
//!
//! Always holds: a file under its final name was whole and had that hash when it got the name. The executor
//! does not rely on it, and looks for itself. What no live order names goes first when room is needed, and
//! what one does name stays: it may still be asked for.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use crate::{
    replica::{BLOB_BYTES_MAX, Blob},
    time::Timestamp,
};

/// How much is kept in all, in bytes.
const KEPT_BYTES_MAX: u64 = 256 << 20;
/// How long what no order names is kept: its order may be on its way.
const UNNAMED_FOR: Duration = Duration::from_secs(600);
/// The ending of what is not whole yet.
const HALF: &str = "half";

/// Why bytes were not taken. What was there stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShippedError {
    /// Longer than any may be.
    #[error("{0} bytes, where {BLOB_BYTES_MAX} may be shipped")]
    TooLong(u64),
    /// All room is taken by what live orders name.
    #[error("no room for {bytes} bytes beside what live orders need")]
    NoRoom {
        /// How many.
        bytes: u64,
    },
    /// A piece that does not follow what is there.
    #[error("a piece that does not follow the one before")]
    Gap,
    /// It is whole, and not what it should be. Nothing of it is kept.
    #[error("the bytes do not have the hash they were announced with")]
    Wrong,
    /// The disk.
    #[error("cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// One of the files.
#[derive(Debug)]
struct Kept {
    written: Timestamp,
    length: u64,
    path: PathBuf,
}

/// The files.
#[derive(Debug)]
pub(super) struct Shipped {
    dir: PathBuf,
    room: u64,
}

impl Shipped {
    /// Those in `dir`, which is made. What was left half is gone.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == HALF) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), room: KEPT_BYTES_MAX })
    }

    fn path(&self, blob: &Blob) -> PathBuf {
        self.dir.join(blob.file_name())
    }

    /// Whether all of it is here.
    pub(super) fn has(&self, blob: &Blob) -> bool {
        fs::metadata(self.path(blob)).is_ok_and(|about| about.len() == blob.bytes)
    }

    /// Adds the piece that begins at `at`; true once all of it is here. `named` is what live orders name.
    pub(super) fn add(
        &self,
        blob: &Blob,
        at: u64,
        piece: &[u8],
        named: &HashSet<Blob>,
    ) -> Result<bool, ShippedError> {
        if self.has(blob) {
            return Ok(true);
        }
        if blob.bytes > BLOB_BYTES_MAX {
            return Err(ShippedError::TooLong(blob.bytes));
        }
        // Also how it is found out whether it is here.
        if piece.is_empty() && blob.bytes > 0 {
            return Err(ShippedError::Gap);
        }
        let half = self.path(blob).with_extension(HALF);
        if at == 0 {
            self.make_room(blob.bytes, named)?;
        }
        let file = File::options().read(true).write(true).create(at == 0).truncate(false).open(&half)?;
        let end = at.saturating_add(piece.len() as u64);
        if at > file.metadata()?.len() || end > blob.bytes {
            return Err(ShippedError::Gap);
        }
        // At its place: two that ship the same write the same.
        file.write_all_at(piece, at)?;
        if end < blob.bytes {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        (&file).take(blob.bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        if Blob::of(&bytes) != *blob {
            fs::remove_file(&half)?;
            return Err(ShippedError::Wrong);
        }
        fs::rename(&half, self.path(blob))?;
        Ok(true)
    }

    /// What stands at `at`, at most `most` bytes; nothing at the end.
    pub(super) fn read(&self, blob: &Blob, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; most];
        let read = File::open(self.path(blob))?.read_at(&mut piece, at)?;
        piece.truncate(read);
        Ok(piece)
    }

    /// Removes what no live order names and did not for a while.
    pub(super) fn tidy(&self, named: &HashSet<Blob>, now: Timestamp) -> io::Result<()> {
        for file in self.unnamed(named)?.1 {
            if now.since(file.written.min(now)) > UNNAMED_FOR {
                fs::remove_file(file.path)?;
            }
        }
        Ok(())
    }

    fn make_room(&self, bytes: u64, named: &HashSet<Blob>) -> Result<(), ShippedError> {
        let (mut kept, unnamed) = self.unnamed(named)?;
        for file in unnamed {
            if kept.saturating_add(bytes) <= self.room {
                break;
            }
            fs::remove_file(file.path)?;
            kept = kept.saturating_sub(file.length);
        }
        if kept.saturating_add(bytes) > self.room { Err(ShippedError::NoRoom { bytes }) } else { Ok(()) }
    }

    /// How much is kept, and what of it no order names, the oldest first.
    fn unnamed(&self, named: &HashSet<Blob>) -> io::Result<(u64, Vec<Kept>)> {
        let names: HashSet<String> = named.iter().map(Blob::file_name).collect();
        let (mut kept, mut unnamed) = (0, Vec::new());
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let about = entry.metadata()?;
            kept += about.len();
            let name = entry.path().file_stem().map(|name| name.to_string_lossy().into_owned());
            if name.is_none_or(|name| !names.contains(&name)) {
                let since = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                let written = Timestamp(0).after(since);
                unnamed.push(Kept { written, length: about.len(), path: entry.path() });
            }
        }
        unnamed.sort_by_key(|file| file.written);
        Ok((kept, unnamed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> HashSet<Blob> {
        HashSet::new()
    }

    fn ship(shipped: &Shipped, bytes: &[u8], named: &HashSet<Blob>) -> Result<bool, ShippedError> {
        let blob = Blob::of(bytes);
        let mut whole = shipped.add(&blob, 0, &bytes[..bytes.len().min(3)], named)?;
        for (at, piece) in bytes.chunks(3).enumerate().skip(1) {
            assert!(!whole);
            whole = shipped.add(&blob, at as u64 * 3, piece, named)?;
        }
        Ok(whole)
    }

    #[test]
    fn what_comes_in_pieces_is_there_once_it_is_whole_and_is_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = Shipped::open(&dir.path().join("shipped")).unwrap();
        let blob = Blob::of(b"0123456789");
        assert!(!shipped.add(&blob, 0, b"01234", &none()).unwrap());
        assert!(!shipped.has(&blob));
        assert!(matches!(shipped.add(&blob, 6, b"6789", &none()), Err(ShippedError::Gap)));
        assert!(matches!(shipped.add(&blob, 5, b"56789a", &none()), Err(ShippedError::Gap)));
        assert!(matches!(shipped.add(&blob, 0, b"", &none()), Err(ShippedError::Gap)), "it is not here");
        assert!(shipped.add(&blob, 5, b"56789", &none()).unwrap());
        assert!(shipped.add(&blob, 0, b"", &none()).unwrap(), "it is");
        assert!(shipped.has(&blob));
        assert_eq!(shipped.read(&blob, 4, 3).unwrap(), b"456");
        assert_eq!(shipped.read(&blob, 10, 3).unwrap(), b"");
        // Nothing at all is something too.
        assert!(shipped.add(&Blob::of(b""), 0, b"", &none()).unwrap());
    }

    #[test]
    fn what_is_not_what_it_was_announced_as_is_not_kept_and_can_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = Shipped::open(dir.path()).unwrap();
        let blob = Blob::of(b"right");
        assert!(matches!(shipped.add(&blob, 0, b"wrong", &none()), Err(ShippedError::Wrong)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(shipped.add(&blob, 0, b"right", &none()).unwrap());
        let long = Blob { bytes: BLOB_BYTES_MAX + 1, ..blob };
        assert!(matches!(shipped.add(&long, 0, b"x", &none()), Err(ShippedError::TooLong(_))));
    }

    #[test]
    fn room_is_made_by_what_no_order_names_and_never_by_what_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut shipped = Shipped::open(dir.path()).unwrap();
        shipped.room = 20;
        let [a, b] = [Blob::of(b"aaaaaaaa"), Blob::of(b"bbbbbbbb")];
        ship(&shipped, b"aaaaaaaa", &none()).unwrap();
        ship(&shipped, b"bbbbbbbb", &none()).unwrap();
        let named = HashSet::from([a]);
        assert!(ship(&shipped, b"cccccccc", &named).unwrap());
        assert_eq!((shipped.has(&a), shipped.has(&b)), (true, false));
        let all = HashSet::from([a, Blob::of(b"cccccccc")]);
        assert!(matches!(ship(&shipped, b"bbbbbbbb", &all), Err(ShippedError::NoRoom { bytes: 8 })));
        // Later, what is not named goes by itself.
        shipped.tidy(&named, Timestamp(0)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        shipped.tidy(&named, Timestamp(u64::MAX)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(shipped.has(&a));
    }

    #[test]
    fn halves_do_not_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = Shipped::open(dir.path()).unwrap();
        ship(&shipped, b"whole", &none()).unwrap();
        shipped.add(&Blob::of(b"half"), 0, b"ha", &none()).unwrap();
        let shipped = Shipped::open(dir.path()).unwrap();
        assert!(shipped.has(&Blob::of(b"whole")));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
