//! The root of the tree: what every command takes, and the verbs with the groups that help shows them in.

use std::{path::PathBuf, str::FromStr};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use super::{
    approval::Approval,
    hosts::{Host, HostLs},
    inventory::Inventory,
    job::Job,
    key::Key,
    membership::{Agent, Demo, Init, Invite, Join, Leave, Status},
    mesh::{Audit, Scenario, Store},
    program::{Complete, Completion, Config, Man, Schema},
    run::Run,
    trust::{Halt, Operator, RootsVerb, Unhalt},
};
use crate::{
    cli::{context, targeting},
    terminal::{Format, style::ColorChoice},
};

/// The commands by what they are for, in the order in which help shows them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["demo", "init", "invite", "join", "leave", "agent", "status", "doctor", "context", "config"]),
    ("Every day", &["host", "hosts", "run", "job", "inventory"]),
    ("Fleet", &["select", "group"]),
    ("Trust", &["approval", "operator", "halt", "unhalt", "roots", "key", "audit"]),
    ("Mesh", &["store", "scenario"]),
    ("This program", &["schema", "completion", "man", "version"]),
];

const EXAMPLES: &str = "Examples:
  muster demo                          three hosts on this machine, nothing left behind
  sudo muster init acme                found a fleet, with this machine as its first host
  muster invite -l role=web            print a token that lets one more host join
  muster run -l role=web -- uname -r   run a command on every host tagged role=web
  muster hosts                         list the hosts

Exit codes: 0 every target succeeded, 1 internal, 2 usage, 3 no host matched, 4 not permitted,
5 agent or mesh unreachable, 6 a host failed, 7 a host never answered, 8 stopped by --max-errors
or --fail-fast, 9 waiting for approval, 124 the wait ran out, 130 interrupted. One named host: its command's own.";

/// Manages a fleet of machines without a server.
#[derive(Clone, Debug, Parser)]
#[command(name = "muster", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The agent's state directory
    #[arg(long, global = true, value_name = "DIR")]
    #[arg(help = "The agent's state directory [env: MUSTER_STATE; default for root: /var/lib/muster]")]
    pub state: Option<PathBuf>,
    /// The agent's socket
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(help = "The agent's socket [env: MUSTER_SOCKET; default for root: /run/muster/agent.sock]")]
    pub socket: Option<PathBuf>,
    /// Ask the fleet of this context instead of a local agent
    #[arg(long, global = true, value_name = "CONTEXT", conflicts_with = "socket")]
    #[arg(help = "Ask the fleet of this context instead of a local agent [env: MUSTER_CONTEXT]")]
    pub context: Option<String>,
    /// Output: table, wide, json, jsonl, csv or name
    #[arg(short, long, global = true, value_name = "FORMAT")]
    #[arg(hide_possible_values = true, value_parser = words::<Format, 6>(Format::ALL.map(|(word, _)| word)))]
    pub output: Option<Format>,
    /// Colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(hide_possible_values = true, value_parser = words::<ColorChoice, 3>(["auto", "always", "never"]))]
    pub color: ColorChoice,
    /// Leave remarks out; errors and warnings stay
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Answer every question with yes
    #[arg(short, long, global = true)]
    pub yes: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Show a throw-away fleet at work on this machine: no root, no network, nothing left behind
    Demo(Demo),
    /// Found a fleet, with this machine as its first host
    Init(Init),
    /// Print a token that lets hosts join
    Invite(Invite),
    /// Make this machine a host of the fleet that a token is for
    Join(Join),
    /// Take this host out of its fleet, for ever
    Leave(Leave),
    /// Run this host's agent
    Agent(Agent),
    /// Show how this host's agent is
    Status(Status),
    /// List, show, tag and ping hosts
    #[command(subcommand)]
    Host(Host),
    /// List the hosts, as `host ls`
    Hosts(HostLs),
    /// Run a command on hosts
    Run(Box<Run>),
    /// See what came of orders
    #[command(subcommand)]
    Job(Job),
    /// See what hosts say of themselves: systems, disks, addresses, packages
    #[command(subcommand)]
    Inventory(Inventory),
    /// Show which hosts a selector is true for, and why
    Select(targeting::Select),
    /// List, save and remove selectors that have a name
    #[command(subcommand)]
    Group(targeting::Group),
    /// See this user's operator keys, and prove what they signed
    #[command(subcommand)]
    Key(Key),
    /// See orders that wait for the approval of others, and give or refuse it
    #[command(subcommand)]
    Approval(Approval),
    /// See who may do what, and stop those who may not any more
    #[command(subcommand)]
    Operator(Operator),
    /// Stop everything, everywhere or on some hosts, at once
    Halt(Halt),
    /// End halts, with root keys
    Unhalt(Unhalt),
    /// See who governs the fleet, and let others govern it
    #[command(subcommand)]
    Roots(RootsVerb),
    /// See and verify what this host was asked to do
    #[command(subcommand)]
    Audit(Audit),
    /// Look after what the agent keeps on disk
    #[command(subcommand)]
    Store(Store),
    /// Play files of hosts, faults and checks on real processes of this machine
    #[command(subcommand)]
    Scenario(Scenario),
    /// Print the completion script of a shell
    Completion(Completion),
    /// Print a man page
    Man(Man),
    /// Print the version
    #[command(after_help = "Examples:
  muster version
  muster version -o json")]
    Version,
    /// The confined part of the agent, which starts it
    #[command(hide = true)]
    MeshProcess,
    /// Look for what is wrong on this machine, and say what to do about it
    #[command(
        after_help = "Looks at the clock, links, store, journal, permissions, versions and the sandbox. It also works
