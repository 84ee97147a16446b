//! The plan for one host's links.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{identity::HostId, time::Timestamp};

/// Fewer links than this are too few.
pub const LINKS_MIN: usize = 6;
/// More links than this are too many.
pub const LINKS_MAX: usize = 12;
/// Dials begun in one step: after each, what others dialled is looked at first.
const DIALS_A_STEP: usize = 3;
/// First wait before a host that could not be reached is tried again; doubles up to the longest.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(20);
/// So often one more random member is dialled, so that islands find each other.
const WANDER_EVERY: Duration = Duration::from_secs(600);
/// And so often while a partition is suspected; up to half as much again.
const WANDER_EVERY_SUSPECTING: Duration = Duration::from_secs(10);
/// How long what went wrong counts.
const SUSPECT_FOR: Duration = Duration::from_secs(60);
/// Dials whose outcomes are remembered. If half of them failed lately, many hosts cannot be reached.
const OUTCOMES_MAX: usize = 8;

/// A member that could be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Which.
    pub host: HostId,
    /// Whether an address of it is known.
    pub reachable: bool,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whom to dial.
    pub dial: Vec<HostId>,
    /// Which links to give up.
    pub drop: Vec<HostId>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    wait: Duration,
    again: Timestamp,
}

/// What is remembered between steps.
#[derive(Debug)]
pub struct Neighbours {
    me: HostId,
    dialling: BTreeSet<HostId>,
    failures: BTreeMap<HostId, Failure>,
    wander_at: Timestamp,
    suspecting: bool,
    lost: Vec<Timestamp>,
    outcomes: VecDeque<(Timestamp, bool)>,
}

impl Neighbours {
    /// Nothing tried yet.
    pub fn new(me: HostId, now: Timestamp) -> Self {
        Self {
            me,
            dialling: BTreeSet::new(),
            failures: BTreeMap::new(),
            wander_at: now.after(WANDER_EVERY),
            suspecting: false,
            lost: Vec::new(),
            outcomes: VecDeque::new(),
        }
    }

    /// A dial ended, or a link that was only just made came to nothing. What was reached may be dialled
    /// again at once; only [`Neighbours::proved`] makes it as good as new.
    pub fn dialled(&mut self, host: HostId, reached: bool, now: Timestamp, random: &mut impl FnMut() -> u64) {
        self.dialling.remove(&host);
        self.outcomes.push_back((now, reached));
        if self.outcomes.len() > OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        if reached {
            return;
        }
        let wait = self.failures.get(&host).map_or(RETRY_AFTER, |failure| failure.wait * 2);
        let wait = wait.min(RETRY_AFTER_MAX);
        // Up to half as much again, so that hosts that lost each other at once do not dial in step.
        let jitter = Duration::from_millis(random() % (u64::try_from(wait.as_millis()).unwrap_or(1) / 2 + 1));
        self.failures.insert(host, Failure { wait, again: now.after(wait + jitter) });
    }

    /// A link has lasted.
    pub fn proved(&mut self, host: &HostId) {
        self.failures.remove(host);
    }

    /// A link was lost that neither end gave up.
    pub fn lost(&mut self, now: Timestamp) {
        self.lost.retain(|at| *at <= now && now.since(*at) < SUSPECT_FOR);
        if self.lost.len() < LINKS_MAX {
            self.lost.push(now);
        }
    }

    /// Whether so many neighbours were lost at once, or so many hosts cannot be reached, that this host may
    /// be cut off from most of the fleet.
    pub fn suspects_partition(&self, linked: usize, now: Timestamp) -> bool {
        let lately = |at: Timestamp| at <= now && now.since(at) < SUSPECT_FOR;
        let lost = self.lost.iter().filter(|at| lately(**at)).count();
        let failed = self.outcomes.iter().filter(|(at, reached)| lately(*at) && !reached).count();
        (lost >= 2 && lost * 4 >= linked) || failed * 2 >= OUTCOMES_MAX
    }

