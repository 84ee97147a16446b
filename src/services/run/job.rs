//! `muster job ls`, `show` and `output`: what was ordered, and what came of it.
//!
//! A job is the orders that this operator's directory remembers as one; what others ordered is known by its
//! orders alone, which tell by their nonces which of them are one job.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    RunError, Seat, Status, Streams, Tally,
    assent::Assent,
    listing,
    output::Reader,
    report,
    rollout::Rollout,
    sealing::Opening,
    view::{self, Job},
    waiting,
};
use crate::{
    control::{self, Client, Reply, Request, StreamName},
    identity::{EntryId, Signed},
    journal::OperatorHome,
    replica::{Entry, Order, Outcome, Replica},
    terminal::{Column, Format, Kind, Output, Sheet, Talk, escape, time::rfc3339},
    time::Timestamp,
};

/// How many jobs are listed unless more are asked for.
pub const JOBS_SHOWN_DEFAULT: usize = 50;
/// How long the agent may take between two replies.
const REPLY_WITHIN: Duration = Duration::from_secs(30);
/// Jobs that an ambiguous id is shown to stand for.
const SHOWN_MAX: usize = 4;

const JOBS: Sheet = Sheet {
    thing: "job",
    columns: &[
        Column::new("ID", "short", Kind::Ours),
        Column::new("AGE", "issued", Kind::Time).spare(3),
        Column::new("BY", "by", Kind::Host).spare(4),
        Column::new("HOSTS", "hosts", Kind::Ours).spare(3),
        Column::new("OK", "ok", Kind::Ours).spare(2),
        Column::new("FAILED", "failed", Kind::Ours).spare(1),
        Column::new("SILENT", "silent", Kind::Ours).spare(2),
        Column::new("COMMAND", "command", Kind::Host),
        Column::wide("AS", "as", Kind::Host),
        Column::wide("EXPIRES", "expires", Kind::Time),
        Column::wide("REASON", "reason", Kind::Host),
        Column::wide("APPROVAL", "approval", Kind::Ours),
        Column::wide("JOB", "job", Kind::Ours),
    ],
};

/// Which output is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputRequest {
    /// The job's id, or a unique beginning of it.
    pub job: String,
    /// The host, by name, unique prefix or id; may be left out where there is one.
    pub host: Option<String>,
    /// Standard error instead of standard output.
    pub stderr: bool,
}

/// The fleet, and every job that is known.
pub(super) struct Jobs {
    /// The agent.
    pub(super) client: Client,
    /// The fleet.
    pub(super) replica: Replica,
    all: BTreeMap<EntryId, Rollout>,
    /// Those that were ordered from here.
    own: BTreeSet<EntryId>,
    /// How many there are besides whose hosts are not known here: the agent lacks the list that they are some of.
    unlisted: usize,
}

impl Jobs {
    /// Asks the agent for the fleet and the live orders, and adds what was ordered here.
    pub(super) async fn gather(home: &OperatorHome, socket: &Path) -> Result<Self, RunError> {
        let mut client = Client::connect(socket).await?;
        let (mut replica, _) = control::fleet_of(&mut client, home, true).await?;
        client.send(&Request::Orders {}).await?;
        loop {
            let (items, more) = match client.reply_within(REPLY_WITHIN).await? {
                Reply::Items { items, more } => (items, more),
                other => return Err(control::no_answer(&other).into()),
            };
            for item in items {
                // What does not hold is no order of this fleet, whatever the agent says.
                if let Ok(entry) = Entry::verify(&item.entry.0, replica.fleet()) {
                    let _not_ours = replica.merge(entry, &item.facets);
                }
            }
            if !more {
                break;
            }
        }
        listing::complete(&mut client, &mut replica).await?;
        let mut orders: BTreeMap<EntryId, Signed<Order>> =
            replica.orders().map(|order| (order.signed().id(), order.signed().clone())).collect();
        let mut own = BTreeSet::new();
        for bytes in home.orders()? {
            if let Ok(order) = Signed::<Order>::verify(&bytes.0, replica.fleet()) {
                own.insert(order.id());
                orders.insert(order.id(), order);
            }
        }
        let mut jobs = BTreeMap::new();
        let mut parts = BTreeSet::new();
        let mut unlisted = 0;
        for id in &own {
            // What a damaged file says of waves is passed over: the orders stand for themselves.
            let Ok(Some(waves)) = home.waves(id) else { continue };
            let find = |id: &EntryId| own.contains(id).then(|| orders.get(id).cloned()).flatten();
            if let Some(job) = Rollout::remembered(&waves, home.is_paced(id), home.is_paused(id), find) {
                parts.extend(job.orders().iter().map(Signed::id));
                jobs.insert(*id, job);
            }
        }
        let mut others = Vec::new();
        for (_, order) in orders.into_iter().filter(|(id, _)| !parts.contains(id)) {
            // Without its list nobody can say whom it is for.
            match replica.seats_of(order.body()).map(|seats| seats.to_vec()) {
                Some(hosts) => others.push((order, hosts)),
                None => unlisted += 1,
            }
        }
        for job in Rollout::grouped(&others) {
            if let Some(id) = job.id() {
                jobs.insert(id, job);
            }
        }
        Ok(Self { client, replica, all: jobs, own, unlisted })
    }

