//! The operator's side: asks the agent, and shows. What is shown is what hosts say of themselves, as the agent
//! tells it: nothing here is verified, and nothing is permitted by it.

use std::{cmp::Ordering, collections::BTreeSet, io::Write, time::Duration};

use serde_json::json;

use super::{
    asking::path,
    view::{self, Shown},
};
use crate::{
    control::{
        AnchorError, Client, ControlError, FoundRow, PickError, Reply, Request, did_you_mean, no_answer,
    },
    identity::HostId,
    selector::{
        Position, Selector, SelectorError,
        version::{self, CompareError, Ecosystem},
    },
    targets::TargetError,
    terminal::{Column, Format, Kind, Output, OutputError, Sheet, Talk, escape, time},
    time::Timestamp,
};

/// How long the agent may take between two parts of an answer: the first question to a large fleet takes
/// some seconds.
pub(super) const PART_WITHIN: Duration = Duration::from_secs(60);

/// Why a command about inventory has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No anchor to verify groups against.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// A group cannot be put in its place.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Which host is meant is not clear, or what was typed is no selector.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// The host says nothing of the kind.
    #[error("{host} says nothing of {table}")]
    NoTable {
        /// The host.
        host: String,
        /// The table.
        table: String,
        /// What it says that is spelled nearly so.
        near: Option<String>,
    },
    /// There is no such rule by which versions are compared.
    #[error("no versions are compared as those of {0}")]
    NoEcosystem(String),
    /// A text that is no version.
    #[error("{error}")]
    Version {
        /// The text.
        text: String,
        /// What is wrong with it.
        error: CompareError,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What is searched for, and what of it is shown.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The expression, as a selector.
    pub expression: String,
    /// Paths whose values are shown besides those that the expression looks at.
    pub columns: Vec<String>,
    /// The path by whose values hosts are counted, instead of being listed.
    pub count_by: Option<String>,
    /// How many hosts at most.
    pub limit: u32,
}

impl Asked {
    /// Finds what is wrong with the words alone, before anybody is asked.
    ///
    /// # Errors
    /// [`PickError::Selector`], with the place.
    pub fn check(&self) -> Result<(), InventoryError> {
        self.read().map(drop)
    }

    /// The selector, and the paths of `columns` and `count_by`, in that order.
    fn read(&self) -> Result<(Selector, Vec<String>), InventoryError> {
        let selector = Selector::parse(&self.expression).map_err(in_text(&self.expression))?;
        let mut paths = Vec::new();
        for column in self.columns.iter().chain(&self.count_by) {
            paths.push(path(column).map_err(in_text(column))?.to_string());
        }
        if let (Some(text), Some("name" | "id")) = (&self.count_by, paths.last().map(String::as_str)) {
            let position = Position { offset: 0, length: text.len() };
            let message = "every host has one of its own".to_owned();
            let hint =
                Some("count by what hosts share: muster inventory search all --count-by tag.role".to_owned());
            return Err(in_text(text)(SelectorError { position, message, hint }).into());
        }
        Ok((selector, paths))
    }
}

fn in_text(text: &str) -> impl FnOnce(SelectorError) -> PickError {
    let text = text.to_owned();
    move |error| PickError::Selector { text, error }
}

pub(super) fn unexpected(reply: Reply) -> ControlError {
    match reply {
        error @ (Reply::Error { .. } | Reply::Offline { .. }) => no_answer(&error),
        _ => ControlError::Malformed("not the answer to a question about inventory".to_owned()),
    }
}

/// `inventory search`.
///
/// # Errors
/// See [`InventoryError`]; [`PickError::NoMatch`] where no host was found.
pub async fn search<W: Write>(
    client: &mut Client,
    asked: &Asked,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), InventoryError> {
    search_among(client, asked, None, output, talk).await
}

