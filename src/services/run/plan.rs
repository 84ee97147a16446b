//! What would be done, before it is: who would run it when, by which certificate, and who would refuse.

use serde_json::{Value, json};

use super::{Forecast, RunError, Streams, rollout::Rollout, view::Job};
use crate::{
    authority::{Certificate, Refusal},
    identity::HostId,
    replica::Replica,
    terminal::{Column, Format, Kind, Mark, Sheet, escape, nodeset, time::rfc3339},
};

/// The exit code of what is refused.
const REFUSED: u8 = 4;
/// Refusals that are shown one by one to a person.
const REFUSALS_SHOWN: usize = 20;
/// What hosts would answer.
const VERDICTS: &[(&str, Mark)] = &[("would run", Mark::Good), ("would refuse", Mark::Bad)];

const HOSTS: Sheet = Sheet {
    thing: "plan-host",
    columns: &[
        Column::new("NAME", "host", Kind::Host),
        Column::new("VERDICT", "verdict", Kind::Status(VERDICTS)),
        Column::new("WAVE", "wave", Kind::Ours),
        Column::new("WHY", "refusal", Kind::Host),
        Column::wide("ID", "id", Kind::Ours),
    ],
};

/// A job before anything of it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    /// The order for the whole roster.
    pub(super) job: &'a Job<'a>,
    /// What hosts would answer.
    pub(super) forecast: &'a Forecast,
    /// Its waves.
    pub(super) rollout: &'a Rollout,
    /// How many may fail.
    pub(super) errors_max: Option<usize>,
    /// The fleet.
    pub(super) replica: &'a Replica,
}

impl Plan<'_> {
    fn certificate(&self) -> Option<&Certificate> {
        let order = self.forecast.order.signed();
        self.replica.authority().certificate_of(&order.body().certificate, order.signer()).ok()
    }

    fn refusal(&self, host: &HostId) -> Option<String> {
        let refused = self.forecast.refusals.iter().find(|(refusing, _)| refusing == host);
        refused.map(|(_, refusal)| self.in_full(refusal))
    }

    fn in_full(&self, refusal: &Refusal) -> String {
        self.replica.authority().in_full(refusal, &self.forecast.order.body().certificate)
    }

    /// What, as whom and by what right, until when, where, in which order, and who would refuse.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = self.job.plan_lines();
        if let Some(certificate) = self.certificate() {
            let at = lines.len().min(2);
            lines.insert(
                at,
                format!(
                    "by       certificate {} of {}: scope {}, until {}",
                    self.forecast.order.body().certificate.short(),
                    escape::line(&certificate.person),
                    escape::line(&certificate.scope),
                    rfc3339(certificate.not_after),
                ),
            );
        }
        let waves = self.rollout.waves_total();
        if waves > 1 {
            let sizes: Vec<String> =
                (0..waves).take(8).map(|wave| self.rollout.wave(wave).len().to_string()).collect();
            let more = if waves > sizes.len() { ", …" } else { "" };
            lines.push(format!("waves    {waves}: {}{more} hosts, in order of ids", sizes.join(", ")));
        }
        match self.errors_max {
            Some(0) => lines.push("stops    when one has failed".to_owned()),
            Some(errors) => lines.push(format!("stops    when more than {errors} have failed")),
            None => {}
        }
        for (host, refusal) in self.forecast.refusals.iter().take(REFUSALS_SHOWN) {
            let refusal = escape::line(&self.in_full(refusal));
            lines.push(format!("refused  {}: {refusal}", self.job.label(host)));
        }
        let more = self.forecast.refusals.len().saturating_sub(REFUSALS_SHOWN);
        if more > 0 {
            let rest =
                self.forecast.refusals.iter().skip(REFUSALS_SHOWN).map(|(host, _)| self.job.label(host));
            lines.push(format!("refused  {more} more: {}", nodeset::fold(rest)));
        }
        lines
    }

    /// Shows it; the exit code: that of a refusal if one is foreseen, since then nothing would be sent.
    pub(super) fn show(&self, streams: &mut Streams<'_>) -> Result<u8, RunError> {
        match streams.format {
            Format::Csv | Format::Name => streams.rows(self.job.now, &HOSTS, &self.rows())?,
            Format::Table | Format::Wide | Format::Json | Format::Jsonl => {
                let lines = self.lines();
                streams.document(self.job.now, "plan", &Value::Object(self.document()), |_| {
                    lines.iter().fold(String::new(), |text, line| text + line + "\n")
                })?;
            }
        }
        streams.say("dry run: nothing was sent");
        Ok(if self.forecast.refusals.is_empty() { 0 } else { REFUSED })
    }

    fn document(&self) -> serde_json::Map<String, Value> {
        let mut document = self.job.facts();
        let certificate = self.certificate().map(|certificate| {
            json!({
                "id": self.forecast.order.body().certificate.to_string(),
                "person": certificate.person,
                "scope": certificate.scope,
                "verbs": certificate.verbs.iter().map(|verb| verb.word()).collect::<Vec<_>>(),
                "run_as": certificate.run_as,
                "hosts_max": certificate.hosts_max,
                "not_before": rfc3339(certificate.not_before),
                "not_after": rfc3339(certificate.not_after),
            })
        });
        document.insert("certificate".to_owned(), certificate.into());
        let sizes: Vec<usize> =
            (0..self.rollout.waves_total()).map(|wave| self.rollout.wave(wave).len()).collect();
        document.insert("waves".to_owned(), sizes.into());
        document.insert("errors_max".to_owned(), self.errors_max.into());
        document.insert("hosts".to_owned(), Value::Array(self.rows()));
        document
    }

    fn rows(&self) -> Vec<Value> {
        let wave_of = |host: &HostId| {
            (0..self.rollout.waves_total())
                .find(|wave| self.rollout.wave(*wave).contains(host))
                .map(|wave| wave + 1)
        };
        let row = |(label, host): (String, HostId)| {
            let refusal = self.refusal(&host);
            let verdict = if refusal.is_none() { "would run" } else { "would refuse" };
            json!({
                "host": label,
                "id": host.to_string(),
                "verdict": verdict,
                "wave": wave_of(&host),
                "refusal": refusal,
            })
        };
        self.job.by_label().into_iter().map(row).collect()
    }
}
