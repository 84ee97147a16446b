//! From what was typed to one call, and from its result to an exit code.

use std::{
    env,
    io::{self, BufReader, IsTerminal as _, Stdout, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::{FromArgMatches as _, error::ErrorKind};
use serde_json::json;

use super::{
    arguments::{
        Arguments, Global, Host, HostTag, HostUntag, Init, Invite, Leave, Listen, Select, Verb, command,
    },
    chance, clock,
    failure::{self, ExitCode, Explain, Failure, quoted},
    manual, pending,
};
use crate::{
    authority::TagChange,
    control::{Anchor, CONTROL_VERSION, Client},
    node::{Places, Settings},
    selector::{self, parse_label},
    services::{
        hosts::{self, Which},
        membership::{self, FoundRequest, InviteRequest},
        status,
    },
    terminal::{
        Output, Style, Talk, escape,
        prompt::Consequence,
        style::{ColorEnvironment, wants_color},
        time,
    },
    time::Timestamp,
};

/// Where a new host listens unless it is told otherwise.
const LISTEN_DEFAULT: &str = "0.0.0.0:7946";
/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// What every command has at hand.
pub(super) struct Context {
    pub(super) places: Places,
    pub(super) output: Output<Stdout>,
    pub(super) talk: Talk,
    pub(super) now: Timestamp,
}

/// Runs what was typed.
pub fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    // The confined process of the agent: nothing that reads arguments or the environment runs before it.
    if arguments.get(1).is_some_and(|word| word == "mesh-process") {
        return end(pending::mesh_process(), Style::default());
    }
    let read =
        command().try_get_matches_from(arguments).and_then(|found| Arguments::from_arg_matches(&found));
    match read {
        Ok(arguments) => {
            let style = style_for(&arguments.global, io::stderr().is_terminal());
            end(dispatch(arguments), style)
        }
        Err(error) => usage(&error),
    }
}

fn end(result: Result<ExitCode, Failure>, style: Style) -> std::process::ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            let _best_effort = io::stderr().write_all(failure.render(style).as_bytes());
            failure.kind.into()
        }
    }
}

/// What the argument parser says: help and version are data, the rest is a failure with a next step.
fn usage(error: &clap::Error) -> std::process::ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _broken_pipe = error.print();
        return ExitCode::Success.into();
    }
    let text = error.render().to_string();
    let mut words = env::args().skip(1).take_while(|word| !word.starts_with('-'));
    let path: Vec<String> = words.by_ref().take(2).collect();
    let text = usage_text(&text, &path);
    let _best_effort = io::stderr().write_all(text.as_bytes());
    ExitCode::Usage.into()
}

/// The parser's text with this program's last line: one next command, for the deepest command that was
/// named.
pub(super) fn usage_text(text: &str, typed: &[String]) -> String {
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("For more information")).collect();
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    let mut tree = command();
    let mut path = String::from("muster");
    for word in typed {
        let Some(next) = tree.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", next.get_name());
        tree = next;
    }
    let body = escape::block(&lines.join("\n"));
    format!("{body}\n\nhint: how to write it: {path} --help\n")
}

fn style_for(global: &Global, is_terminal: bool) -> Style {
    let var = |name: &str| env::var(name).ok();
    let (no_color, clicolor_force, term) = (var("NO_COLOR"), var("CLICOLOR_FORCE"), var("TERM"));
    let environment = ColorEnvironment {
        no_color: no_color.as_deref(),
        clicolor_force: clicolor_force.as_deref(),
        term: term.as_deref(),
    };
    Style { color: wants_color(global.color, environment, is_terminal) }
}

fn context(global: &Global) -> Context {
    let is_root = rustix::process::geteuid().is_root();
    let places =
        Places::find(global.state.as_deref(), global.socket.as_deref(), |name| env::var_os(name), is_root);
    let now = clock::now();
    let out_is_terminal = io::stdout().is_terminal();
    let (in_terminal, err_terminal) = (io::stdin().is_terminal(), io::stderr().is_terminal());
    Context {
        places,
        output: Output::new(
            io::stdout(),
            global.output,
            out_is_terminal,
            style_for(global, out_is_terminal),
            now,
        ),
        talk: Talk::new(
            io::stderr(),
            BufReader::new(io::stdin()),
            style_for(global, err_terminal),
            in_terminal && err_terminal,
            global.yes,
            global.quiet,
        ),
        now,
    }
}

fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    let mut context = context(&arguments.global);
    match arguments.command {
        Verb::Demo(demo) => pending::demo(&mut context, &demo),
        Verb::Init(init) => found(&mut context, &init),
        Verb::Invite(request) => wait(invite(&mut context, &request)),
        Verb::Join(join) => pending::join(&mut context, &join),
        Verb::Leave(request) => wait(leave(&mut context, &request)),
        Verb::Agent(agent) => pending::agent(&mut context, &agent),
        Verb::Status => wait(show_status(&mut context)),
        Verb::Host(verb) => wait(host(&mut context, verb)),
        Verb::Hosts(list) => wait(host(&mut context, Host::Ls(list))),
        Verb::Run(run) => pending::run(&mut context, &run),
        Verb::Job(job) => pending::job(&mut context, &job),
        Verb::Completion(completion) => text(&mut context, &manual::completion(completion.shell)),
        Verb::Man(man) => match man.dir {
            Some(dir) => {
                let pages = manual::write_all(&dir)?;
                context.talk.say(&format!("{pages} pages in {}", escape::line(&dir.display().to_string())));
                Ok(ExitCode::Success)
            }
            None => text(&mut context, &manual::page(&man.path)?),
        },
        Verb::Version => version(&mut context),
        Verb::MeshProcess => pending::mesh_process(),
    }
}

/// Runs a command that waits. Those that do not, start no runtime.
pub(super) fn wait(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::Internal, format!("cannot wait for the agent: {error}")))?;
    runtime.block_on(command)
}

pub(super) async fn connect(context: &Context) -> Result<Client, Failure> {
    Client::connect(&context.places.socket).await.map_err(|error| error.explain(&context.places))
}

fn text(context: &mut Context, bytes: &[u8]) -> Result<ExitCode, Failure> {
    let text = String::from_utf8_lossy(bytes);
    context.output.text(&text).map_err(|error| error.explain(&context.places))?;
    Ok(ExitCode::Success)
}

