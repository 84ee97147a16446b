//! The executor's loop: one thread, one place that waits.
//!
//! What comes of an order is in `orders`. Timers run by the time since the machine started: the clock that
//! people set is only good for judging, and must neither hold a restart back nor bring one forward.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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
    message::{LinkError, Start, ToExecutor, ToMesh},
    orders::{Owed, Running},
    os,
    supervisor::{self, Groups, Limits, uptime},
};
use crate::{
    authority::Departure,
    identity::{self, EntryId, Executor as ExecutorPurpose, Kind, SealSecret, SecretKey, Signed},
    journal::{AuditLog, Claims, HostHome, HostHomeError, JournalError, shipped::SHIPPED, spool},
    link::Notify,
    replica::{AuditEvent, Cancellation, Cancelled, Handed, Waiting},
    time::Timestamp,
    wire::Bytes,
};

/// Commands that run at a time; more wait unclaimed.
pub(super) const RUNNING_MAX: usize = 64;
/// A command that runs longer than this is announced as running.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(300);
/// How often what has expired is swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long after its expiry a claim is remembered.
const CLAIM_MARGIN: Duration = Duration::from_secs(86_400);
/// How long running commands get when the agent is stopped.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How long what came of them has to reach a keeper then; it is offered again after the next start.
const RESULTS_LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How long a mesh process may take to tell who asked that the host has left.
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);
/// How often results that could not be recorded are tried again.
const OWED_EVERY: Duration = Duration::from_secs(5);
/// Where the audit chain is, in the executor's directory.
const AUDIT: &str = "audit";
/// Bytes that wait for the mesh process before it is offered more results.
const OFFER_BYTES: usize = 256 * 1024;

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
    /// What else the mesh process is told, encoded: passed on unread.
    pub mesh: Bytes,
    /// What each command may take.
    pub limits: Limits,
}

/// The privileged process.
#[derive(Debug)]
pub struct Executor {
    pub(super) clock: fn() -> Timestamp,
    home: HostHome,
    _lock: File,
    pub(super) key: SecretKey<ExecutorPurpose>,
    pub(super) seal: SealSecret,
    pub(super) trust: Trust,
    pub(super) claims: Claims,
    pub(super) audit: AuditLog,
    pub(super) spool: PathBuf,
    pub(super) limits: Limits,
    pub(super) groups: Option<Groups>,
    /// Where the mesh process puts what is shipped with orders, and where it is copied to.
    pub(super) shipped: [PathBuf; 2],
    control: OwnedFd,
    settings: Start,
    socket: PathBuf,
    signals: OwnedFd,
    pub(super) mesh: Mesh,
    notify: Notify,
    pub(super) running: Vec<Running>,
    waiting: Waiting,
    pub(super) cancelled: Cancelled,
    /// Results that are not on disk: the disk was full, say.
    pub(super) owed: BTreeMap<EntryId, Owed>,
    owed_tried: Duration,
    /// Results that a new mesh process is still to be told.
    offers: VecDeque<EntryId>,
    pub(super) counters: BTreeMap<&'static str, u64>,
    /// The latest time that an order was issued which this host ran: time that somebody with the right to
    /// signed. What is remembered is forgotten by it, never by the local clock.
    pub(super) signed_now: Timestamp,
    swept: Option<Duration>,
    pub(super) sweep_every: Duration,
    pub(super) stopping: Option<Duration>,
    /// Results of what was ended by the stop and no keeper has yet; since when nothing runs.
    pub(super) leaving: BTreeSet<EntryId>,
    idle: Option<Duration>,
    left: bool,
    goodbye: Option<Duration>,
    pub(super) orphans: bool,
}

