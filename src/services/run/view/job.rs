//! What is known of a job, and of what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{record, screen::Screen, words};
use crate::{
    control::{Client, Reply, Request},
    identity::{EntryId, HostId, Signed},
    journal::OperatorHome,
    replica::{Order, Outcome, Replica},
    services::run::{
        Seat, Status, Tally, Verified, Withheld, assent::Assent, event::Exit, output::Begun, shipment,
    },
    terminal::{
        Style, escape, nodeset,
        time::{ago, duration, rfc3339},
    },
    time::Timestamp,
    wire::Bytes,
};

/// How long the agent may take to say when it last heard of hosts.
const SEEN_WITHIN: Duration = Duration::from_millis(500);

/// A job, and what is needed to show it.
#[derive(Debug)]
pub(in crate::services::run) struct Job<'a> {
    /// Its id.
    pub(in crate::services::run) id: EntryId,
    /// The signed order.
    pub(in crate::services::run) order: &'a Signed<Order>,
    /// The fleet.
    pub(in crate::services::run) replica: &'a Replica,
    /// What relative times relate to.
    pub(in crate::services::run) now: Timestamp,
    /// When the agent last heard of hosts that have not answered.
    pub(in crate::services::run) seen: BTreeMap<HostId, Timestamp>,
    /// When the order for a host expires, where that is not the job's own, and whether it was cancelled.
    ends: BTreeMap<HostId, (Timestamp, bool)>,
    /// Whether it will be private once it is signed.
    pub(in crate::services::run) sealed: bool,
    /// What is sealed in it, where that is known here.
    known: Option<Vec<Bytes>>,
    /// Where it stands, if others have to approve it.
    pub(in crate::services::run) assent: Option<Assent>,
    person: String,
    labels: BTreeMap<HostId, String>,
    pub(super) shown: Shown,
    outputs: BTreeMap<HostId, (Value, Value)>,
}

/// What has been told of a job so far.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// What a person sees of it. None before it begins.
    pub(super) screen: Option<Screen>,
    /// The hosts whose end was told.
    pub(super) told: BTreeSet<HostId>,
    /// What came live, by host and whether it is standard error.
    pub(super) live: BTreeMap<(HostId, bool), Live>,
    /// How long after the start it is.
    pub(super) elapsed: Duration,
}

/// What came live of one output stream, before anybody signed for it.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The number of the next piece.
    pub(super) next: u64,
    /// What came.
    pub(super) begun: Begun,
    /// Whether a piece is missing.
    pub(super) gap: bool,
}

impl<'a> Job<'a> {
    /// A job of this fleet whose first order is `order`, on all of `roster`.
    pub(in crate::services::run) fn of(
        order: &'a Signed<Order>,
        roster: &[HostId],
        replica: &'a Replica,
        now: Timestamp,
    ) -> Self {
        let person = replica
            .authority()
            .certificate_of(&order.body().certificate, order.signer())
            .map_or_else(|_| "somebody unknown".to_owned(), |certificate| certificate.person.clone());
        let labels = words::labels(roster, replica);
        Self {
            id: order.id(),
            order,
            replica,
            now,
            seen: BTreeMap::new(),
            ends: BTreeMap::new(),
            sealed: order.body().private().is_some(),
            known: None,
            assent: None,
            person,
            labels,
            shown: Shown::default(),
            outputs: BTreeMap::new(),
        }
    }

    /// Takes from an operator's directory what is sealed in the order, if that was made there.
    pub(in crate::services::run) fn read_by(&mut self, home: &OperatorHome) {
        let private = self.order.body().private();
        let job = private.and_then(|private| home.private(&private.reader).ok().flatten());
        self.known = job.map(|job| job.command.argv.clone());
    }

    fn argv(&self) -> &[Bytes] {
        self.known.as_deref().unwrap_or_else(|| self.order.body().action.argv())
    }

    /// The command as a shell would take it, as far as that is known here.
    pub(in crate::services::run) fn command(&self) -> String {
        if self.sealed && self.argv().is_empty() {
            return "(private)".to_owned();
        }
        words::command(self.argv())
    }

    /// Why nobody here can read what it ran and what that said; none where they can.
    pub(in crate::services::run) fn unread(&self) -> Option<String> {
        (self.sealed && self.argv().is_empty()).then(|| {
            let person = escape::line(&self.person);
            format!("it is private: sealed to its hosts and to {person}, and read where it was ordered")
        })
    }

    /// What a host is called here: its name, and its id too where two have that name.
    pub(in crate::services::run) fn label(&self, host: &HostId) -> String {
        self.labels.get(host).cloned().unwrap_or_else(|| host.short())
    }