fn version(context: &mut Context) -> Result<ExitCode, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({ "version": version, "control": CONTROL_VERSION });
    context
        .output
        .document("version", &document, |_| format!("muster {version}\n"))
        .map_err(|error| error.explain(&context.places))?;
    Ok(ExitCode::Success)
}

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
pub(super) fn settings_for(places: &Places, listen: &Listen) -> Result<Settings, Failure> {
    let there = places.config.exists();
    let mut settings = Settings::read(&places.config).map_err(|error| error.explain(places))?;
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

fn person(given: Option<&str>) -> String {
    let named = |name: &str| env::var(name).ok().filter(|name| !name.is_empty());
    let found = given.map(str::to_owned).or_else(|| named("SUDO_USER")).or_else(|| named("USER"));
    found.unwrap_or_else(|| "operator".to_owned())
}

fn found(context: &mut Context, init: &Init) -> Result<ExitCode, Failure> {
    let places = &context.places;
    let recovery =
        init.recovery.clone().unwrap_or_else(|| PathBuf::from(format!("./{}-recovery.txt", init.name)));
    let host = host_name(init.host_name.as_deref(), "muster init NAME")?;
    let request = FoundRequest {
        name: &init.name,
        person: &person(init.person.as_deref()),
        operator_valid: DAY * init.operator_days,
        host: &host,
        tags: &init.labels,
        state: &places.state,
        operators: &places.operators,
        recovery: &recovery,
        now: context.now,
    };
    membership::check_found(&request).map_err(|error| error.explain(places))?;
    let settings = settings_for(places, &init.listen)?;
    if init.dry_run {
        context.talk.say(&format!(
            "would found fleet {} with host {} in {}, operator key in {}, recovery key in {}; nothing was written",
            init.name,
            host,
            escape::line(&quoted(&places.state)),
            escape::line(&quoted(&places.operators.join(&init.name))),
            escape::line(&quoted(&recovery)),
        ));
        return Ok(ExitCode::Success);
    }
    let mut fresh = chance::source(16)?;
    // Settings go first: they mean nothing without a host, and a host without them would not listen.
    settings.write(&places.config).map_err(|error| error.explain(places))?;
    let founded = membership::found(&request, &mut fresh).map_err(|error| error.explain(places))?;

    let key = founded.operator.key.public().fingerprint();
    let document = json!({
        "name": init.name,
        "id": founded.operator.chain.fleet().to_string(),
        "host": host,
        "host_id": founded.host.host().to_string(),
        "listen": settings.listen,
        "state": places.state,
        "config": places.config,
        "recovery": recovery,
        "operator": { "person": request.person, "key": key, "directory": founded.operator.dir() },
    });
    let shown = |style: Style| {
        format!(
            "{} {} · recovery key in {} · operator key {key}\n",
            failure::good(style, "fleet"),
            init.name,
            escape::line(&recovery.display().to_string()),
        )
    };
    context.output.document("fleet", &document, shown).map_err(|error| error.explain(&context.places))?;
    let places = &context.places;
    let next = |command: &str| escape::line(&failure::with_state(places, command));
    context
        .talk
        .say("keep the recovery key off this machine: it governs the fleet, and daily work does not need it");
    context.talk.say(&format!("start this host:  {}", next("muster agent")));
    context.talk.say(&format!("let others join:  {}", next("muster invite -l role=web")));
    Ok(ExitCode::Success)
}

async fn invite(context: &mut Context, request: &Invite) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let places = &context.places;
    let anchor = Anchor::find(&client, &places.operators).map_err(|error| error.explain(places))?;
    let Some(operator) = anchor.operator() else {
        let fleet = &anchor.chain().genesis().name;
        return Err(failure::not_an_operator(
            format!("this user has no operator key for fleet {fleet}"),
            places,
        ));
    };
    let asked = InviteRequest {
        tags: request.labels.clone(),
        uses: request.uses,
        valid: request.ttl,
        addresses: request.addresses.clone(),
    };
    let invited = membership::invite(&mut client, operator, &asked, &chance::draw()?, context.now)
        .await
        .map_err(|error| error.explain(places))?;
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
        .map_err(|error| error.explain(places))?;
    if invited.token.addresses.iter().all(|address| address.ip().is_loopback()) {
        context.talk.warn(
            "the token's addresses can be reached from this machine only; others need --address IP:PORT",
        );
    }
    let hosts = if request.uses == 1 { "one host".to_owned() } else { format!("{} hosts", request.uses) };
    context.talk.say(&format!(
        "for {hosts}, until {until} ({}); on each:  sudo muster join {token}",
        time::ago(invited.token.expires, context.now),
    ));
    Ok(ExitCode::Success)
}

async fn leave(context: &mut Context, request: &Leave) -> Result<ExitCode, Failure> {
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
    let anchor =
        Anchor::find(&client, &context.places.operators).map_err(|error| error.explain(&context.places))?;
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
        .map_err(|error| error.explain(&context.places))?;
    membership::leave(&mut client).await.map_err(|error| error.explain(&context.places))?;
    let mark = failure::good(context.talk.style(), "left");
    context.talk.say(&format!("{mark} fleet {}; the agent has ended", escape::line(&fleet)));
    Ok(ExitCode::Success)
}

async fn show_status(context: &mut Context) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let Context { places, output, talk, now } = context;
    status::status(&mut client, &places.operators, *now, output, talk)
        .await
        .map_err(|error| error.explain(places))?;
    Ok(ExitCode::Success)
}

fn which(names: Vec<String>, select: Select) -> Which {
    Which { names, selector: select.target, labels: select.labels }
}

async fn host(context: &mut Context, verb: Host) -> Result<ExitCode, Failure> {
    // What can be told from the words alone is told before anybody is asked.
    let work = match verb {
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
    };
    let mut client = connect(context).await?;
    let Context { places, output, talk, now } = context;
    let operators = &places.operators;
    let done = match &work {
        Work::List(which) => hosts::list(&mut client, operators, which, output, talk).await,
        Work::Show(name) => hosts::show(&mut client, operators, name, *now, output, talk).await,
        Work::Tag { which, wanted, dry_run } => {
            let seed = chance::draw()?;
            hosts::tag(&mut client, operators, which, wanted, *dry_run, seed, *now, talk).await
        }
        Work::Ping(which, within) => hosts::ping(&mut client, operators, which, *within, output, talk).await,
    };
    done.map_err(|error| error.explain(places))?;
    Ok(ExitCode::Success)
}

enum Work {
    List(Which),
    Show(String),
    Tag { which: Which, wanted: Vec<TagChange>, dry_run: bool },
    Ping(Which, Duration),
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
