//! The supervisor's loop: waits for the command, its output, its time and its executor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::time::{ClockId, clock_gettime};

use super::command::{Command, FAILURE_BYTES, failure};
use super::report::{Outcome, Report, Stage};
use super::spawn::{CANCEL, Spawn};
use super::tree::Killer;
use crate::bounds::Group;
use crate::executor::os::{self, Account};
use crate::journal::Stream;

/// How long what the command started may finish by itself once the command has: enough for a pipe's last
/// reader (`> >(tee log)`), little for a daemon.
const LINGER: Duration = Duration::from_millis(100);
/// How long a command has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long processes are killed before those left are called survivors.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// Between rounds of killing, while each finds new processes and once none does.
const ROUND_EVERY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// Output that is taken at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that are taken after the end, should somebody out of reach still write.
const LAST_CHUNKS_MAX: usize = 256;

/// Where a command is between its start and its end. Times are since the machine started.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Running { until: Duration },
    Linger { until: Duration },
    Grace { until: Duration },
    Kill { until: Duration, round: Duration },
}

/// A running command.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    command: Pid,
    started: Duration,
    took: Option<Duration>,
    phase: Phase,
    outcome: Option<Outcome>,
    killer: Killer,
    group: Option<Group>,
    streams: [Stream; 2],
    failure: OwnedFd,
    lifeline: Option<&'a OwnedFd>,
    signals: &'a OwnedFd,
}

