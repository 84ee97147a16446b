//! Hosts that did and said the same, as one.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    difference::{Difference, Line},
    line::{Lines, Margin, Part},
    words,
};
use crate::{
    control::StreamName,
    identity::HostId,
    replica::Output,
    services::run::{Exit, Status},
    terminal::{Style, escape, nodeset, time::took, wrap},
};

/// Narrowest and widest column of names.
const LABEL_COLUMNS: (usize, usize) = (24, 50);
/// Narrower terminals have no column for shorter names to spare.
const SPARING_COLUMNS: usize = 100;
/// Rows of a terminal that the names of one group take at most; `-o name` has them all.
const LABEL_ROWS_MAX: usize = 6;
/// Differing lines that are shown of one stream.
const DIFFERING_SHOWN_MAX: usize = 20;
/// What rows begin with that go on with a sentence of this program.
const INDENT: usize = 4;

/// Hosts that did and said the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Where they stand.
    pub(super) status: Status,
    /// How they ended.
    pub(super) words: String,
    /// What they signed for.
    pub(super) outputs: Option<[Output; 2]>,
    /// Who they are, in order of their labels.
    pub(super) hosts: Vec<HostId>,
    /// What they are called.
    pub(super) labels: Vec<String>,
    /// How long the slowest of them took.
    pub(super) took_ms: Option<u64>,
}

impl Group {
    /// `web-[01-10] (10)`.
    fn label(&self) -> String {
        format!("{} ({})", escape::line(&nodeset::fold(&self.labels)), self.hosts.len())
    }
}

/// Folds hosts, given in order of their labels. The largest group of each status comes first.
pub(super) fn fold<'a>(exits: impl Iterator<Item = (&'a str, &'a Exit)>) -> Vec<Group> {
    let place = |output: Output| (output.hash, output.kept, output.produced);
    let mut groups = BTreeMap::new();
    for (label, exit) in exits {
        let outputs = exit.stdout.zip(exit.stderr).map(|(stdout, stderr)| [stdout, stderr]);
        let key = (exit.status, exit.words.as_str(), outputs.map(|outputs| outputs.map(place)));
        let group = groups.entry(key).or_insert_with(|| Group {
            status: exit.status,
            words: exit.words.clone(),
            outputs,
            hosts: Vec::new(),
            labels: Vec::new(),
            took_ms: None,
        });
        group.hosts.push(exit.host);
        group.labels.push(label.to_owned());
        group.took_ms = group.took_ms.max(exit.ms);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| (a.status, b.hosts.len(), &a.labels).cmp(&(b.status, a.hosts.len(), &b.labels)));
    groups
}

/// How a group's output compares to what most said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Differs {
    /// It is what most said, or there is nothing to compare with.
    Not,
    /// In so many lines.
    In(usize),
    /// Too much to count.
    Somehow,
}

/// How groups are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// How many columns the terminal has; without one, lines are as long as they are.
    columns: Option<usize>,
    style: Style,
    /// How wide the column of names is.
    names: usize,
}

impl Page {
    /// A page for these groups.
    pub(super) fn new(groups: &[Group], columns: Option<usize>, style: Style) -> Self {
        let widest = groups.iter().map(|group| escape::width(&group.label())).max().unwrap_or(0);
        let sparing = columns.is_some_and(|columns| columns < SPARING_COLUMNS);
        let narrowest = if sparing { 0 } else { LABEL_COLUMNS.0 };
        Self { columns, style, names: widest.clamp(narrowest, LABEL_COLUMNS.1) }
    }

    /// Who, how it ended, how long it took, whether it differs.
    pub(super) fn head(&self, group: &Group, differs: Differs) -> String {
        let mark = self.style.mark(group.status.mark(), "");
        let label = group.label();
        let mut facts = vec![group.words.clone()];
        facts.extend(group.took_ms.map(|ms| took(Duration::from_millis(ms))));
        match differs {
            Differs::Not => {}
            Differs::In(1) => facts.push("differs in 1 line".to_owned()),
            Differs::In(lines) => facts.push(format!("differs in {lines} lines")),
            Differs::Somehow => facts.push("differs".to_owned()),
        }
        let gap = " ".repeat(self.names.saturating_sub(escape::width(&label)));
        let beside = facts.join("   ");
        let wide = 2 + escape::width(&label) + gap.len() + 3 + escape::width(&beside);
        let Some(columns) = self.columns.filter(|columns| wide > *columns) else {
            return format!("{mark}{label}{gap}   {beside}\n");
        };
        let mut head = mark;
        let mut names = wrap::hard(&label, columns.saturating_sub(2));
        if names.len() > LABEL_ROWS_MAX {
            names.truncate(LABEL_ROWS_MAX - 1);
            names.push(format!("… ({})", group.hosts.len()));
        }
        head.push_str(&names.join("\n  "));
        head.push('\n');
        for row in wrap::soft(&facts.join(" · "), columns.saturating_sub(INDENT)) {
            let _ = writeln!(head, "{:INDENT$}{row}", "");
        }
        head
    }

    /// Takes what a group said on one stream, piece by piece.
    pub(super) fn block(&self, stream: StreamName) -> Block {
        let first = if stream == StreamName::Stdout { "  " } else { "  ! " };
        let rest = if stream == StreamName::Stdout { " ┆" } else { "  ┆ " };
        let margin = Margin {
            first: first.to_owned(),
            rest: rest.to_owned(),
            width: escape::width(first),
            columns: self.columns,
            alone: true,
        };
        Block { lines: Lines::default(), margin }
    }

    /// What is not as most said it, on one stream.
    pub(super) fn difference(&self, stream: StreamName, difference: &Difference) -> String {
        let mut out = String::new();
        let lines = difference.shown.iter().take(DIFFERING_SHOWN_MAX);
        for line in lines {
            let (mut block, text) = match line {
                Line::Here(text) => (self.block(stream), text),
                Line::Missing(text) => {
                    let mut block = self.block(stream);
                    block.margin.first.push_str("- ");
                    block.margin.rest.push_str("  ");
                    block.margin.width += 2;
                    (block, text)
                }
            };
            out += &block.push(text);
            out += &block.push(b"\n");
        }
        let more = difference.shown.len().saturating_sub(DIFFERING_SHOWN_MAX);
        if more > 0 {
            out += &self.remark(&format!("… {more} more lines differ"));
        }
        out
    }

    /// Says where an output stream was cut, if it was.
    pub(super) fn cut(&self, output: Output) -> String {
        words::cut(output).map(|cut| self.remark(&cut)).unwrap_or_default()
    }

    fn remark(&self, text: &str) -> String {
        let rows = match self.columns {
            Some(columns) => wrap::soft(text, columns.saturating_sub(2)),
            None => vec![text.to_owned()],
        };
        rows.iter().fold(String::new(), |text, row| text + "  " + &self.style.dim(row) + "\n")
    }
}

/// One output stream of a group, indented and escaped.
#[derive(Debug)]
pub(super) struct Block {
    lines: Lines,
    margin: Margin,
}

impl Block {
    pub(super) fn push(&mut self, piece: &[u8]) -> String {
        let parts: Vec<Part> = self.lines.push(piece);
        self.margin.written(&parts)
    }

    pub(super) fn finish(self) -> String {
        self.margin.written(&self.lines.finish())
    }
}
