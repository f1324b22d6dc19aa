//! The one producer: it takes records in the order of the calls and answers each by itself.
//!
//! ```text
//!  append ─▶ backlog (records, bytes) ─▶ librdkafka: a queue per partition, five requests under way ─▶ brokers
//!     ▲       full: Overloaded, at once                                                                  │
//!     │                                                                                                  │
//!  Answers ◀── ticket of each record ◀── the thread that takes deliveries ◀── status, offset ◀───────────┘
//! ```
//! *Order*: records go into librdkafka's queue of their partition within the call, so in the order of the calls; there
//! and at the broker sequence numbers (idempotence) keep it over retries. *Outcome*: by the status of the message, never
//! by its error. *Memory*: what waits is bounded; while no broker answers, or none stores anything, calls fail at once
//! after the first record that waited its whole time. *Fatal errors* of the client (its sequence numbers are no longer the broker's) end it: all it
//! has is answered, and another takes its place. So it is when a topic that is written to takes smaller batches
//! than it makes ([`batching`]).
//!
//! It does not wait for room, retry what failed, or make transactions.

mod backlog;
mod batching;
mod call;
mod health;

use super::client::{self, Said};
use super::settings::refused;
use super::{Settings, outcome};
use backlog::Backlog;
pub(crate) use batching::Batching;
pub(crate) use call::Answers;
use call::{Calls, Ticket};
use dualstream_core::log::{Appended, Part};
use dualstream_core::record::NewRecord;
use dualstream_core::{Error, ErrorKind, Result};
use dualstream_kafka_ffi::status;
use health::Doubt;
pub(crate) use health::Health;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the thread looks up from the deliveries.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How long it waits for a broker to answer, and how often it asks, while none did.
const PROBE: Duration = Duration::from_secs(1);
/// How long a client that ends may take to answer what it has.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

type Native = BaseProducer<Deliveries>;

/// The producer of a cluster. Its thread ends with the value.
pub(crate) struct Producer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    settings: Settings,
    /// Read by calls and by the thread, written only when another client takes its place: until then there is none.
    native: RwLock<Option<Native>>,
    /// Those of the client that is there.
    calls: Calls,
    backlog: Arc<Backlog>,
    health: Arc<Health>,
    batching: Arc<Batching>,
    is_closing: AtomicBool,
}

impl Producer {
    /// A client that is not connected yet.
    pub(crate) fn new(settings: Settings) -> Result<Producer> {
        let health = Arc::new(Health::default());
        let batching = Arc::new(Batching::new(settings.batch_bytes()));
        let native = RwLock::new(Some(create(&settings, &health, batching.wanted())?));
        let backlog = Backlog::new(settings.queue_records_max(), settings.queue_bytes_max());
        let (calls, is_closing) = (Calls::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { settings, native, calls, backlog, health, batching, is_closing });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("kafka-producer".into())
            .spawn(move || of_thread.run())
            .map_err(|error| {
                let message = "no thread can be started to write to Kafka";
                Error::new(ErrorKind::Unavailable, "log_unavailable", message).with_source(error)
            })?;
        Ok(Producer { shared, thread: Some(thread) })
    }

    /// Takes records, all of them before it returns; see `Upstream::append`.
    pub(crate) fn append(&self, parts: Vec<Part>) -> Result<Answers> {
        let shared = &*self.shared;
        if shared.health.is_away() {
            return Err(shared.health.unreachable());
        }
        // All of them are asked about, and known to be written to from then on.
        let is_admitted = parts.iter().map(|part| shared.batching.admits(&part.topic));
        if !is_admitted.fold(true, std::ops::BitAnd::bitand) {
            return Err(being_made());
        }
        let records_of: Vec<usize> = parts.iter().map(|part| part.records.len()).collect();
        let bytes = parts.iter().flat_map(|part| &part.records).map(NewRecord::weight).sum();
        let Some(reserved) = shared.backlog.reserve(records_of.iter().sum(), bytes) else {
            return Err(shared.overloaded());
        };
        let guard = shared.native();
        let Some(native) = &*guard else { return Err(being_made()) };
        // Last: a call that is not tried for another reason is not the one that may be tried.
        shared.health.admit()?;
        let answers = Answers::new(records_of, reserved);
        shared.calls.add(&answers);
        let mut index = 0;
        for part in &parts {
            for record in &part.records {
                send(native, part, record, answers.ticket(index), &shared.health);
                index += 1;
            }
        }
        Ok(answers)
    }

