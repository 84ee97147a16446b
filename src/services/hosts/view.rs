//! How hosts show: rows of a table, and one host with all that is known of it.

use std::{collections::HashMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use crate::{
    authority::{Host, Standing, TagState},
    control::{HostLine, HostRow},
    identity::HostId,
    replica::Replica,
    terminal::{Column, HOST_STATES, Kind, Mark, Sheet, Style, escape, time},
    time::Timestamp,
};

/// `host ls`.
pub const HOST_SHEET: Sheet = Sheet {
    thing: "host",
    columns: &[
        Column::new("NAME", "name", Kind::Host),
        Column::new("STATE", "state", Kind::Status(HOST_STATES)),
        Column::new("OS", "os", Kind::Host),
        Column::new("AGENT", "agent", Kind::Host),
        Column::new("SEEN", "seen", Kind::Time),
        Column::new("TAGS", "tags", Kind::Host),
        Column::wide("FINGERPRINT", "fingerprint", Kind::Host),
        Column::wide("ID", "id", Kind::Ours),
        Column::wide("ADDRESSES", "addresses", Kind::Host),
    ],
};

/// A tag in conflict, where text is shown.
const CONFLICT: &str = "<conflict>";

/// What the agent says of links and ages, by host.
fn seen_by_agent(seen: &[HostRow]) -> HashMap<HostId, &HostRow> {
    seen.iter().map(|row| (row.host, row)).collect()
}

/// The word for a host's state: membership as verified here, presence as the agent says.
fn state(host: &Host, row: Option<&HostRow>) -> &'static str {
    match host.standing() {
        Standing::Member => match row.map(|row| row.state.as_str()) {
            Some("self") => "self",
            Some("up") => "up",
            Some("unreachable") => "unreachable",
            _ => "unknown",
        },
        other => other.word(),
    }
}

/// All keys of a host that waits, in words.
fn fingerprint(host: &Host) -> Value {
    if host.standing().waits() { json!(host.enrolled().enrolment().keys.words()) } else { Value::Null }
}

