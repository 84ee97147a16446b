//! Aligned tables for people, tab-separated lines for pipes.
//!
//! A column says who chose what stands in it ([`Kind`]). Text from hosts is escaped and cut to its
//! column, and cannot imitate the gap between two columns. A column of states shows only the words
//! that its definition lists: anything else shows as unknown, so bytes from a host never stand there.

use std::time::Duration;

use serde_json::Value;

use super::style::{Mark, Style};
use super::{escape, time};
use crate::time::Timestamp;

/// Terminal columns of one cell, unless the column says otherwise or the table is wide.
const CELL_COLUMNS_MAX: usize = 48;
/// What a column keeps where a terminal is too narrow for all.
const CELL_COLUMNS_MIN: usize = 8;
/// What stands for nothing, so that columns do not shift for those who split at spaces.
const NOTHING: &str = "-";
/// What a state shows as that this program has no word for.
const NO_WORD: (&str, Mark) = ("unknown", Mark::Unknown);

/// Who chose a column's text, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A host, an operator or anyone else: names, tags, output.
    Host,
    /// This program: ids, counts, paths it computed. Escaped all the same, never cut.
    Ours,
    /// One of these words of this program, each with its mark.
    Status(&'static [(&'static str, Mark)]),
    /// An RFC 3339 time: relative on a terminal.
    Time,
    /// A number of bytes: IEC units on a terminal.
    Size,
    /// A number of milliseconds: `0.4s` on a terminal.
    Took,
}

/// One column: where its value stands in a row, and how it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// The heading, in capitals; escaped, if others chose it.
    pub title: &'a str,
    /// The field of the row, as in JSON; escaped, if others chose it.
    pub key: &'a str,
    /// Who chose the text.
    pub kind: Kind,
    /// Whether only `wide` shows it.
    pub wide: bool,
    /// Where a terminal is too narrow for all, the highest goes first, of equal ones the last.
    pub spare: u8,
}

impl<'a> Column<'a> {
    /// A column that every table shows.
    #[must_use]
    pub const fn new(title: &'a str, key: &'a str, kind: Kind) -> Self {
        Self { title, key, kind, wide: false, spare: 0 }
    }

    /// A column that only `-o wide` shows.
    #[must_use]
    pub const fn wide(title: &'a str, key: &'a str, kind: Kind) -> Self {
        Self { title, key, kind, wide: true, spare: 0 }
    }

    /// The same, given up before those that are less spare.
    #[must_use]
    pub const fn spare(self, spare: u8) -> Self {
        Self { spare, ..self }
    }

    /// Whether numbers line up at the right.
    fn right(&self) -> bool {
        matches!(self.kind, Kind::Size | Kind::Took)
    }
}

/// How a table looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether a person reads it: header, alignment, marks, relative times.
    pub terminal: bool,
    /// Whether columns marked wide show and nothing is cut.
    pub wide: bool,
    /// How marks and headings are coloured.
    pub style: Style,
    /// What relative times relate to.
    pub now: Timestamp,
    /// How many columns the terminal has, if that is known: what others chose is cut to fit.
    pub columns: Option<usize>,
}

/// Renders `rows` (objects). On a terminal with header and alignment, else tab-separated without.
#[must_use]
pub fn render(columns: &[Column], rows: &[Value], look: Look) -> String {
    let shown: Vec<&Column> = columns.iter().filter(|column| look.wide || !column.wide).collect();
    if look.terminal { aligned(&shown, rows, look) } else { separated(&shown, rows) }
}

/// A cell as shown, and its width without escape codes.
struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    fn plain(text: String) -> Self {
        Self { width: escape::width(&text), text }
    }
}

fn aligned(columns: &[&Column], rows: &[Value], look: Look) -> String {
    let header = columns
        .iter()
        .map(|column| Cell { text: look.style.bold(column.title), width: escape::width(column.title) });
    let mut lines: Vec<Vec<Cell>> = vec![header.collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(column, row, look)).collect()));

    let mut widths = vec![0_usize; columns.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.width);
        }
    }
    let mut columns = columns.to_vec();
    if let Some(room) = look.columns.filter(|_| !look.wide) {
        loop {
            let whole = widths.clone();
            if narrow(&mut widths, &columns, room) {
                break;
            }
            let Some(at) = least(&columns) else { break };
            widths = whole;
            widths.remove(at);
            columns.remove(at);
            for line in &mut lines {
                drop(line.remove(at));
            }
        }
        for line in &mut lines {
            for ((cell, width), column) in line.iter_mut().zip(&widths).zip(&columns) {
                if cell.width > *width && column.kind == Kind::Host {
                    *cell = Cell::plain(escape::clamp(&cell.text, *width));
                }
            }
        }
    }
    let mut out = String::new();
    for line in &lines {
        let start = out.len();
        for ((cell, width), column) in line.iter().zip(&widths).zip(&columns) {
            let gap = " ".repeat(width.saturating_sub(cell.width));
            let (before, after) = if column.right() { (gap.as_str(), "") } else { ("", gap.as_str()) };
            if out.len() > start {
                out.push_str("  ");
            }
            out.push_str(before);
            out.push_str(&cell.text);
            out.push_str(after);
        }
        out.truncate(out.trim_end_matches(' ').len().max(start));
        out.push('\n');
    }
    out
}

