//! Every bit of a small log flipped, one at a time. What is served afterwards is what was written; what is not served is
//! told; everything around it is served; publishing goes on at fresh offsets.
//!
//! A bit costs a recovery, some milliseconds without optimization. So the ordinary run takes every 101st bit (101 is
//! prime to 8: all bit positions occur in every field), and `cargo test --release -p dualstream-log -- --ignored flips`
//! takes all of them.

use crate::image::{Image, Place, Seen};
use crate::rig::{PARTITIONS, Rig, Seeded, TestClock, event, id_of, topic};
use dualstream_core::log::{Appended, Part};
use dualstream_log::Settings;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const TOPICS: [&str; 2] = ["events", "chat"];
const STRIDE: usize = 101;

fn settings() -> Settings {
    Settings { segment_bytes: 2 << 10, journal_file_bytes: 48 << 10, ..Settings::default() }
}

/// How the process that wrote the log ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// In order: everything is in the stores.
    Clean,
    /// Killed: the last commits are in the journal and, not synced, in the stores.
    Killed,
    /// With the machine: the last commits are in the journal only.
    PowerLoss,
}

/// A log and what can be read of it.
struct Written {
    image: Image,
    seen: Seen,
    clock_ms: i64,
    end: End,
    /// Bytes that mean anything, per file: zeros behind them are looked at more coarsely.
    used: BTreeMap<String, usize>,
}

async fn written(end: End) -> Written {
    let mut rig = Rig::start(settings(), 5).await;
    for i in 0..20_u32 {
        if i == 12 {
            // Sealed segments get their sidecars, the journal is covered by a checkpoint.
            rig = rig.restart().await;
        }
        let ids = [format!("{i}-a"), format!("{i}-b")];
        let events = [(i % 7, ids[0].as_str()), (i % 5 + 20, ids[1].as_str())];
        rig.publish(&topic(TOPICS[i as usize % 2]), &events).await.unwrap();
    }
    let seen = Seen::of(&rig, &TOPICS).await;
    assert_eq!(seen.records.len(), 40);
    let storage = rig.storage.clone();
    let clock = rig.clock.clone();
    if end == End::Clean {
        rig.end().await.unwrap();
    } else {
        rig.kill();
    }
    if end == End::PowerLoss {
        storage.crash_lose_all();
    }
    let image = Image::of(&storage);
    assert!(image.ending(".index").len() >= 2, "sealed segments: {:?}", image.0.keys());
    let used = |bytes: &Vec<u8>| bytes.len() - bytes.iter().rev().take_while(|&&byte| byte == 0).count();
    let used = image.0.iter().map(|(path, bytes)| (path.clone(), used(bytes))).collect();
    Written { image, seen, clock_ms: clock.0.load(Ordering::Relaxed), end, used }
}

impl Written {
    /// Bits to flip in the files that end so.
    fn bits(&self, stride: usize, wanted: impl Fn(&str) -> bool) -> Vec<(String, usize)> {
        let mut bits = Vec::new();
        for (path, bytes) in self.image.0.iter().filter(|(path, _)| wanted(path)) {
            let used = self.used[path] * 8;
            bits.extend((0..used).step_by(stride).map(|bit| (path.clone(), bit)));
            bits.extend((used..bytes.len() * 8).step_by(12_007).map(|bit| (path.clone(), bit)));
        }
        bits
    }

