//! A moment in which what goes the same way is gathered.
//!
//! Decides when reports of one order leave for one stop: the first at once, what comes after it within the moment
//! together at its end. So a host hands on at most one message a moment for each neighbour that hands to it,
//! however many are behind that, and a result waits for a moment a hop at the worst. Small rosters have no moment
//! and nothing waits. It reads no clock: who asks says what time it is, and is told when to ask again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::combine::{Gathered, SMALL_ROSTER};
use crate::{
    identity::{EntryId, HostId},
    replica::Report,
    time::Timestamp,
};

/// The longest moment. A result waits once for each hop: so many of these are what a deep tree costs.
const LONGEST: Duration = Duration::from_millis(200);
/// Hosts for which it grows by a millisecond: their results are what one link carries in about that.
const HOSTS_A_MILLISECOND: usize = 50;
/// Ways and orders for which something is gathered at a time; what is above that does not wait.
const WINDOWS_MAX: usize = 1024;

/// How long results of a roster of so many are gathered.
pub(super) fn length(hosts: usize) -> Duration {
    if hosts <= SMALL_ROSTER {
        return Duration::ZERO;
    }
    let millis = (hosts / HOSTS_A_MILLISECOND).max(1);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).min(LONGEST)
}

#[derive(Debug)]
struct Window {
    ends: Timestamp,
    length: Duration,
    /// Whether a result was sent since it began.
    sent: bool,
    reports: Gathered,
    working: BTreeSet<HostId>,
}

/// What leaves for a stop.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    pub(super) reports: Vec<Report>,
    pub(super) working: BTreeSet<HostId>,
}

/// What is gathered, by where it goes and which order it is of.
#[derive(Debug, Default)]
pub(super) struct Windows {
    open: BTreeMap<(HostId, EntryId), Window>,
    /// When somebody was last told to ask again, and has not yet.
    wake: Option<Timestamp>,
}

impl Windows {
    fn window(
        &mut self,
        stop: HostId,
        order: EntryId,
        length: Duration,
        now: Timestamp,
    ) -> Option<&mut Window> {
        let key = (stop, order);
        if length.is_zero() || (self.open.len() >= WINDOWS_MAX && !self.open.contains_key(&key)) {
            return None;
        }
        let (reports, working) = (Gathered::default(), BTreeSet::new());
        let ends = now.after(length);
        let window = || Window { ends, length, sent: false, reports, working };
        Some(self.open.entry(key).or_insert_with(window))
    }

    /// Reports of one order are to go to `stop`: what of it goes now.
    pub(super) fn offer(
        &mut self,
        stop: HostId,
        order: EntryId,
        reports: Vec<Report>,
        length: Duration,
        now: Timestamp,
    ) -> Leaving {
        let Some(window) = self.window(stop, order, length, now) else {
            return Leaving { reports, working: BTreeSet::new() };
        };
        for report in reports {
            window.reports.add(report);
        }
        if window.sent && !window.reports.is_full() {
            return Leaving::default();
        }
        window.sent = true;
        window.leave()
    }

    /// Word that hosts work on an order is to go to `stop`; it waits with the results, and is not needed where
    /// those come within the moment. False where it cannot wait.
    pub(super) fn works(
        &mut self,
        stop: HostId,
        order: EntryId,
        hosts: &[HostId],
        length: Duration,
        now: Timestamp,
    ) -> bool {
        let Some(window) = self.window(stop, order, length, now) else { return false };
        window.working.extend(hosts);
        true
    }

    /// What leaves now. A moment in which nothing came is the last.
    pub(super) fn ended(&mut self, now: Timestamp) -> Vec<(HostId, EntryId, Leaving)> {
        let mut left = Vec::new();
        self.wake = None;
        self.open.retain(|(stop, order), window| {
            // A clock that was set back must not hold anything.
            if window.ends > now && window.ends <= now.after(window.length) {
                return true;
            }
            let leaving = window.leave();
            if leaving.is_empty() {
                return false;
            }
            (window.ends, window.sent) = (now.after(window.length), !leaving.reports.is_empty());
            left.push((*stop, *order, leaving));
            true
        });
        left
    }

    /// The way to `stop` is gone, with what was gathered for it.
    pub(super) fn gone(&mut self, stop: &HostId) -> Vec<(EntryId, Leaving)> {
        let mut left = Vec::new();
        self.open.retain(|(to, order), window| {
            if to == stop {
                left.push((*order, window.leave()));
            }
            to != stop
        });
        left
    }

