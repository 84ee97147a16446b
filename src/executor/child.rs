//! The mesh process as the executor's child: started, and started again when it ends.

use std::{
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Pid;

use crate::link::{
    Link,
    message::{LinkError, Start, ToMesh},
};

/// First wait before a mesh process that ended is started again; doubles up to the longest.
const RESTART_AFTER: Duration = Duration::from_millis(100);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(10);
/// How often, and between what pauses, a mesh process is looked at that should end by itself: two seconds.
const STOP_LOOKS_MAX: u32 = 400;
const STOP_LOOK_EVERY: Duration = Duration::from_millis(5);
/// A mesh process that lived so long starts with the first wait again.
const LIVED_WELL: Duration = Duration::from_secs(60);
/// How long a mesh process may take to read the first message.
const START_WITHIN: Duration = Duration::from_secs(10);
/// The only variable of ours that a mesh process is given.
const LOG_LEVEL: &str = "MUSTER_LOG";

/// A running mesh process, or the time of the next start. Times are since the machine started.
#[derive(Debug)]
pub(super) struct Mesh {
    /// The link to it, while it runs.
    pub(super) link: Option<Link>,
    child: Option<Child>,
    started: Duration,
    wait: Duration,
    /// When to start the next one, if none runs.
    pub(super) next_start: Option<Duration>,
    /// How often one was started.
    pub(super) starts: u64,
    /// What is started.
    pub(super) program: Vec<String>,
}

impl Mesh {
    /// None yet; to be started at once.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            link: None,
            child: None,
            started: now,
            wait: RESTART_AFTER,
            next_start: Some(now),
            starts: 0,
            program: ["/proc/self/exe", "mesh-process"].map(str::to_owned).to_vec(),
        }
    }

    /// Starts one: the same program, from its file, with nothing of ours open but its end of the pair.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(&mut self, start: Start, control: &OwnedFd, now: Duration) -> Result<(), LinkError> {
        self.next_start = None;
        self.started = now;
        let result = self.try_start(start, control);
        if result.is_err() {
            self.ended(now);
        }
        result
    }

    fn try_start(&mut self, start: Start, control: &OwnedFd) -> Result<(), LinkError> {
        let (ours, theirs) = UnixStream::pair()?;
        // A mesh process that hangs before it reads must not hold the executor.
        ours.set_write_timeout(Some(START_WITHIN))?;
        let mut words = self.program.iter();
        let program = words.next().ok_or(LinkError::Gone)?;
        let child = Command::new(program)
            .arg0("muster: mesh")
            .args(words)
            .env_clear()
            .envs(std::env::var_os(LOG_LEVEL).map(|level| (LOG_LEVEL, level)))
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir("/")
            // What a terminal sends to the agent is for the agent, which ends its mesh process itself.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        self.starts += 1;
        Link::send_start(&ours, &ToMesh::Start { start }, control)?;
        self.link = Some(Link::new(ours)?);
        Ok(())
    }

    /// The running one's pid.
    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_child(self.child.as_ref()?).into()
    }

    /// Collects it if it has ended by itself.
    pub(super) fn reap(&mut self, now: Duration) {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            self.ended(now);
        }
    }

    /// Ends it, if it runs, and plans the next start.
    pub(super) fn ended(&mut self, now: Duration) {
        self.link = None;
        self.stop();
        if now.saturating_sub(self.started) > LIVED_WELL {
            self.wait = RESTART_AFTER;
        }
        self.next_start = Some(now + self.wait);
        self.wait = (self.wait * 2).min(RESTART_AFTER_MAX);
    }

    /// Ends it for good: it may still write what it holds, as it does once it has nobody to talk to.
    pub(super) fn leave(&mut self) {
        self.link = None;
        for _ in 0..STOP_LOOKS_MAX {
            let runs = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            if !runs {
                break;
            }
            thread::sleep(STOP_LOOK_EVERY);
        }
        self.stop();
    }

    /// Ends it at once.
    fn stop(&mut self) {
        self.link = None;
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _collected = child.wait();
        }
    }
}
