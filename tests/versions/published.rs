//! What projects publish of their orders, quoted from their tests. Each file says whose it is; only versions and
//! how they stand are quoted.

use muster::selector::version::{Ecosystem, check, compare};
use std::cmp::Ordering;

/// Lines of a file that are not empty, with `#` in front of what only a reader needs.
fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Checks lines of `a < b`, `a = b` and `a > b`. Gives how many there are.
fn stand(ecosystem: Ecosystem, text: &'static str) -> usize {
    let mut count = 0;
    for line in lines(text) {
        let parts: Vec<&str> = line.split('\t').collect();
        let [a, mark, b] = parts[..] else { panic!("{line:?} is not two versions with a mark") };
        let expected = match mark {
            "<" => Ordering::Less,
            "=" => Ordering::Equal,
            ">" => Ordering::Greater,
            _ => panic!("{line:?} has no mark"),
        };
        assert_eq!(compare(ecosystem, a, b), Some(expected), "{ecosystem}: {line}");
        assert_eq!(
            compare(ecosystem, b, a),
            Some(expected.reverse()),
            "{ecosystem}: {line}, the other way round"
        );
        count += 1;
    }
    count
}

#[test]
fn rpm_orders_what_its_own_tests_say() {
    assert_eq!(stand(Ecosystem::Rpm, include_str!("published/rpm.txt")), 68);
}

#[test]
fn npm_orders_what_node_semvers_tests_say() {
    assert_eq!(stand(Ecosystem::Npm, include_str!("published/npm.txt")), 68);
    for none in
        ["hello, world", "xyz", "90071992547409910.0.0", "0.90071992547409910.0", "0.0.90071992547409910"]
    {
        assert_eq!(compare(Ecosystem::Npm, none, none), None, "{none}");
    }
    let long = format!("{}.0.0", "1".repeat(255));
    assert_eq!(compare(Ecosystem::Npm, &long, &long), None, "too long");
}

#[test]
fn apk_orders_what_its_own_tests_say() {
    assert_eq!(stand(Ecosystem::Apk, include_str!("published/apk.txt")), 183);
    // apk orders these two as far as they can be read; they are no versions, by its own account.
    for none in ["23_foo", "1.0bc"] {
        assert!(check(Ecosystem::Apk, none).is_err(), "{none}");
    }
}

#[test]
fn pip_orders_what_packagings_tests_say() {
    let text = include_str!("published/pip.txt");
    // The list stands twice there: as it is, and then with an epoch.
    let mut rising: Vec<String> = lines(text).map(str::to_owned).collect();
    rising.extend(lines(text).map(|version| format!("1!{version}")));
    assert_eq!(rising.len(), 92);
    for (i, a) in rising.iter().enumerate() {
        for (j, b) in rising.iter().enumerate() {
            assert_eq!(compare(Ecosystem::Pip, a, b), Some(i.cmp(&j)), "{a} {b}");
        }
    }
    let none = [
        "french toast",
        "1.0+a+",
        "1.0++",
        "1.0+_foobar",
        "1.0+foo&asd",
        "1.0+1+1",
        "1. 0",
        "1 .0",
        "1. 0a1",
        "1 .0a1",
        "1.0 a1",
        "1.0a 1",
        "\u{660}\u{661}\u{662}.\u{663}",
        ".",
        "..",
        "1..0",
        "1.0.",
        ".1.0",
        "1..2.3",
        "1.0+\u{130}",
    ];
    for none in none {
        assert!(check(Ecosystem::Pip, none).is_err(), "{none:?}");
    }
}
