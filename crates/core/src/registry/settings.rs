//! Limits of a membership.

use super::HEARTBEAT;
use std::time::Duration;

/// Settings of [`Membership`](super::Membership).
#[derive(Clone, Debug)]
pub struct Settings {
    /// From one heartbeat to the next, give or take a tenth.
    pub heartbeat: Duration,
    /// How long a change waits for others that go with it.
    pub gather: Duration,
    /// Pause after an error, give or take half; doubles up to `retry_max`.
    pub retry: Duration,
    /// Longest such pause.
    pub retry_max: Duration,
    /// Connections of one write.
    pub batch_max: usize,
    /// Bytes of one write; a single connection may have more.
    pub batch_bytes_max: usize,
    /// Bytes of all connections this node tells of: what does not fit is left out, and counted.
    pub table_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            heartbeat: HEARTBEAT,
            gather: Duration::from_millis(50),
            retry: Duration::from_millis(500),
            retry_max: Duration::from_secs(5),
            batch_max: 256,
            batch_bytes_max: 256 << 10,
            table_bytes_max: 64 << 20,
        }
    }
}
