//! Machines whose clock is wrong.
//!
//! An agent has one clock, the machine's, and a hook for another would be a way to lie to it. So the machine is another
//! one for it: a mount namespace in which the C library's loader puts libfaketime into all programs.
//!
//! *Why a clock is set while the agent is off:* the mesh process gets no environment, and without one libfaketime
//! moves the clock that only goes forward along with the other, which no machine does.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::super::{Trouble, file::Clock};
use crate::{node::clock, terminal::time, time::Timestamp};

/// Below these folders Debian's libfaketime is.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketime.so.1";
/// Mounts `/etc` over itself with two files more, and becomes what follows. `$1`: an empty directory, `$2`: the
/// library, `$3`: where the time is told.
const AMONG: &str = r#"mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" none /etc
echo "$2" > /etc/ld.so.preload
ln -sf "$3" /etc/faketimerc
shift 3
exec "$@""#;
/// How far an agent's time may be from the one that was set for it.
const ABOUT: Duration = Duration::from_secs(300);

/// How far each machine's clock is off, in milliseconds; what is not among them is right.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    library: PathBuf,
    off: BTreeMap<String, (i64, PathBuf)>,
}

impl Clocks {
    /// Finds what it takes. It is an error where something is missing.
    pub(super) fn find(dir: &Path) -> Result<Self, Trouble> {
        let missing = |what: String| Trouble::unavailable(format!("clocks that are wrong need {what}"));
        if !rustix::process::geteuid().is_root() {
            return Err(missing("root".to_owned()));
        }
        let folders = fs::read_dir(LIBRARIES).into_iter().flatten().flatten();
        let library = folders.map(|folder| folder.path().join(LIBRARY)).find(|library| library.exists());
        let Some(library) = library else {
            return Err(missing("libfaketime: apt-get install faketime".to_owned()));
        };
        let made = fs::create_dir(dir.join("clocks"));
        made.map_err(|error| Trouble::new(format!("cannot make {}/clocks: {error}", dir.display())))?;
        let clocks = Self { library, off: BTreeMap::new() };
        let words = clocks.among(&dir.join("clocks"), Path::new("/dev/null"));
        let Some((first, more)) = words.split_first() else { return Ok(clocks) };
        match Command::new(first).args(more).arg("true").stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(clocks),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                Err(missing(format!("mounts of their own: {said}")))
            }
            Err(error) => Err(missing(format!("mounts of their own: unshare: {error}"))),
        }
    }

    /// Sets a clock. What tells the time is in `readable`, which the mesh process may read, while that is there.
    pub(super) fn set(&mut self, machine: &str, to: Clock, readable: &Path) -> Result<(), Trouble> {
        let off = match to {
            Clock::Right => 0,
            Clock::Off(ms) => ms,
            Clock::At(at) => i64::try_from(at.0).unwrap_or(i64::MAX).saturating_sub_unsigned(clock::now().0),
        };
        if off == 0 {
            self.off.remove(machine);
            return Ok(());
        }
        let file = readable.join("clock");
        let sign = if off < 0 { '-' } else { '+' };
        let written = fs::write(&file, format!("{sign}{}\n", off.unsigned_abs() / 1_000))
            .and_then(|()| fs::set_permissions(&file, Permissions::from_mode(0o644)));
        written.map_err(|error| Trouble::new(format!("cannot write {}: {error}", file.display())))?;
        self.off.insert(machine.to_owned(), (off, file));
        Ok(())
    }

    /// What an agent's command line begins with, in whose mounts the clock is wrong.
    pub(super) fn through(&self, machine: &str, dir: &Path) -> Vec<String> {
        match self.off.get(machine) {
            Some((_, file)) => self.among(&dir.join("clocks"), file),
            None => Vec::new(),
        }
    }

    /// What a command line has in its environment that is typed there.
    pub(super) fn environment(&self, machine: &str) -> Vec<(&'static str, PathBuf)> {
        let Some((_, file)) = self.off.get(machine) else { return Vec::new() };
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", file.clone()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", PathBuf::from("1")),
        ]
    }

    /// Whether an agent that started by its own clock at this time, just now, has the clock that was set.
    pub(super) fn took(&self, machine: &str, started: Timestamp) -> Result<(), Trouble> {
        let off = self.off.get(machine).map_or(0, |(off, _)| *off);
        let meant = Timestamp(clock::now().0.saturating_add_signed(off));
        if started.since(meant).max(meant.since(started)) < ABOUT {
            return Ok(());
        }
        let (is, meant) = (time::rfc3339(started), time::rfc3339(meant));
        Err(Trouble::unavailable(format!(
            "{machine} has the time {is} where {meant} was set: is this program linked statically?"
        )))
    }

    fn among(&self, empty: &Path, file: &Path) -> Vec<String> {
        let words = ["unshare", "--mount", "sh", "-e", "-c", AMONG, "sh"].map(str::to_owned);
        let paths = [empty, &self.library, file].map(|path| path.display().to_string());
        words.into_iter().chain(paths).collect()
    }
}
