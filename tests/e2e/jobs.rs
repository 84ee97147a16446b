//! Jobs under way: waves, budgets, leaving, cancelling, coming back and running again.

use std::{collections::BTreeSet, fs, path::PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    fleet::{Fleet, Ran, Reach, gone, text},
    orders::{once, settled, two},
};

/// Three hosts that listen.
fn three() -> Fleet {
    let mut fleet = two();
    fleet.join("c", &["role=web"], Reach::Listens);
    fleet.all_see_all();
    fleet
}

/// A command that says who it is and runs until it is let go.
fn held(fleet: &Fleet) -> (Vec<String>, PathBuf, PathBuf) {
    let (go, pids) = (fleet.dir().join("go"), fleet.dir().join("pids"));
    let script = format!("echo $$ >> {}; until [ -e {} ]; do sleep 0.02; done", pids.display(), go.display());
    (fleet.counted(&["sh", "-c", &script]), go, pids)
}

/// Waits until so many commands run, and gives their processes.
fn running(fleet: &Fleet, pids: &PathBuf, commands: usize) -> Vec<u32> {
    fleet.until(&format!("{commands} commands run"), |_| {
        let lines = fs::read_to_string(pids).unwrap_or_default();
        let found: Vec<u32> = lines.lines().filter_map(|line| line.parse().ok()).collect();
        if found.len() == commands { Ok(found) } else { Err(format!("{found:?}")) }
    })
}

/// `muster job show -o json`.
fn shown(fleet: &Fleet, job: &str) -> Value {
    fleet.muster("a", &["job", "show", job, "-o", "json"]).ends(0).json()
}

/// The only job there is.
fn newest(fleet: &Fleet) -> String {
    let jobs = fleet.muster("a", &["job", "ls", "-o", "json"]).ends(0).json();
    text(&jobs["items"][0]["job"])
}

#[test]
fn the_first_ctrl_c_leaves_and_the_job_is_watched_to_its_end() {
    let fleet = two();
    let (argv, go, pids) = held(&fleet);
    let ran = fleet.begin_order("a", &["-H", "b"], &argv);
    running(&fleet, &pids, 1);
    ran.signal(Signal::INT);
    let ran = Fleet::ran(ran).ends(130);
    assert!(ran.output.stderr.contains("come back: muster job watch"), "{ran:?}");
    let waited = fleet.muster("a", &["job", "watch", &ran.job, "--wait", "300ms"]).ends(124);
    assert!(waited.stderr.contains("the wait ran out"), "{waited:?}");
    let watch = fleet.begin("a", &["job", "watch", &ran.job, "-o", "json"]);
    fs::write(&go, "").expect("the word to go");
    let watched = watch.finish().ends(0).json();
    assert_eq!(watched["counts"]["ok"], 1, "{watched}");
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
}

#[test]
fn a_hang_up_and_a_request_to_end_leave_at_once() {
    let fleet = two();
    let (argv, go, pids) = held(&fleet);
    for (commands, signal) in [(1, Signal::TERM), (2, Signal::HUP)] {
        let ran = fleet.begin_order("a", &["-H", "b"], &argv);
        running(&fleet, &pids, commands);
        ran.signal(signal);
        Fleet::ran(ran).ends(130).output.says(&["come back: muster job watch"]);
    }
    fs::write(&go, "").expect("the word to go");
}

#[test]
fn the_second_ctrl_c_ends_the_command_on_its_hosts() {
    let fleet = three();
    let (argv, _, pids) = held(&fleet);
    let ran = fleet.begin_order("a", &["--all"], &argv);
    let pids = running(&fleet, &pids, 3);
    ran.signal(Signal::INT);
    fleet.until("it says that it leaves", |_| {
        if ran.said().contains("Ctrl-C again") { Ok(()) } else { Err(ran.said()) }
    });
    ran.signal(Signal::INT);
    let ran = Fleet::ran(ran).ends(130);
    assert_eq!(ran.summary["counts"]["cancelled"], 3, "{ran:?}");
    for pid in pids {
        gone(pid).expect("it was ended before it was accounted for");
    }
    assert_eq!(text(&settled(&fleet, "a", &ran.job, "b")["status"]), "cancelled");
}

