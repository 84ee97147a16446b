//! Recovery keys: what they can do, when, and who can deny it. Everything in every order.

use std::time::Duration;

use proptest::prelude::*;

use super::sample::{Fleet, HOUR_MS, NOW, certificate, host_id, key, later};
use super::stops_tests::{Object, World, fold, permutations, state, verdict};
use super::*;
use crate::identity::{Cosigned, EntryId, Root};

const DELAY: u64 = 72 * HOUR_MS;

fn update(fleet: &Fleet, by: u8, parent: EntryId, sequence: u32, change: RootChange) -> Cosigned<RootUpdate> {
    Cosigned::sign(fleet.id(), &[&key::<Root>(by)], RootUpdate { sequence, parent: Some(parent), change })
}

fn deny(recovery: EntryId) -> RootChange {
    RootChange::Deny(Denial { recovery, reason: "the paper was stolen".to_owned() })
}

/// A recovery that lets key 9 govern, and what it does behind it.
fn recovery(world: &World) -> (Cosigned<RootUpdate>, Cosigned<RootUpdate>) {
    let recover = world.fleet.recover(world.fleet.chain.head(), 3, 9);
    let certify = RootChange::Certify(certificate("dee", &key(5)));
    let behind = update(&world.fleet, 9, recover.id(), 4, certify);
    (recover, behind)
}

fn dee_is(world: &World, authority: &Authority, under: EntryId) -> Result<(), Refusal> {
    verdict(authority, world.fleet.id(), &key(5), under)
}

#[test]
fn a_recovery_counts_after_its_delay_and_no_earlier_whatever_time_is_in_it() {
    let world = World::new();
    let (recover, behind) = recovery(&world);
    let mut authority = world.start.clone();
    assert!(authority.absorb_root(recover.bytes()).unwrap());
    assert!(authority.absorb_root(behind.bytes()).unwrap(), "kept and relayed from the first moment");
    // Seen a week after it says that it was signed.
    let seen = later(7 * 24 * HOUR_MS);
    assert_eq!(authority.wait(seen), (vec![recover.id()], false));
    let from = seen.after(Duration::from_millis(DELAY));
    assert_eq!(authority.counts_from(&recover.id()), Some(from));
    assert_eq!(authority.wait(crate::time::Timestamp(from.0 - 1)), (Vec::new(), false));
    assert_eq!(authority.chain().roots(), world.fleet.chain.roots());
    assert_eq!(dee_is(&world, &authority, behind.id()), Err(Refusal::UnknownCertificate));
    assert_eq!(authority.chain().forks(), 0, "the roots signed one history");
    assert_eq!(authority.wait(from), (Vec::new(), true));
    assert_eq!(authority.chain().roots().keys, [key::<Root>(9).public()]);
    assert_eq!(dee_is(&world, &authority, behind.id()), Ok(()));
    assert_eq!(world.ana_is(&authority), Ok(()), "what the roots said before it stands");
    // A time that lies ahead only makes it later.
    let mut early = world.start.clone();
    early.absorb_root(recover.bytes()).unwrap();
    early.wait(crate::time::Timestamp(NOW.0 - DELAY));
    assert_eq!(early.counts_from(&recover.id()), Some(later(DELAY)));
}

#[test]
fn after_a_restart_a_recovery_waits_from_when_it_was_seen_first() {
    let world = World::new();
    let (recover, _) = recovery(&world);
    let mut authority = world.start.clone();
    authority.absorb_root(recover.bytes()).unwrap();
    authority.wait(later(HOUR_MS));
    let noted: Vec<_> = authority.recoveries_seen().collect();
    let mut again = world.start.clone();
    for (id, at) in noted {
        again.saw_recovery(id, at);
    }
    again.absorb_root(recover.bytes()).unwrap();
    assert_eq!(again.wait(later(HOUR_MS + DELAY)), (Vec::new(), true));
}

