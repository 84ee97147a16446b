//! `muster agent`, its confined child, and `muster join`.

use std::{path::Path, time::Duration};

use serde_json::json;

use super::{
    arguments::{Agent, Join},
    chance,
    dispatch::{Context, wait},
    failure::{self, ExitCode, Explain as _, Failure, Site, quoted, with_flags},
    membership::{host_name, settings_for},
};
use crate::{
    executor::{AgentError, TrustError},
    identity::JoinToken,
    journal::{Candidate, JournalError},
    node::{self, StartError},
    services::membership::{self, JoinError, JoinWith, Joined},
    terminal::{Style, escape, prompt::Consequence},
};

/// How long after a member hung up another one is asked.
const ASK_AGAIN: Duration = Duration::from_secs(2);

pub(super) fn agent(context: &mut Context, start: &Agent) -> Result<ExitCode, Failure> {
    if start.print_unit {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(ExitCode::Internal, format!("this program's own path cannot be found: {error}"))
        })?;
        let unit = node::unit(&program).ok_or_else(|| {
            Failure::usage(format!("a unit cannot name {}", quoted(&program)))
                .hint("put the program where its path is plain: install -m 755 muster /usr/local/bin/")
        })?;
        context.output.text(&unit).map_err(|error| error.explain(&context.site))?;
        return Ok(ExitCode::Success);
    }
    if let Some(parent) = start.with_parent
        && !ends_with(parent)?
    {
        return Ok(ExitCode::Success);
    }
    let site = context.site.clone();
    let left = node::agent(&site.places).map_err(|error| explain_start(error, &site))?;
    if left {
        context.talk.say("this host has left its fleet; its keys are erased");
    }
    Ok(ExitCode::Success)
}

/// Has the kernel tell this process to stop once its parent is gone, however that ends. False if it is
/// gone already.
fn ends_with(parent: i32) -> Result<bool, Failure> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).map_err(
        |error| Failure::new(ExitCode::Internal, format!("cannot be told of the parent's end: {error}")),
    )?;
    // Asked after that, so that no end goes unnoticed.
    Ok(rustix::process::getppid().is_some_and(|pid| pid.as_raw_pid() == parent))
}

pub(super) fn mesh_process() -> Result<ExitCode, Failure> {
    node::mesh_process().map_err(|error| {
        Failure::new(ExitCode::Internal, format!("the mesh process: {error}"))
            .hint("it is started by the agent: muster agent")
    })?;
    Ok(ExitCode::Success)
}

fn explain_start(error: StartError, site: &Site) -> Failure {
    match error {
        StartError::Settings(error) => error.explain(site),
        StartError::Agent(AgentError::Home(error)) => error.explain(site),
        StartError::Agent(AgentError::Journal(error)) => explain_journal(error, site),
        StartError::Agent(AgentError::Trust(error)) => {
            let (TrustError::Io { path, .. } | TrustError::Damaged { path, .. }) = &error;
            let hint = format!("restore it from a backup, or look: ls -l {}", quoted(path));
            Failure::new(ExitCode::Internal, escape::line(&error.to_string())).hint(hint)
        }
        StartError::Socket { path, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
            let shown = escape::line(&path.display().to_string());
            Failure::new(ExitCode::Internal, format!("another agent answers at {shown}"))
                .hint("give this one its own: --socket PATH or --state DIR")
        }
        error => Failure::new(ExitCode::Internal, escape::line(&error.to_string())).hint(format!(
            "look at what it says of itself once it runs: {}",
            with_flags(site, "muster status")
        )),
    }
}

fn explain_journal(error: JournalError, site: &Site) -> Failure {
    let failure = Failure::new(ExitCode::Internal, escape::line(&error.to_string()));
    match error {
        JournalError::Corrupt { .. } => failure
            .hint("it says which orders were run here, and an old copy of it does not: nothing is run without it")
            .hint("let the host join anew, with another directory: muster join TOKEN --state DIR"),
        JournalError::Newer { .. } => {
            failure.hint("use the newer muster that wrote it; this one is: muster version")
        }
        JournalError::InUse { .. } => failure.hint(format!("see it: {}", with_flags(site, "muster status"))),
        JournalError::DiskFull { path } => failure.hint(format!("make room: df -h {}", quoted(&path))),
        JournalError::Unwritable { path, .. }
        | JournalError::Io { path, .. }
        | JournalError::Poisoned { path } => failure.hint(format!("look at it: ls -l {}", quoted(&path))),
        JournalError::TooMany { .. }
        | JournalError::TooLong { .. }
        | JournalError::NotClaimed
        | JournalError::AlreadyFinished => failure,
    }
}

