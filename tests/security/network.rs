//! A bad network between two agents: bytes turned over, left out, delayed and said again.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    evil::listens_at,
    fleet::{Fleet, Reach, text},
    proxy::{Faults, Proxy},
};

/// How long a link may be gone after the network is honest again.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// A host that others reach by a proxy alone, once it is started again.
fn behind_a_proxy(fleet: &mut Fleet, name: &str) -> (Proxy, SocketAddr) {
    let address = listens_at(fleet, name);
    let proxy = Proxy::to(address);
    let path = fleet.state(name).join("agent.toml");
    let settings = fs::read_to_string(&path).expect("agent.toml");
    let rest: Vec<&str> = settings.lines().filter(|line| !line.starts_with("advertise")).collect();
    let advertise = format!("advertise = [\"{}\"]\n{}\n", proxy.address, rest.join("\n"));
    fs::write(&path, advertise).expect("agent.toml");
    fleet.restart(name);
    (proxy, address)
}

fn linked(fleet: &Fleet) -> Result<(), String> {
    let (a, b) = (fleet.links("a"), fleet.links("b"));
    if a.contains("b") && b.contains("a") { Ok(()) } else { Err(format!("{a:?}, {b:?}")) }
}

#[test]
fn altered_lost_and_repeated_bytes_start_nothing_and_the_link_is_back_within_a_minute() {
    let mut fleet = Fleet::found_with("acme", Reach::Fixed);
    let (to_a, a) = behind_a_proxy(&mut fleet, "a");
    fleet.join("b", &[], Reach::Fixed);
    let (to_b, b) = behind_a_proxy(&mut fleet, "b");
    fleet.until("linked through the proxy", linked);
    let said = fleet.dir().join("said");
    // Every order says a word of its own: an order that came through altered would say another, or none.
    let order = |fleet: &Fleet, number: usize| {
        let argv = [
            "sh".to_owned(),
            "-c".to_owned(),
            format!("echo \"$MUSTER_JOB $0\" >> {}", said.display()),
            format!("intact-{number}-{}", "x".repeat(900)),
        ];
        fleet.begin_order("a", &["--all"], &fleet.counted(&argv.each_ref().map(String::as_str)))
    };
    let faults = [
        ("a bit of every 5000 bytes", Faults { flip_every: Some(5000), ..Faults::default() }),
        ("a bit of every 400 bytes", Faults { flip_every: Some(400), ..Faults::default() }),
        ("a byte of every 3000 is lost", Faults { drop_every: Some(3000), ..Faults::default() }),
        ("nothing passes", Faults { half_open: true, ..Faults::default() }),
        ("nobody gets in", Faults { refuse: true, ..Faults::default() }),
        ("late", Faults { delay: Duration::from_millis(300), ..Faults::default() }),
        ("slow", Faults { bytes_a_second: Some(3000), ..Faults::default() }),
    ];
    let mut jobs = Vec::new();
    let mut number = 0;
    for (what, faults) in faults {
        let cut = faults.half_open || faults.refuse;
        to_a.set(faults.clone());
        to_b.set(faults);
        if cut {
            to_a.cut();
            to_b.cut();
        }
        let begun: Vec<_> = (0..2)
            .map(|_| {
                number += 1;
                order(&fleet, number)
            })
            .collect();
        // To their end, whatever that is: the network is as bad as it is for all of that time.
        for begun in begun {
            let ran = Fleet::ran(begun);
            assert_eq!(ran.status("a"), "ok", "{what}: {ran:#?}");
            jobs.push(ran.job);
        }
        to_a.set(Faults::default());
        to_b.set(Faults::default());
        to_a.cut();
        to_b.cut();
        let honest = Instant::now();
        fleet.until_within(BACK_WITHIN, "the link is back", linked);
        let back = honest.elapsed();
        for job in &jobs {
            let rest = BACK_WITHIN.saturating_sub(honest.elapsed()).max(Duration::from_secs(10));
            fleet.until_within(rest, "every order has run on both", |fleet| {
                let shown = fleet.job("a", job);
                let status = text(&shown["b"]["status"]);
                if status == "ok" { Ok(()) } else { Err(format!("{job} on b: {status}")) }
            });
        }
        let done = honest.elapsed();
        eprintln!("{what}: link back after {back:.1?}, all results after {done:.1?}");
        assert!(done < BACK_WITHIN, "{what}: {done:?}");
    }
    let counts = [to_a.counts(), to_b.counts()];
    let (passed, altered) = (counts[0].0 + counts[1].0, counts[0].1 + counts[1].1);
    eprintln!("{passed} bytes passed, {altered} altered or lost");
    // Each ends its link, so there are not many.
    assert!(altered > 2, "the faults did nothing: {altered} bytes");

    // What was recorded is said again, to the host that it was said to. Which of the two dialled is chance.
    let said_to = |proxy: &Proxy, host| {
        let whole = proxy.recorded().into_iter().filter(|bytes| bytes.len() > 500);
        whole.take(10).map(|bytes| (host, bytes)).collect::<Vec<_>>()
    };
    let recorded = [said_to(&to_a, a), said_to(&to_b, b)].concat();
    assert!(!recorded.is_empty(), "nothing was recorded");
    for (host, bytes) in &recorded {
        let mut socket = TcpStream::connect(host).expect("the host's own port");
        let _cut = socket.write_all(bytes);
        let _done = socket.shutdown(std::net::Shutdown::Write);
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer);
        assert!(!matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "kept open");
        // The shield is keyed by the sender's nonce, so a recording gets through it and as far as the
        // handshake, which answers with a fresh key: under that, nothing that was recorded holds.
        assert!(answer.len() <= 512, "a recorded session is answered with {} bytes", answer.len());
    }

    let spawned: BTreeSet<(String, String)> = fleet.all_spawns().into_iter().collect();
    let expected: BTreeSet<_> =
        jobs.iter().flat_map(|job| ["a", "b"].map(|host| (job.clone(), host.to_owned()))).collect();
    assert_eq!(spawned, expected);
    assert_eq!(fleet.all_spawns().len(), expected.len(), "something ran twice");
    let words = fs::read_to_string(&said).expect("what the commands said");
    let whole = |word: &str| word.starts_with("intact-") && word.ends_with(&"x".repeat(900));
    assert!(words.lines().all(|line| line.split_once(' ').is_some_and(|(_, word)| whole(word))));
    for host in ["a", "b"] {
        assert_eq!(fleet.counter(host, "mesh_starts"), 1, "{}", fleet.log(host));
    }
}
