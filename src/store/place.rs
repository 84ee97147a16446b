//! Where a store lies, and what lies beside it: how often its opening did not end, damaged ones, and half of
//! a copy.
//!
//! A copy takes the store's place in two renames, so that whenever it ends there is a whole store under
//! one of two names. A store that was not read to its end several times running is moved aside unread: what
//! is in it hangs or ends the process that reads it, and an agent that never starts is worse than one that
//! fetches everything again.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Openings that did not end, one after the other, after which the store is not opened again. A process may
/// also have been killed in the middle, which is nobody's fault, and rarely happens so often.
const TRIES_MAX: u32 = 4;
/// Damaged stores that are kept for whoever wants to know why; the oldest go.
const ASIDE_MAX: u32 = 3;

/// The names around one store.
#[derive(Clone, Debug)]
pub(super) struct Site {
    dir: PathBuf,
}

/// Removes what is there, a file or a directory.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Bytes that a directory takes on its disk.
pub fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, about)| if about.is_dir() { disk_bytes(&path) } else { about.blocks() * 512 })
        .sum()
}

impl Site {
    pub(super) fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name: OsString = self.dir.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    }

    /// Where a copy is made.
    pub(super) fn copy(&self) -> PathBuf {
        self.beside("copy")
    }

    fn before(&self) -> PathBuf {
        self.beside("before")
    }

    fn marker(&self) -> PathBuf {
        self.beside("opening")
    }

    /// Ends what a copy that was cut short left: with the store in its place, and nothing else.
    pub(super) fn tidy(&self) -> io::Result<()> {
        if !self.dir.exists() && self.before().exists() {
            fs::rename(self.before(), &self.dir)?;
        }
        remove(&self.before())?;
        remove(&self.copy())
    }

    /// Puts the copy in the store's place.
    pub(super) fn swap(&self) -> io::Result<()> {
        fs::rename(&self.dir, self.before())?;
        fs::rename(self.copy(), &self.dir)?;
        if let Some(parent) = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::File::open(parent)?.sync_all()?;
        }
        remove(&self.before())
    }

    /// Notes that the store is being opened; false if that did not end too often already. A note that cannot
    /// be written keeps no store from being opened.
    pub(super) fn try_open(&self) -> bool {
        let text = fs::read_to_string(self.marker()).unwrap_or_default();
        let tries = text.trim().parse::<u32>().unwrap_or(0);
        let _best_effort = fs::write(self.marker(), format!("{}\n", tries.saturating_add(1)));
        tries < TRIES_MAX
    }

    /// Notes that it was read to its end, or that there is another reason that it was not.
    pub(super) fn opened(&self) {
        let _best_effort = fs::remove_file(self.marker());
    }

    /// Notes that it is not to be opened again.
    pub(super) fn give_up(&self) {
        let _best_effort = fs::write(self.marker(), format!("{TRIES_MAX}\n"));
    }

    /// Moves the store aside, and returns where it went.
    pub(super) fn move_aside(&self) -> io::Result<PathBuf> {
        let path = |number: u32| self.dir.with_extension(format!("damaged-{number}"));
        let name = self.dir.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let beside = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut numbers: Vec<u32> = fs::read_dir(beside.unwrap_or(Path::new(".")))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|file| file.strip_prefix(&format!("{name}.damaged-"))?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let next = numbers.last().map_or(0, |last| last.saturating_add(1));
        for old in numbers.iter().filter(|old| **old <= next.saturating_sub(ASIDE_MAX) && next >= ASIDE_MAX) {
            remove(&path(*old))?;
        }
        fs::rename(&self.dir, path(next))?;
        Ok(path(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_cut_short_anywhere_leaves_one_whole_store() {
        for cut in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("store");
            let site = Site::of(&path);
            let make = |path: &Path, text: &str| {
                fs::create_dir(path).unwrap();
                fs::write(path.join("what"), text).unwrap();
            };
            make(&path, "whole");
            make(&site.copy(), if cut == 0 { "half" } else { "whole" });
            if cut >= 2 {
                fs::rename(&path, site.before()).unwrap();
            }
            if cut >= 3 {
                fs::rename(site.copy(), &path).unwrap();
            }
            site.tidy().unwrap();
            assert_eq!(fs::read_to_string(path.join("what")).unwrap(), "whole", "cut at {cut}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "cut at {cut}");
        }
    }

    #[test]
    fn of_damaged_stores_the_newest_three_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let site = Site::of(&path);
        for number in 0..6 {
            fs::create_dir(&path).unwrap();
            let aside = site.move_aside().unwrap();
            assert_eq!(aside, dir.path().join(format!("store.damaged-{number}")));
        }
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["store.damaged-3", "store.damaged-4", "store.damaged-5"]);
    }

    #[test]
    fn a_store_whose_opening_never_ends_is_tried_a_few_times() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::of(&dir.path().join("store"));
        assert_eq!((0..6).filter(|_| site.try_open()).count(), 4);
        site.opened();
        assert!(site.try_open());
        site.give_up();
        assert!(!site.try_open());
    }
}
