//! Tests of the simulated disk: each thing it forgets, tears or refuses.

use super::*;
use crate::storage::{File, Mode, Storage};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// SplitMix64.
#[derive(Debug)]
struct Dice(AtomicU64);

impl Entropy for Dice {
    fn next_u64(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

fn dice(seed: u64) -> Dice {
    Dice(AtomicU64::new(seed))
}

fn file(disk: &MemoryStorage, path: &str) -> Arc<dyn File> {
    disk.open(path, Mode::Write).unwrap()
}

fn read(disk: &MemoryStorage, path: &str) -> Vec<u8> {
    let file = disk.open(path, Mode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// A durable file with `bytes`, durably.
fn durable(disk: &MemoryStorage, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = file(disk, path);
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    file
}

#[test]
fn reads_and_writes_like_a_file() {
    let disk = MemoryStorage::new();
    let f = file(&disk, "f");
    f.write_at(b"world", 6).unwrap();
    f.write_at(b"hello", 0).unwrap();
    assert_eq!(read(&disk, "f"), b"hello\0world");
    let mut buf = [9; 8];
    assert_eq!((f.read_at(&mut buf, 6).unwrap(), &buf[..5]), (5, &b"world"[..]));
    assert_eq!(f.read_at(&mut buf, 99).unwrap(), 0);
    f.truncate(4).unwrap();
    f.truncate(6).unwrap();
    assert_eq!(read(&disk, "f"), b"hell\0\0");
    assert_eq!(disk.open("g", Mode::Read).err().unwrap().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.open("no/g", Mode::Write).err().unwrap().kind(), io::ErrorKind::NotFound);
    let reader = disk.open("f", Mode::Read).unwrap();
    assert_eq!(reader.write_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn names_live_in_directories() {
    let disk = MemoryStorage::new();
    disk.create_dir("a/b").unwrap();
    disk.create_dir("a/b").unwrap();
    let f = file(&disk, "a/b/z");
    file(&disk, "a/b/y");
    f.write_at(b"z", 0).unwrap();
    assert_eq!(disk.list("a/b").unwrap(), ["y", "z"]);
    assert_eq!(disk.list("nowhere").unwrap(), [""; 0]);
    assert_eq!(disk.remove("a/b").unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
    disk.rename("a/b/z", "a/b/y").unwrap();
    assert_eq!(disk.list("a/b").unwrap(), ["y"]);
    disk.remove("a/b/y").unwrap();
    let mut one = [0];
    assert_eq!((f.read_at(&mut one, 0).unwrap(), one), (1, *b"z"), "an open handle outlives the name");
    disk.remove("a/b").unwrap();
    assert_eq!(disk.list("a").unwrap(), [""; 0]);
    for path in ["../x", "/x", "a//b", ".", "a/."] {
        assert_eq!(disk.open(path, Mode::Write).err().unwrap().kind(), io::ErrorKind::InvalidInput, "{path}");
    }
}

#[test]
fn a_crash_loses_what_was_not_synced_and_kills_handles() {
    let disk = MemoryStorage::new();
    let f = durable(&disk, "f", b"old old old");
    f.write_at(b"new", 4).unwrap();
    f.truncate(9).unwrap();
    f.write_at(b"!!!!!", 9).unwrap();
    assert_eq!(read(&disk, "f"), b"old new o!!!!!");
    assert_eq!(disk.synced("f").unwrap(), b"old old old");
    disk.crash_lose_all();
    assert_eq!(read(&disk, "f"), b"old old old");
    for error in [f.sync().unwrap_err(), f.read_at(&mut [0], 0).unwrap_err(), f.len().unwrap_err()] {
        assert!(Crashed::is(&error), "{error}");
    }
}

#[test]
fn a_process_that_dies_loses_nothing() {
    let disk = MemoryStorage::new();
    file(&disk, "f").write_at(b"abc", 0).unwrap();
    disk.crash_keep_all();
    assert_eq!(read(&disk, "f"), b"abc");
}

#[test]
fn a_synced_file_needs_a_synced_name() {
    let disk = MemoryStorage::new();
    disk.create_dir("d").unwrap();
    let f = file(&disk, "d/f");
    f.write_at(b"abc", 0).unwrap();
    f.sync().unwrap();
    disk.sync_dir("d").unwrap();
    assert_eq!(disk.synced("d/f"), None, "the name of the directory itself is missing");
    disk.sync_dir("").unwrap();
    assert_eq!(disk.synced("d/f").unwrap(), b"abc");
    disk.rename("d/f", "d/g").unwrap();
    disk.remove("d/g").unwrap();
    disk.crash_lose_all();
    assert_eq!((disk.list("d").unwrap(), read(&disk, "d/f")), (vec!["f".to_owned()], b"abc".to_vec()));
}

#[test]
fn names_survive_as_a_prefix_and_a_rename_whole() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemoryStorage::new();
        durable(&disk, "checkpoint", b"1");
        let f = file(&disk, "next");
        f.write_at(b"2", 0).unwrap();
        f.sync().unwrap();
        disk.rename("next", "checkpoint").unwrap();
        file(&disk, "later");
        disk.crash(&dice(seed));
        let names = disk.list("").unwrap();
        seen.insert((names, read(&disk, "checkpoint")));
    }
    let state = |names: &[&str], content: &[u8]| {
        (names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), content.to_vec())
    };
    let possible = BTreeSet::from([
        state(&["checkpoint"], b"1"),
        state(&["checkpoint", "next"], b"1"),
        state(&["checkpoint"], b"2"),
        state(&["checkpoint", "later"], b"2"),
    ]);
    assert_eq!(seen, possible);
}

#[test]
fn writes_are_kept_lost_torn_and_reordered() {
    let (mut kept, mut lost, mut torn, mut second_only, mut zeroes) = (0, 0, 0, 0, 0);
    for seed in 0..500 {
        let disk = MemoryStorage::new();
        let f = durable(&disk, "f", &[b'.'; 700]);
        f.write_at(&[b'A'; 2000], 700).unwrap();
        f.write_at(&[b'B'; 2000], 2700).unwrap();
        disk.crash(&dice(seed));
        let bytes = read(&disk, "f");
        assert_eq!(bytes[..700], [b'.'; 700], "synced bytes stay");
        for sector in bytes.chunks(512) {
            let runs = sector.chunk_by(|a, b| a == b).count();
            assert!(runs <= 3, "sectors are whole or not there");
        }
        let at = |i: usize| bytes.get(i).copied();
        let of = |letter: u8| bytes.iter().filter(|b| **b == letter).count();
        kept += usize::from(of(b'A') == 2000 && of(b'B') == 2000);
        lost += usize::from(bytes.len() == 700);
        torn += usize::from(of(b'A') > 0 && of(b'A') < 2000);
        second_only += usize::from(of(b'A') == 0 && of(b'B') > 0);
        zeroes += usize::from(at(699) == Some(b'.') && of(b'A') + of(b'B') == 0 && bytes.len() > 700);
    }
    assert!(
        [kept, lost, torn, second_only, zeroes].iter().all(|n| *n > 3),
        "{kept} {lost} {torn} {second_only} {zeroes}"
    );
}

#[test]
fn a_crash_is_a_function_of_its_entropy() {
    let run = |seed| {
        let disk = MemoryStorage::new();
        let f = durable(&disk, "f", b"");
        (0..50u8).for_each(|i| f.write_at(&[i; 300], u64::from(i) * 290).unwrap());
        disk.crash(&dice(seed));
        read(&disk, "f")
    };
    assert_eq!((0..20).map(run).collect::<Vec<_>>(), (0..20).map(run).collect::<Vec<_>>());
}

#[test]
fn a_failed_sync_reads_back_looks_clean_and_is_lost() {
    let disk = MemoryStorage::new();
    let f = durable(&disk, "f", b"aaaa");
    f.write_at(b"bb", 1).unwrap();
    disk.fail_next(Op::Sync, 1, Fault::Eio);
    f.sync().unwrap_err();
    assert_eq!(read(&disk, "f"), b"abba");
    f.sync().expect("the pages are clean: the retry lies");
    f.write_at(b"cc", 3).unwrap();
    f.sync().unwrap();
    f.write_at(b"dd", 5).unwrap();
    assert_eq!((read(&disk, "f"), disk.synced("f").unwrap()), (b"abbccdd".to_vec(), b"aaacc".to_vec()));
    disk.crash_keep_all();
    assert_eq!(read(&disk, "f"), b"aaaccdd");
}

#[test]
fn a_failed_directory_sync_loses_names_alike() {
    let disk = MemoryStorage::new();
    file(&disk, "f");
    disk.fail_next(Op::SyncDir, 1, Fault::Eio);
    disk.sync_dir("").unwrap_err();
    file(&disk, "g");
    disk.sync_dir("").unwrap();
    assert_eq!(disk.list("").unwrap(), ["f", "g"]);
    disk.crash_lose_all();
    assert_eq!(disk.list("").unwrap(), ["g"]);
}

#[test]
fn faults_hit_the_nth_call() {
    let disk = MemoryStorage::new();
    let f = file(&disk, "f");
    disk.fail_next(Op::Write, 2, Fault::Enospc);
    disk.fail_next(Op::Write, 3, Fault::ShortWrite(2));
    disk.fail_next(Op::Read, 1, Fault::Eio);
    f.write_at(b"1", 0).unwrap();
    assert_eq!(f.write_at(b"222", 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(f.write_at(b"333", 1).unwrap_err().kind(), io::ErrorKind::WriteZero);
    assert!(!Crashed::is(&f.read_at(&mut [0], 0).unwrap_err()));
    assert_eq!(read(&disk, "f"), b"133");
}

#[test]
fn a_crash_fault_stops_everything_until_the_restart() {
    let disk = MemoryStorage::new();
    let f = durable(&disk, "f", b"");
    disk.fail_next(Op::Write, 1, Fault::Crash);
    assert!(Crashed::is(&f.write_at(b"in flight", 0).unwrap_err()));
    assert!(Crashed::is(&f.sync().unwrap_err()));
    assert!(Crashed::is(&disk.list("").unwrap_err()));
    assert!(Crashed::is(&disk.open("f", Mode::Read).err().unwrap()));
    let survivors: BTreeSet<Vec<u8>> = (0..40)
        .map(|seed| {
            let disk = MemoryStorage::new();
            let f = durable(&disk, "f", b"");
            disk.crash_at_step(disk.steps() + 2);
            f.write_at(b"x", 0).unwrap();
            assert!(Crashed::is(&f.write_at(b"y", 1).unwrap_err()));
            disk.crash(&dice(seed));
            read(&disk, "f")
        })
        .collect();
    assert!(survivors.contains(&b"xy"[..]), "the call that crashed may have been done: {survivors:?}");
    assert!(survivors.contains(&b""[..]), "and what was before it may not: {survivors:?}");
}

#[test]
fn steps_count_what_may_change_the_disk() {
    let disk = MemoryStorage::new();
    disk.create_dir("d").unwrap();
    let f = file(&disk, "d/f");
    let before = disk.steps();
    file(&disk, "d/f");
    disk.list("d").unwrap();
    f.read_at(&mut [0], 0).unwrap();
    assert_eq!((before, disk.steps()), (2, 2));
    f.write_at(b"x", 0).unwrap();
    f.sync().unwrap();
    disk.sync_dir("d").unwrap();
    disk.rename("d/f", "d/g").unwrap();
    assert_eq!(disk.steps(), 6);
}

#[test]
fn capacity_is_taken_by_bytes_and_by_reservations() {
    let disk = MemoryStorage::new();
    disk.set_capacity(Some(100));
    let (f, g) = (file(&disk, "f"), file(&disk, "g"));
    f.allocate(60).unwrap();
    assert_eq!((f.len().unwrap(), disk.free_bytes().unwrap()), (0, (40, 100)));
    assert_eq!(g.write_at(&[1; 41], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(g.len().unwrap(), 0);
    g.write_at(&[1; 40], 0).unwrap();
    f.write_at(&[1; 60], 0).expect("the space was reserved");
    assert_eq!(f.allocate(61).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.remove("g").unwrap();
    f.write_at(&[1; 40], 60).expect("the space of a removed file is free");
}

#[test]
fn damage_is_durable() {
    let disk = MemoryStorage::new();
    let f = durable(&disk, "f", b"good");
    disk.corrupt("f", |bytes| bytes[0] ^= 1).unwrap();
    let mut one = [0];
    f.read_at(&mut one, 0).unwrap();
    disk.crash_lose_all();
    assert_eq!((one, read(&disk, "f")), (*b"f", b"food".to_vec()));
}

#[test]
fn random_writes_undo_to_the_synced_bytes() {
    let dice = dice(7);
    for _ in 0..300 {
        let disk = MemoryStorage::new();
        let f = durable(&disk, "f", b"");
        let mut model = Vec::new();
        for _ in 0..30 {
            let (at, n) = (below(&dice, 60), below(&dice, 20) as usize);
            match below(&dice, 5) {
                0 => f.truncate(at).unwrap(),
                1 => {
                    f.sync().unwrap();
                    model = read(&disk, "f");
                }
                _ => f.write_at(&vec![dice.next_u64() as u8; n], at).unwrap(),
            }
        }
        assert_eq!(disk.synced("f").unwrap(), model);
        disk.crash_lose_all();
        assert_eq!(read(&disk, "f"), model);
    }
}