fn tags_as_text(host: &Host) -> String {
    let shown = host.tags().iter().map(|(key, value)| match value {
        TagState::Set(value) => format!("{key}={value}"),
        TagState::Conflict => format!("{key}={CONFLICT}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// The fields that every view of a host has. `as_text`: tags as one text, for cells.
fn fields(replica: &Replica, host: &Host, row: Option<&HostRow>, as_text: bool) -> Map<String, Value> {
    let node = replica.node_facet(&host.id());
    let words =
        |text: Option<&String>| text.filter(|text| !text.is_empty()).map_or(Value::Null, |t| json!(t));
    let tags = if as_text {
        json!(tags_as_text(host))
    } else {
        let set = host.tags().iter().filter_map(|(key, value)| match value {
            TagState::Set(value) => Some((key.clone(), json!(value))),
            TagState::Conflict => None,
        });
        Value::Object(set.collect())
    };
    let conflicts: Vec<&String> =
        host.tags().iter().filter(|(_, value)| **value == TagState::Conflict).map(|(key, _)| key).collect();
    let fields = [
        ("name", json!(host.name())),
        ("id", json!(host.id().to_string())),
        ("state", json!(state(host, row))),
        ("os", words(node.as_ref().map(|node| &node.os))),
        ("agent", words(node.as_ref().map(|node| &node.agent))),
        ("addresses", json!(node.as_ref().map_or(&[][..], |node| &node.addresses))),
        ("seen", row.and_then(|row| row.seen).map_or(Value::Null, |at| json!(time::rfc3339(at)))),
        ("since", row.and_then(|row| row.since).map_or(Value::Null, |at| json!(time::rfc3339(at)))),
        ("witnesses", row.and_then(|row| row.witnesses).map_or(Value::Null, |count| json!(count))),
        ("tags", tags),
        ("conflicts", json!(conflicts)),
        ("fingerprint", fingerprint(host)),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A row for each of `hosts`. `as_text`: for cells rather than for JSON.
pub fn rows(replica: &Replica, hosts: &[&Host], seen: &[HostRow], as_text: bool) -> Vec<Value> {
    let seen = seen_by_agent(seen);
    let row = |host: &&Host| fields(replica, host, seen.get(&host.id()).copied(), as_text);
    hosts.iter().map(row).map(Value::Object).collect()
}

/// The row of a host as the agent lists it, with the same fields. `as_text`: as for [`rows`].
pub(super) fn listed(line: &HostLine, as_text: bool) -> Value {
    let words = |text: &String| if text.is_empty() { Value::Null } else { json!(text) };
    let tags = if as_text {
        let set = line.tags.iter().map(|(key, value)| (key, value.as_str()));
        let mut tags: Vec<(&String, &str)> =
            set.chain(line.conflicts.iter().map(|key| (key, CONFLICT))).collect();
        tags.sort_unstable();
        json!(tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
    } else {
        Value::Object(line.tags.iter().map(|(key, value)| (key.clone(), json!(value))).collect())
    };
    let when = |at: Option<Timestamp>| at.map_or(Value::Null, |at| json!(time::rfc3339(at)));
    json!({
        "name": line.name,
        "id": line.about.host.to_string(),
        "state": line.about.state,
        "os": words(&line.os),
        "agent": words(&line.agent),
        "addresses": line.addresses,
        "seen": when(line.about.seen),
        "since": when(line.about.since),
        "witnesses": line.about.witnesses,
        "tags": tags,
        "conflicts": line.conflicts,
        "fingerprint": line.fingerprint,
    })
}

/// One host with all that is known of it.
pub fn details(replica: &Replica, host: &Host, seen: &[HostRow]) -> Value {
    let mut fields = fields(replica, host, seen_by_agent(seen).get(&host.id()).copied(), false);
    let enrolled = host.enrolled();
    let (keys, invitation) = (enrolled.enrolment().keys, enrolled.invitation());
    let body = invitation.body();
    let person = replica
        .authority()
        .certificate_of(&body.certificate, invitation.signer())
        .map_or(Value::Null, |certificate| json!(certificate.person));
    fields.insert(
        "keys".to_owned(),
        json!({
            "stream": keys.stream.fingerprint(),
            "transport": keys.transport.fingerprint(),
            "executor": keys.executor.fingerprint(),
        }),
    );
    fields.insert(
        "admitted".to_owned(),
        json!({
            "at": time::rfc3339(enrolled.enrolment().at),
            "by": person,
            "key": invitation.signer().fingerprint(),
            "certificate": body.certificate.to_string(),
            "invitation": invitation.id().to_string(),
            "uses": body.uses,
            "redeemed": replica.authority().redeemed(&invitation.id()),
        }),
    );
    let left = host.departure().map_or(Value::Null, |departure| json!(time::rfc3339(departure.body().at)));
    fields.insert("left".to_owned(), left);
    Value::Object(fields)
}

/// What [`details`] says, for a person. All of it is escaped.
pub(super) fn page(details: &Value, style: Style, now: Timestamp) -> String {
    let text = |path: &str| match details.pointer(path) {
        Some(Value::String(text)) => escape::cell(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    let when = |path: &str| {
        let at =
            details.pointer(path).and_then(Value::as_str).and_then(|text| time::parse_rfc3339(text).ok());
        at.map_or_else(|| "-".to_owned(), |at| time::ago(at, now))
    };
    let list = |path: &str| {
        let items = details.pointer(path).and_then(Value::as_array).into_iter().flatten();
        let items: Vec<String> = items.filter_map(Value::as_str).map(escape::cell).collect();
        if items.is_empty() { "-".to_owned() } else { items.join("  ") }
    };
    let tags = details.pointer("/tags").and_then(Value::as_object).into_iter().flatten();
    let tags: Vec<String> = tags
        .map(|(key, value)| format!("{}={}", escape::cell(key), escape::cell(value.as_str().unwrap_or("?"))))
        .collect();

    let state = details.pointer("/state").and_then(Value::as_str);
    let (word, mark) = HOST_STATES
        .iter()
        .find(|(word, _)| Some(*word) == state)
        .copied()
        .unwrap_or(("unknown", Mark::Unknown));
    let mut page = format!("{}  {}", style.bold(&text("/name")), style.mark(mark, word));
    if word == "unreachable" {
        let _always = write!(page, " since {}, seen by {}", when("/since"), text("/witnesses"));
    }
    page.push('\n');
    let mut line = |label: &str, value: &str| {
        let _always = writeln!(page, "  {label:<10}  {value}");
    };
    line("id", &text("/id"));
    line("os", &text("/os"));
    line("agent", &text("/agent"));
    line("addresses", &list("/addresses"));
    line("seen", &when("/seen"));
    if state.is_some() && details.get("fingerprint").is_some_and(Value::is_string) {
        line("words", &text("/fingerprint"));
    }
    line("tags", &if tags.is_empty() { "-".to_owned() } else { tags.join("  ") });
    if details.pointer("/conflicts").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty()) {
        let keys = list("/conflicts");
        line(
            "conflicts",
            &format!("{keys}  (written twice, unseen by each other: they select nothing until set again)"),
        );
    }
    line(
        "admitted",
        &format!("{} by {}, {}", when("/admitted/at"), text("/admitted/by"), text("/admitted/key")),
    );
    line("", &format!("under certificate {}", text("/admitted/certificate")));
    line(
        "",
        &format!(
            "by invitation {}, used {} of {}",
            text("/admitted/invitation"),
            text("/admitted/redeemed"),
            text("/admitted/uses")
        ),
    );
    if state == Some("left") {
        line("left", &when("/left"));
    }
    line("keys", &format!("stream     {}", text("/keys/stream")));
    line("", &format!("transport  {}", text("/keys/transport")));
    line("", &format!("executor   {}", text("/keys/executor")));
    page
}
