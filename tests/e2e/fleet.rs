//! A fleet of real agents on loopback: found one, let hosts join, stop, kill and start them, run any
//! command line on any host, and wait for conditions.
//!
//! Everything is in one directory with a short path (a socket's path has 107 bytes), sealed from the
//! user's own home and settings. Dropping a fleet ends every process of it and fails the test if one
//! did not end by itself. At most three fleets run at once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt::{self, Write as _},
    fs::{self, File},
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a condition may take to come true, and a command line to end.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Fleets at a time.
const FLEETS_MAX: usize = 3;
/// Bytes of each agent's log that a failure shows.
const LOG_SHOWN: usize = 4000;

/// Whether a host has an address where others reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// At any free port, another one at every start.
    Listens,
    /// At one port that stays.
    Fixed,
    /// Nowhere: it only dials out.
    DialsOut,
}

/// Which of an agent's two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// The parent. Without it the other ends too.
    Executor,
    /// The child. The executor starts another.
    Mesh,
    /// Both at once.
    Both,
}

/// What a command line said and how it ended.
pub(crate) struct Output {
    /// Its exit code; 128 and the signal if one ended it.
    pub(crate) code: i32,
    /// What it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}\nstdout: {}\nstderr: {}", self.code, clipped(&self.text()), self.stderr)
    }
}

impl Output {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// This, if it ended with `code`; fails the test otherwise.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Fails the test unless standard error has all of `words`.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\nstderr: {}", clipped(&self.text()), self.stderr))
    }

    /// Standard output as one JSON value a line.
    #[track_caller]
    pub(crate) fn jsonl(&self) -> Vec<Value> {
        let text = self.text();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(line).collect()
    }
}

/// What `muster run -o jsonl` said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The whole output.
    pub(crate) output: Output,
    /// The job's id; empty if nothing was sent.
    pub(crate) job: String,
    /// The `exit` event of each host that has one.
    pub(crate) exits: BTreeMap<String, Value>,
    /// The last event.
    pub(crate) summary: Value,
}

impl Ran {
    fn of(output: Output) -> Self {
        let (mut job, mut exits, mut summary) = (String::new(), BTreeMap::new(), Value::Null);
        for event in output.jsonl() {
            match event["event"].as_str() {
                Some("start") => job = text(&event["job"]),
                Some("exit") => {
                    exits.insert(text(&event["host"]), event);
                }
                Some("summary") => summary = event,
                _ => {}
            }
        }
        Self { output, job, exits, summary }
    }

    /// This, if the command line ended with `code`.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.output.code, code, "{:?}", self.output);
        self
    }

    /// What became of a host: `ok`, `failed`, `silent` …; empty if nothing is said of it.
    pub(crate) fn status(&self, host: &str) -> String {
        self.exits.get(host).map(|exit| text(&exit["status"])).unwrap_or_default()
    }

    /// A host's reason, where it has one.
    pub(crate) fn why(&self, host: &str) -> String {
        self.exits.get(host).map(|exit| text(&exit["why"])).unwrap_or_default()
    }

    /// The hosts of a status.
    pub(crate) fn of_status(&self, status: &str) -> BTreeSet<String> {
        self.exits.keys().filter(|host| self.status(host) == status).cloned().collect()
    }
}

/// A command line that still runs. Dropping it kills it.
pub(crate) struct Begun {
    child: Child,
    shown: String,
    out: PathBuf,
    err: PathBuf,
}

