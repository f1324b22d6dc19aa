//! Which records of a partition repeat an event, as its records go by in order. The rule is [`dualstream_core::hidden`].

use super::sides::Source;
use dualstream_core::hidden::{WINDOW, looked_for_in};
use dualstream_core::log::Span;
use dualstream_core::record::Record;
use dualstream_core::topic::TopicName;
use dualstream_core::{Result, identity};
use std::collections::{HashMap, VecDeque};

/// The identities of the last [`WINDOW`] offsets.
#[derive(Default)]
pub(super) struct Repeats {
    window: VecDeque<(u64, u64)>,
    /// Last offset of each identity.
    last: HashMap<u64, u64>,
}

impl Repeats {
    /// Knows what stands before `at`, from `start` on.
    pub(super) async fn before(
        source: &dyn Source,
        topic: &TopicName,
        partition: u32,
        start: u64,
        at: u64,
    ) -> Result<Repeats> {
        let mut repeats = Repeats::default();
        let mut from = start.max(at.saturating_sub(WINDOW));
        while from < at {
            let run = source.fetch(topic, Span { partition, from, until: at }).await?;
            if run.next <= from {
                break;
            }
            for record in &run.records {
                repeats.note(record);
            }
            from = run.next;
        }
        Ok(repeats)
    }

    /// Whether the next record is hidden by one before it.
    pub(super) async fn hides(
        &mut self,
        source: &dyn Source,
        topic: &TopicName,
        record: &Record,
    ) -> Result<bool> {
        let earlier = self.note(record);
        let (Some(range), Some(offset)) = (looked_for_in(record), earlier) else { return Ok(false) };
        if !range.contains(&offset) {
            return Ok(false);
        }
        let span = Span { partition: record.partition, from: offset, until: offset + 1 };
        let found = source.fetch(topic, span).await?.records;
        Ok(found.iter().any(|earlier| identity::is_same_event(earlier, record)))
    }

    /// Remembers a record; gives where its identity stood last.
    fn note(&mut self, record: &Record) -> Option<u64> {
        let from = record.offset.saturating_sub(WINDOW);
        while let Some(&(offset, hash)) = self.window.front().filter(|(offset, _)| *offset < from) {
            self.window.pop_front();
            if self.last.get(&hash) == Some(&offset) {
                self.last.remove(&hash);
            }
        }
        let hash = identity::of_record(record)?;
        self.window.push_back((record.offset, hash));
        self.last.insert(hash, record.offset)
    }
}
