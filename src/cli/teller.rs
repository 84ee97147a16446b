//! How a story is told: lines for people as they come true, or events.

use std::io::Write;

use serde_json::{Map, Value};

use super::failure::{ExitCode, Failure};
use crate::terminal::{Format, Mark, Output, OutputError, Style};

/// Columns of the first word of a line.
const WORD_COLUMNS: usize = 8;
/// What lies before the lines below one.
const INDENT: &str = "            ";

/// Tells what came true.
pub(super) struct Teller<'a> {
    output: &'a mut Output<Box<dyn Write>>,
    style: Style,
    events: Vec<Value>,
    thing: Thing,
}

/// What is told: the names of its schemas, and how its command is written.
#[derive(Clone, Copy)]
pub(super) struct Thing {
    /// All of it.
    pub(super) whole: &'static str,
    /// One event of it.
    pub(super) event: &'static str,
    /// The command.
    pub(super) command: &'static str,
}

impl<'a> Teller<'a> {
    /// Tells it to `output`.
    pub(super) fn new(
        output: &'a mut Output<Box<dyn Write>>,
        style: Style,
        thing: Thing,
    ) -> Result<Self, Failure> {
        match output.format() {
            Format::Csv | Format::Name => Err(Failure::usage("a story has no csv or name form")
                .hint(format!("write -o json, -o jsonl, or nothing: {}", thing.command))),
            _ => Ok(Self { output, style, events: Vec::new(), thing }),
        }
    }

    /// How output of hosts is coloured here.
    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.output.is_closed()
    }

    /// Tells one step: its word, a sentence, lines below it; and what JSON shows of it.
    pub(super) fn tell(
        &mut self,
        word: &'static str,
        sentence: &str,
        below: &[String],
        fields: Value,
    ) -> Result<(), Failure> {
        let gap = " ".repeat(WORD_COLUMNS.saturating_sub(word.len()));
        let mut text = format!("{}{gap}  {sentence}\n", self.style.mark(Mark::Good, word));
        for line in below {
            text.push_str(format!("{INDENT}{line}").trim_end());
            text.push('\n');
        }
        self.write(word, &text, fields)
    }

    /// Tells something that is no step: `text` as it is, and its event.
    pub(super) fn write(&mut self, event: &str, text: &str, fields: Value) -> Result<(), Failure> {
        let mut object = Map::new();
        object.insert("event".to_owned(), event.into());
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        let event = Value::Object(object);
        match self.output.format() {
            Format::Jsonl => self.output.event(self.thing.event, &event),
            Format::Json => {
                self.events.push(event);
                Ok(())
            }
            _ => self.output.text(text),
        }
        .map_err(|error| unwritable(&error))
    }

    /// Writes what is told as a whole.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        if self.output.format() != Format::Json {
            return Ok(());
        }
        let events = std::mem::take(&mut self.events);
        let document = Value::Object(Map::from_iter([("events".to_owned(), Value::Array(events))]));
        self.output
            .document(self.thing.whole, &document, |_| String::new())
            .map_err(|error| unwritable(&error))
    }
}

fn unwritable(error: &OutputError) -> Failure {
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Failure::new(ExitCode::Internal, format!("cannot write the story: {why}"))
}
