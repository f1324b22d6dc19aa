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
mod ids;
mod preparation;
mod routes;
mod unanswered;
mod waiting;

pub use counters::Counters;

use crate::bus::{Bus, Message};
use crate::channel::Channel;
use crate::clock::{Clock, Entropy};
use crate::event::{Data, Event};
use crate::log::{Appended, Commit, Log, PartCommitted};
use crate::namespace::{Namespace, Namespaces};
use crate::position::Position;
use crate::topic::TopicName;
use crate::{Error, ErrorKind};
use batch::{Answers, Batch, Group};
use bytes::Bytes;
use ids::Ids;
use preparation::Preparation;
use routes::Routes;
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
    routes: Routes,
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
        let (ids, routes, counters) = Default::default();
        let inner = Inner { settings, log, bus, namespaces, clock, entropy, ids, routes, counters };
        DualPublisher { inner: Arc::new(inner) }
    }

    /// Stores events, then announces those that were newly stored. One result per event, in order; an event that is
    /// refused does not keep the others back.
    pub async fn publish(&self, events: Vec<Event>) -> Vec<Result<Receipt, Failure>> {
        let inner = &*self.inner;
        let unanswered = Unanswered::received(&inner.counters, events.len());
        let started = Instant::now();
        let mut answers = Answers::new(events.len());
        let (mut preparation, mut batch) = (Preparation::new(inner), Batch::new(events.len()));
        for (index, event) in events.into_iter().enumerate() {
            match preparation.prepare(event) {
                Ok(event) => {
                    let topic = preparation.topic_of(event.place);
                    batch.add(index, event, topic);
                }
                Err(failure) => answers.put(index, Err(failure)),
            }
        }
        drop(preparation);
        inner.store(batch, &mut answers).await;
        inner.count(&answers, started);
        unanswered.answered();
        answers.into_all()
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

    /// Commits a batch and answers its events, then announces those that were newly stored.
    async fn store(&self, batch: Batch, answers: &mut Answers) {
        let room = Room::take(&self.counters, batch.bytes(), self.settings.waiting_bytes_max);
        let mut failed = room.as_ref().err().cloned();
        let mut announcements = Vec::new();
        for mut group in batch.into_groups() {
            if let Some(error) = &failed {
                group.fail(error, answers);
                continue;
            }
            match self.commit(&mut group).await {
                Ok(committed) => {
                    failed = first_failure(&committed).map(after_failure);
                    group.answer(committed, answers, &mut announcements);
                }
                Err(error) => {
                    failed = Some(after_failure(&error));
                    group.fail(&error, answers);
                }
            }
        }
        self.announce(announcements);
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

    fn count(&self, answers: &Answers, started: Instant) {
        let (mut acked, mut duplicates, mut failed) = (0, 0, 0);
        for answer in answers.iter() {
            match answer {
                Ok(Receipt { duplicate: true, .. }) => duplicates += 1,
                Ok(_) => acked += 1,
                Err(_) => failed += 1,
            }
        }
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.ack_latency.record_many_us(took, acked);
        self.counters.acked.fetch_add(acked, Relaxed);
        self.counters.duplicates.fetch_add(duplicates, Relaxed);
        self.counters.failed.fetch_add(failed, Relaxed);
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