where no agent runs, and says so. Run it as the agent's owner: others may not look at all of it.
Exit code 0: nothing is wrong. 1: something is. 5: no agent answers.

Examples:
  sudo muster doctor
  muster doctor -o json"
    )]
    Doctor,
    /// Manage a fleet from a machine that is none of its hosts
    #[command(subcommand)]
    Context(context::ContextVerb),
    /// Show the settings and places that hold here
    Config(Config),
    /// Print the JSON Schema of a thing that -o json writes
    Schema(Schema),
    /// Finish a word for a shell
    #[command(name = "__complete", hide = true)]
    Complete(Complete),
}

/// A value that is one of these words, so that completion knows them.
fn words<T, const N: usize>(words: [&'static str; N]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}

/// The whole tree, with the commands grouped in the help of its root.
pub fn command() -> clap::Command {
    let command = Arguments::command();
    let list = grouped(&command);
    command.help_template(format!(
        "{{about}}\n\nUsage: muster [OPTIONS] COMMAND\n\n{list}{{options}}{{after-help}}"
    ))
}

fn grouped(command: &clap::Command) -> String {
    use std::fmt::Write as _;
    let mut list = String::new();
    for (heading, names) in GROUPS {
        let _always = writeln!(list, "{heading}:");
        for name in *names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _always = writeln!(list, "  {name:<10}  {about}");
        }
        list.push('\n');
    }
    list.push_str("Global options:\n");
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_holds_together_and_every_command_is_in_a_group() {
        command().debug_assert();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let tree = command();
        let shown: Vec<&str> =
            tree.get_subcommands().filter(|sub| !sub.is_hide_set()).map(clap::Command::get_name).collect();
        for name in &shown {
            assert!(grouped.contains(name), "{name} is in no group");
        }
        assert_eq!(grouped.len(), shown.len(), "a group names a command that is not there");
    }

    #[test]
    fn every_command_that_is_shown_has_examples() {
        fn walk(command: &clap::Command, path: &str) {
            let leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if leaf && !command.is_hide_set() {
                assert!(help.contains("Examples:\n"), "{path} has none");
                assert!(help.contains("muster "), "{path}: {help}");
            }
            command.get_subcommands().for_each(|sub| walk(sub, &format!("{path} {}", sub.get_name())));
        }
        walk(&command(), "muster");
    }

    #[test]
    fn every_command_and_argument_says_what_it_is_for() {
        fn walk(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{path} has no description");
                walk(sub, &path);
            }
        }
        walk(&command(), "muster");
    }
}
