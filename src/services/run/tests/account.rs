use std::{sync::LazyLock, time::Duration};

use proptest::prelude::*;

use super::agent::{Fleet, Seen};
use crate::{
    identity::EntryId,
    replica::Outcome,
    services::run::{Claim, ExitMode, Patience, Status, Taken, Tally, Verified, Withheld, verify},
};

const HOSTS: &[(&str, &str)] = &[("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")];
/// The same and one more.
static STRANGER: LazyLock<Fleet> =
    LazyLock::new(|| Fleet::of(&[("a", "x"), ("b", "x"), ("c", "x"), ("d", "x"), ("e", "x")]));
static FLEET: LazyLock<Fleet> = LazyLock::new(|| Fleet::of(HOSTS));
const ID: EntryId = EntryId([7; 32]);

fn outcomes() -> Vec<Outcome> {
    let why = || "because".to_owned();
    vec![
        Outcome::Exited { code: 0 },
        Outcome::Exited { code: 3 },
        Outcome::Exited { code: 256 },
        Outcome::Signaled { signal: 9 },
        Outcome::TimedOut {},
        Outcome::Cancelled {},
        Outcome::Indeterminate { why: why() },
        Outcome::Refused { why: why() },
        Outcome::NotStarted { code: 127, why: why() },
    ]
}

fn verified(fleet: &Fleet, at: usize, outcome: Outcome) -> Verified {
    let member = &fleet.members[at];
    let order = super::foreseen::order(fleet, |_| {});
    let seen = Seen { fleet: fleet.chain.fleet(), id: ID, order: order.body(), asked: 1, cancelled: false };
    verify(&seen.report(member, outcome, b"", b""), ID, fleet.replica.authority()).unwrap()
}

fn tally(fleet: &Fleet) -> Tally {
    Tally::new(&fleet.members.iter().map(|member| member.id).collect::<Vec<_>>())
}

#[test]
fn each_outcome_has_its_column_and_only_success_is_0() {
    let fleet = Fleet::of(&HOSTS[..1]);
    let expected = [
        (Status::Ok, 0, 0),
        (Status::Failed, 6, 3),
        (Status::Failed, 6, 255),
        (Status::Failed, 6, 137),
        (Status::TimedOut, 6, 6),
        (Status::Cancelled, 6, 6),
        (Status::Indeterminate, 6, 6),
        (Status::Refused, 6, 6),
        (Status::NotStarted, 6, 127),
    ];
    for (outcome, (status, summary, remote)) in outcomes().into_iter().zip(expected) {
        let mut tally = tally(&fleet);
        tally.report(fleet.members[0].id, Ok(verified(&fleet, 0, outcome.clone())));
        assert_eq!(tally.counts().of(status), 1, "{outcome:?}");
        assert_eq!(tally.code(ExitMode::Summary), summary, "{outcome:?}");
        assert_eq!(tally.code(ExitMode::Remote), remote, "{outcome:?}");
        assert_eq!(tally.code(ExitMode::Max), remote, "{outcome:?}");
    }
}

#[test]
fn silence_is_7_and_failure_is_over_silence() {
    let fleet = Fleet::of(HOSTS);
    let mut tally = tally(&fleet);
    for mode in [ExitMode::Summary, ExitMode::Max, ExitMode::Remote] {
        assert_eq!(tally.code(mode), 7);
    }
    tally.report(fleet.members[0].id, Ok(verified(&fleet, 0, Outcome::Exited { code: 0 })));
    tally.running(fleet.members[1].id, Duration::ZERO);
    assert_eq!(tally.code(ExitMode::Summary), 7);
    tally.report(fleet.members[2].id, Ok(verified(&fleet, 2, Outcome::Exited { code: 1 })));
    assert_eq!(tally.code(ExitMode::Summary), 6);
}

#[test]
fn a_claim_is_failure_until_proof_comes_and_never_replaces_it() {
    let fleet = Fleet::of(&HOSTS[..1]);
    let host = fleet.members[0].id;
    let mut tally = tally(&fleet);
    assert_eq!(tally.report(host, Err(Claim::Signature)), Taken::Claimed);
    assert_eq!((tally.code(ExitMode::Summary), tally.code(ExitMode::Remote)), (6, 6));
    let patience = Patience { silent: Duration::from_secs(5), running: Duration::from_secs(9) };
    assert!(tally.wait_until(Duration::ZERO, patience).is_some(), "a claim does not end the waiting");
    let proof = verified(&fleet, 0, Outcome::Exited { code: 0 });
    assert_eq!(tally.report(host, Ok(proof.clone())), Taken::Settled);
    assert_eq!(tally.code(ExitMode::Summary), 0);
    assert_eq!(tally.report(host, Err(Claim::Signature)), Taken::Claimed);
    assert_eq!(tally.report(host, Ok(proof)), Taken::Known);
    assert_eq!(tally.code(ExitMode::Summary), 0);
}

