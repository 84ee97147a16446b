//! What a neighbour that lies can do to one machine in the words of this version: announce, ask, send facets.

use super::*;
use crate::{
    identity::verifications_here,
    replica::{Arrived, FacetHash, Packed},
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
    assert_eq!(said, [Effect::Merge(id(2), vec![item.clone().into()])]);
    one.takes(2, &item);
    let mut questions = 0;
    for n in 0..40 {
        questions += asked(&one.says(1, told(&[], &[half(n)])), 1).1.len();
        // What waits while it is asked something is asked for when that is over.
        questions += asked(&one.says(1, Message::Items { items: vec![], part: Part::Last }), 1).1.len();
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
    assert!(
        matches!(&effects[..], [Effect::Merge(_, items)] if items[0].item().facets.len() == 1),
        "{effects:?}"
    );
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

/// Zeros without end in a few bytes.
fn bomb(bytes: usize) -> Packed {
    Packed::alone(&vec![0; bytes])
}

/// A head of host 3 that names facets that it does not bring, each of this many bytes of noise.
fn bare_head(one: &One, sequence: u64, count: usize, bytes: usize) -> Item {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    let mut noise = vec![0; bytes * count];
    hasher.finalize_xof().fill(&mut noise);
    let names: Vec<String> = (0..count).map(|at| format!("facet-{at:02}")).collect();
    let facets: Vec<_> = names
        .iter()
        .zip(noise.chunks(bytes))
        .map(|(name, bytes)| (name.as_str(), bytes.to_vec(), Packed::Plain { bytes: Bytes(bytes.to_vec()) }))
        .collect();
    Item { facets: Vec::new(), ..one.world.head_with(3, sequence, &facets) }
}

#[test]
fn nobody_keeps_a_hosts_heads_out_by_a_made_up_one_that_waits_for_facets_for_ever() {
    let mut one = One::with(&[1, 2]);
    // Signed, and then of a later place: an entry of host 3 that host 3 never made.
    let mut forged = bare_head(&one, 5, 1, 100);
    let last = forged.entry.0.len() - 1;
    forged.entry.0[last] ^= 1;
    let effects = one.says(1, Message::Items { items: vec![forged], part: Part::Pushed });
    assert!(matches!(effects[..], [Effect::Shun(who, _)] if who == id(1)), "{effects:?}");
    one.event(Event::Down(id(1)));
    let head = one.world.head(3, 1);
    let effects = one.says(2, Message::Items { items: vec![head.clone()], part: Part::Pushed });
    assert_eq!(effects, [Effect::Merge(id(2), vec![head.into()])]);
}

#[test]
fn who_announces_a_later_head_than_it_delivers_does_not_keep_those_of_others_out() {
    let mut one = One::with(&[1, 2]);
    let (old, new) = (one.world.head(3, 1), one.world.head(3, 2));
    one.takes(2, &old);
    let row = |sequence| HeadRow { host: prefix(&id(3)), epoch: 0, sequence };
    let mut turns = vec![one.says(1, told(&[row(u64::MAX)], &[]))];
    turns.push(one.says(2, told(&[row(2)], &[])));
    let mut answers = 0;
    while !turns.iter().any(|effects| !asked(effects, 2).0.is_empty()) {
        answers += 1;
        assert!(answers < 10, "the honest one is never asked: {turns:?}");
        turns.push(one.says(1, Message::Items { items: vec![old.clone()], part: Part::Last }));
    }
    let effects = one.says(2, Message::Items { items: vec![new.clone()], part: Part::Last });
    assert!(effects.contains(&Effect::Merge(id(2), vec![new.clone().into()])), "{effects:?}");
    one.takes(2, &new);
    // And the question ends, however often it answers with what is held.
    let mut asks = 0;
    for _ in 0..20 {
        let effects = one.says(1, Message::Items { items: vec![new.clone()], part: Part::Last });
        asks += asked(&effects, 1).0.len();
    }
    assert!(asks < 5, "{asks}");
}

#[test]
fn what_unpacks_to_much_is_unpacked_a_few_times_and_its_sender_is_named() {
    let mut one = One::with(&[1, 2]);
    let along: Vec<Packed> = (0..64).map(|at| bomb(1024 * 1024 - at)).collect();
    let weight: usize = along.iter().map(Packed::weight).sum();
    assert!(weight < 8 * 1024, "64 MiB in {weight} bytes");
    let item = |sequence| Item { facets: along.clone(), ..bare_head(&one, sequence, 1, 100) };
    let items: Vec<Item> = (1..40).map(item).collect();
    assert!(one.replica.missing_facets(&items[0]).work <= 17 * 1024 * 1024, "one item is bounded by itself");
    for item in items {
        one.says(1, Message::Items { items: vec![item], part: Part::Pushed });
    }
    assert!(one.machine.throttled() > 30, "{}", one.machine.throttled());
    let named: Vec<_> = one.machine.misbehaved().map(|(who, why, _)| (who, why)).collect();
    assert_eq!(named, [(id(1), "what it sends unpacks to too much")]);
    let head = one.world.head(4, 1);
    let effects = one.says(2, Message::Items { items: vec![head.clone()], part: Part::Pushed });
    assert_eq!(effects, [Effect::Merge(id(2), vec![head.into()])], "others are taken");
}

#[test]
fn heads_that_wait_and_the_facets_that_came_for_them_are_bounded_for_one_neighbour_and_for_all() {
    let mut one = One::with(&[1]);
    // One host's heads take one place, however many there are.
    for sequence in 1..20 {
        let item = bare_head(&one, sequence, 32, 1000);
        one.says(1, Message::Items { items: vec![item], part: Part::Pushed });
    }
    assert_eq!(one.machine.parked.len(), 1);
    // It answers each question with as much as it may, and never with what was asked for.
    let junk = Packed::Plain { bytes: Bytes(vec![7; 200 * 1024]) };
    let mut effects = one.pass(1);
    for _ in 0..40 {
        let (_, _, facets) = asked(&effects, 1);
        effects = match facets.first() {
            Some(half) => {
                let halves = pack_halves(&[*half]);
                one.says(1, Message::Facets { halves, facets: vec![junk.clone()] })
            }
            None => one.pass(1),
        };
        let bytes: usize = one.machine.parked_by(None).1;
        assert!(bytes <= 4 * 1024 * 1024, "{bytes}");
    }
}

#[test]
fn words_without_end_that_say_nothing_are_not_heard_for_long() {
    let empty = Bytes::default;
    let flood: Vec<Box<dyn Fn(u32) -> Message>> = vec![
        Box::new(|nonce| Message::Ping { nonce, lsn: 0, hour: 0, root: [0; 16] }),
        Box::new(|nonce| Message::Pong { nonce, lsn: 0, sum: None }),
        Box::new(|_| Message::Items { items: Vec::new(), part: Part::Pushed }),
        Box::new(|_| Message::Facets { halves: Bytes::default(), facets: Vec::new() }),
        Box::new(move |_| Message::Told { lsn: 0, heads: empty(), entries: empty() }),
        Box::new(move |_| Message::Want { heads: empty(), entries: empty(), facets: empty() }),
        Box::new(|_| Message::Reports { reports: Vec::new() }),
    ];
    for (kind, message) in flood.iter().enumerate() {
        let mut one = One::with(&[1]);
        let mut effects = Vec::new();
        let shunned = (0..30_000).position(|nonce| {
            effects = one.says(1, message(nonce));
            effects.iter().any(|effect| matches!(effect, Effect::Shun(..)))
        });
        assert!(shunned.is_some(), "kind {kind} is heard for ever: {effects:?}");
    }
}

/// A head of host 3 and the facet that does not ride along with it.
fn with_facet(one: &One, sequence: u64) -> (Item, [u8; 16]) {
    let bytes = vec![u8::try_from(sequence).unwrap(); 5000];
    let mut head = one.world.head_with(3, sequence, &[("deb", bytes.clone(), Packed::alone(&bytes))]);
    head.facets.clear();
    (head, FacetHash::of(&bytes).half().0)
}

#[test]
fn who_said_something_newer_before_it_was_asked_for_the_facets_is_no_liar_and_who_never_has_them_is() {
    for honest in [true, false] {
        let mut one = One::with(&[1]);
        for sequence in 1..9 {
            let (head, facet) = with_facet(&one, sequence);
            let row = HeadRow { host: prefix(&id(3)), epoch: 0, sequence };
            assert_eq!(asked(&one.says(1, told(&[row], &[])), 1).0.len(), 1, "head {sequence}");
            let effects = one.says(1, Message::Items { items: vec![head], part: Part::Last });
            assert_eq!(asked(&effects, 1).2, [facet]);
            // The facets of the head before went with the next one, which is asked for at once.
            one.says(1, told(&[HeadRow { sequence: sequence + 1, ..row }], &[]));
            let effects = one.says(1, Message::Items { items: Vec::new(), part: Part::Last });
            assert_eq!(asked(&effects, 1).0.len(), 1, "not after the older one was waited for");
            one.says(1, Message::Items { items: Vec::new(), part: Part::Last });
            assert_eq!(one.machine.misbehaved().count(), 0, "at once");
        }
        if honest {
            let last = one.world.head(3, 9);
            one.takes(1, &last);
        }
        one.pass(40);
        let named: Vec<_> = one.machine.misbehaved().map(|(who, why, _)| (who, why)).collect();
        let liar = [(id(1), "it announces what it does not deliver")];
        assert_eq!(named, if honest { &[][..] } else { &liar[..] });
    }
}

#[test]
fn who_is_told_of_a_host_that_it_cannot_tell_by_a_short_name_compares_instead_and_has_not_read_it() {
    let mut one = One::with(&[1]);
    let row = HeadRow { host: [0xee; 8], epoch: 0, sequence: 4 };
    let short = |row| Message::Told { lsn: 50, heads: pack_heads(&[row], 2), entries: Bytes::default() };
    let effects = one.says(1, short(row));
    assert!(matches!(&effects[..], [Effect::Send(_, Message::Tips { .. })]), "{effects:?}");
    assert_eq!(one.says(1, short(row)), [], "and not at every word");
    // It is told from where it was.
    one.event(Event::Down(id(1)));
    let again = one.event(Event::Up(id(1)));
    let since = |effects: &[Effect]| match effects {
        [Effect::Send(_, Message::Hello { since, .. })] => since.map(|since| since.lsn),
        _ => None,
    };
    assert_eq!(since(&again), Some(1));
    one.says(1, one.hello());
    let known = HeadRow { host: prefix(&id(3)), ..row };
    assert_eq!(asked(&one.says(1, short(known)), 1).0.len(), 1);
}

/// The heads that are handed over to be merged.
fn handed_over(effects: Vec<Effect>) -> Vec<Arrived> {
    let merged = |effect| match effect {
        Effect::Merge(_, items) => items,
        _ => Vec::new(),
    };
    effects.into_iter().flat_map(merged).collect()
}

#[test]
fn a_head_that_waited_is_verified_once_whoever_else_sent_it_too() {
    let mut one = One::with(&[1, 2, 3]);
    let (head, half) = with_facet(&one, 4);
    let bytes = vec![4; 5000];
    let before = verifications_here();
    for peer in [1, 2] {
        one.says(peer, Message::Items { items: vec![head.clone()], part: Part::Pushed });
        // What was being judged for so long may come again from somebody else.
        one.pass(11);
    }
    assert_eq!(verifications_here() - before, 1, "one signature while it waits");
    let whole = Item { facets: vec![Packed::alone(&bytes)], ..head.clone() };
    let facets = vec![Packed::alone(&bytes)];
    let mut copies =
        handed_over(one.says(1, Message::Facets { halves: pack_halves(&[half]), facets: facets.clone() }));
    copies.extend(handed_over(one.says(3, Message::Items { items: vec![whole], part: Part::Pushed })));
    assert!(!copies.is_empty());
    let fleet = one.replica.fleet();
    for copy in copies {
        let (entry, item) = copy.verify(fleet).unwrap();
        assert_eq!((entry.bytes(), item.facets), (&item.entry.0[..], facets.clone()));
    }
    assert_eq!(verifications_here() - before, 1, "and none more to merge it");
}
