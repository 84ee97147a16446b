//! Results of one order put together: what many records have in common once, and what is each host's own in a
//! few bits and its signature.
//!
//! Decides how a set of reports is written as rows {what all say → places in the roster}. Always holds: what comes
//! out of a row is byte for byte what went in, signatures too (this is looked at while combining, and what would
//! not come back as it was travels as a plain report); a set of reports is the same in whatever order, grouping and
//! however often its parts came, so repeats and other ways do no harm; nothing is made of foreign bytes before
//! their sizes were looked at. It opens no signature and believes nothing: the issuer verifies every one.
//!
//! The shape is the aggregation of Astrolabe and SDIMS along the way the order came (REPLICATION.md 4.3), as a join
//! of {(exit, output hash) → bitmap}. It differs from what stands there in two things. No result is sampled: each
//! place carries its executor's signature, 64 bytes, and the signed bytes are made again from the row, the host's id
//! at that place and its certificate's key. And there is no deadline a level: who passes on sends the first at once
//! and gathers for a moment (`window`), so a host that never answers delays nobody.

use std::collections::BTreeMap;

use super::{
    Message,
    bits::{Bits, Reader},
};
use crate::{
    identity::{EntryId, Executor, HostId, Payload as _, PublicKey, Signed},
    replica::{
        INLINE_OUTPUT_BYTES_MAX, Output, Replica, Report, ResultRecord, Seats, put_varint, take_varint,
    },
    wire::{self, Bytes, Value, Wire, WireError},
    wire_record,
};

/// Rows in one message.
pub const COMBINED_ROWS_MAX: usize = 256;
/// Hosts in one message, of all its rows together.
pub const COMBINED_HOSTS_MAX: usize = 1024;
/// How long the reports of one message may be together, in bytes.
const UNPACKED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long one message becomes, in bytes; a row that is longer alone stands alone.
const COMBINED_BYTES_MAX: usize = 256 * 1024;
/// Reports in one message that has no rows.
pub(super) const REPORTS_A_MESSAGE: usize = 32;
/// What a record takes beside what its row says of it: ids, times, key, signature.
const OWN_BYTES: usize = 256;
const SIGNATURE_BYTES: usize = 64;
/// Rosters up to this are small: nothing is combined or gathered for them, so that nothing is ever later.
pub const SMALL_ROSTER: usize = 64;

/// Why bytes are no rows of an order. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what should be combined results is too long, cut short, or names places that the roster does not have"
)]
pub struct NoResults;

/// What many reports of one order have in common, and what each has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The fields of the records, in order, but for the order, the host and the times; in the place of an output
    /// that travels along stands nothing, since its hash and length follow from it.
    said: Bytes,
    stdout: Option<Bytes>,
    stderr: Option<Bytes>,
    /// What the hosts' times are counted from.
    started: u64,
    took_ms: u64,
    /// Three columns, see `bits`: steps between places, and both times with their signs last.
    hosts: Bytes,
    /// The executors' signatures, in order of places.
    signatures: Bytes,
}
wire_record!(Row { said, stdout, stderr, started, took_ms, hosts, signatures });

impl Row {
    /// How many hosts stand in it.
    pub fn hosts(&self) -> usize {
        self.signatures.0.len() / SIGNATURE_BYTES
    }

    /// How long the signatures are, in bytes.
    pub fn signature_bytes(&self) -> usize {
        self.signatures.0.len()
    }

    /// About how long it is, in bytes.
    pub(super) fn weight(&self) -> usize {
        let output = output_bytes(self.stdout.as_ref(), self.stderr.as_ref());
        32 + self.said.0.len() + output + self.hosts.0.len() + self.signatures.0.len()
    }

    /// How long all of its reports are together, in bytes.
    fn unpacked(&self) -> usize {
        let output = output_bytes(self.stdout.as_ref(), self.stderr.as_ref());
        self.hosts().saturating_mul(OWN_BYTES + self.said.0.len() + output)
    }
}

