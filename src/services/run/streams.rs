//! Where a command's words and data go. Standard output is data, standard error is talk.

use std::{
    fmt,
    io::{self, Write},
};

use serde_json::Value;

use super::view::Effect;
use crate::{
    terminal::{Format, Output, OutputError, Sheet, Style, escape, wrap},
    time::Timestamp,
};

/// The process's streams, and what is known of them.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact about one of three streams")]
pub struct Streams<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    /// Whether a person reads standard output.
    pub out_terminal: bool,
    /// Whether a person reads standard error.
    pub err_terminal: bool,
    /// Whether a person types at standard input.
    pub in_terminal: bool,
    /// Colour on standard output.
    pub out_style: Style,
    /// How many columns standard output has, if it is a terminal.
    pub columns: Option<usize>,
    /// How many columns standard error has, if it is a terminal.
    pub err_columns: Option<usize>,
    /// How many columns standard output and standard error have now, where they can become more or fewer.
    pub measure: Option<fn() -> [Option<usize>; 2]>,
    /// What `-o` says.
    pub format: Format,
    /// From when what is shown is, if not from now.
    pub as_of: Option<Timestamp>,
    closed: bool,
    progressing: bool,
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("format", &self.format).finish_non_exhaustive()
    }
}

impl<'a> Streams<'a> {
    /// Streams that no person sees, without colour.
    pub fn new(out: &'a mut (dyn Write + Send), err: &'a mut (dyn Write + Send), format: Format) -> Self {
        Self {
            out,
            err,
            out_terminal: false,
            err_terminal: false,
            in_terminal: false,
            out_style: Style::default(),
            columns: None,
            err_columns: None,
            measure: None,
            format,
            as_of: None,
            closed: false,
            progressing: false,
        }
    }

    /// Whether the reader of standard output went away.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Looks how wide the terminals are now.
    pub(super) fn measure(&mut self) {
        if let Some([columns, err_columns]) = self.measure.map(|measure| measure()) {
            self.columns = columns.or(self.columns);
            self.err_columns = err_columns.or(self.err_columns);
        }
    }

    /// Talks; on a terminal that is narrower than a line, between words. That nobody listens is not an error.
    pub(super) fn say(&mut self, line: &str) {
        let columns = self.err_columns.filter(|_| self.err_terminal);
        let fits = |line: &str| columns.is_none_or(|columns| escape::width(line) <= columns);
        let mut text = String::with_capacity(line.len() + 1);
        for line in line.split('\n') {
            let rows = if fits(line) { None } else { columns.map(|columns| wrap::soft(line, columns)) };
            for row in rows.iter().flatten().map(String::as_str).chain(rows.is_none().then_some(line)) {
                text.push_str(row);
                text.push('\n');
            }
        }
        let _nobody_listens = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Shows how far it is on a terminal, in place of what was shown before; an empty text takes it away.
    /// Where nothing was shown, nothing is taken away: it would be a host's own line.
    pub(super) fn progress(&mut self, text: &str) {
        if self.err_terminal && (self.progressing || !text.is_empty()) {
            self.progressing = !text.is_empty();
            let _nobody_listens = write!(self.err, "\r\x1b[K{text}").and_then(|()| self.err.flush());
        }
    }

    /// Writes bytes as they are to standard error. That nobody reads it is not an error.
    pub(super) fn err_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.err.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Writes bytes as they are to standard output. That the reader went away is not an error.
    pub(super) fn out_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.out.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result,
        }
    }

    /// Hands on what was written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self.out.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result,
        }
    }

    /// Does what a screen decided.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) -> io::Result<()> {
        let mut written = false;
        for effect in effects {
            match effect {
                Effect::Out(bytes) => {
                    self.out_bytes(&bytes)?;
                    written = true;
                }
                Effect::Err(bytes) => self.err_bytes(&bytes)?,
                Effect::Say(line) => self.say(&line),
                Effect::Progress(text) => self.progress(&text),
            }
        }
        if written { self.flush() } else { Ok(()) }
    }

    /// Writes one event as a line of JSON.
    pub(super) fn event(&mut self, now: Timestamp, value: &Value) -> Result<(), OutputError> {
        self.data(now, |output| output.event("job-event", value))
    }

    /// Writes rows in the format that was asked for.
    pub(super) fn rows(&mut self, now: Timestamp, sheet: &Sheet, rows: &[Value]) -> Result<(), OutputError> {
        self.data(now, |output| output.rows(sheet, rows))
    }

    /// Writes one document in the format that was asked for.
    pub(super) fn document(
        &mut self,
        now: Timestamp,
        thing: &'static str,
        value: &Value,
        for_people: impl FnOnce(Style) -> String,
    ) -> Result<(), OutputError> {
        self.data(now, |output| output.document(thing, value, for_people))
    }

    fn data(
        &mut self,
        now: Timestamp,
        write: impl FnOnce(&mut Output<&mut (dyn Write + Send + 'a)>) -> Result<(), OutputError>,
    ) -> Result<(), OutputError> {
        if self.closed {
            return Ok(());
        }
        let mut output = Output::new(&mut *self.out, self.format, self.out_terminal, self.out_style, now)
            .within(self.columns);
        output.from_then(self.as_of);
        let result = write(&mut output);
        self.closed = output.is_closed();
        result
    }
}
