//! This node's connections, and which of them the registry was told of.

use super::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is true here, and what is still to be said. Changes of one connection that were not said yet are said as one.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<Arc<str>, Entry>,
    bytes: usize,
    /// To be said, in this order of ids; each is in `entries`, or stands in the registry and went since.
    pending: BTreeSet<Arc<str>>,
    /// Connections that stand in the registry.
    standing: usize,
    /// While nothing stands in the registry nothing is pending: all of `entries` will be said.
    is_told: bool,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    stands: bool,
}

/// What to say next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub put: Vec<Arc<Connection>>,
    pub remove: Vec<Arc<str>>,
}

impl Table {
    /// Takes a connection; false when there is no room for it.
    pub fn put(&mut self, connection: Connection, bytes_max: usize) -> bool {
        let client = connection.client.clone();
        let before = self.entries.get(&client).map_or(0, |entry| entry.connection.weight());
        let bytes = self.bytes - before + connection.weight();
        if bytes > bytes_max {
            return false;
        }
        self.bytes = bytes;
        // One that went and came again before that was said still stands.
        let stands = match self.entries.get(&client) {
            Some(entry) => entry.stands,
            None => self.pending.contains(&client),
        };
        self.entries.insert(client.clone(), Entry { connection: Arc::new(connection), stands });
        if self.is_told {
            self.pending.insert(client);
        }
        true
    }

    /// Forgets a connection.
    pub fn remove(&mut self, client: &str) {
        let Some((client, entry)) = self.entries.remove_entry(client) else { return };
        self.bytes -= entry.connection.weight();
        match entry.stands {
            true => self.pending.insert(client),
            false => self.pending.remove(&client),
        };
    }

    /// The registry has nothing of this table: all is to be said.
    pub fn begin(&mut self) {
        self.lose();
        self.is_told = true;
        self.pending.extend(self.entries.keys().cloned());
    }

    /// What stands in the registry is not known any more: nothing is said before the next beginning.
    pub fn lose(&mut self) {
        self.is_told = false;
        self.pending.clear();
        self.standing = 0;
        self.entries.values_mut().for_each(|entry| entry.stands = false);
    }

    /// All is to be said again, so that no lease ends.
    pub fn renew(&mut self) {
        self.pending.extend(self.entries.keys().cloned());
    }

    /// Takes out what to say next; it counts as said. `None` when there is nothing.
    pub fn take(&mut self, count_max: usize, bytes_max: usize) -> Option<Batch> {
        let (mut batch, mut count, mut bytes) = (Batch::default(), 0, 0);
        while let Some(client) = self.pending.first() {
            let weight = self.entries.get(client).map_or(client.len(), |entry| entry.connection.weight());
            if count == count_max || (count > 0 && bytes + weight > bytes_max) {
                break;
            }
            (count, bytes) = (count + 1, bytes + weight);
            let Some(client) = self.pending.pop_first() else { break };
            self.say(client, &mut batch);
        }
        (count > 0).then_some(batch)
    }

    fn say(&mut self, client: Arc<str>, batch: &mut Batch) {
        match self.entries.get_mut(&client) {
            Some(entry) => {
                self.standing += usize::from(!entry.stands);
                entry.stands = true;
                batch.put.push(entry.connection.clone());
            }
            None => {
                self.standing -= 1;
                batch.remove.push(client);
            }
        }
    }

    /// How many connections stand in the registry, if all that was said arrived.
    pub fn standing(&self) -> usize {
        self.standing
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}
