//! `operator explain`: what each host would answer if somebody asked it for something, and the line that decides.
//!
//! Judged by the code that hosts judge by, on a request that is signed by nobody. What only a host itself knows (which
//! users it has, what it has executed) is not foreseen.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::{
    AuthorityError,
    cut::is_of,
    verb::{count, find, verified},
};
use crate::{
    authority::{Ask, Asks, Authority, Host, MEMBERS_MAX, MemberList, Refusal, Standing, Verb, Want},
    control::Client,
    identity::{EntryId, HostId, Kind, Operator, Payload, PublicKey, Signed},
    replica::{Action, Limits, Order, Replica, Roster},
    targets::{Targets, resolve},
    terminal::{Mark, Output, Style, Talk, escape, nodeset},
    time::Timestamp,
    wire::Bytes,
    wire_record,
};

/// For how long what is not asked would be valid.
const VALID: std::time::Duration = std::time::Duration::from_secs(3600);

/// What would be asked.
#[derive(Clone, Copy, Debug)]
pub struct ExplainRequest<'a> {
    /// Who would.
    pub who: &'a str,
    /// For what.
    pub verb: Verb,
    /// On which hosts.
    pub target: &'a Targets,
    /// As which user.
    pub run_as: &'a str,
    /// The command, for those who read it; no certificate says anything about it.
    pub argv: &'a [String],
}

/// An order of any verb, which nobody signs.
#[derive(Clone, Debug)]
struct Trial {
    order: Order,
    verb: Verb,
}
wire_record!(Trial { order, verb });

impl Payload for Trial {
    const KIND: Kind = Kind::Order;
    const BYTES_MAX: usize = Order::BYTES_MAX;
    type Signer = Operator;
}

impl Asks for Trial {
    fn ask(&self) -> Ask<'_> {
        let acts = matches!(self.verb, Verb::Run | Verb::Session);
        let ask = self.order.ask();
        Ask { verb: self.verb, run_as: ask.run_as.filter(|_| acts), ..ask }
    }
}

/// What hosts would answer under one certificate.
#[derive(Debug)]
struct Explained {
    certificate: EntryId,
    /// The decision of each host, in the order of the roster; nothing where it would do it.
    answers: Vec<(HostId, Option<Refusal>)>,
}

impl Explained {
    fn allowed(&self) -> usize {
        self.answers.iter().filter(|(_, refusal)| refusal.is_none()).count()
    }
}

/// What `hosts` would answer to what holders of `key` ask for under their best certificate.
fn judged(
    authority: &Authority,
    key: PublicKey<Operator>,
    request: &ExplainRequest<'_>,
    selector: &str,
    hosts: &[&Host],
    roster: &Roster,
    now: Timestamp,
) -> Option<Explained> {
    let acts = matches!(request.verb, Verb::Run | Verb::Session);
    let want = Want { run_as: acts.then_some(request.run_as), on: hosts, ..Want::of(request.verb, now) };
    let certificate = authority.suited(key, &want)?;
    let order = Order {
        nonce: [0; 16],
        certificate,
        issued: now,
        expires: now.after(VALID),
        selector: selector.to_owned(),
        roster: roster.clone(),
        action: Action::Argv { argv: request.argv.iter().map(|word| Bytes::from(word.as_bytes())).collect() },
        run_as: request.run_as.to_owned(),
        limits: Limits { timeout_ms: 0, output_bytes_max: 0 },
        keepers: Vec::new(),
        reason: None,
    };
    let trial = Signed::foreseen(authority.fleet(), key, Trial { order, verb: request.verb });
    let admitted = authority.admit(trial);
    let answer = |host: &&Host| match &admitted {
        Err(refusal) => Some(refusal.clone()),
        Ok(_) if host.standing() != Standing::Member => Some(Refusal::NotAMember("it does not count")),
        Ok(admitted) => authority.judge_meant(admitted, *host, now).err(),
    };
    let answers = hosts.iter().map(|host| (host.id(), answer(host))).collect();
    Some(Explained { certificate, answers })
}

