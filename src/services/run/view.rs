//! A job as a person or a script sees it.
//!
//! Standard output gets what hosts said and how they ended, standard error the talk around it. What a
//! host chose is escaped, except the bytes of a raw view that no terminal shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::event::fd;
use super::{
    Counts, FetchError, RunError, Seat, Status, Streams, Tally, Verified, View, Withheld,
    live::{Ledger, Piece},
    output::{Begun, Reader, Sink},
    shipment,
};
use crate::{
    control::{Client, Reply, Request, StreamName},
    identity::{EntryId, HostId, Signed},
    replica::{Action, Order, Outcome, Output, Replica},
    terminal::{
        Column, Format, Kind, Mark, Sheet, Style, escape, nodeset,
        time::{ago, duration, rfc3339, size, took},
    },
    time::Timestamp,
};

/// How much fetched output one JSON document holds, in bytes: it is one value in memory.
const JSON_OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// Longest reason of a host that is shown on its line, in columns.
const WHY_COLUMNS_MAX: usize = 200;
/// Narrowest and widest column of names.
const LABEL_COLUMNS: (usize, usize) = (24, 50);
/// How long the agent may take to say when it last heard of hosts.
const SEEN_WITHIN: Duration = Duration::from_millis(500);

/// The exit code of what is refused.
pub(super) const REFUSED: u8 = 4;

/// How hosts ended, by the keys of [`Status`].
const STATUS_WORDS: &[(&str, Mark)] = &{
    let mut words = [("", Mark::Unknown); Status::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "both have the same length, and it is checked when compiled"
        )]
        {
            words[at] = (Status::ALL[at].key(), Status::ALL[at].mark());
        }
        at += 1;
    }
    words
};

/// One row a host.
pub(super) const HOSTS: Sheet = Sheet {
    thing: "job-host",
    columns: &[
        Column::new("NAME", "host", Kind::Host),
        Column::new("STATUS", "status", Kind::Status(STATUS_WORDS)),
        Column::new("CODE", "code", Kind::Ours),
        Column::new("TOOK", "ms", Kind::Took),
        Column::new("STDOUT", "stdout_bytes", Kind::Size),
        Column::new("STDERR", "stderr_bytes", Kind::Size),
        Column::new("WHY", "why", Kind::Host),
        Column::wide("ID", "id", Kind::Ours),
        Column::wide("STARTED", "started", Kind::Time),
    ],
};

/// A job, and what is needed to show it.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// Its id.
    pub(super) id: EntryId,
    /// The signed order.
    pub(super) order: &'a Signed<Order>,
    /// The fleet.
    pub(super) replica: &'a Replica,
    /// What relative times relate to.
    pub(super) now: Timestamp,
    /// When the agent last heard of hosts that have not answered.
    pub(super) seen: BTreeMap<HostId, Timestamp>,
    /// When the order for a host expires, where that is not the job's own, and whether it was cancelled.
    pub(super) ends: BTreeMap<HostId, (Timestamp, bool)>,
    person: String,
    labels: BTreeMap<HostId, String>,
    told: BTreeSet<HostId>,
    ledger: Ledger,
    escapers: BTreeMap<(HostId, StreamName), escape::Stream>,
    outputs: BTreeMap<HostId, (Value, Value)>,
}

impl<'a> Job<'a> {
    /// A job of this fleet, of one order.
    pub(super) fn new(order: &'a Signed<Order>, replica: &'a Replica, now: Timestamp) -> Self {
        Self::of(order, order.body().roster.hosts(), replica, now)
    }

