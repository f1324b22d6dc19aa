//! A test's stage: the shared cluster, two nodes, readers on both and publishers, with topics of their own.

use crate::cluster::Cluster;
use crate::history::read_all;
use crate::http::Connection;
use crate::load::{Load, Topics};
use crate::{Node, Reader};
use anyhow::{Context, Result, ensure};
use dualstream_checker::{Recorder, Report, Rules, Start};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a fault is done to.
pub struct Stage {
    /// The history.
    pub recorder: Recorder,
    /// The nodes `a` and `b`, ended before the cluster.
    pub a: Node,
    /// The other.
    pub b: Node,
    /// The cluster.
    pub cluster: Cluster,
    /// What is published to.
    pub topics: Topics,
    readers: Vec<(String, BTreeSet<String>, Reader)>,
    name: String,
    dir: tempfile::TempDir,
}

/// Everything must be seen within this time after the last publish.
const SEEN_MAX: Duration = Duration::from_secs(60);
/// Gauges are asked so often.
const ASK: Duration = Duration::from_millis(50);
/// Zero when nobody is there any more.
const GAUGES: [&str; 3] =
    ["dualstream_event_streams", "dualstream_subscriptions", "dualstream_publish_queued_bytes"];
/// What a test itself calls an answer that did not come.
const NO_ANSWER: &str = "no_answer";
const ERRORS: &str = include_str!("../../docs/reference/errors.md");

impl Stage {
    /// Sets it up, with topics named after the test and settings of the nodes as `NAME=VALUE`.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn set(name: &str, settings: &[&str]) -> Result<Stage> {
        let cluster = Cluster::get().await?;
        let dir = tempfile::tempdir()?;
        let topics = Topics { events: format!("events-{name}"), other: format!("other-{name}") };
        let mut args = vec!["--kafka".to_owned(), cluster.bootstrap()];
        let own =
            [format!("log.topic={}", topics.events), format!("namespaces.{}.stream=dual", topics.other)];
        for setting in own.into_iter().chain(settings.iter().map(|&setting| setting.to_owned())) {
            args.extend(["--set".to_owned(), setting]);
        }
        let a = Node::start(dir.path(), "a", &args)?;
        let b = Node::start(dir.path(), "b", &args)?;
        let recorder = Recorder::new();
        recorder.node_up("a");
        recorder.node_up("b");
        let (readers, name) = (Vec::new(), name.to_owned());
        let mut stage = Stage { recorder, a, b, cluster, topics, readers, name, dir };
        stage.first_readers().await?;
        Ok(stage)
    }

    async fn first_readers(&mut self) -> Result<()> {
        let (a, b) = (self.a.place(), self.b.place());
        for nodes in [[a.clone(), b.clone()], [b, a]] {
            let name = nodes[0].0.clone();
            self.whole(&name, Start::Latest, &nodes).await?;
            let (topic, name) = (self.topics.events.clone(), format!("{name}-single"));
            self.read(&name, &topic, "events:made:1-7", "made:1-7", Start::Latest, nodes.to_vec()).await?;
        }
        Ok(())
    }

    /// Readers of everything.
    async fn whole(&mut self, name: &str, from: Start, nodes: &[(String, SocketAddr)]) -> Result<()> {
        let Topics { events, other } = self.topics.clone();
        self.read(&format!("{name}-{events}"), &events, "events:*", "made:*", from.clone(), nodes.to_vec())
            .await?;
        let all = format!("{other}:*");
        self.read(&format!("{name}-{other}"), &other, &all, &all, from, nodes.to_vec()).await
    }

    /// Opens one more reader; it must see everything of its channel by the end, from where it starts: the beginning, or a
    /// time before the load.
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
        nodes: Vec<(String, SocketAddr)>,
    ) -> Result<()> {
        let reader = Reader::start(from, &self.recorder, name, topic, channel, key, nodes).await?;
        self.readers.push((key.to_owned(), BTreeSet::new(), reader));
        Ok(())
    }

    /// Publishers over both nodes.
    pub fn load(&self) -> Load {
        Load::start(&self.recorder, &self.topics, &[self.a.address, self.b.address])
    }

    /// Reads both topics on both nodes.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn read_all(&self) -> Result<()> {
        for node in [&self.a, &self.b] {
            read_all(&self.recorder, node, "events", &self.topics.events).await?;
            read_all(&self.recorder, node, &self.topics.other, &self.topics.other).await?;
        }
        Ok(())
    }

    /// Ends the load, waits until every reader has everything, reads everything, and judges all of it.
    ///
    /// # Errors
    /// When something does not come to its end.
    ///
    /// # Panics
    /// With the report, when a promise is broken.
    pub async fn judge(mut self, load: Load) -> Result<Report> {
        let events = load.stop().await?;
        ensure!(!events.is_empty(), "nothing was published");
        // Whoever begins now sees the same; and a node whose reader has all of a topic knows where it ends.
        for node in [self.a.place(), self.b.place()] {
            self.whole(&format!("late-{}", node.0), Start::Earliest, &[node]).await?;
        }
        for (key, wanted, reader) in &mut self.readers {
            let is_wanted = |event: &str| match key.strip_suffix('*') {
                Some(beginning) => event.starts_with(beginning),
                None => event == key,
            };
            wanted
                .extend(events.iter().filter(|event| is_wanted(&event.key())).map(|event| event.id.clone()));
            // Who has not seen everything by then is named by the judge.
            let _ = tokio::time::timeout(SEEN_MAX, reader.until(wanted.len())).await;
        }
        self.read_all().await?;
        self.readers.clear();
        for node in [&self.a, &self.b] {
            settle(&self.recorder, node).await?;
        }
        let rules = Rules { codes: Some(documented()), ..Rules::default() };
        let report = self.recorder.expect_clean(&rules, &PathBuf::from(format!("{}.jsonl", self.name)));
        ensure!(report.totals.acknowledged == events.len(), "not all events were acknowledged: {report}");
        drop(self.dir);
        Ok(report)
    }
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

/// Waits until a page of the node's metrics says what is wanted.
///
/// # Errors
/// When it does not within a minute.
pub async fn until_metric(node: &Node, name: &str, is_wanted: impl Fn(f64) -> bool) -> Result<f64> {
    until(node, name, || async { node.metric(name).await.ok().filter(|value| is_wanted(*value)) }).await
}

/// Waits until a page of history of the node holds so many events.
///
/// # Errors
/// When it does not within a minute.
pub async fn until_page(node: &Node, path: &str, count: usize) -> Result<()> {
    let is_full = || async { (page(node, path).await.ok()?.1.len() == count).then_some(()) };
    until(node, path, is_full).await
}

/// A page of history: the answer's status and the events.
///
/// # Errors
/// When the node does not answer, or not with JSON.
pub async fn page(node: &Node, path: &str) -> Result<(u16, Vec<Value>)> {
    let response = Connection::open(node.address).await?.get(path).await?;
    let page: Value = serde_json::from_slice(response.body())?;
    Ok((response.status().as_u16(), page["events"].as_array().cloned().unwrap_or_default()))
}

async fn until<T, F: Future<Output = Option<T>>>(node: &Node, what: &str, ask: impl Fn() -> F) -> Result<T> {
    let asking = async {
        loop {
            // A node that hangs or starts again does not answer.
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(ASK).await,
            }
        }
    };
    let waited = tokio::time::timeout(SEEN_MAX, asking).await;
    waited.with_context(|| format!("{}: {what} was not as wanted within {SEEN_MAX:?}", node.name))
}
