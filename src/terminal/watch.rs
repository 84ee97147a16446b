//! The same thing shown again and again: in place on a terminal, elsewhere as what changed.
//!
//! A frame is drawn over the one before, row by row, so that nothing flickers; it is cut at the terminal's
//! edges, since what scrolled away cannot be drawn over. Elsewhere there is an event for each row that
//! came, changed or went. That time went by is no change: fields that only hold a time are not compared.
//!
//! After watch(1) and `kubectl get --watch`.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};

use super::table::{Column, Kind};

/// Fields of documents, at any depth, that move while nothing happens: what was counted and measured since.
const RESTLESS: &[&str] =
    &["counters", "rtt_us", "store_bytes", "journal_bytes", "disk_free_bytes", "checked"];

/// What stands on the terminal, or what was told of.
#[derive(Debug, Default)]
pub struct Watch {
    rows_drawn: usize,
    known: Option<BTreeMap<String, Value>>,
    document: Option<Value>,
}

impl Watch {
    /// Nothing was shown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What draws `text` (this program's own, or escaped) over what was drawn before, on a terminal of
    /// `rows` rows, if that is known. Leaves the cursor below it.
    #[must_use]
    pub fn frame(&mut self, text: &str, rows: Option<usize>) -> String {
        let lines: Vec<&str> = text.lines().collect();
        // The last row is the cursor's.
        let room = rows.map_or(usize::MAX, |rows| rows.saturating_sub(1).max(1));
        let shown = if lines.len() > room { room - 1 } else { lines.len() };
        let mut out = String::new();
        if self.rows_drawn > 0 {
            let _ = write!(out, "\x1b[{}A\r", self.rows_drawn);
        }
        // Without wrapping, a line is a row, whatever it holds and however the window was changed.
        out.push_str("\x1b[?7l");
        for line in lines.iter().take(shown) {
            let _ = write!(out, "{line}\x1b[K\r\n");
        }
        self.rows_drawn = shown;
        if shown < lines.len() {
            let _ = write!(out, "… {} more lines\x1b[K\r\n", lines.len() - shown);
            self.rows_drawn += 1;
        }
        out.push_str("\x1b[J\x1b[?7h");
        out
    }

    /// Takes that something else was written below what was drawn.
    pub fn forget_frame(&mut self) {
        self.rows_drawn = 0;
    }

    /// What changed in `rows` since the last time, an object each: `added`, `changed` or `removed`, and the
    /// row. Rows are told apart by `id`, or else by what their first column shows.
    #[must_use]
    pub fn changes(&mut self, columns: &[Column], rows: &[Value]) -> Vec<Value> {
        let named = |row: &Value| {
            let first = columns.first().map_or("id", |column| column.key);
            row.get("id").filter(|id| !id.is_null()).or_else(|| row.get(first)).map(ToString::to_string)
        };
        let now: BTreeMap<String, Value> =
            rows.iter().filter_map(|row| Some((named(row)?, row.clone()))).collect();
        let before = self.known.take().unwrap_or_default();
        let mut events = Vec::new();
        for (name, row) in &now {
            match before.get(name) {
                None => events.push(event("added", row)),
                Some(old) if timeless(columns, old) != timeless(columns, row) => {
                    events.push(event("changed", row));
                }
                Some(_) => {}
            }
        }
        let gone = before.iter().filter(|(name, _)| !now.contains_key(*name));
        events.extend(gone.map(|(_, row)| event("removed", row)));
        self.known = Some(now);
        events
    }

    /// Whether `document` is another than the last time, in more than what always moves.
    pub fn is_news(&mut self, document: &Value) -> bool {
        let still = still(document);
        let news = self.document.as_ref() != Some(&still);
        self.document = Some(still);
        news
    }
}

