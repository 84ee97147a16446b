//! Rows and documents in the format that was asked for.
//!
//! Every JSON document and every JSON line carries its schema's name (`muster.host/v1`); fields are
//! only ever added. JSON is lossless: characters that would steer a terminal are written as `\uXXXX`,
//! which means the same. CSV follows RFC 4180, and a field that a spreadsheet would take for a formula
//! begins with an apostrophe. A reader that went away ([`Output::is_closed`]) is not an error.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::escape;
use super::style::Style;
use super::table::{self, Column, Look};
use super::watch::Watch;
use crate::time::Timestamp;

/// What `-o` says. Without it: a table, which on a pipe is tab-separated lines without a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns for a person; tab-separated lines for a pipe.
    #[default]
    Table,
    /// The same with all columns, nothing cut.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180.
    Csv,
    /// Names alone, one a line.
    Name,
}

impl Format {
    /// All formats, by the word that `-o` takes.
    pub const ALL: [(&'static str, Self); 6] = [
        ("table", Self::Table),
        ("wide", Self::Wide),
        ("json", Self::Json),
        ("jsonl", Self::Jsonl),
        ("csv", Self::Csv),
        ("name", Self::Name),
    ];

    /// The word that `-o` takes.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("table", |(word, _)| word)
    }
}

/// A word that `-o` does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown output format {0:?}: table, wide, json, jsonl, csv or name")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(word, _)| *word == text);
        found.map(|(_, format)| *format).ok_or_else(|| FormatError(text.chars().take(32).collect()))
    }
}

/// Why nothing, or not all, was written. A broken pipe is not among them.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output does not take it: a full disk, for one.
    #[error("cannot write the output")]
    Write(#[from] io::Error),
    /// A value has no JSON form.
    #[error("cannot write {thing} as json")]
    Json {
        /// What was written.
        thing: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Only rows can be written as CSV or as names.
    #[error("{thing} is one document: it has no {} form, only table or json", .format.word())]
    NotRows {
        /// What was written.
        thing: &'static str,
        /// What was asked for.
        format: Format,
    },
}

/// What rows are: their schema's name and their columns. The first column names a row.
#[derive(Clone, Copy, Debug)]
pub struct Sheet<'a> {
    /// The singular noun of the schema: `host` becomes `muster.host/v1`.
    pub thing: &'static str,
    /// The columns, in order. Rows may hold more fields than there are columns; JSON shows all.
    pub columns: &'a [Column<'a>],
}

/// Where data goes, and how.
#[derive(Debug)]
pub struct Output<W> {
    sink: W,
    format: Format,
    terminal: bool,
    style: Style,
    now: Timestamp,
    columns: Option<usize>,
    rows: Option<usize>,
    watch: Option<Watch>,
    as_of: Option<Timestamp>,
    closed: bool,
    used: bool,
}

impl<W: Write> Output<W> {
    /// Writes to `sink` in `format`. `terminal`: whether a person reads it there; `now`: what
    /// relative times relate to.
    pub fn new(sink: W, format: Format, terminal: bool, style: Style, now: Timestamp) -> Self {
        Self {
            sink,
            format,
            terminal,
            style,
            now,
            columns: None,
            rows: None,
            watch: None,
            as_of: None,
            closed: false,
            used: false,
        }
    }

    /// What follows is not from now but from then: JSON says so in a field `as_of`.
    pub fn from_then(&mut self, as_of: Option<Timestamp>) {
        self.as_of = as_of;
    }

    /// JSON of a thing, with when it is from if that is not now.
    fn json(
        &self,
        thing: &'static str,
        fields: &Map<String, Value>,
        pretty: bool,
    ) -> Result<String, OutputError> {
        let Some(as_of) = self.as_of else { return json(thing, fields, pretty) };
        let mut fields = fields.clone();
        fields.insert("as_of".to_owned(), Value::String(super::time::rfc3339(as_of)));
        json(thing, &fields, pretty)
    }

