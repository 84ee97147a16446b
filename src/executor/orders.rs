//! What comes of an order here: judged, claimed, run, reported.
//!
//! Always holds: nothing is started but what the judge allowed a moment before from the same bytes, under a
//! claim that is on disk; what is claimed is never started again; an order that was refused is not run
//! later. A refusal that cannot be recorded (a full disk) is kept in memory and recorded as soon as that
//! works; only an agent that is stopped in between may run the order after all.

use std::{io, time::Duration};

use super::{
    Account,
    agent::{Executor, log},
    judge::{Verdict, judge},
    message::ToMesh,
    supervisor::{self, Spawn, Stage, Supervised, uptime},
};
use crate::{
    authority::{Asks as _, Refusal},
    identity::{self, EntryId, Operator, PublicKey, SealPublic, Signed},
    journal::{
        Claimed, JournalError,
        shipped::{NotShipped, Script, Shipped},
        spool,
    },
    replica::{
        AuditEvent, AuditRecord, Audited, Handed, Order, Outcome, Output, Report, ResultRecord, Sink,
        WAITING_MAX,
    },
    time::Timestamp,
    wire::Bytes,
};

/// Longest text in a record of the audit chain, in characters.
const SHORT_CHARS_MAX: usize = 256;
/// Most approvers that such a record names, and how much of each name, in characters.
const APPROVERS_SHOWN_MAX: usize = 8;
const APPROVER_CHARS_MAX: usize = 64;
/// Results that wait in memory for the journal.
const OWED_MAX: usize = 1024;
/// How long a command may run at most, whatever the order says.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 86_400);
/// How much of each output stream is kept at most, whatever the order says, in bytes.
const OUTPUT_BYTES_MAX: u64 = 1 << 30;

/// A command under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) order: EntryId,
    pub(super) issuer: PublicKey<Operator>,
    certificate: EntryId,
    started: Timestamp,
    pub(super) since: Duration,
    pub(super) announced: bool,
    pub(super) cancelled: bool,
    /// Why it was ended, if somebody stopped its issuer or this host.
    stopped: Option<String>,
    pub(super) supervised: Supervised,
    /// Gone with this.
    _script: Option<Script>,
}

/// A signed result that is not on disk.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    expires: Timestamp,
    pub(super) record: Vec<u8>,
    /// What the audit chain is still to say of it.
    event: AuditEvent,
}

impl Executor {
    /// What was claimed and has no result: nobody can say what came of it, and it is never run again.
    pub(super) fn recover(&mut self, now: Timestamp) {
        for order in self.claims.unfinished() {
            let started = self.claims.claimed_at(&order).unwrap_or(now);
            let why = "the agent ended while it ran, and the command with it".to_owned();
            self.finish(EntryId(order), started, Outcome::Indeterminate { why }, None);
        }
    }

