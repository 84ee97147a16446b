//! A mesh process that was taken over: a test stops the real one and speaks in its place, on the very
//! socket, to the privileged executor.

use std::{
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use muster::{
    authority::{Departure, RootChange, RootUpdate},
    executor::message::{MESSAGE_BYTES_MAX, ToExecutor, ToMesh},
    identity::{Cosigned, EntryId, Operator, Root, SecretKey, Signed, Stream},
    journal::MeshHome,
    replica::{Cancellation, Handed, Order, Outcome, ResultRecord},
    wire::{self, Bytes, FrameReader, Value},
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};

use crate::{
    evil::envelope,
    fleet::{DEADLINE, Fleet, Process, gone},
    signer::{Signer, fresh, host_id, now},
    support::unavailable,
};

/// The socket of a mesh process that is stopped meanwhile.
struct TakenOver {
    socket: UnixStream,
    frames: FrameReader,
    mesh: u32,
}

impl TakenOver {
    /// None where this machine does not let root take descriptors of another process.
    fn of(fleet: &Fleet, host: &str) -> Option<Self> {
        let mesh = fleet.mesh_pid(host).expect("a mesh process");
        let pid = Pid::from_raw(mesh.cast_signed()).expect("a pid");
        let held = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let socket: OwnedFd = pidfd_getfd(held.as_fd(), 0, PidfdGetfdFlags::empty()).ok()?;
        kill_process(pid, Signal::STOP).expect("it can be stopped");
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(false).expect("a socket that blocks");
        socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        socket.set_write_timeout(Some(DEADLINE)).expect("a deadline");
        Some(Self { socket, frames: FrameReader::new(MESSAGE_BYTES_MAX), mesh })
    }

    fn say(&mut self, message: &ToExecutor) {
        let framed = wire::frame(&wire::encode(message), MESSAGE_BYTES_MAX).expect("a frame");
        self.socket.write_all(&framed).expect("the executor listens");
    }

    fn order(&mut self, bytes: &[u8]) {
        self.say(&ToExecutor::Order { order: Handed::bare(bytes) });
    }

    fn hears(&mut self) -> ToMesh {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(body) = self.frames.next_frame().expect("a frame") {
                return wire::decode(&body, MESSAGE_BYTES_MAX).expect("a message");
            }
            let read = self.socket.read(&mut buffer).expect("the executor answers");
            assert!(read > 0, "the executor hung up");
            self.frames.push(&buffer[..read]);
        }
    }

    /// Everything that the executor says until it has dealt with what was said before, and its counters.
    fn dealt_with(&mut self) -> (Vec<ToMesh>, Vec<(String, u64)>) {
        self.say(&ToExecutor::Count {});
        let mut heard = Vec::new();
        loop {
            match self.hears() {
                ToMesh::Counters { counters } => return (heard, counters),
                other => heard.push(other),
            }
        }
    }

    /// Waits for the report on an order.
    fn report(&mut self, order: EntryId) -> ResultRecord {
        loop {
            if let ToMesh::Report { report } = self.hears()
                && report.order == order
            {
                return Signed::<ResultRecord>::own(&report.record.0).expect("a record");
            }
        }
    }
}

impl Drop for TakenOver {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.mesh.cast_signed()) {
            let _gone = kill_process(pid, Signal::CONT);
        }
    }
}

fn count(counters: &[(String, u64)], name: &str) -> u64 {
    counters.iter().find(|(counter, _)| counter == name).map_or(0, |(_, count)| *count)
}

fn reports(heard: &[ToMesh]) -> usize {
    heard.iter().filter(|message| matches!(message, ToMesh::Report { .. })).count()
}

