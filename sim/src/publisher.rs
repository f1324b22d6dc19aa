//! A publisher of the workload: new events, retries, duplicates, and other bodies under old ids.

use crate::body::body;
use crate::checker::{Outcome, Place, SOURCES, Source, TOPICS};
use crate::dice::Dice;
use crate::history::Broken;
use crate::node::{Node, shown};
use crate::world::World;
use dualstream_core::ErrorKind;
use dualstream_core::event::{Data, Event};
use dualstream_core::publisher::{Failure, Receipt};
use std::sync::Arc;
use std::time::Duration;

/// Attempts to find out about one event before it is called stuck.
const RETRIES_MAX: u32 = 200;

/// One publisher.
pub struct Publisher {
    world: Arc<World>,
    dice: Dice,
    number: u64,
    /// Every event it made.
    mine: Vec<u64>,
}

/// What became of a publish.
type Results = Vec<Result<Receipt, Failure>>;

impl Publisher {
    /// A publisher that has done nothing yet.
    pub fn new(world: Arc<World>, dice: Dice, number: u64) -> Publisher {
        Publisher { world, dice, number, mine: Vec::new() }
    }

    /// Publishes its share, then retries until it knows what became of everything.
    pub async fn run(mut self) {
        for _ in 0..self.world.plan.rounds {
            tokio::time::sleep(Duration::from_millis(self.dice.size(1, 100))).await;
            let events = self.choose();
            self.publish(&events).await;
        }
        for _ in 0..RETRIES_MAX {
            let open = self.open();
            if open.is_empty() {
                return;
            }
            let batch = &open[..open.len().min(self.world.plan.batch_max as usize)];
            self.publish(batch).await;
            tokio::time::sleep(Duration::from_millis(self.dice.size(1, 1000))).await;
        }
        let what = format!("publisher {} cannot find out what became of {:?}", self.number, self.open());
        self.world.history.broken(Broken::new("progress", what, Vec::new()));
    }

    /// Events of its own whose fate it does not know and can ask for.
    fn open(&self) -> Vec<u64> {
        let checker = self.world.checker();
        let is_open = |n: &u64| {
            let fact = &checker.facts()[*n as usize];
            fact.is_open() && fact.id.is_some() && fact.rival_of.is_none()
        };
        self.mine.iter().copied().filter(is_open).collect()
    }

    fn choose(&mut self) -> Vec<u64> {
        let count = self.dice.size(1, self.world.plan.batch_max);
        let mut events: Vec<u64> = Vec::new();
        while (events.len() as u64) < count {
            let event = match self.dice.below(100) {
                0..10 => self.old(|fact| fact.is_open() && fact.rival_of.is_none()),
                10..17 => self.old(|fact| fact.must_be_there()),
                17..20 => self.rival(),
                20..23 => events.last().copied().filter(|&n| self.has_id(n)),
                _ => None,
            };
            events.push(event.unwrap_or_else(|| self.make()));
        }
        events
    }

    fn has_id(&self, n: u64) -> bool {
        self.world.checker().facts()[n as usize].id.is_some()
    }

    /// A recent event of its own that is so.
    fn old(&self, is_so: impl Fn(&crate::checker::Fact) -> bool) -> Option<u64> {
        let checker = self.world.checker();
        let recent = self.mine.iter().rev().take(40).copied();
        let fits = |n: &u64| {
            let fact = &checker.facts()[*n as usize];
            fact.id.is_some() && is_so(fact)
        };
        let fitting: Vec<u64> = recent.filter(fits).collect();
        (!fitting.is_empty()).then(|| *self.dice.pick(&fitting))
    }

    fn make(&mut self) -> u64 {
        let source = Source(self.dice.skewed(SOURCES));
        let bytes = self.dice.size(1, self.world.plan.event_bytes_max);
        let mut checker = self.world.checker();
        let id = (!self.dice.once_in(3)).then(|| format!("e{}", checker.facts().len()));
        let n = checker.make(source, id, bytes as usize, None);
        self.mine.push(n);
        n
    }

    /// Another body under the id of an event that is stored.
    fn rival(&mut self) -> Option<u64> {
        // Of two nodes the one may not know yet what the other has stored.
        if self.world.upstream.is_some() {
            return None;
        }
        let base = self.old(|fact| fact.must_be_there() && fact.rival_of.is_none())?;
        let mut checker = self.world.checker();
        if !checker.holds_identity(base) {
            return None;
        }
        let fact = checker.facts()[base as usize].clone();
        Some(checker.make(fact.source, fact.id, fact.bytes, Some(base)))
    }

    async fn publish(&self, numbers: &[u64]) {
        let world = &self.world;
        let node = world.up(&self.dice).await;
        let events: Vec<Event> = numbers.iter().map(|&n| self.event(n)).collect();
        let line = world.history.note(format!("publisher {} sends {}", self.number, list(numbers)));
        world.checker().sent(numbers, line);
        let patience = match self.dice.once_in(25) {
            true => Duration::from_millis(self.dice.below(20)),
            false => Duration::from_secs(120),
        };
        let results = tokio::select! {
            biased;
            results = node.publisher.publish(events) => Some(results),
            () = world.gone(&node) => None,
            () = tokio::time::sleep(patience) => None,
        };
        match results {
            Some(results) => {
                let first = results.iter().find_map(|result| result.as_ref().ok()).cloned();
                self.answered(&node, numbers, results);
                if let (Some(receipt), Some(_)) = (first, &world.upstream) {
                    self.look(&receipt).await;
                }
            }
            None => self.abandoned(numbers),
        }
    }

