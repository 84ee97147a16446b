use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use super::{
    cache::{self, Entries, Known, Read, words_kept},
    *,
};
use crate::{
    control::{HostLine, HostRow, testing::NOW, testing::TestFleet},
    identity::{FleetId, HostId, Operator, SecretKey},
    journal::{OperatorHome, keyfile, signer::Choice},
    time::Timestamp,
};

fn clock() -> Timestamp {
    NOW
}

fn saved() -> Saved {
    // A port at which nobody listens: bound by nobody as long as it is reserved.
    Saved { fleet: FleetId([7; 32]), shield: [9; 32], addresses: vec!["127.0.0.1:1".parse().unwrap()] }
}

fn line(number: u32, state: &str) -> HostLine {
    let mut host = [0; 32];
    host[..4].copy_from_slice(&number.to_be_bytes());
    HostLine {
        about: HostRow {
            host: HostId(host),
            state: state.to_owned(),
            seen: Some(NOW),
            since: None,
            witnesses: None,
        },
        name: format!("web-{number:05}"),
        tags: vec![("role".to_owned(), "web".to_owned()), ("rack".to_owned(), format!("r{}", number % 40))],
        conflicts: Vec::new(),
        os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        agent: "0.1.0".to_owned(),
        addresses: vec![format!("10.0.{}.{}:7946", number / 250, number % 250)],
        fingerprint: None,
    }
}

fn kept(hosts: u32) -> Kept {
    let lines: Vec<HostLine> = (0..hosts).map(|number| line(number, "unknown")).collect();
    let known = lines.iter().map(|line| Known {
        host: line.about.host,
        name: line.name.clone(),
        transport: line.about.host.0,
        addresses: line.addresses.clone(),
    });
    Kept {
        at: NOW,
        fleet: "acme".to_owned(),
        member: "a".to_owned(),
        known: known.collect(),
        lines,
        operators: vec!["ana".to_owned()],
        groups: vec!["prod".to_owned()],
        jobs: vec!["7f3k".to_owned()],
        types: vec!["mounts".to_owned()],
    }
}

#[test]
fn contexts_come_back_as_they_were_and_are_for_their_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let contexts = Contexts::at(&dir.path().join("contexts"));
    assert_eq!(contexts.names().unwrap(), [""; 0]);
    contexts.add("acme", &saved()).unwrap();
    assert_eq!(contexts.open("acme").unwrap(), saved());
    let file = contexts.dir_of("acme").join("context.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(contexts.add("acme", &saved()), Err(SavedError::Taken(_))));
    for name in ["", "..", "a/b", "A", "current"] {
        assert!(matches!(contexts.check_new(name), Err(SavedError::BadName(_))), "{name}");
    }
    assert!(
        matches!(contexts.use_one(Some("acm")), Err(SavedError::NoSuch { others, .. }) if others == ["acme"])
    );
    contexts.use_one(Some("acme")).unwrap();
    assert_eq!(contexts.current().unwrap().as_deref(), Some("acme"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(contexts.open("acme"), Err(SavedError::Exposed { .. })));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "fleet = 'no'\nshield = ''\naddresses = []\n").unwrap();
    assert!(matches!(contexts.open("acme"), Err(SavedError::Damaged { .. })));
    contexts.remove("acme").unwrap();
    assert_eq!((contexts.names().unwrap().len(), contexts.current().unwrap()), (0, None));
}

