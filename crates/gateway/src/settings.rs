//! Every limit and deadline of the gateway. Data only; the defaults are the documented ones.

use crate::SessionSettings;
use std::time::Duration;

/// Limits of a [`Gateway`](crate::Gateway).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest request body, and largest line of an NDJSON body, in bytes.
    pub body_bytes_max: usize,
    /// Bytes of all request bodies that may be held at a time; more is answered 503 `overloaded`.
    pub bodies_bytes_max: usize,
    /// Largest block of request line and headers in bytes; more is answered 431.
    pub header_bytes_max: usize,
    /// Longest request target in bytes; more is answered 414.
    pub uri_bytes_max: usize,
    /// Connections served at a time; more are answered 503 and closed.
    pub connections_max: usize,
    /// Connections accepted per second in the long run, and so many at once; others wait to be accepted.
    pub connects_per_second: u32,
    /// From accept, or from the end of the last answer, to the end of the request's headers.
    pub header_deadline: Duration,
    /// How long a body may be slower than [`body_rate_min`](Settings::body_rate_min).
    pub body_grace: Duration,
    /// Least bytes per second of a body, on average.
    pub body_rate_min: u64,
    /// A connection whose peer takes nothing for so long is closed.
    pub write_stall_max: Duration,
    /// A connection whose peer acknowledges nothing for so long is closed (`TCP_USER_TIMEOUT`).
    pub peer_silence_max: Duration,
    /// After so long without an event, an event stream carries a comment with the current position.
    pub heartbeat: Duration,
    /// Reconnection time told to clients of event streams.
    pub retry: Duration,
    /// Most bytes of events in one write to an event stream or WebSocket.
    pub write_bytes_max: usize,
    /// Time over which the ends of event streams and WebSockets are spread at shutdown; twice that is the deadline of all else.
    pub drain: Duration,
    /// Names and addresses (`host.docker.internal`, without port) that a request may call this server by, beside loopback
    /// ones. A page that makes a name of its own resolve to this machine would be of the server's own origin otherwise.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://app.example`) whose pages may read, and may change state, beside the server's own.
    pub allowed_origins: Vec<String>,
    /// Limits of the client protocol.
    pub session: SessionSettings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            body_bytes_max: 1 << 20,
            bodies_bytes_max: 512 << 20,
            header_bytes_max: 32 << 10,
            uri_bytes_max: 8 << 10,
            connections_max: 15_000,
            connects_per_second: 2_000,
            header_deadline: Duration::from_secs(10),
            body_grace: Duration::from_secs(5),
            body_rate_min: 1 << 10,
            write_stall_max: Duration::from_secs(10),
            peer_silence_max: Duration::from_secs(30),
            heartbeat: Duration::from_secs(25),
            retry: Duration::from_secs(1),
            write_bytes_max: 64 << 10,
            drain: Duration::from_secs(10),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            session: SessionSettings::default(),
        }
    }
}
