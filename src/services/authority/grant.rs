//! `operator invite` and `operator grant`: somebody asks with a public key, and somebody who may gives it a certificate.
//!
//! What is given is judged here as every host will judge it, before anybody is asked to agree.

use std::{path::Path, time::Duration};

use serde_json::json;

use super::{
    AuthorityError, Rooted,
    asked::{Asked, check_person},
    verb::{by_roots, count, operator, submit, verified},
};
use crate::{
    authority::{AGENT_USER, Authority, Certificate, Grant, Refusal, RootChange, Verb, Want},
    control::{Anchor, Client},
    identity::{EntryId, Operator, SecretKey, ssh::OperatorKey},
    journal::{KeySource, OperatorHome, signer::Choice},
    selector::Selector,
    terminal::{Mark, Output, Talk, escape, prompt::Consequence, time},
    time::{SKEW_MAX, Timestamp},
};

/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// How long a certificate is valid if nothing else is said; longer for a key that cannot be copied.
const VALID: [Duration; 2] =
    [Duration::from_secs(30 * DAY.as_secs()), Duration::from_secs(90 * DAY.as_secs())];

/// Who asks.
#[derive(Debug)]
pub struct InviteAsk<'a> {
    /// Their name.
    pub person: &'a str,
    /// The key, if it is one that is there.
    pub key: Option<&'a Choice>,
    /// For a new one.
    pub seed: [u8; 32],
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// What is to be given.
#[derive(Debug)]
pub struct GrantRequest<'a> {
    /// To whom.
    pub asked: Asked,
    /// What may be done.
    pub verbs: &'a [Verb],
    /// On which hosts.
    pub on: &'a str,
    /// As which users; as whom the agent runs if none is named.
    pub run_as: &'a [String],
    /// Which tags may be put on hosts.
    pub tags: &'a [(String, String)],
    /// Most hosts in one order.
    pub hosts_max: Option<u32>,
    /// For how long, if that is said.
    pub valid: Option<Duration>,
    /// How many others must approve.
    pub approvals: u8,
    /// With which root keys, if it is they who give it.
    pub rooted: Rooted<'a>,
}

/// `operator invite`: prints what asks for a certificate. Where an agent answers, this user gets a directory for its
/// fleet, with the key in it or with where it is; `client` is that agent.
///
/// # Errors
/// See [`AuthorityError`]. Nothing was written then.
pub fn invite<W: std::io::Write>(
    client: Option<&Client>,
    operators: &Path,
    ask: &InviteAsk<'_>,
    output: &mut Output<W>,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    if !check_person(ask.person) {
        return Err(AuthorityError::Person { name: ask.person.to_owned() });
    }
    let anchor = client.map(|client| Anchor::find(client, operators)).transpose()?;
    let mut fleet = None;
    let (key, directory) = match (anchor, ask.key) {
        (None, None) => return Err(AuthorityError::NoKeyToAskWith),
        (None, Some(choice)) => (choice.key().clone(), None),
        (Some(Anchor::Operator(home)), choice) => {
            if choice.is_some_and(|choice| choice.key() != home.signer.key()) {
                return Err(AuthorityError::OtherKey { path: home.dir().to_owned() });
            }
            fleet = Some(home.chain.genesis().name.clone());
            (home.signer.key().clone(), Some(home.dir().to_owned()))
        }
        (Some(Anchor::Agent(chain)), choice) => {
            let dir = OperatorHome::free(operators, &chain.genesis().name);
            let new = SecretKey::<Operator>::from_seed(&ask.seed);
            let key = choice.map_or_else(|| OperatorKey::from(new.public()), |choice| choice.key().clone());
            if !ask.dry_run {
                let source = choice.map_or(KeySource::New(&new), KeySource::There);
                OperatorHome::create_with(&dir, source, &chain)?;
                let what = if choice.is_some() { "your key is noted" } else { "your key is" };
                talk.say(&format!("{what} in {}", escape::line(&dir.display().to_string())));
            }
            fleet = Some(chain.genesis().name.clone());
            (key, Some(dir))
        }
    };
    let asked = Asked { key, person: Some(ask.person.to_owned()) };
    let line = asked.line();
    let document = json!({
        "person": ask.person, "key": asked.key.line(), "fingerprint": asked.key.fingerprint(),
        "words": asked.key.words(), "request": line, "fleet": fleet, "directory": directory,
    });
    output.document("operator-request", &document, |_| format!("{line}\n"))?;
    talk.say(&format!("give that line to somebody who may grant; its words: {}", asked.key.words()));
    talk.say("they run: muster operator grant 'LINE' --verbs run --on SELECTOR");
    Ok(())
}

