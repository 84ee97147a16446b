//! `muster select` and `muster group`: what is typed, and what went wrong.

use clap::{Args, Subcommand};

use super::{
    chance,
    dispatch::{Context, connect, wait},
    failure::{self, ExitCode, Explain, Failure, Site, selector_failure},
};
use crate::{
    services::{
        groups::{self, GroupError},
        inventory,
    },
    targets::TargetError,
    terminal::escape,
};

/// `select`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "This host's agent answers for all members, also for those that are off. What is unknown selects
nobody: a test on a tag or a fact that a host does not have.

Examples:
  muster select 'tag.role = web and deb.openssl < 3.0.13-1~deb12u1'
  muster select --explain '@prod and not tag.frozen = yes'
  muster select '@prod' -o name"
)]
pub struct Select {
    /// A selector over tags, groups, packages and facts
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// Say for each part of it of how many hosts it is true, false and unknown
    #[arg(long)]
    pub explain: bool,
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
pub struct GroupLs {
    /// One group [default: all]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// `group set`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "A group is a name for a selector, which all operators of the fleet share: @NAME in a
selector. An order carries what it stood for when the order was signed. A group gives no right.
Who may put any tag on any host may save one. Of two that were saved without seeing each other neither
counts until the group is set again.

Examples:
  muster group set prod 'tag.env = prod'
  muster group set change-freeze '@prod and tag.frozen = yes' --dry-run
  muster run -t '@prod and tag.role = web' -- uptime")]
pub struct GroupSet {
    /// The group
    #[arg(value_name = "NAME")]
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
pub struct GroupRm {
    /// The group
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Say what would change and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub(super) fn select(context: &mut Context, select: &Select) -> Result<ExitCode, Failure> {
    wait(async {
        let mut client = connect(context).await?;
        let Context { site, output, talk, .. } = context;
        let (operators, text) = (&site.places.operators, &select.expression);
        let done = if select.explain {
            inventory::explain(&mut client, operators, text, output, talk).await
        } else {
            inventory::select(&mut client, operators, text, output, talk).await
        };
        done.map_err(|error| error.explain(site))?;
        Ok(ExitCode::Success)
    })
}

pub(super) fn group(context: &mut Context, group: &Group) -> Result<ExitCode, Failure> {
    wait(async {
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
    })
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
