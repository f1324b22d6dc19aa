//! What a log that was opened again must still hold.

use super::{Checker, Fact, Order, Place, Stored, Verdict};
use crate::history::Broken;
use dualstream_core::log::{Bounds, Gap};
use dualstream_core::record::Record;
use dualstream_core::topic::Epoch;
use std::collections::BTreeSet;

/// A topic read from its start to its end.
pub struct FullRead {
    /// Index of the topic.
    pub topic: usize,
    /// Start and end when it was read.
    pub bounds: Bounds,
    /// All records in log order.
    pub records: Vec<Record>,
    /// Damage that was reported.
    pub gaps: Vec<Gap>,
    /// Records and damage when it was read newest first.
    pub backwards: (Vec<Record>, Vec<Gap>),
}

impl FullRead {
    /// Both directions find the same records in the same order, and tell of the same damage, each once.
    fn check_directions(&self) -> Verdict {
        let place = |r: &Record| (r.partition, r.offset);
        let broken = |what: String, (partition, offset): (u32, u64)| {
            Err(Broken::new("backwards as forwards", what, vec![format!("[{partition}]@{offset}")]))
        };
        let (forwards, backwards) = (self.records.iter(), self.backwards.0.iter().rev());
        if let Some((one, other)) = forwards.zip(backwards).find(|(a, b)| a != b) {
            let what = format!("forwards {:?} comes where backwards {:?} does", place(one), place(other));
            return broken(what, place(one));
        }
        let [forwards, backwards] = [&self.gaps, &self.backwards.1].map(|gaps| {
            let mut lost: Vec<(u32, u64)> =
                gaps.iter().flat_map(|g| (g.from..g.until).map(|offset| (g.partition, offset))).collect();
            lost.sort_unstable();
            lost
        });
        let (count, other) = (self.records.len(), self.backwards.0.len());
        if count != other || forwards != backwards || forwards.windows(2).any(|w| w[0] == w[1]) {
            let what = format!(
                "{count} records and {other} backwards; damaged: {forwards:?}, backwards: {backwards:?}"
            );
            return broken(what, forwards.iter().chain(&backwards).next().copied().unwrap_or_default());
        }
        Ok(())
    }
}

impl Checker {
    /// Checks logs that were just read whole, all topics at once. `clean` says that they were closed in order before.
    pub fn reopened(&mut self, reads: &[FullRead], clean: bool) -> Verdict {
        let mut lost = Vec::new();
        for read in reads {
            let epoch = read.bounds.epoch;
            self.trimmed(read.topic, &read.bounds)?;
            self.topic_of.insert(epoch, read.topic);
            match self.topics[read.topic].epoch {
                Some(old) if old != epoch => lost.extend(self.new_epoch(read, old, clean)?),
                _ => {
                    self.topics[read.topic].epoch = Some(epoch);
                    self.same_epoch(read)?;
                }
            }
            read.check_directions()?;
        }
        self.check_atomic()?;
        self.check_suffix(&lost)?;
        // Nobody holds the log to them any more; their publisher may send them again.
        lost.iter().for_each(|&n| self.facts[n as usize].acked = None);
        Ok(())
    }

    /// The start of a topic is about to be seen at `earliest`: nothing appended after `until_ms` may be passed by it.
    pub fn check_retention(&self, topic: usize, earliest: &[u64], until_ms: i64) -> Verdict {
        let Some(order) = self.order(topic) else { return Ok(()) };
        let known = &self.topics[topic].earliest;
        let is_passed = |s: &&Stored| {
            let p = s.partition as usize;
            s.offset < earliest[p] && known.get(p).is_none_or(|&known| s.offset >= known)
        };
        match order.records().iter().filter(is_passed).find(|s| s.append_time_ms > until_ms) {
            None => Ok(()),
            Some(s) => {
                let what = format!(
                    "#{} at [{}]@{} was given up too early: appended at {}, allowed until {until_ms}",
                    s.n, s.partition, s.offset, s.append_time_ms
                );
                Err(Broken::new("retention", what, vec![format!("#{}", s.n)]))
            }
        }
    }

