//! `muster select` and `muster group`: what is typed, and what went wrong.

use clap::{Args, Subcommand};

use super::{
    chance,
    dispatch::{Context, connect, wait},
    failure::{self, ExitCode, Explain, Failure, Site, selector_failure},
    watching::shown,
};
use crate::{
    selector::parse_label,
    services::{
        groups::{self, GroupError},
        inventory,
    },
    targets::{Share, TargetError, Targets},
    terminal::escape,
};

/// Which hosts, in every way that it can be said; all that is given narrows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Target")]
pub struct TargetFlags {
    /// Hosts that a selector is true for, such as 'tag.role = web and not @change-freeze'
    #[arg(short, long, value_name = "SELECTOR")]
    pub target: Option<String>,
    /// Hosts with this tag; repeated, with all of them
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Hosts by name: `web-[01-10,12],db-1`; may be repeated
    #[arg(short = 'H', long = "host", value_name = "NODESET")]
    pub hosts: Vec<String>,
    /// Hosts of a saved selector; repeated, of all of them
    #[arg(short, long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Every host
    #[arg(long)]
    pub all: bool,
    /// A part of them, such as 10% or 5: the same each time for the same selector
    #[arg(long, value_name = "SHARE", value_parser = Share::some)]
    pub sample: Option<Share>,
    /// So many at most, the first by name
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Targets in the words of AWS Systems Manager, such as 'Key=tag:role,Values=web,api'
    #[arg(long, value_name = "TARGETS")]
    pub ssm_targets: Vec<String>,
}

impl TargetFlags {
    /// What they say.
    pub(super) fn targets(&self) -> Targets {
        Targets {
            expression: self.target.clone(),
            labels: self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            hosts: self.hosts.clone(),
            groups: self.groups.clone(),
            ssm: self.ssm_targets.clone(),
            all: self.all,
            sample: self.sample,
            limit: self.limit,
        }
    }
}

/// `select`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "This host's agent answers for all members, also for those that are off. What is unknown selects
nobody: a test on a tag or a fact that a host does not have.

Examples:
  muster select 'tag.role = web and deb.openssl < 3.0.13-1~deb12u1'
  muster select --explain '@prod and not tag.frozen = yes'
  muster select '@prod' -o name
  muster select -g prod -l role=web --sample 10%"
)]
pub struct Select {
    /// A selector over tags, groups, packages and facts
    #[arg(value_name = "EXPR", conflicts_with = "target")]
    pub expression: Option<String>,
    /// Say for each part of it of how many hosts it is true, false and unknown
    #[arg(long, requires = "expression")]
    pub explain: bool,
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long, conflicts_with = "explain")]
    pub watch: bool,
    /// Which hosts, as other commands have it; last, as what follows would stand under its heading
    #[command(flatten)]
    pub flags: TargetFlags,
}

/// `group`.
#[derive(Clone, Debug, Subcommand)]
pub enum Group {
    /// List the saved selectors
    Ls(GroupLs),
    /// Save a selector under a name
    Set(GroupSet),
    /// Take a saved selector away
    Rm(GroupRm),
}

/// `group ls`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster group ls
  muster group ls prod -o json")]
pub struct GroupLs {
    /// One group [default: all]
    #[arg(value_name = "GROUP")]
    pub name: Option<String>,
    /// Redraw until Ctrl-C; not on a terminal: a line of JSON for each change
    #[arg(long)]
    pub watch: bool,
}

/// `group set`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "A group is a name for a selector, which all operators of the fleet share: @NAME in a
selector. An order carries what it stood for when the order was signed. A group gives no right.
Who may put any tag on any host may save one. Of two that were saved without seeing each other neither
counts until the group is set again.

Examples:
  muster group set prod 'tag.env = prod'
  muster group set change-freeze '@prod and has tag.frozen' --dry-run
  muster run -t '@prod and tag.role = web' -- uptime")]
pub struct GroupSet {
    /// The group
    #[arg(value_name = "GROUP")]
    pub name: String,
    /// The selector that it stands for
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// Say what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `group rm`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  muster group rm prod --dry-run
  muster group rm prod")]
pub struct GroupRm {
    /// The group
    #[arg(value_name = "GROUP")]
    pub name: String,
    /// Say what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub(super) fn select(context: &mut Context, select: &Select) -> Result<ExitCode, Failure> {
    wait(shown(context, select.watch, async |context: &mut Context| {
        let mut client = connect(context).await?;
        let Context { site, output, talk, .. } = context;
        let operators = &site.places.operators;
        let mut targets = select.flags.targets();
        targets.expression = select.expression.clone().or(targets.expression);
        let done = match &select.expression {
            Some(text) if select.explain => {
                inventory::explain(&mut client, operators, text, output, talk).await
            }
            _ => inventory::select(&mut client, operators, &targets, output, talk).await,
        };
        done.map_err(|error| error.explain(site))?;
        Ok(ExitCode::Success)
    }))
}

pub(super) fn group(context: &mut Context, group: &Group) -> Result<ExitCode, Failure> {
    let is_watched = matches!(group, Group::Ls(ls) if ls.watch);
    wait(shown(context, is_watched, async |context: &mut Context| {
        let mut client = connect(context).await?;
        let Context { site, output, talk, now, .. } = context;
        let operators = &site.places.operators;
        let (name, text, dry_run) = match group {
            Group::Ls(ls) => {
                let listed = groups::list(&mut client, operators, ls.name.as_deref(), output, talk).await;
                return listed.map(|()| ExitCode::Success).map_err(|error| error.explain(site));
            }
            Group::Set(set) => (&set.name, Some(set.expression.as_str()), set.dry_run),
            Group::Rm(rm) => (&rm.name, None, rm.dry_run),
        };
        let seed = chance::draw()?;
        groups::set(&mut client, operators, name, text, dry_run, seed, *now, talk)
            .await
            .map_err(|error| error.explain(site))?;
        Ok(ExitCode::Success)
    }))
}

impl Explain for TargetError {
    fn explain(self, _: &Site) -> Failure {
        let kind = ExitCode::Host(self.code());
        if let Self::Selector { text, error } = &self {
            return selector_failure(text, error);
        }
        // The lines below the first point at the offending bit.
        let text = self.to_string();
        let (message, pointer) = text.split_once('\n').map_or((text.as_str(), None), |(m, p)| (m, Some(p)));
        let mut failure = Failure::new(kind, message);
        failure.pointer = pointer.map(str::to_owned);
        self.hints("muster select", "").iter().fold(failure, |failure, hint| failure.hint(escape::line(hint)))
    }
}

impl Explain for GroupError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Control(error) => error.explain(site),
            Self::Anchor(error) => error.explain(site),
            Self::Target(error) => error.explain(site),
            Self::Name { .. } => {
                Failure::usage(message).hint("such as: muster group set prod 'tag.env = prod'")
            }
            Self::NotAnOperator { .. } => failure::not_an_operator(message, site),
            Self::Refused(refusal) => refusal.explain(site),
            Self::Operator(error) => error.explain(site),
            Self::Ask(error) => error.explain(site),
            Self::Output(error) => error.explain(site),
        }
    }
}