#[test]
fn a_job_is_cancelled_from_elsewhere_and_who_was_away_never_starts_it() {
    let mut fleet = three();
    fleet.stop("c");
    let (argv, _, pids) = held(&fleet);
    let ran = fleet.begin_order("a", &["--all", "--wait", "1s"], &argv);
    let pids = running(&fleet, &pids, 2);
    let cancelled = fleet.muster("a", &["job", "cancel", &newest(&fleet), "-o", "json"]).ends(7);
    assert!(cancelled.stderr.contains("2 cancelled · 1 silent"), "{cancelled:?}");
    for pid in pids {
        gone(pid).expect("it was ended before it was accounted for");
    }
    let ran = Fleet::ran(ran).ends(6);
    assert_eq!(ran.of_status("cancelled").len(), 2, "{ran:?}");
    fleet.start("c");
    assert_eq!(text(&settled(&fleet, "a", &ran.job, "c")["status"]), "cancelled");
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b"]));
    fleet.muster("a", &["job", "cancel", &ran.job]).ends(0).says(&["nothing to cancel"]);
}

#[test]
fn a_failure_stops_the_batches_and_rerun_takes_up_what_did_not_succeed() {
    let fleet = three();
    let right = fleet.dir().join("right");
    let argv = fleet.counted(&["test", "-e", &right.display().to_string()]);
    let ran = fleet.order("a", &["--all", "--batch", "1", "--fail-fast"], &argv).ends(8);
    let counts = |ran: &Ran| {
        let of = |column: &str| ran.summary["counts"][column].as_u64().expect("a count");
        (of("ok"), of("failed"), of("not_started"), of("total"))
    };
    assert_eq!(counts(&ran), (0, 1, 2, 3), "{ran:?}");
    assert_eq!(fleet.all_spawns().len(), 1);
    assert_eq!(ran.of_status("not_started").len(), 2);
    let shown = shown(&fleet, &ran.job);
    assert_eq!(shown["counts"]["not_started"], 2, "{shown}");

    fs::write(&right, "").expect("what was missing");
    let again =
        fleet.muster("a", &["job", "rerun", &ran.job, "--failed", "--batch", "2", "-o", "jsonl"]).ends(0);
    assert!(again.stderr.contains("on 3 of 3 hosts"), "{again:?}");
    assert_eq!(fleet.all_spawns().len(), 4);
    // Where all but one succeed, only that one is asked again.
    let first = fleet.dir().join("first");
    let script = format!("mkdir {0} 2> /dev/null && exit 1; exit 0", first.display());
    let mixed = fleet.order("a", &["--all"], &["sh", "-c", &script]).ends(6);
    assert_eq!((mixed.of_status("failed").len(), mixed.of_status("ok").len()), (1, 2), "{mixed:?}");
    let rerun = fleet.muster("a", &["job", "rerun", &mixed.job, "--failed", "-o", "json"]).ends(0).json();
    let hosts: Vec<String> =
        rerun["hosts"].as_array().expect("hosts").iter().map(|row| text(&row["host"])).collect();
    assert_eq!(hosts.into_iter().collect::<BTreeSet<_>>(), mixed.of_status("failed"));
    fleet
        .muster("a", &["job", "rerun", &ran.job, "--failed", "--dry-run"])
        .ends(0)
        .says(&["nothing was sent"]);
}

#[test]
fn a_command_line_that_is_killed_starts_no_later_wave_and_the_job_is_accounted_for() {
    let fleet = three();
    let (argv, go, pids) = held(&fleet);
    let ran = fleet.begin_order("a", &["--all", "--waves", "1,100%"], &argv);
    running(&fleet, &pids, 1);
    let job = newest(&fleet);
    assert_eq!(shown(&fleet, &job)["counts"]["total"], 3, "one job, whatever its waves");
    ran.signal(Signal::KILL);
    ran.finish();
    fs::write(&go, "").expect("the word to go");
    let watched = fleet.muster("a", &["job", "watch", &job, "-o", "json"]).ends(6).json();
    let counts = &watched["counts"];
    assert_eq!((&counts["ok"], &counts["not_started"]), (&1.into(), &2.into()), "{watched}");
    assert_eq!(fleet.all_spawns().len(), 1);
    let again = fleet.muster("a", &["job", "rerun", &job, "--failed", "-o", "json"]).ends(0).json();
    assert_eq!((&again["counts"]["ok"], &again["counts"]["total"]), (&2.into(), &2.into()), "{again}");
    let hosts: Vec<String> = fleet.all_spawns().into_iter().map(|(_, host)| host).collect();
    assert_eq!(hosts.len(), 3);
}