/// The column that a narrow terminal can do without: never the first, which names a row, and no state.
fn least(columns: &[&Column]) -> Option<usize> {
    let kept = |column: &Column| matches!(column.kind, Kind::Status(_));
    let spare = columns.iter().enumerate().skip(1).filter(|(_, column)| !kept(column));
    spare.max_by_key(|(at, column)| (column.spare, *at)).map(|(at, _)| at)
}

/// Takes columns from the widest of those that others chose, until a line fits into `room`. Whether it does.
fn narrow(widths: &mut [usize], columns: &[&Column], room: usize) -> bool {
    let gaps = 2 * columns.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
    while over > 0 {
        let mut theirs = widths.iter_mut().zip(columns).filter(|(_, column)| column.kind == Kind::Host);
        let Some(first) = theirs.next() else { return false };
        let (widest, _) = theirs.fold(first, |most, next| if *next.0 > *most.0 { next } else { most });
        if *widest <= CELL_COLUMNS_MIN {
            return false;
        }
        *widest -= 1;
        over -= 1;
    }
    true
}

fn separated(columns: &[&Column], rows: &[Value]) -> String {
    let mut out = String::new();
    for row in rows {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push('\t');
            }
            out.push_str(&raw(column, row).unwrap_or_else(|| NOTHING.to_owned()));
        }
        out.push('\n');
    }
    out
}

/// A cell for a person.
fn cell(column: &Column, row: &Value, look: Look) -> Cell {
    let value = row.get(column.key).unwrap_or(&Value::Null);
    let shown = match column.kind {
        Kind::Status(words) => {
            let Some((word, mark)) = status(words, value) else { return Cell::plain(NOTHING.to_owned()) };
            let width = escape::width(mark.sign()) + 1 + escape::width(word);
            return Cell { text: look.style.mark(mark, word), width };
        }
        Kind::Time => {
            value.as_str().and_then(|text| time::parse_rfc3339(text).ok()).map(|at| time::ago(at, look.now))
        }
        Kind::Size => value.as_u64().map(time::size),
        Kind::Took => value.as_u64().map(|ms| time::took(Duration::from_millis(ms))),
        Kind::Host | Kind::Ours => None,
    };
    let Some(text) = shown.or_else(|| text(value).map(|text| escape::cell(&text))) else {
        return Cell::plain(NOTHING.to_owned());
    };
    if look.wide || column.kind == Kind::Ours {
        return Cell::plain(text);
    }
    Cell::plain(escape::clamp(&text, CELL_COLUMNS_MAX))
}

/// A cell for a program: whole, without mark, escaped onto one line. None if there is nothing.
pub(super) fn raw(column: &Column, row: &Value) -> Option<String> {
    let value = row.get(column.key).unwrap_or(&Value::Null);
    match column.kind {
        Kind::Status(words) => status(words, value).map(|(word, _)| word.to_owned()),
        _ => text(value).map(|text| escape::line(&text)),
    }
}

/// The word of this program for `value`. None if there is no value.
fn status(words: &'static [(&'static str, Mark)], value: &Value) -> Option<(&'static str, Mark)> {
    if value.is_null() {
        return None;
    }
    Some(words.iter().find(|(word, _)| value.as_str() == Some(*word)).copied().unwrap_or(NO_WORD))
}

