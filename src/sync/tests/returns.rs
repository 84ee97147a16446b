//! Results of large rosters: combined, gathered, and on another way when one is gone.

use std::collections::BTreeSet;

use super::network::{Network, World, id, item_id};
use crate::{
    authority::sample::{NOW, later},
    identity::{EntryId, HostId},
    replica::{Entry, Replica, Report},
    sync::{Message, Returned, Returns, unpack, unpack_places},
    time::Timestamp,
};

const LARGE: usize = 80;
const SMALL: usize = 20;

/// Host 3, whose neighbours 1 and 2 delivered an order of host 0, the first one first, and 4 got it from it.
struct Alone {
    world: World,
    replica: Replica,
    order: EntryId,
    returns: Returns,
}

const LINKED: [usize; 3] = [1, 2, 4];

fn linked(hosts: &[usize]) -> Vec<HostId> {
    let mut linked: Vec<HostId> = hosts.iter().map(|at| id(*at)).collect();
    linked.sort();
    linked
}

impl Alone {
    fn new(roster: usize) -> Self {
        let mut world = World::new(u8::try_from(LARGE).unwrap());
        let mut replica = world.replica();
        let item = world.order(1, &(0..roster).collect::<Vec<_>>(), &[0, 9]);
        let order = item_id(&item);
        let entry: Entry = world.verify(&item).unwrap();
        replica.merge(entry, &[]).unwrap();
        let mut returns = Returns::new(id(3));
        returns.comes_again(order, id(2));
        returns.came(order, id(1));
        Self { world, replica, order, returns }
    }

    fn own(&mut self, now: Timestamp) -> Vec<Returned> {
        let report = self.world.report(self.order, 3);
        self.returns.own(vec![report], now, &self.replica, &linked(&LINKED))
    }

