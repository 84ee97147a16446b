//! The processes of a demo: agents as anyone starts them, and their certain end.

use std::{fs::File, path::PathBuf, time::Duration};

use rustix::process::Signal;
use tokio::time::Instant;

use super::super::{
    failure::{ExitCode, Failure},
    signals::Signals,
};
use crate::{
    executor::supervisor::{adopts_orphans, end_orphans},
    scenario::{Agent, Ground, LOOK_EVERY},
};

/// How long agents get to end by themselves: what they run ends at once, so it is for slow machines.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long killed processes may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// The role of a host, the value of its one tag.
pub(super) fn role_of(agent: &Agent) -> &'static str {
    if agent.name.starts_with("db-") { "db" } else { "web" }
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
                let name =
                    if number == hosts && hosts >= 3 { "db-1".to_owned() } else { format!("web-{number}") };
                Agent::new(&name, ground.dir(), &operators)
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

/// Whether the reader of standard output went away, though nothing was written.
pub(super) fn nobody_reads(stdout: &File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
        && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}
