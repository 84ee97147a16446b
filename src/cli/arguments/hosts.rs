//! `host`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::trust::RootFlags;
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
    /// Let hosts in that wait for an operator
    Admit(HostAdmit),
    /// Turn hosts away that wait for an operator
    Deny(HostDeny),
    /// Call a host by another name
    Rename(HostRename),
    /// Say that hosts are gone for good: their tags vanish, and they are refused
    Retire(HostRetire),
    /// Stop hosts at once: nobody deals with them, and they run nothing more
    Suspend(HostSuspend),
    /// End the suspensions of hosts, with root keys
    Lift(HostLift),
    /// Take hosts out for ever, with root keys
    Revoke(HostRevoke),
}

/// `host admit`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A host waits if its token was made with --approve, or was redeemed more often than it allows. Compare the
words of its keys with those that it shows itself.

Examples:
  muster host ls -t 'state = pending' -o wide
  muster host admit web-9
  muster host admit lusab-babad-gutih-tugad-mudof
  muster host admit --file web-9.request --answer web-9.answer -l role=web"
)]
pub struct HostAdmit {
    /// Hosts that wait, by name, beginning of the id, or words of the keys
    #[arg(value_name = "HOST", required_unless_present = "file")]
    pub hosts: Vec<String>,
    /// A request of a host that has no link: muster join --request
    #[arg(long, value_name = "FILE", requires = "answer", conflicts_with = "hosts")]
    pub file: Option<PathBuf>,
    /// Where to write the answer to it
    #[arg(long, value_name = "FILE", requires = "file")]
    pub answer: Option<PathBuf>,
    /// A tag that the host of the request gets; may be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_label, requires = "file")]
    pub labels: Vec<(String, String)>,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `host deny`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "They are told so. Letting one in later is still possible; a member is stopped by: muster host suspend.

Examples:
  muster host deny web-9
  muster host deny 3f9a --dry-run"
)]
pub struct HostDeny {
    /// Hosts that wait, by name, beginning of the id, or words of the keys
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `host rename`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "The name is a label; the id stays, and with it all that was signed for the host.

Examples:
  muster host rename web-1 web-old
  muster host rename 3f9a web-2 --dry-run")]
pub struct HostRename {
    /// The host, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Say what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `host retire`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "For machines that are gone. One that comes back is no member; it can join anew, with new keys.

Examples:
  muster host retire web-1
  muster host retire web-1 web-2 --yes"
)]
pub struct HostRetire {
    /// Hosts, by name or unique beginning of name or id
    #[arg(value_name = "HOST", required = true)]
    pub hosts: Vec<String>,
    /// Say what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `host suspend`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Any one operator who may suspend can do this; ending it takes the roots.

Examples:
  muster host suspend web-1 --reason 'broken into'
  muster host suspend web-1 --dry-run")]
pub struct HostSuspend {
    /// The host, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `host lift`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster host lift web-1 --root ./acme-recovery.txt
  muster host lift web-1 --root 1.txt --update lift.update")]
pub struct HostLift {
    /// The host, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `host revoke`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster host revoke web-1 --root ./acme-recovery.txt --reason stolen
  muster host revoke web-1 --root 1.txt --update revoke.update")]
pub struct HostRevoke {
    /// The host, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
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
