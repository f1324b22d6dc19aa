//! A test's stage with Redis: one node over its embedded log, publishers, readers of the log and listeners to the bus.
//!
//! ```text
//! publishers ─▶ node ──▶ log ──▶ readers: everything, once, in order, whatever becomes of Redis
//!                │  └──▶ ring ─▶ a listener to `made`: never without its announcements
//!                └─▶ Redis ────▶ listeners to `live` (live_feed = false) and `tokens` (bus only): they fall silent with it,
//! somebody ────────────▶         and hear again
//! ```
//! Where a Cluster is sharded there is no pattern of `live`, and all words of Redis are those of sharded Pub/Sub.

use crate::audience::{ASK, SEEN_MAX};
use crate::load::{Load, Topics};
use crate::{Audience, Listener, Node};
use anyhow::{Result, bail, ensure};
use dualstream_checker::{Recorder, Report, Start};
use dualstream_services::Redis;
use dualstream_services::redis::{Cluster, Sentinel, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// What a fault of Redis is felt on.
pub struct BusStage<R> {
    /// The history.
    pub recorder: Recorder,
    /// The node, ended before Redis.
    pub node: Node,
    /// Redis.
    pub redis: R,
    /// Readers and listeners.
    pub audience: Audience,
    /// What was subscribed when all was well: how many connections to each channel or pattern.
    subscribed: BTreeMap<String, i64>,
    topics: Topics,
    name: String,
    said: usize,
    is_sharded: bool,
    dir: tempfile::TempDir,
}

/// Redis in one of its forms.
pub trait Bus {
    /// Where `--redis` finds it.
    fn url(&self) -> String;

    /// All servers that may carry messages.
    fn servers(&self) -> &[Redis];
}

/// The namespace whose announcements come by the bus alone.
const LIVE: &str = "live";
/// A bus-only channel.
const TOKENS: &str = "tokens:session-1";
/// Channels of `live` that publishers publish to, and channels that they do not, so that there are many.
const PUBLISHED: usize = 40;
const IDLE: usize = 60;
/// The setting that makes a Cluster sharded.
pub const SHARDED: &str = "bus.sharded=true";
/// What the number of patterns is counted as; of those Redis does not tell the names.
const PATTERNS: &str = "*";

impl<R: Bus> BusStage<R> {
    /// Sets it up, with settings of the node as `NAME=VALUE` and Redis as `start` makes it.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn set(
        name: &str,
        settings: &[&str],
        start: impl FnOnce(&Path) -> Result<R>,
    ) -> Result<BusStage<R>> {
        let mut stage = BusStage::set_quietly(name, settings, start).await?;
        stage.open().await?;
        stage.until_heard("before anything is broken").await?;
        Ok(stage)
    }

    /// The same with nobody listening yet, and Redis in any state.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn set_quietly(
        name: &str,
        settings: &[&str],
        start: impl FnOnce(&Path) -> Result<R>,
    ) -> Result<BusStage<R>> {
        let dir = tempfile::tempdir()?;
        let redis = start(&dir.path().join("redis"))?;
        let topics = Topics { events: "events".into(), other: LIVE.into() };
        let mut args = vec!["--redis".to_owned(), redis.url()];
        let own = [
            "namespaces.live.stream=dual",
            "namespaces.live.live_feed=false",
            "namespaces.tokens.stream=bus",
        ];
        for setting in own.iter().chain(settings) {
            args.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        let node = Node::start(dir.path(), "a", &args)?;
        let recorder = Recorder::new();
        recorder.node_up("a");
        let audience = Audience::new(&recorder, &topics);
        let (subscribed, name, said) = (BTreeMap::new(), name.to_owned(), 0);
        let is_sharded = settings.contains(&SHARDED);
        Ok(BusStage { recorder, node, redis, audience, subscribed, topics, name, said, is_sharded, dir })
    }

    /// Opens readers and listeners.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn open(&mut self) -> Result<()> {
        let nodes = vec![self.node.place()];
        self.audience.read_whole("reader", Start::Latest, &nodes).await?;
        self.audience
            .read("single", "events", "events:made:1-7", "made:1-7", Start::Latest, nodes.clone())
            .await?;
        let published =
            (0..4).flat_map(|publisher| (0..50).step_by(5).map(move |key| format!("{publisher}-{key}")));
        let idle = (0..IDLE).map(|number| format!("idle-{number}"));
        let singles: Vec<String> = published.chain(idle).map(|rest| format!("{LIVE}:{rest}")).collect();
        for (name, source_type, channels) in [
            ("ring", "made", vec!["events:made:*".to_owned()]),
            ("pattern", LIVE, vec![format!("{LIVE}:*")]),
            ("singles", LIVE, singles),
            ("tokens", "tokens", vec![TOKENS.to_owned()]),
        ] {
            if self.is_sharded && name == "pattern" {
                continue;
            }
            let listener =
                Listener::start(&self.recorder, name, source_type, &channels, nodes.clone()).await?;
            self.audience.listeners.push(listener);
        }
        Ok(())
    }

    /// Publishers.
    pub fn load(&self) -> Load {
        Load::start(&self.recorder, &self.topics, &[self.node.address])
    }

    /// Waits until all is as it was: the node says so, every channel has its subscribers again, what somebody sends by
    /// Redis is heard by a browser, and announcements come by the bus. `publishers` must be at work.
    ///
    /// # Errors
    /// When it is not within a minute.
    pub async fn until_healed(&mut self) -> Result<()> {
        self.node.until_bus_is("up").await?;
        self.until_heard("after the fault").await?;
        for listener in &self.audience.listeners {
            if !std::ptr::eq(listener, self.tokens()) {
                listener.more(3).await?;
            }
        }
        Ok(())
    }

    /// Waits until the channels are subscribed and a message of somebody else comes through.
    async fn until_heard(&mut self, when: &str) -> Result<()> {
        let since = Instant::now();
        loop {
            let now = self.subscriptions()?;
            let patterns = if self.is_sharded { 0 } else { 2 };
            let are_all = now.len() == IDLE + PUBLISHED + 2 && now.get(PATTERNS) == Some(&patterns);
            if self.subscribed.is_empty() && are_all {
                self.subscribed.clone_from(&now);
            }
            if !self.subscribed.is_empty() && now == self.subscribed {
                break;
            }
            if since.elapsed() > SEEN_MAX {
                let missing = self.subscribed.iter().filter(|(name, _)| !now.contains_key(*name)).count();
                let (now, before) = (now.len(), self.subscribed.len());
                bail!("{when}: {now} channels are subscribed, {before} were, {missing} of them are missing");
            }
            tokio::time::sleep(ASK).await;
        }
        self.said += 1;
        let said = format!("{{\"token\":{}}}", self.said);
        self.say(&said)?;
        self.tokens().until(&said, |heard| heard.last == said).await?;
        Ok(())
    }

    /// Says something again and again until it is heard: for faults that Redis does not see, which counts subscribers
    /// that hear nothing.
    ///
    /// # Errors
    /// When nothing is heard within a minute.
    pub async fn until_something_is_heard(&mut self) -> Result<()> {
        let (since, before) = (Instant::now(), self.tokens().heard().count);
        while self.tokens().heard().count == before {
            ensure!(since.elapsed() < SEEN_MAX, "nothing is heard by the bus within {SEEN_MAX:?}");
            self.said += 1;
            self.say(&format!("{{\"token\":{}}}", self.said))?;
            tokio::time::sleep(ASK).await;
        }
        Ok(())
    }

    /// Waits until nobody subscribes at one of the servers any more.
    ///
    /// # Errors
    /// When somebody still does after a minute.
    pub async fn until_left(&self, server: usize) -> Result<()> {
        let since = Instant::now();
        loop {
            let left = self.redis.servers()[server].channels()?;
            if left.is_empty() {
                return Ok(());
            }
            let count = left.len();
            ensure!(since.elapsed() < SEEN_MAX, "{count} channels are subscribed there after {SEEN_MAX:?}");
            tokio::time::sleep(ASK).await;
        }
    }

    /// Publishes on the bus-only channel as any client of Redis may, on the first server that somebody hears it by.
    ///
    /// # Errors
    /// When nobody does.
    pub fn say(&self, payload: &str) -> Result<()> {
        let word = if self.is_sharded { "SPUBLISH" } else { "PUBLISH" };
        for server in running(&self.redis) {
            // One that does not serve the channel's slot says so.
            match server.command(&[word, TOKENS, payload]).and_then(|count| count.integer()) {
                Ok(1..) => return Ok(()),
                Err(error) if !self.is_sharded => return Err(error),
                _ => {}
            }
        }
        bail!("nobody subscribes to {TOKENS}")
    }

    /// Who listens to the bus-only channel.
    pub fn tokens(&self) -> &Listener {
        self.audience.listeners.last().expect("it is opened last")
    }

    /// Who hears announcements without the bus.
    pub fn ring(&self) -> &Listener {
        &self.audience.listeners[0]
    }

    /// How many connections subscribe to each channel of the test, over all servers that run; patterns as one line.
    fn subscriptions(&self) -> Result<BTreeMap<String, i64>> {
        let mut subscriptions = BTreeMap::new();
        for server in running(&self.redis) {
            let (names, counts) =
                if self.is_sharded { ("SHARDCHANNELS", "SHARDNUMSUB") } else { ("CHANNELS", "NUMSUB") };
            let names = server.command(&["PUBSUB", names])?;
            let names = names.array()?.iter().map(Value::text).collect::<Result<Vec<_>>>()?;
            let is_ours =
                |name: &&str| ["live:", "tokens:"].iter().any(|namespace| name.starts_with(namespace));
            let names: Vec<&str> = names.into_iter().filter(is_ours).collect();
            let counts = server.command(&[&["PUBSUB", counts], &names[..]].concat())?;
            for (name, count) in names.iter().zip(counts.array()?.iter().skip(1).step_by(2)) {
                *subscriptions.entry((*name).to_owned()).or_insert(0) += count.integer()?;
            }
            let patterns = server.command(&["PUBSUB", "NUMPAT"])?.integer()?;
            *subscriptions.entry(PATTERNS.to_owned()).or_insert(0) += patterns;
        }
        Ok(subscriptions)
    }

    /// Ends the load and judges everything: see [`Audience::judge`].
    ///
    /// # Errors
    /// When something does not come to its end.
    ///
    /// # Panics
    /// With the report, when a promise is broken.
    pub async fn judge(self, load: Load) -> Result<Report> {
        let outcomes = load.outcomes();
        ensure!(
            (outcomes.failed, outcomes.unknown) == (0, 0),
            "publishing failed because of Redis: {outcomes:?}"
        );
        self.node.until_ready().await?;
        let report = self.audience.judge(load, &[&self.node], &self.name).await?;
        drop(self.dir);
        Ok(report)
    }
}

/// Servers that were not ended.
fn running(redis: &impl Bus) -> impl Iterator<Item = &Redis> {
    redis.servers().iter().filter(|server| server.process.id().is_some())
}

impl Bus for Redis {
    fn url(&self) -> String {
        format!("redis://{}", self.endpoint())
    }

    fn servers(&self) -> &[Redis] {
        std::slice::from_ref(self)
    }
}

impl Bus for Sentinel {
    fn url(&self) -> String {
        let hosts: Vec<String> = self.addresses().iter().map(ToString::to_string).collect();
        format!("redis+sentinel://{}/{}", hosts.join(","), Sentinel::MASTER)
    }

    fn servers(&self) -> &[Redis] {
        &self.servers
    }
}

impl Bus for Cluster {
    fn url(&self) -> String {
        let hosts: Vec<String> = self.servers.iter().map(|server| server.endpoint().to_string()).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    fn servers(&self) -> &[Redis] {
        &self.servers
    }
}
