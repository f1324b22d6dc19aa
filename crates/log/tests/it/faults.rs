//! A disk that fails: what is acknowledged is there afterwards, what was refused is not, and no sync is believed after
//! one that failed.

use crate::image::Image;
use crate::rig::{PARTITIONS, Rig, Seeded, TestClock, event, id_of, small, topic};
use dualstream_core::log::{Appended, Commit, Log, Part};
use dualstream_core::partitioner::partition_of;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind};
use dualstream_log::storage::{Fault, Op};
use dualstream_log::{Fsync, MemoryStorage, Settings, Storage, open};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const BOTH: [&str; 2] = ["events", "chat"];

/// What became of each event: where it was acknowledged, or how it was refused.
#[derive(Default)]
struct Ledger {
    acked: BTreeMap<String, (String, u32, u64)>,
    refused: BTreeMap<String, Error>,
    next: u32,
}

impl Ledger {
    /// Publishes one event into each of the topics, in one commit.
    async fn publish(&mut self, rig: &Rig, topics: &[&str], body: &str) -> Result<(), Error> {
        self.next += 1;
        let id = format!("{:05}", self.next);
        let record = event(self.next * 7 % 1_000, &id, body);
        let partition = partition_of(record.key.as_ref().unwrap(), PARTITIONS);
        let part = |name: &&str| Part { topic: topic(name), partition, records: vec![record.clone()] };
        let committed = rig.commit(topics.iter().map(part).collect()).await;
        for (at, name) in topics.iter().enumerate() {
            let key = format!("{name}/{id}");
            match &committed {
                Ok(done) => {
                    let Appended::Stored(offset) = done.parts[at].records[0] else { panic!("{done:?}") };
                    self.acked.insert(key, (name.to_string(), partition, offset));
                }
                Err(error) => drop(self.refused.insert(key, error.clone())),
            }
        }
        committed.map(drop)
    }

