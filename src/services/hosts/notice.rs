//! Renaming and retiring: ops about hosts in this operator's stream.

use std::path::Path;

use super::verb::{HostsError, person, submit, verified};
use crate::{
    authority::{Host, Op, OpAction, Refusal, Standing, check_name},
    control::{Client, host_named},
    identity::{Signed, WriterId},
    journal::{OperatorHome, WriterState, stream_place},
    replica::{Item, Replica},
    terminal::{Mark, Talk, escape, nodeset, prompt::Consequence},
    time::{Hlc, Timestamp},
};

/// What is said of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Their new name; of one host.
    Name(String),
    /// That they are gone.
    Gone,
}

impl Notice {
    fn action(&self, host: &Host) -> OpAction {
        match self {
            Self::Name(name) => OpAction::Rename { host: host.id(), name: name.clone() },
            Self::Gone => OpAction::Retire { host: host.id() },
        }
    }
}

/// `host rename` and `host retire`. `seed` is randomness for a new writer's id.
///
/// # Errors
/// See [`HostsError`].
#[expect(clippy::too_many_arguments, reason = "one caller; each is a different thing")]
pub async fn notice(
    client: &mut Client,
    operators: &Path,
    names: &[String],
    notice: &Notice,
    dry_run: bool,
    seed: [u8; 16],
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), HostsError> {
    let (mut replica, anchor) = verified(client, operators, false, talk).await?;
    let Some(operator) = anchor.operator() else {
        return Err(HostsError::NotAnOperator { fleet: anchor.chain().genesis().name.clone() });
    };
    let hosts = meant(&replica, names, notice)?;
    let listed = escape::cell(&nodeset::fold(hosts.iter().map(Host::name)));
    let what = match notice {
        Notice::Name(name) => format!("call {listed} {}", escape::cell(name)),
        Notice::Gone => format!("retire {listed} ({}) for good", hosts.len()),
    };
    // Signed for nobody: says whether the certificate allows it before anybody is asked.
    let nowhere = stream_place(&replica, &operator.name(), None, WriterId([0; 16]));
    sign(&hosts, notice, &replica, operator, nowhere, now, |op| Ok::<_, Refusal>(operator.foreseen(op)))?;
    if dry_run {
        talk.say(&format!("would {what}; nothing was changed"));
        return Ok(());
    }
    let asks = talk.would_ask(Consequence::Change);
    talk.confirm(Consequence::Change, &format!("As {}, {what}?", person(operator)))?;
    let mut writer = operator.lock_writer()?;
    if asks {
        (replica, _) = verified(client, operators, false, talk).await?;
    }
    let place = stream_place(&replica, &operator.name(), writer.state(), WriterId(seed));
    let (ops, after) =
        sign(&hosts, notice, &replica, operator, place, now, |op| Ok::<_, HostsError>(operator.sign(op)?))?;
    writer.advance(after)?;
    let items: Vec<Item> = ops.iter().map(|op| Item::bare(op.bytes())).collect();
    let all = items.len();
    submit(client, items).await.map_err(|(done, source)| match done {
        0 => source.into(),
        done => HostsError::Partly { done, all, source },
    })?;
    talk.say(&format!("{} {what}", talk.style().mark(Mark::Good, "done")));
    Ok(())
}

/// The hosts that are meant, each once, as far as that can be said of them.
fn meant(replica: &Replica, names: &[String], notice: &Notice) -> Result<Vec<Host>, HostsError> {
    let mut hosts: Vec<Host> = Vec::new();
    for name in names {
        let host = host_named(replica, name)?;
        if matches!(host.standing(), Standing::Left | Standing::Retired) {
            let state = host.standing().word();
            return Err(HostsError::Name(format!("{} is {state} already", escape::cell(host.name()))));
        }
        if hosts.iter().all(|other| other.id() != host.id()) {
            hosts.push(host.clone());
        }
    }
    if let Notice::Name(name) = notice {
        if !check_name(name) {
            let why = format!(
                "{name:?} cannot be a host's name: lower-case letters, digits, inner hyphens and dots"
            );
            return Err(HostsError::Name(why));
        }
        if replica.authority().members().any(|host| host.name() == name) {
            return Err(HostsError::Name(format!("the fleet has a host named {name} already")));
        }
    }
    Ok(hosts)
}

/// Makes the ops from `place` on and has each signed, or foreseen as signed; with the place after them.
fn sign<E: From<Refusal>>(
    hosts: &[Host],
    notice: &Notice,
    replica: &Replica,
    operator: &OperatorHome,
    mut place: WriterState,
    now: Timestamp,
    signed: impl Fn(Op) -> Result<Signed<Op>, E>,
) -> Result<(Vec<Signed<Op>>, WriterState), E> {
    let mut ops = Vec::new();
    for host in hosts {
        // Later than all that was said of the host, so that the newest name is the one that stands.
        let seen = replica.ops_about(&host.id()).into_iter().map(|op| op.body().at).max().unwrap_or_default();
        let lasts = replica.authority().certificate_of(&operator.certificate, operator.name())?.not_after;
        let later = seen.next(now);
        let at = if Timestamp(later.0 >> 16) <= lasts { later } else { Hlc::default().next(now) };
        let op = Op {
            writer: place.writer,
            sequence: place.next,
            previous: place.previous,
            at,
            certificate: operator.certificate,
            supersedes: Vec::new(),
            action: notice.action(host),
        };
        let op = signed(op)?;
        replica.authority().recognise_op(&op)?;
        place = WriterState { writer: place.writer, next: place.next + 1, previous: Some(op.id()) };
        ops.push(op);
    }
    Ok((ops, place))
}