    /// Cuts tables to a terminal of so many columns, if their number is known.
    #[must_use]
    pub fn within(mut self, columns: Option<usize>) -> Self {
        self.columns = columns;
        self
    }

    /// From now on, what is written again is drawn over what was written before, on a terminal of so many
    /// rows, if that is known; elsewhere, and where JSON was asked for, it is a line for each change.
    pub fn watch(&mut self, rows: Option<usize>) {
        self.rows = rows;
        self.watch = Some(Watch::new());
    }

    /// How large the terminal is from now on, as far as that is known.
    pub fn resize(&mut self, rows: Option<usize>, columns: Option<usize>) {
        self.rows = rows.or(self.rows);
        self.columns = columns.or(self.columns);
    }

    /// What is drawn next stands below what was drawn: something else was written since.
    pub fn draw_below(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.forget_frame();
        }
    }

    /// Whether what is written is shown again and again, so that nothing to show is no failure.
    pub fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// Whether a field is one text, for a cell of a table; else it is a JSON value with its own form.
    pub fn is_flat(&self) -> bool {
        let is_json = matches!(self.format, Format::Json | Format::Jsonl);
        if self.watch.is_some() { self.redraws() } else { !is_json }
    }

    /// What relative times relate to from now on.
    pub fn at(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The format, for what only some formats show.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a person reads it, so that words may stand where a script would get rows.
    pub fn is_page(&self) -> bool {
        self.terminal && matches!(self.format, Format::Table | Format::Wide)
    }

    /// How many columns a page has, if it goes to a terminal that says.
    pub fn columns(&self) -> Option<usize> {
        self.columns.filter(|_| self.format != Format::Wide)
    }

    /// How this program's words look where it goes.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Whether anything was written, be it no rows.
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// Whether the reader went away: nothing that follows is read, so long work may stop.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Gives back where data went.
    pub fn into_inner(self) -> W {
        self.sink
    }

    /// Writes rows, each an object.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn rows(&mut self, sheet: &Sheet, rows: &[Value]) -> Result<(), OutputError> {
        if let Some(mut watch) = self.watch.take() {
            let result = self.watched(&mut watch, sheet, rows);
            self.watch = Some(watch);
            return result;
        }
        let text = match self.format {
            Format::Table | Format::Wide => table::render(sheet.columns, rows, self.look()),
            Format::Json => {
                let mut fields = Map::new();
                fields.insert("items".to_owned(), Value::Array(rows.to_vec()));
                self.json(sheet.thing, &fields, true)?
            }
            Format::Jsonl => {
                let mut text = String::new();
                for row in rows {
                    text.push_str(&self.json(sheet.thing, &fields_of(row), false)?);
                }
                text
            }
            Format::Csv => csv(sheet.columns, rows),
            Format::Name => names(sheet.columns, rows),
        };
        self.write(text.as_bytes())
    }

    fn watched(&mut self, watch: &mut Watch, sheet: &Sheet, rows: &[Value]) -> Result<(), OutputError> {
        if self.redraws() {
            let table = table::render(sheet.columns, rows, self.look());
            let frame = watch.frame(&table, self.rows);
            return self.write(frame.as_bytes());
        }
        let mut text = String::new();
        for event in watch.changes(sheet.columns, rows) {
            text.push_str(&json_as(
                &format!("{}-change", sheet.thing),
                sheet.thing,
                &fields_of(&event),
                false,
            )?);
        }
        self.write(text.as_bytes())
    }

    /// Whether what is watched is drawn in place.
    pub fn redraws(&self) -> bool {
        self.terminal && self.rows.is_some() && matches!(self.format, Format::Table | Format::Wide)
    }

    /// Writes one document: as JSON where that was asked for, else the lines that `for_people` makes
    /// (which must escape what hosts chose).
    ///
    /// # Errors
    /// When it cannot be written, or was asked for in a format that only rows have.
    pub fn document(
        &mut self,
        thing: &'static str,
        value: &Value,
        for_people: impl FnOnce(Style) -> String,
    ) -> Result<(), OutputError> {
        if let Some(mut watch) = self.watch.take() {
            let text = if self.redraws() {
                watch.frame(&for_people(self.style), self.rows)
            } else if watch.is_news(value) {
                self.json(thing, &fields_of(value), false)?
            } else {
                String::new()
            };
            self.watch = Some(watch);
            return self.write(text.as_bytes());
        }
        let text = match self.format {
            Format::Table | Format::Wide => for_people(self.style),
            Format::Json => self.json(thing, &fields_of(value), true)?,
            Format::Jsonl => self.json(thing, &fields_of(value), false)?,
            format @ (Format::Csv | Format::Name) => return Err(OutputError::NotRows { thing, format }),
        };
        self.write(text.as_bytes())
    }

    /// Writes one event as a line of JSON, whatever the format, and flushes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn event(&mut self, thing: &'static str, value: &Value) -> Result<(), OutputError> {
        let text = self.json(thing, &fields_of(value), false)?;
        self.write(text.as_bytes())
    }

    /// Writes text that this program made or that was escaped, and flushes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn text(&mut self, text: &str) -> Result<(), OutputError> {
        self.write(text.as_bytes())
    }

    fn look(&self) -> Look {
        Look {
            terminal: self.terminal,
            wide: self.format == Format::Wide,
            style: self.style,
            now: self.now,
            columns: self.columns,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.used = true;
        if self.closed {
            return Ok(());
        }
        match self.sink.write_all(bytes).and_then(|()| self.sink.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => Ok(result?),
        }
    }
}

