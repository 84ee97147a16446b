//! The hosts of a scenario: made members, started, ended in every way, and gone at the end.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        Trouble,
        agent::{Agent, LOOK_EVERY},
        expect::{self, Said},
        file::{Clock, HostPlan, Scenario},
        words::Values,
    },
    clock::Clocks,
    commands::{Begun, Desk, read},
    disk::Disk,
    network::{self, Network},
};
use crate::{
    executor::supervisor::{adopts_orphans, end_orphans},
    node::Settings,
};

/// The fleet's name.
pub(super) const FLEET: &str = "acme";
/// How long an agent, or a command line that a step needs, may take on a slow machine.
pub(super) const STEP_WITHIN: Duration = Duration::from_secs(120);
/// How long agents get to end by themselves.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long killed processes may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// What a host is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No member yet.
    Absent,
    /// Its agent runs.
    Up,
    /// It does not.
    Down,
    /// It is stopped where it was.
    Frozen,
    /// It is a member no more.
    Left,
}

/// A host: its processes and what it is.
pub(super) struct Host {
    pub(super) agent: Agent,
    pub(super) state: State,
    pub(super) disk: Option<Disk>,
}

/// All that a scenario is played on.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) desk: Desk,
    pub(super) network: Network,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) values: Values,
    pub(super) begun: BTreeMap<String, Begun>,
    /// How often each check that always holds was made.
    pub(super) held: Vec<u64>,
    pub(super) looked: Instant,
}

impl<'a> World<'a> {
    /// Makes the directories and starts the proxy. `dir` is empty and others may pass through it.
    pub(super) fn new(scenario: &'a Scenario, program: &Path, dir: &Path) -> Result<Self, Trouble> {
        let apart = network::can_be_apart();
        if let Some(what) = scenario.tells_links_apart()
            && let Err(why) = &apart
        {
            return Err(Trouble::unavailable(format!("{what} need hosts in networks of their own: {why}")));
        }
        adopts_orphans().map_err(|error| Trouble::new(format!("cannot adopt orphans: {error}")))?;
        let made = || -> io::Result<()> {
            for folder in ["commands", "home", "dpkg"] {
                fs::create_dir(dir.join(folder))?;
            }
            // Read by the mesh processes, which under root are other users.
            fs::set_permissions(dir.join("dpkg"), Permissions::from_mode(0o755))?;
            for operator in &scenario.operators {
                fs::create_dir(dir.join(operator))?;
            }
            fs::write(dir.join("spawns"), "")?;
            fs::set_permissions(dir.join("spawns"), Permissions::from_mode(0o666))?;
            fs::write(dir.join("counted"), counting(&dir.join("spawns")))?;
            fs::set_permissions(dir.join("counted"), Permissions::from_mode(0o755))
        };
        made().map_err(|error| Trouble::new(format!("cannot write in {}: {error}", dir.display())))?;
        let outside = scenario.operators.clone();
        let network = Network::start(scenario, program, dir, apart.is_ok())?;
        let clocks = if scenario.has_wrong_clocks() { Clocks::find(dir)? } else { Clocks::default() };
        let machines = scenario.hosts.iter().map(|host| &host.name).chain(&outside);
        let through = machines.map(|name| (name.clone(), network.through(name).to_vec())).collect();
        let (program, dir_of) = (program.to_owned(), dir.to_owned());
        let desk = Desk { program, dir: dir_of, outside, through, clocks, count: 0 };
        let host = |plan: &HostPlan| {
            let agent = Agent::new(&plan.name, dir, &desk.operators());
            (plan.name.clone(), Host { agent, state: State::Absent, disk: None })
        };
        let values = Values::from([
            ("dir".to_owned(), dir.display().to_string()),
            ("counted".to_owned(), dir.join("counted").display().to_string()),
        ]);
        Ok(Self {
            scenario,
            network,
            hosts: scenario.hosts.iter().map(host).collect(),
            values,
            begun: BTreeMap::new(),
            held: vec![0; scenario.always.len()],
            looked: Instant::now(),
            desk,
        })
    }

    /// The hosts in a state, in the file's order.
    pub(super) fn in_state(&self, state: State) -> Vec<String> {
        let names = self.scenario.hosts.iter().map(|host| host.name.clone());
        names.filter(|name| self.state(name) == state).collect()
    }

    /// What a host is.
    pub(super) fn state(&self, host: &str) -> State {
        self.hosts.get(host).map_or(State::Absent, |host| host.state)
    }

    /// A host, if it is in this state.
    pub(super) fn host(&mut self, name: &str, state: State) -> Result<&mut Host, Trouble> {
        let Some(host) = self.hosts.get_mut(name) else {
            return Err(Trouble::usage(format!("there is no host {name}")));
        };
        if host.state != state {
            return Err(Trouble::usage(format!("{name} is {:?} and not {state:?} at this step", host.state)));
        }
        Ok(host)
    }

