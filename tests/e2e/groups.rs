//! Selectors that have a name, saved on one host and used on another.

use crate::fleet::{Fleet, Reach};

/// What `group ls` says at a host: name, state and selector.
fn groups(fleet: &Fleet, at: &str) -> Vec<(String, String, String)> {
    let listed = fleet.muster(at, &["group", "ls", "-o", "json"]).ends(0).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().expect("items").iter();
    items.map(|item| (text(&item["name"]), text(&item["state"]), text(&item["selector"]))).collect()
}

fn until_set(fleet: &Fleet, at: &str, expected: &[(&str, &str)]) {
    fleet.until(&format!("{at} knows the groups"), |fleet| {
        let found = groups(fleet, at);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(name, _, text)| (name.as_str(), text.as_str())).collect();
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[test]
fn a_group_saved_on_one_host_selects_on_all_and_outlives_a_restart() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &["role=web", "env=prod"], Reach::Listens);
    fleet.join("c", &["role=web"], Reach::Listens);
    fleet.all_see_all();
    fleet.muster("a", &["group", "set", "prod", "tag.env = prod", "--yes"]).ends(0);
    until_set(&fleet, "c", &[("prod", "tag.env = prod")]);

    // On another host, within a selector and within a group.
    fleet.muster("c", &["group", "set", "web", "tag.role = web and not @prod", "--yes"]).ends(0);
    until_set(&fleet, "a", &[("prod", "tag.env = prod"), ("web", "tag.role = web and not @prod")]);
    // b has env=prod; of a and c it is not known whether they are prod, so web selects nobody.
    assert_eq!(fleet.muster("a", &["select", "@prod", "-o", "name"]).ends(0).text().trim(), "b");
    fleet.muster("a", &["select", "@web"]).ends(3);
    assert_eq!(fleet.muster("c", &["host", "ls", "-t", "@prod", "-o", "name"]).ends(0).text().trim(), "b");
    let named = |flags: &[&str]| {
        let words: Vec<&str> = ["select", "-o", "name"].iter().chain(flags).copied().collect();
        fleet.muster("a", &words).ends(0).text().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(named(&["-g", "prod"]), ["b"]);
    assert_eq!(named(&["-H", "b,c", "-l", "role=web"]), ["b", "c"]);
    assert_eq!(named(&["--ssm-targets", "Key=tag:role,Values=web,api"]), ["b", "c"]);
    assert_eq!(named(&["--all", "--limit", "2"]), ["a", "b"]);
    assert_eq!(named(&["--all", "--sample", "1%"]).len(), 1);
    // An order carries what the group stood for.
    let ran = fleet.muster("a", &["run", "-t", "@prod", "-o", "json", "--", "true"]).ends(0).json();
    assert_eq!(ran["selector"], "tag.env = prod", "{ran}");
    fleet.muster("a", &["run", "-t", "@nobody", "--", "true"]).ends(2).says(&["no group is called nobody"]);
    let explained = fleet.muster("b", &["select", "--explain", "@web", "-o", "json"]).ends(0).json();
    let counts = |at: usize| {
        let part = &explained["items"][at];
        (
            part["test"].as_str().expect("a test"),
            part["true"].clone(),
            part["false"].clone(),
            part["unknown"].clone(),
        )
    };
    assert_eq!(counts(0), ("and", 0.into(), 1.into(), 2.into()));
    assert_eq!(counts(1), ("tag.role = web", 2.into(), 0.into(), 1.into()));
    assert_eq!(counts(2), ("not", 0.into(), 1.into(), 2.into()));
    assert_eq!(counts(3), ("tag.env = prod", 1.into(), 0.into(), 2.into()));

    fleet.restart("c");
    until_set(&fleet, "c", &[("prod", "tag.env = prod"), ("web", "tag.role = web and not @prod")]);
    fleet.muster("c", &["group", "rm", "prod", "--yes"]).ends(0);
    until_set(&fleet, "b", &[("web", "tag.role = web and not @prod")]);
    // What asks for a group that is gone says so, and selects nobody.
    fleet.muster("b", &["select", "@web"]).ends(2).says(&["@web", "@prod"]);
}
