//! What went wrong, in words for people: a kind (which sets the exit code), a sentence, where it is
//! pointed at, and what to do next. Every module's error becomes one of these here and nowhere else.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use crate::{
    authority::Refusal,
    control::{AnchorError, ControlError, PickError},
    journal::{HostHome, HostHomeError, KeyFileError, OperatorError},
    node::{Places, SettingsError},
    scenario::{self, Trouble},
    selector::{Selector, SelectorError},
    services::{
        hosts::{HostsError, TagError},
        inventory::InventoryError,
        membership::OfflineJoinError,
        membership::{FoundError, InviteError},
        run::RunError,
        status::StatusError,
        upkeep::OfflineError,
    },
    terminal::{AskError, OutputError, Style, escape, style::Mark},
};

/// Every exit code that there is. Scripts are built on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Every target succeeded.
    Success,
    /// A local or internal failure.
    Internal,
    /// Usage, selector or settings.
    Usage,
    /// The selector matched no host.
    NoHost,
    /// A key is missing, revoked or not permitted.
    NotPermitted,
    /// The local agent or the mesh is unreachable.
    Unreachable,
    /// At least one host failed, refused, expired, was cancelled or is indeterminate.
    HostFailed,
    /// None of those, but some never answered by the deadline.
    Silent,
    /// Stopped by the error budget or at the first failure.
    Stopped,
    /// Waiting for approval.
    AwaitsApproval,
    /// Drift or changes are present.
    Drift,
    /// The wait ran out.
    WaitOver,
    /// Interrupted.
    Interrupted,
    /// The transport was lost; where a host's own code is passed through.
    Lost,
    /// A host's own code, where that is passed through.
    Host(u8),
}

impl ExitCode {
    /// The number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NoHost => 3,
            Self::NotPermitted => 4,
            Self::Unreachable => 5,
            Self::HostFailed => 6,
            Self::Silent => 7,
            Self::Stopped => 8,
            Self::AwaitsApproval => 9,
            Self::Drift => 10,
            Self::WaitOver => 124,
            Self::Interrupted => 130,
            Self::Lost => 255,
            Self::Host(code) => code,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Sets the exit code.
    pub kind: ExitCode,
    /// One sentence, without a full stop. Text of others in it is escaped when it is shown.
    pub message: String,
    /// What is pointed at: lines with a caret under the fault.
    pub pointer: Option<String>,
    /// What to do next: remarks, then one command.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure without hints.
    pub fn new(kind: ExitCode, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), pointer: None, hints: Vec::new() }
    }

    /// A mistake in what was typed.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// Adds a line on what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what is pointed at.
    #[must_use]
    pub fn point(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// The text for standard error. Nothing in it steers a terminal but this program's own colours.
    pub fn render(&self, style: Style) -> String {
        let mut text = String::new();
        let label = if style.color { "\x1b[31merror:\x1b[0m" } else { "error:" };
        let _always = writeln!(text, "{label} {}", escape::line(&self.message));
        if let Some(pointer) = &self.pointer {
            text.push_str(&escape::block(pointer));
            text.push('\n');
        }
        for hint in &self.hints {
            let _always = writeln!(text, "{} {}", style.bold("hint:"), escape::line(hint));
        }
        text
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let Trouble { message, pointer, hints, kind } = trouble;
        let kind = if kind == scenario::Kind::Usage { ExitCode::Usage } else { ExitCode::Internal };
        Self { kind, message, pointer, hints }
    }
}

/// The mark of success, as messages begin with it.
pub(super) fn good(style: Style, word: &'static str) -> String {
    style.mark(Mark::Good, word)
}

/// Where a command looks for files and the socket, and the flags that told it so.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Where.
    pub(super) places: Places,
    /// `--state`, if it was given.
    pub(super) state: Option<PathBuf>,
    /// `--socket`, if it was given.
    pub(super) socket: Option<PathBuf>,
}

/// Turns an error into words. `site` is where the command looked.
pub(super) trait Explain {
    /// In words, with what to do next.
    fn explain(self, site: &Site) -> Failure;
}