    /// A job of this fleet whose first order is `order`, on all of `roster`.
    pub(super) fn of(
        order: &'a Signed<Order>,
        roster: &[HostId],
        replica: &'a Replica,
        now: Timestamp,
    ) -> Self {
        let person = replica
            .authority()
            .certificate_of(&order.body().certificate, order.signer())
            .map_or_else(|_| "somebody unknown".to_owned(), |certificate| certificate.person.clone());
        let labels = labels(roster, replica);
        Self {
            id: order.id(),
            order,
            replica,
            now,
            seen: BTreeMap::new(),
            ends: BTreeMap::new(),
            person,
            labels,
            told: BTreeSet::new(),
            ledger: Ledger::default(),
            escapers: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }

    /// What a host is called here: its name, and its id too where two have that name.
    pub(super) fn label(&self, host: &HostId) -> String {
        self.labels.get(host).cloned().unwrap_or_else(|| host.short())
    }

    /// The host of its roster with this label, or else the one whose label, or id, begins so.
    pub(super) fn find(&self, name: &str) -> Option<HostId> {
        let exact = self.labels.iter().find(|(_, label)| *label == name).map(|(host, _)| *host);
        let begins = |(host, label): &(&HostId, &String)| {
            label.starts_with(name) || host.to_string().starts_with(name)
        };
        let mut found = self.labels.iter().filter(begins).map(|(host, _)| *host);
        exact.or_else(|| found.next().filter(|_| found.next().is_none()))
    }

    /// Takes when the order for its hosts expires, which is not the same for each wave.
    pub(super) fn expires(&mut self, order: &Signed<Order>) {
        for host in order.body().roster.hosts() {
            self.ends.entry(*host).or_insert((order.body().expires, false));
        }
    }

    /// Takes that the order for its hosts was cancelled.
    pub(super) fn cancelled(&mut self, order: &Signed<Order>) {
        for host in order.body().roster.hosts() {
            self.ends.insert(*host, (order.body().expires, true));
        }
    }

    /// Who ordered it.
    pub(super) fn person(&self) -> &str {
        &self.person
    }

    /// What would be sent: what, as whom, until when, where.
    pub(super) fn plan_lines(&self) -> Vec<String> {
        let body = self.order.body();
        let hosts = self.labels.len();
        let mut lines = vec![
            format!("command  {}", escape::line(&command(&body.action))),
            format!("as       {} by grant of {}", escape::line(&body.run_as), escape::line(&self.person)),
            format!(
                "until    {} for the start, then at most {}",
                clock_time(body.expires, self.now),
                duration(Duration::from_millis(body.limits.timeout_ms))
            ),
        ];
        lines.splice(1..1, shipment::words(&body.action));
        lines.extend(body.reason.iter().map(|reason| format!("reason   {}", escape::line(reason))));
        lines.push(format!("on       {} ({})", nodeset::fold(self.labels.values()), counted(hosts)));
        lines
    }

    /// Says what was sent.
    pub(super) fn begin(&self, streams: &mut Streams<'_>, view: View) -> Result<(), RunError> {
        if streams.format == Format::Jsonl {
            let mut event = self.facts();
            event.insert("event".to_owned(), "start".into());
            streams.event(self.now, &Value::Object(event))?;
        }
        if !self.bare(streams, view) {
            let body = self.order.body();
            streams.say(&format!(
                "{} · as {} by grant of {} · job {}",
                counted(self.labels.len()),
                escape::line(&body.run_as),
                escape::line(&self.person),
                self.id.short()
            ));
        }
        Ok(())
    }

    /// Whether standard error is for the host's own bytes alone: one host, raw, into a file or pipe.
    fn bare(&self, streams: &Streams<'_>, view: View) -> bool {
        self.raw(view) && self.labels.len() == 1 && !streams.err_terminal && is_text(streams.format)
    }

    fn raw(&self, view: View) -> bool {
        match view {
            View::Auto => self.labels.len() == 1,
            View::Raw => true,
            View::Group | View::Quiet => false,
        }
    }

    /// Shows what came of it; true if all output that was to be shown was.
    pub(super) async fn show(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        view: View,
        reader: &Reader,
    ) -> Result<bool, RunError> {
        match streams.format {
            Format::Table | Format::Wide if view == View::Quiet => Ok(true),
            Format::Table | Format::Wide if self.raw(view) => self.show_raw(streams, tally, reader).await,
            Format::Table | Format::Wide => self.show_groups(streams, tally, reader).await,
            Format::Json => self.gather(streams, tally, reader).await,
            Format::Jsonl => self.show_events(streams, tally, reader).await,
            Format::Csv | Format::Name => {
                let rows = self.rows(tally);
                streams.rows(self.now, &HOSTS, &rows)?;
                Ok(true)
            }
        }
    }

    /// Ends the account: the sum of all hosts, and what to do next.
    pub(super) fn end(
        &self,
        streams: &mut Streams<'_>,
        tally: &Tally,
        view: View,
        code: u8,
    ) -> Result<(), RunError> {
        match streams.format {
            Format::Json => {
                let mut document = self.document(tally);
                document.insert("exit".to_owned(), code.into());
                streams.document(self.now, "job", &Value::Object(document), |_| String::new())?;
            }
            Format::Jsonl => {
                let summary = json!({
                    "event": "summary", "job": self.id.to_string(), "counts": counts_json(&tally.counts()),
                    "exit": code, "conflicts": self.conflicts(tally),
                });
                streams.event(self.now, &summary)?;
            }
            Format::Table | Format::Wide | Format::Csv | Format::Name => {}
        }
        streams.flush()?;
        if tally.strays() > 0 {
            streams.say(&format!("warning: {} results of hosts outside the roster", tally.strays()));
        }
        if self.bare(streams, view) {
            for (host, seat) in tally.seats() {
                let status = seat.status();
                if !matches!(status, Status::Ok | Status::Failed) || seat.claim().is_some() || seat.conflict()
                {
                    let label = self.label(&host);
                    streams.say(&format!("{} {label}: {}", status.mark().sign(), self.words(host, seat)));
                    streams.say(&format!("muster job show {}", self.id.short()));
                }
            }
            return Ok(());
        }
        let line = summary(&tally.counts(), differing(tally));
        streams.say(&format!("{line}{:10}{}", "", self.next_step(tally)));
        Ok(())
    }

    /// What to do next, by where the hosts stand.
    pub(super) fn next_step(&self, tally: &Tally) -> String {
        let (counts, id) = (tally.counts(), self.id.short());
        if counts.of(Status::Ok) == counts.total() {
            return format!("muster job show {id}");
        }
        let open = counts.of(Status::Running) + counts.of(Status::Silent) > 0;
        format!("muster job {} {id} · muster job rerun {id} --failed", if open { "watch" } else { "show" })
    }

    fn conflicts(&self, tally: &Tally) -> Vec<String> {
        tally.seats().filter(|(_, seat)| seat.conflict()).map(|(host, _)| self.label(&host)).collect()
    }

    /// Hosts in order of their labels.
    pub(super) fn by_label(&self) -> Vec<(String, HostId)> {
        let mut hosts: Vec<_> = self.labels.iter().map(|(host, label)| (label.clone(), *host)).collect();
        hosts.sort();
        hosts
    }

    /// What an event, a document and a plan have in common.
    pub(super) fn facts(&self) -> serde_json::Map<String, Value> {
        let body = self.order.body();
        let argv = body.action.argv();
        let facts = json!({
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
        });
        match facts {
            Value::Object(facts) => facts,
            _ => serde_json::Map::new(),
        }
    }

    /// The whole job as one document.
    pub(super) fn document(&self, tally: &Tally) -> serde_json::Map<String, Value> {
        let mut document = self.facts();
        document.insert("counts".to_owned(), counts_json(&tally.counts()));
        document.insert("hosts".to_owned(), Value::Array(self.rows(tally)));
        document
    }

    /// One object a host, in order of labels.
    pub(super) fn rows(&self, tally: &Tally) -> Vec<Value> {
        self.by_label()
            .into_iter()
            .filter_map(|(_, host)| tally.seat(&host).map(|seat| self.row(host, seat)))
            .collect()
    }

    fn row(&self, host: HostId, seat: &Seat) -> Value {
        let record = seat.verified().map(Verified::record);
        let outcome = record.map(|record| &record.outcome);
        let (code, signal) = match outcome {
            Some(Outcome::Exited { code } | Outcome::NotStarted { code, .. }) => (Some(*code), None),
            Some(Outcome::Signaled { signal }) => (None, Some(*signal)),
            _ => (None, None),
        };
        let plain = matches!(outcome, Some(Outcome::Exited { .. })) && !seat.conflict() && !seat.spoilt();
        let mut row = json!({
            "host": self.label(&host),
            "id": host.to_string(),
            "status": seat.status().key(),
            "code": code,
            "signal": signal,
            "why": (!plain).then(|| self.words(host, seat)),
            "started": record.map(|record| rfc3339(record.started)),
            "ms": record.map(|record| record.took_ms),
            "stdout_bytes": record.map(|record| record.stdout.produced),
            "stdout_kept": record.map(|record| record.stdout.kept),
            "stdout_hash": record.map(|record| hex(record.stdout.hash)),
            "stderr_bytes": record.map(|record| record.stderr.produced),
            "stderr_kept": record.map(|record| record.stderr.kept),
            "stderr_hash": record.map(|record| hex(record.stderr.hash)),
            "left_behind": record.map(|record| record.left_behind),
            "conflict": seat.conflict(),
            "claim": seat.claim().map(|claim| claim.to_string()),
            "seen": self.seen.get(&host).map(|at| rfc3339(*at)),
        });
        if let (Some((stdout, stderr)), Value::Object(fields)) = (self.outputs.get(&host), &mut row) {
            fields.insert("stdout".to_owned(), stdout.clone());
            fields.insert("stderr".to_owned(), stderr.clone());
        }
        row
    }

    /// How a host ended, in words. All of it may be shown on one line.
    fn words(&self, host: HostId, seat: &Seat) -> String {
        let mut words = match (seat.verified().map(Verified::record), seat.claim()) {
            (Some(record), _) => outcome_words(&record.outcome),
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
        let mut words = "no answer".to_owned();
        if let Some(seen) = self.seen.get(&host) {
            let _ = write!(words, ", last seen {}", ago(*seen, self.now));
        }
        if cancelled {
            words.push_str(" · cancelled: it will not start it");
        } else if expires > self.now {
            let _ = write!(words, " · queued until {}", clock_time(expires, self.now));
        } else {
            let _ = write!(words, " · expired {}", ago(expires, self.now));
        }
        words
    }

    /// Hosts by what they did and said, the largest group of each status first.
    fn groups(&self, tally: &Tally) -> Vec<Group> {
        let place = |output: Output| (output.hash, output.kept, output.produced);
        let mut groups = BTreeMap::new();
        for (label, host) in self.by_label() {
            let Some(seat) = tally.seat(&host) else { continue };
            let record = seat.verified().map(Verified::record);
            let outputs = record.map(|record| [record.stdout, record.stderr]);
            let (status, words) = (seat.status(), self.words(host, seat));
            let key = (status, words.clone(), outputs.map(|outputs| outputs.map(place)));
            let group = groups.entry(key).or_insert_with(|| Group {
                status,
                words,
                outputs,
                hosts: Vec::new(),
                labels: Vec::new(),
                took_ms: None,
            });
            group.hosts.push(host);
            group.labels.push(label);
            group.took_ms = group.took_ms.max(record.map(|record| record.took_ms));
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups
            .sort_by(|a, b| (a.status, b.hosts.len(), &a.labels).cmp(&(b.status, a.hosts.len(), &b.labels)));
        groups
    }

    async fn show_groups(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
    ) -> Result<bool, RunError> {
        let groups = self.groups(tally);
        let labels: Vec<String> = groups.iter().map(Group::label).collect();
        let width = labels.iter().map(|label| escape::width(label)).max().unwrap_or(0);
        let width = width.clamp(LABEL_COLUMNS.0, LABEL_COLUMNS.1);
        let most =
            groups.first().filter(|group| group.status == Status::Ok).map(|group| lines_of(group, tally));
        let mut whole = true;
        for (at, (group, label)) in groups.iter().zip(&labels).enumerate() {
            let gap = " ".repeat(width.saturating_sub(escape::width(label)));
            let mut head =
                format!("{}{label}{gap}   {}", streams.out_style.mark(group.status.mark(), ""), group.words);
            if let Some(ms) = group.took_ms {
                let _ = write!(head, "   {}", took(Duration::from_millis(ms)));
            }
            if let (Some(Some(most)), Some(lines)) = (&most, lines_of(group, tally))
                && at > 0
                && group.status == Status::Ok
                && let lines @ 1.. = differing_lines(most, &lines)
            {
                let _ = write!(head, "   differs in {lines} line{}", if lines == 1 { "" } else { "s" });
            }
            head.push('\n');
            streams.out_bytes(head.as_bytes())?;
            if let Some([stdout, stderr]) = group.outputs {
                whole &= self.show_block(streams, tally, reader, group, StreamName::Stdout, stdout).await?;
                whole &= self.show_block(streams, tally, reader, group, StreamName::Stderr, stderr).await?;
            }
        }
        streams.flush()?;
        Ok(whole)
    }

    /// Shows one output stream of a group, from whichever of its hosts gives it.
    async fn show_block(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
        group: &Group,
        stream: StreamName,
        output: Output,
    ) -> Result<bool, RunError> {
        if output.produced == 0 {
            return Ok(true);
        }
        let mut whole = false;
        for host in &group.hosts {
            let mut block = Block::new(if stream == StreamName::Stdout { "  " } else { "  ! " });
            let mut begun = false;
            let result = {
                let mut sink = |piece: &[u8]| {
                    begun = true;
                    stop_if_closed(streams)?;
                    streams.out_bytes(block.push(piece).as_bytes())
                };
                copy(tally, reader, Begun::default(), *host, stream, output, &mut sink).await
            };
            let rest = block.finish();
            streams.out_bytes(rest.as_bytes())?;
            whole = self.settle(result, streams, tally, *host)?;
            if whole || begun {
                break;
            }
        }
        if let Some(cut) = cut(output) {
            streams.out_bytes(format!("  {}\n", streams.out_style.dim(&cut)).as_bytes())?;
        }
        Ok(whole)
    }

    async fn show_raw(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
    ) -> Result<bool, RunError> {
        let mut whole = true;
        for (_, host) in self.by_label() {
            let Some(verified) = tally.seat(&host).and_then(Seat::verified) else { continue };
            let (stdout, stderr) = (verified.record().stdout, verified.record().stderr);
            whole &= self.pass_on(streams, tally, reader, host, StreamName::Stdout, stdout, false).await?;
            whole &= self.pass_on(streams, tally, reader, host, StreamName::Stderr, stderr, true).await?;
        }
        Ok(whole)
    }

    /// Passes one output stream on as it is, to standard error if `to_err`; escaped only where a
    /// terminal would act on it. Says where it was cut.
    #[expect(clippy::too_many_arguments, reason = "one call site each in two files; a struct would say less")]
    pub(super) async fn pass_on(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
        host: HostId,
        stream: StreamName,
        output: Output,
        to_err: bool,
    ) -> Result<bool, RunError> {
        let terminal = if to_err { streams.err_terminal } else { streams.out_terminal };
        // Goes on where live output ended.
        let mut escaper = self.escapers.remove(&(host, stream)).unwrap_or_default();
        let (begun, _) = self.ledger.settle(host, stream);
        let result = {
            let mut sink = |piece: &[u8]| {
                stop_if_closed(streams)?;
                let text;
                let bytes = if terminal {
                    text = escaper.push(piece);
                    text.as_bytes()
                } else {
                    piece
                };
                if to_err { streams.err_bytes(bytes) } else { streams.out_bytes(bytes) }
            };
            copy(tally, reader, begun, host, stream, output, &mut sink).await
        };
        if terminal {
            let rest = escaper.finish();
            if to_err { streams.err_bytes(rest.as_bytes())? } else { streams.out_bytes(rest.as_bytes())? }
        }
        streams.flush()?;
        let whole = self.settle(result, streams, tally, host)?;
        if let Some(cut) = cut(output) {
            let word = if stream == StreamName::Stdout { "output" } else { "error output" };
            streams.say(&format!("{}: {word} {cut}", self.label(&host)));
        }
        Ok(whole)
    }

    /// Gathers output for the one document, as far as that may hold it.
    async fn gather(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
    ) -> Result<bool, RunError> {
        let (mut left, mut whole) = (JSON_OUTPUT_BYTES_MAX, true);
        for (_, host) in self.by_label() {
            let Some(verified) = tally.seat(&host).and_then(Seat::verified) else { continue };
            let outputs = [verified.record().stdout, verified.record().stderr];
            let mut values = Vec::new();
            for (stream, output) in [StreamName::Stdout, StreamName::Stderr].into_iter().zip(outputs) {
                if output.kept > left {
                    values.push(json!({"omitted": true}));
                    continue;
                }
                left -= output.kept;
                let mut bytes = Vec::new();
                let mut sink = |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                };
                let result = copy(tally, reader, Begun::default(), host, stream, output, &mut sink).await;
                let good = self.settle(result, streams, tally, host)?;
                whole &= good;
                values.push(if good { data(&bytes) } else { json!({"omitted": true}) });
            }
            if let [stdout, stderr] = values.as_slice() {
                self.outputs.insert(host, (stdout.clone(), stderr.clone()));
            }
        }
        Ok(whole)
    }

    /// Shows a piece of live output.
    pub(super) fn hear(&mut self, piece: Piece, streams: &mut Streams<'_>) -> Result<(), RunError> {
        // Nobody else is heard.
        let piece = Some(piece).filter(|piece| self.labels.contains_key(&piece.host));
        let Some(chunk) = piece.and_then(|piece| self.ledger.hear(piece)) else { return Ok(()) };
        if streams.format == Format::Jsonl {
            return Ok(
                streams.event(self.now, &self.chunk(chunk.host, fd(chunk.fd), chunk.seq, &chunk.data))?
            );
        }
        streams.progress("");
        let to_err = chunk.fd == StreamName::Stderr;
        let text;
        let bytes = if if to_err { streams.err_terminal } else { streams.out_terminal } {
            text = self.escapers.entry((chunk.host, chunk.fd)).or_default().push(&chunk.data);
            text.as_bytes()
        } else {
            &chunk.data
        };
        if to_err {
            streams.err_bytes(bytes)?;
        } else {
            streams.out_bytes(bytes)?;
        }
        Ok(streams.flush()?)
    }

    /// Begins to fetch what a host's result left with it, if it will be shown.
    pub(super) fn fetch_ahead(
        &self,
        streams: &Streams<'_>,
        view: View,
        tally: &Tally,
        host: HostId,
        reader: &Reader,
    ) {
        let shown = match streams.format {
            Format::Table | Format::Wide => view != View::Quiet,
            Format::Json | Format::Jsonl => true,
            Format::Csv | Format::Name => false,
        };
        let Some(verified) = tally.seat(&host).and_then(Seat::verified).filter(|_| shown) else { return };
        let record = verified.record();
        for (stream, here, output) in [
            (StreamName::Stdout, verified.stdout(), record.stdout),
            (StreamName::Stderr, verified.stderr(), record.stderr),
        ] {
            if here.is_none() && !self.ledger.heard(host, stream) {
                reader.fetch_ahead(host, stream, output);
            }
        }
    }

    /// Tells at once what came of `host`, if its output came along.
    pub(super) fn tell_if_here(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        host: HostId,
    ) -> Result<(), RunError> {
        let Some(verified) = tally.seat(&host).and_then(Seat::verified).cloned() else { return Ok(()) };
        let (Some(stdout), Some(stderr)) = (verified.stdout(), verified.stderr()) else { return Ok(()) };
        for (stream, bytes) in [(StreamName::Stdout, stdout), (StreamName::Stderr, stderr)] {
            let (begun, sequence) = self.ledger.settle(host, stream);
            let rest = begun.rest(bytes);
            if let Ok(rest @ [_, ..]) = rest {
                streams.event(self.now, &self.chunk(host, fd(stream), sequence, rest))?;
            }
            self.settle(rest.map(|_| ()), streams, tally, host)?;
        }
        self.told.insert(host);
        let Some(seat) = tally.seat(&host) else { return Ok(()) };
        Ok(streams.event(self.now, &self.exit(host, seat))?)
    }

    /// Tells what came of the hosts that are known already, where events are told.
    pub(super) fn tell_known(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
    ) -> Result<(), RunError> {
        if streams.format == Format::Jsonl {
            for (_, host) in self.by_label() {
                self.tell_if_here(streams, tally, host)?;
            }
        }
        Ok(())
    }

    async fn show_events(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
    ) -> Result<bool, RunError> {
        let mut whole = true;
        for (_, host) in self.by_label() {
            if self.told.contains(&host) {
                continue;
            }
            if let Some(verified) = tally.seat(&host).and_then(Seat::verified) {
                let outputs = [(1, verified.record().stdout), (2, verified.record().stderr)];
                for (fd, output) in outputs {
                    let stream = if fd == 1 { StreamName::Stdout } else { StreamName::Stderr };
                    let (begun, mut sequence) = self.ledger.settle(host, stream);
                    let result = {
                        let mut sink = |piece: &[u8]| {
                            stop_if_closed(streams)?;
                            let event = self.chunk(host, fd, sequence, piece);
                            sequence += 1;
                            streams.event(self.now, &event).map_err(io::Error::other)
                        };
                        copy(tally, reader, begun, host, stream, output, &mut sink).await
                    };
                    whole &= self.settle(result, streams, tally, host)?;
                }
            }
            if let Some(seat) = tally.seat(&host) {
                let event = self.exit(host, seat);
                streams.event(self.now, &event)?;
            }
        }
        Ok(whole)
    }

    fn chunk(&self, host: HostId, fd: u8, sequence: u64, bytes: &[u8]) -> Value {
        let mut event = json!({"event": "chunk", "host": self.label(&host), "fd": fd, "seq": sequence});
        if let (Value::Object(event), Value::Object(data)) = (&mut event, data(bytes)) {
            event.extend(data);
        }
        event
    }

    fn exit(&self, host: HostId, seat: &Seat) -> Value {
        let mut event = self.row(host, seat);
        if let Value::Object(event) = &mut event {
            event.insert("event".to_owned(), "exit".into());
        }
        event
    }

    /// Takes how fetching ended: false if the output is not there, or not what was signed.
    fn settle(
        &self,
        result: Result<(), FetchError>,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        host: HostId,
    ) -> Result<bool, RunError> {
        match result {
            Ok(()) => return Ok(true),
            Err(FetchError::Sink(_)) if streams.is_closed() => return Ok(true),
            Err(FetchError::Sink(error)) => return Err(RunError::Terminal(error)),
            Err(error @ FetchError::NotAsSigned(_)) => {
                tally.spoil(host);
                streams.say(&format!("✗ output of {}: {error}", self.label(&host)));
            }
            Err(FetchError::Control(error)) => {
                let why = escape::line(&error.to_string());
                streams.say(&format!("! output of {} cannot be had: {why}", self.label(&host)));
                streams.say(&format!(
                    "try again: muster job output {} {}",
                    self.id.short(),
                    self.label(&host)
                ));
            }
        }
        Ok(false)
    }
}

/// Whether the output of so many hosts is shown as it is written.
pub(super) fn is_live(format: Format, view: View, hosts: usize) -> bool {
    let raw = is_text(format) && hosts == 1 && matches!(view, View::Auto | View::Raw);
    raw || format == Format::Jsonl
}

/// Hands on to `sink` what of one output stream follows `begun`, from the result if it came along, else from the
/// host.
async fn copy(
    tally: &Tally,
    reader: &Reader,
    begun: Begun,
    host: HostId,
    stream: StreamName,
    output: Output,
    sink: &mut Sink<'_>,
) -> Result<(), FetchError> {
    let verified = tally.seat(&host).and_then(Seat::verified);
    let here = verified.and_then(|verified| match stream {
        StreamName::Stdout => verified.stdout(),
        StreamName::Stderr => verified.stderr(),
    });
    match here {
        Some(bytes) => match begun.rest(bytes)? {
            [] => Ok(()),
            rest => Ok(sink(rest)?),
        },
        None if begun.at() == 0 => reader.copy(host, stream, output, sink).await,
        None => reader.go_on(host, stream, output, begun, sink).await,
    }
}

fn stop_if_closed(streams: &Streams<'_>) -> io::Result<()> {
    if streams.is_closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}

fn is_text(format: Format) -> bool {
    matches!(format, Format::Table | Format::Wide)
}

/// Hosts that did and said the same.
struct Group {
    status: Status,
    words: String,
    outputs: Option<[Output; 2]>,
    hosts: Vec<HostId>,
    labels: Vec<String>,
    took_ms: Option<u64>,
}

impl Group {
    fn label(&self) -> String {
        format!("{} ({})", escape::line(&nodeset::fold(&self.labels)), self.hosts.len())
    }
}

/// What a group said, if all of it is here.
fn lines_of(group: &Group, tally: &Tally) -> Option<Vec<Vec<u8>>> {
    let verified = tally.seat(group.hosts.first()?)?.verified()?;
    let (stdout, stderr) = (verified.stdout()?, verified.stderr()?);
    Some(
        stdout
            .split(|byte| *byte == b'\n')
            .chain(stderr.split(|byte| *byte == b'\n'))
            .map(<[u8]>::to_vec)
            .collect(),
    )
}

/// Lines that differ from those at the same place, and lines without one.
fn differing_lines(a: &[Vec<u8>], b: &[Vec<u8>]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len())
}

/// Indents and escapes what a host said.
struct Block {
    escaper: escape::Stream,
    prefix: &'static str,
    line_begins: bool,
}

impl Block {
    fn new(prefix: &'static str) -> Self {
        Self { escaper: escape::Stream::new(), prefix, line_begins: true }
    }

