//! What is to be run, and the start of its supervisor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, WaitOptions};

use super::report::{Report, Stage};
use super::watch::Watch;
use crate::bounds::{Groups, Limits};
use crate::executor::os::{self, Account};
use crate::replica::Sink;

/// A command and its limits.
#[derive(Debug)]
pub struct Spawn {
    /// The program, searched in the fixed path unless it holds a slash, and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// Whom to run as; `None` for the user that the executor is.
    pub account: Option<Account>,
    /// When to end it.
    pub timeout: Duration,
    /// What it may take; what its own surroundings allow less of stays less.
    pub limits: Limits,
    /// Where it gets a control group.
    pub groups: Option<Groups>,
    /// How much of each output stream is kept.
    pub output_bytes_max: u64,
    /// Where the standard output goes. The file must not exist; it is made by the first byte, and its group
    /// is the directory's, where that is so set up.
    pub stdout: PathBuf,
    /// Where the standard error goes, likewise.
    pub stderr: PathBuf,
    /// What it writes is sealed to, if it is.
    pub sink: Option<Sink>,
    /// What it reads, from where that stands; nothing without it.
    pub stdin: Option<OwnedFd>,
    /// Added to the clean environment, or in the place of what has the same name there.
    pub environment: Vec<(String, String)>,
}

/// A supervisor at work.
#[derive(Debug)]
pub struct Supervised {
    /// The supervisor: a child of this process.
    pub pid: Pid,
    /// Closed, it ends the command and nobody hears of it.
    pub lifeline: OwnedFd,
    /// Readable when there is a report; closed without one, the outcome is not known.
    pub report: OwnedFd,
}

/// The byte on the lifeline that cancels.
pub(super) const CANCEL: u8 = b'c';

impl Supervised {
    /// Asks for the command's end: first by a signal that it can handle, soon after by one that it cannot.
    /// The report comes as always.
    pub fn cancel(&self) {
        // A supervisor that is gone has nothing to cancel, and a second byte would only sit in the pipe.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.lifeline, &[CANCEL]));
    }

    /// Collects the supervisor after its report pipe was readable or closed; it is then about to end.
    pub fn collect(self) -> io::Result<()> {
        drop(self.lifeline);
        rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.pid), WaitOptions::empty()))?;
        Ok(())
    }
}

/// Starts a supervisor, which starts the command. For a process with one thread. Returns at once; a command
/// that cannot be started is reported as such.
///
/// # Errors
/// When there is not even a supervisor: nothing was run.
pub fn supervise(spawn: &Spawn) -> io::Result<Supervised> {
    let user = match &spawn.account {
        Some(account) => account.clone(),
        None => Account::current()?,
    };
    let (lifeline_end, lifeline) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let (report, report_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let pid = os::fork_into(|| {
        let report = match prepare(spawn, &lifeline_end, &report_end) {
            Err(error) => Some(Report::not_started(Stage::Supervise, error)),
            Ok((null, signals)) => {
                let stdin = spawn.stdin.as_ref().map_or(null.as_fd(), AsFd::as_fd);
                match Watch::start(spawn, &user, stdin, &lifeline_end, &signals) {
                    Err((stage, error)) => Some(Report::not_started(stage, error)),
                    Ok(watch) => watch.run(),
                }
            }
        };
        if let Some(report) = report {
            report.send(&report_end);
        }
        0
    })?;
    Ok(Supervised { pid, lifeline, report })
}

/// Turns the fork into a supervisor: nothing of the executor but its two pipes and what the command reads stays open (the lifelines of
/// other supervisors least of all), no terminal, no signal but through a descriptor.
fn prepare(spawn: &Spawn, lifeline: &OwnedFd, report: &OwnedFd) -> Result<(File, OwnedFd), Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let keep = [lifeline, report].into_iter().chain(&spawn.stdin).map(AsFd::as_fd);
    os::close_others(&keep.collect::<Vec<_>>()).map_err(errno)?;
    os::reset_signals();
    os::ignore_signals(&[libc::SIGPIPE, libc::SIGXFSZ]);
    let signals =
        os::take_signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP]).map_err(errno)?;
    rustix::process::setsid()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // A command of the same user must not read this memory or write its own report.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let _ = rustix::thread::set_name(c"supervisor");
    rustix::process::chdir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(errno)?;
    os::set_stdio([null.as_fd(); 3]).map_err(errno)?;
    Ok((null, signals))
}
