//! The argument tree. Completion, man pages and help are made from it, so it says all there is to say.

use std::{ffi::OsString, net::SocketAddr, ops::Range, path::PathBuf, str::FromStr, time::Duration};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use super::{
    context,
    targeting::{self, TargetFlags},
};
use crate::{
    selector::parse_label,
    services::run::{Pace, Share},
    terminal::{Format, style::ColorChoice, time::parse_duration},
};

/// The commands by what they are for, in the order in which help shows them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["demo", "init", "invite", "join", "leave", "agent", "status", "doctor", "context", "config"]),
    ("Every day", &["host", "hosts", "run", "job", "inventory"]),
    ("Fleet", &["select", "group"]),
    ("Mesh", &["store", "scenario"]),
    ("This program", &["schema", "completion", "man", "version"]),
];

const EXAMPLES: &str = "Examples:
  muster demo                          three hosts on this machine, nothing left behind
  sudo muster init acme                found a fleet, with this machine as its first host
  muster invite -l role=web            print a token that lets one more host join
  muster run -l role=web -- uname -r   run a command on every host tagged role=web
  muster hosts                         list the hosts

Exit codes: 0 every target succeeded, 1 internal, 2 usage, 3 no host matched, 4 not permitted,
5 agent or mesh unreachable, 6 a host failed, 7 a host never answered, 8 stopped by --max-errors
or --fail-fast, 124 the wait ran out, 130 interrupted. One named host: its command's own.";

/// Manages a fleet of machines without a server.
#[derive(Clone, Debug, Parser)]
#[command(name = "muster", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The agent's state directory
    #[arg(long, global = true, value_name = "DIR")]
    #[arg(help = "The agent's state directory [env: MUSTER_STATE; default for root: /var/lib/muster]")]
    pub state: Option<PathBuf>,
    /// The agent's socket
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(help = "The agent's socket [env: MUSTER_SOCKET; default for root: /run/muster/agent.sock]")]
    pub socket: Option<PathBuf>,
    /// Ask the fleet of this context instead of a local agent
    #[arg(long, global = true, value_name = "CONTEXT", conflicts_with = "socket")]
    #[arg(help = "Ask the fleet of this context instead of a local agent [env: MUSTER_CONTEXT]")]
    pub context: Option<String>,
    /// Output: table, wide, json, jsonl, csv or name
    #[arg(short, long, global = true, value_name = "FORMAT")]
    #[arg(hide_possible_values = true, value_parser = words::<Format, 6>(Format::ALL.map(|(word, _)| word)))]
    pub output: Option<Format>,
    /// Colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(hide_possible_values = true, value_parser = words::<ColorChoice, 3>(["auto", "always", "never"]))]
    pub color: ColorChoice,
    /// Leave remarks out; errors and warnings stay
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Answer every question with yes
    #[arg(short, long, global = true)]
    pub yes: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Show a throw-away fleet at work on this machine: no root, no network, nothing left behind
    Demo(Demo),
    /// Found a fleet, with this machine as its first host
    Init(Init),
    /// Print a token that lets hosts join
    Invite(Invite),
    /// Make this machine a host of the fleet that a token is for
    Join(Join),
    /// Take this host out of its fleet, for ever
    Leave(Leave),
    /// Run this host's agent
    Agent(Agent),
    /// Show how this host's agent is
    Status,
    /// List, show, tag and ping hosts
    #[command(subcommand)]
    Host(Host),
    /// List the hosts, as `host ls`
    Hosts(HostLs),
    /// Run a command on hosts
    Run(Box<Run>),
    /// See what came of orders
    #[command(subcommand)]
    Job(Job),
    /// See what hosts say of themselves: systems, disks, addresses, packages
    #[command(subcommand)]
    Inventory(Inventory),
    /// Show which hosts a selector is true for, and why
    Select(targeting::Select),
    /// List, save and remove selectors that have a name
    #[command(subcommand)]
    Group(targeting::Group),
    /// Look after what the agent keeps on disk
    #[command(subcommand)]
    Store(Store),
    /// Play files of hosts, faults and checks on real processes of this machine
    #[command(subcommand)]
    Scenario(Scenario),
    /// Print the completion script of a shell
    Completion(Completion),
    /// Print a man page
    Man(Man),
    /// Print the version
    Version,
    /// The confined part of the agent, which starts it
    #[command(hide = true)]
    MeshProcess,
    /// Look for what is wrong on this machine, and say what to do about it
    #[command(
        after_help = "Looks at the clock, links, store, journal, permissions, versions and the sandbox. It also works
