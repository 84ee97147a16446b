//! `muster host`.

use std::{path::Path, time::Duration};

use super::{
    arguments::{Host, HostAdmit, HostTag, HostUntag, Select},
    chance,
    dispatch::{Context, connect, wait},
    failure::{ExitCode, Explain as _, Failure, Site, quoted},
    trust::rooted,
    watching::shown,
};
use crate::{
    authority::TagChange,
    selector::{self, parse_label},
    services::{
        authority::{self, Named, StopRequest},
        hosts::{self, Notice, Which},
        membership::{self, AnswerWith, OfflineJoinError},
    },
    terminal::{escape, prompt::Consequence},
};

fn which(names: Vec<String>, select: Select) -> Which {
    Which { names, selector: select.target, labels: select.labels }
}

pub(super) fn host(context: &mut Context, verb: &Host) -> Result<ExitCode, Failure> {
    // What can be told from the words alone is told before anybody is asked.
    let work = match verb.clone() {
        Host::Ls(list) if list.watch => {
            let work = Work::List(which(Vec::new(), list.select));
            return wait(shown(context, true, async |context: &mut Context| {
                work_on_hosts(context, &work).await
            }));
        }
        Host::Ls(list) => Work::List(which(Vec::new(), list.select)),
        Host::Show(show) => Work::Show(show.host),
        Host::Tag(tag) => tag_work(tag)?,
        Host::Untag(untag) => untag_work(untag)?,
        Host::Ping(ping) => {
            let which = which(ping.hosts, ping.select);
            if which.is_empty() {
                return Err(no_target("ping", "muster host ping web-1"));
            }
            Work::Ping(which, ping.timeout)
        }
        Host::Admit(HostAdmit { file: Some(file), answer: Some(answer), labels, dry_run, .. }) => {
            return wait(answer_request(context, &file, &answer, &labels, dry_run));
        }
        Host::Admit(admit) => Work::Admit { names: admit.hosts, admitted: true, dry_run: admit.dry_run },
        Host::Deny(deny) => Work::Admit { names: deny.hosts, admitted: false, dry_run: deny.dry_run },
        Host::Rename(rename) => Work::Notice {
            names: vec![rename.host],
            notice: Notice::Name(rename.name),
            dry_run: rename.dry_run,
        },
        Host::Retire(retire) => {
            Work::Notice { names: retire.hosts, notice: Notice::Gone, dry_run: retire.dry_run }
        }
        Host::Suspend(_) | Host::Lift(_) | Host::Revoke(_) => return wait(stop(context, verb)),
    };
    wait(work_on_hosts(context, &work))
}

async fn work_on_hosts(context: &mut Context, work: &Work) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let Context { site, output, talk, now, .. } = context;
    let operators = &site.places.operators;
    let done = match work {
        Work::List(which) => hosts::list(&mut client, operators, which, output, talk).await,
        Work::Show(name) => hosts::show(&mut client, operators, name, *now, output, talk).await,
        Work::Tag { which, wanted, dry_run } => {
            let seed = chance::draw()?;
            hosts::tag(&mut client, operators, which, wanted, *dry_run, seed, *now, talk).await
        }
        Work::Admit { names, admitted, dry_run } => {
            hosts::admit(&mut client, operators, names, *admitted, *dry_run, *now, talk).await
        }
        Work::Notice { names, notice, dry_run } => {
            let seed = chance::draw()?;
            hosts::notice(&mut client, operators, names, notice, *dry_run, seed, *now, talk).await
        }
        Work::Ping(which, within) => hosts::ping(&mut client, operators, which, *within, output, talk).await,
    };
    done.map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

enum Work {
    List(Which),
    Show(String),
    Tag { which: Which, wanted: Vec<TagChange>, dry_run: bool },
    Ping(Which, Duration),
    Admit { names: Vec<String>, admitted: bool, dry_run: bool },
    Notice { names: Vec<String>, notice: Notice, dry_run: bool },
}

