//! `demo`, and what begins, carries and ends a membership: `init`, `invite`, `join`, `leave`, `agent`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use crate::{selector::parse_label, services::membership::RootCount, terminal::time::parse_duration};

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
  muster init lab --host-name a --listen 127.0.0.1:7946 --state ./a
  muster init acme --operator-key ~/.ssh/id_ed25519.pub"
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
    /// How many root keys there are, and how many must sign, such as 2-of-3: each in a file of its own
    #[arg(long, value_name = "M-of-N", default_value = "1-of-1", hide_default_value = true)]
    pub roots: RootCount,
    /// Who you are, in certificates and records [default: your user name]
    #[arg(long, value_name = "NAME")]
    pub person: Option<String>,
    /// Your operator key, if it shall be one that you have [default: a new one]
    #[arg(
        long,
        value_name = "KEY",
        long_help = "Your operator key, if it shall be one that you have: an ed25519 key file of OpenSSH, or a key in your
SSH agent by its .pub file, fingerprint (SHA256:…) or comment; also one on a FIDO token (ed25519-sk)"
    )]
    pub operator_key: Option<String>,
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
  muster invite --uses 20 --ttl 2h > token
  muster invite --approve -l env=prod"
)]
pub struct Invite {
    /// A tag that joiners get; may be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// How many hosts may use it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub uses: u32,
    /// Let no host in before an operator has compared its keys: muster host admit
    #[arg(long)]
    pub approve: bool,
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
  sudo muster join - < token
  sudo muster join mst1… --wait 8h

Where no link is, by files: the host asks, an operator answers, the host joins:
  sudo muster join --request web-9.request
  muster host admit --file web-9.request --answer web-9.answer -l role=web
  sudo muster join --answer web-9.answer")]
pub struct Join {
    /// The token, or `-` to read it from standard input
    #[arg(value_name = "TOKEN", required_unless_present_any = ["request", "answer"])]
    pub token: Option<String>,
    /// Without a link: write what an operator is to answer into this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "answer", "labels"])]
    pub request: Option<PathBuf>,
    /// Without a link: join by this answer to such a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "labels", "host_name"])]
    pub answer: Option<PathBuf>,
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
    /// How long to wait for an operator, where the token asks for one; joining goes on when it is run again
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub wait: Duration,
}

/// `leave`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The agent must run, so that the others learn of it; it then erases this host's keys and ends.

Examples:
  sudo muster leave --dry-run
  sudo muster leave"
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
It logs to standard error; MUSTER_LOG is error, warn (as it is), info, debug or trace.

Examples:
  sudo muster agent
  MUSTER_LOG=info muster agent --state ./a")]
pub struct Agent {
    /// End with this process, which must have started the agent
    #[arg(long, value_name = "PID", hide = true)]
    pub with_parent: Option<i32>,
    /// Print the systemd unit that starts the agent of this program, and start nothing
    #[arg(long, conflicts_with = "with_parent")]
    pub print_unit: bool,
}

/// `status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster status
  muster status --watch
  muster status -o json")]
pub struct Status {
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}
