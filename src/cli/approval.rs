//! `muster approval`.

use super::{
    arguments::Approval,
    chance,
    dispatch::{Context, wait},
    failure::{ExitCode, Explain as _, Failure},
    run::{interrupts, operator, prepared, streams},
};
use crate::{
    node::clock,
    services::run::{self, ApprovalRequest, World},
    terminal::prompt,
};

pub(super) fn approval(context: &mut Context, verb: &Approval) -> Result<ExitCode, Failure> {
    let (job, reason, given, dry_run) = match verb {
        Approval::Ls(_) => return wait(list(context)),
        Approval::Show(show) => return wait(show_one(context, &show.job)),
        Approval::Give(give) => (&give.job, &give.reason, true, give.dry_run),
        Approval::Refuse(refuse) => (&refuse.job, &refuse.reason, false, refuse.dry_run),
    };
    let yes = context.global.yes;
    let request = ApprovalRequest { job: job.clone(), given, reason: reason.clone(), dry_run, yes };
    let nonce = chance::draw()?;
    let (mut out, mut err) = streams()?;
    let code = wait(async {
        let home = operator(context).await?;
        let mut streams = prepared(context, &mut out, &mut err);
        let ask = &mut prompt::ask_terminal;
        let mut world = World { clock: &clock::now, nonce, ask, listen: &mut interrupts };
        run::answer(&request, &home, &context.site.places.socket, &mut streams, &mut world)
            .await
            .map_err(|error| error.explain(&context.site))
    })?;
    Ok(ExitCode::Host(code))
}

async fn list(context: &mut Context) -> Result<ExitCode, Failure> {
    let home = operator(context).await?;
    let Context { site, output, now, .. } = context;
    run::approvals(&home, &site.places.socket, output, *now).await.map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

async fn show_one(context: &mut Context, job: &str) -> Result<ExitCode, Failure> {
    let home = operator(context).await?;
    let (mut out, mut err) = streams()?;
    let mut streams = prepared(context, &mut out, &mut err);
    let code = run::approval(job, &home, &context.site.places.socket, &mut streams, context.now)
        .await
        .map_err(|error| error.explain(&context.site))?;
    Ok(ExitCode::Host(code))
}
