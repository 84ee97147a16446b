use std::collections::BTreeSet;

use super::agent::{Desk, Fleet, Person, SHORT, all, told};
use crate::{
    identity::{HostId, Signed},
    journal::Stop,
    replica::{Order, Outcome},
    services::run::{Interrupt, Pace, RunRequest, rollout::Rollout},
    targets::Share,
    terminal::Format,
};

/// A fleet of so many hosts, none of which needs asking about.
fn fleet(hosts: usize) -> Fleet {
    let names: Vec<String> = (0..hosts).map(|at| format!("n-{at}")).collect();
    Fleet::of(&names.iter().map(|name| (name.as_str(), "n")).collect::<Vec<_>>())
}

fn batch(size: u32) -> RunRequest {
    RunRequest { pace: Pace::Batch(Share::Hosts(size)), ..all() }
}

/// The rosters of the orders that were handed over, in order.
fn rosters(desk: &Desk) -> Vec<Vec<HostId>> {
    let state = desk.state.lock().unwrap();
    state.orders.iter().map(|order| order.body().roster.named().to_vec()).collect()
}

fn sorted(desk: &Desk) -> Vec<HostId> {
    let mut ids: Vec<HostId> = desk.fleet.members.iter().map(|member| member.id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn each_wave_is_an_order_of_its_own_and_the_job_is_one() {
    let desk = Desk::new(fleet(5), |seen, member| told(seen.ok(member, "x")));
    let ran = desk.run(&batch(2)).await;
    assert_eq!(ran.code(), 0, "{}", ran.err);
    let rosters = rosters(&desk);
    assert_eq!(rosters.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(rosters.concat(), sorted(&desk), "in the order of the roster, each once");
    let orders = desk.state.lock().unwrap().orders.clone();
    let nonces: BTreeSet<_> = orders.iter().map(|order| order.body().nonce).collect();
    assert_eq!(nonces.len(), 3);
    assert!(ran.text().contains("n-[0-4] (5)"), "one account of all: {}", ran.text());
    assert!(ran.err.contains("wave 3 of 3: 1 host\n"), "{}", ran.err);
    assert_eq!(desk.home.reports(&orders[0].id()).unwrap().len(), 5);
    let waves = desk.home.waves(&orders[0].id()).unwrap().unwrap();
    assert_eq!((waves.orders.len(), waves.stop), (3, None));
    assert!(!desk.home.is_paced(&orders[0].id()), "and nobody is at it any more");
}

#[tokio::test]
async fn more_failures_than_may_be_start_no_other_wave_and_the_exit_code_is_8() {
    for (errors_max, asked, code) in
        [(Some(0), 2, 8), (Some(1), 2, 8), (Some(2), 4, 8), (Some(5), 6, 6), (None, 6, 6)]
    {
        let desk = Desk::new(fleet(6), |seen, member| {
            told(seen.report(member, Outcome::Exited { code: 1 }, b"", b""))
        });
        let request = RunRequest { errors_max: errors_max.map(Share::Hosts), ..batch(2) };
        let ran = desk.run_as(&request, Format::Json, Person::default()).await;
        assert_eq!(ran.code(), code, "{errors_max:?}");
        assert_eq!(rosters(&desk).concat().len(), asked, "{errors_max:?}");
        let job: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
        let counts = &job["counts"];
        assert_eq!(
            (&counts["failed"], &counts["not_started"], &counts["total"]),
            (&asked.into(), &(6 - asked).into(), &6.into())
        );
        if asked < 6 {
            assert!(ran.err.contains("stopped: "), "{}", ran.err);
            let rows = job["hosts"].as_array().unwrap();
            let budget =
                rows.iter().filter(|row| row["why"].as_str().is_some_and(|why| why.contains("(budget)")));
            assert_eq!(budget.count(), 6 - asked);
        }
    }
}

#[tokio::test]
async fn a_budget_without_a_pace_begins_with_one_host() {
    let desk =
        Desk::new(fleet(7), |seen, member| told(seen.report(member, Outcome::Exited { code: 1 }, b"", b"")));
    let ran = desk.run(&RunRequest { errors_max: Some(Share::Hosts(0)), ..all() }).await;
    assert_eq!((ran.code(), rosters(&desk).len()), (8, 1));
    assert_eq!(rosters(&desk)[0].len(), 1);
    assert!(ran.err.contains("stopped: 1 failed, where none may: 6 hosts are not started"), "{}", ran.err);
}

#[tokio::test]
async fn who_was_away_counts_for_nothing_and_who_fell_silent_is_a_failure() {
    let request = || RunRequest { errors_max: Some(Share::Hosts(0)), wait: SHORT, ..batch(1) };
    let away = Desk::new(
        fleet(2),
        |seen, member| {
            if member.name == "n-0" { vec![] } else { told(seen.ok(member, "x")) }
        },
    );
    let ran = away.run(&request()).await;
    assert_eq!((ran.code(), rosters(&away).len()), (7, 2), "{}", ran.err);

    let cut_off = Desk::new(fleet(2), |_, _| vec![]);
    cut_off.state.lock().unwrap().up = sorted(&cut_off);
    let ran = cut_off.run(&request()).await;
    assert_eq!((ran.code(), rosters(&cut_off).len()), (8, 1), "{}", ran.err);
    // It must not begin when it comes back.
    let state = cut_off.state.lock().unwrap();
    assert_eq!(state.cancelled, [state.orders[0].id()]);
    assert!(ran.text().contains("cancelled: it will not start it"), "{}", ran.text());
}

#[tokio::test]
async fn who_leaves_leaves_the_later_waves_unsigned_and_accounted_for() {
    let desk = Desk::new(fleet(3), |_, _| vec![]);
    let person = Person { interrupts: vec![Interrupt::Leave], ..Person::default() };
    let ran = desk.run_as(&batch(1), Format::Json, person).await;
    assert_eq!((ran.code(), rosters(&desk).len()), (130, 1));
    let job: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!((&job["counts"]["silent"], &job["counts"]["not_started"]), (&1.into(), &2.into()));
    let id = desk.state.lock().unwrap().orders[0].id();
    assert_eq!(desk.home.waves(&id).unwrap().unwrap().stop, Some(Stop::Detached {}));
    assert!(ran.err.contains("2 of later waves do not start it\n"), "{}", ran.err);
    let back = format!("come back: muster job watch {0} · muster job resume {0}\n", id.short());
    assert!(ran.err.contains(&back), "{}", ran.err);
}

#[tokio::test]
async fn the_second_ctrl_c_cancels_and_no_other_wave_begins() {
    let desk = Desk::new(fleet(3), |seen, member| {
        if seen.cancelled { told(seen.report(member, Outcome::Cancelled {}, b"", b"")) } else { vec![] }
    });
    let person =
        Person { interrupts: vec![Interrupt::Key, Interrupt::Key, Interrupt::Key], ..Person::default() };
    let ran = desk.run_as(&batch(1), Format::Json, person).await;
    assert_eq!(ran.code(), 130);
    let state = desk.state.lock().unwrap();
    assert_eq!((state.orders.len(), state.cancelled.len()), (1, 1));
    let waves = desk.home.waves(&state.orders[0].id()).unwrap().unwrap();
    assert_eq!(waves.stop, Some(Stop::Cancelled {}));
}

#[tokio::test]
async fn an_order_that_is_not_taken_ends_the_waves_and_says_so() {
    let desk = Desk::new(fleet(3), |seen, member| told(seen.ok(member, "x")));
    desk.state.lock().unwrap().takes = Some(1);
    let ran = desk.run_as(&batch(1), Format::Json, Person::default()).await;
    assert_eq!(ran.code(), 1, "{}", ran.err);
    let job: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!((&job["counts"]["ok"], &job["counts"]["total"]), (&1.into(), &3.into()));
    assert!(ran.err.contains("error: "), "{}", ran.err);
}

#[tokio::test]
async fn stages_that_reach_not_all_are_a_usage_error() {
    let desk = Desk::new(fleet(3), |seen, member| told(seen.ok(member, "x")));
    let ran = desk.run(&RunRequest { pace: Pace::stages("1,2").unwrap(), ..all() }).await;
    assert_eq!(ran.error().code(), 2);
    assert_eq!(ran.error().to_string(), "the last stage reaches 2 of 3 hosts: end with 100%");
    assert_eq!(desk.submitted(), 0);
}

#[tokio::test]
async fn the_cap_of_a_certificate_holds_for_all_waves_together() {
    let names: Vec<(&str, &str)> = vec![("a", "n"), ("b", "n"), ("c", "n")];
    let capped = Fleet::with(&names, |certificate| certificate.hosts_max = Some(2));
    let desk = Desk::new(capped, |seen, member| told(seen.ok(member, "x")));
    assert_eq!(desk.run(&batch(1)).await.error().code(), 4);
    assert_eq!(desk.submitted(), 0);
}

fn grouped(orders: &[Signed<Order>]) -> Vec<Rollout> {
    let with_hosts: Vec<_> =
        orders.iter().map(|order| (order.clone(), order.body().roster.named().to_vec())).collect();
    Rollout::grouped(&with_hosts)
}

#[tokio::test]
async fn the_orders_of_a_job_tell_others_that_they_are_one() {
    let desk = Desk::new(fleet(6), |seen, member| told(seen.ok(member, "x")));
    assert_eq!(desk.run(&batch(2)).await.code(), 0);
    let mut orders = desk.state.lock().unwrap().orders.clone();
    let (first, roster) = (orders[0].id(), sorted(&desk));
    let other = super::foreseen::order(&desk.fleet, |body| {
        body.nonce = [77; 16];
        body.roster = crate::replica::Roster::Inline { hosts: vec![roster[5]] };
    });
    orders.push(other.clone());
    // Whatever the order in which they came.
    orders.rotate_left(2);
    let jobs = grouped(&orders);
    assert_eq!(jobs.len(), 2);
    let job = jobs.iter().find(|job| job.id() == Some(first)).unwrap();
    assert_eq!((job.orders().len(), job.roster(), job.waves_total()), (3, roster.as_slice(), 3));
    assert!(!job.goes_on(), "nothing is known of waves to come");
    assert!(jobs.iter().any(|job| job.id() == Some(other.id()) && job.orders().len() == 1));
    // One that is lost in between hides no other, and without the first each stands alone.
    let known = |left_out: usize| -> Vec<_> {
        let all = desk.state.lock().unwrap().orders.clone();
        all.into_iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, order)| order).collect()
    };
    assert_eq!(grouped(&known(1)).len(), 1);
    assert_eq!(grouped(&known(0)).len(), 2);
    // A wave's nonce on somebody else's order, or on hosts out of turn, makes no part of it.
    let stranger = super::foreseen::order(&desk.fleet, |body| {
        body.nonce = orders.iter().find(|order| order.id() != first).unwrap().body().nonce;
        body.roster = crate::replica::Roster::Inline { hosts: vec![roster[0]] };
    });
    let first = desk.state.lock().unwrap().orders[0].clone();
    assert_eq!(grouped(&[first, stranger]).len(), 2);
}
