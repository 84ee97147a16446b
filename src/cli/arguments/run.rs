//! `run`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    cli::targeting::TargetFlags, services::run::Pace, targets::Share, terminal::time::parse_duration,
};

/// `run`.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
#[command(after_help = "What follows -- is one program with its arguments, run without a shell.

Examples:
  muster run -l role=web -- uname -r
  muster run -t 'tag.env = prod and missing tag.frozen' --as www -- id
  muster run --all -c 'df -h / | tail -1'
  muster run -l role=db --script tune.sh -- --fast
  muster run -H db-1 -i -- psql < fix.sql
  muster run -H db-1 --private -- passwd-tool --set …")]
pub struct Run {
    /// The user to run as [default: the user that the agent runs as]
    #[arg(long = "as", value_name = "USER")]
    pub run_as: Option<String>,
    /// How long the command may run
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub timeout: Duration,
    /// How long hosts that are away may still start it
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub queue: Duration,
    /// How long to wait for hosts that do not answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub wait: Duration,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Show who would run it and sign nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What text output looks like: auto, live, group, raw or quiet
    #[arg(long, value_name = "VIEW", default_value = "auto", hide_default_value = true)]
    pub view: RunView,
    /// What the exit code is made of: summary, max or remote [default: remote for one named host]
    #[arg(long, value_name = "WHAT")]
    pub exit: Option<RunExit>,
    /// A line for /bin/sh -c, instead of a program
    #[arg(short, long = "command", value_name = "LINE", conflicts_with = "argv")]
    pub command: Option<String>,
    /// Run this file on the hosts, with what follows -- as its arguments; - reads it from standard input
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub script: Option<PathBuf>,
    /// Give standard input to the command, up to 16 MiB; members of the fleet can read it, unless it is --private
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Seal the command, what is shipped with it, and its output: read by the hosts and on this machine; at most 64
    /// hosts at a time. The rest of the order stays public: who, whom, as which user, when, why, and how it ended
    #[arg(long)]
    pub private: bool,
    /// The program and its arguments
    #[arg(last = true, value_name = "ARGV", required_unless_present_any = ["command", "script"])]
    pub argv: Vec<OsString>,
    /// Which hosts; last, as what follows would stand under its heading
    #[command(flatten)]
    pub target: TargetFlags,
    /// How many hosts at a time
    #[command(flatten)]
    pub pacing: Pacing,
}

/// `run --view`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RunView {
    /// One host raw; up to 20 live, or in groups where they are done within a second; more in groups
    Auto,
    /// Lines as they come, each behind the name of its host
    Live,
    /// A block for each group of hosts with the same outcome and output
    Group,
    /// The bytes alone, host after host
    Raw,
    /// Nothing but the summary
    Quiet,
}

/// `run --exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RunExit {
    /// 0, 6 or 7, by the accounting
    Summary,
    /// The highest code of any host
    Max,
    /// The one host's own code, as ssh gives it
    Remote,
}

/// How many hosts are asked at a time, and how many may fail.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Pace")]
pub struct Pacing {
    /// So many hosts at a time, such as 5 or 20%
    #[arg(long, value_name = "N", value_parser = Pace::batch, conflicts_with = "waves")]
    pub batch: Option<Pace>,
    /// Stages, each by how many have been asked when it ends, such as 1,10%,100%
    #[arg(long, value_name = "N,…", value_parser = Pace::stages)]
    pub waves: Option<Pace>,
    /// Start no other hosts once more than so many have failed, such as 2 or 5%
    #[arg(long, value_name = "N", conflicts_with = "fail_fast")]
    pub max_errors: Option<Share>,
    /// Start no other hosts once one has failed
    #[arg(long)]
    pub fail_fast: bool,
}
