//! `muster run` and `muster job`.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::Path,
};

use futures::{StreamExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    arguments::{Job, JobRerun, Pacing, Run, RunExit, RunView},
    chance,
    dispatch::{Context, connect, wait},
    failure::{self, ExitCode, Explain as _, Failure},
    watching::shown,
};
use crate::{
    control::Anchor,
    journal::OperatorHome,
    node::clock,
    replica::BLOB_BYTES_MAX,
    services::run::{
        self, CancelRequest, ExitMode, Interrupt, Interrupts, JOBS_SHOWN_DEFAULT, OutputRequest,
        PauseRequest, RerunRequest, ResumeRequest, RunRequest, Streams, View, WatchRequest, World,
    },
    targets::{Share, Targets},
    terminal::{escape, prompt},
};

/// The process's own streams, unbuffered: output of hosts is passed on in large pieces.
pub(super) fn streams() -> Result<(File, File), Failure> {
    let open = |fd: io::Result<std::os::fd::OwnedFd>| {
        fd.map(File::from)
            .map_err(|error| Failure::new(ExitCode::Internal, format!("cannot use the terminal: {error}")))
    };
    Ok((open(io::stdout().as_fd().try_clone_to_owned())?, open(io::stderr().as_fd().try_clone_to_owned())?))
}

/// This user's directory for the agent's fleet.
pub(super) async fn operator(context: &Context) -> Result<OperatorHome, Failure> {
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

/// How many columns a stream has now, if it is a terminal.
fn columns_of(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

pub(super) fn prepared<'a>(context: &Context, out: &'a mut File, err: &'a mut File) -> Streams<'a> {
    let mut streams = Streams::new(out, err, context.global.output.unwrap_or_default());
    [streams.in_terminal, streams.out_terminal, streams.err_terminal] = context.terminals;
    streams.out_style = context.out_style;
    streams.columns = context.columns;
    streams.as_of = context.as_of;
    streams.err_columns = columns_of(io::stderr());
    streams.measure = Some(|| [columns_of(io::stdout()), columns_of(io::stderr())]);
    streams
}

/// What people call a script.
fn called(script: &Path) -> Vec<u8> {
    let name = script.file_name().filter(|_| script != Path::new("-"));
    name.map_or_else(|| b"script".to_vec(), |name| name.as_bytes().to_vec())
}

/// The script and the standard input that are to be shipped, whole in memory. One byte more than may be is read at
/// most: what is too long is found to be.
fn shipped(run: &Run, terminal: bool) -> Result<[Option<Vec<u8>>; 2], Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::new(ExitCode::Usage, format!("cannot read {what}: {error}"))
    };
    let all = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        from.take(BLOB_BYTES_MAX + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let from_stdin = run.script.as_deref() == Some(Path::new("-"));
    if from_stdin && run.stdin {
        let problem = "--script - and -i both want standard input".to_owned();
        return Err(Failure::new(ExitCode::Usage, problem).hint("put one of them into a file"));
    }
    if (from_stdin || run.stdin) && terminal {
        let problem =
            "standard input is a terminal, and all of it is shipped before anything runs".to_owned();
        return Err(Failure::new(ExitCode::Usage, problem).hint("give it a file: muster run … < FILE"));
    }
    let script = match &run.script {
        None => None,
        Some(_) if from_stdin => Some(all(&mut io::stdin().lock()).map_err(failed("standard input"))?),
        Some(path) => {
            let read = File::open(path).and_then(|mut file| all(&mut file));
            Some(read.map_err(failed(&escape::line(&path.display().to_string())))?)
        }
    };
    let stdin = run.stdin.then(|| all(&mut io::stdin().lock())).transpose();
    Ok([script, stdin.map_err(failed("standard input"))?])
}

/// Ctrl-C, a hang-up and the request to end, as they come from now on.
pub(super) fn interrupts() -> Interrupts {
    let signals = [
        (SignalKind::interrupt(), Interrupt::Key),
        (SignalKind::terminate(), Interrupt::Leave),
        (SignalKind::hangup(), Interrupt::Leave),
    ];
    // Without one of them it simply ends this process.
    let heard = signals.into_iter().filter_map(|(kind, interrupt)| Some((signal(kind).ok()?, interrupt)));
    let streams = heard.map(|(heard, interrupt)| {
        stream::unfold(heard, move |mut heard| async move { heard.recv().await.map(|()| (interrupt, heard)) })
            .boxed()
    });
    stream::select_all(streams).boxed()
}

fn view(view: RunView) -> View {
    match view {
        RunView::Auto => View::Auto,
        RunView::Live => View::Live,
        RunView::Group => View::Group,
        RunView::Raw => View::Raw,
        RunView::Quiet => View::Quiet,
    }
}

fn exit_mode(exit: RunExit) -> ExitMode {
    match exit {
        RunExit::Summary => ExitMode::Summary,
        RunExit::Max => ExitMode::Max,
        RunExit::Remote => ExitMode::Remote,
    }
}

fn pace(pacing: &Pacing, request: &mut RunRequest) {
    if let Some(pace) = pacing.batch.as_ref().or(pacing.waves.as_ref()) {
        request.pace = pace.clone();
    }
    request.errors_max = if pacing.fail_fast { Some(Share::Hosts(0)) } else { pacing.max_errors };
}

pub(super) fn run(context: &mut Context, run: &Run) -> Result<ExitCode, Failure> {
    let target = run.target.targets();
    let words = run.argv.iter().map(|word| word.as_bytes().to_vec());
    let argv = match (&run.command, &run.script) {
        (Some(line), _) => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), line.as_bytes().to_vec()],
        (None, None) => words.collect(),
        (None, Some(path)) => std::iter::once(called(path)).chain(words).collect(),
    };
    let mut request = RunRequest::new(target, argv);
    [request.script, request.stdin] = shipped(run, context.terminals[0])?;
    if let Some(user) = &run.run_as {
        request.run_as.clone_from(user);
    }
    request.reason.clone_from(&run.reason);
    request.timeout = run.timeout;
    request.queue = run.queue;
    request.wait = run.wait;
    request.dry_run = run.dry_run;
    request.private = run.private;
    request.yes = context.global.yes;
    request.view = view(run.view);
    request.exit = run.exit.map(exit_mode);
    pace(&run.pacing, &mut request);
    let nonce = chance::draw()?;
    let (mut out, mut err) = streams()?;
    let code = wait(async {
        let home = operator(context).await?;
        let mut streams = prepared(context, &mut out, &mut err);
        let mut world =
            World { clock: &clock::now, nonce, ask: &mut prompt::ask_terminal, listen: &mut interrupts };
        run::run(&request, &home, &context.site.places.socket, &mut streams, &mut world)
            .await
            .map_err(|error| error.explain(&context.site))
    })?;
    Ok(ExitCode::Host(code))
}

