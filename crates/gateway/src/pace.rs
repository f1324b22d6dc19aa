//! How often something may happen: a bucket that fills at a steady rate.

use std::time::Duration;
use tokio::time::Instant;

/// A bucket of tokens.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

/// What to do with one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is within the pace.
    Within,
    /// It is too much.
    Over,
    /// As many again as the bucket holds were too much already.
    FarOver,
}

impl Pace {
    /// A full bucket of `burst`.
    pub fn new(per_second: f64, burst: u32) -> Pace {
        let burst = f64::from(burst);
        Pace { per_second, burst, tokens: burst, filled: Instant::now() }
    }

    /// Resolves when one more is within the pace. Cancel-safe.
    pub async fn ready(&self) {
        let earned = self.filled.elapsed().as_secs_f64() * self.per_second;
        let missing = 1.0 - (self.tokens + earned);
        if missing > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(missing / self.per_second)).await;
        }
    }

    /// Takes one. What is too much counts, too.
    pub fn take(&mut self) -> Verdict {
        self.take_many(1)
    }

    /// Takes so many together.
    pub fn take_many(&mut self, count: u32) -> Verdict {
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        (self.tokens, self.filled) = ((self.tokens + earned).min(self.burst) - f64::from(count), now);
        match self.tokens {
            tokens if tokens >= 0.0 => Verdict::Within,
            tokens if tokens >= -self.burst => Verdict::Over,
            _ => Verdict::FarOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        let mut pace = Pace::new(50.0, 3);
        let mut take = |count: usize| (0..count).map(|_| pace.take()).collect::<Vec<_>>();
        assert_eq!(take(4), [Verdict::Within, Verdict::Within, Verdict::Within, Verdict::Over]);
        tokio::time::advance(Duration::from_millis(40)).await;
        assert_eq!(take(2), [Verdict::Within, Verdict::Over]);
        assert_eq!(take(3), [Verdict::Over, Verdict::Over, Verdict::FarOver]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(take(4), [Verdict::Within, Verdict::Within, Verdict::Within, Verdict::Over]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_pace_keeps_it() {
        let (mut pace, began) = (Pace::new(100.0, 10), Instant::now());
        for _ in 0..60 {
            pace.ready().await;
            assert_eq!(pace.take(), Verdict::Within);
        }
        // Ten at once, and fifty at the rate.
        assert!((500..=600).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}
