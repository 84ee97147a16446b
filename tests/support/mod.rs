//! What several test programs share.

#![expect(clippy::expect_used, reason = "a test: what is missing fails it")]

use std::fmt::Arguments;
use std::fs::OpenOptions;
use std::io::Write as _;

/// Tells that a check could not be made on this machine, and why. It goes to the file named by
/// `MUSTER_UNAVAILABLE`, which `tests/run` counts and prints (and which fails the run where `CI=true`),
/// or to standard error without one. The test then returns.
///
/// ```ignore
/// if !am_root() {
///     return unavailable("ids are dropped before the command", format_args!("not root"));
/// }
/// ```
#[expect(clippy::print_stderr, reason = "without tests/run this is where a person sees it")]
pub(crate) fn unavailable(name: &str, reason: Arguments<'_>) {
    let line = format!("unavailable: {}: {}\n", one_line(name), one_line(&reason.to_string()));
    let Some(path) = std::env::var_os("MUSTER_UNAVAILABLE") else {
        eprint!("{line}");
        return;
    };
    // One write in append mode, so that lines of tests that run at once do not mix.
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("MUSTER_UNAVAILABLE opens");
    file.write_all(line.as_bytes()).expect("MUSTER_UNAVAILABLE takes a line");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
