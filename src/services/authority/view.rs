//! Operators as rows.

use serde_json::{Value, json};

use crate::{
    authority::{Authority, Certificate, Stop},
    identity::EntryId,
    terminal::{Column, Kind, Mark, Sheet, time},
    time::Timestamp,
};

const STATES: &[(&str, Mark)] = &[
    ("valid", Mark::Good),
    ("expired", Mark::Unknown),
    ("early", Mark::Unknown),
    ("suspended", Mark::Bad),
    ("revoked", Mark::Bad),
];

pub(super) const OPERATORS: Sheet = Sheet {
    thing: "operator",
    columns: &[
        Column::new("PERSON", "person", Kind::Host),
        Column::new("STATE", "state", Kind::Status(STATES)),
        Column::new("VERBS", "verbs", Kind::Ours),
        Column::new("SCOPE", "scope", Kind::Host),
        Column::new("AS", "run_as", Kind::Host),
        Column::new("UNTIL", "until", Kind::Time),
        Column::new("BY", "by", Kind::Host),
        Column::new("ID", "id", Kind::Ours),
        Column::wide("KEY", "key", Kind::Ours),
        Column::wide("WHY", "why", Kind::Host),
    ],
};

/// One certificate of an operator. Where lists are shown as text, they are joined.
pub(super) fn row(
    authority: &Authority,
    id: &EntryId,
    certificate: &Certificate,
    stop: Option<&Stop>,
    now: Timestamp,
    as_text: bool,
) -> Value {
    let state = match stop {
        Some(stop) if stop.by.is_some() => "suspended",
        Some(_) => "revoked",
        None if now > certificate.not_after => "expired",
        None if now < certificate.not_before => "early",
        None => "valid",
    };
    let list = |words: Vec<String>| if as_text { json!(words.join(",")) } else { json!(words) };
    let from = authority.passed_on_from(id);
    let by = from.and_then(|from| {
        let mut all = authority.certificates_and_stops();
        all.find(|(held, ..)| **held == from).map(|(_, certificate, _)| certificate.person.clone())
    });
    json!({
        "person": certificate.person,
        "state": state,
        "verbs": list(certificate.verbs.iter().map(|verb| verb.word().to_owned()).collect()),
        "scope": certificate.scope,
        "run_as": list(certificate.run_as.clone()),
        "tags": list(certificate.tags.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        "hosts_max": certificate.hosts_max,
        "from": time::rfc3339(certificate.not_before),
        "until": time::rfc3339(certificate.not_after),
        "approvals": certificate.approvals,
        "by": by,
        "id": id.short(),
        "certificate": id.to_string(),
        "key": certificate.key.fingerprint(),
        "stopped_by": stop.and_then(|stop| stop.by.clone()),
        "why": stop.map(|stop| stop.reason.clone()),
    })
}
