//! Kafka behind the seam of a mirror.

use super::{Settings, producer::Producer, range::Ranges, tail};
use dualstream_core::log::{Appended, Part, Span};
use dualstream_core::mirror::{Described, Run, Tail, Upstream};
use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;

/// A Kafka cluster as the log that holds the truth.
pub struct KafkaUpstream {
    settings: Settings,
    producer: Producer,
    ranges: Ranges,
}

impl KafkaUpstream {
    /// Clients of the cluster; nothing is asked of it yet.
    pub fn new(settings: Settings) -> Result<KafkaUpstream> {
        let ranges = Ranges::new(&settings)?;
        let producer = Producer::new(settings.clone())?;
        Ok(KafkaUpstream { settings, producer, ranges })
    }
}

impl Upstream for KafkaUpstream {
    fn append(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<Vec<Vec<Appended>>>> {
        // Taken here and not when the future is first asked: in the order of the calls.
        let taken = self.producer.append(parts);
        Box::pin(async move { Ok(taken?.await) })
    }

    fn describe<'a>(&'a self, _topic: &'a TopicName) -> BoxFuture<'a, Result<Described>> {
        Box::pin(async { Err(not_yet()) })
    }

    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span, bytes_max: usize) -> BoxFuture<'a, Result<Run>> {
        Box::pin(self.ranges.fetch(topic, span, bytes_max))
    }

    fn seek<'a>(&'a self, _topic: &'a TopicName, _time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        Box::pin(async { Err(not_yet()) })
    }

    fn tail(&self) -> Result<Box<dyn Tail>> {
        tail::open(&self.settings)
    }
}

fn not_yet() -> Error {
    Error::new(ErrorKind::Unavailable, "log_unavailable", "this part of the log is not there")
}
