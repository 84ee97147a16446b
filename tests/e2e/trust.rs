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
    unhalt(&[root(1)], Some(&update)).ends(0).says(&["1 of 2 root signatures", "roots sign"]);
    fleet.muster("a", &["run", "--all", "--", "true"]).ends(4).says(&["halted by"]);
    unhalt(&[root(3)], Some(&update)).ends(0).says(&["end 1 halt"]);
    fleet.until("a to run again", |fleet| {
        let ran = Fleet::ran(fleet.begin_order("a", &["--all"], &["true"]));
        if ran.status("a") == "ok" { Ok(()) } else { Err(ran.why("a")) }
    });
}

#[test]
fn other_roots_govern_once_the_old_and_the_new_signed_a_file_that_went_where_there_is_no_link() {
    let fleet = Fleet::found_with_roots("acme", "2-of-3");
    let root = |number: u8| fleet.dir().join(format!("acme-recovery-{number}.txt")).display().to_string();
    let rows = fleet.muster("a", &["roots", "ls", "-o", "json"]).ends(0).json();
    assert_eq!(rows["items"].as_array().map(Vec::len), Some(3));
    let new = fleet.dir().join("root-4.txt").display().to_string();
    let public = String::from_utf8(fleet.muster("a", &["roots", "key", &new]).ends(0).stdout)
        .unwrap()
        .trim()
        .to_owned();
    let dropped = text(&rows["items"][0]["key"]);
    let update = fleet.dir().join("rotate.update").display().to_string();
    let rotate = ["-y", "roots", "rotate", "--add", &public, "--drop", &dropped, "--update", &update];
    fleet.muster("a", &rotate).ends(0).says(&["0 of 2 root signatures", "roots sign"]);
    // As on a machine that has nothing but the file and a key.
    let sign = |key: &str| fleet.muster("elsewhere", &["-y", "roots", "sign", &update, "--root", key]);
    fleet
        .muster("elsewhere", &["roots", "sign", &update, "--dry-run"])
        .ends(0)
        .says(&["let 2 of 3 root keys", "is new"]);
    sign(&root(1)).ends(0).says(&["1 of 2 root signatures", "has to sign too"]);
    fleet.muster("a", &["-y", "roots", "publish", &update]).ends(4).says(&["1 of 2 root signatures"]);
    sign(&new).ends(0).says(&["1 of 2 root signatures"]);
    sign(&root(2)).ends(0).says(&["2 of 2 root signatures", "roots publish"]);
    fleet.muster("a", &["-y", "roots", "publish", &update]).ends(0).says(&["done", "let 2 of 3"]);
    let rows = fleet.muster("a", &["roots", "ls", "-o", "json"]).ends(0).json();
    let of = |state: &str| {
        let rows = rows["items"].as_array().unwrap();
        rows.iter().filter(|row| row["state"] == state).map(|row| text(&row["key"])).collect::<Vec<_>>()
    };
    assert_eq!((of("governs").len(), of("replaced")), (3, vec![dropped]));
    let log = fleet.muster("a", &["roots", "log", "-o", "json"]).ends(0).json();
    assert_eq!(log["items"].as_array().map(Vec::len), Some(3));
    assert!(log["items"].as_array().unwrap().iter().all(|row| row["state"] == "counts"));
    // What the old keys sign alone counts no more, what the new one signs does.
    let both = |one: &str, other: &str| {
        fleet.muster("a", &["-y", "halt"]).ends(0);
        fleet.muster("a", &["-y", "unhalt", "--root", one, "--root", other])
    };
    let gone = (1..=3).find(|number| both(&root(*number), &new).code == 4).unwrap();
    both(&root(gone), &new).ends(4).says(&["is no root key of this fleet"]);
    let left = (1..=3).find(|number| *number != gone).unwrap();
    both(&root(left), &new).ends(0);
    fleet.until("a to run again", |fleet| {
        let ran = Fleet::ran(fleet.begin_order("a", &["--all"], &["true"]));
        if ran.status("a") == "ok" { Ok(()) } else { Err(ran.why("a")) }
    });
    let checkpoint = ["-y", "roots", "checkpoint", "--root", &root(left), "--root", &new];
    fleet.muster("a", &checkpoint).ends(0).says(&["done", "checkpoint"]);
}

#[test]
fn recovery_keys_let_another_root_govern_after_a_delay_that_everybody_sees_and_the_roots_can_deny_it() {
    let keys = ["--recovery-keys", "1-of-2", "--recovery-delay", "15s"];
    let fleet = Fleet::found_by("acme", &keys);
    let file = |name: &str| fleet.dir().join(name).display().to_string();
    let new = |name: &str| {
        let made = fleet.muster("a", &["roots", "key", &file(name)]).ends(0);
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let (one, two) = (new("one.txt"), new("two.txt"));
    let recover = |paper: &str, add: &str, key: &str| {
        let paper = file(paper);
        let words = ["-y", "roots", "recover", &paper, "--add", add, "--root", &paper, "--root", &file(key)];
        fleet.muster("a", &words)
    };
    let states = |fleet: &Fleet| {
        let log = fleet.muster("a", &["roots", "log", "-o", "json"]).ends(0).json();
        let rows = log["items"].as_array().unwrap();
        rows.iter().map(|row| (text(&row["id"]), text(&row["state"]))).collect::<Vec<_>>()
    };
    let of = |fleet: &Fleet, state: &str| {
        states(fleet).into_iter().find(|(_, held)| held == state).map(|(id, _)| id)
    };
    // Denied while it waits.
    recover("acme-paper-1.txt", &one, "one.txt").ends(0).says(&["done", "if they do not deny it"]);
    let id = of(&fleet, "waits").expect("it waits");
    fleet.muster("a", &["roots", "ls"]).ends(0).says(&["recovery keys let 1 of 1", "roots deny"]);
    let status = String::from_utf8(fleet.muster("a", &["status"]).ends(0).stdout).unwrap();
    assert!(status.contains("recovery keys let 1 of 1") && status.contains("roots deny"), "{status}");
    let root = file("acme-recovery.txt");
    fleet.muster("a", &["-y", "roots", "deny", &id, "--root", &root]).ends(0).says(&["done", "deny"]);
    assert_eq!(of(&fleet, "denied"), Some(id));
    // Not denied, and the root key is lost.
    recover("acme-paper-2.txt", &two, "two.txt").ends(0);
    fleet.until("the recovery to count", |fleet| match of(fleet, "waits") {
        None => Ok(()),
        Some(id) => Err(format!("{id} waits")),
    });
    let rows = fleet.muster("a", &["roots", "ls", "-o", "json"]).ends(0).json();
    let governs: Vec<_> = rows["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["state"] == "governs")
        .map(|row| text(&row["public"]))
        .collect();
    assert_eq!(governs, [two]);
    fleet.muster("a", &["-y", "halt"]).ends(0);
    fleet.muster("a", &["-y", "unhalt", "--root", &root]).ends(4).says(&["is no root key"]);
    fleet.muster("a", &["-y", "unhalt", "--root", &file("two.txt")]).ends(0).says(&["end 1 halt"]);
    fleet.until("a to run again", |fleet| {
        let ran = Fleet::ran(fleet.begin_order("a", &["--all"], &["true"]));
        if ran.status("a") == "ok" { Ok(()) } else { Err(ran.why("a")) }
    });
}
