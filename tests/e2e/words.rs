//! Command lines with one thing wrong: each has its own message, exit code and next step, and nothing is
//! sent.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::{fleet::Fleet, orders::two};

struct Wrong {
    args: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const fn wrong(args: &'static [&'static str], code: i32, says: &'static [&'static str]) -> Wrong {
    Wrong { args, code, says }
}

const WRONG: &[Wrong] = &[
    // Whom.
    wrong(&["run", "--", "true"], 2, &["no target", "muster run --all"]),
    wrong(&["run", "--all", "-l", "role=web", "--", "true"], 2, &["contradict", "leave out --all"]),
    wrong(&["run", "-H", "bb", "--", "true"], 3, &["no host is called bb", "did you mean b?"]),
    wrong(&["run", "-H", "nothing-like-it", "--", "true"], 3, &["no host is called", "muster host ls"]),
    wrong(&["run", "-H", "web-[1-", "--", "true"], 2, &["^", "-H 'web-[01-10,12]'"]),
    wrong(&["run", "-l", "role", "--", "true"], 2, &["role", "key=value"]),
    wrong(&["run", "-l", "Role=web", "--", "true"], 2, &["Role=web"]),
    wrong(&["run", "-l", "role=none", "--", "true"], 3, &["no host matches"]),
    wrong(&["run", "-t", "tag.role == web", "--", "true"], 2, &["  tag.role == web", "           ^", "="]),
    wrong(&["run", "-t", "tag.role = web and", "--", "true"], 2, &["^"]),
    wrong(&["run", "-t", "tga.role = web", "--", "true"], 2, &["^", "tag"]),
    wrong(&["run", "-t", "", "--", "true"], 2, &["error: "]),
    // What.
    wrong(&["run", "--all"], 2, &["ARGV"]),
    wrong(&["run", "--all", "true"], 2, &["-- true"]),
    wrong(&["run", "--all", "--", ""], 2, &["no command"]),
    wrong(&["run", "--all", "-c", "true", "--", "true"], 2, &["cannot be used with"]),
    wrong(&["run", "--all", "--as", "", "--", "true"], 2, &["--as names no user"]),
    // How long.
    wrong(&["run", "--all", "--timeout", "5", "--", "true"], 2, &["--timeout", "90s"]),
    wrong(&["run", "--all", "--timeout", "0s", "--", "true"], 2, &["--timeout"]),
    wrong(&["run", "--all", "--timeout", "five", "--", "true"], 2, &["--timeout"]),
    wrong(&["run", "--all", "--wait", "-1s", "--", "true"], 2, &["error: "]),
    wrong(&["run", "--all", "--queue", "31d", "--", "true"], 2, &["--queue", "30d"]),
    wrong(&["run", "--all", "--queue", "99999999999999999d", "--", "true"], 2, &["--queue"]),
    // How.
    wrong(&["run", "--all", "--view", "nice", "--", "true"], 2, &["--view", "auto"]),
    wrong(&["run", "--all", "--exit", "remote", "--", "true"], 2, &["--exit remote is for one host"]),
    wrong(&["run", "--all", "-o", "xml", "--", "true"], 2, &["table", "jsonl"]),
    wrong(&["run", "--all", "--frobnicate", "--", "true"], 2, &["--frobnicate"]),
    wrong(&["runn", "--all", "--", "true"], 2, &["run"]),
    wrong(&["frobnicate"], 2, &["frobnicate", "muster --help"]),
    wrong(&[], 2, &["Usage"]),
    // Hosts.
    wrong(&["host", "show", "bb"], 3, &["no host is called bb", "did you mean b?"]),
    wrong(&["host", "show"], 2, &["HOST"]),
    wrong(&["host", "ls", "-t", "tag.role = "], 2, &["^"]),
    wrong(&["host", "tag", "b"], 2, &["no tag", "role=web"]),
    wrong(&["host", "tag", "role=web"], 2, &["no target"]),
    wrong(&["host", "tag", "b", "=web", "--yes"], 2, &["=web"]),
    wrong(&["host", "tag", "b", "role=web", "role=db", "--yes"], 2, &["role"]),
    wrong(&["host", "tag", "b", "role=db"], 2, &["--yes"]),
    wrong(&["host", "untag", "b"], 2, &["which tags"]),
    wrong(&["host", "ping"], 2, &["no target"]),
    wrong(&["host", "ping", "b", "--timeout", "soon"], 2, &["--timeout"]),
    wrong(&["leave"], 2, &["--yes"]),
    // Selectors and groups.
    wrong(&["select"], 2, &["no target", "muster select -l role=web", "muster select --all"]),
    wrong(&["select", "all", "-t", "all"], 2, &["cannot be used with"]),
    wrong(&["select", "--all", "-H", "b"], 2, &["contradict", "leave out --all"]),
    wrong(&["select", "--sample", "10%"], 2, &["no target"]),
    wrong(&["select", "--all", "--sample", "0%"], 2, &["--sample", "such as 20%"]),
    wrong(&["select", "--all", "--limit", "0"], 2, &["--limit"]),
    wrong(&["select", "-H", "b-[1-99999999]"], 2, &["99999999 hosts", "^"]),
    wrong(&["select", "-g", "nobody"], 2, &["no group is called nobody"]),
    wrong(
        &["select", "--ssm-targets", "Key=Name,Values=b"],
        2,
        &["^^^^", "tag:NAME, tag-key and InstanceIds"],
    ),
    wrong(
        &["select", "--ssm-targets", "Key=resource-groups:Name,Values=g"],
        2,
        &["kept by AWS", "muster group set g"],
    ),
    wrong(&["select", "tag.role == web"], 2, &["  tag.role == web", "           ^", "="]),
    wrong(&["select", "--explain", "tag.role ="], 2, &["^"]),
    wrong(&["select", "tag.role = none"], 3, &["no host matches"]),
    wrong(&["select", "@nobody"], 2, &["no group is called nobody", "muster group ls"]),
    wrong(&["group"], 2, &["Usage"]),
    wrong(&["group", "ls", "nobody"], 2, &["no group is called nobody", "muster group ls"]),
    wrong(&["group", "set", "prod"], 2, &["EXPR"]),
    wrong(&["group", "set", "Prod", "all", "--yes"], 2, &["Prod is no name for a group"]),
    wrong(&["group", "set", "prod", "tag.env = ", "--yes"], 2, &["^"]),
    wrong(&["group", "set", "prod", "@prod", "--yes"], 2, &["@prod", "^"]),
    wrong(&["group", "set", "prod", "all"], 2, &["--yes"]),
    wrong(&["group", "rm", "nobody", "--yes"], 2, &["no group is called nobody"]),
    // Jobs.
    wrong(&["job", "show", "zzzz"], 2, &["no job \"zzzz\"", "muster job ls"]),
    wrong(&["job", "output", "zzzz", "b"], 2, &["no job \"zzzz\""]),
    wrong(&["job"], 2, &["Usage"]),
    // Invitations.
    wrong(&["invite", "--uses", "0"], 2, &["--uses"]),
    wrong(&["invite", "--ttl", "soon"], 2, &["--ttl"]),
    wrong(&["invite", "-l", "role=web", "-l", "role=db"], 2, &["role"]),
    wrong(&["invite", "--address", "localhost"], 2, &["--address"]),
    // Founding where a host is.
    wrong(&["init", "other", "--host-name", "x"], 2, &["error: ", "hint: "]),
    wrong(&["init", "No Name!", "--host-name", "x"], 2, &["error: "]),
    wrong(&["completion", "tcsh"], 2, &["bash"]),
    wrong(&["man", "frobnicate"], 2, &["frobnicate"]),
];

