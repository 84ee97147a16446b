//! Who is up, as every host lists it.

use std::time::Duration;

use rustix::process::Signal;

use crate::fleet::{Fleet, Process, Reach};

/// Silence takes a ping and its limit to notice, longer where agents get little of a loaded machine's time.
const WITHIN: Duration = Duration::from_secs(120);

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn fleet_of(names: &[&str]) -> Fleet {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    for name in &names[1..] {
        fleet.join(name, &[], Reach::Fixed);
    }
    fleet.all_see_all();
    fleet
}

/// Waits until all of `who` list `of` as `state`, and each other and themselves as up.
#[track_caller]
fn all_list(fleet: &Fleet, who: &[&str], of: &str, state: &str) {
    for at in who {
        fleet.until_within(WITHIN, &format!("{at} lists {of} as {state}"), |fleet| {
            let states = fleet.states(at);
            let good = |name: &str, found: &str| match name {
                name if name == *at => found == "self",
                name if name == of => found == state,
                _ => found == "up",
            };
            if states.iter().all(|(name, found)| good(name, found)) {
                Ok(())
            } else {
                Err(format!("{states:?}"))
            }
        });
    }
}

#[test]
fn a_killed_host_is_listed_as_unreachable_by_all_others_and_up_again_when_it_is_back() {
    let mut fleet = fleet_of(&NAMES);
    let others: Vec<&str> = NAMES.iter().filter(|name| **name != "d").copied().collect();
    all_list(&fleet, &others, "d", "up");
    fleet.kill9("d", Process::Both);
    all_list(&fleet, &others, "d", "unreachable");
    let row = fleet.hosts("a").remove("d").expect("d");
    assert!(row["witnesses"].as_u64().is_some_and(|count| (1..=8).contains(&count)), "{row}");
    assert!(row["since"].is_string() && row["since"] == row["seen"], "{row}");
    let shown = fleet.muster("a", &["host", "show", "d"]).ends(0).text();
    assert!(shown.contains("unreachable since ") && shown.contains("seen by "), "{shown}");
    let status = fleet.status("a");
    assert_eq!((&status["up"], &status["unreachable"]), (&7.into(), &1.into()), "{status}");
    fleet.start("d");
    all_list(&fleet, &NAMES, "d", "up");
}

#[test]
fn a_host_that_does_not_run_is_listed_as_unreachable_and_up_again_when_it_does() {
    let names = ["a", "b", "c", "d"];
    let fleet = fleet_of(&names);
    let others = ["a", "b", "d"];
    all_list(&fleet, &others, "c", "up");
    fleet.signal_both("c", Signal::STOP);
    all_list(&fleet, &others, "c", "unreachable");
    fleet.signal_both("c", Signal::CONT);
    all_list(&fleet, &others, "c", "up");
    // Nor does it take the others for gone that it could not hear.
    all_list(&fleet, &["c"], "c", "up");
}
