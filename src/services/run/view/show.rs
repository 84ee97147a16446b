//! Makes events of what comes in, shows them, and fetches the output that must show and is not here.

use std::{io, time::Duration};

use serde_json::Value;

use super::{
    fetch::{STREAMS, copy_rest, stop_if_closed},
    job::Job,
    record,
    screen::{Options, Screen},
};
use crate::{
    control::StreamName,
    identity::HostId,
    replica::Output,
    services::run::{
        RunError, Seat, Status, Streams, Tally, Verified, View,
        event::{CHUNK_BYTES_MAX, Chunk, Event, Note, Start, Summary},
        output::Reader,
    },
    terminal::Format,
};

impl Job<'_> {
    /// Says what was sent.
    pub(in crate::services::run) fn begin(
        &mut self,
        streams: &mut Streams<'_>,
        view: View,
    ) -> Result<(), RunError> {
        // Where programs read, standard output is theirs, and people get the talk beside it.
        let view = if is_text(streams.format) { view } else { View::Quiet };
        self.shown.screen = Some(Screen::new(Options {
            view,
            columns: streams.columns,
            err_columns: streams.err_columns,
            out_terminal: streams.out_terminal,
            err_terminal: streams.err_terminal,
            style: streams.out_style,
        }));
        let body = self.order.body();
        let roster = self.by_label().into_iter().map(|(label, host)| (host, label)).collect();
        let start = Start { job: self.id, run_as: body.run_as.clone(), by: self.person().to_owned(), roster };
        self.happens(streams, &Event::Start(start), Duration::ZERO)
    }

    /// Shows an event, `elapsed` after the start. Chunks are told from here on by their hosts; see
    /// [`Job::settled`] for results.
    pub(in crate::services::run) fn happens(
        &mut self,
        streams: &mut Streams<'_>,
        event: &Event,
        elapsed: Duration,
    ) -> Result<(), RunError> {
        self.shown.elapsed = elapsed;
        streams.measure();
        if let Some(screen) = &mut self.shown.screen {
            screen.resize(streams.columns, streams.err_columns);
        }
        match event {
            Event::Chunk(chunk) if !self.count(chunk) => return Ok(()),
            Event::Exit(exit) => {
                self.shown.told.insert(exit.host);
                for is_err in [false, true] {
                    self.shown.live.remove(&(exit.host, is_err));
                }
            }
            _ => {}
        }
        if streams.format == Format::Jsonl {
            let value = match event {
                Event::Start(_) => Some(record::start(self.facts())),
                Event::Chunk(chunk) => Some(record::chunk(chunk, &self.label(&chunk.host))),
                Event::Exit(exit) => Some(record::exit(exit, &self.label(&exit.host))),
                Event::Summary(summary) => Some(record::summary(summary, &self.id.to_string())),
                Event::Running { .. } | Event::Answered { .. } | Event::Note(_) | Event::Tick => None,
            };
            if let Some(value) = value {
                streams.event(self.now, &value)?;
            }
        }
        let effects = self.shown.screen.as_mut().map(|screen| screen.on(event, elapsed)).unwrap_or_default();
        Ok(streams.perform(effects)?)
    }

    /// Counts a piece that came; false if it came before, or comes too late.
    fn count(&mut self, chunk: &Chunk) -> bool {
        if self.shown.told.contains(&chunk.host) {
            return false;
        }
        let live = self.shown.live.entry((chunk.host, chunk.fd == StreamName::Stderr)).or_default();
        if chunk.seq < live.next {
            return false;
        }
        live.gap |= chunk.seq > live.next;
        live.next = chunk.seq.saturating_add(1);
        live.begun.take(&chunk.data);
        true
    }

    /// Whether live output shows, so that asking for it is worth it.
    pub(in crate::services::run) fn wants_live(&self, streams: &Streams<'_>) -> bool {
        // What is private is read once all of it is there.
        !self.sealed
            && (streams.format == Format::Jsonl
                || self.shown.screen.as_ref().is_some_and(Screen::takes_chunks))
    }

    /// Takes that the result of `host` stands in `tally` now, or that another one contradicts it, and shows
    /// it if all that must show is here.
    pub(in crate::services::run) fn settled(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        host: HostId,
        elapsed: Duration,
    ) -> Result<(), RunError> {
        self.shown.elapsed = elapsed;
        let Some(verified) = tally.seat(&host).and_then(Seat::verified) else { return Ok(()) };
        if self.shown.told.contains(&host) {
            return self.end_of(streams, tally, host);
        }
        let later = self.shown.screen.as_ref().is_some_and(Screen::is_later);
        if self.wants_all(streams, &host) {
            let rest: Option<Vec<Rest>> =
                STREAMS.iter().map(|stream| self.rest(host, *stream, verified)).collect();
            let Some(rest) = rest.filter(|_| !later) else {
                let status = tally.seat(&host).map_or(Status::Silent, Seat::status);
                return self.happens(streams, &Event::Answered { host, status }, elapsed);
            };
            for (stream, rest) in STREAMS.into_iter().zip(rest) {
                match rest {
                    Rest::Here(bytes) => self.pieces(streams, host, stream, &bytes)?,
                    Rest::NotAsShown => self.spoil(streams, tally, host)?,
                }
            }
        }
        self.end_of(streams, tally, host)
    }

    /// Shows what is known already, before anything is waited for.
    pub(in crate::services::run) fn known(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
    ) -> Result<(), RunError> {
        for (_, host) in self.by_label() {
            self.settled(streams, tally, host, Duration::ZERO)?;
        }
        Ok(())
    }

    fn spoil(&mut self, streams: &mut Streams<'_>, tally: &mut Tally, host: HostId) -> Result<(), RunError> {
        tally.spoil(host);
        let text = format!("✗ output of {}: what was shown is not what was signed", self.label(&host));
        self.happens(streams, &Event::Note(Note::warning(text)), self.shown.elapsed)
    }

    /// What was not shown live of one stream. None: it is not here.
    fn rest(&self, host: HostId, stream: StreamName, verified: &Verified) -> Option<Rest> {
        let (signed, here) = match stream {
            StreamName::Stdout => (verified.record().stdout, verified.stdout()),
            StreamName::Stderr => (verified.record().stderr, verified.stderr()),
        };
        let Some(live) = self.shown.live.get(&(host, stream == StreamName::Stderr)) else {
            return here.map(|bytes| Rest::Here(bytes.to_vec()));
        };
        if live.gap {
            return Some(Rest::NotAsShown);
        }
        if live.begun.at() >= signed.kept {
            let whole = live.begun.whole(&signed);
            return Some(whole.map_or(Rest::NotAsShown, |()| Rest::Here(Vec::new())));
        }
        let rest = live.begun.rest(here?);
        Some(rest.map_or(Rest::NotAsShown, |rest| Rest::Here(rest.to_vec())))
    }

    /// Shows bytes as chunks.
    fn pieces(
        &mut self,
        streams: &mut Streams<'_>,
        host: HostId,
        fd: StreamName,
        bytes: &[u8],
    ) -> Result<(), RunError> {
        for piece in bytes.chunks(CHUNK_BYTES_MAX) {
            let live = self.shown.live.get(&(host, fd == StreamName::Stderr));
            let seq = live.map_or(0, |live| live.next);
            let chunk = Chunk { host, fd, seq, data: piece.to_vec() };
            self.happens(streams, &Event::Chunk(chunk), self.shown.elapsed)?;
        }
        Ok(())
    }

    fn end_of(&mut self, streams: &mut Streams<'_>, tally: &Tally, host: HostId) -> Result<(), RunError> {
        let Some(seat) = tally.seat(&host) else { return Ok(()) };
        let exit = self.exit(host, seat);
        self.happens(streams, &Event::Exit(Box::new(exit)), self.shown.elapsed)
    }

    /// Whether what `host` wrote shows, now or later.
    pub(super) fn shows_output(&self, streams: &Streams<'_>, host: &HostId) -> bool {
        self.wants_all(streams, host) || self.shown.screen.as_ref().is_some_and(Screen::folds)
    }

    fn wants_all(&self, streams: &Streams<'_>, host: &HostId) -> bool {
        streams.format == Format::Jsonl
            || self.shown.screen.as_ref().is_some_and(|screen| screen.wants_all(host))
    }

    /// Shows what came of it and was not shown yet; true if all output that was to be shown was.
    pub(in crate::services::run) async fn show(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
    ) -> Result<bool, RunError> {
        streams.progress("");
        match streams.format {
            Format::Json => self.gather(streams, tally, reader).await,
            Format::Csv | Format::Name => {
                let rows = self.rows(tally);
                streams.rows(self.now, &record::HOSTS, &rows)?;
                Ok(true)
            }
            Format::Table | Format::Wide | Format::Jsonl => {
                let mut whole = self.tell_rest(streams, tally, reader).await?;
                if self.shown.screen.as_ref().is_some_and(Screen::folds) {
                    whole &= self.show_groups(streams, tally, reader).await?;
                }
                Ok(whole)
            }
        }
    }

    /// Ends the account: the sum of all hosts, and what to do next.
    pub(in crate::services::run) fn end(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &Tally,
        code: u8,
    ) -> Result<(), RunError> {
        if streams.format == Format::Json {
            let mut document = self.document(tally);
            document.insert("exit".to_owned(), code.into());
            streams.document(self.now, "job", &Value::Object(document), |_| String::new())?;
        }
        streams.flush()?;
        let summary = Summary {
            counts: tally.counts(),
            code,
            conflicts: self.conflicts(tally),
            strays: tally.strays(),
        };
        self.happens(streams, &Event::Summary(summary), self.shown.elapsed)
    }

    /// Tells the end of every host whose end was not told, with the output that comes before it.
    async fn tell_rest(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
    ) -> Result<bool, RunError> {
        let mut whole = true;
        for (_, host) in self.by_label() {
            if self.shown.told.contains(&host) {
                continue;
            }
            let record = tally.seat(&host).and_then(Seat::verified).map(Verified::record);
            let outputs = record.map(|record| [record.stdout, record.stderr]);
            if let Some(outputs) = outputs.filter(|_| self.wants_all(streams, &host)) {
                for (stream, output) in STREAMS.into_iter().zip(outputs) {
                    whole &= self.tell_output(streams, tally, reader, host, stream, output).await?;
                }
            }
            self.end_of(streams, tally, host)?;
        }
        Ok(whole)
    }

    /// Shows what was not live of one stream, from wherever it is.
    async fn tell_output(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader,
        host: HostId,
        stream: StreamName,
        output: Output,
    ) -> Result<bool, RunError> {
        let live = self.shown.live.get(&(host, stream == StreamName::Stderr));
        if live.is_some_and(|live| live.gap) {
            self.spoil(streams, tally, host)?;
            return Ok(false);
        }
        let begun = live.map(|live| live.begun.clone()).unwrap_or_default();
        let result = {
            let mut sink = |piece: &[u8]| {
                stop_if_closed(streams)?;
                self.pieces(streams, host, stream, piece).map_err(io::Error::other)
            };
            copy_rest(tally, reader, begun, host, stream, output, &mut sink).await
        };
        self.settle(result, streams, tally, host)
    }
}

/// What was not shown live of one stream.
enum Rest {
    /// These bytes, and what was shown is what was signed as far as that can be known.
    Here(Vec<u8>),
    /// What was shown is something else than what was signed.
    NotAsShown,
}

fn is_text(format: Format) -> bool {
    matches!(format, Format::Table | Format::Wide)
}
