//! The files of a mirror: of another kind, damaged, deleted under it, on a disk that fails or is full. It is only a copy:
//! what is not whole is begun anew, and nothing ends it.

use crate::image::Image;
use crate::mirror_rig::{MirrorRig, record, run, spec};
use crate::rig::{Rig, Seeded, TestClock, small, topic};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Log, Read, Span};
use dualstream_core::mirror::MirrorStore;
use dualstream_core::record::Record;
use dualstream_core::topic::{Cleanup, Epoch, TopicSpec};
use dualstream_log::storage::{Fault, Op};
use dualstream_log::{
    FileStorage, MemoryStorage, Settings, Storage, backup, open, open_mirror, repair, verify,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Appends so many records to each of three partitions of a topic.
async fn fill(rig: &MirrorRig, name: &str, count: u64) -> dualstream_core::Result<u64> {
    for partition in [2, 5, 11] {
        let end = rig.end_of(&topic(name), partition);
        for at in (end..end + count).step_by(10) {
            let until = (at + 10).min(end + count);
            let records = (at..until).map(|o| record(partition, o, o as u32 % 40, &o.to_string())).collect();
            rig.log.append(&topic(name), vec![run(name, partition, records, until)], Vec::new()).await?;
        }
    }
    Ok(count)
}

fn open_disk(storage: &MemoryStorage) -> dualstream_core::Result<MirrorRig> {
    MirrorRig::open(small(), storage.clone(), Arc::default(), Seeded::new(5))
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_one_kind_is_not_opened_as_the_other() {
    let rig = MirrorRig::start(small(), 1).await;
    fill(&rig, "events", 50).await.unwrap();
    let rig = rig.restart().await;
    let image = Image::of(&rig.storage);
    let (clock, entropy) = (Arc::new(TestClock::default()), Seeded::new(1));
    let disk = image.disk();
    let error = open(small(), Arc::new(disk.clone()), clock, entropy).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "data_dir_other_kind", "{error}");
    assert_eq!(repair(&disk).unwrap_err().code(), "data_dir_other_kind");
    assert_eq!(backup(&disk, &MemoryStorage::new(), |_| {}).unwrap_err().code(), "data_dir_other_kind");
    assert_eq!(Image::of(&disk).0, image.0, "nothing was changed");

    let log = Rig::start(small(), 1).await;
    log.publish(&topic("events"), &[(1, "a")]).await.unwrap();
    let log = log.restart().await;
    let image = Image::of(&log.storage);
    let refused = |image: &Image| {
        let disk = image.disk();
        let error = open_disk(&disk).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "data_dir_other_kind", "{error}");
        assert_eq!(Image::of(&disk).0, image.0, "nothing was changed");
    };
    refused(&image);
    // Also where its catalog says nothing any more.
    let mut damaged = image.clone();
    damaged.0.get_mut("catalog").unwrap()[20] ^= 1;
    refused(&damaged);
    damaged.0.remove("catalog");
    refused(&damaged);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_without_catalog_or_checkpoint_is_begun_anew() {
    let rig = MirrorRig::start(small(), 1).await;
    fill(&rig, "events", 300).await.unwrap();
    let rig = rig.restart().await;
    let image = Image::of(&rig.storage);
    let flip = |bytes: &mut Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    };
    let newer = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replacen("dualstream-mirror 2", "dualstream-mirror 3", 1).into_bytes();
    };
    let mut disks = vec![
        image.damaged("catalog", flip),
        image.damaged("checkpoint", flip),
        image.damaged("catalog", Vec::clear),
        image.damaged("checkpoint", Vec::clear),
        image.damaged("catalog", newer),
    ];
    for path in ["catalog", "checkpoint"] {
        let mut less = image.clone();
        less.0.remove(path);
        disks.push(less.disk());
    }
    for (case, disk) in disks.into_iter().enumerate() {
        let rig = open_disk(&disk).unwrap();
        assert_eq!(rig.log.topics(), Vec::new(), "case {case}");
        let left = Image::of(&disk).ending(".segment");
        assert_eq!(left, Vec::<String>::new(), "case {case}: the space is free again");
        rig.log.begin(spec("events"), Epoch(8), vec![40; 12]).await.unwrap();
        fill(&rig, "events", 20).await.unwrap();
        let rig = rig.restart().await;
        assert_eq!(rig.all(&topic("events")).await.len(), 60, "case {case}");
        assert_eq!(rig.log.damage(), Vec::<String>::new());
    }
}

