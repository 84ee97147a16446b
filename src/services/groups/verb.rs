//! The operator's side: asks the agent, verifies, shows; signs and hands over.

use std::{io::Write, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    authority::{ANY, Authority, GroupState, Op, OpAction, Refusal, Verb, Want},
    control::{Anchor, AnchorError, Client, ControlError, Reply, Request, fleet_under},
    identity::{EntryId, Signed, WriterId},
    journal::{NO_CERTIFICATE, OperatorError, OperatorHome, WriterState, stream_place},
    replica::{Item, Replica},
    selector::{Selector, check_group_name},
    targets::{self, TargetError},
    terminal::{
        AskError, Column, Kind, Mark, Output, OutputError, Sheet, Talk, escape, prompt::Consequence, time,
    },
    time::{Hlc, Timestamp},
};

/// How long the agent may take to take an op.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

const STATES: &[(&str, Mark)] = &[("set", Mark::Good), ("conflict", Mark::Bad)];
const GROUPS: Sheet = Sheet {
    thing: "group",
    columns: &[
        Column::new("NAME", "name", Kind::Host),
        Column::new("STATE", "state", Kind::Status(STATES)),
        Column::new("SELECTOR", "selector", Kind::Host),
        Column::new("BY", "by", Kind::Host),
        Column::new("WRITTEN", "at", Kind::Time),
    ],
};

/// Why a command about groups did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No anchor to verify against.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The group, or a group in what it shall be, is not there or cannot be read. Nothing was changed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No group may be called so. Nothing was changed.
    #[error("{} is no name for a group: {why}", escape::line(name))]
    Name {
        /// What was given.
        name: String,
        /// Why not.
        why: String,
    },
    /// This user holds no operator key of the fleet. Nothing was changed.
    #[error("this user has no operator key for fleet {fleet}")]
    NotAnOperator {
        /// The fleet's label.
        fleet: String,
    },
    /// The certificate does not allow it. Nothing was changed.
    #[error("not permitted: {0}")]
    Refused(#[from] Refusal),
    /// The operator's directory cannot be used. Nothing was changed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Not agreed to. Nothing was changed.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

async fn verified(
    client: &mut Client,
    operators: &Path,
    talk: &mut Talk,
) -> Result<(Replica, Anchor), GroupError> {
    let anchor = Anchor::find(client, operators)?;
    let (replica, left_out) = fleet_under(client, &anchor, false).await?;
    if left_out > 0 {
        talk.warn(&format!("{left_out} entries from the agent do not hold and were left out"));
    }
    Ok((replica, anchor))
}

/// `group ls`: all, or the one called `only`.
///
/// # Errors
/// See [`GroupError`].
pub async fn list<W: Write>(
    client: &mut Client,
    operators: &Path,
    only: Option<&str>,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), GroupError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let authority = replica.authority();
    let only = only.map(bare);
    if let Some(name) = only
        && authority.group(name).is_none()
    {
        return Err(unknown(name, authority).into());
    }
    let as_text = output.is_flat();
    let rows: Vec<Value> = authority
        .groups()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .map(|(name, state)| row(name, &state, authority, as_text))
        .collect();
    Ok(output.rows(&GROUPS, &rows)?)
}

/// A group that is not there, as an error of whoever asked for it.
fn unknown(name: &str, authority: &Authority) -> TargetError {
    let found = targets::group_selector(name, authority);
    found.err().unwrap_or_else(|| TargetError::UnknownGroup { name: name.to_owned(), near: None })
}

fn bare(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}

fn row(name: &str, state: &GroupState, authority: &Authority, as_text: bool) -> Value {
    let author = authority.group_author(name);
    let written = |text: &Option<String>| text.clone().unwrap_or_else(|| "removed".to_owned());
    let (word, selector, conflict) = match state {
        GroupState::Set(text) => ("set", json!(text), Vec::new()),
        GroupState::Conflict(texts) if as_text => {
            let shown: Vec<String> = texts.iter().map(written).collect();
            ("conflict", json!(shown.join(" against ")), Vec::new())
        }
        GroupState::Conflict(texts) => ("conflict", Value::Null, texts.clone()),
    };
    json!({
        "name": name, "state": word, "selector": selector, "written": conflict,
        "by": author.map(|(certificate, _)| certificate.person.clone()),
        "at": author.map(|(_, at)| time::rfc3339(at)),
    })
}

