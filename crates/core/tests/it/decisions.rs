//! Several nodes decide over one log: proposals that cross, nodes that die between append and answer, outcomes nobody
//! knows, garbage, snapshots of any time. Whatever happened, a fold that knows nothing of the code says who was right.

use crate::model_log::ModelLog;
use bytes::Bytes;
use dualstream_core::bus::Health;
use dualstream_core::clock::Entropy;
use dualstream_core::decisions::{Decision, Decisions, Disconnect, Outcome, Refusal, Settings, State};
use dualstream_core::log::*;
use dualstream_core::record::{Headers, NewRecord, Record};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::{Epoch, TopicName};
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

const NODES: usize = 3;
const TOPICS: u128 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A node proposes what follows what it knows, or what it cannot know, or what is long decided.
    Propose { node: usize, topic_id: u128, ahead: i64 },
    /// A node orders to disconnect somebody.
    Order { node: usize },
    /// A node dies with its proposals, and begins again.
    Crash(usize),
    /// Everything moves on a little.
    Run(u8),
    /// Somebody else writes.
    Garbage(usize),
    /// The state before the last so many records, said in a snapshot.
    Snapshot(u64),
    /// What becomes of the next append.
    Fault(Fault),
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing is stored, for sure.
    Away,
    /// Nobody knows; it is stored.
    UnknownStored,
    /// Nobody knows; it is not.
    UnknownLost,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![Just(Fault::Away), Just(Fault::UnknownStored), Just(Fault::UnknownLost)];
    prop_oneof![
        20 => (0..NODES, 0..TOPICS, prop_oneof![8 => Just(0_i64), 1 => Just(1), 1 => Just(-1)])
            .prop_map(|(node, topic_id, ahead)| Step::Propose { node, topic_id, ahead }),
        5 => (0..NODES).prop_map(|node| Step::Order { node }),
        2 => (0..NODES).prop_map(Step::Crash),
        10 => (0..30_u8).prop_map(Step::Run),
        2 => (0..GARBAGE.len()).prop_map(Step::Garbage),
        2 => (0..4_u64).prop_map(Step::Snapshot),
        3 => fault.prop_map(Step::Fault),
    ]
}

const GARBAGE: [&str; 5] = [
    "",
    "not ours",
    "{\"version\":1,\"type\":\"generation\"}",
    "[1,2,3]",
    "{\"version\":1,\"type\":\"generation\",\"id\":\"7\",\"topic\":\"events\",\"topic_id\":\"0\",\"from\":0}",
];

fn settings() -> Settings {
    Settings { snapshot_every: 12, page_records_max: 3, ..Settings::default() }
}

/// A log that fails as it is told, and takes its time.
struct Flaky {
    log: ModelLog,
    entropy: SeededEntropy,
    faults: Mutex<Vec<Fault>>,
    /// All that was ever stored in the topic of decisions: the log forgets.
    stored: Mutex<Vec<Record>>,
}

impl Flaky {
    fn new(seed: u64) -> Arc<Flaky> {
        let (faults, stored) = Default::default();
        Arc::new(Flaky { log: ModelLog::new(&[]), entropy: SeededEntropy::new(seed), faults, stored })
    }

    async fn linger(&self) {
        for _ in 0..self.entropy.next_u64() % 4 {
            tokio::task::yield_now().await;
        }
    }

    fn store(&self, commit: Commit) -> Result<Committed> {
        let mut stored = self.stored.lock().unwrap();
        let values: Vec<_> =
            commit.parts.iter().flat_map(|part| &part.records).map(|r| r.value.clone()).collect();
        let committed = self.log.commit_now(commit)?;
        for value in values {
            let (partition, append_time_ms, timestamp_ms, key) = (0, 0, 0, None);
            let (offset, headers) = (stored.len() as u64, Headers::default());
            stored.push(Record { partition, offset, append_time_ms, timestamp_ms, key, value, headers });
        }
        Ok(committed)
    }

