//! What hosts say of themselves, asked on others: each agent has a package database of its own.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    fleet::{Fleet, Reach, text},
    orders::once,
};

/// A stanza of a package database.
fn stanza(name: &str, version: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nPriority: optional\nArchitecture: amd64\n\
         Version: {version}\nDescription: made up\n of two lines\n\n"
    )
}

fn database(packages: &[(&str, &str)]) -> String {
    packages.iter().map(|(name, version)| stanza(name, version)).collect()
}

fn dpkg(fleet: &Fleet, host: &str) -> PathBuf {
    fleet.dir().join(format!("dpkg-{host}"))
}

/// Puts a new database in the place of a host's, as dpkg does.
fn put(fleet: &Fleet, host: &str, bytes: impl AsRef<[u8]>) {
    let dir = dpkg(fleet, host);
    fs::create_dir_all(&dir).expect("a directory for packages");
    fs::write(dir.join("status-new"), bytes).expect("a new status");
    fs::rename(dir.join("status-new"), dir.join("status")).expect("the status is replaced");
}

/// Lets a host whose agent does not run have a package database of its own.
fn settle(fleet: &Fleet, host: &str) {
    let path = fleet.state(host).join("agent.toml");
    let settings = fs::read_to_string(&path).expect("agent.toml");
    let mut lines: Vec<String> =
        settings.lines().filter(|line| !line.starts_with("dpkg")).map(str::to_owned).collect();
    lines.insert(0, format!("dpkg = \"{}\"", dpkg(fleet, host).display()));
    fs::write(&path, lines.join("\n") + "\n").expect("agent.toml");
}

/// a, b and c, each with openssl and a package of its own.
fn three() -> Fleet {
    let mut fleet = Fleet::found("acme");
    fleet.stop("a");
    for host in ["a", "b", "c"] {
        if host != "a" {
            let token = fleet.invite("a", &["-l", "role=web"]);
            fleet.redeem(host, &token, Reach::Listens).ends(0);
        }
        put(&fleet, host, database(&[("openssl", "3.0.11-1"), (&format!("only-{host}"), "1.0")]));
        settle(&fleet, host);
        fleet.start(host);
    }
    fleet.all_see_all();
    for at in ["a", "b", "c"] {
        until_found(&fleet, at, "deb.openssl = 3.0.11-1", &["a", "b", "c"]);
    }
    fleet
}

/// The names of the hosts that `at` finds.
fn found(fleet: &Fleet, at: &str, expression: &str) -> Vec<String> {
    let output = fleet.muster(at, &["inventory", "search", expression, "-o", "name"]);
    assert!([0, 3].contains(&output.code), "{output:?}");
    output.text().lines().map(str::to_owned).collect()
}

