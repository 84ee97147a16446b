//! Commands whose parts are built elsewhere and come in by replacing these functions, one each.

use super::{
    arguments::Demo,
    dispatch::Context,
    failure::{ExitCode, Failure},
};

fn not_built(what: &str) -> Failure {
    Failure::new(ExitCode::Internal, format!("{what}: not built yet")).hint("what there is: muster --help")
}

pub(super) fn demo(_: &mut Context, _: &Demo) -> Result<ExitCode, Failure> {
    Err(not_built("demo"))
}
