use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{
    checks::{Check, Verdict, checks},
    found::{Found, Room, TimeService, look},
    verb::{Online, show},
};
use crate::{
    control::{ClockRow, Health, StatusReport, StoreCheck},
    identity::HostId,
    terminal::{Format, Output, Style},
    time::Timestamp,
};

const GIB: u64 = 1 << 30;

fn well() -> (Found, Online, Result<StoreCheck, String>) {
    let found = Found {
        state: "/s".into(),
        there: true,
        room: Some(Room { free: 5 * GIB, all: 10 * GIB, files: Some(1_000_000) }),
        journal: Some(Ok(4096)),
        time: Some(TimeService::Synchronised("systemd-timesyncd")),
        ..Found::default()
    };
    let status = StatusReport {
        members: 3,
        links: 2,
        listen: vec!["10.0.0.1:7946".to_owned()],
        presence: Some((3, 0)),
        confinement: "no capabilities, system-call filter, Landlock (version 6)".to_owned(),
        ..StatusReport::default()
    };
    let health = Health {
        store_bytes: 4096,
        versions: vec![("0.1.0".to_owned(), 3)],
        dialled_in: 1,
        ..Health::default()
    };
    let online = Online {
        agent: "0.1.0".to_owned(),
        name: "a".to_owned(),
        status,
        health,
        lan: Some(false),
        ..Online::default()
    };
    (found, online, Ok(StoreCheck { whole: true, ..StoreCheck::default() }))
}

/// The checks that are not good, as `name verdict`.
fn not_good(checks: &[Check]) -> Vec<String> {
    let bad = checks.iter().filter(|check| check.verdict != Verdict::Good);
    bad.map(|check| format!("{} {}", check.name, check.verdict.word())).collect()
}

fn judged(change: impl FnOnce(&mut Found, &mut Online, &mut Result<StoreCheck, String>)) -> Vec<Check> {
    let (mut found, mut online, mut store) = well();
    change(&mut found, &mut online, &mut store);
    checks(&found, Some(&online), &store, "0.1.0")
}

fn clock(ahead: bool, by_ms: u64, error_ms: u64) -> ClockRow {
    ClockRow { host: HostId([1; 32]), name: "b".to_owned(), ahead, by_ms, error_ms }
}

#[test]
fn where_nothing_is_wrong_all_is_good() {
    let checks = judged(|_, _, _| {});
    assert_eq!(not_good(&checks), [""; 0]);
    for name in ["version", "clock", "links", "listen", "lan", "disk", "store", "journal", "sandbox"] {
        assert!(checks.iter().any(|check| check.name == name), "{name}");
    }
}

#[test]
fn each_fault_is_found_and_comes_with_its_way_out() {
    type Change = fn(&mut Found, &mut Online, &mut Result<StoreCheck, String>);
    let cases: &[(Change, &[&str], &str)] = &[
        (|found, _, _| found.time = None, &["clock odd"], "no time service"),
        (
            |found, _, _| found.time = Some(TimeService::Running("chrony", "chronyc tracking")),
            &["clock unknown"],
            "chrony runs",
        ),
        (
            |_, online, _| online.health.clocks = vec![clock(true, 240_000, 3)],
            &["clocks bad"],
            "the clock of b is 4m ahead of this one",
        ),
        (
            |_, online, _| online.health.clocks = vec![clock(false, 5_000, 3)],
            &["clocks odd"],
            "the clock of b is 5s behind this one",
        ),
        // What a slow answer alone explains is no fault.
        (|_, online, _| online.health.clocks = vec![clock(true, 5_000, 4_000)], &[], "1 linked hosts agree"),
        (|_, online, _| online.status.links = 0, &["links bad"], "to none of 2 other members"),
        (
            |_, online, _| {
                online.status.presence = Some((2, 1));
                online.away = vec!["b".to_owned()];
            },
            &["members odd"],
            "1 of 3 cannot be reached: b",
        ),
        (|_, online, _| online.health.dialled_in = 0, &["listen unknown"], "none of its links was dialled"),
        (|_, online, _| online.status.listen.clear(), &[], "it only dials out"),
        (
            |_, online, _| (online.status.members, online.status.links, online.health.dialled_in) = (1, 0, 0),
            &[],
            "this is the only member",
        ),
        (
            |found, _, _| found.room = Some(Room { free: 1 << 20, all: GIB, files: None }),
            &["disk bad"],
            "1.0 MiB of 1.0 GiB are free",
        ),
        (
            |found, _, _| found.room = Some(Room { free: GIB, all: GIB, files: Some(3) }),
            &["disk bad"],
            "only 3 more files",
        ),
        (
            |found, _, _| found.room = Some(Room { free: 100 << 20, all: GIB, files: None }),
            &["disk odd"],
            "of 1.0 GiB are free",
        ),
        (
            |_, _, store| {
                *store = Ok(StoreCheck { unread: Some("it ends early".to_owned()), ..StoreCheck::default() });
            },
            &["store bad"],
            "it ends early",
        ),
        (|_, _, store| *store = Err("busy".to_owned()), &["store unknown"], "busy"),
        (|found, _, _| found.journal = Some(Ok(200 << 20)), &["journal bad"], "long: no order is taken on"),
        (|found, _, _| found.journal = Some(Err("denied".to_owned())), &["journal unknown"], "denied"),
        (|_, online, _| online.agent = "0.0.9".to_owned(), &["version odd"], "the agent is 0.0.9"),
        (
            |_, online, _| online.health.versions.push(("0.0.9".to_owned(), 1)),
            &["versions odd"],
            "0.1.0 on 3 hosts, 0.0.9 on 1 host",
        ),
        (
            |_, online, _| online.status.confinement = "no Landlock on this kernel".to_owned(),
            &["sandbox odd"],
            "no Landlock",
        ),
        (|_, online, _| online.status.confinement.clear(), &["sandbox bad"], "does not say"),
        (
            |_, online, _| online.status.problems = vec!["c is shunned".to_owned()],
            &["problem odd"],
            "c is shunned",
        ),
    ];
    for (change, wanted, what) in cases {
        let checks = judged(*change);
        assert_eq!(not_good(&checks), *wanted, "{what}");
        assert!(checks.iter().any(|check| check.what.contains(what)), "{what}: {checks:#?}");
        let without = checks.iter().find(|check| check.verdict != Verdict::Good && check.fix.is_none());
        assert_eq!(without, None, "a fault without a way out");
    }
}

