//! From what was typed to one call, and from its result to an exit code.

use std::{
    cell::RefCell,
    env,
    ffi::OsString,
    io::{self, BufRead, BufReader, IsTerminal as _, Write},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use clap::{FromArgMatches as _, error::ErrorKind};
use serde_json::json;

use super::{
    agent,
    arguments::{
        Arguments, Global, Host, HostTag, HostUntag, Init, Inventory, InventoryCompare, InventorySearch,
        InventoryShow, Invite, Leave, Listen, Select, Store, Verb, command,
    },
    chance, complete, config, context, demo, doctor,
    failure::{self, ExitCode, Explain, Failure, Site, quoted},
    manual, run, scenario, schema, targeting,
};
use crate::{
    authority::TagChange,
    control::{Anchor, CONTROL_VERSION, Client, ControlError},
    node::{Places, Settings, clock},
    selector::{self, parse_label},
    services::{
        hosts::{self, Which},
        inventory,
        membership::{self, FoundRequest, InviteRequest},
        status, upkeep,
    },
    terminal::{
        Output, Style, Talk, escape,
        prompt::Consequence,
        style::{ColorChoice, ColorEnvironment, wants_color},
        time,
    },
    time::Timestamp,
};

/// Where a new host listens unless it is told otherwise.
const LISTEN_DEFAULT: &str = "0.0.0.0:7946";
/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// How long what is watched stands before it is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Looks a variable of the environment up.
type Variables = Box<dyn Fn(&str) -> Option<OsString>>;

/// What surrounds the process: so that a test can be that.
pub(super) struct Surroundings {
    pub(super) env: Variables,
    pub(super) is_root: bool,
    pub(super) input: Box<dyn BufRead>,
    pub(super) out: Box<dyn Write>,
    pub(super) err: Box<dyn Write>,
    /// Which of the three are terminals, in that order.
    pub(super) terminals: [bool; 3],
    /// How many columns the terminal has, if output goes to one.
    pub(super) columns: Option<usize>,
    pub(super) now: Timestamp,
}

impl Surroundings {
    /// Those that there are.
    fn real() -> Self {
        Self {
            env: Box::new(|name| env::var_os(name)),
            is_root: rustix::process::geteuid().is_root(),
            input: Box::new(BufReader::new(io::stdin())),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            terminals: [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()],
            columns: rustix::termios::tcgetwinsize(io::stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|columns| *columns > 0),
            now: clock::now(),
        }
    }
}

/// What every command has at hand.
pub(super) struct Context {
    pub(super) site: Site,
    pub(super) output: Output<Box<dyn Write>>,
    pub(super) talk: Talk,
    pub(super) now: Timestamp,
    /// Whether standard input, output and error are terminals.
    pub(super) terminals: [bool; 3],
    /// How many columns standard output has, if it is one.
    pub(super) columns: Option<usize>,
    /// What is said for every command.
    pub(super) global: Global,
    /// How standard output looks.
    pub(super) out_style: Style,
    /// The user's name, if the environment says.
    user: Option<String>,
    /// The context that is meant, if the flag or the environment says.
    pub(super) named: Option<String>,
    /// From when what is shown is, if no member of the fleet answers.
    pub(super) as_of: Option<Timestamp>,
}

/// Runs what was typed.
pub fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    // The confined process of the agent: nothing that reads arguments or the environment runs before it.
    if arguments.get(1).is_some_and(|word| word == "mesh-process") {
        return match agent::mesh_process() {
            Ok(code) => code.into(),
            Err(failure) => {
                let _best_effort = io::stderr().write_all(failure.render(Style::default()).as_bytes());
                failure.kind.into()
            }
        };
    }
    run_words(arguments, Surroundings::real()).into()
}

