//! The operator's side: fetches, verifies every record, shows.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    authority::Host,
    control::{Anchor, AnchorError, Client, ControlError, Reply, Request, fleet_under},
    identity::{Executor, HostId, Operator, Payload as _, PublicKey, Signed, peek},
    replica::{AuditEvent, AuditFault, AuditHead, AuditRecord, AuditWalk, Audited, Outcome, Replica},
    terminal::{Column, Kind, Mark, Output, OutputError, Sheet, Style, escape, time},
    wire::FrameReader,
};

/// How long an agent may take between two parts of its chain.
const PART_WITHIN: Duration = Duration::from_secs(30);
/// How much of a file is read at a time, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

const EVENTS: &[(&str, Mark)] = &[
    ("accepted", Mark::Good),
    ("refused", Mark::Bad),
    ("ended", Mark::Good),
    ("cancelled", Mark::Unknown),
    ("stopped", Mark::Bad),
    ("left", Mark::Unknown),
    ("rotated", Mark::Unknown),
    ("renewed", Mark::Bad),
    ("newer", Mark::Unknown),
];
const RECORDS: Sheet = Sheet {
    thing: "audit-record",
    columns: &[
        Column::new("NUMBER", "sequence", Kind::Ours),
        Column::new("AT", "at", Kind::Time),
        Column::new("EVENT", "event", Kind::Status(EVENTS)),
        Column::new("JOB", "order", Kind::Ours),
        Column::new("BY", "by", Kind::Host),
        Column::new("WHAT", "what", Kind::Host),
        Column::wide("ID", "id", Kind::Ours),
    ],
};

/// Where a chain comes from.
#[derive(Clone, Debug)]
pub enum Whence {
    /// The agent that is asked: its own.
    Agent,
    /// A file that was exported.
    File(PathBuf),
}

/// Why a chain is not shown.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No anchor to verify against.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The file with a chain in it.
    #[error("cannot use {}: {source}", escape::line(&path.display().to_string()))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No host of the fleet has a chain that begins so.
    #[error("the first record is of no host of this fleet")]
    NoHost,
    /// The chain does not hold.
    #[error("the audit chain of {} does not hold: {fault}", escape::line(host))]
    Fault {
        /// Whose it is.
        host: String,
        /// What is wrong with it, and where.
        fault: AuditFault,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Shows the last `count` records, once all of them were verified.
///
/// # Errors
/// See [`AuditError`]; nothing is shown then.
pub async fn log<W: Write>(
    client: &mut Client,
    operators: &Path,
    whence: &Whence,
    count: usize,
    output: &mut Output<W>,
) -> Result<(), AuditError> {
    let replica = fleet_of(client, operators).await?;
    let mut last = VecDeque::new();
    let mut keep = |record: Signed<AuditRecord>| {
        if last.len() == count {
            last.pop_front();
        }
        if count > 0 {
            last.push_back(record);
        }
    };
    let mut reading = Reading::new(&replica, whence, client.host, Vec::new());
    feed(client, whence, |bytes| reading.take(bytes, &mut keep)).await?;
    reading.end()?;
    let rows: Vec<Value> = last.iter().map(|record| row(record, &replica)).collect();
    Ok(output.rows(&RECORDS, &rows)?)
}

/// Verifies a chain, and that it holds what was `seen` of it before.
///
/// # Errors
/// See [`AuditError`]. A chain that does not hold is told as a document too, before the error.
pub async fn verify<W: Write>(
    client: &mut Client,
    operators: &Path,
    whence: &Whence,
    seen: Vec<AuditHead>,
    output: &mut Output<W>,
) -> Result<(), AuditError> {
    let anchor = Anchor::find(client, operators)?;
    // With heads: what the fleet holds the host to.
    let replica = fleet_under(client, &anchor, true).await?.0;
    let mut reading = Reading::new(&replica, whence, client.host, seen);
    let read = feed(client, whence, |bytes| reading.take(bytes, &mut |_| {})).await;
    let host = reading.host_name();
    let ended = match read {
        Ok(()) => reading.end(),
        Err(error) => Err(error),
    };
    let (found, fault) = match ended {
        Ok(found) => (found, None),
        Err(AuditError::Fault { fault, .. }) => (None, Some(fault)),
        Err(error) => return Err(error),
    };
    let head = found.map(|(_, head)| head);
    let document = json!({
        "host": host,
        "whole": fault.is_none(),
        "first": found.map(|(first, _)| first),
        "last": head.map(|head| head.sequence),
        "head": head.map(|head| seen_words(&head)),
        "fault": fault.as_ref().map(|fault| json!({
            "kind": kind_of(fault),
            "record": index_of(fault),
            "what": fault.to_string(),
        })),
    });
    let shown = |_: Style| match (&fault, found) {
        (Some(_), _) => String::new(),
        (None, None) => format!("{}: no record yet\n", escape::line(&host)),
        (None, Some((first, head))) => format!(
            "{}: records {first} to {}, none missing, none altered\nhead {}\n",
            escape::line(&host),
            head.sequence,
            seen_words(&head),
        ),
    };
    output.document("audit", &document, shown)?;
    match fault {
        Some(fault) => Err(AuditError::Fault { host, fault }),
        None => Ok(()),
    }
}

/// Passes the agent's chain on as it is. It is verified on the way, and ends where it does not hold.
///
/// # Errors
/// See [`AuditError`].
pub async fn export(
    client: &mut Client,
    operators: &Path,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), AuditError> {
    let replica = fleet_of(client, operators).await?;
    let mut reading = Reading::new(&replica, &Whence::Agent, client.host, Vec::new());
    let mut failed = Ok(());
    let mut pass = |record: Signed<AuditRecord>| {
        if failed.is_ok() {
            let framed = crate::wire::frame(record.bytes(), AuditRecord::BYTES_MAX).map_err(io::Error::other);
            failed = framed.and_then(|framed| sink(&framed));
        }
    };
    feed(client, &Whence::Agent, |bytes| reading.take(bytes, &mut pass)).await?;
    reading.end()?;
    failed.map_err(|source| AuditError::File { path: "standard output".into(), source })
}

async fn fleet_of(client: &mut Client, operators: &Path) -> Result<Replica, AuditError> {
    let anchor = Anchor::find(client, operators)?;
    Ok(fleet_under(client, &anchor, false).await?.0)
}

/// Hands over the bytes of a chain, in pieces.
async fn feed(
    client: &mut Client,
    whence: &Whence,
    mut take: impl FnMut(&[u8]) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    match whence {
        Whence::File(path) => {
            let failed = |source| AuditError::File { path: path.clone(), source };
            let mut file = File::open(path).map_err(failed)?;
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                match file.read(&mut buffer).map_err(failed)? {
                    0 => return Ok(()),
                    read => take(buffer.get(..read).unwrap_or_default())?,
                }
            }
        }
        Whence::Agent => {
            client.send(&Request::AuditChain {}).await?;
            loop {
                match client.reply_within(PART_WITHIN).await? {
                    Reply::Chunk { bytes } => take(&bytes.0)?,
                    Reply::End {} => return Ok(()),
                    Reply::Error { why, refused } => {
                        return Err(ControlError::Refused { why, right: refused }.into());
                    }
                    _ => {
                        return Err(ControlError::Malformed("not a part of an audit chain".to_owned()).into());
                    }
                }
            }
        }
    }
}

