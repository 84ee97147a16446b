//! What is said of a store.

use std::{collections::BTreeMap, fmt::Write as _, io::Write, time::Duration};

use serde_json::json;

use crate::{
    control::{Client, ControlError, Reply, Request, StoreCheck, StoreProblem, StoreRows},
    store::{Check, Finding, kind},
    terminal::{Mark, Output, OutputError, escape, time},
};

/// How long an agent may take to read its disk and check each signature.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Rows with something wrong that are named; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// A check in the form in which it is passed on. `unread` says why not all of it could be read.
pub fn report(check: &Check, unread: Option<String>) -> StoreCheck {
    let mut kinds: BTreeMap<&str, StoreRows> = BTreeMap::new();
    for (kind, (rows, bytes)) in &check.kinds {
        let row = StoreRows { kind: (*kind).to_owned(), rows: *rows, bytes: *bytes, damaged: 0, waiting: 0 };
        kinds.insert(kind, row);
    }
    for finding in &check.damaged {
        kinds.entry(kind(&finding.key)).or_default().damaged += 1;
    }
    for finding in &check.waiting {
        kinds.entry(kind(&finding.key)).or_default().waiting += 1;
    }
    let problem = |damaged: bool| {
        move |finding: &Finding| StoreProblem {
            kind: kind(&finding.key).to_owned(),
            key: finding.key.iter().skip(1).fold(String::new(), |mut text, byte| {
                let _always = write!(text, "{byte:02x}");
                text
            }),
            damaged,
            what: finding.what.clone(),
        }
    };
    let problems = check.damaged.iter().map(problem(true)).chain(check.waiting.iter().map(problem(false)));
    StoreCheck {
        kinds: kinds.into_values().collect(),
        disk_bytes: check.disk_bytes,
        as_held: check.as_held,
        whole: check.is_whole() && unread.is_none(),
        unread,
        problems: problems.take(PROBLEMS_MAX).collect(),
    }
}

/// Asks the agent to read its store.
///
/// # Errors
/// When it does not answer, or could not.
pub async fn check_online(client: &mut Client) -> Result<StoreCheck, ControlError> {
    match client.ask(&Request::StoreCheck {}, ANSWER_WITHIN).await? {
        Reply::StoreCheck { check } => Ok(check),
        _ => Err(ControlError::Malformed("not the answer to a question about the store".to_owned())),
    }
}

/// Shows a check; `online` if it was an agent's own.
///
/// # Errors
/// When the output cannot be written.
pub fn show<W: Write>(check: &StoreCheck, online: bool, output: &mut Output<W>) -> Result<(), OutputError> {
    let sum = |number: fn(&StoreRows) -> u64| check.kinds.iter().map(number).sum::<u64>();
    let (live, damaged, waiting) =
        (sum(|rows| rows.bytes), sum(|rows| rows.damaged), sum(|rows| rows.waiting));
    let kinds = check.kinds.iter().map(|rows| {
        json!({
            "kind": rows.kind, "rows": rows.rows, "bytes": rows.bytes,
            "damaged": rows.damaged, "waiting": rows.waiting,
        })
    });
    let problems = check.problems.iter().map(|problem| {
        json!({
            "kind": problem.kind, "key": problem.key, "what": problem.what,
            "state": if problem.damaged { "damaged" } else { "waiting" },
        })
    });
    let document = json!({
        "whole": check.whole,
        "agent_running": online,
        "as_held": check.as_held,
        "unread": check.unread,
        "rows": sum(|rows| rows.rows),
        "live_bytes": live,
        "disk_bytes": check.disk_bytes,
        "damaged": damaged,
        "waiting": waiting,
        "kinds": kinds.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
    });
    output.document("store-check", &document, |style| {
        let mut page = match (check.whole, check.as_held) {
            (true, Some(true)) => format!("{}  and what the agent holds\n", style.mark(Mark::Good, "whole")),
            (true, _) => format!("{}\n", style.mark(Mark::Good, "whole")),
            (false, _) => format!("{}\n", style.mark(Mark::Bad, "damaged")),
        };
        for rows in &check.kinds {
            let kind = match (rows.kind.as_str(), rows.rows) {
                (kind, 1) => kind.to_owned(),
                ("entry", _) => "entries".to_owned(),
                (kind, _) => format!("{kind}s"),
            };
            let size = time::size(rows.bytes);
            let _always = write!(page, "  {:<8}  {} in {size}", escape::cell(&kind), rows.rows);
            for (count, word) in [(rows.damaged, "damaged"), (rows.waiting, "of no use yet")] {
                if count > 0 {
                    let _always = write!(page, ", {count} {word}");
                }
            }
            page.push('\n');
        }
        let (live, disk) = (time::size(live), time::size(check.disk_bytes));
        let _always = writeln!(page, "  {:<8}  {disk} for {live}", "on disk");
        if let Some(unread) = &check.unread {
            let _always = writeln!(page, "{} {}", style.mark(Mark::Bad, "unread:"), escape::line(unread));
        }
        if check.as_held == Some(false) {
            let mark = style.mark(Mark::Bad, "differs:");
            let _always = writeln!(page, "{mark} what is on disk is not what the agent holds");
        }
        for problem in &check.problems {
            let (mark, word) =
                if problem.damaged { (Mark::Bad, "damaged:") } else { (Mark::Warning, "waiting:") };
            let key: String = problem.key.chars().take(16).collect();
            let what = escape::line(&format!("{} {key}: {}", problem.kind, problem.what));
            let _always = writeln!(page, "{} {what}", style.mark(mark, word));
        }
        let shown = check.problems.len() as u64;
        if damaged + waiting > shown {
            let _always = writeln!(page, "  and {} more", damaged + waiting - shown);
        }
        page
    })
}
