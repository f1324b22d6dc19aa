//! A reliable subscriber of the workload: slow, forgetful of connections, never of its token.

use crate::body::body;
use crate::checker::{Place, SOURCES, Source, Start, Step};
use crate::dice::Dice;
use crate::history::Broken;
use crate::node::{Node, shown};
use crate::world::{World, bounds};
use dualstream_core::ErrorKind;
use dualstream_core::channel::Target;
use dualstream_core::clock::Clock;
use dualstream_core::hub::{self, Entry, Item, Mode, OnUnrecoverable, Subscribe, Subscription};
use dualstream_core::log::Bounds;
use dualstream_core::position::Resume;
use std::sync::Arc;
use std::time::Duration;

/// A drained subscriber that was given nothing for so long has everything.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// Waiting for items is looked after this often.
const POLL: Duration = Duration::from_secs(2);

/// One reliable subscriber.
pub struct Subscriber {
    world: Arc<World>,
    dice: Dice,
    name: String,
    targets: Vec<Target>,
    policy: OnUnrecoverable,
    chain: usize,
    /// Longest pause between two pulls.
    pause_ms_max: u64,
    bytes_max: usize,
    /// It reconnects after one in so many pulls.
    reconnects: u64,
    /// Where it stands; `None` before the first subscription.
    token: Option<Arc<str>>,
}

/// Why a connection was left.
enum Left {
    Reconnect,
    Closed,
    Done,
}

/// Some channels, a pattern or two, in one topic or both.
pub fn targets(dice: &Dice) -> Vec<Target> {
    let channel = || Source(dice.skewed(SOURCES)).channel();
    let texts: Vec<String> = match dice.below(8) {
        0 | 1 => vec![channel()],
        2 => (0..dice.between(2, 30)).map(|_| channel()).collect(),
        3 => vec!["events:*".into()],
        4 => vec!["rooms:*".into()],
        5 => vec!["events:user:*".into(), channel()],
        6 => vec!["events:*".into(), "rooms:*".into()],
        _ => vec!["rooms:*".into(), "events:repo:*".into(), channel()],
    };
    texts.iter().map(|text| Target::parse(text).expect("the names are legal")).collect()
}

impl Subscriber {
    /// A subscriber that has not connected yet.
    pub fn new(world: Arc<World>, dice: Dice, number: u64) -> Subscriber {
        let (name, targets) = (format!("subscriber {number}"), targets(&dice));
        let shown: Vec<&str> = targets.iter().map(Target::as_str).collect();
        let policy = *dice.pick(&[
            OnUnrecoverable::Latest,
            OnUnrecoverable::Earliest,
            OnUnrecoverable::Earliest,
            OnUnrecoverable::Close,
        ]);
        world.history.note(format!("{name} wants {} else {policy:?}", shown.join(" ")));
        let chain = world.checker().chain(name.clone(), targets.clone());
        Subscriber {
            name,
            targets,
            policy,
            chain,
            pause_ms_max: *dice.pick(&[0, 0, 5, 50, 1000]),
            bytes_max: dice.size(1, 64 << 10) as usize,
            reconnects: *dice.pick(&[5, 20, 100, 1_000_000]),
            token: None,
            world,
            dice,
        }
    }

    /// Subscribes again and again until everything was drained.
    pub async fn run(mut self) {
        tokio::time::sleep(Duration::from_millis(self.dice.size(1, 3000))).await;
        loop {
            let node = self.world.up(&self.dice).await;
            let world = self.world.clone();
            let left = tokio::select! {
                biased;
                () = world.gone(&node) => Left::Reconnect,
                left = self.connection(&node) => left,
            };
            match left {
                Left::Reconnect => {}
                Left::Closed => {
                    self.world.checker().chain_mut(self.chain).closed = true;
                    return;
                }
                Left::Done => return,
            }
            tokio::time::sleep(Duration::from_millis(self.dice.size(1, 2000))).await;
        }
    }

    async fn connection(&mut self, node: &Node) -> Left {
        let Some(mut subscription) = self.subscribe(node).await else { return Left::Reconnect };
        let mut quiet = Duration::ZERO;
        loop {
            let Ok(items) = tokio::time::timeout(POLL, subscription.next(self.bytes_max)).await else {
                quiet += POLL;
                self.token = Some(subscription.resume());
                if quiet >= QUIET_MAX && self.world.is_draining() {
                    self.note("has everything");
                    return Left::Done;
                }
                continue;
            };
            quiet = Duration::ZERO;
            if items.is_empty() {
                return self.ended(node).await;
            }
            for item in items {
                if !self.take(node, item) {
                    return Left::Reconnect;
                }
            }
            if self.dice.once_in(self.reconnects) {
                if self.dice.once_in(2) {
                    self.token = Some(subscription.resume());
                }
                self.note("reconnects");
                return Left::Reconnect;
            }
            tokio::time::sleep(Duration::from_millis(self.dice.below(self.pause_ms_max + 1))).await;
        }
    }

    async fn subscribe(&mut self, node: &Node) -> Option<Subscription> {
        let before = bounds(&*node.log)?;
        let start = match &self.token {
            Some(token) => hub::Start::Resume(self.parse(token)?),
            None => self.start(),
        };
        self.note(&format!(
            "subscribes {}",
            self.token.as_deref().map_or(format!("{start:?}"), String::from)
        ));
        let request = Subscribe {
            targets: self.targets.clone(),
            mode: Mode::Reliable,
            start: start.clone(),
            on_unrecoverable: self.policy,
        };
        let subscription = match node.hub.subscribe(request).await {
            Ok(subscription) => subscription,
            Err(error) => {
                let excused =
                    matches!(error.kind(), ErrorKind::Closed | ErrorKind::Unavailable | ErrorKind::Gone);
                if !excused && !node.is_dead() {
                    self.broken("errors", format!("cannot subscribe: {}", shown(&error)));
                }
                return None;
            }
        };
        if self.token.is_none() {
            let token = subscription.resume();
            let after = bounds(&*node.log)?;
            let began = Step::Began(judged(&start, before, after), self.parse(&token)?);
            self.note(&format!("begins at {token}"));
            self.world.checker().chain_mut(self.chain).steps.push(began);
            self.token = Some(token);
        }
        Some(subscription)
    }

