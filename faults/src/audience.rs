//! Everybody who reads while something is broken, and the judgement of what they were given.

use crate::history::read_all;
use crate::listener::Listener;
use crate::load::{Load, Topics};
use crate::reader::Place;
use crate::{Node, Reader, Sdk, Way};
use anyhow::{Result, ensure};
use dualstream_checker::{Recorder, Report, Rules, Start};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Readers of everything and of single channels, and listeners to what is announced.
pub struct Audience {
    recorder: Recorder,
    topics: Topics,
    readers: Vec<(String, BTreeSet<String>, Reader)>,
    browsers: Vec<(String, Sdk)>,
    /// Who hears what the bus or the ring brings.
    pub listeners: Vec<Listener>,
}

/// Everything must be seen within this time after the last publish.
pub(crate) const SEEN_MAX: Duration = Duration::from_secs(60);
/// Gauges are asked so often.
pub(crate) const ASK: Duration = Duration::from_millis(50);
/// Zero when nobody is there any more.
const GAUGES: [&str; 3] =
    ["dualstream_event_streams", "dualstream_subscriptions", "dualstream_publish_queued_bytes"];
/// What a test itself calls an answer that did not come.
const NO_ANSWER: &str = "no_answer";
const ERRORS: &str = include_str!("../../docs/reference/errors.md");

impl Audience {
    /// Nobody yet.
    pub fn new(recorder: &Recorder, topics: &Topics) -> Audience {
        let (recorder, topics) = (recorder.clone(), topics.clone());
        Audience { recorder, topics, readers: Vec::new(), browsers: Vec::new(), listeners: Vec::new() }
    }

    /// Opens a reader; it must see everything of its channel by the end, from where it starts: the beginning, or a time
    /// before the load.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn read(
        &mut self,
        name: &str,
        topic: &str,
        channel: &str,
        key: &str,
        from: Start,
        nodes: Vec<Place>,
    ) -> Result<()> {
        let reader = Reader::start(from, &self.recorder, name, topic, channel, key, nodes).await?;
        self.readers.push((key.to_owned(), BTreeSet::new(), reader));
        Ok(())
    }

    /// Opens a reader of everything of the events that hangs up and comes back all the time, on the next node each time; it
    /// must see everything by the end.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn read_in_pieces(&mut self, seed: u64, nodes: Vec<Place>) -> Result<()> {
        let (name, topic, key) = (format!("pieces-{seed}"), self.topics.events.clone(), "made:*");
        let (channel, recorder) = ("events:made:*", &self.recorder);
        let reader = Reader::start_in_pieces(seed, recorder, &name, &topic, channel, key, nodes).await?;
        self.readers.push((key.to_owned(), BTreeSet::new(), reader));
        Ok(())
    }

    /// Opens a reader that is a browser's SDK, from now on; it must see everything of its channel by the end, and never
    /// be told that it cannot.
    ///
    /// # Errors
    /// When the subscription is not confirmed.
    pub async fn browse(
        &mut self,
        name: &str,
        topic: &str,
        channel: &str,
        key: &str,
        node: Place,
    ) -> Result<()> {
        self.browse_by(Way::default(), name, topic, channel, key, node).await
    }

    /// The same in another way.
    ///
    /// # Errors
    /// When the subscription is not confirmed.
    pub async fn browse_by(
        &mut self,
        way: Way,
        name: &str,
        topic: &str,
        channel: &str,
        key: &str,
        node: Place,
    ) -> Result<()> {
        let node = (node.0.as_str(), node.1);
        let sdk = Sdk::start(way, &self.recorder, name, topic, channel, key, node).await?;
        self.browsers.push((key.to_owned(), sdk));
        Ok(())
    }

    /// Opens a reader of each topic.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn read_whole(&mut self, name: &str, from: Start, nodes: &[Place]) -> Result<()> {
        let Topics { events, other } = self.topics.clone();
        let all = format!("{other}:*");
        for (topic, channel, key) in [(&events, "events:*", "made:*"), (&other, &*all, &*all)] {
            let name = format!("{name}-{topic}");
            self.read(&name, topic, channel, key, from.clone(), nodes.to_vec()).await?;
        }
        Ok(())
    }

    /// Reads both topics on all nodes.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn read_all(&self, nodes: &[&Node]) -> Result<()> {
        for node in nodes {
            read_all(&self.recorder, node, "events", &self.topics.events).await?;
            read_all(&self.recorder, node, &self.topics.other, &self.topics.other).await?;
        }
        Ok(())
    }

    /// Ends the load, waits until every reader has everything, reads everything on all nodes, and judges all of it. The
    /// history of a broken promise is kept under `name`.
    ///
    /// # Errors
    /// When something does not come to its end.
    ///
    /// # Panics
    /// With the report, when a promise is broken.
    pub async fn judge(mut self, load: Load, nodes: &[&Node], name: &str) -> Result<Report> {
        let events = load.stop().await?;
        ensure!(!events.is_empty(), "nothing was published");
        // Whoever begins now sees the same; and a node whose reader has all of a topic knows where it ends.
        for node in nodes {
            self.read_whole(&format!("late-{}", node.name), Start::Earliest, &[node.place()]).await?;
        }
        for (key, wanted, reader) in &mut self.readers {
            let all = events.iter().filter(|event| is_wanted(key, &event.key()));
            wanted.extend(all.map(|event| event.id.clone()));
            // Who has not seen everything by then is named by the judge.
            let _ = tokio::time::timeout(SEEN_MAX, reader.until(wanted.len())).await;
        }
        for (key, sdk) in &mut self.browsers {
            let wanted = events.iter().filter(|event| is_wanted(key, &event.key())).count();
            let _ = tokio::time::timeout(SEEN_MAX, sdk.until(wanted)).await;
            sdk.check()?;
        }
        self.read_all(nodes).await?;
        self.readers.clear();
        self.browsers.clear();
        self.listeners.clear();
        for node in nodes {
            settle(&self.recorder, node).await?;
        }
        let rules = Rules { codes: Some(documented()), ..Rules::default() };
        let report = self.recorder.expect_clean(&rules, &PathBuf::from(format!("{name}.jsonl")));
        ensure!(report.totals.acknowledged == events.len(), "not all events were acknowledged: {report}");
        Ok(report)
    }
}

/// Whether a channel is what a reader asked for: its own name, or the beginning of names.
fn is_wanted(key: &str, channel: &str) -> bool {
    key.strip_suffix('*').map_or(channel == key, |beginning| channel.starts_with(beginning))
}

/// Waits until nothing is left of the readers, and records what is.
async fn settle(recorder: &Recorder, node: &Node) -> Result<()> {
    let since = Instant::now();
    for gauge in GAUGES {
        let mut value = node.metric(gauge).await?;
        while value != 0.0 && since.elapsed() < SEEN_MAX {
            tokio::time::sleep(ASK).await;
            value = node.metric(gauge).await?;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a gauge of whole things")]
        recorder.gauge(&node.name, gauge, value as i64);
    }
    let received = node.metric("dualstream_events_received_total").await?;
    let mut answered = 0.0;
    for outcome in ["acked", "duplicate", "failed"] {
        answered += node.metric(&format!("dualstream_events_{outcome}_total")).await?;
    }
    ensure!(received == answered, "{} received {received} events and answered {answered}", node.name);
    Ok(())
}

/// Codes of the reference, and our own.
fn documented() -> BTreeSet<String> {
    let codes = ERRORS.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    codes.chain([NO_ANSWER]).map(str::to_owned).collect()
}
