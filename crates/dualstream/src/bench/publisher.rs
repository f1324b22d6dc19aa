//! One publisher: a connection over HTTP that sends events when it is their turn, one request at a time.

use super::schedule::Schedule;
use super::subscriber::{Seen, data};
use super::tally::Tally;
use crate::client::events::Summary;
use crate::client::{Connection, Error, Request, Server};
use bytes::Bytes;
use std::cell::RefCell;
use std::time::Duration;

/// After a failure: a server that is not there is not asked as fast as it can refuse.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// How events are published.
pub struct Stream {
    /// Events in one request.
    pub batch: u64,
    /// Bytes of the data of an event.
    pub size: usize,
    pub channels: Channels,
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
    pub fn new(channels: Channels, size: usize, batch: u64) -> Stream {
        let stored = RefCell::new(vec![Seen::default(); channels.count as usize]);
        Stream { batch, size, channels, stored }
    }

    /// Publishes on one connection until the schedule ends.
    pub async fn publish(&self, server: &Server, schedule: &Schedule, tally: &Tally) {
        let mut connection = Connection::new(server);
        while let Some(turn) = schedule.turn().await {
            let first = turn.number * self.batch;
            let outcome = self.send(&mut connection, first, turn.at_ns, tally).await;
            if outcome.is_err() {
                tokio::time::sleep(FAILURE_PAUSE).await;
            } else {
                let mut stored = self.stored.borrow_mut();
                (first..first + self.batch)
                    .for_each(|event| stored[self.channels.of(event) as usize].add(event));
            }
            tally.publish(outcome.map(|()| self.batch));
        }
    }

    /// Publishes the events from `first` on.
    async fn send(
        &self,
        connection: &mut Connection,
        first: u64,
        at_ns: u64,
        tally: &Tally,
    ) -> Result<(), String> {
        let answer = connection.fetch(&self.request(first, at_ns)).await;
        if self.batch > 1 {
            let summary: Summary = answer
                .map_err(told)
                .and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()))?;
            if let Some(failure) = summary.failures.first() {
                return Err(failure.message.clone());
            }
        } else {
            answer.map_err(told)?;
        }
        // Without subscribers the answer is what is waited for.
        if tally.has_no_subscribers() {
            tally.note(at_ns, tally.now_ns());
        }
        Ok(())
    }

    fn request(&self, first: u64, at_ns: u64) -> Request {
        if !self.channels.is_events() {
            let channel = self.channels.name(self.channels.of(first));
            let path = format!("/v1/channels/{}/messages", escaped(&channel));
            return Request::post(path, JSON, Bytes::from(data(at_ns, first, self.size)));
        }
        let events: Vec<String> = (first..first + self.batch).map(|event| self.event(event, at_ns)).collect();
        match self.batch {
            1 => Request::post("/v1/events", JSON, Bytes::from(events.concat())),
            _ => Request::post("/v1/events", "application/x-ndjson", Bytes::from(events.join("\n"))),
        }
    }

    fn event(&self, event: u64, at_ns: u64) -> String {
        let (run, channel) = (&self.channels.run, self.channels.of(event));
        let data = data(at_ns, event, self.size);
        format!(
            "{{\"type\":\"bench\",\"source_type\":\"bench\",\"source_id\":\"{run}/{channel}\",\"data\":{data}}}"
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
