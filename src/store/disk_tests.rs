//! Any damage to the files leaves a store that opens.

use std::{fs, thread, time::Duration};

use super::*;

/// Opens a store that may have been open a moment ago: its lock goes with the last copy of its descriptor, and what
/// tests beside this one fork has one for a moment.
fn open(dir: &Path) -> Result<(Sled, Option<PathBuf>), StoreError> {
    for _ in 0..200 {
        match super::open(dir) {
            Err(error) if error.to_string().contains("could not acquire lock") => {
                thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
    super::open(dir)
}

#[test]
fn rows_come_back_after_a_restart_and_a_damaged_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, aside) = open(&path).unwrap();
    assert!(aside.is_none());
    store.write(vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), Some(b"2".to_vec()))]).unwrap();
    store.write(vec![(b"a".to_vec(), None)]).unwrap();
    store.db().unwrap().insert(b"c", b"no hash stands before this").unwrap();
    drop(store);
    let (mut store, _) = open(&path).unwrap();
    let whole = (vec![(b"b".to_vec(), b"2".to_vec())], vec![b"c".to_vec()]);
    assert_eq!(store.load().unwrap(), whole);
    assert_eq!(store.load().unwrap(), whole, "and a second time");
}

#[test]
fn a_snapshot_that_was_cut_short_is_not_taken_for_a_damaged_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, _) = open(&path).unwrap();
    store.write(vec![(b"a".to_vec(), Some(b"1".to_vec()))]).unwrap();
    drop(store);
    fs::write(path.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let (mut store, aside) = open(&path).unwrap();
    assert_eq!(aside, None);
    assert_eq!(store.load().unwrap(), (vec![(b"a".to_vec(), b"1".to_vec())], vec![]));
}

#[test]
fn a_store_that_cannot_be_opened_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fs::write(&path, b"this is no directory").unwrap();
    let (mut store, aside) = open(&path).unwrap();
    assert_eq!(fs::read(aside.unwrap()).unwrap(), b"this is no directory");
    assert_eq!(store.load().unwrap(), (vec![], vec![]));
}

#[test]
fn a_store_that_ends_whoever_opens_it_is_moved_aside_after_a_few_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, _) = open(&path).unwrap();
    store.write(vec![(b"a".to_vec(), Some(b"1".to_vec()))]).unwrap();
    drop(store);
    // Processes that were killed in the middle of it: a few do no harm.
    assert!(Site::of(&path).try_open());
    let (mut store, aside) = open(&path).unwrap();
    assert_eq!((store.load().unwrap().0.len(), aside), (1, None));
    drop(store);
    while Site::of(&path).try_open() {}
    let (mut store, aside) = open(&path).unwrap();
    assert!(aside.is_some());
    assert_eq!(store.load().unwrap(), (vec![], vec![]));
}

#[test]
fn a_store_that_somebody_else_has_open_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, _) = open(&path).unwrap();
    store.write(vec![(b"a".to_vec(), Some(b"1".to_vec()))]).unwrap();
    open(&path).unwrap_err();
    read(&path).unwrap_err();
    drop(store);
    let (mut store, aside) = open(&path).unwrap();
    assert_eq!((store.load().unwrap().0.len(), aside), (1, None));
}

/// 5,000 new heads of 50 hosts, with what else they write, as an agent that is on for a long time.
#[test]
fn steady_changes_do_not_let_the_disk_grow_without_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, _) = open(&path).unwrap();
    let mut highest = 0;
    for round in 0..500_u32 {
        let rows = (0..10_u32).map(|n| {
            let host = (round * 10 + n) % 50;
            let mut value = vec![0; 600];
            blake3::Hasher::new().update(&(round * 10 + n).to_le_bytes()).finalize_xof().fill(&mut value);
            (blake3::hash(&host.to_le_bytes()).as_bytes().to_vec(), Some(value))
        });
        store.write(rows.collect()).unwrap();
        highest = highest.max(store.disk_bytes());
    }
    let live = live_bytes(&store.load().unwrap().0);
    assert_eq!(store.load().unwrap().0.len(), 50);
    assert!(highest < COPY_FACTOR * live + COPY_BYTES_MIN, "{highest} bytes on disk for {live}");
    drop(store);
    let (mut store, _) = open(&path).unwrap();
    assert_eq!(store.load().unwrap().0.len(), 50);
}

