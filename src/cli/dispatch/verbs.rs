//! Which verb is whose: one line each, and what all of them need.

use serde_json::json;

use super::Context;
use crate::{
    cli::{
        agent,
        arguments::{Host, Store, Verb},
        audit, complete, config, context, demo, doctor,
        failure::{ExitCode, Explain as _, Failure},
        hosts, inventory, key, manual, membership, run, scenario, schema, targeting, trust, upkeep,
        watching::shown,
    },
    control::{CONTROL_VERSION, Client},
    terminal::escape,
};

pub(super) fn dispatch(context: &mut Context, verb: Verb) -> Result<ExitCode, Failure> {
    let client = context::enter(context, &verb)?;
    let done = perform(context, verb);
    context::leave(context, client);
    done
}

fn perform(context: &mut Context, verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Demo(demo) => demo::demo(context, &demo),
        Verb::Init(init) => membership::found(context, &init),
        Verb::Invite(request) => wait(membership::invite(context, &request)),
        Verb::Join(join) => agent::join(context, &join),
        Verb::Leave(request) => wait(membership::leave(context, &request)),
        Verb::Agent(start) => agent::agent(context, &start),
        Verb::Status(status) => {
            wait(shown(context, status.watch, async |context: &mut Context| upkeep::status(context).await))
        }
        Verb::Host(verb) => hosts::host(context, &verb),
        Verb::Hosts(list) => hosts::host(context, &Host::Ls(list)),
        Verb::Run(run) => run::run(context, &run),
        Verb::Job(job) => run::job(context, &job),
        Verb::Inventory(verb) => inventory::inventory(context, &verb),
        Verb::Select(select) => targeting::select(context, &select),
        Verb::Group(verb) => targeting::group(context, &verb),
        Verb::Key(verb) => key::key(context, verb),
        Verb::Operator(verb) => trust::operator(context, &verb),
        Verb::Halt(halt) => wait(trust::halt(context, &halt)),
        Verb::Unhalt(unhalt) => wait(trust::unhalt(context, &unhalt)),
        Verb::Audit(verb) => wait(audit::audit(context, verb)),
        Verb::Store(Store::Check) => wait(upkeep::store_check(context)),
        Verb::Scenario(verb) => scenario::scenario(context, &verb),
        Verb::Completion(completion) => text(context, complete::script(completion.shell).as_bytes()),
        Verb::Man(man) => match man.dir {
            Some(dir) => {
                let pages = manual::write_all(&dir)?;
                context.talk.say(&format!("{pages} pages in {}", escape::line(&dir.display().to_string())));
                Ok(ExitCode::Success)
            }
            None => text(context, &manual::page(&man.path)?),
        },
        Verb::Version => version(context),
        Verb::MeshProcess => agent::mesh_process(),
        Verb::Doctor => wait(doctor::doctor(context)),
        Verb::Context(verb) => context::context(context, verb),
        Verb::Config(config) => config::config(context, &config),
        Verb::Schema(schema) => schema::schema(context, &schema),
        Verb::Complete(words) => Ok(complete::complete(context, &words)),
    }
}

/// Runs a command that waits. Those that do not, start no runtime.
pub(in crate::cli) fn wait<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::Internal, format!("cannot wait for the agent: {error}")))?;
    runtime.block_on(command)
}

pub(in crate::cli) async fn connect(context: &Context) -> Result<Client, Failure> {
    Client::connect(&context.site.places.socket).await.map_err(|error| error.explain(&context.site))
}

fn text(context: &mut Context, bytes: &[u8]) -> Result<ExitCode, Failure> {
    let text = String::from_utf8_lossy(bytes);
    context.output.text(&text).map_err(|error| error.explain(&context.site))?;
    Ok(ExitCode::Success)
}

fn version(context: &mut Context) -> Result<ExitCode, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({ "version": version, "control": CONTROL_VERSION });
    context
        .output
        .document("version", &document, |_| format!("muster {version}\n"))
        .map_err(|error| error.explain(&context.site))?;
    Ok(ExitCode::Success)
}