    fn append(&self, value: Bytes) {
        let record = NewRecord { value: Some(value), ..NewRecord::default() };
        let part = Part { topic: settings().topic, partition: 0, records: vec![record] };
        self.store(Commit { parts: vec![part], guard: None }).unwrap();
    }

    fn stored(&self) -> Vec<Record> {
        self.stored.lock().unwrap().clone()
    }
}

impl Log for Flaky {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        async move {
            self.linger().await;
            let fault = self.faults.lock().unwrap().pop();
            let error = |kind| Err(Error::new(kind, "planted", "planted"));
            let answer = match fault {
                None => self.store(commit),
                Some(Fault::Away) => error(ErrorKind::Unavailable),
                Some(Fault::UnknownStored) => self.store(commit).and(error(ErrorKind::Unknown)),
                Some(Fault::UnknownLost) => error(ErrorKind::Unknown),
            };
            self.linger().await;
            answer
        }
        .boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        async move {
            self.linger().await;
            self.log.read(read).await
        }
        .boxed()
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        self.log.bounds(topic)
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        self.log.wait(topic, epoch, ends)
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        self.log.seek(topic, time_ms)
    }
}

/// Who was right: generations before each offset, and the records that decided.
struct Truth {
    before: Vec<BTreeMap<u128, u64>>,
    deciding: BTreeMap<u64, (u128, u64)>,
    /// Who is to be disconnected, by where that is ordered.
    ordered: BTreeMap<u64, u128>,
}

impl Truth {
    /// Snapshots that are taken at their word say what was decided, so they change nothing.
    fn of(records: &[Record]) -> Truth {
        let (mut generations, mut before) = (BTreeMap::new(), Vec::new());
        let (mut deciding, mut ordered) = (BTreeMap::new(), BTreeMap::new());
        for record in records {
            before.push(generations.clone());
            if let Some(connection) = record.value.as_deref().and_then(to_disconnect) {
                ordered.insert(record.offset, connection);
            }
            let Some((topic_id, from)) = record.value.as_deref().and_then(proposed) else { continue };
            let present: &mut u64 = generations.entry(topic_id).or_default();
            if *present == from {
                *present += 1;
                deciding.insert(record.offset, (topic_id, from));
            }
        }
        before.push(generations);
        Truth { before, deciding, ordered }
    }

    fn generation(&self, before: u64, topic_id: u128) -> u64 {
        self.before[before as usize].get(&topic_id).copied().unwrap_or(0)
    }
}

fn proposed(value: &[u8]) -> Option<(u128, u64)> {
    let value: Value = serde_json::from_slice(value).ok()?;
    (value["type"] == "generation").then_some(())?;
    let topic_id = value["topic_id"].as_str().filter(|id| id.len() == 32)?;
    Some((u128::from_str_radix(topic_id, 16).ok()?, value["from"].as_u64()?))
}

fn to_disconnect(value: &[u8]) -> Option<u128> {
    let value: Value = serde_json::from_slice(value).ok()?;
    (value["type"] == "disconnect").then_some(())?;
    u128::from_str_radix(value["connection"].as_str()?, 16).ok()
}

fn events() -> TopicName {
    TopicName::new("events").unwrap()
}

fn generations(state: &State) -> BTreeMap<u128, u64> {
    state.generations().map(|(_, topic_id, generation)| (topic_id, generation)).collect()
}

/// What a proposer was told, and what its node knew then.
struct Told {
    proposed: Proposed,
    outcome: Result<Outcome>,
    state: Arc<State>,
}

enum Proposed {
    Generation { topic_id: u128, from: u64 },
    Order(u128),
}

struct Node {
    decisions: Decisions,
    /// Where it began to read on, and the orders it was given since.
    began: u64,
    orders: Arc<Mutex<Vec<u128>>>,
    runner: JoinHandle<()>,
    /// Every state it showed.
    watch: JoinHandle<()>,
    follow: JoinHandle<()>,
    proposals: Vec<JoinHandle<Told>>,
}

