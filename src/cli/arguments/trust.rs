//! What is about trust: `operator`, `halt`, `unhalt`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::terminal::time::parse_duration;

/// `operator`.
#[derive(Clone, Debug, Subcommand)]
pub enum Operator {
    /// List the operators: what each may do, where, as whom and until when
    #[command(
        after_help = "A line a certificate. BY is who passed it on; without, the fleet's root keys gave it.

Examples:
  muster operator ls
  muster operator ls ana -o json"
    )]
    Ls(OperatorLs),
    /// Stop a person or a certificate, at once and everywhere
    #[command(
        after_help = "Any operator whose certificate has `suspend` can do it, alone. Nothing that the suspended sign is acted on
any more; what they run ends. What they changed before --since stands, what they signed later does not.
To end it takes the fleet's root keys: muster operator lift.

Examples:
  muster operator suspend ana --reason 'laptop stolen'
  muster operator suspend ana --since 2d --dry-run"
    )]
    Suspend(OperatorSuspend),
    /// End the suspensions of a person, with root keys
    #[command(
        after_help = "What was ordered before stays refused: it may have waited somewhere. Where the root keys are in several
hands, each holder runs the same command with --update FILE, one after the other.

Examples:
  muster operator lift ana --root recovery.txt
  muster operator lift ana --root root-1.txt --update lift.update"
    )]
    Lift(OperatorLift),
    /// Take from a person or a certificate what it allows, for ever, with root keys
    #[command(after_help = "Examples:
  muster operator revoke ana --root recovery.txt --reason 'left the company'
  muster operator revoke ana --since 2d --root root-1.txt --update revoke.update")]
    Revoke(OperatorRevoke),
}

/// `operator ls`.
#[derive(Args, Clone, Debug)]
pub struct OperatorLs {
    /// One person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: Option<String>,
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}

/// `operator suspend`.
#[derive(Args, Clone, Debug)]
pub struct OperatorSuspend {
    /// The person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: String,
    /// Since when what they signed is not to be trusted
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    #[arg(value_parser = parse_duration)]
    pub since: Duration,
    /// Why: shown wherever something is refused for it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// With which root keys.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Root keys")]
pub struct RootFlags {
    /// A file with a root key; may be repeated
    #[arg(long = "root", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// Where it waits until enough holders of root keys have signed it
    #[arg(long, value_name = "FILE")]
    pub update: Option<PathBuf>,
    /// Why: stays in the fleet's records
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `operator lift`.
#[derive(Args, Clone, Debug)]
pub struct OperatorLift {
    /// The person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: String,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `operator revoke`.
#[derive(Args, Clone, Debug)]
pub struct OperatorRevoke {
    /// The person, or a certificate by the beginning of its id
    #[arg(value_name = "OPERATOR")]
    pub who: String,
    /// Since when what they signed is not to be trusted
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    #[arg(value_parser = parse_duration)]
    pub since: Duration,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `halt`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Any operator whose certificate has `suspend` can do it, alone, within its scope. Every order there is refused,
whoever signed it, and what runs there ends. To end it takes the fleet's root keys: muster unhalt.

Examples:
  muster halt --reason 'bad release'
  muster halt -t 'tag.env = prod' --dry-run"
)]
pub struct Halt {
    /// Hosts that a selector over tags is true for [default: every host]
    #[arg(short, long, value_name = "SELECTOR")]
    pub target: Option<String>,
    /// Why: shown wherever something is refused for it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `unhalt`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Where the root keys are in several hands, each holder runs the same command with --update FILE, one after
the other.

Examples:
  muster unhalt --root recovery.txt
  muster unhalt --root root-1.txt --update unhalt.update"
)]
pub struct Unhalt {
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}
