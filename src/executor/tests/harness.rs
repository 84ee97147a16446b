use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use crate::{
    authority::{
        AGENT_USER, Certificate, Enrolment, ListPlace, RootChange,
        sample::{self, Fleet, HOUR_MS, NOW, key, later},
    },
    executor::{
        Executor, ExecutorSettings,
        message::{MESSAGE_BYTES_MAX, ToExecutor, ToMesh},
        os, supervisor,
    },
    identity::{Cosigned, EntryId, HostId, Operator, PublicKey, SecretKey, Signed, Token},
    journal::{Candidate, HostHome, Member},
    replica::{Action, Cancellation, Handed, Limits, Order, Outcome, Report, ResultRecord, Roster},
    time::Timestamp,
    wire::{self, Bytes, FrameReader},
};

/// Generous: the machine may be slow.
const WITHIN: Duration = Duration::from_secs(60);
const HOME: &str = "MUSTER_TEST_HOME";
const SWEEP_MS: &str = "MUSTER_TEST_SWEEP_MS";

/// What the executor's process ends with when the host has left.
pub(super) const LEFT: i32 = 3;
/// What a signal ended.
const KILLED: i32 = 5;
/// What it ends with when it does not start, or ends badly.
pub(super) const FAILED: i32 = 4;

const LIMITS: supervisor::Limits =
    supervisor::Limits { memory_bytes: None, processes: 16_384, descriptors: 4096 };

static CLOCK: OnceLock<PathBuf> = OnceLock::new();

/// Reads the clock that the test set.
fn clock() -> Timestamp {
    let text = CLOCK.get().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    Timestamp(text.trim().parse().unwrap())
}

fn this_test(name: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let name = format!("executor::tests::harness::{name}");
    [program.as_str(), "--exact", &name, "--ignored", "--nocapture", "--test-threads=1"]
        .map(str::to_owned)
        .to_vec()
}

/// The executor's process: a fork, since that has one thread, as an agent has. The process in between ends
/// with it, and as it did.
#[test]
#[ignore = "started by the other tests"]
fn process_of_an_executor() {
    let dir = PathBuf::from(std::env::var_os(HOME).expect("started by the other tests"));
    CLOCK.set(dir.join("clock")).unwrap();
    let between = rustix::process::getpid();
    let executor = os::fork_into(|| {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
        assert_eq!(rustix::process::getppid(), Some(between));
        fs::write(dir.join("pid.new"), rustix::process::getpid().as_raw_pid().to_string()).unwrap();
        fs::rename(dir.join("pid.new"), dir.join("pid")).unwrap();
        run_an_executor(&dir)
    });
    let status = rustix::process::waitpid(Some(executor.unwrap()), rustix::process::WaitOptions::empty());
    let code = status.unwrap().and_then(|(_, status)| status.exit_status());
    std::process::exit(code.unwrap_or(KILLED));
}

fn run_an_executor(dir: &Path) -> ! {
    let fail = |error: &dyn std::fmt::Display| -> ! {
        writeln!(io::stderr(), "failed: {error}").unwrap();
        std::process::exit(FAILED)
    };
    let home = HostHome::open(&dir.join("state")).unwrap_or_else(|error| fail(&error));
    let lock = home.lock().unwrap_or_else(|error| fail(&error));
    let socket = dir.join("control.sock");
    let control = OwnedFd::from(UnixListener::bind(&socket).unwrap());
    let settings = ExecutorSettings {
        home,
        lock,
        socket,
        control,
        mesh_user: None,
        mesh: Bytes::default(),
        limits: LIMITS,
    };
    let mut executor = Executor::start(settings, clock).unwrap_or_else(|error| fail(&error));
    executor.mesh.program = this_test("process_of_a_mesh");
    if let Ok(every) = std::env::var(SWEEP_MS) {
        executor.sweep_every = Duration::from_millis(every.parse().unwrap());
    }
    match executor.run() {
        Ok(true) => std::process::exit(LEFT),
        Ok(false) => std::process::exit(0),
        Err(error) => fail(&error),
    }
}

