//! How many stops are kept, and what stops of certificates that are past are worth. Everything in every order.

use proptest::prelude::*;

use super::sample::{Fleet, HOUR_MS, NOW, certificate, host_id, key, later};
use super::stops_tests::{Object, World, fold, permutations, state, suspended, verdict};
use super::*;
use crate::identity::{EntryId, Operator};

/// All suspensions and halts that are held.
fn held(authority: &Authority) -> Vec<EntryId> {
    let halts = authority.signed_halts().map(crate::identity::Signed::id);
    authority.suspensions().map(crate::identity::Signed::id).chain(halts).collect()
}

fn by_share(reason: &str) -> bool {
    reason.contains("more suspensions or halts under one certificate")
}

/// Suspensions by ana, by bo and by cem to whom ana passed a certificate on, and halts, more of each than a share of
/// three and two has room for.
fn flood() -> (World, Authority, Vec<Object>) {
    let world = World::new();
    let cem = key::<Operator>(3);
    let mut narrow = certificate("cem", &cem);
    narrow.verbs = vec![Verb::Suspend];
    "tag.role = web".clone_into(&mut narrow.scope);
    let grant = world.fleet.grant(&world.ana, world.under[0], narrow);
    let mut start = world.start.clone();
    start.bound_stops(3, 2);
    start.absorb_grant(grant.clone()).unwrap();
    let mut objects = Vec::new();
    for number in 0..6_u8 {
        for (by, under) in [(&world.ana, world.under[0]), (&cem, grant.id())] {
            let whom = Whom::Host { id: host_id(number) };
            objects.push(Object::Suspension(world.fleet.suspend(by, under, whom, Cut::default())));
        }
    }
    for number in 0..4_u8 {
        let halt = world.fleet.halt(&world.ana, world.under[0], &format!("tag.rack = {number}"));
        objects.push(Object::Halt(halt));
    }
    let bo = world.fleet.suspend(&world.bo, world.under[1], World::person("ana"), world.cut());
    objects.push(Object::Suspension(bo));
    // The roots lift some of them, so that others have room again.
    let stops: Vec<EntryId> = objects.iter().take(6).filter_map(Object::id).collect();
    let mut sorted = stops;
    sorted.sort_unstable();
    let lift = Lift { stops: sorted, at: NOW, reason: String::new() };
    objects.push(Object::Root(world.fleet.update(world.fleet.chain.head(), 3, RootChange::Lift(lift))));
    (world, start, objects)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn at_the_bound_the_same_stops_are_kept_and_mean_the_same_whatever_their_order(
        order in Just((0..18_usize).collect::<Vec<_>>()).prop_shuffle(),
        repeats in proptest::collection::vec(0..18_usize, 0..20),
    ) {
        let (_world, start, objects) = flood();
        prop_assert_eq!(objects.len(), 18);
        let expected = fold(&start, &objects.iter());
        prop_assert!(held(&expected).len() < 17, "some were put out");
        let given: Vec<usize> = repeats.into_iter().chain(order).collect();
        let folded = fold(&start, &given.iter().map(|at| &objects[*at]));
        prop_assert_eq!(held(&folded), held(&expected));
        prop_assert_eq!(state(&folded), state(&expected));
        // Who is given only what is kept comes to the same: that is how a replica hears of it.
        let kept = held(&expected);
        let is_kept = |object: &&Object| object.id().is_none_or(|id| kept.contains(&id));
        let late = fold(&start, &objects.iter().filter(is_kept));
        prop_assert_eq!(state(&late), state(&expected));
    }
}

