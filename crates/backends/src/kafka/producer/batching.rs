//! How large the batches of the producer may be, so that brokers take them.
//!
//! A broker refuses a whole batch that is larger than its topic takes (`max.message.bytes`), with records in it that are
//! small. To send those again would put them behind later ones of their keys. So batches are as small as the smallest
//! topic that was described wants them, whatever topic they go to; a record that is larger by itself is refused alone.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::watch;

/// What librdkafka gathers unless it is set, or a topic takes less.
const BYTES_DEFAULT: u64 = 1_000_000;
/// What a broker counts to a batch beside what librdkafka does.
const MARGIN: u64 = 128;
/// How long who learns of a smaller topic waits for the producer to go by it.
const CHANGE_MAX: Duration = Duration::from_secs(5);

/// What is wanted, and what the client of the producer was made with.
#[derive(Debug)]
pub(crate) struct Batching {
    wanted: Mutex<u64>,
    made: watch::Sender<u64>,
}

impl Batching {
    /// With the property `batch.size`, if it is given.
    pub(super) fn new(given: Option<u64>) -> Batching {
        let bytes = given.unwrap_or(BYTES_DEFAULT);
        Batching { wanted: Mutex::new(bytes), made: watch::Sender::new(bytes) }
    }

    /// A topic takes batches of this size: returns once the producer makes no larger ones, or a while later.
    pub(crate) async fn fit(&self, topic_bytes_max: u64) {
        let bytes = topic_bytes_max.saturating_sub(MARGIN).max(1);
        {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            *wanted = bytes.min(*wanted);
        }
        let mut made = self.made.subscribe();
        // It never comes if the producer has ended, and then nobody needs it.
        let _ = tokio::time::timeout(CHANGE_MAX, made.wait_for(|made| *made <= bytes)).await;
    }

    /// What a client is to be made with.
    pub(super) fn wanted(&self) -> u64 {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client there is makes larger ones.
    pub(super) fn is_due(&self) -> bool {
        self.wanted() < *self.made.borrow()
    }

    /// The client there is was made with this.
    pub(super) fn note(&self, bytes: u64) {
        self.made.send_replace(bytes);
    }
}
