//! The operator's side: asks the agent, verifies, shows; signs and hands over.

use std::{io::Write, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    tag::{self, Plan, TagError},
    view::{self, HOST_SHEET},
};
use crate::{
    authority::{Host, Refusal, TagChange},
    control::{
        Anchor, AnchorError, Client, ControlError, HostLine, HostRow, PickError, Reply, Request, fleet_under,
        host_lines, host_named, hosts_selected,
    },
    identity::{HostId, WriterId},
    journal::{OperatorError, OperatorHome, stream_place},
    replica::{Item, Replica},
    selector::{Selector, SelectorError},
    targets::{self, TargetError},
    terminal::{
        AskError, Column, Kind, Output, OutputError, Sheet, Talk, escape, nodeset, prompt::Consequence, time,
    },
    time::Timestamp,
};

/// How long the agent may take to answer what it knows.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Hosts that wait, of those that are named below a list.
const WAITING_SHOWN_MAX: usize = 10;
/// How many bytes of ops one message carries at most.
const SUBMIT_BYTES_MAX: usize = 512 * 1024;

/// Which hosts are meant.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// By name, or unique beginning.
    pub names: Vec<String>,
    /// By selector.
    pub selector: Option<String>,
    /// By tags that they must all bear.
    pub labels: Vec<(String, String)>,
}

impl Which {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.selector.is_none() && self.labels.is_empty()
    }

    /// The hosts, each once: those named, in that order, else those selected, by name.
    fn pick<'a>(&self, replica: &'a Replica) -> Result<Vec<&'a Host>, HostsError> {
        let mut hosts: Vec<&Host> = Vec::new();
        for name in &self.names {
            let host = host_named(replica, name)?;
            if hosts.iter().all(|other| other.id() != host.id()) {
                hosts.push(host);
            }
        }
        let in_text = |text: &str| {
            let text = text.to_owned();
            move |error: SelectorError| PickError::Selector { text, error }
        };
        let mut selector = None;
        if let Some(text) = &self.selector {
            let read = Selector::parse(text).map_err(in_text(text))?;
            selector = Some(targets::with_groups(&read, replica.authority())?);
        }
        if !self.labels.is_empty() {
            let shown: Vec<String> =
                self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let labels = Selector::from_labels(&self.labels).map_err(in_text(&shown.join(" ")))?;
            selector = Some(match selector {
                None => labels,
                Some(selector) => selector.and(labels).map_err(in_text("the selector and the labels"))?,
            });
        }
        if let Some(selector) = selector {
            for host in hosts_selected(replica, &selector)? {
                if hosts.iter().all(|other| other.id() != host.id()) {
                    hosts.push(host);
                }
            }
        }
        Ok(hosts)
    }
}