    /// In how long [`Self::ended`] is to be asked, where nobody was told yet.
    pub(super) fn wake(&mut self, now: Timestamp) -> Option<Duration> {
        let next = self.open.values().map(|window| window.ends).min()?;
        if self.wake.is_some_and(|told| told <= next && told >= now) {
            return None;
        }
        self.wake = Some(next);
        Some(next.since(now).min(LONGEST))
    }
}

impl Window {
    fn leave(&mut self) -> Leaving {
        let reports = std::mem::take(&mut self.reports).into_reports();
        Leaving { reports, working: std::mem::take(&mut self.working) }
    }
}

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.working.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Bytes;

    const NOW: Timestamp = Timestamp(1_000_000);
    const STOP: HostId = HostId([1; 32]);
    const ORDER: EntryId = EntryId([2; 32]);

    fn report(host: u8) -> Report {
        let record = Bytes(vec![host; 9]);
        Report { order: ORDER, host: HostId([host; 32]), record, stdout: None, stderr: None }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(NOW.0 + ms)
    }

    #[test]
    fn small_rosters_wait_for_nothing_and_large_ones_a_fifth_of_a_second_at_most() {
        let millis = |hosts| length(hosts).as_millis();
        assert_eq!([1, SMALL_ROSTER, 65, 500, 10_000, 1 << 40].map(millis), [0, 0, 1, 10, 200, 200]);
        let mut windows = Windows::default();
        for host in 0..3 {
            let leaving = windows.offer(STOP, ORDER, vec![report(host)], length(64), NOW);
            assert_eq!(leaving.reports.len(), 1);
        }
        assert_eq!(windows.wake(NOW), None);
        assert!(!windows.works(STOP, ORDER, &[STOP], length(64), NOW));
    }

    #[test]
    fn the_first_leaves_at_once_and_what_follows_together_at_the_end_of_the_moment() {
        let (mut windows, length) = (Windows::default(), Duration::from_millis(100));
        assert!(windows.works(STOP, ORDER, &[HostId([7; 32])], length, NOW));
        assert_eq!(windows.wake(NOW), Some(length));
        let first = windows.offer(STOP, ORDER, vec![report(1)], length, NOW);
        assert_eq!((first.reports.len(), first.working.len()), (1, 1), "and what was gathered goes with it");
        assert!(windows.offer(STOP, ORDER, vec![report(2)], length, at(10)).is_empty());
        assert!(windows.offer(STOP, ORDER, vec![report(3), report(2)], length, at(90)).is_empty());
        let other = HostId([9; 32]);
        assert!(!windows.offer(other, ORDER, vec![report(2)], length, at(90)).is_empty(), "another way");
        assert_eq!(windows.wake(at(90)), None, "it was said already");
        assert!(windows.ended(at(99)).is_empty());
        let left = windows.ended(at(100));
        assert_eq!(left.iter().map(|(.., leaving)| leaving.reports.len()).collect::<Vec<_>>(), [2]);
        // Nothing more comes: one moment later it is over, and the next goes at once.
        assert_eq!(windows.wake(at(100)), Some(Duration::from_millis(90)));
        assert!(windows.ended(at(200)).is_empty() && windows.open.is_empty());
        assert_eq!(windows.offer(STOP, ORDER, vec![report(4)], length, at(200)).reports.len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_and_a_way_that_is_gone_hold_nothing() {
        let (mut windows, length) = (Windows::default(), Duration::from_millis(100));
        windows.offer(STOP, ORDER, vec![report(1)], length, NOW);
        windows.offer(STOP, ORDER, vec![report(2)], length, NOW);
        assert_eq!(windows.ended(Timestamp(5))[0].2.reports, [report(2)]);
        windows.offer(STOP, ORDER, vec![report(3)], length, Timestamp(5));
        let gone = windows.gone(&STOP);
        assert_eq!((gone.len(), gone[0].1.reports.len()), (1, 1));
        assert!(windows.ended(at(1_000)).is_empty());
    }

    #[test]
    fn what_is_worth_a_message_does_not_wait_and_no_more_ways_are_remembered_than_so_many() {
        let (mut windows, length) = (Windows::default(), Duration::from_millis(100));
        windows.offer(STOP, ORDER, vec![report(1)], length, NOW);
        let mut long = report(2);
        long.record = Bytes(vec![0; 300_000]);
        assert!(!windows.offer(STOP, ORDER, vec![long], length, NOW).is_empty());
        for number in 0..2 * WINDOWS_MAX as u64 {
            let mut order = [0; 32];
            order[..8].copy_from_slice(&number.to_le_bytes());
            windows.offer(STOP, EntryId(order), vec![report(1)], length, NOW);
        }
        assert_eq!(windows.open.len(), WINDOWS_MAX);
    }
}
