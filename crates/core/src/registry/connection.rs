//! A client's connection in the registry.

use std::sync::Arc;

/// What a connection costs beside its texts.
const OVERHEAD: usize = 256;

/// A client's connection to the instance that put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Id of the client, unique over all instances.
    pub client: Arc<str>,
    /// Who it is; empty when anonymous.
    pub user: Arc<str>,
    /// What carries it: `websocket`, `sse`, ….
    pub transport: Arc<str>,
    /// How its messages are written: `json`, ….
    pub protocol: Arc<str>,
    /// Name of the client's program or library, as it said; may be empty.
    pub name: Arc<str>,
    /// Its version, as it said; may be empty.
    pub version: Arc<str>,
    /// When it connected, ms since 1970 by its instance's clock.
    pub connected_ms: i64,
    /// The address it came from, where that is known.
    pub remote: Option<Arc<str>>,
}

impl Connection {
    /// What it costs to keep, in bytes.
    pub fn weight(&self) -> usize {
        let texts = [&self.client, &self.user, &self.transport, &self.protocol, &self.name, &self.version];
        let texts = texts.into_iter().chain(&self.remote);
        OVERHEAD + texts.map(|text| text.len()).sum::<usize>()
    }
}