#[test]
fn a_mesh_process_that_was_taken_over_starts_nothing_without_a_signature() {
    let mut fleet = Fleet::found("acme");
    let signer = Signer::of(&fleet);
    let a = host_id(&fleet, "a");
    let Some(mut mesh) = TakenOver::of(&fleet, "a") else {
        return unavailable("a mesh process is taken over", format_args!("its socket cannot be taken"));
    };
    let argv = fleet.counted(&[]);
    let executor = fleet.executor_pid("a");
    let stream = MeshHome::at(&fleet.state("a").join("mesh")).stream_key().expect("the host's stream key");

    // Not signed by an operator: with the keys that a mesh process has, and with none.
    let mut bad = Vec::new();
    for seed in [*stream.seed(), fresh()] {
        let key = SecretKey::<Operator>::from_seed(&seed);
        let order = Signed::sign(signer.fleet, &key, signer.order(&[a], &argv));
        bad.push(order.bytes().to_vec());
        let mut own = order.body().clone();
        own.certificate = order.id();
        bad.push(Signed::sign(signer.fleet, &key, own).bytes().to_vec());
        bad.push(envelope(signer.fleet, &seed, 7, Value::from("no order")));
    }
    let real = signer.sign(signer.order(&[a], &argv));
    for at in [0, 1, 9, 40, 100, real.bytes().len() / 2, real.bytes().len() - 1] {
        let mut flipped = real.bytes().to_vec();
        flipped[at] ^= 4;
        bad.push(flipped);
        bad.push(real.bytes()[..at].to_vec());
    }
    bad.push(
        Signed::sign(muster::identity::FleetId(fresh()), &signer.key, real.body().clone()).bytes().to_vec(),
    );
    let cancellation = Cancellation { order: real.id(), at: now(), expires: real.body().expires };
    bad.push(Signed::sign(signer.fleet, &signer.key, cancellation).bytes().to_vec());
    for bytes in &bad {
        mesh.order(bytes);
    }
    let (heard, counters) = mesh.dealt_with();
    assert_eq!(reports(&heard), 0, "{heard:?}");
    let counted = count(&counters, "orders_dropped") + count(&counters, "orders_malformed");
    assert_eq!(counted, bad.len() as u64, "{counters:?}");

    // A certificate of its own making, and a departure in this host's name by another key.
    let forger = SecretKey::<Root>::from_seed(&fresh());
    let update =
        RootUpdate { sequence: 2, parent: Some(signer.certificate), change: RootChange::Unknown { tag: 8 } };
    let update = Cosigned::sign(signer.fleet, &[&forger], update);
    mesh.say(&ToExecutor::Learn {
        entries: vec![Bytes::from(update.bytes()), Bytes::from(&b"no entry"[..])],
    });
    let other = SecretKey::<Stream>::from_seed(&fresh());
    let departure = Signed::sign(signer.fleet, &other, Departure { at: now() });
    mesh.say(&ToExecutor::Leave { departure: Bytes::from(departure.bytes()) });
    // Words about orders that there are not.
    mesh.say(&ToExecutor::Settled { order: EntryId(fresh()) });
    mesh.say(&ToExecutor::Cancel { cancellation: Bytes::from(&b"nothing"[..]) });
    let (heard, counters) = mesh.dealt_with();
    let learned = heard.iter().find_map(|message| match message {
        ToMesh::Learned { entries } => Some(*entries),
        _ => None,
    });
    assert_eq!(learned, Some(0), "{heard:?}");
    assert_eq!(count(&counters, "departures_refused"), 1, "{counters:?}");

    // Signed, and not for this host or not now: refused, once, by signature.
    let misaddressed = signer.sign(signer.order(&[muster::identity::HostId(fresh())], &argv));
    let mut early: Order = signer.order(&[a], &argv);
    (early.issued, early.expires) =
        (now().after(Duration::from_secs(3600)), now().after(Duration::from_secs(7200)));
    let early = signer.sign(early);
    for order in [&misaddressed, &early] {
        mesh.order(order.bytes());
        let record = mesh.report(order.id());
        assert!(matches!(record.outcome, Outcome::Refused { .. }), "{record:?}");
        mesh.order(order.bytes());
        let (heard, _) = mesh.dealt_with();
        assert_eq!(reports(&heard), 0, "refused twice: {heard:?}");
    }

    // A flood, then the true order, which runs once however often it comes.
    let start = Instant::now();
    for _ in 0..20_000 {
        mesh.order(&bad[0][..60]);
    }
    let flood = start.elapsed();
    for _ in 0..50 {
        mesh.order(real.bytes());
    }
    assert!(mesh.report(real.id()).outcome.ok());
    for _ in 0..50 {
        mesh.order(real.bytes());
    }
    let (heard, counters) = mesh.dealt_with();
    assert_eq!(reports(&heard), 0, "{heard:?}");
    assert_eq!(fleet.all_spawns(), [(real.id().to_string(), "a".to_owned())]);
    eprintln!("20,000 bad orders in {flood:.1?}; {counters:?}");
    drop(mesh);

    // What is no message ends the mesh process; the executor starts another and goes on.
    for bytes in [&[0xff; 64][..], &[0, 0, 0, 1, 0x61], &[0, 0, 0, 0]] {
        let mut mesh = TakenOver::of(&fleet, "a").expect("as before");
        mesh.socket.write_all(bytes).expect("the executor listens");
        let old = mesh.mesh;
        fleet.until("the broken mesh process is ended", |_| gone(old));
        drop(mesh);
        fleet.until("another one answers", |fleet| {
            let output = fleet.muster("a", &["status", "-o", "json"]);
            if output.code == 0 && fleet.mesh_pid("a").is_some() { Ok(()) } else { Err(output.stderr) }
        });
    }
    assert_eq!(fleet.executor_pid("a"), executor);
    gone(executor).expect_err("the executor lives");
    let ran = fleet.order("a", &["--all"], &argv).ends(0);
    assert_eq!(fleet.spawns(&ran.job).len(), 1);

    // And the claims hold when everything is killed.
    fleet.kill9("a", Process::Both);
    fleet.start("a");
    let mut mesh = TakenOver::of(&fleet, "a").expect("as before");
    mesh.order(real.bytes());
    let (_, counters) = mesh.dealt_with();
    assert!(count(&counters, "orders_repeated") >= 1, "{counters:?}");
    drop(mesh);
    assert_eq!(fleet.all_spawns().len(), 2);
}

