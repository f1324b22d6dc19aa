//! A mirror against a model of it: a follower that appends what stands upstream, begins topics anew, looks events up, and
//! restarts, kills and power losses, also in the middle of a call. A failing run shrinks to the shortest one that fails.

use crate::mirror_rig::{MirrorRig, plain, record, run, seen, spec};
use crate::rig::{PARTITIONS, event, id_of, topic};
use dualstream_core::filter::{Filter, source_of};
use dualstream_core::hidden::{LeftOut, looked_for_in};
use dualstream_core::log::{Appended, Log};
use dualstream_core::mirror::{MirrorStore, Run};
use dualstream_core::record::Record;
use dualstream_core::topic::{Epoch, TopicSpec};
use dualstream_core::{Error, Result, identity};
use dualstream_log::Settings;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The second is bounded in size.
const TOPICS: [&str; 2] = ["events", "chat"];
const KEPT_BYTES: u64 = 12 << 10;

#[derive(Clone, Debug)]
enum Step {
    /// Appends to a topic what comes next in some partitions, so many offsets each.
    Follow(usize, Vec<(u32, u64)>),
    /// Looks up events of (source, id), to be appended to some partition.
    Check(usize, Vec<(u32, u32, u64)>),
    /// Begins a topic so many offsets before or behind where it ends.
    Begin(usize, u64),
    Forget(usize),
    /// The power fails after so many more calls of the disk, in whatever is done then.
    FailIn(u64),
    PowerLoss,
    Kill,
    Restart,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let runs = proptest::collection::vec((0..PARTITIONS, 1..30_u64), 1..8);
    let events = proptest::collection::vec((0..PARTITIONS, 0..5_u32, 0..9_u64), 1..5);
    prop_oneof![
        20 => (0..2_usize, runs).prop_map(|(topic, runs)| Step::Follow(topic, runs)),
        3 => (0..2_usize, events).prop_map(|(topic, events)| Step::Check(topic, events)),
        1 => (0..2_usize, 0..60_u64).prop_map(|(topic, back)| Step::Begin(topic, back)),
        1 => (0..2_usize).prop_map(Step::Forget),
        2 => (1..60_u64).prop_map(Step::FailIn),
        1 => Just(Step::PowerLoss),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
        2 => Just(Step::Checkpoint),
    ]
}

/// What stands at an offset upstream: the same every time, events, other records, or nothing.
fn upstream(index: usize, partition: u32, offset: u64) -> Option<Record> {
    let n = identity::hash(&[index as u8], &partition.to_le_bytes(), &offset.to_le_bytes());
    let (source, id) = ((n >> 8) as u32 % 5, (n >> 16) % 9);
    let new = || record(partition, offset, source, &id.to_string());
    match n % 10 {
        0 => None,
        1 => Some(plain(partition, offset, None)),
        2..=5 => Some(new()),
        // Repeats are looked for where nothing is given up.
        _ if index == 0 => Some(seen(offset.saturating_sub((n >> 24) % 60), new())),
        _ => Some(new()),
    }
}

type Place = (u32, u64);

#[derive(Clone, Debug)]
struct Held {
    epoch: u64,
    start: Vec<u64>,
    ends: Vec<u64>,
    /// Everything below was there when it was last said to be durable.
    durable: Vec<u64>,
    records: BTreeMap<Place, Record>,
    order: Vec<Place>,
    /// Left out since the last start.
    left_out: LeftOut,
}

struct Model {
    rig: Option<MirrorRig>,
    topics: [Option<Held>; 2],
    epochs: u64,
}

fn settings() -> Settings {
    Settings { segment_bytes: 4 << 10, checkpoint_bytes: 8 << 10, ..Settings::default() }
}

fn spec_of(index: usize) -> TopicSpec {
    TopicSpec {
        retention_bytes: (index == 1).then_some(KEPT_BYTES),
        retention_ms: None,
        ..spec(TOPICS[index])
    }
}

impl Held {
    fn new(epoch: u64, start: Vec<u64>) -> Held {
        let (ends, durable) = (start.clone(), start.clone());
        let (records, order, left_out) = Default::default();
        Held { epoch, start, ends, durable, records, order, left_out }
    }

    fn is_hidden(&self, record: &Record) -> bool {
        let Some(range) = looked_for_in(record) else { return false };
        let (from, until) = ((record.partition, range.start), (record.partition, range.end));
        let mut shown = self.records.range(from..until);
        shown.any(|(_, earlier)| identity::is_same_event(earlier, record)) || self.left_out.hides(record)
    }

    /// Takes a run over; how many of its records are hidden.
    fn take(&mut self, run: &Run) -> u64 {
        let mut hidden = 0;
        for record in &run.records {
            if self.is_hidden(record) {
                hidden += 1;
                self.left_out.add(record.clone());
            } else {
                self.records.insert((record.partition, record.offset), record.clone());
            }
        }
        self.ends[run.partition as usize] = run.next;
        hidden
    }

