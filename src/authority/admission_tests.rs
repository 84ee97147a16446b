//! Hosts that wait, and what operators say of them; names and ends of hosts.

use super::*;
use crate::{
    authority::{
        Authority, Cut, Host, Invitation, Op, OpAction, Standing, Verb, Whom, half,
        sample::{self, Fleet, certificate, host_id, key, later},
    },
    identity::{Operator, SecretKey, Stream},
};

struct Place {
    fleet: Fleet,
    ana: SecretKey<Operator>,
    bo: SecretKey<Operator>,
    under: Vec<EntryId>,
}

/// ana may do everything; bo may invite with role=db and nothing else.
fn place() -> Place {
    let (ana, bo) = (key(1), key(2));
    let mut narrow = certificate("bo", &bo);
    narrow.verbs = vec![Verb::Invite];
    narrow.tags = sample::pairs(&[("role", "db")]);
    let (fleet, under) = Fleet::with(&[certificate("ana", &ana), narrow]);
    Place { fleet, ana, bo, under }
}

impl Place {
    /// A token for `uses` hosts tagged role=web, each approved or not.
    fn token(&self, uses: u32, approve: bool) -> Signed<Invitation> {
        let body = Invitation {
            approve,
            ..self.fleet.invite(&self.ana, self.under[0], 9, &[("role", "web")], uses).body().clone()
        };
        Signed::sign(self.fleet.id(), &self.ana, body)
    }

    fn host(&self, token: &Signed<Invitation>, number: u8) -> Enrolled {
        self.fleet.enrol(token, 9, number, &[("role", "web")])
    }

    fn word(
        &self,
        by: &SecretKey<Operator>,
        under: usize,
        about: &Enrolled,
        admitted: bool,
    ) -> Signed<Admission> {
        let word = Admission::about(self.under[under], about, admitted, later(2000));
        Signed::sign(self.fleet.id(), by, word)
    }
}

fn standing(authority: &Authority, number: u8) -> Standing {
    authority.host(&host_id(number)).unwrap().standing()
}

#[test]
fn a_host_of_a_token_with_approval_is_no_member_before_an_operator_says_so() {
    let place = place();
    let token = place.token(5, true);
    let host = place.host(&token, 1);
    let mut authority = place.fleet.authority();
    authority.absorb_host(host.clone()).unwrap();
    assert_eq!(standing(&authority, 1), Standing::Pending);
    assert_eq!(authority.members().count(), 0);
    assert!(authority.absorb_admission(place.word(&place.ana, 0, &host, true)).unwrap());
    assert_eq!(standing(&authority, 1), Standing::Member);
    // Only that one.
    authority.absorb_host(place.host(&token, 2)).unwrap();
    assert_eq!(standing(&authority, 2), Standing::Pending);
}

#[test]
fn who_may_not_invite_with_a_hosts_tags_cannot_let_it_in_or_turn_it_away() {
    let place = place();
    let host = place.host(&place.token(5, true), 1);
    let mut authority = place.fleet.authority();
    authority.absorb_host(host.clone()).unwrap();
    // bo's words are kept, for another branch may say otherwise, and count for nothing.
    for admitted in [true, false] {
        authority.absorb_admission(place.word(&place.bo, 1, &host, admitted)).unwrap();
        assert_eq!(standing(&authority, 1), Standing::Pending);
    }
    let thief = key::<Operator>(40);
    assert!(authority.absorb_admission(place.word(&thief, 0, &host, true)).is_err());
    let held = authority.host(&host_id(1)).unwrap();
    let refused = authority.may_admit(&place.under[1], place.bo.public(), held, later(2000));
    assert!(matches!(refused, Err(Refusal::TagNotGranted { tag }) if tag == "role=web"));
    let long_past = later(400 * 24 * sample::HOUR_MS);
    assert!(authority.may_admit(&place.under[0], place.ana.public(), held, long_past).is_err());
}

