//! Lists keys; writes signatures out.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    identity::{
        EntryId, peek,
        ssh::{NAMESPACE, OperatorKey},
        ssh_signature,
    },
    journal::{
        OperatorError, OperatorHome,
        signer::{SshAgent, Ways},
    },
    terminal::{Column, Kind, Output, OutputError, Sheet, Talk, escape},
};

const KEYS: Sheet = Sheet {
    thing: "key",
    columns: &[
        Column::new("KEY", "fingerprint", Kind::Ours),
        Column::new("KIND", "kind", Kind::Ours),
        Column::new("WHERE", "place", Kind::Ours),
        Column::new("FLEET", "fleet", Kind::Host),
        Column::new("PERSON", "person", Kind::Host),
        Column::new("COMMENT", "comment", Kind::Host),
        Column::wide("DIRECTORY", "directory", Kind::Ours),
    ],
};

/// Why a command about keys did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// An operator's directory cannot be used.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// No order of this id was signed from here, or several.
    #[error("{found} orders that were signed here have an id that begins with {id:?}")]
    NotOne {
        /// What was given.
        id: String,
        /// How many it could be.
        found: usize,
    },
    /// It was signed in a way that OpenSSH does not know.
    #[error("order {0} was signed with a key file, in no form of SSH's")]
    NotBySsh(String),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// `key ls`: the keys of this user's operator directories, then those of the SSH agent that could be one.
///
/// # Errors
/// When the directories or the output cannot be used. An agent that cannot be asked is only told of.
pub fn list<W: Write>(
    operators: &Path,
    ways: &Ways,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), KeysError> {
    let mut rows = Vec::new();
    let mut used = Vec::new();
    for home in homes(operators)? {
        let certificate = home.certified();
        let key = home.signer.key();
        rows.push(json!({
            "fingerprint": key.fingerprint(), "kind": key.kind(), "place": home.signer.place().words(),
            "fleet": home.chain.genesis().name, "person": certificate.map(|(_, c)| c.person),
            "comment": null, "directory": home.dir(), "public": key.line(),
        }));
        used.push(key.clone());
    }
    match SshAgent::connect(ways).and_then(|agent| agent.map(|mut agent| agent.keys()).transpose()) {
        Ok(keys) => {
            let others = keys.unwrap_or_default().into_iter().filter(|(key, _)| !used.contains(key));
            rows.extend(others.map(|(key, comment)| unused(&key, &comment)));
        }
        Err(error) => talk.warn(&escape::line(&error.to_string())),
    }
    Ok(output.rows(&KEYS, &rows)?)
}

fn unused(key: &OperatorKey, comment: &str) -> Value {
    let place = if key.is_on_token() { "token by ssh-agent" } else { "ssh-agent" };
    json!({
        "fingerprint": key.fingerprint(), "kind": key.kind(), "place": place,
        "fleet": null, "person": null, "comment": comment, "directory": null, "public": key.line(),
    })
}

/// What was written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The order.
    pub order: EntryId,
    /// Who signed it, as its certificate names them.
    pub person: String,
    /// The bytes that were signed.
    pub signed: PathBuf,
    /// The signature.
    pub signature: PathBuf,
    /// Whose signatures count: OpenSSH's `allowed_signers`.
    pub signers: PathBuf,
}

impl Exported {
    /// The command that checks it.
    pub fn check(&self, quoted: impl Fn(&Path) -> String) -> String {
        format!(
            "ssh-keygen -Y verify -f {} -I {} -n {NAMESPACE} -s {} < {}",
            quoted(&self.signers),
            quoted(Path::new(&self.person)),
            quoted(&self.signature),
            quoted(&self.signed)
        )
    }
}

/// `key export`: writes what was signed of an order of this user's, the signature, and whose key it is, to `dir`.
///
/// # Errors
/// See [`KeysError`]; a file that is there is not written over.
pub fn export(operators: &Path, id: &str, dir: &Path) -> Result<Exported, KeysError> {
    let mut found = Vec::new();
    for home in homes(operators)? {
        for order in home.orders()? {
            if let Ok(header) = peek(&order.0)
                && header.id.to_string().starts_with(id)
            {
                let person = home.certified().map_or_else(String::new, |(_, certificate)| certificate.person);
                found.push((header.id, order, person));
            }
        }
    }
    let count = found.len();
    let (Some((order, bytes, person)), 1) = (found.pop(), count) else {
        return Err(KeysError::NotOne { id: id.to_owned(), found: count });
    };
    let signature = ssh_signature(&bytes.0).ok().flatten();
    let signature = signature.ok_or_else(|| KeysError::NotBySsh(order.short()))?;
    // One word, in a file whose lines are words.
    let person: String = person.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    let exported = Exported {
        order,
        signed: dir.join("signed"),
        signature: dir.join("signed.sig"),
        signers: dir.join("allowed_signers"),
        person,
    };
    fs::create_dir_all(dir).map_err(|source| KeysError::Write { path: dir.to_owned(), source })?;
    let signers = format!("{} namespaces=\"{NAMESPACE}\" {}\n", exported.person, signature.key.line());
    write(&exported.signed, &signature.signed)?;
    write(&exported.signature, signature.armoured.as_bytes())?;
    write(&exported.signers, signers.as_bytes())?;
    Ok(exported)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), KeysError> {
    let written = fs::File::create_new(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| KeysError::Write { path: path.to_owned(), source })
}

/// This user's directories, in order of their names; those that cannot be opened stand in nobody's way.
fn homes(operators: &Path) -> Result<Vec<OperatorHome>, KeysError> {
    let mut dirs: Vec<PathBuf> = match fs::read_dir(operators) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(OperatorError::Io { path: operators.to_owned(), source }.into()),
    };
    dirs.sort();
    Ok(dirs.iter().filter_map(|dir| OperatorHome::open(dir).ok()).collect())
}
