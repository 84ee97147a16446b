//! Hosts on one network, with namespaces of their own: what the loopback cannot show.

use std::{
    fs,
    process::{Command, Output},
};

use crate::{
    fleet::{Fleet, Reach},
    support::unavailable,
};

/// Two network namespaces with a wire between them; gone when dropped.
struct Wire([String; 2]);

impl Wire {
    /// Nothing if this machine does not let us.
    fn lay(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            unavailable(test, format_args!("not root"));
            return None;
        }
        let number = std::process::id();
        let wire = Self([format!("muster-{number}-a"), format!("muster-{number}-b")]);
        let [a, b] = &wire.0;
        let (left, right) = (format!("ma{number}"), format!("mb{number}"));
        let steps: [&[&str]; 10] = [
            &["netns", "add", a],
            &["netns", "add", b],
            &["link", "add", &left, "netns", a, "type", "veth", "peer", "name", &right, "netns", b],
            &["-n", a, "addr", "add", "10.99.0.1/24", "dev", &left],
            &["-n", b, "addr", "add", "10.99.0.2/24", "dev", &right],
            &["-n", a, "link", "set", "lo", "up"],
            &["-n", b, "link", "set", "lo", "up"],
            &["-n", a, "link", "set", &left, "up"],
            &["-n", b, "link", "set", &right, "up"],
            &["-n", a, "route", "show"],
        ];
        for step in steps {
            match ip(step) {
                Ok(output) if output.status.success() => {}
                Ok(output) => {
                    let why = String::from_utf8_lossy(&output.stderr).into_owned();
                    unavailable(test, format_args!("ip {}: {why}", step.join(" ")));
                    return None;
                }
                Err(error) => {
                    unavailable(test, format_args!("no ip: {error}"));
                    return None;
                }
            }
        }
        Some(wire)
    }

    /// The agent of a host, at one end.
    fn agent(&self, fleet: &Fleet, end: usize, host: &str) -> Command {
        let inner = fleet.command(host);
        let mut command = Command::new("ip");
        command.env_clear().current_dir(fleet.dir());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["netns", "exec", &self.0[end]]);
        command.arg(inner.get_program()).args(inner.get_args()).arg("agent");
        command
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.0 {
            let _gone = ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> std::io::Result<Output> {
    Command::new("ip").args(args).output()
}

#[test]
fn members_on_one_network_find_each_other_without_a_known_address() {
    let test = "members_on_one_network_find_each_other_without_a_known_address";
    let Some(wire) = Wire::lay(test) else { return };
    let mut fleet = Fleet::found("acme");
    fleet.join("b", &[], Reach::DialsOut);
    // What b knows of a is an address of the loopback, which leads nowhere from where b is next.
    fleet.stop("b");
    fleet.stop("a");
    fleet.set_listen("a", "10.99.0.1:7946");
    for host in ["a", "b"] {
        let path = fleet.state(host).join("agent.toml");
        let settings = fs::read_to_string(&path).expect("agent.toml");
        assert!(settings.contains("lan = false"), "{settings}");
        fs::write(&path, settings.replace("lan = false", "lan = true")).expect("agent.toml");
    }
    let (a, b) = (wire.agent(&fleet, 0, "a"), wire.agent(&fleet, 1, "b"));
    fleet.launch_as("a", a);
    fleet.launch_as("b", b);
    for host in ["a", "b"] {
        fleet.until("the agents answer", |fleet| {
            let output = fleet.muster(host, &["status"]);
            if output.code == 0 { Ok(()) } else { Err(format!("{output:?}")) }
        });
    }
    fleet.until("b has found a by mDNS", |fleet| {
        let links = fleet.links("b");
        if links.contains("a") { Ok(()) } else { Err(format!("{links:?}")) }
    });
    let ran = fleet.order("a", &["--all"], &fleet.counted(&[])).ends(0);
    assert_eq!((ran.status("a"), ran.status("b")), ("ok".to_owned(), "ok".to_owned()));
    drop(fleet);
}
