//! A live subscriber of the workload: announcements, each of a stored event, each at most once.

use crate::checker::{Place, TOPICS};
use crate::dice::Dice;
use crate::history::Broken;
use crate::node::Node;
use crate::subscriber::targets;
use crate::world::World;
use dualstream_core::announcement::Announcement;
use dualstream_core::channel::Target;
use dualstream_core::hub::{Item, Mode, OnUnrecoverable, Start, Subscribe};
use dualstream_core::position::Position;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// One live subscriber.
pub struct Listener {
    world: Arc<World>,
    dice: Dice,
    name: String,
    targets: Vec<Target>,
}

impl Listener {
    /// A listener that has not connected yet.
    pub fn new(world: Arc<World>, dice: Dice, number: u64) -> Listener {
        let (name, targets) = (format!("listener {number}"), targets(&dice));
        Listener { world, dice, name, targets }
    }

    /// Listens until everything was drained.
    pub async fn run(self) {
        loop {
            let node = self.world.up(&self.dice).await;
            let done = tokio::select! {
                biased;
                () = self.world.gone(&node) => false,
                done = self.listen(&node) => done,
            };
            if done {
                return;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.size(1, 500))).await;
        }
    }

    async fn listen(&self, node: &Node) -> bool {
        let request = Subscribe {
            targets: self.targets.clone(),
            mode: Mode::Live,
            start: Start::Latest,
            on_unrecoverable: OnUnrecoverable::Latest,
        };
        let Ok(mut subscription) = node.hub.subscribe(request).await else { return false };
        self.world.history.note(format!("{} listens", self.name));
        let mut heard = BTreeSet::new();
        loop {
            let bytes_max = self.dice.size(1, 8 << 10) as usize;
            let Ok(items) = tokio::time::timeout(Duration::from_secs(20), subscription.next(bytes_max)).await
            else {
                if self.world.is_draining() {
                    return true;
                }
                continue;
            };
            if items.is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                return false;
            }
            for item in items {
                if let Item::Announcement(live) = item
                    && let Err(broken) = self.hear(&live.channel, &live.payload, &mut heard)
                {
                    self.world.history.broken(broken);
                    return true;
                }
            }
            if self.dice.once_in(60) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.below(20))).await;
        }
    }

    fn hear(&self, channel: &str, payload: &[u8], heard: &mut BTreeSet<Place>) -> Result<(), Broken> {
        let broken = |what: String| {
            Broken::new("live", format!("{} {what}", self.name), vec![format!("{} ", self.name)])
        };
        let text = String::from_utf8_lossy(payload).into_owned();
        let announced = Announcement::parse(payload).ok_or_else(|| broken(format!("heard `{text}`")))?;
        let position: Position = announced
            .position
            .parse()
            .map_err(|_| broken(format!("heard the position {}", announced.position)))?;
        let mut checker = self.world.checker();
        let topic_index = checker
            .topic_of(position.epoch)
            .ok_or_else(|| broken(format!("heard of an unknown epoch: {text}")))?;
        let Position { epoch, partition, offset } = position;
        let place = Place { topic: topic_index, epoch, partition, offset };
        self.world.history.note(format!("{} hears {} {place}", self.name, announced.id));
        if !heard.insert(place) {
            return Err(broken(format!("heard {place} twice")));
        }
        if !self.targets.iter().any(|target| target.matches(channel)) {
            return Err(broken(format!("heard of {channel}, which it did not ask for")));
        }
        let Some(bounds) = self.world.bounds() else { return Ok(()) };
        let bounds = &bounds[topic_index];
        if bounds.epoch == epoch && bounds.latest[partition as usize] <= offset {
            return Err(broken(format!(
                "heard {place} of {} before anybody could read it",
                TOPICS[topic_index]
            )));
        }
        checker.heard(place, &announced.id, channel);
        Ok(())
    }
}
