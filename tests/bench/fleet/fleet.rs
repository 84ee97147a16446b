//! A fleet of real agents: founded, joined, asked by cold command lines, and ended.

use std::{
    collections::VecDeque,
    env, fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    options::Options,
    packages::{self, Database},
    process::{Account, proc_seconds, signal, thread_seconds},
    rooms::Rooms,
};

/// How long anything may take before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) state: PathBuf,
    pub(crate) agent: Child,
    /// Its package database, if it has one of its own.
    pub(crate) packages: Option<Database>,
    /// Its network, if it is not that of this program.
    pub(crate) room: Option<usize>,
}

impl Host {
    /// The executor and the mesh process.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let executor = self.agent.id();
        let children = fs::read_to_string(format!("/proc/{executor}/task/{executor}/children"));
        let mesh = children.unwrap_or_default();
        [executor].into_iter().chain(mesh.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

pub(crate) struct Fleet {
    pub(crate) muster: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) hosts: Vec<Host>,
    pub(crate) token: String,
    pub(crate) account: Option<Account>,
    plan: Plan,
    /// What a package database has at first.
    packages: String,
}

/// What a fleet is like.
pub(crate) struct Plan {
    size: usize,
    /// Whether each host has a package database of its own.
    packages: bool,
    /// Networks of their own, and how many hosts, the first ones, are in the first of the two.
    rooms: Option<(Rooms, usize)>,
}

impl Plan {
    pub(crate) fn plain(size: usize) -> Self {
        Self { size, packages: false, rooms: None }
    }

    /// With a package database for each host.
    pub(crate) fn with_packages(self) -> Self {
        Self { packages: true, ..self }
    }

    /// In two networks; `first` hosts in the first.
    pub(crate) fn in_rooms(self, rooms: Rooms, first: usize) -> Self {
        Self { rooms: Some((rooms, first)), ..self }
    }

    fn room_of(&self, number: usize) -> Option<usize> {
        self.rooms.as_ref().map(|(_, first)| usize::from(number > *first))
    }

    /// Where a host listens.
    fn listen(&self, number: usize) -> String {
        match self.room_of(number) {
            Some(room) => format!("{}:7946", Rooms::address(room, number)),
            None => "127.0.0.1:0".to_owned(),
        }
    }
}

/// One finished command line.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    pub(crate) fn good(self, what: &str) -> Self {
        assert!(self.status.success(), "{what}: {}\n{}{}", self.status, self.stdout, self.stderr);
        self
    }
}