#[test]
fn what_is_kept_and_is_not_as_it_was_written_is_moved_aside_and_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = cache::kept_path(dir.path());
    assert!(matches!(cache::read::<Kept>(&path), Read::Nothing));
    cache::write(&path, &kept(3)).unwrap();
    assert!(matches!(cache::read::<Kept>(&path), Read::Whole(read) if read == kept(3)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        for bytes in [altered, whole[..at].to_vec()] {
            fs::write(&path, bytes).unwrap();
            assert!(Kept::glance(dir.path()).is_none(), "byte {at}");
        }
    }
    let Read::Aside(aside) = cache::read::<Kept>(&path) else { panic!("it is read") };
    assert!(aside.exists() && !path.exists());
    // Another file's content is none of this one's, and what others may write is no cache.
    cache::write(&path, &Entries { at: NOW, fleet: Vec::new(), orders: Vec::new() }).unwrap();
    assert!(Kept::glance(dir.path()).is_none());
    cache::write(&path, &kept(1)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(Kept::glance(dir.path()).is_none());
}

#[test]
fn rows_that_are_kept_say_nothing_of_now_and_only_of_hosts_that_the_entries_know() {
    let mut fleet = TestFleet::acme();
    let web = fleet.host("web-1", &[("role", "web")]);
    let gone = fleet.host("old", &[]);
    fleet.leaves(gone);
    let row = |host: HostId, state: &str| {
        let mut row = line(1, state);
        row.about.host = host;
        "of-the-members-choice".clone_into(&mut row.name);
        row
    };
    let said = vec![row(web, "up"), row(gone, "up"), row(HostId([3; 32]), "up")];
    let kept = Kept::of(&fleet.replica, said, Vec::new(), web, NOW);
    let shown: Vec<(&str, &str)> =
        kept.lines.iter().map(|line| (line.name.as_str(), line.about.state.as_str())).collect();
    assert_eq!(shown, [("web-1", "unknown"), ("old", "left")]);
    assert_eq!(kept.known.iter().map(|known| known.host).collect::<Vec<_>>(), [web]);
    assert_eq!(words_kept(&kept, "host", "", 9), ["web-1"], "who left is no word to finish");
}

#[test]
fn words_of_ten_thousand_hosts_are_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(words_at(dir.path(), "host", "", 200), None);
    cache::keep(dir.path(), &kept(10_000)).unwrap();
    let words = |kind: &str, start: &str| words_at(dir.path(), kind, start, 200).unwrap();
    assert_eq!(words("host", "web-0999").len(), 10);
    assert_eq!(words("host", "").len(), 200);
    assert_eq!(words("tag", ""), ["rack=", "role="]);
    assert_eq!(words("tag", "role="), ["role=web"]);
    assert_eq!(words("path", "tag.r"), ["tag.rack", "tag.role"]);
    for (kind, word) in [("operator", "ana"), ("group", "prod"), ("job", "7f3k"), ("type", "mounts")] {
        assert_eq!(words(kind, ""), [word]);
    }
    assert_eq!(words("nonsense", ""), [""; 0]);
    fs::set_permissions(dir.path().join("words"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(words_at(dir.path(), "host", "", 200), None, "others may have written it");
}

#[test]
fn a_fleet_that_cannot_be_reached_leaves_nothing_of_a_new_context() {
    let dir = tempfile::tempdir().unwrap();
    let (contexts, operators) = (Contexts::at(&dir.path().join("contexts")), dir.path().join("operators"));
    let (key, file) = (SecretKey::<Operator>::from_seed(&[2; 32]), dir.path().join("key"));
    keyfile::write_new(&file, &key, "").unwrap();
    let choice = Choice::File(key.public().into(), file);
    let request = |key| AddRequest {
        name: "acme",
        saved: Box::leak(Box::new(saved())),
        key,
        offline: false,
        dry_run: false,
        clock,
        seed: [5; 32],
    };
    assert!(matches!(add(&contexts, &operators, request(None)), Err(ContextError::NoKey { .. })));
    let error = add(&contexts, &operators, request(Some(&choice))).unwrap_err();
    assert!(matches!(error, ContextError::Way(WayError::Unreachable { .. })), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(!contexts.dir_of("acme").exists() && !operators.exists());
}

#[test]
fn without_a_member_what_was_kept_is_answered_and_what_changes_something_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = TestFleet::acme();
    let web = fleet.host("web-1", &[("role", "web")]);
    fleet.host("db-1", &[("role", "db")]);
    let operators = dir.path().join("operators");
    OperatorHome::create(&operators.join("acme"), &fleet.operator, &fleet.chain).unwrap();
    let saved = Saved { fleet: fleet.chain.fleet(), ..saved() };
    let contexts = Contexts::at(&dir.path().join("contexts"));
    contexts.add("acme", &saved).unwrap();
    let at = contexts.dir_of("acme");
    let then = NOW.before(Duration::from_secs(3 * 3600));
    let mut row = line(1, "up");
    row.about.host = web;
    let kept = Kept::of(&fleet.replica, vec![row], Vec::new(), web, then);
    cache::write(&cache::kept_path(&at), &kept).unwrap();
    let entries = Entries { at: then, fleet: fleet.replica.fleet_items(true), orders: Vec::new() };
    cache::write(&cache::entries_path(&at), &entries).unwrap();

    let with = With {
        name: "acme",
        saved: &saved,
        dir: &at,
        operators: &operators,
        key: None,
        keeps: true,
        clock,
        seed: [6; 32],
    };
    let session = Session::start(with).unwrap();
    assert!(matches!(session.standing, Standing::Offline { as_of: Some(as_of), .. } if as_of == then));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use crate::control::{self, Client, ControlError, Reply, Request};
        const WITHIN: Duration = Duration::from_secs(60);
        let mut client = Client::connect(&session.socket).await.unwrap();
        let (replica, left_out) = control::fleet(&mut client, fleet.chain.clone(), true).await.unwrap();
        assert_eq!((replica.authority().members().count(), left_out), (2, 0));
        assert_eq!(control::host_lines(&mut client).await.unwrap(), kept.lines);
        let search = |expression: &str| Request::InventorySearch {
            expression: expression.to_owned(),
            columns: Vec::new(),
            limit: 9,
        };
        match client.ask(&search("tag.role = web"), WITHIN).await.unwrap() {
            Reply::Found { rows, more: false, .. } => assert_eq!(rows[0].about.host, web),
            other => panic!("{other:?}"),
        }
        for request in [
            search("fact.os.id = debian"),
            Request::Submit { items: Vec::new() },
            Request::Ping { host: web },
            Request::Status {},
            Request::Invite {},
        ] {
            let error = client.ask(&request, WITHIN).await.unwrap_err();
            assert!(matches!(error, ControlError::Offline { .. }), "{request:?}: {error}");
        }
    });
    let socket = session.socket.clone();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    drop(session);
    assert!(!socket.exists(), "nothing of the client is left");
}
