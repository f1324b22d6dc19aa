//! Somebody who wants what is new at once and may miss something: announcements of durable channels, or what comes on
//! bus-only ones. It comes back on the next node, with what is new then.

use crate::reader::{Place, RETRY, place};
use crate::stream::{Block, Stream};
use anyhow::{Context, Result, bail};
use dualstream_checker::{Chain, Recorder};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A listener at work.
pub struct Listener {
    name: String,
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

/// What it heard so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Announcements and messages.
    pub count: usize,
    /// The last one, as it came.
    pub last: String,
    /// A stream was opened.
    has_begun: bool,
}

/// What is published must be heard within this time, once nothing is broken.
const HEARD_MAX: Duration = Duration::from_secs(60);

#[derive(serde::Deserialize)]
struct Announcement {
    id: String,
    source_id: String,
    position: String,
}

impl Listener {
    /// Listens to channels of one source type on the first node that answers, and is heard to have begun.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn start(
        recorder: &Recorder,
        name: &str,
        source_type: &str,
        channels: &[String],
        nodes: Vec<Place>,
    ) -> Result<Listener> {
        let (told, mut heard) = watch::channel(Heard::default());
        let channels: Vec<String> = channels.iter().map(|channel| format!("&channel={channel}")).collect();
        let listening = Listening {
            recorder: recorder.clone(),
            name: name.to_owned(),
            source_type: source_type.to_owned(),
            path: format!("/v1/stream?mode=live{}", channels.concat()),
            nodes,
            told,
        };
        let task = tokio::spawn(listening.run());
        let begun = tokio::time::timeout(HEARD_MAX, heard.wait_for(|heard| heard.has_begun)).await;
        begun.with_context(|| format!("listener {name} has not begun within {HEARD_MAX:?}"))??;
        Ok(Listener { name: name.to_owned(), heard, task })
    }

    /// What it heard so far.
    pub fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Waits until it has heard what is wanted.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub async fn until(&self, what: &str, is_wanted: impl FnMut(&Heard) -> bool) -> Result<Heard> {
        let mut heard = self.heard.clone();
        let waited = tokio::time::timeout(HEARD_MAX, heard.wait_for(is_wanted)).await;
        match waited {
            Ok(heard) => Ok(heard?.clone()),
            Err(_) => {
                bail!("listener {} heard {what} not within {HEARD_MAX:?}: {:?}", self.name, self.heard())
            }
        }
    }

    /// Waits until it has heard so much more from now on.
    ///
    /// # Errors
    /// As [`until`](Listener::until).
    pub async fn more(&self, count: usize) -> Result<Heard> {
        let wanted = self.heard().count + count;
        self.until(&format!("{count} more"), |heard| heard.count >= wanted).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Listening {
    recorder: Recorder,
    name: String,
    source_type: String,
    path: String,
    nodes: Vec<Place>,
    told: watch::Sender<Heard>,
}

impl Listening {
    async fn run(self) {
        let mut session = 0;
        loop {
            // Whatever ended it: it comes back, on the next node.
            let _ = self.listen(session).await;
            session += 1;
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn listen(&self, session: usize) -> Result<()> {
        let (node, address) = &self.nodes[session % self.nodes.len()];
        let mut stream = Stream::open(*address, &self.path, None).await?;
        // Nobody promises that another stream does not begin with what was heard already: each is a chain of its own.
        let (chain, channel) = (format!("{}-{session}", self.name), format!("{}:*", self.source_type));
        let chain = self.recorder.listen(&chain, node, None, &channel);
        while let Some(block) = stream.next().await? {
            self.hear(&block, &chain);
        }
        Ok(())
    }

    fn hear(&self, block: &Block, chain: &Chain) {
        let data = block.field("data");
        if let Some(data) = data
            && let Ok(Announcement { id, source_id, position }) = serde_json::from_str(data)
        {
            chain.delivered(&id, &format!("{}:{source_id}", self.source_type), None, place(&position));
        }
        self.told.send_modify(|heard| {
            // The first block says that it begins.
            heard.has_begun = true;
            if let Some(data) = data {
                heard.count += 1;
                data.clone_into(&mut heard.last);
            }
        });
    }
}