impl Fleet {
    pub(crate) fn found(options: &Options, plan: Plan) -> Self {
        let (start, size) = (Instant::now(), plan.size);
        let dir = env::temp_dir().join(format!("muster-bench-{}-{size}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let mut fleet = Self {
            muster: options.muster.clone(),
            dir,
            hosts: Vec::new(),
            token: String::new(),
            account: Account::open(),
            plan,
            packages: packages::initial(),
        };
        let (first, listen) = (fleet.dir.join("h001"), fleet.plan.listen(1));
        fleet
            .muster(&first, &["-q", "init", "bench", "--host-name", "h001", "--listen", &listen])
            .good("init");
        fleet.add("h001", 1);
        let invited =
            fleet.muster(&first, &["-q", "invite", "-l", "role=web", "--uses", "999"]).good("invite");
        invited.stdout.trim().clone_into(&mut fleet.token);
        for number in 2..=size {
            let name = format!("h{number:03}");
            fleet.join(&name, number);
            fleet.add(&name, number);
        }
        fleet.settle();
        eprintln!("# {size} agents up after {:.1} s", start.elapsed().as_secs_f64());
        fleet
    }

    pub(crate) fn rooms(&self) -> &Rooms {
        &self.plan.rooms.as_ref().unwrap().0
    }

    /// A command line, in the network of this program or in a room.
    fn command_in(&self, room: Option<usize>, state: &Path) -> Command {
        let mut command = match (&self.plan.rooms, room) {
            (Some((rooms, _)), Some(room)) => rooms.enter(room, &self.muster),
            _ => Command::new(&self.muster),
        };
        command
            .arg("--state")
            .arg(state)
            .env("MUSTER_OPERATORS", self.dir.join("operators"))
            .env("HOME", &self.dir)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// A command line that asks an agent: sockets are files, so it need not be in the agent's network.
    pub(crate) fn command(&self, state: &Path) -> Command {
        self.command_in(None, state)
    }

    /// What an agent answers, if it does; nothing is measured.
    pub(crate) fn ask(&self, host: &Host, words: &[&str]) -> Option<String> {
        let output = self.command(&host.state).arg("-q").args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command line to its end, cold.
    pub(crate) fn muster(&self, state: &Path, words: &[&str]) -> Ran {
        self.timed(self.command(state).args(words))
    }

    pub(crate) fn timed(&self, command: &mut Command) -> Ran {
        let spent = self.spent();
        let start = Instant::now();
        let output = command.output().unwrap();
        let wall = start.elapsed().as_secs_f64();
        Ran {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            wall,
            cpu: self.spent() - spent,
        }
    }

    /// CPU seconds of all agents and finished command lines so far, without this program's own.
    pub(crate) fn spent(&self) -> f64 {
        let own = thread_seconds(std::process::id());
        if let Some(seconds) = self.account.as_ref().and_then(Account::seconds) {
            return seconds - own;
        }
        let agents: f64 = self.hosts.iter().flat_map(Host::pids).map(proc_seconds).sum();
        agents + proc_seconds(std::process::id()) - own
    }

    fn spawn(&self, name: &str, room: Option<usize>) -> Child {
        let log = self.dir.join(format!("{name}.log"));
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        self.command_in(room, &self.dir.join(name))
            .arg("agent")
            .env_remove("MUSTER_LOG")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap()
    }

    /// Starts the agent of a host that has joined.
    pub(crate) fn add(&mut self, name: &str, number: usize) {
        let (state, room) = (self.dir.join(name), self.plan.room_of(number));
        let packages = self.plan.packages.then(|| {
            let database = Database::create(self.dir.join(format!("{name}.dpkg")), &self.packages);
            let settings = state.join("agent.toml");
            let told = fs::read_to_string(&settings).unwrap_or_default();
            let rest: Vec<&str> = told.lines().filter(|line| !line.starts_with("dpkg ")).collect();
            let own = format!("dpkg = \"{}\"\n{}\n", database.dir().display(), rest.join("\n"));
            fs::write(&settings, own).unwrap();
            database
        });
        let agent = self.spawn(name, room);
        self.hosts.push(Host { name: name.to_owned(), state, agent, packages, room });
        self.await_agent(self.hosts.last().unwrap());
    }

    /// Starts the agent of a host again whose processes were killed.
    pub(crate) fn revive(&mut self, at: usize) {
        let _ = self.hosts[at].agent.wait();
        self.hosts[at].agent = self.spawn(&self.hosts[at].name, self.hosts[at].room);
        self.await_agent(&self.hosts[at]);
    }

    fn await_agent(&self, host: &Host) {
        wait_for("the agent", || host.state.join("agent.sock").exists().then(|| self.status(host))?);
    }

    pub(crate) fn join(&self, name: &str, number: usize) {
        let listen = self.plan.listen(number);
        let words = ["-q", "join", &self.token, "--host-name", name, "--listen", &listen];
        let state = self.dir.join(name);
        self.timed(self.command_in(self.plan.room_of(number), &state).args(words)).good("join");
    }

    /// What an agent says of itself.
    pub(crate) fn status(&self, host: &Host) -> Option<String> {
        self.ask(host, &["-o", "json", "status"])
    }

    /// Waits until every agent holds every member, has its neighbours, and is quiet.
    pub(crate) fn settle(&self) {
        let size = self.hosts.len() as u64;
        let links_min = (size - 1).min(3);
        for host in &self.hosts {
            wait_for(&format!("{} to know all", host.name), || {
                let status = self.status(host)?;
                (number(&status, "members") == size && number(&status, "links") >= links_min).then_some(())
            });
        }
        // Heads and addresses of the last to join are still on their way, and links over the bound go.
        self.same(&self.hosts.iter().collect::<Vec<_>>());
        self.calm();
    }

    /// Waits until these hosts hold the same; returns the root of it.
    pub(crate) fn same(&self, hosts: &[&Host]) -> String {
        wait_for("the fleet to be the same everywhere", || {
            let first = root(&self.status(hosts[0])?);
            hosts[1..]
                .iter()
                .all(|host| self.status(host).is_some_and(|told| root(&told) == first))
                .then_some(first)
        })
    }

    /// Waits until the agents do no more than idle ones would, or a while has passed.
    pub(crate) fn calm(&self) {
        for _ in 0..20 {
            let before = self.spent();
            sleep(Duration::from_millis(500));
            if (self.spent() - before) / 0.5 < 0.005 * self.hosts.len() as f64 {
                return;
            }
        }
    }

    /// Asks these hosts in turn, two at a time, until each has once answered what is `good`; says how long after
    /// `start` the answer of each had come. Both asking and waiting for a turn are in that: it is at most so long.
    pub(crate) fn until_all(
        &self,
        hosts: &[&Host],
        start: Instant,
        words: &[&str],
        good: impl Fn(&str) -> bool + Sync,
    ) -> Vec<f64> {
        let (asked, times) = (Mutex::new(hosts.iter().collect::<VecDeque<_>>()), Mutex::new(Vec::new()));
        let ask = || {
            while times.lock().unwrap().len() < hosts.len() {
                let next = asked.lock().unwrap().pop_front();
                let Some(host) = next else {
                    sleep(Duration::from_millis(1));
                    continue;
                };
                if self.ask(host, words).is_some_and(|answer| good(&answer)) {
                    times.lock().unwrap().push(start.elapsed().as_secs_f64());
                } else {
                    asked.lock().unwrap().push_back(host);
                }
                assert!(start.elapsed() < PATIENCE, "waited in vain for {} of {words:?}", host.name);
            }
        };
        std::thread::scope(|scope| {
            let second = scope.spawn(ask);
            ask();
            second.join().unwrap();
        });
        times.into_inner().unwrap()
    }

    /// Counters of each of these hosts; nothing if the agents have none of these names.
    pub(crate) fn counters<const N: usize>(&self, hosts: &[&Host], names: [&str; N]) -> Vec<[f64; N]> {
        let look = |host: &&Host| {
            let status = wait_for("a status", || self.status(host));
            let all = names.iter().all(|name| status.contains(&format!("\"{name}\":")));
            all.then(|| names.map(|name| number(&status, name) as f64))
        };
        hosts.iter().filter_map(look).collect()
    }

    pub(crate) fn run_true(&self) -> Ran {
        self.muster(&self.hosts[0].state, &["run", "--all", "--yes", "--", "true"])
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let executors: Vec<u32> = self.hosts.iter().map(|host| host.agent.id()).collect();
        signal("CONT", &self.hosts.iter().flat_map(Host::pids).collect::<Vec<_>>());
        signal("INT", &executors);
        let deadline = Instant::now() + Duration::from_secs(30);
        for host in &mut self.hosts {
            while host.agent.try_wait().is_ok_and(|ended| ended.is_none()) {
                if Instant::now() > deadline {
                    let _ = host.agent.kill();
                }
                sleep(Duration::from_millis(10));
            }
        }
        if std::thread::panicking() {
            eprintln!("left as it is: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(20));
    }
}

/// The number of this name in a JSON text.
pub(crate) fn number(json: &str, name: &str) -> u64 {
    let key = format!("\"{name}\":");
    let rest = json.split_once(&key).map_or("", |(_, rest)| rest.trim_start());
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0)
}

/// The text of this name in a JSON text.
pub(crate) fn text(json: &str, name: &str) -> String {
    let key = format!("\"{name}\":");
    let rest = json.split_once(&key).map_or("", |(_, rest)| rest.trim_start());
    rest.strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

/// What an agent holds, in a word, by its status.
pub(crate) fn root(status: &str) -> String {
    text(status, "root")
}

/// Counters of an agent: bytes of whole frames that its neighbours sent it on their streams, and those of them
/// that were entries and facets.
pub(crate) const RECEIVED: &str = "sync_bytes_received";
pub(crate) const PAYLOAD: &str = "sync_payload_bytes_received";
/// And of whole frames, those of greetings, pings and words about who is up.
pub(crate) const UPKEEP: &str = "sync_upkeep_bytes_received";

/// Whether a status has a link to a host of this name.
pub(crate) fn names_link(status: &str, name: &str) -> bool {
    let peers = status.split_once("\"peers\":").map_or("", |(_, peers)| peers);
    peers
        .split("\"host\":")
        .skip(1)
        .any(|peer| peer.trim_start().strip_prefix('"').and_then(|peer| peer.split('"').next()) == Some(name))
}