/// A document without what moves while nothing happens.
fn still(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let stays = fields.iter().filter(|(name, _)| !RESTLESS.contains(&name.as_str()));
            Value::Object(stays.map(|(name, value)| (name.clone(), still(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(still).collect()),
        other => other.clone(),
    }
}

fn event(word: &str, row: &Value) -> Value {
    let mut event = fields(row);
    event.insert("event".to_owned(), json!(word));
    Value::Object(event)
}

/// A row without what changes as time goes by.
fn timeless(columns: &[Column], row: &Value) -> Map<String, Value> {
    let mut fields = fields(row);
    for column in columns.iter().filter(|column| column.kind == Kind::Time) {
        fields.remove(column.key);
    }
    fields
}

fn fields(row: &Value) -> Map<String, Value> {
    row.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::new("NAME", "name", Kind::Host),
        Column::new("STATE", "state", Kind::Host),
        Column::new("SEEN", "seen", Kind::Time),
    ];

    #[test]
    fn a_frame_is_drawn_over_the_one_before_and_leaves_nothing_of_it() {
        let mut watch = Watch::new();
        assert_eq!(watch.frame("a\nb\n", Some(24)), "\x1b[?7la\x1b[K\r\nb\x1b[K\r\n\x1b[J\x1b[?7h");
        assert_eq!(watch.frame("c\n", Some(24)), "\x1b[2A\r\x1b[?7lc\x1b[K\r\n\x1b[J\x1b[?7h");
        assert!(watch.frame("d\n", None).starts_with("\x1b[1A\r"));
    }

    #[test]
    fn what_was_said_below_a_frame_is_not_drawn_over() {
        let mut watch = Watch::new();
        let _first = watch.frame("a\n", Some(24));
        watch.forget_frame();
        assert!(!watch.frame("b\n", Some(24)).contains("\x1b[1A"));
    }

    #[test]
    fn counters_that_move_are_no_news_and_a_peer_that_comes_is() {
        let mut watch = Watch::new();
        let status = |sent: u32, rtt: u32, peers: &[&str]| {
            let peers: Vec<Value> = peers.iter().map(|host| json!({"host": host, "rtt_us": rtt})).collect();
            json!({"counters": {"sent": sent}, "peers": peers})
        };
        assert!(watch.is_news(&status(1, 1, &["b"])), "the first always is");
        assert!(!watch.is_news(&status(2, 9, &["b"])));
        assert!(watch.is_news(&status(2, 9, &["b", "c"])));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut watch = Watch::new();
        let frame = watch.frame(&"x\n".repeat(100), Some(10));
        assert_eq!((frame.matches("x\x1b[K").count(), frame.matches('\n').count()), (8, 9));
        assert!(frame.contains("… 92 more lines"), "{frame}");
        assert!(watch.frame("y\n", Some(10)).starts_with("\x1b[9A\r"));
        assert!(Watch::new().frame("a\nb\n", Some(1)).contains("… 2 more lines"));
    }

    #[test]
    fn rows_that_come_change_and_go_are_told_and_time_alone_is_no_change() {
        let row = |name: &str, state: &str, seen: &str| json!({"name": name, "state": state, "seen": seen});
        let mut watch = Watch::new();
        let told = |events: &[Value]| -> Vec<String> {
            events
                .iter()
                .map(|event| {
                    format!("{} {}", event["event"].as_str().unwrap(), event["name"].as_str().unwrap())
                })
                .collect()
        };
        let first = watch.changes(COLUMNS, &[row("a", "up", "1"), row("b", "up", "1")]);
        assert_eq!(told(&first), ["added a", "added b"]);
        assert_eq!(first[0]["state"], "up");
        assert_eq!(watch.changes(COLUMNS, &[row("a", "up", "2"), row("b", "up", "2")]), Vec::<Value>::new());
        let next = watch.changes(COLUMNS, &[row("b", "unreachable", "2"), row("c", "up", "3")]);
        assert_eq!(told(&next), ["changed b", "added c", "removed a"]);
    }
}