where no agent runs, and says so. Run it as the agent's owner: others may not look at all of it.
Exit code 0: nothing is wrong. 1: something is. 5: no agent answers.

Examples:
  sudo muster doctor
  muster doctor -o json"
    )]
    Doctor,
    /// Manage a fleet from a machine that is none of its hosts
    #[command(subcommand)]
    Context(context::ContextVerb),
    /// Show the settings and places that hold here
    Config(Config),
    /// Print the JSON Schema of a thing that -o json writes
    Schema(Schema),
    /// Finish a word for a shell
    #[command(name = "__complete", hide = true)]
    Complete(Complete),
}

/// `config`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The order is: flag, MUSTER_* variable, file, default. Keys that nobody knows are refused.

Examples:
  muster config
  muster config --origin
  muster config -o json"
)]
pub struct Config {
    /// Say where each value comes from
    #[arg(long)]
    pub origin: bool,
}

/// `schema`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The name is the one in a document's \"schema\" field: muster.host/v1 is host. Fields are only ever added.

Examples:
  muster schema
  muster schema host
  muster host ls -o json | jq -r .schema"
)]
pub struct Schema {
    /// The thing [default: list them]
    #[arg(value_name = "THING")]
    pub thing: Option<String>,
}

/// `__complete`.
#[derive(Args, Clone, Debug)]
pub struct Complete {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
    /// The words of the line up to the cursor, the program's name first, the last one not finished
    #[arg(last = true, value_name = "WORD")]
    pub words: Vec<OsString>,
}

/// `demo`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Founds a fleet in a temporary directory (TMPDIR), starts its hosts as real agents on loopback, runs
signed orders, asks each host for the packages of all, upgrades one in a package database of its own, and
shows what really happened, and in what time. Then it stays until Ctrl-C, with
commands to try from a second terminal. Afterwards no process and no file is left.

Examples:
  muster demo
  muster demo -n 10
  muster demo --once -o jsonl"
)]
pub struct Demo {
    /// How many hosts
    #[arg(short = 'n', long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub hosts: u16,
    /// End after the story instead of staying until Ctrl-C; exit 0 only if all of it came true
    #[arg(long)]
    pub once: bool,
}

/// `init`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Makes the root key (in the recovery file: keep it off this machine), your operator key, and this
host's keys. Nothing runs yet: `muster agent` starts the host.

Examples:
  sudo muster init acme -l role=web
  muster init lab --host-name a --listen 127.0.0.1:7946 --state ./a"
)]
pub struct Init {
    /// The fleet's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// This host's name [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub host_name: Option<String>,
    /// A tag of this host; may be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Where this host listens for others
    #[command(flatten)]
    pub listen: Listen,
    /// The new file for the root key [default: ./NAME-recovery.txt]
    #[arg(long, value_name = "FILE")]
    pub recovery: Option<PathBuf>,
    /// Who you are, in certificates and records [default: your user name]
    #[arg(long, value_name = "NAME")]
    pub person: Option<String>,
    /// How many days your certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub operator_days: u32,
    /// Check everything and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Where a host listens.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
pub struct Listen {
    /// Where to listen for other hosts; may be repeated [default: 0.0.0.0:7946]
    #[arg(long, value_name = "IP:PORT", conflicts_with = "no_listen")]
    pub listen: Vec<SocketAddr>,
    /// Where others reach this host, if that differs; may be repeated
    #[arg(long, value_name = "IP:PORT", conflicts_with = "no_listen")]
    pub advertise: Vec<SocketAddr>,
    /// Only dial out: a full member all the same
    #[arg(long)]
    pub no_listen: bool,
}

/// `invite`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The token is on standard output alone. Whoever has it can join until it is used up or expires.

Examples:
  muster invite -l role=web -l env=prod
  muster invite --uses 20 --ttl 2h > token"
)]
pub struct Invite {
    /// A tag that joiners get; may be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// How many hosts may use it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub uses: u32,
    /// How long it works
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = parse_duration)]
    pub ttl: Duration,
    /// Where joiners find the fleet; at most 3 [default: where members listen]
    #[arg(long = "address", value_name = "IP:PORT")]
    pub addresses: Vec<SocketAddr>,
}

