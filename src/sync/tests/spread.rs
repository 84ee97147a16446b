//! What spreading costs: whole networks, counted in bytes, messages and entries that are judged.

use std::collections::BTreeMap;

use super::{
    Effect, Event, One,
    network::{Network, id, item_id},
};
use crate::{
    identity::HostId,
    replica::{FacetHash, HeadTips, Item, Packed, Table, Tables, first_hour},
    sync::{Message, Part},
};

/// A package list, and how it differs in a few places for every `changes`.
fn packages(image: usize, changes: usize) -> Vec<u8> {
    let row = |at: usize| {
        let version = if at * 7 % 1000 < changes { at + 1000 * changes } else { at * 31 % 977 };
        vec![format!("package-{image}-{at}"), format!("1.{version}-{}", at % 5), "amd64".to_owned()]
    };
    let columns = ["name", "version", "arch"].map(str::to_owned).to_vec();
    let rows = (0..700).map(row).collect();
    Tables { tables: vec![Table { name: "deb_packages".to_owned(), columns, rows }] }.canonical()
}

/// What agents publish: five small facets, and a package list after the base's.
fn head(net: &Network, host: usize, sequence: u64, changes: usize, base: Option<usize>) -> Item {
    let small = |name: &'static str| {
        let bytes = format!("{name} of {host}, which is a little longer than its name").into_bytes();
        let packed = Packed::alone(&bytes);
        (name, bytes, packed)
    };
    let list = packages(0, changes);
    let packed = match base {
        None => Packed::alone(&list),
        Some(base) => {
            let base = packages(0, base);
            Packed::against(&list, FacetHash::of(&base).half(), &base).unwrap()
        }
    };
    let mut facets = vec![("deb", list, packed)];
    facets.extend(["network", "node", "storage", "system"].map(small));
    net.world.head_with(host, sequence, &facets)
}

/// So many hosts, each linked to its three next ones on either side.
fn ring(hosts: u8) -> Network {
    let mut net = Network::new(hosts, 11);
    for at in 0..usize::from(hosts) {
        for step in [1, 2, 3] {
            net.link(at, (at + step) % usize::from(hosts));
        }
    }
    net.run(1);
    net
}

fn forget_counts(net: &mut Network) {
    net.sent.clear();
    net.received.clear();
    net.judged.clear();
    net.tips.clear();
}

#[test]
fn a_change_costs_every_host_hardly_more_than_the_head_and_the_facet_that_changed() {
    let mut net = ring(20);
    net.link(0, 10);
    net.link(5, 15);
    for host in 0..20 {
        let item = head(&net, host, 1, 0, None);
        net.submit(host, item);
    }
    assert!(net.until(60, |net| net.digests().len() == 1));
    net.run(30);
    for (round, author) in [3, 0, 12, 15].into_iter().enumerate() {
        forget_counts(&mut net);
        let item = head(&net, author, 2 + round as u64, 1 + round, Some(0));
        let head_bytes = item.entry.0.len();
        let changed = item.facets[0].weight();
        net.submit(author, item);
        for _ in 0..5 {
            net.run(1);
        }
        assert_eq!(net.digests().len(), 1, "round {round}");
        let bound = (head_bytes + changed) * 13 / 10;
        for host in (0..20).filter(|host| *host != author) {
            let upkeep: usize =
                ["ping", "pong"].iter().filter_map(|kind| net.received.get(&(host, kind))).sum();
            let bytes = net.received(host) - upkeep;
            assert!(bytes <= bound, "{host}: {bytes} of {bound}, {:?}", net.received);
        }
        assert_eq!(net.sent("items"), 19, "whole entries come once");
        assert!(net.judged.values().all(|times| *times == 1));
    }
}

#[test]
fn an_idle_link_costs_at_most_a_hundred_bytes_in_ten_seconds_however_much_is_held() {
    let mut net = Network::new(20, 5);
    for at in 1..20 {
        net.link(at - 1, at);
    }
    for host in 0..20 {
        let item = head(&net, host, 1, 0, None);
        net.submit(host, item);
    }
    assert!(net.until(60, |net| net.digests().len() == 1));
    net.run(60);
    forget_counts(&mut net);
    net.run(600);
    let bytes: usize = net.received.values().sum();
    assert!(bytes <= 19 * 60 * 100, "{} bytes a link in ten seconds", bytes / 19 / 60);
    assert!(bytes >= 19 * 59 * 40, "somebody looks");
    assert!(net.received.keys().all(|(_, kind)| matches!(*kind, "ping" | "pong")));
}

