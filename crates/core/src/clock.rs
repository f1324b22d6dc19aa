//! Wall-clock time and randomness as seams, so that a simulation can own both.
//!
//! Durations and deadlines use `tokio::time`, which a simulation pauses; this is only for what is *stamped* on
//! records and ids.

use std::fmt::Debug;
use std::time::Duration;

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

/// A duration around `middle`, give or take `part` of it, so that nodes do not keep step.
pub fn spread(middle: Duration, part: f64, entropy: &dyn Entropy) -> Duration {
    let unit = (entropy.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    middle.mul_f64(1.0 + part * (2.0 * unit - 1.0))
}
