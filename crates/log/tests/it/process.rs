//! Real processes on a real directory: killed in the middle of publishing, and two of them at once.

use crate::publisher::{Acked, Publisher, RECENT, SLOTS, TABLE, TOPICS, check, open_dir, read_all, settings};
use crate::rig::{id_of, topic};
use dualstream_core::ErrorKind;
use dualstream_core::log::Log;
use dualstream_log::{FileStorage, backup, verify};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const KILLS: u32 = 100;
/// Kills between two checks of everything.
const CHECK_EVERY: u32 = 10;

#[test]
fn killed_in_the_middle_of_publishing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acked, mut seen) = (Acked::new(), BTreeMap::new());
    for round in 0..KILLS {
        let mut publisher = Publisher::start(dir.path(), round);
        let wanted = 1 + (round as usize * 7) % 60;
        assert_eq!(publisher.note(&mut acked, wanted), wanted, "round {round}: it ended by itself");
        publisher.kill(&mut acked);
        if round % CHECK_EVERY == CHECK_EVERY - 1 {
            check(dir.path(), &acked, &mut seen);
        }
    }
    let stored = check(dir.path(), &acked, &mut seen);
    println!("{KILLS} kills, {} events acknowledged, {stored} stored", acked.len());
    assert!(acked.len() > KILLS as usize && stored >= acked.len());
}

/// Backups of a process that publishes, gives up old segments and compacts a table meanwhile.
#[test]
fn copied_in_the_middle_of_publishing() {
    let (dir, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut publisher = Publisher::start_with(dir.path(), 0, 8 << 20);
    let mut first = Acked::new();
    publisher.note(&mut first, 200);
    let (acked, ended) = (Mutex::new(first), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut one = Acked::new();
            while !ended.load(Ordering::Relaxed) && publisher.note(&mut one, 1) == 1 {
                acked.lock().unwrap().append(&mut one);
            }
            publisher.kill(&mut one);
        });
        let _end = End(&ended);
        let mut seen = Seen::default();
        for number in 0..BACKUPS_MAX {
            let begun = acked.lock().unwrap().clone();
            let copy = target.path().join(number.to_string());
            let (from, to) = (FileStorage::read_only(dir.path()).unwrap(), FileStorage::open(&copy).unwrap());
            backup(&from, &to, |_| {}).unwrap();
            let report = verify(&to, |_| {}).unwrap();
            assert!(report.is_sound(), "{report:?}");
            drop(to);
            check(&copy, &begun, &mut BTreeMap::new());
            seen = check_recent_and_table(&copy);
            std::fs::remove_dir_all(copy).unwrap();
            if number >= 5 && seen.is_trimmed && seen.is_compacted {
                break;
            }
        }
        assert!(seen.is_trimmed && seen.is_compacted, "nothing was given up: {seen:?}");
    });
}

const BACKUPS_MAX: u32 = 100;

/// Tells the other thread to end, also when a check has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What had happened to a log when it was copied.
#[derive(Debug, Default)]
struct Seen {
    is_trimmed: bool,
    is_compacted: bool,
}

/// What is recent is there once, and the table says what the commits that are there made of it.
fn check_recent_and_table(copy: &Path) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (log, writer) = open_dir(copy, settings()).unwrap();
        let ids: Vec<String> = read_all(&log, RECENT).await.iter().map(id_of).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "something is there twice");
        // The last commit of each caller: an id is round-caller-number-part.
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        for record in read_all(&log, TOPICS[0]).await {
            let words: Vec<u32> = id_of(&record).split('-').map(|word| word.parse().unwrap()).collect();
            let number = last.entry(words[1]).or_default();
            *number = words[2].max(*number);
        }
        let records = read_all(&log, TABLE).await;
        let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let found: BTreeMap<String, u32> = records
            .iter()
            .map(|r| (text(r.key.as_ref().unwrap()), text(r.value.as_ref().unwrap()).parse().unwrap()))
            .collect();
        let wanted: BTreeMap<String, u32> = last
            .iter()
            .flat_map(|(caller, &last)| {
                let numbers = last.saturating_sub(SLOTS - 1)..=last;
                numbers.map(move |number| (format!("{caller}-{}", number % SLOTS), number))
            })
            .collect();
        assert_eq!(found, wanted);
        assert_eq!(log.damage(), Vec::<String>::new());
        let earliest = log.bounds(&topic(RECENT)).unwrap().earliest;
        let commits: u32 = last.values().map(|last| last + 1).sum();
        log.close();
        writer.join().unwrap().unwrap();
        Seen {
            is_trimmed: earliest.iter().any(|&offset| offset > 0),
            is_compacted: records.len() < commits as usize,
        }
    })
}

#[test]
fn second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked = Acked::new();
    let mut publisher = Publisher::start(dir.path(), 0);
    publisher.note(&mut acked, 1);
    for error in
        [FileStorage::open(dir.path()).unwrap_err(), open_dir(dir.path(), settings()).map(drop).unwrap_err()]
    {
        assert_eq!(error.code(), "data_dir_locked");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    }
    publisher.kill(&mut acked);
    // The lock goes with the process.
    check(dir.path(), &acked, &mut BTreeMap::new());
}
