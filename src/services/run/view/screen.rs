//! What a person sees of a job, as a function of its events.
//!
//! [`Screen::on`] takes an event and gives what to write where; it waits for nothing and knows no clock.
//! Output shows in one of four ways. *Raw*: the bytes of one host, as they come. *Live*: lines as they come,
//! each behind the name of its host. *Folded*: when all is over, once for all hosts that said the same; the
//! caller fetches that output and lays it out on a [`Page`](super::group::Page). *Not at all*.
//!
//! `auto` is raw for one host, live for up to [`LIVE_HOSTS_MAX`], folded for more. Most commands end before a
//! person could read two lines, and are read best folded; so `auto` holds what a host says for
//! [`FOLDED_WITHIN`], and shows it live only if the host is not done by then. Who asks for `live` gets it at once.
//!
//! Memory: what is held of a host is bounded ([`HELD_BYTES_MAX`], and a line of each stream).

use std::{collections::BTreeMap, time::Duration};

use super::{
    group::{self, Group},
    line::{Lines, Part},
    names::Names,
    progress::Progress,
    words,
};
use crate::{
    control::StreamName,
    identity::HostId,
    services::run::{
        Status, View,
        event::{Chunk, Event, Exit, Note, Start, Summary, Weight},
    },
    terminal::{Style, escape, raw, wrap},
};

/// More hosts than this do not show live on their own.
pub(super) const LIVE_HOSTS_MAX: usize = 20;
/// A command that is done within this shows folded, in the view `auto`.
const FOLDED_WITHIN: Duration = Duration::from_secs(1);
/// What is held of one host in that time; with more, it shows at once.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// How often who waits is told how far it is, where that cannot be redrawn.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// From when on it shows where it can.
const PROGRESS_FROM: Duration = Duration::from_secs(1);
/// How a screen is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::services::run) struct Options {
    /// Which view was asked for.
    pub(in crate::services::run) view: View,
    /// How many columns standard output has, if it is a terminal.
    pub(in crate::services::run) columns: Option<usize>,
    /// How many standard error has, if it is one.
    pub(in crate::services::run) err_columns: Option<usize>,
    /// Whether standard output is a terminal.
    pub(in crate::services::run) out_terminal: bool,
    /// Whether standard error is.
    pub(in crate::services::run) err_terminal: bool,
    /// Colour on standard output.
    pub(in crate::services::run) style: Style,
}

/// What to write where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::services::run) enum Effect {
    /// To standard output, as it is.
    Out(Vec<u8>),
    /// To standard error, as it is: a host's own.
    Err(Vec<u8>),
    /// To standard error, as a line.
    Say(String),
    /// In place of the line that shows how far it is; nothing takes that away.
    Progress(String),
}

/// How output shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As it comes, one host.
    Raw,
    /// When all is over, one host after the other.
    RawLater,
    /// As it comes, by lines; after so long.
    Live(Duration),
    /// When all is over, once for all who said the same.
    Folded,
    /// Not at all.
    Quiet,
}

impl Mode {
    /// What a view is for so many hosts.
    pub(super) fn of(view: View, hosts: usize) -> Self {
        match view {
            View::Auto | View::Raw if hosts == 1 => Self::Raw,
            View::Auto if hosts <= LIVE_HOSTS_MAX => Self::Live(FOLDED_WITHIN),
            View::Raw => Self::RawLater,
            View::Live => Self::Live(Duration::ZERO),
            View::Auto | View::Group => Self::Folded,
            View::Quiet => Self::Quiet,
        }
    }
}

/// What a person sees of one job.
#[derive(Debug)]
pub(in crate::services::run) struct Screen {
    options: Options,
    mode: Mode,
    labels: BTreeMap<HostId, String>,
    progress: Progress,
    exits: BTreeMap<HostId, Exit>,
    hosts: BTreeMap<HostId, Voice>,
    names: Names,
    speaker: Option<HostId>,
    job: String,
    progress_shown: bool,
    next_progress: Duration,
    mid_line: bool,
}

/// What is known of a host that speaks.
#[derive(Debug, Default)]
struct Voice {
    since: Duration,
    live: bool,
    held: Vec<(StreamName, Vec<u8>)>,
    stdout: Feed,
    stderr: Feed,
}

/// One of its streams.
#[derive(Debug, Default)]
struct Feed {
    next: u64,
    lines: Lines,
    filter: Option<raw::Filter>,
}

