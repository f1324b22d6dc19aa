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

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::channel::Channel;
    use redis::Value;

    fn host(name: &str) -> Host {
        Host { name: name.into(), port: 1 }
    }

    /// By the word of a Cluster in which these masters have these slots.
    fn slots(masters: &[(&str, u16, u16)]) -> Slots {
        let range = |&(name, first, last): &(&str, u16, u16)| {
            let master = Value::Array(vec![Value::BulkString(name.into()), Value::Int(1)]);
            Value::Array(vec![Value::Int(first.into()), Value::Int(last.into()), master])
        };
        Slots::read(&Value::Array(masters.iter().map(range).collect()), &host("asked")).unwrap()
    }

    fn lane(counters: &Arc<Counters>, shard: Option<Shard>) -> Lane {
        Lane { outbox: Arc::new(Outbox::new(1 << 20, counters.clone())), desks: vec![Arc::default()], shard }
    }

    /// Lets every master have its probe in its first slot; which lanes were made and which ended.
    fn follow(routes: &Routes, slots: &Slots) -> (Vec<String>, Vec<usize>) {
        let (mut made, ended) = (Vec::new(), std::cell::RefCell::new(Vec::new()));
        let make = |number: usize, master: &Host, ranges: &[(u16, u16)]| {
            made.push(format!("{number} {}", master.name));
            let (work, _) = oneshot::channel();
            let shard = Shard { master: master.clone(), probe_slot: ranges[0].0, _work: work };
            lane(&routes.counters, Some(shard))
        };
        routes.follow(slots, make, |number| ended.borrow_mut().push(number));
        (made, ended.into_inner())
    }

    /// What the desk of each lane asks for now; all of it is confirmed.
    fn asked(routes: &Routes) -> Vec<(usize, Vec<String>)> {
        let table = routes.read();
        let of = |lane: &Lane| {
            let mut wants = lane.desks[0].wants();
            let changes = wants.changes().subscribe;
            for target in &changes {
                wants.confirm(target);
            }
            changes.iter().map(Target::to_string).collect::<Vec<_>>()
        };
        let all = table.lanes.iter().map(|(number, lane)| (*number, of(lane)));
        all.filter(|(_, targets)| !targets.is_empty()).collect()
    }

    #[test]
    fn targets_are_where_their_slots_are() {
        let counters = Arc::new(Counters::default());
        let routes = Routes::sharded(lane(&counters, None), "", counters.clone());
        // 12182 and 13694.
        let [low, high] = ["{foo}.bar", "a{}b"].map(|name| Target::Channel(Channel::new(name).unwrap()));
        let mut answers = [&low, &high].map(|target| routes.join(target));
        let message = |name| Message { channel: Channel::new(name).unwrap(), payload: "1".into() };
        assert_eq!(routes.push(vec![message("a{}b")]), 0, "nobody knows where to");
        let both = |end| slots(&[("a", 0, end), ("b", end + 1, 16_383)]);
        assert_eq!(follow(&routes, &both(12_999)), (vec!["1 a".into(), "2 b".into()], vec![]));
        assert_eq!(asked(&routes), [(1, vec!["{foo}.bar".to_owned()]), (2, vec!["a{}b".to_owned()])]);
        assert_eq!(answers.each_mut().map(|answer| answer.try_recv().is_ok()), [true, true]);
        assert_eq!(routes.push(vec![message("a{}b"), message("{foo}.bar")]), 2);

        assert_eq!(follow(&routes, &both(12_999)), (vec![], vec![]), "as it was");
        assert!(asked(&routes).is_empty());
        // The slot of b's probe goes, and with it what waited there.
        assert_eq!(follow(&routes, &both(13_000)), (vec!["3 b".into()], vec![2]));
        assert_eq!(asked(&routes), [(3, vec!["a{}b".to_owned()])]);
        assert_eq!((counters.dropped.load(Relaxed), counters.interrupted.load(Relaxed)), (2, 1));
        assert_eq!(follow(&routes, &slots(&[("a", 0, 16_383)])), (vec![], vec![3]));
        assert_eq!(asked(&routes), [(1, vec!["a{}b".to_owned()])]);
        assert_eq!((routes.confirmed(), counters.interrupted.load(Relaxed)), (2, 2));
        routes.leave(&low);
        routes.leave(&high);
        assert_eq!(follow(&routes, &slots(&[])), (vec![], vec![1]));
        assert_eq!((routes.confirmed(), counters.away.load(Relaxed)), (0, 0));
        routes.close();
        assert_eq!(follow(&routes, &both(1)), (vec![], vec![]), "nothing begins any more");
    }
}