/// Runs `arguments`, the program's name first.
pub(super) fn run_words(arguments: Vec<OsString>, mut around: Surroundings) -> ExitCode {
    let words: Vec<String> =
        arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let read =
        command().try_get_matches_from(arguments).and_then(|found| Arguments::from_arg_matches(&found));
    let arguments = match read {
        Ok(arguments) => arguments,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let style = Style { color: around.color(ColorChoice::Auto, 1) };
            let text = error.render();
            let text = if style.color { text.ansi().to_string() } else { text.to_string() };
            // A reader that went away is not an error.
            let _broken_pipe = around.out.write_all(text.as_bytes()).and_then(|()| around.out.flush());
            return ExitCode::Success;
        }
        Err(error) => {
            let _best_effort =
                around.err.write_all(usage_text(&error.render().to_string(), &words).as_bytes());
            return ExitCode::Usage;
        }
    };
    let style = Style { color: around.color(arguments.global.color, 2) };
    let (mut context, errors) = around.context(&arguments.global);
    match dispatch(&mut context, arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            errors.say(&failure.render(style));
            failure.kind
        }
    }
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
    for word in typed.iter().take_while(|word| *word != "--") {
        // Flags and their values lie in between.
        let Some(next) = tree.find_subcommand(word).cloned() else { continue };
        path = format!("{path} {}", next.get_name());
        tree = next;
    }
    let body = escape::block(&lines.join("\n"));
    let no_dashes = path == "muster run"
        && text.contains("unexpected argument '")
        && !text.contains("unexpected argument '-")
        && !typed.iter().any(|word| word == "--");
    let hint = if no_dashes { "hint: what to run comes after --: muster run --all -- true\n" } else { "" };
    format!("{body}\n\n{hint}hint: how to write it: {path} --help\n")
}

/// Standard error, for the talk of a command and for its failure.
#[derive(Clone)]
struct Shared(Rc<RefCell<Box<dyn Write>>>);

impl Shared {
    fn say(&self, text: &str) {
        let _best_effort = self.0.borrow_mut().write_all(text.as_bytes());
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Surroundings {
    fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }

    /// Whether to colour what goes to stream `number`.
    fn color(&self, choice: ColorChoice, number: usize) -> bool {
        let (no_color, clicolor_force, term) =
            (self.var("NO_COLOR"), self.var("CLICOLOR_FORCE"), self.var("TERM"));
        let environment = ColorEnvironment {
            no_color: no_color.as_deref(),
            clicolor_force: clicolor_force.as_deref(),
            term: term.as_deref(),
        };
        wants_color(choice, environment, self.terminals.get(number).copied().unwrap_or_default())
    }

    fn context(self, global: &Global) -> (Context, Shared) {
        let places = Places::find(
            global.state.as_deref(),
            global.socket.as_deref(),
            |name| (self.env)(name),
            self.is_root,
        );
        let site = Site { places, state: global.state.clone(), socket: global.socket.clone() };
        let style = |number| Style { color: self.color(global.color, number) };
        let (out_style, err_style) = (style(1), style(2));
        let named = global.context.clone().or_else(|| self.var("MUSTER_CONTEXT"));
        let user = self.var("SUDO_USER").or_else(|| self.var("USER"));
        let [in_terminal, out_terminal, err_terminal] = self.terminals;
        let errors = Shared(Rc::new(RefCell::new(self.err)));
        let context = Context {
            site,
            // A table that was asked for is one on a pipe as well.
            output: Output::new(
                self.out,
                global.output.unwrap_or_default(),
                out_terminal || global.output.is_some(),
                out_style,
                self.now,
            )
            .within(self.columns),
            talk: Talk::new(
                errors.clone(),
                self.input,
                err_style,
                in_terminal && err_terminal,
                global.yes,
                global.quiet,
            ),
            now: self.now,
            terminals: self.terminals,
            columns: self.columns,
            global: global.clone(),
            out_style,
            user,
            named,
            as_of: None,
        };
        (context, errors)
    }
}

fn dispatch(context: &mut Context, verb: Verb) -> Result<ExitCode, Failure> {
    let client = context::enter(context, &verb)?;
    let done = perform(context, verb);
    context::leave(context, client);
    done
}

fn perform(context: &mut Context, verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Demo(demo) => demo::demo(context, &demo),
        Verb::Init(init) => found(context, &init),
        Verb::Invite(request) => wait(invite(context, &request)),
        Verb::Join(join) => agent::join(context, &join),
        Verb::Leave(request) => wait(leave(context, &request)),
        Verb::Agent(start) => agent::agent(context, &start),
        Verb::Status => wait(show_status(context)),
        Verb::Host(verb) => host(context, verb),
        Verb::Hosts(list) => host(context, Host::Ls(list)),
        Verb::Run(run) => run::run(context, &run),
        Verb::Job(job) => run::job(context, &job),
        Verb::Inventory(verb) => inventory(context, &verb),
        Verb::Select(select) => targeting::select(context, &select),
        Verb::Group(verb) => targeting::group(context, &verb),
        Verb::Store(Store::Check) => wait(store_check(context)),
        Verb::Scenario(verb) => scenario::scenario(context, &verb),
        Verb::Completion(completion) => text(context, complete::script(completion.shell).as_bytes()),
        Verb::Man(man) => match man.dir {
            Some(dir) => {
                let pages = manual::write_all(&dir)?;
                context.talk.say(&format!("{pages} pages in {}", escape::line(&dir.display().to_string())));
                Ok(ExitCode::Success)
            }
            None => text(context, &manual::page(&man.path)?),
        },
        Verb::Version => version(context),
        Verb::MeshProcess => agent::mesh_process(),
        Verb::Doctor => wait(doctor::doctor(context)),
        Verb::Context(verb) => context::context(context, verb),
        Verb::Config(config) => config::config(context, &config),
        Verb::Schema(schema) => schema::schema(context, &schema),
        Verb::Complete(words) => Ok(complete::complete(context, &words)),
    }
}