/// Two hosts that hold the same: 20 heads.
fn pair(seed: u64) -> Network {
    let mut net = Network::new(20, seed);
    for host in 0..20 {
        let item = head(&net, host, 1, 0, None);
        for at in [0, 1] {
            let entry = net.world.verify(&item).unwrap();
            net.nodes[at].replica.merge(entry, &item.facets).unwrap();
        }
    }
    net
}

/// Merges at one host what its neighbours do not hear of.
fn merge_alone(net: &mut Network, at: usize, item: &Item) {
    let entry = net.world.verify(item).unwrap();
    net.nodes[at].replica.merge(entry, &item.facets).unwrap();
}

#[test]
fn who_comes_back_is_told_only_what_came_meanwhile() {
    let mut net = pair(1);
    net.link(0, 1);
    net.run(30);
    net.cut(0, 1);
    for host in [2, 3] {
        let item = head(&net, host, 2, 1 + host, Some(0));
        merge_alone(&mut net, 0, &item);
    }
    let order = net.world.order(1, &[], &[]);
    merge_alone(&mut net, 1, &order);
    forget_counts(&mut net);
    net.link(0, 1);
    net.run(5);
    assert_eq!(net.digests_of(&[0, 1]).len(), 1);
    assert_eq!((net.sent("tips"), net.sent("told"), net.sent("want")), (0, 2, 2), "{:?}", net.sent);
    let judged: Vec<usize> = net.judged.values().copied().collect();
    assert_eq!(judged, [1, 1, 1]);
}

#[test]
fn who_starts_again_and_holds_the_same_says_hello_and_nothing_more() {
    let mut net = pair(2);
    net.link(0, 1);
    net.run(30);
    net.stop(1);
    net.run(1);
    net.start(1);
    forget_counts(&mut net);
    net.link(0, 1);
    net.run(5);
    // Both say who is up, once: presence is not kept.
    let notes = net.sent.remove("notes");
    // One of them may be pinged: when is a matter of their ids.
    assert_eq!(net.sent.remove("ping"), net.sent.remove("pong"));
    assert!(notes.is_some_and(|notes| notes <= 4), "{notes:?}");
    assert_eq!(net.sent, BTreeMap::from([("hello", 2)]));
}

#[test]
fn who_started_again_and_knows_the_same_members_finds_a_few_changes_by_places_alone() {
    let mut net = pair(3);
    for host in [4, 9, 13] {
        let item = head(&net, host, 2, host, Some(0));
        merge_alone(&mut net, 0, &item);
    }
    net.link(0, 1);
    net.run(5);
    assert_eq!(net.digests_of(&[0, 1]).len(), 1);
    assert_eq!(net.sent("tips"), 2);
    for tip in &net.tips {
        assert!(matches!(tip.heads, Some(HeadTips::Dense { .. })), "{tip:?}");
        assert_eq!((&tip.members, &tip.set, &tip.ops), (&None, &None, &None), "sections that are the same");
    }
    assert_eq!(net.judged.len(), 3);
    assert!(net.judged.iter().all(|((at, _), times)| *at == 1 && *times == 1));
}

#[test]
fn two_heads_at_one_place_are_found_by_whole_rows_and_one_stands() {
    let mut net = pair(4);
    let small = b"the same on both".to_vec();
    for at in [0, 1] {
        let facets = [("node", small.clone(), Packed::alone(&small))];
        let item = net.world.head_by(7, 5, at as u64, &facets);
        merge_alone(&mut net, at, &item);
    }
    net.link(0, 1);
    net.run(1);
    assert_eq!(net.digests_of(&[0, 1]).len(), 2, "places do not show it");
    assert!(net.until(120, |net| net.digests_of(&[0, 1]).len() == 1));
    assert!(net.tips.iter().any(|tip| matches!(tip.heads, Some(HeadTips::Full { .. }))));
    forget_counts(&mut net);
    net.run(400);
    assert_eq!(net.sent("tips"), 0, "and then it is quiet");
}