fn rerun_request(rerun: &JobRerun, yes: bool) -> RerunRequest {
    let mut run = RunRequest::new(Targets::default(), Vec::new());
    run.queue = rerun.queue;
    run.wait = rerun.wait;
    run.reason.clone_from(&rerun.reason);
    run.dry_run = rerun.dry_run;
    run.yes = yes;
    run.view = view(rerun.view);
    pace(&rerun.pacing, &mut run);
    RerunRequest { job: rerun.job.clone(), failed: rerun.failed, run }
}

async fn list(context: &mut Context) -> Result<ExitCode, Failure> {
    let home = operator(context).await?;
    let Context { site, output, talk, now, .. } = context;
    run::ls(&home, &site.places.socket, JOBS_SHOWN_DEFAULT, output, talk, *now)
        .await
        .map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

pub(super) fn job(context: &mut Context, job: &Job) -> Result<ExitCode, Failure> {
    if let Job::Ls(ls) = job {
        return wait(shown(context, ls.watch, async |context: &mut Context| list(context).await));
    }
    let nonce = chance::draw()?;
    let (mut out, mut err) = streams()?;
    let code = wait(async {
        let home = operator(context).await?;
        let socket = &context.site.places.socket;
        let mut streams = prepared(context, &mut out, &mut err);
        let now = context.now;
        let done = match job {
            // Above.
            Job::Ls(_) => Ok(0),
            Job::Show(show) => run::show(&show.job, &home, socket, &mut streams, now).await,
            Job::Output(output) => {
                let request = OutputRequest {
                    job: output.job.clone(),
                    host: output.host.clone(),
                    stderr: output.stderr,
                };
                run::output(&request, &home, socket, &mut streams, now).await
            }
            Job::Watch(watch) => {
                let (view, exit) = (view(watch.view), exit_mode(watch.exit));
                let request = WatchRequest { job: watch.job.clone(), wait: watch.wait, exit, view };
                run::watch(&request, &home, socket, &mut streams, &clock::now, &mut interrupts).await
            }
            Job::Cancel(cancel) => {
                let request = CancelRequest { job: cancel.job.clone(), dry_run: cancel.dry_run };
                run::cancel(&request, &home, socket, &mut streams, &clock::now, &mut interrupts).await
            }
            Job::Pause(pause) => {
                let request = PauseRequest { job: pause.job.clone(), dry_run: pause.dry_run };
                run::pause(&request, &home, socket, &mut streams, now).await
            }
            Job::Resume(resume) => {
                let mut request = ResumeRequest::new(resume.job.clone(), view(resume.view));
                (request.run.wait, request.run.dry_run) = (resume.wait, resume.dry_run);
                request.run.yes = context.global.yes;
                request.exit = exit_mode(resume.exit);
                let ask = &mut prompt::ask_terminal;
                let mut world = World { clock: &clock::now, nonce, ask, listen: &mut interrupts };
                run::resume(&request, &home, socket, &mut streams, &mut world).await
            }
            Job::Rerun(rerun) => {
                let request = rerun_request(rerun, context.global.yes);
                let ask = &mut prompt::ask_terminal;
                let mut world = World { clock: &clock::now, nonce, ask, listen: &mut interrupts };
                run::rerun(&request, &home, socket, &mut streams, &mut world).await
            }
        };
        done.map_err(|error| error.explain(&context.site))
    })?;
    Ok(ExitCode::Host(code))
}