/// What all records of a row say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Common {
    said: Vec<u8>,
    stdout: Option<Bytes>,
    stderr: Option<Bytes>,
}

/// What is one host's own in it.
#[derive(Clone, Copy, Debug)]
struct Own {
    place: u32,
    started: u64,
    took_ms: u64,
    signature: [u8; SIGNATURE_BYTES],
}

/// Who says the same, by place.
type Layer<'a> = BTreeMap<u32, (Own, &'a Report)>;

/// The fields of a record that a row has.
struct Said(Vec<Value>);

impl Wire for Said {
    fn to_value(&self) -> Value {
        Value::Array(self.0.clone())
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        value.into_array().map(Self).map_err(|_| WireError::Field { field, problem: "not an array" })
    }
}

/// Reports of any orders, each once.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    reports: BTreeMap<(EntryId, HostId, [u8; 32]), Report>,
    bytes: usize,
}

impl Gathered {
    /// Adds one; where it is there already nothing changes.
    pub(super) fn add(&mut self, report: Report) {
        let weight = weight(&report);
        if self.reports.insert((report.order, report.host, mark(&report)), report).is_none() {
            self.bytes += weight;
        }
    }

    /// Whether it is worth a message already.
    pub(super) fn is_full(&self) -> bool {
        self.reports.len() >= COMBINED_HOSTS_MAX || self.bytes >= COMBINED_BYTES_MAX
    }

    pub(super) fn into_reports(self) -> Vec<Report> {
        self.reports.into_values().collect()
    }
}

/// Writes reports as messages of a bounded size: combined where that is shorter and their roster is not small.
pub fn in_messages(reports: Vec<Report>, replica: &Replica) -> Vec<Message> {
    let mut by_order: BTreeMap<EntryId, Vec<Report>> = BTreeMap::new();
    for report in reports {
        by_order.entry(report.order).or_default().push(report);
    }
    let (mut messages, mut plain) = (Vec::new(), Vec::new());
    for (order, reports) in by_order {
        match replica.seats(&order).filter(|seats| seats.len() > SMALL_ROSTER) {
            Some(seats) => {
                let (rows, others) = pack(order, &reports, &seats, replica);
                messages.extend(in_rows(order, rows));
                plain.extend(others);
            }
            None => plain.extend(reports),
        }
    }
    let plain = plain.chunks(REPORTS_A_MESSAGE);
    messages.extend(plain.map(|reports| Message::Reports { reports: reports.to_vec() }));
    messages
}

/// Cuts rows into messages of a bounded size.
fn in_rows(order: EntryId, rows: Vec<Row>) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut batch, mut hosts, mut bytes, mut unpacked) = (Vec::new(), 0, 0, 0);
    for row in rows {
        let more = (hosts + row.hosts(), bytes + row.weight(), unpacked + row.unpacked());
        let full = batch.len() == COMBINED_ROWS_MAX
            || more.0 > COMBINED_HOSTS_MAX
            || more.1 > COMBINED_BYTES_MAX
            || more.2 > UNPACKED_BYTES_MAX;
        (hosts, bytes, unpacked) = more;
        if full && !batch.is_empty() {
            let rows = std::mem::take(&mut batch);
            messages.push(Message::Combined { order, rows, working: None });
            (hosts, bytes, unpacked) = (row.hosts(), row.weight(), row.unpacked());
        }
        batch.push(row);
    }
    if !batch.is_empty() {
        messages.push(Message::Combined { order, rows: batch, working: None });
    }
    messages
}

