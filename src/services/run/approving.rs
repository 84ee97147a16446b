//! `muster approval ls`, `show`, `give` and `refuse`: orders that wait for others, and what these say to them.
//!
//! Decides nothing that hosts do not decide again for themselves: it shows exactly what was signed and which hosts
//! would start it now, by verified entries, signs this operator's word on it and hands that over. It is given for the
//! hash of the order, so for nothing else.

use std::{cmp::Reverse, io::Write, path::Path};

use serde_json::{Value, json};

use super::{
    RunError, Streams, World,
    assent::Assent,
    ending,
    job::{Jobs, shown},
    rollout::Rollout,
    view::{self, Job},
};
use crate::{
    authority::{Approval, REASON_BYTES_MAX, Refusal},
    identity::{HostId, Signed},
    journal::OperatorHome,
    replica::{Item, Order, Replica},
    terminal::{
        Column, Format, Kind, Mark, Output, Sheet, escape, nodeset,
        prompt::{self, Consequence, Decision, Question},
        time::rfc3339,
    },
    time::Timestamp,
};

/// Refusals that are shown one by one to a person.
const REFUSALS_SHOWN: usize = 20;
/// Orders that are listed.
const LISTED_MAX: usize = 200;
/// Where an order stands.
const STATES: &[(&str, Mark)] = &[
    ("waiting", Mark::Unknown),
    ("approved", Mark::Good),
    ("refused", Mark::Bad),
    ("cancelled", Mark::Bad),
    ("expired", Mark::Bad),
    ("void", Mark::Bad),
];

const APPROVALS: Sheet = Sheet {
    thing: "approval",
    columns: &[
        Column::new("ID", "short", Kind::Ours),
        Column::new("STATE", "state", Kind::Status(STATES)),
        Column::new("AGE", "issued", Kind::Time),
        Column::new("BY", "by", Kind::Host),
        Column::new("AS", "as", Kind::Host),
        Column::new("HOSTS", "hosts", Kind::Ours),
        Column::new("GIVEN", "given", Kind::Host),
        Column::new("NEEDS", "needed", Kind::Ours),
        Column::new("COMMAND", "command", Kind::Host),
        Column::wide("MAY", "may", Kind::Host),
        Column::wide("EXPIRES", "expires", Kind::Time),
        Column::wide("REASON", "reason", Kind::Host),
        Column::wide("JOB", "job", Kind::Ours),
    ],
};

/// One `muster approval give` or `refuse`.
#[derive(Clone, Debug)]
pub struct ApprovalRequest {
    /// The job's id, or a unique beginning of it.
    pub job: String,
    /// Given; else refused.
    pub given: bool,
    /// Why.
    pub reason: String,
    /// Say what would be signed, and sign nothing.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
}

/// An order that needs approvals, with whom it is for and where it stands.
struct Asked<'a> {
    order: &'a Signed<Order>,
    hosts: &'a [HostId],
    assent: Assent,
}

impl<'a> Asked<'a> {
    fn of(
        replica: &Replica,
        (order, hosts): (&'a Signed<Order>, &'a [HostId]),
        said: &[Signed<Approval>],
        now: Timestamp,
    ) -> Option<Self> {
        Some(Self { order, hosts, assent: Assent::of(replica, order, hosts, said, now)? })
    }

    fn state(&self, replica: &Replica, now: Timestamp) -> &'static str {
        if replica.cancellation(&self.order.id()).is_some() {
            "cancelled"
        } else if now > self.order.body().expires {
            "expired"
        } else {
            self.assent.state()
        }
    }

    /// Exactly what was signed, in words, and where it would run now.
    fn lines(&self, job: &Job<'_>, replica: &Replica) -> Vec<String> {
        let (order, body) = (self.order, self.order.body());
        let mut lines = vec![format!("order    {}", order.id())];
        lines.extend(job.plan_lines());
        lines.push(format!("selector {}", escape::line(&body.selector)));
        lines.push(format!(
            "output   at most {} of each stream of a host",
            crate::terminal::time::size(body.limits.output_bytes_max)
        ));
        let certificates = replica.authority().certificates();
        let certificate = certificates.into_iter().find(|(id, _)| **id == body.certificate);
        lines.push(match certificate {
            Some((id, certificate)) => format!(
                "by       certificate {} of {}: scope {}, until {}",
                id.short(),
                escape::line(&certificate.person),
                escape::line(&certificate.scope),
                rfc3339(certificate.not_after),
            ),
            None => format!("by       certificate {}, which allows nothing", body.certificate.short()),
        });
        let reached = nodeset::fold(self.assent.reached.iter().map(|host| job.label(host)));
        lines.push(format!("reaches  {} now: {reached}", self.assent.reach()));
        let refusals = &self.assent.refusals;
        let out = refusals.iter().filter(|(_, refusal)| !matches!(refusal, Refusal::NotApproved { .. }));
        for (host, refusal) in out.take(REFUSALS_SHOWN) {
            lines.push(format!("not on   {}: {}", job.label(host), escape::line(&refusal.to_string())));
        }
        lines.extend(self.assent.lines());
        lines
    }

    fn document(&self, job: &Job<'_>, replica: &Replica, now: Timestamp) -> Value {
        let mut document = job.facts();
        let assent = &self.assent;
        let label = |host: &HostId| job.label(host);
        let mut reaches: Vec<String> = assent.reached.iter().map(label).collect();
        reaches.sort();
        let refusal =
            |(host, refusal): &(HostId, Refusal)| json!({ "host": label(host), "why": refusal.to_string() });
        for (name, value) in [
            ("order", json!(self.order.id().to_string())),
            ("short", json!(self.order.id().short())),
            ("certificate", json!(self.order.body().certificate.to_string())),
            ("output_bytes_max", json!(self.order.body().limits.output_bytes_max)),
            ("state", json!(self.state(replica, now))),
            ("approval", assent.document()),
            ("reaches", json!(reaches)),
            ("refusals", assent.refusals.iter().map(refusal).collect()),
        ] {
            document.insert(name.to_owned(), value);
        }
        Value::Object(document)
    }
}

