//! Orders for many come home though only one host has the list that they mark hosts of.

use std::sync::Arc;

use super::*;
use crate::{
    authority::{ListId, Listing, MemberList},
    identity::HostId,
};

fn stranger(number: u32) -> HostId {
    HostId(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

/// The hosts of a network, and so many that are not in it.
fn list(hosts: usize, strangers: std::ops::Range<u32>) -> Arc<MemberList> {
    Arc::new(MemberList::of((0..hosts).map(id).chain(strangers.map(stranger))).unwrap())
}

#[test]
fn an_order_spreads_before_its_list_and_runs_when_that_is_here_as_a_difference() {
    let mut net = chain(5);
    let (old, new) = (list(5, 0..9_000), list(5, 10..9_005));
    for node in &mut net.nodes {
        node.replica.keep_list(Arc::clone(&old));
    }
    net.loses = |message| matches!(message, Message::List { .. });
    net.nodes[0].replica.keep_list(Arc::clone(&new));
    let item = net.world.order_of_list(1, &new, &[0]);
    let order = net.submit(0, item);
    assert!(net.until(5, |net| net.nodes[4].replica.holds(&order)));
    assert!(net.nodes[0].unsettled.contains_key(&order) || net.nodes[0].settled.contains(&order));
    assert!(net.nodes[1..].iter().all(|node| node.unsettled.is_empty() && node.settled.is_empty()));
    net.loses = |_| false;
    assert!(net.until(60, |net| net.is_home(order, 0, &[0, 1, 2, 3, 4])), "{}", net.differences());
    for at in 1..5 {
        assert_eq!(net.nodes[at].replica.list(&new.id()), Some(&new));
        let bytes = net.received.get(&(at, "list")).copied().unwrap_or_default();
        assert!((1..2_000).contains(&bytes), "{bytes} bytes of a list of {}", 32 * new.members());
    }
    // Nobody asks for what is there.
    net.sent.clear();
    net.run(60);
    assert_eq!((net.sent("want list"), net.sent("list")), (0, 0));
}

#[test]
fn who_has_no_list_at_all_gets_the_whole_in_one_message() {
    let mut net = chain(3);
    let list = list(3, 0..16_000);
    net.nodes[0].replica.keep_list(Arc::clone(&list));
    let item = net.world.order_of_list(1, &list, &[0]);
    let order = net.submit(0, item);
    assert!(
        net.until(4, |net| net.is_home(order, 0, &[0, 1, 2])),
        "who is asked before it has it answers then"
    );
    assert_eq!((net.sent("want list"), net.sent("list")), (2, 2), "over each link once");
}

#[test]
fn a_host_that_was_away_asks_whoever_has_the_list_if_the_first_does_not() {
    let mut net = Network::new(4, 3);
    for at in 1..4 {
        net.link(0, at);
        net.link(at, 1 + at % 3);
    }
    net.run(1);
    let list = list(4, 0..600);
    net.nodes[2].replica.keep_list(Arc::clone(&list));
    let item = net.world.order_of_list(1, &list, &[0]);
    // It comes from a host that lacks the list itself.
    let order = net.submit(1, item);
    assert!(net.until(60, |net| net.is_home(order, 0, &[0, 1, 2, 3])), "{}", net.differences());
}

fn wanted(effects: &[Effect]) -> Vec<(HostId, ListId)> {
    let want = |effect: &Effect| match effect {
        Effect::Send(to, Message::WantList { list, .. }) => Some((*to, *list)),
        _ => None,
    };
    effects.iter().filter_map(want).collect()
}

#[test]
fn who_sends_another_list_is_shunned_and_what_nobody_asked_for_is_not_looked_at() {
    let mut one = One::with(&[1, 2, 3]);
    let (right, wrong) = (list(8, 0..600), list(8, 1..601));
    let whole = |list: &Arc<MemberList>| list.listing(None);
    let says = |list: &Arc<MemberList>, as_id: ListId| Message::List { list: as_id, listing: whole(list) };
    // Before there is an order.
    assert_eq!(one.says(1, says(&right, right.id())), []);
    let item = one.world.order_of_list(1, &right, &[]);
    let effects = one.takes(2, &item);
    assert_eq!(wanted(&effects), [(id(2), right.id())], "of whom it came from");
    // Not of whom it was asked.
    assert_eq!(one.says(1, says(&right, right.id())), []);
    assert_eq!(one.says(2, says(&wrong, wrong.id())), []);
    let said = one.says(2, says(&wrong, right.id()));
    assert!(matches!(said.as_slice(), [Effect::Shun(peer, _)] if *peer == id(2)), "{said:?}");
    // The next is asked; one that does not have it, one whose difference is to nothing, one that is silent.
    let mut asked = wanted(&one.pass(1));
    assert_eq!(asked.len(), 1);
    let absent = Message::List { list: right.id(), listing: Listing::Absent {} };
    let first = (1..4).find(|at| id(*at) == asked[0].0).unwrap();
    asked = wanted(&one.says(first, absent.clone()));
    assert_eq!(asked.len(), 1);
    let second = (1..4).find(|at| id(*at) == asked[0].0).unwrap();
    assert!(first != second && first != 2 && second != 2);
    let changed = Listing::Changed { base: wrong.id(), removed: vec![], added: Bytes::default() };
    assert_eq!(wanted(&one.says(second, Message::List { list: right.id(), listing: changed })), []);
    assert_eq!(wanted(&one.pass(2)), [], "all were asked");
    assert_eq!(wanted(&one.pass(6)).len(), 1, "and are asked again, later");
    let asked = wanted(&one.pass(4));
    assert_eq!(asked.len(), 1, "silence is an answer");
    let third = (1..4).find(|at| id(*at) == asked[0].0).unwrap();
    let said = one.says(third, says(&right, right.id()));
    assert_eq!(said, [Effect::KeepList((*right).clone())]);
}

#[test]
fn a_flood_of_questions_for_lists_is_bounded() {
    let mut one = One::with(&[1]);
    let held = list(8, 0..16_000);
    one.replica.keep_list(Arc::clone(&held));
    let mut bytes = 0;
    for _ in 0..2_000 {
        let want = Message::WantList { list: held.id(), have: vec![ListId([3; 32]); 5_000] };
        for effect in one.says(1, want) {
            if let Effect::Send(_, message) = effect {
                bytes += message.weight();
            }
        }
    }
    assert!(bytes > 500_000 && bytes < 128 * 1024 * 1024, "{bytes}");
    assert!(one.machine.throttled() > 0);
    assert!(one.replica.list(&held.id()).is_some());
    let answer = one.says(1, Message::WantList { list: ListId([9; 32]), have: Vec::new() });
    assert!(!answer.iter().any(|effect| matches!(
        effect,
        Effect::Send(_, Message::List { listing: Listing::Whole { .. } | Listing::Changed { .. }, .. })
    )));
}
