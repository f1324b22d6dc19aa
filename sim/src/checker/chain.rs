//! One reliable subscriber over all its reconnects: what it was given must be one contiguous run of what it asked for.
//!
//! The run is judged when it is over, against the orders: by then it is known what should have come.

use super::{Checker, Place, SOURCES, Source, Stored, TOPICS, Verdict};
use crate::history::Broken;
use dualstream_core::channel::Target;
use dualstream_core::log::Bounds;
use dualstream_core::position::{Cursor, Next, Resume};
use dualstream_core::topic::Epoch;
use std::collections::BTreeMap;

/// A reliable subscriber.
pub struct Chain {
    /// Its name in the history.
    pub name: String,
    /// What it asked for.
    pub targets: Vec<Target>,
    /// What it was given, in order.
    pub steps: Vec<Step>,
    /// It asked to be closed rather than to go on somewhere else, and was.
    pub closed: bool,
}

/// Something that happened to a subscriber.
#[derive(Clone, Debug)]
pub enum Step {
    /// It was subscribed for the first time, and stood here.
    Began(Start, Resume),
    /// It was given an event.
    Event(Place, u64),
    /// It was told that what it wanted cannot be had, and where it goes on.
    Moved(Resume),
}

/// Where a subscriber asked to begin, with what is needed to judge where it did.
#[derive(Clone, Debug)]
pub enum Start {
    /// At the end: between the ends before and after the call, by topic.
    Latest { before: [Vec<u64>; 2], after: [Vec<u64>; 2] },
    /// At the oldest: not past the starts after the call.
    Earliest { after: [Vec<u64>; 2] },
    /// At the first event appended at this time or later, as far as it was kept after the call and there before it.
    Time { ms: i64, earliest: [Vec<u64>; 2], before: [Vec<u64>; 2] },
    /// With the last so many before the end, which is between these two.
    Recent { count: usize, before: [Vec<u64>; 2], after: [Vec<u64>; 2], earliest: [Vec<u64>; 2] },
}

/// Where a chain stands in one topic.
struct Stand {
    epoch: Epoch,
    /// What it wants from there on: all in one order, or each partition in its own.
    lanes: BTreeMap<u32, Lane>,
    /// Damaged events that were passed over and not told of yet. It is told before the next event of the partition.
    owed: Vec<Stored>,
}

/// Records in their order.
#[derive(Default)]
struct Lane {
    rest: Vec<Stored>,
    at: usize,
}

impl Lane {
    fn next(&self) -> Option<&Stored> {
        self.rest.get(self.at)
    }
}

impl Checker {
    /// A new reliable subscriber; returns its number.
    pub fn chain(&mut self, name: String, targets: Vec<Target>) -> usize {
        self.chains.push(Chain { name, targets, steps: Vec::new(), closed: false });
        self.chains.len() - 1
    }

    /// The chain of that number.
    pub fn chain_mut(&mut self, index: usize) -> &mut Chain {
        &mut self.chains[index]
    }

    /// The chain of that number.
    pub fn chain_ref(&self, index: usize) -> &Chain {
        &self.chains[index]
    }

    /// A subscriber that stood at `token` was told that it cannot go on from there; whether that is so, given the
    /// bounds of both topics now.
    pub fn is_unrecoverable(&self, reason: &str, token: &Resume, bounds: &[Bounds; 2]) -> bool {
        token.0.iter().any(|cursor| {
            let Some(topic) = self.topic_of(cursor.epoch) else { return false };
            let Bounds { epoch, earliest, .. } = &bounds[topic];
            match reason {
                "epoch" => *epoch != cursor.epoch,
                "retention" => places(cursor).any(|(p, next)| next < earliest[p as usize]),
                "damage" => !self.damaged.is_empty(),
                _ => false,
            }
        })
    }

    /// Judges every chain. The orders must be complete.
    pub fn check_chains(&self) -> Verdict {
        self.chains.iter().try_for_each(|chain| self.check_chain(chain))
    }

    fn check_chain(&self, chain: &Chain) -> Verdict {
        let wanted: Vec<bool> = (0..SOURCES).map(|s| chain.wants(Source(s))).collect();
        let mut stands: [Option<Stand>; 2] = [None, None];
        for step in &chain.steps {
            match step {
                Step::Began(start, resume) => {
                    self.stand(chain, &mut stands, resume, &wanted)?;
                    self.check_start(chain, start, resume, &wanted)?;
                }
                Step::Moved(resume) => self.stand(chain, &mut stands, resume, &wanted)?,
                Step::Event(place, n) => self.check_event(chain, &mut stands, place, *n)?,
            }
        }
        if chain.closed {
            return Ok(());
        }
        stands.iter().enumerate().try_for_each(|(topic, stand)| self.check_end(chain, topic, stand.as_ref()))
    }

