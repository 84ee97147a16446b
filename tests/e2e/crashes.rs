//! Agents that are stopped or killed while they work.

use std::fs;

use rustix::process::Signal;

use crate::{
    fleet::{Fleet, Process, gone, text},
    orders::{once, settled, two},
};

/// Orders a command on b that never ends, and waits until it runs. Gives the job and the command's pid.
fn never_ends(fleet: &Fleet) -> (String, u32) {
    let pid = fleet.dir().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
    let argv = fleet.counted(&["sh", "-c", &script]);
    let ran = fleet.begin_order("a", &["-H", "b"], &argv);
    let pid =
        fleet.until("the command runs", |_| fs::read_to_string(&pid).map_err(|error| error.to_string()));
    let first = ran.so_far();
    drop(ran);
    let start: serde_json::Value =
        serde_json::from_str(first.lines().next().expect("a first event")).expect("JSON");
    (text(&start["job"]), pid.trim().parse().expect("a pid"))
}

#[test]
fn an_agent_that_is_told_to_stop_ends_its_commands_and_says_so_and_never_runs_them_again() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut fleet = two();
        let (job, pid) = never_ends(&fleet);
        fleet.signal("b", signal);
        assert_eq!(fleet.ends("b"), 0, "{signal:?}: {}", fleet.log("b"));
        gone(pid).expect("the command ends with the agent");
        fleet.start("b");
        let row = settled(&fleet, "a", &job, "b");
        assert_eq!(text(&row["status"]), "indeterminate", "{row}");
        assert!(text(&row["why"]).contains("the agent was stopped"), "{row}");
        fleet.order("a", &["-H", "b"], &["true"]).ends(0);
        assert_eq!(fleet.spawns(&job), once(&["b"]));
    }
}

#[test]
fn an_executor_that_is_killed_takes_its_commands_along_and_never_runs_them_again() {
    for process in [Process::Executor, Process::Both] {
        let mut fleet = two();
        let (job, pid) = never_ends(&fleet);
        fleet.kill9("b", process);
        fleet.until("the command ends", |_| gone(pid));
        fleet.start("b");
        let row = settled(&fleet, "a", &job, "b");
        assert_eq!(text(&row["status"]), "indeterminate", "{row}");
        assert!(text(&row["why"]).contains("the agent ended while it ran"), "{row}");
        fleet.order("a", &["-H", "b"], &["true"]).ends(0);
        assert_eq!(fleet.spawns(&job), once(&["b"]));
    }
}

#[test]
fn a_mesh_process_that_is_killed_is_started_again_and_the_commands_go_on() {
    let mut fleet = two();
    let go = fleet.dir().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; echo done", go.display());
    let argv = fleet.counted(&["sh", "-c", &script]);
    let ran = fleet.begin_order("a", &["-H", "b"], &argv);
    fleet.until("the command runs", |fleet| {
        if fleet.all_spawns().is_empty() { Err("no spawn".to_owned()) } else { Ok(()) }
    });
    let executor = fleet.executor_pid("b");
    fleet.kill9("b", Process::Mesh);
    fleet.until("another mesh process answers", |fleet| {
        let status = fleet.muster("b", &["status", "-o", "json"]);
        if status.code != 0 {
            return Err(status.stderr);
        }
        let starts = status.json()["counters"]["mesh_starts"].clone();
        if starts == 2 { Ok(()) } else { Err(starts.to_string()) }
    });
    fs::write(&go, "").expect("the word to go");
    let ran = Fleet::ran(ran).ends(0);
    assert_eq!(ran.status("b"), "ok");
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
    assert_eq!(fleet.executor_pid("b"), executor);
}

#[test]
fn a_command_line_whose_agent_goes_away_says_so_and_the_order_stands() {
    let mut fleet = two();
    let go = fleet.dir().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let argv = fleet.counted(&["sh", "-c", &script]);
    let ran = fleet.begin_order("a", &["-H", "b"], &argv);
    fleet.until("the command runs", |fleet| {
        if fleet.all_spawns().is_empty() { Err("no spawn".to_owned()) } else { Ok(()) }
    });
    fleet.kill9("a", Process::Executor);
    let ran = Fleet::ran(ran).ends(5);
    assert!(ran.output.stderr.contains("the agent went away"), "{ran:?}");
    fs::write(&go, "").expect("the word to go");
    fleet.start("a");
    let row = settled(&fleet, "a", &ran.job, "b");
    assert_eq!(text(&row["status"]), "ok", "{row}");
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
}

#[test]
fn a_command_line_that_is_interrupted_says_how_to_come_back() {
    let fleet = two();
    let go = fleet.dir().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let argv = fleet.counted(&["sh", "-c", &script]);
    let ran = fleet.begin_order("a", &["-H", "b"], &argv);
    fleet.until("the command runs", |fleet| {
        if fleet.all_spawns().is_empty() { Err("no spawn".to_owned()) } else { Ok(()) }
    });
    ran.signal(Signal::INT);
    let ran = Fleet::ran(ran).ends(130);
    assert!(ran.output.stderr.contains("come back: muster job watch"), "{ran:?}");
    fs::write(&go, "").expect("the word to go");
    assert_eq!(text(&settled(&fleet, "a", &ran.job, "b")["status"]), "ok");
}
