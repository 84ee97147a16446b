//! Orders on several hosts: who runs them, how often, and what comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use crate::fleet::{Fleet, Reach, gone, text};

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(crate) fn once(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

/// Two hosts that listen.
pub(crate) fn two() -> Fleet {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &["role=web"], Reach::Listens);
    fleet.all_see_all();
    fleet
}

/// Waits until `job` has a final status for `host`, as `at` tells it; that row.
pub(crate) fn settled(fleet: &Fleet, at: &str, job: &str, host: &str) -> serde_json::Value {
    fleet.until(&format!("{host}'s result is at {at}"), |fleet| {
        let row = fleet.job(at, job).remove(host).ok_or("not in the roster")?;
        match row["status"].as_str() {
            Some("silent" | "running") | None => Err(row.to_string()),
            Some(_) => Ok(row),
        }
    })
}

#[test]
fn four_agents_one_without_an_address_run_an_order_once_each_and_only_where_the_tag_is() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &["role=web"], Reach::Listens);
    fleet.join("c", &["role=db"], Reach::Listens);
    fleet.join("d", &["role=web"], Reach::DialsOut);
    fleet.all_see_all();
    let all = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!(all.of_status("ok"), set(&["a", "b", "c", "d"]));
    assert_eq!(fleet.spawns(&all.job), once(&["a", "b", "c", "d"]));

    // From the host that only dials out, to those of a tag.
    let web = fleet.order("d", &["-l", "role=web"], &fleet.counted(&[])).ends(0);
    assert_eq!(web.of_status("ok"), set(&["b", "d"]));
    assert_eq!(web.summary["counts"]["total"], 2);
    assert_eq!(fleet.spawns(&web.job), once(&["b", "d"]));
    assert_eq!(fleet.all_spawns().len(), 6);
}

#[test]
fn stdout_stderr_and_the_exit_code_of_one_named_host_arrive_as_they_are() {
    let fleet = two();
    let script = "printf 'one\\ntwo'; echo wrong >&2; exit 3";
    let output = fleet.muster("a", &["run", "-H", "b", "--", "sh", "-c", script]).ends(3);
    assert_eq!(output.text(), "one\ntwo");
    assert!(output.stderr.contains("wrong\n"), "{}", output.stderr);

    let job = text(&fleet.muster("a", &["job", "ls", "-o", "json"]).ends(0).json()["items"][0]["job"]);
    let again = fleet.muster("a", &["job", "output", &job]).ends(0);
    assert_eq!(again.text(), "one\ntwo");
    let errors = fleet.muster("a", &["job", "output", "--stderr", &job]).ends(0);
    assert_eq!(errors.text(), "wrong\n");
}

#[test]
fn an_output_of_100_mb_arrives_whole() {
    const BYTES: usize = 100_000_000;
    let fleet = two();
    let script = format!("yes 0123456789abcdef | head -c {BYTES}");
    let output = fleet.muster("a", &["run", "-H", "b", "--", "sh", "-c", &script]).ends(0);
    assert_eq!(output.stdout.len(), BYTES);
    let line = b"0123456789abcdef\n";
    assert!(output.stdout.chunks(line.len()).all(|chunk| line.starts_with(chunk)));

    let jobs = fleet.muster("a", &["job", "ls", "-o", "json"]).ends(0).json();
    let job = text(&jobs["items"][0]["job"]);
    let row = fleet.job("a", &job).remove("b").expect("b");
    assert_eq!(row["stdout_bytes"], BYTES);
    assert_eq!(text(&row["stdout_hash"]), blake3::hash(&output.stdout).to_hex().to_string());
    let again = fleet.muster("a", &["job", "output", &job]).ends(0);
    assert!(again.stdout == output.stdout, "{} bytes", again.stdout.len());
}

#[test]
fn a_host_that_was_away_runs_the_order_when_it_returns_and_its_result_arrives() {
    // Ports that stay: of three hosts that start again one after the other, each at another port, one would
    // know no address that is still good.
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &["role=web"], Reach::Fixed);
    fleet.join("c", &[], Reach::Fixed);
    fleet.all_see_all();
    fleet.stop("b");
    let ran = fleet.order("a", &["--all", "--wait", "500ms"], &fleet.counted(&[])).ends(7);
    assert_eq!(ran.of_status("ok"), set(&["a", "c"]));
    assert_eq!(ran.of_status("silent"), set(&["b"]));
    fleet.start("b");
    assert_eq!(text(&settled(&fleet, "a", &ran.job, "b")["status"]), "ok");
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b", "c"]));
    // Once more from the start: all of it is on disk.
    for host in ["a", "b", "c"] {
        fleet.restart(host);
    }
    fleet.all_see_all();
    fleet.order("a", &["--all"], &["true"]).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a", "b", "c"]));
    assert_eq!(text(&settled(&fleet, "a", &ran.job, "b")["status"]), "ok");
}

