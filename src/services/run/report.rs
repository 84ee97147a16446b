//! When a host's result is believed.

use super::sealing::Opening;
use crate::{
    authority::Authority,
    control::StreamName,
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
    /// Output of a private order that is not sealed to who ordered it.
    #[error("its output is not sealed to who ordered it")]
    Unsealed,
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
    /// What the outputs are, once a seal was opened.
    opened: Option<Box<(ResultRecord, [Option<Bytes>; 2])>>,
}

impl Verified {
    /// What the executor signed. Of private output that came along and was opened, it says what that is.
    pub fn record(&self) -> &ResultRecord {
        self.opened.as_ref().map_or(self.record.body(), |opened| &opened.0)
    }
    /// The record's id: two that differ are two results.
    pub fn id(&self) -> EntryId {
        self.record.id()
    }
    /// The result as it travelled, to be kept.
    pub fn report(&self) -> &Report {
        &self.report
    }
    fn outputs(&self) -> [Option<&Bytes>; 2] {
        match self.opened.as_deref() {
            Some((_, [stdout, stderr])) => [stdout.as_ref(), stderr.as_ref()],
            None => [self.report.stdout.as_ref(), self.report.stderr.as_ref()],
        }
    }

    /// The same with the output that came along opened. What is sealed and not to anybody here is left out: its
    /// bytes say nothing.
    ///
    /// # Errors
    /// [`Claim::Unsealed`].
    pub(super) fn opened(mut self, opening: &Opening) -> Result<Self, Claim> {
        let mut record = self.record.body().clone();
        let (order, host) = (record.order, record.host);
        let mut here = [self.report.stdout.clone(), self.report.stderr.clone()];
        let outputs = [&mut record.stdout, &mut record.stderr];
        for ((stream, output), bytes) in
            [StreamName::Stdout, StreamName::Stderr].into_iter().zip(outputs).zip(&mut here)
        {
            match (opening, opening.opener(&order, &host, stream)) {
                (Opening::Plain, _) => return Ok(self),
                (_, None) => (*output, *bytes) = (Output::nothing(), None),
                (_, Some(mut opener)) => {
                    let Some(sealed) = bytes.as_mut().filter(|sealed| !sealed.0.is_empty()) else { continue };
                    let plain = opener.push(&sealed.0).map_err(|_| Claim::Unsealed)?;
                    let lost = output.produced.saturating_sub(output.kept);
                    if opener.whole() != Ok(lost == 0) && lost == 0 {
                        return Err(Claim::Unsealed);
                    }
                    let kept = plain.len() as u64;
                    let produced = kept.saturating_add(lost);
                    *output = Output { hash: *blake3::hash(&plain).as_bytes(), kept, produced };
                    sealed.0 = plain;
                }
            }
        }
        self.opened = Some(Box::new((record, here)));
        Ok(self)
    }

    /// Standard output, if it is here.
    pub fn stdout(&self) -> Option<&[u8]> {
        here(self.outputs()[0], self.record().stdout)
    }
    /// Standard error, if it is here.
    pub fn stderr(&self) -> Option<&[u8]> {
        here(self.outputs()[1], self.record().stderr)
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
    Ok(Verified { report: report.clone(), record, opened: None })
}
