//! A mesh process that was taken over, and what is around the executor.

use std::{fs, io::Write};

use super::harness::{Host, alive, until};
use crate::{
    executor::message::{MESSAGE_BYTES_MAX, ToExecutor, ToMesh},
    replica::{Handed, Outcome},
    wire::{self, Bytes},
};

const OK: Outcome = Outcome::Exited { code: 0 };

#[test]
fn a_mesh_process_that_says_what_cannot_be_read_is_replaced() {
    let host = Host::new();
    let (agent, mut mesh) = host.start();
    let first = host.order("exit 0", |_| {});
    assert_eq!(mesh.outcome(&first), OK);
    let frame = |body: &[u8]| wire::frame(body, MESSAGE_BYTES_MAX).unwrap();
    for garbage in [frame(b"no message"), u32::MAX.to_be_bytes().to_vec(), frame(&[]), frame(&[0xff; 64])] {
        let pid = agent.mesh_pid();
        mesh.stream.write_all(&garbage).unwrap();
        assert!(std::iter::from_fn(|| mesh.next()).all(|message| !matches!(message, ToMesh::Erased {})));
        until("the old one to be ended", || !alive(pid));
        mesh = host.mesh();
    }
    // It is told all over again, and the agent works.
    let (id, outcome) = mesh.result();
    assert_eq!((id, outcome), (first.id(), OK));
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
    assert_eq!(mesh.counter("mesh_starts"), 5);
}

#[test]
fn a_mesh_process_that_dies_at_once_is_started_again_and_not_in_a_hurry() {
    let host = Host::new();
    let _agent = host.start_alone();
    #[expect(clippy::disallowed_methods, reason = "how long it took is what is looked at")]
    let start = std::time::Instant::now();
    for _ in 0..5 {
        drop(host.mesh_before_it_is_ready());
    }
    let mut mesh = host.mesh();
    // 100 ms, doubled each time.
    assert!(start.elapsed() >= std::time::Duration::from_millis(100 + 200 + 400 + 800 + 1600));
    assert_eq!(mesh.counter("mesh_starts"), 6);
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), OK);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_a_mesh_process_from_being_started_again() {
    let host = Host::new();
    let (_agent, mesh) = host.start();
    host.set_clock(crate::time::Timestamp(1000));
    drop(mesh);
    let mut mesh = host.mesh();
    let why = mesh.refusal(&host.order("exit 0", |_| {}));
    assert!(why.contains("in the future"), "{why}");
}

#[test]
fn a_flood_neither_starts_anything_nor_fills_the_memory() {
    let host = Host::new();
    let (agent, mut mesh) = host.start();
    let order = host.order("exit 0", |_| {});
    let mut forged = order.bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    // The executor answers each of these, and nobody reads.
    let count = wire::frame(&wire::encode(&ToExecutor::Count {}), MESSAGE_BYTES_MAX).unwrap();
    let forged = wire::encode(&ToExecutor::Order { order: Handed::bare(&forged) });
    let junk = wire::encode(&ToExecutor::Learn { entries: vec![Bytes(vec![0x80; 100]); 4000] });
    for _ in 0..200 {
        mesh.stream.write_all(&wire::frame(&forged, MESSAGE_BYTES_MAX).unwrap()).unwrap();
    }
    for _ in 0..20 {
        mesh.stream.write_all(&wire::frame(&junk, MESSAGE_BYTES_MAX).unwrap()).unwrap();
    }
    let pid = agent.mesh_pid();
    mesh.stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let mut sent = 0_u64;
    while sent < 3_000_000 {
        // Once its own pipe is full, the mesh process reads no more either, or is ended.
        let Ok(()) = mesh.stream.write_all(&count.repeat(1000)) else { break };
        sent += 1000;
    }
    assert!(resident_kib(agent.pid()) < 160 * 1024, "{} KiB", resident_kib(agent.pid()));
    drop(mesh);
    until("it to be replaced", || !alive(pid));
    let mut mesh = host.mesh();
    assert_eq!(mesh.outcome(&order), OK);
    assert_eq!(host.runs(), 1);
    assert!(host.log().lines().count() < 200, "a flood of messages is no flood of log lines");
}

fn resident_kib(pid: rustix::process::Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn many_results_that_nobody_has_are_told_to_a_mesh_process_that_reads_slowly() {
    let host = Host::new();
    let (agent, mut mesh) = host.start();
    // Each report carries 4000 bytes of output: together they are more than what may wait at once.
    let orders: Vec<_> = (0..200).map(|_| host.order("printf %04000d 0", |_| {})).collect();
    for order in &orders {
        assert_eq!(mesh.outcome(order), OK);
    }
    agent.kill();
    let (_agent, mut mesh) = host.start();
    let mut told: Vec<_> = (0..200).map(|_| mesh.report().order).collect();
    let mut ids: Vec<_> = orders.iter().map(crate::identity::Signed::id).collect();
    told.sort();
    ids.sort();
    assert_eq!(told, ids);
    assert_eq!(mesh.counter("mesh_starts"), 1);
}

#[test]
fn a_mesh_process_inherits_its_end_of_the_pair_and_nothing_else() {
    let host = Host::new();
    let (agent, _mesh) = host.start();
    let about = format!("/proc/{}", agent.mesh_pid().as_raw_pid());
    let environ = String::from_utf8(fs::read(format!("{about}/environ")).unwrap()).unwrap();
    let names: Vec<&str> = environ.split('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    assert!(names.iter().all(|name| ["MALLOC_ARENA_MAX", "MUSTER_LOG"].contains(name)), "{names:?}");
    assert_eq!(fs::read_link(format!("{about}/cwd")).unwrap().to_str(), Some("/"));
    // What the mesh process of these tests opened itself are sockets, of which it has four at most.
    for entry in fs::read_dir(format!("{about}/fd")).unwrap() {
        let entry = entry.unwrap();
        let target = fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned();
        let expected = match entry.file_name().to_str().unwrap() {
            "1" => target == "/dev/null",
            "2" => target.ends_with("/log"),
            _ => target.starts_with("socket:"),
        };
        assert!(expected, "{:?} is {target}", entry.file_name());
    }
}

#[test]
fn a_command_has_three_descriptors_and_no_variable_of_the_agents() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let looks =
        "ls /proc/self/fd | tr '\\n' ' '; env | grep -c -e LEAKED -e MUSTER_TEST; cat /proc/1/nothing; true";
    mesh.order(&host.order(looks, |_| {}));
    let said = String::from_utf8(mesh.report().stdout.unwrap().0).unwrap();
    // The fourth is the directory that `ls` reads.
    assert_eq!(said, "0 1 2 3 0\n");
}

#[test]
fn other_processes_of_the_same_user_cannot_read_the_executors_memory() {
    let host = Host::new();
    let (agent, _mesh) = host.start();
    let about = format!("/proc/{}/environ", agent.pid().as_raw_pid());
    if rustix::process::geteuid().is_root() {
        // Root may; what it looks at belongs to root and to nobody else all the same.
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(fs::metadata(about).unwrap().uid(), 0);
    } else {
        assert!(fs::read(about).is_err());
    }
}
