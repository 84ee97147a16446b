//! What one member may cost, whatever it says, and who went beyond that.

use std::collections::{HashMap, VecDeque};

use super::bucket::{Bucket, Rate};
use crate::{identity::HostId, time::Timestamp};

/// What a neighbour can make this host do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// Tips that are answered, which can take all that is held: an honest neighbour sends them on a new
    /// stream and then at most every twenty seconds.
    Tips,
    /// Entries whose signature is checked. What turns out new is given back, so catching up is not slowed:
    /// this is for what is not verified or not taken (at 50 a second about 1 % of a core).
    Check,
    /// Reports and words about orders: a host whose one link leads to a whole fleet of ten thousand gets all its
    /// results over that, and words before them.
    Report,
    /// What is of no use: entries that are held, heads over their number, kinds that nobody knows, tips too
    /// soon. An honest neighbour says each entry about once; who floods so is shunned.
    Useless,
    /// Rows of announcements that are looked up.
    Row,
    /// Rows of questions that are looked up.
    Asked,
    /// Kilobytes that answer them: a replica of a large fleet at once, then a megabyte a second.
    Served,
    /// Questions, about what it said it has, that it left unanswered.
    Unanswered,
    /// Facets that nobody asked it for, or that are no facets.
    Unasked,
    /// Kilobytes that are unpacked of its heads' facets before anybody looks at a signature. Of heads that turn
    /// out new it is given back.
    Opened,
    /// Pings, and answers to them: an honest neighbour sends one in ten seconds.
    Upkeep,
}

impl Cost {
    fn rate(self) -> Rate {
        let (burst, every_ms) = match self {
            Self::Tips => (4, 8_000),
            Self::Check => (4_096, 20),
            Self::Report => (32_768, 2),
            Self::Useless => (20_000, 5),
            Self::Row | Self::Asked | Self::Served | Self::Opened => (64 * 1024, 1),
            Self::Unanswered => (6, 60_000),
            Self::Unasked => (64, 10_000),
            Self::Upkeep => (60, 500),
        };
        Rate { burst, every_ms }
    }
}

const COSTS: [Cost; 11] = [
    Cost::Tips,
    Cost::Check,
    Cost::Report,
    Cost::Useless,
    Cost::Row,
    Cost::Asked,
    Cost::Served,
    Cost::Unanswered,
    Cost::Unasked,
    Cost::Opened,
    Cost::Upkeep,
];

/// New heads of one host, from whomever. Those above it are not lost: the newest is asked for later.
const HEADS: Rate = Rate { burst: 30, every_ms: 5_000 };
/// Who misbehaved and is remembered, each once.
pub(super) const BLAMED_MAX: usize = 32;

/// What one member has used of what it may: a bucket for each [`Cost`], in that order.
type Account = [Bucket; COSTS.len()];

/// The accounts of all members. They outlive the streams, or a new stream would fill the buckets.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Of members that used some of it lately.
    rows: HashMap<HostId, Account>,
    /// Of hosts that published lately.
    heads: HashMap<HostId, Bucket>,
    blamed: VecDeque<(HostId, &'static str, Timestamp)>,
    throttled: u64,
}

impl Accounts {
    fn bucket(&mut self, peer: HostId, cost: Cost, now: Timestamp) -> Option<&mut Bucket> {
        let account =
            self.rows.entry(peer).or_insert_with(|| COSTS.map(|cost| Bucket::full(cost.rate(), now)));
        account.get_mut(cost as usize)
    }

    /// Takes up to `wanted`; returns how much there was.
    pub(super) fn take(&mut self, peer: HostId, cost: Cost, wanted: u64, now: Timestamp) -> u64 {
        self.bucket(peer, cost, now).map_or(0, |bucket| bucket.take(cost.rate(), wanted, now))
    }

    /// Leaves as many of these as there is room for, and counts the others.
    pub(super) fn allow<T>(&mut self, peer: HostId, cost: Cost, words: &mut Vec<T>, now: Timestamp) {
        let wanted = words.len();
        let allowed = self.take(peer, cost, wanted as u64, now);
        words.truncate(usize::try_from(allowed).unwrap_or(wanted));
        self.throttled += (wanted - words.len()) as u64;
    }

    /// Whether there is anything left.
    pub(super) fn any(&mut self, peer: HostId, cost: Cost, now: Timestamp) -> bool {
        self.bucket(peer, cost, now).is_some_and(|bucket| bucket.any(cost.rate(), now))
    }

    /// Gives back what did not cost anything after all.
    pub(super) fn give(&mut self, peer: HostId, cost: Cost, back: u64, now: Timestamp) {
        if let Some(bucket) = self.bucket(peer, cost, now) {
            bucket.give(cost.rate(), back);
        }
    }

    /// Whether one more head of this host is taken now.
    pub(super) fn takes_head_of(&mut self, host: &HostId, now: Timestamp) -> bool {
        self.heads.get_mut(host).is_none_or(|bucket| bucket.any(HEADS, now))
    }

    /// A new head of this host was merged.
    pub(super) fn had_head_of(&mut self, host: HostId, now: Timestamp) {
        let bucket = self.heads.entry(host).or_insert_with(|| Bucket::full(HEADS, now));
        bucket.take(HEADS, 1, now);
    }

    /// Counts what was not looked at.
    pub(super) fn throttle(&mut self, count: u64) {
        self.throttled += count;
    }

    /// Members whose use is counted, and hosts that published lately.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.heads.len()
    }

    pub(super) fn throttled(&self) -> u64 {
        self.throttled
    }

    /// Remembers who misbehaved, and how.
    pub(super) fn blame(&mut self, peer: HostId, why: &'static str, now: Timestamp) {
        self.blamed.retain(|(known, ..)| *known != peer);
        self.blamed.push_back((peer, why, now));
        if self.blamed.len() > BLAMED_MAX {
            self.blamed.pop_front();
        }
    }

    pub(super) fn blamed(&self) -> impl Iterator<Item = (HostId, &'static str, Timestamp)> + '_ {
        self.blamed.iter().copied()
    }

    /// Forgets what is as good as new, of those who are not neighbours.
    pub(super) fn tick(&mut self, is_neighbour: impl Fn(&HostId) -> bool, now: Timestamp) {
        self.rows.retain(|peer, account| {
            let used = account.iter_mut().zip(COSTS).any(|(bucket, cost)| !bucket.is_full(cost.rate(), now));
            used || is_neighbour(peer)
        });
        self.heads.retain(|_, bucket| !bucket.is_full(HEADS, now));
    }
}
