//! The log against a model of it: random commits over two topics, administration, retention, restarts, kills and power
//! losses, also in the middle of a call. A failing run shrinks to the shortest one that fails.

use crate::rig::{Rig, event, id_of, small, topic};
use dualstream_core::Result;
use dualstream_core::filter::Filter;
use dualstream_core::log::{Appended, Committed, Log, Part};
use dualstream_core::partitioner::partition_of;
use dualstream_core::topic::{TopicAlteration, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_log::Settings;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

const TOPICS: [&str; 2] = ["events", "chat"];
const HOUR_MS: i64 = 3_600_000;
/// Retention of the topic `chat`.
const KEPT_MS: i64 = 3 * HOUR_MS;

#[derive(Clone, Debug)]
enum Step {
    /// Events of (topic, source, id) in one commit.
    Commit(Vec<(usize, u32, u8)>),
    /// The power fails after so many more calls of the disk, in whatever is done then.
    FailIn(u64),
    PowerLoss,
    Kill,
    Restart,
    /// Raises the start of every partition by so many eighths of what it holds.
    Trim(usize, u64),
    Recreate(usize),
    AddPartitions(usize, u32),
    Hours(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let event = (0..2_usize, 0..40_u32, 0..4_u8);
    prop_oneof![
        20 => proptest::collection::vec(event, 1..12).prop_map(Step::Commit),
        2 => (1..60_u64).prop_map(Step::FailIn),
        1 => Just(Step::PowerLoss),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
        1 => (0..2_usize, 0..=8_u64).prop_map(|(topic, eighths)| Step::Trim(topic, eighths)),
        1 => (0..2_usize).prop_map(Step::Recreate),
        1 => (0..2_usize, 1..4_u32).prop_map(|(topic, more)| Step::AddPartitions(topic, more)),
        2 => (1..3_i64).prop_map(Step::Hours),
    ]
}

/// Source and id: the body follows from them.
type Identity = (u32, u8);
/// Partition and offset.
type Place = (u32, u64);

#[derive(Clone, Debug, Default)]
struct Topic {
    epoch: u64,
    start: Vec<u64>,
    /// What was trimmed.
    trimmed: Vec<u64>,
    ends: Vec<u64>,
    records: BTreeMap<Place, Identity>,
    /// Everything in the order readers saw it last.
    order: Vec<Place>,
}

impl Topic {
    fn find(&self, identity: Identity) -> Option<Place> {
        let is_it =
            |((p, offset), i): &(&Place, &Identity)| **i == identity && *offset >= self.start[*p as usize];
        self.records.iter().find(is_it).map(|(place, _)| *place)
    }
}

struct Model {
    rig: Option<Rig>,
    topics: Vec<Topic>,
    seed: u64,
}

fn settings() -> Settings {
    Settings {
        segment_bytes: 4 << 10,
        journal_file_bytes: 16 << 10,
        checkpoint_bytes: 8 << 10,
        dedup_window_ms: 10_000 * HOUR_MS as u64,
        ..Settings::default()
    }
}

fn spec(index: usize) -> TopicSpec {
    let retention_ms = (index == 1).then_some(KEPT_MS as u64);
    TopicSpec { retention_ms, ..TopicSpec::events(topic(TOPICS[index])) }
}

impl Model {
    async fn new(seed: u64) -> Model {
        let rig = Rig::empty(settings(), seed);
        let mut model = Model { rig: Some(rig), topics: vec![Topic::default(), Topic::default()], seed };
        for index in 0..2 {
            model.rig().log.create(spec(index)).await.unwrap();
            model.adopt(index);
        }
        model
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().unwrap()
    }

    /// Takes a topic as new and empty.
    fn adopt(&mut self, index: usize) {
        let bounds = self.rig().log.bounds(&topic(TOPICS[index])).unwrap();
        assert!(self.topics.iter().all(|t| t.epoch != bounds.epoch.0), "an epoch is unique");
        assert!(bounds.latest.iter().all(|&end| end == 0), "a new topic is empty");
        self.topics[index] = Topic {
            epoch: bounds.epoch.0,
            trimmed: bounds.earliest.clone(),
            start: bounds.earliest,
            ends: bounds.latest,
            ..Topic::default()
        };
    }

    async fn run(&mut self, step: &Step) {
        match step {
            Step::Commit(events) => self.commit(events).await,
            Step::FailIn(steps) => {
                let storage = &self.rig().storage;
                storage.crash_at_step(storage.steps() + steps);
                return;
            }
            Step::PowerLoss => self.power_loss(),
            Step::Kill => {
                let rig = self.rig.take().unwrap();
                self.rig = Some(rig.reopen_or_crash());
            }
            Step::Restart => {
                let rig = self.rig.take().unwrap();
                self.rig = Some(rig.restart_or_crash().await);
            }
            Step::Trim(index, eighths) => self.trim(*index, *eighths).await,
            Step::Recreate(index) => self.recreate(*index).await,
            Step::AddPartitions(index, more) => self.add_partitions(*index, *more).await,
            Step::Hours(hours) => {
                self.rig().clock.0.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
                self.rig().checkpoint().await;
            }
        }
        // The power may have failed in something nobody waited for.
        if self.rig().storage_is_dead() {
            self.power_loss();
        }
        self.check().await;
    }

    fn power_loss(&mut self) {
        let rig = self.rig.take().unwrap();
        self.rig = Some(rig.crash());
    }

    fn parts(&self, events: &[(usize, u32, u8)]) -> Vec<Part> {
        let part = |&(index, source, id): &(usize, u32, u8)| {
            let record = event(source, &id.to_string(), &format!("of {source}"));
            let partitions = self.topics[index].ends.len() as u32;
            let partition = partition_of(record.key.as_ref().unwrap(), partitions);
            Part { topic: topic(TOPICS[index]), partition, records: vec![record] }
        };
        events.iter().map(part).collect()
    }

    /// What a commit should answer, and the topics after it.
    fn expected(&self, parts: &[Part], events: &[(usize, u32, u8)]) -> (Vec<Appended>, Vec<Topic>) {
        let mut topics = self.topics.clone();
        let mut answers = Vec::new();
        for (part, &(index, source, id)) in parts.iter().zip(events) {
            let model = &mut topics[index];
            answers.push(match model.find((source, id)) {
                Some((partition, offset)) => Appended::Duplicate { partition, offset },
                None => {
                    let end = &mut model.ends[part.partition as usize];
                    model.records.insert((part.partition, *end), (source, id));
                    *end += 1;
                    Appended::Stored(*end - 1)
                }
            });
        }
        (answers, topics)
    }

    async fn commit(&mut self, events: &[(usize, u32, u8)]) {
        let parts = self.parts(events);
        let (answers, after) = self.expected(&parts, events);
        let committed: Result<Committed> = self.rig().commit(parts).await;
        match committed {
            Ok(done) => {
                let found: Vec<Appended> = done.parts.iter().map(|p| p.records[0].clone()).collect();
                assert_eq!(found, answers);
                self.topics = after;
            }
            Err(error) => {
                assert!(self.rig().storage_is_dead(), "{error:?}");
                self.power_loss();
                // All of it or nothing.
                let ends = |index: usize| self.rig().log.bounds(&topic(TOPICS[index])).unwrap().latest;
                let (now, then) = ([ends(0), ends(1)], [&after[0].ends, &after[1].ends]);
                if now[0] == *then[0] && now[1] == *then[1] {
                    self.topics = after;
                }
            }
        }
    }

    async fn trim(&mut self, index: usize, eighths: u64) {
        let model = &self.topics[index];
        let below: Vec<u64> =
            model.start.iter().zip(&model.ends).map(|(s, e)| s + (e - s) * eighths / 8).collect();
        let done = self.rig().log.trim(topic(TOPICS[index]), below.clone()).await;
        if let Err(error) = &done {
            assert!(self.rig().storage_is_dead(), "{error:?}");
            self.power_loss();
        }
        let now = self.rig().log.bounds(&topic(TOPICS[index])).unwrap().earliest;
        let is_trimmed = now.iter().zip(&below).all(|(now, below)| now >= below);
        assert!(is_trimmed || done.is_err(), "{now:?} {below:?}");
        if is_trimmed {
            self.topics[index].trimmed = below;
        }
    }

    async fn recreate(&mut self, index: usize) {
        let name = topic(TOPICS[index]);
        if let Err(error) = self.rig().log.delete(name.clone()).await {
            assert!(self.rig().storage_is_dead(), "{error:?}");
            self.power_loss();
            if self.rig().log.bounds(&name).is_ok() {
                return;
            }
        }
        assert_eq!(self.rig().log.bounds(&name).unwrap_err().code(), "unknown_topic");
        if let Err(error) = self.rig().log.create(spec(index)).await {
            assert!(self.rig().storage_is_dead(), "{error:?}");
            self.power_loss();
            if self.rig().log.bounds(&name).is_err() {
                self.rig().log.create(spec(index)).await.unwrap();
            }
        }
        self.adopt(index);
    }

    async fn add_partitions(&mut self, index: usize, more: u32) {
        let partitions = self.topics[index].ends.len() as u32 + more;
        let change = TopicAlteration { partitions: Some(partitions), ..TopicAlteration::default() };
        let altered = self.rig().log.alter(topic(TOPICS[index]), change).await;
        if let Err(error) = &altered {
            assert!(self.rig().storage_is_dead(), "{error:?}");
            self.power_loss();
        }
        let bounds = self.rig().log.bounds(&topic(TOPICS[index])).unwrap();
        let model = &mut self.topics[index];
        if altered.is_err() && bounds.epoch.0 == model.epoch {
            return;
        }
        assert_eq!(bounds.partitions(), partitions);
        assert_ne!(bounds.epoch.0, model.epoch, "keys moved: positions are stale");
        model.epoch = bounds.epoch.0;
        model.start.resize(partitions as usize, 0);
        model.trimmed.resize(partitions as usize, 0);
        model.ends.resize(partitions as usize, 0);
        // Positions are stale, so is the order: partitions begin anew for readers.
        model.order.clear();
    }

    /// Everything that should be there is, in an order that never changes; nothing else is.
    async fn check(&mut self) {
        for index in 0..2 {
            self.check_topic(index).await;
        }
        assert_eq!(self.rig().log.damage(), Vec::<String>::new());
    }

    async fn check_topic(&mut self, index: usize) {
        let name = topic(TOPICS[index]);
        let bounds = self.rig().log.bounds(&name).unwrap();
        let now_ms = self.rig().clock.0.load(Ordering::Relaxed);
        let found = self.rig().all(&name).await;
        let model = &mut self.topics[index];
        assert_eq!((bounds.epoch.0, &bounds.latest), (model.epoch, &model.ends), "{name}");
        for (partition, (now, &before)) in bounds.earliest.iter().zip(&model.start).enumerate() {
            assert!(*now >= before, "{name}/{partition}: the start moved back from {before} to {now}");
            let kept = index == 0 && *now > model.trimmed[partition];
            assert!(!kept, "{name}/{partition}: {before}..{now} is gone, kept for ever");
        }
        model.start = bounds.earliest;
        let is_left = |(partition, offset): &Place| *offset >= model.start[*partition as usize];
        let wanted: BTreeMap<Place, Identity> =
            model.records.iter().filter(|(place, _)| is_left(place)).map(|(p, i)| (*p, *i)).collect();
        let order: Vec<Place> = found.iter().map(|r| (r.partition, r.offset)).collect();
        let identity = |r: &dualstream_core::record::Record| {
            let source = std::str::from_utf8(r.key.as_ref().unwrap()).unwrap().parse().unwrap();
            (source, id_of(r).parse().unwrap())
        };
        let served: BTreeMap<Place, Identity> =
            found.iter().map(|r| ((r.partition, r.offset), identity(r))).collect();
        assert_eq!(order.len(), served.len(), "{name}: a record is served twice");
        assert_eq!(served, wanted, "{name}");
        let before: Vec<Place> = model.order.iter().filter(|place| is_left(place)).copied().collect();
        let known: BTreeSet<Place> = before.iter().copied().collect();
        let after: Vec<Place> = order.iter().filter(|place| known.contains(place)).copied().collect();
        assert_eq!(after, before, "{name}: the order changed");
        assert!(found.is_sorted_by_key(|r| r.append_time_ms));
        assert!(found.iter().all(|r| r.append_time_ms <= now_ms));
        model.order = order;
        let filter = Filter::source(format!("user:{}", self.seed % 40));
        let matching: Vec<_> = found.iter().filter(|r| filter.matches_record(r)).cloned().collect();
        assert_eq!(self.rig().read(&name, filter.clone(), 3, false).await.unwrap(), matching);
        let mut reverse = self.rig().read(&name, filter, 3, true).await.unwrap();
        reverse.reverse();
        assert_eq!(reverse, matching);
    }
}

async fn run(seed: u64, steps: &[Step]) {
    let mut model = Model::new(seed).await;
    for step in steps {
        model.run(step).await;
    }
    model.rig().storage.crash_at_step(u64::MAX);
    if model.rig().storage_is_dead() {
        model.power_loss();
        model.check().await;
    }
    let rig = model.rig.take().unwrap();
    model.rig = Some(rig.restart_or_crash().await);
    model.check().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn log_is_its_model(seed in 0..1_000_u64, steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(seed, &steps));
    }
}

/// A key has one partition at a time, but callers of a moment ago may know another number of them.
#[tokio::test(start_paused = true)]
async fn an_identity_is_looked_for_in_every_partition_within_a_round_too() {
    let rig = Rig::start(small(), 1).await;
    let part = |partition| Part { topic: topic("events"), partition, records: vec![event(1, "same", "")] };
    let committed = rig.commit(vec![part(3), part(5), part(3)]).await.unwrap();
    let found: Vec<_> = committed.parts.iter().map(|part| part.records[0].clone()).collect();
    let duplicate = Appended::Duplicate { partition: 3, offset: 0 };
    assert_eq!(found, [Appended::Stored(0), duplicate.clone(), duplicate]);
}