    /// Plans one step. `linked` says for each link whether this end dialled it.
    pub fn step(
        &mut self,
        members: &[Candidate],
        linked: &BTreeMap<HostId, bool>,
        now: Timestamp,
        random: &mut impl FnMut() -> u64,
    ) -> Plan {
        let mut plan = Plan::default();
        // Nothing waits longer because the clock was set back.
        for failure in self.failures.values_mut() {
            failure.again = failure.again.min(now.after(failure.wait * 2));
        }
        let free = |host: &HostId, this: &Self| {
            *host != this.me && !linked.contains_key(host) && !this.dialling.contains(host)
        };
        let may = |host: &HostId, this: &Self| {
            free(host, this) && this.failures.get(host).is_none_or(|failure| failure.again <= now)
        };
        // The successor: the next id that is linked or may be tried now. One that failed has its turn again
        // when its wait is over, so that the ring closes when it is back.
        let mut ring: Vec<HostId> =
            members.iter().filter(|m| m.reachable && m.host != self.me).map(|m| m.host).collect();
        ring.sort_unstable();
        let start = ring.partition_point(|host| *host < self.me);
        let after = if start < ring.len() { start } else { 0 };
        ring.rotate_left(after);
        let held = ring.iter().find(|host| linked.contains_key(*host)).copied();
        let successor = ring
            .iter()
            .find(|host| linked.contains_key(*host) || self.dialling.contains(*host) || may(host, self))
            .copied();
        if let Some(successor) = successor
            && may(&successor, self)
        {
            plan.dial.push(successor);
        }
        let mut others: Vec<HostId> =
            ring.iter().filter(|host| may(host, self) && !plan.dial.contains(host)).copied().collect();
        let mut pick = |plan: &mut Plan| {
            if others.is_empty() {
                return;
            }
            let at = usize::try_from(random() % others.len() as u64).unwrap_or(0);
            plan.dial.push(others.swap_remove(at));
        };
        let coming = linked.len() + self.dialling.len();
        while coming + plan.dial.len() < LINKS_MIN && plan.dial.len() < DIALS_A_STEP {
            let before = plan.dial.len();
            pick(&mut plan);
            if plan.dial.len() == before {
                break;
            }
        }
        // Jitter, so that hosts that were cut off together do not dial together.
        let suspecting = self.suspects_partition(linked.len(), now);
        let every = if suspecting { WANDER_EVERY_SUSPECTING } else { WANDER_EVERY };
        let longest = every + every / 2;
        if suspecting && !self.suspecting {
            self.wander_at = self.wander_at.min(now.after(every));
        }
        self.suspecting = suspecting;
        self.wander_at = self.wander_at.min(now.after(longest));
        if self.wander_at <= now {
            if linked.len() <= LINKS_MAX {
                pick(&mut plan);
            }
            let jitter = random() % (u64::try_from(every.as_millis()).unwrap_or(1) / 2 + 1);
            self.wander_at = now.after(every + Duration::from_millis(jitter));
        }
        self.dialling.extend(plan.dial.iter().copied());
        // Only what this end dialled is given up: the other end may have no other way.
        let mut spare: Vec<HostId> = linked
            .iter()
            .filter(|(host, ours)| **ours && Some(**host) != held)
            .map(|(host, _)| *host)
            .collect();
        for _ in LINKS_MAX..linked.len() {
            if spare.is_empty() {
                break;
            }
            let at = usize::try_from(random() % spare.len() as u64).unwrap_or(0);
            plan.drop.push(spare.swap_remove(at));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8) -> HostId {
        let mut id = [0; 32];
        id[0] = number;
        HostId(id)
    }

    fn members(count: u8) -> Vec<Candidate> {
        (0..count).map(|number| Candidate { host: host(number), reachable: true }).collect()
    }

    fn dice() -> impl FnMut() -> u64 {
        let mut state = 7_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        }
    }

    /// Lets `count` hosts plan and dial until nobody wants more; returns the links.
    fn settle(count: u8) -> Vec<BTreeMap<HostId, bool>> {
        let members = members(count);
        let mut random = dice();
        let mut plans: Vec<Neighbours> =
            (0..count).map(|number| Neighbours::new(host(number), Timestamp(0))).collect();
        let mut links = vec![BTreeMap::new(); usize::from(count)];
        for second in 0..30 {
            let now = Timestamp(second * 1000);
            for number in 0..count {
                let me = usize::from(number);
                let plan = plans[me].step(&members, &links[me], now, &mut random);
                for peer in plan.dial {
                    plans[me].dialled(peer, true, now, &mut random);
                    links[me].insert(peer, true);
                    links[usize::from(peer.0[0])].entry(host(number)).or_insert(false);
                }
                for peer in plan.drop {
                    links[me].remove(&peer);
                    links[usize::from(peer.0[0])].remove(&host(number));
                }
            }
        }
        links
    }

    #[test]
    fn every_host_ends_with_six_to_twelve_links_and_its_successor() {
        let links = settle(100);
        for (number, linked) in links.iter().enumerate() {
            assert!((LINKS_MIN..=LINKS_MAX + 2).contains(&linked.len()), "{number}: {}", linked.len());
            let successor = host(u8::try_from((number + 1) % 100).unwrap());
            assert!(linked.contains_key(&successor), "{number} lacks its successor");
        }
        let degrees: usize = links.iter().map(BTreeMap::len).sum();
        assert!(degrees <= 100 * 10, "{degrees} ends of links are more than needed");
    }

    #[test]
    fn a_small_fleet_is_linked_all_to_all() {
        for (number, linked) in settle(5).iter().enumerate() {
            assert_eq!(linked.len(), 4, "{number}");
        }
    }

