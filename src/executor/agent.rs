//! The executor's loop: one thread, one place that waits.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Trust, TrustError,
    child::Mesh,
    judge::{self, Verdict, judge},
    message::{LinkError, Start, ToExecutor, ToMesh},
    os, spool,
    supervisor::{self, Spawn, Stage, Supervised},
};
use crate::{
    authority::Refusal,
    identity::{self, EntryId, Executor as ExecutorPurpose, Kind, Operator, PublicKey, SecretKey, Signed},
    journal::{Claimed, Claims, HostHome, HostHomeError, JournalError},
    replica::{Cancellation, Order, Outcome, Output, Report, ResultRecord},
    time::Timestamp,
    wire::Bytes,
};

/// Commands that run at a time; more wait unclaimed.
const RUNNING_MAX: usize = 64;
/// Orders that wait.
const WAITING_MAX: usize = 1024;
/// A command that runs longer than this is announced as running.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(300);
/// How often what has expired is swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long after its expiry a claim is remembered.
const CLAIM_MARGIN: Duration = Duration::from_secs(86_400);
/// How long running commands get when the agent is stopped.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Why an agent does not start, or ended. What was claimed and finished is on disk.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Home(#[from] HostHomeError),
    /// What it judges by cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The journal of claims cannot be used.
    #[error("the journal of claims cannot be used: {0}")]
    Journal(#[from] JournalError),
    /// The system refused something else.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// What an agent is started with.
#[derive(Debug)]
pub struct ExecutorSettings {
    /// The host's state directory, with its spool made.
    pub home: HostHome,
    /// The lock on it.
    pub lock: File,
    /// Where command lines connect.
    pub socket: PathBuf,
    /// The socket, listening.
    pub control: OwnedFd,
    /// The user and group that the mesh process becomes, under root.
    pub mesh_user: Option<(u32, u32)>,
    /// Where to listen, as text.
    pub listen: Vec<String>,
    /// Where others reach this host, as text.
    pub advertise: Vec<String>,
    /// Whether to look for members on the local network.
    pub lan: bool,
}

/// A command under way.
#[derive(Debug)]
struct Running {
    order: EntryId,
    issuer: PublicKey<Operator>,
    started: Timestamp,
    announced: bool,
    supervised: Supervised,
}

/// The privileged process.
#[derive(Debug)]
pub struct Executor {
    clock: fn() -> Timestamp,
    home: HostHome,
    _lock: File,
    key: SecretKey<ExecutorPurpose>,
    trust: Trust,
    claims: Claims,
    spool: PathBuf,
    control: OwnedFd,
    settings: Start,
    socket: PathBuf,
    signals: OwnedFd,
    mesh: Mesh,
    running: Vec<Running>,
    waiting: BTreeMap<EntryId, Bytes>,
    cancelled: BTreeMap<EntryId, Bytes>,
    counters: BTreeMap<&'static str, u64>,
    swept: Timestamp,
    stopping: Option<Timestamp>,
    left: bool,
    orphans: bool,
}

impl Executor {
    /// Opens what it judges by and the journal. Nothing runs yet.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn start(settings: ExecutorSettings, clock: fn() -> Timestamp) -> Result<Self, AgentError> {
        let ExecutorSettings { home, lock, socket, control, mesh_user, listen, advertise, lan } = settings;
        let dir = home.executor_dir();
        let spool = dir.join("spool");
        let system = |what| move |source| AgentError::System { what, source };
        let key = home.executor_key()?;
        let trust = Trust::open(&dir.join("trust"), &home.member)?;
        let claims = Claims::open(&dir.join("claims"))?;
        let signals = os::take_signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
            .map_err(system("cannot take signals"))?;
        supervisor::adopts_orphans().map_err(system("cannot adopt orphans"))?;
        let now = clock();
        let settings = Start {
            member: home.member.clone(),
            dir: home.mesh_dir().display().to_string(),
            spool: spool.display().to_string(),
            become_user: mesh_user,
            listen,
            advertise,
            lan,
            executor_pid: std::process::id(),
            executor_uid: rustix::process::geteuid().as_raw(),
        };
        let mut executor = Self {
            clock,
            home,
            _lock: lock,
            key,
            trust,
            claims,
            spool,
            control,
            settings,
            socket,
            signals,
            mesh: Mesh::new(now),
            running: Vec::new(),
            waiting: BTreeMap::new(),
            cancelled: BTreeMap::new(),
            counters: BTreeMap::new(),
            swept: Timestamp(0),
            stopping: None,
            left: false,
            orphans: false,
        };
        executor.recover(now);
        Ok(executor)
    }

    /// What was claimed and has no result: nobody can say what came of it, and it is never run again.
    fn recover(&mut self, now: Timestamp) {
        for order in self.claims.unfinished() {
            let started = self.claims.claimed_at(&order).unwrap_or(now);
            let why = "the agent ended while it ran, and the command with it".to_owned();
            self.finish(EntryId(order), started, Outcome::Indeterminate { why }, None);
        }
    }

    /// Runs until a signal ends it or the host leaves the fleet; true if it left.
    ///
    /// # Errors
    /// When waiting itself fails.
    pub fn run(mut self) -> Result<bool, AgentError> {
        loop {
            let now = (self.clock)();
            if self.left || self.stopped(now) {
                break;
            }
            self.housekeeping(now);
            self.wait(now)?;
        }
        self.mesh.leave();
        if let Err(error) = self.claims.flush() {
            log(&format!("the journal of claims cannot be flushed: {error}"));
        }
        let _best_effort = fs::remove_file(&self.socket);
        let left = self.left;
        if left {
            self.home.erase()?;
        }
        Ok(left)
    }

    fn stopped(&mut self, now: Timestamp) -> bool {
        let Some(since) = self.stopping else { return false };
        self.running.is_empty() || now.since(since) > STOP_WITHIN
    }

    fn housekeeping(&mut self, now: Timestamp) {
        if self.mesh.next_start.is_some_and(|at| at <= now)
            && self.stopping.is_none()
            && let Err(error) = self.mesh.start(self.settings.clone(), &self.control, now)
        {
            log(&format!("the mesh process cannot be started: {error}"));
        }
        for at in 0..self.running.len() {
            let Some(running) = self.running.get_mut(at) else { continue };
            if !running.announced && now.since(running.started) >= ANNOUNCE_AFTER {
                running.announced = true;
                let order = running.order;
                self.tell(&ToMesh::Running { order });
            }
        }
        if self.orphans {
            // Supervisors were killed: what they watched is ours now, and ends.
            let mut known: Vec<_> = self.running.iter().map(|running| running.supervised.pid).collect();
            known.extend(self.mesh.pid());
            self.orphans = supervisor::end_orphans(&known) > 0;
        }
        if now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            // Without witnesses in the fleet the local clock is all there is; the floor that compaction
            // leaves behind refuses what may have been forgotten.
            if let Err(error) = self.claims.compact(now, CLAIM_MARGIN) {
                log(&format!("the journal of claims cannot be compacted: {error}"));
            }
            if let Err(error) = spool::sweep(&self.spool, now) {
                log(&format!("the spool cannot be swept: {error}"));
            }
        }
        while self.running.len() < RUNNING_MAX && self.stopping.is_none() {
            let Some((_, order)) = self.waiting.pop_first() else { break };
            self.take(&order.0, now);
        }
    }

    /// Waits for the mesh process, a signal, a report or the next thing that is due; then handles it.
    fn wait(&mut self, now: Timestamp) -> Result<(), AgentError> {
        let due = [
            self.mesh.next_start.filter(|_| self.stopping.is_none()),
            self.running
                .iter()
                .filter(|running| !running.announced)
                .map(|running| running.started.after(ANNOUNCE_AFTER))
                .min(),
            Some(self.swept.after(SWEEP_EVERY)),
            self.stopping.map(|since| since.after(STOP_WITHIN)),
            self.orphans.then(|| now.after(Duration::from_millis(20))),
        ];
        let due = due.into_iter().flatten().min().map_or(SWEEP_EVERY, |due| due.since(now));
        let due = due.min(SWEEP_EVERY) + Duration::from_millis(1);
        let timeout = Timespec {
            tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: due.subsec_nanos().into(),
        };
        let (signalled, mesh, reported) = {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            for running in &self.running {
                fds.push(PollFd::new(&running.supervised.report, PollFlags::IN));
            }
            if let Some(link) = &self.mesh.link {
                let mut wanted = PollFlags::IN;
                if link.wants_to_write() {
                    wanted |= PollFlags::OUT;
                }
                fds.push(PollFd::from_borrowed_fd(link.as_fd(), wanted));
            }
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(AgentError::System { what: "cannot wait", source: error.into() });
                }
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let signalled = ready.first().copied().unwrap_or_default();
            let mesh = self.mesh.link.is_some() && ready.last().copied().unwrap_or_default();
            let reported: Vec<EntryId> = self
                .running
                .iter()
                .zip(ready.iter().skip(1))
                .filter(|(_, ready)| **ready)
                .map(|(running, _)| running.order)
                .collect();
            (signalled, mesh, reported)
        };
        if signalled {
            self.on_signals();
        }
        for order in reported {
            self.on_report(order);
        }
        if mesh {
            self.on_mesh();
        }
        Ok(())
    }

    fn on_signals(&mut self) {
        let now = (self.clock)();
        let mut buffer = [0; 128 * 16];
        let read = rustix::io::read(&self.signals, &mut buffer).unwrap_or(0);
        for record in buffer.get(..read).unwrap_or_default().chunks_exact(128) {
            // signalfd_siginfo starts with the signal's number (signalfd(2)).
            let number = record.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
            let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
            if ends.into_iter().any(|signal| u32::try_from(signal).ok() == number) && self.stopping.is_none()
            {
                self.stopping = Some(now);
                self.waiting.clear();
                for running in &self.running {
                    running.supervised.cancel();
                }
            }
        }
        self.mesh.reap(now);
    }

    fn on_mesh(&mut self) {
        let mut messages = Vec::new();
        let Some(link) = &mut self.mesh.link else { return };
        let mut broken = link.flush().and_then(|()| link.fill()).err();
        loop {
            match link.message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        for message in messages {
            self.on_message(message);
        }
        if let Some(error) = broken {
            if !matches!(error, LinkError::Gone) {
                log(&format!("the mesh process is ended: {error}"));
            }
            self.mesh.ended((self.clock)());
        }
    }

    fn on_message(&mut self, message: ToExecutor) {
        match message {
            ToExecutor::Ready { .. } => self.tell_all(),
            ToExecutor::Learn { entries } => match self.trust.learn(&entries) {
                Ok(entries) => self.tell(&ToMesh::Learned { entries }),
                Err(error) => log(&format!("nothing can be learned: {error}")),
            },
            ToExecutor::Order { order } => {
                let Some(id) = judge::id_of(&order.0) else { return self.count("orders_malformed") };
                let now = (self.clock)();
                if self.running.len() < RUNNING_MAX {
                    self.take(&order.0, now);
                } else if self.claims.claimed_at(&id.0).is_some() {
                    // Not to be waited with: every order is handed over again by a new mesh process.
                    self.count("orders_repeated");
                } else if self.waiting.len() < WAITING_MAX {
                    self.waiting.insert(id, order);
                } else {
                    self.count("orders_over_bound");
                    self.turn_away(&order.0, now);
                }
            }
            ToExecutor::Cancel { cancellation } => self.cancel(&cancellation),
            ToExecutor::Settled { order } => self.claims.settle(order.0),
            ToExecutor::Count {} => {
                let mut counters: Vec<(String, u64)> =
                    self.counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
                counters.push((
                    "order_verifications_executor".to_owned(),
                    identity::verifications(Kind::Order as u16),
                ));
                counters.push((
                    "result_verifications_executor".to_owned(),
                    identity::verifications(Kind::Result as u16),
                ));
                counters.push(("mesh_starts".to_owned(), self.mesh.starts));
                self.tell(&ToMesh::Counters { counters });
            }
            ToExecutor::Leave { departure } => {
                let verified =
                    Signed::<crate::authority::Departure>::verify(&departure.0, self.trust.fleet());
                if verified.is_ok_and(|departure| departure.signer() == self.trust.stream()) {
                    self.tell(&ToMesh::Erased {});
                    self.left = true;
                } else {
                    self.count("departures_refused");
                }
            }
        }
    }

    /// A mesh process is new: it is told what is under way and what no keeper has yet.
    fn tell_all(&mut self) {
        let unsettled: Vec<(EntryId, Vec<u8>)> =
            self.claims.unsettled().map(|(order, result)| (EntryId(order), result.to_vec())).collect();
        for (order, record) in unsettled {
            let report = self.report(order, record);
            self.tell(&ToMesh::Report { report });
        }
        let running: Vec<EntryId> = self.running.iter().map(|running| running.order).collect();
        for order in running {
            self.tell(&ToMesh::Running { order });
        }
    }

    fn tell(&mut self, message: &ToMesh) {
        if let Some(link) = &mut self.mesh.link
            && let Err(error) = link.send(message)
        {
            if !matches!(error, LinkError::Gone) {
                log(&format!("the mesh process is ended: {error}"));
            }
            self.mesh.ended((self.clock)());
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
    }

    /// Judges an order, claims it and runs it.
    fn take(&mut self, bytes: &[u8], now: Timestamp) {
        let Some(id) = judge::id_of(bytes) else { return self.count("orders_malformed") };
        if self.stopping.is_some() {
            return;
        }
        if self.claims.claimed_at(&id.0).is_some() {
            // A repeat. If its result is known and not settled, the mesh process has it or will.
            return self.count("orders_repeated");
        }
        let root = rustix::process::geteuid().is_root();
        match judge(bytes, &self.trust, now, root) {
            Verdict::Drop(reason) => {
                self.count("orders_dropped");
                log(&format!("an order is dropped: {reason}"));
            }
            Verdict::Refuse { order, refusal } => {
                self.count("orders_refused");
                self.refuse(&order, &refusal, now);
            }
            Verdict::Run { order, account, argv } => {
                let cancelled = self.cancelled.get(&id).is_some_and(|bytes| self.cancels(bytes, &order));
                match self.claims.claim(id.0, order.body().expires, now) {
                    Ok(Claimed::New) if cancelled => self.finish(id, now, Outcome::Cancelled {}, None),
                    Ok(Claimed::New) => self.spawn(&order, account, argv, now),
                    Ok(Claimed::Already) => self.count("orders_repeated"),
                    Ok(Claimed::BelowFloor) => self.refuse_unclaimed(&order, &Refusal::BelowFloor, now),
                    Err(error) => {
                        self.refuse_unclaimed(&order, &Refusal::NoClaim(error.to_string()), now);
                    }
                }
            }
        }
    }

    /// An order that finds no place among those that wait is refused, so that nobody waits for it.
    fn turn_away(&mut self, bytes: &[u8], now: Timestamp) {
        let Ok(order) = Signed::<Order>::verify(bytes, self.trust.fleet()) else { return };
        let issuer = self.trust.authority().certificate_of(&order.body().certificate, order.signer());
        if issuer.is_ok() {
            self.refuse(
                &order,
                &Refusal::TooMany { what: "orders waiting on this host", limit: WAITING_MAX },
                now,
            );
        }
    }

    fn spawn(
        &mut self,
        order: &Signed<Order>,
        account: Option<super::Account>,
        argv: Vec<Vec<u8>>,
        now: Timestamp,
    ) {
        let id = order.id();
        let (stdout, stderr) = spool::paths(&self.spool, &id);
        let spawn = Spawn {
            argv,
            account,
            timeout: judge::timeout(order.body()),
            output_bytes_max: order.body().limits.output_bytes_max,
            stdout,
            stderr,
            environment: vec![("MUSTER_JOB".to_owned(), id.to_string())],
        };
        match supervisor::supervise(&spawn) {
            Ok(supervised) => {
                self.count("spawns");
                self.running.push(Running {
                    order: id,
                    issuer: order.signer(),
                    started: now,
                    announced: false,
                    supervised,
                });
            }
            Err(error) => {
                let why = format!("no supervisor could be started: {error}");
                self.finish(id, now, Outcome::NotStarted { code: 126, why }, None);
            }
        }
    }

    /// Refuses for good: the refusal is a result like any other, so a repeat meets it.
    fn refuse(&mut self, order: &Signed<Order>, refusal: &Refusal, now: Timestamp) {
        let id = order.id();
        match self.claims.claim(id.0, order.body().expires, now) {
            Ok(Claimed::New) => {
                self.finish(id, now, Outcome::Refused { why: refusal.to_string() }, None);
            }
            Ok(Claimed::Already) => self.count("orders_repeated"),
            Ok(Claimed::BelowFloor) | Err(_) => self.refuse_unclaimed(order, refusal, now),
        }
    }

    /// Refuses where nothing can be recorded: said once, and nothing was started.
    fn refuse_unclaimed(&mut self, order: &Signed<Order>, refusal: &Refusal, now: Timestamp) {
        let outcome = Outcome::Refused { why: refusal.to_string() };
        let record = self.sign(order.id(), now, outcome, None);
        let report = self.report(order.id(), record);
        self.tell(&ToMesh::Report { report });
    }

    fn on_report(&mut self, order: EntryId) {
        let Some(at) = self.running.iter().position(|running| running.order == order) else { return };
        let running = self.running.swap_remove(at);
        let report = supervisor::read_report(&running.supervised.report);
        if let Err(error) = running.supervised.collect() {
            log(&format!("a supervisor could not be collected: {error}"));
        }
        let started = running.started;
        let Ok(Some(report)) = report else {
            self.orphans = true;
            let why = "its supervisor was killed, and the command with it".to_owned();
            return self.finish(order, started, Outcome::Indeterminate { why }, None);
        };
        let stopped = self.stopping.is_some() && matches!(report.outcome, supervisor::Outcome::Cancelled);
        let outcome = if stopped {
            let why = "the agent was stopped, and the command ended with it".to_owned();
            Outcome::Indeterminate { why }
        } else {
            outcome_of(report.outcome)
        };
        self.finish(order, started, outcome, Some(&report));
    }

    /// Signs a result, syncs it, and lets it leave.
    fn finish(
        &mut self,
        order: EntryId,
        started: Timestamp,
        outcome: Outcome,
        report: Option<&supervisor::Report>,
    ) {
        let record = self.sign(order, started, outcome, report);
        if let Err(error) = self.claims.finish(order.0, &record) {
            // It stays claimed: after a restart it is indeterminate, and it is never run again.
            log(&format!("the result of {order} cannot be recorded: {error}"));
            let why = format!("the result cannot be recorded on the host: {error}");
            let record = self.sign(order, started, Outcome::Indeterminate { why }, report);
            let report = self.report(order, record);
            return self.tell(&ToMesh::Report { report });
        }
        let report = self.report(order, record);
        self.tell(&ToMesh::Report { report });
    }

    fn sign(
        &self,
        order: EntryId,
        started: Timestamp,
        outcome: Outcome,
        report: Option<&supervisor::Report>,
    ) -> Vec<u8> {
        let output = |stream: &supervisor::StreamReport| Output {
            hash: stream.hash,
            kept: stream.kept,
            produced: stream.bytes,
        };
        let nothing = Output { hash: *blake3::hash(&[]).as_bytes(), kept: 0, produced: 0 };
        let record = ResultRecord {
            order,
            host: self.trust.host(),
            outcome,
            started,
            took_ms: report.map_or(0, |report| report.took_ms),
            stdout: report.map_or(nothing, |report| output(&report.stdout)),
            stderr: report.map_or(nothing, |report| output(&report.stderr)),
            left_behind: report.map_or(0, |report| report.left_behind),
        };
        Signed::sign(self.trust.fleet(), &self.key, record).bytes().to_vec()
    }

    /// A signed result as it travels.
    fn report(&self, order: EntryId, record: Vec<u8>) -> Report {
        // Our own signature: read without checking it again.
        let (stdout, stderr) = Signed::<ResultRecord>::own(&record)
            .map(|body| spool::inline(&self.spool, &order, &body.stdout, &body.stderr))
            .unwrap_or_default();
        Report { order, host: self.trust.host(), record: Bytes(record), stdout, stderr }
    }

    fn cancels(&self, bytes: &Bytes, order: &Signed<Order>) -> bool {
        Signed::<Cancellation>::verify(&bytes.0, self.trust.fleet()).is_ok_and(|cancellation| {
            cancellation.body().order == order.id() && cancellation.signer() == order.signer()
        })
    }

    fn cancel(&mut self, bytes: &Bytes) {
        let Ok(cancellation) = Signed::<Cancellation>::verify(&bytes.0, self.trust.fleet()) else {
            return self.count("cancellations_malformed");
        };
        let order = cancellation.body().order;
        match self.running.iter().find(|running| running.order == order) {
            Some(running) if running.issuer == cancellation.signer() => running.supervised.cancel(),
            Some(_) => self.count("cancellations_refused"),
            None if self.cancelled.len() < WAITING_MAX => {
                self.cancelled.insert(order, bytes.clone());
            }
            None => self.count("cancellations_over_bound"),
        }
    }
}

fn outcome_of(outcome: supervisor::Outcome) -> Outcome {
    match outcome {
        supervisor::Outcome::Exited { code } => Outcome::Exited { code },
        supervisor::Outcome::Signaled { signal } => Outcome::Signaled { signal },
        supervisor::Outcome::TimedOut => Outcome::TimedOut {},
        supervisor::Outcome::Cancelled => Outcome::Cancelled {},
        supervisor::Outcome::NotStarted { errno, stage } => {
            let error = io::Error::from_raw_os_error(errno);
            let (code, why) = match (stage, error.kind()) {
                (Stage::Exec, io::ErrorKind::NotFound) => (127, "command not found".to_owned()),
                (Stage::Exec, io::ErrorKind::PermissionDenied) => (126, "not executable".to_owned()),
                (Stage::Exec, _) => (126, format!("cannot be executed: {error}")),
                (stage, _) => (126, format!("{stage:?} failed: {error}").to_lowercase()),
            };
            Outcome::NotStarted { code, why }
        }
    }
}

/// One line on standard error, where the service manager or the terminal takes it.
fn log(line: &str) {
    let _nobody_reads = writeln!(io::stderr(), "muster: {line}");
}