    fn stand(
        &self,
        chain: &Chain,
        stands: &mut [Option<Stand>; 2],
        resume: &Resume,
        wanted: &[bool],
    ) -> Verdict {
        for cursor in &resume.0 {
            let Some(topic) = self.topic_of(cursor.epoch) else {
                return Err(
                    chain.broken("receipts", format!("it stands in the unknown epoch {}", cursor.epoch))
                );
            };
            let mut lanes = BTreeMap::<u32, Lane>::new();
            for stored in self.matching(topic, cursor.epoch, wanted).filter(|s| is_ahead(cursor, s)) {
                lanes.entry(self.lane(stored.partition)).or_default().rest.push(*stored);
            }
            let before = stands[topic].take().filter(|s| s.epoch == cursor.epoch);
            let owed = before.map_or_else(Vec::new, |before| before.owed);
            let owed = owed.into_iter().filter(|s| is_ahead(cursor, s)).collect();
            stands[topic] = Some(Stand { epoch: cursor.epoch, lanes, owed });
        }
        Ok(())
    }

    /// Which of the orders a partition's records are in.
    fn lane(&self, partition: u32) -> u32 {
        if self.by_partition { partition } else { 0 }
    }

    fn matching<'a>(
        &'a self,
        topic: usize,
        epoch: Epoch,
        wanted: &'a [bool],
    ) -> impl Iterator<Item = &'a Stored> + use<'a> {
        let records = self.topics[topic].orders.get(&epoch).map_or(&[][..], |order| order.records());
        records.iter().filter(|s| wanted[self.facts[s.n as usize].source.0 as usize])
    }

    fn check_event(&self, chain: &Chain, stands: &mut [Option<Stand>; 2], place: &Place, n: u64) -> Verdict {
        let Some(stand) = stands[place.topic].as_mut().filter(|s| s.epoch == place.epoch) else {
            return Err(
                chain.broken("contiguous", format!("was given #{n} at {place}, where it does not stand"))
            );
        };
        let is_gone = |s: &Stored| self.is_gone(place.topic, place.epoch, s);
        let lane = stand.lanes.entry(self.lane(place.partition)).or_default();
        while let Some(next) = lane.next().filter(|s| is_gone(s) && s.n != n) {
            stand.owed.push(*next);
            lane.at += 1;
        }
        if let Some(owed) = stand.owed.iter().find(|s| s.partition == place.partition) {
            let what =
                format!("was given #{n} at {place} and not told that {} is damaged", shown(Some(owed)));
            return Err(chain.broken("damage is told", what));
        }
        match lane.next() {
            Some(next) if (next.partition, next.offset) == (place.partition, place.offset) => {
                lane.at += 1;
                Ok(())
            }
            // The end of an epoch that was cut off may be known to nobody else.
            None if self.topics[place.topic].epoch != Some(place.epoch) => Ok(()),
            next => {
                let what = format!("was given #{n} at {place}, but the next it asked for is {}", shown(next));
                let mut broken = chain.broken("contiguous", what);
                broken.about.extend([format!("#{n}"), place.to_string()]);
                broken.about.extend(next.map(|next| format!("#{}", next.n)));
                Err(broken)
            }
        }
    }

    fn is_gone(&self, topic: usize, epoch: Epoch, stored: &Stored) -> bool {
        let order = self.topics[topic].orders.get(&epoch);
        order.is_some_and(|order| order.gone.contains(&(stored.partition, stored.offset)))
    }

    fn check_end(&self, chain: &Chain, topic: usize, stand: Option<&Stand>) -> Verdict {
        let Some(stand) = stand else { return Ok(()) };
        if self.topics[topic].epoch != Some(stand.epoch) {
            return Err(
                chain.broken("caught up", format!("still stands in a past epoch of {}", TOPICS[topic]))
            );
        }
        if let Some(owed) = stand.owed.first() {
            return Err(
                chain.broken("damage is told", format!("was not told that {} is damaged", shown(Some(owed))))
            );
        }
        match stand.lanes.values().find(|lane| lane.next().is_some()) {
            None => Ok(()),
            Some(lane) => {
                let (next, left) = (lane.next(), lane.rest.len() - lane.at);
                let what = format!("was not given {left} events of {}, first {}", TOPICS[topic], shown(next));
                let mut broken = chain.broken("caught up", what);
                broken.about.extend(next.map(|next| format!("#{}", next.n)));
                Err(broken)
            }
        }
    }

    fn check_start(&self, chain: &Chain, start: &Start, resume: &Resume, wanted: &[bool]) -> Verdict {
        let wrong = |what: String| Err(chain.broken("where it starts", what));
        for cursor in &resume.0 {
            let Some(topic) = self.topic_of(cursor.epoch) else { continue };
            let outside = |low: &[u64], high: &[u64]| {
                places(cursor).any(|(p, next)| !(low[p as usize]..=high[p as usize]).contains(&next))
            };
            match start {
                Start::Latest { before, after } if outside(&before[topic], &after[topic]) => {
                    return wrong(format!(
                        "at {cursor:?}, not between the ends {:?} and {:?}",
                        before[topic], after[topic]
                    ));
                }
                Start::Earliest { after } if outside(&vec![0; after[topic].len()], &after[topic]) => {
                    return wrong(format!("at {cursor:?}, past the start {:?}", after[topic]));
                }
                Start::Time { ms, earliest, before } => {
                    let skipped = |s: &&Stored| {
                        let p = s.partition as usize;
                        let was_there = (earliest[topic][p]..before[topic][p]).contains(&s.offset);
                        // When damaged bytes were appended nobody can read: it may begin before them.
                        let is_too_early = is_ahead(cursor, s) && !self.is_gone(topic, cursor.epoch, s);
                        let is_late = s.append_time_ms >= *ms;
                        was_there && if is_late { !is_ahead(cursor, s) } else { is_too_early }
                    };
                    if let Some(s) = self.matching(topic, cursor.epoch, wanted).find(skipped) {
                        let what =
                            format!("asked for {ms}, begins at {cursor:?}: wrong for {}", shown(Some(s)));
                        return wrong(what);
                    }
                }
                _ => {}
            }
        }
        match start {
            Start::Recent { count, before, after, earliest } if resume.0.len() == 1 => {
                self.check_recent(chain, *count, [before, after, earliest], resume, wanted)
            }
            _ => Ok(()),
        }
    }

    /// Of the events before the end it begins with the last `count`, or with all that are kept.
    fn check_recent(
        &self,
        chain: &Chain,
        count: usize,
        [before, after, earliest]: [&[Vec<u64>; 2]; 3],
        resume: &Resume,
        wanted: &[bool],
    ) -> Verdict {
        let Some((cursor, topic)) = resume.0.first().and_then(|c| Some((c, self.topic_of(c.epoch)?))) else {
            return Ok(());
        };
        let below = |s: &Stored, ends: &[Vec<u64>; 2]| s.offset < ends[topic][s.partition as usize];
        let all = || self.matching(topic, cursor.epoch, wanted);
        // What is damaged is none of the last so many; whether it was already then, nobody knows.
        let is_whole = |s: &Stored| !self.is_gone(topic, cursor.epoch, s);
        let given_at_least = all().filter(|s| is_ahead(cursor, s) && below(s, before) && is_whole(s)).count();
        let given_at_most = all().filter(|s| is_ahead(cursor, s) && below(s, after)).count();
        let available = all().filter(|s| !below(s, earliest) && below(s, before) && is_whole(s)).count();
        if given_at_least > count || given_at_most < count.min(available) {
            let what = format!(
                "asked for the last {count} of {available}, begins with {given_at_least} to {given_at_most} ({cursor:?})"
            );
            return Err(chain.broken("where it starts", what));
        }
        Ok(())
    }
}

impl Chain {
    fn wants(&self, source: Source) -> bool {
        let channel = source.channel();
        self.targets.iter().any(|target| target.matches(&channel))
    }

    fn broken(&self, promise: &'static str, what: String) -> Broken {
        Broken::new(promise, format!("{} {what}", self.name), vec![format!("{} ", self.name)])
    }
}

/// The partitions of a cursor with their next offsets.
fn places(cursor: &Cursor) -> impl Iterator<Item = (u32, u64)> + '_ {
    let (one, all) = match &cursor.next {
        Next::One { partition, offset } => (Some((*partition, *offset)), &[][..]),
        Next::All(offsets) => (None, &offsets[..]),
    };
    one.into_iter().chain((0..).zip(all.iter().copied()))
}

/// Whether a cursor has not passed a record yet.
fn is_ahead(cursor: &Cursor, stored: &Stored) -> bool {
    places(cursor).any(|(p, next)| p == stored.partition && stored.offset >= next)
}

fn shown(stored: Option<&Stored>) -> String {
    match stored {
        Some(s) => format!("#{} at [{}]@{}", s.n, s.partition, s.offset),
        None => "nothing".into(),
    }
}
