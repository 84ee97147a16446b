//! Many hosts, virtual time, seeded faults; and what one liar can do.

mod liars;
mod lists;
mod network;
mod returns;
mod spread;

use std::{collections::BTreeMap, time::Duration};

use super::{Effect, Event, Machine};
use crate::{
    authority::sample::{NOW, later},
    replica::{Item, Kept, Tip, first_hour},
    sync::{Cursor, Message, Part, SYNC_VERSION, Sum, returns::RETRY_AFTER},
    time::Timestamp,
    wire::Bytes,
};
use network::{Dice, Network, World, id, item_id, kind};

// ---- many hosts

/// One run: submits, cuts, restarts, islands; then calm. Panics with what does not hold.
fn storm(seed: u64) {
    let mut dice = Dice::new(seed ^ 0xabcd);
    let hosts = 4 + dice.below(6);
    let mut net = Network::new(u8::try_from(hosts).unwrap(), seed);
    // The last one has no address, and one link at a time.
    let lonely = hosts - 1;
    net.nodes[lonely].dials_only = true;
    let mut entries = Vec::new();
    let mut orders: Vec<(crate::identity::EntryId, usize, Vec<usize>)> = Vec::new();
    let mut heads = vec![0_u64; hosts];
    for second in 0..90_u64 {
        // Who has few links makes one more, as routing would.
        for at in 0..hosts {
            let enough = if at == lonely { 1 } else { 2 };
            if net.degree(at) < enough && dice.one_in(2) {
                net.link(at, dice.below(hosts - 1));
            }
        }
        let host = dice.below(hosts);
        match dice.below(12) {
            0 => {
                if let Some((a, b)) = net.links().get(dice.below(hosts)).copied() {
                    net.cut(a, b);
                }
            }
            1 if second < 70 => net.stop(host),
            2 | 3 if !net.nodes[host].alive => net.start(host),
            4 => {
                let half = dice.below(hosts);
                net.island = (0..hosts).map(|at| usize::from(at < half)).collect();
                for (a, b) in net.links() {
                    if net.island[a] != net.island[b] {
                        net.cut(a, b);
                    }
                }
            }
            5 => net.island = vec![0; hosts],
            6 | 7 if net.nodes[host].alive => {
                heads[host] += 1;
                let item = net.world.head(host, heads[host]);
                net.submit(host, item);
            }
            8 | 9 if net.nodes[host].alive => {
                let roster: Vec<usize> = (0..hosts).filter(|_| !dice.one_in(3)).collect();
                let keepers = [host, (host + 1) % hosts, (host + 2) % hosts];
                let item = net.world.order(second, &roster, &keepers);
                let order = net.submit(host, item);
                entries.push(order);
                orders.push((order, host, roster));
            }
            _ => {}
        }
        net.run(1);
    }
    // Calm: everybody is back, and links are made until all are connected.
    net.island = vec![0; hosts];
    for at in 0..hosts {
        if !net.nodes[at].alive {
            net.start(at);
        }
    }
    for at in 0..hosts {
        net.link(at, (at + 1) % hosts);
    }
    let same = net.until(180, |net| {
        net.digests().len() == 1
            && net.nodes.iter().all(|node| entries.iter().all(|entry| node.replica.holds(entry)))
    });
    assert!(same, "seed {seed}: replicas differ after all was healed: {}", net.differences());
    net.until(1200, |net| orders.iter().all(|(order, first, roster)| net.is_home(*order, *first, roster)));
    for (order, first, roster) in &orders {
        let missing: Vec<_> = roster.iter().filter(|host| !net.is_home(*order, *first, &[**host])).collect();
        assert!(missing.is_empty(), "seed {seed}: results of {missing:?} on {order} did not get to {first}");
    }
    // And then silence, but for pings.
    net.run(4000);
    net.sent.clear();
    net.run(100);
    let links = net.links().len();
    for (kind, count) in &net.sent {
        let bound = if matches!(*kind, "ping" | "pong") { links * 11 } else { 0 };
        assert!(*count <= bound, "seed {seed}: {count} {kind} on {links} idle links in 100 s");
    }
}

