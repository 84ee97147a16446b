//! The operator's side: resolves, shows, signs and hands over.

use std::{collections::BTreeSet, io::Write, path::Path, time::Duration};

use super::{
    AuthorityError, HaltRequest, Rooted, StopRequest,
    cut::{cut, is_of},
    roots::{self, Signed as Drafted},
    view::{OPERATORS, row},
};
use crate::{
    authority::{Authority, Certificate, Halt, Lift, Revocation, RootChange, Suspension, Whom},
    control::{Anchor, Client, ControlError, Reply, Request, fleet_under, host_named},
    identity::EntryId,
    journal::OperatorHome,
    replica::{Item, Replica},
    selector::Selector,
    terminal::{Mark, Output, Talk, escape, prompt::Consequence},
    time::Timestamp,
};

/// How long the agent may take to take what was signed.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

async fn verified(
    client: &mut Client,
    operators: &Path,
    talk: &mut Talk,
) -> Result<(Replica, Anchor), AuthorityError> {
    let anchor = Anchor::find(client, operators)?;
    let (replica, left_out) = fleet_under(client, &anchor, false).await?;
    if left_out > 0 {
        talk.warn(&format!("{left_out} entries from the agent do not hold and were left out"));
    }
    Ok((replica, anchor))
}

fn operator(anchor: &Anchor) -> Result<&OperatorHome, AuthorityError> {
    let fleet = || anchor.chain().genesis().name.clone();
    anchor.operator().ok_or_else(|| AuthorityError::NotAnOperator { fleet: fleet() })
}

async fn submit(client: &mut Client, bytes: &[u8]) -> Result<(), AuthorityError> {
    match client.ask(&Request::Submit { items: vec![Item::bare(bytes)] }, ANSWER_WITHIN).await? {
        Reply::Accepted {} => Ok(()),
        _ => Err(ControlError::Malformed("not the answer to a submission".to_owned()).into()),
    }
}

/// `operator ls`: every certificate, or those of one person.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn list<W: Write>(
    client: &mut Client,
    operators: &Path,
    only: Option<&str>,
    now: Timestamp,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let authority = replica.authority();
    let only = only.map(|who| find(authority, who)).transpose()?;
    let as_text = output.is_flat();
    let mut held: Vec<_> = authority
        .certificates_and_stops()
        .filter(|(id, certificate, _)| only.as_ref().is_none_or(|whom| is_of(whom, id, certificate)))
        .collect();
    held.sort_by_key(|(id, certificate, _)| (certificate.person.clone(), certificate.not_before, **id));
    let rows: Vec<_> = held
        .into_iter()
        .map(|(id, certificate, stop)| row(authority, id, certificate, stop, now, as_text))
        .collect();
    Ok(output.rows(&OPERATORS, &rows)?)
}

/// Whom a command is about, in the words that were typed.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// A person, or a certificate by the beginning of its id.
    Operator(&'a str),
    /// A host, by name or a unique beginning of name or id.
    Host(&'a str),
}

impl Named<'_> {
    fn find(self, replica: &Replica) -> Result<Whom, AuthorityError> {
        match self {
            Self::Operator(who) => find(replica.authority(), who),
            Self::Host(name) => Ok(Whom::Host { id: host_named(replica, name)?.id() }),
        }
    }

    /// The command group that it is for.
    fn group(self) -> &'static str {
        match self {
            Self::Operator(_) => "operator",
            Self::Host(_) => "host",
        }
    }
}

/// Whom these words name: a person, else a certificate by the beginning of its id.
fn find(authority: &Authority, who: &str) -> Result<Whom, AuthorityError> {
    let held: Vec<(&EntryId, &Certificate)> =
        authority.certificates_and_stops().map(|(id, certificate, _)| (id, certificate)).collect();
    if held.iter().any(|(_, certificate)| certificate.person == who) {
        return Ok(Whom::Person { name: who.to_owned() });
    }
    let mut by_id = held.iter().filter(|(id, _)| who.len() >= 4 && id.to_string().starts_with(who));
    if let (Some((id, _)), None) = (by_id.next(), by_id.next()) {
        return Ok(Whom::Certificate { id: **id });
    }
    let known: BTreeSet<String> = held.iter().map(|(_, certificate)| certificate.person.clone()).collect();
    Err(AuthorityError::NoSuchOperator { who: who.to_owned(), known: known.into_iter().collect() })
}

