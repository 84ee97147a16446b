//! PEP 440's order, asked of Python's library `packaging`.

use std::{path::Path, process::Command};

use muster::selector::version::{Ecosystem, check, compare, compare_written};

use crate::{
    asked,
    chance::{Chance, Kind},
    support::unavailable,
};

const PAIRS: usize = 200_000;
/// What python3-packaging brings.
const MODULE: &str = "/usr/lib/python3/dist-packages/packaging/version.py";
const KIND: Kind = Kind {
    characters: b"0000111299....---__++!abrcdevpostABC  \t\x1c\n@~",
    ends: &[
        "a", ".0", ".00", "rc", "-1", ".", "-", "_", "+", " ", ".dev", "dev1", ".post", "+0", "+a", "+A",
        ".0a1",
    ],
    starts: &["0!", "00!", "1!", "v", "V", " ", "v ", "\n", "vv", "!", "\u{2009}"],
    odd: &[
        "",
        " ",
        "v",
        "1",
        "1.",
        "1..0",
        ".1",
        "1-",
        "1_",
        "1+",
        "1!",
        "!1",
        "1!1",
        "1!1!1",
        "v1!1",
        "1!v1",
        "1a",
        "1a.",
        "1.a",
        "1.a.",
        "1-a-",
        "1_a_",
        "1--a",
        "1a--1",
        "1a-1",
        "1a1-1",
        "1a1.1",
        "1alpha",
        "1ALPHA0",
        "1beta",
        "1b",
        "1c",
        "1rc",
        "1pre",
        "1preview",
        "1prev",
        "1post",
        "1rev",
        "1r",
        "1re",
        "1-1",
        "1-01",
        "1_1",
        "1-1-1",
        "1-r-1",
        "1.post.",
        "1.post.1",
        "1dev",
        "1.dev.",
        "1dev-1",
        "1dev1a1",
        "1a1dev1",
        "1a1post1dev1",
        "1post1a1",
        "1+a",
        "1+A",
        "1+a.b",
        "1+a-b",
        "1+a_b",
        "1+a..b",
        "1+.a",
        "1+a.",
        "1+01",
        "1+1",
        "1+1a",
        "1+a+b",
        "1.0+0",
        "1 .0",
        "1. 0",
        "\u{e9}",
        "1\u{e9}",
        "1+\u{e9}",
        "1\u{85}",
        "\u{feff}1",
        "2014.04",
        "french toast",
    ],
    made,
    digits_max: 400,
};

fn made(chance: &mut Chance) -> String {
    let mut text = String::new();
    if chance.below(6) == 0 {
        text.push_str(chance.one(&["1!", "0!", "v", "v2!"]));
    }
    text.push_str(&chance.digits(2));
    for _ in 0..chance.below(4) {
        text.push('.');
        text.push_str(chance.one(&["0", "0", "00", "1", "2", "10"]));
    }
    for words in [
        &["a", "b", "rc", "c", "alpha", "beta", "pre", "preview", "RC", "A"][..],
        &["post", "r", "rev", "-", "Post"],
        &["dev", "DEV"],
    ] {
        if chance.below(3) == 0 {
            text.push_str(chance.one(&["", "", ".", "-", "_"]));
            text.push_str(chance.one(words));
            text.push_str(chance.one(&["", "", ".", "-", "_"]));
            text.push_str(chance.one(&["", "0", "1", "01", "2", "10"]));
        }
    }
    if chance.below(4) == 0 {
        text.push_str(chance.one(&[
            "+0",
            "+1",
            "+01",
            "+a",
            "+B.1",
            "+ubuntu-1",
            "+ubuntu.2",
            "+1a",
            "+a.a",
            "+10",
        ]));
    }
    text
}

fn ours(a: &str, b: &str) -> String {
    let read = |text| u8::from(check(Ecosystem::Pip, text).is_err());
    let order = compare(Ecosystem::Pip, a, b);
    assert_eq!(order, compare_written(Ecosystem::Pip, a, b).ok(), "{a:?} {b:?}");
    format!("{} {} {}", read(a), read(b), order.map_or("-", asked::word))
}

#[test]
fn versions_are_ordered_as_packaging_orders_them() {
    let name = "versions are ordered as packaging orders them";
    if !Path::new(MODULE).exists() {
        return unavailable(name, format_args!("no {MODULE} (python3-packaging)"));
    }
    let pairs = KIND.pairs(asked::seed(), PAIRS, &[]);
    let mut program = Command::new("/usr/bin/python3");
    program.arg("-I").arg(asked::source("pip.py"));
    asked::compare("packaging", program, &pairs, &["0", "1", "lt", "eq", "gt", "-"], ours);
}