/// A next command, with the flags that say where this one looked.
pub(super) fn with_flags(site: &Site, command: &str) -> String {
    let flag = |name: &str, path: &Option<PathBuf>| {
        path.as_ref().map_or_else(String::new, |path| format!(" --{name} {}", quoted(path)))
    };
    format!("{command}{}{}", flag("state", &site.state), flag("socket", &site.socket))
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

impl Explain for ControlError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::NoAgent { .. } => {
                let failure = Failure::new(ExitCode::Unreachable, message);
                match HostHome::open(&site.places.state) {
                    Ok(_) => failure.hint(format!("start it: {}", with_flags(site, "muster agent"))),
                    Err(HostHomeError::NoHost { .. }) => failure
                        .hint(format!("{} holds no host yet", site.places.state.display()))
                        .hint("found a fleet with `muster init NAME`, join one with `muster join TOKEN`, or look around first: muster demo"),
                    Err(_) => failure.hint(
                        "if the agent runs with another state directory, name it with --state or --socket: muster status --socket PATH",
                    ),
                }
            }
            Self::NotAllowed { path } => Failure::new(ExitCode::NotPermitted, message).hint(format!(
                "the socket is for its owner and its group: ls -l {}",
                quoted(Path::new(&path))
            )),
            Self::Version { agent, ours } => Failure::new(ExitCode::Unreachable, message).hint(format!(
                "the {} is older; after updating it: {}",
                if agent < ours { "agent" } else { "command line" },
                with_flags(site, "muster status"),
            )),
            Self::Gone(_) => Failure::new(ExitCode::Unreachable, message)
                .hint(format!("whether it runs says: {}", with_flags(site, "muster status"))),
            Self::Slow(_) => Failure::new(ExitCode::Unreachable, message)
                .hint(format!("how it is says: {}", with_flags(site, "muster status"))),
            Self::Malformed(_) => Failure::new(ExitCode::Unreachable, message)
                .hint("compare the versions of agent and command line: muster version"),
            Self::Offline { .. } => Failure::new(ExitCode::Unreachable, message)
                .hint("which addresses were tried says: muster context show"),
            Self::Refused { right: true, .. } => Failure::new(ExitCode::NotPermitted, message)
                .hint(format!("who you are to this fleet says: {}", with_flags(site, "muster status"))),
            Self::Refused { right: false, .. } => Failure::new(ExitCode::Internal, message)
                .hint(format!("how the agent is says: {}", with_flags(site, "muster status"))),
        }
    }
}

impl Explain for AnchorError {
    fn explain(self, site: &Site) -> Failure {
        match self {
            Self::Operator(error) => error.explain(site),
            Self::Control(error) => error.explain(site),
        }
    }
}

impl Explain for KeyFileError {
    fn explain(self, _: &Site) -> Failure {
        let failure = Failure::new(ExitCode::NotPermitted, self.to_string());
        match self {
            Self::Io { path, source } => {
                let no_right = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
                let kind = if no_right.contains(&source.kind()) { failure.kind } else { ExitCode::Internal };
                Failure { kind, ..failure }.hint(format!("look at it: ls -l {}", quoted(&path)))
            }
            Self::NotOurs { path, .. } => failure.hint(format!("look at it: ls -l {}", quoted(&path))),
            Self::Exposed { path, .. } => failure
                .hint("whoever could read it may have the key")
                .hint(format!("if nobody did: chmod 600 {}", quoted(&path))),
            Self::NotAKey { path, .. } => {
                failure.hint(format!("put the key back, or look: head -3 {}", quoted(&path)))
            }
        }
    }
}

impl Explain for OperatorError {
    fn explain(self, site: &Site) -> Failure {
        let failure = Failure::new(ExitCode::Internal, self.to_string());
        match self {
            Self::Key(error) => error.explain(site),
            Self::Sign(error) => error.explain(site),
            Self::Io { path, .. } | Self::Damaged { path, .. } => {
                failure.hint(format!("look at it: ls -l {}", quoted(&path)))
            }
            Self::NoCertificate { path } => {
                Failure { kind: ExitCode::NotPermitted, ..failure }.hint(format!(
                    "the key and the fleet in that directory do not belong together: ls -l {}",
                    quoted(&path)
                ))
            }
        }
    }
}

