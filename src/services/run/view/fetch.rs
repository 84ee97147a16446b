//! Output that is not here: fetched from the host that has it, checked against what it signed.

use std::io;

use serde_json::json;

use super::{job::Job, record, words};
use crate::{
    control::StreamName,
    identity::HostId,
    replica::Output,
    services::run::{
        FetchError, RunError, Seat, Streams, Tally,
        output::{Reader, Sink},
    },
    terminal::{escape, raw},
};

/// How much fetched output one JSON document holds, in bytes: it is one value in memory.
const JSON_OUTPUT_BYTES_MAX: u64 = 4 << 20;

/// Both, in the order in which they show.
pub(super) const STREAMS: [StreamName; 2] = [StreamName::Stdout, StreamName::Stderr];

impl Job<'_> {
    /// Passes one output stream on as it is to standard output; filtered only where a terminal would act on
    /// it. Says where it was cut.
    pub(in crate::services::run) async fn pass_on(
        &self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader<'_>,
        host: HostId,
        stream: StreamName,
        output: Output,
    ) -> Result<bool, RunError> {
        let terminal = streams.out_terminal;
        let mut filter = raw::Filter::new(streams.out_style.color);
        let result = {
            let mut sink = |piece: &[u8]| {
                stop_if_closed(streams)?;
                if terminal {
                    streams.out_bytes(filter.push(piece).as_bytes())
                } else {
                    streams.out_bytes(piece)
                }
            };
            copy(tally, reader, host, stream, output, &mut sink).await
        };
        if terminal {
            streams.out_bytes(filter.finish().as_bytes())?;
        }
        streams.flush()?;
        let whole = self.settle(result, streams, tally, host)?;
        if let Some(cut) = words::cut(output) {
            let word = if stream == StreamName::Stdout { "output" } else { "error output" };
            streams.say(&format!("{}: {word} {cut}", self.label(&host)));
        }
        Ok(whole)
    }

    /// Gathers output for the one document, as far as that may hold it.
    pub(super) async fn gather(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader<'_>,
    ) -> Result<bool, RunError> {
        let (mut left, mut whole) = (JSON_OUTPUT_BYTES_MAX, true);
        for (_, host) in self.by_label() {
            let Some(verified) = tally.seat(&host).and_then(Seat::verified) else { continue };
            let outputs = [verified.record().stdout, verified.record().stderr];
            let mut values = Vec::new();
            for (stream, output) in STREAMS.into_iter().zip(outputs) {
                if output.kept > left {
                    values.push(json!({"omitted": true}));
                    continue;
                }
                left -= output.kept;
                let mut bytes = Vec::new();
                let mut sink = |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                };
                let result = copy(tally, reader, host, stream, output, &mut sink).await;
                let good = self.settle(result, streams, tally, host)?;
                whole &= good;
                values.push(if good { record::data(&bytes) } else { json!({"omitted": true}) });
            }
            if let [stdout, stderr] = values.as_slice() {
                self.keep_output(host, stdout.clone(), stderr.clone());
            }
        }
        Ok(whole)
    }

    /// Takes how fetching ended: false if the output is not there, or not what was signed.
    pub(super) fn settle(
        &self,
        result: Result<(), FetchError>,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        host: HostId,
    ) -> Result<bool, RunError> {
        match result {
            Ok(()) => return Ok(true),
            Err(FetchError::Sink(_)) if streams.is_closed() => return Ok(true),
            Err(FetchError::Sink(error)) => return Err(RunError::Terminal(error)),
            Err(error @ FetchError::NotAsSigned(_)) => {
                tally.spoil(host);
                streams.say(&format!("✗ output of {}: {error}", self.label(&host)));
            }
            Err(FetchError::Control(error)) => {
                let why = escape::line(&error.to_string());
                streams.say(&format!("! output of {} cannot be had: {why}", self.label(&host)));
                streams.say(&format!(
                    "try again: muster job output {} {}",
                    self.id.short(),
                    self.label(&host)
                ));
            }
        }
        Ok(false)
    }
}

/// Hands one output stream to `sink`, from the result if it came along, else from the host.
pub(super) async fn copy(
    tally: &Tally,
    reader: &Reader<'_>,
    host: HostId,
    stream: StreamName,
    output: Output,
    sink: &mut Sink<'_>,
) -> Result<(), FetchError> {
    let verified = tally.seat(&host).and_then(Seat::verified);
    let here = verified.and_then(|verified| match stream {
        StreamName::Stdout => verified.stdout(),
        StreamName::Stderr => verified.stderr(),
    });
    match here {
        Some([]) => Ok(()),
        Some(bytes) => Ok(sink(bytes)?),
        None => reader.copy(host, stream, output, sink).await,
    }
}

pub(super) fn stop_if_closed(streams: &Streams<'_>) -> io::Result<()> {
    if streams.is_closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}
