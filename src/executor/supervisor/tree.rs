//! The processes that came of a command, and their end.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// A living process, told from a later one with its number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: Pid,
    parent: i32,
    started: u64,
    /// Only waits to be collected.
    ended: bool,
}

/// Kills processes in rounds, since new ones may come up while one is made. Counts each once.
#[derive(Debug, Default)]
pub(super) struct Killer {
    killed: BTreeSet<(i32, u64)>,
}

/// What one round found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Processes that were alive.
    pub(super) alive: usize,
    /// Those among them that had not been killed before.
    pub(super) new: usize,
}

impl Killer {
    /// Sends SIGKILL to every living descendant of this process, outside the trees of `spared`.
    pub(super) fn round(&mut self, spared: &[Pid]) -> Round {
        let tree = descendants(spared);
        let killed = self.killed.len();
        for process in &tree {
            if process.signal(Signal::KILL) {
                self.killed.insert((process.pid.as_raw_pid(), process.started));
            }
        }
        Round { alive: tree.len(), new: self.killed.len() - killed }
    }

    /// How many were killed, not counting `but`.
    pub(super) fn count(&self, but: Option<Pid>) -> u32 {
        let but = but.map_or(0, Pid::as_raw_pid);
        u32::try_from(self.killed.iter().filter(|(pid, _)| *pid != but).count()).unwrap_or(u32::MAX)
    }
}

impl Process {
    /// Tells whether the signal was sent to this very process.
    fn signal(self, signal: Signal) -> bool {
        match rustix::process::pidfd_open(self.pid, PidfdFlags::empty()) {
            // Held by its descriptor, the number cannot pass to another between the look and the shot.
            Ok(held) => {
                let same =
                    read(self.pid.as_raw_pid()).is_some_and(|now| now.started == self.started && !now.ended);
                same && rustix::process::pidfd_send_signal(held, signal).is_ok()
            }
            // A kernel before 5.3, or a guard that forbids the call.
            Err(Errno::NOSYS | Errno::PERM) => rustix::process::kill_process(self.pid, signal).is_ok(),
            Err(_) => false,
        }
    }
}

/// Reads `/proc/PID/stat`; `None` for what is gone.
fn read(pid: i32) -> Option<Process> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything, parentheses too.
    let after = bytes.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(bytes.get(after + 2..)?).ok()?.split(' ');
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    // Field 22 of proc(5): 17 further on.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { pid: Pid::from_raw(pid)?, parent, started, ended })
}

/// All living descendants of this process, without `spared` and theirs.
fn descendants(spared: &[Pid]) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(read).filter(|process| !process.ended) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![rustix::process::getpid().as_raw_pid()];
    while let Some(parent) = parents.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            if !spared.contains(&process.pid) {
                parents.push(process.pid.as_raw_pid());
                found.push(process);
            }
        }
    }
    found
}

/// Makes this process the parent of what a supervisor leaves that was killed. The executor calls it once, at
/// its start.
pub fn adopts_orphans() -> std::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Kills and collects every descendant of this process that is neither among `known` nor descends from one
/// of them, once; returns how many were still alive. After a supervisor was lost, the executor calls it from
/// its loop until it returns zero.
pub fn end_orphans(known: &[Pid]) -> usize {
    let round = Killer::default().round(known);
    let me = rustix::process::getpid().as_raw_pid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?));
    for Process { pid, .. } in processes.filter(|process| process.parent == me) {
        if !known.contains(&pid) {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
    round.alive
}
