//! `inventory`.

use clap::{Args, Subcommand, builder::PossibleValuesParser};

/// `inventory`.
#[derive(Clone, Debug, Subcommand)]
pub enum Inventory {
    /// Show what a host says of itself
    Show(InventoryShow),
    /// Find hosts by what they say of themselves
    Search(InventorySearch),
    /// Say how two versions stand to each other: lt, eq or gt
    Compare(InventoryCompare),
    /// List the types of facts that there are in the fleet
    Types(InventoryTypes),
}

/// `inventory show`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "What is shown is the host's own word, with its age: also that of a host that is off.

Examples:
  muster inventory show web-1
  muster inventory show web-1 deb_packages
  muster inventory show web-1 mounts -o json")]
pub struct InventoryShow {
    /// The host, by name or unique beginning of name or id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// One type whole, such as mounts; those that there are: muster inventory types
    #[arg(value_name = "TYPE")]
    pub table: Option<String>,
}

/// `inventory search`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "This host's agent answers at once for all members, also for those that are off. SEEN is when a host
was last heard of, CHANGED since when it is as shown. Facts are what hosts say of themselves.

Paths: deb.PACKAGE is a package's version, and compares as dpkg does. tag.KEY is a tag. fact.TYPE.COLUMN
is a fact: see `muster inventory types` for types, `muster inventory show HOST TYPE` for columns.

Examples:
  muster inventory search 'deb.openssl < 3.0.13-1~deb12u1'
  muster inventory search 'has deb.nginx and tag.env = prod' --columns tag.role,fact.os.version
  muster inventory search all --count-by fact.kernel.version
  muster inventory search 'missing deb.chrony' -o name
  muster run -H \"$(muster inventory search 'deb.bash < 5.2' -o name | paste -sd,)\" -- uname -r"
)]
pub struct InventorySearch {
    /// A selector over packages, facts and tags, such as 'deb.openssl < 3.0.13' or 'tag.role = web'
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// Show the values of these paths too
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Count the hosts by their values at this path
    #[arg(long, value_name = "PATH")]
    pub count_by: Option<String>,
    /// How many hosts at most
    #[arg(long, value_name = "N", default_value_t = 100_000, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}

/// `inventory types`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster inventory types
  muster inventory types -o name")]
pub struct InventoryTypes {
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}

/// `inventory compare`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "By the rule of the ecosystem, as in a search: deb is dpkg's, rpm rpm's, apk Alpine's, pip PEP 440
and npm node-semver's. No agent is asked.

Examples:
  muster inventory compare deb 1.0~rc1 1.0        lt
  muster inventory compare deb 1:0.9 1.0          gt
  muster inventory compare deb 1.0-0 1.0          eq
  muster inventory compare npm 1.0.0-rc.1 1.0.0   lt"
)]
pub struct InventoryCompare {
    /// Whose rule: deb, rpm, apk, pip or npm
    #[arg(value_name = "ECOSYSTEM", hide_possible_values = true, value_parser = PossibleValuesParser::new(ECOSYSTEMS))]
    pub ecosystem: String,
    /// A version
    #[arg(value_name = "A", allow_hyphen_values = true)]
    pub first: String,
    /// Another
    #[arg(value_name = "B", allow_hyphen_values = true)]
    pub second: String,
}

/// The words of those by whose rules versions are compared.
const ECOSYSTEMS: [&str; 5] = ["deb", "rpm", "apk", "pip", "npm"];
