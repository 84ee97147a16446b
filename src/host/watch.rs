//! Sees files change, as far as the system tells.
//!
//! One inotify instance watches directories, not files: dpkg and most else put a new file in the place of the
//! old one. dpkg's journal (`updates/`) is not watched: it is written many times for each package, and `status`
//! follows.

use std::{collections::BTreeSet, io, mem::MaybeUninit, os::fd::OwnedFd, path::PathBuf};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

use super::{FACET_DEB, FACET_SYSTEM, FACETS, Paths, schedule::Schedule};

/// Events that are taken at one go, nearly; more wait for the next.
const EVENTS_AT_ONCE: usize = 256;
/// Bytes that are read at a time: room for many names.
const BUFFER_BYTES: usize = 4096;

/// A directory, the names in it that matter (none: all), and what they are about.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    names: &'static [&'static str],
    facets: &'static [&'static str],
    /// The system's number for it, while it is watched.
    watched: Option<i32>,
}

/// What the system said.
#[derive(Debug)]
struct Seen {
    number: i32,
    flags: ReadFlags,
    name: Option<Vec<u8>>,
}

/// Says which facets to collect again, and when.
#[derive(Debug)]
pub struct Watch {
    inotify: Option<AsyncFd<OwnedFd>>,
    places: Vec<Place>,
    schedule: Schedule,
    problem: Option<String>,
}

impl Watch {
    /// Watches what the facts of the machine at `paths` come from. Where the system has no more watches to
    /// give, it is the clock alone that says when: see [`Watch::problem`]. In a tokio runtime.
    pub fn start(paths: &Paths) -> Self {
        let mut seed = [0; 8];
        // Without chance hosts look at the same time, no more.
        let _unchanged = getrandom::fill(&mut seed);
        let mut watch = Self {
            inotify: None,
            places: places(paths),
            schedule: Schedule::new(Instant::now(), u64::from_le_bytes(seed)),
            problem: None,
        };
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        match inotify::init(flags).map_err(io::Error::from).and_then(wait_on) {
            Ok(inotify) => watch.inotify = Some(inotify),
            Err(error) => watch.unseen(&error),
        }
        watch.place_all();
        watch
    }

    /// Waits until there is something to collect, and says what: at once everything, then what changed (200 ms
    /// after the last change, at most 1.5 s after the first), and everything now and then (interfaces and disks
    /// every minute, the rest every 10). Dropping the future loses nothing.
    pub async fn next(&mut self) -> Vec<&'static str> {
        loop {
            let now = Instant::now();
            let facets = self.schedule.take(now);
            if !facets.is_empty() {
                // A directory may have come, or be another now.
                self.place_all();
                return facets;
            }
            let due = self.schedule.due().unwrap_or(now);
            let seen = tokio::select! {
                () = sleep_until(due) => Vec::new(),
                seen = events(self.inotify.as_ref()) => seen,
            };
            self.note(&seen, Instant::now());
        }
    }

    /// Why changes of files are not seen at once, if so: a sentence for people.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn unseen(&mut self, error: &io::Error) {
        self.problem = Some(format!("changes of files are not seen at once, only every 10 minutes: {error}"));
    }

    /// Watches every place that is there and not watched. Watching again what is watched changes nothing.
    fn place_all(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut failed = None;
        for place in &mut self.places {
            place.watched = match inotify::add_watch(inotify.get_ref(), &place.dir, flags) {
                Ok(number) => Some(number),
                // No dpkg here, or not for us: what collects will say so.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => None,
                Err(error) => {
                    failed = Some(io::Error::from(error));
                    None
                }
            };
        }
        match failed {
            Some(error) => self.unseen(&error),
            None => self.problem = None,
        }
    }

    fn note(&mut self, seen: &[Seen], now: Instant) {
        let (mut again, mut changed) = (false, BTreeSet::new());
        for Seen { number, flags, name } in seen {
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                changed.extend(FACETS);
            }
            again |= flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED);
            for place in self.places.iter().filter(|place| place.watched == Some(*number)) {
                // An event without a name is about the directory itself.
                let own = |own: &&str| name.as_ref().is_none_or(|name| name == own.as_bytes());
                if place.names.is_empty() || place.names.iter().any(own) {
                    changed.extend(place.facets);
                }
            }
        }
        for facet in changed {
            self.schedule.changed(facet, now);
        }
        if again {
            self.place_all();
        }
    }
}

