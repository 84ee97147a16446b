//! The processes of a demo: agents as anyone starts them, and their certain end.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::time::Instant;

use super::{
    super::failure::{ExitCode, Failure},
    ground::Ground,
    signals::Signals,
};
use crate::{
    control::{Client, ControlError, Reply, Request, StatusReport},
    executor::supervisor::{adopts_orphans, end_orphans},
    node::Places,
};

/// How often a condition is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long agents get to end by themselves: what they run ends at once, so it is for slow machines.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long killed processes may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// How long an agent may take to say how it is.
const STATUS_WITHIN: Duration = Duration::from_secs(30);
/// Lines of a log that a failure shows.
const LOG_LINES: usize = 8;

/// One host of the demo.
#[derive(Debug)]
pub(super) struct Agent {
    /// Its name.
    pub(super) name: String,
    /// Its role, the value of its one tag.
    pub(super) role: &'static str,
    /// Where its files are.
    pub(super) places: Places,
    /// What it says.
    pub(super) log: PathBuf,
    /// Where its package database is.
    pub(super) packages: PathBuf,
    child: Option<Child>,
}

/// All of them.
pub(super) struct Fleet {
    /// What they live in.
    pub(super) ground: Ground,
    /// Where the operator's directory is.
    pub(super) operators: PathBuf,
    /// The hosts, the founder first.
    pub(super) agents: Vec<Agent>,
    program: PathBuf,
}

impl Fleet {
    /// Plans `hosts` of them. Nothing is started.
    pub(super) fn plan(ground: Ground, hosts: usize) -> Result<Self, Failure> {
        // Whatever an agent that is killed leaves behind comes to us, so that we can end it.
        adopts_orphans()
            .map_err(|error| Failure::new(ExitCode::Internal, format!("cannot adopt orphans: {error}")))?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(ExitCode::Internal, format!("cannot find the file of this program: {error}"))
        })?;
        let operators = ground.dir().join("operators");
        let agents = (1..=hosts)
            .map(|number| {
                // A fleet of three or more has something that is not for the web.
                let (name, role) = if number == hosts && hosts >= 3 {
                    ("db-1".to_owned(), "db")
                } else {
                    (format!("web-{number}"), "web")
                };
                let state = ground.dir().join(&name);
                let mut places = Places::find(Some(&state), None, |_| None, false);
                places.operators.clone_from(&operators);
                let log = ground.dir().join(format!("{name}.log"));
                let packages = ground.dir().join("dpkg").join(&name);
                Agent { name, role, places, log, packages, child: None }
            })
            .collect();
        Ok(Self { ground, operators, agents, program })
    }

    /// Starts an agent.
    pub(super) fn start(&mut self, at: usize) -> Result<(), Failure> {
        let program = &self.program;
        let Some(agent) = self.agents.get_mut(at) else { return Ok(()) };
        agent.start(program).map_err(|error| {
            Failure::new(ExitCode::Internal, format!("{} cannot be started: {error}", program.display()))
        })
    }

    /// Ends all of it: agents are asked, then made to; a further signal asks no longer.
    pub(super) async fn stop(mut self, signals: &mut Signals) -> Result<(), Failure> {
        for agent in &self.agents {
            agent.signal(Signal::TERM);
        }
        let until = Instant::now() + STOP_WITHIN;
        while self.agents.iter_mut().any(Agent::runs) && Instant::now() < until {
            if signals.next_within(LOOK_EVERY).await {
                break;
            }
        }
        self.kill_all();
        let until = Instant::now() + GONE_WITHIN;
        let mut left = end_orphans(&[]);
        while left > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            left = end_orphans(&[]);
        }
        if left > 0 {
            return Err(Failure::new(ExitCode::Internal, format!("{left} processes cannot be ended")));
        }
        if self.ground.is_kept() {
            return Ok(());
        }
        self.ground.remove().map_err(|error| {
            let dir = self.ground.dir().display().to_string();
            Failure::new(ExitCode::Internal, format!("cannot remove {dir}: {error}"))
                .hint(format!("rm -r {dir}"))
        })
    }

    fn kill_all(&mut self) {
        for agent in &mut self.agents {
            agent.kill();
        }
    }
}

impl Drop for Fleet {
    /// For what went wrong on the way: nothing is asked any more. After [`Fleet::stop`] it does nothing.
    fn drop(&mut self) {
        self.kill_all();
        let until = Instant::now() + GONE_WITHIN;
        while end_orphans(&[]) > 0 && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Agent {
    fn start(&mut self, program: &PathBuf) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(program);
        command
            .arg("--state")
            .arg(&self.places.state)
            .args(["agent", "--with-parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Not among those that a terminal's Ctrl-C ends: the demo ends them.
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
    pub(super) fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn signal(&self, signal: Signal) {
        // Until it is collected, the number is its own.
        if let Some(child) = &self.child {
            let _gone_already = kill_process(Pid::from_child(child), signal);
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _collected = child.wait();
        }
    }

    /// Kills both of its processes with SIGKILL and waits until they are gone; returns their numbers.
    pub(super) async fn kill_both(&mut self) -> Result<(u32, u32), Failure> {
        let status = self.status().await.map_err(|error| self.failed(&error.to_string()))?;
        let (executor, mesh) = (status.executor_pid, status.mesh_pid);
        if self.child.as_ref().map(Child::id) != Some(executor) {
            return Err(self.failed(&format!("its first process is {executor}, and not the one we started")));
        }
        self.kill();
        // Its parent gone, it is ours, and its number stays its own until we collect it.
        let pid = i32::try_from(mesh).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(self.failed("its mesh process has no number")) };
        let _ended_already = kill_process(pid, Signal::KILL);
        let until = Instant::now() + GONE_WITHIN;
        while matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
            if Instant::now() > until {
                return Err(self.failed(&format!("its mesh process {mesh} outlived SIGKILL")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok((executor, mesh))
    }

    /// How it is, by its own word.
    pub(super) async fn status(&self) -> Result<StatusReport, ControlError> {
        let mut client = Client::connect(&self.places.socket).await?;
        match client.ask(&Request::Status {}, STATUS_WITHIN).await? {
            Reply::Status { status } => Ok(status),
            _ => Err(ControlError::Malformed("not how the agent is".to_owned())),
        }
    }

    /// Waits until `so` is true of how it is; `what` says what that means.
    pub(super) async fn until(
        &mut self,
        what: &str,
        within: Duration,
        so: impl Fn(&StatusReport) -> bool,
    ) -> Result<StatusReport, Failure> {
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

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// What is wrong with it, with the end of what it said.
    pub(super) fn failed(&self, what: &str) -> Failure {
        let failure = Failure::new(ExitCode::Internal, format!("{}: {what}", self.name));
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        if last.is_empty() {
            failure
        } else {
            failure.point(format!("  its log ends:\n  {}", last.join("\n  ")))
        }
    }
}

/// Whether the reader of standard output went away, though nothing was written.
pub(super) fn nobody_reads(stdout: &File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
        && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}