/// `group set`, and `group rm` where there is no `text`. `seed` is randomness for a new writer's id.
///
/// # Errors
/// See [`GroupError`].
#[expect(clippy::too_many_arguments, reason = "one caller; each is a different thing")]
pub async fn set(
    client: &mut Client,
    operators: &Path,
    name: &str,
    text: Option<&str>,
    dry_run: bool,
    seed: [u8; 16],
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), GroupError> {
    let name = bare(name);
    check_group_name(name)
        .map_err(|error| GroupError::Name { name: name.to_owned(), why: error.to_string() })?;
    let asks = !dry_run && talk.would_ask(Consequence::Change);
    let (mut replica, anchor) = verified(client, operators, talk).await?;
    let Some(operator) = anchor.operator() else {
        return Err(GroupError::NotAnOperator { fleet: anchor.chain().genesis().name.clone() });
    };
    operator.under(&Want::of(Verb::Tag, now))?;
    let shown = describe(name, text, &replica)?;
    // Signed for nobody: says whether the certificate allows it before anybody is asked.
    let nowhere = stream_place(&replica, &operator.name(), None, WriterId([0; 16]));
    sign(name, text, &replica, operator, nowhere, now, |op| Ok::<_, Refusal>(operator.foreseen(op)))?;
    if replica.authority().group(name) == text.map(|text| GroupState::Set(text.to_owned())) {
        talk.say("nothing to do: it is so already");
        return Ok(());
    }
    if dry_run {
        talk.say(&format!("would {shown}; nothing was changed"));
        return Ok(());
    }
    let person = escape::cell(&person(operator));
    talk.confirm(Consequence::Change, &format!("As {person}, {shown}?"))?;

    let mut writer = operator.lock_writer()?;
    if asks {
        (replica, _) = verified(client, operators, talk).await?;
        describe(name, text, &replica)?;
    }
    let place = stream_place(&replica, &operator.name(), writer.state(), WriterId(seed));
    let (op, after) =
        sign(name, text, &replica, operator, place, now, |op| Ok::<_, GroupError>(operator.sign(op)?))?;
    writer.advance(after)?;
    match client.ask(&Request::Submit { items: vec![Item::bare(op.bytes())] }, ANSWER_WITHIN).await? {
        Reply::Accepted {} => {}
        _ => return Err(ControlError::Malformed("not the answer to a submission".to_owned()).into()),
    }
    let (mark, what) = match text {
        Some(text) => ("set", format!("@{name} is {}", escape::line(text))),
        None => ("removed", format!("@{name}")),
    };
    talk.say(&format!("{} {what}", talk.style().mark(Mark::Good, mark)));
    Ok(())
}

fn person(operator: &OperatorHome) -> String {
    operator.certified().map_or_else(|| "?".to_owned(), |(_, certificate)| certificate.person)
}

/// What will be done, once it is known to make sense.
fn describe(name: &str, text: Option<&str>, replica: &Replica) -> Result<String, GroupError> {
    let authority = replica.authority();
    let before = authority.group(name);
    let Some(text) = text else {
        return match before {
            None => Err(unknown(name, authority).into()),
            Some(_) => Ok(format!("take @{name} away")),
        };
    };
    let selector = readable(name, text, authority)?;
    let tags_only = selector.uses_tags_only();
    let selected = authority.members().filter(|host| selector.selects(*host)).count();
    let of = authority.members().count();
    let hosts = if tags_only { format!(" ({selected} of {of} hosts)") } else { String::new() };
    let verb = match before {
        None => format!("save @{name} as"),
        Some(GroupState::Set(old)) => format!("change @{name} from {} to", escape::line(&old)),
        Some(GroupState::Conflict(_)) => format!("settle the conflict about @{name} with"),
    };
    Ok(format!("{verb} {}{hosts}", escape::line(text)))
}

/// What a group shall stand for, with the groups in it put in their places; itself it must not ask for.
fn readable(name: &str, text: &str, authority: &Authority) -> Result<Selector, GroupError> {
    let in_text = |error| TargetError::Selector { text: text.to_owned(), error };
    let selector = Selector::parse(text).map_err(in_text)?;
    let look_up = |asked: &str| {
        if asked == name { Some(selector.clone()) } else { targets::group_selector(asked, authority).ok() }
    };
    let expanded = selector.expand(&look_up).map_err(in_text);
    // Why a group cannot be read is told better by who looks it up alone.
    for asked in selector.groups().into_iter().filter(|asked| *asked != name) {
        targets::group_selector(asked, authority)?;
    }
    Ok(expanded?)
}

/// The op at `place`. Returns it with the place after it, which must be stored before it is handed out.
fn sign<E: From<Refusal>>(
    name: &str,
    text: Option<&str>,
    replica: &Replica,
    operator: &OperatorHome,
    place: WriterState,
    now: Timestamp,
    signed: impl Fn(Op) -> Result<Signed<Op>, E>,
) -> Result<(Signed<Op>, WriterState), E> {
    let authority = replica.authority();
    let want = Want { tags: &[(ANY, Some(ANY))], ..Want::of(Verb::Tag, now) };
    let certificate = authority.suited(operator.name(), &want).unwrap_or(NO_CERTIFICATE);
    let op = Op {
        writer: place.writer,
        sequence: place.next,
        previous: place.previous,
        at: reading(name, authority, operator, certificate, now),
        certificate,
        supersedes: authority.live_group_writes(name),
        action: OpAction::Group { name: name.to_owned(), selector: text.map(str::to_owned) },
    };
    let op = signed(op)?;
    authority.recognise_op(&op)?;
    let after = WriterState { writer: place.writer, next: place.next + 1, previous: Some(op.id()) };
    Ok((op, after))
}

/// A clock reading later than all writes to the group, unless that is later than the certificate lasts (somebody's
/// clock was far ahead): then the time itself. The reading only breaks ties.
fn reading(
    name: &str,
    authority: &Authority,
    operator: &OperatorHome,
    certificate: EntryId,
    now: Timestamp,
) -> Hlc {
    let later = authority.group_seen(name).next(now);
    let lasts = authority
        .certificate_of(&certificate, operator.name())
        .is_ok_and(|certificate| certificate.valid_at(Timestamp(later.0 >> 16)));
    if lasts { later } else { Hlc::default().next(now) }
}