fn until_found(fleet: &Fleet, at: &str, expression: &str, hosts: &[&str]) {
    fleet.until(&format!("{at} finds {hosts:?} by {expression}"), |fleet| {
        let names = found(fleet, at, expression);
        if names == hosts { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

fn rows(fleet: &Fleet, at: &str, args: &[&str]) -> Vec<Value> {
    let mut line = vec!["inventory", "search"];
    line.extend(args);
    line.extend(["-o", "json"]);
    fleet.muster(at, &line).ends(0).json()["items"].as_array().expect("items").clone()
}

#[test]
fn a_package_that_is_installed_on_one_host_is_found_on_all_and_shown_with_its_age() {
    let mut fleet = three();
    put(&fleet, "a", database(&[("openssl", "3.0.13-1~deb12u1"), ("only-a", "1.0")]));
    for at in ["b", "c", "a"] {
        until_found(&fleet, at, "deb.openssl >= 3.0.13-1~deb12u1", &["a"]);
        until_found(&fleet, at, "deb.openssl < 3.0.13-1~deb12u1 and tag.role = web", &["b", "c"]);
    }
    let found = rows(&fleet, "c", &["has deb.only-a", "--columns", "deb.openssl,fact.os.name"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["name"], "a");
    assert_eq!(found[0]["values"]["deb.only-a"], "1.0");
    assert_eq!(found[0]["values"]["deb.openssl"], "3.0.13-1~deb12u1");
    for age in ["seen", "changed"] {
        assert!(text(&found[0][age]).ends_with('Z'), "{}", found[0]);
    }
    let counts = rows(&fleet, "b", &["all", "--count-by", "deb.openssl"]);
    assert_eq!(counts[0]["value"], "3.0.11-1");
    assert_eq!(counts[0]["nodeset"], "b,c");
    assert_eq!((&counts[1]["value"], &counts[1]["hosts"]), (&json!("3.0.13-1~deb12u1"), &json!(["a"])));

    let table = fleet.muster("b", &["inventory", "show", "a", "deb_packages"]).ends(0).says(&["changed"]);
    assert_eq!(table.text(), "only-a\t1.0\tamd64\nopenssl\t3.0.13-1~deb12u1\tamd64\n");
    let page = fleet.muster("b", &["inventory", "show", "a", "-o", "json"]).ends(0).json();
    assert_eq!(page["types"]["deb_packages"]["rows"], 2);
    assert!(page["types"]["kernel_info"]["items"][0]["version"].is_string(), "{page}");
    let types = fleet.muster("c", &["inventory", "types"]).ends(0).text();
    assert!(types.contains("deb_packages\t3\t6\n"), "{types}");

    // A host that is off is answered for, with the age of what is known.
    fleet.stop("a");
    let off = rows(&fleet, "c", &["deb.openssl >= 3.0.13-1~deb12u1"]);
    assert_eq!(off[0]["values"]["deb.openssl"], "3.0.13-1~deb12u1");
    assert!(text(&off[0]["changed"]) <= text(&off[0]["seen"]), "{}", off[0]);
    // Started again with the same packages, it says so under the same age; with others, those.
    let changed = off[0]["changed"].clone();
    fleet.start("a");
    fleet.until("a says something in its new epoch", |fleet| {
        let row = rows(fleet, "c", &["deb.openssl >= 3.0.13-1~deb12u1"]).remove(0);
        if text(&row["seen"]) > text(&off[0]["seen"]) { Ok(()) } else { Err(row.to_string()) }
    });
    let again = rows(&fleet, "c", &["deb.openssl >= 3.0.13-1~deb12u1"]);
    assert_eq!(again[0]["changed"], changed);
}

#[test]
fn a_broken_package_database_hurts_nobody_and_is_named() {
    let fleet = three();
    let good = database(&[("openssl", "3.0.11-1"), ("only-b", "1.0")]);
    let mut latin = stanza("latin", "1.0").replace("made up", "caf\u{e9}").into_bytes();
    latin.retain(|byte| *byte != 0xc3);
    let long = format!("Package: long\nDescription: {}\n{}", "x".repeat(1 << 20), stanza("after", "1.0"));
    let cut = good.split_at(good.len() - 70).0.to_owned();
    for (what, bytes, expression) in [
        ("CRLF", stanza("crlf", "1.0").replace('\n', "\r\n").into_bytes(), None),
        (
            "bytes that are no UTF-8",
            [latin, stanza("utf", "2.0").into_bytes()].concat(),
            Some("deb.utf = 2.0"),
        ),
        (
            "a long field",
            [long, stanza("long-after", "2.0")].concat().into_bytes(),
            Some("deb.long-after = 2.0"),
        ),
        (
            "a cut",
            cut.into_bytes(),
            Some(
                "deb.openssl = 3.0.11-1 and missing deb.only-b and missing deb.only-a and missing deb.only-c",
            ),
        ),
    ] {
        put(&fleet, "b", bytes);
        if let Some(expression) = expression {
            until_found(&fleet, "a", expression, &["b"]);
        }
        // Others are as they were, and the agent answers.
        assert_eq!(found(&fleet, "c", "has deb.only-a or has deb.only-c"), ["a", "c"], "{what}");
        fleet.muster("b", &["status"]).ends(0);
    }
    fleet.until("b's trouble is named", |fleet| {
        let problems = fleet.status("b")["problems"].to_string();
        if problems.contains("dpkg-b") { Ok(()) } else { Err(problems) }
    });
    // A database that cannot be read leaves what was known.
    fs::remove_file(dpkg(&fleet, "b").join("status")).expect("the status");
    fs::create_dir(dpkg(&fleet, "b").join("status")).expect("a directory in its place");
    fleet.until("b says what is wrong", |fleet| {
        let problems = fleet.status("b")["problems"].to_string();
        if problems.contains("not up to date") { Ok(()) } else { Err(problems) }
    });
    assert_eq!(found(&fleet, "a", "deb.openssl = 3.0.11-1"), ["a", "b", "c"]);
    fs::remove_dir(dpkg(&fleet, "b").join("status")).expect("the directory");
    put(&fleet, "b", &good);
    until_found(&fleet, "a", "has deb.only-b", &["b"]);
    fleet.until("b has no trouble any more", |fleet| {
        let problems = fleet.status("b")["problems"].to_string();
        if problems.contains("dpkg-b") { Err(problems) } else { Ok(()) }
    });
}

#[test]
fn questions_that_make_no_sense_are_answered_with_what_to_write() {
    let fleet = Fleet::found("acme");
    let caret = fleet.muster("a", &["inventory", "search", "deb.openssl == 3"]).ends(2);
    assert!(caret.stderr.contains("  deb.openssl == 3\n              ^^"), "{caret:?}");
    fleet.muster("a", &["inventory", "search", "all", "--columns", "nonsense"]).ends(2).says(&["^^^"]);
    fleet.muster("a", &["inventory", "search", "has deb.no-such-package"]).ends(3).says(&["no host matches"]);
    fleet.muster("a", &["inventory", "show", "nobody"]).ends(3).says(&["no host is called nobody"]);
    fleet.muster("a", &["inventory", "show", "a", "nothing"]).ends(3).says(&["says nothing of nothing"]);
    for (first, second, order) in
        [("1.0~rc1", "1.0", "lt\n"), ("1.0", "0:1.0-0", "eq\n"), ("1:1", "2", "gt\n")]
    {
        assert_eq!(fleet.muster("a", &["inventory", "compare", "deb", first, second]).ends(0).text(), order);
    }
    fleet.muster("a", &["inventory", "compare", "deb", "1", "v1"]).ends(2).says(&["second"]);
    fleet.muster("a", &["inventory", "compare", "snap", "1", "1"]).ends(2);
}

#[test]
fn an_order_goes_to_the_hosts_that_a_package_selects_and_only_where_the_tag_is() {
    let fleet = three();
    put(&fleet, "b", database(&[("openssl", "3.0.13-1~deb12u1"), ("only-b", "1.0")]));
    until_found(&fleet, "a", "deb.openssl < 3.0.13-1~deb12u1", &["a", "c"]);
    let old = ["-t", "deb.openssl < 3.0.13-1~deb12u1"];
    let ran = fleet.order("a", &old, &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "c"]));
    let old_web = ["-t", "deb.openssl < 3.0.13-1~deb12u1 and tag.role = web"];
    let ran = fleet.order("a", &old_web, &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["c"]));
    fleet
        .muster("a", &["run", "-t", "deb.openssl > 4", "--", "true"])
        .ends(3)
        .says(&["muster select --explain"]);
}