/// Puts reports of one order together; those that would not come back as they are, or are shorter as they are,
/// are left as they are.
pub fn pack(
    order: EntryId,
    reports: &[Report],
    seats: &Seats<'_>,
    replica: &Replica,
) -> (Vec<Row>, Vec<Report>) {
    let mut groups: BTreeMap<Common, Vec<Layer<'_>>> = BTreeMap::new();
    let mut plain = Vec::new();
    for report in reports {
        let Some((common, own)) = take_apart(order, report, seats, replica) else {
            plain.push(report.clone());
            continue;
        };
        // A host stands in a row once: what it, or somebody in its name, said otherwise stands in another.
        let layers = groups.entry(common).or_default();
        match layers.iter_mut().find(|layer| !layer.contains_key(&own.place)) {
            Some(layer) => {
                layer.insert(own.place, (own, report));
            }
            None => layers.push(BTreeMap::from([(own.place, (own, report))])),
        }
    }
    let mut rows = Vec::new();
    for (common, layers) in groups {
        let each =
            OWN_BYTES + common.said.len() + output_bytes(common.stdout.as_ref(), common.stderr.as_ref());
        let at_once = (UNPACKED_BYTES_MAX / each).clamp(1, COMBINED_HOSTS_MAX);
        for layer in layers {
            let hosts: Vec<(Own, &Report)> = layer.into_values().collect();
            for hosts in hosts.chunks(at_once) {
                let row = written(&common, hosts);
                let as_they_are: usize = hosts.iter().map(|(_, report)| weight(report)).sum();
                if row.weight() + order.0.len() < as_they_are {
                    rows.push(row);
                } else {
                    plain.extend(hosts.iter().map(|(_, report)| (*report).clone()));
                }
            }
        }
    }
    (rows, plain)
}

/// Takes rows apart again. Hosts that are not known here are left out: their keys are not known either.
///
/// # Errors
/// When these are no rows that somebody made of reports of this order.
pub fn unpack(
    order: EntryId,
    rows: &[Row],
    seats: &Seats<'_>,
    replica: &Replica,
) -> Result<Vec<Report>, NoResults> {
    let sum = |of: fn(&Row) -> usize| rows.iter().map(of).fold(0_usize, usize::saturating_add);
    if rows.len() > COMBINED_ROWS_MAX
        || sum(Row::hosts) > COMBINED_HOSTS_MAX
        || sum(Row::unpacked) > UNPACKED_BYTES_MAX
    {
        return Err(NoResults);
    }
    let mut reports = Vec::with_capacity(sum(Row::hosts));
    for row in rows {
        if output_bytes(row.stdout.as_ref(), row.stderr.as_ref()) as u64 > INLINE_OUTPUT_BYTES_MAX {
            return Err(NoResults);
        }
        let Said(said) = wire::decode(&row.said.0, ResultRecord::BYTES_MAX).map_err(|_| NoResults)?;
        let said = whole(said, row.stdout.as_ref(), row.stderr.as_ref());
        for own in read(row, seats)? {
            let host = seats.host(own.place).ok_or(NoResults)?;
            let Some(record) = record(order, host, &said, &own, replica) else { continue };
            let (stdout, stderr) = (row.stdout.clone(), row.stderr.clone());
            reports.push(Report { order, host, record: Bytes(record), stdout, stderr });
        }
    }
    Ok(reports)
}

/// Writes places of a roster.
pub fn pack_places(places: impl IntoIterator<Item = u32>) -> Bytes {
    let mut places: Vec<u32> = places.into_iter().collect();
    places.sort_unstable();
    places.dedup();
    let mut bytes = Vec::new();
    put_varint(&mut bytes, places.len() as u64);
    let mut bits = Bits::default();
    bits.column(&steps(places.into_iter()));
    bytes.extend(bits.bytes());
    Bytes(bytes)
}

/// Reads places of a roster.
///
/// # Errors
/// When these are none, or not of this roster.
pub fn unpack_places(bytes: &Bytes, seats: &Seats<'_>) -> Result<Vec<HostId>, NoResults> {
    let mut rest = bytes.0.as_slice();
    let count = take_varint(&mut rest).and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count <= COMBINED_HOSTS_MAX.min(seats.len())).ok_or(NoResults)?;
    let mut reader = Reader::new(rest);
    let steps = reader.column(count).ok_or(NoResults)?;
    if !reader.done() {
        return Err(NoResults);
    }
    let host = |place: u32| seats.host(place).ok_or(NoResults);
    places(&steps, seats.len())?.into_iter().map(host).collect()
}