    /// How large its batches are.
    pub(crate) fn batching(&self) -> Arc<Batching> {
        self.shared.batching.clone()
    }

    /// What it has seen of the brokers.
    pub(crate) fn health(&self) -> Arc<Health> {
        self.shared.health.clone()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only ends with a panic if there is a bug, which was told then.
            let _ = thread.join();
        }
    }
}

/// Another client takes the place of the one there was.
fn being_made() -> Error {
    let message = "the client of Kafka is made again, which takes a moment";
    Error::new(ErrorKind::Overloaded, "overloaded", message)
}

fn create(settings: &Settings, health: &Arc<Health>, batch_bytes: u64) -> Result<Native> {
    let deliveries = Deliveries { health: health.clone() };
    let mut config = client::producer(settings);
    config
        .set("batch.size", batch_bytes.to_string())
        .create_with_context(deliveries)
        .map_err(|error| refused(&error))
}

/// Puts a record into the queue of its partition; one that is not taken is answered here.
fn send(native: &Native, part: &Part, record: &NewRecord, ticket: Box<Ticket>, health: &Health) {
    let headers = match headers(record) {
        Ok(headers) => headers,
        Err(error) => return ticket.answer(Appended::Failed(error)),
    };
    let mut message = BaseRecord::with_opaque_to(part.topic.as_str(), ticket);
    message.partition = i32::try_from(part.partition).ok().or(Some(i32::MAX));
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    message.timestamp = record.timestamp_ms;
    message.headers = headers;
    if let Err((error, message)) = native.send(message) {
        let code = error.rdkafka_error_code().unwrap_or(Code::InvalidArgument);
        if let Some(doubt) = Doubt::of(code) {
            health.say_doubt(part.topic.as_str(), doubt);
        }
        message.delivery_opaque.answer(Appended::Failed(outcome::refused(code)));
    }
}

fn headers(record: &NewRecord) -> Result<Option<OwnedHeaders>> {
    let headers = record.headers.as_slice();
    if headers.is_empty() {
        return Ok(None);
    }
    let mut own = OwnedHeaders::new_with_capacity(headers.len());
    for header in headers {
        let key = std::str::from_utf8(&header.name).map_err(|error| {
            let message = "the name of a header is text in UTF-8";
            Error::invalid("invalid_record", "headers", message).with_source(error)
        })?;
        own = own.insert(Header { key, value: header.value.as_deref() });
    }
    Ok(Some(own))
}

impl Shared {
    fn native(&self) -> RwLockReadGuard<'_, Option<Native>> {
        self.native.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a client there, or none, and gives what was there.
    fn put(&self, native: Option<Native>) -> Option<Native> {
        std::mem::replace(&mut *self.native.write().unwrap_or_else(PoisonError::into_inner), native)
    }

    fn overloaded(&self) -> Error {
        let (records, bytes) = (self.backlog.records_max(), self.backlog.bytes_max());
        let message = format!("{records} records or {bytes} bytes wait for Kafka already");
        Error::new(ErrorKind::Overloaded, "overloaded", message).with_limit(records as u64)
    }

    /// The thread: takes deliveries until the producer is dropped, and looks after the client between them.
    fn run(&self) {
        let mut progress = Progress { stored: 0, at: Instant::now() };
        let mut asked = Instant::now();
        let mut failure = Failure { next_try: asked, told: None };
        while !self.is_closing.load(Ordering::Relaxed) {
            let fatal = self.native().as_ref().and_then(|native| {
                native.poll(LOOK_UP);
                native.client().fatal_error()
            });
            progress.note(self.health.stored());
            let why = match fatal {
                Some((code, reason)) => Some(format!("{code}: {reason}")),
                None => self.batching.is_due().then(|| "a topic takes smaller batches".to_owned()),
            };
            if let Some(why) = why.filter(|_| Instant::now() >= failure.next_try) {
                failure.note(self.replace(), &why);
            }
            match self.health.take_doubt() {
                Some((topic, Doubt::TimedOut)) if progress.is_none_for(self.settings.delivery_max()) => {
                    let was_away = self.probe_until_reachable(&topic);
                    progress.note(self.health.stored());
                    if progress.is_none_for(self.settings.delivery_max()) {
                        // Once they are back, the first call tells whether they store.
                        self.health.set_stalled(progress.at, !was_away);
                    }
                    progress.at = Instant::now();
                }
                Some((topic, Doubt::Refused)) if asked.elapsed() >= PROBE => {
                    // Its outcome is in what the next record of the topic meets.
                    if let Some(native) = &*self.native() {
                        let _ = native.client().fetch_metadata(Some(&topic), PROBE);
                    }
                    asked = Instant::now();
                }
                _ => {}
            }
        }
        self.end(self.put(None).as_ref());
    }

