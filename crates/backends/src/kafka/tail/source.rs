//! A consumer, and which topics it reads under their names.
//!
//! librdkafka fetches by the id of a topic (KIP-516, Fetch 13, brokers since 3.1), and goes on at the same offset when
//! another topic has the name, without telling whoever consumes. It only logs the change, before it fetches by the new
//! id. So what was consumed before the log was read is of the id that the log told last, or of one before it.

use super::super::client::Said;
use dualstream_core::{Error, Result};
use dualstream_kafka_ffi::{Batch, Lines, consume};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A consumer of librdkafka.
pub(crate) type Consumer = BaseConsumer<Said>;

/// What librdkafka has to log for its changes of ids to be there.
pub(crate) const DEBUG: &str = "metadata";

/// A consumer whose topics are known by their ids. One thread reads from it.
pub(crate) struct Source {
    pub(crate) consumer: Arc<Consumer>,
    lines: Lines<Said>,
    ids: Ids,
}

/// The id of the topic that has a name; 0 where brokers tell none.
#[derive(Debug, Default)]
pub(crate) struct Ids(BTreeMap<String, u128>);

/// What was consumed at once.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) batches: [Option<Batch<'a>>; 2],
    pub(crate) ids: &'a Ids,
    /// Names that another topic has than when they were assigned: what was consumed of them is of the one or the other.
    pub(crate) replaced: Vec<String>,
}

impl Source {
    /// Of a consumer that follows nothing yet.
    pub(crate) fn new(consumer: Arc<Consumer>) -> Source {
        // What was logged while it was made would go to the standard error once more is let through.
        drop(consume(&consumer, Duration::ZERO, 1));
        Source { lines: Lines::of(consumer.clone()), consumer, ids: Ids::default() }
    }

    /// What comes next: one message is waited for, `others_max` are taken along. An error is the client's, and of no
    /// partition.
    pub(crate) fn take(&mut self, wait: Duration, others_max: usize) -> Result<Taken<'_>> {
        let first = consume(&self.consumer, wait, 1);
        let batches = first.and_then(|first| match first.is_empty() {
            true => Ok([None, None]),
            false => Ok([Some(first), Some(consume(&self.consumer, Duration::ZERO, others_max)?)]),
        });
        let batches = batches.map_err(unreadable)?;
        // Now, and not before: see above.
        let replaced = self.ids.learn_all(&mut self.lines);
        Ok(Taken { batches, ids: &self.ids, replaced })
    }

    /// Takes what was logged while nothing is assigned: it would wait without a bound for the next [`take`](Source::take).
    pub(crate) fn tend(&mut self) {
        self.ids.learn_all(&mut self.lines);
    }
}

fn unreadable(code: RDKafkaErrorCode) -> Error {
    super::unavailable("Kafka's client cannot read").with_source(code)
}

impl Ids {
    pub(crate) fn of(&self, topic: &str) -> u128 {
        self.0.get(topic).copied().unwrap_or(0)
    }

    /// Takes in what was logged; gives the names of topics that were replaced.
    fn learn_all(&mut self, lines: &mut Lines<Said>) -> Vec<String> {
        // Whoever sets `debug` finds it here, too: nobody else is given it.
        let lines = lines.inspect(|line| tracing::trace!("kafka client: {line}"));
        lines.filter_map(|line| self.learn(&line)).collect()
    }

    /// Takes in a line of the log; gives the name of a topic that was replaced by another while it was known.
    fn learn(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        // rdkafka_topic.c, `rd_kafka_topic_metadata_update`.
        let change = words.windows(8).find_map(|words| match words {
            ["Topic", name, "changed", "id", "from", before, "to", now] => {
                Some((*name, id(before)?, id(now)?))
            }
            _ => None,
        });
        let (name, before, now) = change?;
        self.0.insert(name.to_owned(), now);
        // One that was not known had no leader, and nothing was fetched of it.
        (before != 0).then(|| name.to_owned())
    }
}

/// An id of Kafka: 128 bits in Base64 (RFC 4648, section 4) without padding.
fn id(text: &str) -> Option<u128> {
    let digit = |digit: u8| -> Option<u128> {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        Some(digits.iter().position(|one| *one == digit)? as u128)
    };
    // 21 digits of 6 bits, and one of which 2 count.
    let (last, others) = text.as_bytes().split_last().filter(|(_, others)| others.len() == 21)?;
    let high = others.iter().try_fold(0, |bits, one| Some(bits << 6 | digit(*one)?))?;
    Some(high << 2 | digit(*last)? >> 4)
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("ids", &self.ids).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As librdkafka 2.12.1 writes it; what it really writes is looked at by the tests of real clusters.
    fn line(from: &str, to: &str) -> String {
        format!("[thrd:main]: Topic some.topic changed id from {from} to {to}")
    }

    #[test]
    fn ids_are_read_from_the_log() {
        let (none, first, second) =
            ("AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAQ", "gAAAAAAAAAAAAAAAAAAAAg");
        let mut ids = Ids::default();
        assert_eq!(ids.of("some.topic"), 0);
        assert_eq!(ids.learn(&line(none, first)), None);
        assert_eq!(ids.of("some.topic"), 1);
        for other in
            ["", "Topic some.topic [3]: leader 1 epoch 2 -> leader 2", "Topic a changed id from ! to ?"]
        {
            assert_eq!(ids.learn(other), None);
        }
        assert_eq!(ids.learn(&line(first, second)).as_deref(), Some("some.topic"));
        assert_eq!((ids.of("some.topic"), ids.of("other")), (1 << 127 | 2, 0));
    }
}
