//! What may stand at the cursor.

use clap::{Arg, Command};

/// What an agent is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The kind of word, as in `Request::Words`.
    pub(super) kind: &'static str,
    /// How it begins.
    pub(super) start: String,
    /// What stands before it in the same word.
    before: String,
}

/// What may stand there besides words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Paths {
    /// Nothing.
    #[default]
    None,
    /// A file.
    Files,
    /// A directory.
    Dirs,
}

/// What may stand at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Words that the argument tree knows, whole, each with what it is for.
    pub(super) words: Vec<(String, String)>,
    /// What the agent knows.
    pub(super) asked: Vec<Asked>,
    /// Paths.
    pub(super) paths: Paths,
    /// `--state`, if the line has it.
    pub(super) state: Option<String>,
    /// `--socket`, if the line has it.
    pub(super) socket: Option<String>,
    /// `--context`, if the line has it.
    pub(super) context: Option<String>,
}

impl Wanted {
    /// Takes the agent's words. What a shell would take for more than a word is left out.
    pub(super) fn take(&mut self, asked: &Asked, words: Vec<String>) {
        let plain = |word: &String| {
            word.starts_with(&asked.start)
                && word.chars().all(|c| c.is_alphanumeric() || "._/@%+:,=-".contains(c))
        };
        let whole = words.into_iter().filter(plain).map(|word| format!("{}{word}", asked.before));
        self.words.extend(whole.map(|word| (word, String::new())));
    }
}

/// What may stand in the place of the last of `words`, of which the first is the program's name. `tree` is built.
pub(super) fn wanted(tree: &Command, words: &[String]) -> Wanted {
    let mut wanted = Wanted::default();
    let Some((last, before)) = words.split_last() else { return wanted };
    let (mut command, mut place, mut pending, mut dashes) = (tree, 0, None::<&Arg>, false);
    for word in before.iter().skip(1) {
        if let Some(arg) = pending.take() {
            note(&mut wanted, arg, word);
        } else if dashes {
            place += 1;
        } else if word == "--" {
            dashes = true;
        } else if let Some(long) = word.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) => {
                    if let Some(arg) = option(command, name) {
                        note(&mut wanted, arg, value);
                    }
                }
                None => pending = option(command, long).filter(|arg| takes_value(arg)),
            }
        } else if word.len() > 1 && word.starts_with('-') {
            pending = short_pending(command, word);
        } else if let Some(sub) = command.find_subcommand(word) {
            (command, place) = (sub, 0);
        } else {
            place += 1;
        }
    }
    if let Some(arg) = pending {
        values(&mut wanted, arg, place, last, "");
    } else if dashes {
        // What runs on another machine is not known here.
        match positional(command, place).filter(|arg| !arg.is_last_set()) {
            Some(arg) => values(&mut wanted, arg, place, last, ""),
            None => wanted.paths = Paths::Files,
        }
    } else if let Some((name, value)) = last.strip_prefix("--").and_then(|long| long.split_once('=')) {
        if let Some(arg) = option(command, name) {
            values(&mut wanted, arg, place, value, &format!("--{name}="));
        }
    } else if last.starts_with('-') {
        flags(&mut wanted, command, last);
    } else {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            word(&mut wanted, sub.get_name(), &about, last, "");
        }
        if let Some(arg) = positional(command, place).filter(|arg| !arg.is_last_set()) {
            values(&mut wanted, arg, place, last, "");
        }
    }
    wanted
}

fn word(wanted: &mut Wanted, word: &str, about: &str, start: &str, before: &str) {
    if word.starts_with(start) {
        wanted.words.push((format!("{before}{word}"), about.to_owned()));
    }
}

/// Which agent the line is for.
fn note(wanted: &mut Wanted, arg: &Arg, value: &str) {
    match arg.get_id().as_str() {
        "state" => wanted.state = Some(value.to_owned()),
        "context" => wanted.context = Some(value.to_owned()),
        "socket" => wanted.socket = Some(value.to_owned()),
        _ => {}
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn option<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(long))
}

