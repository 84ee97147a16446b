//! Man pages, made from the argument tree.

use std::{fs, io, path::Path};

use clap::Command;

use super::{
    arguments::command,
    failure::{ExitCode, Failure},
};
use crate::control::did_you_mean;

/// The man page of the command at `path`, in roff.
pub(super) fn page(path: &[String]) -> Result<Vec<u8>, Failure> {
    let mut tree = tree();
    for (depth, word) in path.iter().enumerate() {
        let next = tree.get_subcommands().find(|sub| sub.get_name() == *word).cloned();
        let names: Vec<String> = tree.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        tree = next.ok_or_else(|| {
            let typed = path.get(..=depth).unwrap_or_default().join(" ");
            let failure = Failure::usage(format!("there is no command {typed:?}"));
            let failure = match did_you_mean(word, names.iter().map(String::as_str)) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure,
            };
            failure.hint("the commands: muster --help")
        })?;
    }
    roff(&tree).map_err(|error| Failure::new(ExitCode::Internal, format!("cannot write a man page: {error}")))
}

/// Writes every page into `dir`; returns how many.
pub(super) fn write_all(dir: &Path) -> Result<usize, Failure> {
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(ExitCode::Internal, format!("cannot write {}: {error}", path.display()))
            .hint("name a directory that you may write: muster man --dir DIR")
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let mut written = 0;
    let mut left = vec![tree()];
    while let Some(command) = left.pop() {
        let path = dir.join(format!("{}.1", command.get_display_name().unwrap_or("muster")));
        roff(&command).and_then(|page| fs::write(&path, page)).map_err(|error| failed(&path, &error))?;
        written += 1;
        left.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
    }
    Ok(written)
}

/// The tree with the names of pages: `muster-host-tag`.
fn tree() -> Command {
    let mut tree = command();
    tree.build();
    tree
}

fn roff(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}
