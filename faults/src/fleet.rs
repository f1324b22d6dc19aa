//! A test's stage of several nodes behind a load balancer, over the shared brokers, with Redis or without.
//!
//! ```text
//! readers, listeners ─▶ balancer ─┬▶ a ┐
//! publishers ──────────────┐      ├▶ b ┼─▶ three brokers; Redis with Sentinels
//!                          └──────┴▶ c ┘
//! ```

use crate::audience::{ASK, SEEN_MAX};
use crate::bus_stage::Bus;
use crate::cluster::Cluster;
use crate::load::{Load, Topics};
use crate::reader::Place;
use crate::{Audience, Node};
use anyhow::{Context, Result, ensure};
use dualstream_checker::{Recorder, Report};
use dualstream_services::Balancer;
use dualstream_services::balancer::Kind;
use dualstream_services::redis::{Sentinel, Setup};
use std::time::Instant;

/// Nodes behind a balancer.
pub struct Fleet {
    /// The history.
    pub recorder: Recorder,
    /// The balancer.
    pub balancer: Balancer,
    /// The nodes `a`, `b` and `c`, ended before what they stand on.
    pub nodes: Vec<Node>,
    /// Redis, if there is one.
    pub redis: Option<Sentinel>,
    /// The brokers.
    pub cluster: Cluster,
    /// Readers and listeners.
    pub audience: Audience,
    /// What is published to.
    pub topics: Topics,
    name: String,
    said: usize,
    dir: tempfile::TempDir,
}

const NAMES: [&str; 3] = ["a", "b", "c"];
/// A channel on the bus alone.
pub const TOKENS: &str = "tokens:session-1";

impl Fleet {
    /// Sets it up, with topics named after the test, settings of the nodes as `NAME=VALUE`, and, if there is to be
    /// Redis, what its servers are like and how many Sentinels watch them.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn set(
        name: &str,
        kind: Kind,
        settings: &[&str],
        redis: Option<(Setup, usize)>,
    ) -> Result<Fleet> {
        let cluster = Cluster::get().await?;
        let dir = tempfile::tempdir()?;
        let start =
            |(setup, sentinels): (Setup, usize)| setup.start_sentinel(&dir.path().join("redis"), sentinels);
        let redis = redis.map(start).transpose()?;
        let topics = Topics { events: format!("events-{name}"), other: format!("other-{name}") };
        let mut args = vec!["--kafka".to_owned(), cluster.bootstrap()];
        if let Some(redis) = &redis {
            args.extend(["--redis".to_owned(), redis.url()]);
        }
        let own = [
            format!("log.topic={}", topics.events),
            format!("namespaces.{}.stream=dual", topics.other),
            "namespaces.tokens.stream=bus".to_owned(),
        ];
        for setting in own.into_iter().chain(settings.iter().map(|&setting| setting.to_owned())) {
            args.extend(["--set".to_owned(), setting]);
        }
        let recorder = Recorder::new();
        let start = |name| Node::start(dir.path(), name, &args).inspect(|_| recorder.node_up(name));
        let nodes = NAMES.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let balancer = Balancer::start(kind, &dir.path().join("balancer"), &addresses)?;
        let audience = Audience::new(&recorder, &topics);
        let name = name.to_owned();
        Ok(Fleet { recorder, balancer, nodes, redis, cluster, audience, topics, name, said: 0, dir })
    }

    /// The balancer, as readers want it: whatever node they come to, they come there through it.
    pub fn front(&self) -> Vec<Place> {
        vec![("balancer".to_owned(), self.balancer.address)]
    }

    /// Publishers that come through the balancer.
    pub fn load(&self) -> Load {
        Load::start(&self.recorder, &self.topics, &[self.balancer.address])
    }

    /// Ends a node as an operator does, and starts it again: it must end by itself, with 0, and is ready when this
    /// returns.
    ///
    /// # Errors
    /// When it does not end or start.
    pub async fn roll(&mut self, node: usize) -> Result<()> {
        let (recorder, node) = (&self.recorder, &mut self.nodes[node]);
        node.terminate()?;
        let code = node.ended().await?;
        ensure!(code == Some(0), "{} ended with {code:?}; its log is {}", node.name, node.log().display());
        recorder.node_down(&node.name);
        node.restart()?;
        recorder.node_up(&node.name);
        node.until_ready().await
    }

    /// Kills a node.
    ///
    /// # Errors
    /// When it had ended already.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.recorder.node_down(&self.nodes[node].name);
        self.nodes[node].kill()
    }

    /// Starts a node again after its end; it is ready when this returns.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, node: usize) -> Result<()> {
        self.nodes[node].restart()?;
        self.recorder.node_up(&self.nodes[node].name);
        self.nodes[node].until_ready().await
    }

    /// Waits until all is as it was: every node that runs says so of the bus, what somebody sends by Redis is heard by
    /// `tokens`, and the other listeners hear more. Publishers must be at work.
    ///
    /// # Errors
    /// When it is not within a minute, or there is no Redis.
    pub async fn until_healed(&mut self) -> Result<()> {
        for node in self.nodes.iter().filter(|node| node.process().is_some()) {
            node.until_bus_is("up").await?;
        }
        self.said += 1;
        let payload = format!("{{\"token\":{}}}", self.said);
        let tokens = self.audience.listeners.last().context("tokens is the last of the listeners")?;
        let is_heard = tokens.until(&payload, |heard| heard.last == payload);
        tokio::try_join!(is_heard, self.say(&payload))?;
        for listener in &self.audience.listeners {
            if !std::ptr::eq(listener, tokens) {
                listener.more(3).await?;
            }
        }
        Ok(())
    }

    /// Publishes on the bus-only channel as any client of Redis may, on the master, as soon as somebody hears it.
    async fn say(&self, payload: &str) -> Result<()> {
        let redis = self.redis.as_ref().context("there is no Redis")?;
        let since = Instant::now();
        loop {
            let heard_by = redis.master()?.map(|master| {
                let said = redis.servers[master].command(&["PUBLISH", TOKENS, payload]);
                said.and_then(|count| count.integer())
            });
            // While nobody is the master, or he who is hangs, it is said again.
            if let Some(Ok(1..)) = heard_by {
                return Ok(());
            }
            ensure!(since.elapsed() < SEEN_MAX, "nobody subscribes to {TOKENS} within {SEEN_MAX:?}");
            tokio::time::sleep(ASK).await;
        }
    }

    /// Ends the load and judges everything: see [`Audience::judge`].
    ///
    /// # Errors
    /// When something does not come to its end.
    ///
    /// # Panics
    /// With the report, when a promise is broken.
    pub async fn judge(self, load: Load) -> Result<Report> {
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        let report = self.audience.judge(load, &nodes, &self.name).await?;
        drop(self.dir);
        Ok(report)
    }
}