#[test]
fn who_signs_more_suspensions_than_a_share_halts_where_they_may_and_nobody_who_was_suspended_gives_an_order()
{
    let world = World::new();
    let thief = world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), world.cut());
    let mut authority = world.start.clone();
    authority.bound_stops(3, 2);
    authority.absorb_suspension(thief.clone()).unwrap();
    let mut lowest = 0_u16;
    // Whoever took ana's key makes low ids until the one that suspends bo is put out.
    while authority.suspension(&thief.id()).is_some() {
        let whom = World::person(&format!("p{lowest}"));
        let made = world.fleet.suspend(&world.ana, world.under[0], whom, Cut::default());
        let _full = authority.absorb_suspension(made);
        lowest += 1;
    }
    let refusal = world.bo_is(&authority).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Halted { by, reason } if by == "ana" && by_share(reason)),
        "{refusal}"
    );
    let refusal = authority.absorb_suspension(thief).unwrap_err();
    assert!(matches!(refusal, Refusal::TooMany { limit: 3, .. }), "{refusal}");
    // The roots revoke the certificate; then nothing of the flood counts.
    let whom = Whom::Certificate { id: world.under[0] };
    let revocation = Revocation { whom, cut: world.cut(), reason: "stolen".into() };
    let revoke = world.fleet.update(world.fleet.chain.head(), 3, RootChange::Revoke(revocation));
    authority.absorb_root(revoke.bytes()).unwrap();
    assert_eq!(world.bo_is(&authority), Ok(()));
    assert_eq!(authority.stops().count(), 1, "the revocation");
}

#[test]
fn a_halt_passes_where_the_share_of_suspensions_is_full_and_another_admins_share_is_untouched() {
    let world = World::new();
    let mut authority = world.start.clone();
    let mut refused = 0;
    for number in 0..1_000_u16 {
        let whom = World::person(&format!("p{number}"));
        let suspension = world.fleet.suspend(&world.bo, world.under[1], whom, Cut::default());
        refused += usize::from(authority.absorb_suspension(suspension).is_err());
    }
    assert_eq!((refused, world.ana_is(&authority)), (0, Ok(())), "a full share halts nothing");
    authority.absorb_halt(world.fleet.halt(&world.bo, world.under[1], "tag.role = web")).unwrap();
    assert!(matches!(world.ana_is(&authority), Err(Refusal::Halted { reason, .. }) if reason == "smoke"));
    let suspension = world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), world.cut());
    assert!(authority.absorb_suspension(suspension).unwrap(), "another admin stops that one");
    assert_eq!(world.bo_is(&authority), suspended("bo", "ana"));
}

#[test]
fn a_flood_under_what_was_passed_on_puts_out_nothing_of_whom_it_is_from_and_halts_no_further_than_that_reaches()
 {
    let (ana, cem) = (key::<Operator>(1), key::<Operator>(3));
    let mut from = certificate("ana", &ana);
    "tag.role = web".clone_into(&mut from.scope);
    let mut narrow = certificate("cem", &cem);
    narrow.verbs = vec![Verb::Suspend];
    let (fleet, under) = Fleet::with(&[from, certificate("bo", &key(2))]);
    let grant = fleet.grant(&ana, under[0], narrow);
    let mut authority = fleet.authority();
    authority.bound_stops(2, 2);
    authority.absorb_grant(grant.clone()).unwrap();
    for (host, role) in [(1, "web"), (2, "db")] {
        let invitation = fleet.invite(&key(2), under[1], host, &[("role", role)], 9);
        authority.absorb_host(fleet.enrol(&invitation, host, host, &[("role", role)])).unwrap();
    }
    let by_ana = fleet.suspend(&ana, under[0], World::person("dee"), Cut::default());
    authority.absorb_suspension(by_ana.clone()).unwrap();
    for number in 0..8_u8 {
        let whom = World::person(&format!("p{number}"));
        let _full = authority.absorb_suspension(fleet.suspend(&cem, grant.id(), whom, Cut::default()));
    }
    assert!(authority.suspension(&by_ana.id()).is_some());
    assert_eq!(authority.suspensions().count(), 4, "one of ana's, and one more than cem's share");
    let halted = |host| authority.halted(authority.host(&host_id(host)).unwrap()).is_some();
    assert!(halted(1), "ana's certificate reaches there");
    assert!(!halted(2), "and not there");
}

// ---- certificates that are past

