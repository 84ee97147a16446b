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
mod event;
mod failure;
mod job;
mod message;
mod output;
mod report;
mod request;
mod roster;
mod serve;
mod streams;
mod verb;
mod view;

pub use accounting::{Counts, Patience, Seat, Status, Taken, Tally};
pub use event::{CHUNK_BYTES_MAX, Chunk, Event, Exit, Note, Start, Summary, Weight, fd};
pub use failure::RunError;
pub use job::{JOBS_SHOWN_DEFAULT, OutputRequest, ls, output, show};
pub use message::FetchRequest;
pub use output::FetchError;
pub use report::{Claim, Verified, verify};
pub use request::{ExitMode, RunRequest, Target, View};
pub use roster::{Foreseen, Resolved, TargetError, foresee, keepers, resolve};
pub use serve::{News, Parts, Runs, Sink, Ways};
pub use streams::Streams;
pub use verb::{World, run};

#[cfg(test)]
mod tests;
