//! What scripts rely on: the shape of every document, exit codes, and what a shell is told when it asks for words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::{
    fleet::{Fleet, Reach},
    orders::two,
    schema,
};

/// Every command that says something in JSON, and how it ends. `JOB` is the id of a job.
const READING: &[(&[&str], i32)] = &[
    (&["host", "ls"], 0),
    (&["hosts", "-t", "tag.role = web"], 0),
    (&["host", "show", "b"], 0),
    (&["host", "ping", "b"], 0),
    (&["status"], 0),
    (&["doctor"], 0),
    (&["config"], 0),
    (&["version"], 0),
    (&["schema"], 0),
    (&["store", "check"], 0),
    (&["inventory", "types"], 0),
    (&["inventory", "show", "b"], 0),
    (&["inventory", "show", "b", "os_version"], 0),
    (&["inventory", "search", "all"], 0),
    (&["inventory", "search", "has tag.role", "--columns", "fact.os_version.name"], 0),
    (&["inventory", "search", "all", "--count-by", "tag.role"], 0),
    (&["audit", "log"], 0),
    (&["audit", "verify"], 0),
    (&["group", "ls"], 0),
    (&["key", "ls"], 0),
    (&["operator", "ls"], 0),
    (&["operator", "invite", "--dry-run", "--person", "ana"], 0),
    (&["select", "all"], 0),
    (&["select", "--explain", "@web and has tag.role"], 0),
    (&["inventory", "compare", "deb", "1.0", "2.0"], 0),
    (&["job", "ls"], 0),
    (&["job", "show", "JOB"], 0),
    (&["job", "watch", "JOB"], 6),
    (&["job", "rerun", "JOB", "--failed", "--dry-run"], 0),
    (&["run", "--all", "--dry-run", "--batch", "1", "--max-errors", "0", "--", "true"], 0),
    (&["run", "--all", "--batch", "1", "--", "true"], 0),
    (
        &[
            "scenario",
            "simulate",
            concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/partition-heals.toml"),
            "--seeds",
            "0..1",
        ],
        0,
    ),
    (&["run", "--all", "--", "sh", "-c", "echo out; echo err >&2; printf '\\377' "], 0),
    (&["run", "-H", "b", "--", "sh", "-c", "exit 3"], 3),
    (&["invite"], 0),
    (&["roots", "ls"], 0),
    (&["roots", "log"], 0),
];

/// Every command that can be watched. Where no terminal is, each change is a line of JSON, whatever `-o` says.
const WATCHED: &[&[&str]] = &[
    &["hosts"],
    &["status"],
    &["job", "ls"],
    &["group", "ls"],
    &["operator", "ls"],
    &["select", "all"],
    &["inventory", "search", "all"],
    &["inventory", "search", "all", "--count-by", "tag.role"],
    &["inventory", "types", "-o", "table"],
];

/// Asks the program for a schema, once.
fn promised<'a>(fleet: &Fleet, schemas: &'a mut BTreeMap<String, Value>, name: &str) -> &'a Value {
    schemas.entry(name.to_owned()).or_insert_with(|| fleet.muster("a", &["schema", name]).ends(0).json())
}

