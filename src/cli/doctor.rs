//! `muster doctor`: brings together what several capabilities can say of this machine.

use std::time::Duration;

use super::{
    dispatch::Context,
    failure::{ExitCode, Explain as _, Failure, Site, with_flags},
};
use crate::{
    control::{Client, ControlError},
    journal::OperatorHome,
    node::Settings,
    services::{
        doctor::{self, Check, Online, Verdict},
        upkeep,
    },
    terminal::time,
    time::Timestamp,
};

/// A certificate that ends sooner than this is worth a look.
const ENDS_SOON: Duration = Duration::from_secs(7 * 86_400);

/// Looks, asks, and shows. The code says whether anything is wrong; the lines say what.
pub(super) async fn doctor(context: &mut Context) -> Result<ExitCode, Failure> {
    let Context { site, output, now, .. } = context;
    let places = &site.places;
    let mut first = Vec::new();
    let lan = match Settings::read(&places.config) {
        Ok(settings) => Some(settings.lan),
        Err(error) => {
            first.push(wrong("settings", error.explain(site)));
            None
        }
    };
    let found = doctor::look(&places.state, &places.socket, &places.operators);
    let mut code = ExitCode::Success;
    let (mut online, mut store) = (None, Err("not looked at".to_owned()));
    match asked(site, lan, *now).await {
        Ok((said, key, checked)) => {
            // Scripts read these words too: no time in them is relative.
            let started = time::rfc3339(said.status.started);
            first.insert(0, Check::good("agent", format!("answers, started {started}")));
            first.extend(key);
            (online, store) = (Some(said), checked);
        }
        Err(error) => {
            let failure = error.explain(site);
            code = failure.kind;
            first.insert(0, wrong("agent", failure));
            let checked = upkeep::check_offline(&places.state, *now);
            store = checked.map_err(|error| error.explain(site).message).or(store);
        }
    }
    let mut checks = first;
    checks.extend(doctor::checks(&found, online.as_ref(), &store, env!("CARGO_PKG_VERSION")));
    doctor::show(&checks, output).map_err(|error| error.explain(site))?;
    if code == ExitCode::Success && checks.iter().any(|check| check.verdict == Verdict::Bad) {
        code = ExitCode::Internal;
    }
    Ok(code)
}

/// A failure as a check: what, and the last of its hints, which is the next command.
fn wrong(name: &'static str, failure: Failure) -> Check {
    let fix = failure.hints.last().cloned().unwrap_or_else(|| "muster --help".to_owned());
    Check::bad(name, failure.message, fix)
}

type Asked = (Online, Option<Check>, Result<crate::control::StoreCheck, String>);

async fn asked(site: &Site, lan: Option<bool>, now: Timestamp) -> Result<Asked, ControlError> {
    let mut client = Client::connect(&site.places.socket).await?;
    let online = doctor::ask(&mut client, lan).await?;
    let key = operator(site, &client, now);
    // Last: an answer that comes too late would be taken for that of the next question.
    let store = upkeep::check_online(&mut client).await;
    Ok((online, key, store.map_err(|error| error.explain(site).message)))
}

/// How long this user is an operator of the agent's fleet; nothing for whoever is none.
fn operator(site: &Site, client: &Client, now: Timestamp) -> Option<Check> {
    let home = match OperatorHome::find(&site.places.operators, client.fleet) {
        Ok(home) => home?,
        Err(error) => return Some(wrong("operator", error.explain(site))),
    };
    let Some((_, certificate)) = home.certified() else {
        let fix = "who may grant can run: muster operator grant --key KEY --person NAME --verbs run";
        return Some(Check::odd(
            "operator",
            "your key has no certificate yet, as far as is known here",
            fix.to_owned(),
        ));
    };
    let until = time::rfc3339(certificate.not_after);
    let fix = "somebody who may grant, or who holds the root keys, can renew it; until when it holds: ";
    let fix = format!("{fix}{}", with_flags(site, "muster status"));
    let person = &certificate.person;
    Some(if certificate.not_after <= now {
        Check::bad("operator", format!("the certificate of {person} ended {until}"), fix)
    } else if certificate.not_after.since(now) < ENDS_SOON {
        Check::odd("operator", format!("the certificate of {person} ends {until}"), fix)
    } else {
        Check::good("operator", format!("you are {person}; the certificate ends {until}"))
    })
}