/// A value as text, not yet escaped. Lists of texts are joined by commas, records by `key=value`.
fn text(value: &Value) -> Option<String> {
    let joined = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(text).collect::<Vec<_>>().join(","),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| format!("{key}={}", text(value).unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(","),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    (!joined.is_empty()).then_some(joined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const STATES: &[(&str, Mark)] = &[("up", Mark::Good), ("down", Mark::Bad)];
    const COLUMNS: &[Column] = &[
        Column::new("NAME", "name", Kind::Host),
        Column::new("STATE", "state", Kind::Status(STATES)),
        Column::new("SIZE", "size", Kind::Size),
        Column::new("SEEN", "seen", Kind::Time),
        Column::wide("TAGS", "tags", Kind::Host),
    ];

    fn look(terminal: bool) -> Look {
        Look { terminal, wide: false, style: Style::default(), now: Timestamp(10_800_000), columns: None }
    }

    fn lines(rows: &[Value], look: Look) -> Vec<String> {
        render(COLUMNS, rows, look).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_person_gets_a_header_and_columns_by_display_width() {
        let rows = [
            json!({"name": "東京-1", "state": "up", "size": 1536, "seen": "1970-01-01T00:00:00Z"}),
            json!({"name": "db", "state": "down", "size": null, "seen": null}),
        ];
        assert_eq!(
            lines(&rows, look(true)),
            [
                "NAME    STATE      SIZE  SEEN",
                "東京-1  ✓ up    1.5 KiB  3h ago",
                "db      ✗ down        -  -",
            ]
        );
    }

    #[test]
    fn a_pipe_gets_tabs_whole_values_and_no_header() {
        let rows = [
            json!({"name": "a b", "state": "up", "size": 1536, "seen": "1970-01-01T00:00:00Z"}),
            json!({"name": "db\tx", "state": "down"}),
        ];
        assert_eq!(lines(&rows, look(false)), ["a b\tup\t1536\t1970-01-01T00:00:00Z", "db\\tx\tdown\t-\t-"]);
    }

    #[test]
    fn wide_shows_more_and_cuts_nothing() {
        let rows = [json!({"name": "x".repeat(60), "state": "up", "tags": {"role": "web", "env": "prod"}})];
        let narrow = lines(&rows, look(true));
        assert!(narrow[1].starts_with(&format!("{}…  ✓ up", "x".repeat(CELL_COLUMNS_MAX - 1))));
        assert!(!narrow[0].contains("TAGS"));
        let wide = lines(&rows, Look { wide: true, ..look(true) });
        assert!(wide[1].starts_with(&"x".repeat(60)));
        assert!(wide[1].ends_with("env=prod,role=web"));
    }

    #[test]
    fn a_narrow_terminal_cuts_what_others_chose_and_nothing_else() {
        let rows = [json!({"name": "x".repeat(60), "state": "up", "size": 1536})];
        for room in [30, 40, 60] {
            let shown = lines(&rows, Look { columns: Some(room), ..look(true) });
            assert!(shown.iter().all(|line| escape::width(line) <= room), "{shown:?}");
            assert!(shown[1].ends_with("…  ✓ up   1.5 KiB  -"), "{shown:?}");
        }
    }

    #[test]
    fn a_terminal_too_narrow_for_all_columns_keeps_the_name_the_state_and_what_is_least_spare() {
        let rows = [json!({"name": "x".repeat(60), "state": "up", "size": 1536})];
        let at = |room| lines(&rows, Look { columns: Some(room), ..look(true) });
        assert_eq!(at(25), ["NAME       STATE     SIZE", "xxxxxxxx…  ✓ up   1.5 KiB"]);
        assert_eq!(at(20), ["NAME           STATE", "xxxxxxxxxxxx…  ✓ up"]);
        assert_eq!(at(5), ["NAME      STATE", "xxxxxxx…  ✓ up"]);
        let spare = [
            COLUMNS[0],
            COLUMNS[1].spare(9),
            Column::new("OTHER", "size", Kind::Size).spare(2),
            COLUMNS[2].spare(1),
        ];
        let look = Look { columns: Some(24), ..look(true) };
        let shown = render(&spare, &[json!({"name": "x", "state": "up", "size": 1536})], look);
        assert_eq!(shown, "NAME  STATE     SIZE\nx     ✓ up   1.5 KiB\n");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let rows = [
            json!({"name": "a", "state": "up", "size": 1}),
            json!({"name": "b", "state": "down", "size": 1}),
        ];
        let colored = render(COLUMNS, &rows, Look { style: Style { color: true }, ..look(true) });
        let mut bare = colored.clone();
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
            bare = bare.replace(code, "");
        }
        assert_ne!(bare, colored);
        assert_eq!(bare, render(COLUMNS, &rows, look(true)));
    }

    #[test]
    fn a_host_cannot_write_into_the_column_of_states() {
        for forged in ["✓ up", "\x1b[32mup", "up ", "UP", "OK"] {
            let rows = [json!({"name": "a", "state": forged})];
            assert_eq!(lines(&rows, look(true))[1], "a     ? unknown     -  -");
            assert_eq!(lines(&rows, look(false))[0], "a\tunknown\t-\t-");
        }
    }

    #[test]
    fn a_host_name_cannot_fake_rows_or_columns() {
        let attack = "web-9  ✓ up  1.0 KiB  now\nweb-8  ✓ up\r\x1b[A\u{202e}\t\u{2028}";
        let rows = [json!({"name": attack, "state": "down"})];
        for look in [look(true), Look { wide: true, ..look(true) }, look(false)] {
            let shown = lines(&rows, look);
            assert_eq!(shown.len(), if look.terminal { 2 } else { 1 });
            assert!(!shown.concat().contains(['\r', '\x1b', '\u{202e}', '\u{2028}']));
            if look.terminal {
                assert_eq!(shown[1].matches('✓').count(), 0, "{shown:?}");
                assert!(shown[1].contains("  ✗ down  "), "{shown:?}");
            } else {
                assert_eq!(shown[0].matches('\t').count(), 3);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_hosts_say_a_row_is_one_line_and_states_line_up(names in prop::collection::vec(any::<String>(), 1..6)) {
            let rows: Vec<Value> = names.iter().map(|name| json!({"name": name, "state": "up"})).collect();
            let shown = lines(&rows, look(true));
            prop_assert_eq!(shown.len(), rows.len() + 1);
            let at = shown.iter().skip(1).map(|line| line.find("  ✓ up").map(|at| escape::width(&line[..at])));
            let places: std::collections::BTreeSet<_> = at.collect();
            prop_assert_eq!(places.len(), 1, "{:?}", shown);
            for line in lines(&rows, look(false)) {
                prop_assert_eq!(line.matches('\t').count(), 3);
            }
        }
    }
}