/// The mesh process: says what it was started with, and carries bytes between the executor and the test.
#[test]
#[ignore = "started by the other tests"]
fn process_of_a_mesh() {
    let pair = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let start = loop {
        if let Some(body) = reader.next_frame().unwrap() {
            break body;
        }
        // The descriptor beside it is passed over.
        let mut byte = [0];
        (&pair).read_exact(&mut byte).expect("started by the other tests");
        reader.push(&byte);
    };
    let ToMesh::Start { start } = wire::decode(&start, MESSAGE_BYTES_MAX).unwrap() else { panic!() };
    let dir = Path::new(&start.dir).parent().unwrap().parent().unwrap().to_owned();
    let test = UnixStream::connect(dir.join("mesh.sock")).unwrap();
    let carry = |mut from: UnixStream, mut to: UnixStream| {
        move || {
            // Whatever ends one way ends the process, as it does with the real one.
            let _ended = io::copy(&mut from, &mut to);
            std::process::exit(0);
        }
    };
    std::thread::spawn(carry(test.try_clone().unwrap(), pair.try_clone().unwrap()));
    carry(pair, test)();
}

/// Waits for something to come true.
#[expect(clippy::disallowed_methods, reason = "a deadline for real processes")]
pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WITHIN, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// A host's directory with its fleet. Operator 1 may do everything; the others what their test says.
pub(super) struct Host {
    dir: tempfile::TempDir,
    pub(super) fleet: Fleet,
    pub(super) under: Vec<EntryId>,
    pub(super) invitation: Signed<crate::authority::Invitation>,
    pub(super) stream: SecretKey<crate::identity::Stream>,
    pub(super) id: HostId,
    listener: UnixListener,
    pub(super) sweep_ms: Option<u64>,
}

pub(super) fn operator(number: u8) -> SecretKey<Operator> {
    key(number)
}

impl Host {
    /// With operator 1 alone.
    pub(super) fn new() -> Self {
        Self::with(|_| {}, 1)
    }

