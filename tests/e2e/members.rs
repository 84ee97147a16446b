//! Who belongs to a fleet, what is said of it, and how hosts find each other.

use std::fs;

use serde_json::json;

use crate::{
    fleet::{Fleet, Reach, text},
    orders::{once, two},
};

#[test]
fn a_host_that_leaves_is_left_everywhere_its_keys_are_gone_and_its_agent_ended_well() {
    let mut fleet = two();
    fleet.join("c", &[], Reach::DialsOut);
    fleet.all_see_all();
    fleet.muster("b", &["leave"]).ends(2).says(&["--yes"]);
    fleet.muster("b", &["leave", "--yes"]).ends(0);
    assert_eq!(fleet.ends("b"), 0);
    for at in ["a", "c"] {
        fleet.until(&format!("{at} says that b left"), |fleet| match fleet.states(at)["b"].as_str() {
            "left" => Ok(()),
            other => Err(other.to_owned()),
        });
    }
    for file in [
        "member",
        "mesh/stream.key",
        "mesh/transport.key",
        "mesh/store",
        "executor/executor.key",
        "executor/seal.key",
        "agent.sock",
    ] {
        assert!(!fleet.state("b").join(file).exists(), "{file} is there");
    }
    let ran = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "c"]));
    fleet.muster("a", &["run", "-H", "b", "--", "true"]).ends(3);
    fleet.muster("b", &["agent"]).ends(1).says(&["muster join"]);
    // The directory is free for another host.
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    let ran = fleet.order("c", &["-H", "b"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
}

#[test]
fn a_tag_that_an_operator_puts_on_a_host_directs_orders_at_once() {
    let fleet = two();
    fleet.muster("a", &["run", "-l", "ring=1", "--", "true"]).ends(3).says(&["no host matches"]);
    fleet.muster("b", &["host", "tag", "a", "ring=1", "--yes"]).ends(0);
    let ran = fleet.order("b", &["-l", "ring=1"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a"]));
    fleet.muster("b", &["host", "tag", "a", "ring=2", "--yes"]).ends(0);
    fleet.muster("b", &["run", "-l", "ring=1", "--", "true"]).ends(3);
    fleet.until("a knows its own tag", |fleet| {
        let tags = fleet.tags("a", "a");
        if tags == json!({ "ring": "2" }) { Ok(()) } else { Err(tags.to_string()) }
    });
    fleet.muster("a", &["host", "untag", "a", "ring", "--yes"]).ends(0);
    fleet.muster("a", &["run", "-t", "has tag.ring", "--", "true"]).ends(3);
}

#[test]
fn two_writes_to_a_tag_that_did_not_see_each_other_select_nothing_until_one_names_both() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Fixed);
    fleet.all_see_all();
    // The same operator on another machine: the key is the same, the place in the stream is not.
    let other = fleet.dir().join("op2");
    fs::create_dir_all(other.join("acme/jobs")).expect("another operator's directory");
    for file in ["operator.key", "fleet"] {
        fs::copy(fleet.operators().join("acme").join(file), other.join("acme").join(file)).expect(file);
    }
    fleet.stop("b");
    fleet.muster("a", &["host", "tag", "b", "role=web", "--yes"]).ends(0);
    fleet.stop("a");
    fleet.start("b");
    let mut command = fleet.command("b");
    command.env("MUSTER_OPERATORS", &other).args(["host", "tag", "b", "role=db", "--yes"]);
    fleet.begin_command(command).finish().ends(0);
    assert_eq!(fleet.tags("b", "b"), json!({ "role": "db" }));
    fleet.start("a");
    for at in ["a", "b"] {
        fleet.until(&format!("{at} sees the conflict"), |fleet| {
            let row = fleet.hosts(at).remove("b").expect("b");
            if row["conflicts"] == json!(["role"]) { Ok(()) } else { Err(row.to_string()) }
        });
        for role in ["web", "db"] {
            let label = format!("role={role}");
            fleet.muster(at, &["run", "-l", &label, "--", "true"]).ends(3);
            let not = format!("not tag.role = {role}");
            let ran = fleet.order(at, &["-t", &not], &["true"]);
            assert!(!ran.exits.contains_key("b"), "{ran:?}");
        }
    }
    assert!(fleet.muster("a", &["host", "show", "b"]).ends(0).text().contains("conflicts"));
    fleet.muster("a", &["host", "tag", "b", "role=web", "--yes"]).ends(0);
    fleet.until("b sees it resolved", |fleet| {
        let tags = fleet.tags("b", "b");
        if tags == json!({ "role": "web" }) { Ok(()) } else { Err(tags.to_string()) }
    });
    let ran = fleet.order("a", &["-l", "role=web"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
}

#[test]
fn agents_that_were_all_stopped_find_each_other_at_their_ports() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Fixed);
    fleet.join("c", &[], Reach::DialsOut);
    fleet.all_see_all();
    for host in ["a", "b", "c"] {
        fleet.stop(host);
    }
    for host in ["c", "b", "a"] {
        fleet.start(host);
    }
    fleet.all_see_all();
    let ran = fleet.order("c", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b", "c"]));
}

#[test]
fn agents_whose_ports_changed_are_found_through_one_that_kept_its_own() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Listens);
    fleet.join("c", &[], Reach::Listens);
    fleet.all_see_all();
    for host in ["a", "b", "c"] {
        fleet.stop(host);
    }
    for host in ["b", "c", "a"] {
        fleet.start(host);
    }
    fleet.all_see_all();
    for at in ["a", "b", "c"] {
        let listening = text(&fleet.status("b")["listen"][0]);
        fleet.until(&format!("{at} knows where b listens now"), |fleet| {
            let row = fleet.hosts(at).remove("b").expect("b");
            if row["addresses"] == json!([listening]) { Ok(()) } else { Err(row.to_string()) }
        });
    }
    let ran = fleet.order("b", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b", "c"]));
}

#[test]
fn hosts_that_only_dial_out_reach_each_other_through_a_neighbour() {
    let mut fleet = Fleet::found("acme");
    fleet.join("d", &[], Reach::DialsOut);
    fleet.join("e", &[], Reach::DialsOut);
    fleet.all_see_all();
    let pong = fleet.muster("d", &["host", "ping", "e", "-o", "json"]).ends(0).json();
    assert_eq!(pong["items"][0]["via"], json!(["a"]), "{pong}");
    assert_eq!(fleet.links("d"), ["a".to_owned()].into());
    // Longer than what comes along with a result, so it is fetched.
    let script = "yes 0123456789abcdef | head -c 3000000; echo end >&2";
    let output = fleet.muster("d", &["run", "-H", "e", "--", "sh", "-c", script]).ends(0);
    assert_eq!(output.stdout.len(), 3_000_000);
    let jobs = fleet.muster("d", &["job", "ls", "-o", "json"]).ends(0).json();
    let job = text(&jobs["items"][0]["job"]);
    let again = fleet.muster("d", &["job", "output", &job, "e"]).ends(0);
    assert!(again.stdout == output.stdout, "{} bytes", again.stdout.len());
    assert_eq!(fleet.muster("d", &["job", "output", "--stderr", &job]).ends(0).text(), "end\n");
    fleet.stop("e");
    fleet.muster("d", &["host", "ping", "e", "--timeout", "2s"]).ends(7);
    fleet.muster("d", &["job", "output", &job, "e"]).ends(1).says(&["output of e cannot be had"]);
}