/// The order of this job that needs approvals.
fn asked<'a>(jobs: &Jobs, rollout: &'a Rollout, now: Timestamp) -> Result<Asked<'a>, RunError> {
    let mut all = rollout.signed().filter_map(|signed| Asked::of(&jobs.replica, signed, &[], now));
    all.next().ok_or_else(|| {
        let short = rollout.id().map(|id| id.short()).unwrap_or_default();
        RunError::Usage {
            problem: format!("job {short} needs nobody's approval"),
            hint: "those that do: muster approval ls".to_owned(),
        }
    })
}

/// Lists the orders that need approvals, the newest first.
///
/// # Errors
/// When the agent cannot be asked, or the list not be written.
pub async fn approvals<W: Write>(
    home: &OperatorHome,
    socket: &Path,
    output: &mut Output<W>,
    now: Timestamp,
) -> Result<(), RunError> {
    let jobs = Jobs::gather(home, socket).await?;
    let as_text = output.is_flat();
    let list = |names: &std::collections::BTreeSet<String>| {
        let joined = || names.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        if as_text { json!(joined()) } else { json!(names) }
    };
    let rollouts = jobs.newest();
    let asked = rollouts.iter().flat_map(Rollout::signed);
    let mut asked: Vec<Asked<'_>> =
        asked.filter_map(|signed| Asked::of(&jobs.replica, signed, &[], now)).take(LISTED_MAX).collect();
    asked.sort_by_key(|asked| Reverse((asked.order.body().issued, asked.order.id())));
    let row = |asked: &Asked<'_>| {
        let (body, id) = (asked.order.body(), asked.order.id());
        let mut job = Job::of(asked.order, asked.hosts, &jobs.replica, now);
        job.read_by(home);
        json!({
            "short": id.short(),
            "job": id.to_string(),
            "state": asked.state(&jobs.replica, now),
            "issued": rfc3339(body.issued),
            "expires": rfc3339(body.expires),
            "by": job.person(),
            "as": body.run_as,
            "hosts": asked.assent.reached.len(),
            "needed": asked.assent.needed,
            "given": list(&asked.assent.given),
            "refused_by": asked.assent.refused.as_ref().map(|(by, _)| by),
            "may": list(&asked.assent.may),
            "command": job.command(),
            "reason": body.reason,
        })
    };
    let rows: Vec<Value> = asked.iter().map(row).collect();
    Ok(output.rows(&APPROVALS, &rows)?)
}

