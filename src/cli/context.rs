//! `muster context`, and how every other command comes by a fleet that has no agent here.
//!
//! Which agent is meant: `--socket` or `--state` (and their variables), then `--context`, `MUSTER_CONTEXT`, the
//! context in use, and the local agent where none is.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{
    arguments::{Host, Inventory, Job, RootsVerb, Verb},
    chance,
    dispatch::Context,
    failure::{ExitCode, Explain, Failure, Site, quoted},
    targeting::Group,
};
use crate::{
    control::did_you_mean,
    identity::{FleetId, JoinToken, TokenError},
    journal::signer::{choose, ways},
    node::clock,
    services::context::{
        self, AddRequest, ContextError, Contexts, Saved, SavedError, Session, Standing, With,
    },
    terminal::{escape, prompt::Consequence, time},
};

/// Longest token or shield file that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// `context`.
#[derive(Clone, Debug, Subcommand)]
pub enum ContextVerb {
    /// Say where a fleet is found, and fetch what it holds
    Add(Box<ContextAdd>),
    /// List the contexts
    #[command(after_help = "Examples:\n  muster context ls\n  muster context ls -o json")]
    Ls,
    /// Show one: the fleet, its addresses, what is kept of it
    #[command(after_help = "Examples:\n  muster context show acme")]
    Show(ContextName),
    /// Take one into use: commands then ask its fleet and no local agent
    #[command(after_help = "Examples:\n  muster context use acme")]
    Use(ContextUse),
    /// Forget one and what is kept of its fleet; the operator key stays
    #[command(after_help = "Examples:\n  muster context rm acme --dry-run")]
    Rm(ContextRm),
}

/// `context add`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A token (muster invite) says the fleet, its addresses and its shield; it is not used up, and one that
has expired will do. Whoever has no token names all three. Then a member is asked for the fleet, every entry of
which is verified under the fleet's id. This machine does not become a host: it listens nowhere.

Your operator key is not in a token. Where this user has none for the fleet, --operator-key names it.

Examples:
  muster context add acme --token - --operator-key ./operator.key < token
  muster context add acme --fleet cxp8…q0sz --address 10.0.0.7:7946 --shield-file ./shield --use"
)]
pub struct ContextAdd {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A join token, or `-` to read it from standard input
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["fleet", "shield_file"])]
    pub token: Option<String>,
    /// Where a member listens; may be repeated [default: the token's]
    #[arg(long = "address", value_name = "IP:PORT")]
    pub addresses: Vec<SocketAddr>,
    /// The fleet's id, as `muster status -o json` and `muster init` show it
    #[arg(long, value_name = "ID", required_unless_present = "token")]
    pub fleet: Option<String>,
    /// A file with the fleet's shield, 64 hexadecimal digits, mode 0600
    #[arg(long, value_name = "FILE", required_unless_present = "token")]
    pub shield_file: Option<PathBuf>,
    /// Your operator key: an ed25519 key file of OpenSSH, or a key in your SSH agent [default: the one this user has]
    #[arg(long, value_name = "KEY")]
    pub operator_key: Option<String>,
    /// Ask nobody now
    #[arg(long)]
    pub offline: bool,
    /// Take it into use
    #[arg(long = "use")]
    pub take: bool,
    /// Reach a member and verify the fleet, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `context show`.
#[derive(Args, Clone, Debug)]
pub struct ContextName {
    /// Its name [default: the one in use]
    #[arg(value_name = "CONTEXT")]
    pub name: Option<String>,
}

