//! From the words that were typed to a verb with its arguments, or to what is wrong with them.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
};

use clap::{FromArgMatches as _, error::ErrorKind};

use super::{Surroundings, documents, verbs::dispatch};
use crate::{
    cli::{
        agent,
        arguments::{Arguments, command},
        failure::ExitCode,
    },
    journal::signer::set_ways,
    terminal::{Style, escape, style::ColorChoice},
};

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
    let around = Surroundings::real();
    set_ways(around.ways());
    run_words(arguments, around).into()
}

/// Runs `arguments`, the program's name first.
pub(in crate::cli) fn run_words(arguments: Vec<OsString>, mut around: Surroundings) -> ExitCode {
    let words: Vec<String> =
        arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let read = command()
        .try_get_matches_from(arguments)
        .and_then(|found| Ok((Arguments::from_arg_matches(&found)?, documents::Asked::of(&found))));
    let (arguments, asked) = match read {
        Ok(read) => read,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let style = Style { color: around.color(ColorChoice::Auto, 1) };
            let text = error.render();
            let text = if style.color { text.ansi().to_string() } else { text.to_string() };
            // A reader that went away is not an error.
            let _broken_pipe = around.out.write_all(text.as_bytes()).and_then(|()| around.out.flush());
            return ExitCode::Success;
        }
        Err(error) => {
            let text = error.render().to_string();
            let _best_effort = around.err.write_all(usage_text(&text, &words).as_bytes());
            if let Some(format) = documents::format_in(&words) {
                let document = documents::of_usage(&text, &path_of(&words), around.now, format);
                let _broken_pipe =
                    around.out.write_all(document.as_bytes()).and_then(|()| around.out.flush());
            }
            return ExitCode::Usage;
        }
    };
    let style = Style { color: around.color(arguments.global.color, 2) };
    let (mut context, errors) = around.context(&arguments.global);
    let done =
        asked.refused(context.output.format()).map_or_else(|| dispatch(&mut context, arguments.command), Err);
    let done = done.and_then(|code| asked.changed(&mut context, code));
    match done {
        Ok(code) => code,
        Err(failure) => {
            asked.failed(&mut context, &failure);
            errors.say(&failure.render(style));
            failure.kind
        }
    }
}

/// The parser's text with this program's last line: one next command, for the deepest command that was
/// named.
fn usage_text(text: &str, typed: &[String]) -> String {
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("For more information")).collect();
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    let path = path_of(typed);
    let body = escape::block(&lines.join("\n"));
    let no_dashes = path == "muster run"
        && text.contains("unexpected argument '")
        && !text.contains("unexpected argument '-")
        && !typed.iter().any(|word| word == "--");
    let hint = if no_dashes { "hint: what to run comes after --: muster run --all -- true\n" } else { "" };
    format!("{body}\n\n{hint}hint: how to write it: {path} --help\n")
}

/// The deepest command that was named, as it is called.
fn path_of(typed: &[String]) -> String {
    let mut tree = command();
    let mut path = String::from("muster");
    for word in typed.iter().take_while(|word| *word != "--") {
        // Flags and their values lie in between.
        let Some(next) = tree.find_subcommand(word).cloned() else { continue };
        path = format!("{path} {}", next.get_name());
        tree = next;
    }
    path
}
