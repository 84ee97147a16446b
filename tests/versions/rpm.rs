//! rpm's order, asked of librpm through its Python module.

use std::{path::Path, process::Command};

use muster::selector::version::{Ecosystem, compare, compare_written, rpm::Version};

use crate::{
    asked,
    chance::{Chance, Kind},
    support::unavailable,
};

const PAIRS: usize = 300_000;
/// What python3-rpm brings.
const MODULE: &str = "/usr/lib/python3/dist-packages/rpm/__init__.py";
const KIND: Kind = Kind {
    characters: b"0000111299~~~^^^++...---::abzAZ__@ \t\n\x7f\x01,/",
    ends: &["~", "^", "0", ".0", "-0", "+", "a", " ", ":", "-", "~~", "^^", ".", "_", "\u{e9}"],
    starts: &["0:", "00:", "1:", "2:", ":", "a:", "-1:", " ", "4294967295:", "4294967296:"],
    odd: &[
        "",
        " ",
        "-",
        ":",
        "~",
        "^",
        "0",
        "00",
        "-0",
        "0-",
        "0:",
        ":0",
        "0:0",
        "0-0",
        "1:-1",
        "-1:1",
        "a:1",
        "1:1:1",
        "1-1:1",
        "1-1-1",
        "1--1",
        "1-~",
        "1-^",
        "~1",
        "^1",
        "1~",
        "1^",
        "1~^",
        "1^~",
        "1~~",
        "1^^",
        "1.~",
        "1.^",
        "1~.",
        "1^.",
        "1_",
        "1__1",
        "+",
        "_",
        "a+",
        "a_",
        "1a1",
        "1.a.1",
        "1.a1",
        "1a.1",
        "\u{e9}",
        "1.\u{e9}",
        "1.\u{df}1",
        "99999999999999999999:1",
    ],
    made,
    digits_max: 400,
};

fn made(chance: &mut Chance) -> String {
    let mut text = String::new();
    if chance.below(4) == 0 {
        text = format!("{}:", chance.below(3));
    }
    for part in 0..=chance.below(4) {
        if part > 0 {
            text.push(chance.one(&['.', '.', '+', '~', '^', '_', 'a']));
        }
        text.push_str(&chance.digits(3));
        if chance.below(4) == 0 {
            text.push_str(chance.one(&[
                "~rc1",
                "~",
                "^",
                "^git1",
                "^20240101",
                "a",
                "p2",
                "rc1",
                "Z",
                "~a",
                "^a~b",
            ]));
        }
    }
    if chance.below(2) == 0 {
        text.push_str(chance.one(&[
            "-0",
            "-1",
            "-1.el9",
            "-1.el9_4",
            "-01.el10",
            "-427.13.1.el9_4",
            "-1.fc40",
            "-a",
            "-1~",
        ]));
    }
    text
}

fn ours(a: &str, b: &str) -> String {
    let read = |text| u8::from(Version::parse_lax(text).is_err());
    let order = compare(Ecosystem::Rpm, a, b);
    if let Ok(written) = compare_written(Ecosystem::Rpm, a, b) {
        assert_eq!(order, Some(written), "{a:?} {b:?}");
    }
    format!("{} {} {}", read(a), read(b), order.map_or("-", asked::word))
}

#[test]
fn versions_are_ordered_as_librpm_orders_them() {
    let name = "versions are ordered as librpm orders them";
    if !Path::new(MODULE).exists() {
        return unavailable(name, format_args!("no {MODULE} (python3-rpm)"));
    }
    let pairs = KIND.pairs(asked::seed(), PAIRS, &[]);
    let mut program = Command::new("/usr/bin/python3");
    program.arg("-I").arg(asked::source("rpm.py"));
    asked::compare("librpm", program, &pairs, &["0", "lt", "eq", "gt"], ours);
}