impl Begun {
    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).expect("a command line that runs");
    }

    /// What it has written to standard output so far.
    pub(crate) fn so_far(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has said on standard error so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits until it ends.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let Some(status) = wait_exit(&mut self.child, DEADLINE * 2) else {
            let _gone = self.child.kill();
            panic!(
                "did not end: {}\nstderr: {}",
                self.shown,
                fs::read_to_string(&self.err).unwrap_or_default()
            );
        };
        Output {
            code: code(status),
            stdout: fs::read(&self.out).unwrap_or_default(),
            stderr: String::from_utf8_lossy(&fs::read(&self.err).unwrap_or_default()).into_owned(),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

struct Host {
    name: String,
    reach: Reach,
    /// The agent, while it runs or has not been waited for.
    agent: Option<Child>,
}

/// See the module.
pub(crate) struct Fleet {
    dir: TempDir,
    hosts: Vec<Host>,
    commands: RefCell<u32>,
    /// What command lines find in their environment besides what all do.
    env: BTreeMap<String, OsString>,
    /// Mesh processes that were seen, to be sure that none outlives its fleet.
    mesh_seen: RefCell<BTreeSet<u32>>,
    _permit: Permit,
}

impl Fleet {
    /// Founds a fleet whose first host is `a`, which listens, and starts its agent.
    #[track_caller]
    pub(crate) fn found(name: &str) -> Self {
        Self::found_with(name, Reach::Listens)
    }

    /// Founds a fleet with the first host `a`.
    #[track_caller]
    pub(crate) fn found_with(name: &str, reach: Reach) -> Self {
        Self::founded(name, reach, &[])
    }

    /// Founds a fleet of so many root keys, with the first host `a`, which listens.
    #[track_caller]
    pub(crate) fn found_with_roots(name: &str, roots: &str) -> Self {
        Self::founded(name, Reach::Listens, &["--roots", roots])
    }

    #[track_caller]
    fn founded(name: &str, reach: Reach, more: &[&str]) -> Self {
        let mut fleet = Self::empty();
        fleet.init(name, reach, more).ends(0);
        fleet.start("a");
        fleet
    }

    /// `muster init` for the first host `a`, with more arguments; its agent is not started.
    #[track_caller]
    pub(crate) fn init(&mut self, name: &str, reach: Reach, more: &[&str]) -> Output {
        let mut args = vec!["init".to_owned(), name.to_owned(), "--host-name".to_owned(), "a".to_owned()];
        args.extend(listen_flags(reach));
        args.extend(more.iter().map(|word| (*word).to_owned()));
        if self.hosts.is_empty() {
            self.hosts.push(Host { name: "a".to_owned(), reach, agent: None });
        }
        self.muster("a", &args)
    }

    /// Puts a variable into the environment of the command lines that follow, or takes it away.
    pub(crate) fn set(&mut self, name: &str, value: Option<&OsStr>) {
        self.env.remove(name);
        if let Some(value) = value {
            self.env.insert(name.to_owned(), value.to_owned());
        }
    }

    /// A directory for a fleet, and no host yet.
    pub(crate) fn empty() -> Self {
        let permit = Permit::take();
        let dir =
            tempfile::Builder::new().prefix("m").rand_bytes(5).tempdir().expect("a temporary directory");
        // Under root an agent's mesh process is another user, and so may a command be.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode of the directory");
        fs::create_dir(dir.path().join("home")).expect("home");
        let spawns = dir.path().join("spawns");
        File::create(&spawns).expect("spawns");
        fs::set_permissions(&spawns, fs::Permissions::from_mode(0o666)).expect("mode of spawns");
        // A command's environment does not say which host it runs on, but its parent, the supervisor, is
        // a fork of the executor and has its command line.
        let script = format!(
            "#!/bin/sh\nhost=$(tr '\\0' '\\n' < /proc/$PPID/cmdline | sed -n '/^--state$/{{n;p;}}')\n\
             echo \"$MUSTER_JOB ${{host##*/}}\" >> {}\n[ $# = 0 ] || exec \"$@\"\n",
            spawns.display()
        );
        let counted = dir.path().join("counted");
        fs::write(&counted, script).expect("the counting script");
        fs::set_permissions(&counted, fs::Permissions::from_mode(0o755)).expect("mode of the script");
        Self {
            dir,
            hosts: Vec::new(),
            commands: RefCell::new(0),
            env: BTreeMap::new(),
            mesh_seen: RefCell::default(),
            _permit: permit,
        }
    }

    /// The directory that holds everything.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A host's state directory.
    pub(crate) fn state(&self, host: &str) -> PathBuf {
        self.dir().join(host)
    }

    /// A host's control socket.
    pub(crate) fn socket(&self, host: &str) -> PathBuf {
        self.state(host).join("agent.sock")
    }

    /// The directory with operators' keys.
    pub(crate) fn operators(&self) -> PathBuf {
        self.dir().join("op")
    }

    // Joining.

    /// A token from host `at`, with more arguments for `muster invite`.
    #[track_caller]
    pub(crate) fn invite(&self, at: &str, args: &[&str]) -> String {
        let mut line = vec!["invite"];
        line.extend(args);
        self.muster(at, &line).ends(0).text().trim().to_owned()
    }

    /// Lets a host join by an invitation of `a` with `tags`, and starts its agent.
    #[track_caller]
    pub(crate) fn join(&mut self, name: &str, tags: &[&str], reach: Reach) {
        self.join_by("a", name, tags, reach);
    }

    /// Lets a host join by an invitation of `by`, and starts its agent.
    #[track_caller]
    pub(crate) fn join_by(&mut self, by: &str, name: &str, tags: &[&str], reach: Reach) {
        let labels: Vec<&str> = tags.iter().flat_map(|tag| ["-l", tag]).collect();
        let token = self.invite(by, &labels);
        self.redeem(name, &token, reach).ends(0);
        self.start(name);
    }

    /// `muster join TOKEN` for a new host, whose agent is not started.
    #[track_caller]
    pub(crate) fn redeem(&mut self, name: &str, token: &str, reach: Reach) -> Output {
        let mut args = vec!["join".to_owned(), token.to_owned(), "--host-name".to_owned(), name.to_owned()];
        args.extend(listen_flags(reach));
        if self.hosts.iter().all(|host| host.name != name) {
            self.hosts.push(Host { name: name.to_owned(), reach, agent: None });
        }
        self.muster(name, &args)
    }

    /// The same for a host that only dials out, and waits for no operator.
    #[track_caller]
    pub(crate) fn redeem_now(&mut self, name: &str, token: &str) -> Output {
        let args = ["join", token, "--host-name", name, "--no-listen", "--wait", "1ms"];
        if self.hosts.iter().all(|host| host.name != name) {
            self.hosts.push(Host { name: name.to_owned(), reach: Reach::DialsOut, agent: None });
        }
        self.muster(name, &args)
    }

    /// Takes in a host that joined in another way; its agent is not started.
    pub(crate) fn adopt(&mut self, name: &str, reach: Reach) {
        self.hosts.push(Host { name: name.to_owned(), reach, agent: None });
    }

    // Agents.

    /// Starts a host's agent and waits until it answers. A fixed port that another program has taken
    /// meanwhile is exchanged for another.
    #[track_caller]
    pub(crate) fn start(&mut self, name: &str) {
        for _ in 0..5 {
            self.launch(name);
            let problems = self.until(&format!("the agent of {name} answers"), |fleet| {
                let there = gone(fleet.executor_pid(name)).is_err();
                assert!(there, "the agent of {name} ended: {}", fleet.log(name));
                let output = fleet.muster(name, &["status", "-o", "json"]);
                if output.code == 0 { Ok(output.json()["problems"].clone()) } else { Err(output.stderr) }
            });
            let fixed = self.host(name).reach == Reach::Fixed;
            if !fixed || !problems.to_string().contains("cannot listen") {
                return;
            }
            self.stop(name);
            self.set_listen(name, &format!("127.0.0.1:{}", free_port()));
        }
        panic!("no port stays free long enough");
    }

    /// Starts a host's agent and does not wait for it.
    #[track_caller]
    pub(crate) fn launch(&mut self, name: &str) {
        let mut command = self.command(name);
        command.arg("agent");
        self.launch_as(name, command);
    }

    /// Starts a host's agent by a command line that was prepared.
    #[track_caller]
    pub(crate) fn launch_as(&mut self, name: &str, mut command: Command) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir().join(format!("{name}.log")))
            .expect("the agent's log");
        command.stdout(log.try_clone().expect("the log twice")).stderr(log);
        let child = command.spawn().expect("muster agent starts");
        let host = self.host_mut(name);
        assert!(host.agent.is_none(), "{name} runs already");
        host.agent = Some(child);
    }

    /// Stops a host's agent as a service manager does; what it ended with.
    #[track_caller]
    pub(crate) fn stop(&mut self, name: &str) -> i32 {
        self.signal(name, Signal::TERM);
        self.ends(name)
    }

    /// Sends a signal to a host's executor.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let _mesh = self.mesh_pid(name);
        kill_process(pid(self.executor_pid(name)), signal).expect("the agent can be signalled");
    }

    /// Sends a signal to all processes of a host's agent.
    #[track_caller]
    pub(crate) fn signal_both(&self, name: &str, signal: Signal) {
        let mesh = self.mesh_pid(name).expect("a mesh process that runs");
        for process in [self.executor_pid(name), mesh] {
            kill_process(pid(process), signal).expect("the agent can be signalled");
        }
    }

    /// Waits until a host's agent ends by itself; what it ended with.
    #[track_caller]
    pub(crate) fn ends(&mut self, name: &str) -> i32 {
        let mut child = self.host_mut(name).agent.take().expect("an agent that runs");
        let status = wait_exit(&mut child, DEADLINE);
        let Some(status) = status else {
            self.host_mut(name).agent = Some(child);
            panic!("the agent of {name} does not end{}", self.logs());
        };
        code(status)
    }

    /// Kills a host's processes, as a crash or the kernel does.
    #[track_caller]
    pub(crate) fn kill9(&mut self, name: &str, process: Process) {
        let (executor, mesh) = (self.executor_pid(name), self.mesh_pid(name));
        if process != Process::Executor {
            let mesh = mesh.unwrap_or_else(|| panic!("{name} has no mesh process{}", self.logs()));
            let _gone = kill_process(pid(mesh), Signal::KILL);
            // A busy machine takes a while: until then whoever looks for a mesh process would find this one.
            self.until("the killed mesh process ends", |_| gone(mesh));
        }
        if process != Process::Mesh {
            let _gone = kill_process(pid(executor), Signal::KILL);
            let mut child = self.host_mut(name).agent.take().expect("an agent that runs");
            child.wait().expect("a killed agent can be waited for");
            if let Some(mesh) = mesh {
                self.until("the mesh process ends with its executor", |_| gone(mesh));
            }
        }
    }

    /// Stops a host's agent and starts it again.
    #[track_caller]
    pub(crate) fn restart(&mut self, name: &str) {
        assert_eq!(self.stop(name), 0, "{}", self.log(name));
        self.start(name);
    }

    /// Writes where a host listens to its settings; it counts from its next start on.
    #[track_caller]
    pub(crate) fn set_listen(&self, name: &str, address: &str) {
        let path = self.state(name).join("agent.toml");
        let text = fs::read_to_string(&path).expect("agent.toml");
        let mut lines = vec![format!("listen = [\"{address}\"]")];
        lines.extend(text.lines().filter(|line| !line.starts_with("listen")).map(str::to_owned));
        fs::write(&path, lines.join("\n") + "\n").expect("agent.toml");
    }

    /// The executor's process id.
    #[track_caller]
    pub(crate) fn executor_pid(&self, name: &str) -> u32 {
        self.host(name).agent.as_ref().expect("an agent that runs").id()
    }

    /// The mesh process's id, while there is one.
    #[track_caller]
    pub(crate) fn mesh_pid(&self, name: &str) -> Option<u32> {
        let executor = self.executor_pid(name);
        let mesh = processes()
            .into_iter()
            .find(|process| process.parent == executor && process.line.contains("mesh-process"))?;
        self.mesh_seen.borrow_mut().insert(mesh.pid);
        Some(mesh.pid)
    }

    /// What a host's agent logged.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir().join(format!("{name}.log"))).unwrap_or_default()
    }

    // Command lines.

    /// A command line of `muster` that uses a host's socket and state, sealed from this user's files.
    pub(crate) fn command(&self, host: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir().join("home"))
            .env("MUSTER_OPERATORS", self.operators())
            .envs(&self.env)
            .current_dir(self.dir())
            .arg("--state")
            .arg(self.state(host))
            .stdin(Stdio::null());
        command
    }

    /// A command line that sees other mounts than the rest of the machine: those of `script`, a shell
    /// script. For root.
    pub(crate) fn among_mounts(&self, host: &str, script: &str) -> Command {
        let inner = self.command(host);
        let mut command = Command::new("unshare");
        command.env_clear().current_dir(self.dir()).stdin(Stdio::null());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["--mount", "sh", "-e", "-c", &format!("{script}\nexec \"$@\""), "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command
    }

    /// Runs a command line to its end.
    #[track_caller]
    pub(crate) fn muster<S: AsRef<str>>(&self, host: &str, args: &[S]) -> Output {
        self.begin(host, args).finish()
    }

    /// Starts a command line.
    #[track_caller]
    pub(crate) fn begin<S: AsRef<str>>(&self, host: &str, args: &[S]) -> Begun {
        let mut command = self.command(host);
        command.args(args.iter().map(AsRef::as_ref));
        self.begin_command(command)
    }

    /// Starts a command line that was prepared, with its output to files.
    #[track_caller]
    pub(crate) fn begin_command(&self, mut command: Command) -> Begun {
        let number = {
            let mut commands = self.commands.borrow_mut();
            *commands += 1;
            *commands
        };
        let file = |name: &str| self.dir().join(format!("{number}.{name}"));
        let (out, err) = (file("out"), file("err"));
        command.stdout(File::create(&out).expect("a file for output"));
        command.stderr(File::create(&err).expect("a file for errors"));
        let shown = format!("{command:?}");
        let child = command.spawn().expect("muster starts");
        Begun { child, shown, out, err }
    }

    /// `muster run -o jsonl --yes FLAGS -- ARGV` at a host, to its end.
    #[track_caller]
    pub(crate) fn order<S: AsRef<str>>(&self, at: &str, flags: &[&str], argv: &[S]) -> Ran {
        Ran::of(self.begin_order(at, flags, argv).finish())
    }

    /// The same, not waited for; [`Fleet::ran`] takes what it said.
    #[track_caller]
    pub(crate) fn begin_order<S: AsRef<str>>(&self, at: &str, flags: &[&str], argv: &[S]) -> Begun {
        let mut line = vec!["run", "-o", "jsonl", "--yes"];
        line.extend(flags);
        line.push("--");
        line.extend(argv.iter().map(AsRef::as_ref));
        self.begin(at, &line)
    }

    /// Waits for an order that was begun.
    #[track_caller]
    pub(crate) fn ran(begun: Begun) -> Ran {
        Ran::of(begun.finish())
    }

    // Counting.

    /// `argv` such that each spawn is counted, by job and host; without words, one that only counts.
    pub(crate) fn counted(&self, argv: &[&str]) -> Vec<String> {
        let script = self.dir().join("counted").display().to_string();
        [script].into_iter().chain(argv.iter().map(ToString::to_string)).collect()
    }

    /// How often a job was spawned on each host.
    pub(crate) fn spawns(&self, job: &str) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for (of, host) in self.all_spawns() {
            if of == job {
                *count.entry(host).or_default() += 1;
            }
        }
        count
    }

    /// Every spawn of a counted command: job and host.
    pub(crate) fn all_spawns(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.dir().join("spawns")).expect("spawns");
        text.lines()
            .map(|line| line.split_once(' ').map(|(job, host)| (job.to_owned(), host.to_owned())))
            .map(|spawn| spawn.expect("a job and a host"))
            .collect()
    }

    // What agents say.

    /// `muster status -o json`.
    #[track_caller]
    pub(crate) fn status(&self, at: &str) -> Value {
        self.muster(at, &["status", "-o", "json"]).ends(0).json()
    }

    /// One of an agent's counters; 0 if it has not counted that.
    #[track_caller]
    pub(crate) fn counter(&self, at: &str, counter: &str) -> u64 {
        self.status(at)["counters"][counter].as_u64().unwrap_or(0)
    }

    /// The names of the hosts that a host is linked to.
    #[track_caller]
    pub(crate) fn links(&self, at: &str) -> BTreeSet<String> {
        let status = self.status(at);
        status["peers"].as_array().expect("peers").iter().map(|peer| text(&peer["host"])).collect()
    }

    /// `muster host ls -o json`, by name.
    #[track_caller]
    pub(crate) fn hosts(&self, at: &str) -> BTreeMap<String, Value> {
        let list = self.muster(at, &["host", "ls", "-o", "json"]).ends(0).json();
        let rows = list["items"].as_array().expect("items").clone();
        rows.into_iter().map(|row| (text(&row["name"]), row)).collect()
    }

    /// Each host and its state, as `at` lists them.
    #[track_caller]
    pub(crate) fn states(&self, at: &str) -> BTreeMap<String, String> {
        self.hosts(at).into_iter().map(|(name, row)| (name, text(&row["state"]))).collect()
    }

    /// A host's tags, as `at` lists them.
    #[track_caller]
    pub(crate) fn tags(&self, at: &str, host: &str) -> Value {
        self.hosts(at).remove(host).map(|row| row["tags"].clone()).unwrap_or_default()
    }

    /// `muster job show -o json`'s row of each host.
    #[track_caller]
    pub(crate) fn job(&self, at: &str, job: &str) -> BTreeMap<String, Value> {
        let shown = self.muster(at, &["job", "show", job, "-o", "json"]).ends(0).json();
        let rows = shown["hosts"].as_array().expect("hosts").clone();
        rows.into_iter().map(|row| (text(&row["host"]), row)).collect()
    }

    // Waiting.

    /// Waits until every host that runs lists every other as a member that answers, and has a link.
    #[track_caller]
    pub(crate) fn all_see_all(&self) {
        let up: Vec<String> =
            self.hosts.iter().filter(|host| host.agent.is_some()).map(|host| host.name.clone()).collect();
        for at in &up {
            self.until(&format!("{at} sees all"), |fleet| {
                let hosts = fleet.states(at);
                let missing: Vec<_> = up.iter().filter(|name| !hosts.contains_key(*name)).collect();
                if !missing.is_empty() {
                    return Err(format!("{missing:?} are not in {hosts:?}"));
                }
                if up.len() > 1 && fleet.links(at).is_empty() {
                    return Err("no link".to_owned());
                }
                Ok(())
            });
        }
    }

    /// Waits until `condition` holds, and takes what it gives. Its error says what is missing.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, condition: impl FnMut(&Self) -> Result<T, String>) -> T {
        self.until_within(DEADLINE, what, condition)
    }

    /// The same with a deadline of its own.
    #[track_caller]
    pub(crate) fn until_within<T>(
        &self,
        within: Duration,
        what: &str,
        mut condition: impl FnMut(&Self) -> Result<T, String>,
    ) -> T {
        let start = Instant::now();
        loop {
            match condition(self) {
                Ok(found) => return found,
                Err(missing) if start.elapsed() > within => {
                    panic!("waited {within:?} until {what}, but: {missing}{}", self.logs());
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Waits until `span` of real time is over, and what was to expire has expired.
    #[track_caller]
    pub(crate) fn passes(&self, span: Duration) {
        let start = Instant::now();
        self.until(&format!("{span:?} have passed"), |_| match start.elapsed() {
            elapsed if elapsed > span => Ok(()),
            elapsed => Err(format!("it is {elapsed:?}")),
        });
    }

    fn logs(&self) -> String {
        let mut all = String::new();
        for host in &self.hosts {
            let log = self.log(&host.name);
            let mut from = log.len().saturating_sub(LOG_SHOWN);
            while !log.is_char_boundary(from) {
                from += 1;
            }
            let _always = write!(all, "\n--- log of {}:\n{}", host.name, &log[from..]);
        }
        all
    }

    #[track_caller]
    fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).expect("a host of this fleet")
    }

    #[track_caller]
    fn host_mut(&mut self, name: &str) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.name == name).expect("a host of this fleet")
    }

    /// Processes that have this fleet's directory in their command line, and mesh processes seen.
    fn left(&self) -> Vec<Found> {
        let dir = self.dir().display().to_string();
        let seen = self.mesh_seen.borrow();
        processes()
            .into_iter()
            .filter(|process| {
                process.line.contains(&format!("{dir}/"))
                    || seen.contains(&process.pid) && process.line.contains("mesh-process")
            })
            .collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let running: Vec<String> =
            self.hosts.iter().filter(|host| host.agent.is_some()).map(|host| host.name.clone()).collect();
        for name in running {
            let _seen = self.mesh_pid(&name);
            let _gone = kill_process(pid(self.executor_pid(&name)), Signal::TERM);
        }
        for host in &mut self.hosts {
            if let Some(mut child) = host.agent.take()
                && wait_exit(&mut child, DEADLINE / 2).is_none()
            {
                let _gone = child.kill();
                let _reaped = child.wait();
            }
        }
        let start = Instant::now();
        let mut left = self.left();
        while !left.is_empty() && start.elapsed() < DEADLINE / 2 {
            std::thread::sleep(LOOK_EVERY);
            left = self.left();
        }
        for process in &left {
            let _gone = kill_process(pid(process.pid), Signal::KILL);
        }
        assert!(left.is_empty() || std::thread::panicking(), "left running: {left:?}");
    }
}