/// What is left of one topic is no reason to give up another.
#[tokio::test(start_paused = true)]
async fn a_topic_whose_store_is_not_whole_is_forgotten() {
    let rig = MirrorRig::start(small(), 1).await;
    fill(&rig, "events", 300).await.unwrap();
    fill(&rig, "chat", 300).await.unwrap();
    let rig = rig.restart().await;
    let image = Image::of(&rig.storage);
    let segments: Vec<String> =
        image.ending(".segment").into_iter().filter(|path| path.starts_with("topics/1/")).collect();
    assert!(segments.len() > 4);
    let active = &segments[segments.len() - 1];
    let mut no_active = image.clone();
    no_active.0.remove(active);
    let mut no_store = image.clone();
    no_store.0.retain(|path, _| !path.starts_with("topics/1/"));
    let mut no_middle = image.clone();
    no_middle.0.remove(&segments[2]);
    let disks = [
        image.damaged(active, |bytes| bytes[20] ^= 1),
        image.damaged(active, |bytes| bytes[300] ^= 1),
        image.damaged(active, |bytes| bytes.truncate(200)),
        no_active.disk(),
        no_store.disk(),
        no_middle.disk(),
    ];
    for (case, disk) in disks.into_iter().enumerate() {
        let rig = open_disk(&disk).unwrap();
        let held: Vec<_> = rig.log.topics().iter().map(|t| t.spec.name.to_string()).collect();
        assert_eq!(held, ["chat"], "case {case}");
        assert_eq!(rig.all(&topic("chat")).await.len(), 900);
        rig.log.begin(spec("events"), Epoch(7), vec![100; 12]).await.unwrap();
        fill(&rig, "events", 10).await.unwrap();
        assert_eq!(rig.restart().await.all(&topic("events")).await.len(), 30);
    }
}

/// Whatever byte of a store is wrong: the topic is forgotten, or what is missing is told, and the rest is as it was.
#[tokio::test(start_paused = true)]
async fn damage_is_never_served() {
    let rig = MirrorRig::start(small(), 1).await;
    fill(&rig, "events", 200).await.unwrap();
    let rig = rig.restart().await;
    let before = rig.all(&topic("events")).await;
    let image = Image::of(&rig.storage);
    let mut told = 0;
    for path in image.ending(".segment").into_iter().chain(image.ending(".index")) {
        for i in 0..8 {
            let at = image.0[&path].len() * i / 8 + 7;
            let rig = open_disk(&image.damaged(&path, |bytes| bytes[at] ^= 4)).unwrap();
            let Ok(bounds) = rig.log.bounds(&topic("events")) else { continue };
            let mut read = Read {
                topic: topic("events"),
                epoch: bounds.epoch,
                spans: Span::all(&bounds.earliest, &bounds.latest),
                filter: Filter::All,
                records_max: 1_000,
                bytes_max: 1 << 20,
                reverse: false,
            };
            let (mut found, mut lost) = (Vec::new(), BTreeSet::new());
            while !read.is_over() {
                let page = rig.log.read(read.clone()).await.unwrap();
                lost.extend(page.gaps.iter().flat_map(|g| (g.from..g.until).map(|o| (g.partition, o))));
                read.go_on(&page);
                found.extend(page.records);
            }
            told += lost.len();
            let is_left = |r: &&Record| !lost.contains(&(r.partition, r.offset));
            assert_eq!(found, before.iter().filter(is_left).cloned().collect::<Vec<_>>(), "{path} {at}");
        }
    }
    assert!(told > 0);
}

