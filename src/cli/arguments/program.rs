//! What is about this program itself: `config`, `schema`, `completion`, `man`.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

/// `config`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The order is: flag, MUSTER_* variable, file, default. Keys that nobody knows are refused.

Examples:
  muster config
  muster config --origin
  muster config -o json"
)]
pub struct Config {
    /// Say where each value comes from
    #[arg(long)]
    pub origin: bool,
}

/// `schema`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The name is the one in a document's \"schema\" field: muster.host/v1 is host. Fields are only ever added.

Examples:
  muster schema
  muster schema host
  muster host ls -o json | jq -r .schema"
)]
pub struct Schema {
    /// The thing [default: list them]
    #[arg(value_name = "THING")]
    pub thing: Option<String>,
}

/// `__complete`.
#[derive(Args, Clone, Debug)]
pub struct Complete {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
    /// The words of the line up to the cursor, the program's name first, the last one not finished
    #[arg(last = true, value_name = "WORD")]
    pub words: Vec<OsString>,
}

/// `completion`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster completion bash > /etc/bash_completion.d/muster
  muster completion zsh > \"${fpath[1]}/_muster\"
  muster completion fish > ~/.config/fish/completions/muster.fish")]
pub struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell that completion is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// `man`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster man | man -l -
  muster man host tag | man -l -
  muster man --dir /usr/local/share/man/man1")]
pub struct Man {
    /// The command that the page is about [default: muster itself]
    #[arg(value_name = "COMMAND")]
    pub path: Vec<String>,
    /// Write every page into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    pub dir: Option<PathBuf>,
}
