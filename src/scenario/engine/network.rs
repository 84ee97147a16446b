//! Where the machines of a scenario are, each in a network of its own where there can be, and the proxy process
//! between them.
//!
//! A network of its own is a namespace with nothing but a loopback: the kernel has no way from one machine to
//! another, and the proxy's sockets are in all of them. Root makes them directly; another user in a user namespace,
//! in which the proxy has the rights that it takes and nobody else has any.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use rustix::process::Pid;

use super::super::{
    Trouble,
    file::{Groups, Scenario, Slow},
    links::{Done, Door, Link, Links, Tell},
};

/// Where each host listens, at an address of its own.
const PORT: u16 = 7946;
/// Where the others dial it.
const OUTSIDE: u16 = 7947;
/// Makes a user namespace for who is not root, in which one is who one was; and a network of it, to return to: the
/// one that all others are in belongs to another.
const AS_OWNER: [&str; 5] = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net"];
/// How long the proxy may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The proxy at work, and what it was told.
pub(super) struct Network {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    doors: Vec<Door>,
    /// What a command line begins with that is run at a machine.
    through: BTreeMap<String, Vec<String>>,
    closed: Links,
    links: Links,
}

impl Network {
    /// Starts the proxy, with networks of their own for all machines if they are to be `apart`. What it says goes to
    /// a file in `dir`.
    pub(super) fn start(
        scenario: &Scenario,
        program: &Path,
        dir: &Path,
        apart: bool,
    ) -> Result<Self, Trouble> {
        let mut drawn = [0; 2];
        getrandom::fill(&mut drawn)
            .map_err(|error| Trouble::new(format!("no randomness from the system: {error}")))?;
        // Loopback is 127.0.0.0/8: a part of it that no other run has, in all likelihood.
        let [middle, low] = drawn;
        let at =
            |last: u8, port| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 64 | middle, low, last)), port);
        let hosts = scenario.hosts.iter().map(|host| (&host.name, host.listens));
        let operators = scenario.operators.iter().map(|name| (name, false));
        let door = |(number, (name, listens)): (u8, (&String, bool))| Door {
            host: name.clone(),
            at: at(number, OUTSIDE),
            to: listens.then(|| at(number, PORT)),
        };
        let doors: Vec<Door> = (1..u8::MAX).zip(hosts.chain(operators)).map(door).collect();
        let log = fs::File::create(dir.join("proxy.log")).map_err(|error| failed(&error))?;
        let root = rustix::process::geteuid().is_root();
        let owner = if apart && !root { &AS_OWNER[..] } else { &[] };
        let mut words = owner.iter().map(Path::new).chain([program]);
        let mut child = Command::new(words.next().unwrap_or(program))
            .args(words)
            .args(["scenario", "proxy"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&error))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Trouble::new("the proxy has no standard input or output"));
        };
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut closed = Links::new();
        for from in &scenario.hosts {
            for to in &scenario.hosts {
                if from.name != to.name && to.listens && !scenario.reaches(&from.name, &to.name) {
                    let link = Link { cut: true, silent: true, ..Link::default() };
                    closed.entry(from.name.clone()).or_default().insert(to.name.clone(), link);
                }
            }
        }
        let through = BTreeMap::new();
        let mut network = Self { child, input, answers, doors, through, links: closed.clone(), closed };
        let Done { networks } = network.tell(&Tell::Doors { doors: network.doors.clone(), apart })?;
        let owner = (!root).then(|| {
            let user = format!("--user=/proc/{}/ns/user", network.child.id());
            [user, "--preserve-credentials".to_owned()]
        });
        let enter = |network: PathBuf| {
            let enter = ["nsenter".to_owned(), format!("--net={}", network.display())];
            enter.into_iter().chain(owner.iter().flatten().cloned()).chain(["--".to_owned()]).collect()
        };
        let names = network.doors.iter().map(|door| door.host.clone());
        network.through = names.zip(networks.into_iter().map(enter)).collect();
        network.tell(&Tell::Links(network.links.clone()))?;
        Ok(network)
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What a command line begins with that is run at a machine: nothing where all are in one network.
    pub(super) fn through(&self, name: &str) -> &[String] {
        self.through.get(name).map_or(&[], Vec::as_slice)
    }

    /// Where a host listens and what it tells the others; none for one that only dials out.
    pub(super) fn addresses(&self, host: &str) -> Option<(SocketAddr, SocketAddr)> {
        let door = self.doors.iter().find(|door| door.host == host)?;
        Some((door.to?, door.at))
    }

    /// Cuts links.
    pub(super) fn cut(&mut self, groups: &Groups, silent: bool) -> Result<(), Trouble> {
        self.change(groups, |link| Link { cut: true, silent, ..link })
    }

    /// Slows links.
    pub(super) fn slow(&mut self, groups: &Groups, slow: Slow) -> Result<(), Trouble> {
        let delay_ms = u64::try_from(slow.delay.as_millis()).unwrap_or(u64::MAX);
        self.change(groups, |link| Link { delay_ms, rate: slow.rate, loss: slow.loss, ..link })
    }

    /// Makes these links, or all, what they were at first.
    pub(super) fn heal(&mut self, groups: Option<&Groups>) -> Result<(), Trouble> {
        let Some(groups) = groups else {
            self.links = self.closed.clone();
            return self.tell(&Tell::Links(self.links.clone())).map(drop);
        };
        self.change(groups, |_| Link::default())
    }

    fn change(&mut self, groups: &Groups, to: impl Fn(Link) -> Link) -> Result<(), Trouble> {
        for (at, group) in groups.iter().enumerate() {
            let others =
                groups.iter().enumerate().filter(|(other, _)| *other != at).flat_map(|(_, names)| names);
            for (from, to_host) in others.flat_map(|other| group.iter().map(move |one| (one, other))) {
                // What never was stays as it is.
                if self.closed.get(from).is_some_and(|links| links.contains_key(to_host)) {
                    continue;
                }
                let link = self.links.entry(from.clone()).or_default().entry(to_host.clone()).or_default();
                *link = to(*link);
            }
        }
        self.tell(&Tell::Links(self.links.clone())).map(drop)
    }

    fn tell(&mut self, what: &Tell) -> Result<Done, Trouble> {
        let mut line = serde_json::to_vec(what).map_err(|error| failed(&error))?;
        line.push(b'\n');
        self.input.write_all(&line).map_err(|error| failed(&error))?;
        match self.answers.recv_timeout(ANSWER_WITHIN) {
            Ok(answer) => serde_json::from_str(&answer).map_err(|error| failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _collected = self.child.wait();
    }
}

fn failed(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(format!("the proxy between the hosts failed: {error}"))
}

/// Whether each machine can have a network of its own here; what is missing if not.
pub(super) fn can_be_apart() -> Result<(), String> {
    let root = rustix::process::geteuid().is_root();
    let make = ["unshare", "--net", "ip", "link", "set", "lo", "up"];
    let words = if root { &[][..] } else { &AS_OWNER[..] };
    let mut words = words.iter().chain(&make).copied();
    let tried = Command::new(words.next().unwrap_or("unshare")).args(words).stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("no network namespaces: {}", said.split_whitespace().collect::<Vec<_>>().join(" ")))
        }
        Err(error) => Err(format!("no network namespaces: unshare: {error}")),
    }
}
