//! From an event to a record in its place. What is asked once per call: the time, and the number of partitions of each
//! topic.

use super::routes::Route;
use super::{Failure, Inner};
use crate::announcement::Unplaced;
use crate::event::Event;
use crate::partitioner::partition_of;
use crate::record::NewRecord;
use crate::time::format_rfc3339;
use crate::topic::TopicName;
use crate::{Error, Result};
use std::sync::Arc;

/// Source types of one call that are found without asking for their route again.
const AT_HAND_MAX: usize = 8;

/// An event that is checked, encoded and placed.
pub(super) struct Prepared {
    pub id: String,
    pub channel: String,
    /// `None` if nothing is announced of it.
    pub announcement: Option<Unplaced>,
    pub place: Place,
    pub record: NewRecord,
}

/// The place of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of its topic among those of the call.
    pub topic: usize,
    pub partition: u32,
}

/// Prepares the events of one call.
pub(super) struct Preparation<'a> {
    inner: &'a Inner,
    now_ms: i64,
    now: String,
    /// The topics of the call, with the number of their partitions.
    topics: Vec<(TopicName, u32)>,
    at_hand: Vec<(Arc<Route>, usize)>,
}

impl<'a> Preparation<'a> {
    pub(super) fn new(inner: &'a Inner) -> Preparation<'a> {
        let now_ms = inner.clock.now_ms();
        let (topics, at_hand) = (Vec::with_capacity(1), Vec::with_capacity(1));
        Preparation { inner, now_ms, now: format_rfc3339(now_ms), topics, at_hand }
    }

    pub(super) fn prepare(&mut self, event: Event) -> Result<Prepared, Failure> {
        if let Err(error) = event.check() {
            return Err(Failure { id: event.id, error });
        }
        let made = || self.inner.ids.next(self.now_ms, &*self.inner.entropy);
        let id = event.id.clone().unwrap_or_else(made);
        match self.encode(&id, event) {
            Ok((channel, announcement, place, record)) => {
                Ok(Prepared { id, channel, announcement, place, record })
            }
            Err(error) => Err(Failure { id: Some(id), error }),
        }
    }

    /// The topic of a place.
    pub(super) fn topic_of(&self, place: Place) -> &TopicName {
        &self.topics[place.topic].0
    }

    fn encode(&mut self, id: &str, event: Event) -> Result<(String, Option<Unplaced>, Place, NewRecord)> {
        let (route, topic) = self.route(&event.source_type)?;
        let place =
            Place { topic, partition: partition_of(event.source_id.as_bytes(), self.topics[topic].1) };
        let channel = route.namespace.channel_of(&event.source_type, &event.source_id);
        let announcement =
            route.namespace.is_announced().then(|| Unplaced::new(id, &event.event_type, &event.source_id));
        let given = event.time.clone();
        let time = given.as_deref().unwrap_or(&self.now);
        let record = event.into_record(id, time, route.headers.clone())?;
        Ok((channel, announcement, place, record))
    }

    /// The route of a source type, and its topic.
    fn route(&mut self, source_type: &str) -> Result<(Arc<Route>, usize)> {
        if let Some(known) = self.at_hand.iter().find(|(route, _)| route.source_type == source_type) {
            return Ok(known.clone());
        }
        let route = self.inner.routes.of(source_type, &self.inner.namespaces);
        let namespace = &route.namespace;
        if !namespace.is_durable() {
            let message =
                format!("the namespace {} is bus-only: events cannot be stored in it", namespace.name);
            return Err(Error::invalid("not_stored", "source_type", message));
        }
        let topic = self.topic(&namespace.topic)?;
        if self.at_hand.len() >= AT_HAND_MAX {
            self.at_hand.clear();
        }
        self.at_hand.push((route.clone(), topic));
        Ok((route, topic))
    }

    fn topic(&mut self, name: &TopicName) -> Result<usize> {
        if let Some(known) = self.topics.iter().position(|(known, _)| known == name) {
            return Ok(known);
        }
        self.topics.push((name.clone(), self.inner.log.partitions(name)?));
        Ok(self.topics.len() - 1)
    }
}
