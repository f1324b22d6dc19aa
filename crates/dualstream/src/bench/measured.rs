//! What was counted between two moments.

use super::server_side::ServerSide;
use super::tally::Tally;
use dualstream_gateway::cpu_seconds;
use std::time::{Duration, Instant};

/// The counts at one moment.
pub struct Moment {
    at: Instant,
    published: u64,
    delivered: u64,
    server_cpu: Option<f64>,
    own_cpu: Option<f64>,
}

/// The difference of two.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub time: Duration,
    pub published: u64,
    pub delivered: u64,
    /// Processor seconds of the server, and of this program.
    pub server_cpu: Option<f64>,
    pub own_cpu: Option<f64>,
}

impl Moment {
    /// Now.
    pub async fn now(tally: &Tally, server: &mut ServerSide) -> Moment {
        let server_cpu = server.cpu_seconds().await;
        Moment {
            at: Instant::now(),
            published: tally.published.get(),
            delivered: tally.delivered.get(),
            server_cpu,
            own_cpu: cpu_seconds(),
        }
    }

    /// From here to there.
    pub fn until(&self, end: &Moment) -> Measured {
        let between = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
        Measured {
            time: end.at - self.at,
            published: end.published - self.published,
            delivered: end.delivered - self.delivered,
            server_cpu: between(self.server_cpu, end.server_cpu),
            own_cpu: between(self.own_cpu, end.own_cpu),
        }
    }
}
