//! Two networks that this program's own network joins as a router, to be cut and healed.
//!
//! While they are cut, what is sent from one to the other vanishes: interfaces stay up, nothing is reset and
//! nothing comes back. A process holds each network and ends with this program, and the network with it.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

pub(crate) struct Rooms([Child; 2]);

impl Rooms {
    /// Makes them, with an address for each of `hosts` hosts in both, if this program has a network of its own.
    pub(crate) fn open(hosts: usize) -> Option<Self> {
        std::env::var_os(crate::world::INSIDE)?;
        let rooms = Self([hold(), hold()]);
        for room in 0..2 {
            rooms.furnish(room, hosts);
        }
        Self::heal();
        Some(rooms)
    }

    /// The address of a host in a room.
    pub(crate) fn address(room: usize, number: usize) -> Ipv4Addr {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        Ipv4Addr::new(10, 70 + u8::try_from(room).unwrap(), high, low)
    }

    /// A program that runs in a room.
    pub(crate) fn enter(&self, room: usize, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0[room].id())).arg(program);
        command
    }

    pub(crate) fn cut() {
        fs::write(FORWARD, "0").unwrap();
    }

    pub(crate) fn heal() {
        fs::write(FORWARD, "1").unwrap();
    }

    /// Bytes that went into both rooms from outside so far.
    pub(crate) fn crossed(&self) -> u64 {
        (0..2).map(|room| counter(self.0[room].id(), "r0", 0)).sum()
    }

    fn furnish(&self, room: usize, hosts: usize) {
        let (pid, net) = (self.0[room].id(), 70 + room);
        let outside = format!(
            "ip link add m{room} type veth peer name r0 netns {pid} && ip addr add 10.8{room}.0.1/24 dev m{room} \
             && ip link set m{room} up"
        );
        shell(Command::new("sh"), &outside);
        let mut inside = format!(
            "ip link set lo up && ip addr add 10.8{room}.0.2/24 dev r0 && ip link set r0 up \
             && ip route add default via 10.8{room}.0.1"
        );
        for number in 1..=hosts {
            inside.push_str(&format!(" && ip addr add {}/32 dev lo", Self::address(room, number)));
        }
        shell(self.enter(room, Path::new("sh")), &inside);
        shell(Command::new("sh"), &format!("ip route add 10.{net}.0.0/16 via 10.8{room}.0.2"));
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        for holder in &mut self.0 {
            let _ = holder.kill();
            let _ = holder.wait();
        }
        // Else they would go some time after the networks that they lead to.
        for room in 0..2 {
            let _ = Command::new("ip").args(["link", "del", &format!("m{room}")]).output();
        }
    }
}

/// A process in a network of its own that ends when its input does.
fn hold() -> Child {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let holder = Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    while fs::read_link(format!("/proc/{}/ns/net", holder.id())).unwrap() == own {
        sleep(Duration::from_millis(5));
    }
    holder
}

fn shell(mut shell: Command, script: &str) {
    let output = shell.args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A column of an interface's line in the network of a process.
fn counter(pid: u32, interface: &str, column: usize) -> u64 {
    let counters = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let line = counters.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().nth(column)?.parse().ok()).unwrap_or(0)
}
