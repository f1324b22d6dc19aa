//! A made-up run in which every promise is kept: two topics of twelve partitions, a thousand keys, two nodes, a fault,
//! retries, batches, subscribers that reconnect. Plants change its operations.

use dualstream_checker::{Blame, History, Item, Mode, Operation, Place, Report, Rules, Start, judge};
use std::collections::BTreeMap;

pub const PARTITIONS: usize = 12;
pub const KEYS: usize = 1_000;
pub const TOPICS: [&str; 2] = ["events", "orders"];
pub const EPOCH: u64 = 7;
/// Time passes by this much with every operation, but in long runs, which take no more time than this in all.
const STEP_US: u64 = 1_000;
const RUN_US: u64 = 10_000_000;

pub type Op = Operation<&'static str>;

/// The operations, each with its time.
#[derive(Clone, Default)]
pub struct Story {
    pub steps: Vec<(u64, Op)>,
}

impl Story {
    pub fn history(&self) -> History {
        let mut history = History::new();
        self.steps.iter().for_each(|(at_us, op)| history.push(*at_us, op.clone()));
        history
    }

    pub fn judge(&self) -> Report {
        judge(&self.history(), &rules())
    }

    /// The operations for which `is_it` holds, in their order.
    pub fn all(&self, is_it: impl Fn(&Op) -> bool) -> Vec<usize> {
        (0..self.steps.len()).filter(|&at| is_it(&self.steps[at].1)).collect()
    }

    pub fn insert(&mut self, at: usize, op: Op) {
        let at_us = self.steps[at - 1].0;
        self.steps.insert(at, (at_us, op));
    }

    pub fn remove(&mut self, at: usize) -> Op {
        self.steps.remove(at).1
    }

    pub fn append(&mut self, after_us: u64, op: Op) {
        let at_us = self.steps.last().unwrap().0 + after_us;
        self.steps.push((at_us, op));
    }

    /// Everything that was seen of anything.
    pub fn items(&mut self) -> impl Iterator<Item = &mut Item<&'static str>> {
        self.steps.iter_mut().filter_map(|(_, op)| match op {
            Operation::Read { item, .. } | Operation::Deliver { item, .. } => Some(item),
            _ => None,
        })
    }

    pub fn item(&self, at: usize) -> Item<&'static str> {
        match &self.steps[at].1 {
            Operation::Read { item, .. } | Operation::Deliver { item, .. } => *item,
            other => panic!("{other:?}"),
        }
    }
}

/// What the stories are judged by.
pub fn rules() -> Rules {
    let codes = ["unavailable", "too_large", "ack_unknown", "connection_lost"].map(String::from);
    Rules { codes: Some(codes.into()), ..Rules::default() }
}

pub fn text(text: String) -> &'static str {
    text.leak()
}

/// A run of so many events.
pub fn story(events: usize) -> Story {
    let mut writer = Writer { events, ..Writer::default() };
    writer.write();
    writer.story
}

#[derive(Default)]
struct Writer {
    story: Story,
    events: usize,
    now_us: u64,
    dice: u64,
    /// By topic and partition: what stands there; none where a repeat is hidden.
    logs: BTreeMap<(&'static str, usize), Vec<Option<Item<&'static str>>>>,
    chains: Vec<Chain>,
    keys: Vec<&'static str>,
    /// Outcomes that are on their way.
    answers: Vec<Op>,
}

struct Chain {
    name: &'static str,
    topic: Option<&'static str>,
    channel: &'static str,
    mode: Mode,
    next: BTreeMap<(&'static str, usize), usize>,
    /// Positions are told.
    has_places: bool,
}

impl Writer {
    fn write(&mut self) {
        self.keys = (0..KEYS).map(|key| text(format!("gh:source-{key}"))).collect();
        for topic in TOPICS {
            (0..PARTITIONS).for_each(|partition| drop(self.logs.insert((topic, partition), Vec::new())));
        }
        ["a", "b"].into_iter().for_each(|node| self.push(Operation::NodeUp { node }));
        self.subscribe("all-events", Some("events"), "gh:*", Mode::Reliable, Start::Earliest);
        self.subscribe("everything", None, "*", Mode::Reliable, Start::Earliest);
        self.subscribe("ears", Some("orders"), "gh:*", Mode::Live, Start::Latest);
        for key in 0..20 {
            let (name, channel) = (text(format!("only-{key}")), self.keys[key]);
            self.subscribe(name, Some(TOPICS[key % 2]), channel, Mode::Reliable, Start::Earliest);
        }
        let third = self.events / 3;
        self.publishes(0..third, false);
        self.middle();
        self.metrics(1, 100);
        self.push(Operation::FaultBegins { fault: "broker 1 killed", of_bus: false });
        self.push(Operation::NodeDown { node: "b" });
        self.publishes(third..2 * third, true);
        self.push(Operation::NodeUp { node: "b" });
        self.push(Operation::FaultEnds { fault: "broker 1 killed" });
        self.resume();
        self.unrecoverable();
        self.metrics(2, 100);
        self.publishes(2 * third..self.events, false);
        self.pump();
        self.metrics(0, 250);
        self.push(Operation::Balance { left: ["accepted"].into(), right: ["stored", "dropped"].into() });
        for (index, topic) in TOPICS.into_iter().enumerate() {
            for node in ["a", "b"] {
                self.full_read(text(format!("final-{index}-{node}")), node, topic);
            }
        }
    }