#[test]
fn an_empty_replica_is_filled_over_one_link_in_a_few_rounds_and_judges_everything_once() {
    let mut net = Network::new(101, 9);
    for host in 0..100 {
        let item = head(&net, host, 1, host % 10, (host % 10 > 0).then_some(0));
        if host == 0 {
            assert!(item.facets[0].weight() > 2048, "the base does not ride along");
        }
        merge_alone(&mut net, 0, &item);
    }
    for nonce in 0..300 {
        let item = net.world.order(nonce, &[], &[]);
        merge_alone(&mut net, 0, &item);
    }
    net.nodes[1].replica = crate::replica::Replica::new(net.world.fleet.authority());
    let entries = net.nodes[0].replica.entries();
    assert!(entries > 500);
    net.link(0, 1);
    let filled = net.until(20, |net| net.nodes[1].replica.entries() == entries);
    assert!(filled, "{} of {entries}; {:?}", net.nodes[1].replica.entries(), net.sent);
    assert_eq!(net.digests_of(&[0, 1]).len(), 1);
    let rounds = net.sent("tips") + net.sent("want");
    assert!(rounds <= 8, "{:?}", net.sent);
    assert!(net.judged.values().all(|times| *times == 1), "nothing twice");
    assert!(net.judged.keys().all(|(at, _)| *at == 1));
    // And the facets came once each, not once a head.
    let bytes = net.received(1);
    let held: usize = net.nodes[0].replica.all().iter().map(Item::weight).sum();
    assert!(bytes < held * 12 / 10, "{bytes} for {held}");
}

#[test]
fn a_new_host_with_many_neighbours_is_filled_by_one_of_them() {
    let mut net = Network::new(9, 13);
    for host in 0..8 {
        let item = head(&net, host, 1, host, (host > 0).then_some(0));
        for at in 0..8 {
            merge_alone(&mut net, at, &item);
        }
    }
    for nonce in 0..200 {
        let item = net.world.order(nonce, &[], &[]);
        for at in 0..8 {
            merge_alone(&mut net, at, &item);
        }
    }
    let held: usize = net.nodes[0].replica.all().iter().map(Item::weight).sum();
    for at in 0..8 {
        net.link(8, at);
    }
    assert!(net.until(30, |net| net.digests().len() == 1));
    net.run(30);
    let bytes = net.received(8);
    assert!(bytes < held * 13 / 10, "{bytes} for {held}");
    assert!(net.judged.values().all(|times| *times == 1));
}

#[test]
fn a_head_whose_base_is_not_here_is_fetched_with_it() {
    let mut net = Network::new(3, 17);
    let first = head(&net, 0, 1, 0, None);
    for at in [0, 1] {
        merge_alone(&mut net, at, &first);
    }
    net.link(0, 1);
    net.run(1);
    let second = head(&net, 1, 1, 9, Some(0));
    assert!(second.facets[0].weight() < 2048 && second.facets[0].base().is_some());
    merge_alone(&mut net, 1, &second);
    net.link(1, 2);
    // Whichever head comes first: the difference rides along, its base is asked for.
    assert!(net.until(10, |net| net.digests_of(&[1, 2]).len() == 1), "{:?}", net.sent);
    assert!(net.sent("facets") >= 1);
    let held = net.nodes[2].replica.facet(&id(1), "deb").unwrap();
    assert_eq!(held.1, packages(0, 9));
    assert!(net.judged.values().all(|times| *times == 1));
}

#[test]
fn when_the_one_that_was_asked_goes_away_the_next_one_delivers() {
    let mut net = Network::new(4, 19);
    for (a, b) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        net.link(a, b);
    }
    net.run(2);
    // Nobody delivers to 3 for now.
    net.loses = |message| matches!(message, Message::Want { .. });
    let item = head(&net, 0, 1, 0, None);
    for at in [1, 2] {
        merge_alone(&mut net, at, &item);
        let items = vec![(item_id(&item), item.clone())];
        net.handle(at, Event::Merged { from: Some(id(0)), items });
    }
    net.step();
    assert_eq!(net.sent("want"), 1, "one of the two is asked");
    net.loses = |_| false;
    let asked_first = net.wanted_from(3);
    net.cut(asked_first, 3);
    net.step();
    assert!(net.nodes[3].replica.holds(&item_id(&item)));
}

