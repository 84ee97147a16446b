//! One agent of a throw-away fleet: the processes of a host, started as anyone starts them, and their certain end.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::time::Instant;

use super::Trouble;
use crate::{
    control::{Client, ControlError, Reply, Request, StatusReport},
    node::Places,
};

/// How often a condition is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long killed processes may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// How long an agent may take to say how it is.
const STATUS_WITHIN: Duration = Duration::from_secs(30);
/// Lines of a log that a failure shows.
const LOG_LINES: usize = 8;

/// One host.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub places: Places,
    /// What it says.
    pub log: PathBuf,
    /// Where its package database is.
    pub packages: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// Plans one whose files are in `dir`, with the keys of operators in `operators`. Nothing is made.
    pub fn new(name: &str, dir: &Path, operators: &Path) -> Self {
        let state = dir.join(name);
        let mut places = Places::find(Some(&state), None, |_| None, false);
        operators.clone_into(&mut places.operators);
        Self {
            name: name.to_owned(),
            places,
            log: dir.join(format!("{name}.log")),
            packages: dir.join("dpkg").join(name),
            child: None,
        }
    }

    /// Starts it, as anyone would. It ends with this process, however that ends.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&mut self, program: &Path) -> io::Result<()> {
        self.start_through(&[], program)
    }

    /// The same, through a command line that becomes this one, as `nsenter` does.
    pub(super) fn start_through(&mut self, through: &[String], program: &Path) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = command(through, program);
        command
            .arg("--state")
            .arg(&self.places.state)
            .args(["agent", "--with-parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Not among those that a terminal's Ctrl-C ends: we end them.
            .process_group(0);
        for variable in ["MUSTER_STATE", "MUSTER_SOCKET", "MUSTER_CONFIG", "MUSTER_OPERATORS"] {
            command.env_remove(variable);
        }
        if std::env::var_os("MUSTER_LOG").is_none() {
            command.env("MUSTER_LOG", "info");
        }
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Whether its first process runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends a signal to its first process.
    pub fn signal(&self, signal: Signal) {
        // Until it is collected, the number is its own.
        if let Some(child) = &self.child {
            let _gone_already = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Kills its first process; the other then ends by itself, or is among the orphans.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _collected = child.wait();
        }
    }

    /// Kills both of its processes with SIGKILL and waits until they are gone; returns their numbers.
    ///
    /// # Errors
    /// When it does not run, or outlives that.
    pub async fn kill_both(&mut self) -> Result<(u32, u32), Trouble> {
        let Some((executor, mesh)) = self.processes() else {
            return Err(self.failed("it has not both of its processes"));
        };
        self.kill();
        // Its parent gone, it is ours, and its number stays its own until we collect it.
        let _ended_already = kill_process(mesh, Signal::KILL);
        let until = Instant::now() + GONE_WITHIN;
        while matches!(waitpid(Some(mesh), WaitOptions::NOHANG), Ok(None)) {
            if Instant::now() > until {
                return Err(self.failed(&format!("its mesh process {} outlived SIGKILL", number(mesh))));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok((number(executor), number(mesh)))
    }

    /// Sends a signal to both of its processes, such as SIGSTOP.
    ///
    /// # Errors
    /// When it has not both.
    pub fn signal_both(&self, signal: Signal) -> Result<(), Trouble> {
        let Some((executor, mesh)) = self.processes() else {
            return Err(self.failed("it has not both of its processes"));
        };
        for pid in [executor, mesh] {
            kill_process(pid, signal)
                .map_err(|error| self.failed(&format!("no signal reaches it: {error}")))?;
        }
        Ok(())
    }

    /// Its executor and its mesh process, while it has both.
    fn processes(&self) -> Option<(Pid, Pid)> {
        let executor = Pid::from_child(self.child.as_ref()?);
        let of = executor.as_raw_pid();
        let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
        let mesh = children.split_whitespace().find(|child| {
            // Its other children are supervisors, which have its own command line.
            fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.ends_with(b"\0mesh-process\0"))
        })?;
        Some((executor, Pid::from_raw(mesh.parse().ok()?)?))
    }

    /// The number of its first process, while it was not collected.
    pub fn executor(&self) -> Option<Pid> {
        self.child.as_ref().map(Pid::from_child)
    }

    /// How it is, by its own word.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn status(&self) -> Result<StatusReport, ControlError> {
        let mut client = Client::connect(&self.places.socket).await?;
        match client.ask(&Request::Status {}, STATUS_WITHIN).await? {
            Reply::Status { status } => Ok(status),
            _ => Err(ControlError::Malformed("not how the agent is".to_owned())),
        }
    }

    /// Waits until `so` is true of how it is; `what` says what that means.
    ///
    /// # Errors
    /// When it did not become so, or the agent ended.
    pub async fn until(
        &mut self,
        what: &str,
        within: Duration,
        so: impl Fn(&StatusReport) -> bool,
    ) -> Result<StatusReport, Trouble> {
        let until = Instant::now() + within;
        loop {
            let status = self.status().await;
            if let Ok(status) = &status
                && so(status)
            {
                return Ok(status.clone());
            }
            if let Some(status) = self.ended() {
                return Err(self.failed(&format!("its agent ended by itself ({status})")));
            }
            if Instant::now() > until {
                let last = match status {
                    Ok(status) => format!("{} members, {} links", status.members, status.links),
                    Err(error) => error.to_string(),
                };
                return Err(self.failed(&format!("not {what} within {} s: {last}", within.as_secs())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// What is wrong with it, with the end of what it said.
    pub fn failed(&self, what: &str) -> Trouble {
        let trouble = Trouble::new(format!("{}: {what}", self.name));
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        if last.is_empty() {
            trouble
        } else {
            trouble.point(format!("  its log ends:\n  {}", last.join("\n  ")))
        }
    }
}

/// A command of `program`, through a command line that becomes it.
pub(super) fn command(through: &[String], program: &Path) -> Command {
    let Some((first, more)) = through.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(more).arg(program);
    command
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}
