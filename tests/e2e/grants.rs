//! Operators who were given a part of it: by invitation and grant, on real agents.

use crate::fleet::{Fleet, text};

/// Command lines that follow are this person's; without a name the founder's.
fn as_person(fleet: &mut Fleet, person: Option<&str>) {
    let dir = person.map(|person| fleet.dir().join(person));
    fleet.set("MUSTER_OPERATORS", dir.as_deref().map(std::path::Path::as_os_str));
}

/// What `person` asks with; their command lines follow.
fn asks(fleet: &mut Fleet, person: &str) -> String {
    as_person(fleet, Some(person));
    let asked = fleet.muster("b", &["operator", "invite", "--person", person, "-o", "json"]).ends(0).json();
    assert_eq!(asked["person"], person);
    text(&asked["request"])
}

/// The founder grants that.
#[track_caller]
fn grants(fleet: &mut Fleet, words: &[&str]) -> crate::fleet::Output {
    as_person(fleet, None);
    fleet.muster("a", &[&["-y", "operator", "grant"], words].concat())
}

#[test]
fn a_new_operator_asks_is_granted_a_part_and_acts_within_it() {
    let mut fleet = crate::orders::two();
    fleet.muster("a", &["-y", "host", "tag", "a", "role=db"]).ends(0);
    let request = asks(&mut fleet, "ana");
    assert!(request.starts_with("ssh-ed25519 ") && request.ends_with(" ana"), "{request}");
    // Asked again it is the same; and it is worth nothing yet.
    assert_eq!(asks(&mut fleet, "ana"), request);
    let run = |fleet: &Fleet, flags: &[&str]| {
        fleet.muster("b", &[&["-y", "run", "--wait", "60s"], flags, &["--", "true"]].concat())
    };
    run(&fleet, &["-H", "b"]).ends(4).says(&["no certificate in fleet acme yet", "operator grant"]);
    fleet.muster("b", &["-y", "host", "tag", "b", "env=prod"]).ends(4).says(&["no certificate"]);

    let scope = "tag.role = web";
    grants(&mut fleet, &[&request, "--verbs", "run,grant", "--on", scope]).ends(4).says(&["root keys"]);
    grants(&mut fleet, &[&request, "--verbs", "run", "--on", "name = b"]).ends(2).says(&["tags only"]);
    grants(&mut fleet, &[&request, "--verbs", "fly", "--on", "all"]).ends(2).says(&["the verbs are run"]);
    let wide = ["--verbs", "run", "--on", scope, "--valid", "400d"];
    grants(&mut fleet, &[&[&*request], &wide[..]].concat()).ends(4).says(&["its validity"]);
    let narrow = ["--verbs", "run,tag", "--on", scope, "--max-hosts", "1", "--tags", "env=*"];
    grants(&mut fleet, &[&[&*request], &narrow[..], &["--dry-run"]].concat()).ends(0).says(&["would give"]);
    let granted = grants(&mut fleet, &[&[&*request], &narrow[..]].concat()).ends(0);
    granted.says(&["granted", "run, tag on tag.role = web (1 of 2 hosts now)", "to ana"]);

    as_person(&mut fleet, Some("ana"));
    fleet.until("ana's certificate is known at b", |fleet| match run(fleet, &["-H", "b"]).code {
        0 => Ok(()),
        other => Err(format!("{other}")),
    });
    let allows = "it allows run, tag on tag.role = web as @agent, 1 host an order";
    run(&fleet, &["-H", "a"]).ends(4).says(&["a: ", "does not cover this host", allows]);
    run(&fleet, &["--all"]).ends(4).says(&["2 hosts, where the certificate of ana allows 1", allows]);
    let plan = fleet.muster("b", &["run", "--dry-run", "-H", "a", "-o", "json", "--", "true"]).ends(4).json();
    assert!(text(&plan["hosts"][0]["refusal"]).contains(allows), "{plan}");
    let explain = |words: &[&str]| {
        let line = [&["operator", "explain", "ana", "run", "-o", "json"], words].concat();
        let explained = fleet.muster("b", &line);
        let json = explained.json();
        let promised = fleet.muster("b", &["schema", "operator-explain"]).ends(0).json();
        assert_eq!(crate::schema::fault(&promised, &json), None);
        (explained.code, json)
    };
    let (code, json) = explain(&["-H", "b", "--", "true"]);
    assert_eq!((code, &json["decisions"][0]["verdict"]), (0, &"allowed".into()));
    let (code, json) = explain(&["-H", "a"]);
    assert_eq!((code, &json["decisions"][0]["nodeset"]), (4, &"a".into()));
    assert!(text(&json["decisions"][0]["why"]).contains("does not cover this host"), "{json}");
    let (code, json) = explain(&["-H", "b", "--as", "root"]);
    assert_eq!(code, 4);
    assert!(text(&json["decisions"][0]["why"]).contains("running as root; it allows"), "{json}");
    run(&fleet, &["-H", "b", "--as", "nobody"]).ends(4).says(&["nobody"]);
    fleet.muster("b", &["-y", "host", "tag", "b", "env=prod"]).ends(0);
    fleet.muster("b", &["-y", "host", "tag", "b", "role=db"]).ends(4).says(&["role=db"]);
    fleet.muster("b", &["invite"]).ends(4).says(&["does not allow invite"]);
    fleet.muster("b", &["-y", "halt"]).ends(4).says(&["does not allow suspend"]);
    fleet.muster("b", &["-y", "operator", "grant", &request, "--verbs", "run", "--on", "all"]).ends(4);
    let status = fleet.muster("b", &["status", "-o", "json"]).ends(0).json();
    assert_eq!(status["operator"]["person"], "ana");
    let keys = fleet.muster("b", &["key", "ls", "-o", "json"]).ends(0).json();
    assert_eq!(keys["items"][0]["person"], "ana");

    // Who is suspended is so under a certificate that was passed on, too.
    as_person(&mut fleet, None);
    let rows = fleet.muster("a", &["operator", "ls", "ana", "-o", "json"]).ends(0).json();
    assert_eq!(rows["items"][0]["hosts_max"], 1);
    assert_eq!(rows["items"][0]["scope"], scope);
    assert_ne!(rows["items"][0]["by"], serde_json::Value::Null);
    fleet.muster("a", &["-y", "operator", "suspend", "ana", "--reason", "lent her laptop"]).ends(0);
    as_person(&mut fleet, Some("ana"));
    fleet.until("b knows that ana is suspended", |fleet| {
        let ran = run(fleet, &["-H", "b"]);
        if ran.code == 4 && ran.stderr.contains("lent her laptop") { Ok(()) } else { Err(ran.stderr) }
    });
}