pub(super) fn join(context: &mut Context, join: &Join) -> Result<ExitCode, Failure> {
    if let Some(file) = &join.request {
        return ask_by_file(context, join, file);
    }
    if let Some(file) = &join.answer {
        return join_by_file(context, join, file);
    }
    let given = join.token.clone().unwrap_or_default();
    let text = if given == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_line(&mut text)
            .map_err(|error| Failure::usage(format!("no token on standard input: {error}")))?;
        text
    } else {
        given
    };
    let token = JoinToken::from_text(&text).map_err(|error| {
        Failure::usage(error.to_string()).hint("copy it whole, or get a new one on a member: muster invite")
    })?;
    let name = host_name(join.host_name.as_deref(), "muster join TOKEN")?;
    if context.now > token.expires && !Candidate::waits_in(&context.site.places.state) {
        return Err(explain_join(JoinError::Expired, &context.site));
    }
    let settings = settings_for(&context.site, &join.listen)?;
    let mut fresh = chance::source(4)?;
    let candidate = membership::prepare_candidate(&context.site.places.state, &mut fresh)
        .map_err(|error| error.explain(&context.site))?;
    settings.write(&context.site.places.config).map_err(|error| error.explain(&context.site))?;
    let with = JoinWith { token: &token, name: &name, tags: &join.labels, now: context.now, wait: false };
    let site = context.site.clone();
    let joined = wait(async {
        let first = tokio::time::timeout(join.timeout, membership::join(candidate, with)).await;
        match first {
            Err(_) => Err(Failure::new(ExitCode::WaitOver, "joining took longer than --timeout")
                .hint("the directory keeps its keys: run the same command again")),
            Ok(Err(JoinError::Waits { fleet_name, words })) => {
                let fleet = escape::line(&fleet_name);
                context
                    .talk
                    .say(&format!("waiting for an operator of {fleet} to let {name} in, whose keys are"));
                context.talk.say(&format!("  {words}"));
                context
                    .talk
                    .say(&format!("to be compared, then, on any host of it:  muster host admit {name}"));
                let until = tokio::time::Instant::now() + join.wait;
                tokio::time::timeout_at(until, let_in(&site, with))
                    .await
                    .unwrap_or_else(|_| Err(explain_join(JoinError::Waits { fleet_name, words }, &site)))
            }
            Ok(joined) => joined.map_err(|error| explain_join(error, &site)),
        }
    })?;
    let host = joined.home.host().map_err(|error| error.explain(&site))?;
    let document = json!({
        "fleet": joined.fleet_name,
        "fleet_id": token.fleet.to_string(),
        "host": name,
        "host_id": host.to_string(),
        "admitted_by": joined.admitted_by,
        "members": joined.members,
        "state": site.places.state,
        "config": site.places.config,
    });
    let shown = |style: Style| {
        format!(
            "{} {} · {} {} · {name} is one of {} members\n",
            failure::good(style, "fleet"),
            escape::line(&joined.fleet_name),
            failure::good(style, "admitted by"),
            escape::line(&joined.admitted_by),
            joined.members,
        )
    };
    context.output.document("joined", &document, shown).map_err(|error| error.explain(&site))?;
    let next = escape::line(&with_flags(&site, "muster agent"));
    context.talk.say(&format!("start this host:  {next}"));
    Ok(ExitCode::Success)
}

fn ask_by_file(context: &mut Context, join: &Join, file: &Path) -> Result<ExitCode, Failure> {
    let name = host_name(join.host_name.as_deref(), "muster join --request FILE")?;
    let site = &context.site;
    let settings = settings_for(site, &join.listen)?;
    let mut fresh = chance::source(4)?;
    let candidate =
        membership::prepare_candidate(&site.places.state, &mut fresh).map_err(|error| error.explain(site))?;
    settings.write(&site.places.config).map_err(|error| error.explain(site))?;
    membership::ask(&candidate, &name, context.now, file).map_err(|error| error.explain(site))?;
    let shown = escape::line(&quoted(file));
    context.talk.say(&format!("{name} asks to join in {shown}; its keys, to be compared, are"));
    context.talk.say(&format!("  {}", candidate.keys().words()));
    context
        .talk
        .say(&format!("an operator answers:  muster host admit --file {shown} --answer {name}.answer"));
    Ok(ExitCode::Success)
}