    /// With an operator 2 whose certificate `change` makes less of, and a token of so many uses.
    pub(super) fn with(change: impl FnOnce(&mut Certificate), uses: u32) -> Self {
        let mut less = sample::certificate("eve", &operator(2));
        change(&mut less);
        let (fleet, under) = Fleet::with(&[sample::certificate("ana", &operator(1)), less]);
        let dir = tempfile::tempdir().unwrap();
        let mut drawn = 100;
        let fresh = || {
            drawn += 1;
            [drawn; 32]
        };
        let candidate = Candidate::prepare(&dir.path().join("state"), fresh).unwrap();
        let invitation = fleet.invite(&operator(1), under[0], 9, &[("role", "web")], uses);
        let enrolment = Enrolment {
            name: "here".to_owned(),
            tags: sample::pairs(&[("role", "web")]),
            keys: candidate.keys(),
            at: NOW,
        };
        let certificate =
            fleet.host_certificate(&invitation, &key::<Token>(9), candidate.stream(), enrolment);
        let (stream, id) = (candidate.stream().clone(), HostId::of(&candidate.stream().public()));
        let updates = fleet.chain.updates().iter().map(|update| Bytes::from(update.bytes())).collect();
        let member = Member {
            fleet: fleet.id(),
            shield: [7; 32],
            updates,
            certificate: Bytes::from(certificate.bytes()),
        };
        candidate.admit(&member, &[]).unwrap();
        for own in ["executor/spool", "executor/shipped", "mesh/shipped"] {
            fs::create_dir(dir.path().join("state").join(own)).unwrap();
        }
        let listener = UnixListener::bind(dir.path().join("mesh.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = Self { dir, fleet, under, invitation, stream, id, listener, sweep_ms: None };
        host.set_clock(later(1000));
        host
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn set_clock(&self, now: Timestamp) {
        fs::write(self.path("clock.new"), now.0.to_string()).unwrap();
        fs::rename(self.path("clock.new"), self.path("clock")).unwrap();
    }

    /// Starts the executor, and waits until its mesh process is connected to the test.
    pub(super) fn start(&self) -> (Agent, Mesh<'_>) {
        let agent = self.start_alone();
        let mesh = self.mesh();
        (agent, mesh)
    }

    pub(super) fn start_alone(&self) -> Agent {
        let _last_ones = fs::remove_file(self.path("control.sock"));
        let _last_ones = fs::remove_file(self.path("pid"));
        let words = this_test("process_of_an_executor");
        let log = fs::File::options().append(true).create(true).open(self.path("log")).unwrap();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env(HOME, self.dir.path())
            .env("LEAKED", "canary")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(every) = self.sweep_ms {
            command.env(SWEEP_MS, every.to_string());
        }
        let child = command.spawn().unwrap();
        let mut pid = None;
        until("the executor's pid", || {
            let text = fs::read_to_string(self.path("pid")).unwrap_or_default();
            pid = text.parse().ok().and_then(Pid::from_raw);
            pid.is_some()
        });
        Agent { child, pid: pid.unwrap() }
    }

    /// The mesh process that connects next, once it has said that it is ready.
    pub(super) fn mesh(&self) -> Mesh<'_> {
        let mut mesh = self.mesh_before_it_is_ready();
        mesh.send(&ToExecutor::Ready { confinement: "none".to_owned() });
        mesh
    }

    pub(super) fn mesh_before_it_is_ready(&self) -> Mesh<'_> {
        let mut stream = None;
        until("a mesh process", || {
            stream = self.listener.accept().ok();
            stream.is_some()
        });
        let (stream, _) = stream.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.set_write_timeout(Some(WITHIN)).unwrap();
        Mesh { host: self, stream, reader: FrameReader::new(MESSAGE_BYTES_MAX) }
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// How often the command of [`Host::order`] ran.
    pub(super) fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    /// A shell script that leaves a line in a file each time it runs, and then does as told.
    pub(super) fn script(&self, then: &str) -> Vec<Bytes> {
        let script = format!("echo $MUSTER_JOB >> {}; {then}", self.path("runs").display());
        ["sh", "-c", &script].map(|word| Bytes::from(word.as_bytes())).to_vec()
    }

    /// An order of operator 1 that this host runs, changed by `change`.
    pub(super) fn order(&self, then: &str, change: impl FnOnce(&mut Order)) -> Signed<Order> {
        self.order_of(1, then, change)
    }

    pub(super) fn order_of(&self, number: u8, then: &str, change: impl FnOnce(&mut Order)) -> Signed<Order> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NONCE: AtomicU64 = AtomicU64::new(0);
        let mut nonce = [number; 16];
        nonce[..8].copy_from_slice(&NONCE.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let under = self.under.get(usize::from(number) - 1).copied();
        let mut order = Order {
            nonce,
            certificate: under.unwrap_or(self.under[0]),
            issued: NOW,
            expires: later(HOUR_MS),
            selector: "all".to_owned(),
            roster: Roster::Inline { hosts: vec![self.id] },
            action: Action::Argv { argv: self.script(then) },
            run_as: AGENT_USER.to_owned(),
            limits: Limits { timeout_ms: 600_000, output_bytes_max: 1 << 20 },
            keepers: Vec::new(),
            reason: None,
        };
        change(&mut order);
        Signed::sign(self.fleet.id(), &operator(number), order)
    }

    pub(super) fn cancellation(&self, number: u8, order: &Signed<Order>) -> ToExecutor {
        let body = Cancellation { order: order.id(), at: NOW, expires: order.body().expires };
        let signed = Signed::sign(self.fleet.id(), &operator(number), body);
        ToExecutor::Cancel { cancellation: Bytes::from(signed.bytes()) }
    }

    /// A root update that follows `after`, or the chain's tip; signed, and not taken here.
    pub(super) fn root_update(
        &self,
        after: Option<&Cosigned<crate::authority::RootUpdate>>,
        change: RootChange,
    ) -> Cosigned<crate::authority::RootUpdate> {
        let next = self.fleet.chain.next(change.clone());
        match after {
            None => self.fleet.update(next.parent, next.sequence, change),
            Some(update) => self.fleet.update(Some(update.id()), update.body().sequence + 1, change),
        }
    }

    pub(super) fn executor_key(&self) -> PublicKey<crate::identity::Executor> {
        HostHome::open(&self.path("state")).unwrap().executor_key().unwrap().public()
    }
}

/// The executor's process, which does not outlive the test.
pub(super) struct Agent {
    /// The process in between.
    child: Child,
    pid: Pid,
}

impl Agent {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub(super) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the executor's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.child.wait().unwrap().code(), Some(KILLED));
    }

    /// The mesh process's pid.
    pub(super) fn mesh_pid(&self) -> Pid {
        let pid = self.pid().as_raw_pid();
        let mut found = None;
        until("a mesh process to be seen", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            found =
                children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).find(|pid| {
                    let words = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
                    words.starts_with(b"muster: mesh\0")
                });
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The executor goes with the process in between.
        let _ended_already = self.child.kill();
        let _collected = self.child.wait();
    }
}

/// The mesh process, played by the test.
pub(super) struct Mesh<'a> {
    host: &'a Host,
    pub(super) stream: UnixStream,
    reader: FrameReader,
}

