//! `roots`: who governs, what they said, and how it comes about. Everything that changes something takes root keys.

use std::{collections::BTreeSet, io::Write, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    AuthorityError, Rooted,
    errand::Errand,
    roots,
    verb::{by_roots, count, hand_over, verified, waits},
    words,
};
use crate::{
    authority::{Authority, Checkpoint, Denial, Recover, RecoveryState, RootChain, RootChange, Roots, half},
    control::Client,
    identity::{PublicKey, Root, SecretKey},
    journal::{keyfile, signer::root_public},
    terminal::{Column, Kind, Mark, Output, Sheet, Talk, escape, prompt::Consequence, time},
    time::Timestamp,
};

const STATES: &[(&str, Mark)] =
    &[("governs", Mark::Good), ("replaced", Mark::Unknown), ("offered", Mark::Unknown)];

const KEYS: Sheet = Sheet {
    thing: "root",
    columns: &[
        Column::new("KEY", "key", Kind::Ours),
        Column::new("STATE", "state", Kind::Status(STATES)),
        Column::new("SIGN", "sign", Kind::Ours),
        Column::new("PLACE", "place", Kind::Ours),
        Column::wide("PUBLIC", "public", Kind::Ours),
    ],
};

const UPDATES: Sheet = Sheet {
    thing: "root-update",
    columns: &[
        Column::new("PLACE", "place", Kind::Ours),
        Column::new("ID", "id", Kind::Ours),
        Column::new(
            "STATE",
            "state",
            Kind::Status(&[
                ("counts", Mark::Good),
                ("lost", Mark::Bad),
                ("unknown", Mark::Bad),
                ("waits", Mark::Unknown),
                ("denied", Mark::Bad),
            ]),
        ),
        Column::new("WHAT", "what", Kind::Host),
        Column::new("SIGNED BY", "signers", Kind::Ours),
        Column::wide("AFTER", "after", Kind::Ours),
    ],
};

/// How the keys that govern shall change.
#[derive(Clone, Copy, Debug)]
pub struct RotateRequest<'a> {
    /// Public halves of keys that shall govern too: 64 hexadecimal digits, or a `.pub` file.
    pub add: &'a [String],
    /// Beginnings of those that shall not any more.
    pub drop: &'a [String],
    /// How many must sign from then on; as many as now, if nothing is said.
    pub threshold: Option<u8>,
}

/// `roots ls`: every key that governs or did.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn keys<W: Write>(
    client: &mut Client,
    operators: &Path,
    now: Timestamp,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let authority = replica.authority();
    let chain = authority.chain();
    let governs = chain.roots();
    let known = since(chain)
        .into_iter()
        .map(|(key, place)| (key, place, if governs.keys.contains(&key) { "governs" } else { "replaced" }));
    let waits = chain.recoveries().filter(|recovery| recovery.state == RecoveryState::Waits);
    let offered = waits.flat_map(|recovery| {
        let place = chain.update(&recovery.id).map_or(0, |update| update.body().sequence);
        recovery.recover.roots.keys.iter().map(move |key| (*key, place, "offered"))
    });
    let rows: Vec<Value> = known
        .chain(offered)
        .map(|(key, place, state)| {
            json!({
                "key": words::key(&key),
                "state": state,
                "sign": words::of(&governs),
                "threshold": governs.threshold,
                "of": governs.keys.len(),
                "place": place,
                "public": hex(&key.bytes()),
            })
        })
        .collect();
    for problem in root_problems(authority) {
        talk.warn(&problem);
    }
    let open: BTreeSet<&str> = authority.unsealed(now).map(|(_, held)| held.person.as_str()).collect();
    if !open.is_empty() {
        let names: Vec<String> = open.into_iter().map(escape::cell).collect();
        talk.warn(&format!(
            "certificates of {} are past and could still suspend and halt; a checkpoint ends that: \
             muster roots checkpoint --root FILE",
            names.join(", ")
        ));
    }
    Ok(output.rows(&KEYS, &rows)?)
}

/// What is wrong with a root chain, in words: two histories that the roots signed, what this version does not know,
/// a recovery that the roots may want to deny.
pub fn root_problems(authority: &Authority) -> Vec<String> {
    let chain = authority.chain();
    let mut problems: Vec<String> = chain
        .fork_evidence()
        .into_iter()
        .map(|(one, other)| {
            format!(
                "the roots signed two histories: {} and {} both stand in place {}; see: muster roots log",
                one.id().short(),
                other.id().short(),
                one.body().sequence
            )
        })
        .collect();
    if let Some(stopped) = chain.stopped_at() {
        problems.push(format!(
            "the chain has an update that this version does not know ({}): upgrade muster",
            stopped.short()
        ));
    }
    for recovery in chain.recoveries().filter(|recovery| recovery.state == RecoveryState::Waits) {
        problems.push(format!(
            "recovery keys let {} other root keys govern from {} on; the roots can deny it: muster roots deny {} \
             --root FILE",
            words::of(&recovery.recover.roots),
            authority.counts_from(&recovery.id).map(time::rfc3339).unwrap_or_default(),
            recovery.id.short(),
        ));
    }
    problems
}

