//! The reader of tails: one consumer that is assigned its partitions, never a member of a group.
//!
//! ```text
//!  brokers ─▶ librdkafka's queue ─▶ reader (a thread): messages to runs ─▶ shelf ─▶ next()
//!             16 MiB                                                       8 MiB
//!                  assign() ─▶ order ─▶ reader: takes and leaves partitions
//! ```
//! Both queues are bounded: while nobody takes from the shelf the reader stands still, librdkafka's queue fills, and
//! nothing more is fetched. What a change of leader, a restart of a broker or a short outage needs, librdkafka does by
//! itself, from the position it is at; a position outside of its partition is an error and never a jump.
//!
//! Each run says of which topic it is, by its id ([`source`]): another one may have been made under the name. It does not
//! tell that a topic is gone: who follows a topic describes it from time to time.

pub(super) mod positions;
pub(super) mod reader;
mod shelf;
pub(super) mod source;

use super::{Settings, client};
use dualstream_core::mirror::{Place, Run, Tail};
use dualstream_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use reader::Reader;
use shelf::Shelf;
use source::{Consumer, Source};
use std::sync::Arc;

/// What waits in librdkafka, in KiB.
const FETCHED_KIB_MAX: usize = 16 << 10;
/// What one fetch of one broker brings at most, beside that.
const FETCH_BYTES_MAX: usize = 8 << 20;
/// A partition that is new waits until the fetch before it is answered, the end behind a transaction for an empty one.
const FETCH_WAIT_MS: u32 = 100;

/// See `Upstream::tail`.
pub(crate) fn open(settings: &Settings) -> Result<Box<dyn Tail>> {
    let consumer = Arc::new(create(&config(settings))?);
    let shelf = Arc::new(Shelf::default());
    let reader = Reader::new(Source::new(consumer.clone()), shelf.clone());
    std::thread::Builder::new()
        .name("kafka-tail".into())
        .spawn(move || reader.run())
        .map_err(|error| unavailable("no thread can be started to read from Kafka").with_source(error))?;
    Ok(Box::new(KafkaTail { consumer, shelf }))
}

/// What both kinds of readers are made of.
pub(super) fn config(settings: &Settings) -> ClientConfig {
    let mut config = client::consumer(settings);
    let debug = match config.get("debug") {
        Some(given) if !given.is_empty() => format!("{given},{}", source::DEBUG),
        _ => source::DEBUG.to_owned(),
    };
    config
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string())
        .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
        .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
        .set("fetch.error.backoff.ms", "100")
        .set("debug", debug);
    config
}

/// A consumer that is not connected yet.
pub(super) fn create(config: &ClientConfig) -> Result<Consumer> {
    config.create_with_context(client::Said).map_err(|error| {
        let message = format!("a consumer of Kafka cannot be made of the settings: {error}");
        Error::invalid("invalid_setting", "kafka", message).with_source(error)
    })
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "log_unavailable", message)
}

/// The side of it that waits. The thread ends by itself when this is dropped.
struct KafkaTail {
    consumer: Arc<Consumer>,
    shelf: Arc<Shelf>,
}

impl Tail for KafkaTail {
    fn assign(&mut self, places: Vec<Place>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let done = self.shelf.order(places);
            dualstream_kafka_ffi::wake(&self.consumer);
            done.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Run>>> {
        Box::pin(self.shelf.take())
    }
}

impl Drop for KafkaTail {
    fn drop(&mut self) {
        self.shelf.close();
        dualstream_kafka_ffi::wake(&self.consumer);
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "log_closed", "the reader of Kafka has ended")
}
