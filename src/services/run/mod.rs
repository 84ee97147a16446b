//! Runs one signed command on many hosts and accounts for every one of them.
//!
//! Decides, on the operator's side, which hosts an order is for, whether they could accept it, when it
//! is not waited for any longer, and what the sum of their answers means. Whoever holds a certificate
//! with the verb `run` may ask; what it writes are one order and the operator's own record of the job.
//!
//! Always holds: nothing is sent that the fleet's own rules, applied here first, refuse; a result is
//! believed when the executor key in that host's certificate signed it and its output has the signed
//! hash, and is only *claimed* before; every host of the roster stands in exactly one column of the
//! accounting; silence is never success. It does not know how an order travels or who carries results.
//!
//! Folded outputs are after `ClusterShell`'s `clubak`; the exit codes of one host are `OpenSSH`'s.

mod accounting;
mod approving;
mod assent;
mod course;
mod draft;
mod ending;
mod event;
mod facts;
mod failure;
mod holding;
mod job;
mod listing;
mod live;
mod manage;
mod message;
mod output;
mod outputs;
mod pace;
mod plan;
mod report;
mod request;
mod rollout;
mod roster;
mod sealing;
mod serve;
mod shipment;
mod shipped;
mod shipping;
mod streams;
mod verb;
mod view;
mod waiting;

pub use accounting::{Counts, Patience, Seat, Status, Taken, Tally, Withheld};
pub use approving::{ApprovalRequest, answer, approval, approvals};
pub use event::{CHUNK_BYTES_MAX, Chunk, Event, Exit, Note, Start, Summary, Weight, fd};
pub use failure::RunError;
pub use holding::{PauseRequest, ResumeRequest, pause, resume};
pub use job::{JOBS_SHOWN_DEFAULT, OutputRequest, ls, output, show};
pub use manage::{CancelRequest, RerunRequest, WatchRequest, cancel, rerun, watch};
pub use message::{FetchRequest, LivePiece};
pub use output::FetchError;
pub use outputs::{Sink, Ways};
pub use pace::{Pace, PaceError, RAMP_MAX};
pub use report::{Claim, Verified, verify};
pub use request::{ExitMode, RunRequest, View};
pub use roster::{Forecast, Foreseen, foresee, keepers};
pub use serve::{AuditSaid, News, Parts, Runs};
pub use shipping::Shipping;
pub use streams::Streams;
pub use verb::{World, run};
pub use waiting::{CANCEL_WITHIN, Interrupt, Interrupts};

#[cfg(test)]
mod tests;