/// Runs a command that waits. Those that do not, start no runtime.
pub(super) fn wait<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::Internal, format!("cannot wait for the agent: {error}")))?;
    runtime.block_on(command)
}

pub(super) async fn connect(context: &Context) -> Result<Client, Failure> {
    Client::connect(&context.site.places.socket).await.map_err(|error| error.explain(&context.site))
}

fn text(context: &mut Context, bytes: &[u8]) -> Result<ExitCode, Failure> {
    let text = String::from_utf8_lossy(bytes);
    context.output.text(&text).map_err(|error| error.explain(&context.site))?;
    Ok(ExitCode::Success)
}

fn version(context: &mut Context) -> Result<ExitCode, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({ "version": version, "control": CONTROL_VERSION });
    context
        .output
        .document("version", &document, |_| format!("muster {version}\n"))
        .map_err(|error| error.explain(&context.site))?;
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

fn found(context: &mut Context, init: &Init) -> Result<ExitCode, Failure> {
    let (site, places) = (&context.site, &context.site.places);
    let recovery =
        init.recovery.clone().unwrap_or_else(|| PathBuf::from(format!("./{}-recovery.txt", init.name)));
    let host = host_name(init.host_name.as_deref(), "muster init NAME")?;
    let person = init.person.as_deref().or(context.user.as_deref()).unwrap_or("operator");
    let request = FoundRequest {
        name: &init.name,
        person,
        operator_valid: DAY * init.operator_days,
        host: &host,
        tags: &init.labels,
        state: &places.state,
        operators: &places.operators,
        recovery: &recovery,
        now: context.now,
    };
    membership::check_found(&request).map_err(|error| error.explain(site))?;
    let settings = settings_for(site, &init.listen)?;
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
    settings.write(&places.config).map_err(|error| error.explain(site))?;
    let founded = membership::found(&request, &mut fresh).map_err(|error| error.explain(site))?;

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
    context.output.document("fleet", &document, shown).map_err(|error| error.explain(&context.site))?;
    let next = |command: &str| escape::line(&failure::with_flags(&context.site, command));
    context
        .talk
        .say("keep the recovery key off this machine: it governs the fleet, and daily work does not need it");
    context.talk.say(&format!("start this host:  {}", next("muster agent")));
    context.talk.say(&format!("let others join:  {}", next("muster invite -l role=web")));
    Ok(ExitCode::Success)
}

