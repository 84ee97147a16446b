//! Every file in `scenarios/`, played on real processes; and what is said of files that are wrong, of stories that do
//! not come true, and of machines that have not what a file takes.

#![cfg(feature = "agent")]
#![expect(clippy::expect_used, reason = "a test: what is missing fails it")]

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use support::unavailable;

#[path = "support/mod.rs"]
mod support;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = fs::read_dir(folder).expect("the folder of scenarios");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

/// A directory for what is played, and what it is played with.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("m").rand_bytes(5).tempdir().expect("a directory");
        // Under root the mesh processes are other users, who must get through.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("its mode");
        Self(dir)
    }

    fn play(&self, arguments: &[&str], user: Option<u32>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(["scenario", "run"]).args(arguments).env_clear().env("TMPDIR", self.0.path());
        command.env("PATH", std::env::var_os("PATH").expect("a path")).stdin(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.output().expect("muster starts")
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("made-up.toml");
        fs::write(&path, text).expect("a file");
        path
    }

    /// What is left here besides the file.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path()).expect("its files");
        entries.map(|entry| entry.expect("a file").path()).filter(|path| path.is_dir()).collect()
    }

    /// Living processes that were started for this place.
    fn processes(&self) -> Vec<String> {
        let here = self.0.path().to_str().expect("a path");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let text =
                String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).replace('\0', " ");
            if text.contains(here) {
                found.push(text);
            }
        }
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Plays one file of the folder.
#[track_caller]
fn comes_true(name: &str) {
    let place = Place::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.toml"));
    let played = place.play(&[path.to_str().expect("a path"), "-o", "jsonl"], None);
    let (out, err) = (text(&played.stdout), text(&played.stderr));
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    if let Some(event) = events.iter().find(|event| event["event"] == "unavailable") {
        assert!(!rustix::process::geteuid().is_root() || name == "full-disk", "{err}");
        return unavailable(&format!("the scenario {name}"), format_args!("{}", event["why"]));
    }
    assert!(played.status.success(), "{}\n{out}\n{err}", played.status);
    assert_eq!(events.first().expect("events")["event"], "scenario");
    assert_eq!(events.last().expect("events")["event"], "true", "{out}");
    assert!(
        events.iter().any(|event| event["event"] == "held" && event["times"].as_u64() > Some(1)),
        "{out}"
    );
    assert_eq!(place.left(), Vec::<PathBuf>::new());
    assert_eq!(place.processes(), Vec::<String>::new());
}

macro_rules! come_true {
    ($($test:ident = $name:literal),* $(,)?) => {
        const PLAYED: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            comes_true($name);
        })*
    };
}
come_true! {
    chain_of_neighbours_comes_true = "chain-of-neighbours",
    forged_order_comes_true = "forged-order",
    full_disk_comes_true = "full-disk",
    half_the_hosts_die_comes_true = "half-the-hosts-die",
    hands_on_comes_true = "hands-on",
    killed_mid_order_comes_true = "killed-mid-order",
    laptop_closed_mid_job_comes_true = "laptop-closed-mid-job",
    offline_host_catches_up_comes_true = "offline-host-catches-up",
    operator_from_outside_comes_true = "operator-from-outside",
    outbound_only_host_comes_true = "outbound-only-host",
    partition_heals_comes_true = "partition-heals",
    stolen_token_two_partitions_comes_true = "stolen-token-two-partitions",
}

#[test]
fn every_file_of_the_folder_is_played() {
    let names: Vec<String> =
        files().iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    assert_eq!(names, PLAYED);
}

const ONE: &str = "about = \"made up\"\n[[host]]\nname = \"a\"\n[[step]]\nenrol = \"all\"\n";

