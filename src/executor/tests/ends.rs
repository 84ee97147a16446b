//! How things end: supervisors, the agent, membership; and what it takes to start.

use std::fs;

use rustix::process::{Pid, Signal};

use super::harness::{FAILED, Host, LEFT, alive, until};
use crate::{
    authority::{Departure, sample::NOW},
    executor::message::{ToExecutor, ToMesh},
    identity::{FleetId, Signed},
    replica::Outcome,
    wire::Bytes,
};

/// The pids that commands wrote to a file.
fn pids(host: &Host, name: &str) -> Vec<Pid> {
    let text = fs::read_to_string(host.path(name)).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()
}

fn sleeper(host: &Host) -> String {
    let pids = host.path("pids").display().to_string();
    format!("echo $$ >> {pids}; sh -c 'echo $$ >> {pids}; exec sleep 1000' & wait")
}

#[test]
fn a_supervisor_that_is_killed_leaves_an_indeterminate_order_and_no_process() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    let order =
        host.order(&format!("echo $PPID > {}; {}", host.path("parent").display(), sleeper(&host)), |_| {});
    mesh.order(&order);
    until("two processes", || pids(&host, "pids").len() == 2);
    let supervisor = pids(&host, "parent")[0];
    rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
    let (id, outcome) = mesh.result();
    assert!(id == order.id() && matches!(&outcome, Outcome::Indeterminate { .. }), "{outcome:?}");
    until("the processes to end", || !pids(&host, "pids").into_iter().any(alive));
    // The agent goes on.
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), Outcome::Exited { code: 0 });
}

#[test]
fn a_supervisor_that_is_told_to_end_does_not_pass_for_a_cancelled_order() {
    let host = Host::new();
    let (_agent, mut mesh) = host.start();
    mesh.order(&host.order("kill -TERM $PPID; exec sleep 1000", |_| {}));
    let (_, outcome) = mesh.result();
    assert!(matches!(&outcome, Outcome::Indeterminate { why } if why.contains("told to end")), "{outcome:?}");
}

#[test]
fn an_agent_that_is_stopped_ends_its_commands_and_says_so() {
    let host = Host::new();
    let (mut agent, mut mesh) = host.start();
    let orders: Vec<_> = (0..10).map(|_| host.order(&sleeper(&host), |_| {})).collect();
    for order in &orders {
        mesh.order(order);
    }
    until("all to run", || pids(&host, "pids").len() == 20);
    agent.signal(Signal::TERM);
    let mut said = Vec::new();
    while said.len() < 10 {
        let (id, outcome) = mesh.result();
        assert!(matches!(&outcome, Outcome::Indeterminate { why } if why.contains("stopped")), "{outcome:?}");
        mesh.settle(id);
        said.push(id);
    }
    assert!(agent.wait().success());
    assert!(orders.iter().all(|order| said.contains(&order.id())));
    assert!(!pids(&host, "pids").into_iter().any(alive));
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.counter("mesh_starts"), 1, "nothing is left to be offered");
}

#[test]
fn an_agent_that_is_killed_takes_its_commands_and_its_mesh_process_along() {
    let host = Host::new();
    let (agent, mut mesh) = host.start();
    mesh.order(&host.order(&sleeper(&host), |_| {}));
    until("the command to run", || pids(&host, "pids").len() == 2);
    let mesh_pid = agent.mesh_pid();
    agent.kill();
    until("all to end", || !alive(mesh_pid) && !pids(&host, "pids").into_iter().any(alive));
}

#[test]
fn only_the_hosts_own_departure_erases_it() {
    let host = Host::new();
    let (mut agent, mut mesh) = host.start();
    let member = host.path("state/member");
    let leave = |signed: &Signed<Departure>| ToExecutor::Leave { departure: Bytes::from(signed.bytes()) };
    mesh.send(&leave(&host.fleet.departure(5, NOW)));
    mesh.send(&ToExecutor::Leave { departure: Bytes(b"junk".to_vec()) });
    mesh.send(&leave(&Signed::sign(FleetId([9; 32]), &host.stream, Departure { at: NOW })));
    assert_eq!(mesh.counter("departures_refused"), 3);
    assert!(member.exists());
    // Its own, while a command runs.
    mesh.order(&host.order(&sleeper(&host), |_| {}));
    until("the command to run", || pids(&host, "pids").len() == 2);
    mesh.send(&leave(&Signed::sign(host.fleet.id(), &host.stream, Departure { at: NOW })));
    loop {
        match mesh.next() {
            Some(ToMesh::Erased {}) => break,
            Some(_) => {}
            None => panic!("ended without a word"),
        }
    }
    assert!(!member.exists() && !host.path("state/executor").exists() && !host.path("state/mesh").exists());
    drop(mesh);
    assert_eq!(agent.wait().code(), Some(LEFT));
    until("the command to end", || !pids(&host, "pids").into_iter().any(alive));
    assert!(!host.path("control.sock").exists());
}

#[test]
fn what_an_agent_cannot_start_with_is_named() {
    let host = Host::new();
    let damage = |name: &str, bytes: &[u8], word: &str| {
        let path = host.path("state").join(name);
        let before = fs::read(&path).ok();
        let log = host.log().len();
        fs::write(&path, bytes).unwrap();
        assert_eq!(host.start_alone().wait().code(), Some(FAILED), "{name}");
        let said = host.log()[log..].to_owned();
        assert!(said.contains(word) && said.contains(host.path("state").to_str().unwrap()), "{said}");
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    };
    damage("executor/trust", b"no trust", "is damaged");
    damage("executor/claims", b"no claims", "journal");
    damage("member", b"no member", "is damaged");
    damage("format", b"muster state 2\n", "newer muster");
    let other = Host::with(|_| {}, 2);
    let key = fs::read(other.path("state/mesh/stream.key")).unwrap();
    damage("executor/executor.key", &key, "is not a muster executor key");
    let key = String::from_utf8(key).unwrap().replace("stream", "executor");
    damage("executor/executor.key", key.as_bytes(), "certificate names");
    // All is as it was.
    let (_agent, mut mesh) = host.start();
    assert_eq!(mesh.outcome(&host.order("exit 0", |_| {})), Outcome::Exited { code: 0 });
    let log = host.log().len();
    assert_eq!(host.start_alone().wait().code(), Some(FAILED));
    assert!(host.log()[log..].contains("another agent is running"));
}