/// The lines that decide, each with the hosts that it decides for: what is refused first, then by the fewest.
fn folded(authority: &Authority, explained: &Explained, verb: Verb) -> Vec<(bool, String, Vec<String>)> {
    let mut lines: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
    let allowed = || {
        let allowance = authority.allowance(&explained.certificate).unwrap_or_default();
        let id = explained.certificate.short();
        format!("certificate {id} allows {}: {allowance}", verb.word())
    };
    for (id, refusal) in &explained.answers {
        let line = match refusal {
            None => allowed(),
            Some(refusal) => authority.in_full(refusal, &explained.certificate),
        };
        let name = authority.host(id).map_or_else(|| id.short(), |host| host.name().to_owned());
        lines.entry((refusal.is_none(), line)).or_default().push(name);
    }
    let mut lines: Vec<_> = lines.into_iter().map(|((yes, line), names)| (yes, line, names)).collect();
    lines.sort_by(|a, b| (a.0, a.2.len(), &a.1).cmp(&(b.0, b.2.len(), &b.1)));
    lines
}

/// `operator explain`. True if every host would do it.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn explain<W: std::io::Write>(
    client: &mut Client,
    operators: &Path,
    request: &ExplainRequest<'_>,
    now: Timestamp,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<bool, AuthorityError> {
    let (replica, _) = verified(client, operators, talk).await?;
    let explained = of(&replica, request, now)?;
    let authority = replica.authority();
    let lines = folded(authority, &explained, request.verb);
    let all = explained.answers.len();
    let held = authority.certificates_and_stops().find(|(id, ..)| **id == explained.certificate);
    let decisions: Vec<Value> = lines
        .iter()
        .map(|(yes, line, names)| {
            json!({
                "verdict": if *yes { "allowed" } else { "refused" }, "why": line, "hosts": names,
                "nodeset": nodeset::fold(names), "count": names.len(),
            })
        })
        .collect();
    let document = json!({
        "person": held.as_ref().map(|(_, certificate, _)| certificate.person.clone()),
        "verb": request.verb.word(),
        "run_as": request.run_as,
        "argv": request.argv,
        "certificate": explained.certificate.to_string(),
        "by": authority.passed_on_from(&explained.certificate).map(|from| from.to_string()),
        "allowed": explained.allowed(),
        "hosts": all,
        "decisions": decisions,
    });
    output.document("operator-explain", &document, |style| page(request, &lines, all, style))?;
    Ok(explained.allowed() == all)
}

/// What those who are meant would be answered: under the certificate, of all their keys, that most hosts accept.
fn of(replica: &Replica, request: &ExplainRequest<'_>, now: Timestamp) -> Result<Explained, AuthorityError> {
    let authority = replica.authority();
    let whom = find(authority, request.who)?;
    let asked = request.target.ask(replica, MEMBERS_MAX)?;
    if asked.of_facts().is_some() {
        return Err(AuthorityError::OnFacts);
    }
    let resolved = resolve(&asked, None, replica, MEMBERS_MAX)?;
    let ids = resolved.ids();
    let hosts: Vec<&Host> = ids.iter().filter_map(|id| authority.host(id)).collect();
    let list = || MemberList::of(authority.members().map(Host::id)).map(Into::into);
    let roster = Roster::of(&ids, list).map_err(|_| AuthorityError::TooManyHosts)?;
    let mut keys: Vec<PublicKey<Operator>> = authority
        .certificates_and_stops()
        .filter(|(id, certificate, _)| is_of(&whom, id, certificate))
        .map(|(_, certificate, _)| certificate.key.name())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let text = resolved.selector.text();
    let all = keys.into_iter().filter_map(|key| judged(authority, key, request, text, &hosts, &roster, now));
    let best = all.max_by_key(Explained::allowed);
    best.ok_or_else(|| AuthorityError::NoSuchOperator { who: request.who.to_owned(), known: Vec::new() })
}

fn page(
    request: &ExplainRequest<'_>,
    lines: &[(bool, String, Vec<String>)],
    all: usize,
    style: Style,
) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut what = request.verb.word().to_owned();
    if matches!(request.verb, Verb::Run | Verb::Session) {
        let _always = write!(what, " as {}", request.run_as);
    }
    if !request.argv.is_empty() {
        let _always = write!(what, ": {}", request.argv.join(" "));
    }
    let _always =
        writeln!(text, "{} · {} · {}", escape::cell(request.who), escape::line(&what), count(all, "host"));
    for (yes, line, names) in lines {
        let (mark, word) = if *yes { (Mark::Good, "allowed") } else { (Mark::Bad, "refused") };
        let names = escape::cell(&nodeset::fold(names));
        let _always = writeln!(text, "{} {names}", style.mark(mark, word));
        let _always = writeln!(text, "  {}", escape::line(line));
    }
    text
}