/// Every key that governs on the winning branch or did, with the place from which on.
fn since(chain: &RootChain) -> Vec<(PublicKey<Root>, u32)> {
    let mut since: Vec<(PublicKey<Root>, u32)> = Vec::new();
    for update in chain.updates().into_iter().filter(|update| chain.wins(&update.id())) {
        let keys = match &update.body().change {
            RootChange::Found(genesis) => &genesis.roots,
            RootChange::Roots(roots) | RootChange::Recover(Recover { roots, .. }) => &roots.keys,
            _ => continue,
        };
        for key in keys {
            if since.iter().all(|(held, _)| held != key) {
                since.push((*key, update.body().sequence));
            }
        }
    }
    since
}

/// `roots log`: every update, those that lost a fork too.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn log<W: Write>(
    client: &mut Client,
    operators: &Path,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let authority = replica.authority();
    let chain = authority.chain();
    let as_text = output.is_flat();
    let rows: Vec<Value> = chain
        .updates()
        .into_iter()
        .map(|update| {
            let state = if chain.stopped_at() == Some(update.id()) {
                "unknown"
            } else if let Some(recovery) = chain.recoveries().find(|held| held.id == update.id()) {
                match recovery.state {
                    RecoveryState::Waits => "waits",
                    RecoveryState::Denied => "denied",
                    RecoveryState::Counts => "counts",
                    RecoveryState::Lost => "lost",
                }
            } else if chain.wins(&update.id()) {
                "counts"
            } else {
                "lost"
            };
            let signers: Vec<String> = update.signers().iter().map(words::key).collect();
            json!({
                "place": update.body().sequence,
                "id": update.id().short(),
                "state": state,
                "what": words::line(&update.body().change, authority),
                "signers": if as_text { json!(signers.join(",")) } else { json!(signers) },
                "after": update.body().parent.map(|parent| parent.short()),
                "update": update.id().to_string(),
                "envelope": hex(update.bytes()),
            })
        })
        .collect();
    for problem in root_problems(authority) {
        talk.warn(&problem);
    }
    Ok(output.rows(&UPDATES, &rows)?)
}

/// `roots rotate`: other keys govern.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn rotate(
    client: &mut Client,
    operators: &Path,
    request: &RotateRequest<'_>,
    rooted: &Rooted<'_>,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let now = replica.authority().chain().roots();
    let to = rotated(&now, request)?;
    if to == now {
        return Err(AuthorityError::NothingToDo("these keys govern already".to_owned()));
    }
    let what = format!("let {} root keys govern the fleet instead of {}", words::of(&to), words::of(&now));
    by_roots(client, &replica, RootChange::Roots(to), &what, rooted, talk).await
}

/// The roots that are to govern.
fn rotated(now: &Roots, request: &RotateRequest<'_>) -> Result<Roots, AuthorityError> {
    let mut keys = now.keys.clone();
    for word in request.drop {
        let at = keys.iter().position(|key| word.len() >= 4 && hex_or_short(key, word));
        let at = at.ok_or_else(|| AuthorityError::NoSuchRoot(word.clone()))?;
        keys.remove(at);
    }
    for word in request.add {
        keys.push(root_public(word).map_err(AuthorityError::PublicKey)?);
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(Roots { keys, threshold: request.threshold.unwrap_or(now.threshold) })
}

fn hex_or_short(key: &PublicKey<Root>, word: &str) -> bool {
    words::key(key).starts_with(word) || hex(&key.bytes()).starts_with(word)
}

/// `roots recover`: recovery keys let other keys govern, after a while in which the roots can deny it. `paper` is the
/// file of one of them.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn recover(
    client: &mut Client,
    operators: &Path,
    paper: &Path,
    request: &RotateRequest<'_>,
    rooted: &Rooted<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let Some(recovery) = replica.authority().chain().genesis().recovery else {
        let problem = "this fleet was founded without recovery keys".to_owned();
        return Err(AuthorityError::NothingToDo(problem));
    };
    let by = keyfile::recovery_keys(paper)?;
    if by.hash() != recovery.keys {
        return Err(AuthorityError::NotARoot { path: paper.to_owned() });
    }
    let nobody = Roots { keys: Vec::new(), threshold: 1 };
    let roots = rotated(&nobody, request)?;
    let delay = time::duration(Duration::from_millis(recovery.delay_ms));
    let what = format!(
        "let {} root keys govern the fleet instead of those that do, in {delay}, if they do not deny it",
        words::of(&roots)
    );
    let change = RootChange::Recover(Recover { by, roots, at: now, reason: rooted.reason.to_owned() });
    by_roots(client, &replica, change, &what, rooted, talk).await
}

