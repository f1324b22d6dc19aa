//! The publisher: append to the log, and only after the durable ack announce on the bus.
//!
//! ```text
//! events ─▶ check, id, time, encode ─▶ one Log::commit ─▶ receipts
//!                                            └─ newly stored ─▶ one Bus::publish (a hint; its fate changes nothing)
//! ```
//! *Outcomes*: an event is stored, definitely not stored, or ([`ErrorKind::Unknown`]) either; a retry with the id in
//! the [`Failure`] is safe in every case. *Order*: events of one source are stored in the order of the call. *Memory*:
//! the bytes that wait for the log are bounded; when there is no room a publish fails at once. Dropping a future of
//! this module leaves the outcome open and may skip announcements.
//!
//! It does not check schemas or permissions, and JSON text it is given is trusted to be checked.

mod batch;
mod counters;
mod headers;
mod ids;
mod unanswered;
mod waiting;

pub use counters::Counters;

use crate::bus::{Bus, Message};
use crate::channel::Channel;
use crate::clock::{Clock, Entropy};
use crate::event::{Data, Event};
use crate::log::{Appended, Commit, Log, PartCommitted};
use crate::namespace::{Namespace, Namespaces};
use crate::partitioner::partition_of;
use crate::position::Position;
use crate::time::format_rfc3339;
use crate::topic::TopicName;
use crate::{Error, ErrorKind};
use batch::{Group, Prepared};
use bytes::Bytes;
use headers::HeadersCache;
use ids::Ids;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;
use unanswered::Unanswered;
use waiting::Room;

/// Limits of a publisher.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most bytes that wait for the log. An empty buffer takes any one call.
    pub waiting_bytes_max: usize,
    /// How long the log may let a commit wait before it begins (then it answers `Overloaded` itself).
    pub wait_max: Duration,
    /// How long the log may then take before the outcome is called unknown.
    pub outcome_max: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            waiting_bytes_max: 64 << 20,
            wait_max: Duration::from_secs(5),
            outcome_max: Duration::from_secs(30),
        }
    }
}

/// Publishes events to both halves. Cheap to clone.
#[derive(Clone)]
pub struct DualPublisher {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    log: Arc<dyn Log>,
    bus: Arc<dyn Bus>,
    namespaces: Namespaces,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ids: Ids,
    headers: HeadersCache,
    counters: Arc<Counters>,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id, as given or made.
    pub id: String,
    /// Where it stands.
    pub position: Position,
    /// Its topic.
    pub topic: TopicName,
    /// Its channel.
    pub channel: String,
    /// The same event was stored before; this is where.
    pub duplicate: bool,
}

/// Why an event is not known to be stored.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The id that was used, also one made by the publisher: a retry names it.
    pub id: Option<String>,
    /// What happened. `Invalid`, `TooLarge`, `Conflict` (`id_conflict`), `Overloaded`, `Unavailable`, `Full`: it was
    /// not stored. `Unknown` (`outcome_unknown`): it may be.
    pub error: Error,
}

impl DualPublisher {
    /// A publisher over `log` and `bus`.
    pub fn new(
        settings: Settings,
        log: Arc<dyn Log>,
        bus: Arc<dyn Bus>,
        namespaces: Namespaces,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> DualPublisher {
        let (ids, headers, counters) = Default::default();
        let inner = Inner { settings, log, bus, namespaces, clock, entropy, ids, headers, counters };
        DualPublisher { inner: Arc::new(inner) }
    }

    /// Stores events, then announces those that were newly stored. One result per event, in order; an event that is
    /// refused does not keep the others back.
    pub async fn publish(&self, events: Vec<Event>) -> Vec<Result<Receipt, Failure>> {
        let inner = &*self.inner;
        let unanswered = Unanswered::received(&inner.counters, events.len());
        let started = Instant::now();
        let mut results: Vec<Option<Result<Receipt, Failure>>> = events.iter().map(|_| None).collect();
        let mut preparation = Preparation::new(inner);
        let mut prepared = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            match preparation.prepare(index, event) {
                Ok(event) => prepared.push(event),
                Err(failure) => results[index] = Some(Err(failure)),
            }
        }
        for (index, result) in inner.store(prepared).await {
            results[index] = Some(result);
        }
        inner.count(&results, started);
        unanswered.answered();
        results.into_iter().map(|r| r.expect("every event was refused, stored or failed")).collect()
    }

    /// Any JSON on a channel: on a bus-only channel it is handed to the bus (`None`); on a durable one it is stored
    /// as an event of type `message`.
    ///
    /// # Errors
    /// As [`DualPublisher::publish`]; `unknown_channel`, `invalid_channel`.
    pub async fn send(&self, channel: &Channel, payload: Bytes) -> Result<Option<Receipt>, Failure> {
        let refused = |error| Failure { id: None, error };
        let namespace = self.inner.namespaces.of(channel.as_str()).map_err(refused)?;
        if !namespace.is_durable() {
            self.inner.announce(vec![Message { channel: channel.clone(), payload }]);
            return Ok(None);
        }
        let event = self.inner.message(namespace, channel, payload).map_err(refused)?;
        let result = self.publish(vec![event]).await.pop().expect("one result per event");
        result.map(Some)
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }
}

impl Inner {
    /// The event that carries a message on a durable channel.
    fn message(&self, namespace: &Namespace, channel: &Channel, payload: Bytes) -> Result<Event, Error> {
        let (source_type, source_id) = namespace.source_of(channel)?;
        if self.namespaces.of_source_type(source_type).name != namespace.name {
            return Err(Error::invalid(
                "invalid_channel",
                "channel",
                format!("{source_type} is a namespace of its own: its channel is {source_type}:{source_id}"),
            ));
        }
        Ok(Event {
            event_type: "message".into(),
            source_type: source_type.into(),
            source_id: source_id.into(),
            data: Data::Json(payload),
            ..Event::default()
        })
    }