impl Executor {
    /// Opens what it judges by and the journal. Nothing runs yet.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn start(settings: ExecutorSettings, clock: fn() -> Timestamp) -> Result<Self, AgentError> {
        let ExecutorSettings { home, lock, socket, control, mesh_user, mesh, limits } = settings;
        let dir = home.executor_dir();
        let spool = dir.join("spool");
        let system = |what| move |source| AgentError::System { what, source };
        // Whatever started this process: nothing that it left open is for a mesh process or a command.
        os::close_all_on_exec().map_err(system("cannot close what was left open"))?;
        let key = home.executor_key()?;
        let trust = Trust::open(&dir.join("trust"), &home.member)?;
        if !trust.names(key.public()) {
            let path = dir.join("executor.key");
            let problem = "it is not the key that the host's certificate names".to_owned();
            return Err(HostHomeError::Damaged { path, problem }.into());
        }
        let (seal, mut drawn) = (home.seal_key()?, [0; 32]);
        getrandom::fill(&mut drawn).map_err(|error| system("no randomness")(io::Error::other(error)))?;
        if !trust.seals(&seal, &drawn) {
            let path = dir.join("seal.key");
            let problem = "it does not open what is sealed to the host's certificate".to_owned();
            return Err(HostHomeError::Damaged { path, problem }.into());
        }
        let mut claims = Claims::open(&dir.join("claims"))?;
        let audit = AuditLog::open(&dir.join(AUDIT), &claims.take_audits())?;
        if audit.damaged() {
            log("the audit chain was damaged; it is set aside, and goes on behind what is known of it");
        }
        let signals = os::take_signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
            .map_err(system("cannot take signals"))?;
        // Where files may not grow, writing fails and is said to have; it ends nothing.
        os::ignore_signals(&[libc::SIGXFSZ]);
        supervisor::adopts_orphans().map_err(system("cannot adopt orphans"))?;
        // A command of the same user must not read the executor's memory.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(|error| system("cannot close the memory to others")(error.into()))?;
        let now = clock();
        let settings = Start {
            member: home.member.clone(),
            dir: home.mesh_dir().display().to_string(),
            spool: spool.display().to_string(),
            become_user: mesh_user,
            settings: mesh,
            executor_pid: std::process::id(),
            executor_uid: rustix::process::geteuid().as_raw(),
        };
        let mut executor = Self {
            clock,
            _lock: lock,
            key,
            seal,
            trust,
            claims,
            audit,
            spool,
            limits,
            groups: Groups::take(),
            shipped: [home.mesh_dir(), dir].map(|part| part.join(SHIPPED)),
            control,
            settings,
            socket,
            home,
            signals,
            mesh: Mesh::new(uptime()),
            notify: Notify::from_environment(uptime()),
            running: Vec::new(),
            waiting: Waiting::default(),
            cancelled: Cancelled::default(),
            owed: BTreeMap::new(),
            owed_tried: Duration::ZERO,
            offers: VecDeque::new(),
            counters: BTreeMap::new(),
            signed_now: Timestamp(0),
            swept: None,
            sweep_every: SWEEP_EVERY,
            stopping: None,
            leaving: BTreeSet::new(),
            idle: None,
            left: false,
            goodbye: None,
            orphans: false,
        };
        if executor.audit.damaged() {
            executor.note(now, AuditEvent::Renewed {});
        }
        executor.recover(now);
        Ok(executor)
    }

    /// Runs until a signal ends it or the host leaves the fleet; true if it left.
    ///
    /// # Errors
    /// When waiting itself fails, or a host that left cannot be erased.
    pub fn run(mut self) -> Result<bool, AgentError> {
        while !self.left && !self.stopped(uptime()) {
            self.housekeeping(uptime());
            self.wait(uptime())?;
        }
        let _best_effort = fs::remove_file(&self.socket);
        if self.left {
            // Whoever asked is told only once it is true.
            self.running.clear();
            self.home.erase()?;
            self.tell(&ToMesh::Erased {});
            let until = uptime() + GOODBYE_WITHIN;
            self.goodbye = Some(until);
            while self.mesh.link.is_some() && uptime() < until {
                self.wait(uptime())?;
            }
        } else if let Err(error) = self.claims.flush() {
            log(&format!("the journal of claims cannot be flushed: {error}"));
        }
        self.mesh.leave();
        Ok(self.left)
    }

    fn stopped(&mut self, up: Duration) -> bool {
        let Some(since) = self.stopping else { return false };
        if !self.running.is_empty() {
            return up.saturating_sub(since) > STOP_WITHIN;
        }
        let idle = *self.idle.get_or_insert(up);
        self.leaving.is_empty() || self.mesh.link.is_none() || up.saturating_sub(idle) > RESULTS_LEAVE_WITHIN
    }

    fn housekeeping(&mut self, up: Duration) {
        if self.mesh.next_start.is_some_and(|at| at <= up) && self.stopping.is_none() {
            // It is told once it is ready.
            self.offers.clear();
            if let Err(error) = self.mesh.start(self.settings.clone(), &self.control, up) {
                log(&format!("the mesh process cannot be started: {error}"));
            }
        }
        for at in 0..self.running.len() {
            let Some(running) = self.running.get_mut(at) else { continue };
            if !running.announced && up.saturating_sub(running.since) >= ANNOUNCE_AFTER {
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
        if self.swept.is_none_or(|swept| up.saturating_sub(swept) >= self.sweep_every) {
            self.swept = Some(up);
            self.sweep();
        }
        if !self.owed.is_empty() && up.saturating_sub(self.owed_tried) >= OWED_EVERY {
            self.owed_tried = up;
            self.record_owed();
        }
        if self.notify.asks(up) {
            self.tell(&ToMesh::Alive {});
        }
        self.offer();
        while self.running.len() < RUNNING_MAX && self.stopping.is_none() {
            let Some(order) = self.waiting.pop() else { break };
            self.take(&order, true);
        }
    }

    /// Forgets what may be forgotten by the time that was signed. Nothing was, so far: nothing is.
    fn sweep(&mut self) {
        if self.signed_now == Timestamp(0) {
            return;
        }
        // What the claims hold of the audit chain goes with them.
        if let Err(error) = self.audit.sync() {
            return log(&format!("the audit chain cannot be synced: {error}"));
        }
        if let Err(error) = self.claims.compact(self.signed_now, CLAIM_MARGIN) {
            log(&format!("the journal of claims cannot be compacted: {error}"));
        }
        if let Err(error) = spool::sweep(&self.spool, self.signed_now) {
            log(&format!("the spool cannot be swept: {error}"));
        }
    }

    /// Tells a new mesh process of results that no keeper has, as fast as it reads.
    fn offer(&mut self) {
        while self.mesh.link.as_ref().is_some_and(|link| link.waiting_bytes() < OFFER_BYTES) {
            let Some(order) = self.offers.pop_front() else { return };
            let owed = self.owed.get(&order).map(|owed| owed.record.clone());
            match owed.map_or_else(|| self.claims.result(&order.0), |record| Ok(Some(record))) {
                Ok(Some(record)) => self.say(order, record),
                Ok(None) => {}
                Err(error) => log(&format!("the result of {order} cannot be read: {error}")),
            }
        }
    }

    /// Waits for the mesh process, a signal, a report or the next thing that is due; then handles it.
    fn wait(&mut self, up: Duration) -> Result<(), AgentError> {
        let due = [
            self.mesh.next_start.filter(|_| self.stopping.is_none()),
            self.running
                .iter()
                .filter(|running| !running.announced)
                .map(|running| running.since + ANNOUNCE_AFTER)
                .min(),
            self.swept.map(|swept| swept + self.sweep_every),
            self.stopping.map(|since| since + STOP_WITHIN),
            self.goodbye,
            self.notify.due(),
            self.idle.map(|idle| idle + RESULTS_LEAVE_WITHIN),
            self.orphans.then(|| up + Duration::from_millis(20)),
            (!self.owed.is_empty()).then(|| self.owed_tried + OWED_EVERY),
        ];
        let due = due.into_iter().flatten().min().map_or(SWEEP_EVERY, |due| due.saturating_sub(up));
        let due = due.min(SWEEP_EVERY) + Duration::from_millis(1);
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
            match poll(&mut fds, Timespec::try_from(due).ok().as_ref()) {
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
        let up = uptime();
        while let Some(signal) = os::next_signal(&self.signals) {
            if signal != libc::SIGCHLD && self.stopping.is_none() {
                self.stopping = Some(up);
                self.notify.stops();
                self.waiting.clear();
                for running in &self.running {
                    running.supervised.cancel();
                }
            }
        }
        self.mesh.reap(up);
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
            self.mesh.ended(uptime());
        }
    }

    fn on_message(&mut self, message: ToExecutor) {
        match message {
            ToExecutor::Ready { .. } => self.tell_all(),
            ToExecutor::Serving {} => self.notify.serves(),
            ToExecutor::Alive {} => self.notify.lives(),
            ToExecutor::Learn { entries } => {
                let learned = self.trust.learn(&entries, (self.clock)());
                // On disk or not: what was learned counts.
                self.end_stopped();
                match learned {
                    Ok(entries) => self.tell(&ToMesh::Learned { entries }),
                    Err(error) => log(&format!("nothing can be learned: {error}")),
                }
            }
            ToExecutor::Order { order } => self.on_order(&order),
            ToExecutor::Adopt { order, record } => self.adopt(&order, &record),
            ToExecutor::Restored { before } => self.restored(before),
            ToExecutor::Cancel { cancellation } => self.cancel(&cancellation),
            ToExecutor::Settled { order } => {
                self.claims.settle(order.0);
                self.leaving.remove(&order);
            }
            ToExecutor::AuditHead {} => self.tell(&ToMesh::AuditHead { head: self.audit.head() }),
            ToExecutor::Count {} => {
                let mut counters: Vec<(String, u64)> =
                    self.counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
                let verified = |kind: Kind| identity::verifications(kind as u16);
                counters.extend([
                    ("order_verifications_executor".to_owned(), verified(Kind::Order)),
                    ("result_verifications_executor".to_owned(), verified(Kind::Result)),
                    ("mesh_starts".to_owned(), self.mesh.starts),
                    ("orders_running".to_owned(), self.running.len() as u64),
                ]);
                self.tell(&ToMesh::Counters { counters });
            }
            ToExecutor::Leave { departure } => {
                let verified = Signed::<Departure>::verify(&departure.0, self.trust.fleet());
                if verified.is_ok_and(|departure| departure.signer() == self.trust.stream()) {
                    self.note((self.clock)(), AuditEvent::Left {});
                    self.left = true;
                    self.stopping = self.stopping.or(Some(uptime()));
                } else {
                    self.count("departures_refused");
                }
            }
        }
    }

    /// An order is judged at once if there is room to run it, else when its turn comes.
    fn on_order(&mut self, order: &Handed) {
        let Ok(header) = identity::peek(&order.order.0) else { return self.count("orders_malformed") };
        if self.running.len() < RUNNING_MAX {
            self.take(order, true);
        } else if self.claims.claimed_at(&header.id.0).is_some() {
            // Not to be waited with: every order is handed over again by a new mesh process.
            self.count("orders_repeated");
        } else if !self.waiting.push(header.id, order.clone()) {
            self.count("orders_over_bound");
            self.take(order, false);
        }
    }

    /// A mesh process is new: it is told what is under way and what no keeper has yet.
    fn tell_all(&mut self) {
        self.offers = self.claims.unsettled().map(|(order, _)| EntryId(order)).collect();
        self.offers.extend(self.owed.keys());
        let running: Vec<EntryId> = self.running.iter().map(|running| running.order).collect();
        for order in running {
            self.tell(&ToMesh::Running { order });
        }
    }

    pub(super) fn tell(&mut self, message: &ToMesh) {
        if let Some(link) = &mut self.mesh.link
            && let Err(error) = link.send(message)
        {
            if !matches!(error, LinkError::Gone) {
                log(&format!("the mesh process is ended: {error}"));
            }
            self.mesh.ended(uptime());
        }
    }

    pub(super) fn count(&mut self, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
    }

    /// Counts what a mesh process can do as often as it likes, and says it now and then.
    pub(super) fn complain(&mut self, name: &'static str, what: &str) {
        self.count(name);
        let count = self.counters.get(name).copied().unwrap_or_default();
        if count.is_power_of_two() {
            log(&format!("{what} ({count} such so far)"));
        }
    }

    fn cancel(&mut self, bytes: &Bytes) {
        let Ok(cancellation) = Signed::<Cancellation>::verify(&bytes.0, self.trust.fleet()) else {
            return self.count("cancellations_malformed");
        };
        let (order, signer) = (cancellation.body().order, cancellation.signer());
        match self.running.iter_mut().find(|running| running.order == order) {
            Some(running) if running.issuer == signer => {
                let first = !std::mem::replace(&mut running.cancelled, true);
                running.supervised.cancel();
                if first {
                    self.note((self.clock)(), AuditEvent::Cancelled { order, issuer: signer });
                }
            }
            // What was claimed has ended.
            None if self.claims.claimed_at(&order.0).is_some() => {}
            None if self.trust.is_operator(signer) => self.cancelled.note(order, signer),
            _ => self.count("cancellations_refused"),
        }
    }
}

/// One line on standard error, where the service manager or the terminal takes it.
pub(super) fn log(line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let _nobody_reads = writeln!(io::stderr(), "muster: {line}");
}
