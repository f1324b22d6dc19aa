//! Records of spans: a few consumers, each reading one span at a time from its own place.
//!
//! They stay open, as connecting takes longer than reading. A span is read until it is over, enough bytes were read, or the
//! partition ends; offsets without a record (marks of transactions, what they took back, compaction) are passed by the
//! next record or by the end of the partition, so what is told as read was read.

use super::fault;
use super::tail::positions::Positions;
use super::tail::reader::{list, next_batch, refused};
use super::tail::source::{Consumer, Source};
use super::{Settings, tail};
use dualstream_core::log::Span;
use dualstream_core::mirror::{Place, Run};
use dualstream_core::record::Record;
use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind, Result};
use dualstream_kafka_ffi::{At, Isolation, list_offsets};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most spans that are read at once.
const READERS_MAX: usize = 3;
/// A span that takes longer, waiting for its turn included, is not there.
const SPAN_MAX: Duration = Duration::from_secs(10);
/// How soon a read that nobody waits for any more ends.
const LOOK: Duration = Duration::from_millis(100);
/// What is fetched beyond what was asked for is thrown away.
const FETCHED_KIB_MAX: usize = 1 << 10;
/// How often it is asked whether there is anything to wait for: librdkafka waits for a partition that is not there, and
/// for what lies behind an open transaction.
const DOUBT: Duration = Duration::from_millis(500);
const METADATA_MAX: Duration = Duration::from_secs(2);
/// The end of a partition is told by a fetch that found nothing for so long.
const FETCH_WAIT_MS: u32 = 1;

/// The readers of ranges of one cluster.
#[derive(Debug)]
pub(crate) struct Ranges {
    pool: Arc<Pool>,
    turns: Arc<Semaphore>,
}

struct Pool {
    config: ClientConfig,
    idle: Mutex<Vec<Source>>,
}

impl Ranges {
    /// None of them is connected yet.
    pub(crate) fn new(settings: &Settings) -> Result<Ranges> {
        let mut config = tail::config(settings);
        config
            .set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string())
            .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string());
        let pool = Arc::new(Pool { config, idle: Mutex::default() });
        Ok(Ranges { pool, turns: Arc::new(Semaphore::new(READERS_MAX)) })
    }

    /// See `Upstream::fetch`.
    pub(crate) async fn fetch(&self, topic: &TopicName, span: Span, bytes_max: usize) -> Result<Run> {
        if span.from >= span.until {
            return Ok(Run {
                id: 0,
                topic: topic.clone(),
                partition: span.partition,
                records: Vec::new(),
                next: span.from,
            });
        }
        let deadline = Instant::now() + SPAN_MAX;
        let turn = tokio::time::timeout_at(deadline, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| too_slow(topic, span.partition))?;
        let abandoned = Abandoned::default();
        let request = Request {
            place: Place { topic: topic.clone(), partition: span.partition, from: span.from },
            until: span.until,
            bytes_max,
            deadline,
            abandoned: abandoned.0.clone(),
        };
        let pool = self.pool.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            pool.serve(&request)
        });
        read.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "internal", "a reader of Kafka was stopped").with_source(error)
        })?
    }

    /// What readers that idle are to be spared from piling up; to be called from time to time. Does not wait.
    pub(crate) fn tend(&self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().for_each(Source::tend);
    }
}

/// Tells the reader, when it is dropped, that nobody waits for it.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Pool {
    /// Reads a span with a reader that idles, or with a new one. One that failed is not used again.
    fn serve(&self, request: &Request) -> Result<Run> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut source = match idle {
            Some(source) => source,
            None => Source::new(Arc::new(tail::create(&self.config)?)),
        };
        let outcome = request.read(&mut source);
        let is_fit = outcome.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Gone);
        if is_fit && source.consumer.unassign().is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(source);
        }
        outcome
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// A span to read.
struct Request {
    place: Place,
    until: u64,
    bytes_max: usize,
    deadline: Instant,
    abandoned: Arc<AtomicBool>,
}

impl Request {
    fn read(&self, source: &mut Source) -> Result<Run> {
        let consumer = &*source.consumer.clone();
        let Place { topic, partition, from } = self.place.clone();
        let mut read = Run { id: 0, topic, partition, records: Vec::new(), next: from };
        let mut positions = Positions::default();
        positions.follow(vec![self.place.clone()]);
        let places = list(std::slice::from_ref(&self.place)).map_err(refused)?;
        consumer.assign(&places).map_err(refused)?;
        let (mut bytes, mut doubt) = (0, Instant::now() + DOUBT);
        while read.next < self.until && (bytes < self.bytes_max || read.records.is_empty()) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.abandoned.load(Relaxed) {
                // What was read is as good as more of it.
                return if read.next > from { Ok(read) } else { Err(too_slow(&read.topic, partition)) };
            }
            if read.next == from && doubt < Instant::now() {
                if self.is_past_end(consumer) {
                    return Ok(read);
                }
                self.check_exists(consumer)?;
                doubt = Instant::now() + DOUBT;
            }
            for item in next_batch(source, &mut positions, left.min(LOOK))? {
                match item.outcome {
                    Ok(run) => self.take(run, &mut read, &mut bytes),
                    Err(_) if read.next > from => return Ok(read),
                    Err(error) => return Err(error),
                }
            }
            if positions.are_at_end() {
                break;
            }
        }
        Ok(read)
    }

    /// Whether nothing that is committed is behind the place. A fetch there is not told the end of the partition, which lies
    /// before it while a transaction is open.
    fn is_past_end(&self, consumer: &Consumer) -> bool {
        let Place { topic, partition, from } = &self.place;
        let Ok(partition) = i32::try_from(*partition) else { return false };
        let place = (topic.as_str(), &[partition][..]);
        let end = list_offsets(consumer.client(), place, At::Latest, Isolation::Committed, METADATA_MAX);
        // What is not known is asked again.
        matches!(end.as_deref(), Ok([(_, Ok(Some(end)))]) if end <= from)
    }

    /// An error if there is no such partition; whether there is one may be unknown.
    fn check_exists(&self, consumer: &Consumer) -> Result<()> {
        let Place { topic, partition, .. } = &self.place;
        let Ok(metadata) = consumer.fetch_metadata(Some(topic.as_str()), METADATA_MAX) else { return Ok(()) };
        let exists = metadata.topics().iter().any(|found| {
            let is_unknown =
                found.error().is_some_and(|e| e == RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
            // Other errors are of a moment.
            !is_unknown && (found.error().is_some() || found.partitions().len() > *partition as usize)
        });
        if exists {
            Ok(())
        } else {
            Err(fault::of_partition(RDKafkaErrorCode::UnknownTopicOrPartition, topic, *partition))
        }
    }

    /// Adds what belongs to the span, as much as is wanted.
    fn take(&self, run: Run, read: &mut Run, bytes: &mut usize) {
        read.id = run.id;
        for record in run.records {
            if record.offset >= self.until {
                read.next = self.until;
                return;
            }
            if *bytes >= self.bytes_max && !read.records.is_empty() {
                return;
            }
            *bytes += weight(&record);
            read.next = record.offset + 1;
            read.records.push(record);
        }
        read.next = run.next.min(self.until);
    }
}

/// Bytes of a record as a limit counts them.
fn weight(record: &Record) -> usize {
    [&record.key, &record.value].into_iter().flatten().map(bytes::Bytes::len).sum()
}

fn too_slow(topic: &TopicName, partition: u32) -> Error {
    fault::of_partition(RDKafkaErrorCode::OperationTimedOut, topic, partition)
}

#[cfg(test)]
mod tests;