/// `operator grant`: gives a certificate, by this operator's, or with root keys.
///
/// # Errors
/// See [`AuthorityError`].
pub async fn grant(
    client: &mut Client,
    operators: &Path,
    request: &GrantRequest<'_>,
    now: Timestamp,
    talk: &mut Talk,
) -> Result<(), AuthorityError> {
    let person = request.asked.person.clone().ok_or(AuthorityError::NoPerson)?;
    if !check_person(&person) {
        return Err(AuthorityError::Person { name: person });
    }
    let scope = Selector::parse(request.on)
        .map_err(|error| AuthorityError::Selector { text: request.on.to_owned(), error })?;
    if !scope.uses_tags_only() {
        return Err(AuthorityError::ScopeNotTags);
    }
    let (replica, anchor) = verified(client, operators, talk).await?;
    let authority = replica.authority();
    let certificate = drafted(request, person, now);
    if !request.rooted.keys.is_empty() {
        let what = format!("give {}", described(authority, &certificate, &scope, None));
        return by_roots(client, &replica, RootChange::Certify(certificate), &what, &request.rooted, talk)
            .await;
    }
    if request.verbs.contains(&Verb::Grant) {
        return Err(AuthorityError::RootsGiveGrant);
    }
    let operator = operator(&anchor)?;
    let from = operator.under(&Want { tags: &wanted(request), ..Want::of(Verb::Grant, now) })?;
    let body = narrowed(authority, operator, from, certificate, request.valid.is_some(), now)?;
    // Whether it may be signed is known before anybody is asked, and nothing is signed before that is answered.
    authority.clone().absorb_grant(operator.foreseen(body.clone()))?;
    let what = described(authority, &body.grant, &scope, Some(&from));
    if request.rooted.dry_run {
        talk.say(&format!("would give {what}; nothing was changed"));
        return Ok(());
    }
    talk.confirm(Consequence::Change, &format!("Give {what}?"))?;
    let grant = operator.sign(body)?;
    submit(client, grant.bytes()).await?;
    let mark = talk.style().mark(Mark::Good, "granted");
    talk.say(&format!("{mark} {what} · {}", grant.id().short()));
    Ok(())
}

fn wanted<'a>(request: &GrantRequest<'a>) -> Vec<(&'a str, Option<&'a str>)> {
    request.tags.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect()
}

/// The certificate that is asked for, by itself.
fn drafted(request: &GrantRequest<'_>, person: String, now: Timestamp) -> Certificate {
    let key = request.asked.key.clone();
    let [software, hardware] = VALID;
    let valid = request.valid.unwrap_or(if key.is_on_token() { hardware } else { software });
    let run_as = match request.run_as {
        [] => vec![AGENT_USER.to_owned()],
        users => users.to_vec(),
    };
    let mut verbs = request.verbs.to_vec();
    verbs.sort_unstable();
    verbs.dedup();
    Certificate {
        person,
        key,
        verbs,
        scope: request.on.to_owned(),
        tags: request.tags.to_vec(),
        run_as,
        hosts_max: request.hosts_max,
        // Their clock may be behind this one, and what they sign says what it shows.
        not_before: now.before(SKEW_MAX),
        not_after: now.after(valid),
        approvals: request.approvals,
    }
}

/// What this operator passes on: what was not said is taken from the certificate that it is passed on from.
fn narrowed(
    authority: &Authority,
    operator: &OperatorHome,
    from: EntryId,
    mut certificate: Certificate,
    valid_is_said: bool,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    let ours = authority.certificate_of(&from, operator.name())?;
    certificate.not_before = certificate.not_before.max(ours.not_before);
    if !valid_is_said {
        certificate.not_after = certificate.not_after.min(ours.not_after);
    }
    if certificate.hosts_max.is_none() {
        certificate.hosts_max = ours.hosts_max;
    }
    certificate.approvals = certificate.approvals.max(ours.approvals);
    Ok(Grant { certificate: from, at: now, grant: certificate })
}

/// `run on tag.role = web (3 of 4 hosts now), as deploy, at most 5 hosts an order, until …, to ana with the key …`.
fn described(
    authority: &Authority,
    certificate: &Certificate,
    scope: &Selector,
    from: Option<&EntryId>,
) -> String {
    use std::fmt::Write as _;
    let within = |host: &&crate::authority::Host| from.is_none_or(|from| authority.covers(from, host));
    let covered = authority.members().filter(within).filter(|host| scope.selects(*host)).count();
    let verbs: Vec<&str> = certificate.verbs.iter().map(|verb| verb.word()).collect();
    let mut what = format!(
        "{} on {} ({covered} of {} now)",
        verbs.join(", "),
        escape::line(&certificate.scope),
        count(authority.members().count(), "host")
    );
    let _always = write!(what, ", as {}", escape::line(&certificate.run_as.join(", ")));
    if !certificate.tags.is_empty() {
        let tags: Vec<String> =
            certificate.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _always = write!(what, ", tags {}", escape::line(&tags.join(", ")));
    }
    if let Some(most) = certificate.hosts_max {
        let _always = write!(what, ", at most {most} hosts an order");
    }
    if certificate.approvals > 0 {
        let _always = write!(what, ", with {}", count(usize::from(certificate.approvals), "approval"));
    }
    let until = time::rfc3339(certificate.not_after);
    let _always = write!(what, ", until {until}, to {}", escape::cell(&certificate.person));
    let _always = write!(what, " with the key {}", certificate.key.words());
    what
}
