//! What a command says to a person beside its data: remarks, warnings, questions. None of it touches
//! standard output.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, BufRead, Write},
};

use super::{
    change::{Change, Outcome},
    prompt::{self, Consequence, Decision},
    style::{Mark, Style},
};

/// Why an action was not agreed to. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody can be asked, and `--yes` was not given.
    #[error("{}", prompt::REFUSED)]
    NobodyToAsk,
    /// The answer was no.
    #[error("not agreed to: nothing was done")]
    Declined,
    /// The question could not be put.
    #[error("cannot ask")]
    Io(#[from] io::Error),
}

/// Different lines that are said while something is watched.
const SAID_MAX: usize = 64;
/// Remarks that are kept for a document.
const REMARKS_MAX: usize = 64;

/// Where remarks go and answers come from.
pub struct Talk {
    out: Box<dyn Write>,
    input: Box<dyn BufRead>,
    style: Style,
    quiet: bool,
    is_terminal: bool,
    yes: bool,
    /// What was said, once nothing is to be said twice.
    said: Option<BTreeSet<String>>,
    lines: usize,
    /// What was said, for scripts.
    remarks: Vec<String>,
    change: Option<Change>,
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talk").field("quiet", &self.quiet).field("yes", &self.yes).finish_non_exhaustive()
    }
}

impl Talk {
    /// Talks to `out` and hears from `input`. `is_terminal`: whether both are one; `yes`: whether every
    /// question is answered already; `quiet`: whether remarks are left out.
    pub fn new(
        out: impl Write + 'static,
        input: impl BufRead + 'static,
        style: Style,
        is_terminal: bool,
        yes: bool,
        quiet: bool,
    ) -> Self {
        Self {
            out: Box::new(out),
            input: Box::new(input),
            style,
            quiet,
            is_terminal,
            yes,
            said: None,
            lines: 0,
            remarks: Vec::new(),
            change: None,
        }
    }

    /// How this program's words are coloured here.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Whether remarks are left out.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says nothing twice from now on, since what is shown is shown again and again.
    pub fn once_each(&mut self) {
        self.said = Some(BTreeSet::new());
    }

    /// How many lines were said.
    pub fn lines(&self) -> usize {
        self.lines
    }

    fn line(&mut self, text: &str) {
        if let Some(said) = &mut self.said
            && (said.len() >= SAID_MAX || !said.insert(text.to_owned()))
        {
            return;
        }
        self.lines += 1;
        // Whoever cannot be told is not the reason to stop.
        let _best_effort = writeln!(self.out, "{text}");
    }

    /// Says something that a script can do without: what goes on, what to do next. `text` is this
    /// program's own or escaped.
    pub fn say(&mut self, text: &str) {
        self.keep(text);
        if !self.quiet {
            self.line(text);
        }
    }

    fn keep(&mut self, text: &str) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(text.to_owned());
        }
    }

    /// Says that something was changed: `word` in this program's own green, then what. `ids` are those of what was
    /// signed for it. Scripts get the same as a document.
    pub fn changed(&mut self, word: &'static str, what: &str, ids: Vec<String>) {
        self.record(Outcome::Changed, what, ids);
        if !self.quiet {
            let mark = self.style.mark(Mark::Good, word);
            self.line(&format!("{mark} {what}"));
        }
    }

    /// Says what would be done, on a dry run.
    pub fn would(&mut self, what: &str) {
        self.record(Outcome::Foreseen, what, Vec::new());
        if !self.quiet {
            self.line(&format!("would {what}; nothing was changed"));
        }
    }

    /// Says that it is so already.
    pub fn already(&mut self, what: &str) {
        self.record(Outcome::Unchanged, what, Vec::new());
        if !self.quiet {
            self.line("nothing to do: it is so already");
        }
    }

    /// Keeps what came of it for a document, and says nothing.
    pub fn record(&mut self, outcome: Outcome, what: &str, ids: Vec<String>) {
        self.change = Some(Change { outcome, what: Some(what.to_owned()), ids });
    }

    /// What came of it, if it was recorded, and the remarks beside it.
    pub fn take_change(&mut self) -> (Option<Change>, Vec<String>) {
        (self.change.take(), std::mem::take(&mut self.remarks))
    }

    /// Says what nobody should miss, `--quiet` or not.
    pub fn warn(&mut self, text: &str) {
        self.keep(text);
        let mark = self.style.mark(Mark::Warning, "warning:");
        self.line(&format!("{mark} {text}"));
    }

    /// Whether [`Talk::confirm`] would wait for a person.
    pub fn would_ask(&self, consequence: Consequence) -> bool {
        matches!(prompt::decide(consequence, self.is_terminal, self.yes), Decision::Ask(_))
    }

    /// Asks `question` where the consequence demands it.
    ///
    /// # Errors
    /// When it was not agreed to.
    pub fn confirm(&mut self, consequence: Consequence, question: &str) -> Result<(), AskError> {
        match prompt::decide(consequence, self.is_terminal, self.yes) {
            Decision::Go => Ok(()),
            Decision::Refuse => Err(AskError::NobodyToAsk),
            Decision::Ask(kind) => {
                if prompt::ask(kind, question, &mut self.input, &mut self.out)? {
                    Ok(())
                } else {
                    Err(AskError::Declined)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Rc<RefCell<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn talk(sink: &Sink, input: &'static str, terminal: bool, quiet: bool) -> Talk {
        Talk::new(sink.clone(), input.as_bytes(), Style::default(), terminal, false, quiet)
    }

    #[test]
    fn quiet_leaves_remarks_out_and_warnings_in() {
        let sink = Sink::default();
        let mut quiet = talk(&sink, "", false, true);
        quiet.say("a remark");
        quiet.warn("look");
        assert_eq!(String::from_utf8(sink.0.borrow().clone()).unwrap(), "! warning: look\n");
    }

    #[test]
    fn what_is_watched_says_nothing_twice() {
        let sink = Sink::default();
        let mut talk = talk(&sink, "", false, false);
        talk.once_each();
        for text in ["one", "two", "one", "two"] {
            talk.warn(text);
        }
        let written = String::from_utf8(sink.0.borrow().clone()).unwrap();
        assert_eq!((talk.lines(), written.lines().count()), (2, 2));
    }

    #[test]
    fn only_a_yes_on_a_terminal_agrees() {
        let sink = Sink::default();
        assert!(talk(&sink, "y\n", true, false).confirm(Consequence::Change, "Do it?").is_ok());
        let no = talk(&sink, "n\n", true, false).confirm(Consequence::Change, "Do it?");
        assert!(matches!(no, Err(AskError::Declined)));
        let nobody = talk(&sink, "y\n", false, false).confirm(Consequence::Change, "Do it?");
        assert!(matches!(nobody, Err(AskError::NobodyToAsk)));
    }
}
