//! An agent under a service manager, which this test plays; and the unit that is printed for a real one.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    fleet::{Fleet, Process},
    support::unavailable,
};

/// A service manager's end.
struct Manager {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        Self { socket, said: Vec::new() }
    }

    /// Takes what has come, and waits a moment for more.
    fn hears(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(read) = self.socket.recv(&mut bytes) {
            self.said.push(String::from_utf8(bytes[..read].to_vec()).expect("text"));
        }
    }

    fn count(&mut self, line: &str) -> usize {
        self.hears();
        self.said.iter().filter(|said| said.lines().any(|said| said == line)).count()
    }
}

fn until(fleet: &Fleet, what: &str, mut true_now: impl FnMut() -> bool) {
    fleet.until(what, |_| if true_now() { Ok(()) } else { Err("not yet".to_owned()) });
}

fn signal(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(process, signal).expect("it can be signalled");
}

fn launch(fleet: &mut Fleet, name: &str, address: &str, watchdog_ms: Option<u64>) {
    let mut command = fleet.command(name);
    command.arg("agent").env("NOTIFY_SOCKET", address);
    if let Some(ms) = watchdog_ms {
        command.env("WATCHDOG_USEC", (ms * 1000).to_string());
    }
    fleet.launch_as(name, command);
}

#[test]
fn an_agent_is_ready_once_it_answers_lives_while_both_processes_do_and_says_that_it_stops() {
    let mut fleet = Fleet::found("acme");
    fleet.stop("a");
    let path = fleet.dir().join("notify");
    let mut manager = Manager::at(&SocketAddr::from_pathname(&path).expect("a path"));
    launch(&mut fleet, "a", path.to_str().expect("text"), Some(400));
    until(&fleet, "ready", || manager.count("READY=1") == 1);
    // Ready means that it answers now.
    fleet.muster("a", &["status"]).ends(0);
    let lives = manager.count("WATCHDOG=1");
    until(&fleet, "it lives", || manager.count("WATCHDOG=1") >= lives + 3);

    // The process that talks to the network hangs: nobody says any more that the agent lives.
    let mesh = fleet.mesh_pid("a").expect("a mesh process");
    signal(mesh, Signal::STOP);
    let mut lives = manager.count("WATCHDOG=1");
    until(&fleet, "silence", || {
        let before = std::mem::replace(&mut lives, manager.count("WATCHDOG=1"));
        // Five times the interval in which it would have spoken.
        std::thread::sleep(Duration::from_millis(500));
        manager.count("WATCHDOG=1") == before
    });
    signal(mesh, Signal::CONT);
    let lives = manager.count("WATCHDOG=1");
    until(&fleet, "it lives again", || manager.count("WATCHDOG=1") > lives);

    // A mesh process that ends is started again, and the agent is not ready twice.
    fleet.kill9("a", Process::Mesh);
    let lives = manager.count("WATCHDOG=1");
    until(&fleet, "the next one lives", || manager.count("WATCHDOG=1") > lives);
    assert_eq!(manager.count("STOPPING=1"), 0, "{:?}", manager.said);
    assert_eq!(fleet.stop("a"), 0);
    assert_eq!((manager.count("STOPPING=1"), manager.count("READY=1")), (1, 1), "{:?}", manager.said);
}

#[test]
fn without_a_watchdog_an_agent_says_no_more_than_it_is_asked_for_and_names_without_a_path_do() {
    let mut fleet = Fleet::found("acme");
    fleet.stop("a");
    let name = format!("muster-test-{}", fleet.dir().display());
    let mut manager = Manager::at(&SocketAddr::from_abstract_name(&name).expect("a name"));
    launch(&mut fleet, "a", &format!("@{name}"), None);
    until(&fleet, "ready", || manager.count("READY=1") == 1);
    fleet.muster("a", &["status"]).ends(0);
    assert_eq!(manager.count("WATCHDOG=1"), 0);
    // What orders run does not learn where the manager listens.
    let ran = fleet.order("a", &["--all"], &["env"]).ends(0);
    let shown = fleet.muster("a", &["job", "output", &ran.job, "a"]).ends(0).text();
    assert!(!shown.contains("NOTIFY") && shown.contains("MUSTER_JOB"), "{shown}");
    assert_eq!(fleet.stop("a"), 0);
    assert_eq!(manager.count("STOPPING=1"), 1);
}

#[test]
fn the_printed_unit_is_one_that_systemd_takes() {
    let fleet = Fleet::found("acme");
    let text = fleet.muster("a", &["agent", "--print-unit"]).ends(0).text();
    for line in ["Type=notify", "Delegate=memory pids", "KillMode=mixed", "WatchdogSec=60"] {
        assert!(text.lines().any(|said| said == line), "{line} is not in {text}");
    }
    let unit = fleet.dir().join("muster.service");
    std::fs::write(&unit, &text).expect("the unit");
    let analyze = |words: &[&str]| Command::new("systemd-analyze").args(words).arg(&unit).output();
    let verified = match analyze(&["verify", "--man=no"]) {
        Ok(verified) => verified,
        Err(error) => return unavailable("the unit is verified by systemd", format_args!("{error}")),
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains("muster.service:"), "{said}");
    let security = analyze(&["security", "--offline=true", "--no-pager"]).expect("it ran a moment ago");
    let said = String::from_utf8_lossy(&security.stdout).into_owned();
    // Shown, and no more: what the unit forbids it forbids to every command too.
    let overall = said.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
    eprintln!("{overall}");
    assert!(overall.contains("muster.service"), "{said}");
}