    /// Another client takes the place of one that met a fatal error, or makes batches that are too large. Calls fail until
    /// that one has answered all it has: a record of a later call is never stored before one of an earlier call was given up.
    fn replace(&self) -> Result<()> {
        let batch_bytes = self.batching.wanted();
        let fresh = create(&self.settings, &self.health, batch_bytes)?;
        let old = self.put(None);
        if let Some(old) = old.as_ref().filter(|old| old.client().fatal_error().is_none()) {
            // What is not answered by then is given up below.
            let _ = old.flush(LAST_ANSWERS);
        }
        self.end(old.as_ref());
        self.put(Some(fresh));
        self.batching.note(batch_bytes);
        // Its threads end now, which nobody has to wait for but this one.
        drop(old);
        Ok(())
    }

    /// Answers all that a client has: what is not under way is not stored, what is may be. No call has it any more.
    fn end(&self, native: Option<&Native>) {
        if let Some(native) = native {
            native.purge(PurgeConfig::default().queue().inflight());
            if let Err(error) = native.flush(LAST_ANSWERS) {
                tracing::error!(%error, "kafka: a client ends without all its answers");
            }
        }
        self.calls.give_up();
    }

    /// Nothing was stored for as long as a record may wait. Calls fail until a broker answers; what waits in the client
    /// still ends by itself. Gives whether none answered for a while.
    fn probe_until_reachable(&self, topic: &str) -> bool {
        let guard = self.native();
        let Some(native) = &*guard else { return false };
        while !self.is_closing.load(Ordering::Relaxed) {
            let asked = Instant::now();
            if native.client().fetch_metadata(Some(topic), PROBE).is_ok() {
                break;
            }
            if !self.health.set_away(true) {
                let error = self.health.unreachable();
                tracing::error!("kafka: {error}; nothing is taken until one does");
            }
            native.poll(PROBE.saturating_sub(asked.elapsed()).max(LOOK_UP));
        }
        let was_away = self.health.set_away(false);
        if was_away {
            self.health.forget_reason();
            tracing::info!("kafka: brokers answer again");
        }
        was_away
    }
}

/// When a record was stored last.
struct Progress {
    stored: u64,
    at: Instant,
}

impl Progress {
    fn note(&mut self, stored: u64) {
        if stored != self.stored {
            *self = Progress { stored, at: Instant::now() };
        }
    }

    /// Nearly: it is looked at a little earlier or later than it was.
    fn is_none_for(&self, time: Duration) -> bool {
        self.at.elapsed() >= time.mul_f32(0.9)
    }
}

/// That no other client can be made.
struct Failure {
    next_try: Instant,
    told: Option<String>,
}

impl Failure {
    /// Another client was to be made, for that reason. What goes wrong is told once, not with each try.
    fn note(&mut self, made: Result<()>, why: &str) {
        self.next_try = Instant::now() + PROBE;
        let failure = made.err().map(|error| error.message().to_owned());
        match &failure {
            None => tracing::warn!("kafka: the producer was made again: {why}"),
            Some(error) if self.told != failure => {
                tracing::error!(
                    "kafka: the producer cannot be made again ({why}), which is tried until it can: {error}"
                );
            }
            Some(_) => {}
        }
        self.told = failure;
    }
}

/// Whether a broker says so, and not the client by itself: its own codes are negative.
fn is_of_broker(code: Code) -> bool {
    code as i32 > 0
}

/// Hears of deliveries and errors, on the thread of the producer.
struct Deliveries {
    health: Arc<Health>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Said.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.say(error.rdkafka_error_code().unwrap_or(Code::Fail), reason);
        Said.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, error.rdkafka_error_code()),
        };
        match error.map(Doubt::of) {
            None => self.health.say_stored(),
            Some(doubt) => {
                match doubt {
                    Some(Doubt::TimedOut) => self.health.say_timed_out(),
                    _ if error.is_some_and(is_of_broker) => self.health.say_decided(),
                    _ => {}
                }
                if let Some(doubt) = doubt {
                    self.health.say_doubt(message.topic(), doubt);
                }
            }
        }
        ticket.answer(outcome::appended(status(message), message.offset(), error));
    }
}

#[cfg(test)]
mod tests;