/// The time since the machine started, which nobody can set.
pub(in crate::executor) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl<'a> Watch<'a> {
    /// Forks the command.
    pub(super) fn start(
        spawn: &Spawn,
        user: &Account,
        stdin: BorrowedFd<'_>,
        lifeline: &'a OwnedFd,
        signals: &'a OwnedFd,
    ) -> Result<Self, (Stage, Errno)> {
        let command = Command::new(spawn, user).map_err(|error| (Stage::Arguments, error))?;
        let piped = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| (Stage::Supervise, error));
        let ((out, out_end), (err, err_end), (failure, failure_end)) = (piped()?, piped()?, piped()?);
        let stream = |path: &Path, pipe, stderr| {
            let sealer =
                spawn.sink.as_ref().map(|sink| sink.sealer(stderr, &drawn()?).map_err(io::Error::other));
            let opened =
                sealer.transpose().and_then(|sealer| Stream::new(path, pipe, spawn.output_bytes_max, sealer));
            opened.map_err(|error| (Stage::Spool, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
        };
        let streams = [stream(&spawn.stdout, out, false)?, stream(&spawn.stderr, err, true)?];
        rustix::io::ioctl_fionbio(&failure, true).map_err(|error| (Stage::Supervise, error))?;
        let supervisor = rustix::process::getpid();
        let started = now();
        let stdio = [stdin, out_end.as_fd(), err_end.as_fd()];
        let group = spawn.groups.as_ref().map(|groups| groups.make(supervisor, &spawn.limits)).transpose();
        let group =
            group.map_err(|error| (Stage::Supervise, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let own = (supervisor, group.as_ref());
        let command = os::fork_into(|| command.run(spawn, user, stdio, &failure_end, own))
            .map_err(|error| (Stage::Fork, Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
        Ok(Self {
            command,
            started,
            took: None,
            phase: Phase::Running { until: started.saturating_add(spawn.timeout) },
            outcome: None,
            killer: Killer::default(),
            group,
            streams,
            failure,
            lifeline: Some(lifeline),
            signals,
        })
    }

    /// Waits until everything has ended. `None` if there is nobody to tell.
    pub(super) fn run(mut self) -> Option<Report> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let survivors = loop {
            let time = now();
            if self.reap(time) {
                break 0;
            }
            let Some(wake) = self.step(time) else {
                break self.killer.round(&[]).alive.max(1);
            };
            self.wait(wake.saturating_sub(time), &mut buffer);
        };
        if let Some(group) = &self.group {
            group.end();
        }
        for stream in &mut self.streams {
            for _ in 0..LAST_CHUNKS_MAX {
                if !stream.take(&mut buffer) {
                    break;
                }
            }
        }
        self.lifeline?;
        let mut bytes = [0; FAILURE_BYTES];
        if rustix::io::read(&self.failure, &mut bytes) == Ok(FAILURE_BYTES) {
            let (stage, errno) = failure(bytes);
            self.outcome = Some(Outcome::NotStarted { errno, stage });
        }
        let took = self.took.unwrap_or_else(|| now().saturating_sub(self.started));
        let [stdout, stderr] = self.streams.map(Stream::output);
        Some(Report {
            // Without an outcome, the command itself is among those that could not be ended.
            outcome: self.outcome.unwrap_or(Outcome::Cancelled),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            stdout,
            stderr,
            left_behind: self.killer.count(Some(self.command)),
            survivors: u32::try_from(survivors).unwrap_or(u32::MAX),
        })
    }

    /// Collects what has ended. Tells whether nothing is left: whatever lives is a descendant of some
    /// child of a process that adopts.
    fn reap(&mut self, time: Duration) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.command => {
                    self.took = Some(time.saturating_sub(self.started));
                    self.outcome.get_or_insert(ended(status));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Goes on to the next phase where it is time. Returns when to look again; `None` to give up.
    fn step(&mut self, time: Duration) -> Option<Duration> {
        loop {
            match self.phase {
                Phase::Running { .. } if self.took.is_some() => {
                    self.phase = Phase::Linger { until: time + LINGER };
                }
                Phase::Running { until } if time >= until => self.end_gently(Outcome::TimedOut, time),
                Phase::Linger { until } | Phase::Grace { until } if time >= until => self.kill(time),
                Phase::Kill { until, .. } if time >= until => return None,
                Phase::Kill { until, round } if time >= round => {
                    // Counted first; then those at once that are forked meanwhile.
                    let found = self.killer.round(&[]);
                    if let Some(group) = &self.group {
                        group.kill();
                    }
                    let every = if found.new > 0 { ROUND_EVERY.0 } else { ROUND_EVERY.1 };
                    self.phase = Phase::Kill { until, round: now() + every };
                }
                Phase::Running { until } | Phase::Linger { until } | Phase::Grace { until } => {
                    return Some(until);
                }
                Phase::Kill { until, round } => return Some(until.min(round)),
            }
        }
    }

    fn kill(&mut self, time: Duration) {
        self.phase = Phase::Kill { until: time + KILL_WITHIN, round: time };
    }

    /// Asks the command to end. It is not collected yet, so its number and its group's are still its own.
    fn end_gently(&mut self, outcome: Outcome, time: Duration) {
        self.outcome.get_or_insert(outcome);
        self.phase = Phase::Grace { until: time + GRACE };
        for signal in [Signal::TERM, Signal::CONT] {
            if rustix::process::kill_process_group(self.command, signal).is_err() {
                let _ = rustix::process::kill_process(self.command, signal);
            }
        }
    }

    /// Waits for something to happen, at most `within`, and takes what came.
    fn wait(&mut self, within: Duration, buffer: &mut [u8]) {
        let mut fds = vec![PollFd::new(self.signals, PollFlags::IN)];
        fds.extend(self.lifeline.map(|fd| PollFd::new(fd, PollFlags::IN)));
        let pipes = self.streams.iter().filter_map(Stream::pipe);
        fds.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        if poll(&mut fds, Timespec::try_from(within).ok().as_ref()).is_err() {
            return;
        }
        self.take_signals();
        self.take_lifeline();
        for stream in &mut self.streams {
            stream.take(buffer);
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = os::next_signal(self.signals) {
            if signal != libc::SIGCHLD {
                self.cancel();
            }
        }
    }

    fn take_lifeline(&mut self) {
        let Some(lifeline) = self.lifeline else { return };
        let mut bytes = [0; 16];
        match rustix::io::read(lifeline, &mut bytes) {
            Ok(0) => {
                self.lifeline = None;
                self.kill(now());
            }
            Ok(_) if bytes.contains(&CANCEL) => self.cancel(),
            _ => {}
        }
    }

    fn cancel(&mut self) {
        // Collects first: a command that has ended is not cancelled any more.
        if !self.reap(now()) && self.took.is_none() && matches!(self.phase, Phase::Running { .. }) {
            self.end_gently(Outcome::Cancelled, now());
        }
    }
}

/// 32 random bytes.
fn drawn() -> io::Result<[u8; 32]> {
    let mut drawn = [0; 32];
    getrandom::fill(&mut drawn).map_err(io::Error::other)?;
    Ok(drawn)
}

fn ended(status: WaitStatus) -> Outcome {
    match status.terminating_signal() {
        Some(signal) => Outcome::Signaled { signal },
        None => Outcome::Exited { code: status.exit_status().unwrap_or_default() },
    }
}