    /// What a power loss took is not there any more.
    fn cut(&mut self, ends: &[u64]) {
        // Whoever follows asks upstream for what was left out before a start.
        self.left_out = LeftOut::default();
        self.ends = ends.to_vec();
        self.records.retain(|(partition, offset), _| *offset < ends[*partition as usize]);
        self.order.retain(|(partition, offset)| *offset < ends[*partition as usize]);
    }
}

impl Model {
    fn rig(&self) -> &MirrorRig {
        self.rig.as_ref().unwrap()
    }

    async fn run(&mut self, step: &Step) {
        match step {
            Step::Follow(index, runs) => self.follow(*index, runs).await,
            Step::Check(index, events) => self.look_up(*index, events).await,
            Step::Begin(index, back) => self.begin(*index, *back).await,
            Step::Forget(index) => self.forget(*index).await,
            Step::FailIn(steps) => {
                let storage = &self.rig().storage;
                storage.crash_at_step(storage.steps() + steps);
                return;
            }
            Step::PowerLoss => self.power_loss(),
            Step::Kill => {
                let rig = self.rig.take().unwrap();
                self.rig = Some(rig.reopen_or_crash());
                self.adopt_ends();
            }
            Step::Restart => {
                let rig = self.rig.take().unwrap();
                self.rig = Some(rig.restart_or_crash().await);
                self.adopt_ends();
                self.note_durable();
            }
            Step::Checkpoint => {
                // One may be under way that covers less.
                self.rig().checkpoint().await;
                self.rig().checkpoint().await;
                if !self.rig().storage_is_dead() {
                    self.note_durable();
                }
            }
        }
        // The power may have failed in something nobody waited for.
        if self.rig().storage_is_dead() {
            self.power_loss();
        }
        self.check().await;
    }

    fn note_durable(&mut self) {
        self.topics.iter_mut().flatten().for_each(|held| held.durable.clone_from(&held.ends));
    }

    fn power_loss(&mut self) {
        let rig = self.rig.take().unwrap();
        self.rig = Some(rig.crash());
        self.adopt_ends();
    }

    /// After a start: where the mirror goes on.
    fn adopt_ends(&mut self) {
        for (index, held) in self.topics.iter_mut().enumerate() {
            let bounds = self.rig.as_ref().unwrap().log.bounds(&topic(TOPICS[index]));
            let Some(held) = held else { continue };
            let now = bounds.unwrap().latest;
            assert!(now.iter().zip(&held.ends).all(|(now, then)| now <= then), "it goes on behind its end");
            assert!(now.iter().zip(&held.durable).all(|(now, then)| now >= then), "a checkpoint is lost");
            held.cut(&now);
        }
    }

    async fn follow(&mut self, index: usize, wanted: &[(u32, u64)]) {
        let Some(held) = &self.topics[index] else { return };
        let mut after = held.clone();
        let (mut runs, mut hidden) = (Vec::new(), 0);
        for &(partition, count) in wanted {
            let from = after.ends[partition as usize];
            let records =
                (from..from + count).filter_map(|offset| upstream(index, partition, offset)).collect();
            let run = run(TOPICS[index], partition, records, from + count);
            hidden += after.take(&run);
            runs.push(run);
        }
        match self.rig().log.append(&topic(TOPICS[index]), runs, vec![u64::MAX; 12]).await {
            Ok(left_out) => {
                assert_eq!(left_out, hidden);
                self.topics[index] = Some(after);
            }
            Err(error) => self.died(&error),
        }
    }

    /// Nothing fails but the power.
    fn died(&mut self, error: &Error) {
        assert!(self.rig().storage_is_dead(), "{error:?}");
        self.power_loss();
    }