#[test]
fn who_holds_no_recovery_key_recovers_nothing_and_a_new_key_must_sign() {
    let world = World::new();
    let head = world.fleet.chain.head();
    let roots = |number: u8| Roots { keys: vec![key::<Root>(number).public()], threshold: 1 };
    let of = |by: Roots, to: Roots, signers: &[u8]| {
        let recover = Recover { by, roots: to, at: NOW, reason: String::new() };
        let body = RootUpdate { sequence: 3, parent: head, change: RootChange::Recover(recover) };
        let keys: Vec<_> = signers.iter().map(|number| key::<Root>(*number)).collect();
        let update = Cosigned::sign(world.fleet.id(), &keys.iter().collect::<Vec<_>>(), body);
        world.start.clone().absorb_root(update.bytes())
    };
    let papers = Fleet::papers();
    assert_eq!(of(papers.clone(), roots(9), &[51, 9]), Ok(true));
    assert_eq!(of(papers.clone(), roots(9), &[52, 9]), Ok(true), "either of them");
    assert_eq!(of(papers.clone(), roots(9), &[1, 9]), Err(ChainError::TooFewRoots), "nor do the roots");
    assert_eq!(of(roots(9), roots(9), &[9]), Err(ChainError::TooFewRoots), "not in the genesis");
    assert_eq!(of(papers.clone(), roots(9), &[51]), Err(ChainError::NotProved));
    let both = Roots { threshold: 2, ..papers };
    assert_eq!(of(both, roots(9), &[51, 52, 9]), Err(ChainError::TooFewRoots), "the number is in the hash");
}

#[test]
fn the_roots_deny_a_recovery_whenever_the_denial_comes_in_every_order() {
    let world = World::new();
    let (recover, behind) = recovery(&world);
    let denial = update(&world.fleet, 1, world.fleet.chain.head().unwrap(), 3, deny(recover.id()));
    let objects: Vec<Object> = [&recover, &behind, &denial].map(|of| Object::Root(of.clone())).to_vec();
    let mut states = Vec::new();
    for order in permutations(3) {
        for matures_after in 0..=3 {
            let mut authority = world.start.clone();
            for (at, number) in order.iter().enumerate() {
                if at == matures_after {
                    authority.wait(NOW);
                    authority.wait(later(DELAY));
                }
                objects[*number].give(&mut authority);
            }
            let mut authority = fold(&authority, &objects.iter());
            authority.wait(NOW);
            authority.wait(later(2 * DELAY));
            assert_eq!(authority.chain().roots(), world.fleet.chain.roots(), "{order:?} {matures_after}");
            assert!(dee_is(&world, &authority, behind.id()).is_err(), "{order:?} {matures_after}");
            let told = authority.chain().recoveries().map(|held| held.state).collect::<Vec<_>>();
            assert_eq!(told, [RecoveryState::Denied]);
            states.push(state(&authority));
        }
    }
    assert!(states.iter().all(|state| *state == states[0]));
}

#[test]
fn a_recovery_cannot_deny_the_roots_and_its_own_roots_cannot_deny_it() {
    let world = World::new();
    let (recover, _) = recovery(&world);
    let own = update(&world.fleet, 9, recover.id(), 4, deny(recover.id()));
    let thief = update(&world.fleet, 9, world.fleet.chain.head().unwrap(), 3, deny(recover.id()));
    let mut authority = world.start.clone();
    authority.absorb_root(recover.bytes()).unwrap();
    assert!(authority.absorb_root(own.bytes()).unwrap(), "kept, and nothing comes of it");
    assert_eq!(authority.absorb_root(thief.bytes()), Err(ChainError::TooFewRoots));
    authority.wait(NOW);
    assert_eq!(authority.wait(later(DELAY)), (Vec::new(), true));
}

