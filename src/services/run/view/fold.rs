//! Shows groups of hosts that did and said the same, and where they differ from most.

use super::{
    difference::{self, COMPARED_BYTES_MAX, Difference},
    fetch::{STREAMS, copy, stop_if_closed},
    group::{Differs, Group, Page},
    job::Job,
    screen::Screen,
};
use crate::{
    control::StreamName,
    replica::Output,
    services::run::{RunError, Status, Streams, Tally, output::Reader},
};

/// Groups that are compared with the largest; each is held in memory for that, one at a time.
const GROUPS_COMPARED_MAX: usize = 32;

/// Both streams of a group.
type Said = [Vec<u8>; 2];

impl Job<'_> {
    /// Shows what hosts did and said, once for all that did and said the same; true if all of it was had.
    pub(super) async fn show_groups(
        &mut self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader<'_>,
    ) -> Result<bool, RunError> {
        let found = self.shown.screen.as_ref().map(Screen::groups).unwrap_or_default();
        let (groups, unseen): (Vec<Group>, Vec<bool>) = found.into_iter().unzip();
        let page = Page::new(&groups, streams.columns.filter(|_| streams.out_terminal), streams.out_style);
        let alike = groups.iter().filter(|group| group.status == Status::Ok).count();
        let (mut whole, mut most) = (true, None);
        for (at, (group, unseen)) in groups.iter().zip(unseen).enumerate() {
            if streams.is_closed() {
                break;
            }
            let compared = alike > 1 && group.status == Status::Ok && at < GROUPS_COMPARED_MAX;
            let said = match group.outputs.filter(|_| compared).filter(is_short) {
                Some(outputs) => self.read(streams, tally, reader, group, outputs).await?,
                None => None,
            };
            let (differs, difference) = match (&most, &said) {
                _ if at == 0 || group.status != Status::Ok => (Differs::Not, None),
                (Some(most), Some(said)) => compare(most, said),
                _ => (Differs::Somehow, None),
            };
            streams.out_bytes(page.head(group, differs).as_bytes())?;
            match (&said, difference, group.outputs) {
                _ if !unseen => {}
                (_, Some(difference), _) => {
                    for (stream, difference) in STREAMS.iter().zip(&difference) {
                        streams.out_bytes(page.difference(*stream, difference).as_bytes())?;
                    }
                }
                (Some(said), None, _) => {
                    for (stream, bytes) in STREAMS.iter().zip(said) {
                        let mut block = page.block(*stream);
                        let text = block.push(bytes) + &block.finish();
                        streams.out_bytes(text.as_bytes())?;
                    }
                }
                (None, None, Some(outputs)) => {
                    for (stream, output) in STREAMS.into_iter().zip(outputs) {
                        whole &=
                            self.show_block(streams, tally, reader, &page, group, stream, output).await?;
                    }
                }
                (None, None, None) => {}
            }
            if unseen {
                let cut: String = group.outputs.iter().flatten().map(|output| page.cut(*output)).collect();
                streams.out_bytes(cut.as_bytes())?;
            }
            if at == 0 {
                most = said;
            }
        }
        streams.flush()?;
        Ok(whole)
    }

    /// Reads what a group said into memory, from whichever of its hosts gives it. None: no host does.
    async fn read(
        &self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader<'_>,
        group: &Group,
        outputs: [Output; 2],
    ) -> Result<Option<Said>, RunError> {
        let mut said = Said::default();
        for ((stream, output), said) in STREAMS.into_iter().zip(outputs).zip(&mut said) {
            let mut found = false;
            for host in &group.hosts {
                said.clear();
                let mut sink = |piece: &[u8]| {
                    said.extend_from_slice(piece);
                    Ok(())
                };
                let result = copy(tally, reader, *host, stream, output, &mut sink).await;
                found = self.settle(result, streams, tally, *host)?;
                if found {
                    break;
                }
            }
            if !found {
                return Ok(None);
            }
        }
        Ok(Some(said))
    }

    /// Shows one output stream of a group, from whichever of its hosts gives it.
    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would say less")]
    async fn show_block(
        &self,
        streams: &mut Streams<'_>,
        tally: &mut Tally,
        reader: &Reader<'_>,
        page: &Page,
        group: &Group,
        stream: StreamName,
        output: Output,
    ) -> Result<bool, RunError> {
        if output.produced == 0 {
            return Ok(true);
        }
        let mut whole = false;
        for host in &group.hosts {
            let mut block = page.block(stream);
            let mut begun = false;
            let result = {
                let mut sink = |piece: &[u8]| {
                    begun = true;
                    stop_if_closed(streams)?;
                    streams.out_bytes(block.push(piece).as_bytes())
                };
                copy(tally, reader, *host, stream, output, &mut sink).await
            };
            let rest = block.finish();
            streams.out_bytes(rest.as_bytes())?;
            whole = self.settle(result, streams, tally, *host)?;
            if whole || begun {
                break;
            }
        }
        Ok(whole)
    }
}

/// Whether output is short enough to be compared.
fn is_short(outputs: &[Output; 2]) -> bool {
    outputs.iter().all(|output| output.kept <= COMPARED_BYTES_MAX)
}

/// How what a group said differs from what most said, and what shows that better than the whole does.
fn compare(most: &Said, said: &Said) -> (Differs, Option<[Difference; 2]>) {
    let [stdout, stderr] = [0, 1].map(|at| difference::between(most.get(at)?, said.get(at)?));
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else { return (Differs::Somehow, None) };
    let lines = stdout.lines + stderr.lines;
    let all: usize = said.iter().map(|said| said.split_inclusive(|byte| *byte == b'\n').count()).sum();
    // Where most of it differs, the whole says more than its parts.
    (Differs::In(lines), (lines * 2 <= all).then_some([stdout, stderr]))
}
