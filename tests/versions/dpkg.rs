//! dpkg's order, asked of libdpkg itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use muster::selector::version::{
    Ecosystem, compare, compare_written,
    deb::{Version, VersionError},
};

use crate::{
    asked,
    chance::{Chance, Kind},
    support::unavailable,
};

const PAIRS: usize = 1_000_000;
/// What libdpkg-dev brings.
const HEADER: &str = "/usr/include/dpkg/dpkg-db.h";
/// Versions of packages of Debian 12, chosen for their variety.
const REAL: &str = include_str!("real.txt");
/// dpkg orders characters outside ASCII by whether `char` has a sign, and we refuse them; they have no part in
/// this.
const KIND: Kind = Kind {
    characters: b"0000111299~~~~++...---::abzAZ_^@ \t\n\x0b\r\x7f\x01,/",
    ends: &["~", "0", ".0", "-0", "+", "a", " ", ":", "-", "-00", "~~", ".", "-0.0"],
    starts: &["0:", "00:", "1:", "2:", "+0:", "-0:", " ", "\n0:", "2147483647:", "31622400:"],
    odd: ODD,
    made,
    digits_max: 400,
};
/// Texts that say something to the rules for epochs, blanks and what is empty.
const ODD: &[&str] = &[
    "",
    " ",
    "\t \t",
    "-",
    ":",
    "~",
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
    "+1:1",
    "-0:1",
    "\n1:1",
    "\r+01:1",
    "1 :1",
    "1: 1",
    "1\n:1",
    "1:1 ",
    " 1:1",
    "1 1",
    "1-1:1",
    "1:1-1:1",
    "1:1:1",
    "2147483647:1",
    "2147483648:1",
    "4294967296:1",
    "9223372036854775807:1",
    "9223372036854775808:1",
    "-9223372036854775809:1",
    "00000000000000000000000000001:1",
    "0x1:1",
    "1e1:1",
    "a",
    "a:1",
    "v1",
    "1a-",
    "--",
    "1--",
    "1--1",
    "1-~",
    "1-~1",
    "~1",
    "1~",
    "1~~",
    "1+",
    "1_1",
    "1-1_1",
    "1-1-1",
    "<unknown>",
    "99999999999999999999",
];

fn made(chance: &mut Chance) -> String {
    let mut text = String::new();
    if chance.below(4) == 0 {
        text = format!("{}:", chance.below(3));
    }
    for part in 0..=chance.below(4) {
        if part > 0 {
            text.push(chance.one(&['.', '.', '+', '~', '-', 'a']));
        }
        text.push_str(&chance.digits(3));
        if chance.below(4) == 0 {
            text.push_str(chance.one(&["~rc1", "~", "~~", "a", "+dfsg", "+b1", "beta2", "Z", "~a", "+"]));
        }
    }
    if chance.below(2) == 0 {
        text.push_str(chance.one(&[
            "-0",
            "-1",
            "-1~bpo12+1",
            "-1+deb12u1",
            "-0ubuntu1.10",
            "-10",
            "-01",
            "-a",
        ]));
    }
    text
}

/// What is said of one text: 0 a version, 1 one that dpkg warns of, 2 none.
fn standing(text: &str) -> u8 {
    match (Version::parse(text), Version::parse_lax(text)) {
        (Ok(_), Ok(_)) => 0,
        (Err(VersionError::NoDigit | VersionError::Character | VersionError::RevisionCharacter), Ok(_)) => 1,
        (Err(strict), Err(lax)) if strict == lax => 2,
        (strict, lax) => panic!("{text:?} is read as {strict:?} and as {lax:?}"),
    }
}

/// The line that libdpkg should write.
fn ours(a: &str, b: &str) -> String {
    let (of_a, of_b) = (standing(a), standing(b));
    let (Ok(first), Ok(second)) = (Version::parse_lax(a), Version::parse_lax(b)) else {
        return format!("{of_a} {of_b} -");
    };
    let order = first.cmp(&second);
    assert_eq!(order, second.cmp(&first).reverse(), "{a:?} {b:?}");
    // Who writes two versions on a command line is told the same, or which of them is none.
    assert_eq!(compare(Ecosystem::Deb, a, b), Some(order), "{a:?} {b:?}");
    assert_eq!(
        compare_written(Ecosystem::Deb, a, b).ok(),
        (of_a == 0 && of_b == 0).then_some(order),
        "{a:?} {b:?}"
    );
    format!("{of_a} {of_b} {}", asked::word(order))
}

/// Builds the program that asks libdpkg; a reason if that cannot be had here.
fn build(folder: &Path) -> Result<PathBuf, String> {
    let program = folder.join("dpkg");
    let source = asked::source("dpkg.c");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Werror", "-O1", "-D_GNU_SOURCE", "-o"])
        .arg(&program)
        .arg(&source)
        .args(["-ldpkg", "-lmd"]);
    match cc.output() {
        Err(error) => Err(format!("no cc: {error}")),
        Ok(_) if !Path::new(HEADER).exists() => Err(format!("no {HEADER} (libdpkg-dev)")),
        Ok(output) if output.status.success() => Ok(program),
        Ok(output) => {
            panic!("{} does not build: {}", source.display(), String::from_utf8_lossy(&output.stderr))
        }
    }
}

#[test]
fn versions_are_ordered_as_libdpkg_orders_them() {
    let name = "versions are ordered as libdpkg orders them";
    let folder = tempfile::tempdir().expect("a folder");
    let program = match build(folder.path()) {
        Ok(program) => program,
        Err(why) => return unavailable(name, format_args!("{why}")),
    };
    let real: Vec<&str> = REAL.lines().collect();
    let pairs = KIND.pairs(asked::seed(), PAIRS, &real);
    asked::compare("libdpkg", Command::new(program), &pairs, &["0", "1", "2", "lt", "eq", "gt", "-"], ours);
}
