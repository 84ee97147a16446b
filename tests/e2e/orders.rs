//! Orders on several hosts: who runs them, how often, and what comes back.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{Fleet, Reach};

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn once(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

/// Four hosts: `a` and `b` listen, `c` too, `d` only dials out; `b` and `d` are tagged `role=web`.
fn four() -> Fleet {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &["role=web"], Reach::Listens);
    fleet.join("c", &["role=db"], Reach::Listens);
    fleet.join("d", &["role=web"], Reach::DialsOut);
    fleet.all_see_all();
    fleet
}

#[test]
fn four_agents_one_without_an_address_run_an_order_once_each_and_only_where_the_tag_is() {
    let fleet = four();
    let all = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(all.of_status("ok"), set(&["a", "b", "c", "d"]));
    assert_eq!(fleet.spawns(&all.job), once(&["a", "b", "c", "d"]));

    // From the host that only dials out, to those of a tag.
    let web = fleet.order("d", &["-l", "role=web"], &fleet.counted(&[])).ends(0);
    assert_eq!(web.of_status("ok"), set(&["b", "d"]));
    assert_eq!(web.summary["counts"]["total"], 2);
    assert_eq!(fleet.spawns(&web.job), once(&["b", "d"]));
    assert_eq!(fleet.all_spawns().len(), 6);
}