/// The fields of an object; anything else becomes the field `value`.
fn fields_of(value: &Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields.clone(),
        other => Map::from_iter([("value".to_owned(), other.clone())]),
    }
}

fn json(thing: &'static str, fields: &Map<String, Value>, pretty: bool) -> Result<String, OutputError> {
    json_as(thing, thing, fields, pretty)
}

/// As [`json`], where the schema's noun is another than that of the thing.
fn json_as(
    noun: &str,
    thing: &'static str,
    fields: &Map<String, Value>,
    pretty: bool,
) -> Result<String, OutputError> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: String,
        #[serde(flatten)]
        fields: &'a Map<String, Value>,
    }
    let document = Document { schema: format!("muster.{noun}/v1"), fields };
    let text =
        if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
    let mut text = visible(&text.map_err(|source| OutputError::Json { thing, source })?);
    text.push('\n');
    Ok(text)
}

/// Writes hidden characters of a JSON text as `\uXXXX`. They can only stand inside its strings, except
/// for the line feeds of the pretty form.
fn visible(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !escape::is_hidden(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn csv(columns: &[Column], rows: &[Value]) -> String {
    let mut out = String::new();
    let header = columns.iter().map(|column| column.key.to_owned());
    csv_line(header, &mut out);
    for row in rows {
        csv_line(columns.iter().map(|column| csv_field(column, row)), &mut out);
    }
    out
}

fn csv_line(fields: impl Iterator<Item = String>, out: &mut String) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            out.push(',');
        }
        if field.contains([',', '"']) || field.starts_with(' ') || field.ends_with(' ') {
            let _ = write!(out, "\"{}\"", field.replace('"', "\"\""));
        } else {
            out.push_str(&field);
        }
    }
    out.push_str("\r\n");
}

fn csv_field(column: &Column, row: &Value) -> String {
    let field = table::raw(column, row).unwrap_or_default();
    let is_number = row.get(column.key).is_some_and(Value::is_number);
    // Full-width forms too: spreadsheets in East Asian locales take them as the same signs.
    let formula = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    if !is_number && field.trim_start().starts_with(formula) { format!("'{field}") } else { field }
}