#[test]
fn a_story_that_does_not_come_true_says_what_was_missing_and_keeps_the_logs() {
    let place = Place::new();
    let more = "[[step]]\nname = \"b is there\"\ncheck = \"muster host ls -o name\"\nat = \"a\"\n\
                lines = [\"a\", \"b\"]\nwithin = \"1s\"\n";
    let file = place.file(&format!("{ONE}{more}"));
    let played = place.play(&[file.to_str().expect("a path")], None);
    let err = text(&played.stderr);
    assert_eq!(played.status.code(), Some(1), "{err}");
    for word in [
        "made-up: step 2 of 2 (line 6), \"b is there\", did not come true: not within 1 s: at a: muster host ls -o name: \
         line 2 is nothing and not \"b\"",
        "  stdout:\n    a\n",
        "/*.log",
    ] {
        assert!(err.contains(word), "{word}\n{err}");
    }
    let left = place.left();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(err.ends_with(&format!("rm -r {}\n", left[0].display())), "{err}");
    assert!(fs::metadata(left[0].join("a.log")).expect("a log").len() > 0);
    assert_eq!(place.processes(), Vec::<String>::new());
}

#[test]
fn what_always_holds_is_looked_at_and_named_when_it_does_not() {
    let place = Place::new();
    let more = "[[always]]\nname = \"nobody is here\"\ncheck = \"muster host ls -o name\"\nat = \"a\"\nwithout = [\"a\"]\n";
    let file = place.file(&format!("{ONE}{more}"));
    let played = place.play(&[file.to_str().expect("a path")], None);
    let err = text(&played.stderr);
    assert_eq!(played.status.code(), Some(1), "{err}");
    let word =
        "what always holds does not: nobody is here: at a: muster host ls -o name: standard output has \"a\"";
    assert!(err.contains(word), "{err}");
}

#[test]
fn a_wrong_file_is_refused_before_anything_starts_with_its_line_and_what_to_write() {
    let place = Place::new();
    for (more, words) in [
        ("[[step]]\nenroll = \"all\"\n", &["made-up.toml:7: ", "a step does one of: enrol, start"][..]),
        (
            "[[step]]\nkill = [\"b\"]\n",
            &["made-up.toml:7: ", "there is no host \"b\", only a", "  kill = [\"b\"]\n  ^"],
        ),
        ("[[step]]\nrun = \"uname\"\nat = \"a\"\n", &["made-up.toml:7: ", "begins with muster"]),
        ("[[step]]\nrun = \"muster 'x\"\nat = \"a\"\n", &["made-up.toml:7: ", "a ' is not closed"]),
        ("[[step]]\nrun = \"muster status\"\n", &["made-up.toml:7: ", "write at = \"a\""]),
        ("[[step]]\nkill = [\"a\"]\nsilent = true\n", &["made-up.toml:8: ", "silent does not go with kill"]),
        ("[[step]]\ncut = \"a\"\n", &["made-up.toml:7: ", "between groups"]),
        ("[[step]]\nwait = \"linked\"\nwithin = \"2h\"\n", &["made-up.toml:8: ", "longer than an hour"]),
        ("hosts = 3\n", &["made-up.toml:6: ", "hosts"]),
        ("[[step]\n", &["made-up.toml:6: "]),
        ("[[host]]\nname = \"a\"\n", &["made-up.toml:7: ", "two hosts a"]),
        ("[[host]]\nname = \"B_\"\n", &["made-up.toml:7: ", "cannot be a host's name"]),
    ] {
        let file = place.file(&format!("{ONE}{more}"));
        let played = place.play(&[file.to_str().expect("a path")], None);
        let err = text(&played.stderr);
        assert_eq!(played.status.code(), Some(2), "{more}: {err}");
        for word in words {
            assert!(err.contains(word), "{more}: {word}\n{err}");
        }
        assert!(err.contains("hint: "), "{err}");
        assert_eq!(place.left(), Vec::<PathBuf>::new());
    }
    let absent = place.play(&["absent.toml"], None);
    assert_eq!(absent.status.code(), Some(2));
    assert!(text(&absent.stderr).contains("absent.toml"));
}

