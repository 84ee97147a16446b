//! `muster audit`.

use std::io::{IsTerminal as _, Write as _};

use super::{
    arguments::Audit,
    dispatch::{Context, connect},
    failure::{ExitCode, Explain, Failure, Site},
};
use crate::{
    services::audit::{self, AuditError, Whence},
    terminal::escape,
};

pub(super) async fn audit(context: &mut Context, verb: Audit) -> Result<ExitCode, Failure> {
    if matches!(verb, Audit::Export) && std::io::stdout().is_terminal() {
        return Err(Failure::usage("a chain is no text: it does not go to a terminal")
            .hint("muster audit export > chain"));
    }
    let mut client = connect(context).await?;
    let Context { site, output, .. } = context;
    let operators = &site.places.operators;
    let whence = |file: Option<std::path::PathBuf>| file.map_or(Whence::Agent, Whence::File);
    let done = match verb {
        Audit::Log { last, file } => audit::log(&mut client, operators, &whence(file), last, output).await,
        Audit::Verify { file, seen } => {
            audit::verify(&mut client, operators, &whence(file), seen, output).await
        }
        Audit::Export => {
            let mut out = std::io::stdout().lock();
            audit::export(&mut client, operators, &mut |bytes| out.write_all(bytes)).await
        }
    };
    done.map_err(|error| error.explain(site))?;
    Ok(ExitCode::Success)
}

impl Explain for AuditError {
    fn explain(self, site: &Site) -> Failure {
        let text = escape::line(&self.to_string());
        match self {
            Self::Control(error) => error.explain(site),
            Self::Anchor(error) => error.explain(site),
            Self::Output(error) => error.explain(site),
            Self::File { .. } => Failure::usage(text),
            Self::NoHost => Failure::new(ExitCode::Internal, text)
                .hint("ask an agent of the fleet that the chain is from: --socket PATH"),
            Self::Fault { .. } => Failure::new(ExitCode::Internal, text)
                .hint("keep what you have of it: muster audit export > chain"),
        }
    }
}
