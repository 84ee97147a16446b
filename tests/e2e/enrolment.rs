//! Hosts that wait for an operator, and what operators do with hosts.

use crate::fleet::{Begun, Fleet, Reach, text};
use crate::orders::once;

/// The words of a host's keys in what `join` said.
fn words(said: &str) -> String {
    let word = |word: &&str| word.split('-').count() == 5 && word.len() == 29;
    said.split_whitespace().find(word).unwrap_or_else(|| panic!("no words in {said}")).to_owned()
}

/// Joins in the background, as it waits.
fn begin_join(fleet: &Fleet, name: &str, token: &str) -> Begun {
    let args = ["join", token, "--host-name", name, "--no-listen", "--wait", "60s"];
    fleet.begin(name, &args)
}

#[test]
fn a_host_that_joins_with_approval_is_no_member_until_an_operator_lets_it_in() {
    let mut fleet = Fleet::found("acme");
    let token = fleet.invite("a", &["--approve", "--uses", "3", "-l", "role=web"]);
    let tried = fleet
        .redeem_now("b", &token)
        .ends(9)
        .says(&["waiting for an operator of fleet acme", "muster host admit"]);
    let shown = words(&tried.stderr);
    // It is seen, with the same words; nobody can make it do anything, and it has no agent to start.
    assert_eq!(fleet.states("a")["b"], "pending");
    let listed = fleet.muster("a", &["host", "ls"]).ends(0);
    assert!(
        listed.stderr.contains(&shown) && listed.stderr.contains("muster host admit b"),
        "{}",
        listed.stderr
    );
    assert_eq!(fleet.hosts("a")["b"]["fingerprint"], shown);
    fleet.muster("a", &["run", "-H", "b", "--yes", "--", "true"]).ends(3);
    fleet.muster("b", &["agent"]).ends(1);
    assert!(fleet.status("a")["problems"].to_string().contains("b waits for an operator"));

    // Let in while it waits: it hears of it, and joins by itself.
    let waits = begin_join(&fleet, "b", &token);
    fleet.muster("a", &["host", "admit", &shown, "--dry-run"]).ends(0).says(&["would let in b"]);
    fleet.muster("a", &["host", "admit", "b"]).ends(2).says(&["--yes"]);
    fleet.muster("a", &["host", "admit", "b", "--yes"]).ends(0).says(&["let in"]);
    waits.finish().ends(0);
    fleet.muster("a", &["host", "admit", "b", "--yes"]).ends(2).says(&["does not wait"]);
    fleet.start("b");
    fleet.all_see_all();
    let ran = fleet.order("a", &["-H", "b"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));

    // Another one is turned away, and told so.
    let tried = fleet.redeem_now("c", &token).ends(9);
    let waits = begin_join(&fleet, "c", &token);
    fleet.muster("a", &["host", "deny", &words(&tried.stderr), "--yes"]).ends(0);
    waits.finish().ends(4).says(&["turned this host away"]);
    assert_eq!(fleet.states("a")["c"], "denied");
    // What a person changes their mind about can still be let in.
    fleet.muster("a", &["host", "admit", "c", "--yes"]).ends(0);
    fleet.redeem("c", &token, Reach::DialsOut).ends(0);
    fleet.start("c");
    fleet.all_see_all();
}

#[test]
fn a_host_may_wait_longer_than_its_token_works() {
    let mut fleet = Fleet::found("acme");
    let token = fleet.invite("a", &["--approve", "--ttl", "3s"]);
    fleet.redeem_now("b", &token).ends(9);
    fleet.passes(std::time::Duration::from_secs(3));
    fleet.redeem_now("c", &token).ends(4).says(&["the token has expired"]);
    fleet.redeem_now("b", &token).ends(9);
    fleet.muster("a", &["host", "admit", "b", "--yes"]).ends(0);
    fleet.redeem("b", &token, Reach::Listens).ends(0);
    fleet.start("b");
    fleet.all_see_all();
    // It is one of those who admit, to a joiner that has to see that it is a member.
    let at = text(&fleet.status("b")["listen"][0]);
    let token = fleet.invite("b", &["--address", &at]);
    fleet.redeem("c", &token, Reach::DialsOut).ends(0).says(&[]);
}

#[test]
fn of_an_over_used_token_an_operator_sorts_out_whom_it_was_for() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Fixed);
    fleet.all_see_all();
    let token = fleet.invite("a", &[]);
    fleet.until("b has what a has", |fleet| {
        let entries = ["a", "b"].map(|at| fleet.status(at)["entries"].clone());
        if entries[0] == entries[1] { Ok(()) } else { Err(format!("{entries:?}")) }
    });
    fleet.stop("a");
    fleet.redeem("c", &token, Reach::Listens).ends(0);
    fleet.stop("b");
    fleet.start("a");
    fleet.redeem("d", &token, Reach::Listens).ends(0);
    fleet.start("b");
    fleet.until("a says that both are quarantined, and the way out", |fleet| {
        let problems = fleet.status("a")["problems"].to_string();
        let said = ["c, d", "quarantined", "muster host admit", "muster host deny"];
        if said.iter().all(|word| problems.contains(word)) { Ok(()) } else { Err(problems) }
    });
    fleet.start("c");
    fleet.start("d");
    fleet.muster("a", &["host", "admit", "c", "--yes"]).ends(0);
    fleet.muster("a", &["host", "deny", "d", "--yes"]).ends(0);
    fleet.until("c is a member everywhere, and d of nothing", |fleet| {
        for at in ["a", "b", "c"] {
            let states = fleet.states(at);
            let state = |host: &str| states.get(host).cloned().unwrap_or_default();
            if !["up", "self"].contains(&state("c").as_str()) || state("d") != "denied" {
                return Err(format!("{at}: {states:?}"));
            }
        }
        Ok(())
    });
    let ran = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b", "c"]));
}

