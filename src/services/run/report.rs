//! When a host's result is believed.

use crate::{
    authority::Authority,
    identity::{EntryId, Signed},
    replica::{Output, Report, ResultRecord},
    wire::Bytes,
};

/// Why a result is only claimed. What it says is not shown as if it were so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Claim {
    /// Not a signed result, or altered.
    #[error("its signature does not match")]
    Signature,
    /// Signed, but not by that host's executor.
    #[error("its signature does not match that host's executor key")]
    Signer,
    /// A good signature over another order's or another host's result.
    #[error("it is signed for another order or host")]
    Elsewhere,
    /// The output that came along is not what was signed.
    #[error("its output does not match the signed hash")]
    Output,
    /// A host that this fleet does not know.
    #[error("its host is not known")]
    UnknownHost,
}

/// A result that its host's executor signed for this order, with whatever output came along and has
/// the signed hash.
#[derive(Clone, Debug)]
pub struct Verified {
    report: Report,
    record: Signed<ResultRecord>,
}

impl Verified {
    /// What the executor signed.
    pub fn record(&self) -> &ResultRecord {
        self.record.body()
    }
    /// The record's id: two that differ are two results.
    pub fn id(&self) -> EntryId {
        self.record.id()
    }
    /// The result as it travelled, to be kept.
    pub fn report(&self) -> &Report {
        &self.report
    }
    /// Standard output, if it is here.
    pub fn stdout(&self) -> Option<&[u8]> {
        here(self.report.stdout.as_ref(), self.record().stdout)
    }
    /// Standard error, if it is here.
    pub fn stderr(&self) -> Option<&[u8]> {
        here(self.report.stderr.as_ref(), self.record().stderr)
    }
}

fn here(bytes: Option<&Bytes>, output: Output) -> Option<&[u8]> {
    match bytes {
        Some(bytes) => Some(&bytes.0),
        None if output.kept == 0 => Some(&[]),
        None => None,
    }
}

/// Verifies a result of `order` against the executor key in the host's certificate.
///
/// # Errors
/// [`Claim`] says why it proves nothing.
pub fn verify(report: &Report, order: EntryId, authority: &Authority) -> Result<Verified, Claim> {
    let host = authority.host(&report.host).ok_or(Claim::UnknownHost)?;
    let record =
        Signed::<ResultRecord>::verify(&report.record.0, authority.fleet()).map_err(|_| Claim::Signature)?;
    if record.signer() != host.enrolled().enrolment().keys.executor {
        return Err(Claim::Signer);
    }
    let body = record.body();
    if body.order != order || report.order != order || body.host != report.host {
        return Err(Claim::Elsewhere);
    }
    for (bytes, output) in [(&report.stdout, body.stdout), (&report.stderr, body.stderr)] {
        let matches = bytes.as_ref().is_none_or(|bytes| {
            bytes.0.len() as u64 == output.kept && *blake3::hash(&bytes.0).as_bytes() == output.hash
        });
        if !matches || output.produced < output.kept {
            return Err(Claim::Output);
        }
    }
    Ok(Verified { report: report.clone(), record })
}
