//! Runs one command and sees to it that nothing of it stays.
//!
//! Each command has a supervisor: a fork of the executor that adopts whatever the command leaves. Decides
//! when a command is over and what of its output is kept. Always holds: when its report is read, every
//! process that came of the command has ended, or the report says how many could not be ended; a command
//! that was never started is reported with the step and the reason; output that was not kept was counted.
//! It does not know what an order is.
//!
//! A supervisor that dies without a report (killed by its own command, say, which only one of the same user
//! can) closes its report pipe: what became of the command is then not known. The command dies with it;
//! what else is left of it comes to the executor, if that [`adopts_orphans`], and is ended by
//! [`end_orphans`]. If the executor dies, its lifeline closes, and each supervisor ends its command and
//! tells nobody.
//!
//! *Why a fork and no exec:* a hundred supervisors cost a hundred copies of a few pages, and a start costs
//! nothing but the command's own. *Why not control groups alone:* they need root or a delegated tree; where
//! there is one, each command has a group beside its supervisor.

mod command;
mod report;
mod spawn;
mod tree;
mod watch;

pub use crate::bounds::{Groups, Limits};
pub use report::{Outcome, Report, Stage, read_report};
pub use spawn::{Spawn, Supervised, supervise};
pub use tree::{adopts_orphans, end_orphans};
pub(super) use watch::now as uptime;

#[cfg(test)]
mod tests;