#[test]
fn a_host_is_renamed_retired_suspended_and_lifted_by_who_may() {
    let mut fleet = Fleet::found("acme");
    for name in ["b", "c"] {
        fleet.join(name, &["role=web"], Reach::Listens);
    }
    fleet.all_see_all();
    let id = text(&fleet.hosts("a")["b"]["id"]);
    fleet.muster("a", &["host", "rename", "b", "c", "--yes"]).ends(2).says(&["has a host named c already"]);
    fleet.muster("a", &["host", "rename", "b", "Web 1", "--yes"]).ends(2).says(&["cannot be a host's name"]);
    fleet.muster("a", &["host", "rename", "b", "web-1", "--yes"]).ends(0);
    fleet.until("c knows the new name", |fleet| {
        let hosts = fleet.hosts("c");
        if hosts.get("web-1").is_some_and(|host| host["id"] == id) {
            Ok(())
        } else {
            Err(format!("{hosts:?}"))
        }
    });
    let ran = fleet.order("a", &["-H", "web-1"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));

    // Suspended: nobody deals with it, and it says why.
    fleet
        .muster("a", &["host", "suspend", "web-1", "--reason", "odd", "--yes"])
        .ends(0)
        .says(&["muster host lift web-1"]);
    fleet.until("it is suspended everywhere", |fleet| {
        let states = ["a", "c"].map(|at| fleet.states(at)["web-1"].clone());
        if states == ["suspended", "suspended"] { Ok(()) } else { Err(format!("{states:?}")) }
    });
    fleet.muster("a", &["run", "-H", "web-1", "--", "true"]).ends(3);
    fleet.muster("a", &["host", "lift", "web-1", "--yes"]).ends(4).says(&["root keys"]);
    let root = fleet.dir().join("acme-recovery.txt");
    let root = root.to_str().unwrap();
    fleet.muster("a", &["host", "lift", "web-1", "--root", root, "--yes"]).ends(0);
    fleet.until("it is up again", |fleet| {
        let state = fleet.states("a")["web-1"].clone();
        if state == "up" { Ok(()) } else { Err(state) }
    });

    // Gone for good: no tags, no member.
    fleet.stop("b");
    fleet.muster("a", &["host", "retire", "web-1", "--dry-run"]).ends(0).says(&["would retire web-1 (1)"]);
    fleet.muster("a", &["host", "retire", "web-1", "--yes"]).ends(0);
    let row = fleet.hosts("a")["web-1"].clone();
    assert_eq!((text(&row["state"]).as_str(), row["tags"].to_string().as_str()), ("retired", "{}"));
    fleet.muster("a", &["host", "retire", "web-1", "--yes"]).ends(2).says(&["retired already"]);
    fleet.muster("a", &["host", "revoke", "c", "--root", root, "--reason", "stolen", "--yes"]).ends(0);
    assert_eq!(fleet.states("a")["c"], "revoked");
}

#[test]
fn a_host_without_a_link_joins_by_files_and_is_known_once_it_has_one() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    let file = |name: &str| fleet.dir().join(name).to_str().unwrap().to_owned();
    let (asked, answered) = (file("b.request"), file("b.answer"));
    let ask = ["join", "--request", &asked, "--host-name", "b", "--no-listen"];
    let shown = words(&fleet.muster("b", &ask).ends(0).says(&["muster host admit --file"]).stderr);
    let answer = ["host", "admit", "--file", &asked, "--answer", &answered, "-l", "role=web", "--yes"];
    fleet.muster("a", &answer).ends(0).says(&[&shown, "muster join --answer"]);
    fleet.muster("c", &["join", "--answer", &answered, "--yes"]).ends(4).says(&["another host, b"]);
    fleet.muster("b", &["join", "--answer", &answered]).ends(2).says(&["--yes"]);
    // It is one while nobody can be reached: orders of its operators are run there.
    fleet.stop("a");
    fleet.muster("b", &["join", "--answer", &answered, "--yes"]).ends(0).says(&["acme", "one of 2 members"]);
    fleet.muster("b", &["join", "--answer", &answered, "--yes"]).ends(2);
    fleet.adopt("b", Reach::DialsOut);
    fleet.start("b");
    let ran = fleet.order("b", &["-l", "role=web"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
    // And once one can be, it is a host like any other.
    fleet.start("a");
    fleet.all_see_all();
    let ran = fleet.order("a", &["-l", "role=web"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
}