#[test]
fn a_word_counts_for_the_keys_and_the_token_that_were_shown_and_for_no_others() {
    let place = place();
    let (token, other) = (place.token(5, true), place.token(6, true));
    let shown = place.host(&token, 1);
    let word = place.word(&place.ana, 0, &shown, true);
    // The same host, that is the same stream key, with another executor key; and by another token.
    let mut enrolment = Fleet::enrolment(1, &[("role", "web")]);
    enrolment.keys.executor = key::<crate::identity::Executor>(77).public();
    let stream = key::<Stream>(1);
    let swapped = place.fleet.host_certificate(&token, &key(9), &stream, enrolment);
    for enrolled in [Enrolled::verify(swapped.bytes(), place.fleet.id()).unwrap(), place.host(&other, 1)] {
        assert_eq!(enrolled.host(), shown.host());
        let mut authority = place.fleet.authority();
        authority.absorb_admission(word.clone()).unwrap();
        authority.absorb_host(enrolled).unwrap();
        assert_eq!(standing(&authority, 1), Standing::Pending);
    }
    assert_ne!(shown.enrolment().keys.words(), Fleet::keys(2).words());
}

#[test]
fn a_no_turns_away_who_waits_and_takes_nothing_from_a_member() {
    let place = place();
    let waits = place.host(&place.token(5, true), 1);
    let member = place.host(&place.token(6, false), 2);
    let mut authority = place.fleet.authority();
    for host in [&waits, &member] {
        authority.absorb_host(host.clone()).unwrap();
        authority.absorb_admission(place.word(&place.ana, 0, host, false)).unwrap();
    }
    assert_eq!((standing(&authority, 1), standing(&authority, 2)), (Standing::Denied, Standing::Member));
    // A yes outweighs it, whichever was first.
    authority.absorb_admission(place.word(&place.ana, 0, &waits, true)).unwrap();
    assert_eq!(standing(&authority, 1), Standing::Member);
}

#[test]
fn of_an_over_used_token_those_count_whom_an_operator_lets_in() {
    let place = place();
    let token = place.token(1, false);
    let mut authority = place.fleet.authority();
    for number in 1..=50 {
        authority.absorb_host(place.host(&token, number)).unwrap();
    }
    assert!((1..=50).all(|number| standing(&authority, number) == Standing::Quarantined));
    authority.absorb_admission(place.word(&place.ana, 0, &place.host(&token, 7), true)).unwrap();
    authority.absorb_admission(place.word(&place.ana, 0, &place.host(&token, 8), false)).unwrap();
    let members: Vec<_> = authority.members().map(Host::id).collect();
    assert_eq!(members, [host_id(7)]);
    assert_eq!((standing(&authority, 8), standing(&authority, 9)), (Standing::Denied, Standing::Quarantined));
}