#[test]
fn every_document_is_what_its_schema_says() {
    let fleet = two();
    let job = fleet.order("a", &["--all"], &["false"]).ends(6).job;
    fleet.muster("a", &["-y", "group", "set", "web", "tag.role = web"]).ends(0);
    let mut schemas = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    let mut hold = |fleet: &Fleet, what: &str, document: &Value| {
        let name = document["schema"].as_str().unwrap_or("none").to_owned();
        met.insert(name.clone());
        let schema = promised(fleet, &mut schemas, &name);
        if let Some(fault) = schema::fault(schema, document) {
            wrong.push(format!("{what}: {name}{fault}"));
        }
    };
    for (words, code) in READING {
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "JOB" { job.as_str() } else { word }).collect();
        for format in ["json", "jsonl"] {
            let args = [&["-o", format], words.as_slice()].concat();
            let said = fleet.muster("a", &args).ends(*code);
            let documents = if format == "json" { vec![said.json()] } else { said.jsonl() };
            assert!(!documents.is_empty(), "{args:?}");
            for document in &documents {
                hold(&fleet, &format!("{args:?}"), document);
            }
        }
    }
    // What is played in virtual time tells as what is played on agents does.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/partition-heals.toml");
    for format in ["json", "jsonl"] {
        let args = ["-o", format, "scenario", "simulate", file, "--seeds", "0..1"];
        let said = fleet.muster("a", &args).ends(0);
        for document in &if format == "json" { vec![said.json()] } else { said.jsonl() } {
            hold(&fleet, &format!("{args:?}"), document);
        }
    }
    // What makes a fleet, and a host of it.
    let token = fleet.muster("a", &["invite"]).ends(0).text();
    let joined = fleet.muster("c", &["-o", "json", "join", token.trim(), "--host-name", "c", "--no-listen"]);
    hold(&fleet, "join", &joined.ends(0).json());
    let founded = fleet.muster("z", &["-o", "json", "init", "other", "--host-name", "z", "--no-listen"]);
    hold(&fleet, "init", &founded.ends(0).json());
    // Where a fleet is found from outside: the token need not be good any more.
    fleet.muster("a", &["context", "add", "acme", "--token", token.trim()]).ends(0);
    for words in [&["context", "ls", "-o", "json"][..], &["context", "show", "acme", "-o", "json"]] {
        hold(&fleet, "context", &fleet.muster("a", words).ends(0).json());
    }
    fleet.muster("a", &["context", "show", "acm"]).ends(2).says(&["did you mean acme?", "muster context ls"]);
    let operators = fleet.muster("a", &["operator", "ls", "-o", "json"]).ends(0).json();
    let founder = operators["items"][0]["person"].as_str().expect("a person").to_owned();
    let explain = ["operator", "explain", &founder, "run", "--all", "-o", "json", "--", "true"];
    hold(&fleet, "explain", &fleet.muster("a", &explain).ends(0).json());
    // What is watched goes on until somebody ends it.
    for words in WATCHED {
        let mut watching = fleet.command("a");
        watching.args(*words).arg("--watch").stdout(Stdio::piped());
        let mut watching = watching.spawn().expect("muster starts");
        let mut line = String::new();
        BufReader::new(watching.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        watching.kill().expect("it is ours");
        watching.wait().expect("it ends");
        let document = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{words:?} says {line:?}"));
        hold(&fleet, &format!("{words:?} --watch"), &document);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // No schema is there for nothing; the demo has a test of its own.
    let listed = fleet.muster("a", &["schema", "-o", "name"]).ends(0).text();
    let unmet: Vec<&str> = listed
        .lines()
        .filter(|thing| !met.contains(&format!("muster.{thing}/v1")) && !thing.starts_with("demo"))
        .collect();
    // Those of approvals are held where somebody approves.
    let elsewhere = ["approval", "approval-request", "change", "error", "job-host", "key-export"];
    assert_eq!(unmet, elsewhere, "of no command's output here");
}

#[test]
fn a_pipe_gets_tabs_without_a_heading_a_spreadsheet_and_a_loop_get_theirs() {
    let fleet = two();
    let lists: &[&[&str]] = &[
        &["host", "ls"],
        &["host", "ping", "b"],
        &["doctor"],
        &["config"],
        &["schema"],
        &["inventory", "types"],
        &["inventory", "search", "all"],
        &["inventory", "search", "all", "--count-by", "tag.role"],
    ];
    for args in lists {
        let plain = fleet.muster("a", args).ends(0).text();
        let columns = plain.lines().map(|line| line.split('\t').count()).collect::<BTreeSet<_>>();
        assert!(columns.len() == 1 && columns.first() > Some(&1), "{args:?}: {plain}");
        let title = plain.split('\t').next().expect("a cell");
        assert!(title.chars().any(|c| !c.is_ascii_uppercase()), "{args:?} has a heading: {plain}");
        assert!(!plain.contains('\u{1b}') && !plain.contains("ago"), "{args:?}: {plain}");
        let csv = fleet.muster("a", &[&["-o", "csv"], *args].concat()).ends(0).text();
        assert_eq!(csv.lines().count(), plain.lines().count() + 1, "{args:?}: {csv}");
        assert!(csv.contains("\r\n"), "{args:?}");
        let names = fleet.muster("a", &[&["-o", "name"], *args].concat()).ends(0).text();
        // Hosts without a value are counted, but that has no name.
        let named = plain.lines().filter(|line| !line.starts_with("-\t")).count();
        assert!(!names.contains('\t') && names.lines().count() == named, "{args:?}: {names}");
        let table = fleet.muster("a", &[&["-o", "table"], *args].concat()).ends(0).text();
        assert!(!table.contains('\t'), "{args:?}: {table}");
    }
    // What is one document says so where only rows have a form.
    for args in [&["status"][..], &["host", "show", "b"], &["version"], &["store", "check"]] {
        for format in ["csv", "name"] {
            fleet.muster("a", &[&["-o", format], args].concat()).ends(2).says(&["-o json"]);
        }
    }
}

#[test]
fn colour_comes_when_it_is_asked_for_and_never_alone() {
    let fleet = two();
    let ran = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = fleet.command("a");
        command.args(args).envs(variables.iter().copied());
        String::from_utf8(command.output().expect("muster runs").stdout).expect("text")
    };
    let args = ["-o", "table", "host", "ls"];
    assert!(!ran(&[], &args).contains('\u{1b}'), "not on a pipe");
    assert!(ran(&[("CLICOLOR_FORCE", "1")], &args).contains('\u{1b}'));
    assert!(!ran(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &args).contains('\u{1b}'));
    let colored = ran(&[("NO_COLOR", "1")], &[&["--color", "always"], &args[..]].concat());
    assert!(colored.contains("\u{1b}[32m✓ up\u{1b}[0m"), "{colored}");
}

