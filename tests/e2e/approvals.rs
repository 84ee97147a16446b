//! Orders that need the approval of another person, on real agents.

use std::path::PathBuf;

use muster::{
    authority::{ANY, Certificate, RootChange, Verb},
    control::{Client, Reply, Request},
    identity::{Cosigned, Operator, Root, SecretKey},
    journal::{OperatorHome, keyfile},
    replica::Item,
};

use crate::{
    fleet::{DEADLINE, Fleet, Output, text},
    orders::two,
    schema,
};

/// Puts certificates of these persons on the root chain, each with a key of its own; where their directories are.
fn certify(fleet: &Fleet, at: &str, persons: &[(&str, &[Verb], u8)]) -> Vec<PathBuf> {
    let first = OperatorHome::open(&fleet.operators().join("acme")).expect("the first operator");
    let root = keyfile::read::<Root>(&fleet.dir().join("acme-recovery.txt")).expect("the root key");
    let [(_, everything)] = first.chain.certificates().collect::<Vec<_>>()[..] else {
        panic!("one certificate")
    };
    let everything = everything.clone();
    let mut chain = first.chain.clone();
    let mut items = Vec::new();
    let mut keys = Vec::new();
    for (number, (person, verbs, approvals)) in (1_u8..).zip(persons) {
        let key = SecretKey::<Operator>::from_seed(&[number; 32]);
        let certificate = Certificate {
            person: (*person).to_owned(),
            key: key.public().into(),
            verbs: verbs.to_vec(),
            tags: Vec::new(),
            run_as: vec![ANY.to_owned()],
            approvals: *approvals,
            ..everything.clone()
        };
        let update = Cosigned::sign(chain.fleet(), &[&root], chain.next(RootChange::Certify(certificate)));
        chain.absorb(update.bytes()).expect("an update");
        items.push(Item::bare(update.bytes()));
        keys.push(key);
    }
    let socket = fleet.socket(at);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = Client::connect(&socket).await.expect("an agent");
        let taken = client.ask(&Request::Submit { items }, DEADLINE).await.expect("an answer");
        assert!(matches!(taken, Reply::Accepted {}), "{taken:?}");
    });
    let homes = (1_u8..).zip(keys).map(|(number, key)| {
        let operators = fleet.dir().join(format!("operators-{number}"));
        OperatorHome::create(&operators.join("acme"), &key, &chain).expect("a directory");
        operators
    });
    homes.collect()
}

#[track_caller]
fn by(fleet: &Fleet, operators: &PathBuf, host: &str, line: &[&str]) -> Output {
    let mut command = fleet.command(host);
    command.env("MUSTER_OPERATORS", operators).args(line);
    fleet.begin_command(command).finish()
}

#[test]
fn an_order_waits_for_another_person_and_then_runs_once_also_on_a_host_that_was_away() {
    let mut fleet = two();
    let runs = [Verb::Run, Verb::Read];
    let persons: [(&str, &[Verb], u8); 4] =
        [("bo", &runs, 1), ("bo", &runs, 0), ("cy", &[Verb::Approve], 0), ("dee", &[Verb::Tag], 0)];
    let homes = certify(&fleet, "a", &persons);
    let [bo, bo_too, cy, dee] = &homes[..] else { panic!("four") };
    assert_eq!(fleet.stop("b"), 0);

    let script = fleet.counted(&["true"]);
    let order =
        ["run", "--all", "--yes", "--wait", "1s", "--reason", "CHG-7", "--", script[0].as_str(), "true"];
    let dry = [&["run", "--all", "--dry-run"], &order[7..]].concat();
    by(&fleet, bo, "a", &dry).ends(0);
    by(&fleet, bo, "a", &[&["run", "--all", "--yes", "--waves", "1,2"], &order[7..]].concat())
        .ends(2)
        .says(&["each of several waves would need its own"]);
    by(&fleet, bo, "a", &order).ends(9).says(&["waits for approval by 1 of: ", "cy", "muster approval show"]);
    let jobs = by(&fleet, bo, "a", &["job", "ls", "-o", "json"]).ends(0).json();
    let job = text(&jobs["items"][0]["job"]);
    assert_eq!(jobs["items"][0]["approval"], "waiting");
    by(&fleet, bo, "a", &["job", "ls"])
        .ends(0)
        .says(&["waiting for approval (0 of 1)", "muster approval ls"]);
    let shown = by(&fleet, bo, "a", &["job", "show", &job, "-o", "json"]).ends(0).json();
    assert_eq!(shown["approval"]["state"], "waiting");
    assert!(text(&shown["hosts"][0]["why"]).contains("waiting for approval (0 of 1)"), "{shown}");
    assert_eq!(fleet.all_spawns(), []);

    // Neither of his keys, nor who has no say.
    let give = ["approval", "give", job.as_str(), "--yes"];
    by(&fleet, bo, "a", &give).ends(4).says(&["bo asks for it, and others have to approve"]);
    by(&fleet, bo_too, "a", &give).ends(4).says(&["bo asks for it"]);
    by(&fleet, dee, "a", &give).ends(4).says(&["does not allow to approve it"]);

    let listed = by(&fleet, cy, "a", &["approval", "ls", "-o", "json"]).ends(0).json();
    let promised = fleet.muster("a", &["schema", "approval"]).ends(0).json();
    assert_eq!(schema::fault(&promised, &listed), None);
    assert_eq!(
        (text(&listed["items"][0]["state"]), text(&listed["items"][0]["by"])),
        ("waiting".into(), "bo".into())
    );
    let request = by(&fleet, cy, "a", &["approval", "show", &job, "-o", "json"]).ends(0).json();
    let promised = fleet.muster("a", &["schema", "approval-request"]).ends(0).json();
    assert_eq!(schema::fault(&promised, &request), None);
    assert_eq!(request["reaches"], serde_json::json!(["a", "b"]));
    assert_eq!(request["command"], serde_json::json!([script[0], "true"]));
    assert_eq!(request["approval"]["given"], serde_json::json!([]));
    let words = [
        "as       @agent by grant of bo",
        "reaches  2 of 2 hosts now: ",
        "reason   CHG-7",
        "waits    for approval",
    ];
    by(&fleet, cy, "a", &["approval", "show", &job]).ends(0);
    by(&fleet, cy, "a", &["approval", "give", &job]).ends(2).says(&[&words[..], &["--yes"]].concat());
    by(&fleet, cy, "a", &["approval", "give", &job, "--dry-run"])
        .ends(0)
        .says(&["this would approve it on 2 hosts"]);
    assert_eq!(fleet.all_spawns(), []);

    by(&fleet, cy, "a", &give).ends(0).says(&["approved: job"]);
    let settled = |fleet: &Fleet, host: &str, status: &str| {
        fleet.until(&format!("{host} to be {status}"), |fleet| {
            let shown = by(fleet, bo, "a", &["job", "show", &job, "-o", "json"]).ends(0).json();
            let rows = shown["hosts"].as_array().expect("rows").clone();
            let row = rows.into_iter().find(|row| row["host"] == host).expect("its row");
            if row["status"] == status { Ok(()) } else { Err(row.to_string()) }
        });
    };
    settled(&fleet, "a", "ok");
    fleet.start("b");
    settled(&fleet, "b", "ok");
    // Said again, it starts nothing again.
    by(&fleet, cy, "b", &give).ends(0);
    let counted: Vec<usize> = fleet.spawns(&job).into_values().collect();
    assert_eq!(counted, [1, 1]);
    by(&fleet, bo, "a", &["audit", "log", "-o", "json"]).ends(0);
    let audited = by(&fleet, bo, "a", &["audit", "log", "-o", "json"]).ends(0).json();
    assert!(audited.to_string().contains("run as @agent, approved by cy"), "{audited}");
}

