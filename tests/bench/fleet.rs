//! Founds a fleet of real agents on this machine and measures what an operator would feel: how long an
//! order takes until its last result, what it costs a host, what an idle agent costs, how soon a new host
//! is known.
//!
//! `cargo bench --bench fleet -- [--sizes 10,30,100] [--runs 7] [--idle 30] [--only WORD,…] [--muster PATH]`
//!
//! Every agent is two processes with its state on disk and listens on a port of the loopback; every figure
//! comes from the program as it ships, started cold. As root the fleet gets a network namespace of its own
//! (`unshare --net`), so that the loopback's counter holds its bytes and nothing else, and a control group
//! that only accounts, so that CPU seconds are exact. Without root the bytes are unavailable, and CPU
//! seconds come from /proc, which rounds.
//!
//! It judges nothing: the figure to reach and what others take stand beside what was measured. Where others
//! keep the cores busy, CPU seconds and counts say more than wall time, which cannot be less than CPU
//! seconds over cores.
//!
//! Only the standard library, so that it also compiles by itself: `rustc --edition 2024 -O fleet.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a program for developers: it says what it could not do, and ends"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(180);
const JOIN_AT: usize = 30;
const HUNG_AT: usize = 10;
const IDLE_AT: usize = 30;

/// What the issue asks for and what others take (measured on a 2-core machine under changing load).
const FANOUT: [(usize, &str, &str); 3] = [
    (10, "0.15 s", "Serf 0.26-0.33, clush 0.26, ssh 0.77"),
    (30, "0.3 s", "Serf 0.37-0.59, clush 0.34, ssh 2.3"),
    (100, "0.6 s", "Serf 0.55-0.75, clush 0.85, ssh 7.3"),
];

struct Options {
    muster: PathBuf,
    sizes: Vec<usize>,
    runs: usize,
    idle: Duration,
    only: Vec<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            muster: PathBuf::from(option_env!("CARGO_BIN_EXE_muster").unwrap_or("target/release/muster")),
            sizes: vec![10, 30, 100],
            runs: 7,
            idle: Duration::from_secs(30),
            only: Vec::new(),
        };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--muster" => options.muster = value().into(),
                "--sizes" => options.sizes = value().split(',').map(|n| n.parse().unwrap()).collect(),
                "--runs" => options.runs = value().parse().unwrap(),
                "--idle" => options.idle = Duration::from_secs(value().parse().unwrap()),
                "--only" => options.only = value().split(',').map(str::to_owned).collect(),
                // Cargo adds it.
                "--bench" => {}
                other => panic!("{other}? see the first lines of tests/bench/fleet.rs"),
            }
        }
        options.muster = fs::canonicalize(&options.muster)
            .unwrap_or_else(|error| panic!("{}: {error}; build it first", options.muster.display()));
        options
    }

    fn wants(&self, measure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == measure)
    }
}

fn main() {
    enter_namespace();
    let options = Options::read();
    let mut table = Table::default();
    println!("muster {}, {} cores, load {}", options.muster.display(), cores(), load());
    if options.wants("start") {
        measure_program(&options, &mut table);
    }
    let mut sizes = options.sizes.clone();
    let extra: &[(&str, usize)] = &[("hung", HUNG_AT), ("idle", IDLE_AT), ("join", JOIN_AT)];
    for (measure, at) in extra {
        if options.wants(measure) && !options.only.is_empty() && !sizes.contains(at) {
            sizes.push(*at);
        }
    }
    for size in sizes {
        let mut fleet = Fleet::found(&options, size);
        if options.wants("idle") && (size == IDLE_AT || sizes_lack(&options, IDLE_AT)) {
            measure_idle(&fleet, &options, &mut table);
        }
        if options.wants("run") {
            measure_orders(&fleet, &options, &mut table);
        }
        if options.wants("count") {
            measure_counts(&fleet, &mut table);
        }
        if options.wants("hung") && (size == HUNG_AT || sizes_lack(&options, HUNG_AT)) {
            measure_hung(&fleet, &mut table);
        }
        if options.wants("join") && (size == JOIN_AT || sizes_lack(&options, JOIN_AT)) {
            measure_join(&mut fleet, &mut table);
        }
    }
    println!("\n{}", table.markdown());
}