/// Seeds of runs that failed once stand first.
#[test]
fn whatever_was_cut_everybody_has_everything_afterwards_and_then_it_is_quiet() {
    let seeds: Vec<u64> = match std::env::var("MUSTER_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").unwrap();
            (from.parse().unwrap()..to.parse().unwrap()).collect()
        }
        Err(_) => (0..24).collect(),
    };
    for seed in seeds {
        storm(seed);
    }
}

/// A chain 0 - 1 - … of so many hosts.
fn chain(hosts: u8) -> Network {
    let mut net = Network::new(hosts, 7);
    for at in 1..usize::from(hosts) {
        net.link(at - 1, at);
    }
    net.run(1);
    net
}

#[test]
fn a_result_comes_home_over_hosts_that_only_carry_it_and_so_does_running() {
    let mut net = chain(6);
    for node in &mut net.nodes {
        node.dials_only = true;
    }
    let item = net.world.order(1, &[5], &[0]);
    let order = net.submit(0, item);
    assert!(net.until(5, |net| net.kept(0, order, &[5])));
    assert!(net.nodes[0].seen_running.contains(&(order, id(5))));
    assert!((1..5).all(|at| net.nodes[at].kept.is_empty()), "who only carries keeps nothing");
    net.run(5);
    assert_eq!(net.sent("reports"), 5);
    assert!(net.settled(order, &[5]));
}

#[test]
fn a_lost_settled_leads_to_a_repeat_that_is_settled() {
    let mut net = chain(2);
    net.loses = |message| matches!(message, Message::Settled { .. });
    let item = net.world.order(1, &[1], &[0]);
    let order = net.submit(0, item);
    net.run(5);
    assert!(net.kept(0, order, &[1]) && !net.settled(order, &[1]));
    net.loses = |_| false;
    assert!(net.until(15, |net| net.settled(order, &[1])));
}

#[test]
fn while_the_first_keeper_is_away_another_keeps_and_hands_over_when_it_is_back() {
    let mut net = Network::new(4, 1);
    for at in 1..4 {
        net.link(0, at);
        net.link(at, 1 + at % 3);
    }
    net.run(1);
    let item = net.world.order(1, &[2, 3], &[0, 1]);
    net.loses = |message| matches!(message, Message::Reports { .. });
    let order = net.submit(0, item);
    net.run(2);
    net.stop(0);
    net.loses = |_| false;
    assert!(net.until(60, |net| net.settled(order, &[2, 3])), "the second keeper is enough");
    assert!(net.kept(1, order, &[2, 3]) && net.nodes[0].kept.is_empty());
    // The keeper restarts, too, before the first one is back, and finds it by itself.
    net.stop(1);
    net.run(1);
    net.start(1);
    net.link(1, 2);
    net.start(0);
    assert!(net.until(90, |net| net.kept(0, order, &[2, 3])));
    net.run(5);
    net.sent.clear();
    net.run(200);
    assert_eq!(net.sent("reports"), 0, "what was handed over is owed no more");
}

#[test]
fn two_that_will_never_agree_exchange_more_and_more_rarely() {
    let mut net = chain(2);
    let item = net.world.order(1, &[], &[]);
    net.nodes[1].refuses.insert(item_id(&item));
    net.submit(0, item);
    net.run(60);
    net.sent.clear();
    net.run(3600);
    let rounds = 3600 / 160 + 5;
    assert!(net.sent("tips") <= 2 * rounds, "{} tips in an hour", net.sent("tips"));
    assert!(net.sent("items") <= rounds, "{} items in an hour", net.sent("items"));
    // What is new reaches it all the same, and so does what it refused once it does not.
    let head = net.world.head(0, 1);
    let head = net.submit(0, head);
    net.run(1);
    assert!(net.nodes[1].replica.holds(&head));
    net.nodes[1].refuses.clear();
    assert!(net.until(200, |net| net.digests().len() == 1));
}