    /// Judges an order, claims it and runs it; without room it is refused instead.
    pub(super) fn take(&mut self, handed: &Handed, room: bool) {
        let now = (self.clock)();
        self.trust.wait(now);
        let Ok(header) = identity::peek(&handed.order.0) else { return self.count("orders_malformed") };
        let id = header.id;
        if self.stopping.is_some() {
            return;
        }
        if self.claims.claimed_at(&id.0).is_some() || self.owed.contains_key(&id) {
            // A repeat. If its result is known and not settled, the mesh process has it or will.
            return self.count("orders_repeated");
        }
        let root = rustix::process::geteuid().is_root();
        let verdict = match judge(handed, &self.trust, &self.seal, now, root) {
            Verdict::Run { order, .. } if !room => {
                let refusal = Refusal::TooMany { what: "orders waiting on this host", limit: WAITING_MAX };
                Verdict::Refuse { order, refusal }
            }
            // It may have been run by a state that was lost.
            Verdict::Run { order, .. } if order.body().issued <= self.claims.restored_before() => {
                Verdict::Refuse { order, refusal: Refusal::Restored }
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Drop(reason) => {
                self.complain("orders_dropped", &format!("an order is dropped: {reason}"));
            }
            Verdict::Refuse { order, refusal } => {
                self.count("orders_refused");
                self.refuse(&order, &refusal, now);
            }
            // It was cancelled while it waited, and whoever asked is told so.
            Verdict::Wait(order) if self.cancelled.take(id, order.signer()) => {
                if let Ok(Claimed::New) = self.claim(id, order.body().expires, now, None) {
                    self.finish(id, now, Outcome::Cancelled {}, None);
                }
            }
            Verdict::Wait(_) => self.count("orders_waiting_approval"),
            Verdict::Run { order, account, argv, sealed, approved_by } => {
                let action = &order.body().action;
                let owner = account.as_ref().map(|account| (account.uid, account.gid));
                let fleet = self.trust.fleet();
                let sealed = sealed.as_ref().map(|command| (command, &fleet));
                let shipped = match Shipped::take(&self.shipped, &id, action, owner, argv, sealed) {
                    Ok(shipped) => shipped,
                    // Not claimed: it is handed over again with what belongs to it.
                    Err(NotShipped::Absent) => return self.count("orders_unshipped"),
                    Err(NotShipped::Refused(why)) => {
                        self.count("orders_refused");
                        return self.refuse(&order, &Refusal::NotShipped(why), now);
                    }
                };
                let event = AuditEvent::Accepted {
                    order: id,
                    issuer: order.signer(),
                    verb: order.body().ask().verb,
                    run_as: short(&order.body().run_as),
                    approved_by: approved_by.iter().take(APPROVERS_SHOWN_MAX).map(|by| named(by)).collect(),
                };
                match self.claim(id, order.body().expires, now, Some(event)) {
                    Ok(Claimed::New) => {
                        self.signed_now = self.signed_now.max(order.body().issued);
                        if self.cancelled.take(id, order.signer()) {
                            self.finish(id, now, Outcome::Cancelled {}, None);
                        } else {
                            self.spawn(&order, account, shipped, now);
                        }
                    }
                    Ok(Claimed::Already) => self.count("orders_repeated"),
                    Ok(Claimed::BelowFloor) => self.refuse_unclaimed(&order, &Refusal::BelowFloor, now),
                    Err(error) => {
                        self.refuse_unclaimed(&order, &Refusal::NoClaim(error.to_string()), now);
                    }
                }
            }
        }
    }

    fn spawn(&mut self, order: &Signed<Order>, account: Option<Account>, shipped: Shipped, now: Timestamp) {
        let id = order.id();
        let (stdout, stderr) = spool::paths(&self.spool, &id);
        let Shipped { argv, stdin, script } = shipped;
        let spawn = Spawn {
            argv,
            sink: order.body().private().map(|private| self.sink(id, private.reader)),
            stdin,
            account,
            timeout: Duration::from_millis(order.body().limits.timeout_ms).min(TIMEOUT_MAX),
            limits: self.limits,
            groups: self.groups.clone(),
            output_bytes_max: order.body().limits.output_bytes_max.min(OUTPUT_BYTES_MAX),
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
                    certificate: order.body().certificate,
                    started: now,
                    since: uptime(),
                    announced: false,
                    cancelled: false,
                    stopped: None,
                    supervised,
                    _script: script,
                });
            }
            Err(error) => {
                let why = format!("no supervisor could be started: {error}");
                self.finish(id, now, Outcome::NotStarted { code: 126, why }, None);
            }
        }
    }

    /// Where what a private order's command writes is sealed to.
    fn sink(&self, order: EntryId, to: SealPublic) -> Sink {
        Sink { to, fleet: self.trust.fleet(), order, host: self.trust.host() }
    }

    /// Refuses for good: the refusal is a result like any other, so a repeat meets it.
    fn refuse(&mut self, order: &Signed<Order>, refusal: &Refusal, now: Timestamp) {
        let id = order.id();
        let why = self.trust.in_full(order, refusal);
        match self.claim(id, order.body().expires, now, Some(refused(order, &why))) {
            Ok(Claimed::New) => {
                self.finish(id, now, Outcome::Refused { why }, None);
            }
            Ok(Claimed::Already) => self.count("orders_repeated"),
            Ok(Claimed::BelowFloor) => self.refuse_unclaimed(order, &Refusal::BelowFloor, now),
            Err(_) => self.refuse_unclaimed(order, refusal, now),
        }
    }

    /// Refuses where nothing can be recorded now. It is said only if it can be stood by: what is not
    /// remembered at all is not answered either. What may have been run and forgotten needs no memory, since
    /// the floor only rises.
    fn refuse_unclaimed(&mut self, order: &Signed<Order>, refusal: &Refusal, now: Timestamp) {
        let why = self.trust.in_full(order, refusal);
        let record = self.sign(order.id(), now, Outcome::Refused { why: why.clone() }, None);
        match refusal {
            Refusal::BelowFloor => self.say(order.id(), record),
            _ => self.owe(order.id(), order.body().expires, record, refused(order, &why)),
        }
    }

    /// Remembers a result that is not on disk, and says it.
    fn owe(&mut self, order: EntryId, expires: Timestamp, record: Vec<u8>, event: AuditEvent) {
        if self.owed.len() >= OWED_MAX {
            return self.complain("results_unrecorded", "results cannot be recorded, and are not said");
        }
        self.owed.insert(order, Owed { expires, record: record.clone(), event });
        self.say(order, record);
    }

    /// Records what could not be, until that fails again.
    pub(super) fn record_owed(&mut self) {
        let now = (self.clock)();
        while let Some((order, owed)) = self.owed.first_key_value() {
            let (order, Owed { expires, record, event }) = (*order, owed.clone());
            let (refused, ended) = match event {
                event @ AuditEvent::Ended { .. } => (None, Some(event)),
                event => (Some(event), None),
            };
            match self.claim(order, expires, now, refused) {
                // Refused for ever as it is.
                Ok(Claimed::BelowFloor) => {}
                Ok(Claimed::New | Claimed::Already)
                    if self.keep(order, &record, now, ended.clone()).is_ok() => {}
                _ => return,
            }
            self.owed.remove(&order);
        }
    }

    /// Ends what nobody may run here any more. What waits is judged when its turn comes.
    pub(super) fn end_stopped(&mut self) {
        let mut ended = Vec::new();
        for running in self.running.iter_mut().filter(|running| running.stopped.is_none()) {
            if let Some(refusal) = self.trust.stopped(&running.certificate, running.issuer) {
                running.stopped = Some(refusal.to_string());
                running.supervised.cancel();
                ended.push(AuditEvent::Stopped { order: running.order, why: short(&refusal.to_string()) });
                *self.counters.entry("stopped").or_default() += 1;
            }
        }
        for event in ended {
            self.note((self.clock)(), event);
        }
    }

    /// Adds a record to the audit chain that no claim holds. Without room for it, it is said in the log alone.
    pub(super) fn note(&mut self, at: Timestamp, event: AuditEvent) {
        let record = self.audited(at, event);
        if let Err(error) = self.audit.add(&record) {
            log(&format!("the audit chain lacks a record: {error}"));
        }
    }

    pub(super) fn on_report(&mut self, order: EntryId) {
        let Some(at) = self.running.iter().position(|running| running.order == order) else { return };
        let running = self.running.swap_remove(at);
        let report = supervisor::read_report(&running.supervised.report);
        let supervisor = running.supervised.pid;
        if let Err(error) = running.supervised.collect() {
            log(&format!("a supervisor could not be collected: {error}"));
        }
        let started = running.started;
        let Ok(Some(report)) = report else {
            self.orphans = true;
            if let Some(groups) = &self.groups {
                groups.end_of(supervisor);
            }
            let why = "its supervisor was killed, and the command with it".to_owned();
            return self.finish(order, started, Outcome::Indeterminate { why }, None);
        };
        // Its issuer did not cancel it, so it must not read as if.
        let ended = matches!(report.outcome, supervisor::Outcome::Cancelled) && !running.cancelled;
        let outcome = match ended {
            true if running.stopped.is_some() => Outcome::Indeterminate {
                why: format!("ended while it ran: {}", running.stopped.unwrap_or_default()),
            },
            true if self.stopping.is_some() => Outcome::Indeterminate {
                why: "the agent was stopped, and the command ended with it".to_owned(),
            },
            true => Outcome::Indeterminate {
                why: "its supervisor was told to end, and the command ended with it".to_owned(),
            },
            false => outcome_of(report.outcome),
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
        let record = self.sign(order, started, outcome.clone(), report);
        // That it was refused stands in the chain as such.
        let event = (!matches!(outcome, Outcome::Refused { .. })).then(|| ended(order, outcome, &record));
        if let Err(error) = self.keep(order, &record, (self.clock)(), event) {
            // It stays claimed: after a restart it is indeterminate, and it is never run again.
            log(&format!("the result of {order} cannot be recorded: {error}"));
            let why = format!("the result cannot be recorded on the host: {error}");
            let outcome = Outcome::Indeterminate { why };
            let record = self.sign(order, started, outcome.clone(), report);
            let event = ended(order, outcome, &record);
            return self.owe(order, Timestamp(0), record, event);
        }
        if self.stopping.is_some() {
            self.leaving.insert(order);
        }
        self.say(order, record);
    }

    /// Claims an order, and with the same sync says in the audit chain what becomes of it.
    pub(super) fn claim(
        &mut self,
        order: EntryId,
        expires: Timestamp,
        now: Timestamp,
        event: Option<AuditEvent>,
    ) -> Result<Claimed, JournalError> {
        let record = event.map(|event| self.audited(now, event));
        let bytes = record.as_ref().map(Signed::bytes);
        let claimed = self.claims.claim(order.0, expires, now, bytes)?;
        if let Some(record) = record.filter(|_| claimed == Claimed::New) {
            self.audit.append(&record);
        }
        Ok(claimed)
    }

    /// Keeps a result, and with the same sync says in the audit chain that the order has ended.
    fn keep(
        &mut self,
        order: EntryId,
        result: &[u8],
        now: Timestamp,
        event: Option<AuditEvent>,
    ) -> Result<(), JournalError> {
        let record = event.map(|event| self.audited(now, event));
        self.claims.finish(order.0, result, record.as_ref().map(Signed::bytes))?;
        if let Some(record) = record {
            self.audit.append(&record);
        }
        Ok(())
    }

    /// The next record of the audit chain. It is in the chain once it is on disk and was appended.
    pub(super) fn audited(&mut self, at: Timestamp, event: AuditEvent) -> Signed<AuditRecord> {
        if self.audit.is_full() {
            let rotated = self.next_record(at, AuditEvent::Rotated {});
            if let Err(error) = self.audit.rotate(&rotated) {
                log(&format!("the audit chain cannot go on in another file: {error}"));
            }
        }
        self.next_record(at, event)
    }

    fn next_record(&self, at: Timestamp, event: AuditEvent) -> Signed<AuditRecord> {
        let (sequence, previous) = self.audit.next();
        let dropped = self.counters.get("orders_dropped").copied().unwrap_or_default();
        let record = AuditRecord { sequence, previous, at, dropped, what: Audited::Known(event) };
        Signed::sign(self.trust.fleet(), &self.key, record)
    }

    fn sign(
        &self,
        order: EntryId,
        started: Timestamp,
        outcome: Outcome,
        report: Option<&supervisor::Report>,
    ) -> Vec<u8> {
        let record = ResultRecord {
            order,
            host: self.trust.host(),
            outcome,
            started,
            took_ms: report.map_or(0, |report| report.took_ms),
            stdout: report.map_or_else(Output::nothing, |report| report.stdout),
            stderr: report.map_or_else(Output::nothing, |report| report.stderr),
            left_behind: report.map_or(0, |report| report.left_behind),
        };
        Signed::sign(self.trust.fleet(), &self.key, record).bytes().to_vec()
    }

    /// Lets a signed result leave, with its output where that is short.
    pub(super) fn say(&mut self, order: EntryId, record: Vec<u8>) {
        // Our own signature: read without checking it again.
        let (stdout, stderr) = Signed::<ResultRecord>::own(&record)
            .map(|body| spool::inline(&self.spool, &order, &body.stdout, &body.stderr))
            .unwrap_or_default();
        let report = Report { order, host: self.trust.host(), record: Bytes(record), stdout, stderr };
        self.tell(&ToMesh::Report { report });
    }
}

fn refused(order: &Signed<Order>, why: &str) -> AuditEvent {
    AuditEvent::Refused {
        order: order.id(),
        issuer: order.signer(),
        verb: order.body().ask().verb,
        why: short(why),
    }
}

fn ended(order: EntryId, outcome: Outcome, result: &[u8]) -> AuditEvent {
    let outcome = match outcome {
        Outcome::Indeterminate { why } => Outcome::Indeterminate { why: short(&why) },
        Outcome::NotStarted { code, why } => Outcome::NotStarted { code, why: short(&why) },
        outcome => outcome,
    };
    // Made a moment before.
    let result = identity::peek(result).map_or(order, |header| header.id);
    AuditEvent::Ended { order, outcome, result }
}

/// As much as a record of the audit chain has room for.
fn short(text: &str) -> String {
    text.chars().take(SHORT_CHARS_MAX).collect()
}

/// As much of a name as such a record has room for.
fn named(person: &str) -> String {
    person.chars().take(APPROVER_CHARS_MAX).collect()
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
