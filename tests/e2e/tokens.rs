//! Tokens that do not let a host in, or too many.

use std::time::Duration;

use crate::{
    fleet::{Fleet, Reach, text},
    orders::{once, two},
};

/// Fails unless the fleet has these members and no other.
#[track_caller]
fn has_members(fleet: &Fleet, at: &str, members: &[&str]) {
    let states = fleet.states(at);
    assert_eq!(states.keys().collect::<Vec<_>>(), members, "{states:?}");
}

#[test]
fn a_token_that_is_no_token_or_not_whole_is_refused_before_anything_is_written() {
    let mut fleet = Fleet::found("acme");
    let token = fleet.invite("a", &[]);
    let mut other = token.clone();
    let last = if other.pop() == Some('q') { 'p' } else { 'q' };
    other.push(last);
    let cut = &token[..token.len() - 7];
    let upper: String =
        token.chars().enumerate().map(|(at, c)| if at == 20 { c.to_ascii_uppercase() } else { c }).collect();
    for wrong in ["hello", "mst1", &other, cut, &format!("{token}x"), &upper[..token.len() - 1]] {
        fleet.redeem("b", wrong, Reach::Listens).ends(2).says(&["error: ", "token", "muster invite"]);
        assert!(!fleet.state("b").exists(), "{wrong} left a directory");
    }
    // The token itself is as good as before, in capitals too.
    fleet.redeem("b", &token.to_uppercase(), Reach::Listens).ends(0);
    fleet.start("b");
    fleet.all_see_all();
}

#[test]
fn a_token_that_expired_lets_nobody_in() {
    let mut fleet = Fleet::found("acme");
    let token = fleet.invite("a", &["--ttl", "1s"]);
    fleet.passes(Duration::from_secs(1));
    fleet.redeem("b", &token, Reach::Listens).ends(4).says(&["the token has expired", "muster invite"]);
    has_members(&fleet, "a", &["a"]);
    fleet.muster("b", &["agent"]).ends(1).says(&["muster join"]);
    fleet.muster("a", &["invite", "--ttl", "0s"]).ends(2);
    fleet.muster("a", &["invite", "--ttl", "31d"]).ends(2).says(&["at most 30 days"]);
}

#[test]
fn a_token_of_another_fleet_lets_nobody_in() {
    let mut acme = Fleet::found("acme");
    let other = Fleet::found("other");
    let at = text(&acme.status("a")["listen"][0]);
    let token = other.invite("a", &["--address", &at]);
    // The fleets do not even speak the same language: each has its own pre-shared key.
    acme.redeem("b", &token, Reach::Listens).ends(5).says(&["no member answers at", &at]);
    has_members(&acme, "a", &["a"]);
    has_members(&other, "a", &["a"]);
    acme.join("b", &[], Reach::Listens);
    acme.all_see_all();
}