struct World {
    log: Arc<Flaky>,
    nodes: Vec<Node>,
    told: Vec<Told>,
    shown: Arc<Mutex<Vec<Arc<State>>>>,
    lives: u64,
    clients: u128,
}

impl World {
    async fn new(seed: u64) -> World {
        let (nodes, told, shown) = Default::default();
        let mut world = World { log: Flaky::new(seed), nodes, told, shown, lives: 0, clients: 0 };
        for _ in 0..NODES {
            let node = world.open().await;
            world.nodes.push(node);
        }
        world
    }

    async fn open(&mut self) -> Node {
        self.lives += 1;
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let entropy = Arc::new(SeededEntropy::new(self.lives));
        let topics = Arc::new(self.log.log.clone());
        // A trim may take what is just read.
        let (decisions, runner) = loop {
            match Decisions::open(
                settings(),
                self.log.clone(),
                topics.clone(),
                clock.clone(),
                entropy.clone(),
            )
            .await
            {
                Ok(opened) => break opened,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Gone, "{error:?}"),
            }
        };
        let runner = tokio::spawn(runner.run(std::future::pending()));
        let (watched, shown) = (decisions.clone(), self.shown.clone());
        let watch = tokio::spawn(async move {
            let mut state = watched.state();
            loop {
                shown.lock().unwrap().push(state.clone());
                state = watched.changed(&state).await;
            }
        });
        let (began, orders) = (decisions.state().next(), Arc::<Mutex<Vec<_>>>::default());
        let (followed, given) = (decisions.clone(), orders.clone());
        let follow = tokio::spawn(async move {
            loop {
                let order = followed.ordered().await;
                given.lock().unwrap().push(order.connection());
            }
        });
        Node { decisions, began, orders, runner, watch, follow, proposals: Vec::new() }
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Propose { node, topic_id, ahead } => self.propose(node, topic_id, ahead),
            Step::Order { node } => self.order(node),
            Step::Crash(node) => self.crash(node).await,
            Step::Run(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Step::Garbage(which) => self.log.append(Bytes::from_static(GARBAGE[which].as_bytes())),
            Step::Snapshot(behind) => self.snapshot(behind),
            Step::Fault(fault) => self.log.faults.lock().unwrap().push(fault),
        }
    }

    fn propose(&mut self, node: usize, topic_id: u128, ahead: i64) {
        let node = &mut self.nodes[node];
        let decisions = node.decisions.clone();
        let from = decisions.state().generation(&events(), topic_id).saturating_add_signed(ahead);
        node.proposals.push(tokio::spawn(async move {
            let decision = Decision::Generation { topic: events(), topic_id, from };
            let outcome = decisions.propose(decision).await;
            Told { proposed: Proposed::Generation { topic_id, from }, outcome, state: decisions.state() }
        }));
    }

    fn order(&mut self, node: usize) {
        self.clients += 1;
        let (node, client) = (&mut self.nodes[node], self.clients);
        let decisions = node.decisions.clone();
        node.proposals.push(tokio::spawn(async move {
            let order = Disconnect::new(client, 3503, "force disconnect").unwrap();
            let outcome = decisions.propose(Decision::Disconnect(order)).await;
            Told { proposed: Proposed::Order(client), outcome, state: decisions.state() }
        }));
    }

    async fn crash(&mut self, node: usize) {
        let new = self.open().await;
        let old = std::mem::replace(&mut self.nodes[node], new);
        old.runner.abort();
        old.watch.abort();
        old.follow.abort();
        for proposal in old.proposals {
            // Those that were answered before are looked at too.
            match proposal.is_finished() {
                true => self.told.push(proposal.await.unwrap()),
                false => proposal.abort(),
            }
        }
    }

    /// As a node would write it that had read all but the last `behind` records: right where none came in between.
    fn snapshot(&self, behind: u64) {
        let records = self.log.stored();
        let at = (records.len() as u64).saturating_sub(behind);
        let known = &Truth::of(&records).before[at as usize];
        let one = |(topic_id, generation): (&u128, &u64)| {
            format!(r#"{{"topic":"events","topic_id":"{topic_id:032x}","generation":{generation}}}"#)
        };
        let all: Vec<String> = known.iter().filter(|(_, n)| **n > 0).map(one).collect();
        let id = format!("{:032x}", records.len());
        let line = format!(
            r#"{{"version":1,"type":"snapshot","id":"{id}","at":{at},"state":{{"generations":[{}]}}}}"#,
            all.join(",")
        );
        self.log.append(line.into());
    }

    /// Everything that was begun ends.
    async fn settle(&mut self) {
        self.log.faults.lock().unwrap().clear();
        for node in &mut self.nodes {
            for proposal in node.proposals.drain(..) {
                self.told.push(proposal.await.unwrap());
            }
        }
        // What a snapshot adds makes another due at most once.
        loop {
            let end = self.log.stored().len() as u64;
            for node in &self.nodes {
                let mut state = node.decisions.state();
                while state.next() < end {
                    state = node.decisions.changed(&state).await;
                }
            }
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            if self.log.stored().len() as u64 == end {
                return;
            }
        }
    }

    fn check(&self) {
        let records = self.log.stored();
        let truth = Truth::of(&records);
        for state in self.shown.lock().unwrap().iter() {
            let mut expected = truth.before[state.next() as usize].clone();
            expected.retain(|_, generation| *generation > 0);
            assert_eq!(generations(state), expected, "before offset {}", state.next());
            assert!(state.is_whole());
        }
        let last = self.nodes[0].decisions.state();
        assert!(self.nodes.iter().all(|node| node.decisions.state() == last), "all read as far");
        self.nodes.iter().for_each(|node| node.check(&truth));
        self.told.iter().for_each(|told| told.check(&truth));
        let decided = self.told.iter().filter_map(|told| match told.outcome {
            Ok(Outcome::Decided { offset }) => Some(offset),
            _ => None,
        });
        let decided: Vec<u64> = decided.collect();
        let distinct: BTreeSet<u64> = decided.iter().copied().collect();
        assert_eq!(distinct.len(), decided.len(), "one record decides for one proposer");
    }
}

