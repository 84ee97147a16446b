//! `muster demo` with real processes: the story comes true, what it suggests works, and nothing is left
//! of it however it ends.

#![cfg(feature = "agent")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: what is missing fails it"
)]

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take on a slow machine.
const WITHIN: Duration = Duration::from_secs(300);
/// How long the agents of a demo that was killed may outlive it.
const ORPHANED_WITHIN: Duration = Duration::from_secs(30);

/// Waits until `found` finds something.
fn until<T>(what: &str, within: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "a test waits by the real clock")]
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A directory of its own for whatever a demo makes.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Under root the mesh processes are other users, who must get through.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `muster demo`, without a home.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.arg("demo").args(arguments.split_whitespace());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TMPDIR", self.path());
        command.stdin(Stdio::null());
        command
    }

    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Living processes that have this place in their arguments or environment.
    fn processes(&self) -> Vec<String> {
        let here = self.path().to_str().unwrap();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let text = [read("cmdline"), read("environ")].concat();
            let text = String::from_utf8_lossy(&text).replace('\0', " ");
            // A process that has ended and was not collected has neither.
            if text.contains(here) && entry.file_name() != std::process::id().to_string().as_str() {
                found.push(format!("{}: {text}", entry.file_name().display()));
            }
        }
        found
    }

    fn is_clean(&self) {
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "files are left");
    }
}

/// A demo that runs.
struct Demo {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

/// Reads all that comes, in the background.
fn gather(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&said);
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    said
}

impl Demo {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = gather(child.stdout.take().unwrap());
        let err = gather(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// Waits until it has said `text`.
    fn says(&mut self, text: &str) {
        until(text, WITHIN, || {
            let ended = self.child.try_wait().unwrap();
            let said = self.out() + &self.err();
            assert!(ended.is_none() || said.contains(text), "it ended without {text:?}: {said}");
            said.contains(text).then_some(())
        });
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(&mut self) -> ExitStatus {
        until("the demo ends", WITHIN, || self.child.try_wait().unwrap())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Its agents end with it.
            let _gone = self.child.kill();
            let _collected = self.child.wait();
        }
    }
}

/// Runs it to its end.
fn run(place: &Place, arguments: &str) -> (ExitStatus, String, String) {
    let mut demo = Demo::start(place.command(arguments));
    let status = demo.ends();
    until("all processes are gone", ORPHANED_WITHIN, || place.processes().is_empty().then_some(()));
    (status, demo.out(), demo.err())
}

/// One line of the story.
fn line<'a>(story: &'a str, begins: &str) -> &'a str {
    story.lines().find(|line| line.trim_start().starts_with(begins)).unwrap_or_else(|| {
        panic!("no line begins with {begins:?}:\n{story}");
    })
}

#[test]
fn the_story_of_three_hosts_comes_true_and_leaves_nothing() {
    let place = Place::new();
    let (status, out, err) = run(&place, "--once");
    assert!(status.success(), "{status}\n{out}\n{err}");
    place.is_clean();
    let words: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("✓ ")).collect();
    let words: Vec<&str> = words.iter().map(|line| line.split_whitespace().next().unwrap()).collect();
    let story = [
        "founded", "joined", "up", "linked", "ordered", "proven", "known", "searched", "changed", "killed",
        "silent", "asked", "back", "fleet",
    ];
    assert_eq!(words, story, "{out}");
    assert!(line(&out, "web-2  executor ").contains("role=web"), "{out}");
    assert!(line(&out, "db-1   executor ").contains("role=db"), "{out}");
    assert!(line(&out, "✓ web-[1-2] (2)").contains("exit 0"), "{out}");
    assert!(
        line(&out, "web-[1-2]  verified 1× by the mesh process").contains("1× by the executor; started 1")
    );
    assert!(
        line(&out, "db-1       verified 1× by the mesh process").contains("0× by the executor; started 0")
    );
    assert!(line(&out, "✓ known").contains("on all 3 hosts: each one's "), "{out}");
    assert!(line(&out, "✓ searched").contains("muster inventory search all --count-by deb."), "{out}");
    assert!(line(&out, "✓ changed").contains(" on db-1, "), "{out}");
    let times = line(&out, "a search on each host finds it after: ").replace(',', "");
    let after: Vec<&str> = times.split_whitespace().filter(|word| word.contains('-')).collect();
    assert_eq!(after, ["web-1", "web-2", "db-1"], "{out}");
    assert!(out.lines().any(|line| line.contains("  db-1  ") && line.contains("+demo1  ")), "{out}");
    assert!(line(&out, "? db-1 (1)").contains("no answer"), "{out}");
    assert!(out.contains("exit code 7 after "), "{out}");
    assert!(line(&out, "✓ back").contains("db-1"), "{out}");
}

#[test]
fn one_host_has_its_own_story() {
    let place = Place::new();
    let (status, out, err) = run(&place, "-n 1 --once");
    assert!(status.success(), "{status}\n{out}\n{err}");
    place.is_clean();
    assert!(out.contains("has exit code 5"), "{out}");
    assert!(out.contains("its result is still there, and it was not run again"), "{out}");
}