#[test]
fn a_new_host_is_filled_and_does_not_tell_its_neighbours_what_they_told_it() {
    let mut net = Network::new(8, 3);
    for at in 1..7 {
        net.link(at - 1, at);
    }
    net.run(1);
    for nonce in 0..300 {
        let item = net.world.order(nonce, &[], &[]);
        net.submit(0, item);
    }
    for host in 0..7 {
        let item = net.world.head(host, 1);
        net.submit(host, item);
    }
    assert!(net.until(60, |net| net.nodes[6].replica.entries() == net.nodes[0].replica.entries()));
    net.run(30);
    for at in 0..4 {
        net.link(7, at);
    }
    net.sent.clear();
    assert!(net.until(5, |net| net.digests().len() == 1));
    // One answer of each neighbour: a message or two. None from the new host.
    assert!(net.sent("items") <= 8, "{} messages of entries", net.sent("items"));
}

#[test]
fn circles_of_ways_carry_a_report_once() {
    // 0, 1, 2 each think that the next one leads to the keeper, which is away.
    let mut net = Network::new(5, 1);
    let item = net.world.order(1, &[3], &[4]);
    net.nodes[3].refuses.insert(item_id(&item));
    for at in 0..3 {
        let entry = net.world.verify(&item).unwrap();
        net.nodes[at].replica.merge(entry, &[]).unwrap();
    }
    for (a, b) in [(0, 1), (1, 2), (2, 0), (3, 0)] {
        net.link(a, b);
    }
    net.run(1);
    for at in 0..3 {
        let items = vec![(item_id(&item), item.clone())];
        net.handle(at, Event::Merged { from: Some(id((at + 1) % 3)), items });
    }
    net.sent.clear();
    let report = net.world.report(item_id(&item), 3);
    net.handle(0, Event::Message(id(3), Message::Reports { reports: vec![report] }));
    let running = Message::Running { order: item_id(&item), hosts: vec![id(3)] };
    net.handle(0, Event::Message(id(3), running));
    net.run(60);
    assert_eq!((net.sent("reports"), net.sent("running")), (3, 3));
    // Nor does word of its keeping run in circles.
    let kept = net.world.report(item_id(&item), 3).kept();
    let receipt = Bytes::from(net.world.receipt(4, &[kept]).bytes());
    net.handle(0, Event::Message(id(1), Message::Settled { receipt }));
    net.run(60);
    assert!((1..=6).contains(&net.sent("settled")), "{}", net.sent("settled"));
}

// ---- one machine, and what a neighbour can do to it

struct One {
    world: World,
    machine: Machine,
    replica: crate::replica::Replica,
    now: Timestamp,
}

impl One {
    /// Host 0, with neighbours that said hello and hold the same.
    fn with(neighbours: &[usize]) -> Self {
        let world = World::new(8);
        let replica = world.replica();
        let mut one = Self { machine: Machine::new(id(0), [0; 8]), replica, now: NOW, world };
        for peer in neighbours {
            one.up(*peer);
        }
        one
    }

    fn up(&mut self, peer: usize) -> Vec<Effect> {
        let mut effects = self.event(Event::Up(id(peer)));
        effects.extend(self.says(peer, self.hello()));
        effects
    }

    /// The hello of one that holds the same and is new.
    fn hello(&self) -> Message {
        let hour = first_hour(self.now);
        let sum = Sum { hour, roots: self.replica.roots(hour) };
        Message::Hello { version: SYNC_VERSION, here: Cursor { feed: [9; 8], lsn: 1 }, since: None, sum }
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        self.machine.handle(event, self.now, &self.replica)
    }

    fn says(&mut self, peer: usize, message: Message) -> Vec<Effect> {
        self.event(Event::Message(id(peer), message))
    }

    fn settled(&self, keeper: usize, kept: &[Kept]) -> Message {
        Message::Settled { receipt: Bytes::from(self.world.receipt(keeper, kept).bytes()) }
    }

