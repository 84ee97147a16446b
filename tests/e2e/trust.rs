//! Who may no longer do what: suspended, lifted, halted, on real agents.

use crate::{
    fleet::{Fleet, text},
    orders::two,
};

/// The one operator of a fleet, by name.
fn operator(fleet: &Fleet) -> String {
    let rows = fleet.muster("a", &["operator", "ls", "-o", "json"]).ends(0).json();
    assert_eq!(rows["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(rows["items"][0]["state"], "valid");
    text(&rows["items"][0]["person"])
}

#[test]
fn a_suspended_operators_running_command_ends_and_the_next_order_is_refused_until_the_roots_lift_it() {
    let fleet = two();
    let person = operator(&fleet);
    let sleeping = fleet.counted(&["sleep", "1000"]);
    let running = fleet.begin_order("a", &["--all", "--wait", "600s"], &sleeping);
    fleet.until("both to run", |fleet| match fleet.all_spawns().len() {
        2 => Ok(()),
        other => Err(format!("{other} run")),
    });
    let suspend = ["operator", "suspend", &person, "--reason", "laptop stolen"];
    fleet.muster("a", &[&suspend[..], &["--dry-run"]].concat()).ends(0).says(&["would suspend"]);
    fleet.muster("a", &suspend).ends(2).says(&["--yes"]);
    fleet.muster("a", &[&["-y"], &suspend[..]].concat()).ends(0).says(&["suspended"]);
    let ended = Fleet::ran(running).ends(6);
    for host in ["a", "b"] {
        assert_eq!(ended.status(host), "indeterminate");
        assert!(ended.why(host).contains("is suspended by"), "{}", ended.why(host));
        assert!(ended.why(host).contains("laptop stolen"), "{}", ended.why(host));
    }
    let rows = fleet.muster("b", &["operator", "ls", "-o", "json"]).ends(0).json();
    assert_eq!(rows["items"][0]["state"], "suspended");
    assert_eq!(rows["items"][0]["why"], "laptop stolen");
    fleet.muster("a", &["run", "--all", "--", "true"]).ends(4).says(&["is suspended by", "laptop stolen"]);
    fleet.muster("a", &["-y", "host", "tag", "b", "env=prod"]).ends(4).says(&["is suspended by"]);

    let lift = ["-y", "operator", "lift", &person];
    fleet.muster("a", &lift).ends(4).says(&["1 of 1", "--root FILE"]);
    let root = fleet.dir().join("acme-recovery.txt").display().to_string();
    fleet.muster("a", &[&lift[..], &["--root", &root]].concat()).ends(0).says(&["done", "end 1 suspension"]);
    fleet.until("an order runs on both", |fleet| {
        let ran = Fleet::ran(fleet.begin_order("a", &["--all"], &["true"]));
        if ran.of_status("ok").len() == 2 { Ok(()) } else { Err(format!("{:?}", ran.summary)) }
    });
    fleet.muster("a", &[&lift[..], &["--root", &root]].concat()).ends(2).says(&["is not suspended"]);
}

#[test]
fn a_halt_refuses_where_its_tag_is_and_the_roots_end_it() {
    let fleet = two();
    fleet.muster("a", &["-y", "halt", "-t", "name = b"]).ends(2).says(&["tags only"]);
    let halt = ["-y", "halt", "-t", "tag.role = web", "--reason", "bad release"];
    fleet.muster("a", &halt).ends(0).says(&["halted", "1 of 2 hosts"]);
    // Known before anything is sent, wherever it is asked for; the other host is as it was.
    let refusal = ["halted by", "bad release"];
    fleet.muster("a", &["run", "--all", "--", "true"]).ends(4).says(&refusal);
    fleet.until("b's agent knows too", |fleet| {
        match fleet.muster("b", &["run", "-H", "b", "--", "true"]).code {
            4 => Ok(()),
            other => Err(format!("{other}")),
        }
    });
    fleet.muster("a", &["run", "-H", "a", "--", "true"]).ends(0);
    let root = fleet.dir().join("acme-recovery.txt").display().to_string();
    fleet.muster("b", &["-y", "unhalt", "--root", &root]).ends(0).says(&["end 1 halt"]);
    fleet.until("b to run again", |fleet| {
        let ran = Fleet::ran(fleet.begin_order("a", &["--all"], &["true"]));
        if ran.of_status("ok").len() == 2 { Ok(()) } else { Err(ran.why("b")) }
    });
    fleet.muster("b", &["-y", "unhalt", "--root", &root]).ends(2).says(&["nothing is halted"]);
}

#[test]
fn a_fleet_of_two_of_three_roots_decides_by_two_and_the_update_goes_from_one_to_the_next() {
    let fleet = Fleet::found_with_roots("acme", "2-of-3");
    let root = |number: u8| fleet.dir().join(format!("acme-recovery-{number}.txt")).display().to_string();
    assert!(!fleet.dir().join("acme-recovery.txt").exists());
    let ran = Fleet::ran(fleet.begin_order("a", &["--all"], &["true"]));
    assert_eq!(ran.status("a"), "ok");
    fleet.muster("a", &["-y", "halt"]).ends(0);
    let update = fleet.dir().join("update").display().to_string();
    let unhalt = |keys: &[String], update: Option<&str>| {
        let mut words = vec!["-y", "unhalt"];
        words.extend(keys.iter().flat_map(|key| ["--root", key]));
        words.extend(update.iter().flat_map(|update| ["--update", update]));
        fleet.muster("a", &words)
    };
    unhalt(&[], None).ends(4).says(&["2 of 3"]);
    unhalt(&[root(1)], None).ends(4).says(&["1 of 2 root signatures", "--update FILE"]);
    unhalt(&[root(1)], Some(&update)).ends(0).says(&["1 of 2 root signatures", "next holder"]);
    fleet.muster("a", &["run", "--all", "--", "true"]).ends(4).says(&["halted by"]);
    unhalt(&[root(3)], Some(&update)).ends(0).says(&["end 1 halt"]);
    fleet.until("a to run again", |fleet| {
        let ran = Fleet::ran(fleet.begin_order("a", &["--all"], &["true"]));
        if ran.status("a") == "ok" { Ok(()) } else { Err(ran.why("a")) }
    });
}
