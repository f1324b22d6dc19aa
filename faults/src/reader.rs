//! A reader of an event stream as browsers have one: it comes back, on any node, after the last id it saw.

use crate::stream::{Block, Stream};
use anyhow::Result;
use dualstream_checker::{Chain, Recorder, Start, value_crc};
use dualstream_core::position::Position;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A reader at work.
pub struct Reader {
    seen: Arc<Mutex<BTreeSet<String>>>,
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

/// A node, or a balancer before some: its name in the history, and its address.
pub type Place = (String, SocketAddr);

/// Pause before something is tried again.
pub(crate) const RETRY: Duration = Duration::from_millis(50);

/// An event as clients get it.
#[derive(serde::Deserialize)]
pub(crate) struct Sighting<'a> {
    id: String,
    source_type: String,
    source_id: String,
    position: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Where an event stands, by its position.
pub(crate) fn place(position: &str) -> Option<dualstream_checker::Place> {
    let Position { epoch, partition, offset } = position.parse().ok()?;
    Some(dualstream_checker::Place { epoch: epoch.0, partition, offset })
}

impl<'a> Sighting<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Sighting<'a>> {
        Ok(serde_json::from_str(text)?)
    }

    pub(crate) fn record(&self, chain: &Chain) {
        let key = format!("{}:{}", self.source_type, self.source_id);
        chain.delivered(&self.id, &key, Some(value_crc(self.data.get().as_bytes())), place(&self.position));
    }
}

impl Reader {
    /// Opens a stream of a channel or pattern on the first node that answers, with the oldest event there is or from now on.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn start(
        from: Start,
        recorder: &Recorder,
        name: &str,
        topic: &str,
        channel: &str,
        key: &str,
        nodes: Vec<Place>,
    ) -> Result<Reader> {
        Reader::begin(from, recorder, name, (topic, channel, key), nodes, None).await
    }

    /// One that begins with the oldest event and hangs up by itself, again and again, each time after another number of
    /// events; which ones, the seed says. It comes back on the next node.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn start_in_pieces(
        seed: u64,
        recorder: &Recorder,
        name: &str,
        topic: &str,
        channel: &str,
        key: &str,
        nodes: Vec<Place>,
    ) -> Result<Reader> {
        let pieces = Some(Pieces(seed));
        Reader::begin(Start::Earliest, recorder, name, (topic, channel, key), nodes, pieces).await
    }

    async fn begin(
        from: Start,
        recorder: &Recorder,
        name: &str,
        (topic, channel, key): (&str, &str, &str),
        nodes: Vec<Place>,
        pieces: Option<Pieces>,
    ) -> Result<Reader> {
        let since = if from == Start::Earliest { "earliest" } else { "latest" };
        let (counted, count) = watch::channel(0);
        let (begun, begins) = tokio::sync::oneshot::channel();
        let seen = Arc::<Mutex<BTreeSet<String>>>::default();
        let state = Following {
            recorder: recorder.clone(),
            name: name.to_owned(),
            topic: topic.to_owned(),
            path: format!("/v1/stream?channel={channel}&since={since}"),
            from,
            key: key.to_owned(),
            nodes,
            pieces,
            last_id: None,
            chain: None,
            begun: Some(begun),
            seen: seen.clone(),
            counted,
        };
        let task = tokio::spawn(state.run());
        begins.await?;
        Ok(Reader { seen, count, task })
    }

    /// Waits until it has seen so many events.
    ///
    /// # Errors
    /// When it ended.
    pub async fn until(&mut self, count: usize) -> Result<()> {
        self.count.wait_for(|seen| *seen >= count).await?;
        Ok(())
    }

    /// How many events it has seen.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Ids it has seen.
    pub fn ids(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How many events a reader takes before it hangs up.
struct Pieces(u64);

/// It is at the end of a busy topic most of the time, and not always.
const PIECE_MAX: u64 = 120;

impl Pieces {
    /// The next number, of a linear congruential generator (Knuth, MMIX).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (self.0 >> 33) % PIECE_MAX
    }
}

struct Following {
    recorder: Recorder,
    name: String,
    topic: String,
    path: String,
    from: Start,
    key: String,
    nodes: Vec<Place>,
    pieces: Option<Pieces>,
    last_id: Option<String>,
    chain: Option<Chain>,
    begun: Option<tokio::sync::oneshot::Sender<()>>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    counted: watch::Sender<usize>,
}

impl Following {
    async fn run(mut self) {
        let mut node = 0;
        loop {
            // Whatever ended it: it comes back, on the next node.
            if let Ok(Some(loss)) = self.follow(node % self.nodes.len()).await {
                eprintln!("{} was told that something is lost: {loss}", self.name);
                return;
            }
            node += 1;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Reads to the end of a stream, or until it is told that something is lost.
    async fn follow(&mut self, node: usize) -> Result<Option<String>> {
        let (name, address) = self.nodes[node].clone();
        let mut stream = Stream::open(address, &self.path, self.last_id.as_deref()).await?;
        if let Some(chain) = &self.chain {
            chain.resumed(&name);
        }
        let mut left = self.pieces.as_mut().map_or(u64::MAX, Pieces::next);
        while left > 0
            && let Some(block) = stream.next().await?
        {
            if block.field("event") == Some("unrecoverable") {
                return Ok(Some(block.field("data").unwrap_or_default().to_owned()));
            }
            left -= u64::from(block.field("data").is_some());
            self.block(&name, &block)?;
        }
        Ok(None)
    }

    fn block(&mut self, node: &str, block: &Block) -> Result<()> {
        if let Some(id) = block.field("id") {
            self.last_id = Some(id.to_owned());
            if let Some(begun) = self.begun.take() {
                let topic = Some(self.topic.as_str());
                self.chain =
                    Some(self.recorder.subscribe(&self.name, node, topic, &self.key, self.from.clone()));
                // Whoever started it may have gone.
                let _ = begun.send(());
            }
        }
        let (Some(data), Some(chain)) = (block.field("data"), &self.chain) else { return Ok(()) };
        let event = Sighting::parse(data)?;
        event.record(chain);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(event.id);
        self.counted.send_replace(seen.len());
        Ok(())
    }
}
