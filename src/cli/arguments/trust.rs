//! What is about trust: `operator`, `halt`, `unhalt`, `roots`.

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
    /// A file with a root key, or one in the SSH agent by its fingerprint; may be repeated
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

/// `roots`.
#[derive(Clone, Debug, Subcommand)]
pub enum RootsVerb {
    /// List the root keys that govern the fleet, and those that did
    #[command(after_help = "SIGN is how many of those that govern must sign whatever the roots say.

Examples:
  muster roots ls
  muster roots ls -o json")]
    Ls,
    /// List what the root keys said, from the fleet's founding on
    #[command(
        after_help = "Two lines of one PLACE are two histories that the roots signed: one counts, the other is lost, and both
are kept as proof. In JSON each has the whole signed envelope, for who wants to check it elsewhere.

Examples:
  muster roots log
  muster roots log -o json"
    )]
    Log,
    /// Let other root keys govern, with enough of those that do now
    #[command(
        after_help = "Each key that is new signs too, or it does not count: so nobody hands a fleet to a key that no one holds.
Where the keys are in several hands, or on machines without a link, --update FILE carries the update from one to
the next (muster roots sign), and back (muster roots publish).

Examples:
  muster roots key new-root.txt
  muster roots rotate --add 5f0c…91 --threshold 2 --root recovery.txt --root new-root.txt
  muster roots rotate --drop 9m2kq4 --update rotate.update"
    )]
    Rotate(RootsRotate),
    /// Write down what went before, with root keys
    #[command(
        after_help = "Behind a checkpoint nothing counts that branched off before it, and whoever holds the key of a certificate
that is past can suspend and halt nothing more; what it suspended and halted so far stands.

Examples:
  muster roots checkpoint --root recovery.txt
  muster roots checkpoint --update checkpoint.update --dry-run"
    )]
    Checkpoint(RootsCheckpoint),
    /// Show what a file would have the roots say, and sign it: asks no agent
    #[command(
        after_help = "The file is what --update FILE of another command wrote. It has the whole root chain in it, which is verified
from the fleet's founding on: compare the fleet's id with the one you know. No link is needed.

Examples:
  muster roots sign rotate.update --dry-run
  muster roots sign rotate.update --root /media/stick/root-2.txt"
    )]
    Sign(RootsSign),
    /// Hand over what enough root keys have signed in a file
    #[command(after_help = "Examples:
  muster roots publish rotate.update")]
    Publish(RootsPublish),
    /// Let other root keys govern, with recovery keys, after a while in which the roots can deny it
    #[command(
        after_help = "For when too many root keys are lost. The recovery keys were made where the fleet was founded (muster init
--recovery-keys), and PAPER is the file of one of them. Every host shows it at once (muster status), and lets it count
only so long after it saw it as the fleet was founded with: 72 hours, if nothing else was said.

Examples:
  muster roots recover acme-paper-1.txt --add 5f0c…91 --root acme-paper-1.txt --root new-root.txt
  muster roots recover acme-paper-1.txt --add 5f0c…91 --update recover.update"
    )]
    Recover(RootsRecover),
    /// Deny what recovery keys said, with root keys: for ever
    #[command(after_help = "Examples:
  muster roots deny 7f3k2m --root recovery.txt --reason 'the paper was stolen'")]
    Deny(RootsDeny),
    /// Make a new root key: it governs nothing before the roots say so
    #[command(
        after_help = "Prints the public half, which muster roots rotate --add takes. An ed25519 key that ssh-keygen made, with a
passphrase or in an SSH agent, can be a root key as well: --add takes its .pub file.

Examples:
  muster roots key root-4.txt"
    )]
    Key(RootsKey),
}

/// `roots rotate`.
#[derive(Args, Clone, Debug)]
pub struct RootsRotate {
    /// The public half of a key that shall govern: 64 hexadecimal digits, or a .pub file; may be repeated
    #[arg(long, value_name = "KEY")]
    pub add: Vec<String>,
    /// The beginning of a key that shall govern no more, as `roots ls` shows it; may be repeated
    #[arg(long, value_name = "KEY")]
    pub drop: Vec<String>,
    /// How many must sign from then on [default: as many as now]
    #[arg(long, value_name = "NUMBER")]
    pub threshold: Option<u8>,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `roots recover`.
#[derive(Args, Clone, Debug)]
pub struct RootsRecover {
    /// The file of a recovery key
    #[arg(value_name = "PAPER")]
    pub paper: PathBuf,
    /// The public half of a key that shall govern: 64 hexadecimal digits, or a .pub file; may be repeated
    #[arg(long, value_name = "KEY", required = true)]
    pub add: Vec<String>,
    /// How many must sign from then on
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub threshold: u8,
    /// With which recovery keys, and which new ones
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `roots deny`.
#[derive(Args, Clone, Debug)]
pub struct RootsDeny {
    /// The beginning of the recovery's id, as `roots log` shows it
    #[arg(value_name = "ID")]
    pub recovery: String,
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `roots checkpoint`.
#[derive(Args, Clone, Debug)]
pub struct RootsCheckpoint {
    /// With which root keys
    #[command(flatten)]
    pub roots: RootFlags,
}

/// `roots sign`.
#[derive(Args, Clone, Debug)]
pub struct RootsSign {
    /// The file with the update
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A file with a root key, or one in the SSH agent by its fingerprint; may be repeated
    #[arg(long = "root", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// Show what would be signed, and sign nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `roots publish`.
#[derive(Args, Clone, Debug)]
pub struct RootsPublish {
    /// The file with the update
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `roots key`.
#[derive(Args, Clone, Debug)]
pub struct RootsKey {
    /// Where the secret half goes: a new file that only you can read
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}