#[test]
fn the_story_as_json_has_what_the_hosts_counted_and_signed() {
    let place = Place::new();
    let (status, out, err) = run(&place, "-n 4 --once -o json");
    assert!(status.success(), "{status}\n{out}\n{err}");
    place.is_clean();
    let story: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(story["schema"], "muster.demo/v1");
    let step = |word: &str| {
        let events = story["events"].as_array().unwrap();
        events.iter().find(|event| event["event"] == word).unwrap_or_else(|| panic!("no {word}: {out}"))
    };
    assert_eq!(step("joined")["admitted_by"], serde_json::json!(["web-1"]));
    assert_eq!(step("linked")["members"], 4);
    let ordered = step("ordered");
    assert_eq!(ordered["exit"], 0);
    let hosts: Vec<&Value> =
        ordered["results"].as_array().unwrap().iter().map(|result| &result["host"]).collect();
    assert_eq!(hosts, ["web-1", "web-2", "web-3"]);
    for row in step("proven")["hosts"].as_array().unwrap() {
        let wanted = u64::from(row["host"] != "db-1");
        assert_eq!(row["spawns"], wanted, "{row}");
        assert_eq!(row["order_verifications_executor"], wanted, "{row}");
        assert_eq!(row["order_verifications_mesh"], 1, "{row}");
    }
    let all = serde_json::json!(["web-1", "web-2", "web-3", "db-1"]);
    let known = step("known");
    assert!(known["packages"].as_u64().unwrap() > 0, "{known}");
    assert_eq!(known["known_on"], all);
    let changed = step("changed");
    assert_eq!(changed["host"], "db-1");
    let answers = changed["answers"].as_array().unwrap();
    let hosts: Vec<&Value> = answers.iter().map(|answer| &answer["host"]).collect();
    assert_eq!(serde_json::json!(hosts), all);
    let slowest = answers.iter().map(|answer| answer["ms"].as_u64().unwrap()).max();
    assert_eq!(changed["ms"].as_u64(), slowest);
    // What is known of it when it is off is what was upgraded while it was on.
    let asked = step("asked");
    assert_eq!((&asked["host"], &asked["version"]), (&"db-1".into(), &changed["to"]));
    assert!(!["self", "up", "linked"].contains(&asked["state"].as_str().unwrap()), "{asked}");
    assert!(asked["changed"].as_str().unwrap() <= asked["seen"].as_str().unwrap(), "{asked}");
    assert_eq!(step("silent")["exit"], 7);
    assert_eq!(step("silent")["silent"], serde_json::json!(["db-1"]));
    let back = step("back");
    assert_eq!((&back["host"], &back["spawns"]), (&"db-1".into(), &1.into()));
    assert_eq!(back["job"], step("silent")["job"]);
    assert_ne!(back["executor_pid"], step("killed")["executor_pid"]);
}

/// What a demo suggests: one line that sets the environment, then commands.
fn suggestions(out: &str) -> (String, Vec<String>) {
    let mut lines = out.lines().skip_while(|line| !line.starts_with("try")).skip(1);
    let environment = lines.next().unwrap().trim().to_owned();
    assert!(environment.starts_with("export MUSTER_STATE="), "{environment}");
    (environment, lines.map(|line| line.trim().to_owned()).collect())
}

fn in_a_second_terminal(environment: &str, command: &str) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{environment}\n{command}")]).current_dir("/").stdin(Stdio::null());
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    shell.output().unwrap()
}

#[test]
fn what_it_suggests_works_from_a_second_terminal_and_ctrl_c_ends_it() {
    let place = Place::new();
    let mut demo = Demo::start(place.command(""));
    demo.says("Ctrl-C ends the demo");
    let (environment, commands) = suggestions(&demo.out());
    assert!(commands.len() >= 9, "{commands:?}");
    for command in &commands {
        let done = in_a_second_terminal(&environment, command);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{command}: {}\n{out}{err}", done.status);
        let shows = if command.contains(" run --all ") {
            "db-1,web-[1-2] (3)"
        } else if command.contains(" host ls ") {
            "web-2"
        } else if command.contains(" run -l env=lab ") {
            "uid="
        } else if command.contains(" --count-by ") {
            "+demo1\t1\tdb-1\n"
        } else if command.contains(" inventory search ") {
            "web-2\t"
        } else if command.contains(" inventory show db-1 ") {
            "deb_packages"
        } else if command.contains(" job ls ") {
            "uname"
        } else if command.contains(" status ") {
            "web-1 of fleet demo"
        } else {
            ""
        };
        assert!(out.contains(shows), "{command}:\n{out}{err}");
    }
    demo.signal(Signal::INT);
    let status = demo.ends();
    assert_eq!(status.code(), Some(0), "{}", demo.err());
    place.is_clean();
}