    fn push(&mut self, piece: &[u8]) -> String {
        let text = self.escaper.push(piece);
        self.indent(&text)
    }

    fn finish(mut self) -> String {
        let rest = std::mem::take(&mut self.escaper).finish();
        let mut text = self.indent(&rest);
        if !self.line_begins {
            text.push('\n');
        }
        text
    }

    fn indent(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 8);
        for line in text.split_inclusive('\n') {
            if self.line_begins {
                out.push_str(self.prefix);
            }
            out.push_str(line);
            self.line_begins = line.ends_with('\n');
        }
        out
    }
}

fn outcome_words(outcome: &Outcome) -> String {
    let because =
        |words: &str, why: &str| format!("{words}: {}", escape::clamp(&escape::cell(why), WHY_COLUMNS_MAX));
    match outcome {
        Outcome::Exited { code } => format!("exit {code}"),
        Outcome::Signaled { signal } => format!("killed by signal {signal}"),
        Outcome::TimedOut {} => "timed out".to_owned(),
        Outcome::Cancelled {} => "cancelled".to_owned(),
        Outcome::Indeterminate { why } => because("indeterminate", why),
        Outcome::Refused { why } => because("refused", why),
        Outcome::NotStarted { why, .. } => because("not started", why),
    }
}

/// `12 hosts`.
pub(super) fn counted(hosts: usize) -> String {
    format!("{hosts} host{}", if hosts == 1 { "" } else { "s" })
}

