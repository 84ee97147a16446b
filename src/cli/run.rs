//! `muster run` and `muster job`.

use std::{fs::File, io, os::fd::AsFd as _, os::unix::ffi::OsStrExt as _};

use super::{
    arguments::{Job, Run, RunExit, RunView},
    chance,
    dispatch::{Context, connect, wait},
    failure::{self, ExitCode, Explain as _, Failure},
};
use crate::{
    control::Anchor,
    journal::OperatorHome,
    node::clock,
    services::run::{
        self, ExitMode, JOBS_SHOWN_DEFAULT, OutputRequest, RunRequest, Streams, Target, View, World,
    },
    terminal::prompt,
};

/// The process's own streams, unbuffered: output of hosts is passed on in large pieces.
fn streams() -> Result<(File, File), Failure> {
    let open = |fd: io::Result<std::os::fd::OwnedFd>| {
        fd.map(File::from)
            .map_err(|error| Failure::new(ExitCode::Internal, format!("cannot use the terminal: {error}")))
    };
    Ok((open(io::stdout().as_fd().try_clone_to_owned())?, open(io::stderr().as_fd().try_clone_to_owned())?))
}

/// This user's directory for the agent's fleet.
async fn operator(context: &Context) -> Result<OperatorHome, Failure> {
    let client = connect(context).await?;
    let anchor = Anchor::find(&client, &context.site.places.operators)
        .map_err(|error| error.explain(&context.site))?;
    match anchor {
        Anchor::Operator(home) => Ok(*home),
        Anchor::Agent(chain) => Err(failure::not_an_operator(
            format!("this user has no operator key for fleet {}", chain.genesis().name),
            &context.site,
        )),
    }
}

fn prepared<'a>(context: &Context, out: &'a mut File, err: &'a mut File) -> Streams<'a> {
    let mut streams = Streams::new(out, err, context.global.output.unwrap_or_default());
    [streams.in_terminal, streams.out_terminal, streams.err_terminal] = context.terminals;
    streams.out_style = context.out_style;
    streams.columns = context.columns;
    streams.err_columns = rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| size.ws_col.into())
        .filter(|columns| *columns > 0);
    streams
}

pub(super) fn run(context: &mut Context, run: &Run) -> Result<ExitCode, Failure> {
    let target = Target {
        expression: run.target.target.clone(),
        labels: run.target.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        hosts: run.target.hosts.clone(),
        all: run.target.all,
    };
    let argv = match &run.command {
        Some(line) => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), line.as_bytes().to_vec()],
        None => run.argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
    };
    let mut request = RunRequest::new(target, argv);
    if let Some(user) = &run.run_as {
        request.run_as.clone_from(user);
    }
    request.reason.clone_from(&run.reason);
    request.timeout = run.timeout;
    request.queue = run.queue;
    request.wait = run.wait;
    request.dry_run = run.dry_run;
    request.yes = context.global.yes;
    request.view = match run.view {
        RunView::Auto => View::Auto,
        RunView::Live => View::Live,
        RunView::Group => View::Group,
        RunView::Raw => View::Raw,
        RunView::Quiet => View::Quiet,
    };
    request.exit = run.exit.map(|exit| match exit {
        RunExit::Summary => ExitMode::Summary,
        RunExit::Max => ExitMode::Max,
        RunExit::Remote => ExitMode::Remote,
    });
    let nonce = chance::draw()?;
    let (mut out, mut err) = streams()?;
    let code = wait(async {
        let home = operator(context).await?;
        let mut streams = prepared(context, &mut out, &mut err);
        let mut world = World { clock: &clock::now, nonce, ask: &mut prompt::ask_terminal };
        let interrupt = async || {
            // Without the signal the key simply ends this process.
            let _unavailable = tokio::signal::ctrl_c().await;
        };
        run::run(&request, &home, &context.site.places.socket, &mut streams, &mut world, interrupt)
            .await
            .map_err(|error| error.explain(&context.site))
    })?;
    Ok(ExitCode::Host(code))
}

pub(super) fn job(context: &mut Context, job: &Job) -> Result<ExitCode, Failure> {
    let (mut out, mut err) = streams()?;
    let code = wait(async {
        let home = operator(context).await?;
        let socket = &context.site.places.socket;
        let mut streams = prepared(context, &mut out, &mut err);
        let now = context.now;
        let done = match job {
            Job::Ls => run::ls(&home, socket, JOBS_SHOWN_DEFAULT, &mut streams, now).await,
            Job::Show(show) => run::show(&show.job, &home, socket, &mut streams, now).await,
            Job::Output(output) => {
                let request = OutputRequest {
                    job: output.job.clone(),
                    host: output.host.clone(),
                    stderr: output.stderr,
                };
                run::output(&request, &home, socket, &mut streams, now).await
            }
        };
        done.map_err(|error| error.explain(&context.site))
    })?;
    Ok(ExitCode::Host(code))
}