#[test]
fn two_different_results_of_one_host_are_a_conflict_and_the_first_stands() {
    let fleet = Fleet::of(&HOSTS[..1]);
    let host = fleet.members[0].id;
    let mut tally = tally(&fleet);
    tally.report(host, Ok(verified(&fleet, 0, Outcome::Exited { code: 0 })));
    assert_eq!(tally.report(host, Ok(verified(&fleet, 0, Outcome::Exited { code: 1 }))), Taken::Conflict);
    assert_eq!(tally.counts().of(Status::Ok), 1);
    for mode in [ExitMode::Summary, ExitMode::Max, ExitMode::Remote] {
        assert_eq!(tally.code(mode), 6);
    }
}

#[test]
fn who_works_is_waited_for_longer_than_who_is_silent_but_not_for_ever() {
    let fleet = Fleet::of(&HOSTS[..2]);
    let patience = Patience { silent: Duration::from_secs(5), running: Duration::from_secs(60) };
    let mut tally = tally(&fleet);
    let at = Duration::from_secs;
    assert_eq!(tally.wait_until(at(0), patience), Some(at(5)));
    assert_eq!(tally.wait_until(at(5), patience), None);
    tally.running(fleet.members[0].id, at(2));
    tally.running(fleet.members[0].id, at(50));
    assert_eq!(tally.wait_until(at(6), patience), Some(at(62)), "saying it again buys no time");
    assert_eq!(tally.wait_until(at(62), patience), None);
    tally.report(fleet.members[0].id, Ok(verified(&fleet, 0, Outcome::Exited { code: 0 })));
    assert_eq!(tally.wait_until(at(6), patience), None);
    assert_eq!(tally.wait_until(at(3), patience), Some(at(5)));
}

#[test]
fn whom_nobody_asked_is_not_started_and_is_not_waited_for() {
    let fleet = Fleet::of(HOSTS);
    let ids: Vec<_> = fleet.members.iter().map(|member| member.id).collect();
    let patience = Patience { silent: Duration::from_secs(5), running: Duration::from_secs(60) };
    let at = Duration::from_secs;
    for (why, code) in [
        (Withheld::Later, 6),
        (Withheld::Paused, 6),
        (Withheld::Budget, 8),
        (Withheld::Left, 6),
        (Withheld::Cancelled, 6),
        (Withheld::Broken, 6),
    ] {
        let mut tally = tally(&fleet);
        tally.report(ids[0], Ok(verified(&fleet, 0, Outcome::Exited { code: 0 })));
        tally.withhold(&ids[1..], why);
        assert_eq!((tally.counts().of(Status::Ok), tally.counts().of(Status::NotStarted)), (1, 3));
        assert_eq!(tally.wait_until(at(0), patience), None);
        for mode in [ExitMode::Summary, ExitMode::Max] {
            assert_eq!(tally.code(mode), code, "{why:?}");
        }
        assert_eq!(tally.errors(|_| true), 0, "nobody failed");
        // Its wave begins 20 s later, and from then it has its time.
        tally.ask(&ids[1..2], at(20));
        assert_eq!(tally.counts().of(Status::Silent), 1);
        assert_eq!(tally.wait_until(at(20), patience), Some(at(25)));
    }
}