    /// Every acknowledged event is there once, at its place; every one that was definitely refused is not.
    async fn check(&self, rig: &Rig, what: &str) {
        let mut found = BTreeMap::new();
        for info in rig.log.list().await.unwrap() {
            for record in rig.all(&info.spec.name).await {
                let key = format!("{}/{}", info.spec.name, id_of(&record));
                let place = (info.spec.name.to_string(), record.partition, record.offset);
                assert_eq!(found.insert(key.clone(), place), None, "{what}: {key} is stored twice");
            }
        }
        for (key, place) in &self.acked {
            assert_eq!(found.get(key), Some(place), "{what}: acknowledged {key} is lost or moved");
        }
        for (key, error) in self.refused.iter().filter(|(_, e)| e.kind() != ErrorKind::Unknown) {
            assert!(!found.contains_key(key), "{what}: {key} is stored although refused: {error:?}");
        }
        assert_eq!(rig.log.damage(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_fsync_is_final() {
    let mut rig = Rig::start(small(), 3).await;
    let mut ledger = Ledger::default();
    for _ in 0..10 {
        ledger.publish(&rig, &BOTH, "").await.unwrap();
    }
    rig.storage.fail_next(Op::Sync, 1, Fault::Eio);
    let (events, chat) = (topic("events"), topic("chat"));
    let (a, b) = tokio::join!(rig.publish(&events, &[(1, "waits-a")]), rig.publish(&chat, &[(2, "waits-b")]));
    for waited in [a, b] {
        let error = waited.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unknown, "outcome_unknown"));
    }
    // The disk would sync again now: nobody may ask it to.
    for _ in 0..3 {
        let error = ledger.publish(&rig, &BOTH, "").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
    }
    let error = rig.log.create(TopicSpec::events(topic("late"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(rig.writer_ended().await.unwrap_err().kind(), ErrorKind::Unavailable);
    ledger.check(&rig, "reads go on").await;
    rig = rig.crash();
    ledger.check(&rig, "after the next start").await;
    ledger.publish(&rig, &BOTH, "").await.unwrap();
}

/// Whoever owns the writer's thread hears of the failure with those who wait for a commit, not with the next checkpoint.
#[tokio::test]
async fn the_writers_thread_ends_with_a_failed_fsync() {
    let storage = MemoryStorage::new();
    let settings = Settings { checkpoint_interval: Duration::from_secs(36_000), ..small() };
    let (log, writer) =
        open(settings, Arc::new(storage.clone()), Arc::new(TestClock::default()), Seeded::new(3)).unwrap();
    let thread = std::thread::spawn(move || writer.run());
    log.create(TopicSpec { partitions: PARTITIONS, ..TopicSpec::events(topic("events")) }).await.unwrap();
    storage.fail_next(Op::Sync, 1, Fault::Eio);
    let part = Part { topic: topic("events"), partition: 3, records: vec![event(1, "lost", "")] };
    let error = log.commit(Commit { parts: vec![part], guard: None }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert_eq!(thread.join().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn failed_fsync_is_final_without_sync_before_the_ack() {
    let settings = Settings { fsync: Fsync::Every(Duration::from_millis(50)), ..small() };
    let mut rig = Rig::start(settings, 3).await;
    let mut ledger = Ledger::default();
    ledger.publish(&rig, &BOTH, "").await.unwrap();
    rig.storage.fail_next(Op::Sync, 1, Fault::Eio);
    tokio::time::advance(Duration::from_millis(60)).await;
    assert_eq!(rig.writer_ended().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(ledger.publish(&rig, &BOTH, "").await.unwrap_err().kind(), ErrorKind::Unavailable);
    ledger.check(&rig, "reads go on").await;
}

/// A journal file that grows is synced, with frames in it that were acknowledged without a sync: a failure of that one
/// is as final as of any other.
#[tokio::test(start_paused = true)]
async fn failed_fsync_of_a_growing_journal_is_final() {
    let settings = Settings {
        fsync: Fsync::Every(Duration::from_secs(3_600)),
        journal_file_bytes: 4 << 20,
        checkpoint_bytes: 1 << 30,
        checkpoint_interval: Duration::from_secs(36_000),
        ..Settings::default()
    };
    let mut rig = Rig::start(settings, 3).await;
    let mut ledger = Ledger::default();
    let body = "x".repeat(60 << 10);
    ledger.publish(&rig, &["events"], "").await.unwrap();
    rig.storage.fail_next(Op::Sync, 1, Fault::Eio);
    let mut failed = false;
    for _ in 0..40 {
        let ended = ledger.publish(&rig, &["events"], &body).await;
        assert!(!failed || ended.is_err(), "acknowledged after a failed sync");
        failed |= ended.is_err();
    }
    assert!(failed, "the journal did not grow");
    assert_eq!(rig.writer_ended().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn full_disk_refuses_and_heals() {
    let settings = Settings { free_bytes_min: 0, ..small() };
    for room in (0..60_000).step_by(977) {
        let mut rig = Rig::start(settings.clone(), 3).await;
        let mut ledger = Ledger::default();
        for _ in 0..5 {
            ledger.publish(&rig, &BOTH, "before").await.unwrap();
        }
        let (free, total) = rig.storage.free_bytes().unwrap();
        rig.storage.set_capacity(Some(total - free + room));
        let mut full = 0;
        for i in 0..150 {
            if let Err(error) = ledger.publish(&rig, &BOTH, "while the disk fills up").await {
                assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "storage_full"), "{room}");
                full += 1;
            }
            if i % 50 == 49 {
                rig.checkpoint().await;
            }
        }
        assert!(full > 0, "the disk never was full with room for {room}");
        ledger.check(&rig, &format!("room for {room}: reads go on")).await;
        rig.storage.set_capacity(None);
        rig.checkpoint().await;
        for _ in 0..5 {
            ledger.publish(&rig, &BOTH, "after").await.expect("it heals by itself");
        }
        ledger.check(&rig, &format!("room for {room}: healed")).await;
        rig = if room % 2 == 0 { rig.crash() } else { rig.restart().await };
        ledger.check(&rig, &format!("room for {room}: after a start")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn space_is_kept_free() {
    let settings = Settings { free_bytes_min: 4 << 20, ..small() };
    let rig = Rig::start(settings, 3).await;
    let mut ledger = Ledger::default();
    ledger.publish(&rig, &BOTH, "").await.unwrap();
    let (free, total) = rig.storage.free_bytes().unwrap();
    rig.storage.set_capacity(Some(total - free + (4 << 20) - 1));
    // The space is looked at after every MiB.
    let mut error = None;
    let body = "x".repeat(8 << 10);
    for _ in 0..200 {
        error = error.or(ledger.publish(&rig, &["events"], &body).await.err());
    }
    let error = error.expect("space ends");
    assert_eq!((error.kind(), error.limit()), (ErrorKind::Full, Some(4 << 20)));
    rig.storage.set_capacity(None);
    ledger.publish(&rig, &BOTH, "").await.expect("it heals by itself");
    ledger.check(&rig, "space was kept").await;
}

#[tokio::test(start_paused = true)]
async fn short_writes_are_cut_back() {
    for bytes in (0..1_400).step_by(37).chain([usize::MAX]) {
        let mut rig = Rig::start(small(), bytes as u64).await;
        let mut ledger = Ledger::default();
        ledger.publish(&rig, &BOTH, "before").await.unwrap();
        rig.storage.fail_next(Op::Write, 1, Fault::ShortWrite(bytes));
        let error = ledger.publish(&rig, &BOTH, "short").await.unwrap_err();
        let what = format!("{bytes} bytes written");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "storage_error"), "{what}");
        if rig.entropy.below(2) == 0 {
            ledger.publish(&rig, &BOTH, "after").await.unwrap();
        }
        ledger.check(&rig, &what).await;
        rig = if rig.entropy.below(2) == 0 { rig.crash() } else { rig.reopen().unwrap() };
        ledger.check(&rig, &format!("{what}, opened again")).await;
        ledger.publish(&rig, &BOTH, "at last").await.unwrap();
    }
}

/// What is refused is not stored, whatever the power does afterwards.
#[tokio::test(start_paused = true)]
async fn short_writes_stay_cut_back_after_a_power_loss() {
    for seed in 0..200 {
        let mut rig = Rig::start(small(), seed).await;
        let mut ledger = Ledger::default();
        ledger.publish(&rig, &BOTH, "before").await.unwrap();
        rig.storage.fail_next(Op::Write, 1, Fault::ShortWrite(usize::MAX));
        ledger.publish(&rig, &BOTH, "short").await.unwrap_err();
        rig = rig.crash();
        ledger.check(&rig, &format!("seed {seed}")).await;
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
enum End {
    PowerLoss,
    AllUnsyncedLost,
    Killed,
}

/// Commits, administration and checkpoints with one failing call somewhere among them.
async fn one_fault(op: Op, nth: u64, fault: Fault, end: End) {
    let what = format!("{fault:?} of {op:?} {nth}, then {end:?}");
    let settings = Settings { checkpoint_bytes: 12 << 10, segment_bytes: 6 << 10, ..small() };
    let mut rig = Rig::start(settings, nth).await;
    let mut ledger = Ledger::default();
    for _ in 0..3 {
        ledger.publish(&rig, &BOTH, "").await.unwrap();
    }
    rig.storage.fail_next(op, nth, fault);
    let mut topics = BOTH.to_vec();
    for round in 0..4 {
        for _ in 0..12 {
            let _ = ledger.publish(&rig, &topics, "").await;
        }
        match round {
            0 if rig.log.create(TopicSpec::events(topic("extra"))).await.is_ok() => topics.push("extra"),
            1 => {
                let starts = rig.log.bounds(&topic("chat")).unwrap().earliest;
                let _ = rig.log.trim(topic("chat"), starts).await;
            }
            2 if topics.len() == 3 && rig.log.delete(topic("extra")).await.is_ok() => {
                topics.pop();
                ledger.acked.retain(|key, _| !key.starts_with("extra"));
            }
            _ => {}
        }
        rig.checkpoint().await;
    }
    rig.kill();
    match end {
        End::PowerLoss => rig.storage.crash(&*rig.entropy),
        End::AllUnsyncedLost => rig.storage.crash_lose_all(),
        End::Killed => rig.storage.crash_keep_all(),
    }
    // A new disk with the same files: a fault that did not happen yet stays behind.
    rig.storage = Image::of(&rig.storage).disk();
    rig = rig.reopen().expect(&what);
    ledger.check(&rig, &what).await;
    rig.publish(&topic("events"), &[(1, "at last")]).await.expect(&what);
}

#[tokio::test(start_paused = true)]
async fn any_one_call_may_fail() {
    let ops =
        [Op::Sync, Op::Write, Op::Rename, Op::SyncDir, Op::Create, Op::Truncate, Op::Allocate, Op::Remove];
    for op in ops {
        for nth in (1..=8).chain([11, 15, 20, 26, 33, 41, 52, 66]) {
            for fault in [Fault::Eio, Fault::Enospc] {
                for end in [End::PowerLoss, End::AllUnsyncedLost, End::Killed] {
                    one_fault(op, nth, fault, end).await;
                }
            }
        }
    }
}

/// While no checkpoint can be completed the journal fills up; then commits are refused, and nothing is overwritten.
#[tokio::test(start_paused = true)]
async fn full_journal_refuses() {
    let settings = Settings { checkpoint_bytes: 1 << 30, ..small() };
    let mut rig = Rig::start(settings, 3).await;
    let mut ledger = Ledger::default();
    for nth in 1..=200 {
        rig.storage.fail_next(Op::Rename, nth, Fault::Enospc);
    }
    let (mut refused, body) = (0, "x".repeat(2 << 10));
    for _ in 0..160 {
        if let Err(error) = ledger.publish(&rig, &["events"], &body).await {
            assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "storage_full"));
            refused += 1;
        }
    }
    assert!(refused > 20, "four files of 64 KiB held 160 commits of 2 KiB: {refused} refused");
    ledger.check(&rig, "the journal is full").await;
    rig.kill();
    rig.storage = Image::of(&rig.storage).disk();
    rig = rig.reopen().unwrap();
    ledger.check(&rig, "after the next start").await;
    for _ in 0..100 {
        ledger.publish(&rig, &["events"], &body).await.expect("checkpoints work again");
    }
    ledger.check(&rig, "it goes on").await;
}

/// Whether a change of the catalog reached the disk is not known after a failed sync: nothing may be built on either
/// answer.
#[tokio::test(start_paused = true)]
async fn failed_sync_of_the_catalog_is_final() {
    for (op, fault) in [(Op::Sync, Fault::Eio), (Op::SyncDir, Fault::Eio), (Op::SyncDir, Fault::Enospc)] {
        let mut rig = Rig::start(small(), 3).await;
        let mut ledger = Ledger::default();
        ledger.publish(&rig, &BOTH, "").await.unwrap();
        rig.storage.fail_next(op, 1, fault);
        rig.log.delete(topic("chat")).await.unwrap_err();
        for _ in 0..3 {
            let error = ledger.publish(&rig, &BOTH, "").await.unwrap_err();
            assert_eq!(error.code(), "log_unavailable", "{op:?}");
        }
        assert_eq!(rig.writer_ended().await.unwrap_err().kind(), ErrorKind::Unavailable);
        ledger.check(&rig, "reads go on").await;
        rig = rig.crash();
        let is_deleted = rig.log.bounds(&topic("chat")).is_err();
        ledger.acked.retain(|key, _| !is_deleted || key.starts_with("events"));
        ledger.check(&rig, "after the next start").await;
    }
}

/// A topic that could not be created leaves nothing behind, and a second try stands on nothing the first one lost.
#[tokio::test(start_paused = true)]
async fn a_topic_is_created_whole_or_not_at_all() {
    for op in [Op::Create, Op::Write, Op::Truncate, Op::Sync, Op::SyncDir, Op::Rename] {
        for (nth, fault) in (1..=4).flat_map(|nth| [(nth, Fault::Eio), (nth, Fault::Enospc)]) {
            let what = format!("{fault:?} of {op:?} {nth}");
            let mut rig = Rig::start(small(), nth).await;
            rig.storage.fail_next(op, nth, fault);
            let first = rig.log.create(TopicSpec::events(topic("extra"))).await;
            let again = rig.log.create(TopicSpec::events(topic("extra"))).await;
            assert!(first.is_err() || again.is_err(), "{what}: created twice");
            let is_published = rig.publish(&topic("extra"), &[(1, "acknowledged")]).await.is_ok();
            rig.checkpoint().await;
            rig.kill();
            rig.storage.crash_lose_all();
            rig.storage = Image::of(&rig.storage).disk();
            rig = rig.reopen().expect(&what);
            assert!(!is_published || rig.all(&topic("extra")).await.len() == 1, "{what}");
            let topics = rig.log.list().await.unwrap().len();
            assert_eq!(rig.storage.list("topics").unwrap().len(), topics, "{what}");
            assert_eq!(rig.log.damage(), Vec::<String>::new(), "{what}");
        }
    }
}

/// Whoever could not create a topic may go on with others; the number of the first is not given to one of them.
#[tokio::test(start_paused = true)]
async fn a_half_created_topic_is_removed_without_a_start() {
    let rig = Rig::start(small(), 1).await;
    rig.storage.fail_next(Op::Rename, 1, Fault::Enospc);
    rig.log.create(TopicSpec::events(topic("extra"))).await.unwrap_err();
    assert_eq!(rig.storage.list("topics").unwrap(), ["1", "2", "3"], "it was half created");
    rig.log.create(TopicSpec::events(topic("other"))).await.unwrap();
    rig.publish(&topic("other"), &[(1, "stays")]).await.unwrap();
    rig.checkpoint().await;
    assert_eq!(rig.storage.list("topics").unwrap(), ["1", "2", "4"]);
    assert_eq!(rig.all(&topic("other")).await.len(), 1);
}

/// A list of damage that grows with the damage would take the memory, and the server's log, of a log that is lost.
#[tokio::test(start_paused = true)]
async fn reports_of_damage_are_bounded() {
    let settings = Settings { segment_bytes: 8 << 20, journal_file_bytes: 8 << 20, ..small() };
    let rig = Rig::start(settings, 1).await;
    for i in 0..5_000 {
        rig.publish(&topic("events"), &[(i % 40, &i.to_string())]).await.unwrap();
    }
    let rig = rig.restart().await;
    let path = "topics/1/00000000000000000000.segment";
    rig.storage.corrupt(path, |bytes| (200..bytes.len()).step_by(700).for_each(|at| bytes[at] ^= 1)).unwrap();
    let _ = rig.all(&topic("events")).await;
    let damage = rig.log.damage();
    assert_eq!(damage.len(), 1_001, "{:?}", damage.last());
    let rest = rig.log.counters().damaged.load(std::sync::atomic::Ordering::Relaxed) - 1_000;
    assert!(rest > 10);
    assert_eq!(damage[1_000], format!("and {rest} more reports"));
}
