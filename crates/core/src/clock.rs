//! Wall-clock time and randomness as seams, so that a simulation can own both.
//!
//! Durations and deadlines use `tokio::time`, which a simulation pauses; this is only for what is *stamped* on
//! records and ids.

use std::fmt::Debug;

/// Wall-clock time. Implementations may jump; whoever stamps records keeps `max(previous, now)`.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> i64;
}

/// A source of unpredictable bits: event ids, epochs. Not for keys or secrets.
pub trait Entropy: Send + Sync + Debug {
    /// 64 fresh bits.
    fn next_u64(&self) -> u64;
}