#[test]
fn a_head_that_nobody_can_judge_here_is_asked_for_a_few_times_and_not_for_ever() {
    let mut net = Network::new(2, 23);
    net.link(0, 1);
    net.run(1);
    let item = head(&net, 0, 1, 0, None);
    net.nodes[1].refuses.insert(item_id(&item));
    net.submit(0, item);
    net.run(600);
    let judged: usize = net.judged.iter().filter(|((at, _), _)| *at == 1).map(|(_, times)| times).sum();
    assert!((1..=10).contains(&judged), "{judged} times in ten minutes");
}

#[test]
fn many_changes_within_a_second_are_announced_together() {
    let mut net = ring(7);
    net.run(5);
    forget_counts(&mut net);
    for sequence in 1..=20 {
        let item = net.world.head(0, sequence);
        net.submit(0, item);
    }
    net.run(5);
    assert_eq!(net.digests().len(), 1);
    let told = net.sent("told");
    assert!(told < 7 * 6 * 6, "{told} announcements of 20 changes");
}

#[test]
fn orders_are_pushed_whole_and_heads_are_not() {
    let mut one = One::with(&[1, 2]);
    let order = one.world.order(1, &[], &[]);
    let entry = one.world.verify(&order).unwrap();
    one.replica.merge(entry, &[]).unwrap();
    let effects = one.event(Event::Merged { from: None, items: vec![(item_id(&order), order)] });
    let pushed =
        |effect: &&Effect| matches!(effect, Effect::Send(_, Message::Items { part: Part::Pushed, .. }));
    assert_eq!((effects.iter().filter(pushed).count(), effects.len()), (2, 2), "{effects:?}");
    let head = one.world.head(3, 1);
    let effects = one.takes(1, &head);
    assert!(matches!(&effects[..], [Effect::Send(to, Message::Told { .. })] if *to == id(2)), "{effects:?}");
}

/// Who is told of heads in these effects.
fn told(effects: &[Effect]) -> Vec<HostId> {
    let to = |effect: &Effect| match effect {
        Effect::Send(peer, Message::Told { heads, .. }) if !heads.0.is_empty() => Some(*peer),
        _ => None,
    };
    effects.iter().filter_map(to).collect()
}

#[test]
fn who_catches_up_tells_two_neighbours_at_once_two_at_the_tick_and_the_others_if_they_differ() {
    let mut one = One::with(&[1, 2, 3, 4, 5, 6, 7]);
    one.pass(1);
    let net = Network::new(8, 1);
    let heads: Vec<Item> = (1..7).map(|host| head(&net, host, 2, 0, None)).collect();
    for item in &heads {
        one.replica.merge(one.world.verify(item).unwrap(), &item.facets).unwrap();
    }
    let items = heads.iter().map(|item| (item_id(item), item.clone())).collect();
    let first = told(&one.event(Event::Merged { from: Some(id(1)), items }));
    assert_eq!(first.len(), 2);
    let mut ring: Vec<HostId> = (1..8).map(id).collect();
    ring.sort_unstable_by_key(|peer| (*peer < id(0), *peer));
    ring.retain(|peer| *peer != id(1));
    assert_eq!(first, ring[..2], "the next of the ring first");
    assert_eq!(told(&one.pass(1)), ring[2..4]);
    assert_eq!(told(&one.pass(5)), []);
    // One of the others asks whether both hold the same.
    let peer = (2..8).find(|at| id(*at) == ring[4]).unwrap();
    let ping = Message::Ping { nonce: 1, lsn: 0, hour: first_hour(one.now), root: [0; 16] };
    assert_eq!(told(&one.says(peer, ping)), [ring[4]]);
    // News goes to all at once, and what was not told yet with it.
    let news = head(&net, 7, 2, 0, None);
    assert_eq!(told(&one.takes(1, &news)).len(), 6);
}
