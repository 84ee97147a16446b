//! The plan for one host's links.

use std::{
    collections::{BTreeMap, BTreeSet},
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
/// And so often while a partition is suspected.
const WANDER_EVERY_SUSPECTING: Duration = Duration::from_secs(10);

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
    wandered: Timestamp,
    lost: Vec<Timestamp>,
}

impl Neighbours {
    /// Nothing tried yet.
    pub fn new(me: HostId, now: Timestamp) -> Self {
        Self { me, dialling: BTreeSet::new(), failures: BTreeMap::new(), wandered: now, lost: Vec::new() }
    }

    /// A dial ended.
    pub fn dialled(&mut self, host: HostId, reached: bool, now: Timestamp, random: &mut impl FnMut() -> u64) {
        self.dialling.remove(&host);
        if reached {
            self.failures.remove(&host);
            return;
        }
        let wait = self.failures.get(&host).map_or(RETRY_AFTER, |failure| failure.wait * 2);
        let wait = wait.min(RETRY_AFTER_MAX);
        // Up to half as much again, so that hosts that lost each other at once do not dial in step.
        let jitter = Duration::from_millis(random() % (u64::try_from(wait.as_millis()).unwrap_or(1) / 2 + 1));
        self.failures.insert(host, Failure { wait, again: now.after(wait + jitter) });
    }

    /// A link was lost.
    pub fn lost(&mut self, now: Timestamp) {
        self.lost.retain(|at| now.since(*at) < Duration::from_secs(60));
        if self.lost.len() < LINKS_MAX {
            self.lost.push(now);
        }
    }

    /// Whether so many neighbours were lost at once that this host may be cut off from most of the fleet.
    pub fn suspects_partition(&self, linked: usize, now: Timestamp) -> bool {
        let lost = self.lost.iter().filter(|at| now.since(**at) < Duration::from_secs(60)).count();
        lost >= 2 && lost * 4 >= linked
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
        let free = |host: &HostId, this: &Self| {
            *host != this.me && !linked.contains_key(host) && !this.dialling.contains(host)
        };
        let may = |host: &HostId, this: &Self| {
            free(host, this) && this.failures.get(host).is_none_or(|failure| failure.again <= now)
        };
        // The successor: the next reachable id that does not keep failing.
        let mut ring: Vec<HostId> =
            members.iter().filter(|m| m.reachable && m.host != self.me).map(|m| m.host).collect();
        ring.sort_unstable();
        let start = ring.partition_point(|host| *host < self.me);
        let after = if start < ring.len() { start } else { 0 };
        ring.rotate_left(after);
        let successor = ring
            .iter()
            .find(|host| linked.contains_key(*host) || !self.failures.contains_key(*host))
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
        let every =
            if self.suspects_partition(linked.len(), now) { WANDER_EVERY_SUSPECTING } else { WANDER_EVERY };
        if now.since(self.wandered) >= every {
            self.wandered = now;
            if linked.len() <= LINKS_MAX {
                pick(&mut plan);
            }
        }
        self.dialling.extend(plan.dial.iter().copied());
        // Only what this end dialled is given up: the other end may have no other way.
        let mut spare: Vec<HostId> = linked
            .iter()
            .filter(|(host, ours)| **ours && Some(**host) != successor)
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
}