    /// Makes a host a member and starts it.
    pub(super) async fn enrol(&mut self, name: &str, via: Option<&str>) -> Result<(), Trouble> {
        self.host(name, State::Absent)?;
        let Some(plan) = self.scenario.host(name) else { return Ok(()) };
        if let Some(mib) = plan.disk_mib {
            let disk = Disk::mount(&self.desk.dir.join(name), mib)?;
            self.host(name, State::Absent)?.disk = Some(disk);
        }
        self.write_settings(plan)?;
        let labels = plan.tags.iter().flat_map(|tag| ["-l".to_owned(), tag.clone()]);
        let member = match via {
            Some(via) => Some(via.to_owned()),
            None => self.in_state(State::Up).into_iter().find(|member| self.scenario.reaches(name, member)),
        };
        let mut words: Vec<String>;
        if let Some(member) = member {
            let invite: Vec<String> = ["-q", "invite"].map(str::to_owned).into_iter().chain(labels).collect();
            let said = self.succeeds(&member, &invite).await?;
            words = vec!["join".to_owned(), said.stdout.trim().to_owned()];
        } else if self.hosts.values().all(|host| host.state == State::Absent) {
            words = vec!["init".to_owned(), FLEET.to_owned()];
            words.extend(["--person", "operator", "--recovery"].map(str::to_owned));
            words.push(self.desk.dir.join("recovery.txt").display().to_string());
            words.extend(self.scenario.roots.iter().flat_map(|roots| ["--roots".to_owned(), roots.clone()]));
            words.extend(labels);
        } else {
            return Err(Trouble::usage(format!("{name} reaches no member that is up, and cannot join")));
        }
        words.extend(["--host-name".to_owned(), name.to_owned()]);
        match self.network.addresses(name) {
            Some((listen, advertise)) => words.extend([
                "--listen".to_owned(),
                listen.to_string(),
                "--advertise".to_owned(),
                advertise.to_string(),
            ]),
            None => words.push("--no-listen".to_owned()),
        }
        self.succeeds(name, &words).await?;
        if let Some(host) = self.hosts.get_mut(name) {
            host.state = State::Down;
        }
        self.start(name).await
    }

    /// Sets the clock of a machine on which no agent runs.
    pub(super) fn set_clock(&mut self, machine: &str, to: Clock) -> Result<(), Trouble> {
        let readable = if self.hosts.contains_key(machine) {
            self.host(machine, State::Down)?.agent.packages.clone()
        } else {
            self.desk.dir.join(machine)
        };
        self.desk.clocks.set(machine, to, &readable)
    }

