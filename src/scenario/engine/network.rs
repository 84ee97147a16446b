//! Where the hosts of a scenario are, and the proxy process between them.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use rustix::process::Pid;

use super::super::{
    Trouble,
    file::{Groups, Scenario, Slow},
    links::{Door, Link, Links, Tell},
};

/// Where each host listens, at an address of its own.
const PORT: u16 = 7946;
/// What is added to the last byte of a host's address for the one that the others know.
const OUTSIDE: u8 = 128;
/// How long the proxy may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The proxy at work, and what it was told.
pub(super) struct Network {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    doors: Vec<Door>,
    closed: Links,
    links: Links,
}

impl Network {
    /// Starts the proxy. `dir` is where the hosts' directories are.
    pub(super) fn start(scenario: &Scenario, program: &Path, dir: &Path) -> Result<Self, Trouble> {
        let mut drawn = [0; 2];
        getrandom::fill(&mut drawn)
            .map_err(|error| Trouble::new(format!("no randomness from the system: {error}")))?;
        // Loopback is 127.0.0.0/8: a part of it that no other run has, in all likelihood.
        let [middle, low] = drawn;
        let address =
            |last: u8| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 64 | middle, low, last)), PORT);
        let door = |(number, host): (u8, &super::super::file::HostPlan)| Door {
            host: host.name.clone(),
            at: address(number | OUTSIDE),
            to: host.listens.then(|| address(number)),
            user_of: dir.join(&host.name).join("mesh"),
        };
        let doors: Vec<Door> = (1..OUTSIDE).zip(&scenario.hosts).map(door).collect();
        let log = fs::File::create(dir.join("proxy.log")).map_err(|error| failed(&error))?;
        let mut child = Command::new(program)
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
        let mut network = Self { child, input, answers, doors, links: closed.clone(), closed };
        network.tell(&Tell::Doors(network.doors.clone()))?;
        network.tell(&Tell::Links(network.links.clone()))?;
        Ok(network)
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
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
            return self.tell(&Tell::Links(self.links.clone()));
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
        self.tell(&Tell::Links(self.links.clone()))
    }

    fn tell(&mut self, what: &Tell) -> Result<(), Trouble> {
        let mut line = serde_json::to_vec(what).map_err(|error| failed(&error))?;
        line.push(b'\n');
        self.input.write_all(&line).map_err(|error| failed(&error))?;
        match self.answers.recv_timeout(ANSWER_WITHIN) {
            Ok(answer) if answer == "ok" => Ok(()),
            Ok(answer) => Err(failed(&answer)),
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

/// Whether who dials can be told here: under root, and where mesh processes are not all one user.
pub(super) fn can_tell_links_apart() -> Result<(), &'static str> {
    if !rustix::process::geteuid().is_root() {
        return Err("all agents are one user, unless root starts them");
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if users.lines().any(|line| line.starts_with("muster:")) {
        return Err("all mesh processes are the user muster");
    }
    Ok(())
}

/// The users of the hosts' mesh processes, to be sure that no two are one.
pub(super) fn users(dirs: &[std::path::PathBuf]) -> BTreeMap<u32, usize> {
    let mut users = BTreeMap::new();
    for dir in dirs {
        if let Ok(about) = fs::metadata(dir) {
            *users.entry(about.uid()).or_default() += 1;
        }
    }
    users
}