#[test]
fn an_order_that_expired_while_its_host_was_away_is_not_run() {
    let mut fleet = two();
    fleet.stop("b");
    let flags = ["--all", "--wait", "500ms", "--queue", "1s"];
    let ran = fleet.order("a", &flags, &fleet.counted(&[])).ends(7);
    fleet.passes(Duration::from_secs(1));
    fleet.start("b");
    // An order that came after it is run, so the first has been there, or never comes.
    fleet.order("a", &["-H", "b"], &fleet.counted(&[])).ends(0);
    assert_eq!(fleet.spawns(&ran.job), once(&["a"]));
    let row = fleet.job("a", &ran.job).remove("b").expect("b");
    assert_ne!(text(&row["status"]), "ok");
}

#[test]
fn an_order_is_refused_where_the_tag_changed_before_it_arrived() {
    let mut fleet = two();
    fleet.stop("b");
    let ran = fleet.order("a", &["-l", "role=web", "--wait", "500ms"], &fleet.counted(&[])).ends(7);
    assert_eq!(ran.of_status("silent"), set(&["b"]));
    fleet.muster("a", &["host", "tag", "b", "role=db", "--yes"]).ends(0);
    fleet.start("b");
    let row = settled(&fleet, "a", &ran.job, "b");
    assert_eq!(text(&row["status"]), "refused");
    assert!(text(&row["why"]).contains("this host's tags do not match tag.role = web"), "{row}");
    assert_eq!(fleet.spawns(&ran.job), BTreeMap::new());
}

#[test]
fn commands_that_do_not_start_or_end_badly_say_how() {
    let fleet = two();
    let b = |argv: &[&str]| {
        let mut line = vec!["run", "-H", "b", "--"];
        line.extend(argv);
        fleet.muster("a", &line)
    };
    b(&["/no/such/command"]).ends(127).says(&["command not found"]);
    b(&["no-such-command"]).ends(127).says(&["command not found"]);
    b(&["/etc/passwd"]).ends(126).says(&["not executable"]);
    b(&["/"]).ends(126);
    b(&["sh", "-c", "kill -TERM $$"]).ends(143);
    b(&["sh", "-c", "exit 255"]).ends(255);
    // Of several hosts the code is the summary's.
    let ran = fleet.order("a", &["--all"], &["/no/such/command"]).ends(6);
    assert_eq!(ran.summary["counts"]["not_started"], 2, "{ran:?}");
    assert_eq!(ran.why("b"), "not started: command not found");
    let ran = fleet.order("a", &["--all"], &["sh", "-c", "kill -KILL $$"]).ends(6);
    assert_eq!(ran.exits["b"]["signal"], 9, "{ran:?}");
    let output = fleet.muster("a", &["run", "--all", "--", "sh", "-c", "kill -KILL $$"]).ends(6);
    assert!(output.text().contains("killed by signal 9"), "{}", output.text());
}

#[test]
fn a_command_that_never_ends_is_ended_with_its_whole_tree() {
    let fleet = two();
    let pids = fleet.dir().join("pids");
    let script = format!(
        "echo $$ >> {0}; sleep 1000 & echo $! >> {0}; setsid sleep 1000 & echo $! >> {0}; wait",
        pids.display()
    );
    let ran = fleet.order("a", &["-H", "b", "--timeout", "1s"], &["sh", "-c", &script]).ends(6);
    assert_eq!(ran.of_status("timed_out"), set(&["b"]), "{ran:?}");
    let pids = fs::read_to_string(&pids).expect("pids");
    assert_eq!(pids.lines().count(), 3);
    for pid in pids.lines() {
        gone(pid.parse().expect("a pid")).expect("the whole tree has ended");
    }
}

#[test]
fn a_command_that_daemonizes_leaves_nothing_behind() {
    let fleet = two();
    let pids = fleet.dir().join("pids");
    let script = format!(
        "setsid sh -c 'echo $$ >> {0}; sleep 1000 & echo $! >> {0}; wait' < /dev/null > /dev/null 2>&1 &
         until [ \"$(wc -l < {0})\" = 2 ]; do :; done 2> /dev/null; echo started",
        pids.display()
    );
    let ran = fleet.order("a", &["-H", "b"], &["sh", "-c", &script]).ends(0);
    assert_eq!(ran.exits["b"]["left_behind"], 2, "{ran:?}");
    for pid in fs::read_to_string(&pids).expect("pids").lines() {
        gone(pid.parse().expect("a pid")).expect("nothing is left");
    }
}

#[test]
fn a_command_that_kills_its_parent_is_indeterminate_and_ends() {
    let fleet = two();
    let pids = fleet.dir().join("pids");
    let script = format!("echo $$ >> {}; kill -9 $PPID; sleep 1000", pids.display());
    let ran = fleet.order("a", &["-H", "b"], &fleet.counted(&["sh", "-c", &script])).ends(6);
    assert_eq!(ran.of_status("indeterminate"), set(&["b"]), "{ran:?}");
    assert!(ran.why("b").contains("supervisor was killed"), "{ran:?}");
    assert_eq!(fleet.spawns(&ran.job), once(&["b"]));
    for pid in fs::read_to_string(&pids).expect("pids").lines() {
        fleet.until("the command has ended", |_| gone(pid.parse().expect("a pid")));
    }
    // The host is as it was.
    fleet.order("a", &["--all"], &["true"]).ends(0);
}