fn names(columns: &[Column], rows: &[Value]) -> String {
    let mut out = String::new();
    let Some(first) = columns.first() else { return out };
    for name in rows.iter().filter_map(|row| table::raw(first, row)) {
        out.push_str(&name);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::terminal::{Kind, Mark};

    const SHEET: Sheet = Sheet {
        thing: "host",
        columns: &[
            Column::new("NAME", "name", Kind::Host),
            Column::new("STATE", "state", Kind::Status(&[("up", Mark::Good)])),
            Column::wide("DELTA", "delta", Kind::Ours),
        ],
    };

    fn written(format: Format, rows: &[Value]) -> String {
        let mut output = Output::new(Vec::new(), format, false, Style::default(), Timestamp(0));
        output.rows(&SHEET, rows).unwrap();
        String::from_utf8(output.into_inner()).unwrap()
    }

    #[test]
    fn formats_are_read_by_name_and_unknown_ones_told() {
        for (word, format) in Format::ALL {
            assert_eq!(word.parse(), Ok(format));
        }
        let error = "yaml".parse::<Format>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown output format \"yaml\": table, wide, json, jsonl, csv or name"
        );
    }

    #[test]
    fn json_carries_its_schema_and_all_fields() {
        let rows = [json!({"name": "a", "state": "up", "more": [1]})];
        let read: Value = serde_json::from_str(&written(Format::Json, &rows)).unwrap();
        assert_eq!(read, json!({"schema": "muster.host/v1", "items": rows}));
        let line = written(Format::Jsonl, &[rows[0].clone(), json!({"name": "b"})]);
        let lines: Vec<Value> = line.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({"schema": "muster.host/v1", "name": "a", "state": "up", "more": [1]}));
        assert_eq!(lines[1], json!({"schema": "muster.host/v1", "name": "b"}));
    }

    #[test]
    fn no_rows_are_still_a_document() {
        let read: Value = serde_json::from_str(&written(Format::Json, &[])).unwrap();
        assert_eq!(read, json!({"schema": "muster.host/v1", "items": []}));
        assert_eq!(written(Format::Jsonl, &[]), "");
        assert_eq!(written(Format::Csv, &[]), "name,state,delta\r\n");
    }

    #[test]
    fn csv_quotes_and_defuses_formulas_but_not_numbers() {
        let rows = [
            json!({"name": "a,\"b\"", "state": "up", "delta": -5}),
            json!({"name": "=HYPERLINK(\"http://x\")", "delta": "-5"}),
            json!({"name": "@SUM(A1)"}),
            json!({"name": " +1"}),
            json!({"name": "＝1"}),
            json!({"name": "two\nlines\t\x1b"}),
        ];
        assert_eq!(
            written(Format::Csv, &rows),
            "name,state,delta\r\n\
             \"a,\"\"b\"\"\",up,-5\r\n\
             \"'=HYPERLINK(\"\"http://x\"\")\",,'-5\r\n\
             '@SUM(A1),,\r\n\
             ' +1,,\r\n\
             '＝1,,\r\n\
             two\\nlines\\t\\x1b,,\r\n"
        );
    }

    #[test]
    fn names_are_one_a_line_whatever_they_hold() {
        let rows = [json!({"name": "a"}), json!({"name": "b\nc\x1b]0;x\x07"}), json!({"state": "up"})];
        assert_eq!(written(Format::Name, &rows), "a\nb\\nc\\x1b]0;x\\x07\n");
    }

    #[test]
    fn a_document_is_json_or_words_for_people_and_nothing_else() {
        let show = |format| {
            let mut output = Output::new(Vec::new(), format, true, Style::default(), Timestamp(0));
            output.document("status", &json!({"peers": 3}), |_| "3 peers\n".to_owned())?;
            Ok::<_, OutputError>(String::from_utf8(output.into_inner()).unwrap())
        };
        assert_eq!(show(Format::Table).unwrap(), "3 peers\n");
        assert_eq!(show(Format::Jsonl).unwrap(), "{\"schema\":\"muster.status/v1\",\"peers\":3}\n");
        let refused = show(Format::Csv).unwrap_err();
        assert!(matches!(refused, OutputError::NotRows { thing: "status", .. }));
        assert_eq!(refused.to_string(), "status is one document: it has no csv form, only table or json");
    }

    /// Takes `left` bytes, then fails.
    struct Failing {
        left: usize,
        kind: io::ErrorKind,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            if taken == 0 { Err(self.kind.into()) } else { Ok(taken) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_is_not_an_error_and_a_full_disk_is() {
        let rows = [json!({"name": "a"})];
        let mut pipe = Output::new(
            Failing { left: 2, kind: io::ErrorKind::BrokenPipe },
            Format::Jsonl,
            false,
            Style::default(),
            Timestamp(0),
        );
        assert!(!pipe.is_closed());
        pipe.rows(&SHEET, &rows).unwrap();
        assert!(pipe.is_closed());
        pipe.event("chunk", &json!({})).unwrap();

        let full = Failing { left: 2, kind: io::ErrorKind::StorageFull };
        let mut full = Output::new(full, Format::Table, false, Style::default(), Timestamp(0));
        assert!(matches!(full.rows(&SHEET, &rows), Err(OutputError::Write(_))));
    }

    #[test]
    fn what_is_watched_is_drawn_over_on_a_terminal_and_elsewhere_tells_what_changed() {
        let (up, gone) = (json!({"name": "a", "state": "up"}), json!({"name": "b", "state": "up"}));
        let rounds = [vec![up.clone(), gone], vec![up.clone()], vec![up]];
        let watched = |format, terminal| {
            let mut output = Output::new(Vec::new(), format, terminal, Style::default(), Timestamp(0));
            output.watch(Some(24));
            for rows in &rounds {
                output.at(Timestamp(1));
                output.rows(&SHEET, rows).unwrap();
            }
            String::from_utf8(output.into_inner()).unwrap()
        };
        let drawn = watched(Format::Table, true);
        assert!(drawn.contains("\x1b[3A\r") && drawn.contains("\x1b[2A\r"), "{drawn:?}");
        let expected = "{\"schema\":\"muster.host-change/v1\",\"event\":\"added\",\"name\":\"a\",\"state\":\"up\"}\n\
                        {\"schema\":\"muster.host-change/v1\",\"event\":\"added\",\"name\":\"b\",\"state\":\"up\"}\n\
                        {\"schema\":\"muster.host-change/v1\",\"event\":\"removed\",\"name\":\"b\",\"state\":\"up\"}\n";
        for (format, terminal) in [(Format::Table, false), (Format::Json, true), (Format::Jsonl, true)] {
            assert_eq!(watched(format, terminal), expected, "{format:?}");
        }
        let mut output = Output::new(Vec::new(), Format::Table, false, Style::default(), Timestamp(0));
        output.watch(None);
        for peers in [3, 3, 4] {
            output.document("status", &json!({"peers": peers}), |_| String::new()).unwrap();
        }
        let lines = String::from_utf8(output.into_inner()).unwrap();
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }

    proptest! {
        #[test]
        fn json_is_lossless_and_shows_nothing_hidden(name in any::<String>()) {
            let rows = [json!({"name": name})];
            for format in [Format::Json, Format::Jsonl] {
                let text = written(format, &rows);
                prop_assert!(!text.chars().any(|c| c != '\n' && escape::is_hidden(c)), "{text:?}");
                let read: Value = serde_json::from_str(&text).unwrap();
                let row = if format == Format::Json { read["items"][0].clone() } else { read };
                prop_assert_eq!(&row["name"], &rows[0]["name"]);
            }
        }
    }
}
