//! `operator`, `halt`, `unhalt`: what is typed, and what went wrong.

use super::{
    arguments::{Halt, Operator, RootFlags, Unhalt},
    dispatch::{Context, connect, wait},
    failure::{self, ExitCode, Explain, Failure, Site, selector_failure},
    watching::shown,
};
use crate::{
    control::did_you_mean,
    services::authority::{self, AuthorityError, HaltRequest, Named, Rooted, StopRequest},
    terminal::escape,
};

pub(super) fn rooted(flags: &RootFlags) -> Rooted<'_> {
    Rooted {
        keys: &flags.keys,
        update: flags.update.as_deref(),
        reason: &flags.reason,
        dry_run: flags.dry_run,
    }
}

pub(super) fn operator(context: &mut Context, verb: &Operator) -> Result<ExitCode, Failure> {
    let is_watched = matches!(verb, Operator::Ls(ls) if ls.watch);
    wait(shown(context, is_watched, async |context: &mut Context| {
        let mut client = connect(context).await?;
        let client = &mut client;
        let Context { site, output, talk, now, .. } = context;
        let operators = &site.places.operators;
        let done = match verb {
            Operator::Ls(ls) => {
                authority::list(client, operators, ls.who.as_deref(), *now, output, talk).await
            }
            Operator::Suspend(suspend) => {
                let request = StopRequest {
                    who: Named::Operator(&suspend.who),
                    since: suspend.since,
                    reason: &suspend.reason,
                    dry_run: suspend.dry_run,
                };
                authority::suspend(client, operators, &request, *now, talk).await
            }
            Operator::Lift(lift) => {
                authority::lift(
                    client,
                    operators,
                    Named::Operator(&lift.who),
                    &rooted(&lift.roots),
                    *now,
                    talk,
                )
                .await
            }
            Operator::Revoke(revoke) => {
                let roots = rooted(&revoke.roots);
                let who = Named::Operator(&revoke.who);
                authority::revoke(client, operators, who, revoke.since, &roots, *now, talk).await
            }
        };
        done.map(|()| ExitCode::Success).map_err(|error| error.explain(site))
    }))
}

pub(super) async fn halt(context: &mut Context, halt: &Halt) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let Context { site, talk, now, .. } = context;
    let request =
        HaltRequest { selector: halt.target.as_deref(), reason: &halt.reason, dry_run: halt.dry_run };
    let done = authority::halt(&mut client, &site.places.operators, &request, *now, talk).await;
    done.map(|()| ExitCode::Success).map_err(|error| error.explain(site))
}

pub(super) async fn unhalt(context: &mut Context, unhalt: &Unhalt) -> Result<ExitCode, Failure> {
    let mut client = connect(context).await?;
    let Context { site, talk, now, .. } = context;
    let operators = &site.places.operators;
    let done = authority::unhalt(&mut client, operators, &rooted(&unhalt.roots), *now, talk).await;
    done.map(|()| ExitCode::Success).map_err(|error| error.explain(site))
}

impl Explain for AuthorityError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Control(error) => error.explain(site),
            Self::Anchor(error) => error.explain(site),
            Self::Pick(error) => error.explain(site),
            Self::NoSuchOperator { who, known } => {
                let failure = Failure::usage(message);
                match did_you_mean(&who, known.iter().map(String::as_str)) {
                    Some(near) => failure.hint(format!("did you mean {}?", escape::line(near))),
                    None => failure.hint("who there is: muster operator ls"),
                }
            }
            Self::NothingToLift(_) => Failure::usage(message).hint("what is stopped: muster operator ls"),
            Self::Selector { text, error } => selector_failure(&text, &error),
            Self::NotTags => Failure::usage(message).hint("such as: muster halt -t 'tag.env = prod'"),
            Self::NotAnOperator { .. } => failure::not_an_operator(message, site),
            Self::Refused(refusal) => refusal.explain(site),
            Self::Operator(error) => error.explain(site),
            Self::NoRootKey { .. } | Self::NotARoot { .. } => Failure::new(ExitCode::NotPermitted, message)
                .hint("give each file with --root FILE: it was written where the fleet was founded"),
            Self::TooFewRoots { .. } => Failure::new(ExitCode::NotPermitted, message)
                .hint("to sign one after the other: add --update FILE, and hand that file on"),
            Self::Key(error) => error.explain(site),
            Self::Update { .. } => {
                Failure::new(ExitCode::Internal, message).hint("choose another: --update FILE")
            }
            Self::OtherUpdate { .. } => {
                Failure::usage(message).hint("choose a file that is not there yet: --update FILE")
            }
            Self::Chain(_) => Failure::new(ExitCode::NotPermitted, message)
                .hint("what the fleet's roots said last: muster operator ls"),
            Self::Ask(error) => error.explain(site),
            Self::Output(error) => error.explain(site),
        }
    }
}