fn named(authority: &Authority, whom: &Whom) -> String {
    match whom {
        Whom::Person { name } => escape::cell(name),
        Whom::Certificate { id } => format!("certificate {}", id.short()),
        Whom::Key { key } => format!("key {}", crate::identity::short(&key.bytes(), 8)),
        Whom::Host { id } => match authority.host(id) {
            Some(host) => format!("host {} ({})", escape::cell(host.name()), id.short()),
            None => format!("host {}", id.short()),
        },
        Whom::Token { id } => format!("token {}", id.short()),
    }
}

/// The word to type for somebody.
fn plain(replica: &Replica, whom: &Whom) -> String {
    match whom {
        Whom::Host { id } => {
            let host = replica.authority().host(id);
            host.map_or_else(|| id.short(), |host| escape::cell(host.name()))
        }
        whom => named(replica.authority(), whom),
    }
}

fn with_reason(what: String, reason: &str) -> String {
    if reason.is_empty() { what } else { format!("{what} ({})", escape::line(reason)) }
}

fn hosts(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

/// Whether what stops something at once is to be done: not on a dry run, which says what it would do.
fn agreed(what: &str, dry_run: bool, talk: &mut Talk) -> Result<bool, AuthorityError> {
    if dry_run {
        talk.say(&format!("would {what}; nothing was changed"));
        return Ok(false);
    }
    talk.confirm(Consequence::Change, &format!("At once, {what}?"))?;
    Ok(true)
}

/// `operator suspend`: at once, by this operator alone.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn suspend(
    client: &mut Client,
    operators: &Path,
    request: &StopRequest<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, anchor) = verified(client, operators, talk).await?;
    let operator = operator(&anchor)?;
    let whom = request.who.find(&replica)?;
    let named = |whom: &Whom| named(replica.authority(), whom);
    let effective = now.before(request.since);
    let body = Suspension {
        certificate: operator.certificate,
        whom: whom.clone(),
        at: now,
        effective,
        cut: cut(&replica, &whom, effective, false),
        reason: request.reason.to_owned(),
    };
    // Whether it may be signed is known before anybody is asked, and nothing is signed before that is answered.
    let foreseen = operator.foreseen(body.clone());
    let mut after = replica.authority().clone();
    let before: BTreeSet<EntryId> = after.certificates().map(|(id, _)| *id).collect();
    after.absorb_suspension(foreseen)?;
    let left: BTreeSet<EntryId> = after.certificates().map(|(id, _)| *id).collect();
    let what = with_reason(
        format!(
            "suspend {}: {}",
            named(&whom),
            match &whom {
                Whom::Host { .. } => "nobody deals with it any more, and it runs nothing".to_owned(),
                _ => format!(
                    "{} certificates allow nothing any more, and what they run on {} ends",
                    before.difference(&left).count(),
                    hosts(after.members().count()),
                ),
            },
        ),
        request.reason,
    );
    if !agreed(&what, request.dry_run, talk)? {
        return Ok(());
    }
    let suspension = operator.sign(body)?;
    submit(client, suspension.bytes()).await?;
    let mark = talk.style().mark(Mark::Good, "suspended");
    talk.say(&format!("{mark} {} · {}", named(&whom), suspension.id().short()));
    talk.say(&format!(
        "to end it, with root keys: muster {} lift {} --root FILE",
        request.who.group(),
        plain(&replica, &whom)
    ));
    Ok(())
}

/// `halt`: at once, by this operator alone.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn halt(
    client: &mut Client,
    operators: &Path,
    request: &HaltRequest<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, anchor) = verified(client, operators, talk).await?;
    let operator = operator(&anchor)?;
    let text = request.selector.unwrap_or("all");
    let selector =
        Selector::parse(text).map_err(|error| AuthorityError::Selector { text: text.to_owned(), error })?;
    if !selector.uses_tags_only() {
        return Err(AuthorityError::NotTags);
    }
    let (certificate, reason) = (operator.certificate, request.reason.to_owned());
    let body = Halt { certificate, selector: text.to_owned(), at: now, reason };
    let foreseen = operator.foreseen(body.clone());
    let id = foreseen.id();
    let mut after = replica.authority().clone();
    after.absorb_halt(foreseen)?;
    let halted = after.members().filter(|host| after.halted(*host).is_some_and(|by| by.id == id)).count();
    let of = after.members().count();
    let what = with_reason(
        format!("halt {halted} of {}: every order there is refused, and what runs there ends", hosts(of)),
        request.reason,
    );
    if !agreed(&what, request.dry_run, talk)? {
        return Ok(());
    }
    let halt = operator.sign(body)?;
    submit(client, halt.bytes()).await?;
    let mark = talk.style().mark(Mark::Good, "halted");
    talk.say(&format!("{mark} {halted} of {} · {}", hosts(of), halt.id().short()));
    talk.say("to end it, with root keys: muster unhalt --root FILE");
    Ok(())
}