#[expect(
    deprecated,
    reason = "the new name is unsafe code; an `OwnedFd` is the same descriptor all its life"
)]
fn wait_on(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

/// Waits for events; for ever without an inotify instance. Dropping it loses none.
async fn events(inotify: Option<&AsyncFd<OwnedFd>>) -> Vec<Seen> {
    let Some(inotify) = inotify else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = inotify.readable().await else { return std::future::pending().await };
        let mut seen = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(inotify.get_ref(), &mut buffer);
        while seen.len() < EVENTS_AT_ONCE || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => seen.push(Seen {
                    number: event.wd(),
                    flags: event.events(),
                    name: event.file_name().map(|name| name.to_bytes().to_vec()),
                }),
                Err(Errno::INTR) => {}
                // All is read; or it cannot be, and then the clock says when to look.
                Err(_) => {
                    ready.clear_ready();
                    break;
                }
            }
        }
        if !seen.is_empty() {
            return seen;
        }
    }
}

fn places(paths: &Paths) -> Vec<Place> {
    let place = |dir: PathBuf, names, facets| Place { dir, names, facets, watched: None };
    vec![
        // The release of the system comes with a package.
        place(paths.dpkg.clone(), &["status"], &[FACET_DEB, FACET_SYSTEM]),
        place(paths.dpkg.join("status.d"), &[], &[FACET_DEB]),
        place(paths.etc(), &["os-release", "hostname"], &[FACET_SYSTEM]),
    ]
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use tokio::time::timeout;

    use super::*;

    fn watch(root: &Path) -> Watch {
        Watch::start(&Paths { root: root.to_owned(), dpkg: root.join("var/lib/dpkg") })
    }

    /// Waits until `facet` is to be collected again; what else is due is passed over.
    async fn until(watch: &mut Watch, facet: &str) {
        let waited =
            timeout(Duration::from_secs(30), async { while !watch.next().await.contains(&facet) {} });
        waited.await.unwrap_or_else(|_| panic!("{facet} was not to be collected: {watch:?}"));
    }

    #[tokio::test]
    async fn a_package_database_that_dpkg_replaces_is_collected_again() {
        let root = tempfile::tempdir().unwrap();
        let dpkg = root.path().join("var/lib/dpkg");
        fs::create_dir_all(&dpkg).unwrap();
        fs::write(dpkg.join("status"), "").unwrap();
        let mut watch = watch(root.path());
        assert_eq!(watch.next().await, FACETS);
        assert_eq!(watch.problem(), None);
        fs::write(dpkg.join("status-new"), "Package: a\n").unwrap();
        fs::rename(dpkg.join("status-new"), dpkg.join("status")).unwrap();
        until(&mut watch, FACET_DEB).await;
        // In place, as a person or a test would.
        fs::write(dpkg.join("status"), "Package: b\n").unwrap();
        until(&mut watch, FACET_DEB).await;
        // What dpkg writes besides is no sign of a change.
        fs::write(dpkg.join("lock"), "").unwrap();
        let quiet = timeout(Duration::from_millis(1), events(watch.inotify.as_ref())).await;
        let seen = quiet.unwrap_or_default();
        watch.note(&seen, Instant::now());
        assert_eq!(watch.schedule.take(Instant::now() + Duration::from_secs(2)), Vec::<&str>::new());
    }

    #[tokio::test]
    async fn the_hostname_is_collected_again() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let mut watch = watch(root.path());
        assert_eq!(watch.next().await, FACETS);
        fs::write(root.path().join("etc/hostname"), "other").unwrap();
        until(&mut watch, FACET_SYSTEM).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_is_watched_on() {
        let root = tempfile::tempdir().unwrap();
        let dpkg = root.path().join("var/lib/dpkg");
        fs::create_dir_all(&dpkg).unwrap();
        let mut watch = watch(root.path());
        assert_eq!(watch.next().await, FACETS);
        fs::rename(&dpkg, root.path().join("old")).unwrap();
        fs::create_dir(&dpkg).unwrap();
        until(&mut watch, FACET_DEB).await;
        fs::write(dpkg.join("status"), "Package: a\n").unwrap();
        until(&mut watch, FACET_DEB).await;
    }

    #[tokio::test]
    async fn without_watches_the_clock_alone_says_when_and_that_is_told() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = watch(root.path());
        watch.inotify = None;
        watch.unseen(&io::Error::from(Errno::MFILE));
        let problem = watch.problem().unwrap().to_owned();
        assert!(problem.contains("every 10 minutes") && problem.contains("open files"), "{problem}");
        assert_eq!(watch.next().await, FACETS);
        assert_eq!(watch.problem(), Some(problem.as_str()));
    }
}