    /// Whoever asks any node from now on where the log ends is told of what was just stored, while all lines are well.
    async fn look(&self, receipt: &Receipt) {
        let world = &self.world;
        if world.plan.faults.lines > 0 || !self.dice.once_in(8) {
            return;
        }
        let node = world.up(&self.dice).await;
        let found = tokio::select! {
            biased;
            () = world.gone(&node) => return,
            found = node.log.seek(&receipt.topic, i64::MAX) => found,
        };
        let position = receipt.position;
        let is_shown = match &found {
            Ok(ends) => ends.get(position.partition as usize).is_some_and(|end| *end > position.offset),
            Err(error) => error.kind() == ErrorKind::Unavailable,
        };
        if !is_shown && !node.is_dead() {
            let what = format!("node {} ends at {found:?}, {position} was stored before", node.number);
            world.history.broken(Broken::new("a page holds what was stored", what, Vec::new()));
        }
    }

    fn event(&self, n: u64) -> Event {
        let fact = self.world.checker().facts()[n as usize].clone();
        Event {
            id: fact.id,
            event_type: "sim.happened".into(),
            source_type: fact.source.kind().into(),
            source_id: fact.source.id(),
            time: n.is_multiple_of(7).then(|| "2026-11-21T08:30:00.123Z".into()),
            data: Data::Json(body(n, fact.bytes)),
            extensions: Vec::new(),
        }
    }

    fn abandoned(&self, numbers: &[u64]) {
        let line = self.world.history.note(format!("publisher {} abandons {}", self.number, list(numbers)));
        for &n in numbers {
            self.world.check(|checker| checker.ended(n, Outcome::Unknown(None), line));
        }
    }

    fn answered(&self, node: &Node, numbers: &[u64], results: Results) {
        let mut text = format!("publisher {} is answered", self.number);
        for (n, result) in numbers.iter().zip(&results) {
            text.push_str(&match result {
                Ok(receipt) => {
                    let Receipt { position: at, duplicate, .. } = receipt;
                    let mark = if *duplicate { "=" } else { "" };
                    format!(" #{n} {mark}[{}]@{}", at.partition, at.offset)
                }
                Err(failure) => format!(" #{n} {}", failure.error.code()),
            });
        }
        if let Some(failure) = results.iter().find_map(|result| result.as_ref().err()) {
            text.push_str(&format!(" ({})", shown(&failure.error)));
        }
        let line = self.world.history.note(text);
        if results.len() != numbers.len() {
            let what = format!("{} events, {} results", numbers.len(), results.len());
            return self.world.history.broken(Broken::new("receipts", what, Vec::new()));
        }
        self.world.note_starts(&*node.log);
        for (&n, result) in numbers.iter().zip(results) {
            let judged = self.outcome(node, n, result);
            let told = |outcome| self.world.check(|checker| checker.ended(n, outcome, line));
            match judged {
                Ok(outcome) => drop(told(outcome)),
                Err(broken) => self.world.history.broken(broken),
            }
        }
    }

    fn outcome(&self, node: &Node, n: u64, result: Result<Receipt, Failure>) -> Result<Outcome, Broken> {
        let about = || vec![format!("#{n}")];
        let failure = match result {
            Ok(receipt) => return self.stored(n, receipt),
            Err(failure) => failure,
        };
        let calm = !self.world.plan.faults.touch_storage() && !node.is_dead();
        match failure.error.kind() {
            ErrorKind::Conflict => Ok(Outcome::Conflict),
            _ if calm => {
                let what = format!("#{n} failed although the log is well: {}", shown(&failure.error));
                Err(Broken::new("a publish depends on the log alone", what, about()))
            }
            ErrorKind::Unknown => Ok(Outcome::Unknown(failure.id)),
            ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::Full | ErrorKind::Closed => {
                Ok(Outcome::Refused(failure.id))
            }
            _ => Err(Broken::new("errors", format!("#{n} failed: {}", shown(&failure.error)), about())),
        }
    }

    fn stored(&self, n: u64, receipt: Receipt) -> Result<Outcome, Broken> {
        let checker = self.world.checker();
        let source = checker.facts()[n as usize].source;
        let position = receipt.position;
        let wrong = |what: String| Broken::new("receipts", format!("#{n}: {what}"), vec![format!("#{n}")]);
        let Some(topic) = checker.topic_of(position.epoch) else {
            return Err(wrong(format!("its position names the unknown epoch {}", position.epoch)));
        };
        let right = topic == source.topic()
            && receipt.topic.as_str() == TOPICS[topic]
            && receipt.channel == source.channel()
            && position.partition == source.partition();
        if !right {
            return Err(wrong(format!("answered {receipt:?}")));
        }
        let place =
            Place { topic, epoch: position.epoch, partition: position.partition, offset: position.offset };
        Ok(Outcome::Stored { id: receipt.id, place, duplicate: receipt.duplicate })
    }
}

fn list(numbers: &[u64]) -> String {
    numbers.iter().map(|n| format!("#{n}")).collect::<Vec<_>>().join(" ")
}