#[test]
fn what_counts_against_the_budget_is_failure_and_silence_of_those_that_were_up() {
    let fleet = Fleet::of(HOSTS);
    let host = fleet.members[0].id;
    let nobody_up = |outcome: &Outcome| {
        let mut tally = tally(&fleet);
        tally.report(host, Ok(verified(&fleet, 0, outcome.clone())));
        tally.errors(|_| false)
    };
    for outcome in outcomes() {
        assert_eq!(nobody_up(&outcome), usize::from(!outcome.ok()), "{outcome:?}");
    }
    let silent = tally(&fleet);
    assert_eq!((silent.errors(|_| false), silent.errors(|id| *id == host)), (0, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_arrives_every_host_is_in_one_column(
        events in proptest::collection::vec((0_usize..5, 0_usize..14), 0..24),
    ) {
        let (fleet, stranger, outcomes) = (&*FLEET, &*STRANGER, outcomes());
        let mut tally = tally(fleet);
        for (host, what) in events {
            let id = stranger.members[host].id;
            match outcomes.get(what) {
                Some(outcome) => { tally.report(id, Ok(verified(stranger, host, outcome.clone()))); }
                None if what == 9 => { tally.report(id, Err(Claim::Signer)); }
                None if what == 10 => tally.running(id, Duration::ZERO),
                None if what == 12 => tally.withhold(&[id], Withheld::Budget),
                None if what == 13 => tally.ask(&[id], Duration::ZERO),
                None => tally.spoil(id),
            }
            let counts = tally.counts();
            prop_assert_eq!(counts.total(), HOSTS.len());
            let by_hand: usize = Status::ALL.into_iter().map(|status| counts.of(status)).sum();
            prop_assert_eq!(by_hand, HOSTS.len());
            let clean = counts.of(Status::Ok) == HOSTS.len() && !tally.seats().any(|(_, s)| s.conflict());
            for mode in [ExitMode::Summary, ExitMode::Max, ExitMode::Remote] {
                prop_assert_eq!(tally.code(mode) == 0, clean, "0 is success of all and nothing else");
            }
        }
    }
}

/// A name, what makes it so, the exit code of the summary, and that of the host by itself.
type Standing<'a> = (String, Box<dyn Fn(&mut Tally) + 'a>, u8, u8);

/// All that can stand of a host in an accounting.
fn standings(fleet: &Fleet) -> Vec<Standing<'_>> {
    let host = fleet.members[0].id;
    let mut all: Vec<Standing<'_>> = Vec::new();
    let codes = [(0, 0), (6, 3), (6, 255), (6, 137), (6, 6), (6, 6), (6, 6), (6, 6), (6, 127)];
    for (outcome, (summary, remote)) in outcomes().into_iter().zip(codes) {
        let name = format!("{outcome:?}");
        let settle = move |tally: &mut Tally| {
            tally.report(host, Ok(verified(fleet, 0, outcome.clone())));
        };
        all.push((name, Box::new(settle), summary, remote));
    }
    all.push(("silent".to_owned(), Box::new(|_| {}), 7, 7));
    all.push(("running".to_owned(), Box::new(move |tally| tally.running(host, Duration::ZERO)), 7, 7));
    let claim = move |tally: &mut Tally| {
        tally.report(host, Err(Claim::Signer));
    };
    all.push(("claimed".to_owned(), Box::new(claim), 6, 6));
    let contradict = move |tally: &mut Tally| {
        for code in [0, 1] {
            tally.report(host, Ok(verified(fleet, 0, Outcome::Exited { code })));
        }
    };
    all.push(("contradicted".to_owned(), Box::new(contradict), 6, 6));
    let spoil = move |tally: &mut Tally| {
        tally.report(host, Ok(verified(fleet, 0, Outcome::Exited { code: 0 })));
        tally.spoil(host);
    };
    all.push(("spoilt".to_owned(), Box::new(spoil), 6, 6));
    for (why, code) in [
        (Withheld::Later, 6),
        (Withheld::Paused, 6),
        (Withheld::Budget, 8),
        (Withheld::Left, 6),
        (Withheld::Cancelled, 6),
        (Withheld::Broken, 6),
    ] {
        let withhold = move |tally: &mut Tally| tally.withhold(&[host], why);
        all.push((format!("withheld: {why:?}"), Box::new(withhold), code, code));
    }
    all
}

#[test]
fn the_exit_code_of_every_standing_in_every_mode_alone_and_beside_others() {
    let fleet = Fleet::of(&HOSTS[..2]);
    let other = fleet.members[1].id;
    for (name, stand, summary, remote) in standings(&fleet) {
        let codes =
            |tally: &Tally| [ExitMode::Summary, ExitMode::Max, ExitMode::Remote].map(|mode| tally.code(mode));
        let mut alone = Tally::new(&[fleet.members[0].id]);
        stand(&mut alone);
        assert_eq!(codes(&alone), [summary, remote, remote], "{name}, alone");
        // A remote code is of one host, so the command line asks for it with no more.
        for (code, beside_summary) in [(0, summary), (3, if summary == 8 { 8 } else { 6 })] {
            let mut beside = tally(&fleet);
            stand(&mut beside);
            beside.report(other, Ok(verified(&fleet, 1, Outcome::Exited { code })));
            let max = if summary == 8 { 8 } else { remote.max(u8::try_from(code).unwrap()) };
            assert_eq!(codes(&beside)[..2], [beside_summary, max], "{name}, beside {code}");
        }
        assert!(alone.code(ExitMode::Summary) != 0 || name.contains("code: 0"), "{name} is no success");
    }
}