    fn push(&mut self, op: Op) {
        self.now_us += STEP_US.min(RUN_US / self.events as u64);
        self.story.steps.push((self.now_us, op));
    }

    /// In the middle: some come who want only what is new, or what is from offsets on; one partial read.
    fn middle(&mut self) {
        self.pump();
        let next = (0..PARTITIONS).map(|partition| self.logs[&("orders", partition)].len() as u64).collect();
        self.subscribe("new-events", Some("events"), "gh:*", Mode::Reliable, Start::Latest);
        self.subscribe("late-orders", Some("orders"), "gh:source-1*", Mode::Reliable, Start::Next(next));
        for chain in ["new-events", "late-orders"] {
            self.skip(chain);
        }
        self.subscribe("cut-off", Some("orders"), "gh:*", Mode::Reliable, Start::Earliest);
        self.pump();
        let earliest = [0; PARTITIONS].into();
        let (reader, node) = ("partial", "a");
        self.push(Operation::ReadBegins { reader, node, topic: "events", epoch: EPOCH, earliest });
        for item in self.logs[&("events", 0)].clone().into_iter().flatten().take(5) {
            self.push(Operation::Read { reader, item });
        }
        self.push(Operation::Close { chain: "only-19" });
    }

    fn resume(&mut self) {
        for (name, topic, channel, mode) in self
            .chains
            .iter()
            .map(|chain| (chain.name, chain.topic, chain.channel, chain.mode))
            .collect::<Vec<_>>()
        {
            if name != "only-19" {
                let (chain, node, from) = (name, "b", Start::Resume);
                self.push(Operation::Subscribe { chain, node, topic, channel, mode, from });
            }
        }
    }

    /// One chain cannot go on, is told so, and goes on with what is new.
    fn unrecoverable(&mut self) {
        self.publishes(self.events..self.events + 50, false);
        self.skip("cut-off");
        self.push(Operation::Unrecoverable { chain: "cut-off", from: Start::Latest });
    }

    fn subscribe(
        &mut self,
        name: &'static str,
        topic: Option<&'static str>,
        channel: &'static str,
        mode: Mode,
        from: Start,
    ) {
        self.push(Operation::Subscribe { chain: name, node: "a", topic, channel, mode, from });
        let has_places = name != "only-4";
        self.chains.push(Chain { name, topic, channel, mode, next: BTreeMap::new(), has_places });
    }

    /// What stands now is not for this chain.
    fn skip(&mut self, name: &str) {
        let ends: BTreeMap<_, _> = self.logs.iter().map(|(place, log)| (*place, log.len())).collect();
        let chain = self.chains.iter_mut().find(|chain| chain.name == name).unwrap();
        chain.next = ends;
    }

    fn publishes(&mut self, events: std::ops::Range<usize>, is_broken: bool) {
        for n in events {
            if n % 50 == 7 {
                self.batch(n);
            } else {
                self.publish(n, is_broken);
            }
            if self.answers.len() > 3 {
                let op = self.answers.remove(0);
                self.push(op);
            }
            if n.is_multiple_of(200) && !is_broken {
                self.pump();
            }
        }
        std::mem::take(&mut self.answers).into_iter().for_each(|op| self.push(op));
    }

    fn publish(&mut self, n: usize, is_broken: bool) {
        let (process, id) = (["p0", "p1", "p2", "p3"][n % 4], text(format!("e{n}")));
        let (topic, key, crc) = self.invoke(process, id, None);
        let dice = self.roll() % 100;
        let place = (dice < 80 || !is_broken || dice >= 90).then(|| self.append(topic, key, id, crc));
        let blame = Blame::Server;
        match (is_broken, dice) {
            (false, 99) => {
                self.logs.get_mut(&(topic, partition(key))).unwrap().pop();
                self.push(Operation::Fail { process, id, code: "too_large", blame: Blame::Caller });
            }
            (true, 80..85) => self.push(Operation::Fail { process, id, code: "unavailable", blame }),
            (true, 85..90) => self.push(Operation::Info { process, id, code: "ack_unknown" }),
            (true, 90..95) => self.push(Operation::Info { process, id, code: "connection_lost" }),
            (true, 95..) => self.again(process, id, topic, key, crc, dice < 98),
            _ => self.answers.push(Operation::Ok { process, id, place: place.unwrap() }),
        }
    }

