//! Bytes go bad while the process is down: in the middle of what was synced long ago, or in a file that is only a cache.

use crate::checker::Checker;
use crate::dice::Dice;
use crate::world::World;
use dualstream_log::{MemoryStorage, Storage};

/// So many events were appended after the one that is damaged: it is in the middle, not in the tail.
const EVENTS_AFTER_MIN: usize = 12;

/// Damages something, if there is something to damage.
pub(super) fn inflict(world: &World, dice: &Dice) {
    if dice.once_in(3) {
        return damage_index(world, dice);
    }
    let Some((n, id)) = victim(&world.checker(), dice) else { return };
    let mut places = Vec::new();
    for path in files(&world.disks[0]) {
        let content = world.disks[0].synced(&path).unwrap_or_default();
        if path.ends_with(".segment") || path.ends_with(".journal") {
            let found = find(&content, id.as_bytes());
            places.extend(found.map(|at| (path.clone(), at)));
        }
    }
    if places.is_empty() {
        return;
    }
    let (path, at) = dice.pick(&places).clone();
    world.history.note(format!("node damage #{n} in {path} at byte {at}"));
    world.checker().damaged(n);
    let flip = |bytes: &mut Vec<u8>| bytes[at] ^= 0x20;
    world.disks[0].corrupt(&path, flip).expect("the file was listed a moment ago");
}

/// Damages some bytes of a copy, wherever they are.
pub(crate) fn damage_files(world: &World, storage: &MemoryStorage, dice: &Dice) {
    let files = files(storage);
    if files.is_empty() {
        return;
    }
    for _ in 0..dice.size(1, 8) {
        let (path, at) = (dice.pick(&files), dice.below(1 << 16) as usize);
        flip(world, storage, path, at);
    }
}

/// An acknowledged event with many after it.
fn victim(checker: &Checker, dice: &Dice) -> Option<(u64, String)> {
    let order = checker.order(dice.below(2) as usize)?;
    let records = order.records();
    let middle = &records[..records.len().saturating_sub(EVENTS_AFTER_MIN)];
    let later = |ms: i64| records.iter().rev().take(EVENTS_AFTER_MIN / 2).all(|r| r.append_time_ms > ms);
    let middle: Vec<_> = middle.iter().filter(|r| later(r.append_time_ms)).collect();
    if middle.is_empty() {
        return None;
    }
    let n = dice.pick(&middle).n;
    Some((n, checker.facts()[n as usize].id.clone()?))
}

/// A sidecar is a cache: nothing may be lost with it.
fn damage_index(world: &World, dice: &Dice) {
    let sidecars: Vec<_> =
        files(&world.disks[0]).into_iter().filter(|path| path.ends_with(".index")).collect();
    if sidecars.is_empty() {
        return;
    }
    let path = dice.pick(&sidecars);
    flip(world, &world.disks[0], path, dice.below(1 << 16) as usize);
}

/// Changes one byte of a file, somewhere.
fn flip(world: &World, storage: &MemoryStorage, path: &str, at: usize) {
    world.history.note(format!("node damage in {path}"));
    let flip = |bytes: &mut Vec<u8>| {
        let length = bytes.len().max(1);
        bytes.iter_mut().skip(at % length).take(1).for_each(|byte| *byte ^= 0x40);
    };
    storage.corrupt(path, flip).expect("the file was listed a moment ago");
}

/// All files of journal and stores.
fn files(storage: &MemoryStorage) -> Vec<String> {
    let topics: Vec<String> = list(storage, "topics");
    let stores = topics.iter().flat_map(|dir| list(storage, dir));
    stores.chain(list(storage, "journal")).collect()
}

/// Paths of what is in a directory.
fn list(storage: &MemoryStorage, dir: &str) -> Vec<String> {
    let names = storage.list(dir).unwrap_or_default();
    names.into_iter().map(|name| format!("{dir}/{name}")).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // The quotes around it tell an id from one it is the beginning of.
    let quoted = [b"\"", wanted, b"\""].concat();
    bytes.windows(quoted.len()).position(|window| window == quoted).map(|at| at + 1)
}
