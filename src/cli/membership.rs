//! `muster init`, `invite` and `leave`.

use std::{path::PathBuf, time::Duration};

use serde_json::json;

use super::{
    arguments::{Init, Invite, Leave, Listen},
    chance,
    dispatch::{Context, connect},
    failure::{self, ExitCode, Explain as _, Failure, Site, quoted},
};
use crate::{
    control::Anchor,
    journal::signer::{choose, ways},
    node::Settings,
    services::membership::{self, FoundRequest, InviteRequest},
    terminal::{Style, escape, prompt::Consequence, time},
};

/// Where a new host listens unless it is told otherwise.
const LISTEN_DEFAULT: &str = "0.0.0.0:7946";
/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// This machine's name as a host may have it.
pub(super) fn machine_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let name: String = name.chars().map(|c| if c == '_' { '-' } else { c }).collect();
    crate::authority::check_name(&name).then_some(name)
}

/// A host's name: as given, else the machine's.
pub(super) fn host_name(given: Option<&str>, command: &str) -> Result<String, Failure> {
    given.map(str::to_owned).or_else(machine_name).ok_or_else(|| {
        Failure::usage("this machine's own name cannot be a host's name")
            .hint(format!("name this host: {command} --host-name web-1"))
    })
}

/// Settings with what the flags say about listening; those that are there are kept otherwise.
pub(super) fn settings_for(site: &Site, listen: &Listen) -> Result<Settings, Failure> {
    let config = &site.places.config;
    let there = config.exists();
    let mut settings = Settings::read(config).map_err(|error| error.explain(site))?;
    if listen.no_listen {
        settings.listen.clear();
        settings.advertise.clear();
        return Ok(settings);
    }
    if !listen.listen.is_empty() {
        settings.listen.clone_from(&listen.listen);
    } else if !there {
        settings.listen = LISTEN_DEFAULT.parse().into_iter().collect();
    }
    if !listen.advertise.is_empty() {
        settings.advertise.clone_from(&listen.advertise);
    }
    Ok(settings)
}

pub(super) fn found(context: &mut Context, init: &Init) -> Result<ExitCode, Failure> {
    let (site, places) = (&context.site, &context.site.places);
    let recovery =
        init.recovery.clone().unwrap_or_else(|| PathBuf::from(format!("./{}-recovery.txt", init.name)));
    let host = host_name(init.host_name.as_deref(), "muster init NAME")?;
    let person = init.person.as_deref().or(context.user.as_deref()).unwrap_or("operator");
    let choice = init.operator_key.as_deref().map(|word| choose(word, &ways())).transpose();
    let choice = choice.map_err(|error| error.explain(site))?;
    let request = FoundRequest {
        operator_key: choice.as_ref(),
        name: &init.name,
        person,
        operator_valid: DAY * init.operator_days,
        host: &host,
        tags: &init.labels,
        state: &places.state,
        operators: &places.operators,
        recovery: &recovery,
        roots: init.roots,
        now: context.now,
    };
    membership::check_found(&request).map_err(|error| error.explain(site))?;
    let settings = settings_for(site, &init.listen)?;
    let files = || {
        let shown = request.root_files().iter().map(|path| escape::line(&quoted(path))).collect::<Vec<_>>();
        shown.join(", ")
    };
    if init.dry_run {
        context.talk.say(&format!(
            "would found fleet {} with host {} in {}, operator key in {}, recovery key in {}; nothing was written",
            init.name,
            host,
            escape::line(&quoted(&places.state)),
            escape::line(&quoted(&places.operators.join(&init.name))),
            files(),
        ));
        return Ok(ExitCode::Success);
    }
    let mut fresh = chance::source(16)?;
    // Settings go first: they mean nothing without a host, and a host without them would not listen.
    settings.write(&places.config).map_err(|error| error.explain(site))?;
    let founded = membership::found(&request, &mut fresh).map_err(|error| error.explain(site))?;

    let key = founded.operator.signer.key().fingerprint();
    let document = json!({
        "name": init.name,
        "id": founded.operator.chain.fleet().to_string(),
        "host": host,
        "host_id": founded.host.host().to_string(),
        "listen": settings.listen,
        "state": places.state,
        "config": places.config,
        "recovery": recovery,
        "roots": request.root_files(),
        "threshold": init.roots.threshold,
        "operator": { "person": request.person, "key": key, "directory": founded.operator.dir() },
    });
    let shown = |style: Style| {
        format!(
            "{} {} · {} in {} · operator key {key}\n",
            failure::good(style, "fleet"),
            init.name,
            if init.roots.of == 1 { "recovery key" } else { "root keys" },
            request
                .root_files()
                .iter()
                .map(|path| escape::line(&path.display().to_string()))
                .collect::<Vec<_>>()
                .join(", "),
        )
    };
    context.output.document("fleet", &document, shown).map_err(|error| error.explain(&context.site))?;
    let next = |command: &str| escape::line(&failure::with_flags(&context.site, command));
    context
        .talk
        .say("keep the recovery key off this machine: it governs the fleet, and daily work does not need it");
    context.talk.say(&format!("start this host:  {}", next("muster agent")));
    context.talk.say(&format!("let others join:  {}", next("muster invite -l role=web")));
    Ok(ExitCode::Success)
}

