//! `approval`.

use clap::{Args, Subcommand};

/// `approval`.
#[derive(Clone, Debug, Subcommand)]
pub enum Approval {
    /// List the orders that need the approval of others, newest first
    Ls(ApprovalLs),
    /// Show exactly what was signed, and which hosts would start it now
    Show(ApprovalShow),
    /// Approve an order that somebody else gave
    Give(ApprovalGive),
    /// Refuse it: no host starts it any more, whoever approves it
    Refuse(ApprovalRefuse),
}

/// `approval ls`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster approval ls
  muster approval ls -o json")]
pub struct ApprovalLs {}

/// `approval show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster approval show 7f3k
  muster approval show 7f3k -o json")]
pub struct ApprovalShow {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// `approval give`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "It is for exactly what was signed, and for nothing else. Persons count, not keys, and never who asks. It is void
once the order expires, or its signer is suspended or revoked.

Examples:
  muster approval give 7f3k
  muster approval give 7f3k --reason 'seen, CHG-1042' --yes"
)]
pub struct ApprovalGive {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Why: kept with it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be signed, and sign nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `approval refuse`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Hosts that have started it go on; who ordered it can cancel it there.

Examples:
  muster approval refuse 7f3k --reason 'not on a Friday'
  muster approval refuse 7f3k --dry-run")]
pub struct ApprovalRefuse {
    /// The job, by unique beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Why: every host that refuses it says so
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Say what would be signed, and sign nothing
    #[arg(long)]
    pub dry_run: bool,
}
