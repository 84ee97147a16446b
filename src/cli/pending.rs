//! Commands whose parts are built elsewhere and come in by replacing these functions, one each.

use super::{
    arguments::{Agent, Demo, Job, Join, Run},
    dispatch::Context,
    failure::{ExitCode, Failure},
};

fn not_built(what: &str) -> Failure {
    Failure::new(ExitCode::Internal, format!("{what}: not built yet")).hint("what there is: muster --help")
}

pub(super) fn agent(_: &mut Context, _: &Agent) -> Result<ExitCode, Failure> {
    Err(not_built("agent"))
}

pub(super) fn mesh_process() -> Result<ExitCode, Failure> {
    Err(not_built("mesh-process"))
}

pub(super) fn demo(_: &mut Context, _: &Demo) -> Result<ExitCode, Failure> {
    Err(not_built("demo"))
}

pub(super) fn join(_: &mut Context, _: &Join) -> Result<ExitCode, Failure> {
    Err(not_built("join"))
}

pub(super) fn run(_: &mut Context, _: &Run) -> Result<ExitCode, Failure> {
    Err(not_built("run"))
}

pub(super) fn job(_: &mut Context, _: &Job) -> Result<ExitCode, Failure> {
    Err(not_built("job"))
}
