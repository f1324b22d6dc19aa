//! A publisher that does not give up: batches, sent again with the same ids until each event is acknowledged.

use crate::http::Connection;
use anyhow::{Context, Result};
use bytes::Bytes;
use dualstream_checker::{Blame, Call, Place, Process, value_crc};
use dualstream_core::position::Position;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An event to publish.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its topic.
    pub topic: String,
    /// Its id.
    pub id: String,
    /// Its source type and id.
    pub source: (String, String),
    /// Its data.
    pub data: Value,
}

impl Event {
    /// The key in the history.
    pub fn key(&self) -> String {
        format!("{}:{}", self.source.0, self.source.1)
    }

    /// The CRC in the history.
    pub fn crc(&self) -> u32 {
        value_crc(self.data.to_string().as_bytes())
    }

    fn body(&self) -> Value {
        let (source_type, source_id) = &self.source;
        json!({"id": self.id, "type": "fault", "source_type": source_type, "source_id": source_id, "data": self.data})
    }
}

/// Somebody who publishes in batches, one after the other.
pub struct Publisher {
    process: Process,
    /// Nodes, the one it prefers first.
    nodes: Vec<SocketAddr>,
    connection: Option<Connection>,
    node: usize,
    batches: u32,
}

/// Pause before something is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// Every fault of a test ends sooner, and is healed sooner.
const PATIENCE: Duration = Duration::from_secs(90);
/// A request may wait for a broker as long as the server lets it.
const ANSWER_MAX: Duration = Duration::from_secs(60);

impl Publisher {
    /// A publisher over nodes, the one it prefers first.
    pub fn new(process: Process, nodes: Vec<SocketAddr>) -> Publisher {
        Publisher { process, nodes, connection: None, node: 0, batches: 0 }
    }

    /// Publishes a batch, again and again what is not acknowledged. An event whose first outcome was definite or unknown
    /// is one call of the history: it ends when it is acknowledged.
    ///
    /// # Errors
    /// When the server refuses an event for good, or nothing was acknowledged for so long that nothing will be.
    pub async fn publish(&mut self, events: &[Event]) -> Result<()> {
        let batch = self.batches;
        self.batches += 1;
        let invoke = |event: &Event| {
            let (key, crc) = (event.key(), event.crc());
            let recorded = dualstream_checker::Event { topic: &event.topic, key: &key, id: &event.id, crc };
            Some(self.process.invoke_in_batch(recorded, batch))
        };
        let mut calls: Vec<Option<Call>> = events.iter().map(invoke).collect();
        let mut progress = Instant::now();
        while calls.iter().any(Option::is_some) {
            let left: Vec<usize> = (0..events.len()).filter(|&i| calls[i].is_some()).collect();
            let body = Value::Array(left.iter().map(|&i| events[i].body()).collect());
            match self.send(body.to_string().into()).await {
                Ok(answers) => {
                    for (&i, answer) in left.iter().zip(&answers) {
                        settle(&mut calls[i], answer)?;
                    }
                    if calls.iter().filter(|call| call.is_some()).count() < left.len() {
                        progress = Instant::now();
                    }
                }
                Err(error) if progress.elapsed() > PATIENCE => {
                    return Err(error.context("nothing is acknowledged any more"));
                }
                Err(_) => {
                    self.connection = None;
                    self.node = (self.node + 1) % self.nodes.len();
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        Ok(())
    }

    /// One answer for each event; an error when there was none.
    async fn send(&mut self, body: Bytes) -> Result<Vec<Value>> {
        let answered = tokio::time::timeout(ANSWER_MAX, async {
            if self.connection.is_none() {
                self.connection = Some(Connection::open(self.nodes[self.node]).await?);
            }
            let connection = self.connection.as_mut().context("it was just opened")?;
            connection.post("/v1/events", body).await
        });
        let (status, body) = answered.await??;
        let answer: Value = serde_json::from_slice(&body)?;
        let answers = answer.as_array().or_else(|| answer["results"].as_array());
        answers.cloned().with_context(|| format!("{status}: {answer}"))
    }
}

/// Ends the call when the event is acknowledged; what may be tried again stays.
fn settle(call: &mut Option<Call>, answer: &Value) -> Result<()> {
    if let Some(position) = answer["position"].as_str() {
        let Position { epoch, partition, offset } = position.parse().map_err(anyhow::Error::new)?;
        if let Some(call) = call.take() {
            call.ok(Place { epoch: epoch.0, partition, offset });
        }
        return Ok(());
    }
    let problem = answer.get("error").unwrap_or(answer);
    if problem["retryable"] == true || problem["status"].as_u64().is_some_and(|status| status >= 500) {
        return Ok(());
    }
    if let Some(call) = call.take() {
        call.fail(problem["code"].as_str().unwrap_or_default(), Blame::Caller);
    }
    anyhow::bail!("an event was refused for good: {answer}")
}
