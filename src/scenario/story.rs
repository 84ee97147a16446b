//! What is told while a scenario is played: each step after it came true.

use serde_json::{Map, Value};

/// One line of the story, with lines below it and the fields that JSON shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What happened, in a word: the event's name.
    pub word: &'static str,
    /// A sentence.
    pub sentence: String,
    /// What belongs to it.
    pub below: Vec<String>,
    /// The same for programs.
    pub fields: Map<String, Value>,
}

impl Told {
    /// One line.
    pub fn new(word: &'static str, sentence: impl Into<String>) -> Self {
        Self { word, sentence: sentence.into(), below: Vec::new(), fields: Map::new() }
    }

    /// Adds what JSON shows.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a line below it.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.below.push(line.into());
        self
    }
}

/// Takes the story as it comes true. The error is for a listener to whom it cannot be told.
pub type Teller<'a> = dyn FnMut(Told) -> Result<(), super::Trouble> + 'a;