    async fn store(&self, prepared: Vec<Prepared>) -> Vec<(usize, Result<Receipt, Failure>)> {
        let bytes = prepared.iter().map(|e| e.record.weight()).sum();
        let room = Room::take(&self.counters, bytes, self.settings.waiting_bytes_max);
        let mut failed = room.as_ref().err().cloned();
        let (mut results, mut announcements) = (Vec::with_capacity(prepared.len()), Vec::new());
        for mut group in batch::group(prepared) {
            if let Some(error) = &failed {
                results.extend(group.fail(error));
                continue;
            }
            let partitions: Vec<u32> = group.parts.iter().map(|p| p.partition).collect();
            match self.commit(&mut group).await {
                Ok(committed) => {
                    failed = first_failure(&committed).map(after_failure);
                    results.extend(group.answer(committed, &partitions, &mut announcements));
                }
                Err(error) => {
                    failed = Some(after_failure(&error));
                    results.extend(group.fail(&error));
                }
            }
        }
        self.announce(announcements);
        results
    }

    async fn commit(&self, group: &mut Group) -> Result<Vec<PartCommitted>, Error> {
        let commit = Commit { parts: group.take_parts(), guard: None };
        let deadline = self.settings.wait_max + self.settings.outcome_max;
        match tokio::time::timeout(deadline, self.log.commit(commit)).await {
            Ok(committed) => committed.map(|c| c.parts),
            Err(_) => Err(Error::new(
                ErrorKind::Unknown,
                "outcome_unknown",
                "the log did not answer in time; the event may be stored: retry with the same id",
            )),
        }
    }

    /// Hands messages to the bus. Whatever it does with them changes no result.
    fn announce(&self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let count = messages.len();
        let taken = self.bus.publish(messages).min(count);
        self.counters.announced.fetch_add(taken as u64, Relaxed);
        self.counters.announcements_lost.fetch_add((count - taken) as u64, Relaxed);
    }

    fn count(&self, results: &[Option<Result<Receipt, Failure>>], started: Instant) {
        let took = started.elapsed();
        for result in results.iter().flatten() {
            match result {
                Ok(Receipt { duplicate: true, .. }) => self.counters.duplicates.fetch_add(1, Relaxed),
                Ok(_) => {
                    self.counters.ack_latency.record(took);
                    self.counters.acked.fetch_add(1, Relaxed)
                }
                Err(_) => self.counters.failed.fetch_add(1, Relaxed),
            };
        }
    }
}

/// Why some record of a commit was not stored, where each is answered by itself.
fn first_failure(committed: &[PartCommitted]) -> Option<&Error> {
    let mut answers = committed.iter().flat_map(|part| &part.records);
    answers.find_map(|appended| if let Appended::Failed(error) = appended { Some(error) } else { None })
}

/// What the groups after a failed one are answered: they were not tried, so that no event of a source overtakes
/// another.
fn after_failure(error: &Error) -> Error {
    match error.kind() {
        ErrorKind::Unknown => Error::new(
            ErrorKind::Unavailable,
            "log_unavailable",
            "not tried, because the outcome of an earlier part of the batch is unknown",
        ),
        _ => error.clone(),
    }
}

/// What is asked once per call: the time, and the number of partitions of each topic.
struct Preparation<'a> {
    inner: &'a Inner,
    now: String,
    partitions: BTreeMap<TopicName, u32>,
}

impl<'a> Preparation<'a> {
    fn new(inner: &'a Inner) -> Preparation<'a> {
        Preparation { inner, now: format_rfc3339(inner.clock.now_ms()), partitions: BTreeMap::new() }
    }

    fn prepare(&mut self, index: usize, event: Event) -> Result<Prepared, Failure> {
        if let Err(error) = event.check() {
            return Err(Failure { id: event.id, error });
        }
        let made = || self.inner.ids.next(&*self.inner.clock, &*self.inner.entropy);
        let id = event.id.clone().unwrap_or_else(made);
        self.encode(index, &id, event).map_err(|error| Failure { id: Some(id), error })
    }

    fn encode(&mut self, index: usize, id: &str, event: Event) -> Result<Prepared, Error> {
        let namespace = self.inner.namespaces.of_source_type(&event.source_type).clone();
        if !namespace.is_durable() {
            let message =
                format!("the namespace {} is bus-only: events cannot be stored in it", namespace.name);
            return Err(Error::invalid("not_stored", "source_type", message));
        }
        let partition = partition_of(event.source_id.as_bytes(), self.partitions(&namespace.topic)?);
        let given = event.time.clone();
        let time = given.as_deref().unwrap_or(&self.now);
        let headers = self.inner.headers.of(&event.source_type);
        let channel = namespace.channel_of(&event.source_type, &event.source_id);
        let (event_type, source_id) = (event.event_type.clone(), event.source_id.clone());
        let record = event.into_record(id, time, headers)?;
        let id = id.to_owned();
        Ok(Prepared { index, id, event_type, source_id, channel, namespace, partition, record })
    }

    fn partitions(&mut self, topic: &TopicName) -> Result<u32, Error> {
        if let Some(&known) = self.partitions.get(topic) {
            return Ok(known);
        }
        let count = self.inner.log.bounds(topic)?.partitions();
        self.partitions.insert(topic.clone(), count);
        Ok(count)
    }
}