/// A chain being read and walked.
struct Reading<'a> {
    replica: &'a Replica,
    /// Whose it must be, where that is known beforehand.
    host: Option<HostId>,
    seen: Vec<AuditHead>,
    reader: FrameReader,
    walk: Option<AuditWalk>,
    records: u64,
    /// Bytes that came and are in no record so far.
    left: usize,
    live: bool,
}

impl<'a> Reading<'a> {
    fn new(replica: &'a Replica, whence: &Whence, agent: HostId, seen: Vec<AuditHead>) -> Self {
        let live = matches!(whence, Whence::Agent);
        Self {
            replica,
            host: live.then_some(agent),
            seen,
            reader: FrameReader::new(AuditRecord::BYTES_MAX),
            walk: None,
            records: 0,
            left: 0,
            live,
        }
    }

    fn host_name(&self) -> String {
        let host = self.host.and_then(|host| self.replica.authority().host(&host));
        host.map_or_else(|| "unknown".to_owned(), |host| host.enrolled().enrolment().name.clone())
    }

    fn fault(&self, fault: AuditFault) -> AuditError {
        AuditError::Fault { host: self.host_name(), fault }
    }

    fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(Signed<AuditRecord>)) -> Result<(), AuditError> {
        self.reader.push(bytes);
        self.left += bytes.len();
        loop {
            let record = match self.reader.next_frame() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.name_by(&[])?;
                    return Err(
                        self.fault(AuditFault::Altered { index: self.records, why: error.to_string() })
                    );
                }
            };
            self.left = self.left.saturating_sub(crate::wire::FRAME_HEADER_BYTES + record.len());
            let walk = self.walk_for(&record)?;
            let taken = walk.take(&record).map_err(|fault| self.fault(fault))?;
            self.records += 1;
            each(taken);
        }
    }

    /// The host of a file's chain is the one whose executor signed its first record.
    fn name_by(&mut self, first: &[u8]) -> Result<(HostId, PublicKey<Executor>), AuditError> {
        let signer = peek(first).ok().and_then(|header| header.signer);
        let authority = self.replica.authority();
        let key = |host: &Host| host.enrolled().enrolment().keys.executor;
        let found = match self.host {
            Some(id) => authority.host(&id).map(|host| (id, key(host))),
            None => authority
                .hosts()
                .find(|host| Some(key(host).bytes()) == signer)
                .map(|host| (host.enrolled().host(), key(host))),
        };
        let found = found.ok_or(AuditError::NoHost)?;
        self.host = Some(found.0);
        Ok(found)
    }

    fn walk_for(&mut self, first: &[u8]) -> Result<&mut AuditWalk, AuditError> {
        if self.walk.is_none() {
            let (_, key) = self.name_by(first)?;
            let mut seen = std::mem::take(&mut self.seen);
            if let Some(host) = self.host {
                // What it showed the fleet, by its own signature.
                seen.extend(self.replica.head(&host).and_then(|head| head.body().audit));
            }
            self.walk = Some(AuditWalk::new(self.replica.fleet(), key, seen));
        }
        self.walk.as_mut().ok_or(AuditError::NoHost)
    }

    fn end(mut self) -> Result<Option<(u64, AuditHead)>, AuditError> {
        // An agent may be writing the last one now.
        if self.left > 0 && !self.live {
            let why = "it is cut off".to_owned();
            return Err(self.fault(AuditFault::Altered { index: self.records, why }));
        }
        let host = self.host_name();
        self.walk_for(&[])?;
        let walk = self.walk.take().ok_or(AuditError::NoHost)?;
        walk.end().map_err(|fault| AuditError::Fault { host, fault })
    }
}

