//! The work of a bus in a sharded Cluster: a publishing and a subscribing connection for each shard, each proved by a
//! probe of its own, which come and go with the shards.
//!
//! ```text
//!  Survey ─ who serves what ─▶ Routes ─▶ a lane per shard: Publisher and Line to its master
//!     ▲                                        │
//!     └── doubt: not served here, lost, silent ┘
//! ```

use super::Settings;
use super::address::Host;
use super::condition::{Condition, Part};
use super::counters::Counters;
use super::desk::Desk;
use super::dialect::Dialect;
use super::line::Line;
use super::outbox::Outbox;
use super::pause::Pause;
use super::permission::Permission;
use super::publisher::Publisher;
use super::routes::{Lane, Routes, Shard};
use super::slots::{Slots, name_within, slot_of};
use super::survey::Survey;
use dualstream_core::clock::Entropy;
use dualstream_core::fan_out::FanOut;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// What works on all shards.
pub(super) struct Shards {
    pub settings: Arc<Settings>,
    pub routes: Arc<Routes>,
    pub fan_out: FanOut,
    pub condition: Arc<Condition>,
    pub counters: Arc<Counters>,
    pub entropy: Arc<dyn Entropy>,
}

impl Shards {
    /// Works until the routes are closed and what waits is published.
    pub async fn run(self) {
        let doubt = Arc::new(Notify::new());
        let dialect = Dialect::Sharded { doubt: doubt.clone() };
        let survey = Survey {
            settings: self.settings.clone(),
            dialect: dialect.clone(),
            doubt,
            condition: self.condition.clone(),
            pause: Pause::new(self.entropy.clone()),
            hosts: self.settings.address.hosts.clone(),
            next: 0,
        };
        let mut working: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut asking = survey.ask().boxed();
        let mut is_closed = false;
        while !(working.is_empty() && is_closed) {
            tokio::select! {
                biased;
                () = self.routes.closed(), if !is_closed => is_closed = true,
                Some(()) = working.next() => {}
                (survey, slots) = &mut asking => {
                    self.follow(&slots, &dialect, &working);
                    asking = async move { survey.wait().await; survey.ask().await }.boxed();
                }
            }
        }
    }

    fn follow(&self, slots: &Slots, dialect: &Dialect, working: &FuturesUnordered<BoxFuture<'static, ()>>) {
        let make = |number, master: &Host, ranges: &[(u16, u16)]| {
            let (lane, work) = self.lane(number, master, ranges, dialect);
            working.push(work);
            lane
        };
        let end = |number| {
            self.condition.up(Part::Publishing(number));
            self.condition.up(Part::Subscribing(number, 0));
        };
        self.routes.follow(slots, make, end);
    }

    /// A lane for a shard, and the work on it.
    fn lane(
        &self,
        number: usize,
        master: &Host,
        ranges: &[(u16, u16)],
        dialect: &Dialect,
    ) -> (Lane, BoxFuture<'static, ()>) {
        let parts = [Part::Publishing(number), Part::Subscribing(number, 0)];
        parts.iter().for_each(|part| self.condition.add(*part));
        let begin = self.settings.probe(&*self.entropy);
        let is_its = |slot| ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot));
        // Of a million names one is in the slot, if there is only one.
        let probe = name_within(&begin, is_its).unwrap_or(begin);
        let (outbox, desk) = (
            Arc::new(Outbox::new(self.settings.queue_bytes_max, self.counters.clone())),
            Arc::new(Desk::default()),
        );
        let (work, ended) = oneshot::channel();
        let shard = Shard { master: master.clone(), probe_slot: slot_of(&probe), _work: work };
        let lane = Lane { outbox: outbox.clone(), desks: vec![desk.clone()], shard: Some(shard) };
        let (address, move_on) = (self.settings.address.at(master), Arc::new(Notify::new()));
        let publisher = Publisher {
            part: parts[0],
            dialect: dialect.clone(),
            address: address.clone(),
            settings: self.settings.clone(),
            outbox: outbox.clone(),
            condition: self.condition.clone(),
            counters: self.counters.clone(),
            move_on: move_on.clone(),
            pause: Pause::new(self.entropy.clone()),
            permission: Permission::default(),
        };
        let line = Line {
            number: 0,
            part: parts[1],
            dialect: dialect.clone(),
            address,
            settings: self.settings.clone(),
            desk,
            fan_out: self.fan_out.clone(),
            outbox,
            condition: self.condition.clone(),
            counters: self.counters.clone(),
            move_on,
            probe: probe.into(),
            pause: Pause::new(self.entropy.clone()),
        };
        (lane, work_on(publisher, line, ended).boxed())
    }
}

/// Until the shard is no more, or all that waited is published.
async fn work_on(publisher: Publisher, line: Line, ended: oneshot::Receiver<()>) {
    tokio::select! {
        biased;
        // The sender going away is its word.
        _ = ended => {}
        () = publisher.run() => {}
        never = line.run() => match never {},
    }
}
