//! When to ask before acting, and asking.
//!
//! Decides by consequence: reading never asks; a change asks; an order asks when it reaches many
//! hosts. Where nobody can answer, what would ask is refused unless `--yes` was given. Knows nothing
//! of what is asked about: the caller shows what, where, as whom and until when.

use std::io::{self, BufRead, Read as _, Write};

/// From how many hosts on an order asks in a fleet of up to 100; beyond, a tenth of the fleet.
pub const ASK_FROM_HOSTS: usize = 10;
/// From how many hosts on the answer is their number instead of `y`.
pub const ASK_COUNT_FROM_HOSTS: usize = 100;
/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 256;

/// What an action does to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing: it only reads.
    Read,
    /// Something that stays: authority, tags, desired state.
    Change,
    /// An order that runs on `hosts` of a fleet of `fleet`.
    Run {
        /// How many hosts it reaches.
        hosts: usize,
        /// How many hosts there are.
        fleet: usize,
    },
}

/// What must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `y` or `yes`.
    Yes,
    /// This number.
    Count(usize),
}

/// What to do before acting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Act.
    Go,
    /// Ask first.
    Ask(Question),
    /// Do not act: nobody can be asked. [`REFUSED`] says so; the exit code is that of a usage error.
    Refuse,
}

/// What a refusal tells.
pub const REFUSED: &str = "this would ask first, and there is no terminal to ask on: add --yes to go ahead";

/// Decides whether to ask. `is_terminal`: both standard input and standard error are one.
#[must_use]
pub fn decide(consequence: Consequence, is_terminal: bool, yes: bool) -> Decision {
    let question = match consequence {
        Consequence::Change => Question::Yes,
        Consequence::Run { hosts, .. } if hosts >= ASK_COUNT_FROM_HOSTS => Question::Count(hosts),
        Consequence::Run { hosts, fleet } if hosts >= ASK_FROM_HOSTS.max(fleet.div_ceil(10)) => Question::Yes,
        Consequence::Read | Consequence::Run { .. } => return Decision::Go,
    };
    match (yes, is_terminal) {
        (true, _) => Decision::Go,
        (false, true) => Decision::Ask(question),
        (false, false) => Decision::Refuse,
    }
}

/// Asks `text` (this program's own words) on `out` and reads one line of `input`. Anything but the
/// full answer, the end of input included, is a no.
///
/// # Errors
/// When reading or writing fails; then nothing was agreed to.
pub fn ask(
    question: Question,
    text: &str,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> io::Result<bool> {
    match question {
        Question::Yes => write!(out, "{text} [y/N] ")?,
        Question::Count(hosts) => write!(out, "{text} Type the number of hosts ({hosts}) to go ahead: ")?,
    }
    out.flush()?;
    let mut answer = String::new();
    input.take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(match question {
        Question::Yes => answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"),
        Question::Count(hosts) => answer == hosts.to_string(),
    })
}

/// As [`ask`], on standard input and standard error. Blocks until a line was typed.
///
/// # Errors
/// As [`ask`].
pub fn ask_terminal(question: Question, text: &str) -> io::Result<bool> {
    ask(question, text, &mut io::stdin().lock(), &mut io::stderr().lock())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(hosts: usize, fleet: usize) -> Decision {
        decide(Consequence::Run { hosts, fleet }, true, false)
    }

    #[test]
    fn reading_never_asks() {
        assert_eq!(decide(Consequence::Read, false, false), Decision::Go);
    }

    #[test]
    fn an_order_asks_from_ten_hosts_or_a_tenth_on_whichever_is_more() {
        assert_eq!(run(9, 9), Decision::Go);
        assert_eq!(run(10, 12), Decision::Ask(Question::Yes));
        assert_eq!(run(49, 500), Decision::Go);
        assert_eq!(run(50, 500), Decision::Ask(Question::Yes));
        assert_eq!(run(50, 501), Decision::Go);
    }

    #[test]
    fn from_a_hundred_hosts_on_their_number_is_typed() {
        assert_eq!(run(99, 200), Decision::Ask(Question::Yes));
        assert_eq!(run(100, 200), Decision::Ask(Question::Count(100)));
        assert_eq!(run(100, 5_000), Decision::Ask(Question::Count(100)));
    }

    #[test]
    fn without_a_terminal_what_would_ask_is_refused_unless_agreed_to() {
        for consequence in [Consequence::Change, Consequence::Run { hosts: 10, fleet: 10 }] {
            assert_eq!(decide(consequence, false, false), Decision::Refuse);
            assert_eq!(decide(consequence, false, true), Decision::Go);
            assert_eq!(decide(consequence, true, true), Decision::Go);
        }
        assert_eq!(decide(Consequence::Run { hosts: 3, fleet: 3 }, false, false), Decision::Go);
    }

    #[test]
    fn only_the_full_answer_is_a_yes() {
        let answered = |question, answer: &str| {
            let mut shown = Vec::new();
            let agreed = ask(question, "Run on 120 hosts?", &mut answer.as_bytes(), &mut shown).unwrap();
            assert!(String::from_utf8(shown).unwrap().starts_with("Run on 120 hosts? "));
            agreed
        };
        for answer in ["y\n", "Y\r\n", " yes \n", "y"] {
            assert!(answered(Question::Yes, answer), "{answer:?}");
        }
        for answer in ["", "\n", "n\n", "yo\n", "no y\n", "\ny\n"] {
            assert!(!answered(Question::Yes, answer), "{answer:?}");
        }
        assert!(answered(Question::Count(120), "120\n"));
        for answer in ["y\n", "12\n", "1200\n", "0120\n", ""] {
            assert!(!answered(Question::Count(120), answer), "{answer:?}");
        }
    }

    #[test]
    fn an_answer_without_end_is_a_no() {
        let endless = io::repeat(b'y');
        let agreed = ask(Question::Yes, "?", &mut io::BufReader::new(endless), &mut Vec::new()).unwrap();
        assert!(!agreed);
    }
}