/// Whether a report is no longer than one may be.
pub(super) fn fits(report: &Report) -> bool {
    let output = output_bytes(report.stdout.as_ref(), report.stderr.as_ref()) as u64;
    report.record.0.len() <= ResultRecord::BYTES_MAX && output <= INLINE_OUTPUT_BYTES_MAX
}

/// What tells one report of a host from another.
pub(super) fn mark(report: &Report) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&report.record.0);
    for output in [&report.stdout, &report.stderr].into_iter().flatten() {
        hasher.update(&output.0);
    }
    *hasher.finalize().as_bytes()
}

/// About how long a report is as it travels alone, in bytes.
pub(super) fn weight(report: &Report) -> usize {
    74 + report.record.0.len() + output_bytes(report.stdout.as_ref(), report.stderr.as_ref())
}

fn output_bytes(stdout: Option<&Bytes>, stderr: Option<&Bytes>) -> usize {
    [stdout, stderr].into_iter().flatten().map(|out| out.0.len()).sum()
}

fn executor(host: &HostId, replica: &Replica) -> Option<PublicKey<Executor>> {
    replica.authority().host(host).map(|host| host.enrolled().enrolment().keys.executor)
}

/// The signed record of a host, made again.
fn record(order: EntryId, host: HostId, said: &[Value], own: &Own, replica: &Replica) -> Option<Vec<u8>> {
    let (outcome, others) = said.split_first()?;
    let mut body = vec![order.to_value(), host.to_value(), outcome.clone()];
    body.extend([own.started.to_value(), own.took_ms.to_value()]);
    body.extend_from_slice(others);
    let signer = executor(&host, replica)?;
    Some(Signed::<ResultRecord>::joined(replica.fleet(), signer, Value::Array(body), own.signature))
}

/// What a report has in common with others, and what is its own: if it is what these two make again.
fn take_apart(
    order: EntryId,
    report: &Report,
    seats: &Seats<'_>,
    replica: &Replica,
) -> Option<(Common, Own)> {
    let place = seats.index_of(&report.host)?;
    let (body, signature) = Signed::<ResultRecord>::apart(&report.record.0, replica.fleet()).ok()?;
    let mut fields = body.into_array().ok()?.into_iter();
    // The order and the host are those of the report, or it does not come out the same.
    let mut said = vec![fields.nth(2)?];
    let started = u64::from_value(fields.next()?, "started").ok()?;
    let took_ms = u64::from_value(fields.next()?, "took").ok()?;
    said.extend(fields);
    let own = Own { place, started, took_ms, signature };
    let short = without(said, report.stdout.as_ref(), report.stderr.as_ref());
    let said = whole(short.clone(), report.stdout.as_ref(), report.stderr.as_ref());
    let again = record(order, report.host, &said, &own, replica)?;
    if report.order != order || again != report.record.0 || !fits(report) {
        return None;
    }
    let (stdout, stderr) = (report.stdout.clone(), report.stderr.clone());
    Some((Common { said: wire::encode(&Said(short)), stdout, stderr }, own))
}

/// What a record says of an output that is there whole.
fn output(bytes: &Bytes) -> Value {
    let length = bytes.0.len() as u64;
    Output { hash: *blake3::hash(&bytes.0).as_bytes(), kept: length, produced: length }.to_value()
}

/// The fields with nothing in the place of outputs that are there whole. They stand after the outcome.
fn without(mut said: Vec<Value>, stdout: Option<&Bytes>, stderr: Option<&Bytes>) -> Vec<Value> {
    for (field, bytes) in said.iter_mut().skip(1).zip([stdout, stderr]) {
        if bytes.is_some_and(|bytes| output(bytes) == *field) {
            *field = Value::Null;
        }
    }
    said
}