/// Removes everything, as `rm -r` does.
fn delete_all(storage: &MemoryStorage) {
    fn walk(storage: &MemoryStorage, dir: &str) {
        for name in storage.list(dir).unwrap() {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if storage.remove(&path).is_err() {
                walk(storage, &path);
                storage.remove(&path).unwrap();
            }
        }
    }
    walk(storage, "");
}

#[tokio::test(start_paused = true)]
async fn deleted_while_open() {
    for noticed_by in ["time", "an append", "a read of ids"] {
        let rig = MirrorRig::start(small(), 1).await;
        fill(&rig, "events", 300).await.unwrap();
        rig.checkpoint().await;
        let before = rig.all(&topic("events")).await;
        delete_all(&rig.storage);
        // What is open can still be read.
        assert_eq!(rig.all(&topic("events")).await, before);
        match noticed_by {
            "time" => rig.checkpoint().await,
            "an append" => {
                let error = fill(&rig, "events", 600).await.unwrap_err();
                assert_eq!(error.code(), "storage_error");
            }
            _ => {
                let event = crate::rig::event(3, "unheard of", "");
                let checked = rig.log.check(&topic("events"), vec![(5, event)]).await;
                assert_eq!(checked.unwrap_err().code(), "storage_error");
            }
        }
        assert_eq!(rig.log.topics(), Vec::new(), "{noticed_by}");
        rig.log.begin(spec("events"), Epoch(8), vec![0; 12]).await.unwrap();
        fill(&rig, "events", 200).await.unwrap();
        let before = rig.all(&topic("events")).await;
        let rig = rig.restart().await;
        assert_eq!(rig.all(&topic("events")).await, before, "{noticed_by}");
        assert_eq!(Image::of(&rig.storage).ending("catalog"), ["catalog"]);
    }
}

#[tokio::test]
async fn a_directory_deleted_while_open() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("mirror");
    let storage = Arc::new(FileStorage::open(&root).unwrap());
    let (mirror, writer) =
        open_mirror(small(), storage, Arc::<TestClock>::default(), Seeded::new(1)).unwrap();
    let writer = std::thread::spawn(move || writer.run());
    mirror.begin(spec("events"), Epoch(7), vec![0; 12]).await.unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    let mut failed = None;
    for at in 0..10_000 {
        let runs = vec![run("events", 3, vec![record(3, at, 1, &at.to_string())], at + 1)];
        failed = mirror.append(&topic("events"), runs, Vec::new()).await.err();
        if failed.is_some() {
            break;
        }
    }
    assert_eq!(failed.unwrap().code(), "storage_error");
    mirror.begin(spec("events"), Epoch(7), vec![0; 12]).await.unwrap();
    let runs = vec![run("events", 3, vec![record(3, 0, 1, "a")], 1)];
    mirror.append(&topic("events"), runs, Vec::new()).await.unwrap();
    mirror.close();
    writer.join().unwrap().unwrap();
    let storage = Arc::new(FileStorage::open(&root).unwrap());
    let (mirror, _writer) =
        open_mirror(small(), storage, Arc::<TestClock>::default(), Seeded::new(1)).unwrap();
    assert_eq!(mirror.bounds(&topic("events")).unwrap().latest[3], 1);
}

