//! `host`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{selector::parse_label, terminal::time::parse_duration};

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
#[command(after_help = "Examples:
  muster host show web-1
  muster host show web-1 -o json")]
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
#[command(after_help = "Examples:
  muster host ping web-1 db-1
  muster host ping -l role=web --timeout 2s")]
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
