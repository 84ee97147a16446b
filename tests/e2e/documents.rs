//! Every command of the tree says JSON where JSON was asked for: a document that its schema describes, or why it
//! failed, with the code of the contract. The commands are those that there are: a new one is in the test at once.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    fleet::{Fleet, Output},
    schema,
};

/// How commands are called on a fleet of one, in order, with how they end and what they say. `JOB` is the id of a
/// job, `ROOT` the file of the root key, `TOKEN` a token, `DIR` the fleet's directory.
const CALLS: &[(&str, i32, &str)] = &[
    ("status", 0, "status"),
    ("doctor", 0, "doctor"),
    ("config", 0, "config"),
    ("version", 0, "version"),
    ("schema", 0, "schema"),
    ("schema host", 0, ""),
    ("schema hots", 2, "error"),
    ("host ls", 0, "host"),
    ("host ls -t tag.role~web", 2, "error"),
    ("host ls -l role=none", 3, "error"),
    ("hosts", 0, "host"),
    ("host show a", 0, "host"),
    ("host show nobody-is-called-so", 3, "error"),
    ("host ping a", 0, "ping"),
    ("host tag a role=web --dry-run", 0, "change foreseen"),
    ("host tag a role=web", 2, "error"),
    ("-y host tag a role=web", 0, "change changed"),
    ("-y host tag a role=web", 0, "change unchanged"),
    ("-y host untag a role", 0, "change changed"),
    ("-y -q group set web tag.role=web", 0, "change changed"),
    ("-y group set web tag.role=web", 0, "change unchanged"),
    ("group set web tag.role==web", 2, "error"),
    ("group ls", 0, "group"),
    ("group rm web --dry-run", 0, "change foreseen"),
    ("-y group rm web", 0, "change changed"),
    ("group rm web", 2, "error"),
    ("select all", 0, "inventory-host"),
    ("select --explain all", 0, "select-part"),
    ("inventory types", 0, "inventory-type"),
    ("inventory show a", 0, "inventory"),
    ("inventory search all", 0, "inventory-host"),
    ("inventory compare deb 1.0 2.0", 0, "inventory-compare"),
    ("run --all -- true", 0, "job"),
    ("run --all --dry-run -- true", 0, "plan"),
    ("run -- true", 2, "error"),
    ("run -H nobody-is-called-so -- true", 3, "error"),
    ("job ls", 0, "job"),
    ("job show JOB", 0, "job"),
    ("job show zzzz", 2, "error"),
    ("job watch JOB", 6, "job"),
    ("job cancel JOB", 0, "job-host"),
    ("job pause JOB", 2, "error"),
    ("job resume JOB", 2, "error"),
    ("job rerun JOB --failed --dry-run", 0, "plan"),
    ("job output JOB a", 2, "error"),
    ("key ls", 0, "key"),
    ("key export JOB DIR/proof", 2, "error"),
    ("operator ls", 0, "operator"),
    ("operator suspend PERSON --dry-run", 0, "change foreseen"),
    ("operator suspend PERSON", 2, "error"),
    ("operator lift PERSON --root ROOT", 2, "error"),
    ("operator revoke PERSON --root ROOT --dry-run", 0, "change foreseen"),
    ("-y operator revoke PERSON", 4, "error"),
    ("-y halt --reason test", 0, "change changed"),
    ("-y unhalt --root ROOT", 0, "change changed"),
    ("unhalt --root ROOT", 2, "error"),
    ("audit log", 0, "audit-record"),
    ("audit verify", 0, "audit"),
    ("audit export", 2, "error"),
    ("store check", 0, "store-check"),
    ("scenario simulate DIR/none.toml", 2, "error"),
    ("scenario run DIR/none.toml", 2, "error"),
    ("completion bash", 2, "error"),
    ("man", 2, "error"),
    ("man host tag", 2, "error"),
    ("man --dir DIR/pages", 0, "change done"),
    ("invite", 0, "token"),
    ("init other --dry-run --state DIR/other", 0, "change foreseen"),
    ("context add acme --token TOKEN", 0, "change changed"),
    ("context ls", 0, "context"),
    ("context show acme", 0, "context"),
    ("context use acme --dry-run", 0, "change foreseen"),
    ("context use --none", 0, "change changed"),
    ("context rm acme --dry-run", 0, "change foreseen"),
    ("-y context rm acme", 0, "change changed"),
    ("context rm acme", 2, "error"),
    ("demo -n 0", 2, "error"),
    ("agent --print-unit", 2, "error"),
    ("join mst1nothing", 2, "error"),
    ("leave --dry-run", 0, "change foreseen"),
    ("hosts --never", 2, "error"),
    ("nothing-of-the-kind", 2, "error"),
];
/// Commands that would not end, or that would end the fleet, called as little as this.
const NOT_BARE: &[&str] = &["agent", "demo"];

/// The commands that do something, each by its words.
fn leaves() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, path: &[String], leaves: &mut Vec<Vec<String>>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let path = [path, &[sub.get_name().to_owned()]].concat();
            if sub.has_subcommands() { walk(sub, &path, leaves) } else { leaves.push(path) }
        }
    }
    let mut leaves = Vec::new();
    walk(&muster::cli::command(), &[], &mut leaves);
    leaves
}

/// What a command line said, held against the schemas.
struct Held<'a> {
    fleet: &'a Fleet,
    schemas: BTreeMap<String, Value>,
    wrong: Vec<String>,
}

