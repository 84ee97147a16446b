//! `job`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::run::{Pacing, RunExit, RunView};
use crate::terminal::time::parse_duration;

/// `job`.
#[derive(Clone, Debug, Subcommand)]
pub enum Job {
    /// List the orders that are known here, newest first
    Ls(JobLs),
    /// Show what came of an order, host by host
    Show(JobShow),
    /// Print what a host wrote while it ran an order
    Output(JobOutput),
    /// Wait for an order that was given before
    Watch(JobWatch),
    /// End an order on its hosts: what has not begun will not, what runs is ended
    Cancel(JobCancel),
    /// Hold back the later waves of an order
    Pause(JobPause),
    /// Let the later waves of an order go on
    Resume(JobResume),
    /// Give an order again
    Rerun(JobRerun),
}

/// `job ls`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster job ls
  muster job ls --watch
  muster job ls -o json")]
pub struct JobLs {
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}

/// `job show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster job show 7f3k
  muster job show 7f3k -o json")]
pub struct JobShow {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// `job output`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster job output 7f3k web-1
  muster job output 7f3k web-1 --stderr > errors")]
pub struct JobOutput {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// The host, by name or unique beginning of name or id; may be left out where there is one
    #[arg(value_name = "HOST")]
    pub host: Option<String>,
    /// Standard error instead of standard output
    #[arg(long)]
    pub stderr: bool,
}

/// `job watch`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit codes are those of run, and 124 when --wait ran out before all hosts answered.
Ctrl-C leaves; twice within 2 s cancels it on the hosts.

Examples:
  muster job watch 7f3k
  muster job watch 7f3k --wait 10m -o jsonl")]
pub struct JobWatch {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// How long to wait at most [default: until no host may start it any more]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// What text output looks like: auto, live, group, raw or quiet
    #[arg(long, value_name = "VIEW", default_value = "auto", hide_default_value = true)]
    pub view: RunView,
    /// What the exit code is made of: summary, max or remote
    #[arg(long, value_name = "WHAT", default_value = "summary")]
    pub exit: RunExit,
}

/// `job cancel`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Asks nothing: stopping is cheap. Exit code 0 when every host said what came of it, 7 when some have
yet to hear of it; those will not start it.

Examples:
  muster job cancel 7f3k --dry-run
  muster job cancel 7f3k"
)]
pub struct JobCancel {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Show where it stands and end nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `job pause`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Waves are ordered one after the other by the command line that runs the job; this keeps it from ordering
the next. What was ordered goes on: job cancel ends that. It works for the user who ordered the job, on the same
machine, and only for jobs in waves (run --batch, --waves, --max-errors).

Examples:
  muster job pause 7f3k
  muster job resume 7f3k"
)]
pub struct JobPause {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Show where it stands and hold nothing back
    #[arg(long)]
    pub dry_run: bool,
}

/// `job resume`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "After job pause the command line that runs the job goes on. Where that is gone (Ctrl-C, a closed
laptop), this one takes its place: it orders the rest of the waves under the same limits, and waits like run.

Examples:
  muster job resume 7f3k
  muster job resume 7f3k --dry-run"
)]
pub struct JobResume {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// How long to wait for hosts that do not answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub wait: Duration,
    /// Show what would be ordered and order nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What text output looks like: auto, live, group, raw or quiet
    #[arg(long, value_name = "VIEW", default_value = "auto", hide_default_value = true)]
    pub view: RunView,
    /// What the exit code is made of: summary or max
    #[arg(long, value_name = "WHAT", default_value = "summary")]
    pub exit: RunExit,
}

/// `job rerun`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The same command as the same user on the same hosts, as a job of its own. Where hosts have not answered and
could still start the old one, that is cancelled first.

Examples:
  muster job rerun 7f3k --failed
  muster job rerun 7f3k --failed --batch 5 --max-errors 1"
)]
pub struct JobRerun {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Only on the hosts that did not succeed
    #[arg(long)]
    pub failed: bool,
    /// How long hosts that are away may still start it
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub queue: Duration,
    /// How long to wait for hosts that do not answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub wait: Duration,
    /// How many hosts at a time
    #[command(flatten)]
    pub pacing: Pacing,
    /// Why, for the record [default: the job's reason]
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Show who would run it and sign nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What text output looks like: auto, live, group, raw or quiet
    #[arg(long, value_name = "VIEW", default_value = "auto", hide_default_value = true)]
    pub view: RunView,
}
