//! What is for those who look after the mesh: `store`, `scenario`.

use std::{ops::Range, path::PathBuf};

use clap::{Args, Subcommand};

/// `store`.
#[derive(Clone, Debug, Subcommand)]
pub enum Store {
    /// Read everything on disk and say what is damaged
    #[command(
        after_help = "A running agent compares it with what it holds, and writes again what is damaged. Where none runs, a
copy is read and nothing is changed; what is damaged then is fetched from others when the agent starts.
Exit code 0: it is whole. 1: it is not, or cannot be read.

Examples:
  muster store check
  muster store check --state /var/lib/muster -o json"
    )]
    Check,
}

/// `scenario`.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Play files on agents of this program, each on a fleet of its own that is gone afterwards
    Run(ScenarioRun),
    /// Play files on the simulator, in virtual time, as often as there are seeds
    Simulate(ScenarioSimulate),
    /// What stands between the hosts of a scenario, which starts it
    #[command(hide = true)]
    Proxy,
}

/// `scenario run`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Each step is told after it came true. Exit 0 only if all of them did; else it says what was
missing, and keeps what agents and commands said. Files that cut links take root.

Examples:
  muster scenario run scenarios/hands-on.toml
  sudo muster scenario run scenarios/*.toml -o jsonl"
)]
pub struct ScenarioRun {
    /// The files, which are all read before the first is played
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Keep the files of what came true as well
    #[arg(long)]
    pub keep: bool,
}

/// `scenario simulate`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "No process is started: the replication of this program runs in virtual time. A step that the
simulator has not is named, unless the file says simulated = false of it.

Examples:
  muster scenario simulate scenarios/partition-heals.toml
  muster scenario simulate scenarios/partition-heals.toml --seeds 0..500"
)]
pub struct ScenarioSimulate {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Which seeds: from, up to and without
    #[arg(long, value_name = "A..B", default_value = "0..20", value_parser = seeds)]
    pub seeds: Range<u64>,
}

/// Reads `A..B`.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as 0..500")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let seeds = number(from)?..number(to)?;
    if seeds.is_empty() { Err("there is none in it".to_owned()) } else { Ok(seeds) }
}