/// `join`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  sudo muster join mst1…
  sudo muster join - < token")]
pub struct Join {
    /// The token, or `-` to read it from standard input
    #[arg(value_name = "TOKEN")]
    pub token: String,
    /// This host's name [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub host_name: Option<String>,
    /// Take only these of the token's tags; may be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Where this host listens for others
    #[command(flatten)]
    pub listen: Listen,
    /// How long to try
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// `leave`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The agent must run, so that the others learn of it; it then erases this host's keys and ends."
)]
pub struct Leave {
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `agent`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Runs in the foreground until it is told to stop (SIGTERM or Ctrl-C).
Its settings are in /etc/muster/agent.toml for root, in agent.toml of the state directory with --state.
It logs to standard error; MUSTER_LOG is error, warn (as it is), info, debug or trace.")]
pub struct Agent {
    /// End with this process, which must have started the agent
    #[arg(long, value_name = "PID", hide = true)]
    pub with_parent: Option<i32>,
}

/// `host`.
#[derive(Clone, Debug, Subcommand)]
pub enum Host {
    /// List the hosts
    Ls(HostLs),
    /// Show all that is known of a host
    Show(HostShow),
    /// Put tags on hosts
    Tag(HostTag),
    /// Take tags off hosts
    Untag(HostUntag),
    /// See how a message gets to hosts and in what time
    Ping(HostPing),
}

/// Which hosts, of those that a list is about.
#[derive(Args, Clone, Debug, Default)]
pub struct Select {
    /// Hosts that a selector is true for, such as 'tag.role = web and tag.env in [staging, dev]'
    #[arg(short, long, value_name = "SELECTOR")]
    pub target: Option<String>,
    /// Hosts with this tag; repeated, with all of them
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
}

/// `host ls`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster hosts
  muster host ls -l role=web -o wide
  muster host ls -t 'missing tag.owner' -o name")]
pub struct HostLs {
    /// Which hosts [default: all]
    #[command(flatten)]
    pub select: Select,
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}

/// `host show`.
#[derive(Args, Clone, Debug)]
pub struct HostShow {
    /// The host, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub host: String,
}

/// `host tag`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "muster host tag [OPTIONS] HOST... KEY=VALUE...\n       muster host tag [OPTIONS] -t SELECTOR KEY=VALUE..."
)]
#[command(after_help = "Examples:
  muster host tag web-1 role=web env=prod
  muster host tag -t 'tag.role = web' frozen=yes --dry-run")]
pub struct HostTag {
    /// Hosts, then tags
    #[arg(value_name = "HOST | KEY=VALUE", required = true)]
    pub words: Vec<String>,
    /// Which hosts
    #[command(flatten)]
    pub select: Select,
    /// Say what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `host untag`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "muster host untag [OPTIONS] HOST KEY...\n       muster host untag [OPTIONS] -t SELECTOR KEY..."
)]
#[command(after_help = "Examples:
  muster host untag web-1 frozen
  muster host untag -t 'has tag.frozen' frozen")]