impl Explain for HostHomeError {
    fn explain(self, site: &Site) -> Failure {
        let failure = Failure::new(ExitCode::Internal, self.to_string());
        match self {
            Self::Io { path, .. } => failure.hint(format!("look at it: ls -ld {}", quoted(&path))),
            Self::NoHost { .. } => {
                failure.hint("found a fleet with `muster init NAME`, or join one: muster join TOKEN")
            }
            Self::Occupied { .. } => Failure { kind: ExitCode::Usage, ..failure }
                .hint("another host needs another directory: --state DIR")
                .hint(format!(
                    "to take the host there out of its fleet: {}",
                    with_flags(site, "muster leave")
                )),
            Self::NotOurs { path, .. } => Failure { kind: ExitCode::NotPermitted, ..failure }
                .hint(format!("run this as its owner, or look: ls -ld {}", quoted(&path))),
            Self::Exposed { path, .. } => Failure { kind: ExitCode::NotPermitted, ..failure }
                .hint(format!("take the right to write from others: chmod go-w {}", quoted(&path))),
            Self::Newer { .. } => {
                failure.hint("use the newer muster that wrote it; this one is: muster version")
            }
            Self::Locked { .. } => failure.hint(format!("see it: {}", with_flags(site, "muster status"))),
            Self::Key(error) => error.explain(site),
            Self::Journal(_) => failure.hint(format!("look there: ls -lR {}", quoted(&site.places.state))),
            Self::Damaged { path, .. } => {
                failure.hint(format!("restore it from a backup, or look: ls -l {}", quoted(&path)))
            }
        }
    }
}

impl Explain for SettingsError {
    fn explain(self, _: &Site) -> Failure {
        match self {
            Self::Io { ref path, .. } => {
                let hint = format!("look at it: ls -l {}", quoted(path));
                Failure::new(ExitCode::Usage, self.to_string()).hint(hint)
            }
            // The parser's words are several lines, with a caret of their own.
            Self::Malformed { path, problem } => {
                Failure::usage(format!("the settings in {} cannot be used", path.display()))
                    .point(problem.trim_end().to_owned())
                    .hint(format!("correct the file: {} {}", "editor", quoted(&path)))
            }
        }
    }
}

impl Explain for Refusal {
    fn explain(self, _: &Site) -> Failure {
        Failure::new(ExitCode::NotPermitted, format!("not permitted: {self}"))
            .hint("what your certificate allows and until when says: muster status -o json")
    }
}

/// A selector's fault, with a caret under it.
pub(super) fn selector_failure(text: &str, error: &SelectorError) -> Failure {
    let rendered = error.render(text);
    let mut lines = rendered.lines();
    let message = lines.next().unwrap_or_default().to_owned();
    let failure = Failure::usage(message).point(lines.collect::<Vec<_>>().join("\n"));
    match &error.hint {
        Some(hint) => failure.hint(hint.clone()),
        None => failure.hint("such as: muster host ls -t 'tag.role = web and not tag.env = prod'"),
    }
}

/// What to do about a selector that looks at packages or facts where it matched no host: this process has the
/// hosts' certificates and tags, verified, and the agent alone what they say of themselves.
fn looked_up_first(selector: &str) -> Option<String> {
    let parsed = Selector::parse(selector).ok()?;
    let asks = parsed.paths().iter().any(|path| path.deb().is_some() || path.fact().is_some());
    asks.then(|| {
        let search = format!("muster inventory search {} -o name", quoted(Path::new(selector)));
        format!("packages and facts are looked up first, and the hosts named with -H: {search}")
    })
}

impl Explain for PickError {
    fn explain(self, _: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::NoSuch { near, .. } => {
                let failure = Failure::new(ExitCode::NoHost, message);
                let failure = match near {
                    Some(near) => failure.hint(format!("did you mean {near}?")),
                    None => failure,
                };
                failure.hint("all names: muster host ls -o name")
            }
            Self::Ambiguous { .. } => Failure::usage(message)
                .hint("write more of the name, or the beginning of the id: muster host ls -o wide"),
            Self::Selector { text, error } => selector_failure(&text, &error),
            Self::Mistyped { mistyped, .. } => Failure::new(ExitCode::NoHost, message)
                .hint(format!("did you mean {}?", escape::line(&mistyped.near)))
                .hint("the tags that there are: muster host ls"),
            Self::NoMatch { selector } => {
                let hint = looked_up_first(&selector);
                Failure::new(ExitCode::NoHost, message)
                    .hint(hint.unwrap_or_else(|| "the tags that there are: muster host ls".to_owned()))
            }
        }
    }
}

impl Explain for AskError {
    fn explain(self, _: &Site) -> Failure {
        match self {
            Self::NobodyToAsk => Failure::usage("this would ask first, and there is no terminal to ask on")
                .hint("see what it would do with --dry-run, then go ahead with --yes"),
            Self::Declined => Failure::new(ExitCode::Internal, self.to_string()),
            Self::Io(ref error) => Failure::new(ExitCode::Internal, format!("cannot ask: {error}"))
                .hint("go ahead without asking: --yes"),
        }
    }
}

