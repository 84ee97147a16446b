//! `context add`, `ls` and `show`: from what a person typed to files, and back.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    cache::Kept,
    saved::{Contexts, Saved, SavedError},
    session::{ContextError, Session, Standing, With},
};
use crate::{
    journal::{KeySource, OperatorHome, signer::Choice},
    terminal::{Column, Kind, Output, OutputError, Sheet, escape, time},
    time::Timestamp,
};

/// What to add.
#[derive(Clone, Copy, Debug)]
pub struct AddRequest<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where the fleet is found.
    pub saved: &'a Saved,
    /// The operator's key, where this user has none for the fleet yet.
    pub key: Option<&'a Choice>,
    /// Whether nobody is asked.
    pub offline: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// For the client's key.
    pub seed: [u8; 32],
}

/// What was added, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The fleet's label.
    pub fleet: String,
    /// How many members it has; nothing if nobody was asked.
    pub hosts: Option<usize>,
    /// The operator's directory that was made.
    pub operator: Option<PathBuf>,
    /// What a person should be told.
    pub remarks: Vec<String>,
}

/// Adds a context, after a member was reached and the fleet verified. If it fails, nothing is left of it.
///
/// # Errors
/// See [`ContextError`].
pub fn add(contexts: &Contexts, operators: &Path, request: AddRequest<'_>) -> Result<Added, ContextError> {
    contexts.check_new(request.name)?;
    let dir = contexts.dir_of(request.name);
    let io = |source| SavedError::Io { path: dir.clone(), source };
    if request.offline {
        let Some(home) = OperatorHome::find(operators, request.saved.fleet)? else {
            return Err(ContextError::NoKey { context: request.name.to_owned() });
        };
        if !request.dry_run {
            contexts.add(request.name, request.saved)?;
        }
        let fleet = home.chain.genesis().name.clone();
        return Ok(Added { fleet, hosts: None, operator: None, remarks: Vec::new() });
    }
    let is_new = !dir.exists();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io)?;
    let (name, saved, dry_run) = (request.name, request.saved, request.dry_run);
    let done = reached(operators, &dir, request);
    if dry_run || done.is_err() {
        let _what_was_begun = if is_new { fs::remove_dir_all(&dir) } else { Ok(()) };
    }
    let added = done?;
    if !dry_run {
        contexts.add(name, saved)?;
    }
    Ok(added)
}

fn reached(operators: &Path, dir: &Path, request: AddRequest<'_>) -> Result<Added, ContextError> {
    let AddRequest { name, saved, key, dry_run, clock, seed, .. } = request;
    // What may be there of an earlier context of that name says nothing of this one.
    for file in ["replica", "hosts", "words"] {
        match fs::remove_file(dir.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let with = With { name, saved, dir, operators, key, keeps: !dry_run, clock, seed };
    let (session, fetched) = Session::start_with(with)?;
    if let Standing::Offline { why, .. } = &session.standing {
        return Err(why.clone().into());
    }
    let Some(fetched) = fetched else { return Err(io::Error::other("nothing was fetched").into()) };
    let mut operator = None;
    if OperatorHome::find(operators, saved.fleet)?.is_none()
        && let Some(key) = key
        && !dry_run
    {
        let home = OperatorHome::create_with(
            &OperatorHome::free(operators, name),
            KeySource::There(key),
            &fetched.chain,
        )?;
        operator = Some(home.dir().to_owned());
    }
    Ok(Added {
        fleet: fetched.kept.fleet.clone(),
        hosts: Some(fetched.kept.known.len()),
        operator,
        remarks: session.remarks.clone(),
    })
}

const SHEET: Sheet = Sheet {
    thing: "context",
    columns: &[
        Column::new("NAME", "name", Kind::Ours),
        Column::new("USED", "used", Kind::Ours),
        Column::new("FLEET", "fleet", Kind::Host),
        Column::new("HOSTS", "hosts", Kind::Ours),
        Column::new("FETCHED", "as_of", Kind::Time),
        Column::new("ADDRESSES", "addresses", Kind::Ours),
    ],
};

/// One context as a row. Nothing secret is in it.
fn row(contexts: &Contexts, name: &str, used: bool) -> Value {
    let kept = Kept::glance(&contexts.dir_of(name));
    let (saved, problem) = match contexts.open(name) {
        Ok(saved) => (Some(saved), None),
        Err(error) => (None, Some(error.to_string())),
    };
    json!({
        "name": name,
        "used": used,
        "fleet": kept.as_ref().map(|kept| kept.fleet.clone()),
        "fleet_id": saved.as_ref().map(|saved| saved.fleet.to_string()),
        "addresses": saved.map(|saved| saved.addresses).unwrap_or_default(),
        "learned": kept.as_ref().map(learned).unwrap_or_default(),
        "hosts": kept.as_ref().map(|kept| kept.known.len()),
        "as_of": kept.as_ref().map(|kept| time::rfc3339(kept.at)),
        "member": kept.map(|kept| kept.member),
        "problem": problem,
    })
}

/// Addresses that the fleet's hosts gave, each host's first.
fn learned(kept: &Kept) -> Vec<String> {
    kept.known.iter().filter_map(|known| known.addresses.first().cloned()).take(16).collect()
}

/// Lists contexts.
///
/// # Errors
/// When files cannot be read, or the list not be written.
pub fn list<W: Write>(
    contexts: &Contexts,
    used: Option<&str>,
    output: &mut Output<W>,
) -> Result<Result<(), OutputError>, SavedError> {
    let names = contexts.names()?;
    let rows: Vec<Value> = names.iter().map(|name| row(contexts, name, used == Some(name))).collect();
    Ok(output.rows(&SHEET, &rows))
}

/// Shows one.
///
/// # Errors
/// When there is none of that name, or it cannot be written.
pub fn show<W: Write>(
    contexts: &Contexts,
    name: &str,
    used: bool,
    now: Timestamp,
    output: &mut Output<W>,
) -> Result<Result<(), OutputError>, SavedError> {
    contexts.open(name)?;
    let row = row(contexts, name, used);
    let kept = Kept::glance(&contexts.dir_of(name));
    let dir = contexts.dir_of(name);
    Ok(output.document("context", &row.clone(), |_| {
        use std::fmt::Write as _;
        let mut text = String::new();
        let text_of = |key: &str| match row.get(key) {
            Some(Value::String(text)) => escape::cell(text),
            Some(Value::Array(all)) => {
                all.iter().filter_map(Value::as_str).map(escape::cell).collect::<Vec<_>>().join(", ")
            }
            _ => "-".to_owned(),
        };
        let _always = writeln!(text, "context    {name}{}", if used { " (in use)" } else { "" });
        let _always = writeln!(text, "fleet      {}", text_of("fleet"));
        let _always = writeln!(text, "id         {}", text_of("fleet_id"));
        let _always = writeln!(text, "addresses  {}", text_of("addresses"));
        let _always = writeln!(text, "learned    {}", text_of("learned"));
        let fetched = kept.map_or_else(
            || "never".to_owned(),
            |kept| {
                let ago = time::ago(kept.at, now);
                format!("{ago}, {} hosts, from {}", kept.known.len(), escape::cell(&kept.member))
            },
        );
        let _always = writeln!(text, "fetched    {fetched}");
        let _always = writeln!(text, "files      {}", escape::line(&dir.display().to_string()));
        text
    }))
}
