//! Asks the nodes of a Cluster who serves which slots, now and then and whenever somebody doubts it.
//!
//! One node after the other is asked first, and one that is cut off from the others is not believed: it says of itself
//! that its Cluster fails, or knows of few slots.

use super::address::Host;
use super::condition::{Condition, Part};
use super::dialect::Dialect;
use super::pause::Pause;
use super::slots::{SLOTS, Slots};
use super::{Settings, client};
use redis::aio::ConnectionLike;
use redis::{AsyncConnectionConfig, Pipeline, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Least time between two answers: those who doubt may be many.
const GAP: Duration = Duration::from_millis(100);

/// Who asks.
pub(super) struct Survey {
    pub settings: Arc<Settings>,
    pub dialect: Dialect,
    pub doubt: Arc<Notify>,
    pub condition: Arc<Condition>,
    pub pause: Pause,
    /// Whom to ask, and who is next.
    pub hosts: Vec<Host>,
    pub next: usize,
}

impl Survey {
    /// Waits until somebody doubts what was said, or that is old.
    pub async fn wait(&self) {
        sleep(GAP).await;
        // Late is when it is asked for anyway.
        let _ = timeout(self.settings.probe_interval, self.doubt.notified()).await;
    }

    /// Who serves what, as soon as somebody can say that.
    pub async fn ask(mut self) -> (Survey, Slots) {
        loop {
            match self.ask_all().await {
                Ok(slots) => {
                    self.condition.up(Part::Slots);
                    let others = self.settings.address.hosts.iter();
                    let mut hosts: Vec<Host> = slots.masters().map(|(host, _)| host.clone()).collect();
                    hosts.extend(
                        others.filter(|host| !slots.masters().any(|(known, _)| known == *host)).cloned(),
                    );
                    self.hosts = hosts;
                    return (self, slots);
                }
                Err(reason) => {
                    self.condition.down(Part::Slots, &reason);
                    sleep(self.pause.next()).await;
                }
            }
        }
    }

    /// The word of the first that is well and knows of all slots; else of whoever knows most.
    async fn ask_all(&mut self) -> Result<Slots, String> {
        let (mut best, mut wrong) = (None, None);
        self.next = self.next.wrapping_add(1);
        for number in 0..self.hosts.len() {
            let host = &self.hosts[self.next.wrapping_add(number) % self.hosts.len()];
            match self.ask_one(host).await {
                Ok((true, slots)) if slots.count() == SLOTS => return Ok(slots),
                Ok((is_well, slots)) => {
                    let worth = (is_well, slots.count());
                    if best.as_ref().is_none_or(|(known, _)| *known < worth) {
                        best = Some((worth, slots));
                    }
                }
                Err(reason) => {
                    wrong.get_or_insert(reason);
                }
            }
        }
        match (best, wrong) {
            (Some((_, slots)), _) if slots.count() > 0 => Ok(slots),
            (_, Some(reason)) => Err(reason),
            _ => Err(format!("Redis at {}: nobody knows who serves the slots", self.settings.address)),
        }
    }

    /// What one node says, and whether it is well.
    async fn ask_one(&self, host: &Host) -> Result<(bool, Slots), String> {
        let at = |reason: &str| format!("Redis at {host}: {reason}");
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(client::CONNECT_MAX));
        let node = self.settings.address.connect_to(host, config).await;
        let mut node = node.map_err(|error| error.message().to_owned())?;
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("CLUSTER").arg("SLOTS").cmd("CLUSTER").arg("INFO");
        let answers = node.connection.req_packed_commands(&pipeline, 0, 2).await;
        match &answers.map_err(|error| at(&self.dialect.reason(&error)))?[..] {
            [Value::ServerError(error), ..] | [_, Value::ServerError(error)] => {
                Err(at(&self.dialect.reason(&error.clone().into())))
            }
            [slots, info] => {
                let slots = Slots::read(slots, host)
                    .ok_or_else(|| at("what it says of its slots is not understood"))?;
                let info = redis::from_redis_value_ref::<String>(info).unwrap_or_default();
                Ok((info.contains("cluster_state:ok"), slots))
            }
            _ => Err(at("it answers something else")),
        }
    }
}
