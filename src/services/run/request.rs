//! What the command line asks for, as plain values, with the defaults in one place.

use std::time::Duration;

use super::{Pace, RunError};
use crate::{
    authority::{AGENT_USER, ORDER_VALID_MAX},
    replica::BLOB_BYTES_MAX,
    targets::{Share, Targets},
    terminal::time::size,
};

/// What the exit code is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitMode {
    /// 0, 6 or 7, by the accounting.
    Summary,
    /// The highest code of any host.
    Max,
    /// The one host's own code, as ssh gives it.
    Remote,
}

/// How text output is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// One host raw; up to 20 live, but in groups where a command is over within a second; more in groups.
    #[default]
    Auto,
    /// Lines as they come, each behind the name of its host.
    Live,
    /// A block for each group of hosts with the same outcome and output.
    Group,
    /// The bytes alone, host after host.
    Raw,
    /// Nothing but the summary.
    Quiet,
}

/// One `muster run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// Which hosts.
    pub target: Targets,
    /// The program and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// What the program reads; nothing, if not said.
    pub stdin: Option<Vec<u8>>,
    /// What is run in the place of the first word of `argv`, which is then what it is called.
    pub script: Option<Vec<u8>>,
    /// As whom. Default [`AGENT_USER`].
    pub run_as: String,
    /// Why, for the record.
    pub reason: Option<String>,
    /// How long the command may run. Default 1 h.
    pub timeout: Duration,
    /// How long hosts that are away may still start it. Default 1 h.
    pub queue: Duration,
    /// How long to wait for hosts that say nothing. Default 5 s.
    pub wait: Duration,
    /// How long past its time limit a running host's result is waited for. Default 30 s.
    pub grace: Duration,
    /// In which waves hosts are asked. Default: all at once, or with a budget [`Pace::Ramp`].
    pub pace: Pace,
    /// How many hosts may fail before no other wave begins. Default: any number.
    pub errors_max: Option<Share>,
    /// How much of each output stream a host keeps, in bytes. Default 128 MiB.
    pub output_bytes_max: u64,
    /// What the exit code is made of. Default: one host named by `-H` gives its own code, else the
    /// summary's.
    pub exit: Option<ExitMode>,
    /// How text output is laid out.
    pub view: View,
    /// Seal what is run, and what it writes. Default no.
    pub private: bool,
    /// Do not ask.
    pub yes: bool,
    /// Show what would be sent, and send nothing.
    pub dry_run: bool,
}

impl RunRequest {
    /// A request for `argv` on `target` with the defaults.
    pub fn new(target: Targets, argv: Vec<Vec<u8>>) -> Self {
        Self {
            target,
            argv,
            stdin: None,
            script: None,
            run_as: AGENT_USER.to_owned(),
            reason: None,
            timeout: Duration::from_secs(3600),
            queue: Duration::from_secs(3600),
            wait: Duration::from_secs(5),
            grace: Duration::from_secs(30),
            pace: Pace::AtOnce,
            errors_max: None,
            output_bytes_max: 128 << 20,
            exit: None,
            view: View::Auto,
            private: false,
            yes: false,
            dry_run: false,
        }
    }

    /// Finds what can be told to be wrong without asking anybody.
    pub(super) fn check(&self) -> Result<(), RunError> {
        let usage = |problem: &str, hint: &str| {
            Err(RunError::Usage { problem: problem.to_owned(), hint: hint.to_owned() })
        };
        if self.argv.first().is_none_or(Vec::is_empty) {
            return usage("no command", "write it after --: muster run --all -- uptime");
        }
        if self.argv.iter().any(|arg| arg.contains(&0)) {
            return usage("an argument holds a NUL byte", "no program could be given it");
        }
        let shipped = [&self.stdin, &self.script].into_iter().flatten();
        if shipped.into_iter().any(|bytes| bytes.len() as u64 > BLOB_BYTES_MAX) {
            return usage(
                &format!("what is to be shipped is longer than {}", size(BLOB_BYTES_MAX)),
                "put what is long where the hosts can fetch it",
            );
        }
        if self.run_as.is_empty() {
            return usage("--as names no user", "leave it out to run as the agent's own user");
        }
        if self.timeout.is_zero() {
            return usage("--timeout leaves the command no time", "write it as 90s, 15m or 2h");
        }
        if self.queue.is_zero() || self.queue > ORDER_VALID_MAX {
            return usage("--queue must be more than nothing and at most 30d", "write it as 15m, 4h or 7d");
        }
        Ok(())
    }
}
