//! What happens to a job, as one stream: who shows it, logs it or tests it reads this and nothing else.
//!
//! Decides what there is to tell and in which order; how it looks is the view's, what it amounts to is the
//! [`Tally`](super::Tally)'s. Always holds, and whoever makes events keeps to it:
//!
//! 1. [`Event::Start`] comes first, once, and names the roster; [`Event::Summary`] comes last, once. Between
//!    them, only hosts of the roster are spoken of.
//! 2. A host's [`Chunk`]s come before its [`Exit`], and after that there is nothing more of that host, but for
//!    one thing: when a second result contradicts the first, another `Exit` replaces the one before. An `Exit`
//!    comes for *every* host: those that never answered get theirs, with the status
//!    [`Silent`](Status::Silent) or [`Running`](Status::Running), when they are not waited for any longer.
//! 3. Chunks of one stream of one host are numbered from 0 without a gap. A number that came before is a
//!    repeat and is dropped; a number that is left out is output that nobody has, and shows as such.
//! 4. A chunk is what its host says now, not yet signed for; its `Exit` is signed, or says that it is not
//!    ([`Exit::claim`], [`Exit::spoilt`]). Output that came along with a result and was not shown live is
//!    made into chunks before the `Exit`, so a consumer needs no second way to learn of output. Output that
//!    is neither here nor was live (it is long, and its host keeps it) has no chunks: who wants it fetches
//!    it, by the hash in the `Exit`.
//!
//! All bytes and the words in [`Exit::words`] and [`Note::text`] are safe to keep; bytes of a chunk are a
//! host's own and reach a terminal only through [`escape`](crate::terminal::escape) or the raw view's filter.
//!
//! Values alone: no clock, no channel. Whoever carries events picks the channel, with a bound.

use crate::{
    control::StreamName,
    identity::{EntryId, HostId},
    replica::Output,
    time::Timestamp,
};

use super::{Claim, Counts, Status};

/// Bytes of one [`Chunk`] at most: what a screen holds at once of one piece.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// One thing that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The order was handed over.
    Start(Start),
    /// A host said that it works on the order.
    Running {
        /// The host.
        host: HostId,
    },
    /// A host's command wrote something.
    Chunk(Chunk),
    /// A host's result is known, but its output is still to be had: its `Exit` comes later. Counts for
    /// progress alone.
    Answered {
        /// The host.
        host: HostId,
        /// Where it stands, unless its output says otherwise.
        status: Status,
    },
    /// What came of the order on one host.
    Exit(Box<Exit>),
    /// Something else that a person should know: the next batch, a warning, why it was stopped.
    Note(Note),
    /// Time went by and nothing happened. Whatever shows progress redraws; at least one a second.
    Tick,
    /// Nothing more is waited for.
    Summary(Summary),
}

/// What was ordered, of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The order.
    pub job: EntryId,
    /// As whom the command runs on the hosts. A person's own text: escape it.
    pub run_as: String,
    /// Who ordered it. Escape it.
    pub by: String,
    /// Every host that it is for, with what it is called here: its name, escaped for one line, with a part
    /// of its id where two have that name. Ordered by that label, each label once.
    pub roster: Vec<(HostId, String)>,
}

/// A piece of what a host's command wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The host.
    pub host: HostId,
    /// Which stream: 1 or 2 in JSON.
    pub fd: StreamName,
    /// Its number in that stream of that host, from 0.
    pub seq: u64,
    /// The bytes, at most [`CHUNK_BYTES_MAX`], as the host sent them. Cuts fall anywhere.
    pub data: Vec<u8>,
}

/// Where a host stands when there is nothing more to come from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The host.
    pub host: HostId,
    /// The column of the accounting that it stands in.
    pub status: Status,
    /// How it ended, in words for one line; what a host chose in it is escaped and cut.
    pub words: String,
    /// The command's exit code, or that of what could not start it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When it was started, or refused.
    pub started: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub ms: Option<u64>,
    /// Standard output, as signed.
    pub stdout: Option<Output>,
    /// Standard error, as signed.
    pub stderr: Option<Output>,
    /// Processes that were left behind and were ended.
    pub left_behind: Option<u32>,
    /// Whether a second, different result is signed too.
    pub conflict: bool,
    /// Whether output that was shown or fetched is not what was signed.
    pub spoilt: bool,
    /// Why a result that came proves nothing.
    pub claim: Option<Claim>,
    /// When the agent last heard of a host that has not answered.
    pub seen: Option<Timestamp>,
}

/// How much a [`Note`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Good to know: left out when quiet.
    Remark,
    /// Never left out.
    Warning,
}

/// Something to know about the whole job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub weight: Weight,
    /// One line, or several; this program's own words, or escaped.
    pub text: String,
}

impl Note {
    /// Good to know.
    pub fn remark(text: impl Into<String>) -> Self {
        Self { weight: Weight::Remark, text: text.into() }
    }

    /// Not to be missed.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, text: text.into() }
    }
}

/// What it all came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many hosts stand where.
    pub counts: Counts,
    /// What the process will exit with, as far as it is known.
    pub code: u8,
    /// Hosts with two results, by their labels.
    pub conflicts: Vec<String>,
    /// Results of hosts outside the roster.
    pub strays: usize,
}

/// The number that a stream has in JSON and in a shell.
#[must_use]
pub const fn fd(stream: StreamName) -> u8 {
    match stream {
        StreamName::Stdout => 1,
        StreamName::Stderr => 2,
    }
}