/// Shows exactly what was signed, and the hosts that would start it now. Returns the exit code.
///
/// # Errors
/// When there is no such job, it needs no approval, or the agent cannot be asked.
pub async fn approval(
    id: &str,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> Result<u8, RunError> {
    let jobs = Jobs::gather(home, socket).await?;
    let rollout = jobs.find(id)?;
    let asked = asked(&jobs, &rollout, now)?;
    tell(&asked, &jobs, home, &rollout, streams, now)?;
    Ok(0)
}

fn tell(
    asked: &Asked<'_>,
    jobs: &Jobs,
    home: &OperatorHome,
    rollout: &Rollout,
    streams: &mut Streams<'_>,
    now: Timestamp,
) -> Result<(), RunError> {
    let job = shown(&jobs.replica, home, rollout, now)?;
    let lines = asked.lines(&job, &jobs.replica);
    let document = asked.document(&job, &jobs.replica, now);
    let text = |_| lines.iter().fold(String::new(), |text, line| text + line + "\n");
    Ok(streams.document(now, "approval-request", &document, text)?)
}

/// Signs this operator's word on an order, and hands it over. Returns the exit code.
///
/// # Errors
/// When there is no such job, this operator has no say in it, the answer is not yes, or the agent does not take it.
pub async fn answer(
    request: &ApprovalRequest,
    home: &OperatorHome,
    socket: &Path,
    streams: &mut Streams<'_>,
    world: &mut World<'_>,
) -> Result<u8, RunError> {
    if request.reason.len() > REASON_BYTES_MAX {
        return Err(RunError::Usage {
            problem: format!("the reason is longer than {REASON_BYTES_MAX} bytes"),
            hint: "put what is long where people can look it up".to_owned(),
        });
    }
    let mut jobs = Jobs::gather(home, socket).await?;
    let rollout = jobs.find(&request.job)?;
    let now = (world.clock)();
    let asked = asked(&jobs, &rollout, now)?;
    let short = asked.order.id().short();
    let state = asked.state(&jobs.replica, now);
    if matches!(state, "cancelled" | "expired") {
        return Err(RunError::Usage {
            problem: format!("job {short} is {state}: nothing that is said on it counts any more"),
            hint: "those that wait: muster approval ls".to_owned(),
        });
    }
    let (body, person, hosts) = heard(home, &jobs.replica, &asked, request, now)?;
    let fleet = jobs.replica.authority().members().count();
    {
        let job = shown(&jobs.replica, home, &rollout, now)?;
        if let Some(why) = job.unread().filter(|_| request.given) {
            return Err(RunError::Usage {
                problem: format!("nobody can approve what they cannot read: {why}"),
                hint: "ask for the same without --private, or refuse it: muster approval refuse".to_owned(),
            });
        }
        let talk = asked.lines(&job, &jobs.replica).join("\n");
        if !matches!(streams.format, Format::Json | Format::Jsonl) {
            streams.say(&talk);
        }
    }
    let word = if request.given { "approve" } else { "refuse" };
    if request.dry_run {
        streams
            .say(&format!("dry run: this would {word} it on {}; nothing was signed", view::counted(hosts)));
        return Ok(0);
    }
    let in_terminal = streams.in_terminal && streams.err_terminal;
    let question = format!("As {}, {word} this on {}?", escape::line(&person), view::counted(hosts));
    match decide(hosts, fleet, request.given, in_terminal, request.yes) {
        Decision::Go => {}
        Decision::Refuse => return Err(RunError::NobodyToAsk),
        Decision::Ask(kind) if (world.ask)(kind, &question)? => {}
        Decision::Ask(_) => return Err(RunError::NotAgreed),
    }
    let signed = home.sign(body)?;
    ending::submit(&mut jobs.client, vec![Item::bare(signed.bytes())]).await?;
    let after = Asked::of(&jobs.replica, (asked.order, asked.hosts), &[signed], now);
    if let Some(after) = after {
        let left = if after.assent.waiting.is_empty() {
            String::new()
        } else {
            format!("; it waits for approval by {}", after.assent.of_whom())
        };
        let done = if request.given { "approved" } else { "refused" };
        streams.say(&format!("{done}: job {short}{left}\nsee it: muster job watch {short}"));
        if matches!(streams.format, Format::Json | Format::Jsonl) {
            tell(&after, &jobs, home, &rollout, streams, now)?;
        }
    }
    Ok(0)
}

/// Always asked, for what others run by it stays; from a hundred hosts on their number is typed.
fn decide(hosts: usize, fleet: usize, given: bool, in_terminal: bool, yes: bool) -> Decision {
    let run = if given { hosts } else { 0 };
    match prompt::decide(Consequence::Run { hosts: run, fleet }, in_terminal, yes) {
        counted @ Decision::Ask(Question::Count(_)) => counted,
        Decision::Ask(Question::Yes) | Decision::Go | Decision::Refuse => {
            prompt::decide(Consequence::Change, in_terminal, yes)
        }
    }
}

/// What this operator would sign, as whom, and on how many hosts it counts. Of several certificates of the key it is
/// under the one by which that is most.
fn heard(
    home: &OperatorHome,
    replica: &Replica,
    asked: &Asked<'_>,
    request: &ApprovalRequest,
    now: Timestamp,
) -> Result<(Approval, String, usize), RunError> {
    let authority = replica.authority();
    let no_say = |why: String| RunError::NoSay { job: asked.order.id().short(), why };
    let order = authority.admit(asked.order.clone()).map_err(|refusal| no_say(refusal.to_string()))?;
    let mine = authority.certificates().filter(|(_, certificate)| certificate.key.name() == home.name());
    let said = mine.map(|(id, certificate)| {
        let body = Approval {
            certificate: *id,
            order: asked.order.id(),
            given: request.given,
            at: now,
            expires: asked.order.body().expires,
            reason: request.reason.clone(),
        };
        let foreseen = home.foreseen(body.clone());
        let hosts = asked.hosts.iter().filter_map(|host| authority.host(host));
        let counts = hosts.filter(|host| authority.voice(&order, &foreseen, *host, now).is_some()).count();
        (body, certificate.person.clone(), counts)
    });
    let best = said.max_by_key(|(body, _, counts)| (*counts, body.certificate));
    match best {
        None => Err(no_say("this key has no certificate that stands".to_owned())),
        Some((_, person, 0)) if person == order.person() => {
            Err(no_say(format!("{person} asks for it, and others have to approve")))
        }
        Some((_, person, 0)) => Err(no_say(format!(
            "the certificate of {person} does not allow to approve it on any of its hosts"
        ))),
        Some(said) => Ok(said),
    }
}
