//! What a neighbour that lies can do to one machine in the words of this version: announce, ask, send facets.

use super::*;
use crate::{
    replica::{FacetHash, Packed},
    sync::{HeadRow, pack_halves, pack_heads, prefix, unpack_halves, unpack_heads},
};

fn told(rows: &[HeadRow], halves: &[[u8; 16]]) -> Message {
    Message::Told { lsn: 1, heads: pack_heads(rows, 8), entries: pack_halves(halves) }
}

/// What is asked of a neighbour in these effects: heads, entries, facets.
fn asked(effects: &[Effect], peer: usize) -> (Vec<HeadRow>, Vec<[u8; 16]>, Vec<[u8; 16]>) {
    let mut all = (Vec::new(), Vec::new(), Vec::new());
    for effect in effects {
        if let Effect::Send(to, Message::Want { heads, entries, facets }) = effect
            && *to == id(peer)
        {
            all.0.extend(unpack_heads(heads).unwrap().1);
            all.1.extend(unpack_halves(entries).unwrap());
            all.2.extend(unpack_halves(facets).unwrap());
        }
    }
    all
}

fn half(n: u32) -> [u8; 16] {
    let mut half = [7; 16];
    half[..4].copy_from_slice(&n.to_le_bytes());
    half
}

#[test]
fn who_announces_and_never_delivers_is_named_and_asked_no_more_and_the_next_one_is_asked() {
    let mut one = One::with(&[1, 2]);
    let item = one.world.order(1, &[], &[]);
    let real = crate::sync::feed::half(&item_id(&item));
    assert_eq!(asked(&one.says(1, told(&[], &[real])), 1).1, [real]);
    assert_eq!(asked(&one.says(2, told(&[], &[real])), 2).1, [] as [[u8; 16]; 0], "one at a time");
    assert_eq!(asked(&one.pass(3), 2).1, [real], "the next who has it");
    let said = one.says(2, Message::Items { items: vec![item.clone()], part: Part::Last });
    assert_eq!(said, [Effect::Merge(id(2), vec![item.clone()])]);
    one.takes(2, &item);
    let mut questions = 0;
    for n in 0..40 {
        questions += asked(&one.says(1, told(&[], &[half(n)])), 1).1.len();
        one.says(1, Message::Items { items: vec![], part: Part::Last });
    }
    assert!((4..10).contains(&questions), "{questions} questions");
    let blamed: Vec<_> = one.machine.misbehaved().map(|(who, why, _)| (who, why)).collect();
    assert_eq!(blamed, [(id(1), "it announces what it does not deliver")]);
    assert_eq!(asked(&one.says(2, told(&[], &[half(99)])), 2).1.len(), 1, "others are heard");
    one.pass(600);
    assert_eq!(asked(&one.says(1, told(&[], &[half(1000)])), 1).1.len(), 1, "and so is it, later");
}

#[test]
fn a_flood_of_rows_is_bounded_and_what_is_no_row_ends_the_stream() {
    let mut one = One::with(&[1]);
    let mut questions = 0;
    for round in 0..100 {
        let halves: Vec<_> = (0..2000).map(|n| half(round * 2000 + n)).collect();
        let effects = one.says(1, told(&[], &halves));
        questions += asked(&effects, 1).1.len();
        if effects.iter().any(|effect| matches!(effect, Effect::Shun(..))) {
            assert!(round > 30, "an honest one may announce all of a large fleet");
            assert!(questions <= 1024, "{questions}");
            assert!(one.machine.misbehaved().any(|(who, ..)| who == id(1)));
            let broken = Message::Told { lsn: 1, heads: Bytes(vec![1; 9]), entries: Bytes::default() };
            assert!(matches!(one.says(1, broken)[..], [Effect::Close(..)]));
            return;
        }
    }
    panic!("nobody minds 200000 rows");
}