/// Why a command about hosts did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No anchor to verify against.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// Which hosts are meant is not clear, or none is.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// A group in the selector cannot be put in its place.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// This user holds no operator key of the fleet. Nothing was changed.
    #[error("this user has no operator key for fleet {fleet}")]
    NotAnOperator {
        /// The fleet's label.
        fleet: String,
    },
    /// The wish makes no sense. Nothing was changed.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// Nobody's word is needed for it.
    #[error("{} does not wait to be let in: it is {state}", escape::cell(name))]
    NotWaiting {
        /// Its name.
        name: String,
        /// How it stands.
        state: &'static str,
    },
    /// The name cannot be a host's, or is one's already. Nothing was changed.
    #[error("{0}")]
    Name(String),
    /// The certificate does not allow it. Nothing was changed.
    #[error("not permitted: {0}")]
    Refused(#[from] Refusal),
    /// The operator's directory cannot be used. Nothing was changed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Not agreed to. Nothing was changed.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The agent took only some of the ops. What it took stands; the rest was not handed out.
    #[error("{done} of {all} hosts were tagged, then: {source}")]
    Partly {
        /// How many.
        done: usize,
        /// Of how many.
        all: usize,
        /// What stopped it.
        source: ControlError,
    },
    /// Some hosts did not answer.
    #[error("{silent} of {all} hosts did not answer")]
    Silent {
        /// How many.
        silent: usize,
        /// Of how many.
        all: usize,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The verified fleet, and whose word it rests on.
pub(super) async fn verified(
    client: &mut Client,
    operators: &Path,
    heads: bool,
    talk: &mut Talk,
) -> Result<(Replica, Anchor), HostsError> {
    let anchor = Anchor::find(client, operators)?;
    let (replica, left_out) = fleet_under(client, &anchor, heads).await?;
    if left_out > 0 {
        talk.warn(&format!("{left_out} entries from the agent do not hold and were left out"));
    }
    Ok((replica, anchor))
}

async fn seen(client: &mut Client) -> Result<Vec<HostRow>, ControlError> {
    match client.ask(&Request::Hosts {}, ANSWER_WITHIN).await? {
        Reply::Hosts { hosts } => Ok(hosts),
        _ => Err(ControlError::Malformed("not the answer to a question about hosts".to_owned())),
    }
}

/// `host ls`. All hosts are as the agent lists them; those that were picked are verified.
///
/// # Errors
/// See [`HostsError`].
pub async fn list<W: Write>(
    client: &mut Client,
    operators: &Path,
    which: &Which,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), HostsError> {
    let as_text = output.is_flat();
    if which.is_empty() {
        // Nobody is picked and nothing is decided: as the agent lists them.
        let lines = host_lines(client).await?;
        if lines.is_empty() {
            return Err(PickError::NoMatch { selector: "all".to_owned() }.into());
        }
        let rows: Vec<Value> = lines.iter().map(|line| view::listed(line, as_text)).collect();
        output.rows(&HOST_SHEET, &rows)?;
        if !output.is_watched() {
            let waiting = |line: &HostLine| Some((line.name.clone(), line.fingerprint.clone()?));
            say_who_waits(lines.iter().filter_map(waiting), talk);
        }
        return Ok(());
    }
    let (replica, _) = verified(client, operators, true, talk).await?;
    let hosts = match which.pick(&replica) {
        // It may match somebody later.
        Err(HostsError::Pick(PickError::NoMatch { .. })) if output.is_watched() => Vec::new(),
        picked => picked?,
    };
    let rows = view::rows(&replica, &hosts, &seen(client).await?, as_text);
    Ok(output.rows(&HOST_SHEET, &rows)?)
}

/// Who waits for an operator, with what is to be compared, and what to do then.
fn say_who_waits(waiting: impl Iterator<Item = (String, String)>, talk: &mut Talk) {
    let mut waiting = waiting.peekable();
    let Some((first, _)) = waiting.peek().cloned() else { return };
    talk.say("waiting for an operator, who compares the words with those on their screens:");
    for (name, words) in waiting.by_ref().take(WAITING_SHOWN_MAX) {
        talk.say(&format!("  {}  {}", escape::cell(&name), escape::cell(&words)));
    }
    match waiting.count() {
        0 => {}
        more => talk.say(&format!("  and {more} more: muster host ls -o wide")),
    }
    talk.say(&format!("then:  muster host admit {}", escape::cell(&first)));
}

/// `host show`.
///
/// # Errors
/// See [`HostsError`].
pub async fn show<W: Write>(
    client: &mut Client,
    operators: &Path,
    name: &str,
    now: Timestamp,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), HostsError> {
    let (replica, _) = verified(client, operators, true, talk).await?;
    let host = host_named(&replica, name)?;
    let details = view::details(&replica, host, &seen(client).await?);
    Ok(output.document("host", &details, |style| view::page(&details, style, now))?)
}

/// `host tag` and `host untag`. `seed` is randomness for a new writer's id.
///
/// # Errors
/// See [`HostsError`].
#[expect(clippy::too_many_arguments, reason = "one caller; each is a different thing")]
pub async fn tag(
    client: &mut Client,
    operators: &Path,
    which: &Which,
    wanted: &[TagChange],
    dry_run: bool,
    seed: [u8; 16],
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), HostsError> {
    // Where a person will be asked, the stream is locked after the answer, and what was shown is checked
    // against the fleet as it is then.
    let asks = !dry_run && talk.would_ask(Consequence::Change);
    let (mut replica, anchor) = verified(client, operators, true, talk).await?;
    let Some(operator) = anchor.operator() else {
        return Err(HostsError::NotAnOperator { fleet: anchor.chain().genesis().name.clone() });
    };
    let ids: Vec<HostId> = which.pick(&replica)?.iter().map(|host| host.id()).collect();
    let mut plan = tag::plan(&hosts_of(&replica, &ids), wanted)?;
    // Signed for nobody: says whether the certificate allows it before anybody is asked.
    let nowhere = stream_place(&replica, &operator.name(), None, WriterId([0; 16]));
    tag::sign(&plan, &replica, operator, nowhere, now, |op| Ok::<_, Refusal>(operator.foreseen(op)))?;
    if plan.changes.is_empty() {
        talk.say("nothing to do: it is so already");
        return Ok(());
    }
    let shown = describe(&plan, &replica);
    if dry_run {
        talk.say(&format!("would set {shown}; nothing was changed"));
        return Ok(());
    }
    talk.confirm(Consequence::Change, &format!("Set {shown}, as {}?", person(operator)))?;

    let mut writer = operator.lock_writer()?;
    if asks {
        (replica, _) = verified(client, operators, false, talk).await?;
        plan = tag::plan(&hosts_of(&replica, &ids), wanted)?;
    }
    let place = stream_place(&replica, &operator.name(), writer.state(), WriterId(seed));
    let (ops, after) =
        tag::sign(&plan, &replica, operator, place, now, |op| Ok::<_, HostsError>(operator.sign(op)?))?;
    writer.advance(after)?;
    let items: Vec<Item> = ops.iter().map(|op| Item::bare(op.bytes())).collect();
    let all = items.len();
    submit(client, items).await.map_err(|(done, source)| match done {
        0 => source.into(),
        done => HostsError::Partly { done, all, source },
    })?;
    let mark = talk.style().mark(crate::terminal::Mark::Good, "set");
    talk.say(&format!("{mark} {shown}"));
    Ok(())
}

fn hosts_of<'a>(replica: &'a Replica, ids: &[HostId]) -> Vec<&'a Host> {
    ids.iter().filter_map(|id| replica.authority().host(id)).collect()
}

