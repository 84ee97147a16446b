//! What a command line asks for in order to show it, and to finish words: rows that are made already, so that
//! a list of ten thousand hosts does not cost thirty thousand signatures. All of it is the agent's word: good
//! to look at, no ground for a right. Whoever decides by it asks for the signed entries instead.

use super::HostRow;
use crate::{identity::HostId, wire_record};

/// A host as an agent lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLine {
    /// Which host, its state and when it was last heard of.
    pub about: HostRow,
    /// Its name.
    pub name: String,
    /// Its tags, without those in conflict.
    pub tags: Vec<(String, String)>,
    /// The keys of tags in conflict.
    pub conflicts: Vec<String>,
    /// What it says it runs; empty if it said nothing yet.
    pub os: String,
    /// The version of its agent; empty if it said nothing yet.
    pub agent: String,
    /// Where it says it listens.
    pub addresses: Vec<String>,
    /// All of its keys in words, while it waits for an operator.
    pub fingerprint: Option<String>,
}
wire_record!(HostLine { about, name, tags, conflicts, os, agent, addresses, fingerprint });

/// How a linked host's clock stands to the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockRow {
    /// Which host.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// Whether its clock is ahead of the agent's; else it is behind, or the same.
    pub ahead: bool,
    /// By how many milliseconds.
    pub by_ms: u64,
    /// How far that may be off: half the round trip, in milliseconds, rounded up.
    pub error_ms: u64,
}
wire_record!(ClockRow { host, name, ahead, by_ms, error_ms });

/// What an agent alone can say of its health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Bytes that its store takes on disk.
    pub store_bytes: u64,
    /// The clocks of some linked hosts, asked just now. None of them if no host was linked or none said.
    pub clocks: Vec<ClockRow>,
    /// The versions of muster that members say they run, each with how many do.
    pub versions: Vec<(String, u64)>,
    /// How many of its links were dialled by the host at the other end.
    pub dialled_in: u64,
}
wire_record!(Health { store_bytes, clocks, versions, dialled_in });
