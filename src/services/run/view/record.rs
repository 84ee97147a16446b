//! What happened to a job, for programs: rows, and one object an event.

use serde_json::{Map, Value, json};

use crate::{
    services::run::{
        Counts, Status,
        event::{Chunk, Exit, Summary, fd},
    },
    terminal::{Column, Kind, Mark, Sheet, time::rfc3339},
};

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
pub(in crate::services::run) const HOSTS: Sheet = Sheet {
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

/// Where one host stands; `label` is what it is called.
pub(super) fn row(exit: &Exit, label: &str) -> Map<String, Value> {
    let ran = exit.code.is_some() && matches!(exit.status, Status::Ok | Status::Failed);
    let plain = ran && !exit.conflict && !exit.spoilt;
    object(json!({
        "host": label,
        "id": exit.host.to_string(),
        "status": exit.status.key(),
        "code": exit.code,
        "signal": exit.signal,
        "why": (!plain).then_some(exit.words.as_str()),
        "started": exit.started.map(rfc3339),
        "ms": exit.ms,
        "stdout_bytes": exit.stdout.map(|output| output.produced),
        "stdout_kept": exit.stdout.map(|output| output.kept),
        "stdout_hash": exit.stdout.map(|output| hex(output.hash)),
        "stderr_bytes": exit.stderr.map(|output| output.produced),
        "stderr_kept": exit.stderr.map(|output| output.kept),
        "stderr_hash": exit.stderr.map(|output| hex(output.hash)),
        "left_behind": exit.left_behind,
        "conflict": exit.conflict,
        "claim": exit.claim.map(|claim| claim.to_string()),
        "seen": exit.seen.map(rfc3339),
    }))
}

/// The event `start`, from what is known of the job.
pub(super) fn start(mut facts: Map<String, Value>) -> Value {
    facts.insert("event".to_owned(), "start".into());
    Value::Object(facts)
}

/// The event `chunk`.
pub(super) fn chunk(chunk: &Chunk, label: &str) -> Value {
    let mut event = object(json!({"event": "chunk", "host": label, "fd": fd(chunk.fd), "seq": chunk.seq}));
    event.extend(object(data(&chunk.data)));
    Value::Object(event)
}

/// The event `exit`.
pub(super) fn exit(exit: &Exit, label: &str) -> Value {
    let mut event = row(exit, label);
    event.insert("event".to_owned(), "exit".into());
    Value::Object(event)
}

/// The event `summary` of `job`.
pub(super) fn summary(summary: &Summary, job: &str) -> Value {
    json!({
        "event": "summary", "job": job, "counts": counts(&summary.counts),
        "exit": summary.code, "conflicts": summary.conflicts,
    })
}

/// How many hosts stand where, by the keys of [`Status`].
pub(super) fn counts(counts: &Counts) -> Value {
    let mut fields: Map<String, Value> =
        Status::ALL.into_iter().map(|status| (status.key().to_owned(), counts.of(status).into())).collect();
    fields.insert("total".to_owned(), counts.total().into());
    Value::Object(fields)
}

/// Bytes in JSON: text where they are that, else base 64 (RFC 4648, section 4).
pub(super) fn data(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({"data": text, "encoding": "utf-8"}),
        Err(_) => json!({"data": base64(bytes), "encoding": "base64"}),
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn hex(hash: [u8; 32]) -> String {
    blake3::Hash::from_bytes(hash).to_hex().to_string()
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
}