/// A head as people and scripts pass it on: `NUMBER:ID`.
fn seen_words(head: &AuditHead) -> String {
    format!("{}:{}", head.sequence, head.id)
}

fn kind_of(fault: &AuditFault) -> &'static str {
    match fault {
        AuditFault::Altered { .. } => "altered",
        AuditFault::Stranger { .. } => "stranger",
        AuditFault::Missing { .. } => "missing",
        AuditFault::Repeated { .. } => "repeated",
        AuditFault::Beheaded { .. } => "beheaded",
        AuditFault::Forked { .. } => "forked",
        AuditFault::Rewritten { .. } => "rewritten",
        AuditFault::CutShort { .. } => "cut-short",
    }
}

fn index_of(fault: &AuditFault) -> Option<u64> {
    match fault {
        AuditFault::Altered { index, .. }
        | AuditFault::Stranger { index, .. }
        | AuditFault::Missing { index, .. }
        | AuditFault::Repeated { index, .. }
        | AuditFault::Forked { index, .. } => Some(*index),
        AuditFault::Beheaded { .. } => Some(0),
        AuditFault::Rewritten { .. } | AuditFault::CutShort { .. } => None,
    }
}

fn row(record: &Signed<AuditRecord>, replica: &Replica) -> Value {
    let body = record.body();
    let person = |key: &PublicKey<Operator>| {
        let mut certificates = replica.authority().certificates();
        certificates
            .find(|(_, certificate)| certificate.key.name() == *key)
            .map(|(_, found)| found.person.clone())
    };
    let (event, order, by, what) = match &body.what {
        Audited::Known(AuditEvent::Accepted { order, issuer, verb, run_as, approved_by }) => {
            let approved = if approved_by.is_empty() { "" } else { ", approved by " };
            let what = format!("{} as {run_as}{approved}{}", verb.word(), approved_by.join(", "));
            ("accepted", Some(order), person(issuer), what)
        }
        Audited::Known(AuditEvent::Refused { order, issuer, verb, why }) => {
            ("refused", Some(order), person(issuer), format!("{}: {why}", verb.word()))
        }
        Audited::Known(AuditEvent::Ended { order, outcome, .. }) => {
            ("ended", Some(order), None, outcome_words(outcome))
        }
        Audited::Known(AuditEvent::Restored { .. }) => (
            "restored",
            None,
            None,
            "the state was restored from an older copy: what was ordered before is not run any more"
                .to_owned(),
        ),
        Audited::Known(AuditEvent::Recovered { order, .. }) => {
            ("recovered", Some(order), None, "its result was kept by a peer: it is not run again".to_owned())
        }
        Audited::Known(AuditEvent::Rotated {}) => {
            ("rotated", None, None, "records before this one are not kept".to_owned())
        }
        Audited::Known(AuditEvent::Cancelled { order, issuer }) => {
            ("cancelled", Some(order), person(issuer), "by who ordered it".to_owned())
        }
        Audited::Known(AuditEvent::Stopped { order, why }) => ("stopped", Some(order), None, why.clone()),
        Audited::Known(AuditEvent::Left {}) => ("left", None, None, "the host leaves the fleet".to_owned()),
        Audited::Known(AuditEvent::Renewed {}) => {
            let what = "the file with the records before this one was damaged, and is set aside";
            ("renewed", None, None, what.to_owned())
        }
        Audited::Newer { tag } => ("newer", None, None, format!("kind {tag}, of a newer muster")),
    };
    json!({
        "sequence": body.sequence,
        "at": time::rfc3339(body.at),
        "event": event,
        "order": order.map(ToString::to_string),
        "by": by,
        "what": what,
        "dropped": body.dropped,
        "id": record.id().to_string(),
        "previous": body.previous.map(|previous| previous.to_string()),
    })
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exit {code}"),
        Outcome::Signaled { signal } => format!("signal {signal}"),
        Outcome::TimedOut {} => "timed out".to_owned(),
        Outcome::Cancelled {} => "cancelled".to_owned(),
        Outcome::Indeterminate { why } => format!("indeterminate: {why}"),
        Outcome::Refused { why } => format!("refused: {why}"),
        Outcome::NotStarted { code, why } => format!("not started, exit {code}: {why}"),
    }
}
