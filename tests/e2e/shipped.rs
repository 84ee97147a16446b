//! What is shipped with orders, and output as it is written.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    fleet::{Fleet, Output, Reach, text},
    orders::{settled, two},
};

/// A command line that reads `stdin`.
fn with_stdin(fleet: &Fleet, host: &str, stdin: &[u8], args: &[&str]) -> Output {
    let path = fleet.dir().join("stdin");
    fs::write(&path, stdin).expect("a file");
    let mut command = fleet.command(host);
    command.args(args).stdin(File::open(&path).expect("the file"));
    fleet.begin_command(command).finish()
}

/// Which hosts have something shipped in their state, by either process.
fn kept(fleet: &Fleet, host: &str, process: &str) -> usize {
    fs::read_dir(fleet.state(host).join(process).join("shipped")).expect("a directory").count()
}

#[test]
fn standard_input_reaches_every_host_byte_for_byte() {
    let mut fleet = two();
    fleet.join("c", &[], Reach::DialsOut);
    fleet.all_see_all();
    // Longer than any message, and every byte there is.
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_001).collect();
    let output = with_stdin(&fleet, "a", &bytes, &["run", "-H", "b", "-i", "--", "cat"]).ends(0);
    assert!(output.stdout == bytes, "{} bytes", output.stdout.len());

    let sum = ["run", "--all", "--yes", "--stdin", "-o", "json", "--", "cksum"];
    let document = with_stdin(&fleet, "c", &bytes, &sum).ends(0).json();
    let sums: Vec<&str> = document["hosts"]
        .as_array()
        .expect("hosts")
        .iter()
        .filter_map(|h| h["stdout"]["data"].as_str())
        .collect();
    assert_eq!(sums.len(), 3);
    assert!(sums.iter().all(|sum| *sum == sums[0] && sum.ends_with(" 3000001\n")), "{sums:?}");

    // Without -i nothing is read, and nothing at all is something.
    let output = with_stdin(&fleet, "a", b"not asked for", &["run", "-H", "b", "--", "cat"]).ends(0);
    assert_eq!(output.text(), "");
    let output = with_stdin(&fleet, "a", b"", &["run", "-H", "b", "-i", "--", "wc", "-c"]).ends(0);
    assert_eq!(output.text().trim(), "0");
}

#[test]
fn a_script_runs_where_it_was_never_installed_and_leaves_nothing() {
    let fleet = two();
    let path = fleet.dir().join("tune me.sh");
    // Not UTF-8, not executable here.
    fs::write(&path, b"#!/bin/sh\n# caf\xe9 \xff\nprintf '%s\\n' \"$#\" \"$@\"; exit 3\n").expect("a file");
    let path = path.display().to_string();
    let run = ["run", "-H", "b", "--script", &path, "--", "a b", "--fast"];
    assert_eq!(fleet.muster("a", &run).ends(3).text(), "2\na b\n--fast\n");
    let output =
        with_stdin(&fleet, "a", b"echo from stdin $1\n", &["run", "-H", "b", "--script", "-", "--", "x"]);
    assert_eq!(output.ends(0).text(), "from stdin x\n");
    // With something to read, too.
    let file = fleet.dir().join("sum");
    fs::write(&file, "#!/usr/bin/env -S sh -e\nwc -c\n").expect("a file");
    let file = file.display().to_string();
    let output = with_stdin(&fleet, "a", b"12345", &["run", "-H", "b", "-i", "--script", &file]);
    assert_eq!(output.ends(0).text().trim(), "5");
    assert_eq!(kept(&fleet, "b", "executor"), 0);

    let plan = fleet.muster("a", &["run", "--all", "--dry-run", "--script", &path]).ends(0);
    assert!(plan.text().contains("script   5") && plan.text().contains("tune me.sh"), "{}", plan.text());
}

#[test]
fn what_cannot_be_shipped_is_said_and_nothing_is_sent() {
    let fleet = two();
    let run = |stdin: &[u8], args: &[&str]| with_stdin(&fleet, "a", stdin, args);
    run(b"", &["run", "--all", "--script", "/no/such/file"]).ends(2).says(&["cannot read /no/such/file"]);
    run(b"", &["run", "--all", "-i", "--script", "-"]).ends(2).says(&["both want standard input"]);
    run(&vec![b'x'; (16 << 20) + 1], &["run", "--all", "-i", "--", "cat"]).ends(2).says(&["16.0 MiB"]);
    assert_eq!(
        fleet.muster("a", &["job", "ls", "-o", "json"]).ends(0).json()["items"],
        Value::Array(Vec::new())
    );
}

#[test]
fn a_host_that_was_away_gets_what_was_shipped_when_it_returns() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    fleet.stop("b");
    let ran = {
        let line = ["run", "-o", "jsonl", "--yes", "--all", "--wait", "500ms", "-i", "--", "cat"];
        let output = with_stdin(&fleet, "a", b"for later\n", &line).ends(7);
        text(&output.jsonl()[0]["job"])
    };
    // Not even who took it remembers it in memory alone.
    fleet.restart("a");
    fleet.start("b");
    assert_eq!(text(&settled(&fleet, "a", &ran, "b")["status"]), "ok");
    let output = fleet.muster("a", &["job", "output", &ran, "b"]).ends(0);
    assert_eq!(output.text(), "for later\n");
}

#[test]
fn what_a_command_writes_is_seen_while_it_runs_and_once() {
    let mut fleet = two();
    fleet.join("c", &[], Reach::DialsOut);
    fleet.all_see_all();
    // Each waits for this test between its two lines, so that the first one can only come live.
    let gate = fleet.dir().join("gate");
    let script = format!("echo first; until [ -e {} ]; do sleep 0.05; done; echo second", gate.display());
    let begun = fleet.begin_order("a", &["--all"], &["sh", "-c", &script]);
    fleet.until("the first line of all three", |_| {
        let so_far = begun.so_far();
        let chunks =
            so_far.lines().filter(|line| line.contains("\"chunk\"") && line.contains("first")).count();
        if chunks == 3 { Ok(()) } else { Err(so_far) }
    });
    fs::write(&gate, "").expect("the gate");
    let ran = Fleet::ran(begun).ends(0);
    for host in ["a", "b", "c"] {
        let events = ran.output.jsonl();
        let mine = events.iter().filter(|event| event["host"] == host && event["event"] == "chunk");
        let said: Vec<_> = mine.map(|chunk| (chunk["seq"].as_u64(), text(&chunk["data"]))).collect();
        assert_eq!(said, [(Some(0), "first\n".to_owned()), (Some(1), "second\n".to_owned())], "{host}");
    }
}

#[test]
fn who_reads_slowly_holds_up_no_command_and_gets_all_of_it() {
    const BYTES: usize = 30_000_000;
    let fleet = two();
    let done = fleet.dir().join("done");
    let script =
        format!("sleep 0.6; yes 0123456789abcdef | head -c {BYTES}; echo > {}; sleep 0.6", done.display());
    let mut command: Command = fleet.command("a");
    command.args(["run", "-H", "b", "--", "sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("muster starts");
    // Nothing is read until the command has written everything.
    fleet.until("the command has written all", |_| done.exists().then_some(()).ok_or_else(String::new));
    let output = child.stdout.take().map(|mut out| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut bytes).expect("all of it");
        bytes
    });
    assert!(child.wait().expect("it ends").success());
    let output = output.expect("output");
    let line = b"0123456789abcdef\n";
    assert_eq!(output.len(), BYTES);
    assert!(output.chunks(line.len()).all(|chunk| line.starts_with(chunk)));
}