    /// The host of its roster with this label, or else the one whose label, or id, begins so.
    pub(in crate::services::run) fn find(&self, name: &str) -> Option<HostId> {
        let exact = self.labels.iter().find(|(_, label)| *label == name).map(|(host, _)| *host);
        let begins = |(host, label): &(&HostId, &String)| {
            label.starts_with(name) || host.to_string().starts_with(name)
        };
        let mut found = self.labels.iter().filter(begins).map(|(host, _)| *host);
        exact.or_else(|| found.next().filter(|_| found.next().is_none()))
    }

    /// Takes when the order for these hosts expires, which is not the same for each wave.
    pub(in crate::services::run) fn expires(&mut self, order: &Signed<Order>, hosts: &[HostId]) {
        for host in hosts {
            self.ends.entry(*host).or_insert((order.body().expires, false));
        }
    }

    /// Takes that the order for these hosts was cancelled.
    pub(in crate::services::run) fn cancelled(&mut self, order: &Signed<Order>, hosts: &[HostId]) {
        for host in hosts {
            self.ends.insert(*host, (order.body().expires, true));
        }
    }

    /// Who ordered it.
    pub(in crate::services::run) fn person(&self) -> &str {
        &self.person
    }

    /// What would be sent: what, as whom, until when, where.
    pub(in crate::services::run) fn plan_lines(&self) -> Vec<String> {
        let body = self.order.body();
        let hosts = self.labels.len();
        let mut lines = vec![
            format!("command  {}", escape::line(&self.command())),
            format!("as       {} by grant of {}", escape::line(&body.run_as), escape::line(&self.person)),
            format!(
                "until    {} for the start, then at most {}",
                words::clock_time(body.expires, self.now),
                duration(Duration::from_millis(body.limits.timeout_ms))
            ),
        ];
        if self.sealed {
            let hosts = words::counted(hosts);
            lines.insert(
                1,
                format!("private  sealed to {hosts}; what it writes is read on this machine alone"),
            );
        }
        lines.splice(1..1, shipment::words(&body.action));
        lines.extend(body.reason.iter().map(|reason| format!("reason   {}", escape::line(reason))));
        lines.push(format!("on       {} ({})", nodeset::fold(self.labels.values()), words::counted(hosts)));
        lines
    }

    pub(super) fn conflicts(&self, tally: &Tally) -> Vec<String> {
        tally.seats().filter(|(_, seat)| seat.conflict()).map(|(host, _)| self.label(&host)).collect()
    }

    /// Hosts in order of their labels.
    pub(in crate::services::run) fn by_label(&self) -> Vec<(String, HostId)> {
        let mut hosts: Vec<_> = self.labels.iter().map(|(host, label)| (label.clone(), *host)).collect();
        hosts.sort();
        hosts
    }

    /// What an event, a document and a plan have in common.
    pub(in crate::services::run) fn facts(&self) -> Map<String, Value> {
        let body = self.order.body();
        let argv = self.argv();
        record::object(json!({
            "job": self.id.to_string(),
            "by": self.person,
            "as": body.run_as,
            "command": argv.iter().map(|arg| String::from_utf8_lossy(&arg.0)).collect::<Vec<_>>(),
            "selector": body.selector,
            "reason": body.reason,
            "issued": rfc3339(body.issued),
            "expires": rfc3339(body.expires),
            "timeout_ms": body.limits.timeout_ms,
            "roster": self.by_label().into_iter().map(|(label, _)| label).collect::<Vec<_>>(),
        }))
    }

    /// The whole job as one document.
    pub(in crate::services::run) fn document(&self, tally: &Tally) -> Map<String, Value> {
        let mut document = self.facts();
        if let Some(assent) = &self.assent {
            document.insert("approval".to_owned(), assent.document());
        }
        document.insert("counts".to_owned(), record::counts(&tally.counts()));
        document.insert("hosts".to_owned(), Value::Array(self.rows(tally)));
        document
    }

    /// One object a host, in order of labels.
    pub(in crate::services::run) fn rows(&self, tally: &Tally) -> Vec<Value> {
        let row = |(label, host): (String, HostId)| {
            let mut row = record::row(&self.exit(host, tally.seat(&host)?), &label);
            if let Some((stdout, stderr)) = self.outputs.get(&host) {
                row.insert("stdout".to_owned(), stdout.clone());
                row.insert("stderr".to_owned(), stderr.clone());
            }
            Some(Value::Object(row))
        };
        self.by_label().into_iter().filter_map(row).collect()
    }