async fn begin(rig: &MirrorRig) -> dualstream_core::Result<()> {
    rig.log.begin(spec("events"), Epoch(7), vec![100; 12]).await
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_does_not_end_it() {
    for nth in 1..12 {
        let whole = [Op::Sync, Op::SyncDir, Op::Write, Op::Rename, Op::Allocate].map(|op| (op, Fault::Eio));
        for (op, fault) in whole.into_iter().chain([(Op::Write, Fault::ShortWrite(100))]) {
            let rig = MirrorRig::start(small(), nth).await;
            fill(&rig, "events", 100).await.unwrap();
            rig.storage.fail_next(op, nth, fault);
            let mut failed = 0;
            for _ in 0..12 {
                if rig.log.bounds(&topic("events")).is_err() {
                    failed += u32::from(begin(&rig).await.is_err());
                    failed += u32::from(begin(&rig).await.is_err());
                }
                failed += u32::from(fill(&rig, "events", 100).await.is_err());
                rig.checkpoint().await;
            }
            assert!(failed < 3, "{op:?} {nth}: one fault fails one thing");
            begin(&rig).await.unwrap();
            fill(&rig, "events", 100).await.unwrap();
            let held = rig.all(&topic("events")).await;
            let rig = rig.restart().await;
            assert_eq!(rig.all(&topic("events")).await, held, "{op:?} {nth}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_and_heals() {
    let settings = Settings { free_bytes_min: 50 << 10, ..small() };
    let rig = MirrorRig::start(settings, 1).await;
    rig.storage.set_capacity(Some(200 << 10));
    let error = fill(&rig, "events", 10_000).await.unwrap_err();
    assert_eq!(error.code(), "storage_full");
    let held = rig.all(&topic("events")).await;
    assert!(held.len() > 100);
    rig.storage.set_capacity(None);
    fill(&rig, "events", 100).await.unwrap();
    assert_eq!(rig.all(&topic("events")).await.len(), held.len() + 300);
}

/// Its bounds hold whatever its log does: a compacted topic is bounded here, too.
#[tokio::test(start_paused = true)]
async fn size_bounds_what_is_held() {
    for cleanup in [Cleanup::Delete, Cleanup::Compact] {
        let rig = MirrorRig::empty(small(), 1);
        let bounded = TopicSpec { retention_bytes: Some(60 << 10), cleanup, ..spec("events") };
        rig.log.begin(bounded, Epoch(7), vec![100; 12]).await.unwrap();
        for _ in 0..6 {
            fill(&rig, "events", 200).await.unwrap();
            rig.checkpoint().await;
            rig.checkpoint().await;
        }
        let info = rig.log.topics().remove(0);
        assert!(info.bytes.unwrap() < 100 << 10, "{cleanup:?}: {:?} bytes", info.bytes);
        let bounds = rig.log.bounds(&topic("events")).unwrap();
        assert!(bounds.earliest[11] > 100);
        assert_eq!(bounds.latest[11], 1_300);
        let span = Span { partition: 11, from: 100, until: 101 };
        let read = Read {
            topic: topic("events"),
            epoch: bounds.epoch,
            spans: vec![span],
            filter: Filter::All,
            records_max: 1,
            bytes_max: 1,
            reverse: false,
        };
        assert_eq!(rig.log.read(read).await.unwrap_err().code(), "position_unrecoverable");
        let held = rig.all(&topic("events")).await;
        let of_11 = held.iter().filter(|r| r.partition == 11).map(|r| r.offset);
        assert!(of_11.eq(bounds.earliest[11]..1_300), "nothing was compacted");
        let rig = rig.restart().await;
        assert_eq!(rig.log.bounds(&topic("events")).unwrap(), bounds);
        assert_eq!(rig.all(&topic("events")).await, held);
    }
}

/// Also while it catches up, many times its size before any time has passed.
#[tokio::test(start_paused = true)]
async fn size_bounds_what_comes_fast() {
    let rig = MirrorRig::empty(small(), 1);
    let bounded = TopicSpec { retention_bytes: Some(60 << 10), ..spec("events") };
    rig.log.begin(bounded, Epoch(7), vec![100; 12]).await.unwrap();
    for _ in 0..10 {
        fill(&rig, "events", 500).await.unwrap();
        let bytes = rig.log.topics()[0].bytes.unwrap();
        assert!(bytes < 300 << 10, "{bytes} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_verified() {
    let rig = MirrorRig::start(small(), 1).await;
    fill(&rig, "events", 300).await.unwrap();
    let rig = rig.restart().await;
    let image = Image::of(&rig.storage);
    let report = verify(&image.disk(), |path| assert!(!path.contains("journal"))).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.topics, report.records), (2, 900));
    let path = &image.ending(".segment")[0];
    let report = verify(&image.damaged(path, |bytes| bytes[500] ^= 1), |_| {}).unwrap();
    assert_eq!(report.findings.len(), 1);
    assert!(!report.findings[0].loses_records, "it is only a copy");
    assert_eq!(rig.log.counters().damaged.load(Relaxed), 0);
}