// Processes.

/// A process of this machine.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its id.
    pub(crate) pid: u32,
    /// Its parent's.
    pub(crate) parent: u32,
    /// Its command line, words with a space between.
    pub(crate) line: String,
}

/// Every process of this machine that is not a zombie.
pub(crate) fn processes() -> Vec<Found> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let zombie = fields.next() == Some("Z");
            let parent = fields.next()?.parse().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (!zombie).then_some(Found { pid, parent, line })
        })
        .collect()
}

/// Whether a process has ended; the error says that it has not.
pub(crate) fn gone(pid: u32) -> Result<(), String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    match stat.rsplit_once(") ") {
        Some((_, rest)) if !rest.starts_with('Z') => Err(format!("process {pid} is there")),
        _ => Ok(()),
    }
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("a process id")
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn wait_exit(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if start.elapsed() > within {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn listen_flags(reach: Reach) -> Vec<String> {
    match reach {
        Reach::Listens => vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()],
        Reach::Fixed => vec!["--listen".to_owned(), format!("127.0.0.1:{}", free_port())],
        Reach::DialsOut => vec!["--no-listen".to_owned()],
    }
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A JSON string, or nothing.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn clipped(text: &str) -> String {
    text.chars().take(LOG_SHOWN).collect()
}

// How many fleets run.

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

struct Permit;

impl Permit {
    fn running() -> MutexGuard<'static, usize> {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take() -> Self {
        let mut running = Self::running();
        while *running >= FLEETS_MAX {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *Self::running() -= 1;
        ENDED.notify_one();
    }
}