impl Explain for OutputError {
    fn explain(self, _: &Site) -> Failure {
        match &self {
            Self::Write(error) => {
                Failure::new(ExitCode::Internal, format!("cannot write the output: {error}"))
                    .hint("is there room where it goes? df -h .")
            }
            Self::Json { .. } => Failure::new(ExitCode::Internal, self.to_string()),
            Self::NotRows { .. } => Failure::usage(self.to_string()).hint("use -o json, or leave -o out"),
        }
    }
}

/// How versions are compared.
const COMPARE: &str = "such as: muster inventory compare deb 1:2.36-9 2.36-9";

impl Explain for InventoryError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Control(error) => error.explain(site),
            Self::Anchor(error) => error.explain(site),
            Self::Target(error) => error.explain(site),
            Self::Pick(PickError::NoMatch { .. }) => Failure::new(ExitCode::NoHost, message)
                .hint("what hosts say of themselves: muster inventory types"),
            Self::Pick(PickError::Selector { text, error }) => {
                let failure = selector_failure(&text, &error);
                match error.hint {
                    // Here a word alone is as often meant for a package, and two for a fact.
                    Some(_) if error.message.starts_with("no path starts with") => failure
                        .hint("a package is deb.NAME, a fact fact.TABLE.COLUMN: muster inventory types"),
                    Some(_) => failure,
                    None => Failure { hints: Vec::new(), ..failure }
                        .hint("such as: muster inventory search 'deb.openssl < 3.0.13-1~deb12u1'"),
                }
            }
            Self::Pick(error) => error.explain(site),
            Self::NoTable { host, near, .. } => {
                let failure = Failure::new(ExitCode::NoHost, message);
                let failure = match near {
                    Some(near) => failure.hint(format!("did you mean {near}?")),
                    None => failure,
                };
                failure.hint(format!("what it says: muster inventory show {}", quoted(Path::new(&host))))
            }
            Self::NoEcosystem(_) => Failure::usage(message).hint(COMPARE),
            Self::Version { text, .. } => Failure::usage(message)
                .point(format!("  {text}\n  {}", "^".repeat(escape::width(&text).max(1))))
                .hint(COMPARE),
            Self::Output(error) => error.explain(site),
        }
    }
}

impl Explain for HostsError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Control(error) => error.explain(site),
            Self::Anchor(error) => error.explain(site),
            Self::Pick(error) => error.explain(site),
            Self::Target(error) => error.explain(site),
            Self::Refused(refusal) => refusal.explain(site),
            Self::Operator(error) => error.explain(site),
            Self::Ask(error) => error.explain(site),
            Self::Output(error) => error.explain(site),
            Self::Tag(TagError::NotAMember(_)) => {
                Failure::usage(message).hint("who is a member: muster host ls")
            }
            Self::Tag(_) => Failure::usage(message).hint("such as: muster host tag web-1 role=web"),
            Self::NotWaiting { .. } => Failure::usage(message).hint("who waits: muster host ls"),
            Self::Name(_) => Failure::usage(message).hint("such as: muster host rename web-1 web-2"),
            Self::NotAnOperator { .. } => not_an_operator(message, site),
            Self::Partly { source, .. } => {
                let inner = source.explain(site);
                Failure { kind: inner.kind, message, pointer: None, hints: inner.hints }
                    .hint("do it again: what is done is passed over")
            }
            Self::Silent { .. } => {
                Failure::new(ExitCode::Silent, message).hint("who was last seen when: muster host ls")
            }
        }
    }
}

impl Explain for OfflineJoinError {
    fn explain(self, site: &Site) -> Failure {
        let message = escape::line(&self.to_string());
        match self {
            Self::Io { path, .. } => {
                Failure::new(ExitCode::Internal, message).hint(format!("look at it: ls -l {}", quoted(&path)))
            }
            Self::NoRequest { .. } => {
                Failure::usage(message).hint("a new one is made on the host: muster join --request FILE")
            }
            Self::NoAnswer { .. } | Self::OtherHost { .. } => Failure::new(ExitCode::NotPermitted, message)
                .hint("an operator makes a new one: muster host admit --file REQUEST --answer FILE"),
            Self::BadName(_) | Self::NameTaken(_) => {
                Failure::usage(message).hint("name the host: muster join --request FILE --host-name web-1")
            }
            Self::NotAnOperator { .. } => not_an_operator(message, site),
            Self::Refused(refusal) => refusal.explain(site),
            Self::Operator(error) => error.explain(site),
            Self::Control(error) => error.explain(site),
            Self::Anchor(error) => error.explain(site),
            Self::Home(error) => error.explain(site),
        }
    }
}