#[test]
fn each_wrong_word_has_its_own_message_code_and_next_step_and_nothing_is_sent() {
    let fleet = two();
    let mut bad = Vec::new();
    for Wrong { args, code, says } in WRONG {
        let output = fleet.muster("a", args);
        let missing: Vec<_> = says.iter().filter(|word| !output.stderr.contains(**word)).collect();
        let clean = output.stdout.is_empty() && !output.stderr.contains("panicked");
        let next = output.stderr.contains("hint: ") || output.stderr.contains("Usage");
        if output.code != *code || !missing.is_empty() || !clean || !next {
            bad.push(format!("muster {args:?}: not {code} with {missing:?}, but {output:?}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    let jobs = fleet.muster("a", &["job", "ls", "-o", "json"]).ends(0).json();
    assert_eq!(jobs["items"], serde_json::json!([]));
    assert_eq!(fleet.status("b")["orders"], 0);
}

#[test]
fn a_user_that_a_host_does_not_have_is_refused_by_that_host() {
    let fleet = two();
    let argv = fleet.counted(&[]);
    let ran = fleet.order("a", &["--all", "--as", "no-such-user"], &argv).ends(6);
    for host in ["a", "b"] {
        assert_eq!(ran.status(host), "refused");
        assert!(ran.why(host).contains("no user no-such-user on this host"), "{ran:?}");
    }
    assert_eq!(fleet.all_spawns(), []);
}

/// Runs a command line, reads one line of its output and closes it.
#[track_caller]
fn head(fleet: &Fleet, args: &[&str]) -> (String, i32, String) {
    let mut command = fleet.command("a");
    let mut child =
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("muster starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    out.read_line(&mut line).expect("a line");
    drop(out);
    let ended = child.wait_with_output().expect("it ends");
    (line, ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn a_reader_that_closes_the_output_early_is_no_error() {
    let fleet = two();
    let long = ["run", "-H", "b", "--", "sh", "-c", "yes 0123456789abcdef | head -c 20000000"];
    let (line, code, stderr) = head(&fleet, &long);
    assert_eq!(line, "0123456789abcdef\n");
    assert!(code == 0 && !stderr.contains("error") && !stderr.contains("panicked"), "{code}: {stderr}");
    for args in
        [&["host", "ls"][..], &["host", "ls", "-o", "json"], &["man"], &["--help"], &["completion", "zsh"]]
    {
        let (line, code, stderr) = head(&fleet, args);
        assert!(!line.is_empty(), "{args:?}");
        assert!(
            code == 0 && !stderr.contains("error") && !stderr.contains("panicked"),
            "{args:?}: {code}: {stderr}"
        );
    }
    let ran = fleet.order("a", &["--all"], &["true"]).ends(0);
    assert_eq!(ran.status("b"), "ok");
}
