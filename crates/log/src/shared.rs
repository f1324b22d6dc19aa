//! What the handle and the writer share: topics as readers see them, the queue, counters, damage met.

use crate::counters::Counters;
use crate::queue::Queue;
use crate::topic::TopicView;
use dualstream_core::Result;
use dualstream_core::topic::TopicName;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, RwLock};

/// Most damage reports kept for an operator.
const DAMAGE_MAX: usize = 1_000;

/// Shared by every handle and the writer.
pub(crate) struct Shared {
    /// Random number of the log.
    pub log_id: u64,
    pub queue: Queue,
    pub counters: Counters,
    topics: RwLock<HashMap<TopicName, Arc<TopicView>>>,
    damage: Mutex<Vec<String>>,
}

impl Shared {
    pub fn new(log_id: u64, queue_bytes_max: usize) -> Shared {
        Shared {
            log_id,
            queue: Queue::new(queue_bytes_max),
            counters: Counters::default(),
            topics: RwLock::default(),
            damage: Mutex::default(),
        }
    }

    /// A topic as readers see it.
    ///
    /// # Errors
    /// `unknown_topic`.
    pub fn topic(&self, name: &TopicName) -> Result<Arc<TopicView>> {
        let topics = self.topics.read().expect("no holder of this lock panics");
        topics.get(name).cloned().ok_or_else(|| crate::error::unknown_topic(name))
    }

    /// All topics by name.
    pub fn topics(&self) -> Vec<Arc<TopicView>> {
        let topics = self.topics.read().expect("no holder of this lock panics");
        let mut all: Vec<_> = topics.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Shows a topic to readers.
    pub fn add(&self, view: Arc<TopicView>) {
        self.topics.write().expect("no holder of this lock panics").insert(view.name.clone(), view);
    }

    /// Hides a topic from readers.
    pub fn remove(&self, name: &TopicName) {
        self.topics.write().expect("no holder of this lock panics").remove(name);
    }

    /// Tells the operator of damaged bytes, once. Of a log that is lost as a whole the first places say enough: the rest
    /// is counted.
    pub fn report_damage(&self, what: String) {
        let mut damage = self.damage.lock().expect("no holder of this lock panics");
        if damage.contains(&what) {
            return;
        }
        self.counters.damaged.fetch_add(1, Relaxed);
        if damage.len() < DAMAGE_MAX {
            tracing::error!("{what}");
            damage.push(what);
            if damage.len() == DAMAGE_MAX {
                tracing::error!(
                    "more damage is only counted from now on; 'dualstream log verify' lists it all"
                );
            }
        }
    }

    /// Damage met since the start; a last line counts what is not listed.
    pub fn damage(&self) -> Vec<String> {
        let mut damage = self.damage.lock().expect("no holder of this lock panics").clone();
        let rest = self.counters.damaged.load(Relaxed).saturating_sub(damage.len() as u64);
        if rest > 0 {
            damage.push(format!("and {rest} more reports"));
        }
        damage
    }
}