#[test]
fn each_thing_that_an_operator_does_is_done_under_a_grant() {
    let mut fleet = crate::orders::two();
    let request = asks(&mut fleet, "bo");
    let all = ["--verbs", "run,invite,tag,suspend,read", "--on", "all", "--run-as", "*", "--tags", "*=*"];
    grants(&mut fleet, &[&[&*request], &all[..]].concat()).ends(0);
    let of_founder = fleet.order("a", &["--all"], &["echo", "hello"]).ends(0);
    as_person(&mut fleet, Some("bo"));
    // The first thing that this key does: nothing is cached yet.
    fleet.until("bo's certificate is known at b", |fleet| {
        let invited = fleet.muster("b", &["invite", "-o", "json"]);
        if invited.code == 0 { Ok(()) } else { Err(invited.stderr) }
    });
    fleet.join_by("b", "c", &["role=db"], crate::fleet::Reach::Listens);
    fleet.all_see_all();
    let ran = fleet.order("b", &["--all"], &["echo", "by bo"]).ends(0);
    assert_eq!(ran.of_status("ok").len(), 3);
    let read = |at: &str, job: &str, host| fleet.muster(at, &["job", "output", job, host]).ends(0).text();
    assert_eq!(read("b", &ran.job, "c"), "by bo\n");
    assert_eq!(read("a", &of_founder.job, "a"), "hello\n");
    fleet.muster("b", &["-y", "group", "set", "dbs", "tag.role = db"]).ends(0);
    fleet.muster("b", &["-y", "host", "tag", "c", "env=prod"]).ends(0);
    fleet.muster("b", &["-y", "halt", "-t", "tag.env = prod"]).ends(0).says(&["1 of 3 hosts"]);
    let sleeping = fleet.begin_order("b", &["-H", "a", "--wait", "600s"], &fleet.counted(&["sleep", "1000"]));
    fleet.until("a to run it", |fleet| {
        fleet.all_spawns().into_iter().find(|(_, host)| host == "a").map(|_| ()).ok_or("not yet".to_owned())
    });
    as_person(&mut fleet, None);
    let founder = fleet.muster("a", &["operator", "ls", "-o", "json"]).ends(0).json();
    let founder = founder["items"].as_array().and_then(|rows| rows.iter().find(|row| row["by"].is_null()));
    let founder = text(&founder.expect("who founded")["person"]);
    as_person(&mut fleet, Some("bo"));
    // What its own certificate hangs on stands, by the cut; what the founder does from now on does not.
    fleet.muster("b", &["-y", "operator", "suspend", &founder]).ends(0);
    as_person(&mut fleet, None);
    fleet.until("a refuses the founder", |fleet| {
        let ran = fleet.muster("a", &["run", "-H", "a", "--", "true"]);
        if ran.code == 4 { Ok(()) } else { Err(ran.stderr) }
    });
    as_person(&mut fleet, Some("bo"));
    let job = text(&fleet.muster("b", &["job", "ls", "-o", "json"]).ends(0).json()["items"][0]["job"]);
    fleet.muster("b", &["job", "cancel", &job]).ends(0);
    let ended = Fleet::ran(sleeping);
    assert_eq!(ended.status("a"), "cancelled", "{}", ended.why("a"));
}