/// As [`search`], of the hosts `among` alone, if some are given.
pub(super) async fn search_among<W: Write>(
    client: &mut Client,
    asked: &Asked,
    among: Option<&BTreeSet<HostId>>,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), InventoryError> {
    let (selector, wanted) = asked.read()?;
    let columns = asked.columns.iter().chain(&asked.count_by).cloned().collect();
    let (mut found, paths) = found(client, asked, columns, talk).await?;
    if let Some(among) = among {
        found.retain(|row| among.contains(&row.about.host));
    }
    // What is watched may match somebody later.
    if found.is_empty() && !output.is_watched() {
        return Err(PickError::NoMatch { selector: selector.text().to_owned() }.into());
    }
    for column in &wanted {
        let place = paths.iter().position(|known| known == column);
        if let Some(place) = place
            && found.iter().all(|row| row.values.get(place).is_none_or(Vec::is_empty))
        {
            talk.warn(&format!("none of them says anything at {}", escape::cell(column)));
        }
    }
    if asked.count_by.is_some() {
        let place = wanted.last().and_then(|path| paths.iter().position(|known| known == path));
        let rows = view::counts(&found, place.unwrap_or(usize::MAX));
        return Ok(output.rows(&Sheet { thing: "inventory-count", columns: view::COUNTS }, &rows)?);
    }
    let titles: Vec<String> = paths.iter().map(|path| escape::cell(path)).collect();
    let flat = output.is_flat();
    let columns = view::columns(&paths, &titles);
    let sheet = Sheet { thing: "inventory-host", columns: &columns };
    Ok(output.rows(&sheet, &view::rows(&paths, &found, flat))?)
}

/// The hosts that the agent finds, and the paths whose values their rows have.
async fn found(
    client: &mut Client,
    asked: &Asked,
    columns: Vec<String>,
    talk: &mut Talk,
) -> Result<(Vec<FoundRow>, Vec<String>), InventoryError> {
    let request =
        Request::InventorySearch { expression: asked.expression.clone(), columns, limit: asked.limit };
    client.send(&request).await?;
    let (mut found, mut paths, mut more): (Vec<FoundRow>, _, _) = (Vec::new(), Vec::new(), true);
    while more {
        match client.reply_within(PART_WITHIN).await? {
            Reply::Found { paths: of, rows, left_out, cut, more: another } => {
                (paths, more) = (of, another);
                found.extend(rows);
                if !more && cut {
                    talk.warn(&format!("only the first {} hosts are shown; --limit shows more", found.len()));
                }
                if !more && left_out > 0 {
                    talk.warn(&format!(
                        "{left_out} hosts say more than this agent has room for, and were not looked at whole"
                    ));
                }
            }
            other => return Err(unexpected(other).into()),
        }
    }
    Ok((found, paths))
}

/// The hosts that the agent says an expression is true for.
pub(super) async fn ids(
    client: &mut Client,
    asked: &Asked,
    talk: &mut Talk,
) -> Result<BTreeSet<HostId>, InventoryError> {
    let (found, _) = found(client, asked, Vec::new(), talk).await?;
    Ok(found.into_iter().map(|row| row.about.host).collect())
}

