//! SIGKILL at random times while what hosts say of themselves, and what operators say of them, changes.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use crate::{
    damage::{Dice, seed, until_one},
    fleet::{Fleet, Process, Reach},
};

const KILLS: usize = 200;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Puts a package database with one package in the place of a host's, as dpkg does.
fn put(fleet: &Fleet, host: &str, version: usize) {
    let dir = fleet.dir().join(format!("dpkg-{host}"));
    fs::create_dir_all(&dir).expect("a directory for packages");
    let text =
        format!("Package: probe\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n");
    fs::write(dir.join("status-new"), text).expect("a new status");
    fs::rename(dir.join("status-new"), dir.join("status")).expect("the status is replaced");
}

/// Lets a host whose agent does not run have a package database of its own.
fn settle(fleet: &Fleet, host: &str) {
    let path = fleet.state(host).join("agent.toml");
    let settings = fs::read_to_string(&path).expect("agent.toml");
    let dir = fleet.dir().join(format!("dpkg-{host}"));
    let rest: Vec<&str> = settings.lines().filter(|line| !line.starts_with("dpkg")).collect();
    fs::write(&path, format!("dpkg = \"{}\"\n{}\n", dir.display(), rest.join("\n"))).expect("agent.toml");
}

/// The version of the package on each host, as `at` has it; nothing while its agent does not answer.
fn versions(fleet: &Fleet, at: &str) -> Option<BTreeMap<String, usize>> {
    let args = ["inventory", "search", "has deb.probe", "--columns", "deb.probe", "-o", "csv"];
    let output = fleet.muster(at, &args);
    if output.code != 0 {
        return None;
    }
    let text = output.text();
    let mut lines = text.lines();
    let column = lines.next()?.split(',').position(|name| name.to_lowercase().contains("probe"))?;
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        Some((fields.first()?.to_string(), fields.get(column)?.trim().parse().ok()?))
    };
    Some(lines.filter_map(row).collect())
}

#[test]
fn of_changes_amid_200_kills_none_that_was_acknowledged_or_shown_is_lost_and_no_stream_forks() {
    let seed = seed("changes");
    let mut dice = Dice::new(seed);
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    fleet.join("b", &[], Reach::Fixed);
    fleet.join("c", &[], Reach::Fixed);
    for name in NAMES {
        fleet.stop(name);
        put(&fleet, name, 1);
        settle(&fleet, name);
        fleet.start(name);
    }
    fleet.all_see_all();
    let all_back = |fleet: &Fleet, what: &str| {
        for name in NAMES {
            fleet.until(&format!("{what}: {name} answers again"), |fleet| {
                let output = fleet.muster(name, &["status", "-o", "json"]);
                if output.code == 0 { Ok(()) } else { Err(output.stderr) }
            });
        }
    };
    let mut newest: BTreeMap<&str, usize> = NAMES.into_iter().map(|name| (name, 1)).collect();
    let (mut shown, mut looks) = (BTreeMap::<String, usize>::new(), 0);
    let (mut acknowledged, mut tried) = (0, 0);
    for step in 1..=KILLS {
        let what = format!("MUSTER_SEED={seed}, step {step}");
        let host = NAMES[dice.roll(3)];
        put(&fleet, host, step + 1);
        newest.insert(host, step + 1);
        // By one agent, so that an operator who is answered knows what the last word was.
        let tag = format!("step={step}");
        let tagging = fleet.begin("a", &["host", "tag", "b", &tag, "--yes"]);
        tried += 1;
        thread::sleep(Duration::from_millis(dice.roll(250) as u64));
        let name = NAMES[dice.roll(3)];
        let process = match dice.roll(5) {
            0 | 1 => Process::Executor,
            2 | 3 if fleet.mesh_pid(name).is_some() => Process::Mesh,
            _ if fleet.mesh_pid(name).is_some() => Process::Both,
            _ => Process::Executor,
        };
        fleet.kill9(name, process);
        if process != Process::Mesh {
            fleet.launch(name);
        }
        if tagging.finish().code == 0 {
            acknowledged = step;
        }
        if step % 10 == 0 {
            all_back(&fleet, &what);
            let at = NAMES[dice.roll(3)];
            if let Some(found) = versions(&fleet, at) {
                looks += 1;
                for (host, version) in found {
                    assert!(version <= newest[host.as_str()], "{what}: {at} shows what never was");
                    let before = shown.entry(host).or_insert(0);
                    *before = version.max(*before);
                }
            }
        }
    }
    let what = format!("MUSTER_SEED={seed}, at the end");
    all_back(&fleet, &what);
    for at in NAMES {
        fleet.until(&format!("{what}: {at} shows the newest of all"), |fleet| {
            let found = versions(fleet, at).unwrap_or_default();
            let all = newest.iter().all(|(host, version)| found.get(*host) == Some(version));
            if all { Ok(()) } else { Err(format!("{found:?}, not {newest:?}")) }
        });
    }
    until_one(&fleet, &NAMES, &what);
    for at in NAMES {
        let tags = fleet.tags(at, "b");
        let last: usize = tags["step"].as_str().and_then(|step| step.parse().ok()).unwrap_or(0);
        assert!(last >= acknowledged, "{what}: {at} has step {last}, and {acknowledged} was acknowledged");
    }
    eprintln!("{tried} tags, the last acknowledged {acknowledged}; {looks} looks, shown last {shown:?}");
    assert!(acknowledged > KILLS / 2 && looks > 5 && shown.len() == 3, "{shown:?}");
}
