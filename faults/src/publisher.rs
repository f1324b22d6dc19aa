//! A publisher that does not give up: batches, sent again with the same ids until each event is acknowledged.

use crate::http::Connection;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use dualstream_checker::{Blame, Call, Place, Process, value_crc};
use dualstream_core::position::Position;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;

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

/// What became of the attempts of publishers so far, each event counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Acknowledged.
    pub acknowledged: usize,
    /// Certainly not stored; tried again.
    pub failed: usize,
    /// Nobody knows whether it is stored; tried again.
    pub unknown: usize,
}

/// Somebody who publishes in batches, one after the other.
pub struct Publisher {
    process: Process,
    /// Nodes, the one it prefers first.
    nodes: Vec<SocketAddr>,
    connection: Option<Connection>,
    node: usize,
    batches: u32,
    outcomes: watch::Sender<Outcomes>,
    /// What it was told last of an event that it must send again.
    told: Value,
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
        Publisher::counted(process, nodes, watch::Sender::default())
    }

    /// One that counts its outcomes with those of others.
    pub fn counted(process: Process, nodes: Vec<SocketAddr>, outcomes: watch::Sender<Outcomes>) -> Publisher {
        Publisher { process, nodes, connection: None, node: 0, batches: 0, outcomes, told: Value::Null }
    }

    /// Publishes a batch, again and again what is not acknowledged. Each attempt is recorded with its own outcome.
    ///
    /// # Errors
    /// When the server refuses an event for good, or nothing was acknowledged for so long that nothing will be.
    pub async fn publish(&mut self, events: &[Event]) -> Result<()> {
        let mut left: Vec<&Event> = events.iter().collect();
        let mut progress = Instant::now();
        while !left.is_empty() {
            let tried = left.len();
            left = self.attempt(&left).await?;
            if left.len() < tried {
                progress = Instant::now();
            } else {
                ensure!(progress.elapsed() < PATIENCE, "nothing is acknowledged any more: {}", self.told);
                tokio::time::sleep(RETRY).await;
            }
        }
        Ok(())
    }

    /// What was not acknowledged.
    async fn attempt<'a>(&mut self, events: &[&'a Event]) -> Result<Vec<&'a Event>> {
        let batch = self.batches;
        self.batches += 1;
        let invoke = |event: &&Event| {
            let (key, crc) = (event.key(), event.crc());
            let recorded = dualstream_checker::Event { topic: &event.topic, key: &key, id: &event.id, crc };
            self.process.invoke_in_batch(recorded, batch)
        };
        let calls: Vec<Call> = events.iter().map(invoke).collect();
        let body = Value::Array(events.iter().map(|event| event.body()).collect());
        let answers = match self.send(body.to_string().into(), events.len()).await {
            Ok(answers) => answers,
            Err(_) => {
                self.connection = None;
                self.node = (self.node + 1) % self.nodes.len();
                vec![json!({"code": "no_answer", "status": 504, "retryable": true}); events.len()]
            }
        };
        let mut left = Vec::new();
        for ((&event, call), answer) in events.iter().zip(calls).zip(&answers) {
            if !self.settle(call, answer)? {
                self.told.clone_from(answer);
                left.push(event);
            }
        }
        Ok(left)
    }

    /// One answer for each event; an error when there was none.
    async fn send(&mut self, body: Bytes, count: usize) -> Result<Vec<Value>> {
        let answered = tokio::time::timeout(ANSWER_MAX, async {
            if self.connection.is_none() {
                self.connection = Some(Connection::open(self.nodes[self.node]).await?);
            }
            let connection = self.connection.as_mut().context("it was just opened")?;
            connection.post("/v1/events", body).await
        });
        let response = answered.await??;
        let answer: Value = serde_json::from_slice(response.body())?;
        match answer {
            Value::Array(answers) => {
                ensure!(answers.len() == count, "{} answers for {count} events", answers.len());
                Ok(answers)
            }
            // One problem where all failed alike.
            problem if problem["code"].is_string() => Ok(vec![problem; count]),
            other => bail!("{}: {other}", response.status()),
        }
    }

    /// Records what became of an event: whether it is acknowledged.
    fn settle(&self, call: Call, answer: &Value) -> Result<bool> {
        if let Some(position) = answer["position"].as_str() {
            let Position { epoch, partition, offset } = position.parse().map_err(anyhow::Error::new)?;
            call.ok(Place { epoch: epoch.0, partition, offset });
            self.outcomes.send_modify(|outcomes| outcomes.acknowledged += 1);
            return Ok(true);
        }
        let code = answer["code"].as_str().unwrap_or_default();
        if answer["status"] == 504 {
            call.info(code);
            self.outcomes.send_modify(|outcomes| outcomes.unknown += 1);
            return Ok(false);
        }
        let may_be_tried_again = answer["retryable"] == true;
        call.fail(code, if may_be_tried_again { Blame::Server } else { Blame::Caller });
        self.outcomes.send_modify(|outcomes| outcomes.failed += 1);
        ensure!(may_be_tried_again, "an event was refused for good: {answer}");
        Ok(false)
    }
}