    fn takes(&mut self, from: usize, item: &Item) -> Vec<Effect> {
        let entry = self.world.verify(item).unwrap();
        self.replica.merge(entry, &item.facets).unwrap();
        self.event(Event::Merged { from: Some(id(from)), items: vec![(item_id(item), item.clone())] })
    }

    /// Ticks once a second; what came of it.
    fn pass(&mut self, seconds: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..seconds {
            self.now = self.now.after(Duration::from_secs(1));
            effects.extend(self.event(Event::Tick));
            // They answer pings, or they would be cut off.
            let peers: Vec<_> = self.machine.neighbours().collect();
            for peer in peers {
                effects.extend(self.event(Event::Moves(peer)));
            }
        }
        effects
    }
}

fn reports_to(effects: &[Effect]) -> Vec<usize> {
    let to = |effect: &Effect| match effect {
        Effect::Send(peer, Message::Reports { .. }) => (0..8).find(|at| id(*at) == *peer),
        _ => None,
    };
    effects.iter().filter_map(to).collect()
}

#[test]
fn only_a_keeper_that_the_order_names_settles_a_result_and_only_the_one_it_keeps() {
    let mut one = One::with(&[1, 2]);
    let item = one.world.order(1, &[0], &[7, 6]);
    let order = item_id(&item);
    one.takes(1, &item);
    let report = one.world.report(order, 0);
    assert_eq!(reports_to(&one.event(Event::Results(vec![report.clone()]))), [1], "the way the order came");
    let said = one.settled(1, &[report.kept()]);
    assert_eq!(one.says(1, said), [], "the neighbour's own word");
    let said = one.settled(7, &[Kept { record: [0; 32], ..report.kept() }]);
    assert_eq!(one.says(1, said), [], "another record");
    let Message::Settled { receipt: Bytes(mut altered) } = one.settled(7, &[report.kept()]) else { panic!() };
    *altered.last_mut().unwrap() ^= 1;
    let altered = one.says(1, Message::Settled { receipt: Bytes(altered) });
    assert!(matches!(altered[..], [Effect::Shun(..)]));
    assert_eq!(one.machine.returns().unsettled(), 1);
    let said = one.settled(6, &[report.kept()]);
    assert_eq!(one.says(2, said), [Effect::Settle(order)], "by whatever way");
    assert_eq!(one.machine.returns().unsettled(), 0);
}

#[test]
fn a_new_link_to_a_keeper_is_used_at_once() {
    let mut one = One::with(&[1]);
    let item = one.world.order(1, &[0], &[7, 6]);
    one.takes(1, &item);
    let report = one.world.report(item_id(&item), 0);
    one.event(Event::Results(vec![report]));
    assert_eq!(reports_to(&one.up(6)), [6]);
}

/// Or that one's receipt settles it, and a crash before this host's own disk has it loses it for the issuer.
#[test]
fn what_this_host_keeps_for_the_issuer_is_not_offered_to_another_keeper() {
    let mut one = One::with(&[1]);
    let item = one.world.order(1, &[0], &[0, 6]);
    one.takes(1, &item);
    let report = one.world.report(item_id(&item), 0);
    assert_eq!(one.event(Event::Results(vec![report.clone()])), [Effect::Keep(vec![report])]);
    assert!(reports_to(&one.up(6)).is_empty());
}

#[test]
fn a_receipt_goes_on_towards_the_host_once_and_never_back() {
    let mut one = One::with(&[1, 2, 3]);
    let item = one.world.order(1, &[5], &[7]);
    let order = item_id(&item);
    one.takes(1, &item);
    let report = one.world.report(order, 5);
    assert_eq!(reports_to(&one.says(2, Message::Reports { reports: vec![report.clone()] })), [1]);
    let (forged, receipt) = (one.settled(3, &[report.kept()]), one.settled(7, &[report.kept()]));
    assert_eq!(one.says(2, forged), [], "3 is no keeper");
    assert_eq!(one.says(1, receipt.clone()), [Effect::Send(id(2), receipt.clone())]);
    assert_eq!(one.says(1, receipt), [], "once is enough");
    assert_eq!(one.machine.returns().way_to(order, id(5)), Some(id(2)));
}