    /// Every job, the newest first.
    pub(super) fn newest(&self) -> Vec<Rollout> {
        let mut newest: Vec<Rollout> = self.all.values().cloned().collect();
        let issued = |job: &Rollout| job.orders().first().map(|order| order.body().issued);
        newest.sort_by_key(|job| Reverse((issued(job), job.id())));
        newest
    }

    /// The job whose id, or the id of one of whose orders, begins so.
    pub(super) fn find(&self, prefix: &str) -> Result<Rollout, RunError> {
        let typed = prefix.to_ascii_lowercase();
        let begins = |order: &Signed<Order>| order.id().to_string().starts_with(&typed);
        let found: Vec<(&EntryId, &Rollout)> =
            self.all.iter().filter(|(_, job)| job.orders().iter().any(begins)).collect();
        match found.as_slice() {
            [(_, one)] if !typed.is_empty() => Ok((*one).clone()),
            [] => Err(RunError::NoJob(prefix.chars().take(64).collect())),
            many => Err(RunError::AmbiguousJob {
                prefix: prefix.chars().take(64).collect(),
                jobs: many
                    .iter()
                    .take(SHOWN_MAX)
                    .map(|(id, _)| crate::identity::short(&id.0, typed.len().max(6) + 2))
                    .chain((many.len() > SHOWN_MAX).then(|| format!("{} more", many.len() - SHOWN_MAX)))
                    .collect(),
            }),
        }
    }

    /// The accounting of a job: the results remembered here, then those that the agent holds.
    pub(super) async fn tally(&mut self, home: &OperatorHome, job: &Rollout) -> Result<Tally, RunError> {
        let mut tally = job.tally();
        if let Some(first) = job.orders().first() {
            tally.read_by(Opening::of(first.body(), home));
        }
        let authority = self.replica.authority();
        let id = job.id().filter(|id| self.own.contains(id));
        for held in id.map(|id| home.reports(&id)).transpose()?.unwrap_or_default() {
            if job.has(&held.order) {
                tally.report(held.host, report::verify(&held, held.order, authority));
            }
        }
        waiting::collect_all(&mut self.client, job, &mut tally, authority).await?;
        Ok(tally)
    }

    /// Remembers what was learnt of a job that was ordered from here.
    pub(super) fn keep(&self, home: &OperatorHome, job: &Rollout, tally: &Tally) -> Result<(), RunError> {
        match job.id().filter(|id| self.own.contains(id)) {
            Some(id) => Ok(home.keep_reports(&id, &tally.reports())?),
            None => Ok(()),
        }
    }

    /// Whether a job was ordered from here.
    pub(super) fn is_own(&self, job: &Rollout) -> bool {
        job.id().is_some_and(|id| self.own.contains(&id))
    }
}

/// A job as it is shown.
pub(super) fn shown<'a>(
    replica: &'a Replica,
    home: &OperatorHome,
    job: &'a Rollout,
    now: Timestamp,
) -> Result<Job<'a>, RunError> {
    let first = job.orders().first().ok_or_else(|| RunError::NoJob(String::new()))?;
    let mut shown = Job::of(first, job.roster(), replica, now);
    shown.read_by(home);
    for (order, hosts) in job.signed() {
        if replica.cancellation(&order.id()).is_some() {
            shown.cancelled(order, hosts);
        } else {
            shown.expires(order, hosts);
            shown.assent = shown.assent.or_else(|| Assent::of(replica, order, hosts, &[], now));
        }
    }
    Ok(shown)
}

/// Lists jobs, the newest first, at most `limit`.
///
/// # Errors
/// When the agent cannot be asked, or the list not be written.
pub async fn ls<W: Write>(
    home: &OperatorHome,
    socket: &Path,
    limit: usize,
    output: &mut Output<W>,
    talk: &mut Talk,
    now: Timestamp,
) -> Result<(), RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let mut newest = jobs.newest();
    let more = newest.len().saturating_sub(limit);
    newest.truncate(limit);
    let (mut rows, mut waiting_for) = (Vec::new(), Vec::new());
    for rollout in &newest {
        let counts = jobs.tally(home, rollout).await?.counts();
        let job = shown(&jobs.replica, home, rollout, now)?;
        let body = job.order.body();
        // What has answered does not wait, whatever would be said now.
        let waits = job.assent.as_ref().filter(|_| counts.of(Status::Silent) > 0);
        if let Some(assent) = waits.filter(|assent| assent.state() == "waiting") {
            waiting_for.push(format!("{}: {}", job.id.short(), assent.waits()));
        }
        rows.push(json!({
            "short": job.id.short(),
            "job": job.id.to_string(),
            "issued": rfc3339(body.issued),
            "expires": rfc3339(body.expires),
            "by": job.person(),
            "as": body.run_as,
            "hosts": counts.total(),
            "ok": counts.of(Status::Ok),
            "failed": counts.unsuccessful(),
            "running": counts.of(Status::Running),
            "silent": counts.of(Status::Silent),
            "command": job.command(),
            "reason": body.reason,
            "approval": waits.map(Assent::state),
        }));
    }
    output.rows(&JOBS, &rows)?;
    if !waiting_for.is_empty() {
        talk.say(&format!("{} · muster approval ls", waiting_for.join(" · ")));
    }
    if jobs.unlisted > 0 {
        let many = jobs.unlisted;
        talk.say(&format!("jobs that are not shown, for the agent lacks their lists of hosts: {many}"));
    }
    if more > 0 {
        talk.say(&format!("{more} older jobs are not shown"));
    }
    Ok(())
}

