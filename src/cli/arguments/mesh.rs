//! What is for those who look after the mesh: `store`, `scenario`.

use std::{ops::Range, path::PathBuf};

use clap::{Args, Subcommand};

use crate::{identity::EntryId, replica::AuditHead};

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

/// `audit`.
#[derive(Clone, Debug, Subcommand)]
pub enum Audit {
    /// Show what this host accepted, refused and ended, once all of it is verified
    #[command(after_help = "Examples:
  muster audit log
  muster audit log -n 1000 -o jsonl
  muster audit log web-1.chain")]
    Log {
        /// A chain that was exported, in place of this host's own
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// How many records, counted from the last
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
        last: usize,
    },
    /// Verify that no record of a host's chain is missing or altered
    #[command(
        after_help = "Every record is signed by the host's executor and names the one before it. What does not hold is named
with its place: altered, missing, repeated, forked. A host that cuts off the end, or tells another story from
somewhere on, is caught by a head that was seen before.
Exit code 0: it holds. 1: it does not.

Examples:
  muster audit verify
  muster audit verify web-1.chain
  muster audit verify --seen 12:8f3c…"
    )]
    Verify {
        /// A chain that was exported, in place of this host's own
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// A head that the host showed before: the chain must lead to it and go on from there
        #[arg(long, value_name = "HEAD", value_parser = head)]
        seen: Vec<AuditHead>,
    },
    /// Write this host's chain to standard output, to be verified elsewhere
    #[command(after_help = "Examples:
  muster audit export > web-1.chain")]
    Export,
}

fn head(text: &str) -> Result<AuditHead, String> {
    let (sequence, id) = text.split_once(':').ok_or("a head is NUMBER:ID, as audit verify prints it")?;
    let sequence = sequence.parse().map_err(|_| "the part before the colon is no number")?;
    let id = EntryId::from_text(id).ok_or("the part after the colon is no id")?;
    Ok(AuditHead { sequence, id })
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
