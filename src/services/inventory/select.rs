//! `muster select`: which hosts an expression is true for, and what each part of it says of how many.

use std::{collections::BTreeSet, io::Write, path::Path};

use serde_json::{Value, json};

use super::{
    asking::Inventory,
    verb::{self, Asked, InventoryError},
};
use crate::{
    control::{Anchor, Client, PickError, Reply, Request, TruthCount, fleet, nobody},
    identity::HostId,
    selector::{Selector, Truth},
    targets::{self, Targets},
    terminal::{Column, Format, Kind, Output, Sheet, Talk, escape},
};

/// Hosts that can be named.
const HOSTS_MAX: usize = 100_000;
const PARTS: Sheet = Sheet {
    thing: "select-part",
    columns: &[
        Column::new("TEST", "test", Kind::Ours),
        Column::new("TRUE", "true", Kind::Ours),
        Column::new("FALSE", "false", Kind::Ours),
        Column::new("UNKNOWN", "unknown", Kind::Ours),
    ],
};

impl Inventory {
    /// For each part of an expression of how many members it is true, false and unknown, as
    /// [`Reply::Explained`].
    pub async fn explain(&self, expression: &str) -> Reply {
        let selector = match Selector::parse(expression) {
            Ok(selector) => selector,
            Err(error) => return Reply::Error { why: error.to_string(), refused: false },
        };
        let counted = self.each_member(move |members| {
            let mut counts = vec![TruthCount::default(); selector.nodes().len()];
            let mut left_out = 0;
            members(&mut |member, is_left_out| {
                left_out += u32::from(is_left_out);
                for (count, truth) in counts.iter_mut().zip(selector.evaluate_nodes(&member)) {
                    match truth {
                        Truth::True => count.yes += 1,
                        Truth::False => count.no += 1,
                        Truth::Unknown => count.unknown += 1,
                    }
                }
            });
            Reply::Explained { counts, left_out }
        });
        counted.await.unwrap_or_else(|error| error)
    }
}

/// Reads an expression; groups in it are put in place from the verified fleet.
async fn expanded(
    client: &mut Client,
    operators: &Path,
    expression: &str,
    talk: &mut Talk,
) -> Result<Selector, InventoryError> {
    let in_text = |error| PickError::Selector { text: expression.to_owned(), error };
    let selector = Selector::parse(expression).map_err(in_text)?;
    if selector.groups().is_empty() {
        return Ok(selector);
    }
    let anchor = Anchor::find(client, operators)?;
    let (replica, left_out) = fleet(client, anchor.chain().clone(), false).await?;
    if left_out > 0 {
        talk.warn(&format!("{left_out} entries from the agent do not hold and were left out"));
    }
    Ok(targets::with_groups(&selector, replica.authority())?)
}

/// `select`: the hosts that are meant.
///
/// # Errors
/// See [`InventoryError`]; [`PickError::NoMatch`] where there is none.
pub async fn select<W: Write>(
    client: &mut Client,
    operators: &Path,
    targets: &Targets,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), InventoryError> {
    let search = |selector: &Selector| Asked {
        expression: selector.text().to_owned(),
        columns: Vec::new(),
        count_by: None,
        limit: u32::MAX,
    };
    // An expression alone is the agent's to answer, at once.
    if let Some(text) = &targets.expression
        && *targets == (Targets { expression: Some(text.clone()), ..Targets::default() })
    {
        let selector = expanded(client, operators, text, talk).await?;
        let found = verb::search(client, &search(&selector), output, talk).await;
        let Err(InventoryError::Pick(PickError::NoMatch { .. })) = found else { return found };
        // Only the whole fleet tells what was probably meant.
        let anchor = Anchor::find(client, operators)?;
        let (replica, _) = fleet(client, anchor.chain().clone(), false).await?;
        return match nobody(&replica, &selector) {
            PickError::NoMatch { .. } => found,
            mistyped => Err(mistyped.into()),
        };
    }
    let anchor = Anchor::find(client, operators)?;
    let (replica, left_out) = fleet(client, anchor.chain().clone(), false).await?;
    if left_out > 0 {
        talk.warn(&format!("{left_out} entries from the agent do not hold and were left out"));
    }
    let asked = targets.ask(&replica, HOSTS_MAX)?;
    let told = match asked.of_facts() {
        Some(selector) => Some(verb::ids(client, &search(selector), talk).await?),
        None => None,
    };
    let resolved = targets::resolve(&asked, told.as_ref(), &replica, HOSTS_MAX)?;
    let meant: BTreeSet<HostId> = resolved.ids().into_iter().collect();
    verb::search_among(client, &search(asked.selector()), Some(&meant), output, talk).await?;
    if meant.len() < resolved.matched {
        talk.say(&format!("{} of the {} hosts that match", meant.len(), resolved.matched));
    }
    Ok(())
}

/// `select --explain`: what each part says of how many members.
///
/// # Errors
/// See [`InventoryError`].
pub async fn explain<W: Write>(
    client: &mut Client,
    operators: &Path,
    expression: &str,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), InventoryError> {
    let selector = expanded(client, operators, expression, talk).await?;
    if selector.text() != expression {
        talk.say(&format!("with its groups it is: {}", escape::line(selector.text())));
    }
    client.send(&Request::Explain { expression: selector.text().to_owned() }).await?;
    let (counts, left_out) = match client.reply_within(verb::PART_WITHIN).await? {
        Reply::Explained { counts, left_out } => (counts, left_out),
        other => return Err(verb::unexpected(other).into()),
    };
    let nodes = selector.nodes();
    if nodes.len() != counts.len() {
        return Err(verb::unexpected(Reply::End {}).into());
    }
    if left_out > 0 {
        talk.warn(&format!(
            "{left_out} hosts say more than this agent has room for, and were not looked at whole"
        ));
    }
    let as_tree = !matches!(output.format(), Format::Json | Format::Jsonl);
    let rows: Vec<Value> = nodes
        .iter()
        .zip(&counts)
        .map(|(node, count)| {
            let indent = if as_tree { "· ".repeat(node.depth) } else { String::new() };
            json!({
                "test": format!("{indent}{}", node.text), "depth": node.depth, "is_test": node.is_test,
                "true": count.yes, "false": count.no, "unknown": count.unknown,
            })
        })
        .collect();
    output.rows(&PARTS, &rows)?;
    if let Some(all) = counts.first() {
        let members = all.yes + all.no + all.unknown;
        talk.say(&format!("selects {} of {members} hosts", all.yes));
    }
    Ok(())
}