#[test]
fn under_a_certificate_that_is_past_only_what_a_checkpoint_names_counts_in_any_order() {
    let old = key::<Operator>(1);
    let mut past = certificate("ana", &old);
    past.not_after = later(HOUR_MS);
    let (fleet, under) = Fleet::with(&[past, certificate("bo", &key(2))]);
    let invitation = fleet.invite(&key(2), under[1], 1, &[("role", "web")], 9);
    let mut start = fleet.authority();
    start.absorb_host(fleet.enrol(&invitation, 1, 1, &[("role", "web")])).unwrap();
    let (first, second) = (World::person("cem"), World::person("bo"));
    let in_time = fleet.suspend(&old, under[0], first, Cut::default());
    // Whoever finds the key years later writes a time at which it was valid.
    let cut = Cut { streams: Vec::new(), alone: vec![half(&invitation.id())] };
    let back_dated = fleet.suspend(&old, under[0], second, cut);
    let halt = fleet.halt(&old, under[0], "all");
    let mut known = start.clone();
    known.absorb_suspension(in_time.clone()).unwrap();
    let at = later(2 * HOUR_MS);
    assert_eq!(known.unsealed(at).map(|(_, of)| of.person.clone()).collect::<Vec<_>>(), ["ana"]);
    let stands: Vec<_> = known.stops_of_the_past(at).iter().map(half).collect();
    assert_eq!(stands, [half(&in_time.id())]);
    let checkpoint = RootChange::Checkpoint(Checkpoint { at, stands });
    let checkpoint = fleet.update(fleet.chain.head(), 3, checkpoint);
    let objects = [
        Object::Suspension(in_time.clone()),
        Object::Suspension(back_dated.clone()),
        Object::Halt(halt),
        Object::Root(checkpoint),
    ];
    let bo_is = |authority: &Authority| verdict(authority, fleet.id(), &key(2), under[1]);
    let open = fold(&start, &objects[..3].iter());
    assert!(bo_is(&open).is_err(), "before the checkpoint nobody can tell: it is cheap to stop");
    for order in permutations(4) {
        let authority = fold(&start, &order.iter().map(|at| &objects[*at]));
        assert_eq!(bo_is(&authority), Ok(()), "{order:?}");
        assert_eq!(authority.stops().map(|stop| stop.id).collect::<Vec<_>>(), [in_time.id()], "{order:?}");
        assert_eq!(authority.unsealed(at).count(), 0);
    }
}

#[test]
fn an_admin_of_now_stops_as_before_behind_a_checkpoint() {
    let mut world = World::new();
    world.fleet.change(RootChange::Checkpoint(Checkpoint { at: later(HOUR_MS), stands: Vec::new() }));
    let mut authority = world.start.clone();
    for update in world.fleet.chain.updates().iter().skip(1) {
        authority.absorb_root(update.bytes()).unwrap();
    }
    let suspension = world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), world.cut());
    authority.absorb_suspension(suspension).unwrap();
    assert_eq!(world.bo_is(&authority), suspended("bo", "ana"));
}

// ---- one change at a time is the same as all at once

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_lift_that_comes_before_its_suspension_means_what_it_means_behind_it(
        order in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let world = World::new();
        let (one, two) = (
            world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), world.cut()),
            world.fleet.suspend(&world.ana, world.under[0], World::person("bo"), Cut::default()),
        );
        let mut both = vec![one.id(), two.id()];
        both.sort_unstable();
        let head = world.fleet.chain.head();
        let lift = |stops, at| RootChange::Lift(Lift { stops, at, reason: String::new() });
        let first = world.fleet.update(head, 3, lift(vec![one.id()], NOW));
        let second = world.fleet.update(Some(first.id()), 4, lift(both, later(HOUR_MS)));
        let objects = [
            Object::Suspension(one), Object::Suspension(two), Object::Root(first), Object::Root(second),
        ];
        let folded = fold(&world.start, &order.iter().map(|at| &objects[*at]));
        prop_assert_eq!(folded.stops().count(), 0);
        prop_assert_eq!(state(&folded), state(&fold(&world.start, &objects.iter())));
        let early = verdict(&folded, world.fleet.id(), &world.bo, world.under[1]);
        prop_assert_eq!(early, Err(Refusal::BeforeLift { person: "bo".to_owned() }));
        let tags = folded.host(&host_id(1)).unwrap().tags().clone();
        prop_assert_eq!(&tags["env"], &TagState::Set("prod".to_owned()), "what the second took is back");
    }
}