#[test]
fn reports_for_no_known_order_or_no_host_of_it_or_too_long_ones_go_nowhere() {
    let mut one = One::with(&[1, 2]);
    let item = one.world.order(1, &[5], &[0]);
    let order = item_id(&item);
    let good = one.world.report(order, 5);
    assert_eq!(one.says(1, Message::Reports { reports: vec![good.clone()] }), []);
    one.takes(1, &item);
    let stray = one.world.report(order, 6);
    let long = crate::replica::Report { stdout: Some(Bytes(vec![b'x'; 5000])), ..good.clone() };
    let longer = crate::replica::Report { record: Bytes(vec![0; 100_000]), ..good.clone() };
    let reports = vec![stray, long, longer];
    assert_eq!(one.says(1, Message::Reports { reports }), []);
    assert_eq!(one.says(1, Message::Reports { reports: vec![good.clone()] }), [Effect::Keep(vec![good])]);
}

#[test]
fn tips_are_answered_a_few_times_however_often_they_come_and_however_often_the_stream_is_new() {
    let mut one = One::with(&[1]);
    let answers = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Send(_, Message::Items { .. }))).count()
    };
    let mut answered = 0;
    for _ in 0..50 {
        answered += answers(&one.says(1, Message::Tips { tip: Tip::nothing() }));
        one.event(Event::Down(id(1)));
        one.up(1);
    }
    assert!((1..=4).contains(&answered), "{answered}");
    one.pass(60);
    assert_eq!(answers(&one.says(1, Message::Tips { tip: Tip::nothing() })), 1, "later again");
}

#[test]
fn entries_that_are_never_taken_cost_a_few_checks_and_new_ones_as_many_as_come() {
    let mut one = One::with(&[1]);
    let checks = |effects: &[Effect]| {
        let of = |effect: &Effect| match effect {
            Effect::Merge(_, items) => items.len(),
            _ => 0,
        };
        effects.iter().map(of).sum::<usize>()
    };
    // Signed by nobody: each has another id.
    let good = one.world.order(1, &[], &[]);
    let at = good.entry.0.windows(16).position(|w| w[..8] == 1_u64.to_le_bytes()).unwrap();
    let forged = |round: u32| -> Vec<Item> {
        let forge = |n: u32| {
            let mut item = good.clone();
            item.entry.0[at..at + 4].copy_from_slice(&(round * 1000 + n).to_le_bytes());
            item
        };
        (0..1000).map(forge).collect()
    };
    let mut checked = 0;
    for round in 0..100 {
        checked += checks(&one.says(1, Message::Items { items: forged(round), part: Part::Pushed }));
    }
    assert!(checked <= 4096, "{checked} checks of 100000 forged entries");
    assert!(one.machine.throttled() >= 90_000);
    one.pass(100);
    let after = checks(&one.says(1, Message::Items { items: forged(0), part: Part::Pushed }));
    assert_eq!(after, 1000, "it may go on");
    // Somebody else is not touched by that, and what is new costs nothing.
    one.up(2);
    for n in 0..60 {
        let items: Vec<Item> = (0..100).map(|m| one.world.order(1000 + n * 100 + m, &[], &[])).collect();
        assert_eq!(
            checks(&one.says(2, Message::Items { items: items.clone(), part: Part::Pushed })),
            100,
            "after {n} hundred"
        );
        let new = items.into_iter().map(|item| (item_id(&item), item)).collect();
        one.event(Event::Merged { from: Some(id(2)), items: new });
    }
}