/// A state directory as an agent of this user makes it.
fn state(dir: &Path) {
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (name, bits) in
        [("executor", 0o700), ("mesh", 0o700), ("operators", 0o700), ("operators/acme", 0o700)]
    {
        fs::create_dir(dir.join(name)).unwrap();
        mode(&dir.join(name), bits);
    }
    let keys = ["executor/executor.key", "executor/seal.key", "mesh/stream.key", "mesh/transport.key"];
    for name in keys.iter().chain(&["operators/acme/operator.key", "executor/claims", "format"]) {
        fs::write(dir.join(name), "x").unwrap();
        mode(&dir.join(name), 0o600);
    }
    let _closed = std::os::unix::net::UnixListener::bind(dir.join("agent.sock")).unwrap();
    mode(&dir.join("agent.sock"), 0o660);
    mode(dir, 0o700);
}

#[test]
fn what_is_open_to_others_is_found_with_the_command_that_closes_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    state(at);
    let permissions = || -> Vec<Check> {
        let found = look(at, &at.join("agent.sock"), &at.join("operators"));
        assert!(found.there && found.room.is_some() && found.journal == Some(Ok(1)));
        let all = checks(&found, None, &Err("no".to_owned()), "0.1.0");
        all.into_iter().filter(|check| check.name == "permissions").collect()
    };
    assert_eq!(not_good(&permissions()), [""; 0]);
    for (name, opened, fix) in [
        ("", 0o755, "chmod go-rw "),
        ("executor", 0o750, "chmod go-rw "),
        ("mesh", 0o701, "chmod 700 "),
        ("executor/executor.key", 0o640, "chmod 600 "),
        ("mesh/transport.key", 0o604, "chmod 600 "),
        ("agent.sock", 0o666, "chmod 660 "),
        ("operators/acme", 0o755, "chmod 700 "),
        ("operators/acme/operator.key", 0o644, "chmod 600 "),
    ] {
        let path = if name.is_empty() { at.to_owned() } else { at.join(name) };
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(opened)).unwrap();
        let checks = permissions();
        assert_eq!(not_good(&checks), ["permissions bad"], "{name}");
        let wanted = format!("{fix}{}", path.display());
        assert_eq!(checks[0].fix.as_deref(), Some(wanted.as_str()), "{name}");
        fs::set_permissions(&path, before).unwrap();
    }
    // Under root others may walk through.
    fs::set_permissions(at, fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(not_good(&permissions()), [""; 0]);
}

#[test]
fn where_there_is_nothing_there_is_nothing_to_find_fault_with() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    let found = look(&none, &none.join("s"), &none.join("o"));
    assert!(!found.there && found.looked.is_empty() && found.journal.is_none());
    let checks = checks(&found, None, &Err("no host".to_owned()), "0.1.0");
    assert!(checks.iter().all(|check| check.verdict != Verdict::Bad), "{checks:#?}");
}

#[test]
fn a_line_each_for_a_person_rows_for_a_script_and_nothing_steers_a_terminal() {
    let checks = [
        Check::good("clock", "kept right"),
        Check::bad("links", "to none of 2 \u{1b}[2Jmembers", "are they up? muster host ls"),
    ];
    let shown = |format, terminal, columns| {
        let mut output =
            Output::new(Vec::new(), format, terminal, Style::default(), Timestamp(0)).within(columns);
        show(&checks, &mut output).unwrap();
        String::from_utf8(output.into_inner()).unwrap()
    };
    assert_eq!(
        shown(Format::Table, true, Some(80)),
        "✓ good     clock  kept right\n\
         ✗ bad      links  to none of 2 \\x1b[2Jmembers\n                   \
         fix: are they up? muster host ls\n"
            .replace("\n                   fix", "\n                  fix")
    );
    let narrow = shown(Format::Table, true, Some(20));
    assert!(narrow.contains("fix: are") && !narrow.contains('\u{1b}'), "{narrow}");
    assert_eq!(
        shown(Format::Table, false, None),
        "clock\tgood\tkept right\t-\nlinks\tbad\tto none of 2 \\x1b[2Jmembers\tare they up? muster host ls\n"
    );
    assert!(shown(Format::Json, false, None).contains("\"schema\": \"muster.doctor/v1\""));
    assert_eq!(shown(Format::Name, false, None), "clock\nlinks\n");
}