    /// Keeps what a host said, for the one document.
    pub(super) fn keep_output(&mut self, host: HostId, stdout: Value, stderr: Value) {
        self.outputs.insert(host, (stdout, stderr));
    }

    /// Where a host stands.
    pub(super) fn exit(&self, host: HostId, seat: &Seat) -> Exit {
        let record = seat.verified().map(Verified::record);
        let outcome = record.map(|record| &record.outcome);
        let (code, signal) = match outcome {
            Some(Outcome::Exited { code } | Outcome::NotStarted { code, .. }) => (Some(*code), None),
            Some(Outcome::Signaled { signal }) => (None, Some(*signal)),
            _ => (None, None),
        };
        Exit {
            host,
            status: seat.status(),
            words: self.words(host, seat),
            code,
            signal,
            started: record.map(|record| record.started),
            ms: record.map(|record| record.took_ms),
            stdout: record.map(|record| record.stdout),
            stderr: record.map(|record| record.stderr),
            left_behind: record.map(|record| record.left_behind),
            conflict: seat.conflict(),
            spoilt: seat.spoilt(),
            claim: seat.claim(),
            seen: self.seen.get(&host).copied(),
        }
    }

    /// How a host ended, in words. All of it may be shown on one line.
    fn words(&self, host: HostId, seat: &Seat) -> String {
        let mut words = match (seat.verified().map(Verified::record), seat.claim()) {
            (Some(record), _) => words::outcome(&record.outcome),
            (None, Some(claim)) => format!("claimed by {}: {claim}", self.label(&host)),
            (None, None) if seat.withheld().is_some() => {
                seat.withheld().map(Withheld::words).unwrap_or_default().to_owned()
            }
            (None, None) if seat.status() == Status::Running => "still running".to_owned(),
            (None, None) => self.silence(host),
        };
        if let Some(left) = seat.verified().map(|verified| verified.record().left_behind).filter(|n| *n > 0) {
            let _ = write!(words, " · ended {left} processes that it left behind");
        }
        if seat.spoilt() {
            words.push_str(" · but its output is not what was signed");
        }
        if seat.conflict() {
            words.push_str(" · conflict: a second, different result is signed too");
        }
        if let (Some(_), Some(claim)) = (seat.verified(), seat.claim()) {
            let _ = write!(words, " · another result was claimed: {claim}");
        }
        words
    }

    fn silence(&self, host: HostId) -> String {
        let (expires, cancelled) =
            self.ends.get(&host).copied().unwrap_or((self.order.body().expires, false));
        let waits = self.assent.as_ref().filter(|assent| assent.waiting.contains(&host));
        let mut words = waits.map_or_else(|| "no answer".to_owned(), Assent::waits);
        if let Some(seen) = self.seen.get(&host) {
            let _ = write!(words, ", last seen {}", ago(*seen, self.now));
        }
        if cancelled {
            words.push_str(" · cancelled: it will not start it");
        } else if expires > self.now {
            let _ = write!(words, " · queued until {}", words::clock_time(expires, self.now));
        } else {
            let _ = write!(words, " · expired {}", ago(expires, self.now));
        }
        words
    }
}

/// When the agent last heard of the hosts that have not answered. Its word shows, and decides nothing.
pub(in crate::services::run) async fn last_seen(socket: &Path, tally: &Tally) -> BTreeMap<HostId, Timestamp> {
    let silent: BTreeSet<HostId> =
        tally.seats().filter(|(_, seat)| seat.status() == Status::Silent).map(|(host, _)| host).collect();
    if silent.is_empty() {
        return BTreeMap::new();
    }
    let asked = async {
        let mut client = Client::connect(socket).await.ok()?;
        client.ask(&Request::Hosts {}, SEEN_WITHIN).await.ok()
    };
    match tokio::time::timeout(SEEN_WITHIN, asked).await {
        Ok(Some(Reply::Hosts { hosts })) => hosts
            .into_iter()
            .filter(|row| silent.contains(&row.host))
            .filter_map(|row| Some((row.host, row.seen?)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

/// Shown above the rows of one job.
pub(in crate::services::run) fn heading(job: &Job<'_>, style: Style) -> String {
    let mut lines = vec![style.bold(&format!("job {}", job.id))];
    lines.extend(job.plan_lines());
    let body = job.order.body();
    lines.push(format!("selector {}", escape::line(&body.selector)));
    lines.push(format!("ordered  {}", ago(body.issued, job.now)));
    lines.join("\n")
}
