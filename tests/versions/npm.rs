//! npm's order, asked of node-semver.

use std::{path::Path, process::Command};

use muster::selector::version::{Ecosystem, check, compare, compare_written, semver::Version};

use crate::{
    asked,
    chance::{Chance, Kind},
    support::unavailable,
};

const PAIRS: usize = 200_000;
/// What node-semver brings.
const MODULE: &str = "/usr/share/nodejs/semver/index.js";
/// node-semver rounds the numbers of identifiers to 53 bits and we do not; 14 digits, and the few that are added,
/// stay below that.
const KIND: Kind = Kind {
    characters: b"0011129......---++abAZv= \t\n_~",
    ends: &["-", "+", "-a", "-0", "-1", ".0", "a", "+a", "+b.0", " ", "-a.1", ".", "+", "\u{feff}", "\u{85}"],
    starts: &["v", "=", " ", "v ", "=v", "0", "00", "\u{feff}", "V", "\u{85}"],
    odd: &[
        "",
        " ",
        "v",
        "1",
        "1.2",
        "1.2.3",
        "1.2.x",
        "1.2.3.4",
        "1.2.34.5",
        "1.2.34.05",
        "01.2.3",
        "1.02.3",
        "1.2.03",
        "v1.2.3",
        "=1.2.3",
        "v 1.2.3",
        "= v1.2.3",
        "1.2.3-",
        "1.2.3--",
        "1.2.3-.",
        "1.2.3-.1",
        "1.2.3-a.",
        "1.2.3-a..b",
        "1.2.3-01",
        "1.2.3-0",
        "1.2.3-1",
        "1.2.3-1a",
        "1.2.3-01a",
        "1.2.3-a",
        "1.2.3-A",
        "1.2.3-a.1",
        "1.2.3-a.b",
        "1.2.3a",
        "1.2.3a.1",
        "1.2.34a",
        "1.2.3+",
        "1.2.3+a",
        "1.2.3+a+b",
        "1.2.3+-",
        "1.2.3+a..b",
        "1.2.3-a+b",
        "1.2.3 -a",
        "1.2.3\u{e9}",
        "1.2.3-\u{e9}",
        "9007199254740991.0.0",
        "9007199254740992.0.0",
        "0.9007199254740992.0",
        "0.0.9007199254740993",
        "09007199254740991.0.0",
        "\u{feff}1.2.3",
        "1.2.3\u{85}",
        "1.2.3-rc.1",
        "1.2.3-rc.10",
        "1.2.3-rc.9",
        "1.2.3--1",
        "1.2.3-1-",
    ],
    made,
    digits_max: 14,
};

fn made(chance: &mut Chance) -> String {
    let mut text = String::new();
    for part in 0..3 {
        if part > 0 {
            text.push('.');
        }
        text.push_str(chance.one(&["0", "1", "1", "2", "9", "10", "11", "00", "01"]));
    }
    if chance.below(2) == 0 {
        text.push_str(chance.one(&["-", "-", "-", "", "--"]));
        for part in 0..=chance.below(3) {
            if part > 0 {
                text.push('.');
            }
            text.push_str(
                chance
                    .one(&["0", "1", "2", "10", "01", "a", "b", "A", "-", "rc", "a-b", "1a", "01a", "alpha"]),
            );
        }
    }
    if chance.below(5) == 0 {
        text.push_str(chance.one(&["+0", "+a", "+a.b", "+a-b", "+01"]));
    }
    // Too long, or just not.
    if chance.below(200) == 0 {
        let missing = (255 + chance.below(3)).saturating_sub(text.len() + 1);
        text.push('-');
        text.push_str(&"a".repeat(missing));
    }
    text
}

fn ours(a: &str, b: &str) -> String {
    let standing = |text| match (check(Ecosystem::Npm, text), Version::parse_lax(text)) {
        (Ok(()), Ok(_)) => 0,
        (Err(_), Ok(_)) => 1,
        (Err(_), Err(_)) => 2,
        (Ok(()), Err(error)) => panic!("{text:?} may be written and cannot be read: {error}"),
    };
    let order = compare(Ecosystem::Npm, a, b);
    if let Ok(written) = compare_written(Ecosystem::Npm, a, b) {
        assert_eq!(order, Some(written), "{a:?} {b:?}");
    }
    format!("{} {} {}", standing(a), standing(b), order.map_or("-", asked::word))
}

#[test]
fn versions_are_ordered_as_node_semver_orders_them() {
    let name = "versions are ordered as node-semver orders them";
    for path in ["/usr/bin/node", MODULE] {
        if !Path::new(path).exists() {
            return unavailable(name, format_args!("no {path} (nodejs, node-semver)"));
        }
    }
    let pairs = KIND.pairs(asked::seed(), PAIRS, &[]);
    let mut program = Command::new("/usr/bin/node");
    program.env("NODE_PATH", "/usr/share/nodejs").arg(asked::source("npm.js"));
    asked::compare("node-semver", program, &pairs, &["0", "1", "2", "lt", "eq", "gt", "-"], ours);
}