    #[test]
    fn who_cannot_be_reached_is_walked_past_and_tried_again_later_and_later() {
        let (members, linked) = (members(3), BTreeMap::new());
        let mut random = dice();
        let mut plan = Neighbours::new(host(0), Timestamp(0));
        let mut now = Timestamp(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let before = now;
            while !plan.step(&members, &linked, now, &mut random).dial.contains(&host(1)) {
                now = now.after(Duration::from_millis(100));
                plan.dialled(host(2), true, now, &mut random);
                assert!(now.since(before) < Duration::from_secs(60), "not tried within 60 s");
            }
            waits.push(now.since(before));
            plan.dialled(host(1), false, now, &mut random);
        }
        assert!(waits[7] > waits[1], "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(31)), "{waits:?}");
    }

    #[test]
    fn a_host_without_addresses_is_never_dialled() {
        let mut members = members(2);
        members[1].reachable = false;
        let mut plan = Neighbours::new(host(0), Timestamp(0));
        assert_eq!(plan.step(&members, &BTreeMap::new(), Timestamp(0), &mut dice()), Plan::default());
    }

    /// Every host dials at random and gives up what is too much, for so long; at the end nothing moves any
    /// more but what the wandering does.
    #[test]
    fn giving_up_and_dialling_again_settles_and_nobody_is_left_alone() {
        let members = members(40);
        let mut random = dice();
        let mut plans: Vec<Neighbours> = (0..40).map(|n| Neighbours::new(host(n), Timestamp(0))).collect();
        let mut links: Vec<BTreeMap<HostId, bool>> = vec![BTreeMap::new(); 40];
        // One host that everybody dialled, and that dialled everybody it could.
        for n in 1..40_u8 {
            let dialled_by_it = n % 2 == 0;
            links[0].insert(host(n), dialled_by_it);
            links[usize::from(n)].insert(host(0), !dialled_by_it);
        }
        let mut late = 0;
        for second in 0..590 {
            let now = Timestamp(second * 1000);
            for me in 0..40 {
                let plan = plans[me].step(&members, &links[me], now, &mut random);
                if second > 60 {
                    late += plan.dial.len() + plan.drop.len();
                }
                for peer in plan.dial {
                    plans[me].dialled(peer, true, now, &mut random);
                    links[me].insert(peer, true);
                    links[usize::from(peer.0[0])].entry(members[me].host).or_insert(false);
                }
                for peer in plan.drop {
                    links[me].remove(&peer);
                    links[usize::from(peer.0[0])].remove(&members[me].host);
                }
            }
        }
        assert_eq!(late, 0, "dials and drops after the first minute");
        assert!(links.iter().all(|linked| linked.len() >= LINKS_MIN));
    }

    #[test]
    fn a_successor_that_was_away_is_taken_again_when_it_is_back() {
        let members = members(10);
        let mut random = dice();
        let mut plan = Neighbours::new(host(0), Timestamp(0));
        plan.dialled(host(1), false, Timestamp(0), &mut random);
        let linked: BTreeMap<HostId, bool> = (2..9).map(|n| (host(n), true)).collect();
        let tried = (0..60).map(Timestamp).any(|second| {
            let now = Timestamp(second.0 * 1000);
            plan.step(&members, &linked, now, &mut random).dial.contains(&host(1))
        });
        assert!(tried, "enough links are no reason to leave the ring open");
    }

    #[test]
    fn many_that_cannot_be_reached_make_a_host_look_for_another_island_and_a_set_clock_does_not_stop_it() {
        let members = members(30);
        let mut random = dice();
        let start = Timestamp(10_000_000);
        let mut plan = Neighbours::new(host(0), start);
        let linked: BTreeMap<HostId, bool> = (1..9).map(|n| (host(n), true)).collect();
        assert!(!plan.suspects_partition(linked.len(), start));
        for n in 20..24 {
            plan.dialled(host(n), false, start, &mut random);
        }
        assert!(plan.suspects_partition(linked.len(), start));
        let mut dials = |from: Timestamp| {
            let mut dials = 0;
            for second in 0..30 {
                let now = from.after(Duration::from_secs(second));
                for peer in plan.step(&members, &linked, now, &mut random).dial {
                    dials += 1;
                    plan.dialled(peer, false, now, &mut random);
                }
            }
            dials
        };
        assert!((1..=4).contains(&dials(start)));
        // The clock was an hour ahead.
        assert!(dials(Timestamp(start.0 - 3_600_000)) <= 4);
        plan.dialled(host(9), false, Timestamp(start.0 - 3_600_000), &mut random);
        let few = BTreeMap::new();
        let now = Timestamp(start.0 - 3_590_000);
        assert!(!plan.step(&members, &few, now, &mut random).dial.is_empty());
    }

    #[test]
    fn links_that_come_to_nothing_are_tried_more_and_more_rarely_until_one_lasts() {
        let members = members(2);
        let mut random = dice();
        let mut plan = Neighbours::new(host(0), Timestamp(0));
        let mut dials = Vec::new();
        for second in 0..300 {
            let now = Timestamp(second * 1000);
            if !plan.step(&members, &BTreeMap::new(), now, &mut random).dial.is_empty() {
                dials.push(second);
                plan.dialled(host(1), true, now, &mut random);
                plan.dialled(host(1), false, now, &mut random);
            }
        }
        assert!((8..30).contains(&dials.len()), "{dials:?}");
        assert!(dials.windows(2).all(|pair| pair[1] - pair[0] <= 31), "{dials:?}");
        plan.proved(&host(1));
        plan.lost(Timestamp(300_000));
        let again = plan.step(&members, &BTreeMap::new(), Timestamp(300_000), &mut random);
        assert_eq!(again.dial, [host(1)], "one that lasted is dialled again at once");
    }
}
