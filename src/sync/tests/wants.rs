//! The table of what is wanted, alone.

use std::time::Duration;

use super::{Key, QUEUE_MAX, Spot, WANTS_MAX, Wants};
use crate::{
    authority::sample::{NOW, host_id},
    identity::HostId,
    time::Timestamp,
};

const HERE: Spot = (0, 0);

fn entry(n: u32) -> Key {
    let mut half = [0; 16];
    half[..4].copy_from_slice(&n.to_le_bytes());
    Key::Entry(half)
}

fn peers() -> [HostId; 3] {
    [host_id(1), host_id(2), host_id(3)]
}

fn asks(wants: &mut Wants, peer: HostId, now: Timestamp) -> Vec<Key> {
    wants.question(peer, 100, |_| 1, |_, _| true, now)
}

fn after(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

#[test]
fn one_neighbour_is_asked_and_the_next_when_it_does_not_answer_for_two_seconds() {
    let [a, b, c] = peers();
    let mut wants = Wants::default();
    for peer in [a, b, c] {
        wants.announced(peer, entry(1), HERE, 0, NOW, false);
    }
    assert_eq!(asks(&mut wants, a, NOW), [entry(1)]);
    assert_eq!((asks(&mut wants, b, NOW), asks(&mut wants, c, NOW)), (vec![], vec![]));
    assert_eq!(wants.tick(|_| Some(after(1)), after(1)), []);
    assert_eq!(asks(&mut wants, b, after(1)), []);
    assert_eq!(wants.tick(|_| Some(after(2)), after(2)), [a]);
    assert_eq!(asks(&mut wants, b, after(2)), [entry(1)]);
    // What moves is not late, however little it brings.
    wants.moves(&b, after(3));
    assert_eq!(wants.tick(|_| Some(after(4)), after(4)), []);
    // From whomever it comes: it is judged once.
    assert!(wants.came(a, entry(1), HERE, 0, false, after(4)));
    assert!(!wants.came(b, entry(1), HERE, 0, false, after(4)));
    wants.held(&entry(1), HERE);
    assert!(wants.is_empty());
}

#[test]
fn who_goes_away_makes_room_and_is_read_again_from_before_what_it_owes() {
    let [a, b, _] = peers();
    let mut wants = Wants::default();
    wants.announced(a, entry(1), HERE, 40, NOW, false);
    wants.announced(a, entry(2), HERE, 70, NOW, false);
    wants.announced(b, entry(1), HERE, 7, NOW, false);
    assert_eq!(asks(&mut wants, a, NOW), [entry(1), entry(2)]);
    assert!(wants.came(a, entry(1), HERE, 80, false, NOW));
    assert_eq!(wants.down(&a), Some(40), "what came is not merged yet, and is lost with it");
    assert_eq!(asks(&mut wants, b, NOW), [entry(1)]);
    assert!(wants.came(b, entry(1), HERE, 7, false, NOW));
    wants.held(&entry(1), HERE);
    assert!(wants.is_empty(), "nobody has the other one");
    assert_eq!(wants.down(&b), None);
}

#[test]
fn an_answer_that_brings_something_is_followed_by_the_rest_and_one_that_brings_nothing_by_another_source() {
    let [a, b, _] = peers();
    let mut wants = Wants::default();
    for n in 1..=3 {
        wants.announced(a, entry(n), HERE, 0, NOW, false);
    }
    wants.announced(b, entry(3), HERE, 0, NOW, false);
    assert_eq!(asks(&mut wants, a, NOW).len(), 3);
    assert!(wants.came(a, entry(1), HERE, 0, false, NOW));
    assert!(!wants.answered(&a));
    assert_eq!(asks(&mut wants, a, NOW), [entry(2), entry(3)], "in their order");
    assert!(wants.answered(&a), "an answer without anything");
    assert_eq!(asks(&mut wants, a, NOW), []);
    assert_eq!(asks(&mut wants, b, NOW), [entry(3)]);
}

#[test]
fn a_newer_head_is_asked_for_when_the_older_one_came_and_from_who_has_it() {
    let [a, b, _] = peers();
    let mut wants = Wants::default();
    let key = Key::Head([1; 8]);
    wants.announced(a, key, (0, 5), 0, NOW, false);
    assert_eq!(asks(&mut wants, a, NOW), [key]);
    wants.announced(b, key, (0, 6), 0, NOW, false);
    assert!(wants.came(a, key, (0, 5), 0, false, NOW));
    wants.held(&key, (0, 5));
    assert_eq!(asks(&mut wants, a, NOW), []);
    assert_eq!(asks(&mut wants, b, NOW), [key]);
    assert!(wants.came(b, key, (0, 7), 0, false, NOW));
    wants.held(&key, (0, 7));
    assert!(wants.is_empty());
}

#[test]
fn what_is_never_delivered_is_given_up() {
    let [a, ..] = peers();
    let mut wants = Wants::default();
    wants.announced(a, entry(1), HERE, 3, NOW, false);
    let (mut asked, mut late) = (0, 0);
    for second in 0..120 {
        asked += asks(&mut wants, a, after(second)).len();
        late += wants.tick(|_| Some(after(second)), after(second)).len();
    }
    assert_eq!((asked, late), (4, 4));
    assert!(wants.is_empty());
    assert_eq!(wants.down(&a), Some(3), "but not taken for read");
}

#[test]
fn no_flood_of_announcements_fills_more_than_its_part_and_what_found_no_room_is_read_again() {
    let [a, b, _] = peers();
    let mut wants = Wants::default();
    for n in 0..100_000 {
        wants.announced(a, entry(n), HERE, u64::from(n), NOW, false);
    }
    assert_eq!(wants.rows.len(), QUEUE_MAX);
    wants.announced(b, entry(200_000), HERE, 0, NOW, false);
    assert_eq!(asks(&mut wants, b, NOW), [entry(200_000)]);
    for n in 0..100_000 {
        wants.came(b, entry(300_000 + n), HERE, 0, true, NOW);
    }
    assert!(wants.rows.len() <= WANTS_MAX);
    assert_eq!(wants.down(&a), Some(0));
    wants.tick(|_| Some(after(10)), after(10));
    wants.tick(|_| Some(after(20)), after(20));
    assert!(wants.rows.len() <= 1, "{} are left", wants.rows.len());
}

#[test]
fn who_says_nothing_at_all_is_no_liar_and_who_talks_of_other_things_is() {
    let [a, ..] = peers();
    for (heard, late) in [(NOW, vec![]), (after(2), vec![a])] {
        let mut wants = Wants::default();
        wants.announced(a, entry(1), HERE, 0, NOW, false);
        assert_eq!(asks(&mut wants, a, NOW), [entry(1)]);
        assert_eq!(wants.tick(|_| Some(heard), after(3)), late);
    }
}

#[test]
fn who_no_longer_has_what_was_refused_here_is_no_liar() {
    let [a, b, ..] = peers();
    let mut wants = Wants::default();
    wants.announced(a, entry(1), HERE, 0, NOW, false);
    wants.announced(b, entry(1), HERE, 0, NOW, false);
    assert_eq!(asks(&mut wants, a, NOW), [entry(1)]);
    assert!(wants.came(a, entry(1), HERE, 0, false, NOW));
    assert!(!wants.answered(&a));
    wants.tick(|_| Some(after(6)), after(6));
    assert_eq!(asks(&mut wants, b, after(6)), [entry(1)]);
    assert!(!wants.answered(&b), "there was such a thing");
    wants.announced(a, entry(2), HERE, 0, after(6), false);
    assert_eq!(asks(&mut wants, a, after(6)), [entry(2)]);
    assert!(wants.answered(&a), "nobody ever saw that");
}