#[test]
fn a_host_that_publishes_without_end_is_slowed_down_and_others_are_not() {
    let mut one = One::with(&[1, 2]);
    let mut taken = 0;
    for sequence in 0..200 {
        let head = one.world.head(3, sequence);
        if !one.says(1, Message::Items { items: vec![head.clone()], part: Part::Pushed }).is_empty() {
            one.takes(1, &head);
            taken += 1;
        }
    }
    assert_eq!(taken, 30);
    let other = one.world.head(4, 1);
    assert_eq!(
        one.says(1, Message::Items { items: vec![other.clone()], part: Part::Pushed }),
        [Effect::Merge(id(1), vec![other.into()])]
    );
    one.pass(10);
    let newest = one.world.head(3, 999);
    assert_eq!(
        one.says(2, Message::Items { items: vec![newest.clone()], part: Part::Pushed }).len(),
        1,
        "later the newest is taken"
    );
}

#[test]
fn who_says_hello_twice_or_not_first_is_closed() {
    let mut one = One::with(&[1]);
    let hello = one.hello();
    assert!(matches!(one.says(1, hello)[..], [Effect::Close(..)]));
    one.event(Event::Up(id(2)));
    let ping = Message::Ping { nonce: 1, lsn: 0, hour: 0, root: [0; 16] };
    assert!(matches!(one.says(2, ping)[..], [Effect::Close(..)]));
    one.event(Event::Up(id(3)));
    let Message::Hello { here, since, sum, .. } = one.hello() else { panic!() };
    let hello = Message::Hello { version: SYNC_VERSION - 1, here, since, sum };
    assert!(matches!(one.says(3, hello)[..], [Effect::Close(..)]));
}

#[test]
fn a_clock_that_jumps_cuts_nobody_off_and_stops_no_ping_and_no_retry() {
    for jump in [3_600_000_i64, -3_600_000] {
        let mut one = One::with(&[1, 2, 3, 4, 5, 6]);
        let item = one.world.order(1, &[0], &[7]);
        one.takes(1, &item);
        let report = one.world.report(item_id(&item), 0);
        one.event(Event::Results(vec![report]));
        one.pass(5);
        one.now = Timestamp(one.now.0.checked_add_signed(jump).unwrap());
        let effects = one.event(Event::Tick);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Close(..))), "{jump}: {effects:?}");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for effect in one.pass(60) {
            if let Effect::Send(_, message) = effect {
                *counts.entry(kind(&message)).or_default() += 1;
            }
        }
        let lower = (1..7).filter(|peer| id(0) < id(*peer)).count();
        assert!(counts.get("ping").copied().unwrap_or(0) >= lower * 2, "{jump}: {counts:?}");
        assert!(counts.contains_key("reports"), "{jump}: {counts:?}");
    }
    assert!(RETRY_AFTER < Duration::from_secs(60));
}

#[test]
fn what_is_past_counts_for_nobody_however_the_clocks_differ() {
    let mut one = One::with(&[1]);
    let before = one.replica.clone();
    let item = one.world.order(1, &[], &[]);
    one.takes(1, &item);
    let day = 24 * 3600 * 1000;
    let asks = |one: &mut One, at: u64, hour: u64, holds: &crate::replica::Replica| {
        one.now = later(at);
        let root = holds.roots(hour).root();
        let said = one.says(1, Message::Ping { nonce: 1, lsn: 0, hour, root });
        let Some(Effect::Send(_, Message::Pong { sum, .. })) = said.first() else { panic!("{said:?}") };
        sum.is_none()
    };
    let now = first_hour(NOW);
    let held = one.replica.clone();
    assert!(asks(&mut one, 0, now, &held) && !asks(&mut one, 0, now, &before));
    // They are a day ahead, where the order is past: who lacks it lacks nothing.
    assert!(asks(&mut one, 0, now + 26, &before) && asks(&mut one, 0, now + 26, &held));
    // And here it is past, while they are behind: their hour is over here, and they are told which it is.
    assert!(!asks(&mut one, day + 7_200_000, now, &before));
    assert!(asks(&mut one, day + 7_200_000, now + 26, &before));
}
