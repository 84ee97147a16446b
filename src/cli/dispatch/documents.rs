//! What every command says in JSON, whatever it does: with `-o json` standard output is one document, with
//! `-o jsonl` lines, and never text. A command that shows something writes its own; for one that changes something
//! this is what came of it (`muster.change/v1`), and for one that fails why (`muster.error/v1`), beside the words on
//! standard error.

use clap::ArgMatches;
use serde_json::{Value, json};

use super::Context;
use crate::{
    cli::failure::{ExitCode, Explain as _, Failure},
    terminal::{Change, Format, Outcome, Output, Style},
    time::Timestamp,
};

/// Commands that write text or bytes for somebody else to read, and what to use where JSON is wanted.
const TEXT: &[(&str, &str)] = &[
    ("agent --print-unit", "it is a unit of systemd: leave -o out"),
    ("completion", "it is a script: leave -o out"),
    ("man", "it is a page: leave -o out"),
    ("audit export", "its records as JSON: muster audit log -o json"),
    ("job output", "it is as the host wrote it; in JSON: muster job watch JOB -o json"),
];
/// Commands that write for themselves, also where that is nothing.
const OWN: &[&str] =
    &["run", "job", "approval", "audit", "agent", "__complete", "mesh-process", "scenario", "demo"];

/// What was asked for, as far as it matters here.
#[derive(Debug)]
pub(super) struct Asked {
    /// The command, without the program's name: `host tag`.
    command: String,
    dry_run: bool,
    /// Whether it writes files in place of a page.
    to_files: bool,
    /// Whether it writes a page that is otherwise no page.
    prints: bool,
}

impl Asked {
    /// What the parser found.
    pub(super) fn of(found: &ArgMatches) -> Self {
        let (mut at, mut words) = (found, Vec::new());
        while let Some((name, below)) = at.subcommand() {
            words.push(name);
            at = below;
        }
        let dry_run = matches!(at.try_get_one::<bool>("dry_run"), Ok(Some(true)));
        let to_files = at.try_contains_id("dir").unwrap_or(false);
        let prints = matches!(at.try_get_one::<bool>("print_unit"), Ok(Some(true)));
        Self { command: words.join(" "), dry_run, to_files, prints }
    }

    fn is_one_of(&self, commands: &[&str]) -> bool {
        let first = self.command.split(' ').next().unwrap_or_default();
        commands.contains(&first)
    }

    /// The refusal of a form that what a command writes has not.
    pub(super) fn refused(&self, format: Format) -> Option<Failure> {
        if self.to_files || matches!(format, Format::Table | Format::Wide) {
            return None;
        }
        let is_text =
            |command: &str| command == self.command || (self.prints && command == "agent --print-unit");
        let (command, hint) = TEXT.iter().find(|(command, _)| is_text(command))?;
        Some(Failure::usage(format!("what {command} writes has no {} form", format.word())).hint(*hint))
    }

    /// Writes what came of a command that wrote nothing itself.
    pub(super) fn changed(&self, context: &mut Context, code: ExitCode) -> Result<ExitCode, Failure> {
        let (change, remarks) = context.talk.take_change();
        let is_json = matches!(context.output.format(), Format::Json | Format::Jsonl);
        if !is_json || context.output.is_used() || self.is_one_of(OWN) {
            return Ok(code);
        }
        let change = change.unwrap_or_else(|| Change {
            outcome: if self.dry_run { Outcome::Foreseen } else { Outcome::Done },
            what: None,
            ids: Vec::new(),
        });
        let document = change.document(&self.command, &remarks);
        let written = context.output.document("change", &document, |_| String::new());
        written.map_err(|error| error.explain(&context.site)).map(|()| code)
    }

    /// Writes why it failed. A document that was written already stays the only one.
    pub(super) fn failed(&self, context: &mut Context, failure: &Failure) {
        let output = &mut context.output;
        output.from_then(None);
        let document = document(failure, &self.command);
        let _best_effort = match output.format() {
            Format::Json if !output.is_used() => output.document("error", &document, |_| String::new()),
            Format::Jsonl => output.event("error", &document),
            _ => Ok(()),
        };
    }
}

fn document(failure: &Failure, command: &str) -> Value {
    json!({
        "command": command, "exit": failure.kind.number(), "message": failure.message,
        "pointer": failure.pointer, "hints": failure.hints,
    })
}

/// The JSON form that words ask for which the parser could not read.
pub(super) fn format_in(words: &[String]) -> Option<Format> {
    let words: Vec<&str> = words.iter().map(String::as_str).take_while(|word| *word != "--").collect();
    let mut found = None;
    for (at, word) in words.iter().enumerate() {
        let value = match *word {
            "-o" | "--output" => words.get(at.saturating_add(1)).copied(),
            word => word
                .strip_prefix("--output=")
                .or_else(|| word.strip_prefix("-o=").or_else(|| word.strip_prefix("-o"))),
        };
        found = value.and_then(|value| value.parse().ok()).or(found);
    }
    found.filter(|format| matches!(format, Format::Json | Format::Jsonl))
}

/// Why words could not be read, as a document.
pub(super) fn of_usage(text: &str, path: &str, now: Timestamp, format: Format) -> String {
    let command = path.strip_prefix("muster").unwrap_or(path).trim();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let message = lines.next().unwrap_or("how it was written").trim_start_matches("error: ").to_owned();
    let more: Vec<&str> = lines.filter(|line| !line.starts_with("For more information")).collect();
    let failure = Failure::usage(message).hint(format!("how to write it: muster {command} --help"));
    let failure = if more.is_empty() { failure } else { failure.point(more.join("\n")) };
    let mut output = Output::new(Vec::new(), format, false, Style::default(), now);
    // Written to memory.
    let _always = output.document("error", &document(&failure, command), |_| String::new());
    String::from_utf8(output.into_inner()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_found_in_words_that_cannot_be_read() {
        let found = |words: &str| format_in(&words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for words in ["host lss -o json", "-ojson nothing", "--output=json", "run --output json --never"] {
            assert_eq!(found(words), Some(Format::Json), "{words}");
        }
        assert_eq!(found("hosts -o jsonl --never"), Some(Format::Jsonl));
        for words in ["host lss", "hosts -o yaml", "hosts -o csv --never", "run -- cc -o json", "hosts -o"] {
            assert_eq!(found(words), None, "{words}");
        }
    }
}
