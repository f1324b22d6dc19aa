//! Data directories of released formats, kept as files: this version opens each of them and serves what is in it.
//!
//! `fixtures/vN` is a log of format version N: two topics with sealed segments and their sidecars, a trim; in
//! version 1 commits that are in the journal only, in version 2 segments that retention gave up and whose files are still
//! there. `fixtures/vN.txt` says what it holds. A format that was released never changes; a new one gets a directory of its
//! own. How the last one was made: `cargo test -p dualstream-log -- --ignored regenerate`.

use crate::image::{Image, Seen};
use crate::rig::{Rig, Seeded, id_of, topic};
use dualstream_core::log::Appended;
use dualstream_core::record::Record;
use dualstream_core::topic::TopicAlteration;
use dualstream_core::topics::Topics;
use dualstream_log::Settings;
use dualstream_log::storage::{Fault, Op};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TOPICS: [&str; 2] = ["events", "chat"];

fn settings() -> Settings {
    Settings { segment_bytes: 6 << 10, journal_file_bytes: 16 << 10, ..Settings::default() }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// One line a record, in the order they are served, and one a topic.
fn describe(seen: &Seen, orders: &[Vec<Record>]) -> String {
    let mut text = String::new();
    for (name, records) in TOPICS.iter().zip(orders) {
        writeln!(text, "topic {name} epoch={:016x} ends={:?}", seen.epochs[*name], seen.ends[*name]).unwrap();
        for r in records {
            let bytes = |b: &Option<bytes::Bytes>| String::from_utf8(b.as_ref().unwrap().to_vec()).unwrap();
            let (key, value) = (bytes(&r.key), bytes(&r.value));
            let headers: Vec<String> =
                r.headers.iter().map(|h| format!("{:?}={:?}", h.name, h.value)).collect();
            let headers = headers.join(",");
            writeln!(
                text,
                "{name}/{}/{} {} {key} [{headers}] {value}",
                r.partition, r.offset, r.append_time_ms
            )
            .unwrap();
        }
    }
    text
}

async fn describe_log(rig: &Rig) -> String {
    let seen = Seen::of(rig, &TOPICS).await;
    assert_eq!(seen.gaps, Vec::new());
    let orders = [rig.all(&topic(TOPICS[0])).await, rig.all(&topic(TOPICS[1])).await];
    describe(&seen, &orders)
}

fn load(folder: &Path, below: &str, image: &mut Image) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            true => load(&entry.path(), &format!("{path}/"), image),
            false => drop(image.0.insert(path, std::fs::read(entry.path()).unwrap())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn version_1_is_served() {
    is_served("v1").await;
}

#[tokio::test(start_paused = true)]
async fn version_2_is_served() {
    is_served("v2").await;
}

async fn is_served(version: &str) {
    let mut image = Image::default();
    load(&folder().join(version), "", &mut image);
    let rig = Rig::open(settings(), image.disk(), Arc::default(), Seeded::new(9)).unwrap();
    let catalog = Image::of(&rig.storage).0.remove("catalog").unwrap();
    assert!(catalog.starts_with(b"dualstream-log 2\n"), "an older program refuses it from now on");
    let wanted = std::fs::read_to_string(folder().join(version).with_extension("txt")).unwrap();
    assert_eq!(describe_log(&rig).await, wanted);
    assert_eq!(rig.log.damage(), Vec::<String>::new());
    // It is known what is in it, and it can be written.
    for record in rig.all(&topic("events")).await.iter().step_by(9) {
        let source = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap();
        let again = rig.publish(&topic("events"), &[(source, &id_of(record))]).await.unwrap();
        assert_eq!(
            again,
            [(record.partition, Appended::Duplicate { partition: record.partition, offset: record.offset })]
        );
    }
    rig.publish(&topic("chat"), &[(1, "of today")]).await.unwrap();
    let rig = rig.restart().await;
    assert_eq!(describe_log(&rig).await.lines().count(), wanted.lines().count() + 1);
}

/// Writes the last of them anew. Only for a format that was never released.
#[tokio::test(start_paused = true)]
#[ignore = "overwrites fixtures/v2: see the head of this file"]
async fn regenerate() {
    let mut rig = Rig::start(settings(), 2_026).await;
    rig.clock.0.store(1_790_000_000_000, std::sync::atomic::Ordering::Relaxed);
    for i in 0..70_u32 {
        if i == 56 {
            rig.log.trim(topic("events"), vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
            rig = rig.restart().await;
        }
        let ids = [format!("{i}-a"), format!("{i}-b")];
        let events = [(i % 23, ids[0].as_str()), (i % 5 + 100, ids[1].as_str())];
        rig.publish(&topic(TOPICS[i as usize % 2]), &events).await.unwrap();
        rig.clock.0.fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
    }
    // Given up and said so, but the power fails before the files go.
    let change = TopicAlteration { retention_bytes: Some(Some(12 << 10)), ..TopicAlteration::default() };
    rig.log.alter(topic("chat"), change).await.unwrap();
    rig.storage.fail_next(Op::Remove, 1, Fault::Eio);
    rig.checkpoint().await;
    rig.kill();
    rig.storage.crash_lose_all();
    let image = Image::of(&rig.storage);
    let rig = rig.reopen().unwrap();
    let text = describe_log(&rig).await;
    let _ = std::fs::remove_dir_all(folder().join("v2"));
    for (path, bytes) in &image.0 {
        let path = folder().join("v2").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(folder().join("v2.txt"), text).unwrap();
}