impl Held<'_> {
    /// The document, or the last of the lines; nothing, where there is none.
    fn hold(&mut self, line: &[String], format: &str, said: &Output) -> Option<Value> {
        let (mut last, text) = (None, said.text());
        let documents: Vec<&str> = if format == "json" { vec![&text] } else { text.lines().collect() };
        if said.code > 10 || said.stderr.contains("panicked") {
            self.wrong.push(format!("{line:?}: {said:?}"));
        }
        for document in documents {
            let Ok(document) = serde_json::from_str::<Value>(document) else {
                self.wrong.push(format!("{line:?}: no JSON: {said:?}"));
                return None;
            };
            let name = document["schema"].as_str().unwrap_or_default().to_owned();
            if line.iter().any(|word| word == "schema") && document["$schema"].is_string() {
                return Some(document);
            }
            let fleet = self.fleet;
            let schema = self
                .schemas
                .entry(name.clone())
                .or_insert_with(|| fleet.muster("a", &["schema", &name]).ends(0).json());
            if let Some(fault) = schema::fault(schema, &document) {
                self.wrong.push(format!("{line:?}: {name}{fault}"));
            }
            if name == "muster.error/v1" && document["exit"] != said.code {
                self.wrong.push(format!("{line:?}: exits {} and says {document}", said.code));
            }
            last = Some(document);
        }
        last
    }
}

#[test]
fn every_command_answers_in_json_where_that_was_asked_for_also_when_it_fails() {
    let fleet = Fleet::found("acme");
    let job = fleet.order("a", &["--all"], &["false"]).ends(6).job;
    let token = fleet.muster("a", &["invite"]).ends(0).text();
    let operators = fleet.muster("a", &["operator", "ls", "-o", "json"]).ends(0).json();
    let person = operators["items"][0]["person"].as_str().expect("a person").to_owned();
    let dir = fleet.dir().display().to_string();
    let mut held = Held { fleet: &fleet, schemas: BTreeMap::new(), wrong: Vec::new() };
    for (words, code, thing) in CALLS {
        for format in ["json", "jsonl"] {
            // What was changed by the first is so at the second.
            let line: Vec<String> = ["-o", format]
                .into_iter()
                .chain(words.split(' '))
                .map(|word| match word {
                    "JOB" => job.clone(),
                    "TOKEN" => token.trim().to_owned(),
                    "PERSON" => person.clone(),
                    word => word.replace("ROOT", &format!("{dir}/acme-recovery.txt")).replace("DIR", &dir),
                })
                .collect();
            let is_changed = *thing == "change changed" || words.starts_with("run --all -- ");
            if is_changed && format == "jsonl" {
                continue;
            }
            let said = fleet.muster("a", &line);
            let found = held.hold(&line, format, &said);
            let (name, outcome) = thing.split_once(' ').unwrap_or((thing, ""));
            let is_it = found.as_ref().is_some_and(|found| {
                let given = found["schema"].as_str().unwrap_or_default();
                let given = given.strip_prefix("muster.").and_then(|given| given.strip_suffix("/v1"));
                // Lines of what is told as events are of another schema than the whole.
                let more = given.and_then(|given| given.strip_prefix(name));
                let known =
                    matches!(more, Some("" | "-event")) || (format == "jsonl" && more == Some("-host"));
                known && (outcome.is_empty() || found["outcome"] == outcome)
            });
            if said.code != *code || !(is_it || thing.is_empty()) {
                held.wrong.push(format!("{line:?}: {code} and {thing:?} should be, not: {said:?}\n"));
            }
        }
    }
    // Whatever else there is, bare, and with words that mean nothing where it wants some.
    for leaf in leaves() {
        if NOT_BARE.contains(&leaf[0].as_str()) {
            continue;
        }
        let mut tree = muster::cli::command();
        for word in &leaf {
            tree = tree.find_subcommand(word).expect("it is in the tree").clone();
        }
        let wanted = tree.get_positionals().filter(|word| word.is_required_set()).count();
        let is_dry = tree.get_arguments().any(|flag| flag.get_id() == "dry_run");
        let dry = is_dry.then(|| "--dry-run".to_owned());
        let filled = leaf.iter().cloned().chain(dry).chain((0..wanted).map(|_| "x".to_owned())).collect();
        for words in [leaf.clone(), filled] {
            for format in ["json", "jsonl"] {
                let line = [vec!["-o".to_owned(), format.to_owned()], words.clone()].concat();
                let said = fleet.muster("a", &line);
                if held.hold(&line, format, &said).is_none() && (format == "json" || said.code != 0) {
                    held.wrong.push(format!("{line:?} says nothing: {said:?}"));
                }
            }
        }
        for format in ["csv", "name", "wide"] {
            let said = fleet.muster("a", &[&["-o".to_owned(), format.to_owned()], leaf.as_slice()].concat());
            if said.code > 10 || said.stderr.contains("panicked") {
                held.wrong.push(format!("{leaf:?} -o {format}: {said:?}"));
            }
        }
    }
    let left = fleet.muster("a", &["-o", "json", "-y", "leave"]).ends(0);
    let left = held.hold(&["leave".to_owned()], "json", &left).expect("a document");
    assert_eq!(left["outcome"], "changed", "{left}");
    assert!(held.wrong.is_empty(), "{}", held.wrong.join("\n"));
}