    fn start(&self) -> hub::Start {
        match self.dice.below(5) {
            0 | 1 => hub::Start::Latest,
            2 => hub::Start::Earliest,
            3 => hub::Start::Time(self.world.clock.now_ms() - self.dice.below(3000) as i64),
            _ => hub::Start::Recent(self.dice.size(1, 300) as usize),
        }
    }

    /// Takes an item; false when the connection must be left.
    fn take(&mut self, node: &Node, item: Item) -> bool {
        match item {
            Item::Event { entry, resume } => {
                let taken = self.event(&entry);
                self.token = Some(resume);
                taken
            }
            // What a node says after its disk has crashed, it says to nobody.
            Item::Unrecoverable { .. } if node.is_dead() => false,
            Item::Unrecoverable { reason, resume, .. } => self.moved(node, reason, resume),
            Item::Announcement(_) | Item::Message(_) | Item::Lost(_) => {
                self.broken("reliable", format!("was given {item:?}"));
                false
            }
        }
    }

    fn event(&mut self, entry: &Entry) -> bool {
        let world = self.world.clone();
        let position = entry.position;
        let mut checker = world.checker();
        let Some(topic) = checker.topic_of(position.epoch) else {
            drop(checker);
            self.broken("nothing invented", format!("was given {position:?}, of an unknown epoch"));
            return false;
        };
        let place =
            Place { topic, epoch: position.epoch, partition: position.partition, offset: position.offset };
        let n = match checker.saw(topic, position.epoch, entry.record()) {
            Ok(n) => n,
            Err(found) => {
                drop(checker);
                world.history.broken(found);
                return false;
            }
        };
        let fact = &checker.facts()[n as usize];
        let json = String::from_utf8_lossy(&entry.wire.json).into_owned();
        let whole = *entry.channel == *fact.source.channel()
            && json.contains(&*String::from_utf8_lossy(&body(n, fact.bytes)))
            && json.contains(&position.to_string());
        checker.chain_mut(self.chain).steps.push(Step::Event(place, n));
        drop(checker);
        self.note(&format!("is given #{n} {place}"));
        if !whole {
            self.broken("nothing invented", format!("was given #{n} on {} as {json}", entry.channel));
        }
        whole
    }

    fn moved(&mut self, node: &Node, reason: &'static str, resume: Arc<str>) -> bool {
        self.note(&format!("is told {reason}, goes on at {resume}"));
        let before = self.token.as_ref().and_then(|token| self.parse(token));
        let (Some(to), Some(now)) = (self.parse(&resume), bounds(&*node.log)) else { return false };
        let mut checker = self.world.checker();
        let is_true = before.is_none_or(|token| checker.is_unrecoverable(reason, &token, &now));
        checker.chain_mut(self.chain).steps.push(Step::Moved(to));
        drop(checker);
        if !is_true {
            self.broken("unrecoverable only if it is so", format!("was told `{reason}`, bounds {now:?}"));
        }
        self.token = Some(resume);
        is_true
    }

    /// The subscription ended: because it was to close, because the node goes down, or without reason.
    async fn ended(&mut self, node: &Node) -> Left {
        let last = self.world.checker().chain_ref(self.chain).steps.last().cloned();
        if self.policy == OnUnrecoverable::Close && matches!(last, Some(Step::Moved(..))) {
            return Left::Closed;
        }
        let going = tokio::time::timeout(Duration::from_secs(60), self.world.gone(node)).await;
        if going.is_err() && !node.is_dead() {
            self.broken("reliable", "was ended without being told why".into());
        }
        Left::Reconnect
    }

    fn parse(&self, token: &str) -> Option<Resume> {
        let parsed = token.parse();
        if parsed.is_err() {
            self.broken("receipts", format!("was given the token `{token}`, which is none"));
        }
        parsed.ok()
    }

    fn note(&self, text: &str) {
        self.world.history.note(format!("{} {text}", self.name));
    }

    fn broken(&self, promise: &'static str, what: String) {
        let broken = Broken::new(promise, format!("{} {what}", self.name), vec![format!("{} ", self.name)]);
        self.world.history.broken(broken);
    }
}

/// What the checker needs to judge a start.
fn judged(start: &hub::Start, before: [Bounds; 2], after: [Bounds; 2]) -> Start {
    let ends = |bounds: &[Bounds; 2]| [bounds[0].latest.clone(), bounds[1].latest.clone()];
    let starts = |bounds: &[Bounds; 2]| [bounds[0].earliest.clone(), bounds[1].earliest.clone()];
    match start {
        hub::Start::Earliest => Start::Earliest { after: starts(&after) },
        hub::Start::Time(ms) => Start::Time { ms: *ms, earliest: starts(&after), before: ends(&before) },
        hub::Start::Recent(count) => {
            let (before, earliest, after) = (ends(&before), starts(&after), ends(&after));
            Start::Recent { count: *count, before, after, earliest }
        }
        hub::Start::Latest | hub::Start::Resume(_) => {
            Start::Latest { before: ends(&before), after: ends(&after) }
        }
    }
}
