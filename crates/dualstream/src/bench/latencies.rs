//! Latencies of one run: counted in buckets of about 3 %, and drawn.

use crate::table::eighths;
use std::fmt::Write;
use std::time::Duration;

/// Steps of each power of two.
const STEPS: usize = 32;
const BUCKETS: usize = 60 * STEPS;
/// Bounds of the rows of the picture, from 1 µs, each followed by its double and its fivefold.
const ROWS: [u64; 3] = [1, 2, 5];

/// How often which latency was seen.
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { buckets: vec![0; BUCKETS], count: 0, max_ns: 0 }
    }
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, ns: u64) {
        self.buckets[bucket_of(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What the share `q` of all does not pass.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (q * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Duration::from_nanos(bound_of(bucket).min(self.max_ns));
            }
        }
        Duration::ZERO
    }

    /// How many lie in each row `(from, to]` of microseconds, without the empty rows at both ends.
    fn rows(&self) -> Vec<(u64, u64, u64)> {
        let bounds: Vec<u64> = (0..9)
            .flat_map(|power| ROWS.map(|digit| digit * 10u64.pow(power)))
            .chain([u64::MAX / 1000])
            .collect();
        let mut rows: Vec<(u64, u64, u64)> = std::iter::once(0)
            .chain(bounds.iter().copied())
            .zip(bounds.iter().copied())
            .map(|(a, b)| (a, b, 0))
            .collect();
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let us = bound_of(bucket).min(self.max_ns).div_ceil(1000);
            let row = rows.partition_point(|(_, to, _)| *to < us).min(rows.len() - 1);
            rows[row].2 += count;
        }
        let first = rows.iter().position(|row| row.2 > 0).unwrap_or(rows.len());
        let last = rows.iter().rposition(|row| row.2 > 0).map_or(first, |last| last + 1);
        rows[first..last].to_vec()
    }

    /// A picture: a bar per row, on a log scale so that the few slow ones are seen, and where the quantiles lie.
    pub fn picture(&self, bar_columns: usize) -> String {
        let mut picture = String::new();
        let rows = self.rows();
        let most = rows.iter().map(|row| row.2).max().unwrap_or(0);
        for (from, to, count) in rows {
            let full = ((count + 1) as f64).ln() / ((most + 1) as f64).ln() * (bar_columns * 8) as f64;
            let marks: Vec<&str> = MARKS
                .iter()
                .filter(|(q, _)| {
                    (from + 1..=to).contains(&(self.quantile(*q).as_nanos() as u64).div_ceil(1000).max(1))
                })
                .map(|(_, name)| *name)
                .collect();
            let (range, bar) = (format!("{} – {}", short(from), short(to)), eighths(full.round() as usize));
            let share = 100.0 * count as f64 / self.count as f64;
            // Into a string nothing can fail.
            let _ =
                writeln!(picture, "  {range:>17}  {bar:<bar_columns$}  {share:>8.4} %  {}", marks.join(" "));
        }
        picture
    }
}

/// The quantiles that are told, and their names.
pub const MARKS: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];

fn short(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let power = ns.ilog2() as usize;
    let step = (ns >> (power - 5)) as usize & (STEPS - 1);
    (power - 4) * STEPS + step
}

/// Largest latency of a bucket.
fn bound_of(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (power, step) = (bucket / STEPS + 4, (bucket % STEPS) as u64);
    (((STEPS as u64 + step + 1) as u128) << (power - 5)).saturating_sub(1).min(u64::MAX.into()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_their_bucket() {
        let mut latencies = Latencies::default();
        (1..=1_000).for_each(|us| latencies.record(us * 1_000));
        for (q, us) in [(0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1_000)] {
            let told = latencies.quantile(q).as_micros() as u64;
            assert!((us..=us + us / 30).contains(&told), "{q}: {told}");
        }
        assert_eq!((latencies.count(), latencies.quantile(1.0)), (1_000, Duration::from_millis(1)));
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
        for ns in [0, 1, 31, 32, 33, 1_000, 123_456_789, u64::MAX] {
            assert!(ns <= bound_of(bucket_of(ns)) && bucket_of(ns) < BUCKETS, "{ns}");
        }
    }

    #[test]
    fn the_picture_shows_every_row_between_the_fastest_and_the_slowest() {
        let mut latencies = Latencies::default();
        (0..99_990).for_each(|_| latencies.record(300_000));
        (0..10).for_each(|_| latencies.record(15_000_000));
        let picture = latencies.picture(20);
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(lines.len(), 6, "{picture}");
        assert!(lines[0].contains("200 µs – 500 µs") && lines[0].ends_with("p50 p90 p99 p99.9"), "{picture}");
        assert!(lines[5].contains("10 ms – 20 ms") && lines[5].ends_with("max"), "{picture}");
        assert!(lines[5].contains('█'), "the few slow ones are seen: {picture}");
    }
}
