//! Limits and deadlines of the client protocol. Data only; the defaults are the documented ones.

use std::time::Duration;

/// Limits of every connection of the client protocol.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Time between pings. The first one comes after half to all of it.
    pub ping_interval: Duration,
    /// A client that answers a ping later than this is disconnected (3012). Shorter than the interval.
    pub pong_wait: Duration,
    /// A client that has not sent `connect` by then is disconnected (3502).
    pub stale_after: Duration,
    /// Largest message of a client in bytes; a larger one closes the connection (1009).
    pub message_bytes_max: usize,
    /// Longest time from the first to the last byte of a message (1009).
    pub message_deadline: Duration,
    /// Most sessions at a time that have no WebSocket; more are answered 503.
    pub emulated_max: usize,
    /// Most channels and patterns of a connection; more are refused (106).
    pub channels_max: usize,
    /// Most patterns among them.
    pub patterns_max: usize,
    /// Commands per second in the long run; more are refused (111), and many more disconnect (3013).
    pub commands_per_second: u32,
    /// Commands at once.
    pub commands_burst: u32,
    /// Commands per minute that may be refused as wrong; more disconnect (3509).
    pub errors_per_minute: u32,
    /// Most publications in the reply to a recovery; the rest follows.
    pub recovery_publications_max: usize,
    /// Most bytes of publications in the reply to a recovery; one always fits.
    pub recovery_bytes_max: usize,
    /// Most publications of a page of history.
    pub history_publications_max: usize,
    /// Subscribes and pages of history that take longer are refused (100), or continued after a shorter reply.
    pub answer_max: Duration,
    /// How long a close frame of the client is waited for.
    pub close_wait: Duration,
    /// The place a client holds of a quiet channel is renewed once it is so old: about half the retention.
    pub place_age_max: Duration,
}

impl Default for SessionSettings {
    fn default() -> SessionSettings {
        SessionSettings {
            ping_interval: Duration::from_secs(25),
            pong_wait: Duration::from_secs(8),
            stale_after: Duration::from_secs(5),
            message_bytes_max: 64 << 10,
            message_deadline: Duration::from_secs(10),
            emulated_max: 10_000,
            channels_max: 128,
            patterns_max: 16,
            commands_per_second: 50,
            commands_burst: 100,
            errors_per_minute: 10,
            recovery_publications_max: 300,
            recovery_bytes_max: 256 << 10,
            history_publications_max: 300,
            answer_max: Duration::from_secs(4),
            close_wait: Duration::from_secs(5),
            place_age_max: Duration::from_secs(84 * 3600),
        }
    }
}