    fn write_settings(&self, plan: &HostPlan) -> Result<(), Trouble> {
        let Some(host) = self.hosts.get(&plan.name) else { return Ok(()) };
        let dir = &host.agent.packages;
        let made = fs::create_dir(dir).and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o755)));
        made.map_err(|error| Trouble::new(format!("cannot make {}: {error}", dir.display())))?;
        write_packages(dir, &plan.packages)?;
        let settings = Settings { dpkg: dir.clone(), ..Settings::default() };
        settings.write(&host.agent.places.config).map_err(|error| Trouble::new(error.to_string()))
    }

    /// Writes that a package is installed in this version.
    pub(super) fn install(&mut self, host: &str, package: &str, version: &str) -> Result<(), Trouble> {
        let Some(host) = self.hosts.get(host) else { return Ok(()) };
        let dir = &host.agent.packages;
        let mut packages = read_packages(&read(&dir.join("status")));
        packages.insert(package.to_owned(), version.to_owned());
        write_packages(dir, &packages)
    }

    /// Runs a command line that has to succeed for the scenario to go on.
    pub(super) async fn succeeds(&mut self, at: &str, words: &[String]) -> Result<Said, Trouble> {
        let said = self.desk.run(at, None, words, STEP_WITHIN).await?;
        if said.code == 0 {
            return Ok(said);
        }
        let verb = words.iter().find(|word| !word.starts_with('-')).map_or("", String::as_str);
        Err(Trouble::new(format!("at {at}: muster {verb} failed")).point(expect::shown(&said)))
    }

    /// Starts an agent and waits until it answers.
    pub(super) async fn start(&mut self, name: &str) -> Result<(), Trouble> {
        let program = self.desk.program.clone();
        let listens = self.network.addresses(name).is_some();
        let clock = self.desk.clocks.through(name, &self.desk.dir);
        let through = [self.network.through(name), &clock].concat();
        let host = self.host(name, State::Down)?;
        host.agent
            .start_through(&through, &program)
            .map_err(|error| Trouble::new(format!("{name} cannot be started: {error}")))?;
        host.state = State::Up;
        let status =
            host.agent.until("up", STEP_WITHIN, |status| !listens || !status.listen.is_empty()).await?;
        self.desk.clocks.took(name, status.started)
    }

    /// Stops an agent as a service manager does.
    pub(super) async fn stop(&mut self, name: &str) -> Result<(), Trouble> {
        let host = self.host(name, State::Up)?;
        host.agent.signal(Signal::TERM);
        self.ends(name, State::Down).await
    }

    /// Waits until an agent has ended, and was not killed.
    pub(super) async fn ends(&mut self, name: &str, state: State) -> Result<(), Trouble> {
        let until = Instant::now() + STEP_WITHIN;
        let Some(host) = self.hosts.get_mut(name) else { return Ok(()) };
        loop {
            match host.agent.ended() {
                Some(status) if status.success() => {
                    host.agent.kill();
                    host.state = state;
                    return Ok(());
                }
                Some(status) => return Err(host.agent.failed(&format!("its agent ended with {status}"))),
                None if Instant::now() > until => return Err(host.agent.failed("its agent does not end")),
                None => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Kills an agent's processes and all that they started, as a machine that loses its power.
    pub(super) async fn kill(&mut self, name: &str) -> Result<(), Trouble> {
        if self.state(name) == State::Frozen {
            self.host(name, State::Frozen)?.state = State::Up;
        }
        let host = self.host(name, State::Up)?;
        host.agent.kill_both().await?;
        host.state = State::Down;
        let until = Instant::now() + GONE_WITHIN;
        while end_orphans(&self.known()) > 0 {
            if Instant::now() > until {
                return Err(Trouble::new(format!("what {name} started cannot be ended")));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Processes that are not left over by anybody.
    fn known(&self) -> Vec<Pid> {
        let agents = self.hosts.values().filter_map(|host| host.agent.executor());
        agents.chain(self.begun.values().map(Begun::pid)).chain([self.network.pid()]).collect()
    }

    /// Ends all of it.
    pub(super) async fn end(mut self) -> Result<(), Trouble> {
        self.begun.clear();
        for host in self.hosts.values_mut() {
            if host.state == State::Frozen {
                let _gone_already = host.agent.signal_both(Signal::CONT);
            }
            host.agent.signal(Signal::TERM);
        }
        let until = Instant::now() + STOP_WITHIN;
        while self.hosts.values_mut().any(|host| host.agent.runs()) && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
        for host in self.hosts.values_mut() {
            host.agent.kill();
        }
        drop(self);
        end_all().await
    }

    /// How often each order was started on which host: job, host.
    pub(super) fn spawns(&self) -> BTreeMap<(String, String), u64> {
        let mut counts = BTreeMap::new();
        for line in read(&self.desk.dir.join("spawns")).lines() {
            if let Some((job, host)) = line.split_once(' ') {
                *counts.entry((job.to_owned(), host.to_owned())).or_default() += 1;
            }
        }
        counts
    }
}

impl Drop for World<'_> {
    /// For what went wrong on the way: nothing is asked any more. After [`World::end`] it does nothing.
    fn drop(&mut self) {
        self.begun.clear();
        for host in self.hosts.values_mut() {
            host.agent.kill();
        }
    }
}

/// Kills and collects all that is left below this process, whoever started it.
///
/// # Errors
/// When something cannot be ended.
pub async fn end_all() -> Result<(), Trouble> {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        match end_orphans(&[]) {
            0 => return Ok(()),
            left if Instant::now() > until => {
                return Err(Trouble::new(format!("{left} processes are left that cannot be ended")));
            }
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

/// A program that writes down which order it was started for on which host, and then is what its arguments say.
/// A command's environment does not tell the host, but above it is the supervisor, a fork of the executor with its
/// command line.
fn counting(spawns: &Path) -> String {
    format!(
        r#"#!/bin/sh
above=$PPID
while [ "$above" -gt 1 ]; do
  host=$(tr '\0' '\n' < "/proc/$above/cmdline" | sed -n '/^--state$/{{n;p;}}')
  [ -z "$host" ] || break
  above=$(sed 's/^.*) //' "/proc/$above/stat" | cut -d ' ' -f 2)
done
echo "$MUSTER_JOB ${{host##*/}}" >> {}
[ $# = 0 ] || exec "$@"
"#,
        spawns.display()
    )
}

/// Writes a package database as dpkg does: a new file, renamed over the old one.
fn write_packages(dir: &Path, packages: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let stanza = |(name, version): (&String, &String)| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
    };
    let text: String = packages.iter().map(stanza).collect();
    let (new, status) = (dir.join("status-new"), dir.join("status"));
    let written = fs::write(&new, text)
        .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&new, &status));
    written.map_err(|error| Trouble::new(format!("cannot write {}: {error}", status.display())))
}

fn read_packages(text: &str) -> BTreeMap<String, String> {
    let mut packages = BTreeMap::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(package) = line.strip_prefix("Package: ") {
            name = Some(package.to_owned());
        } else if let (Some(version), Some(name)) =
            (line.strip_prefix("Version: "), name.take_if(|_| line.starts_with("Version: ")))
        {
            packages.insert(name, version.to_owned());
        }
    }
    packages
}
