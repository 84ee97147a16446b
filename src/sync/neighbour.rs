//! What is remembered of a neighbour while its stream lasts, and what is remembered of one that is gone.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use super::{
    Cursor, Sum,
    wants::{Key, Spot},
};
use crate::{
    identity::HostId,
    replica::{Sections, TipForm},
    time::Timestamp,
};

/// Digests that stay different lead to a new exchange at most this often, and more and more rarely while
/// that brings nothing: one of the two holds what the other refuses.
pub(super) const EXCHANGE_EVERY: Duration = Duration::from_secs(20);
const EXCHANGE_EVERY_MAX: Duration = Duration::from_secs(160);
/// Elements that one neighbour is known to have; only spares an announcement.
pub(super) const HAS_MAX: usize = 2048;
/// Neighbours that are gone and whose feeds are not begun anew when they are back.
const CURSORS_MAX: usize = 64;

/// One neighbour.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) greeted: bool,
    pub(super) heard: Timestamp,
    pub(super) pinged: Timestamp,
    /// How far this host's feed went then.
    pub(super) pinged_at: u64,
    pub(super) rtt: Option<Duration>,
    /// What this host said in its hello that it holds.
    pub(super) said: Option<Sum>,
    /// How far it was told what is on this host's feed.
    pub(super) told: u64,
    /// Whether it knows all before that, too.
    pub(super) knows: bool,
    /// Its feed.
    pub(super) feed: [u8; 8],
    /// How far that was read, where all before is known.
    pub(super) read: Option<u64>,
    /// What it said last that it holds.
    pub(super) sum: Option<Sum>,
    /// The sections that it asked about, and in which form, if it saw a difference first.
    pub(super) saw: Option<(Sections, TipForm)>,
    /// Whether that is to be compared as soon as no other exchange is under way.
    pub(super) due: bool,
    /// Both feeds when they were last compared, and how often in a row they differed.
    pub(super) compared: Option<(u64, u64)>,
    pub(super) differed: u32,
    pub(super) exchange: Exchange,
    has: HashMap<Key, Spot>,
    has_order: VecDeque<Key>,
}

/// When tips were sent, and what came of it.
#[derive(Debug)]
pub(super) struct Exchange {
    last: Option<Timestamp>,
    /// When something of an answer came last, until it is over.
    under_way: Option<Timestamp>,
    wait: Duration,
    /// Whether anything new came since.
    pub(super) fruitful: bool,
    /// Whether the short forms did not find the difference.
    pub(super) full: bool,
}

impl Exchange {
    fn new() -> Self {
        Self { last: None, under_way: None, wait: EXCHANGE_EVERY, fruitful: false, full: false }
    }

    /// Both hold the same: whatever differs next is news.
    pub(super) fn settled(&mut self) {
        (self.wait, self.full) = (EXCHANGE_EVERY, false);
    }

    /// Whether tips may be sent now, or that much later. If so they count as sent.
    pub(super) fn may(&mut self, slack: Duration, now: Timestamp) -> bool {
        if let Some(last) = self.last {
            if self.fruitful {
                self.wait = EXCHANGE_EVERY;
            }
            // A clock that was set back.
            if now.since(last.min(now)) + slack < self.wait {
                return false;
            }
            self.full |= !self.fruitful;
            self.wait = (self.wait * 2).min(EXCHANGE_EVERY_MAX);
        }
        (self.last, self.under_way, self.fruitful) = (Some(now), Some(now), false);
        true
    }

    /// Whether more of an answer to tips may come.
    pub(super) fn is_under_way(&self, within: Duration, now: Timestamp) -> bool {
        self.under_way.is_some_and(|last| last <= now && now.since(last) < within)
    }

    /// A part of an answer came.
    pub(super) fn goes_on(&mut self, now: Timestamp) {
        self.under_way = self.under_way.map(|_| now);
    }

    /// The last part came.
    pub(super) fn over(&mut self) {
        self.under_way = None;
    }

    pub(super) fn set_back(&mut self, now: Timestamp) {
        self.last = self.last.map(|last| last.min(now));
    }
}

impl Neighbour {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            greeted: false,
            heard: now,
            pinged: now,
            pinged_at: 0,
            rtt: None,
            said: None,
            told: 0,
            knows: false,
            feed: [0; 8],
            read: None,
            sum: None,
            saw: None,
            due: false,
            compared: None,
            differed: 0,
            exchange: Exchange::new(),
            has: HashMap::new(),
            has_order: VecDeque::new(),
        }
    }

    /// What it can be told of how far it knows this host's feed.
    pub(super) fn claim(&self) -> u64 {
        if self.knows { self.told } else { 0 }
    }

    /// It says that all up to there was told.
    pub(super) fn reads_to(&mut self, lsn: u64) {
        if lsn > 0 {
            self.read = self.read.max(Some(lsn));
        }
    }

    /// Both hold the same.
    pub(super) fn agrees(&mut self) {
        (self.differed, self.compared, self.due, self.saw) = (0, None, false, None);
        self.exchange.settled();
    }

    /// It has this.
    pub(super) fn note(&mut self, key: Key, spot: Spot) {
        if let Some(known) = self.has.get_mut(&key) {
            *known = spot.max(*known);
            return;
        }
        self.has.insert(key, spot);
        self.has_order.push_back(key);
        if self.has_order.len() > HAS_MAX
            && let Some(oldest) = self.has_order.pop_front()
        {
            self.has.remove(&oldest);
        }
    }

    /// How many elements it is known to have.
    pub(super) fn knows_of_it(&self) -> usize {
        self.has.len().max(self.has_order.len())
    }

    /// Whether it is known to have this, or something newer in its place.
    pub(super) fn has(&self, key: &Key, spot: Spot) -> bool {
        self.has.get(key).is_some_and(|known| *known >= spot)
    }
}

/// How far the feeds of those who are gone were read.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    rows: BTreeMap<HostId, Cursor>,
    order: VecDeque<HostId>,
}

impl Cursors {
    pub(super) fn get(&self, peer: &HostId) -> Option<Cursor> {
        self.rows.get(peer).copied()
    }

    pub(super) fn put(&mut self, peer: HostId, cursor: Cursor) {
        self.order.retain(|known| *known != peer);
        self.order.push_back(peer);
        self.rows.insert(peer, cursor);
        if self.order.len() > CURSORS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
    }
}
