//! When to look again: what changed, once it is quiet, and everything now and then.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{FACET_NETWORK, FACET_STORAGE, FACETS};

/// Changes are looked at once there was none for this long: installing a package writes many times.
const QUIET: Duration = Duration::from_millis(200);
/// After the first of many changes they are looked at even if they go on.
const CHANGING_MAX: Duration = Duration::from_millis(1_500);

/// Decides when to look. Time is an argument.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Facets that changed: since when, and when last.
    changed: BTreeMap<&'static str, (Instant, Instant)>,
    /// When each facet is looked at whether it changed or not.
    sweeps: BTreeMap<&'static str, Instant>,
    random: u64,
}

/// How often a facet is looked at without a sign of change. Interfaces and mounts have no file to watch; what
/// has one is looked at again in case a sign was lost.
fn every(facet: &str) -> Duration {
    match facet {
        FACET_NETWORK | FACET_STORAGE => Duration::from_secs(60),
        _ => Duration::from_secs(600),
    }
}

impl Schedule {
    /// Everything is looked at first. `seed` makes hosts that start together look at different times.
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self {
            changed: BTreeMap::new(),
            sweeps: FACETS.iter().map(|facet| (*facet, now)).collect(),
            random: seed,
        }
    }

    /// Notes that what `facet` is about changed.
    pub(super) fn changed(&mut self, facet: &'static str, now: Instant) {
        self.changed.entry(facet).or_insert((now, now)).1 = now;
    }

    /// When there is something to look at next.
    pub(super) fn due(&self) -> Option<Instant> {
        let changed = self.changed.values().map(|(first, last)| (*first + CHANGING_MAX).min(*last + QUIET));
        changed.chain(self.sweeps.values().copied()).min()
    }

    /// What is to be looked at now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<&'static str> {
        let mut taken = Vec::new();
        for facet in FACETS {
            let ripe = |(first, last): &(Instant, Instant)| (*first + CHANGING_MAX).min(*last + QUIET) <= now;
            let swept = self.sweeps.get(facet).is_some_and(|at| *at <= now);
            if swept {
                // Within a tenth around the time between two.
                let every = every(facet);
                let jitter = every.mul_f64(f64::from(self.next_random()) / f64::from(u32::MAX) / 5.0);
                self.sweeps.insert(facet, now + every.mul_f64(0.9) + jitter);
            }
            if swept || self.changed.get(facet).is_some_and(ripe) {
                self.changed.remove(facet);
                taken.push(facet);
            }
        }
        taken
    }

    /// After S. Vigna's splitmix64.
    fn next_random(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from(mixed >> 32).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{FACET_DEB, FACET_SYSTEM},
        *,
    };

    const MS: Duration = Duration::from_millis(1);

    fn swept() -> (Schedule, Instant) {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, 7);
        assert_eq!(schedule.due(), Some(now));
        assert_eq!(schedule.take(now), FACETS);
        (schedule, now)
    }

    #[test]
    fn a_change_is_looked_at_once_it_is_quiet() {
        let (mut schedule, start) = swept();
        schedule.changed(FACET_DEB, start + 100 * MS);
        schedule.changed(FACET_DEB, start + 150 * MS);
        assert_eq!(schedule.due(), Some(start + 350 * MS));
        assert!(schedule.take(start + 349 * MS).is_empty());
        assert_eq!(schedule.take(start + 350 * MS), [FACET_DEB]);
        assert!(schedule.take(start + 351 * MS).is_empty());
    }

    #[test]
    fn changes_without_end_are_looked_at_every_second_and_a_half() {
        let (mut schedule, start) = swept();
        let mut looks = Vec::new();
        for at in (0..4_000).step_by(10) {
            schedule.changed(FACET_DEB, start + at * MS);
            if !schedule.take(start + at * MS).is_empty() {
                looks.push(at);
            }
        }
        assert_eq!(looks, [1_500, 3_010]);
    }

    #[test]
    fn everything_is_swept_with_jitter_and_what_has_no_file_more_often() {
        let (mut schedule, start) = swept();
        let (mut counts, mut now) = (BTreeMap::new(), start);
        while now < start + Duration::from_secs(6_000) {
            now = schedule.due().unwrap();
            for facet in schedule.take(now) {
                *counts.entry(facet).or_insert(0) += 1;
            }
        }
        for (facet, count) in counts {
            let expected = if [FACET_DEB, FACET_SYSTEM].contains(&facet) { 9..=11 } else { 91..=110 };
            assert!(expected.contains(&count), "{facet} {count}");
        }
        let other = Schedule::new(start, 8);
        let (mut one, mut two) = (Schedule::new(start, 7), other);
        one.take(start);
        two.take(start);
        assert_ne!(one.due(), two.due());
    }
}