#[test]
fn a_token_lets_in_as_many_as_it_says() {
    let mut fleet = Fleet::found("acme");
    let token = fleet.invite("a", &["--uses", "2", "-l", "role=web"]);
    fleet.redeem("b", &token, Reach::Listens).ends(0);
    fleet.redeem("c", &token, Reach::DialsOut).ends(0);
    fleet.redeem("d", &token, Reach::Listens).ends(4).says(&["used 2 times", "muster invite"]);
    has_members(&fleet, "a", &["a", "b", "c"]);
    // A directory that did not get in tries again with its keys.
    let token = fleet.invite("a", &[]);
    fleet.redeem("d", &token, Reach::Listens).ends(0);
    // One that did is not overwritten.
    let token = fleet.invite("a", &[]);
    fleet.redeem("d", &token, Reach::Listens).ends(2).says(&["acme", "--state DIR"]);
    // A name that is taken, and a tag beyond the token's.
    fleet.redeem("e", &token, Reach::Listens).ends(0);
    let token = fleet.invite("a", &["-l", "role=web"]);
    let taken = ["join", &token, "--host-name", "b", "--no-listen"];
    fleet.muster("f", &taken).ends(4).says(&["has a host named b already"]);
    let more = ["join", &token, "--host-name", "f", "--no-listen", "-l", "role=db"];
    fleet.muster("f", &more).ends(2).says(&["does not allow the tag role=db"]);
    let fine = ["join", &token, "--host-name", "f", "--no-listen", "-l", "role=web"];
    fleet.muster("f", &fine).ends(0);
    has_members(&fleet, "a", &["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn a_token_without_a_member_that_answers_says_what_was_tried() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    let token = fleet.invite("a", &[]);
    let at = text(&fleet.status("a")["listen"][0]);
    fleet.stop("a");
    fleet.redeem("b", &token, Reach::Listens).ends(5).says(&["no member answers at", &at, "refused"]);
    fleet.start("a");
    fleet.redeem("b", &token, Reach::Listens).ends(0);
    fleet.start("b");
    fleet.all_see_all();
}

#[test]
fn a_token_redeemed_on_both_sides_of_a_partition_makes_no_member_of_either() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Fixed);
    fleet.all_see_all();
    // A host says where it listens once it has asked for its own past: the token is to name both.
    fleet.until("a knows where b listens", |fleet| {
        let rows = fleet.muster("a", &["host", "ls", "-o", "json"]).json()["items"].clone();
        let all = rows
            .as_array()
            .is_some_and(|rows| rows.len() == 2 && rows.iter().all(|row| row["addresses"][0].is_string()));
        if all { Ok(()) } else { Err(rows.to_string()) }
    });
    let token = fleet.invite("a", &["--uses", "1"]);
    let addresses: Vec<String> = ["a", "b"].map(|at| text(&fleet.status(at)["listen"][0])).into();
    assert_ne!(addresses[0], addresses[1]);
    // b knows the invitation before they part.
    fleet.until("b has what a has", |fleet| {
        let entries = ["a", "b"].map(|at| fleet.status(at)["entries"].clone());
        if entries[0] == entries[1] { Ok(()) } else { Err(format!("{entries:?}")) }
    });
    fleet.stop("a");
    fleet.redeem("c", &token, Reach::Listens).ends(0);
    // It waits for c, which is a member on this side.
    let waiting = fleet.order("b", &["-H", "c", "--wait", "300ms"], &fleet.counted(&[])).ends(7);
    fleet.stop("b");
    fleet.start("a");
    fleet.redeem("d", &token, Reach::Listens).ends(0);
    fleet.start("b");
    for at in ["a", "b"] {
        fleet.until(&format!("{at} quarantines both"), |fleet| {
            let states = fleet.states(at);
            let state = |host: &str| states.get(host).cloned().unwrap_or_default();
            let both = state("c") == "quarantined" && state("d") == "quarantined";
            if both { Ok(()) } else { Err(format!("{states:?}")) }
        });
    }
    fleet.start("c");
    fleet.start("d");
    for at in ["a", "b"] {
        let ran = fleet.order(at, &["--all"], &fleet.counted(&[])).ends(0);
        assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
        fleet.muster(at, &["run", "-H", "c", "--", "true"]).ends(3);
    }
    assert_eq!(fleet.spawns(&waiting.job), once(&[]));
}

#[test]
fn a_token_works_at_any_member_that_it_names() {
    let mut fleet = two();
    let token = fleet.invite("b", &[]);
    fleet.until("a knows the token as well", |fleet| {
        let entries = ["a", "b"].map(|at| fleet.status(at)["entries"].clone());
        if entries[0] == entries[1] { Ok(()) } else { Err(format!("{entries:?}")) }
    });
    fleet.stop("b");
    fleet.redeem("c", &token, Reach::Listens).ends(0);
    fleet.start("c");
    fleet.until("a and c see each other", |fleet| {
        let links = fleet.links("c");
        if links.contains("a") { Ok(()) } else { Err(format!("{links:?}")) }
    });
}

#[test]
fn machines_that_are_set_up_together_all_join() {
    const TOGETHER: usize = 48;
    let fleet = Fleet::found("a");
    let token = fleet.invite("a", &["--uses", "48"]);
    let names: Vec<_> = (0..TOGETHER).map(|number| format!("n{number}")).collect();
    let joins: Vec<_> = names
        .iter()
        .map(|name| fleet.begin(name, &["join", &token, "--host-name", name, "--no-listen"]))
        .collect();
    for join in joins {
        join.finish().ends(0);
    }
    fleet.until("a lists them", |fleet| {
        let listed = fleet.hosts("a").len();
        if listed == TOGETHER + 1 { Ok(()) } else { Err(listed.to_string()) }
    });
}
