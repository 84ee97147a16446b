//! A control group for each command, where the system gives this service a tree of its own.
//!
//! Decides nothing about a command: it is a second hold on the same processes. The subreaper ends what
//! descends from a command one by one; a group ends all of it at once, bounds what all of it takes together, and
//! is still there after executor and supervisor were both killed. Only a tree that is marked as delegated is
//! used (`Delegate=yes` of a unit, systemd.resource-control(5)): any other belongs to somebody else. Nothing
//! here is relied on: without such a tree the subreaper does it alone.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::process::Pid;

use super::Limits;

/// The group of the executor and its mesh process: one with groups below it holds no process itself.
const OWN: &str = "agent";
/// What the name of a command's group begins with; its supervisor's number follows.
const COMMAND: &str = "command-";
/// How often, and between what pauses, a group that was killed is looked at: a second.
const LOOKS_MAX: u32 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The tree in which commands get groups.
#[derive(Clone, Debug)]
pub struct Groups {
    dir: PathBuf,
    memory: bool,
    processes: bool,
}

/// One command's group.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Groups {
    /// Takes the tree of this process, if it is delegated and can be killed as a whole, moves this process to
    /// a group of its own in it, and ends what is in groups of commands: nobody watches it any more.
    pub fn take() -> Option<Self> {
        let own = fs::read("/proc/self/cgroup").ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        Self::at(&place(&own, &mounts)?)
    }

    fn at(dir: &Path) -> Option<Self> {
        let marked = ["trusted.delegate", "user.delegate"].iter().any(|name| {
            let mut value = [0; 1];
            rustix::fs::getxattr(dir, *name, &mut value) == Ok(1) && value == *b"1"
        });
        if !marked || !dir.join("cgroup.kill").exists() {
            return None;
        }
        make(&dir.join(OWN)).ok()?;
        fs::write(dir.join(OWN).join("cgroup.procs"), "0").ok()?;
        let given = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        let enable = |name: &str| {
            given.split_whitespace().any(|given| given == name)
                && fs::write(dir.join("cgroup.subtree_control"), format!("+{name}")).is_ok()
        };
        let groups = Self { dir: dir.to_owned(), memory: enable("memory"), processes: enable("pids") };
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(COMMAND.as_bytes()) {
                Group(entry.path()).end();
            }
        }
        Some(groups)
    }

    /// Makes the group of the command that this supervisor will start.
    pub fn make(&self, supervisor: Pid, limits: &Limits) -> io::Result<Group> {
        let group = self.of(supervisor);
        // One with its number that is still there is empty, or of a supervisor that was killed.
        group.end();
        make(&group.0)?;
        let bounds = [
            ("memory.max", limits.memory_bytes.filter(|_| self.memory)),
            ("pids.max", Some(limits.processes).filter(|_| self.processes)),
        ];
        for (file, bound) in bounds {
            if let Some(bound) = bound {
                fs::write(group.0.join(file), bound.to_string())?;
            }
        }
        if self.memory {
            // What is over the bound ends as a whole, not in part. Older kernels do not know it.
            let _in_part_then = fs::write(group.0.join("memory.oom.group"), "1");
        }
        Ok(group)
    }

    /// Ends what a supervisor that was killed left in its command's group.
    pub fn end_of(&self, supervisor: Pid) {
        self.of(supervisor).end();
    }

    fn of(&self, supervisor: Pid) -> Group {
        Group(self.dir.join(format!("{COMMAND}{}", supervisor.as_raw_pid())))
    }
}

impl Group {
    /// Moves this process into it.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// Kills every process in it, and those that are being forked.
    pub fn kill(&self) {
        let _gone_already = fs::write(self.0.join("cgroup.kill"), "1");
    }

    /// Kills what is in it and removes it, within a second.
    pub fn end(&self) {
        for _ in 0..LOOKS_MAX {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => self.kill(),
                _ => return,
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Where the group of a process is in the file system, from its `/proc/PID/cgroup` and `mountinfo`.
fn place(own: &[u8], mounts: &[u8]) -> Option<PathBuf> {
    let path = own.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        // proc(5): number, parent, device, root, mount point, options, tags, "-", type, …
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (fields.skip_while(|field| *field != b"-").nth(1)? == b"cgroup2").then_some(())?;
        let below = path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
        let below = below.strip_prefix(b"/").unwrap_or(below);
        Some(Path::new(OsStr::from_bytes(point)).join(OsStr::from_bytes(below)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_process_is_found_by_its_mount() {
        let found = |own: &str, mounts: &str| place(own.as_bytes(), mounts.as_bytes());
        let mounts = "22 1 0:21 / /proc rw - proc proc rw\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
        let service = "9:name=systemd:/\n0::/system.slice/muster.service\n";
        let expected = "/sys/fs/cgroup/unified/system.slice/muster.service";
        assert_eq!(found(service, mounts).as_deref(), Some(Path::new(expected)));
        let inside = "41 31 0:38 /system.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(found(service, inside).as_deref(), Some(Path::new("/sys/fs/cgroup/muster.service")));
        assert_eq!(found(service, "22 1 0:21 / /proc rw - proc proc rw"), None);
        assert_eq!(found("9:name=systemd:/\n", mounts), None);
        assert_eq!(found("0::/other\n", inside), None);
    }

    /// As a controller would take them: here they are plain files.
    #[test]
    fn the_bounds_of_a_command_are_written_into_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let groups = Groups { dir: dir.path().to_owned(), memory: true, processes: false };
        let me = rustix::process::getpid();
        let limits = Limits { memory_bytes: Some(1 << 20), processes: 7, descriptors: 9 };
        let group = groups.make(me, &limits).unwrap();
        let read = |file: &str| fs::read_to_string(group.0.join(file)).ok();
        assert_eq!((read("memory.max").as_deref(), read("pids.max")), (Some("1048576"), None));
        let other = Pid::from_raw(me.as_raw_pid() + 1).unwrap();
        let group = Groups { processes: true, ..groups }
            .make(other, &Limits { memory_bytes: None, ..limits })
            .unwrap();
        let read = |file: &str| fs::read_to_string(group.0.join(file)).ok();
        assert_eq!((read("memory.max"), read("pids.max").as_deref()), (None, Some("7")));
    }

    #[test]
    fn a_tree_that_nobody_gave_away_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.kill"), "").unwrap();
        assert!(Groups::at(dir.path()).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