    fn same_epoch(&mut self, read: &FullRead) -> Verdict {
        let (topic, epoch) = (read.topic, read.bounds.epoch);
        let mut order = self.topics[topic].orders.remove(&epoch).unwrap_or_default();
        let (mut last, mut present) = (None, vec![false; order.records().len()]);
        let mut fresh = Vec::new();
        for record in &read.records {
            let n = self.saw(topic, epoch, record)?;
            let at = order.index(record.partition, record.offset);
            if at.is_none() {
                fresh.push(stored(record, n));
                continue;
            }
            if at <= last || !fresh.is_empty() {
                let what = format!(
                    "#{n} at [{}]@{} comes elsewhere in the log than before",
                    record.partition, record.offset
                );
                return Err(Broken::new("one order", what, vec![format!("#{n}")]));
            }
            last = at;
            at.into_iter().for_each(|at| present[at] = true);
        }
        let missing: Vec<Stored> = order
            .kept(&read.bounds.earliest)
            .filter(|r| order.index(r.partition, r.offset).is_some_and(|at| !present[at]))
            .copied()
            .collect();
        self.note_damage(&mut order, &missing, &read.gaps)?;
        for stored in fresh {
            self.note_gaps(&mut order, &read.gaps);
            order.push(stored, &self.topics[topic].earliest, topic)?;
        }
        self.topics[topic].orders.insert(epoch, order);
        self.check_kept(topic, epoch)
    }

    /// Records that were there and are not: only next to damage done on purpose, in the same batch, and reported.
    fn note_damage(&mut self, order: &mut Order, missing: &[Stored], gaps: &[Gap]) -> Verdict {
        for lost in missing {
            let (partition, offset) = (lost.partition, lost.offset);
            let about = vec![format!("#{}", lost.n), format!("[{partition}]@{offset}")];
            let reported =
                gaps.iter().any(|g| g.partition == partition && (g.from..g.until).contains(&offset));
            if !self.is_collateral(order, lost) {
                let what = format!("#{} at [{partition}]@{offset} is gone", lost.n);
                return Err(Broken::new("nothing durable is lost", what, about));
            }
            if !reported {
                let what = format!("#{} at [{partition}]@{offset} is damaged, and that is not said", lost.n);
                return Err(Broken::new("damage is reported", what, about));
            }
            order.gone.insert((partition, offset));
            self.damaged.insert(lost.n);
        }
        if let Some(gap) = gaps.first().filter(|_| self.damaged.is_empty()) {
            let what = format!("damage is reported where none was done: {gap:?}");
            return Err(Broken::new(
                "nothing durable is lost",
                what,
                vec![format!("[{}]@{}", gap.partition, gap.from)],
            ));
        }
        Ok(())
    }

    /// Whether a record stands in one batch with one that was damaged on purpose.
    fn is_collateral(&self, order: &Order, lost: &Stored) -> bool {
        let stored =
            |&n: &u64| order.place_of(n).and_then(|(p, o)| order.index(p, o)).map(|at| order.records()[at]);
        let mut victims = self.damaged.iter().filter_map(stored);
        victims.any(|v| v.partition == lost.partition && v.append_time_ms == lost.append_time_ms)
    }

    /// Damage to records nobody had read before.
    fn note_gaps(&self, order: &mut Order, gaps: &[Gap]) {
        if !self.damaged.is_empty() {
            let places = gaps.iter().flat_map(|g| (g.from..g.until).map(|o| (g.partition, o)));
            order.gone.extend(places);
        }
    }

    /// Everything known to stand in this epoch was read, or is trimmed or damaged.
    pub(super) fn check_kept(&self, topic: usize, epoch: Epoch) -> Verdict {
        let Some(order) = self.order(topic) else { return Ok(()) };
        let is_kept = |place: &Place| {
            let at = (place.partition, place.offset);
            order.index(at.0, at.1).is_some() || order.gone.contains(&at) || self.is_trimmed(place)
        };
        for (n, fact) in self.facts.iter().enumerate() {
            let Some(place) = fact.place.filter(|p| p.topic == topic && p.epoch == epoch) else { continue };
            if !is_kept(&place) && !self.damaged.contains(&(n as u64)) {
                let what = format!("#{n} was acknowledged or delivered at {place} and is gone");
                return Err(Broken::new(
                    "nothing durable is lost",
                    what,
                    vec![format!("#{n}"), place.to_string()],
                ));
            }
        }
        let announced = self.topics[topic].announced.iter().filter(|p| p.epoch == epoch);
        match announced.into_iter().find(|place| !is_kept(place)) {
            Some(place) => {
                let what = format!("what was announced at {place} is gone");
                Err(Broken::new("nothing durable is lost", what, vec![place.to_string()]))
            }
            None => Ok(()),
        }
    }