#[test]
fn roots_that_were_rotated_out_before_the_last_checkpoint_deny_nothing() {
    let mut world = World::new();
    let founded = world.fleet.chain.head().unwrap();
    let rotate = RootUpdate {
        sequence: 3,
        parent: Some(founded),
        change: RootChange::Roots(Roots { keys: vec![key::<Root>(2).public()], threshold: 1 }),
    };
    let rotate = Cosigned::sign(world.fleet.id(), &[&key::<Root>(1), &key::<Root>(2)], rotate);
    assert!(world.fleet.chain.absorb(rotate.bytes()).unwrap());
    let checkpoint = update(&world.fleet, 2, rotate.id(), 4, RootChange::Checkpoint(Checkpoint::default()));
    assert!(world.fleet.chain.absorb(checkpoint.bytes()).unwrap());
    let recover = world.fleet.recover(world.fleet.chain.head(), 5, 9);
    let old = update(&world.fleet, 1, founded, 3, deny(recover.id()));
    let mut authority = world.fleet.authority();
    authority.absorb_root(recover.bytes()).unwrap();
    authority.absorb_root(old.bytes()).unwrap();
    authority.wait(NOW);
    assert_eq!(authority.wait(later(DELAY)), (Vec::new(), true));
    let now = update(&world.fleet, 2, checkpoint.id(), 5, deny(recover.id()));
    authority.absorb_root(now.bytes()).unwrap();
    assert_eq!(authority.chain().roots().keys, [key::<Root>(2).public()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A recovery, what its roots say behind it, what the roots say beside it, suspensions by all of them: whatever
    /// the order, the repeats and the moments at which a host looks at the time, hosts come to one state.
    #[test]
    fn whatever_comes_when_hosts_that_waited_come_to_the_same(
        order in Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle(),
        repeats in proptest::collection::vec(0..7_usize, 0..10),
        looks in proptest::collection::vec((0..17_usize, 0..200_u64), 0..6),
        denied in any::<bool>(),
    ) {
        let world = World::new();
        let (recover, behind) = recovery(&world);
        let head = world.fleet.chain.head().unwrap();
        let beside = update(&world.fleet, 1, head, 3, RootChange::Certify(certificate("fay", &key(6))));
        let whom = World::person("bo");
        let revoke = RootChange::Revoke(Revocation { whom, cut: world.cut(), reason: String::new() });
        let revoke = update(&world.fleet, 1, beside.id(), 4, revoke);
        let denial = update(&world.fleet, 1, beside.id(), 4, deny(recover.id()));
        let by_dee = world.fleet.suspend(&key(5), behind.id(), World::person("ana"), world.cut());
        let by_fay = world.fleet.suspend(&key(6), beside.id(), World::person("dee"), Cut::default());
        let last = if denied { Object::Root(denial) } else { Object::Root(recover.clone()) };
        let objects = [
            Object::Root(recover), Object::Root(behind.clone()), Object::Root(beside), Object::Root(revoke),
            Object::Suspension(by_dee), Object::Suspension(by_fay), last,
        ];
        let waited = |authority: &mut Authority| {
            authority.wait(later(200 * HOUR_MS));
            authority.wait(later(300 * HOUR_MS));
        };
        let mut expected = fold(&world.start, &objects.iter());
        waited(&mut expected);
        let given: Vec<usize> = repeats.into_iter().chain(order).collect();
        let mut authority = world.start.clone();
        for (at, number) in given.iter().enumerate() {
            for (_, hours) in looks.iter().filter(|(look, _)| *look == at) {
                authority.wait(later(hours * HOUR_MS));
            }
            objects[*number].give(&mut authority);
        }
        let mut authority = fold(&authority, &objects.iter());
        waited(&mut authority);
        prop_assert_eq!(state(&authority), state(&expected));
        let is_recovered = authority.chain().roots().keys == [key::<Root>(9).public()];
        prop_assert_eq!(is_recovered, !denied);
        // What the roots revoked beside it counts whatever becomes of the recovery.
        prop_assert!(world.bo_is(&authority).is_err());
        prop_assert!(authority.host(&host_id(1)).is_some());
    }
}
