//! Publishers that go on until they are told to stop, at a modest pace.

use crate::publisher::{Event, Outcomes, Publisher};
use anyhow::{Context, Result};
use dualstream_checker::Recorder;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Publishers at work.
pub struct Load {
    tasks: Vec<JoinHandle<Result<Vec<Event>>>>,
    order: watch::Sender<Order>,
    outcomes: watch::Receiver<Outcomes>,
}

/// What publishers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Go,
    Rest,
    Stop,
}

/// Topics of a load: the namespace of most events, and the source type that is a namespace itself.
#[derive(Clone, Debug)]
pub struct Topics {
    /// The topic of the namespace `events`.
    pub events: String,
    /// Another namespace, and its topic.
    pub other: String,
}

const PUBLISHERS: usize = 4;
const BATCH: usize = 10;
/// Keys of each publisher: together they are in all partitions.
const KEYS: usize = 50;
/// Between two batches of a publisher.
const PACE: Duration = Duration::from_millis(100);

impl Load {
    /// Starts publishers, each preferring another node.
    pub fn start(recorder: &Recorder, topics: &Topics, nodes: &[SocketAddr]) -> Load {
        Load::padded(recorder, topics, nodes, 0)
    }

    /// The same with events that are so many bytes larger.
    pub fn padded(recorder: &Recorder, topics: &Topics, nodes: &[SocketAddr], pad_bytes: usize) -> Load {
        let (order, told) = watch::channel(Order::Go);
        let (counted, outcomes) = watch::channel(Outcomes::default());
        let start = |number: usize| {
            let mut nodes = nodes.to_vec();
            let first = number % nodes.len().max(1);
            nodes.rotate_left(first);
            let process = recorder.process(&format!("publisher-{number}"));
            let publisher = Publisher::counted(process, nodes, counted.clone());
            tokio::spawn(publish(publisher, number, topics.clone(), pad_bytes, told.clone()))
        };
        Load { tasks: (0..PUBLISHERS).map(start).collect(), order, outcomes }
    }

    /// What became of all attempts so far.
    pub fn outcomes(&self) -> Outcomes {
        *self.outcomes.borrow()
    }

    /// Waits until the outcomes are as wanted.
    ///
    /// # Errors
    /// When the publishers ended by themselves; [`stop`](Load::stop) says why.
    pub async fn until(&self, is_wanted: impl FnMut(&Outcomes) -> bool) -> Result<Outcomes> {
        let reached = self.outcomes.clone().wait_for(is_wanted).await.map(|outcomes| *outcomes);
        reached.context("the publishers have ended")
    }

    /// Waits until so many more events are acknowledged.
    ///
    /// # Errors
    /// As [`until`](Load::until).
    pub async fn more(&self, count: usize) -> Result<Outcomes> {
        let wanted = self.outcomes().acknowledged + count;
        self.until(|outcomes| outcomes.acknowledged >= wanted).await
    }

    /// Lets the publishers finish their batches, and publish no more until they may [`go on`](Load::go_on).
    pub fn rest(&self) {
        self.order.send_replace(Order::Rest);
    }

    /// Ends a rest.
    pub fn go_on(&self) {
        self.order.send_replace(Order::Go);
    }

    /// Lets the publishers finish their batches: all events that were published.
    ///
    /// # Errors
    /// When one of them gave up.
    pub async fn stop(self) -> Result<Vec<Event>> {
        self.order.send_replace(Order::Stop);
        let mut events = Vec::new();
        for task in self.tasks {
            events.extend(task.await??);
        }
        Ok(events)
    }
}

async fn publish(
    mut publisher: Publisher,
    number: usize,
    topics: Topics,
    pad_bytes: usize,
    mut told: watch::Receiver<Order>,
) -> Result<Vec<Event>> {
    let mut all = Vec::new();
    while *told.wait_for(|order| *order != Order::Rest).await? == Order::Go {
        let batch: Vec<Event> =
            (all.len()..all.len() + BATCH).map(|i| event(number, i, &topics, pad_bytes)).collect();
        publisher.publish(&batch).await?;
        all.extend(batch);
        // Whoever stops it need not wait for its pace.
        let _ = tokio::time::timeout(PACE, told.changed()).await;
    }
    Ok(all)
}

/// Each publisher has keys of its own: what one is told before the next is sent is in order.
fn event(publisher: usize, number: usize, topics: &Topics, pad_bytes: usize) -> Event {
    let (topic, source_type) = match number % 5 {
        0 => (&topics.other, topics.other.as_str()),
        _ => (&topics.events, "made"),
    };
    Event {
        topic: topic.clone(),
        id: format!("p{publisher}-{number}"),
        source: (source_type.to_owned(), format!("{publisher}-{}", number % KEYS)),
        data: json!({"n": number, "pad": "x".repeat(pad_bytes + number % 200)}),
    }
}
