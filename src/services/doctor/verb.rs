//! Asks the agent, and shows.

use std::{fmt::Write as _, io::Write, time::Duration};

use serde_json::{Value, json};

use super::{Check, Verdict};
use crate::{
    control::{Client, ControlError, Health, Reply, Request, StatusReport, host_lines},
    terminal::{Column, Kind, Mark, Output, OutputError, Sheet, Style, escape, hanging::wrapped},
};

/// How long the agent may take to answer what it knows.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What an agent says.
#[derive(Clone, Debug, Default)]
pub struct Online {
    /// Its version.
    pub agent: String,
    /// Its host's name, as it says.
    pub name: String,
    /// How it is.
    pub status: StatusReport,
    /// What else it knows.
    pub health: Health,
    /// The names of members that cannot be reached.
    pub away: Vec<String>,
    /// Whether it looks for members on the local network, if the settings could be read.
    pub lan: Option<bool>,
}

/// Asks the agent. `lan`: see [`Online::lan`].
///
/// # Errors
/// When it does not answer, or answers something else.
pub async fn ask(client: &mut Client, lan: Option<bool>) -> Result<Online, ControlError> {
    let other = || ControlError::Malformed("not the answer to a question about health".to_owned());
    let Reply::Status { status } = client.ask(&Request::Status {}, ANSWER_WITHIN).await? else {
        return Err(other());
    };
    let Reply::Health { health } = client.ask(&Request::Health {}, ANSWER_WITHIN).await? else {
        return Err(other());
    };
    let lines = host_lines(client).await?;
    let name = lines.iter().find(|line| line.about.host == client.host).map(|line| line.name.clone());
    let away = lines.into_iter().filter(|line| line.about.state == "unreachable").map(|line| line.name);
    Ok(Online {
        agent: client.agent.clone(),
        name: name.unwrap_or_default(),
        status,
        health,
        away: away.collect(),
        lan,
    })
}

/// The words for how a check ended.
const VERDICTS: &[(&str, Mark)] =
    &[("good", Mark::Good), ("bad", Mark::Bad), ("odd", Mark::Warning), ("unknown", Mark::Unknown)];

const SHEET: Sheet = Sheet {
    thing: "doctor",
    columns: &[
        Column::new("CHECK", "check", Kind::Ours),
        Column::new("STATE", "state", Kind::Status(VERDICTS)),
        Column::new("FOUND", "found", Kind::Host),
        Column::new("FIX", "fix", Kind::Host),
    ],
};

/// Shows the checks: a line each for a person, rows for a script.
///
/// # Errors
/// When they cannot be written.
pub fn show<W: Write>(checks: &[Check], output: &mut Output<W>) -> Result<(), OutputError> {
    if output.is_page() {
        let page = page(checks, output.style(), output.columns());
        return output.text(&page);
    }
    let row = |check: &Check| -> Value {
        json!({
            "check": check.name, "state": check.verdict.word(), "found": check.what, "fix": check.fix,
        })
    };
    output.rows(&SHEET, &checks.iter().map(row).collect::<Vec<_>>())
}

fn page(checks: &[Check], style: Style, columns: Option<usize>) -> String {
    let longest = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut page = String::new();
    for check in checks {
        let (mark, word) = match check.verdict {
            Verdict::Good => (Mark::Good, "good"),
            Verdict::Bad => (Mark::Bad, "bad"),
            Verdict::Odd => (Mark::Warning, "odd"),
            Verdict::Unknown => (Mark::Unknown, "?"),
        };
        // Colour never stands alone, and nor does a mark.
        let word = if check.verdict == Verdict::Unknown { "unknown" } else { word };
        let pad = " ".repeat("unknown".len().saturating_sub(word.len()));
        let head = format!("{}{pad}  {:<longest$}", style.mark(mark, word), check.name);
        let indent = "? unknown".len() + 2 + longest + 2;
        let found = wrapped(&escape::line(&check.what), indent, columns);
        let _always = writeln!(page, "{head}  {found}");
        if let Some(fix) = &check.fix {
            let fix = wrapped(&format!("fix: {}", escape::line(fix)), indent, columns);
            let _always = writeln!(page, "{}{fix}", " ".repeat(indent));
        }
    }
    page
}