/// Seeded; `MUSTER_SEED` alone is that one.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % sides.max(1) as u64).unwrap()
    }

    fn damage(&mut self, dir: &Path) -> String {
        let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0);
        files.sort();
        // Most of what there is lies in one file.
        let db = dir.join("db");
        let path = if self.roll(3) > 0 { db } else { files[self.roll(files.len())].clone() };
        let mut bytes = fs::read(&path).unwrap();
        // Files are longer than what was written to them.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let what = match self.roll(7) {
            0 => {
                for _ in 0..=self.roll(8) {
                    bytes[self.roll(used)] ^= 1 << self.roll(8);
                }
                "bits"
            }
            1 => {
                let at = self.roll(used);
                bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = 0);
                "zeros"
            }
            2 => {
                bytes.truncate(self.roll(used));
                "cut"
            }
            3 => {
                fs::remove_file(&path).unwrap();
                return format!("{} removed", path.display());
            }
            4 => {
                let garbage =
                    dir.join(["snap.0000000000000001", "snap.generating", "blobs", "conf"][self.roll(4)]);
                let garbage = if garbage.is_dir() { garbage.join("7") } else { garbage };
                let mut junk = vec![0; self.roll(4096)];
                blake3::Hasher::new().update(&self.0.to_le_bytes()).finalize_xof().fill(&mut junk);
                fs::write(&garbage, junk).unwrap();
                return format!("garbage in {}", garbage.display());
            }
            5 => {
                let block = 512;
                let (a, b) = (self.roll(used / block + 1) * block, self.roll(used / block + 1) * block);
                for n in 0..block.min(bytes.len().saturating_sub(a.max(b))) {
                    bytes.swap(a + n, b + n);
                }
                "swapped"
            }
            _ => {
                let at = self.roll(used);
                let mut junk = vec![0; 64];
                blake3::Hasher::new().update(&self.0.to_le_bytes()).finalize_xof().fill(&mut junk);
                bytes.splice(at..(at + 64).min(bytes.len()), junk);
                "junk"
            }
        };
        fs::write(&path, bytes).unwrap();
        format!("{what} in {}", path.display())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn a_store_that_was_damaged_in_any_way_opens_with_nothing_in_it_that_was_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let (mut store, _) = open(&whole).unwrap();
    let mut written = BTreeMap::new();
    for round in 0..30_u32 {
        let mut rows = Vec::new();
        for n in 0..5_u32 {
            let key = blake3::hash(&((round * 5 + n) % 90).to_le_bytes()).as_bytes().to_vec();
            let value = blake3::hash(&round.to_le_bytes()).as_bytes().repeat(1 + 20 * n as usize);
            written.insert(key.clone(), value.clone());
            rows.push((key, Some(value)));
        }
        store.write(rows).unwrap();
    }
    drop(store);
    let only = std::env::var("MUSTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(1..301, |seed: u64| seed..seed + 1);
    let (mut untouched, mut moved, mut rescued, mut renewed) = (0, 0, 0, 0);
    for seed in seeds {
        let home = dir.path().join(seed.to_string());
        let path = home.join("store");
        copy(&whole, &path);
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let what = dice.damage(&path);
        let (mut store, aside) =
            open(&path).unwrap_or_else(|error| panic!("MUSTER_SEED={seed}: {what}: {error}"));
        let (rows, damaged) = store.load().unwrap();
        untouched += usize::from(rows.len() == written.len());
        moved += usize::from(aside.is_some());
        rescued += usize::from(aside.is_some() && !rows.is_empty());
        for (key, value) in &rows {
            // An older value under a key is one that was written, too: its log was cut.
            assert!(written.contains_key(key), "MUSTER_SEED={seed}: {what}: a key that nobody wrote");
            assert_eq!(value.len() % 32, 0, "MUSTER_SEED={seed}: {what}: a value that nobody wrote");
        }
        // It takes rows at once, or when it was begun anew; and they are there after the next start.
        let all =
            || written.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect::<Vec<_>>();
        if let Err(error) = store.write(damaged.iter().map(|key| (key.clone(), None)).chain(all()).collect())
        {
            assert!(error.is_damage(), "MUSTER_SEED={seed}: {what}: {error}");
            renewed += 1;
            store.renew().unwrap();
            store.write(all()).unwrap();
        }
        drop(store);
        // As another process finds it: threads of sled's that panicked may hold its lock in this one.
        let again = home.join("again");
        copy(&path, &again);
        let (mut store, _) = open(&again)
            .unwrap_or_else(|error| panic!("MUSTER_SEED={seed}: {what}, then opened again: {error}"));
        let rows: BTreeMap<_, _> = store.load().unwrap().0.into_iter().collect();
        for (key, value) in &written {
            assert_eq!(
                rows.get(key),
                Some(value),
                "MUSTER_SEED={seed}: {what}: a row is lost that was written"
            );
        }
        drop(store);
        fs::remove_dir_all(&home).unwrap();
    }
    // Some damage must be seen, and some harmless, or it would prove nothing.
    let seen = (untouched, moved, rescued, renewed);
    assert!(only.is_some() || untouched > 0 && moved > 0, "{seen:?}");
}
