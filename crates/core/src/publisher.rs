//! The publisher: append, then announce.

mod counters;

pub use counters::Counters;

use crate::bus::Bus;
use crate::channel::Channel;
use crate::clock::{Clock, Entropy};
use crate::event::Event;
use crate::log::Log;
use crate::namespace::Namespaces;
use crate::position::Position;
use crate::topic::TopicName;
use crate::{Error, ErrorKind};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Limits of a publisher.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most bytes that wait for the log.
    pub waiting_bytes_max: usize,
    /// How long the log may let a commit wait before it begins.
    pub wait_max: Duration,
    /// How long the log may then take.
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

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct DualPublisher {
    counters: Arc<Counters>,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub position: Position,
    /// Its topic.
    pub topic: TopicName,
    /// Its channel.
    pub channel: String,
    /// It stood there already.
    pub duplicate: bool,
}

/// Why an event is not known to be stored.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The id that was used, also one made by the publisher.
    pub id: Option<String>,
    /// What happened.
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
        let _ = (settings, log, bus, namespaces, clock, entropy);
        DualPublisher { counters: Arc::default() }
    }

    /// Stores events, then announces them. One result per event, in order.
    pub async fn publish(&self, events: Vec<Event>) -> Vec<Result<Receipt, Failure>> {
        let closed = || Error::new(ErrorKind::Closed, "closed", "the publisher was shut down");
        events.into_iter().map(|e| Err(Failure { id: e.id, error: closed() })).collect()
    }

    /// Any JSON on a channel.
    ///
    /// # Errors
    /// As [`DualPublisher::publish`].
    pub async fn send(&self, channel: &Channel, payload: Bytes) -> Result<Option<Receipt>, Failure> {
        let _ = (channel, payload);
        Err(Failure { id: None, error: Error::new(ErrorKind::Closed, "closed", "the publisher was shut down") })
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