/// The sum of all hosts: `10 ok (1 differs) · 1 refused · 1 silent`.
pub(super) fn summary(counts: &Counts, differing: usize) -> String {
    let column = |(status, count): (Status, usize)| match (status, differing) {
        (Status::Ok, 0) => format!("{count} ok"),
        (Status::Ok, 1) => format!("{count} ok (1 differs)"),
        (Status::Ok, many) => format!("{count} ok ({many} differ)"),
        (status, _) => format!("{count} {}", status.word()),
    };
    counts.columns().map(column).collect::<Vec<_>>().join(" · ")
}

/// How many hosts that succeeded said something else than most of them.
fn differing(tally: &Tally) -> usize {
    let mut said: BTreeMap<_, usize> = BTreeMap::new();
    for (_, seat) in tally.seats().filter(|(_, seat)| seat.status() == Status::Ok) {
        let Some(record) = seat.verified().map(Verified::record) else { continue };
        *said.entry((record.stdout.hash, record.stderr.hash)).or_default() += 1;
    }
    said.values().sum::<usize>() - said.values().max().copied().unwrap_or(0)
}

/// How far it is: `7 of 12 answered, 2 running`.
pub(super) fn progress(counts: &Counts) -> String {
    let (running, silent) = (counts.of(Status::Running), counts.of(Status::Silent));
    let answered = counts.total() - running - silent;
    let running = if running > 0 { format!(", {running} running") } else { String::new() };
    format!("{answered} of {} answered{running}", counts.total())
}

