//! When a connection is pinged, and when it is given up.
//!
//! ```text
//! Stale ── connect ──> Quiet ── due: ping ──> Waiting ── pong ──> Quiet
//!   └ due: 3502                                 └ due: 3012
//! ```

use super::SessionSettings;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The clock of one connection.
#[derive(Debug)]
pub struct Pings {
    stage: Stage,
    /// Kept over every wait: to set a timer anew for each message costs more than the rest of its way.
    timer: Pin<Box<Sleep>>,
    interval: Duration,
    wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Stale,
    Quiet,
    /// A ping is not answered; the next one comes then.
    Waiting(Instant),
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// No `connect` came.
    Stale,
    /// A ping is to be sent.
    Ping,
    /// A ping was not answered.
    NoPong,
}

impl Pings {
    /// Begins with the deadline for `connect`.
    pub fn new(settings: &SessionSettings) -> Pings {
        let timer = Box::pin(tokio::time::sleep(settings.stale_after));
        let wait = settings.pong_wait.min(settings.ping_interval);
        Pings { stage: Stage::Stale, timer, interval: settings.ping_interval, wait }
    }

    /// The client has connected. The first ping comes after half the interval and `share` of the other half, so that
    /// clients that connected together are not pinged together.
    pub fn connected(&mut self, share: u32) {
        let half = self.interval / 2;
        let share = f64::from(share) / f64::from(u32::MAX);
        self.enter(Stage::Quiet, Instant::now() + half + half.mul_f64(share));
    }

    /// Resolves when something is due. Cancel-safe.
    pub async fn wait(&mut self) {
        self.timer.as_mut().await;
    }

    /// What is due, now that [`wait`](Pings::wait) has resolved.
    pub fn due(&mut self) -> Due {
        match self.stage {
            Stage::Stale => Due::Stale,
            Stage::Waiting(_) => Due::NoPong,
            Stage::Quiet => {
                let now = Instant::now();
                self.enter(Stage::Waiting(now + self.interval), now + self.wait);
                Due::Ping
            }
        }
    }

    /// A pong came; false if none was waited for.
    pub fn pong(&mut self) -> bool {
        let Stage::Waiting(next) = self.stage else { return false };
        self.enter(Stage::Quiet, next);
        true
    }

    /// Gives the client its time again: nobody was reading what it sent.
    pub fn excuse(&mut self) {
        self.enter(self.stage, Instant::now() + self.wait);
    }

    fn enter(&mut self, stage: Stage, due: Instant) {
        self.stage = stage;
        self.timer.as_mut().reset(due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_pinged_and_given_up() {
        let settings = SessionSettings::default();
        for (share, first) in [(0, 12_500), (u32::MAX, 25_000), (u32::MAX / 2, 18_750)] {
            let mut pings = Pings::new(&settings);
            pings.connected(share);
            let began = Instant::now();
            pings.wait().await;
            assert!(began.elapsed().as_millis().abs_diff(first) < 5, "{share}");
            assert_eq!((pings.due(), pings.pong(), pings.pong()), (Due::Ping, true, false));
            let began = Instant::now();
            pings.wait().await;
            assert_eq!((pings.due(), began.elapsed().as_secs()), (Due::Ping, 25));
            pings.wait().await;
            assert_eq!((pings.due(), began.elapsed().as_secs()), (Due::NoPong, 33));
        }
        let (mut pings, began) = (Pings::new(&settings), Instant::now());
        pings.wait().await;
        assert_eq!((pings.due(), began.elapsed().as_secs()), (Due::Stale, 5));
    }
}