pub struct HostUntag {
    /// A host, then keys; with -t or -l keys alone
    #[arg(value_name = "HOST | KEY", required = true)]
    pub words: Vec<String>,
    /// Which hosts
    #[command(flatten)]
    pub select: Select,
    /// Say what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `host ping`.
#[derive(Args, Clone, Debug)]
pub struct HostPing {
    /// Hosts, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Which hosts
    #[command(flatten)]
    pub select: Select,
    /// How long to wait for each
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
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

/// `scenario`.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Play files on agents of this program, each on a fleet of its own that is gone afterwards
    Run(ScenarioRun),
    /// Play files on the simulator, in virtual time, as often as there are seeds
    Simulate(ScenarioSimulate),
    /// What stands between the hosts of a scenario, which starts it
    #[command(hide = true)]
    Proxy,
}

/// `scenario run`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Each step is told after it came true. Exit 0 only if all of them did; else it says what was
missing, and keeps what agents and commands said. Files that cut links take root.

Examples:
  muster scenario run scenarios/hands-on.toml
  sudo muster scenario run scenarios/*.toml -o jsonl"
)]
pub struct ScenarioRun {
    /// The files, which are all read before the first is played
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Keep the files of what came true as well
    #[arg(long)]
    pub keep: bool,
}

/// `scenario simulate`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "No process is started: the replication of this program runs in virtual time. A step that the
simulator has not is named, unless the file says simulated = false of it.

Examples:
  muster scenario simulate scenarios/partition-heals.toml
  muster scenario simulate scenarios/partition-heals.toml --seeds 0..500"
)]
pub struct ScenarioSimulate {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Which seeds: from, up to and without
    #[arg(long, value_name = "A..B", default_value = "0..20", value_parser = seeds)]
    pub seeds: Range<u64>,
}

/// Reads `A..B`.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as 0..500")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let seeds = number(from)?..number(to)?;
    if seeds.is_empty() { Err("there is none in it".to_owned()) } else { Ok(seeds) }
}

/// `run`.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
#[command(after_help = "What follows -- is one program with its arguments, run without a shell.

Examples:
  muster run -l role=web -- uname -r
  muster run -t 'tag.env = prod and missing tag.frozen' --as www -- id
  muster run --all -c 'df -h / | tail -1'
  muster run -l role=db --script tune.sh -- --fast
  muster run -H db-1 -i -- psql < fix.sql")]
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
    /// Give standard input to the command, up to 16 MiB; members of the fleet can read it, so no secrets
    #[arg(short = 'i', long)]
    pub stdin: bool,
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

/// `job`.
#[derive(Clone, Debug, Subcommand)]
pub enum Job {
    /// List the orders that are known here, newest first
    Ls,
    /// Show what came of an order, host by host
    Show(JobShow),
    /// Print what a host wrote while it ran an order
    Output(JobOutput),
    /// Wait for an order that was given before
    Watch(JobWatch),
    /// End an order on its hosts: what has not begun will not, what runs is ended
    Cancel(JobCancel),
    /// Give an order again
    Rerun(JobRerun),
}

/// `job show`.
#[derive(Args, Clone, Debug)]
pub struct JobShow {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// `job output`.
#[derive(Args, Clone, Debug)]
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
Ctrl-C leaves; twice within 2 s cancels it on the hosts.")]
pub struct JobWatch {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// How long to wait at most [default: until no host may start it any more]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// What text output looks like: auto, group, raw or quiet
    #[arg(long, value_name = "VIEW", default_value = "group", hide_default_value = true)]
    pub view: RunView,
    /// What the exit code is made of: summary, max or remote
    #[arg(long, value_name = "WHAT", default_value = "summary")]
    pub exit: RunExit,
}

/// `job cancel`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Asks nothing: stopping is cheap. Exit code 0 when every host said what came of it, 7 when some have
yet to hear of it; those will not start it."
)]
pub struct JobCancel {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Show where it stands and end nothing
    #[arg(long)]
    pub dry_run: bool,
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
    /// What text output looks like: auto, group, raw or quiet
    #[arg(long, value_name = "VIEW", default_value = "auto", hide_default_value = true)]
    pub view: RunView,
}

/// `store`.
#[derive(Clone, Debug, Subcommand)]
pub enum Store {
    /// Read everything on disk and say what is damaged
    #[command(
        after_help = "A running agent compares it with what it holds, and writes again what is damaged. Where none runs, a
copy is read and nothing is changed; what is damaged then is fetched from others when the agent starts.
Exit code 0: it is whole. 1: it is not, or cannot be read.

Examples:
  muster store check
  muster store check --state /var/lib/muster -o json"
    )]
    Check,
}

/// `inventory`.
#[derive(Clone, Debug, Subcommand)]
pub enum Inventory {
    /// Show what a host says of itself
    Show(InventoryShow),
    /// Find hosts by what they say of themselves
    Search(InventorySearch),
    /// Say how two versions stand to each other: lt, eq or gt
    Compare(InventoryCompare),
    /// List the types of facts that there are in the fleet
    Types,
}

/// `inventory show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "What is shown is the host's own word, with its age: also that of a host that is off.

Examples:
  muster inventory show web-1
  muster inventory show web-1 deb_packages
  muster inventory show web-1 mounts -o json")]
pub struct InventoryShow {
    /// The host, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// One type whole, such as mounts; those that there are: muster inventory types
    #[arg(value_name = "TYPE")]
    pub table: Option<String>,
}

/// `inventory search`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "This host's agent answers at once for all members, also for those that are off. SEEN is when a host
was last heard of, CHANGED since when it is as shown. Facts are what hosts say of themselves.

Paths: deb.PACKAGE is a package's version, and compares as dpkg does. tag.KEY is a tag. fact.TYPE.COLUMN
is a fact: see `muster inventory types` for types, `muster inventory show HOST TYPE` for columns.

Examples:
  muster inventory search 'deb.openssl < 3.0.13-1~deb12u1'
  muster inventory search 'has deb.nginx and tag.env = prod' --columns tag.role,fact.os.version
  muster inventory search all --count-by fact.kernel.version
  muster inventory search 'missing deb.chrony' -o name
  muster run -H \"$(muster inventory search 'deb.bash < 5.2' -o name | paste -sd,)\" -- uname -r"
)]
pub struct InventorySearch {
    /// A selector over packages, facts and tags, such as 'deb.openssl < 3.0.13' or 'tag.role = web'
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// Show the values of these paths too
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Count the hosts by their values at this path
    #[arg(long, value_name = "PATH")]
    pub count_by: Option<String>,
    /// How many hosts at most
    #[arg(long, value_name = "N", default_value_t = 100_000, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// `inventory compare`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "By the rule of the ecosystem, as in a search: deb is dpkg's, rpm rpm's, apk Alpine's, pip PEP 440
and npm node-semver's. No agent is asked.

Examples:
  muster inventory compare deb 1.0~rc1 1.0        lt
  muster inventory compare deb 1:0.9 1.0          gt
  muster inventory compare deb 1.0-0 1.0          eq
  muster inventory compare npm 1.0.0-rc.1 1.0.0   lt"
)]
pub struct InventoryCompare {
    /// Whose rule: deb, rpm, apk, pip or npm
    #[arg(value_name = "ECOSYSTEM", hide_possible_values = true, value_parser = PossibleValuesParser::new(ECOSYSTEMS))]
    pub ecosystem: String,
    /// A version
    #[arg(value_name = "A", allow_hyphen_values = true)]
    pub first: String,
    /// Another
    #[arg(value_name = "B", allow_hyphen_values = true)]
    pub second: String,
}

/// The words of those by whose rules versions are compared.
const ECOSYSTEMS: [&str; 5] = ["deb", "rpm", "apk", "pip", "npm"];

/// `completion`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster completion bash > /etc/bash_completion.d/muster
  muster completion zsh > \"${fpath[1]}/_muster\"
  muster completion fish > ~/.config/fish/completions/muster.fish")]
pub struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell that completion is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// `man`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster man | man -l -
  muster man host tag | man -l -
  muster man --dir /usr/local/share/man/man1")]
pub struct Man {
    /// The command that the page is about [default: muster itself]
    #[arg(value_name = "COMMAND")]
    pub path: Vec<String>,
    /// Write every page into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    pub dir: Option<PathBuf>,
}

/// A value that is one of these words, so that completion knows them.
fn words<T, const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}

/// The whole tree, with the commands grouped in the help of its root.
pub fn command() -> clap::Command {
    let command = Arguments::command();
    let list = grouped(&command);
    command.help_template(format!(
        "{{about}}\n\nUsage: muster [OPTIONS] COMMAND\n\n{list}{{options}}{{after-help}}"
    ))
}

fn grouped(command: &clap::Command) -> String {
    use std::fmt::Write as _;
    let mut list = String::new();
    for (heading, names) in GROUPS {
        let _always = writeln!(list, "{heading}:");
        for name in *names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _always = writeln!(list, "  {name:<10}  {about}");
        }
        list.push('\n');
    }
    list.push_str("Global options:\n");
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_holds_together_and_every_command_is_in_a_group() {
        command().debug_assert();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let tree = command();
        let shown: Vec<&str> =
            tree.get_subcommands().filter(|sub| !sub.is_hide_set()).map(clap::Command::get_name).collect();
        for name in &shown {
            assert!(grouped.contains(name), "{name} is in no group");
        }
        assert_eq!(grouped.len(), shown.len(), "a group names a command that is not there");
    }

    #[test]
    fn every_command_and_argument_says_what_it_is_for() {
        fn walk(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{path} has no description");
                walk(sub, &path);
            }
        }
        walk(&command(), "muster");
    }
}