impl Voice {
    fn feed(&mut self, stream: StreamName) -> &mut Feed {
        match stream {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        }
    }
}

impl Screen {
    /// A screen on which nothing is.
    pub(in crate::services::run) fn new(options: Options) -> Self {
        Self {
            options,
            mode: Mode::Quiet,
            labels: BTreeMap::new(),
            progress: Progress::default(),
            exits: BTreeMap::new(),
            hosts: BTreeMap::new(),
            names: Names::default(),
            speaker: None,
            job: String::new(),
            progress_shown: false,
            next_progress: Duration::ZERO,
            mid_line: false,
        }
    }

    /// The terminals are of this width from now on; what stands there stays as it is.
    pub(super) fn resize(&mut self, columns: Option<usize>, err_columns: Option<usize>) {
        self.options.err_columns = err_columns;
        if self.options.columns != columns {
            self.options.columns = columns;
            self.lay_out();
        }
    }

    fn lay_out(&mut self) {
        let columns = self.options.columns.filter(|_| self.options.out_terminal);
        let was_above = self.names.is_above();
        self.names = Names::of(self.labels.values(), columns, self.options.out_terminal, self.options.style);
        if was_above != self.names.is_above() {
            // Who speaks is named again, where names stand above from now on.
            self.speaker = None;
        }
    }

