//! Which connections bring and take what: all of them anything, or in a sharded Cluster each what its shard serves.
//!
//! ```text
//!  a name ─ its slot ─▶ lane of the shard:  outbox ─▶ publishing connection
//!                                           desks  ─▶ subscribing connections
//! ```
//! Without shards there is one lane. With them there is one per shard, and one that leads nowhere for the slots nobody is
//! known to serve: what is subscribed there waits, what is published is dropped. When a slot moves, what is wanted of it
//! moves with it, and who wants it is told of an interruption.

use super::address::Host;
use super::counters::Counters;
use super::desk::Desk;
use super::outbox::Outbox;
use super::slots::{SLOTS, Slots, slot_of};
use dualstream_core::Result;
use dualstream_core::bus::Message;
use dualstream_core::channel::Target;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::{oneshot, watch};

/// The lane that leads nowhere, where there are shards.
const NOWHERE: usize = 0;

/// The lanes of a bus.
pub(super) struct Routes {
    prefix: String,
    counters: Arc<Counters>,
    table: RwLock<Table>,
    /// Set under the lock of the table: no lane is made after.
    is_closed: watch::Sender<bool>,
}

/// The connections that share what is published and subscribed.
pub(super) struct Lane {
    pub outbox: Arc<Outbox>,
    pub desks: Vec<Arc<Desk>>,
    /// What it is in a sharded Cluster.
    pub shard: Option<Shard>,
}

/// A shard, as long as its master and its probe stay.
pub(super) struct Shard {
    pub master: Host,
    /// The slot of its probe: what proves nothing about a shard any more is made anew.
    pub probe_slot: u16,
    /// Ends its work when it is dropped.
    pub _work: oneshot::Sender<()>,
}

struct Table {
    lanes: BTreeMap<usize, Lane>,
    /// The lane of each slot; empty where there are no shards.
    by_slot: Vec<usize>,
    next: usize,
}

impl Routes {
    /// One lane for everything.
    pub fn one(lane: Lane, counters: Arc<Counters>) -> Routes {
        Routes::new(lane, String::new(), Vec::new(), counters)
    }

    /// Lanes by slot, none of which is known yet.
    pub fn sharded(nowhere: Lane, prefix: &str, counters: Arc<Counters>) -> Routes {
        nowhere.outbox.shut();
        Routes::new(nowhere, prefix.to_owned(), vec![NOWHERE; SLOTS], counters)
    }

    fn new(first: Lane, prefix: String, by_slot: Vec<usize>, counters: Arc<Counters>) -> Routes {
        let lanes = BTreeMap::from([(NOWHERE, first)]);
        let table = RwLock::new(Table { lanes, by_slot, next: 1 });
        Routes { prefix, counters, table, is_closed: watch::Sender::new(false) }
    }

    /// How many of them were taken.
    pub fn push(&self, messages: Vec<Message>) -> usize {
        let table = self.read();
        if table.by_slot.is_empty() {
            return table.lanes[&NOWHERE].outbox.push(messages);
        }
        let mut by_lane: BTreeMap<usize, Vec<Message>> = BTreeMap::new();
        for message in messages {
            by_lane.entry(table.lane(&self.prefix, message.channel.as_str())).or_default().push(message);
        }
        by_lane.into_iter().map(|(lane, messages)| table.lanes[&lane].outbox.push(messages)).sum()
    }

    /// A user of a target more.
    pub fn join(&self, target: &Target) -> oneshot::Receiver<Result<()>> {
        self.read().desk(&self.prefix, target).join(target)
    }

    /// A user less.
    pub fn leave(&self, target: &Target) {
        self.read().desk(&self.prefix, target).leave(target);
    }

    /// How many channels and patterns Redis confirmed.
    pub fn confirmed(&self) -> usize {
        let table = self.read();
        table.lanes.values().flat_map(|lane| &lane.desks).map(|desk| desk.wants().confirmed()).sum()
    }

    /// Takes nothing any more.
    pub fn close(&self) {
        let table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        self.is_closed.send_replace(true);
        table.lanes.values().for_each(Lane::close);
    }

