//! How to reach a cluster, and what may be said about the clients of it.

use dualstream_core::{Error, Result};
use std::collections::BTreeMap;

/// A cluster and the properties of its clients.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    bootstrap: String,
    properties: BTreeMap<String, String>,
}

impl Settings {
    /// Checks addresses (`host:port`, several with commas) and properties of librdkafka
    /// (<https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>).
    ///
    /// # Errors
    /// `invalid_setting` names the property and says why it cannot be set.
    pub fn new(bootstrap: &str, properties: BTreeMap<String, String>) -> Result<Settings> {
        if bootstrap.trim().is_empty() {
            return Err(Error::invalid("invalid_setting", "kafka", "an address is host:port"));
        }
        Ok(Settings { bootstrap: bootstrap.to_owned(), properties })
    }

    /// Where the cluster is asked for its brokers first.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Properties as they were given.
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }
}

/// Without values: passwords are among them.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("Settings").field("bootstrap", &self.bootstrap).field("properties", &names).finish()
    }
}