/// Shows one job: its order, and where every host of its roster stands. Returns the exit code.
///
/// # Errors
/// When there is no such job, or the agent cannot be asked.
pub async fn show(
    id: &str,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> Result<u8, RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let rollout = jobs.find(id)?;
    let tally = jobs.tally(home, &rollout).await?;
    jobs.keep(home, &rollout, &tally)?;
    let mut job = shown(&jobs.replica, home, &rollout, now)?;
    job.seen = view::last_seen(socket, &tally).await;
    match streams.format {
        Format::Json | Format::Jsonl => {
            let document = Value::Object(job.document(&tally));
            streams.document(now, "job", &document, |_| String::new())?;
        }
        Format::Table | Format::Wide | Format::Csv | Format::Name => {
            if streams.out_terminal && matches!(streams.format, Format::Table | Format::Wide) {
                let heading = view::heading(&job, streams.out_style);
                streams.out_bytes(format!("{heading}\n\n").as_bytes())?;
            }
            let rows = job.rows(&tally);
            streams.rows(now, &view::HOSTS, &rows)?;
            streams.say(&view::summary(&tally.counts(), 0));
            if let Some(why) = job.unread() {
                streams.say(&why);
            }
            let assent = job.assent.as_ref().filter(|_| tally.counts().of(Status::Silent) > 0);
            if let Some(assent) = assent.filter(|assent| assent.state() == "waiting") {
                streams.say(&format!("{} · by {}", assent.waits(), assent.of_whom()));
            }
        }
    }
    Ok(0)
}

/// Writes one output stream of one host, as it is unless a terminal shows it. Returns the exit code.
///
/// # Errors
/// When there is no such job or output, or the agent cannot be asked.
pub async fn output(
    request: &OutputRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> Result<u8, RunError> {
    let mut jobs = Jobs::gather(home, socket).await?;
    let rollout = jobs.find(&request.job)?;
    let mut tally = jobs.tally(home, &rollout).await?;
    let job = shown(&jobs.replica, home, &rollout, now)?;
    let host = match (&request.host, rollout.roster()) {
        (Some(name), _) => job.find(name).ok_or_else(|| RunError::NoOutput {
            host: escape::line(name),
            why: format!("job {} has no such host, or more than one", job.id.short()),
        })?,
        (None, [one]) => *one,
        (None, many) => {
            return Err(RunError::Usage {
                problem: format!("job {} has {} hosts: say whose output", job.id.short(), many.len()),
                hint: format!("muster job output {} HOST", job.id.short()),
            });
        }
    };
    let label = job.label(&host);
    if let Some(why) = job.unread() {
        return Err(RunError::NoOutput { host: label, why });
    }
    let nothing = |why: &str| RunError::NoOutput { host: label.clone(), why: why.to_owned() };
    let seat = tally.seat(&host).ok_or_else(|| nothing("it is not in the roster"))?;
    let Some(verified) = seat.verified() else {
        return Err(match (seat.claim(), seat.status()) {
            _ if seat.withheld().is_some() => nothing("it was not started"),
            (Some(claim), _) => nothing(&format!("a result was claimed, but {claim}")),
            (None, Status::Running) => nothing("it is still running"),
            (None, _) => nothing("it has not answered"),
        });
    };
    if let Outcome::Refused { why } | Outcome::Indeterminate { why } | Outcome::NotStarted { why, .. } =
        &verified.record().outcome
        && verified.record().stdout.produced + verified.record().stderr.produced == 0
    {
        return Err(nothing(&escape::line(why)));
    }
    let (stream, signed) = if request.stderr {
        (StreamName::Stderr, verified.record().stderr)
    } else {
        (StreamName::Stdout, verified.record().stdout)
    };
    let reader = Reader::sign(home, socket, rollout.signed(), now)?;
    let whole = job.pass_on(streams, &mut tally, &reader, host, stream, signed).await?;
    Ok(match (whole, tally.seat(&host).is_some_and(Seat::spoilt)) {
        (true, _) => 0,
        (false, true) => 6,
        (false, false) => 1,
    })
}