    /// Its outcome was not known: it is sent again, and the ack names the first place or an alias.
    fn again(
        &mut self,
        process: &'static str,
        id: &'static str,
        topic: &'static str,
        key: &'static str,
        crc: u32,
        is_alias: bool,
    ) {
        self.push(Operation::Info { process, id, code: "ack_unknown" });
        self.push(Operation::Invoke { process, id, key, topic, crc, batch: None });
        let log = self.logs.get_mut(&(topic, partition(key))).unwrap();
        let place = Place { epoch: EPOCH, partition: partition(key) as u32, offset: log.len() as u64 };
        log.push(None);
        let first = Place { offset: place.offset - 1, ..place };
        self.push(Operation::Ok { process, id, place: if is_alias { place } else { first } });
    }

    /// Ten events of three keys.
    fn batch(&mut self, n: usize) {
        let mut oks = Vec::new();
        let keys = [0, 1, 2].map(|_| self.roll() as usize % KEYS);
        for index in 0..10 {
            let id = text(format!("e{n}-{index}"));
            let (topic, key, crc) = self.invoke_of("batcher", id, keys[index % 3], Some(n as u32));
            let place = self.append(topic, key, id, crc);
            oks.push(Operation::Ok { process: "batcher", id, place });
        }
        oks.into_iter().for_each(|op| self.push(op));
    }

    fn invoke(
        &mut self,
        process: &'static str,
        id: &'static str,
        batch: Option<u32>,
    ) -> (&'static str, &'static str, u32) {
        let key = self.roll() as usize % KEYS;
        self.invoke_of(process, id, key, batch)
    }

    fn invoke_of(
        &mut self,
        process: &'static str,
        id: &'static str,
        key: usize,
        batch: Option<u32>,
    ) -> (&'static str, &'static str, u32) {
        let (topic, key, crc) = (TOPICS[key % 2], self.keys[key], self.roll() as u32);
        self.push(Operation::Invoke { process, id, key, topic, crc, batch });
        (topic, key, crc)
    }

    fn append(&mut self, topic: &'static str, key: &'static str, id: &'static str, crc: u32) -> Place {
        let log = self.logs.get_mut(&(topic, partition(key))).unwrap();
        let place = Place { epoch: EPOCH, partition: partition(key) as u32, offset: log.len() as u64 };
        log.push(Some(Item { id, key, crc: Some(crc), place: Some(place) }));
        place
    }

    /// Every chain is given what is new to it.
    fn pump(&mut self) {
        let mut given = Vec::new();
        for chain in self.chains.iter_mut().filter(|chain| chain.name != "only-19") {
            for (&(topic, partition), log) in &self.logs {
                let next = chain.next.entry((topic, partition)).or_default();
                for item in log[*next..].iter().flatten() {
                    let is_wanted = match chain.channel.strip_suffix('*') {
                        Some(beginning) => item.key.starts_with(beginning),
                        None => item.key == chain.channel,
                    };
                    if is_wanted && chain.topic.is_none_or(|wanted| wanted == topic) {
                        let (place, crc) = (item.place.filter(|_| chain.has_places), item.crc);
                        let crc = crc.filter(|_| chain.mode == Mode::Reliable);
                        given.push(Operation::Deliver {
                            chain: chain.name,
                            item: Item { place, crc, ..*item },
                        });
                    }
                }
                *next = log.len();
            }
        }
        given.into_iter().for_each(|op| self.push(op));
        let next = |partition| self.logs[&("events", partition)].len() as u64;
        let next = (0..PARTITIONS).map(next).collect();
        self.push(Operation::Progress { chain: "all-events", epoch: EPOCH, next });
    }

    fn metrics(&mut self, clients: i64, counted: u64) {
        for node in ["a", "b"] {
            self.push(Operation::Gauge { node, gauge: "clients", value: clients });
            for (counter, value) in [("accepted", counted), ("stored", counted - 3), ("dropped", 3)] {
                self.push(Operation::Counter { node, counter, value });
            }
        }
    }

    fn full_read(&mut self, reader: &'static str, node: &'static str, topic: &'static str) {
        let earliest = [0; PARTITIONS].into();
        self.push(Operation::ReadBegins { reader, node, topic, epoch: EPOCH, earliest });
        let mut latest = Vec::new();
        for partition in 0..PARTITIONS {
            let log = self.logs[&(topic, partition)].clone();
            latest.push(log.len() as u64);
            log.into_iter().flatten().for_each(|item| self.push(Operation::Read { reader, item }));
        }
        self.push(Operation::ReadEnds { reader, latest: latest.into() });
    }

    /// Knuth's generator (The Art of Computer Programming, volume 2, 3.3.4).
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice >> 33
    }
}

fn partition(key: &str) -> usize {
    let number: usize = key.rsplit('-').next().unwrap().parse().unwrap();
    number / 2 % PARTITIONS
}