    /// Resolves once it takes nothing any more. Cancel-safe.
    pub async fn closed(&self) {
        // The sender is here, and so is whoever waits.
        let _ = self.is_closed.subscribe().wait_for(|is_closed| *is_closed).await;
    }

    /// Sends each slot to the lane of its master. `make` makes a lane with this number for a master of these slots; `end`
    /// hears of each lane that is no more.
    pub fn follow(
        &self,
        slots: &Slots,
        mut make: impl FnMut(usize, &Host, &[(u16, u16)]) -> Lane,
        end: impl Fn(usize),
    ) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if *self.is_closed.borrow() {
            return;
        }
        let gone = table.turn(slots, &mut make);
        let interrupted = table.move_targets(&self.prefix, &gone);
        self.counters.interrupted.fetch_add(interrupted as u64, Relaxed);
        for (number, lane) in gone {
            lane.outbox.shut();
            lane.close();
            end(number);
        }
        // Whoever has none by now is told of as any other that is dropped.
        table.lanes[&NOWHERE].outbox.close();
        for desk in table.lanes.values().flat_map(|lane| &lane.desks) {
            desk.retry();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn lane(&self, prefix: &str, name: &str) -> usize {
        match self.by_slot.is_empty() {
            true => NOWHERE,
            false if prefix.is_empty() => self.by_slot[usize::from(slot_of(name))],
            false => self.by_slot[usize::from(slot_of(&[prefix, name].concat()))],
        }
    }

    /// That of the connection which brings the target.
    fn desk(&self, prefix: &str, target: &Target) -> &Arc<Desk> {
        let desks = &self.lanes[&self.lane(prefix, target.as_str())].desks;
        let mut hasher = DefaultHasher::new();
        target.as_str().hash(&mut hasher);
        let number = hasher.finish() % desks.len() as u64;
        &desks[usize::try_from(number).expect("less than there are desks")]
    }

    /// Makes the lanes that are missing, and takes away those whose master serves nothing any more, or not their probe.
    fn turn(
        &mut self,
        slots: &Slots,
        make: &mut impl FnMut(usize, &Host, &[(u16, u16)]) -> Lane,
    ) -> BTreeMap<usize, Lane> {
        let ranges: BTreeMap<&Host, &[(u16, u16)]> = slots.masters().collect();
        let is_gone = |lane: &Lane| {
            lane.shard.as_ref().is_some_and(|shard| {
                let serves = |(first, last): &(u16, u16)| (*first..=*last).contains(&shard.probe_slot);
                !ranges.get(&shard.master).is_some_and(|ranges| ranges.iter().any(serves))
            })
        };
        let gone = self.lanes.extract_if(.., |_, lane| is_gone(lane)).collect();
        self.by_slot.fill(NOWHERE);
        for (master, ranges) in ranges {
            let is_its = |lane: &Lane| lane.shard.as_ref().is_some_and(|shard| shard.master == *master);
            let known = self.lanes.iter().find(|(_, lane)| is_its(lane)).map(|(number, _)| *number);
            let number = known.unwrap_or_else(|| {
                let number = self.next;
                self.next += 1;
                self.lanes.insert(number, make(number, master, ranges));
                number
            });
            for (first, last) in ranges {
                self.by_slot[usize::from(*first)..=usize::from(*last)].fill(number);
            }
        }
        gone
    }

    /// Takes what is wanted to where it can be had now; how many had been confirmed elsewhere.
    fn move_targets(&self, prefix: &str, gone: &BTreeMap<usize, Lane>) -> usize {
        let mut interrupted = 0;
        for (number, lane) in self.lanes.iter().chain(gone) {
            for desk in &lane.desks {
                let is_elsewhere = |target: &Target| self.lane(prefix, target.as_str()) != *number;
                let (withdrawn, confirmed) = desk.wants().withdraw(is_elsewhere);
                interrupted += confirmed;
                for (target, want) in withdrawn {
                    self.desk(prefix, &target).wants().adopt(target, want);
                }
            }
        }
        interrupted
    }
}

impl Lane {
    fn close(&self) {
        self.outbox.close();
        self.desks.iter().for_each(|desk| desk.close());
    }
}