async fn invite(context: &mut Context, request: &Invite) -> Result<ExitCode, Failure> {
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

async fn show_status(context: &mut Context) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let Context { site, output, talk, now, .. } = context;
    status::status(&mut client, &site.places.operators, &site.places.state, *now, output, talk)
        .await
        .map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

async fn store_check(context: &mut Context) -> Result<ExitCode, Failure> {
    let Context { site, output, now, .. } = context;
    let (check, online) = match Client::connect(&site.places.socket).await {
        Ok(mut client) => {
            (upkeep::check_online(&mut client).await.map_err(|error| error.explain(site))?, true)
        }
        Err(ControlError::NoAgent { .. }) => {
            let check =
                upkeep::check_offline(&site.places.state, *now).map_err(|error| error.explain(site))?;
            (check, false)
        }
        Err(error) => return Err(error.explain(site)),
    };
    upkeep::show(&check, online, output).map_err(|error| error.explain(site))?;
    if check.whole {
        return Ok(ExitCode::Success);
    }
    let failure = Failure::new(ExitCode::Internal, "the store is damaged");
    Err(if online {
        failure.hint("the agent has written it again; see for yourself: muster store check")
    } else {
        failure.hint("damaged rows are fetched again from others by the agent when it starts: muster agent")
    })
}

fn inventory(context: &mut Context, verb: &Inventory) -> Result<ExitCode, Failure> {
    if let Inventory::Compare(InventoryCompare { ecosystem, first, second }) = verb {
        let compared = inventory::compare(ecosystem, first, second, &mut context.output);
        return compared.map(|()| ExitCode::Success).map_err(|error| error.explain(&context.site));
    }
    wait(ask_inventory(context, verb))
}

async fn ask_inventory(context: &mut Context, verb: &Inventory) -> Result<ExitCode, Failure> {
    let asked = match verb {
        Inventory::Search(InventorySearch { expression, columns, count_by, limit }) => {
            Some(inventory::Asked {
                expression: expression.clone(),
                columns: columns.clone(),
                count_by: count_by.clone(),
                limit: *limit,
            })
        }
        _ => None,
    };
    // What can be told from the words alone is told before anybody is asked.
    asked.iter().try_for_each(inventory::Asked::check).map_err(|error| error.explain(&context.site))?;
    let mut client = connect(context).await?;
    let Context { site, output, talk, now, .. } = context;
    let done = match (verb, asked) {
        (Inventory::Show(InventoryShow { host, table }), _) => {
            inventory::show(&mut client, host, table.as_deref(), *now, output, talk).await
        }
        (_, Some(asked)) => inventory::search(&mut client, &asked, output, talk).await,
        (Inventory::Types, None) => inventory::types(&mut client, output).await,
        // Asks nobody.
        (Inventory::Compare(_) | Inventory::Search(_), None) => Ok(()),
    };
    done.map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

fn which(names: Vec<String>, select: Select) -> Which {
    Which { names, selector: select.target, labels: select.labels }
}

fn host(context: &mut Context, verb: Host) -> Result<ExitCode, Failure> {
    // What can be told from the words alone is told before anybody is asked.
    let work = match verb {
        Host::Ls(list) if list.watch => {
            let work = Work::List(which(Vec::new(), list.select));
            return wait(again(context, async |context| work_on_hosts(context, &work).await));
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
    };
    wait(work_on_hosts(context, &work))
}

/// Shows something again and again, until Ctrl-C or until nobody reads it any longer.
async fn again(
    context: &mut Context,
    mut once: impl AsyncFnMut(&mut Context) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let rows = rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_row))
        .filter(|rows| *rows > 0);
    context.output.watch(rows);
    // One for all rounds: a key that is pressed while a round is under way must not be lost.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        context.now = clock::now();
        context.output.at(context.now);
        once(context).await?;
        if context.output.is_closed() {
            return Ok(ExitCode::Success);
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            _ = &mut interrupted => return Ok(ExitCode::Interrupted),
        }
    }
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