#[test]
fn without_root_a_file_that_cuts_links_is_refused_and_one_that_does_not_is_played() {
    const NOBODY: u32 = 65_534;
    let place = Place::new();
    let root = rustix::process::geteuid().is_root();
    let user = root.then_some(NOBODY);
    // Theirs is the directory then.
    if root {
        std::os::unix::fs::chown(place.0.path(), user, user).expect("a directory of theirs");
    }
    let cut = "[[host]]\nname = \"b\"\n[[step]]\ncut = \"a | b\"\n";
    let file = place.file(&format!("{ONE}{cut}"));
    let played = place.play(&[file.to_str().expect("a path")], user);
    let err = text(&played.stderr);
    assert_eq!(played.status.code(), Some(1), "{err}");
    assert!(err.contains("made-up cannot be played on this machine") && err.contains("sudo muster"), "{err}");
    assert_eq!(place.left(), Vec::<PathBuf>::new());

    let program = Path::new(env!("CARGO_BIN_EXE_muster"));
    let reached = program.ancestors().skip(1).all(|dir| {
        dir.as_os_str().is_empty()
            || fs::metadata(dir).is_ok_and(|about| about.permissions().mode() & 0o001 != 0)
    });
    if root && !reached {
        return unavailable(
            "a scenario without root",
            format_args!("{} is closed to others", program.display()),
        );
    }
    let two = "[[host]]\nname = \"b\"\n[[step]]\nwait = \"linked\"\n[[step]]\nrun = \"muster run --all -- {counted} id -u\"\n\
               at = \"b\"\n[[step]]\nspawns = { a = 1, b = 1 }\n";
    let file = place.file(&format!("{ONE}{two}"));
    let played = place.play(&[file.to_str().expect("a path")], user);
    assert!(played.status.success(), "{}{}", text(&played.stdout), text(&played.stderr));
    assert_eq!(place.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_slow_link_takes_its_time_and_the_others_do_not() {
    let place = Place::new();
    let more = "[[host]]\nname = \"b\"\n[[host]]\nname = \"c\"\n[[step]]\nwait = \"linked\"\n\
                [[step]]\nslow = \"a | b\"\ndelay = \"200ms\"\n\
                [[step]]\ncheck = \"muster run -H b -- true\"\nat = \"c\"\n\
                [[step]]\ncheck = \"muster host ping b c -o json\"\nat = \"a\"\n";
    let file = place.file(&format!("{ONE}{more}"));
    let played = place.play(&[file.to_str().expect("a path"), "-o", "jsonl"], None);
    let (out, err) = (text(&played.stdout), text(&played.stderr));
    if err.contains("cannot be played on this machine") {
        return unavailable("a slow link", format_args!("{err}"));
    }
    assert!(played.status.success(), "{out}{err}");
    let pinged = out.lines().rev().find(|line| line.contains("host ping")).expect("the ping");
    let pinged: Value = serde_json::from_str(pinged).expect("an event");
    let rows: Value = serde_json::from_str(pinged["stdout"].as_str().expect("its output")).expect("JSON");
    let took = |host: &str| {
        let rows = rows["items"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["name"] == host).expect("the host");
        row["rtt_us"].as_u64().expect("a time")
    };
    // There and back over the link, which is the one between them or two that are not slow.
    assert!(took("b") >= 400_000, "{rows}");
    assert!(took("c") < 400_000, "{rows}");
}

#[test]
fn files_that_the_simulator_has_come_true_there_and_others_are_refused_by_their_step() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for name in PLAYED {
        let simulated = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["scenario", "simulate", "--seeds", "0..10", "-o", "json"])
            .arg(folder.join(format!("{name}.toml")))
            .output()
            .expect("muster starts");
        let (out, err) = (text(&simulated.stdout), text(&simulated.stderr));
        if SIMULATED.contains(name) {
            assert!(simulated.status.success(), "{name}: {out}{err}");
            let told: Value = serde_json::from_str(&out).expect("JSON");
            assert_eq!(told["events"][0]["seeds"], 10, "{out}");
        } else {
            assert_eq!(simulated.status.code(), Some(2), "{name}: {out}{err}");
            assert!(err.contains("cannot be simulated: "), "{err}");
        }
    }
}

const SIMULATED: &[&str] =
    &["half-the-hosts-die", "offline-host-catches-up", "outbound-only-host", "partition-heals"];