/// A change without an operator's key.
pub(super) fn not_an_operator(message: String, site: &Site) -> Failure {
    Failure::new(ExitCode::NotPermitted, message).hint(format!(
        "operators' keys are looked for in {}; if another user founded the fleet, change to them: sudo -u USER muster …",
        site.places.operators.display()
    ))
}

impl Explain for StatusError {
    fn explain(self, site: &Site) -> Failure {
        match self {
            Self::Control(error) => error.explain(site),
            Self::Anchor(error) => error.explain(site),
            Self::Output(error) => error.explain(site),
        }
    }
}

impl Explain for OfflineError {
    fn explain(self, site: &Site) -> Failure {
        let message = match &self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        };
        match self {
            Self::Home(error) => error.explain(site),
            Self::Io { path, source } => {
                let kind = match source.kind() {
                    io::ErrorKind::PermissionDenied => ExitCode::NotPermitted,
                    _ => ExitCode::Internal,
                };
                Failure::new(kind, message).hint(format!("look at it: ls -ld {}", quoted(&path)))
            }
            Self::Store(_) => Failure::new(ExitCode::Internal, message)
                .hint(format!("let the agent see to it: {}", with_flags(site, "muster agent"))),
        }
    }
}

impl Explain for InviteError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Uses(_) | Self::NoTime | Self::TagTwice(_) | Self::Addresses(_) => {
                Failure::usage(message).hint("such as: muster invite -l role=web --uses 3 --ttl 2h")
            }
            Self::NobodyListens => Failure::new(ExitCode::Usage, message)
                .hint("say where a member can be reached: muster invite --address IP:PORT"),
            Self::Refused(Refusal::ValidTooLong) => {
                Failure::usage("a token works for at most 30 days").hint("such as: muster invite --ttl 7d")
            }
            Self::Refused(refusal) => refusal.explain(site),
            Self::Operator(error) => error.explain(site),
            Self::Control(error) => error.explain(site),
        }
    }
}

impl Explain for FoundError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::FleetName(_) => Failure::usage(message).hint("such as: muster init acme"),
            Self::HostName(_) => {
                Failure::usage(message).hint("name this host: muster init NAME --host-name web-1")
            }
            Self::Person(_) => Failure::usage(message).hint("say who you are: muster init NAME --person ana"),
            Self::Tag { .. } | Self::TagTwice(_) => {
                Failure::usage(message).hint("such as: muster init acme -l role=web")
            }
            Self::NoValidity => Failure::usage(message).hint("such as: muster init acme --operator-days 30"),
            Self::RecoveryExists(_) | Self::NoRecoveryDir(_) => {
                Failure::usage(message).hint("write it elsewhere: muster init NAME --recovery FILE")
            }
            Self::OperatorExists(path) => Failure::usage(message).hint(format!(
                "choose another name; or, if that fleet is gone, move its key away: mv {0} {0}.old",
                quoted(&path)
            )),
            Self::Host(error) => error.explain(site),
            Self::Operator(error) => error.explain(site),
            Self::Recovery(error) => error.explain(site),
            Self::Chain(_) | Self::Enrolment(_) | Self::Refused(_) => {
                Failure::new(ExitCode::Internal, message)
            }
            Self::HalfWay { made, source } => {
                let inner = source.explain(site);
                let there: Vec<String> =
                    made.iter().filter(|path| path.exists()).map(|path| quoted(path)).collect();
                let failure =
                    Failure { kind: inner.kind, message, pointer: inner.pointer, hints: Vec::new() };
                failure
                    .hint("nothing of this fleet is in use; the host's keys will be used by the next attempt")
                    .hint(format!(
                        "when the cause is gone, clean up and try again: rm -r {}",
                        there.join(" ")
                    ))
            }
        }
    }
}

impl Explain for RunError {
    fn explain(self, site: &Site) -> Failure {
        let kind = ExitCode::Host(self.code());
        match self {
            Self::Control(error) => error.explain(site),
            Self::Operator(error) => error.explain(site),
            error => {
                // The lines below the first point at the offending bit.
                let text = error.to_string();
                let (message, pointer) =
                    text.split_once('\n').map_or((text.as_str(), None), |(m, p)| (m, Some(p)));
                let mut failure = Failure::new(kind, message);
                failure.pointer = pointer.map(str::to_owned);
                for hint in error.hints() {
                    failure = failure.hint(escape::line(&hint));
                }
                failure
            }
        }
    }
}