#[test]
fn each_way_to_end_has_its_code() {
    let mut fleet = two();
    let code = |fleet: &Fleet, args: &[&str], code: i32| fleet.muster("a", args).ends(code);
    code(&fleet, &["run", "--all", "--", "true"], 0);
    code(&fleet, &["run"], 2);
    code(&fleet, &["run", "-H", "nobody-is-called-so", "--", "true"], 3);
    code(&fleet, &["run", "--all", "--", "false"], 6);
    code(&fleet, &["run", "-H", "b", "--", "sh", "-c", "exit 77"], 77);
    code(&fleet, &["run", "-H", "b", "--exit", "summary", "--", "sh", "-c", "exit 77"], 6);
    // Who holds no key may look and not change.
    let mut stranger = fleet.command("a");
    let empty = fleet.dir().join("no-operators");
    stranger.env("MUSTER_OPERATORS", &empty).args(["run", "--all", "--", "true"]);
    assert_eq!(stranger.output().expect("it runs").status.code(), Some(4));
    // Something is wrong on this machine.
    let key = fleet.state("a").join("executor/seal.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    let said = fleet.muster("a", &["doctor"]).ends(1).text();
    assert!(
        said.contains(&format!("permissions\tbad\t{} is a key that others can read", key.display())),
        "{said}"
    );
    assert!(said.contains(&format!("\tchmod 600 {}", key.display())), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    // A host that is off does not answer.
    fleet.stop("b");
    let silent = fleet.muster("a", &["run", "--all", "--wait", "100ms", "--", "true"]).ends(7);
    assert!(!silent.stderr.contains("panicked"), "{silent:?}");
    // Nobody answers here at all: what can be looked at is.
    fleet.stop("a");
    fleet.muster("a", &["host", "ls"]).ends(5);
    let said = fleet.muster("a", &["doctor"]).ends(5).text();
    assert!(said.starts_with("agent\tbad\tno agent answers at"), "{said}");
    assert!(said.contains("\nstore\tgood\twhole") && said.contains("\npermissions\tgood\t"), "{said}");
}

/// What bash makes of a line whose words are these, the last one at the cursor.
fn bash(fleet: &Fleet, words: &[&str]) -> Vec<String> {
    let script = r#"
        source <("$1" completion bash)
        shift
        COMP_WORDS=("$@")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _muster
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let muster = env!("CARGO_BIN_EXE_muster");
    let mut command = Command::new("bash");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", fleet.dir().join("home"));
    command.env("MUSTER_STATE", fleet.state("a"));
    command.args(["--norc", "-c", script, "bash", muster, muster]).args(words);
    let output = command.output().expect("bash runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_finishes_commands_names_and_tags() {
    let mut fleet = two();
    fleet.join("web-7", &["role=web"], Reach::DialsOut);
    fleet.all_see_all();
    fleet.muster("a", &["-y", "group", "set", "webs", "tag.role = web"]).ends(0);
    let job = fleet.order("a", &["--all"], &["true"]).ends(0).job;
    for (words, wanted) in [
        (&["inv"][..], &["invite", "inventory"][..]),
        (&["host", "show", "we"], &["web-7"]),
        (&["run", "-H", "a,we"], &["a,web-7"]),
        (&["run", "-l", "ro"], &["role="]),
        (&["run", "-l", "role", "="], &["web"]),
        (&["run", "-l", "role", "=", "w"], &["web"]),
        (&["hosts", "-t", "tag.ro"], &["tag.role"]),
        (&["hosts", "-o", "c"], &["csv"]),
        (&["inventory", "show", "a", "os_"], &["os_version"]),
        (&["run", "-g", "web"], &["webs"]),
        (&["run", "-t", "@", "we"], &["webs"]),
        (&["host", "show", "nothing-like-it"], &[]),
    ] {
        // An agent that does not answer at once is not waited for, and a busy machine may be slow.
        fleet.until(&format!("bash finishes {words:?}"), |fleet| {
            let found = bash(fleet, words);
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
    let short = bash(&fleet, &["job", "show", &job[..2]]);
    assert!(short.iter().any(|word| job.starts_with(word.as_str())), "{short:?} of {job}");
    // Where no agent answers there is silence, and no waiting.
    fleet.stop("a");
    let began = Instant::now();
    assert_eq!(bash(&fleet, &["host", "show", "we"]), [""; 0]);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(bash(&fleet, &["host", "sh"]), ["show"]);
}

#[test]
fn settings_say_where_they_come_from_and_a_key_that_nobody_knows_is_refused() {
    let fleet = Fleet::found("acme");
    let rows = fleet.muster("a", &["config", "-o", "json"]).ends(0).json();
    let origin = |key: &str| {
        let items = rows["items"].as_array().expect("items");
        let row = items.iter().find(|row| row["key"] == key).expect("a row");
        row["origin"].as_str().expect("an origin").to_owned()
    };
    assert_eq!(origin("state"), "flag --state");
    assert_eq!(origin("operators"), "variable MUSTER_OPERATORS");
    assert_eq!(origin("socket"), "default");
    assert_eq!(origin("listen"), format!("file {}", fleet.state("a").join("agent.toml").display()));
    let said = fleet.muster("a", &["config", "--origin"]).ends(0).text();
    assert!(said.contains("\tflag --state\n"), "{said}");
    let file = fleet.state("a").join("agent.toml");
    let text = fs::read_to_string(&file).expect("settings");
    fs::write(&file, format!("{text}\nlisten_on = 1\n")).expect("settings");
    fleet.muster("a", &["config"]).ends(2).says(&["unknown field `listen_on`", "line"]);
}