/// `inventory show`.
///
/// # Errors
/// See [`InventoryError`].
pub async fn show<W: Write>(
    client: &mut Client,
    host: &str,
    table: Option<&str>,
    now: Timestamp,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), InventoryError> {
    let request = Request::InventoryShow { host: host.to_owned(), table: table.map(str::to_owned) };
    client.send(&request).await?;
    let mut shown: Option<Shown> = None;
    let mut more = true;
    while more {
        match client.reply_within(PART_WITHIN).await? {
            Reply::Tables { about, name, tables, more: another } => {
                more = another;
                let shown = shown.get_or_insert_with(|| Shown { about, name, tables: Vec::new() });
                for part in tables {
                    match shown.tables.iter_mut().find(|known| known.name == part.name) {
                        Some(known) if known.columns == part.columns => known.rows.extend(part.rows),
                        _ => shown.tables.push(part),
                    }
                }
            }
            Reply::NoSuchHost { near, candidates } if candidates.is_empty() => {
                return Err(PickError::NoSuch { name: host.to_owned(), near }.into());
            }
            Reply::NoSuchHost { candidates, .. } => {
                return Err(PickError::Ambiguous { name: host.to_owned(), candidates }.into());
            }
            other => return Err(unexpected(other).into()),
        }
    }
    let Some(shown) = shown else { return Ok(()) };
    let Some(table) = table else {
        return Ok(output.document("inventory", &shown.all(), |style| shown.page(style, now))?);
    };
    let Some(found) = shown.tables.first() else {
        let all = tables_of(client, host).await?;
        let near = did_you_mean(table, all.iter().map(String::as_str)).map(str::to_owned);
        return Err(InventoryError::NoTable { host: shown.name, table: table.to_owned(), near });
    };
    if output.format() == Format::Json {
        return Ok(output.document("inventory-table", &shown.table(found), |_| String::new())?);
    }
    // Rows alone have no place for their age.
    let seen =
        shown.about.seen.map_or_else(|| "never seen".to_owned(), |at| format!("seen {}", time::ago(at, now)));
    let changed = found.changed.map_or_else(String::new, |at| format!(", changed {}", time::ago(at, now)));
    talk.say(&format!("{} of {}: {seen}{changed}", escape::cell(&found.name), escape::cell(&shown.name)));
    let keys: Vec<String> = found.columns.iter().map(|column| escape::cell(column)).collect();
    let titles: Vec<String> = keys.iter().map(|key| key.to_uppercase()).collect();
    let columns: Vec<Column<'_>> =
        keys.iter().zip(&titles).map(|(key, title)| Column::new(title, key, Kind::Host)).collect();
    let sheet = Sheet { thing: "inventory-row", columns: &columns };
    Ok(output.rows(&sheet, &view::items(found))?)
}

/// The names of a host's tables.
async fn tables_of(client: &mut Client, host: &str) -> Result<BTreeSet<String>, InventoryError> {
    client.send(&Request::InventoryShow { host: host.to_owned(), table: None }).await?;
    let mut names = BTreeSet::new();
    loop {
        match client.reply_within(PART_WITHIN).await? {
            Reply::Tables { tables, more, .. } => {
                names.extend(tables.into_iter().map(|part| part.name));
                if !more {
                    return Ok(names);
                }
            }
            other => return Err(unexpected(other).into()),
        }
    }
}

/// `inventory types`.
///
/// # Errors
/// See [`InventoryError`].
pub async fn types<W: Write>(client: &mut Client, output: &mut Output<W>) -> Result<(), InventoryError> {
    const SHEET: Sheet<'static> = Sheet {
        thing: "inventory-type",
        columns: &[
            Column::new("TYPE", "type", Kind::Host),
            Column::new("HOSTS", "hosts", Kind::Ours),
            Column::new("ROWS", "rows", Kind::Ours),
        ],
    };
    client.send(&Request::InventoryTypes {}).await?;
    match client.reply_within(PART_WITHIN).await? {
        Reply::Types { types } => {
            let row = |row: &crate::control::TypeRow| json!({ "type": row.name, "hosts": row.hosts, "rows": row.rows });
            Ok(output.rows(&SHEET, &types.iter().map(row).collect::<Vec<_>>())?)
        }
        other => Err(unexpected(other).into()),
    }
}

/// `inventory compare`: asks nobody.
///
/// # Errors
/// See [`InventoryError`].
pub fn compare<W: Write>(
    ecosystem: &str,
    first: &str,
    second: &str,
    output: &mut Output<W>,
) -> Result<(), InventoryError> {
    let known =
        Ecosystem::named(ecosystem).ok_or_else(|| InventoryError::NoEcosystem(ecosystem.to_owned()))?;
    let compared = version::compare_written(known, first, second).map_err(|error| {
        let text = if error.side == version::Side::First { first } else { second };
        InventoryError::Version { text: text.to_owned(), error }
    });
    let order = match compared? {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    };
    let document = json!({ "ecosystem": known.name(), "first": first, "second": second, "order": order });
    Ok(output.document("inventory-compare", &document, |_| format!("{order}\n"))?)
}