    /// Flips one bit and checks everything; whether the log was opened.
    async fn check(&self, path: &str, bit: usize) -> bool {
        let what = format!("{:?}: bit {bit} of {path}", self.end);
        let storage = self.image.damaged(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let clock = Arc::new(TestClock(AtomicI64::new(self.clock_ms)));
        let rig = match Rig::open(settings(), storage, clock, Seeded::new(1)) {
            Ok(rig) => rig,
            Err(error) => {
                let wanted = match path {
                    "catalog" => ["catalog_damaged", "data_dir_newer_format"],
                    "checkpoint" => ["checkpoint_damaged", ""],
                    _ => panic!("{what}: {error}"),
                };
                assert!(wanted.contains(&error.code()), "{what}: {error}");
                return false;
            }
        };
        let seen = Seen::of(&rig, &TOPICS).await;
        self.nothing_is_wrong(&seen, &what);
        let lost: Vec<&Place> = self.seen.records.keys().filter(|p| !seen.records.contains_key(p)).collect();
        self.losses_are_told(&rig, path, &seen, &lost, &what);
        self.publishing_goes_on(&rig, &seen, &what).await;
        rig.end().await.expect(&what);
        true
    }

    fn nothing_is_wrong(&self, seen: &Seen, what: &str) {
        for (place, record) in &seen.records {
            assert_eq!(self.seen.records.get(place), Some(record), "{what}: {place:?} has another record");
        }
    }

    fn losses_are_told(&self, rig: &Rig, path: &str, seen: &Seen, lost: &[&Place], what: &str) {
        if lost.is_empty() {
            return;
        }
        // A commit puts at most two records into one partition, thus into one batch; a frame of the journal whose
        // copies in the stores are lost too has two of them.
        assert!(lost.len() <= 2, "{what}: {lost:?} are lost");
        let is_torn = self.end == End::PowerLoss && path.starts_with("journal") && self.is_last_commit(lost);
        if is_torn {
            return;
        }
        assert_ne!(rig.log.damage(), Vec::<String>::new(), "{what}: {lost:?} are lost in silence");
        assert!(lost.iter().all(|place| seen.tells_of(place)), "{what}: {lost:?} are lost in silence");
    }

    /// The last frame of the journal after a power loss: damaged it looks like torn, which is no damage. This is the
    /// one thing nobody can tell apart.
    fn is_last_commit(&self, lost: &[&Place]) -> bool {
        lost.iter().all(|place| id_of(&self.seen.records[*place]).starts_with("19-"))
    }

    /// Events that are served are known again; others get offsets nobody had, or a new epoch.
    async fn publishing_goes_on(&self, rig: &Rig, seen: &Seen, what: &str) {
        let mut parts = Vec::new();
        for name in TOPICS {
            for partition in 0..PARTITIONS {
                let record = event(1_000 + partition, "fresh", "");
                parts.push(Part { topic: topic(name), partition, records: vec![record] });
            }
        }
        let committed = rig.commit(parts.clone()).await.expect(what);
        for (part, done) in parts.iter().zip(&committed.parts) {
            let Appended::Stored(offset) = done.records[0] else { panic!("{what}: {:?}", done.records) };
            let place = (part.topic.to_string(), part.partition, offset);
            let is_stale = seen.epochs[part.topic.as_str()] != self.seen.epochs[part.topic.as_str()];
            let is_torn = self.end == End::PowerLoss
                && self.seen.records.get(&place).is_some_and(|r| id_of(r).starts_with("19-"));
            assert!(
                is_stale || is_torn || !self.seen.records.contains_key(&place),
                "{what}: {place:?} was given out twice"
            );
        }
        let again = seen.records.iter().map(|(place, record)| self.again(place, record)).collect();
        let committed = rig.commit(again).await.expect(what);
        for (place, done) in seen.records.keys().zip(&committed.parts) {
            assert_eq!(
                done.records[0],
                Appended::Duplicate { partition: place.1, offset: place.2 },
                "{what}: {place:?} again"
            );
        }
    }

    fn again(&self, place: &Place, record: &dualstream_core::record::Record) -> Part {
        let source: u32 = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap();
        Part { topic: topic(&place.0), partition: place.1, records: vec![event(source, &id_of(record), "")] }
    }
}

async fn flip(end: End, stride: usize, wanted: impl Fn(&str) -> bool) {
    let written = written(end).await;
    let mut opened = 0;
    let bits = written.bits(stride, wanted);
    for (path, bit) in &bits {
        opened += usize::from(written.check(path, *bit).await);
    }
    println!("{end:?}: {} bits flipped, {opened} logs opened", bits.len());
    assert!(!bits.is_empty());
}

fn is_journal(path: &str) -> bool {
    path.starts_with("journal/")
}

fn is_store(path: &str) -> bool {
    path.starts_with("topics/")
}

fn is_small_file(path: &str) -> bool {
    path == "catalog" || path == "checkpoint"
}

#[tokio::test(start_paused = true)]
async fn journal_after_a_kill() {
    flip(End::Killed, STRIDE, is_journal).await;
}

#[tokio::test(start_paused = true)]
async fn journal_after_a_power_loss() {
    flip(End::PowerLoss, STRIDE, is_journal).await;
}

#[tokio::test(start_paused = true)]
async fn stores_after_a_kill() {
    flip(End::Killed, STRIDE, is_store).await;
}

#[tokio::test(start_paused = true)]
async fn stores_after_a_clean_end() {
    flip(End::Clean, STRIDE, is_store).await;
}

#[tokio::test(start_paused = true)]
async fn catalog_and_checkpoint() {
    flip(End::Killed, 7, is_small_file).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "some minutes; see the head of this file"]
async fn every_bit() {
    for end in [End::Clean, End::Killed, End::PowerLoss] {
        flip(end, 1, |_| true).await;
    }
}