fn sizes_lack(options: &Options, size: usize) -> bool {
    !options.sizes.contains(&size)
}

// ---------------------------------------------------------------- the world around

/// As root, starts this program again in a network namespace that has a loopback and nothing else.
fn enter_namespace() {
    const INSIDE: &str = "MUSTER_BENCH_INSIDE";
    if env::var_os(INSIDE).is_some() || !is_root() {
        return;
    }
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let possible = Command::new("unshare").args(["--net", "sh", "-c", "ip link set lo up"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("no network namespace: bytes are unavailable");
        return;
    }
    let error = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .arg(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    panic!("unshare: {error}");
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap_or_default().to_owned()
}

/// Bytes sent on the loopback so far, if it is ours alone.
fn loopback_bytes() -> Option<u64> {
    env::var_os("MUSTER_BENCH_INSIDE")?;
    let counters = fs::read_to_string("/proc/net/dev").ok()?;
    let line = counters.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    line.split_whitespace().nth(8)?.parse().ok()
}

/// A control group that only accounts, for everything this program starts.
struct Account {
    group: PathBuf,
    counter: PathBuf,
    nanoseconds: bool,
}

impl Account {
    fn open() -> Option<Self> {
        let name = format!("muster-bench-{}", std::process::id());
        let places =
            [("/sys/fs/cgroup/cpuacct", "cpuacct.usage", true), ("/sys/fs/cgroup", "cpu.stat", false)];
        places.into_iter().find_map(|(root, file, nanoseconds)| {
            let group = Path::new(root).join(&name);
            fs::create_dir(&group).ok()?;
            let account = Self { counter: group.join(file), group, nanoseconds };
            account.seconds()?;
            fs::write(account.group.join("cgroup.procs"), std::process::id().to_string()).ok()?;
            Some(account)
        })
    }

    fn seconds(&self) -> Option<f64> {
        let text = fs::read_to_string(&self.counter).ok()?;
        if self.nanoseconds {
            return Some(text.trim().parse::<f64>().ok()? / 1e9);
        }
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(line.parse::<f64>().ok()? / 1e6)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let parent = self.group.parent().unwrap().join("cgroup.procs");
        let _ = fs::write(parent, std::process::id().to_string());
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.group).is_err() && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
    }
}

/// Everything after the command's name in /proc/PID/stat.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// CPU seconds of a process and of those children that it has waited for.
fn proc_seconds(pid: u32) -> f64 {
    let ticks: f64 =
        stat(pid).map_or(0.0, |fields| fields[11..15].iter().map(|x| x.parse::<f64>().unwrap()).sum());
    ticks / 100.0
}

/// CPU seconds of the threads that a process has now.
fn thread_seconds(pid: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let spent = |path: PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    threads.filter_map(|thread| spent(thread.ok()?.path())).sum::<f64>() / 1e9
}

/// How often the threads of a process went to sleep by themselves.
fn wakeups(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let count = |path: PathBuf| {
        let text = fs::read_to_string(path.join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.filter_map(|thread| count(thread.ok()?.path())).sum()
}

/// A field of `/proc/PID/smaps_rollup`, in KiB.
fn memory(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

fn signal(name: &str, pids: &[u32]) {
    let _ = Command::new("kill").arg(format!("-{name}")).args(pids.iter().map(ToString::to_string)).output();
}

// ---------------------------------------------------------------- a fleet

struct Host {
    name: String,
    state: PathBuf,
    agent: Child,
}

impl Host {
    /// The executor and the mesh process.
    fn pids(&self) -> Vec<u32> {
        let executor = self.agent.id();
        let children = fs::read_to_string(format!("/proc/{executor}/task/{executor}/children"));
        let mesh = children.unwrap_or_default();
        [executor].into_iter().chain(mesh.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

struct Fleet {
    muster: PathBuf,
    dir: PathBuf,
    hosts: Vec<Host>,
    token: String,
    account: Option<Account>,
}

/// One finished command line.
struct Ran {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    wall: f64,
    cpu: f64,
}

impl Ran {
    fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    fn good(self, what: &str) -> Self {
        assert!(self.status.success(), "{what}: {}\n{}{}", self.status, self.stdout, self.stderr);
        self
    }
}

impl Fleet {
    fn found(options: &Options, size: usize) -> Self {
        let start = Instant::now();
        let dir = env::temp_dir().join(format!("muster-bench-{}-{size}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let mut fleet = Self {
            muster: options.muster.clone(),
            dir,
            hosts: Vec::new(),
            token: String::new(),
            account: Account::open(),
        };
        let first = fleet.dir.join("h001");
        fleet
            .muster(&first, &["-q", "init", "bench", "--host-name", "h001", "--listen", "127.0.0.1:0"])
            .good("init");
        fleet.start("h001");
        let invited =
            fleet.muster(&first, &["-q", "invite", "-l", "role=web", "--uses", "999"]).good("invite");
        invited.stdout.trim().clone_into(&mut fleet.token);
        for number in 2..=size {
            fleet.join(&format!("h{number:03}"));
        }
        fleet.settle();
        eprintln!("# {size} agents up after {:.1} s", start.elapsed().as_secs_f64());
        fleet
    }

    fn command(&self, state: &Path) -> Command {
        let mut command = Command::new(&self.muster);
        command
            .arg("--state")
            .arg(state)
            .env("MUSTER_OPERATORS", self.dir.join("operators"))
            .env("HOME", &self.dir)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line to its end, cold.
    fn muster(&self, state: &Path, words: &[&str]) -> Ran {
        self.timed(self.command(state).args(words))
    }

    fn timed(&self, command: &mut Command) -> Ran {
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
    fn spent(&self) -> f64 {
        let own = thread_seconds(std::process::id());
        if let Some(seconds) = self.account.as_ref().and_then(Account::seconds) {
            return seconds - own;
        }
        let agents: f64 = self.hosts.iter().flat_map(Host::pids).map(proc_seconds).sum();
        agents + proc_seconds(std::process::id()) - own
    }

    fn start(&mut self, name: &str) {
        let state = self.dir.join(name);
        let log = fs::File::create(self.dir.join(format!("{name}.log"))).unwrap();
        let agent = self
            .command(&state)
            .arg("agent")
            .env_remove("MUSTER_LOG")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        self.hosts.push(Host { name: name.to_owned(), state: state.clone(), agent });
        let socket = state.join("agent.sock");
        wait_for("the agent's socket", || socket.exists().then_some(()));
        wait_for("the agent", || self.status(self.hosts.last().unwrap()).map(|_| ()));
    }

    fn join(&mut self, name: &str) {
        let words = ["-q", "join", &self.token, "--host-name", name, "--listen", "127.0.0.1:0"];
        self.muster(&self.dir.join(name), &words).good("join");
        self.start(name);
    }

    /// What an agent says of itself.
    fn status(&self, host: &Host) -> Option<String> {
        let ran = self.muster(&host.state, &["-q", "-o", "json", "status"]);
        ran.status.success().then_some(ran.stdout)
    }

    /// Waits until every agent holds every member, has its neighbours, and is quiet.
    fn settle(&self) {
        let size = self.hosts.len() as u64;
        let links_min = (size - 1).min(3);
        for host in &self.hosts {
            wait_for(&format!("{} to know all", host.name), || {
                let status = self.status(host)?;
                (number(&status, "members") == size && number(&status, "links") >= links_min).then_some(())
            });
        }
        // Heads and addresses of the last to join are still on their way, and links over the bound go.
        let mut entries = Vec::new();
        wait_for("the fleet to be the same everywhere", || {
            entries =
                self.hosts.iter().filter_map(|host| Some(number(&self.status(host)?, "entries"))).collect();
            (entries.len() == self.hosts.len() && entries.iter().all(|one| *one == entries[0])).then_some(())
        });
        self.calm();
    }

    /// Waits until the agents do no more than idle ones would, or a while has passed.
    fn calm(&self) {
        for _ in 0..20 {
            let before = self.spent();
            sleep(Duration::from_millis(500));
            if (self.spent() - before) / 0.5 < 0.005 * self.hosts.len() as f64 {
                return;
            }
        }
    }

    fn run_true(&self) -> Ran {
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

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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
fn number(json: &str, name: &str) -> u64 {
    let key = format!("\"{name}\":");
    let rest = json.split_once(&key).map_or("", |(_, rest)| rest.trim_start());
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0)
}

// ---------------------------------------------------------------- measures

fn measure_program(options: &Options, table: &mut Table) {
    let mut walls = Vec::new();
    for _ in 0..41 {
        let start = Instant::now();
        let output = Command::new(&options.muster).arg("--help").output().unwrap();
        walls.push(start.elapsed().as_secs_f64());
        assert!(output.status.success());
    }
    table.row("`muster --help`", &span(&walls), "under 0.02 s", "");
    let bytes = fs::metadata(&options.muster).unwrap().len();
    table.row(
        "binary, as built",
        &format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        "20 MiB stripped",
        "Serf 8.5 MB",
    );
}

fn measure_orders(fleet: &Fleet, options: &Options, table: &mut Table) {
    let size = fleet.hosts.len();
    fleet.run_true().good("the first order");
    let (mut walls, mut cpus, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        fleet.calm();
        let sent = loopback_bytes();
        let ran = fleet.run_true().good("an order");
        walls.push(ran.wall);
        // What follows an order (acknowledgements, writing in groups) belongs to it.
        let spent = fleet.spent();
        sleep(Duration::from_millis(500));
        cpus.push((ran.cpu + fleet.spent() - spent) / size as f64);
        bytes.extend(sent.zip(loopback_bytes()).map(|(before, after)| (after - before) as f64 / size as f64));
    }
    let (goal, peers) =
        FANOUT.iter().find(|(n, ..)| *n == size).map_or(("", ""), |(_, goal, peers)| (*goal, *peers));
    table.row(&format!("`run --all --yes -- true`, {size} hosts"), &span(&walls), goal, peers);
    let cpu = format!("{:.2} ms ({:.2}-{:.2})", 1e3 * median(&cpus), 1e3 * least(&cpus), 1e3 * most(&cpus));
    let peers = "Serf 8-30 ms, clush 15, ssh 140";
    table.row(&format!("CPU a host and order, all processes, {size} hosts"), &cpu, "10 ms", peers);
    if !bytes.is_empty() {
        table.row(
            &format!("bytes sent a host and order, {size} hosts"),
            &format!("{:.0} B", median(&bytes)),
            "",
            "",
        );
    }
    let mut dry = Vec::new();
    for _ in 0..options.runs {
        let words = ["run", "--all", "--yes", "--dry-run", "--", "true"];
        dry.push(fleet.muster(&fleet.hosts[0].state, &words).good("a dry run").wall);
    }
    table.row(&format!("the same with `--dry-run`, {size} hosts"), &span(&dry), "", "");
}

fn measure_counts(fleet: &Fleet, table: &mut Table) {
    const COUNTERS: [&str; 4] = [
        "order_verifications_mesh",
        "order_verifications_executor",
        "result_verifications_mesh",
        "result_verifications_executor",
    ];
    let size = fleet.hosts.len();
    let counters = || -> Vec<Vec<u64>> {
        let one = |host| COUNTERS.map(|name| number(&fleet.status(host).unwrap(), name)).to_vec();
        fleet.hosts.iter().map(one).collect()
    };
    let before = counters();
    fleet.run_true().good("a counted order");
    fleet.calm();
    let after = counters();
    for (place, name) in COUNTERS.iter().enumerate() {
        let counts = before.iter().zip(&after).map(|(before, after)| after[place] - before[place]);
        let counts: Vec<f64> = counts.map(|count| count as f64).collect();
        let goal = if name.starts_with("order") { "1" } else { "0" };
        let seen = format!("{} to {}", least(&counts), most(&counts));
        table.row(&format!("{name} an order, {size} hosts"), &seen, goal, "");
    }
    // The host in the middle of the list keeps no results unless the order's hash says so; the first does.
    for (which, host) in [("entry host", &fleet.hosts[0]), ("another host", &fleet.hosts[size / 2])] {
        let syncs = syncs(fleet, host);
        let seen = syncs.map_or_else(
            || "unavailable (strace)".to_owned(),
            |syncs| {
                syncs.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
            },
        );
        table.row(&format!("syncs an order, {which}, {size} hosts"), &seen, "executor: 2 fdatasync", "");
    }
}

/// What one agent syncs during one order, by process and call.
fn syncs(fleet: &Fleet, host: &Host) -> Option<BTreeMap<String, usize>> {
    let pids = host.pids();
    let trace = fleet.dir.join("strace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-q", "-o"])
        .arg(&trace)
        .args(["-e", "trace=fdatasync,fsync,sync_file_range,msync,syncfs"]);
    for pid in &pids {
        strace.args(["-p", &pid.to_string()]);
    }
    let mut strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let traced = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !pids.iter().all(traced) {
        if Instant::now() > deadline || strace.try_wait().ok()?.is_some() {
            let _ = strace.kill();
            let _ = strace.wait();
            return None;
        }
        sleep(Duration::from_millis(20));
    }
    fleet.run_true().good("a traced order");
    sleep(Duration::from_secs(1));
    signal("INT", &[strace.id()]);
    let _ = strace.wait();
    let executor = pids[0].to_string();
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(&trace).ok()?.lines() {
        let (pid, call) = line.split_once(char::is_whitespace)?;
        let Some((call, _)) = call.trim().split_once('(') else { continue };
        let process = if pid == executor { "executor" } else { "mesh" };
        *counts.entry(format!("{call} ({process})")).or_insert(0) += 1;
    }
    Some(counts)
}

fn measure_hung(fleet: &Fleet, table: &mut Table) {
    let size = fleet.hosts.len();
    let host = fleet.hosts.last().unwrap();
    let pids = host.pids();
    signal("STOP", &pids);
    let ran = fleet.run_true();
    signal("CONT", &pids);
    let named = if ran.stdout.contains(&host.name) || ran.stderr.contains(&host.name) {
        "named"
    } else {
        "NOT NAMED"
    };
    let seen = format!("{:.2} s, {named}, exit {}", ran.wall, ran.code());
    let peers = "Serf 1.0 s, exit 0, not named; pdsh 10 s, clush 15 s, exit 0; Salt 15.7 s, exit 1";
    table.row(&format!("one of {size} hosts stopped"), &seen, "under 6 s, named, exit 7", peers);
    fleet.calm();
}

fn measure_idle(fleet: &Fleet, options: &Options, table: &mut Table) {
    let size = fleet.hosts.len();
    let links: Vec<u64> =
        fleet.hosts.iter().map(|host| number(&fleet.status(host).unwrap(), "links")).collect();
    fleet.calm();
    let all: Vec<u32> = fleet.hosts.iter().flat_map(Host::pids).collect();
    let busy = |pids: &[u32]| pids.iter().copied().map(thread_seconds).sum::<f64>();
    let woken = |pids: &[u32]| pids.iter().copied().map(wakeups).sum::<u64>();
    let each = |look: &dyn Fn(&[u32]) -> f64| -> Vec<f64> {
        fleet.hosts.iter().map(|host| look(&host.pids())).collect()
    };
    let (cpu, bytes, wakes, start) =
        (each(&|pids| busy(pids)), loopback_bytes(), woken(&all), Instant::now());
    sleep(options.idle);
    let seconds = start.elapsed().as_secs_f64();
    let sent =
        bytes.zip(loopback_bytes()).map(|(before, after)| (after - before) as f64 / seconds / size as f64);
    let wakes = (woken(&all) - wakes) as f64 / seconds / size as f64;
    let cpu: Vec<f64> = each(&|pids| busy(pids))
        .iter()
        .zip(&cpu)
        .map(|(after, before)| 100.0 * (after - before) / seconds)
        .collect();
    let pss = each(&|pids| pids.iter().map(|pid| memory(*pid, "Pss")).sum::<u64>() as f64 / 1024.0);
    let own = each(&|pids| {
        let private = |pid: &u32| memory(*pid, "Private_Dirty") + memory(*pid, "Private_Clean");
        pids.iter().map(private).sum::<u64>() as f64 / 1024.0
    });
    let rss = each(&|pids| pids.iter().map(|pid| memory(*pid, "Rss")).sum::<u64>() as f64 / 1024.0);
    let by_process = |at: usize| -> f64 {
        median(&each(&|pids| pids.get(at).map_or(0.0, |pid| memory(*pid, "Pss") as f64 / 1024.0)))
    };
    let links: Vec<f64> = links.iter().map(|links| *links as f64).collect();
    let name = |what: &str| format!("idle, {size} hosts, {:.0} links (median): {what}", median(&links));
    let seen = format!(
        "{:.1} MiB ({:.1}-{:.1}); executor {:.1}, mesh {:.1}",
        median(&pss),
        least(&pss),
        most(&pss),
        by_process(0),
        by_process(1)
    );
    table.row(&name("PSS of both processes"), &seen, "18 MiB", "Serf 7.0, MCollective 19, Salt 72");
    table.row(
        &name("RSS, private"),
        &format!("{:.1}, {:.1} MiB", median(&rss), median(&own)),
        "",
        "Serf 15 RSS",
    );
    let seen = format!("{:.3} % ({:.3}-{:.3})", median(&cpu), least(&cpu), most(&cpu));
    table.row(&name("CPU of a core"), &seen, "0.2 %", "Serf 0.21-0.34, Salt 0.5-0.7");
    table.row(&name("wake-ups a second"), &format!("{wakes:.1}"), "", "");
    let seen = sent.map_or_else(|| "unavailable (needs root)".to_owned(), |sent| format!("{sent:.0} B/s"));
    table.row(&name("sent by a host"), &seen, "200 B/s", "Serf 275-363, Salt 36");
}

fn measure_join(fleet: &mut Fleet, table: &mut Table) {
    let size = fleet.hosts.len();
    let mut times = Vec::new();
    for number in 0..5 {
        let name = format!("new{number}");
        let words = ["-q", "join", &fleet.token, "--host-name", &name, "--listen", "127.0.0.1:0"];
        let start = Instant::now();
        fleet.muster(&fleet.dir.join(&name), &words).good("join");
        let joined = start.elapsed().as_secs_f64();
        // One after the other, each with a cold command line: an upper bound.
        for host in &fleet.hosts {
            wait_for("the new host to be listed", || {
                let listed = fleet.muster(&host.state, &["-q", "-o", "name", "host", "ls"]);
                listed.stdout.contains(&name).then_some(())
            });
        }
        times.push((joined, start.elapsed().as_secs_f64()));
        fleet.start(&name);
        fleet.settle();
    }
    let joins: Vec<f64> = times.iter().map(|(joined, _)| *joined).collect();
    let listed: Vec<f64> = times.iter().map(|(_, listed)| *listed).collect();
    table.row(&format!("`join` itself, {size} hosts"), &span(&joins), "", "Serf 0.02 s at its contact");
    let seen = format!("at most {}", span(&listed));
    table.row(
        &format!("from the start of `join` until listed by all {size}, asked one by one"),
        &seen,
        "1 s",
        "Serf 0.55 s",
    );
}

// ---------------------------------------------------------------- numbers

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn median(values: &[f64]) -> f64 {
    sorted(values).get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(values: &[f64]) -> f64 {
    sorted(values).first().copied().unwrap_or(f64::NAN)
}

fn most(values: &[f64]) -> f64 {
    sorted(values).last().copied().unwrap_or(f64::NAN)
}

fn span(seconds: &[f64]) -> String {
    format!("{:.3} s ({:.3}-{:.3})", median(seconds), least(seconds), most(seconds))
}

#[derive(Default)]
struct Table(Vec<[String; 4]>);

impl Table {
    fn row(&mut self, what: &str, seen: &str, goal: &str, peers: &str) {
        eprintln!("{what}: {seen}");
        self.0.push([what, seen, goal, peers].map(str::to_owned));
    }

    fn markdown(&self) -> String {
        let mut text =
            "| what | measured: median (least-most) | to reach | others |\n|---|---|---|---|\n".to_owned();
        for row in &self.0 {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        text
    }
}