#[test]
fn a_job_in_waves_is_watched_from_another_terminal_and_cancelled_there() {
    let fleet = three();
    let (argv, _, pids) = held(&fleet);
    let ran = fleet.begin_order("a", &["--all", "--batch", "1"], &argv);
    running(&fleet, &pids, 1);
    let job = newest(&fleet);
    let watch = fleet.begin("a", &["job", "watch", &job, "-o", "json"]);
    fleet.muster("a", &["job", "cancel", &job]).ends(0);
    let ran = Fleet::ran(ran).ends(6);
    assert_eq!(
        (&ran.summary["counts"]["cancelled"], &ran.summary["counts"]["not_started"]),
        (&1.into(), &2.into()),
        "{ran:?}"
    );
    assert_eq!(fleet.all_spawns().len(), 1);
    let watched = watch.finish().ends(6).json();
    assert_eq!(watched["counts"]["not_started"], 2, "{watched}");
}

#[test]
fn a_paused_job_begins_no_other_wave_and_goes_on_when_it_is_resumed() {
    let fleet = three();
    let (argv, go, pids) = held(&fleet);
    let ran = fleet.begin_order("a", &["--all", "--batch", "1"], &argv);
    running(&fleet, &pids, 1);
    let job = newest(&fleet);
    fleet.muster("a", &["job", "pause", &job]).ends(0).says(&["2 hosts of later waves are held back"]);
    fs::write(&go, "").expect("the word to go");
    fleet.until("the one who orders says that it waits", |_| {
        if ran.said().contains("paused: 2 hosts") { Ok(()) } else { Err(ran.said()) }
    });
    assert_eq!(fleet.all_spawns().len(), 1);
    fleet.muster("a", &["job", "resume", &job]).ends(0).says(&["resumed: 2 hosts"]);
    let ran = Fleet::ran(ran).ends(0);
    assert_eq!(ran.summary["counts"]["ok"], 3, "{ran:?}");
    assert_eq!(fleet.all_spawns().len(), 3);
}

#[test]
fn the_waves_of_a_closed_laptop_are_taken_up_by_another_command_line() {
    let fleet = three();
    let (argv, go, pids) = held(&fleet);
    let ran = fleet.begin_order("a", &["--all", "--batch", "1"], &argv);
    running(&fleet, &pids, 1);
    let job = newest(&fleet);
    ran.signal(Signal::HUP);
    Fleet::ran(ran).ends(130).output.says(&["muster job resume"]);
    fs::write(&go, "").expect("the word to go");
    let resumed = fleet.muster("a", &["job", "resume", &job, "-o", "json"]).ends(0).json();
    assert_eq!((&resumed["counts"]["ok"], text(&resumed["job"])), (&3.into(), job), "{resumed}");
    let mut hosts: Vec<String> = fleet.all_spawns().into_iter().map(|(_, host)| host).collect();
    hosts.sort();
    assert_eq!(hosts, ["a", "b", "c"], "each once");
}

#[test]
fn who_comes_to_watch_a_job_sees_what_it_writes_from_its_start_and_live() {
    let fleet = two();
    let (go, pids) = (fleet.dir().join("go"), fleet.dir().join("pids"));
    let script = format!(
        "echo first; echo $$ >> {}; until [ -e {} ]; do sleep 0.02; done; echo last",
        pids.display(),
        go.display()
    );
    let ran = fleet.begin_order("a", &["--all"], &fleet.counted(&["sh", "-c", &script]));
    running(&fleet, &pids, 2);
    ran.signal(Signal::TERM);
    let job = Fleet::ran(ran).ends(130).job;
    let watch = fleet.begin("a", &["job", "watch", &job, "-o", "jsonl"]);
    // Before it ends: so it is live.
    fleet.until("both say the first line", |_| {
        let firsts = watch.so_far().matches("\"data\":\"first").count();
        if firsts == 2 { Ok(()) } else { Err(watch.so_far()) }
    });
    fs::write(&go, "").expect("the word to go");
    let events = watch.finish().ends(0).jsonl();
    let data = |host: &str| -> String {
        let chunks = events.iter().filter(|event| event["event"] == "chunk" && event["host"] == host);
        chunks.map(|chunk| text(&chunk["data"])).collect()
    };
    assert_eq!((data("a").as_str(), data("b").as_str()), ("first\nlast\n", "first\nlast\n"), "{events:?}");
    assert_eq!(events.last().expect("a summary")["counts"]["ok"], 2);
}
