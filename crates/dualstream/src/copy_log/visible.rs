//! The records of one partition of a source that readers see, page by page.

use super::Pair;
use super::repeats::Repeats;
use dualstream_core::log::Span;
use dualstream_core::record::Record;
use dualstream_core::{Error, ErrorKind, Result};

/// A place in the source.
pub(super) struct Visible<'a> {
    pair: &'a Pair<'a>,
    partition: u32,
    /// The next offset to read.
    pub(super) at: u64,
    until: u64,
    repeats: Option<Repeats>,
}

impl<'a> Visible<'a> {
    /// Reads from `at`.
    pub(super) async fn from(pair: &'a Pair<'a>, partition: u32, at: u64, until: u64) -> Result<Visible<'a>> {
        let start = pair.from.earliest[partition as usize];
        let repeats = match pair.source.may_repeat() {
            true => Some(Repeats::before(pair.source, pair.topic, partition, start, at).await?),
            false => None,
        };
        Ok(Visible { pair, partition, at, until, repeats })
    }

    /// The next page, which may have no records; `None` at the end.
    pub(super) async fn page(&mut self) -> Result<Option<Vec<Record>>> {
        if self.at >= self.until {
            return Ok(None);
        }
        let Pair { source, topic, .. } = *self.pair;
        let span = Span { partition: self.partition, from: self.at, until: self.until };
        let run = source.fetch(topic, span).await.map_err(|error| self.told(error))?;
        if run.next <= self.at {
            // What is left are holes: nothing was ever readable there.
            self.at = self.until;
            return Ok(None);
        }
        self.at = run.next;
        let Some(repeats) = &mut self.repeats else { return Ok(Some(run.records)) };
        let mut records = Vec::with_capacity(run.records.len());
        for record in run.records {
            if !repeats.hides(source, topic, &record).await? {
                records.push(record);
            }
        }
        Ok(Some(records))
    }

    fn told(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Gone {
            return error;
        }
        let (topic, partition, at) = (self.pair.topic, self.partition, self.at);
        let message = format!(
            "topic '{topic}', partition {partition}: the records of the source from offset {at} on went while it was read"
        );
        Error::new(ErrorKind::Gone, "position_unrecoverable", message)
            .with_mend("its retention takes them: raise it, and run the copy again")
            .with_source(error)
    }
}