/// The option of a word such as `-qo` that still wants its value: its last letter, if no letter before it takes
/// what follows.
fn short_pending<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut letters = word.chars().skip(1).peekable();
    while let Some(letter) = letters.next() {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter))?;
        if takes_value(arg) {
            return letters.peek().is_none().then_some(arg);
        }
    }
    None
}

/// The positional argument in a place; the last one again, if it takes several.
fn positional(command: &Command, place: usize) -> Option<&Arg> {
    let mut positionals: Vec<&Arg> = command.get_positionals().collect();
    positionals.sort_by_key(|arg| arg.get_index());
    let several = |arg: &&&Arg| {
        matches!(arg.get_action(), clap::ArgAction::Append)
            || arg.get_num_args().is_some_and(|range| range.max_values() > 1)
    };
    positionals.get(place).or_else(|| positionals.last().filter(several)).copied()
}

fn flags(wanted: &mut Wanted, command: &Command, start: &str) {
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if let Some(long) = arg.get_long() {
            word(wanted, &format!("--{long}"), &about, start, "");
        } else if let Some(short) = arg.get_short().filter(|_| start == "-") {
            word(wanted, &format!("-{short}"), &about, start, "");
        }
    }
}

/// What may be the value of `arg`, of which `start` is there already; `before` stands before it in the word.
fn values(wanted: &mut Wanted, arg: &Arg, place: usize, start: &str, before: &str) {
    for value in arg.get_possible_values().iter().filter(|value| !value.is_hide_set()) {
        let about = value.get_help().map(ToString::to_string).unwrap_or_default();
        word(wanted, value.get_name(), &about, start, before);
    }
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let mut ask = |kind, cut: usize| {
        let (held, start) = start.split_at_checked(cut).unwrap_or(("", start));
        wanted.asked.push(Asked { kind, start: start.to_owned(), before: format!("{before}{held}") });
    };
    let after = |c: char| start.rfind(c).map_or(0, |at| at + c.len_utf8());
    match (name, arg.get_id().as_str()) {
        ("HOST", _) => ask("host", 0),
        ("NODESET", _) => ask("host", after(',')),
        ("KEY=VALUE", _) => ask("tag", 0),
        ("HOST | KEY=VALUE", _) => {
            if !start.contains('=') {
                ask("host", 0);
            }
            ask("tag", 0);
        }
        ("HOST | KEY", _) => ask(if place == 0 { "host" } else { "tag" }, 0),
        ("JOB", _) => ask("job", 0),
        ("TYPE", _) => ask("type", 0),
        ("CONTEXT", _) => ask("context", 0),
        ("GROUP", _) => ask("group", usize::from(start.starts_with('@'))),
        ("PERSON" | "OPERATOR", _) => ask("operator", 0),
        ("SELECTOR" | "EXPR", _) => {
            let at = start.rfind([' ', '(']).map_or(0, |at| at + 1);
            match start.get(at..) {
                Some(word) if word.starts_with('@') => ask("group", at + 1),
                _ => ask("path", at),
            }
        }
        ("PATH,…", _) => ask("path", after(',')),
        ("PATH", "count_by") => ask("path", 0),
        ("FILE" | "PATH", _) => wanted.paths = Paths::Files,
        ("DIR", _) => wanted.paths = Paths::Dirs,
        ("COMMAND", "path") => {
            // `man`: the commands themselves.
            let tree = super::command();
            for sub in tree.get_subcommands().filter(|sub| place == 0 && !sub.is_hide_set()) {
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                word(wanted, sub.get_name(), &about, start, before);
            }
        }
        ("THING", _) => {
            for thing in crate::cli::schema::things() {
                word(wanted, thing, "", start, before);
            }
        }
        _ => {}
    }
}
