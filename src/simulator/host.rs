//! One simulated host: the shipping machine, and what the agent around it would hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::disk::Disk;
use crate::{
    identity::{EntryId, HostId},
    replica::{Kept, Replica, Report},
    routing::{Candidate, Neighbours},
    sync::Machine,
    time::Timestamp,
};

/// This host's end of a stream to a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) serial: u64,
    pub(super) dialled: bool,
    pub(super) since: u64,
    pub(super) proved: bool,
}

/// One host: what survives a restart, and what does not.
#[derive(Debug)]
pub struct Host {
    // What a crash takes.
    pub(super) machine: Machine,
    pub(super) replica: Arc<Replica>,
    pub(super) routing: Neighbours,
    pub(super) streams: BTreeMap<usize, Stream>,
    pub(super) shunned: BTreeMap<usize, u64>,
    pub(super) candidates: Option<(u64, Vec<Candidate>)>,
    /// Entries that were verified and were new, since it was started.
    pub(super) taken: HashSet<EntryId>,
    pub(super) kept: BTreeMap<(EntryId, HostId), Report>,
    pub(super) seen_running: BTreeSet<(EntryId, HostId)>,
    // What stays.
    pub(super) base: Arc<Replica>,
    pub(super) disk: Disk,
    /// The executor: results that it has not heard to be settled, and orders whose it has. Synced before
    /// anything is said.
    pub(super) unsettled: BTreeMap<EntryId, Report>,
    pub(super) settled: BTreeSet<EntryId>,
    /// The place of its last head: synced before the head is sealed.
    pub(super) place: (u32, u64),
    /// Entries that were verified and were new, ever.
    pub(super) ever: HashSet<EntryId>,
    // What it is.
    pub(super) up: bool,
    /// Counts its starts: what was meant for an earlier life does not reach this one.
    pub(super) life: u64,
    /// Its clock less the right time, in milliseconds.
    pub(super) skew_ms: i64,
    /// Has no address that others could dial.
    pub(super) dials_only: bool,
    /// Does what no honest member does.
    pub(super) lies: bool,
    /// How often it crashed.
    pub(super) crashes: u64,
    /// When it last sent more than a ping.
    pub(super) busy: u64,
}

impl Host {
    pub(super) fn new(me: HostId, machine: Machine, replica: Arc<Replica>, now: Timestamp) -> Self {
        Self {
            machine,
            base: Arc::clone(&replica),
            replica,
            routing: Neighbours::new(me, now),
            streams: BTreeMap::new(),
            shunned: BTreeMap::new(),
            candidates: None,
            taken: HashSet::new(),
            kept: BTreeMap::new(),
            seen_running: BTreeSet::new(),
            disk: Disk::default(),
            unsettled: BTreeMap::new(),
            settled: BTreeSet::new(),
            place: (0, 0),
            ever: HashSet::new(),
            up: false,
            life: 0,
            skew_ms: 0,
            dials_only: false,
            lies: false,
            crashes: 0,
            busy: 0,
        }
    }

    /// What it holds.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Its sync machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How many neighbours it has a stream to.
    pub fn degree(&self) -> usize {
        self.streams.len()
    }

    /// To whom it has a stream.
    pub(super) fn peers(&self) -> impl Iterator<Item = usize> + '_ {
        self.streams.keys().copied()
    }

    /// Whether it keeps this host's report on this order.
    pub fn keeps(&self, order: EntryId, host: HostId) -> bool {
        self.kept.contains_key(&(order, host))
    }

    /// Whether its executor has heard that its result on this order is kept.
    pub fn is_settled(&self, order: &EntryId) -> bool {
        self.settled.contains(order)
    }

    /// Whether its executor has run this order.
    pub fn has_run(&self, order: &EntryId) -> bool {
        self.settled.contains(order) || self.unsettled.contains_key(order)
    }

    /// Its clock, when this is the right time.
    pub(super) fn clock(&self, right: Timestamp) -> Timestamp {
        Timestamp(right.0.saturating_add_signed(self.skew_ms))
    }

    pub(super) fn owed(&self) -> Vec<(EntryId, HostId)> {
        self.kept.values().map(Report::kept).map(|Kept { order, host, .. }| (order, host)).collect()
    }
}