fn join_by_file(context: &mut Context, join: &Join, file: &Path) -> Result<ExitCode, Failure> {
    let site = context.site.clone();
    let mut fresh = chance::source(4)?;
    let candidate = membership::prepare_candidate(&site.places.state, &mut fresh)
        .map_err(|error| error.explain(&site))?;
    let answer = membership::read_answer(file, &candidate).map_err(|error| error.explain(&site))?;
    let (fleet_name, fleet, name) =
        (escape::line(answer.fleet_name()), answer.fleet(), answer.name().to_owned());
    // The request was for whoever would answer, so this is where a person says whose host it becomes.
    let question = format!("Make this machine the host {name} of fleet {fleet_name} ({fleet})?");
    context.talk.confirm(Consequence::Change, &question).map_err(|error| error.explain(&site))?;
    let settings = settings_for(&site, &join.listen)?;
    settings.write(&site.places.config).map_err(|error| error.explain(&site))?;
    let (home, members) =
        membership::accept(candidate, answer, file).map_err(|error| error.explain(&site))?;
    let host = home.host().map_err(|error| error.explain(&site))?;
    context.talk.say(&format!(
        "{} {fleet_name} · {name} ({}) is one of {members} members",
        failure::good(context.talk.style(), "fleet"),
        host.short(),
    ));
    let next = escape::line(&with_flags(&site, "muster agent"));
    context.talk.say(&format!("start this host; it tells the others of itself once it reaches one:  {next}"));
    Ok(ExitCode::Success)
}

/// Asks until an operator has let this host in, or has not.
async fn let_in(site: &Site, with: JoinWith<'_>) -> Result<Joined, Failure> {
    let with = JoinWith { wait: true, ..with };
    loop {
        let mut fresh = chance::source(4)?;
        let candidate = membership::prepare_candidate(&site.places.state, &mut fresh)
            .map_err(|error| error.explain(site))?;
        match membership::join(candidate, with).await {
            Err(
                JoinError::Waits { .. }
                | JoinError::HungUp { .. }
                | JoinError::Unreachable { .. }
                | JoinError::Net(_),
            ) => {}
            ended => return ended.map_err(|error| explain_join(error, site)),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn explain_join(error: JoinError, site: &Site) -> Failure {
    let text = escape::line(&error.to_string());
    match error {
        JoinError::Home(error) => error.explain(site),
        JoinError::Expired => {
            Failure::new(ExitCode::NotPermitted, text).hint("get a new one on a member: muster invite")
        }
        JoinError::Waits { words, .. } => Failure::new(ExitCode::AwaitsApproval, text)
            .hint(format!("its keys, to be compared: {words}"))
            .hint("the directory keeps them: run the same command again to go on waiting"),
        JoinError::BadName(_) => Failure::usage(text).hint("name this host: --host-name web-1"),
        JoinError::Unreachable { tried } => {
            let mut failure = Failure::new(ExitCode::Unreachable, text);
            for (address, why) in tried.iter().take(3) {
                failure = failure.hint(format!("{address}: {}", escape::line(why)));
            }
            failure.hint("check that a member's agent runs and that its port is open, then run this again")
        }
        JoinError::NotTheFleet { .. } => Failure::new(ExitCode::NotPermitted, text).hint(
            "somebody else answers at that address: get a token with the right one: muster invite --address",
        ),
        JoinError::Refused(_) => {
            Failure::new(ExitCode::NotPermitted, text).hint("get a new token on a member: muster invite")
        }
        JoinError::HungUp { .. } => Failure::new(ExitCode::Unreachable, text)
            .hint("a member takes in some hosts at a time: run this again when others are through"),
        JoinError::TagNotAllowed(_) => {
            Failure::usage(text).hint("leave -l out to take the token's tags as they are")
        }
        JoinError::Net(_) => Failure::new(ExitCode::Internal, text).hint("run the same command again"),
    }
}