impl Node {
    /// It was given every order since it began, in their order and none of before; again only what it read again. One
    /// that was overtaken by a trim may have missed some.
    fn check(&self, truth: &Truth) {
        let mut given = self.orders.lock().unwrap().clone();
        let mut seen = BTreeSet::new();
        given.retain(|connection| seen.insert(*connection));
        let all: Vec<u128> = truth.ordered.range(self.began..).map(|(_, connection)| *connection).collect();
        match self.decisions.counters().gaps.load(Relaxed) {
            0 => assert_eq!(given, all),
            _ => assert!(given.iter().all(|connection| all.contains(connection)), "{given:?} of {all:?}"),
        }
    }
}

impl Told {
    /// What a proposer was told is true, and its node knew it.
    fn check(&self, truth: &Truth) {
        let Told { proposed, outcome, state } = self;
        match (proposed, outcome) {
            (Proposed::Order(connection), Ok(Outcome::Decided { offset })) => {
                assert_eq!(truth.ordered.get(offset), Some(connection));
                assert!(state.next() > *offset);
            }
            (Proposed::Order(_), Ok(other)) => panic!("{other:?}"),
            (Proposed::Generation { topic_id, from }, Ok(outcome)) => {
                check_generation(truth, (*topic_id, *from), *outcome, state);
            }
            (_, Err(error)) => assert_eq!(error.code(), "decision_unknown"),
        }
    }
}

