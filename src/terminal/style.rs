//! Whether to colour, and the four marks. A colour never stands alone: every mark comes with a word.

use std::str::FromStr;

/// What `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// The environment and the terminal decide.
    #[default]
    Auto,
    /// Always, also into a pipe.
    Always,
    /// Never.
    Never,
}

/// A word that `--color` does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown colour choice {0:?}: auto, always or never")]
pub struct ColorChoiceError(String);

impl FromStr for ColorChoice {
    type Err = ColorChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(ColorChoiceError(text.chars().take(32).collect())),
        }
    }
}

/// What the environment says about colour; the caller reads it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ColorEnvironment<'a> {
    /// `NO_COLOR`: any value but the empty one forbids colour.
    pub no_color: Option<&'a str>,
    /// `CLICOLOR_FORCE`: any value but the empty one and `0` forces it.
    pub clicolor_force: Option<&'a str>,
    /// `TERM`: `dumb` knows no colour.
    pub term: Option<&'a str>,
}

/// Decides: the flag, then `NO_COLOR`, then `CLICOLOR_FORCE`, then whether this is a terminal.
#[must_use]
pub fn wants_color(choice: ColorChoice, environment: ColorEnvironment<'_>, is_terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => return true,
        ColorChoice::Never => return false,
        ColorChoice::Auto => {}
    }
    if environment.no_color.is_some_and(|value| !value.is_empty()) {
        return false;
    }
    if environment.clicolor_force.is_some_and(|value| !value.is_empty() && value != "0") {
        return true;
    }
    is_terminal && environment.term != Some("dumb")
}

/// How something went, at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// ✓, green.
    Good,
    /// ✗, red.
    Bad,
    /// ?, yellow: not known, no answer.
    Unknown,
    /// !, yellow: look at this.
    Warning,
}

impl Mark {
    /// The sign.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Unknown => "?",
            Self::Warning => "!",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Unknown | Self::Warning => "33",
        }
    }
}

/// How this program's own words are coloured, if at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether escape codes are written.
    pub color: bool,
}

impl Style {
    /// The mark and its word, coloured where wanted: `✓ up`. For this program's own words alone.
    #[must_use]
    pub fn mark(self, mark: Mark, word: &'static str) -> String {
        self.wrap(mark.code(), &format!("{} {word}", mark.sign()))
    }

    /// A heading of this program.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// A remark of this program.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The words for a host's state, with their marks.
pub const HOST_STATES: &[(&str, Mark)] = &[
    ("self", Mark::Good),
    ("up", Mark::Good),
    ("unreachable", Mark::Bad),
    ("unknown", Mark::Unknown),
    ("left", Mark::Warning),
    ("pending", Mark::Unknown),
    ("denied", Mark::Bad),
    ("retired", Mark::Unknown),
    ("quarantined", Mark::Bad),
    ("disowned", Mark::Bad),
    ("suspended", Mark::Bad),
    ("revoked", Mark::Bad),
];

#[cfg(test)]
mod tests {
    use super::*;

    const NO: ColorEnvironment<'_> =
        ColorEnvironment { no_color: Some("1"), clicolor_force: None, term: Some("xterm") };
    const FORCE: ColorEnvironment<'_> =
        ColorEnvironment { no_color: None, clicolor_force: Some("1"), term: None };
    const BOTH: ColorEnvironment<'_> =
        ColorEnvironment { no_color: Some("1"), clicolor_force: Some("1"), term: None };
    const PLAIN: ColorEnvironment<'_> =
        ColorEnvironment { no_color: None, clicolor_force: None, term: Some("xterm") };

    #[test]
    fn the_flag_is_over_the_environment_and_that_over_the_terminal() {
        assert!(wants_color(ColorChoice::Always, NO, false));
        assert!(!wants_color(ColorChoice::Never, FORCE, true));
        assert!(!wants_color(ColorChoice::Auto, NO, true));
        assert!(!wants_color(ColorChoice::Auto, BOTH, true));
        assert!(wants_color(ColorChoice::Auto, FORCE, false));
        assert!(wants_color(ColorChoice::Auto, PLAIN, true));
        assert!(!wants_color(ColorChoice::Auto, PLAIN, false));
    }

    #[test]
    fn empty_values_and_zero_say_nothing() {
        let empty = ColorEnvironment { no_color: Some(""), clicolor_force: Some(""), term: None };
        assert!(wants_color(ColorChoice::Auto, empty, true));
        let zero = ColorEnvironment { clicolor_force: Some("0"), ..empty };
        assert!(!wants_color(ColorChoice::Auto, zero, false));
        let dumb = ColorEnvironment { term: Some("dumb"), ..empty };
        assert!(!wants_color(ColorChoice::Auto, dumb, true));
    }

    #[test]
    fn a_mark_has_its_word_with_and_without_colour() {
        assert_eq!(Style { color: false }.mark(Mark::Good, "up"), "✓ up");
        assert_eq!(Style { color: true }.mark(Mark::Bad, "down"), "\x1b[31m✗ down\x1b[0m");
    }

    #[test]
    fn an_unknown_choice_names_the_known_ones() {
        assert_eq!("always".parse(), Ok(ColorChoice::Always));
        let error = "red".parse::<ColorChoice>().unwrap_err();
        assert_eq!(error.to_string(), "unknown colour choice \"red\": auto, always or never");
    }
}
