//! Latencies, counted without locks.
//!
//! Buckets grow by powers of two with four steps each (an error of at most 25 %), from one microsecond to over an
//! hour. It is for gauges on a dashboard; benchmarks keep every sample.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Steps of each power of two.
const STEPS: usize = 4;
/// Powers of two of a microsecond.
const POWERS: usize = 32;
const BUCKETS: usize = STEPS * POWERS;

/// A histogram of durations. Shared by reference; recording is a few atomic additions.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// What a [`Histogram`] holds at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `(upper bound in microseconds, how many were at most that and more than the bound before)`, ascending.
    pub buckets: Vec<(u64, u64)>,
    /// How many were recorded.
    pub count: u64,
    /// Their sum in microseconds.
    pub sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count).field("sum_us", &self.sum_us).finish()
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        self.record_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one duration given in microseconds.
    pub fn record_us(&self, us: u64) {
        self.record_many_us(us, 1);
    }

    /// Counts the same duration so many times.
    pub fn record_many_us(&self, us: u64, count: u64) {
        self.buckets[bucket_of(us)].fetch_add(count, Relaxed);
        self.count.fetch_add(count, Relaxed);
        self.sum_us.fetch_add(us.saturating_mul(count), Relaxed);
    }

    /// What it holds now. Recordings in the middle of it may be in one number and not yet in another.
    pub fn snapshot(&self) -> Snapshot {
        let buckets = self.buckets.iter().enumerate().map(|(i, n)| (bound_us(i), n.load(Relaxed))).collect();
        Snapshot { buckets, count: self.count.load(Relaxed), sum_us: self.sum_us.load(Relaxed) }
    }
}

impl Snapshot {
    /// An upper bound in microseconds that the share `q` (0 to 1) of all durations does not pass; 0 when empty.
    pub fn quantile_us(&self, q: f64) -> u64 {
        let total: u64 = self.buckets.iter().map(|(_, n)| n).sum();
        let rank = (q.clamp(0.0, 1.0) * total as f64).ceil() as u64;
        let mut seen = 0;
        for (bound, n) in &self.buckets {
            seen += n;
            if *n > 0 && seen >= rank {
                return *bound;
            }
        }
        0
    }
}

/// 0–3 have a bucket each; above, the power of two and the two bits after its highest.
fn bucket_of(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let power = us.ilog2() as usize;
    let step = (us >> (power - 2)) as usize & (STEPS - 1);
    ((power - 1) * STEPS + step).min(BUCKETS - 1)
}

/// Largest duration of a bucket.
fn bound_us(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (power, step) = (bucket / STEPS + 1, (bucket % STEPS) as u64);
    (((STEPS as u64 + step + 1) << (power - 2)) as u128 - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_bucket_that_bounds_it() {
        for us in (0..5000).chain([1 << 20, (1 << 31) - 1, 3_600_000_000]) {
            let bucket = bucket_of(us);
            assert!(us <= bound_us(bucket), "{us}");
            assert!(bucket == 0 || us > bound_us(bucket - 1), "{us}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.record_us(us));
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count, snapshot.sum_us), (1000, 500_500));
        let many = Histogram::default();
        many.record_many_us(7, 5);
        assert_eq!(
            (many.snapshot().count, many.snapshot().sum_us, many.snapshot().quantile_us(1.0)),
            (5, 35, 7)
        );
        let half = snapshot.quantile_us(0.5);
        assert!((500..=625).contains(&half), "{half}");
        assert!(snapshot.quantile_us(1.0) >= 1000);
        assert_eq!(Histogram::default().snapshot().quantile_us(0.5), 0);
    }
}
