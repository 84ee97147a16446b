//! A package database that somebody, or something, broke: the agent stays up, says so, keeps what it knew, tells
//! everything else, and never speaks faster than it may.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use crate::{
    fleet::Fleet,
    liar::{dpkg, install, three},
    member::resident,
    signer::{host_id, replica},
};

/// What an agent may grow by, in KiB: a database of the greatest length is read in pieces.
const ROOM_KIB: u64 = 96 * 1024;

/// What is put, a word of what is said of it, and how.
type Put<'a> = (&'a str, &'a str, Box<dyn Fn() + 'a>);

fn problems(fleet: &Fleet, at: &str) -> String {
    fleet.status(at)["problems"].to_string()
}

/// Where `b`'s head stands, as `a` holds it.
fn sequence(runtime: &Runtime, fleet: &Fleet) -> u64 {
    let b = host_id(fleet, "b");
    runtime.block_on(replica(fleet, "a")).head_place(&b).map_or(0, |place| place.sequence)
}

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn whatever_stands_in_the_place_of_the_package_database_the_agent_stays_up_and_says_so() {
    let fleet = three();
    let mesh = fleet.status("b")["mesh_pid"].as_u64().expect("a mesh process");
    let before = resident(mesh);
    let status = dpkg(&fleet, "b").join("status");
    let new = dpkg(&fleet, "b").join("new");
    let garbage = |line: &str| {
        let mut bytes = line.as_bytes().repeat(64 * 1024 * 1024 / line.len() + 2);
        bytes.push(b'\n');
        bytes
    };
    let wrong: Vec<Put<'_>> = vec![
        (
            "garbage of 64 MiB",
            "bytes",
            Box::new(|| fs::write(&new, garbage("\u{1}\u{2}no: field ")).unwrap()),
        ),
        ("64 MiB of one field", "bytes", Box::new(|| fs::write(&new, garbage("Package: x")).unwrap())),
        (
            "too many packages",
            "packages",
            Box::new(|| {
                let stanza = |at| {
                    format!("Package: p{at}\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n")
                };
                fs::write(&new, (0..60_000).map(stanza).collect::<String>()).unwrap();
            }),
        ),
        (
            "a pipe",
            "no file",
            Box::new(|| assert!(Command::new("mkfifo").arg(&new).status().unwrap().success())),
        ),
        ("a directory", "no file", Box::new(|| fs::create_dir(&new).unwrap())),
        ("a link to itself", "status", Box::new(|| symlink("status", &new).unwrap())),
        ("what cannot be seen", "status", Box::new(|| symlink("/etc/shadow", &new).unwrap())),
        ("a device without end", "status", Box::new(|| symlink("/dev/zero", &new).unwrap())),
        (
            "what may not be read",
            "ermission denied",
            Box::new(|| {
                fs::write(&new, "Package: hidden\n").unwrap();
                fs::set_permissions(&new, fs::Permissions::from_mode(0o0)).unwrap();
            }),
        ),
    ];
    for (number, (what, why, put)) in wrong.iter().enumerate() {
        put();
        remove(&status);
        fs::rename(&new, &status).unwrap();
        fleet.until(&format!("b says that its database is {what}"), |fleet| {
            let problems = problems(fleet, "b");
            if problems.contains("not up to date") && problems.contains(why) { Ok(()) } else { Err(problems) }
        });
        // What was known stands, and everything else goes on.
        let kept = fleet.muster(
            "a",
            &["inventory", "search", "has deb.openssl and has fact.kernel_info.version", "-o", "name"],
        );
        assert_eq!(kept.text(), "a\nb\nc\n", "{what}");
        let grew = resident(mesh).saturating_sub(before);
        eprintln!("{what}: grew by {grew} KiB");
        assert!(grew < ROOM_KIB, "{what}: grew by {grew} KiB");
        remove(&status);
        install(&fleet, "b", &format!("3.{number}"));
        fleet.until(&format!("b is well again after {what}"), |fleet| {
            let found = fleet
                .muster("c", &["inventory", "search", &format!("deb.openssl = 3.{number}"), "-o", "name"]);
            let problems = problems(fleet, "b");
            if found.text() == "b\n" && !problems.contains("not up to date") { Ok(()) } else { Err(problems) }
        });
    }
    assert_eq!(fleet.status("b")["mesh_pid"].as_u64(), Some(mesh), "{}", fleet.log("b"));
}

#[test]
fn a_database_that_is_replaced_a_hundred_times_a_second_is_told_of_a_few_times_and_in_the_end() {
    const CHANGES_FOR: Duration = Duration::from_secs(30);
    let fleet = three();
    let runtime = Runtime::new().unwrap();
    let _in_runtime = runtime.enter();
    let mesh = fleet.status("b")["mesh_pid"].as_u64().expect("a mesh process");
    let first = sequence(&runtime, &fleet);
    let (start, mut changes) = (Instant::now(), 0_u32);
    while start.elapsed() < CHANGES_FOR {
        changes += 1;
        install(&fleet, "b", &format!("4.{changes}"));
        runtime.block_on(tokio::time::sleep(Duration::from_millis(8)));
    }
    install(&fleet, "b", "5.0");
    fleet.until("the last one is found", |fleet| {
        let found = fleet.muster("a", &["inventory", "search", "deb.openssl = 5.0", "-o", "name"]);
        if found.text() == "b\n" { Ok(()) } else { Err(format!("{found:?}")) }
    });
    let (said, took) = (sequence(&runtime, &fleet) - first, start.elapsed());
    eprintln!("{changes} changes in {took:.1?}: said {said} times");
    assert!(changes > 1000, "{changes}");
    // Twenty at once, and one in thirty seconds.
    assert!(said >= 1 && said <= 21 + took.as_secs() / 30, "{said} heads for {changes} changes in {took:?}");
    assert_eq!(fleet.status("b")["mesh_pid"].as_u64(), Some(mesh), "{}", fleet.log("b"));
}