    /// Takes what happened, `elapsed` after the start.
    pub(in crate::services::run) fn on(&mut self, event: &Event, elapsed: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Start(start) => self.start(start, &mut effects),
            Event::Running { host } => {
                self.progress.running(*host);
                self.hosts.entry(*host).or_insert_with(|| Voice { since: elapsed, ..Voice::default() });
            }
            Event::Chunk(chunk) => self.chunk(chunk, elapsed, &mut effects),
            Event::Answered { host, status } => {
                self.progress.answered(*host, *status);
            }
            Event::Exit(exit) => self.exit(exit, &mut effects),
            Event::Note(note) => self.note(note, &mut effects),
            Event::Tick => {
                self.release(elapsed, &mut effects);
                self.tick(elapsed, &mut effects);
            }
            Event::Summary(summary) => self.summary(summary, &mut effects),
        }
        self.release(elapsed, &mut effects);
        self.around(effects)
    }

    /// Whether chunks show, so that asking for them is worth it.
    pub(in crate::services::run) fn takes_chunks(&self) -> bool {
        matches!(self.mode, Mode::Raw | Mode::Live(_))
    }

    /// Whether all output of `host` must come as chunks before its exit.
    pub(super) fn wants_all(&self, host: &HostId) -> bool {
        match self.mode {
            Mode::Raw | Mode::RawLater => true,
            Mode::Live(held) => held.is_zero() || self.is_live(host),
            Mode::Folded | Mode::Quiet => false,
        }
    }

    /// Whether output has to wait for its turn, until all is over.
    pub(super) fn is_later(&self) -> bool {
        self.mode == Mode::RawLater
    }

    /// Whether there are groups at the end.
    pub(super) fn folds(&self) -> bool {
        matches!(self.mode, Mode::Live(_) | Mode::Folded)
    }

    /// What hosts did and said, folded; with each group, whether its output has not shown yet.
    pub(super) fn groups(&self) -> Vec<(Group, bool)> {
        let mut exits: Vec<(&str, &Exit)> =
            self.exits.values().map(|exit| (self.label(&exit.host), exit)).collect();
        exits.sort_by_key(|(label, _)| *label);
        let unseen = |group: &Group| group.hosts.iter().any(|host| !self.was_shown(host));
        group::fold(exits.into_iter())
            .into_iter()
            .map(|group| {
                let unseen = unseen(&group);
                (group, unseen)
            })
            .collect()
    }

    /// What `host` is called.
    pub(super) fn label(&self, host: &HostId) -> &str {
        self.labels.get(host).map_or("?", String::as_str)
    }

    /// Whether a host's lines have shown, or would as they come.
    fn is_live(&self, host: &HostId) -> bool {
        self.hosts.get(host).is_some_and(|voice| voice.live)
    }

    fn was_shown(&self, host: &HostId) -> bool {
        self.mode == Mode::Live(Duration::ZERO) || self.is_live(host)
    }

    /// Whether standard error is for the one host's own bytes: raw, into a file or pipe.
    fn is_bare(&self) -> bool {
        self.mode == Mode::Raw && !self.options.err_terminal
    }

    /// Keeps progress out of the way of what is written, on a terminal that shows both.
    fn around(&mut self, mut effects: Vec<Effect>) -> Vec<Effect> {
        let writes = |effect: &Effect| !matches!(effect, Effect::Progress(_));
        if self.progress_shown && effects.iter().any(writes) {
            self.progress_shown = false;
            effects.insert(0, Effect::Progress(String::new()));
        }
        if let Some(Effect::Progress(text)) = effects.last() {
            self.progress_shown = !text.is_empty();
        }
        effects
    }

    fn start(&mut self, start: &Start, effects: &mut Vec<Effect>) {
        self.mode = Mode::of(self.options.view, start.roster.len());
        self.labels = start.roster.iter().cloned().collect();
        self.lay_out();
        self.progress.total = start.roster.len();
        self.job = start.job.short();
        if !self.is_bare() {
            effects.push(Effect::Say(format!(
                "{} · as {} by grant of {} · job {}",
                words::counted(start.roster.len()),
                escape::line(&start.run_as),
                escape::line(&start.by),
                self.job,
            )));
        }
    }

    fn chunk(&mut self, chunk: &Chunk, elapsed: Duration, effects: &mut Vec<Effect>) {
        if !matches!(self.mode, Mode::Raw | Mode::RawLater | Mode::Live(_))
            || !self.labels.contains_key(&chunk.host)
        {
            return;
        }
        let color = self.options.style.color;
        let terminal = match chunk.fd {
            StreamName::Stdout => self.options.out_terminal,
            StreamName::Stderr => self.options.err_terminal,
        };
        let voice =
            self.hosts.entry(chunk.host).or_insert_with(|| Voice { since: elapsed, ..Voice::default() });
        let feed = voice.feed(chunk.fd);
        if chunk.seq < feed.next || self.exits.contains_key(&chunk.host) {
            return;
        }
        let gap = chunk.seq > feed.next;
        feed.next = chunk.seq + 1;
        if gap {
            let text = format!("{}: output is missing here", self.label(&chunk.host));
            effects.push(Effect::Say(text));
        }
        let Some(voice) = self.hosts.get_mut(&chunk.host) else { return };
        if let Mode::Live(_) = self.mode {
            voice.held.push((chunk.fd, chunk.data.clone()));
            return;
        }
        let bytes = if terminal {
            let filter = voice.feed(chunk.fd).filter.get_or_insert_with(|| raw::Filter::new(color));
            filter.push(&chunk.data).into_bytes()
        } else {
            chunk.data.clone()
        };
        self.raw(chunk.fd, bytes, effects);
    }

    /// Shows what was held of those that have talked for long enough.
    fn release(&mut self, elapsed: Duration, effects: &mut Vec<Effect>) {
        let Mode::Live(wait) = self.mode else { return };
        let due = |voice: &Voice| {
            let bytes: usize = voice.held.iter().map(|(_, bytes)| bytes.len()).sum();
            !voice.held.is_empty()
                && (voice.live || elapsed >= voice.since.saturating_add(wait) || bytes > HELD_BYTES_MAX)
        };
        let due: Vec<HostId> =
            self.hosts.iter().filter(|(_, voice)| due(voice)).map(|(host, _)| *host).collect();
        for host in due {
            let Some(voice) = self.hosts.get_mut(&host) else { continue };
            voice.live = true;
            for (stream, bytes) in std::mem::take(&mut voice.held) {
                let Some(voice) = self.hosts.get_mut(&host) else { continue };
                let parts = voice.feed(stream).lines.push(&bytes);
                self.live(host, stream, &parts, effects);
            }
        }
    }

    /// Shows lines behind their host's name.
    fn live(&mut self, host: HostId, stream: StreamName, parts: &[Part], effects: &mut Vec<Effect>) {
        if parts.is_empty() {
            return;
        }
        let label = self.label(&host);
        let mut out = if self.speaker == Some(host) { String::new() } else { self.names.above(label) };
        out.push_str(&self.names.margin(label, stream).written(parts));
        self.speaker = Some(host);
        effects.push(Effect::Out(out.into_bytes()));
    }

    fn raw(&mut self, stream: StreamName, bytes: Vec<u8>, effects: &mut Vec<Effect>) {
        let Some(last) = bytes.last() else { return };
        self.mid_line = *last != b'\n';
        effects.push(match stream {
            StreamName::Stdout => Effect::Out(bytes),
            StreamName::Stderr => Effect::Err(bytes),
        });
    }

    fn exit(&mut self, exit: &Exit, effects: &mut Vec<Effect>) {
        if !self.labels.contains_key(&exit.host) {
            return;
        }
        self.progress.answered(exit.host, exit.status);
        if self.exits.insert(exit.host, exit.clone()).is_some() {
            return;
        }
        let shows = self.wants_all(&exit.host);
        if let Some(mut voice) = self.hosts.remove(&exit.host) {
            for stream in [StreamName::Stdout, StreamName::Stderr] {
                let feed = std::mem::take(voice.feed(stream));
                if let Some(filter) = feed.filter {
                    self.raw(stream, filter.finish().into_bytes(), effects);
                }
                if shows && matches!(self.mode, Mode::Live(_)) {
                    let mut lines = feed.lines;
                    let mut parts = Vec::new();
                    for (_, bytes) in voice.held.iter().filter(|(held, _)| *held == stream) {
                        parts.extend(lines.push(bytes));
                    }
                    parts.extend(lines.finish());
                    self.live(exit.host, stream, &parts, effects);
                }
            }
            // Remembered, without what it held: whether it was shown.
            self.hosts.insert(exit.host, Voice { live: voice.live, ..Voice::default() });
        }
        if shows {
            for (output, word) in [(exit.stdout, "output"), (exit.stderr, "error output")] {
                if let Some(cut) = output.and_then(words::cut) {
                    effects.push(Effect::Say(format!("{}: {word} {cut}", self.label(&exit.host))));
                }
            }
        }
    }

    fn note(&mut self, note: &Note, effects: &mut Vec<Effect>) {
        if note.weight == Weight::Warning || (self.options.view != View::Quiet && !self.is_bare()) {
            effects.push(Effect::Say(note.text.clone()));
        }
    }

    fn tick(&mut self, elapsed: Duration, effects: &mut Vec<Effect>) {
        if self.options.err_terminal {
            // A host's line that is not at its end must not be drawn over.
            if elapsed >= PROGRESS_FROM && !self.mid_line {
                effects.push(Effect::Progress(self.progress.bar(elapsed, self.options.err_columns)));
            }
        } else if elapsed >= PROGRESS_EVERY && elapsed >= self.next_progress {
            self.next_progress = elapsed.saturating_add(PROGRESS_EVERY);
            effects.push(Effect::Say(self.progress.text(elapsed)));
        }
    }

    fn summary(&mut self, summary: &Summary, effects: &mut Vec<Effect>) {
        if self.mid_line && self.options.out_terminal && self.options.err_terminal {
            // What this program says begins its own line.
            effects.push(Effect::Say(String::new()));
        }
        if summary.strays > 0 {
            effects.push(Effect::Say(format!(
                "warning: {} results of hosts outside the roster",
                summary.strays
            )));
        }
        let next = words::next_step(&summary.counts, &self.job);
        if self.is_bare() {
            for exit in self.exits.values() {
                let usual = matches!(exit.status, Status::Ok | Status::Failed);
                if !usual || exit.claim.is_some() || exit.conflict {
                    let (sign, label) = (exit.status.mark().sign(), self.label(&exit.host));
                    effects.push(Effect::Say(format!("{sign} {label}: {}", exit.words)));
                    effects.push(Effect::Say(next.clone()));
                }
            }
            return;
        }
        let sum = words::summary(&summary.counts, self.differing());
        let beside = format!("{sum}{:10}{next}", "");
        let narrow = |columns: &usize| self.options.err_terminal && escape::width(&beside) > *columns;
        match self.options.err_columns.filter(narrow) {
            Some(columns) => {
                let rows = [wrap::soft(&sum, columns), wrap::soft(&next, columns)].concat();
                effects.extend(rows.into_iter().map(Effect::Say));
            }
            None => effects.push(Effect::Say(beside)),
        }
    }

    /// How many hosts that succeeded said something else than most of them.
    fn differing(&self) -> usize {
        let mut said: BTreeMap<_, usize> = BTreeMap::new();
        for exit in self.exits.values().filter(|exit| exit.status == Status::Ok) {
            let hash = |output: Option<crate::replica::Output>| output.map(|output| output.hash);
            *said.entry((hash(exit.stdout), hash(exit.stderr))).or_default() += 1;
        }
        said.values().sum::<usize>() - said.values().max().copied().unwrap_or(0)
    }
}
