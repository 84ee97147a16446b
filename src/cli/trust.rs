//! `operator`, `halt`, `unhalt`: what is typed, and what went wrong.

use super::{
    arguments::{Halt, Operator, OperatorGrant, OperatorInvite, RootFlags, Unhalt},
    chance,
    dispatch::{Context, connect, wait},
    failure::{self, ExitCode, Explain, Failure, Site, quoted, selector_failure},
    watching::shown,
};
use crate::{
    control::{Client, ControlError, did_you_mean},
    journal::signer::{choose, ways},
    services::authority::{
        self, Asked, AuthorityError, ExplainRequest, GrantRequest, HaltRequest, InviteAsk, Rooted,
        StopRequest,
    },
    terminal::escape,
};

fn rooted(flags: &RootFlags) -> Rooted<'_> {
    Rooted {
        keys: &flags.keys,
        update: flags.update.as_deref(),
        reason: &flags.reason,
        dry_run: flags.dry_run,
    }
}

/// `operator invite`: the one that needs no agent.
async fn invite(context: &mut Context, invite: &OperatorInvite) -> Result<ExitCode, Failure> {
    let client = match Client::connect(&context.site.places.socket).await {
        Ok(client) => Some(client),
        Err(ControlError::NoAgent { .. }) => None,
        Err(error) => return Err(error.explain(&context.site)),
    };
    let key = invite.key.as_deref().map(|key| choose(key, &ways())).transpose();
    let key = key.map_err(|error| error.explain(&context.site))?;
    let person = invite.person.as_deref().or(context.user.as_deref()).unwrap_or("operator").to_owned();
    let ask =
        InviteAsk { person: &person, key: key.as_ref(), seed: chance::draw()?, dry_run: invite.dry_run };
    let Context { site, output, talk, .. } = context;
    let done = authority::invite(client.as_ref(), &site.places.operators, &ask, output, talk);
    done.map(|()| ExitCode::Success).map_err(|error| error.explain(site))
}

fn grant_request(grant: &OperatorGrant) -> Result<GrantRequest<'_>, AuthorityError> {
    let mut asked = match (&grant.key, &grant.request) {
        (Some(key), _) => Asked::read(key)?,
        (None, request) => Asked::find(request.as_deref().unwrap_or("-"))?,
    };
    if let Some(person) = &grant.person {
        asked.person = Some(person.clone());
    }
    Ok(GrantRequest {
        asked,
        verbs: &grant.verbs,
        on: &grant.on,
        run_as: &grant.run_as,
        tags: &grant.tags,
        hosts_max: grant.max_hosts,
        valid: grant.valid,
        approvals: grant.approvals,
        rooted: Rooted {
            keys: &grant.roots,
            update: grant.update.as_deref(),
            reason: "",
            dry_run: grant.dry_run,
        },
    })
}

pub(super) fn operator(context: &mut Context, verb: &Operator) -> Result<ExitCode, Failure> {
    if let Operator::Invite(asks) = verb {
        return wait(invite(context, asks));
    }
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
            Operator::Invite(_) => Ok(()),
            Operator::Explain(explain) => {
                let target = explain.target.targets();
                let request = ExplainRequest {
                    who: &explain.who,
                    verb: explain.verb,
                    target: &target,
                    run_as: &explain.run_as,
                    argv: &explain.argv,
                };
                match authority::explain(client, operators, &request, *now, output, talk).await {
                    Ok(true) => Ok(()),
                    Ok(false) => return Ok(ExitCode::NotPermitted),
                    Err(error) => Err(error),
                }
            }
            Operator::Grant(grant) => {
                let request = grant_request(grant).map_err(|error| error.explain(site))?;
                authority::grant(client, operators, &request, *now, talk).await
            }
            Operator::Suspend(suspend) => {
                let request = StopRequest {
                    who: &suspend.who,
                    since: suspend.since,
                    reason: &suspend.reason,
                    dry_run: suspend.dry_run,
                };
                authority::suspend(client, operators, &request, *now, talk).await
            }
            Operator::Lift(lift) => {
                authority::lift(client, operators, &lift.who, &rooted(&lift.roots), *now, talk).await
            }
            Operator::Revoke(revoke) => {
                let roots = rooted(&revoke.roots);
                authority::revoke(client, operators, &revoke.who, revoke.since, &roots, *now, talk).await
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
            Self::NoSuchOperator { who, known } => {
                let failure = Failure::usage(message);
                match did_you_mean(&who, known.iter().map(String::as_str)) {
                    Some(near) => failure.hint(format!("did you mean {}?", escape::line(near))),
                    None => failure.hint("who there is: muster operator ls"),
                }
            }
            Self::Request { .. } => {
                Failure::usage(message).hint("it is one line, as this prints it: muster operator invite")
            }
            Self::Person { .. } => Failure::usage(message).hint("such as: --person ana"),
            Self::NoPerson => Failure::usage(message).hint("say whose it is: --person NAME"),
            Self::NoKeyToAskWith => Failure::new(ExitCode::Unreachable, message).hint(
                "make one and name it: ssh-keygen -t ed25519 -f KEY && muster operator invite --key KEY",
            ),
            Self::OtherKey { path } => Failure::usage(message)
                .hint(format!("ask with that one: leave --key out; or look: ls -l {}", quoted(&path))),
            Self::Target(error) => error.explain(site),
            Self::OnFacts => Failure::usage(message).hint("such as: -t 'tag.role = web', or -H web-1"),
            Self::TooManyHosts => Failure::usage(message).hint("write a narrower target"),
            Self::ScopeNotTags => Failure::usage(message).hint("such as: --on 'tag.role = web'"),
            Self::RootsGiveGrant => {
                Failure::new(ExitCode::NotPermitted, message).hint("add each file of a root key: --root FILE")
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
