//! The operator's side.

use std::{fmt::Write as _, fs, io::Write, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    control::{Anchor, AnchorError, Client, ControlError, PeerRow, Reply, Request, StatusReport},
    terminal::{Mark, Output, OutputError, Style, Talk, escape, hanging::wrapped, time},
    time::Timestamp,
};

/// How long the agent may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Links, and problems, that a page shows: it is one screen.
const SHOWN_MAX: usize = 8;
/// Where the values of a page begin.
const LABEL_COLUMNS: usize = 12;

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No anchor to verify against.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// `muster status`.
///
/// # Errors
/// See [`StatusError`].
pub async fn status<W: Write>(
    client: &mut Client,
    operators: &Path,
    state: &Path,
    now: Timestamp,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), StatusError> {
    let Reply::Status { status } = client.ask(&Request::Status {}, ANSWER_WITHIN).await? else {
        return Err(ControlError::Malformed("not the answer to a question about status".to_owned()).into());
    };
    let Reply::Peers { peers } = client.ask(&Request::Peers {}, ANSWER_WITHIN).await? else {
        return Err(ControlError::Malformed("not the answer to a question about peers".to_owned()).into());
    };
    let anchor = Anchor::find(client, operators)?;
    let document = document(client, &anchor, &status, &peers, &Disk::of(state));
    let columns = output.columns();
    output.document("status", &document, |style| page(&document, style, now, columns))?;
    if anchor.operator().is_none() {
        talk.say(
            "note: this user has no operator key for this fleet, so which fleet it is rests on the agent's word",
        );
    }
    Ok(())
}

/// What this process can see of the agent's disk.
struct Disk {
    room: Option<(u64, u64)>,
    journal: Option<u64>,
}

impl Disk {
    fn of(state: &Path) -> Self {
        let room = rustix::fs::statvfs(state).ok();
        let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
        Self {
            room: room.map(|room| (bytes(room.f_bavail, room.f_frsize), bytes(room.f_blocks, room.f_frsize))),
            journal: fs::metadata(state.join("executor/claims")).ok().map(|about| about.len()),
        }
    }
}

fn document(
    client: &Client,
    anchor: &Anchor,
    status: &StatusReport,
    peers: &[PeerRow],
    disk: &Disk,
) -> Value {
    let peer = |peer: &PeerRow| {
        json!({
            "host": peer.name,
            "id": peer.host.map(|id| id.to_string()),
            "address": peer.address,
            "dialled": peer.dialled,
            "since": time::rfc3339(peer.since),
            "rtt_us": peer.rtt_us,
        })
    };
    let operator = anchor.operator().and_then(|home| {
        let (id, held) = home.certified()?;
        Some(json!({
            "person": held.person,
            "key": home.signer.key().fingerprint(),
            "certificate": id.to_string(),
            "until": time::rfc3339(held.not_after),
        }))
    });
    let running = status.counters.iter().find(|(name, _)| name == "orders_running").map(|(_, count)| count);
    let counters = status.counters.iter().map(|(name, count)| (name.clone(), json!(count)));
    json!({
        "fleet": { "name": anchor.chain().genesis().name, "id": client.fleet.to_string() },
        "host": { "name": status.name, "id": client.host.to_string() },
        "agent": client.agent,
        "started": time::rfc3339(status.started),
        "executor_pid": status.executor_pid,
        "mesh_pid": status.mesh_pid,
        "listen": status.listen,
        "members": status.members,
        "links": status.links,
        "up": status.presence.map(|(up, _)| up),
        "unreachable": status.presence.map(|(_, unreachable)| unreachable),
        "entries": status.entries,
        "root": status.root.map(|root| format!("{:032x}", u128::from_be_bytes(root))),
        "orders": status.orders,
        "running": running,
        "results_unsettled": status.results_unsettled,
        "store_bytes": status.store_bytes,
        "journal_bytes": disk.journal,
        "disk_free_bytes": disk.room.map(|(free, _)| free),
        "disk_bytes": disk.room.map(|(_, all)| all),
        "confinement": status.confinement,
        "problems": status.problems,
        "counters": Value::Object(counters.collect()),
        "peers": peers.iter().map(peer).collect::<Vec<_>>(),
        "operator": operator,
    })
}

