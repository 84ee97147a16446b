//! What this user's command lines have verified already, so that a fleet of ten thousand hosts is not verified
//! anew at each of them.
//!
//! A file in the operator's own directory with one hash for each entry whose signatures were checked: BLAKE3
//! over the fleet and all bytes of the entry as received, signatures and all. An entry whose hash is noted is
//! read without checking its signatures once more; who may have written it is decided each time.
//!
//! Why that may be believed: whoever can write the file can write the operator's key and root chain beside
//! it, and needs no forged entry any more. So it must belong to this user, and nobody else may write it; a file
//! of which that is not so, or that was cut short or altered, counts for nothing and is written anew. It has a
//! bound; what is not seen any more falls out when it is written.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::identity::FleetId;

/// How the file begins.
const MAGIC: &[u8; 16] = b"muster verified1";
/// Bytes of one hash.
const HASH_BYTES: usize = 32;
/// Hashes that are kept: three entries each of 100,000 hosts.
const HASHES_MAX: usize = 300_000;

type Hash = [u8; HASH_BYTES];

/// The entries of one fleet that were verified before.
#[derive(Debug)]
pub struct Verified {
    path: Option<PathBuf>,
    fleet: FleetId,
    before: HashSet<Hash>,
    /// Those that were met this time, old and new.
    met: Vec<Hash>,
    /// How many of them are new.
    fresh: usize,
}

impl Verified {
    /// What `path` says; nothing if there is none, or it cannot be believed.
    pub fn open(path: &Path, fleet: FleetId) -> Self {
        let before = read(path, fleet).unwrap_or_default();
        Self { path: Some(path.to_owned()), fleet, before, met: Vec::new(), fresh: 0 }
    }

    /// Knows nothing, and keeps nothing.
    pub fn none(fleet: FleetId) -> Self {
        Self { path: None, fleet, before: HashSet::new(), met: Vec::new(), fresh: 0 }
    }

    /// Whether these very bytes were verified before. `verify` is asked if not, and what it says is noted.
    pub(super) fn or_verify<T, E>(
        &mut self,
        bytes: &[u8],
        again: impl FnOnce() -> Result<T, E>,
        verify: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if self.path.is_none() {
            return verify();
        }
        let hash = hash(self.fleet, bytes);
        let known = self.before.contains(&hash);
        let entry = if known { again()? } else { verify()? };
        self.fresh += usize::from(!known);
        self.met.push(hash);
        Ok(entry)
    }

    /// Writes the file, if there is anything new in it. That it cannot be written is no loss but of time.
    pub(super) fn close(self) {
        let Some(path) = &self.path else { return };
        // A part of the fleet (heads were not asked for) does not push the rest out.
        let gone = self.before.len().saturating_sub(self.met.len() - self.fresh);
        if self.fresh == 0 && gone <= self.met.len() {
            return;
        }
        let mut all = self.met;
        all.truncate(HASHES_MAX);
        if gone <= all.len() {
            let met: HashSet<Hash> = all.iter().copied().collect();
            let room = HASHES_MAX - all.len();
            all.extend(self.before.difference(&met).take(room));
        }
        let _best_effort = write(path, self.fleet, &all);
    }
}

fn hash(fleet: FleetId, bytes: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("muster command line: verified entries 1");
    hasher.update(&fleet.0);
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

fn read(path: &Path, fleet: FleetId) -> Option<HashSet<Hash>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path).ok()?;
    let about = file.metadata().ok()?;
    let ours = about.is_file()
        && about.uid() == rustix::process::geteuid().as_raw()
        && about.mode().trailing_zeros() >= 6;
    let longest = MAGIC.len() + 2 * HASH_BYTES + HASHES_MAX * HASH_BYTES;
    if !ours || about.len() > longest as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(longest as u64).read_to_end(&mut bytes).ok()?;
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    if blake3::hash(body).as_bytes() != sum {
        return None;
    }
    let rest = body.strip_prefix(MAGIC)?.strip_prefix(&fleet.0)?;
    let (hashes, rest) = rest.as_chunks::<HASH_BYTES>();
    rest.is_empty().then(|| hashes.iter().copied().collect())
}

fn write(path: &Path, fleet: FleetId, hashes: &[Hash]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + (hashes.len() + 2) * HASH_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&fleet.0);
    bytes.extend_from_slice(hashes.as_flattened());
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&new)?;
        file.write_all(&bytes)?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _best_effort = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FLEET: FleetId = FleetId([7; 32]);

    /// Which of `entries` are verified anew.
    fn verified(path: &Path, fleet: FleetId, entries: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut cache = Verified::open(path, fleet);
        let mut anew = Vec::new();
        for entry in entries {
            let verify = || {
                anew.push(entry.to_vec());
                Ok::<_, ()>(())
            };
            cache.or_verify(entry, || Ok(()), verify).unwrap();
        }
        cache.close();
        anew
    }

    #[test]
    fn what_was_verified_is_not_verified_again_and_one_other_byte_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verified");
        assert_eq!(verified(&path, FLEET, &[b"a", b"b"]).len(), 2);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(verified(&path, FLEET, &[b"a", b"b"]).len(), 0);
        assert_eq!(verified(&path, FLEET, &[b"a", b"c"]), [b"c"]);
        assert_eq!(verified(&path, FLEET, &[b"a", b"b", b"c"]).len(), 0, "a part does not push the rest out");
        assert_eq!(verified(&path, FleetId([8; 32]), &[b"a"]).len(), 1, "another fleet's says nothing");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_refused_entry_is_not_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verified");
        let mut cache = Verified::open(&path, FLEET);
        assert_eq!(cache.or_verify(b"forged", || Ok(()), || Err("no")), Err("no"));
        cache.or_verify(b"good", || Ok(()), || Ok::<_, ()>(())).unwrap();
        cache.close();
        assert_eq!(verified(&path, FLEET, &[b"forged", b"good"]), [b"forged"]);
    }

    #[test]
    fn a_file_that_is_not_as_it_was_written_or_is_not_ours_alone_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verified");
        verified(&path, FLEET, &[b"a"]);
        let whole = fs::read(&path).unwrap();
        let set = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
        let counts = || read(&path, FLEET).is_some();
        assert!(counts());
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            set(&altered);
            assert!(!counts(), "byte {at}");
            set(&whole[..at]);
            assert!(!counts(), "{at} bytes");
        }
        set(&whole);
        for mode in [0o660, 0o602, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(!counts(), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(counts());
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(!counts(), "a link");
        // And is written anew, without touching what the link led to.
        assert_eq!(verified(&path, FLEET, &[b"a"]).len(), 1);
        assert!(counts() && !fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read(dir.path().join("elsewhere")).unwrap(), whole);
    }
}