#[test]
fn what_is_refused_runs_nowhere_and_what_is_cancelled_says_so() {
    let fleet = two();
    let persons: [(&str, &[Verb], u8); 2] = [("bo", &[Verb::Run], 1), ("cy", &[Verb::Run], 1)];
    let homes = certify(&fleet, "a", &persons);
    let [bo, cy] = &homes[..] else { panic!("two") };
    // The same operator at another desk: two command lines in one directory would both write what came of the job.
    let elsewhere = fleet.dir().join("elsewhere");
    let copied = std::process::Command::new("cp").arg("-a").arg(bo).arg(&elsewhere).status().expect("cp");
    assert!(copied.success());
    let script = fleet.counted(&["true"]);
    let begun = |by_whom: &PathBuf| {
        let mut command = fleet.command("a");
        command.env("MUSTER_OPERATORS", by_whom);
        command.args(["run", "--all", "--yes", "--wait", "600s", "-o", "jsonl", "--", &script[0], "true"]);
        fleet.begin_command(command)
    };
    let waiting = |by_whom: &PathBuf| {
        fleet.until("it to wait", |fleet| {
            let rows = by(fleet, by_whom, "a", &["approval", "ls", "-o", "json"]).ends(0).json();
            let rows = rows["items"].as_array().expect("rows").clone();
            let row = rows.iter().find(|row| row["state"] == "waiting").ok_or("none waits")?;
            Ok(text(&row["job"]))
        })
    };
    // Whoever waits for it hears of it.
    let run = begun(bo);
    let job = waiting(cy);
    let refuse = ["approval", "refuse", job.as_str(), "--reason", "not on a Friday", "--yes"];
    by(&fleet, cy, "b", &refuse).ends(0).says(&["refused: job"]);
    let ran = Fleet::ran(run).ends(6);
    for host in ["a", "b"] {
        assert_eq!(ran.status(host), "refused");
        assert!(ran.why(host).contains("cy refused to approve it (not on a Friday)"), "{}", ran.why(host));
    }
    // Two who need each other: it goes on as soon as the other agrees.
    let run = begun(cy);
    let job = waiting(bo);
    by(&fleet, bo, "b", &["approval", "give", &job, "--yes"]).ends(0);
    let ran = Fleet::ran(run).ends(0);
    assert_eq!(ran.of_status("ok").len(), 2);
    // Cancelled while it waits.
    let run = begun(bo);
    let job = waiting(cy);
    by(&fleet, &elsewhere, "a", &["-y", "job", "cancel", &job]).ends(0);
    let ran = Fleet::ran(run).ends(6);
    assert_eq!(ran.of_status("cancelled").len(), 2);
    by(&fleet, cy, "a", &["approval", "give", &job, "--yes"]).ends(2).says(&["is cancelled"]);
    assert_eq!(fleet.all_spawns().len(), 2);
}