/// `context use`.
#[derive(Args, Clone, Debug)]
pub struct ContextUse {
    /// Its name
    #[arg(value_name = "CONTEXT", required_unless_present = "none")]
    pub name: Option<String>,
    /// None: commands ask the local agent again
    #[arg(long, conflicts_with = "name")]
    pub none: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `context rm`.
#[derive(Args, Clone, Debug)]
pub struct ContextRm {
    /// Its name
    #[arg(value_name = "CONTEXT")]
    pub name: String,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a command asks an agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing: it has no use for a context.
    Nothing,
    /// What may be as it was the last time.
    Kept,
    /// An answer.
    Answer,
}

/// What a command needs. One that is not named here needs an answer.
fn needs(verb: &Verb) -> Needs {
    match verb {
        Verb::Demo(_)
        | Verb::Init(_)
        | Verb::Join(_)
        | Verb::Leave(_)
        | Verb::Agent(_)
        | Verb::Store(_)
        | Verb::Scenario(_)
        | Verb::Completion(_)
        | Verb::Man(_)
        | Verb::Version
        | Verb::MeshProcess
        | Verb::Doctor
        | Verb::Context(_)
        | Verb::Config(_)
        | Verb::Schema(_)
        | Verb::Complete(_)
        | Verb::Roots(RootsVerb::Sign(_) | RootsVerb::Key(_))
        | Verb::Inventory(Inventory::Compare(_)) => Needs::Nothing,
        Verb::Host(Host::Ls(list)) | Verb::Hosts(list) if list.watch => Needs::Answer,
        Verb::Host(Host::Ls(_) | Host::Show(_))
        | Verb::Hosts(_)
        | Verb::Job(Job::Ls(_) | Job::Show(_))
        | Verb::Inventory(Inventory::Search(_))
        | Verb::Select(_)
        | Verb::Group(Group::Ls { .. }) => Needs::Kept,
        _ => Needs::Answer,
    }
}

/// The context that is meant, if one is.
pub(super) fn meant(context: &Context) -> Result<Option<String>, Failure> {
    let places = &context.site.places;
    if places.names_agent() && context.global.context.is_none() {
        return Ok(None);
    }
    if context.named.is_some() {
        return Ok(context.named.clone());
    }
    Contexts::at(&places.contexts).current().map_err(|error| error.explain(&context.site))
}

/// Starts the client of the context that is meant, for a command that asks an agent; from then on it is asked where
/// the agent would be.
pub(super) fn enter(context: &mut Context, verb: &Verb) -> Result<Option<Session>, Failure> {
    let needs = needs(verb);
    if needs == Needs::Nothing {
        return Ok(None);
    }
    let Some(name) = meant(context)? else { return Ok(None) };
    let contexts = Contexts::at(&context.site.places.contexts);
    let saved = contexts.open(&name).map_err(|error| error.explain(&context.site))?;
    let with = With {
        name: &name,
        saved: &saved,
        dir: &contexts.dir_of(&name),
        operators: &context.site.places.operators,
        key: None,
        keeps: true,
        clock: clock::now,
        seed: chance::draw()?,
    };
    let session = Session::start(with).map_err(|error| error.explain(&context.site))?;
    for remark in &session.remarks {
        context.talk.warn(&escape::line(remark));
    }
    if let Standing::Offline { why, as_of } = &session.standing {
        let failure = || unreachable(&name, &why.to_string());
        let as_of = as_of.filter(|_| needs == Needs::Kept).ok_or_else(failure)?;
        let ago = time::ago(as_of, context.now);
        context.talk.warn(&format!("as of {ago}, offline: {}", escape::line(&why.to_string())));
        context.as_of = Some(as_of);
        context.output.from_then(Some(as_of));
    }
    context.site.places.socket.clone_from(&session.socket);
    Ok(Some(session))
}

/// Ends the client, and says what happened to it meanwhile.
pub(super) fn leave(context: &mut Context, client: Option<Session>) {
    let Some(client) = client else { return };
    for said in client.said() {
        context.talk.warn(&escape::line(&said));
    }
}

/// The words that a context has for completion.
pub(super) fn words(context: &Context, kind: &str, start: &str, limit: u32) -> Option<Vec<String>> {
    let contexts = Contexts::at(&context.site.places.contexts);
    if kind == "context" {
        let names = contexts.names().ok()?;
        return Some(names.into_iter().filter(|name| name.starts_with(start)).collect());
    }
    let name = meant(context).ok()??;
    context::words_at(&contexts.dir_of(&name), kind, start, limit)
}

fn unreachable(name: &str, why: &str) -> Failure {
    Failure::new(ExitCode::Unreachable, why.to_owned())
        .hint(format!("what is known of the fleet's addresses says: muster context show {name}"))
}

/// `context`.
pub(super) fn context(context: &mut Context, verb: ContextVerb) -> Result<ExitCode, Failure> {
    let contexts = Contexts::at(&context.site.places.contexts);
    match verb {
        ContextVerb::Add(request) => add(context, &contexts, &request),
        ContextVerb::Ls => {
            let used = meant(context)?;
            let Context { site, output, .. } = context;
            let listed = context::list(&contexts, used.as_deref(), output);
            listed.map_err(|error| error.explain(site))?.map_err(|error| error.explain(site))?;
            Ok(ExitCode::Success)
        }
        ContextVerb::Show(show) => {
            let used = meant(context)?;
            let Some(name) = show.name.or_else(|| used.clone()) else {
                return Err(
                    Failure::usage("no context is in use").hint("those that there are: muster context ls")
                );
            };
            let Context { site, output, now, .. } = context;
            let shown = context::show(&contexts, &name, used.as_ref() == Some(&name), *now, output);
            shown.map_err(|error| error.explain(site))?.map_err(|error| error.explain(site))?;
            Ok(ExitCode::Success)
        }
        ContextVerb::Use(take) => take_into_use(context, &contexts, &take),
        ContextVerb::Rm(remove) => {
            contexts.open(&remove.name).or_else(|error| match error {
                // What is damaged can still be removed.
                SavedError::Damaged { .. } | SavedError::Exposed { .. } => {
                    Ok(Saved { fleet: FleetId([0; 32]), shield: [0; 32], addresses: Vec::new() })
                }
                error => Err(error.explain(&context.site)),
            })?;
            let what = format!("context {} and what is kept of its fleet", escape::line(&remove.name));
            if remove.dry_run {
                context.talk.would(&format!("forget {what}"));
                return Ok(ExitCode::Success);
            }
            let asked = context.talk.confirm(Consequence::Change, &format!("Forget {what}?"));
            asked.map_err(|error| error.explain(&context.site))?;
            contexts.remove(&remove.name).map_err(|error| error.explain(&context.site))?;
            let what = format!("context {}; the operator key stays", escape::line(&remove.name));
            context.talk.changed("forgotten", &what, Vec::new());
            Ok(ExitCode::Success)
        }
    }
}

fn take_into_use(context: &mut Context, contexts: &Contexts, take: &ContextUse) -> Result<ExitCode, Failure> {
    let what = match &take.name {
        Some(name) => {
            contexts.open(name).map_err(|error| error.explain(&context.site))?;
            format!("context {}", escape::line(name))
        }
        None => "no context: the local agent is asked".to_owned(),
    };
    if take.dry_run {
        context.talk.would(&format!("take into use {what}"));
        return Ok(ExitCode::Success);
    }
    contexts.use_one(take.name.as_deref()).map_err(|error| error.explain(&context.site))?;
    context.talk.changed("in use", &what, Vec::new());
    Ok(ExitCode::Success)
}

fn add(context: &mut Context, contexts: &Contexts, request: &ContextAdd) -> Result<ExitCode, Failure> {
    let mut saved = match &request.token {
        Some(token) => of_token(token)?,
        None => named(request)?,
    };
    if !request.addresses.is_empty() {
        saved.addresses.clone_from(&request.addresses);
    }
    let key = match &request.operator_key {
        None => None,
        Some(word) => Some(choose(word, &ways()).map_err(|error| error.explain(&context.site))?),
    };
    let added = context::add(
        contexts,
        &context.site.places.operators,
        AddRequest {
            name: &request.name,
            saved: &saved,
            key: key.as_ref(),
            offline: request.offline,
            dry_run: request.dry_run,
            clock: clock::now,
            seed: chance::draw()?,
        },
    )
    .map_err(|error| error.explain(&context.site))?;
    for remark in &added.remarks {
        context.talk.warn(&escape::line(remark));
    }
    let fleet = escape::cell(&added.fleet);
    let seen = match added.hosts {
        Some(1) => " · 1 host".to_owned(),
        Some(hosts) => format!(" · {hosts} hosts"),
        None => " · nobody was asked".to_owned(),
    };
    if request.dry_run {
        context.talk.would(&format!("add context {}: fleet {fleet}{seen}", request.name));
        return Ok(ExitCode::Success);
    }
    context.talk.changed("context", &format!("{} · fleet {fleet}{seen}", request.name), Vec::new());
    if let Some(dir) = &added.operator {
        context.talk.say(&format!("operator key of this fleet: {}", escape::line(&quoted(dir))));
    }
    if request.take {
        contexts.use_one(Some(&request.name)).map_err(|error| error.explain(&context.site))?;
    } else {
        context.talk.say(&format!("to ask it: muster context use {0}, or --context {0}", request.name));
    }
    Ok(ExitCode::Success)
}

/// What a token says of its fleet. It need not be good any more for that.
fn of_token(token: &str) -> Result<Saved, Failure> {
    let mut text = token.to_owned();
    if text == "-" {
        text.clear();
        io::stdin()
            .take(SECRET_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| Failure::usage(format!("cannot read the token: {error}")))?;
    }
    let token = JoinToken::from_text(&text).map_err(|error: TokenError| {
        Failure::usage(error.to_string()).hint("print one on a host: muster invite")
    })?;
    Ok(Saved { fleet: token.fleet, shield: token.shield, addresses: token.addresses })
}

fn named(request: &ContextAdd) -> Result<Saved, Failure> {
    let text = request.fleet.clone().unwrap_or_default();
    let fleet = FleetId::from_text(&text).ok_or_else(|| {
        Failure::usage(format!("{text:?} is no fleet's id")).hint("print it on a host: muster status -o json")
    })?;
    let path = request.shield_file.clone().unwrap_or_default();
    let shield = context::read_shield(&path).map_err(|error| shield_failure(&path, &error))?;
    if request.addresses.is_empty() {
        return Err(Failure::usage("no address was given: where does a member listen?")
            .hint("such as: --address 10.0.0.7:7946"));
    }
    Ok(Saved { fleet, shield, addresses: request.addresses.clone() })
}

fn shield_failure(path: &Path, error: &SavedError) -> Failure {
    Failure::usage(error.to_string())
        .hint(format!("64 hexadecimal digits, mode 0600; look at it: ls -l {}", quoted(path)))
}

impl Explain for SavedError {
    fn explain(self, _: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Io { path, .. } | Self::Damaged { path, .. } => {
                Failure::new(ExitCode::Usage, message).hint(format!("look at it: ls -l {}", quoted(&path)))
            }
            Self::Exposed { path } => Failure::new(ExitCode::NotPermitted, message)
                .hint(format!("take the right to read it from others: chmod 600 {}", quoted(&path))),
            Self::NoSuch { name, others } => {
                let failure = Failure::usage(message);
                let failure = match did_you_mean(&name, others.iter().map(String::as_str)) {
                    Some(near) => failure.hint(format!("did you mean {near}?")),
                    None => failure,
                };
                failure.hint("those that there are: muster context ls")
            }
            Self::Taken(name) => {
                Failure::usage(message).hint(format!("to make it anew: muster context rm {name}"))
            }
            Self::BadName(_) => Failure::usage(message).hint("such as: muster context add acme --token -"),
        }
    }
}

impl Explain for ContextError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Saved(error) => error.explain(site),
            Self::Operator(error) => error.explain(site),
            Self::Control(error) => error.explain(site),
            Self::NoKey { .. } => Failure::new(ExitCode::NotPermitted, message)
                .hint("name the file with your operator key: muster context add NAME --operator-key FILE"),
            Self::Way(context::WayError::Unreachable { .. }) => Failure::new(ExitCode::Unreachable, message)
                .hint("a member that listens can be named: muster context add NAME --address IP:PORT"),
            Self::Way(context::WayError::Refused { .. }) => Failure::new(ExitCode::NotPermitted, message)
                .hint("whether the certificate still holds says, on a host: muster status"),
            Self::NotAMember { .. } => Failure::new(ExitCode::Unreachable, message)
                .hint("name a member's address: muster context add NAME --address IP:PORT"),
            Self::Net(_) | Self::Io(_) => {
                Failure::new(ExitCode::Internal, message).hint("where contexts are says: muster config")
            }
        }
    }
}