/// The document for a person, all of it escaped.
fn page(document: &Value, style: Style, now: Timestamp, columns: Option<usize>) -> String {
    let text = |path: &str| match document.pointer(path) {
        Some(Value::String(text)) if !text.is_empty() => escape::cell(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    let when = |value: Option<&Value>| {
        let at = value.and_then(Value::as_str).and_then(|text| time::parse_rfc3339(text).ok());
        at.map_or_else(|| "-".to_owned(), |at| time::ago(at, now))
    };
    let list = |path: &str| -> Vec<&Value> {
        document.pointer(path).and_then(Value::as_array).into_iter().flatten().collect()
    };
    let counted = |path: &str, one: &str, many: &str| match document.pointer(path).and_then(Value::as_u64) {
        Some(1) => format!("1 {one}"),
        count => format!("{} {many}", count.unwrap_or_default()),
    };
    let problems = list("/problems");
    let state = if problems.is_empty() { (Mark::Good, "running") } else { (Mark::Warning, "running") };
    let mut page = format!(
        "{}  {} of fleet {} ({})\n",
        style.mark(state.0, state.1),
        style.bold(&text("/host/name")),
        style.bold(&text("/fleet/name")),
        text("/fleet/id").chars().take(8).collect::<String>(),
    );
    let mut line = |label: &str, value: &str| {
        let value = wrapped(value, LABEL_COLUMNS, columns);
        let _always = writeln!(page, "  {label:<8}  {value}");
    };
    line(
        "agent",
        &format!(
            "{}, started {}, processes {} (executor) and {} (mesh)",
            text("/agent"),
            when(document.pointer("/started")),
            text("/executor_pid"),
            text("/mesh_pid"),
        ),
    );
    let listen: Vec<String> =
        list("/listen").into_iter().filter_map(Value::as_str).map(escape::cell).collect();
    let listens = if listen.is_empty() { "nowhere: it only dials out".to_owned() } else { listen.join("  ") };
    line("listens", &listens);
    let mut members = vec![text("/members")];
    if document.pointer("/up").is_some_and(Value::is_number) {
        members.push(format!("{} up", text("/up")));
    }
    if document.pointer("/unreachable").and_then(Value::as_u64).is_some_and(|count| count > 0) {
        members.push(format!("{} unreachable", text("/unreachable")));
    }
    members.push(format!("{} linked", text("/links")));
    line("members", &members.join(", "));
    line(
        "holds",
        &format!(
            "{}, {}{}, {} not yet settled",
            counted("/entries", "entry", "entries"),
            counted("/orders", "live order", "live orders"),
            match document.pointer("/running").and_then(Value::as_u64) {
                Some(running) if running > 0 => format!(", {running} running here"),
                _ => String::new(),
            },
            counted("/results_unsettled", "result", "results"),
        ),
    );
    line("root", &text("/root"));
    let size = |path: &str| document.pointer(path).and_then(Value::as_u64).map(time::size);
    let mut disk: Vec<String> = Vec::new();
    disk.extend(size("/store_bytes").map(|size| format!("store {size}")));
    disk.extend(size("/journal_bytes").map(|size| format!("journal {size}")));
    if let (Some(free), Some(all)) = (size("/disk_free_bytes"), size("/disk_bytes")) {
        disk.push(format!("{free} of {all} free"));
    }
    if !disk.is_empty() {
        line("disk", &disk.join(", "));
    }
    line("confined", &text("/confinement"));
    if document.pointer("/operator").is_some_and(Value::is_object) {
        line("you are", &format!("{}, {}", text("/operator/person"), text("/operator/key")));
        let until = document.pointer("/operator/until");
        line("", &format!("certificate until {} ({})", text("/operator/until"), when(until)));
    }
    let peers = list("/peers");
    for peer in peers.iter().take(SHOWN_MAX) {
        let field = |key: &str| peer.get(key).and_then(Value::as_str).map(escape::cell);
        let rtt = peer.get("rtt_us").and_then(Value::as_u64);
        line(
            "link",
            &format!(
                "{} at {}, {}{}",
                field("host").unwrap_or_else(|| "a stranger".to_owned()),
                field("address").unwrap_or_default(),
                when(peer.get("since")),
                rtt.map_or_else(String::new, |us| format!(", {}.{} ms", us / 1000, us % 1000 / 100)),
            ),
        );
    }
    let more = |all: usize| all.saturating_sub(SHOWN_MAX);
    if more(peers.len()) > 0 {
        line("", &format!("and {} more links: muster status -o json", more(peers.len())));
    }
    for problem in problems.iter().take(SHOWN_MAX) {
        let problem = wrapped(&escape::cell(problem.as_str().unwrap_or("?")), LABEL_COLUMNS - 1, columns);
        let _always = writeln!(page, "{} {problem}", style.mark(Mark::Warning, "problem:"));
    }
    if more(problems.len()) > 0 {
        let _always = writeln!(page, "  and {} more problems: muster status -o json", more(problems.len()));
    }
    page
}
