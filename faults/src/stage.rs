//! A test's stage: the shared cluster, two nodes, readers on both and publishers, with topics of their own.

use crate::audience::{ASK, SEEN_MAX};
use crate::cluster::Cluster;
use crate::http::Connection;
use crate::load::{Load, Topics};
use crate::{Audience, Node};
use anyhow::{Context, Result};
use dualstream_checker::{Recorder, Report, Start};
use serde_json::Value;

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
    /// Who reads on both.
    pub audience: Audience,
    name: String,
    dir: tempfile::TempDir,
}

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
        let (audience, name) = (Audience::new(&recorder, &topics), name.to_owned());
        let mut stage = Stage { recorder, a, b, cluster, topics, audience, name, dir };
        stage.first_readers().await?;
        Ok(stage)
    }

    async fn first_readers(&mut self) -> Result<()> {
        let (a, b) = (self.a.place(), self.b.place());
        for nodes in [[a.clone(), b.clone()], [b, a]] {
            let name = nodes[0].0.clone();
            self.audience.read_whole(&name, Start::Latest, &nodes).await?;
            let (topic, name) = (self.topics.events.clone(), format!("{name}-single"));
            let nodes = nodes.to_vec();
            self.audience.read(&name, &topic, "events:made:1-7", "made:1-7", Start::Latest, nodes).await?;
        }
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
        self.audience.read_all(&[&self.a, &self.b]).await
    }

    /// Ends the load and judges everything: see [`Audience::judge`].
    ///
    /// # Errors
    /// When something does not come to its end.
    ///
    /// # Panics
    /// With the report, when a promise is broken.
    pub async fn judge(self, load: Load) -> Result<Report> {
        let report = self.audience.judge(load, &[&self.a, &self.b], &self.name).await?;
        drop(self.dir);
        Ok(report)
    }
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
    let is_full = async || (page(node, path).await.ok()?.1.len() == count).then_some(());
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

/// Asks until there is an answer, not too often: whoever is asked has other things to do.
///
/// # Errors
/// When there is none within a minute.
pub async fn until<T>(node: &Node, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
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
