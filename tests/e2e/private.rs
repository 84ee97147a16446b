//! Private orders: run where they are for, read where they were ordered, and nowhere else.

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;

use crate::{
    fleet::{Reach, text},
    orders::two,
};

/// In what is run, what it reads and what it says; nowhere on disk but with who ordered it.
const CANARY: &str = "canary-51c0ffee";

/// The files below `dir` that hold the canary.
fn with_the_canary(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(with_the_canary(&path));
        } else if is_told(&path) {
            // What a command line said to this test.
        } else if fs::read(&path)
            .unwrap_or_default()
            .windows(CANARY.len())
            .any(|window| window == CANARY.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Whether this is what a command line of a test wrote to its standard output.
fn is_told(path: &Path) -> bool {
    let number =
        path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.parse::<u64>().is_ok());
    number && path.extension().is_some_and(|end| end == "out")
}

#[test]
fn a_private_order_is_read_by_its_hosts_and_where_it_was_ordered_alone() {
    let mut fleet = two();
    fleet.join("c", &[], Reach::DialsOut);
    fleet.all_see_all();
    // Short output, which travels with the result, and long output, which is fetched; of two hosts, in waves.
    let script = format!("cat; echo {CANARY} >&2; for i in $(seq 2000); do echo {CANARY} $i; done");
    let path = fleet.dir().join("stdin");
    fs::write(&path, CANARY).expect("a file");
    let mut command = fleet.command("a");
    command
        .args(["run", "--private", "-i", "-H", "b,c", "--batch", "1", "--yes", "-o", "json", "-c", &script])
        .stdin(Stdio::from(fs::File::open(&path).expect("the file")));
    let document = fleet.begin_command(command).finish().ends(0).json();
    fs::remove_file(&path).expect("it goes");
    let hosts = document["hosts"].as_array().expect("hosts").clone();
    assert_eq!(hosts.len(), 2);
    for host in &hosts {
        let out = text(&host["stdout"]["data"]);
        assert!(out.starts_with(&format!("{CANARY}{CANARY} 1\n")) && out.ends_with("2000\n"), "{host}");
        assert_eq!(text(&host["stderr"]["data"]), format!("{CANARY}\n"));
    }

    // The stores, claims, audit chains, spools and logs of three agents, and all that was gossiped to them.
    let operators = fleet.operators().display().to_string();
    let found = with_the_canary(fleet.dir());
    assert!(!found.is_empty(), "the search finds what is kept by who ordered it");
    let elsewhere: Vec<&String> = found.iter().filter(|path| !path.starts_with(&operators)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");

    // Where it was ordered it can be read again, and run again.
    let job = text(&document["job"]);
    let again = fleet.muster("a", &["job", "output", &job, "b"]).ends(0).text();
    assert!(again.contains(&format!("{CANARY} 2000")), "{again}");
    let shown = fleet.muster("a", &["job", "show", &job, "-o", "json"]).ends(0).json();
    assert!(shown["command"].to_string().contains(CANARY), "{shown}");
    let rerun = fleet.muster("a", &["job", "rerun", &job, "--yes", "-o", "json"]).ends(0).json();
    assert!(rerun["hosts"].to_string().contains(CANARY), "{rerun}");
    let elsewhere = with_the_canary(fleet.dir());
    assert!(elsewhere.iter().all(|path| path.starts_with(&operators)), "{elsewhere:?}");

    // With another machine's directory, which has the same key and not what was made for the job.
    let kept = fs::read_dir(fleet.operators()).expect("operators").flatten().map(|entry| entry.path());
    for operator in kept {
        fs::rename(operator.join("private"), fleet.dir().join("aside")).expect("it was kept");
    }
    let shown = fleet.muster("a", &["job", "show", &job, "-o", "json"]).ends(0).json();
    assert_eq!(shown["command"], Value::Array(Vec::new()), "{shown}");
    assert_eq!(shown["counts"]["ok"], 2, "{shown}");
    fleet.muster("a", &["job", "show", &job]).ends(0).says(&["it is private", "sealed to its hosts"]);
    fleet.muster("a", &["job", "output", &job, "b"]).ends(1).says(&["it is private"]);
    let listed = fleet.muster("a", &["job", "ls"]).ends(0).text();
    assert!(listed.contains("(private)") && !listed.contains(CANARY), "{listed}");
    fleet.muster("a", &["job", "rerun", &job, "--yes"]).ends(2).says(&["was not ordered from here"]);
}

#[test]
fn a_private_order_is_shown_before_it_is_sealed_and_a_batch_is_of_64_hosts_at_most() {
    let fleet = two();
    let plan = fleet.muster("a", &["run", "--private", "--all", "--dry-run", "--", "echo", CANARY]).ends(0);
    let plan = plan.text();
    assert!(plan.contains(CANARY) && plan.contains("private  sealed to 2 hosts"), "{plan}");
    assert_eq!(with_the_canary(fleet.dir()), Vec::<String>::new(), "nothing was signed or kept");
}