/// The fields again. A record that has nothing there itself does not come back as it was, and is not combined.
fn whole(mut said: Vec<Value>, stdout: Option<&Bytes>, stderr: Option<&Bytes>) -> Vec<Value> {
    for (field, bytes) in said.iter_mut().skip(1).zip([stdout, stderr]) {
        if let Some(bytes) = bytes.filter(|_| field.is_null()) {
            *field = output(bytes);
        }
    }
    said
}

fn written(common: &Common, hosts: &[(Own, &Report)]) -> Row {
    let middle = |of: fn(&Own) -> u64| {
        let mut all: Vec<u64> = hosts.iter().map(|(own, _)| of(own)).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    };
    let (started, took_ms) = (middle(|own| own.started), middle(|own| own.took_ms));
    let column = |of: fn(&Own) -> u64, from: u64| -> Vec<u64> {
        hosts.iter().map(|(own, _)| folded(of(own), from)).collect()
    };
    let mut bits = Bits::default();
    bits.column(&steps(hosts.iter().map(|(own, _)| own.place)));
    bits.column(&column(|own| own.started, started));
    bits.column(&column(|own| own.took_ms, took_ms));
    Row {
        said: Bytes(common.said.clone()),
        stdout: common.stdout.clone(),
        stderr: common.stderr.clone(),
        started,
        took_ms,
        hosts: Bytes(bits.bytes()),
        signatures: Bytes(hosts.iter().flat_map(|(own, _)| own.signature).collect()),
    }
}

fn read(row: &Row, seats: &Seats<'_>) -> Result<Vec<Own>, NoResults> {
    let (signatures, rest) = row.signatures.0.as_chunks::<SIGNATURE_BYTES>();
    let count = signatures.len();
    if !rest.is_empty() || count == 0 || count > seats.len() {
        return Err(NoResults);
    }
    let mut reader = Reader::new(&row.hosts.0);
    let mut column = || reader.column(count).ok_or(NoResults);
    let (steps, started, took) = (column()?, column()?, column()?);
    if !reader.done() {
        return Err(NoResults);
    }
    let own = places(&steps, seats.len())?.into_iter().zip(signatures).zip(started.into_iter().zip(took));
    let own = own.map(|((place, signature), (started, took))| Own {
        place,
        started: unfolded(started, row.started),
        took_ms: unfolded(took, row.took_ms),
        signature: *signature,
    });
    Ok(own.collect())
}

/// How many places were passed over before each of these, which rise.
fn steps(places: impl Iterator<Item = u32>) -> Vec<u64> {
    let mut next = 0;
    let step = |place: u32| {
        let step = u64::from(place).saturating_sub(next);
        next = u64::from(place) + 1;
        step
    };
    places.map(step).collect()
}

/// The places again, which rise by themselves and are below `limit`.
fn places(steps: &[u64], limit: usize) -> Result<Vec<u32>, NoResults> {
    let mut next = 0_u64;
    let place = |step: &u64| {
        let place = next.checked_add(*step).filter(|place| *place < limit as u64).ok_or(NoResults)?;
        next = place + 1;
        u32::try_from(place).map_err(|_| NoResults)
    };
    steps.iter().map(place).collect()
}

/// A difference with its sign in the last bit, so that small ones are small.
fn folded(number: u64, from: u64) -> u64 {
    let difference = number.wrapping_sub(from);
    (difference << 1) ^ 0_u64.wrapping_sub(difference >> 63)
}

fn unfolded(folded: u64, from: u64) -> u64 {
    let difference = (folded >> 1) ^ 0_u64.wrapping_sub(folded & 1);
    from.wrapping_add(difference)
}

#[cfg(test)]
#[path = "tests/combine.rs"]
mod tests;
