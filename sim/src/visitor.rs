//! A client that comes and goes: it subscribes, unsubscribes and closes at any moment, also in the middle of each.

use crate::dice::Dice;
use crate::history::Broken;
use crate::node::Node;
use crate::subscriber::targets;
use crate::world::World;
use dualstream_core::hub::{Item, Mode, OnUnrecoverable, Start, Subscribe, Subscription};
use dualstream_core::position::Position;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Subscriptions of a visitor at a time.
const SUBSCRIPTIONS_MAX: usize = 4;

/// One visitor.
pub struct Visitor {
    world: Arc<World>,
    dice: Dice,
    name: String,
}

/// A subscription, and how far it has come in each partition of each epoch.
struct Visit {
    subscription: Subscription,
    seen: BTreeMap<(u64, u32), u64>,
}

impl Visitor {
    /// A visitor that has not come yet.
    pub fn new(world: Arc<World>, dice: Dice, number: u64) -> Visitor {
        Visitor { world, dice, name: format!("visitor {number}") }
    }

    /// Comes and goes until everything was published.
    pub async fn run(self) {
        while !self.world.is_draining() {
            let node = self.world.up(&self.dice).await;
            tokio::select! {
                biased;
                () = self.world.gone(&node) => {}
                () = self.visit(&node) => {}
            }
            self.pause(300).await;
        }
    }

    /// One connection: some steps, each of which may be cut short, then everything is dropped.
    async fn visit(&self, node: &Node) {
        let mut visits: VecDeque<Visit> = VecDeque::new();
        for _ in 0..self.dice.between(1, 30) {
            match self.dice.below(4) {
                0 if visits.len() < SUBSCRIPTIONS_MAX => {
                    // Who has waited for too long is gone before it has subscribed.
                    let subscribed = node.hub.subscribe(self.wanted());
                    if let Ok(Ok(subscription)) = self.cut_short(subscribed).await {
                        visits.push_back(Visit { subscription, seen: BTreeMap::new() });
                    }
                }
                1 => drop(visits.pop_front()),
                _ => self.pause(10).await,
            }
            for visit in &mut visits {
                let bytes_max = self.dice.size(1, 8 << 10) as usize;
                let Ok(items) = self.cut_short(visit.subscription.next(bytes_max)).await else { continue };
                if let Err(what) = visit.take(&items) {
                    let about = vec![format!("{} ", self.name)];
                    return self.world.history.broken(Broken::new(
                        "visitor",
                        format!("{} {what}", self.name),
                        about,
                    ));
                }
            }
        }
    }

    fn wanted(&self) -> Subscribe {
        Subscribe {
            targets: targets(&self.dice),
            mode: *self.dice.pick(&[Mode::Reliable, Mode::Live]),
            start: self.dice.pick(&[Start::Latest, Start::Earliest, Start::Recent(5)]).clone(),
            on_unrecoverable: OnUnrecoverable::Latest,
        }
    }

    async fn cut_short<T>(&self, work: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
        tokio::time::timeout(Duration::from_millis(self.dice.size(1, 200)), work).await
    }

    async fn pause(&self, ms_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.dice.below(ms_max + 1))).await;
    }
}

impl Visit {
    /// Events rise in each partition, whatever was cut short before.
    fn take(&mut self, items: &[Item]) -> Result<(), String> {
        for item in items {
            let Item::Event { entry, .. } = item else { continue };
            let Position { epoch, partition, offset } = entry.position;
            let before = self.seen.insert((epoch.0, partition), offset);
            if before.is_some_and(|before| before >= offset) {
                return Err(format!("was given {} after offset {before:?}", entry.position));
            }
        }
        Ok(())
    }
}
