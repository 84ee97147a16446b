//! What a disk, a crash or a hand may do to the store of an agent: it comes up, and holds again all that the
//! others hold.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use muster::{
    identity::{Kind, peek},
    journal::MeshHome,
    replica::Item,
};
use serde_json::Value;

use crate::fleet::{Fleet, Process, Reach};

/// Each damages the stores of all hosts but one.
const ROUNDS: u64 = 25;
/// How long the fleet may take to be one again after each.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// xorshift64: the same seed, the same damage.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % sides.max(1) as u64).expect("a small number")
    }

    fn junk(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.roll(256)).expect("a byte")).collect()
    }
}

/// The seed of this run: `MUSTER_SEED`, or a new one.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("MUSTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("randomness");
        u64::from(u32::from_le_bytes(bytes))
    });
    eprintln!("{test}: MUSTER_SEED={seed}");
    seed
}

/// Damages a store in one of many ways; which.
fn damage(dir: &Path, dice: &mut Dice) -> &'static str {
    let owner = fs::metadata(dir).expect("a store");
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).expect("a store").map(|entry| entry.expect("a file").path()).collect();
    files.retain(|path| fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() > 0));
    files.sort();
    // Most of what there is lies in one file.
    if files.is_empty() {
        // Nothing was written yet: what came within the last second waits for more.
        fs::write(dir.join("db"), dice.junk(4096)).expect("garbage");
        return "garbage";
    }
    let path = if dice.roll(3) > 0 { dir.join("db") } else { files[dice.roll(files.len())].clone() };
    let mut bytes = fs::read(&path).expect("a file to damage");
    if bytes.is_empty() {
        bytes = dice.junk(512);
    }
    // Files are longer than what was written to them.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let at = dice.roll(used);
    let what = match dice.roll(8) {
        0 | 1 => {
            for _ in 0..=dice.roll(8) {
                let bit = 1 << dice.roll(8);
                bytes[dice.roll(used)] ^= bit;
            }
            "bits"
        }
        2 => {
            bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = 0);
            "zeros"
        }
        3 => {
            bytes.truncate(at);
            "cut"
        }
        4 => {
            fs::remove_file(&path).expect("a file to remove");
            return "removed";
        }
        5 => {
            let path = dir.join(["snap.0000000000000001", "snap.1.generating", "conf"][dice.roll(3)]);
            let length = dice.roll(4096);
            fs::write(&path, dice.junk(length)).expect("garbage");
            // Root writes it here; what an agent may not read is not what this is about.
            let _only_root_gives = chown(&path, Some(owner.uid()), Some(owner.gid()));
            return "garbage";
        }
        6 => {
            let block = 512;
            let (a, b) = (at / block * block, dice.roll(used) / block * block);
            for n in 0..block.min(bytes.len().saturating_sub(a.max(b))) {
                bytes.swap(a + n, b + n);
            }
            "swapped"
        }
        _ => {
            let junk = dice.junk(64);
            let end = (at + junk.len()).min(bytes.len());
            bytes.splice(at..end, junk);
            "junk"
        }
    };
    fs::write(&path, bytes).expect("a file to damage");
    what
}

/// Waits until the roots of all are equal; the root.
pub(crate) fn until_one(fleet: &Fleet, names: &[&str], what: &str) -> String {
    fleet.until_within(WHOLE_WITHIN, &format!("{what}: all hold the same"), |fleet| {
        let (mut roots, mut held) = (Vec::new(), Vec::new());
        for name in names {
            let output = fleet.muster(name, &["status", "-o", "json"]);
            if output.code != 0 {
                return Err(output.stderr);
            }
            let status = output.json();
            let forked = status["problems"].to_string();
            assert!(!forked.contains("signed twice"), "{what}: {name}: {forked}");
            let peers: Vec<_> =
                status["peers"].as_array().into_iter().flatten().map(|peer| &peer["host"]).collect();
            held.push(format!(
                "{name}: {} entries, {}, linked to {peers:?}",
                status["entries"], status["problems"]
            ));
            roots.push(status["root"].as_str().unwrap_or_default().to_owned());
        }
        let same = !roots[0].is_empty() && roots.iter().all(|root| *root == roots[0]);
        if same { Ok(roots[0].clone()) } else { Err(format!("{roots:?} {held:?}")) }
    })
}

fn check(fleet: &Fleet, name: &str) -> (i32, Value) {
    let output = fleet.muster(name, &["store", "check", "-o", "json"]);
    let json = if output.stdout.is_empty() { Value::Null } else { output.json() };
    (output.code, json)
}