/// `operator lift`: ends every suspension of whom this names.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn lift(
    client: &mut Client,
    operators: &Path,
    who: Named<'_>,
    rooted: &Rooted<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let whom = who.find(&replica)?;
    let named = |whom: &Whom| named(replica.authority(), whom);
    // Of a person also those of their keys and certificates.
    let of = |stop: &Whom| {
        let mut held = replica.authority().certificates_and_stops();
        *stop == whom
            || held.any(|(id, certificate, _)| is_of(&whom, id, certificate) && is_of(stop, id, certificate))
    };
    let stops: Vec<EntryId> = replica
        .authority()
        .stops()
        .filter(|stop| stop.by.is_some() && of(&stop.whom))
        .map(|stop| stop.id)
        .collect();
    if stops.is_empty() {
        return Err(AuthorityError::NothingToLift(format!("{} is not suspended", named(&whom))));
    }
    let what = format!("end {} of {}", count(stops.len(), "suspension"), named(&whom));
    end(client, &replica, stops, &what, rooted, now, talk).await
}

/// `unhalt`: ends every halt.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn unhalt(
    client: &mut Client,
    operators: &Path,
    rooted: &Rooted<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let stops: Vec<EntryId> = replica.authority().halts().map(|halt| halt.id).collect();
    if stops.is_empty() {
        return Err(AuthorityError::NothingToLift("nothing is halted".to_owned()));
    }
    let what = format!("end {}", count(stops.len(), "halt"));
    end(client, &replica, stops, &what, rooted, now, talk).await
}

async fn end(
    client: &mut Client,
    replica: &Replica,
    mut stops: Vec<EntryId>,
    what: &str,
    rooted: &Rooted<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    stops.sort_unstable();
    stops.dedup();
    let change = RootChange::Lift(Lift { stops, at: now, reason: rooted.reason.to_owned() });
    by_roots(client, replica, change, what, rooted, talk).await
}

/// `operator revoke`: for ever.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn revoke(
    client: &mut Client,
    operators: &Path,
    who: Named<'_>,
    since: Duration,
    rooted: &Rooted<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let whom = who.find(&replica)?;
    let cut = cut(&replica, &whom, now.before(since), true);
    let what = format!("revoke {} for ever", named(replica.authority(), &whom));
    let change = RootChange::Revoke(Revocation { whom, cut, reason: rooted.reason.to_owned() });
    by_roots(client, &replica, change, &what, rooted, talk).await
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Signs a change with the root keys at hand, and hands it over once they are enough.
async fn by_roots(
    client: &mut Client,
    replica: &Replica,
    change: RootChange,
    what: &str,
    rooted: &Rooted<'_>,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let chain = replica.authority().chain();
    let what = with_reason(what.to_owned(), rooted.reason);
    if rooted.dry_run {
        talk.say(&format!("would {what}; nothing was changed"));
        return Ok(());
    }
    let draft = roots::drafted(chain, change, rooted)?;
    let threshold = chain.roots().threshold;
    talk.confirm(Consequence::Change, &format!("With the root key, {what}?"))?;
    let update = match roots::sign(chain, draft, rooted)? {
        Drafted::Enough(update) => update,
        Drafted::Waits(update) => {
            let have = update.signers().len();
            let path = rooted.update.map(|path| path.display().to_string()).unwrap_or_default();
            talk.say(&format!("signed: {have} of {threshold} root signatures, in {}", escape::line(&path)));
            talk.say("the next holder of a root key runs the same command with it and this file");
            return Ok(());
        }
    };
    chain.clone().absorb(update.bytes())?;
    submit(client, update.bytes()).await?;
    talk.say(&format!("{} {what}", talk.style().mark(Mark::Good, "done")));
    Ok(())
}