fn check_generation(truth: &Truth, (topic_id, from): (u128, u64), outcome: Outcome, state: &State) {
    let known = state.generation(&events(), topic_id);
    match outcome {
        Outcome::Decided { offset } => {
            assert_eq!(truth.deciding.get(&offset), Some(&(topic_id, from)));
            assert!(known > from && state.next() > offset);
        }
        Outcome::AlreadyDecided => assert!(known > from),
        Outcome::Refused(Refusal::NotPresent { present }) => {
            assert!(present < from, "it is refused for being too early only");
            assert!((0..truth.before.len() as u64).any(|at| truth.generation(at, topic_id) == present));
        }
        refused => panic!("{refused:?}"),
    }
}

async fn run(seed: u64, steps: &[Step]) {
    let mut world = World::new(seed).await;
    for step in steps {
        world.take(step).await;
    }
    world.settle().await;
    // Whoever comes now knows as much.
    let new = world.open().await;
    world.nodes.push(new);
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_who_read_as_far_know_the_same(seed in 0..1_000_u64, steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(seed, &steps));
    }
}

/// A log that is not as one would wish.
struct Odd {
    log: ModelLog,
    /// Offsets are left out before every record, as transactions of others do.
    has_holes: bool,
    /// It cannot be read now.
    is_blind: AtomicBool,
}

impl Odd {
    fn new(log: &ModelLog, has_holes: bool) -> Arc<Odd> {
        Arc::new(Odd { log: log.clone(), has_holes, is_blind: AtomicBool::new(false) })
    }
}

impl Log for Odd {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        if self.has_holes {
            self.log.skip(&settings().topic, 0, 1);
        }
        self.log.commit(commit)
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        match self.is_blind.load(Relaxed) {
            true => async { Err(Error::new(ErrorKind::Unavailable, "planted", "planted")) }.boxed(),
            false => self.log.read(read),
        }
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        self.log.bounds(topic)
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        self.log.wait(topic, epoch, ends)
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        self.log.seek(topic, time_ms)
    }
}

/// A snapshot that came too late is a record too, but no reason for another.
#[tokio::test(start_paused = true)]
async fn snapshots_that_never_fit_do_not_fill_the_log() {
    let log = ModelLog::new(&[]);
    let (clock, entropy) = (Arc::new(ManualClock::new(0)), Arc::new(SeededEntropy::new(1)));
    let (holes, topics) = (Odd::new(&log, true), Arc::new(log.clone()));
    let (decisions, runner) = Decisions::open(settings(), holes, topics, clock, entropy).await.unwrap();
    let runner = tokio::spawn(runner.run(std::future::pending()));
    for from in 0..100 {
        let decision = Decision::Generation { topic: events(), topic_id: 7, from };
        decisions.propose(decision).await.unwrap();
    }
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    runner.abort();
    let records = log.all(&settings().topic).len();
    assert!((101..200).contains(&records), "{records} records for 100 decisions");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_read_says_so_until_it_can() {
    let log = ModelLog::new(&[]);
    let (blind, topics) = (Odd::new(&log, false), Arc::new(log));
    let (clock, entropy) = (Arc::new(ManualClock::new(7)), Arc::new(SeededEntropy::new(1)));
    let (decisions, runner) =
        Decisions::open(settings(), blind.clone(), topics, clock.clone(), entropy).await.unwrap();
    tokio::spawn(runner.run(std::future::pending()));
    assert_eq!(decisions.health(), Health::Up);
    blind.is_blind.store(true, Relaxed);
    let proposer = decisions.clone();
    let proposal = tokio::spawn(async move {
        proposer.propose(Decision::Generation { topic: events(), topic_id: 7, from: 0 }).await
    });
    while decisions.health() == Health::Up {
        tokio::task::yield_now().await;
    }
    clock.set(9);
    while decisions.counters().errors.load(Relaxed) < 5 {
        tokio::time::advance(settings().retry).await;
    }
    assert_eq!(decisions.health(), Health::Down { since_ms: 7, reason: "planted".into() });
    blind.is_blind.store(false, Relaxed);
    assert!(matches!(proposal.await.unwrap(), Ok(Outcome::Decided { .. })));
    assert_eq!(decisions.health(), Health::Up);
}
