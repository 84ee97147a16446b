//! Where the name of the host that speaks stands: beside its lines, or above them.

use super::line::Margin;
use crate::{
    control::StreamName,
    terminal::{Style, escape, wrap},
};

/// Widest column of names beside lines.
const NAMES_COLUMNS_MAX: usize = 32;
/// Narrower terminals have names above the lines, not beside.
const BESIDE_COLUMNS_MIN: usize = 40;

/// How names stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    /// How wide their column is.
    column: usize,
    /// How many columns the terminal has.
    columns: Option<usize>,
    terminal: bool,
    above: bool,
    style: Style,
}

impl Names {
    /// For these names, on a terminal of so many columns, or elsewhere.
    pub(super) fn of<'a>(
        labels: impl Iterator<Item = &'a String>,
        columns: Option<usize>,
        terminal: bool,
        style: Style,
    ) -> Self {
        let widest = labels.map(|label| escape::width(label)).max().unwrap_or(0);
        let column = widest.min(NAMES_COLUMNS_MAX);
        let above = columns.is_some_and(|columns| columns < BESIDE_COLUMNS_MIN || column + 3 > columns / 2);
        Self { column, columns, terminal, above, style }
    }

    /// Whether names stand above lines.
    pub(super) fn is_above(&self) -> bool {
        self.above
    }

    /// What stands above the lines of a host that speaks after another.
    pub(super) fn above(&self, label: &str) -> String {
        if !self.above {
            return String::new();
        }
        let rows = wrap::hard(label, self.columns.unwrap_or(usize::MAX));
        rows.iter().fold(String::new(), |text, row| text + &self.style.bold(row) + "\n")
    }

    /// What stands beside them. Standard error has another sign than standard output.
    pub(super) fn margin(&self, label: &str, stream: StreamName) -> Margin {
        let is_err = stream == StreamName::Stderr;
        // On a pipe a name is as long as it is: whoever cuts at the colon gets it whole.
        if !self.terminal {
            let first = format!("{label}:{} ", if is_err { " !" } else { "" });
            let width = escape::width(&first);
            return Margin { rest: first.clone(), first, width, columns: None, alone: false };
        }
        let (column, columns) = (self.column, self.columns);
        let label = escape::clamp(label, column);
        let gap = " ".repeat(column.saturating_sub(escape::width(&label)));
        let sign = if is_err { "!" } else { "│" };
        let (first, rest, width) = if self.above {
            (self.style.dim(sign), self.style.dim("┆"), 2)
        } else {
            let (first, rest) = (format!("{label}{gap} {sign}"), format!("{:column$} ┆", ""));
            (self.style.dim(&first), self.style.dim(&rest), column + 3)
        };
        Margin { first: first + " ", rest: rest + " ", width, columns, alone: false }
    }
}