impl Mesh<'_> {
    pub(super) fn send(&mut self, message: &ToExecutor) {
        self.stream.write_all(&wire::frame(&wire::encode(message), MESSAGE_BYTES_MAX).unwrap()).unwrap();
    }

    pub(super) fn order(&mut self, order: &Signed<Order>) {
        self.handed(order, None);
    }

    pub(super) fn handed(&mut self, order: &Signed<Order>, place: Option<ListPlace>) {
        self.send(&ToExecutor::Order { order: Handed { place, ..Handed::bare(order.bytes()) } });
    }

    /// The next message; `None` once the executor is gone.
    pub(super) fn next(&mut self) -> Option<ToMesh> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(body) = self.reader.next_frame().unwrap() {
                return Some(wire::decode(&body, MESSAGE_BYTES_MAX).unwrap());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.reader.push(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the executor says nothing: {error}"),
            }
        }
    }

    /// The next report, whatever is said before it.
    pub(super) fn report(&mut self) -> Report {
        loop {
            if let ToMesh::Report { report } = self.next().expect("the executor is gone") {
                return report;
            }
        }
    }

    /// What the next report says.
    pub(super) fn result(&mut self) -> (EntryId, Outcome) {
        let report = self.report();
        let signed = Signed::<ResultRecord>::verify(&report.record.0, self.host.fleet.id()).unwrap();
        assert_eq!(signed.signer(), self.host.executor_key());
        assert_eq!((signed.body().order, signed.body().host), (report.order, self.host.id));
        (report.order, signed.body().outcome.clone())
    }

    /// What comes of an order that is handed over.
    pub(super) fn outcome(&mut self, order: &Signed<Order>) -> Outcome {
        self.order(order);
        let (id, outcome) = self.result();
        assert_eq!(id, order.id());
        outcome
    }

    /// Why an order is refused.
    pub(super) fn refusal(&mut self, order: &Signed<Order>) -> String {
        match self.outcome(order) {
            Outcome::Refused { why } => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(super) fn settle(&mut self, order: EntryId) {
        self.send(&ToExecutor::Settled { order });
    }

    /// A counter; since messages are handled in order, all that was sent before has had its effect.
    pub(super) fn counter(&mut self, name: &str) -> u64 {
        self.send(&ToExecutor::Count {});
        loop {
            match self.next().expect("the executor is gone") {
                ToMesh::Counters { counters } => {
                    return counters.iter().find(|(key, _)| key == name).map_or(0, |(_, count)| *count);
                }
                ToMesh::Running { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Hands over what is to be learned, and waits until it is on disk; how many were taken.
    pub(super) fn learn(&mut self, entries: &[&[u8]]) -> u32 {
        let entries = entries.iter().map(|entry| Bytes::from(*entry)).collect();
        self.send(&ToExecutor::Learn { entries });
        match self.next() {
            Some(ToMesh::Learned { entries }) => entries,
            other => panic!("unexpected {other:?}"),
        }
    }
}