    async fn look_up(&mut self, index: usize, events: &[(u32, u32, u64)]) {
        let new =
            |&(partition, source, id): &(u32, u32, u64)| (partition, event(source, &id.to_string(), ""));
        let asked = self.rig().log.check(&topic(TOPICS[index]), events.iter().map(new).collect()).await;
        let Some(held) = &self.topics[index] else {
            assert_eq!(asked.unwrap_err().code(), "unknown_topic");
            return;
        };
        let checked = match asked {
            Ok(checked) => checked,
            Err(error) => return self.died(&error),
        };
        for (&(partition, source, id), checked) in events.iter().zip(checked) {
            assert_eq!(checked.seen, held.ends[partition as usize]);
            let is_it = |r: &Record| {
                let key = source.to_string();
                let own = source_of(&r.headers, r.key.as_deref()) == Some((b"user", key.as_bytes()));
                own && id_of(r) == id.to_string()
            };
            let is_left = |r: &&Record| r.offset >= held.start[r.partition as usize];
            match checked.found {
                Some(Appended::Duplicate { partition, offset }) => {
                    assert!(is_it(&held.records[&(partition, offset)]));
                }
                None => assert!(!held.records.values().filter(is_left).any(is_it), "{source} {id}"),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn begin(&mut self, index: usize, back: u64) {
        self.epochs += 1;
        let epoch = self.epochs;
        let start: Vec<u64> = match &self.topics[index] {
            Some(held) => held.ends.iter().map(|end| (end + 30).saturating_sub(back)).collect(),
            None => vec![back; PARTITIONS as usize],
        };
        let begun = self.rig().log.begin(spec_of(index), Epoch(epoch), start.clone()).await;
        let before = self.topics[index].take();
        self.topics[index] = Some(Held::new(epoch, start));
        let Err(error) = begun else { return };
        // Either of the two, whole.
        let after = self.topics[index].take();
        self.died(&error);
        let bounds = self.rig().log.bounds(&topic(TOPICS[index])).ok();
        let is_after = bounds.is_some_and(|bounds| bounds.epoch.0 == epoch);
        self.topics[index] = if is_after { after } else { before };
        self.adopt_ends();
    }

    async fn forget(&mut self, index: usize) {
        let name = topic(TOPICS[index]);
        let done = self.rig().log.forget(&name).await;
        let before = self.topics[index].take();
        if let Err(error) = done {
            self.died(&error);
            if self.rig().log.bounds(&name).is_ok() {
                self.topics[index] = before;
                self.adopt_ends();
            }
        }
    }

    /// Everything that should be there is, in an order that never changes; nothing else is.
    async fn check(&mut self) {
        for index in 0..2 {
            // A reader may build a sidecar again, and the power fail in that.
            if let Err(error) = self.check_topic(index).await {
                self.died(&error);
                self.check_topic(index).await.unwrap();
            }
        }
        assert_eq!(self.rig().log.damage(), Vec::<String>::new());
    }

    async fn check_topic(&mut self, index: usize) -> Result<()> {
        let name = topic(TOPICS[index]);
        let bounds = self.rig().log.bounds(&name);
        let Some(held) = &self.topics[index] else {
            assert_eq!(bounds.unwrap_err().code(), "unknown_topic");
            return Ok(());
        };
        let bounds = bounds.unwrap();
        assert_eq!((bounds.epoch.0, &bounds.latest), (held.epoch, &held.ends), "{name}");
        for (now, &before) in bounds.earliest.iter().zip(&held.start) {
            assert!(*now >= before && (index == 1 || *now == before), "{name}: {before} became {now}");
        }
        let found = self.rig().try_read(&name, Filter::All, 1_000, false).await?;
        let is_left = |(partition, offset): &Place| *offset >= bounds.earliest[*partition as usize];
        let wanted: BTreeMap<Place, &Record> =
            held.records.iter().filter(|(place, _)| is_left(place)).map(|(p, r)| (*p, r)).collect();
        let served: BTreeMap<Place, &Record> = found.iter().map(|r| ((r.partition, r.offset), r)).collect();
        assert_eq!(found.len(), served.len(), "{name}: a record is served twice");
        assert_eq!(served, wanted, "{name}");
        let order: Vec<Place> = found.iter().map(|r| (r.partition, r.offset)).collect();
        let before: Vec<Place> = held.order.iter().filter(|place| is_left(place)).copied().collect();
        let known: BTreeSet<Place> = before.iter().copied().collect();
        let after: Vec<Place> = order.iter().filter(|place| known.contains(place)).copied().collect();
        assert_eq!(after, before, "{name}: the order changed");
        let filter = Filter::source(format!("user:{}", held.epoch % 5));
        let matching: Vec<_> = found.iter().filter(|r| filter.matches_record(r)).cloned().collect();
        assert_eq!(self.rig().try_read(&name, filter.clone(), 3, false).await?, matching);
        let mut reverse = self.rig().try_read(&name, filter, 3, true).await?;
        reverse.reverse();
        assert_eq!(reverse, matching);
        let held = self.topics[index].as_mut().unwrap();
        held.order = order;
        held.start = bounds.earliest;
        held.records.retain(|(partition, offset), _| *offset >= held.start[*partition as usize]);
        Ok(())
    }
}

/// The disk dies in a checkpoint, which empties the mirror: what is forgotten after that is only so once it is written.
#[tokio::test(start_paused = true)]
async fn forgotten_is_forgotten() {
    for steps in 1..60 {
        let follow = |index, runs: &[(u32, u64)]| Step::Follow(index, runs.to_vec());
        let run = [
            Step::FailIn(steps),
            follow(0, &[(0, 10)]),
            follow(1, &[(0, 16), (3, 29)]),
            follow(0, &[(0, 14)]),
            follow(0, &[(0, 10)]),
            follow(0, &[(0, 17), (2, 8)]),
            Step::Forget(0),
        ];
        run_all(0, &run).await;
    }
}

async fn run_all(seed: u64, steps: &[Step]) {
    let rig = MirrorRig::empty(settings(), seed);
    let mut model = Model { rig: Some(rig), topics: [None, None], epochs: 0 };
    for index in 0..2 {
        model.begin(index, seed % 50).await;
    }
    for step in steps {
        model.run(step).await;
    }
    model.rig().storage.crash_at_step(u64::MAX);
    if model.rig().storage_is_dead() {
        model.power_loss();
        model.check().await;
    }
    model.run(&Step::Restart).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mirror_is_its_model(seed in 0..1_000_u64, steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run_all(seed, &steps));
    }
}