pub(super) async fn invite(context: &mut Context, request: &Invite) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let site = &context.site;
    let anchor = Anchor::find(&client, &site.places.operators).map_err(|error| error.explain(site))?;
    let Some(operator) = anchor.operator() else {
        let fleet = &anchor.chain().genesis().name;
        return Err(failure::not_an_operator(
            format!("this user has no operator key for fleet {fleet}"),
            site,
        ));
    };
    let asked = InviteRequest {
        approve: request.approve,
        tags: request.labels.clone(),
        uses: request.uses,
        valid: request.ttl,
        addresses: request.addresses.clone(),
    };
    let invited = membership::invite(&mut client, operator, &asked, &chance::draw()?, context.now)
        .await
        .map_err(|error| error.explain(site))?;
    let token = invited.token.to_text();
    let until = time::rfc3339(invited.token.expires);
    let document = json!({
        "token": token,
        "expires": until,
        "uses": request.uses,
        "addresses": invited.token.addresses,
        "tags": request.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "invitation": invited.invitation.id().to_string(),
    });
    context
        .output
        .document("token", &document, |_| format!("{token}\n"))
        .map_err(|error| error.explain(site))?;
    if invited.token.addresses.iter().all(|address| address.ip().is_loopback()) {
        context.talk.warn(
            "the token's addresses can be reached from this machine only; others need --address IP:PORT",
        );
    }
    let hosts = if request.uses == 1 { "one host".to_owned() } else { format!("{} hosts", request.uses) };
    context.talk.say(&format!("for {hosts}, {} long (until {until})", time::duration(request.ttl)));
    // A line to copy for a person; a log has no business with the secret.
    let shown = if context.terminals[2] { token.as_str() } else { "TOKEN" };
    context.talk.say(&format!("on each:  sudo muster join {shown}"));
    if request.approve {
        context
            .talk
            .say("each then waits; compare its keys with what it shows, and:  muster host admit NAME");
    }
    Ok(ExitCode::Success)
}

pub(super) async fn leave(context: &mut Context, request: &Leave) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await.map_err(|failure| match failure.kind {
        ExitCode::Unreachable => Failure {
            message: format!(
                "{}: it must run so that the other hosts learn that this one leaves",
                failure.message
            ),
            ..failure
        },
        _ => failure,
    })?;
    let anchor = Anchor::find(&client, &context.site.places.operators)
        .map_err(|error| error.explain(&context.site))?;
    let fleet = anchor.chain().genesis().name.clone();
    let what = format!(
        "host {} out of fleet {} for ever, and erase its keys",
        client.host.short(),
        escape::line(&fleet)
    );
    if request.dry_run {
        context.talk.say(&format!("would take {what}; nothing was done"));
        return Ok(ExitCode::Success);
    }
    context
        .talk
        .confirm(Consequence::Change, &format!("Take {what}?"))
        .map_err(|error| error.explain(&context.site))?;
    membership::leave(&mut client).await.map_err(|error| error.explain(&context.site))?;
    let mark = failure::good(context.talk.style(), "left");
    context.talk.say(&format!("{mark} fleet {}; the agent has ended", escape::line(&fleet)));
    Ok(ExitCode::Success)
}