pub(super) fn person(operator: &OperatorHome) -> String {
    let found = operator.chain.certificates().find(|(id, _)| *id == operator.certificate);
    escape::cell(found.map_or("?", |(_, certificate)| &certificate.person))
}

/// `role=web, -env on web-[1-3] (3)`.
fn describe(plan: &Plan, replica: &Replica) -> String {
    let mut changes: Vec<&TagChange> = plan.changes.iter().flat_map(|(_, changes)| changes).collect();
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes.dedup();
    let changes = changes.iter().map(|change| match &change.value {
        Some(value) => format!("{}={}", change.key, value),
        None => format!("no {}", change.key),
    });
    let changes: Vec<String> = changes.map(|text| escape::cell(&text)).collect();
    let names = plan.changes.iter().filter_map(|(id, _)| replica.authority().host(id)).map(Host::name);
    let already = match plan.already {
        0 => String::new(),
        some => format!("; {some} are so already"),
    };
    format!(
        "{} on {} ({}){already}",
        changes.join(", "),
        escape::cell(&nodeset::fold(names)),
        plan.changes.len()
    )
}

/// Hands ops over in messages of bounded size; on failure says how many were taken before.
pub(super) async fn submit(client: &mut Client, items: Vec<Item>) -> Result<(), (usize, ControlError)> {
    let mut done = 0;
    let mut rest = items.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(item) =
            rest.next_if(|item| batch.is_empty() || bytes + item.weight() < SUBMIT_BYTES_MAX)
        {
            bytes += item.weight();
            batch.push(item);
        }
        let count = batch.len();
        match client.ask(&Request::Submit { items: batch }, ANSWER_WITHIN).await {
            Ok(Reply::Accepted {}) => done += count,
            Ok(_) => {
                return Err((done, ControlError::Malformed("not the answer to a submission".to_owned())));
            }
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

/// One host's answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingReport {
    /// The host.
    pub name: String,
    /// The round trip in microseconds and the names of the hosts in between, or why there is none.
    pub answer: Result<(u64, Vec<String>), String>,
}

const PING_SHEET: Sheet = Sheet {
    thing: "ping",
    columns: &[Column::new("NAME", "name", Kind::Host), Column::new("ANSWER", "answer", Kind::Host)],
};

/// `host ping`: asks each in turn.
///
/// # Errors
/// See [`HostsError`]; [`HostsError::Silent`] after all were asked.
pub async fn ping<W: Write>(
    client: &mut Client,
    operators: &Path,
    which: &Which,
    within: Duration,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), HostsError> {
    let (replica, _) = verified(client, operators, true, talk).await?;
    let hosts = which.pick(&replica)?;
    let (mut rows, mut silent, mut gave_up) = (Vec::new(), 0, false);
    for host in &hosts {
        let report = if gave_up {
            PingReport { name: host.name().to_owned(), answer: Err("not asked".to_owned()) }
        } else {
            ping_one(client, &replica, host, within, &mut gave_up).await?
        };
        silent += usize::from(report.answer.is_err());
        let (rtt_us, via, error) = match &report.answer {
            Ok((rtt_us, via)) => (json!(rtt_us), json!(via), json!(null)),
            Err(why) => (json!(null), json!([]), json!(why)),
        };
        rows.push(json!({
            "name": report.name, "id": host.id().to_string(), "answer": words(&report),
            "rtt_us": rtt_us, "via": via, "error": error,
        }));
    }
    output.rows(&PING_SHEET, &rows)?;
    match silent {
        0 => Ok(()),
        silent => Err(HostsError::Silent { silent, all: hosts.len() }),
    }
}

async fn ping_one(
    client: &mut Client,
    replica: &Replica,
    host: &Host,
    within: Duration,
    gave_up: &mut bool,
) -> Result<PingReport, ControlError> {
    let name = |id: &HostId| replica.authority().host(id).map_or_else(|| id.short(), |h| h.name().to_owned());
    let answer = match client.ask(&Request::Ping { host: host.id() }, within).await {
        Ok(Reply::Pong { rtt_us, via }) => Ok((rtt_us, via.iter().map(name).collect())),
        Ok(_) => return Err(ControlError::Malformed("not the answer to a ping".to_owned())),
        Err(ControlError::Refused { why, .. }) => Err(why),
        Err(ControlError::Slow(within)) => {
            // The answer may still come, and would be taken for that of the next question.
            *gave_up = true;
            Err(format!("nothing within {}", time::duration(within)))
        }
        Err(error) => return Err(error),
    };
    Ok(PingReport { name: host.name().to_owned(), answer })
}

/// `4.1 ms direct`, `38 ms by relay-2, plant-7`, or why not.
fn words(report: &PingReport) -> String {
    match &report.answer {
        Ok((rtt_us, via)) => {
            let took = if *rtt_us < 10_000 {
                format!("{}.{} ms", rtt_us / 1000, rtt_us % 1000 / 100)
            } else {
                format!("{} ms", rtt_us / 1000)
            };
            if via.is_empty() { format!("{took} direct") } else { format!("{took} by {}", via.join(", ")) }
        }
        Err(why) => format!("no answer: {why}"),
    }
}
