//! Asking a tool for its answers, and comparing ours with them.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// The seed of this run.
pub(crate) fn seed() -> u64 {
    const SEED: u64 = 20_240_615;
    std::env::var("VERSIONS_SEED").map_or(SEED, |seed| seed.parse().expect("VERSIONS_SEED is a number"))
}

/// Where the programs that ask the tools stand.
pub(crate) fn source(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/versions").join(name)
}

/// How programs write an order.
pub(crate) fn word(order: Ordering) -> &'static str {
    match order {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    }
}

/// Gives `pairs` to `program`, which answers each with a line, and compares these lines with those of `ours`.
/// Each of `words` must have been answered often, so that none of them goes untested.
pub(crate) fn compare(
    tool: &str,
    mut program: Command,
    pairs: &[(String, String)],
    words: &[&str],
    ours: fn(&str, &str) -> String,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let asked = folder.path().join("pairs");
    let mut text = Vec::new();
    for side in pairs.iter().flat_map(|(a, b)| [a, b]) {
        text.extend_from_slice(side.as_bytes());
        text.push(0);
    }
    File::create(&asked).expect("a file").write_all(&text).expect("the pairs are written");
    let output = program
        .stdin(File::open(&asked).expect("the pairs"))
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", output.status);
    let theirs = String::from_utf8(output.stdout).expect("text");
    assert_eq!(theirs.lines().count(), pairs.len(), "a line a pair");

    let again = format!("VERSIONS_SEED={} cargo test --test versions", seed());
    let mut different = Vec::new();
    let mut seen = BTreeMap::<&str, usize>::new();
    for ((a, b), theirs) in pairs.iter().zip(theirs.lines()) {
        let ours = ours(a, b);
        if ours != theirs {
            different.push(format!("{a:?} {b:?}: {tool} says {theirs}, we say {ours}"));
        }
        for word in theirs.split(' ') {
            *seen.entry(word).or_default() += 1;
        }
    }
    let shown = different.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(different.is_empty(), "{} of {} pairs differ:\n{shown}\n{again}", different.len(), pairs.len());
    for word in words {
        let count = seen.get(word).copied().unwrap_or_default();
        assert!(count >= pairs.len() / 100, "{word} was answered {count} times only: {seen:?}\n{again}");
    }
}