#[test]
fn ctrl_c_again_and_other_signals_while_it_cleans_up_leave_nothing_either() {
    let place = Place::new();
    let mut demo = Demo::start(place.command("-n 2"));
    demo.says("Ctrl-C ends the demo");
    demo.signal(Signal::HUP);
    // It may end in between, and is not collected before `ends`.
    for signal in [Signal::INT, Signal::TERM, Signal::INT] {
        demo.signal(signal);
    }
    let status = demo.ends();
    assert_eq!(status.code(), Some(0), "{}", demo.err());
    place.is_clean();
}

#[test]
fn a_signal_in_the_middle_of_the_story_leaves_nothing() {
    let place = Place::new();
    let mut demo = Demo::start(place.command("--once"));
    demo.says("✓ joined");
    demo.signal(Signal::TERM);
    let status = demo.ends();
    assert_eq!(status.code(), Some(130), "{}{}", demo.out(), demo.err());
    place.is_clean();
}

#[test]
fn a_reader_that_goes_away_ends_a_staying_demo() {
    for lines in [1, 1000] {
        let place = Place::new();
        let mut child = place.command("-n 1").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        // As `head -n` does, or as a person who looks at all of it and then goes.
        let last = out.lines().take(lines).map_while(Result::ok).find(|line| line.ends_with("confinement"));
        assert_eq!(last.is_some(), lines > 1, "the last suggestion was read");
        let status = until("the demo ends", WITHIN, || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
        place.is_clean();
    }
}

/// When a process started, in clock ticks since boot; none for one that has ended.
fn started(pid: u64) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z" && fields[0] != "X").then(|| fields[19].to_owned())
}

#[test]
fn the_agents_of_a_demo_that_is_killed_end_and_the_next_one_names_what_it_left() {
    let place = Place::new();
    let mut demo = Demo::start(place.command("-n 2 -o jsonl"));
    demo.says("\"event\":\"ready\"");
    let events: Vec<Value> = demo.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let up = events.iter().find(|event| event["event"] == "up").unwrap();
    let mut pids: Vec<u64> = Vec::new();
    let back = events.iter().find(|event| event["event"] == "back").unwrap();
    for agent in [&up["agents"][0], back] {
        pids.push(agent["executor_pid"].as_u64().unwrap());
        pids.push(agent["mesh_pid"].as_u64().unwrap());
    }
    let alive: Vec<(u64, String)> =
        pids.iter().map(|pid| (*pid, started(*pid).unwrap_or_else(|| panic!("{pid} runs")))).collect();
    demo.signal(Signal::KILL);
    let status = demo.ends();
    assert_eq!(status.signal(), Some(9));
    until("no agent is left", ORPHANED_WITHIN, || {
        let left = alive.iter().filter(|(pid, start)| started(*pid).as_ref() == Some(start)).count();
        (left == 0 && place.processes().is_empty()).then_some(())
    });

    let left = place.files();
    assert_eq!(left.len(), 1, "{left:?}");
    let (status, out, err) = run(&place, "-n 1 --once");
    assert!(status.success(), "{out}{err}");
    assert!(err.contains(&format!("rm -r {}", left[0].display())), "{err}");
    assert_eq!(place.files(), left, "it is for a person to remove");
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let place = Place::new();
    let mut command = place.command("--once");
    command.env("TMPDIR", place.path().join("absent"));
    let mut demo = Demo::start(command);
    assert_eq!(demo.ends().code(), Some(1));
    until("the reason", WITHIN, || demo.err().contains("hint: ").then_some(()));
    let err = demo.err();
    assert!(err.contains("/absent: No such file"), "{err}");
    assert!(err.contains("TMPDIR="), "{err}");
    place.is_clean();
}

#[test]
fn a_story_that_does_not_come_true_says_where_it_stopped_and_keeps_the_logs() {
    let place = Place::new();
    let mut demo = Demo::start(place.command("-n 2 --once -o jsonl"));
    // From here on it waits for seconds for a host that it killed itself.
    demo.says("\"event\":\"killed\"");
    let out = demo.out();
    let up = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let up = up.into_iter().find(|event| event["event"] == "up").unwrap();
    let founder = i32::try_from(up["agents"][0]["executor_pid"].as_u64().unwrap()).unwrap();
    kill_process(Pid::from_raw(founder).unwrap(), Signal::KILL).unwrap();
    assert_eq!(demo.ends().code(), Some(1), "{}", demo.out());
    let err = until("the failure", WITHIN, || Some(demo.err()).filter(|err| err.contains("rm -r ")));
    assert!(err.contains("the step \"silent\" did not come true: "), "{err}");
    let kept = place.files();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(err.contains(&format!("what the agents said is in {}/*.log", kept[0].display())), "{err}");
    assert!(err.ends_with(&format!("rm -r {}\n", kept[0].display())), "{err}");
    assert!(kept[0].join("web-1.log").metadata().unwrap().len() > 0);
    until("no process is left", ORPHANED_WITHIN, || place.processes().is_empty().then_some(()));
}
