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
//! by its error. *Memory*: what waits is bounded; while no broker answers, or none stores anything of a topic, calls (of
//! that topic) fail at once after the first record that waited its whole time ([`health`], [`progress`]). *Fatal errors* of the client (its sequence numbers are no longer the broker's) end it: all it
//! has is answered, and another takes its place. So it is when a topic that is written to takes smaller batches
//! than it makes ([`batching`]).
//!
//! It does not wait for room, retry what failed, or make transactions.

mod backlog;
mod batching;
mod call;
mod health;
mod progress;

use super::client::{self, Said};
use super::settings::refused;
use super::{Settings, outcome};
use backlog::Backlog;
pub(crate) use batching::Batching;
pub(crate) use call::Answers;
use call::{Calls, Ticket};
use dualstream_core::log::{Appended, Part};
use dualstream_core::record::NewRecord;
use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind, Result};
use dualstream_kafka_ffi::status;
use health::Doubt;
pub(crate) use health::Health;
use progress::Progress;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the thread looks up from the deliveries.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How long it waits for a broker to answer, and how often it asks, while none did.
const PROBE: Duration = Duration::from_secs(1);
/// So many answers have to fail before brokers count as away: one that hangs may be the one that is asked.
const SILENCES_MAX: u32 = 3;
/// Of a topic that flows off something is decided on within this time.
const FLOWS_OFF: Duration = Duration::from_secs(2);
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
        let is_closing = AtomicBool::new(false);
        let shared = Arc::new(Shared { settings, native, backlog, health, batching, is_closing });
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
        let records = parts.iter().map(|part| part.records.len());
        let bytes = parts.iter().flat_map(|part| &part.records).map(NewRecord::weight).sum();
        let topics = shared.health.topics_of(&parts);
        let flows_off = || topics.iter().all(|topic| topic.flows_off(FLOWS_OFF));
        let Some(reserved) = shared.backlog.reserve(records.clone().sum(), bytes, flows_off) else {
            return Err(shared.overloaded());
        };
        let guard = shared.native();
        let Some(native) = &*guard else { return Err(being_made()) };
        // Last: a call that is not tried for another reason is not the one that may be tried.
        let refused = refused_of(parts.iter().zip(&topics))?;
        for (_, topic) in parts.iter().zip(&topics).filter(|(part, _)| !part.records.is_empty()) {
            topic.say_waits();
        }
        let answers = Answers::new(records.zip(topics), reserved);
        let calls = &native.context().calls;
        let mut tickets = calls.add(&answers);
        for part in &parts {
            let refused = refused.get(&part.topic);
            for (record, ticket) in part.records.iter().zip(&mut tickets) {
                match refused {
                    Some(error) => calls.answer(ticket, Appended::Failed(error.clone()), |_| {}),
                    None => send(native, part, record, ticket),
                }
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

/// The topics of a call of which nothing is stored, each with what to say of it. Fails when all are.
fn refused_of<'a>(
    parts: impl Iterator<Item = (&'a Part, &'a Arc<Progress>)> + Clone,
) -> Result<BTreeMap<TopicName, Error>> {
    let mut refused = BTreeMap::new();
    if !parts.clone().any(|(_, topic)| topic.is_stalled()) {
        return Ok(refused);
    }
    // A part without records would be a try of nothing.
    let with_records = parts.filter(|(part, _)| !part.records.is_empty());
    let asked: BTreeMap<&TopicName, &Arc<Progress>> =
        with_records.map(|(_, topic)| (topic.name(), topic)).collect();
    let count = asked.len();
    for (name, topic) in asked {
        if let Err(error) = topic.admit() {
            refused.insert(name.clone(), error);
        }
    }
    match refused.first_key_value() {
        Some((_, error)) if refused.len() == count => Err(error.clone()),
        _ => Ok(refused),
    }
}

/// Another client takes the place of the one there was.
fn being_made() -> Error {
    let message = "the client of Kafka is made again, which takes a moment";
    Error::new(ErrorKind::Overloaded, "overloaded", message)
}

fn create(settings: &Settings, health: &Arc<Health>, batch_bytes: u64) -> Result<Native> {
    let deliveries = Deliveries { health: health.clone(), calls: Calls::default() };
    let mut config = client::producer(settings);
    config
        .set("batch.size", batch_bytes.to_string())
        .create_with_context(deliveries)
        .map_err(|error| refused(&error))
}

/// Puts a record into the queue of its partition; one that is not taken is answered here.
fn send(native: &Native, part: &Part, record: &NewRecord, ticket: Ticket) {
    let Deliveries { health, calls } = &**native.context();
    let headers = match headers(record) {
        Ok(headers) => headers,
        Err(error) => return calls.answer(ticket, Appended::Failed(error), |_| {}),
    };
    let mut message = BaseRecord::with_opaque_to(part.topic.as_str(), ticket);
    message.partition = i32::try_from(part.partition).ok().or(Some(i32::MAX));
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    message.timestamp = record.timestamp_ms;
    message.headers = headers;
    if let Err((error, _)) = native.send(message) {
        let code = error.rdkafka_error_code().unwrap_or(Code::InvalidArgument);
        calls.answer(ticket, Appended::Failed(outcome::refused(code)), |topic| {
            if let Some(doubt) = Doubt::of(code) {
                health.say_doubt(topic, doubt);
            }
        });
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
        let message = format!(
            "{records} records or {bytes} bytes wait for Kafka already, or three quarters of it and nothing of the topic was stored for a while"
        );
        Error::new(ErrorKind::Overloaded, "overloaded", message).with_limit(records as u64)
    }

    /// The thread: takes deliveries until the producer is dropped, and looks after the client between them.
    fn run(&self) {
        let mut asked = Instant::now();
        let mut failure = Failure { next_try: asked, told: None };
        while !self.is_closing.load(Ordering::Relaxed) {
            self.health.clock().move_on();
            let fatal = self.native().as_ref().and_then(|native| {
                native.poll(LOOK_UP);
                native.client().fatal_error()
            });
            let why = match fatal {
                Some((code, reason)) => Some(format!("{code}: {reason}")),
                None => self.batching.is_due().then(|| "a topic takes smaller batches".to_owned()),
            };
            if let Some(why) = why.filter(|_| Instant::now() >= failure.next_try) {
                failure.note(self.replace(), &why);
            }
            self.look_into_silence();
            if asked.elapsed() >= PROBE && self.look_refused_up() {
                asked = Instant::now();
            }
        }
        self.end(self.put(None).as_ref());
    }

    /// Records waited their whole time: of topics of which nothing was stored since then nothing is taken for a while, or of
    /// none if no broker answers.
    fn look_into_silence(&self) {
        let max = self.settings.delivery_max();
        let mut silent = self.health.take_timed_out();
        silent.retain(|topic| !topic.stores_within(max));
        let Some(first) = silent.first() else { return };
        let was_away = !self.health.stores_within(max) && self.probe_until_reachable(first.name());
        if was_away {
            // What waited meanwhile.
            silent.extend(self.health.take_timed_out());
        }
        for topic in silent.iter().filter(|topic| !topic.stores_within(max)) {
            // Once brokers are back, the first call tells whether they store.
            topic.set_stalled(!was_away);
        }
    }

    /// Has the client ask for topics that it holds for missing or forbidden; gives whether there are any. The outcome is in
    /// what the next record of the topic meets.
    fn look_refused_up(&self) -> bool {
        let refused = self.health.take_refused();
        if let Some(native) = &*self.native() {
            let look = |topic: &TopicName| native.client().fetch_metadata(Some(topic.as_str()), PROBE);
            // Where one is not answered the others are asked for when they are met again.
            let _ = refused.iter().try_for_each(|topic| look(topic).map(drop));
        }
        !refused.is_empty()
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
            native.context().calls.give_up();
        }
    }

    /// Nothing was stored for as long as a record may wait. Calls fail until a broker answers; what waits in the client
    /// still ends by itself. Gives whether none answered for a while.
    fn probe_until_reachable(&self, topic: &TopicName) -> bool {
        let guard = self.native();
        let Some(native) = &*guard else { return false };
        let mut silences = 0;
        while !self.is_closing.load(Ordering::Relaxed) {
            let asked = Instant::now();
            if native.client().fetch_metadata(Some(topic.as_str()), PROBE).is_ok() {
                break;
            }
            silences += 1;
            if silences >= SILENCES_MAX && !self.health.set_away(true) {
                let error = self.health.unreachable();
                tracing::error!("kafka: {error}; nothing is taken until one does");
            }
            self.health.clock().move_on();
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
    /// What the client has.
    calls: Calls,
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

impl Deliveries {
    /// A record of the topic was stored, or not.
    fn note(&self, topic: &Arc<Progress>, error: Option<Code>) {
        let Some(code) = error else { return topic.say_stored() };
        let doubt = Doubt::of(code);
        match doubt {
            Some(Doubt::TimedOut) => topic.say_timed_out(),
            _ if is_of_broker(code) => topic.say_decided(),
            _ => {}
        }
        if let Some(doubt) = doubt {
            self.health.say_doubt(topic, doubt);
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Ticket) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, error.rdkafka_error_code()),
        };
        let outcome = outcome::appended(status(message), message.offset(), error);
        self.calls.answer(ticket, outcome, |topic| self.note(topic, error));
    }
}

#[cfg(test)]
mod tests;
