//! One publisher: a connection over HTTP that sends events when it is their turn, one request at a time.

use super::schedule::Schedule;
use super::subscriber::{Seen, data, live_type};
use super::tally::{Outcome, Tally};
use crate::client::{Connection, Error, Request, Server};
use bytes::Bytes;
use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

/// After a failure: a server that is not there is not asked as fast as it can refuse.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// How events are published.
pub struct Stream {
    /// Events in one request.
    pub batch: u64,
    /// Events in all, at most: the last request may be of fewer.
    pub events_max: u64,
    /// Bytes of the data of an event.
    pub size: usize,
    pub channels: Channels,
    /// Whether subscribers get announcements.
    pub is_live: bool,
    /// By channel, what was stored.
    pub stored: RefCell<Vec<Seen>>,
}

/// The channels of a run: `{namespace}:bench:{run}/{number}`.
pub struct Channels {
    pub namespace: String,
    pub run: String,
    pub count: u64,
}

/// The namespace whose channels name a source type and a source id.
const EVENTS: &str = "events";

impl Channels {
    /// Name of a channel.
    pub fn name(&self, channel: u64) -> String {
        let Channels { namespace, run, .. } = self;
        match self.is_events() {
            true => format!("{namespace}:bench:{run}/{channel}"),
            false => format!("{namespace}:{run}/{channel}"),
        }
    }

    /// Which channel an event goes to.
    pub fn of(&self, event: u64) -> u64 {
        event % self.count
    }

    fn is_events(&self) -> bool {
        self.namespace == EVENTS
    }
}

impl Stream {
    /// A stream of which nothing was published yet.
    pub fn new(channels: Channels, size: usize, batch: u64, events_max: u64) -> Stream {
        let stored = RefCell::new(vec![Seen::default(); channels.count as usize]);
        Stream { batch, events_max, size, channels, is_live: false, stored }
    }

    /// The events of a request.
    fn events(&self, request: u64) -> Range<u64> {
        let first = request * self.batch;
        first..(first + self.batch).min(self.events_max)
    }

    /// Publishes on one connection until the schedule ends.
    pub async fn publish(&self, server: &Server, schedule: &Schedule, tally: &Tally) {
        let mut connection = Connection::new(server);
        while let Some(turn) = schedule.turn().await {
            let events = self.events(turn.number);
            let outcome = self.send(&mut connection, events.clone(), turn.at_ns).await;
            // Without subscribers the answer is what is waited for.
            if tally.has_no_subscribers() && outcome.published > 0 {
                tally.note(turn.at_ns, tally.now_ns());
            }
            if outcome.failure.is_some() {
                tokio::time::sleep(FAILURE_PAUSE).await;
            } else {
                let mut stored = self.stored.borrow_mut();
                events.for_each(|event| stored[self.channels.of(event) as usize].add(event));
            }
            tally.publish(outcome);
        }
    }

    /// Publishes some events in one request.
    async fn send(&self, connection: &mut Connection, events: Range<u64>, at_ns: u64) -> Outcome {
        let count = events.end - events.start;
        match connection.fetch(&self.request(events, at_ns)).await {
            Ok(body) if self.batch > 1 => match serde_json::from_slice(&body) {
                Ok(summary) => Outcome::of(&summary, count),
                Err(error) => Outcome::failed(count, error.to_string()),
            },
            Ok(_) => Outcome { published: count, failed: 0, failure: None },
            Err(error) => Outcome::failed(count, told(error)),
        }
    }

    fn request(&self, events: Range<u64>, at_ns: u64) -> Request {
        if !self.channels.is_events() {
            let first = events.start;
            let channel = self.channels.name(self.channels.of(first));
            let path = format!("/v1/channels/{}/messages", escaped(&channel));
            return Request::post(path, JSON, Bytes::from(data(at_ns, first, self.size)));
        }
        let events: Vec<String> = events.map(|event| self.event(event, at_ns)).collect();
        match self.batch {
            1 => Request::post("/v1/events", JSON, Bytes::from(events.concat())),
            _ => Request::post("/v1/events", "application/x-ndjson", Bytes::from(events.join("\n"))),
        }
    }

    fn event(&self, event: u64, at_ns: u64) -> String {
        let (run, channel) = (&self.channels.run, self.channels.of(event));
        let data = data(at_ns, event, self.size);
        let event_type = if self.is_live { live_type(at_ns, event) } else { "bench".to_owned() };
        format!(
            "{{\"type\":\"{event_type}\",\"source_type\":\"bench\",\"source_id\":\"{run}/{channel}\",\"data\":{data}}}"
        )
    }
}

const JSON: &str = "application/json";

fn escaped(channel: &str) -> String {
    channel.replace('/', "%2F")
}

fn told(error: Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