    /// A new epoch says that something may be lost: a suffix if acks are not synced, what was damaged otherwise. Returns
    /// which events were lost as a suffix.
    fn new_epoch(&mut self, read: &FullRead, old: Epoch, clean: bool) -> Verdict<Vec<u64>> {
        let topic = read.topic;
        if (self.fsync_always || clean) && self.damaged.is_empty() {
            let why = if clean { "the log was closed in order" } else { "acks are synced" };
            let what = format!("{} got a new epoch although {why}", super::TOPICS[topic]);
            return Err(Broken::new("epochs", what, Vec::new()));
        }
        let before = self.topics[topic].orders.get(&old).cloned().unwrap_or_default();
        let damaged = self.damaged.clone();
        let lost = self.lose(read);
        let order = self.begin_order(read, &before)?;
        if self.fsync_always {
            self.check_only_damage(&before, &order, &lost)?;
        }
        let survivors =
            before.kept(&read.bounds.earliest).filter(|s| !self.fsync_always || !self.damaged.contains(&s.n));
        // What was damaged may be gone, or whole in another file: it says nothing about the order of the others.
        let others = order.records().iter().filter(|s| !self.fsync_always || !damaged.contains(&s.n));
        check_prefix(survivors, others)?;
        self.topics[topic].epoch = Some(read.bounds.epoch);
        self.topics[topic].orders.insert(read.bounds.epoch, order);
        Ok(if self.fsync_always { Vec::new() } else { lost })
    }

    /// Marks the events that are gone.
    fn lose(&mut self, read: &FullRead) -> Vec<u64> {
        let kept: BTreeSet<(u32, u64)> = read.records.iter().map(|r| (r.partition, r.offset)).collect();
        let mut lost = Vec::new();
        for (n, fact) in self.facts.iter_mut().enumerate() {
            let Some(place) = fact.place.filter(|p| p.topic == read.topic) else { continue };
            // Places of the new epoch become known by reading it.
            fact.place = None;
            fact.passed |= read.bounds.earliest[place.partition as usize] > place.offset;
            if !kept.contains(&(place.partition, place.offset)) && !fact.passed {
                fact.lost = true;
                lost.push(n as u64);
            }
        }
        lost
    }

    fn begin_order(&mut self, read: &FullRead, before: &Order) -> Verdict<Order> {
        let (topic, epoch) = (read.topic, read.bounds.epoch);
        let mut order = Order::default();
        order.gone = before.gone.clone();
        self.note_gaps(&mut order, &read.gaps);
        for record in &read.records {
            let n = self.saw(topic, epoch, record)?;
            self.facts[n as usize].found();
            order.push(stored(record, n), &self.topics[topic].earliest, topic)?;
        }
        Ok(order)
    }

    /// Where acks are synced, nothing but what was damaged on purpose may be gone.
    fn check_only_damage(&mut self, before: &Order, order: &Order, lost: &[u64]) -> Verdict {
        for &n in lost {
            let stored =
                before.place_of(n).and_then(|(p, o)| before.index(p, o)).map(|at| before.records()[at]);
            if order.place_of(n).is_none() && !stored.is_some_and(|s| self.is_collateral(before, &s)) {
                let what = format!("#{n} is gone");
                return Err(Broken::new("nothing durable is lost", what, vec![format!("#{n}")]));
            }
            self.facts[n as usize].acked = None;
        }
        self.damaged.extend(lost);
        Ok(())
    }

    /// Whatever survived an unclean start was not sent after the ack of something that did not.
    fn check_suffix(&self, lost: &[u64]) -> Verdict {
        let acked = lost.iter().filter_map(|&n| Some((self.facts[n as usize].acked?, n)));
        let Some((acked, n)) = acked.min() else { return Ok(()) };
        let survivor =
            |f: &Fact| f.place.is_some() && !f.lost && f.first_sent.is_some_and(|sent| sent > acked);
        match self.facts.iter().position(survivor) {
            None => Ok(()),
            Some(m) => {
                let what = format!("#{m} survived and #{n}, acknowledged before it was sent, did not");
                Err(Broken::new("a suffix of the one order", what, vec![format!("#{n}"), format!("#{m}")]))
            }
        }
    }
}

/// The records that stood there, in their order, as far as the new order goes.
fn check_prefix<'a>(
    before: impl Iterator<Item = &'a Stored>,
    now: impl Iterator<Item = &'a Stored>,
) -> Verdict {
    let place = |s: &Stored| (s.partition, s.offset, s.n);
    match before.map(place).zip(now.map(place)).find(|(old, new)| old != new) {
        None => Ok(()),
        Some((old, new)) => {
            let what = format!(
                "after an unclean start #{} stands where #{} did: not a suffix was lost",
                new.2, old.2
            );
            Err(Broken::new(
                "a suffix of the one order",
                what,
                vec![format!("#{}", new.2), format!("#{}", old.2)],
            ))
        }
    }
}

fn stored(record: &Record, n: u64) -> Stored {
    let Record { partition, offset, append_time_ms, .. } = record;
    Stored { partition: *partition, offset: *offset, n, append_time_ms: *append_time_ms }
}