/// `roots deny`: a recovery never counts.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn deny(
    client: &mut Client,
    operators: &Path,
    recovery: &str,
    rooted: &Rooted<'_>,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let chain = replica.authority().chain();
    let waits = chain.recoveries().filter(|held| held.state != RecoveryState::Denied);
    let mut found = waits.filter(|held| recovery.len() >= 4 && held.id.to_string().starts_with(recovery));
    let (Some(held), None) = (found.next(), found.next()) else {
        return Err(AuthorityError::NothingToDo(format!(
            "no recovery that could be denied begins with {}",
            escape::line(recovery)
        )));
    };
    let denial = Denial { recovery: held.id, reason: rooted.reason.to_owned() };
    let what = format!("deny the recovery {} for ever", held.id.short());
    by_roots(client, &replica, RootChange::Deny(denial), &what, rooted, talk).await
}

/// `roots checkpoint`: nothing counts any more of what branched off before, nor what old certificates stop from now
/// on; what they stopped stands.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn checkpoint(
    client: &mut Client,
    operators: &Path,
    rooted: &Rooted<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let mut stands: Vec<[u8; 16]> = replica.authority().stops_of_the_past(now).iter().map(half).collect();
    stands.sort_unstable();
    let what = format!(
        "write a checkpoint: {} under certificates that are past stand, and no others",
        count(stands.len(), "suspension or halt")
    );
    let change = RootChange::Checkpoint(Checkpoint { at: now, stands });
    by_roots(client, &replica, change, &what, rooted, talk).await
}

/// `roots sign`: shows what a file would have the roots say, and puts signatures to it. Asks no agent.
///
/// # Errors
/// See [`AuthorityError`].
pub fn sign(file: &Path, rooted: &Rooted<'_>, talk: &mut Talk) -> Result<(), AuthorityError> {
    let mut errand = Errand::read(file)?.ok_or_else(|| AuthorityError::NoUpdate(file.to_owned()))?;
    let authority = errand.authority();
    let chain = authority.chain();
    let change = errand.update().body().change.clone();
    talk.say(&format!("fleet {} ({})", escape::line(&chain.genesis().name), chain.fleet()));
    talk.say(&format!(
        "after update {} of its root chain",
        chain.head().map_or_else(String::new, |id| id.short())
    ));
    let what = words::line(&change, authority);
    talk.say(&what);
    for line in words::details(&change, authority) {
        talk.say(&format!("  {line}"));
    }
    let signed: Vec<String> = errand.update().signers().iter().map(words::key).collect();
    talk.say(&if signed.is_empty() {
        "nobody has signed".to_owned()
    } else {
        format!("signed by {}", signed.join(", "))
    });
    if rooted.dry_run {
        talk.say("nothing was signed");
        return Ok(());
    }
    let keys = roots::keys(rooted)?;
    if keys.is_empty() {
        let roots = chain.roots();
        return Err(AuthorityError::NoRootKey { threshold: roots.threshold, of: roots.keys.len() });
    }
    talk.confirm(Consequence::Change, &format!("With the root key, {what}?"))?;
    errand.sign(&keys)?;
    errand.write(file)?;
    waits(&errand, Some(file), talk);
    Ok(())
}

/// `roots publish`: hands over what enough roots signed elsewhere.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn publish(
    client: &mut Client,
    operators: &Path,
    file: &Path,
    dry_run: bool,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let chain = replica.authority().chain();
    let errand = Errand::read(file)?.ok_or_else(|| AuthorityError::NoUpdate(file.to_owned()))?;
    roots::placed(&errand, chain, file)?;
    let lacking = errand.lacking();
    if !lacking.is_nothing() {
        let unproved = lacking.unproved.len();
        let (have, threshold) = (lacking.have, lacking.threshold);
        return Err(AuthorityError::TooFewRoots { have, threshold, unproved });
    }
    let update = errand.update();
    let what = words::line(&update.body().change, replica.authority());
    for line in words::details(&update.body().change, replica.authority()) {
        talk.say(&line);
    }
    if dry_run {
        talk.say(&format!("would {what}; nothing was changed"));
        return Ok(());
    }
    talk.confirm(Consequence::Change, &format!("As the roots signed it, {what}?"))?;
    hand_over(client, chain, &errand, talk).await?;
    talk.say(&format!("{} {what}", talk.style().mark(Mark::Good, "done")));
    Ok(())
}

/// `roots key`: a new key in a new file; its public half, as `roots rotate --add` takes it.
///
/// # Errors
/// When the file is there already, or cannot be written.
pub fn new_key(file: &Path, seed: &[u8; 32]) -> Result<String, AuthorityError> {
    let key = SecretKey::<Root>::from_seed(seed);
    let public = hex(&key.public().bytes());
    let preamble = format!(
        "# A root key of a muster fleet, once its roots let it govern; its public half:\n# {public}\n\
         # Daily work does not need it. Move it off this machine, and keep two copies.\n"
    );
    keyfile::write_new(file, &key, &preamble)?;
    Ok(public)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _always = write!(text, "{byte:02x}");
        text
    })
}