    /// The report of another comes from neighbour 4.
    fn brings(&mut self, of: usize, now: Timestamp) -> Vec<Returned> {
        let report = self.world.report(self.order, of);
        self.returns.reports(id(4), vec![report], now, &self.replica, &linked(&LINKED))
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Returned> {
        self.returns.tick(now, &self.replica, &linked(&LINKED))
    }

    /// Of whom results go where.
    fn goes(&self, returned: &[Returned]) -> BTreeSet<(usize, usize)> {
        let number = |host: &HostId| (0..LARGE).find(|at| id(*at) == *host).unwrap();
        let sent = returned.iter().filter_map(|one| match one {
            Returned::Send(to, Message::Reports { reports }) => Some((to, reports.clone())),
            Returned::Send(to, Message::Combined { order, rows, .. }) => {
                let seats = self.replica.seats(order).unwrap();
                Some((to, unpack(*order, rows, &seats, &self.replica).unwrap()))
            }
            _ => None,
        });
        let pair = |(to, reports): (&HostId, Vec<Report>)| {
            let to = number(to);
            reports.iter().map(|report| (number(&report.host), to)).collect::<Vec<_>>()
        };
        sent.flat_map(pair).collect()
    }
}

fn reached(returned: &[Returned]) -> Vec<HostId> {
    returned
        .iter()
        .filter_map(|one| if let Returned::Reach(host) = one { Some(*host) } else { None })
        .collect()
}

#[test]
fn the_first_result_goes_at_once_and_what_comes_after_it_together_when_it_is_time() {
    let mut alone = Alone::new(LARGE);
    let first = alone.own(NOW);
    assert_eq!(alone.goes(&first), [(3, 1)].into());
    assert!(first.iter().any(|one| matches!(one, Returned::Wake(_))));
    for of in [4, 5, 6] {
        let returned = alone.brings(of, NOW);
        assert_eq!(alone.goes(&returned), [].into());
    }
    let woken = alone.returns.woken(later(1), &alone.replica);
    assert_eq!(alone.goes(&woken), [(4, 1), (5, 1), (6, 1)].into());
    assert_eq!(woken.iter().filter(|one| matches!(one, Returned::Send(..))).count(), 1, "{woken:?}");
}

#[test]
fn of_a_small_roster_each_goes_at_once_and_as_it_is() {
    let mut alone = Alone::new(SMALL);
    alone.own(NOW);
    for of in [4, 5, 6] {
        let returned = alone.brings(of, NOW);
        assert_eq!(alone.goes(&returned), [(of, 1)].into());
        assert!(matches!(&returned[..], [Returned::Send(_, Message::Reports { .. })]), "{returned:?}");
    }
    let works =
        alone.returns.running(Some(id(4)), alone.order, vec![id(7)], NOW, &alone.replica, &linked(&LINKED));
    let order = alone.order;
    let running = |host| Message::Running { order, hosts: vec![host] };
    assert_eq!(works, [Returned::Running(order, Vec::new()), Returned::Send(id(1), running(id(7)))][1..]);
}

#[test]
fn who_works_is_said_with_the_results_and_not_of_those_whose_results_came_in_the_meantime() {
    let mut alone = Alone::new(LARGE);
    let hosts = vec![id(4), id(5), id(6)];
    let returned =
        alone.returns.running(Some(id(4)), alone.order, hosts, NOW, &alone.replica, &linked(&LINKED));
    assert!(matches!(&returned[..], [Returned::Wake(_)]), "{returned:?}");
    alone.own(NOW);
    alone.brings(5, NOW);
    let again =
        alone.returns.running(Some(id(4)), alone.order, vec![id(8)], NOW, &alone.replica, &linked(&LINKED));
    assert_eq!(alone.goes(&again), [].into());
    let woken = alone.returns.woken(later(1), &alone.replica);
    let working: Vec<_> = woken
        .iter()
        .filter_map(|one| match one {
            Returned::Send(_, Message::Combined { working: Some(places), .. }) => Some(places),
            _ => None,
        })
        .collect();
    let seats = alone.replica.seats(&alone.order).unwrap();
    assert_eq!(working.len(), 1, "{woken:?}");
    assert_eq!(unpack_places(working[0], &seats).unwrap(), [id(8)]);
}

#[test]
fn when_a_way_is_gone_what_was_handed_over_it_takes_the_next_at_once_and_nobody_is_dialled() {
    for roster in [SMALL, LARGE] {
        let mut alone = Alone::new(roster);
        alone.own(NOW);
        alone.brings(4, NOW);
        alone.returns.woken(later(1), &alone.replica);
        // Not sent yet where the roster is large.
        alone.brings(5, later(1));
        let left = linked(&[2, 4]);
        let mut returned = alone.returns.unlinked(id(1), later(2), &alone.replica, &left);
        returned.extend(alone.returns.woken(later(3), &alone.replica));
        assert_eq!(alone.goes(&returned), [(3, 2), (4, 2), (5, 2)].into(), "{roster}");
        assert_eq!(reached(&returned), []);
        // The last way goes, too: what came from 4 cannot go back there, this host's own can.
        let returned = alone.returns.unlinked(id(2), later(4), &alone.replica, &linked(&[4]));
        assert_eq!(alone.goes(&returned), [(3, 4)].into(), "{roster}");
    }
}

#[test]
fn what_a_keeper_has_is_not_sent_again_when_its_way_is_gone() {
    let mut alone = Alone::new(LARGE);
    alone.own(NOW);
    alone.brings(4, NOW);
    alone.returns.woken(later(1), &alone.replica);
    let kept: Vec<_> = [3, 4].map(|host| alone.world.report(alone.order, host).kept()).into();
    let receipt = alone.world.receipt(0, &kept);
    let settled = alone.returns.settled(id(1), receipt.bytes(), &alone.replica).unwrap();
    assert!(settled.contains(&Returned::Settle(alone.order)), "{settled:?}");
    let returned = alone.returns.unlinked(id(1), later(2), &alone.replica, &linked(&[2, 4]));
    assert_eq!(alone.goes(&returned), [].into());
    assert_eq!(alone.returns.held(), 0);
}

#[test]
fn without_a_receipt_another_way_is_tried_first_and_keepers_of_large_rosters_later_and_each_host_in_its_turn()
{
    let mut small = Alone::new(SMALL);
    small.own(NOW);
    let returned = small.tick(later(2_000));
    assert_eq!((small.goes(&returned), reached(&returned)), ([(3, 2)].into(), vec![id(0)]));

    let mut large = Alone::new(LARGE);
    large.own(NOW);
    let returned = large.tick(later(3_000));
    assert_eq!((large.goes(&returned), reached(&returned)), ([(3, 2)].into(), vec![]));
    let second = (3..600).find(|second| !reached(&large.tick(later(second * 1_000 + 999))).is_empty());
    assert!(second.is_some_and(|second| second >= 12), "{second:?}");
}

#[test]
fn results_of_a_large_roster_come_home_over_hosts_that_combine_them() {
    let mut net = Network::new(u8::try_from(LARGE).unwrap(), 5);
    for at in 1..LARGE {
        net.link(at, (at - 1) / 3);
        net.nodes[at].dials_only = true;
    }
    net.run(1);
    let all: Vec<usize> = (0..LARGE).collect();
    let item = net.world.order(1, &all, &[0]);
    let order = net.submit(0, item);
    assert!(net.until(5, |net| net.is_home(order, 0, &all)), "{:?}", net.sent);
    assert_eq!((net.sent("reports"), net.sent("running")), (0, 0));
    let few = net.world.order(2, &all[..SMALL], &[0]);
    net.sent.clear();
    let order = net.submit(0, few);
    assert!(net.until(5, |net| net.is_home(order, 0, &all[..SMALL])));
    assert_eq!(net.sent("combined"), 0);
}
