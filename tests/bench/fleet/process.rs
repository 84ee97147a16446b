//! What processes cost, and signals to them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// A control group that only accounts, for everything this program starts.
pub(crate) struct Account {
    group: PathBuf,
    counter: PathBuf,
    nanoseconds: bool,
}

impl Account {
    pub(crate) fn open() -> Option<Self> {
        let name = format!("muster-bench-{}", std::process::id());
        let places =
            [("/sys/fs/cgroup/cpuacct", "cpuacct.usage", true), ("/sys/fs/cgroup", "cpu.stat", false)];
        places.into_iter().find_map(|(root, file, nanoseconds)| {
            let group = Path::new(root).join(&name);
            fs::create_dir(&group).ok()?;
            let account = Self { counter: group.join(file), group, nanoseconds };
            account.seconds()?;
            fs::write(account.group.join("cgroup.procs"), std::process::id().to_string()).ok()?;
            Some(account)
        })
    }

    pub(crate) fn seconds(&self) -> Option<f64> {
        let text = fs::read_to_string(&self.counter).ok()?;
        if self.nanoseconds {
            return Some(text.trim().parse::<f64>().ok()? / 1e9);
        }
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(line.parse::<f64>().ok()? / 1e6)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let parent = self.group.parent().unwrap().join("cgroup.procs");
        let _ = fs::write(parent, std::process::id().to_string());
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.group).is_err() && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
    }
}

/// Everything after the command's name in /proc/PID/stat.
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// CPU seconds of a process and of those children that it has waited for.
pub(crate) fn proc_seconds(pid: u32) -> f64 {
    let ticks: f64 =
        stat(pid).map_or(0.0, |fields| fields[11..15].iter().map(|x| x.parse::<f64>().unwrap()).sum());
    ticks / 100.0
}

/// CPU seconds of the threads that a process has now.
pub(crate) fn thread_seconds(pid: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let spent = |path: PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    threads.filter_map(|thread| spent(thread.ok()?.path())).sum::<f64>() / 1e9
}

/// How often the threads of a process went to sleep by themselves.
pub(crate) fn wakeups(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let count = |path: PathBuf| {
        let text = fs::read_to_string(path.join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.filter_map(|thread| count(thread.ok()?.path())).sum()
}

/// A field of `/proc/PID/smaps_rollup`, in KiB.
pub(crate) fn memory(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

pub(crate) fn signal(name: &str, pids: &[u32]) {
    let _ = Command::new("kill").arg(format!("-{name}")).args(pids.iter().map(ToString::to_string)).output();
}
