//! Letting hosts in that wait, and turning them away: an operator compares what they show, and signs.

use std::path::Path;

use super::verb::{HostsError, person, submit, verified};
use crate::{
    authority::{Admission, Host, Standing},
    control::{Client, PickError, host_named},
    replica::{Item, Replica},
    terminal::{Mark, Talk, escape, prompt::Consequence, time},
    time::Timestamp,
};

/// Shortest beginning of an id that names a host that waits.
const ID_CHARS_MIN: usize = 4;

/// `host admit` and `host deny`.
///
/// # Errors
/// See [`HostsError`].
pub async fn admit(
    client: &mut Client,
    operators: &Path,
    names: &[String],
    admitted: bool,
    dry_run: bool,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), HostsError> {
    let (replica, anchor) = verified(client, operators, false, talk).await?;
    let Some(operator) = anchor.operator() else {
        return Err(HostsError::NotAnOperator { fleet: anchor.chain().genesis().name.clone() });
    };
    let mut hosts: Vec<&Host> = Vec::new();
    for name in names {
        let host = waiting(&replica, name, admitted)?;
        if hosts.iter().all(|other| other.id() != host.id()) {
            replica.authority().may_admit(&operator.certificate, operator.name(), host, now)?;
            hosts.push(host);
        }
    }
    for host in &hosts {
        talk.say(&shown(host, now));
    }
    let what = if admitted { "let in" } else { "turn away" };
    let listed: Vec<String> = hosts.iter().map(|host| escape::cell(host.name())).collect();
    let listed = listed.join(", ");
    if dry_run {
        talk.say(&format!("would {what} {listed}; nothing was changed"));
        return Ok(());
    }
    let question = format!(
        "Do these words stand on {} too, and {what} {listed}, as {}?",
        its(hosts.len()),
        person(operator)
    );
    talk.confirm(Consequence::Change, &question)?;
    let mut items = Vec::new();
    for host in &hosts {
        let word = Admission::about(operator.certificate, host.enrolled(), admitted, now);
        items.push(Item::bare(operator.sign(word)?.bytes()));
    }
    let all = items.len();
    submit(client, items).await.map_err(|(done, source)| match done {
        0 => source.into(),
        done => HostsError::Partly { done, all, source },
    })?;
    let (mark, done) = if admitted { (Mark::Good, "let in") } else { (Mark::Warning, "turned away") };
    talk.say(&format!("{} {listed}", talk.style().mark(mark, done)));
    Ok(())
}

fn its(hosts: usize) -> &'static str {
    if hosts == 1 { "its screen" } else { "their screens" }
}

/// `web-9  lusab-babad-gutih-tugad-mudof  role=web · pending, came 3m ago · 3f9a…`.
fn shown(host: &Host, now: Timestamp) -> String {
    let enrolment = host.enrolled().enrolment();
    let tags: Vec<String> = enrolment.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let tags = if tags.is_empty() { "no tags".to_owned() } else { escape::cell(&tags.join(" ")) };
    format!(
        "{}  {}  {tags} · {}, came {} · {}",
        escape::cell(host.name()),
        enrolment.keys.words(),
        host.standing().word(),
        time::ago(enrolment.at, now),
        host.id().short(),
    )
}

/// The host that waits and is meant; a host that was turned away waits to be let in, and for nothing else.
fn waiting<'a>(replica: &'a Replica, name: &str, admitted: bool) -> Result<&'a Host, HostsError> {
    let waits = |host: &&Host| host.standing().waits() && (admitted || host.standing() != Standing::Denied);
    let waiting: Vec<&Host> = replica.authority().hosts().filter(waits).collect();
    let by = |is: &dyn Fn(&Host) -> bool| waiting.iter().copied().filter(|host| is(host)).collect::<Vec<_>>();
    let mut found = by(&|host| host.name() == name || host.enrolled().enrolment().keys.words() == name);
    if found.is_empty() && name.len() >= ID_CHARS_MIN {
        found = by(&|host| host.id().to_string().starts_with(name));
    }
    match found.as_slice() {
        [host] => Ok(host),
        [] => {
            let host = host_named(replica, name)?;
            Err(HostsError::NotWaiting { name: host.name().to_owned(), state: host.standing().word() })
        }
        several => {
            // Of one name, as a rule: only their keys tell them apart.
            let candidates = several
                .iter()
                .map(|host| format!("{} ({})", host.enrolled().enrolment().keys.words(), host.id().short()))
                .collect();
            Err(PickError::Ambiguous { name: name.to_owned(), candidates }.into())
        }
    }
}
