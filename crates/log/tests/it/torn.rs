//! A torn tail of the journal, at every byte: the frames before it are recovered, nothing else, and no damage is told.

use crate::image::{Image, Seen};
use crate::rig::{Rig, Seeded, topic};
use dualstream_core::log::Appended;
use dualstream_log::{MemoryStorage, Settings};
use std::sync::Arc;

const TOPICS: [&str; 2] = ["events", "chat"];
const JOURNAL: &str = "journal/0.journal";
const MAGIC: [u8; 4] = 0x4a53_4431_u32.to_le_bytes();
const FRAME_HEADER_BYTES: usize = 64;

fn settings() -> Settings {
    Settings { segment_bytes: 4 << 10, journal_file_bytes: 16 << 10, ..Settings::default() }
}

/// Where a frame stands: its first byte, and the one after its last batch.
#[derive(Clone, Copy, Debug)]
struct Frame {
    generation: u64,
    sequence: u64,
    from: usize,
    until: usize,
}

/// The frames of the newest generation, in order.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut frames: Vec<Frame> = (0..bytes.len() - FRAME_HEADER_BYTES)
        .step_by(8)
        .filter(|&at| bytes[at..at + 4] == MAGIC)
        .map(|from| Frame {
            generation: u64_at(from + 8),
            sequence: u64_at(from + 16),
            from,
            until: from + FRAME_HEADER_BYTES + u32_at(from + 40) as usize,
        })
        .collect();
    let newest = frames.iter().map(|f| f.generation).max().unwrap();
    frames.retain(|f| f.generation == newest);
    assert!(frames.is_sorted_by_key(|f| f.sequence));
    frames
}

/// A log whose last commits are in the journal only, as after a power loss, and what was readable after each commit.
async fn written() -> (Image, Vec<Seen>) {
    let mut rig = Rig::start(settings(), 5).await;
    let mut after = Vec::new();
    for round in 0..2 {
        for i in 0..6_u32 {
            let ids = [format!("{round}-{i}-a"), format!("{round}-{i}-b"), format!("{round}-{i}-c")];
            let events: Vec<(u32, &str)> = (0..3).map(|j| (i * 3 + j, ids[j as usize].as_str())).collect();
            rig.publish(&topic(TOPICS[i as usize % 2]), &events).await.unwrap();
            after.push(Seen::of(&rig, &TOPICS).await);
        }
        if round == 0 {
            rig = rig.restart().await;
        }
    }
    let storage = rig.storage.clone();
    rig.kill();
    storage.crash_lose_all();
    (Image::of(&storage), after)
}

async fn recovers(disk: MemoryStorage, wanted: &Seen, what: &str) {
    let rig = Rig::open(settings(), disk, Arc::default(), Seeded::new(9)).expect(what);
    assert_eq!(rig.log.damage(), Vec::<String>::new(), "{what}");
    let seen = Seen::of(&rig, &TOPICS).await;
    assert_eq!(seen.records, wanted.records, "{what}");
    assert_eq!((&seen.ends, &seen.epochs), (&wanted.ends, &wanted.epochs), "{what}");
    for (i, name) in TOPICS.iter().enumerate() {
        let placed = rig.publish(&topic(name), &[(i as u32, "next")]).await.expect(what);
        let (partition, Appended::Stored(offset)) = placed[0] else { panic!("{what}: {placed:?}") };
        assert_eq!(offset, wanted.ends[*name][partition as usize], "{what}");
    }
    rig.end().await.expect(what);
}

#[tokio::test(start_paused = true)]
async fn torn_at_every_byte() {
    let (image, after) = written().await;
    let frames = frames(&image.0[JOURNAL]);
    assert_eq!(frames.len(), 6, "all commits since the restart are in the journal");
    recovers(image.disk(), &after[11], "untouched").await;
    let [first, last] = frames[4..] else { unreachable!() };
    let noise = Seeded::new(77);
    for cut in first.from..last.until + 8 {
        let whole = frames.iter().filter(|f| f.until <= cut).count();
        let wanted = &after[6 + whole - 1];
        let end = image.0[JOURNAL].len().min(last.until + 8);
        let cut_off = image.damaged(JOURNAL, |bytes| bytes.truncate(cut));
        recovers(cut_off, wanted, &format!("cut at {cut}")).await;
        let zeros = image.damaged(JOURNAL, |bytes| bytes[cut..end].fill(0));
        recovers(zeros, wanted, &format!("zeros from {cut}")).await;
        // Every byte is another than the one that was there.
        let random = image.damaged(JOURNAL, |bytes| {
            bytes[cut..end].iter_mut().for_each(|byte| *byte ^= 1 + noise.below(255) as u8);
        });
        recovers(random, wanted, &format!("noise from {cut}")).await;
    }
}