#[test]
fn more_orders_than_can_wait_are_refused_by_signature_and_the_others_run() {
    const ORDERS: usize = 64 + 1024 + 40;
    let fleet = Fleet::found("acme");
    let signer = Signer::of(&fleet);
    let a = host_id(&fleet, "a");
    let Some(mut mesh) = TakenOver::of(&fleet, "a") else {
        return unavailable("a mesh process is taken over", format_args!("its socket cannot be taken"));
    };
    // None of the first ends before all are handed over.
    let gate = fleet.dir().join("gate");
    let fifo = std::process::Command::new("mkfifo").arg(&gate).status().expect("mkfifo");
    assert!(fifo.success());
    let wait = format!("read -r _ < {}", gate.display());
    let mut ids = Vec::new();
    for number in 0..ORDERS {
        let argv = if number < 64 { vec!["sh", "-c", &wait] } else { vec!["true"] };
        let order = signer.sign(signer.order(&[a], &argv));
        mesh.order(order.bytes());
        ids.push(order.id());
    }
    let (heard, counters) = mesh.dealt_with();
    assert_eq!(count(&counters, "orders_over_bound"), 40, "{counters:?}");
    assert_eq!(reports(&heard), 40, "each that finds no place is told so");
    // Opened and closed by one writer, the gate lets all readers go.
    drop(std::fs::File::options().write(true).open(&gate).expect("the gate"));
    let (mut ended, start) = (0, Instant::now());
    while ended < ORDERS - 40 {
        if let ToMesh::Report { .. } = mesh.hears() {
            ended += 1;
        }
        assert!(start.elapsed() < DEADLINE * 3, "{ended} of {ORDERS} ended");
    }
}