#[test]
fn facets_that_nobody_asked_for_are_dropped_and_in_the_end_shunned() {
    let mut one = One::with(&[1]);
    for round in 0..100 {
        let facets = vec![Packed::alone(&[round; 100])];
        let halves = pack_halves(&[FacetHash::of(&[round; 100]).half().0]);
        let effects = one.says(1, Message::Facets { halves, facets });
        if let [Effect::Shun(_, why)] = effects[..] {
            assert!((60..70).contains(&round), "{round}");
            let named: Vec<_> = one.machine.misbehaved().map(|(who, why, _)| (who, why)).collect();
            return assert_eq!(named, [(id(1), why)]);
        }
        assert_eq!(effects, []);
    }
    panic!("nobody minds");
}

#[test]
fn facets_that_are_not_those_asked_for_are_asked_for_a_few_times_and_the_head_is_dropped() {
    let mut one = One::with(&[1]);
    let bytes = vec![1; 5000];
    let mut head = one.world.head_with(3, 1, &[("deb", bytes.clone(), Packed::alone(&bytes))]);
    let wanted = FacetHash::of(&bytes).half().0;
    head.facets.clear();
    let row = HeadRow { host: prefix(&id(3)), epoch: 0, sequence: 1 };
    assert_eq!(asked(&one.says(1, told(&[row], &[])), 1).0.len(), 1);
    let mut effects = one.says(1, Message::Items { items: vec![head.clone()], part: Part::Last });
    let mut questions = 0;
    while asked(&effects, 1).2 == [wanted] {
        questions += 1;
        assert!(questions < 10);
        let facets = vec![Packed::alone(&[2; 5000])];
        effects = one.says(1, Message::Facets { halves: pack_halves(&[wanted]), facets });
    }
    assert_eq!(questions, 4);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Merge(..))), "{effects:?}");
    // The right one is taken all the same.
    one.pass(60);
    one.says(1, told(&[row], &[]));
    let effects = one.says(1, Message::Items { items: vec![head], part: Part::Last });
    assert_eq!(asked(&effects, 1).2, [wanted]);
    let facets = vec![Packed::alone(&bytes)];
    let effects = one.says(1, Message::Facets { halves: pack_halves(&[wanted]), facets });
    assert!(matches!(&effects[..], [Effect::Merge(_, items)] if items[0].facets.len() == 1), "{effects:?}");
}

#[test]
fn one_question_is_answered_up_to_a_megabyte_and_the_answer_says_that_there_is_more() {
    let mut one = One::with(&[1]);
    let noise = |seed: u8| -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[seed]);
        let mut bytes = vec![0; 200_000];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    };
    let mut halves = Vec::new();
    for host in 1..8_u8 {
        let bytes = noise(host);
        halves.push(FacetHash::of(&bytes).half().0);
        let head = one.world.head_with(host.into(), 1, &[("deb", bytes.clone(), Packed::alone(&bytes))]);
        one.takes(2, &head);
    }
    let want =
        || Message::Want { heads: Bytes::default(), entries: Bytes::default(), facets: pack_halves(&halves) };
    let effects = one.says(1, want());
    let (mut bytes, mut came, mut over) = (0, 0, false);
    for effect in &effects {
        match effect {
            Effect::Send(_, Message::Facets { facets, .. }) => {
                came += facets.len();
                bytes += facets.iter().map(Packed::weight).sum::<usize>();
            }
            Effect::Send(_, Message::Items { items, part: Part::Last }) => over = items.is_empty(),
            other => panic!("{other:?}"),
        }
    }
    assert!(over && came == 5 && bytes <= 1024 * 1024, "{came} facets of {bytes} bytes");
    // Asked on and on it is a megabyte a second after the first sixty-four.
    let mut sent = 0;
    for _ in 0..200 {
        for effect in one.says(1, want()) {
            if let Effect::Send(_, Message::Facets { facets, .. }) = effect {
                sent += facets.iter().map(Packed::weight).sum::<usize>();
            }
        }
    }
    assert!(sent < 70 * 1024 * 1024, "{sent}");
}
