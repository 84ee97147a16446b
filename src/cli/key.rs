//! `muster key`, and what went wrong with keys in words.

use serde_json::json;

use super::{
    arguments::{Key, KeyExport},
    dispatch::Context,
    failure::{ExitCode, Explain, Failure, Site, quoted},
};
use crate::{
    journal::{
        OpensshError,
        signer::{ChoiceError, SignError, ways},
    },
    services::keys::{self, KeysError},
    terminal::escape,
};

pub(super) fn key(context: &mut Context, verb: Key) -> Result<ExitCode, Failure> {
    match verb {
        Key::Ls => {
            let Context { site, output, talk, .. } = context;
            let listed = keys::list(&site.places.operators, &ways(), output, talk);
            listed.map_err(|error| error.explain(site))?;
            Ok(ExitCode::Success)
        }
        Key::Export(export) => write_out(context, &export),
    }
}

fn write_out(context: &mut Context, export: &KeyExport) -> Result<ExitCode, Failure> {
    let site = &context.site;
    let exported = keys::export(&site.places.operators, &export.job, &export.dir)
        .map_err(|error| error.explain(site))?;
    let check = exported.check(quoted);
    let document = json!({
        "order": exported.order.to_string(), "person": exported.person, "signed": exported.signed,
        "signature": exported.signature, "signers": exported.signers, "check": check,
    });
    let shown = format!("{}\n", escape::line(&check));
    context.output.document("key-export", &document, |_| shown).map_err(|error| error.explain(site))?;
    context.talk.say("this checks it, without muster");
    Ok(ExitCode::Success)
}

impl Explain for KeysError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Operator(error) => error.explain(site),
            Self::Output(error) => error.explain(site),
            Self::NotOne { .. } => Failure::usage(message).hint("muster job ls lists them"),
            Self::NotBySsh(_) => Failure::new(ExitCode::Usage, message).hint(
                "what an SSH agent signs is: muster init NAME --operator-key KEY, and muster key ls for KEY",
            ),
            Self::Write { path, .. } => {
                Failure::new(ExitCode::Internal, message).hint(format!("look at it: ls -l {}", quoted(&path)))
            }
        }
    }
}

impl Explain for SignError {
    fn explain(self, _: &Site) -> Failure {
        let failure = Failure::new(ExitCode::NotPermitted, self.to_string());
        match self {
            Self::NoAgent(_) => failure.hint("start one and add the key: eval $(ssh-agent); ssh-add"),
            Self::Agent { path, .. } => failure.hint(format!("look at it: ls -l {}", quoted(&path))),
            Self::Slow(_) | Self::Declined(_) => {
                failure.hint("nothing was signed; do it again, and confirm or touch when asked")
            }
            Self::Odd(_) | Self::Lied(_) => failure.hint("nothing was signed; look which agent that is: muster key ls"),
            Self::Lacks(_) => failure.hint("add it: ssh-add FILE; what it has now: muster key ls"),
            Self::Forwarded { .. } => failure
                .hint("who runs this machine could have it sign anything; work from the machine that has the key")
                .hint("to use it all the same: MUSTER_FORWARDED_AGENT=yes"),
            Self::NobodyToAsk(_) => {
                failure.hint("give it on a descriptor: MUSTER_PASSPHRASE_FD=3 muster … 3< FILE")
            }
            Self::Passphrase(_) => failure.hint("nothing was signed"),
            Self::File { path, source } => match source {
                OpensshError::Passphrase => failure.hint("nothing was signed"),
                OpensshError::OtherLock => {
                    failure.hint(format!("ssh-keygen -p -Z aes256-ctr -f {}", quoted(&path)))
                }
                OpensshError::Format(_) | OpensshError::OtherKind => {
                    failure.hint(format!("look at it: ssh-keygen -l -f {}", quoted(&path)))
                }
            },
        }
    }
}

impl Explain for ChoiceError {
    fn explain(self, site: &Site) -> Failure {
        let message = self.to_string();
        match self {
            Self::Sign(error) => error.explain(site),
            Self::File(error) => error.explain(site),
            Self::NotThere(_) | Self::Several(_) | Self::Nowhere(_) => {
                Failure::usage(message).hint("which keys there are: muster key ls")
            }
            Self::NotAKey { path, .. } => {
                Failure::usage(message).hint(format!("look at it: ssh-keygen -l -f {}", quoted(&path)))
            }
        }
    }
}