#[test]
fn what_was_said_comes_to_the_same_in_every_order() {
    let place = place();
    let token = place.token(1, true);
    let host = place.host(&token, 1);
    let words = [
        place.word(&place.ana, 0, &host, false),
        place.word(&place.ana, 0, &host, true),
        place.word(&place.bo, 1, &host, false),
    ];
    let rename = |name: &str, writer| {
        let action = OpAction::Rename { host: host_id(1), name: name.to_owned() };
        place.fleet.op(&place.ana, place.under[0], writer, None, &[], action)
    };
    let ops = [rename("one", 1), rename("two", 2)];
    let mut seen = BTreeSet::new();
    // Six places for the host, forwards and backwards.
    for at in 0..=5 {
        for backwards in [false, true] {
            let mut authority = place.fleet.authority();
            let mut steps: Vec<usize> = (0..5).collect();
            if backwards {
                steps.reverse();
            }
            for (step, which) in steps.into_iter().enumerate() {
                if step == at {
                    authority.absorb_host(host.clone()).unwrap();
                }
                match which {
                    0..3 => drop(authority.absorb_admission(words[which].clone()).unwrap()),
                    _ => drop(authority.absorb_op(&ops[which - 3]).unwrap()),
                }
            }
            authority.absorb_host(host.clone()).unwrap();
            let held = authority.host(&host_id(1)).unwrap();
            seen.insert((held.standing().word(), held.name().to_owned()));
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen.first().unwrap().0, "member");
}

#[test]
fn suspending_who_let_a_host_in_takes_that_back_but_for_what_the_cut_leaves() {
    let mut place = place();
    let cy = key::<Operator>(3);
    let of_cy = place.fleet.certify(certificate("cy", &cy));
    let host = place.host(&place.token(1, true), 1);
    let word = place.word(&place.ana, 0, &host, true);
    for (alone, expected) in [(vec![], Standing::Pending), (vec![half(&word.id())], Standing::Member)] {
        let mut authority = place.fleet.authority();
        authority.absorb_host(host.clone()).unwrap();
        authority.absorb_admission(word.clone()).unwrap();
        let mut cut = Cut { streams: Vec::new(), alone };
        // The invitation stands in both, or the host would be disowned.
        cut.alone.push(half(&host.invitation().id()));
        cut.alone.sort_unstable();
        let whom = Whom::Certificate { id: place.under[0] };
        authority.absorb_suspension(place.fleet.suspend(&cy, of_cy, whom, cut)).unwrap();
        assert_eq!(standing(&authority, 1), expected);
    }
}

#[test]
fn a_retired_host_has_no_tags_is_no_member_and_comes_back_if_the_op_is_void() {
    let mut place = place();
    let cy = key::<Operator>(3);
    let of_cy = place.fleet.certify(certificate("cy", &cy));
    let host = place.host(&place.token(1, false), 1);
    let mut authority = place.fleet.authority();
    authority.absorb_host(host.clone()).unwrap();
    assert_eq!(authority.host(&host_id(1)).unwrap().tags().len(), 1);
    let by_bo = OpAction::Retire { host: host_id(1) };
    assert!(
        authority.absorb_op(&place.fleet.op(&place.bo, place.under[1], 1, None, &[], by_bo.clone())).is_err(),
        "who may only invite retires nobody"
    );
    authority.absorb_op(&place.fleet.op(&place.ana, place.under[0], 1, None, &[], by_bo)).unwrap();
    let held = authority.host(&host_id(1)).unwrap();
    assert_eq!((held.standing(), held.tags().len()), (Standing::Retired, 0));
    let whom = Whom::Certificate { id: place.under[0] };
    let cut = Cut { streams: Vec::new(), alone: vec![half(&host.invitation().id())] };
    authority.absorb_suspension(place.fleet.suspend(&cy, of_cy, whom, cut)).unwrap();
    let held = authority.host(&host_id(1)).unwrap();
    assert_eq!((held.standing(), held.tags().len()), (Standing::Member, 1));
}

#[test]
fn a_host_has_the_name_that_it_was_given_last_and_never_one_that_is_none() {
    let place = place();
    let host = place.host(&place.token(1, false), 1);
    let mut authority = place.fleet.authority();
    authority.absorb_host(host).unwrap();
    let rename = |previous: Option<&Signed<Op>>, name: &str| {
        let action = OpAction::Rename { host: host_id(1), name: name.to_owned() };
        place.fleet.op(&place.ana, place.under[0], 1, previous, &[], action)
    };
    let first = rename(None, "web-1");
    let second = rename(Some(&first), "web-2");
    for op in [&second, &first] {
        authority.absorb_op(op).unwrap();
    }
    assert_eq!(authority.host(&host_id(1)).unwrap().name(), "web-2");
    authority.retract_op(&second);
    assert_eq!(authority.host(&host_id(1)).unwrap().name(), "web-1");
    for bad in ["", "UPPER", "a b", "\u{1b}[2J", &"x".repeat(64)] {
        assert_eq!(authority.absorb_op(&rename(None, bad)), Err(Refusal::BadName), "{bad:?}");
    }
}

#[test]
fn nobody_fills_the_room_for_words_about_another_host() {
    let place = place();
    let host = place.host(&place.token(1, true), 1);
    let mut authority = place.fleet.authority();
    authority.absorb_host(host.clone()).unwrap();
    for at in 0..20 {
        let word = Admission { at: later(at), ..place.word(&place.bo, 1, &host, false).body().clone() };
        let taken = authority.absorb_admission(Signed::sign(place.fleet.id(), &place.bo, word));
        assert_eq!(taken.is_ok(), at < 16, "{at}");
    }
    assert!(authority.absorb_admission(place.word(&place.ana, 0, &host, true)).is_ok());
    assert_eq!(standing(&authority, 1), Standing::Member);
}
