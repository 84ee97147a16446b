//! dpkg's order, asked of libdpkg itself: hundreds of thousands of pairs, and no answer may differ.
//!
//! The pairs are two of a kind more often than not, because that is where an order goes wrong: real versions of
//! Debian packages and made ones, each next to a copy with a few characters changed. They come from a seed;
//! `VERSIONS_SEED=n cargo test --test versions` takes another one.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what was missing by failing"
)]

#[path = "support/mod.rs"]
mod support;

use std::{
    cmp::Ordering,
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use muster::selector::version::{
    Ecosystem, compare_written,
    deb::{Version, VersionError},
};
use support::unavailable;

const PAIRS: usize = 200_000;
const SEED: u64 = 20_240_615;
/// What libdpkg-dev brings.
const HEADER: &str = "/usr/include/dpkg/dpkg-db.h";
/// Versions of packages of Debian 12, chosen for their variety.
const REAL: &str = include_str!("versions/real.txt");
/// What versions are made of, and a little of what they are not. dpkg orders characters outside ASCII by
/// whether `char` has a sign, and we refuse them; they have no part in this.
const CHARACTERS: &[u8] = b"0000111299~~~~++...---::abzAZ_^@ \t\n\x0b\r\x7f\x01,/";
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

/// `SplitMix64`, after G. Steele, D. Lea and C. Flood.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("64 bits");
        usize::try_from(self.next() % bound).expect("less than a usize")
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn character(&mut self) -> char {
        char::from(self.one(CHARACTERS))
    }

    fn digits(&mut self, most: usize) -> String {
        let count = 1 + self.below(most);
        (0..count).map(|_| char::from(b'0' + u8::try_from(self.below(10)).expect("a digit"))).collect()
    }

    fn version(&mut self, real: &[&str]) -> String {
        match self.below(20) {
            0..8 => self.one(real).to_owned(),
            8..15 => self.made(),
            15..17 => {
                let count = self.below(12);
                (0..count).map(|_| self.character()).collect()
            }
            17 => self.one(ODD).to_owned(),
            18 => format!("{}.{}", self.digits(40), self.digits(400)),
            _ => format!("{}:{}", self.digits(11), self.made()),
        }
    }

    fn made(&mut self) -> String {
        let mut text = String::new();
        if self.below(4) == 0 {
            text = format!("{}:", self.below(3));
        }
        for part in 0..=self.below(4) {
            if part > 0 {
                text.push(self.one(&['.', '.', '+', '~', '-', 'a']));
            }
            text.push_str(&self.digits(3));
            if self.below(4) == 0 {
                text.push_str(self.one(&["~rc1", "~", "~~", "a", "+dfsg", "+b1", "beta2", "Z", "~a", "+"]));
            }
        }
        if self.below(2) == 0 {
            text.push_str(self.one(&[
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

    /// `text` with a few changes, of which many make no difference.
    fn near(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(2) {
            let at = self.below(chars.len() + 1);
            let digit = chars.iter().skip(at).position(char::is_ascii_digit).map(|after| at + after);
            match self.below(12) {
                0 => chars.insert(at, self.character()),
                1 if at < chars.len() => {
                    chars.remove(at);
                }
                2 if at < chars.len() => chars[at] = self.character(),
                3 if at + 1 < chars.len() => chars.swap(at, at + 1),
                // Leading zeros, or others; more than any number has.
                4 => {
                    let zeros = 1 + self.below(30);
                    chars.splice(digit.unwrap_or(at)..digit.unwrap_or(at), vec!['0'; zeros]);
                }
                5 => {
                    let run: Vec<char> = self.digits(60).chars().collect();
                    chars.splice(at..at, run);
                }
                6 => chars.truncate(at),
                7 => chars.extend(
                    self.one(&["~", "0", ".0", "-0", "+", "a", " ", ":", "-", "-00", "~~", ".", "-0.0"])
                        .chars(),
                ),
                8 => {
                    let epoch = self.one(&["0:", "00:", "1:", "+0:", "-0:", " ", "\n0:", "2147483647:"]);
                    chars.splice(0..0, epoch.chars());
                }
                9 if let Some(digit) = digit => {
                    chars[digit] = char::from(b'0' + u8::try_from(self.below(10)).expect("a digit"));
                }
                10 => {
                    if let Some(mark) = chars.iter().position(|c| matches!(c, '.' | '-' | '+' | '~')) {
                        chars[mark] = self.one(&['.', '-', '+', '~', 'a', ':']);
                    }
                }
                _ => {}
            }
        }
        chars.into_iter().collect()
    }

    fn pair(&mut self, real: &[&str]) -> (String, String) {
        let a = self.version(real);
        let b = if self.below(4) == 0 { self.version(real) } else { self.near(&a) };
        if self.below(2) == 0 { (a, b) } else { (b, a) }
    }
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
    assert_eq!(
        compare_written(Ecosystem::Deb, a, b).ok(),
        (of_a == 0 && of_b == 0).then_some(order),
        "{a:?} {b:?}"
    );
    let word = match order {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    };
    format!("{of_a} {of_b} {word}")
}

/// Builds the program that asks libdpkg; a reason if that cannot be had here.
fn build(folder: &Path) -> Result<std::path::PathBuf, String> {
    let program = folder.join("dpkg");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/versions/dpkg.c");
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
    let seed =
        std::env::var("VERSIONS_SEED").map_or(SEED, |seed| seed.parse().expect("VERSIONS_SEED is a number"));
    let real: Vec<&str> = REAL.lines().collect();
    let mut chance = Chance(seed);
    let mut pairs: Vec<(String, String)> = (0..PAIRS).map(|_| chance.pair(&real)).collect();
    // And each with each.
    for all in [&real[..], ODD] {
        for a in all {
            pairs.extend(all.iter().map(|b| ((*a).to_owned(), (*b).to_owned())));
        }
    }

    let asked = folder.path().join("pairs");
    let mut text = Vec::new();
    for side in pairs.iter().flat_map(|(a, b)| [a, b]) {
        text.extend_from_slice(side.as_bytes());
        text.push(0);
    }
    File::create(&asked).expect("a file").write_all(&text).expect("the pairs are written");
    let output = Command::new(&program)
        .stdin(File::open(&asked).expect("the pairs"))
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", output.status);
    let theirs = String::from_utf8(output.stdout).expect("text");
    assert_eq!(theirs.lines().count(), pairs.len(), "a line a pair");

    let again = format!("VERSIONS_SEED={seed} cargo test --test versions");
    let mut different = Vec::new();
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for ((a, b), theirs) in pairs.iter().zip(theirs.lines()) {
        let ours = ours(a, b);
        if ours != theirs {
            different.push(format!("{a:?} {b:?}: libdpkg says {theirs}, we say {ours}"));
        }
        for word in theirs.split(' ') {
            *seen.entry(word).or_default() += 1;
        }
    }
    let shown = different.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(different.is_empty(), "{} of {} pairs differ:\n{shown}\n{again}", different.len(), pairs.len());
    // Every answer was given often, so that none of them went untested.
    for word in ["0", "1", "2", "lt", "eq", "gt", "-"] {
        let count = seen.get(word).copied().unwrap_or_default();
        assert!(count >= PAIRS / 50, "{word} was answered {count} times only: {seen:?}\n{again}");
    }
}