/// The time of day in UTC where that is clear, else the whole time.
pub(super) fn clock_time(at: Timestamp, now: Timestamp) -> String {
    let text = rfc3339(at);
    match text.get(11..16) {
        Some(time) if at.since(now) < Duration::from_secs(20 * 3600) => format!("{time} UTC"),
        _ => text,
    }
}

/// The command as a shell would take it.
pub(super) fn command(action: &Action) -> String {
    let argv = action.argv();
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%^".contains(c);
    let word = |arg: &crate::wire::Bytes| {
        let text = String::from_utf8_lossy(&arg.0).into_owned();
        if !text.is_empty() && text.chars().all(plain) {
            text
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Where output was cut, if it was.
fn cut(output: Output) -> Option<String> {
    (output.produced > output.kept)
        .then(|| format!("cut at {} of {}", size(output.kept), size(output.produced)))
}

fn labels(hosts: &[HostId], replica: &Replica) -> BTreeMap<HostId, String> {
    let name = |host: &HostId| replica.authority().host(host).map(|host| escape::line(host.name()));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for name in hosts.iter().filter_map(name) {
        *times.entry(name).or_default() += 1;
    }
    let label = |host: &HostId| match name(host) {
        Some(name) if times.get(&name) == Some(&1) => name,
        Some(name) => format!("{name}({})", host.short()),
        None => host.short(),
    };
    hosts.iter().map(|host| (*host, label(host))).collect()
}

fn counts_json(counts: &Counts) -> Value {
    let mut fields: serde_json::Map<String, Value> =
        Status::ALL.into_iter().map(|status| (status.key().to_owned(), counts.of(status).into())).collect();
    fields.insert("total".to_owned(), counts.total().into());
    Value::Object(fields)
}

fn hex(hash: [u8; 32]) -> String {
    blake3::Hash::from_bytes(hash).to_hex().to_string()
}

/// Bytes in JSON: text where they are that, else base 64 (RFC 4648, section 4).
fn data(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({"data": text, "encoding": "utf-8"}),
        Err(_) => json!({"data": base64(bytes), "encoding": "base64"}),
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = usize::try_from((word >> (18 - 6 * place)) & 63).unwrap_or_default();
            let padding = place > chunk.len();
            text.push(if padding { '=' } else { ALPHABET.get(digit).map_or('?', |byte| char::from(*byte)) });
        }
    }
    text
}

/// When the agent last heard of the hosts that have not answered. Its word shows, and decides nothing.
pub(super) async fn last_seen(socket: &Path, tally: &Tally) -> BTreeMap<HostId, Timestamp> {
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
pub(super) fn heading(job: &Job<'_>, style: Style) -> String {
    let mut lines = vec![style.bold(&format!("job {}", job.id))];
    lines.extend(job.plan_lines());
    let body = job.order.body();
    lines.push(format!("selector {}", escape::line(&body.selector)));
    lines.push(format!("ordered  {}", ago(body.issued, job.now)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_base_64_with_padding() {
        // RFC 4648, section 10.
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(data(&[0xff]), json!({"data": "/w==", "encoding": "base64"}));
    }

    #[test]
    fn a_command_reads_back_in_a_shell() {
        let argv = ["sh", "-c", "echo 'a  b' | wc", ""].map(|arg| arg.as_bytes().into()).to_vec();
        assert_eq!(command(&Action::Argv { argv }), "sh -c 'echo '\\''a  b'\\'' | wc' ''");
    }

    #[test]
    fn a_block_is_indented_and_escaped_across_cuts() {
        let mut block = Block::new("  ");
        let mut text = block.push(b"one\ntw");
        text += &block.push(b"o\x1b[31m \xc3");
        text += &block.push(b"\xa9");
        text += &block.finish();
        assert_eq!(text, "  one\n  two\\x1b[31m é\n");
    }
}