/// Answers a host that has no link.
async fn answer_request(
    context: &mut Context,
    file: &Path,
    answer: &Path,
    tags: &[(String, String)],
    dry_run: bool,
) -> Result<ExitCode, Failure> {
    let explained = |error: OfflineJoinError, site: &Site| error.explain(site);
    let asked = membership::read_request(file).map_err(|error| explained(error, &context.site))?;
    let (name, words) = (escape::cell(&asked.name), asked.keys.words());
    let shown: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let shown = if shown.is_empty() { "no tags".to_owned() } else { escape::cell(&shown.join(" ")) };
    context.talk.say(&format!("{name}  {words}  {shown}"));
    if dry_run {
        context.talk.say(&format!("would let in {name}; nothing was changed"));
        return Ok(ExitCode::Success);
    }
    let question = format!("Do these words stand on its screen too, and let in {name} with {shown}?");
    context.talk.confirm(Consequence::Change, &question).map_err(|error| error.explain(&context.site))?;
    let mut client = connect(context).await?;
    let seed = chance::draw()?;
    let with = AnswerWith { request: &asked, tags, file: answer, seed: &seed, now: context.now };
    membership::answer(&mut client, &context.site.places.operators, with)
        .await
        .map_err(|error| explained(error, &context.site))?;
    let file = escape::line(&quoted(answer));
    context
        .talk
        .say(&format!("the answer, which lets in {name} alone, is in {file}; keep it as you would a token"));
    context.talk.say(&format!("on {name}:  sudo muster join --answer {file}"));
    Ok(ExitCode::Success)
}

/// What stops a host, or ends that.
async fn stop(context: &mut Context, verb: &Host) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let client = &mut client;
    let Context { site, talk, now, .. } = context;
    let operators = &site.places.operators;
    let done = match verb {
        Host::Suspend(suspend) => {
            let request = StopRequest {
                who: Named::Host(&suspend.host),
                since: Duration::ZERO,
                reason: &suspend.reason,
                dry_run: suspend.dry_run,
            };
            authority::suspend(client, operators, &request, *now, talk).await
        }
        Host::Lift(lift) => {
            let who = Named::Host(&lift.host);
            authority::lift(client, operators, who, &rooted(&lift.roots), *now, talk).await
        }
        Host::Revoke(revoke) => {
            let who = Named::Host(&revoke.host);
            authority::revoke(client, operators, who, Duration::ZERO, &rooted(&revoke.roots), *now, talk)
                .await
        }
        _ => Ok(()),
    };
    done.map(|()| ExitCode::Success).map_err(|error| error.explain(site))
}

fn no_target(verb: &str, example: &str) -> Failure {
    Failure::usage(format!("no target: which hosts to {verb} was not said"))
        .hint(format!("such as: {example}, or with -t 'tag.role = web'"))
}

fn tag_work(tag: HostTag) -> Result<Work, Failure> {
    let (labels, names): (Vec<String>, Vec<String>) =
        tag.words.into_iter().partition(|word| word.contains('='));
    let which = which(names, tag.select);
    if which.is_empty() {
        return Err(no_target("tag", "muster host tag web-1 role=web"));
    }
    let mut wanted = Vec::new();
    for label in &labels {
        let (key, value) = parse_label(label).map_err(|error| {
            Failure::usage(format!("{label:?} is no tag: {error}"))
                .hint("such as: muster host tag web-1 role=web")
        })?;
        wanted.push(TagChange { key, value: Some(value) });
    }
    if wanted.is_empty() {
        return Err(Failure::usage("no tag was given").hint("such as: muster host tag web-1 role=web"));
    }
    Ok(Work::Tag { which, wanted, dry_run: tag.dry_run })
}

fn untag_work(untag: HostUntag) -> Result<Work, Failure> {
    const EXAMPLE: &str = "muster host untag web-1 frozen";
    let selected = untag.select.target.is_some() || !untag.select.labels.is_empty();
    let mut words = untag.words;
    let names = if selected { Vec::new() } else { words.drain(..1.min(words.len())).collect() };
    if words.is_empty() {
        return Err(Failure::usage("which tags to take off was not said").hint(format!("such as: {EXAMPLE}")));
    }
    let mut wanted = Vec::new();
    for key in words {
        // Any value stands for the key alone.
        selector::check_tag(&key, "v").map_err(|error| {
            Failure::usage(format!("{key:?} is no key of a tag: {error}")).hint(format!("such as: {EXAMPLE}"))
        })?;
        wanted.push(TagChange { key, value: None });
    }
    Ok(Work::Tag { which: which(names, untag.select), wanted, dry_run: untag.dry_run })
}