#[test]
fn after_each_of_100_damages_the_store_is_whole_again_and_nothing_is_lost() {
    let seed = seed("damage");
    let mut dice = Dice::new(seed);
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    let names = ["a", "b", "c", "d", "e"];
    for name in names.iter().skip(1) {
        fleet.join(name, &[], Reach::Fixed);
    }
    fleet.all_see_all();
    // Nobody told the founder anything when it joined: what it knows without its store it has kept itself.
    fleet.until("the founder keeps who belongs beside its store", |fleet| {
        let kept = MeshHome::at(&fleet.state("a").join("mesh")).first();
        let is_host = |item: &&Item| peek(&item.entry.0).is_ok_and(|header| header.kind == Kind::Host as u16);
        let hosts = kept.iter().filter(is_host).count();
        if hosts == names.len() { Ok(()) } else { Err(format!("{hosts} hosts")) }
    });
    let (mut aside, mut damaged, mut done) = (0, 0, std::collections::BTreeMap::new());
    for round in 0..ROUNDS {
        let mut what = format!("MUSTER_SEED={seed}, round {round}");
        // Any one of them stays.
        let stays = names[usize::try_from(round).expect("a small number") % names.len()];
        let others: Vec<&str> = names.iter().copied().filter(|name| *name != stays).collect();
        let value = format!("round={round}");
        fleet.muster(others[0], &["host", "tag", "a", &value, "--yes"]).ends(0);
        until_one(&fleet, &names, &what);
        for name in &others {
            // As a service manager stops it, or as a power cut does.
            if dice.roll(2) == 0 {
                fleet.stop(name);
            } else {
                fleet.kill9(name, Process::Both);
            }
            let how = damage(&fleet.state(name).join("mesh/store"), &mut dice);
            what = format!("{what}, {how} on {name}");
            *done.entry(how).or_insert(0) += 1;
        }
        let missed = format!("missed={round}");
        fleet.muster(stays, &["host", "tag", stays, &missed, "--yes"]).ends(0);
        for name in &others {
            fleet.launch(name);
        }
        until_one(&fleet, &names, &what);
        for name in names {
            let tags = fleet.tags(name, "a");
            assert_eq!(tags["round"], round.to_string(), "{what}: {name} lost a tag");
            assert_eq!(fleet.tags(name, stays)["missed"], round.to_string(), "{what}: {name}");
        }
        for name in &others {
            let problems = fleet.status(name)["problems"].to_string();
            aside += usize::from(problems.contains("moved to"));
            damaged += usize::from(problems.contains("rows of the store"));
            if round % 10 == 0 {
                let (code, found) = check(&fleet, name);
                assert_eq!((code, &found["whole"]), (0, &true.into()), "{what}: {name}: {found}");
            }
        }
    }
    eprintln!("{done:?}: {aside} moved aside, {damaged} with damaged rows");
    assert!(aside > 0, "no damage was found at all");
    assert_eq!(done.values().sum::<u64>(), 4 * ROUNDS);
}

#[test]
fn a_check_says_what_is_damaged_with_and_without_an_agent_and_changes_nothing_without() {
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::Listens);
    fleet.all_see_all();
    until_one(&fleet, &["a", "b"], "at first");
    let (code, found) = check(&fleet, "b");
    assert_eq!(
        (code, &found["as_held"], &found["agent_running"]),
        (0, &true.into(), &true.into()),
        "{found}"
    );
    fleet.stop("b");
    let (code, found) = check(&fleet, "b");
    assert_eq!((code, &found["whole"], &found["agent_running"]), (0, &true.into(), &false.into()), "{found}");
    assert!(found["rows"].as_u64() >= Some(6) && found["disk_bytes"].as_u64() > Some(0), "{found}");
    let store = fleet.state("b").join("mesh/store");
    let db = store.join("db");
    let whole = fs::read(&db).expect("the store");
    fs::write(&db, vec![0xa5; whole.len()]).expect("the store");
    let output = fleet.muster("b", &["store", "check"]);
    output.ends(1).says(&["error: the store is damaged", "hint: ", "when it starts"]);
    assert!(fs::read(&db).expect("the store").iter().all(|byte| *byte == 0xa5), "it was touched");
    fs::write(&db, whole).expect("the store");
    let (code, _) = check(&fleet, "b");
    assert_eq!(code, 0);
    fleet.start("b");
    until_one(&fleet, &["a", "b"], "at the end");
    assert_eq!(fleet.status("b")["problems"], serde_json::json!([]));
}
