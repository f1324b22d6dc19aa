//! The bytes of one simulated file: what reads see, and how to get back to what is durable.
//!
//! Only the live bytes are held, with a list of the changes since the last sync and what each of them overwrote. The
//! durable bytes are the live ones with all changes undone; a sync forgets the list. So the common case costs one copy.

use super::{Survival, below};
use dualstream_core::clock::Entropy;

/// Bytes a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// One file.
#[derive(Default)]
pub(super) struct Content {
    live: Vec<u8>,
    /// Bytes space is reserved for; more than `live` only after `allocate`.
    allocated: u64,
    changes: Vec<Change>,
}

struct Change {
    state: State,
    what: What,
    len_before: usize,
    /// What was overwritten or cut off.
    before: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A crash decides.
    Unsynced,
    /// A sync failed: it reads back, counts as clean, and a crash loses it.
    Lost,
    /// Synced, but listed because something before it is `Lost`.
    Durable,
}

enum What {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

/// What becomes of the unsynced changes of one file: the extremes are as likely as the mixtures.
enum Fate {
    AllLost,
    AllKept,
    /// So many from the first are kept, the next is torn.
    Prefix(u64),
    Mixed,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.live.len() as u64
    }

    /// Bytes of the disk it takes.
    pub(super) fn space(&self) -> u64 {
        self.len().max(self.allocated)
    }

    /// Bytes of the disk it would take more with `len` bytes.
    pub(super) fn growth(&self, len: u64) -> u64 {
        len.saturating_sub(self.space())
    }

    pub(super) fn read(&self, buf: &mut [u8], at: u64) -> usize {
        let from = index(at).min(self.live.len());
        let n = buf.len().min(self.live.len() - from);
        buf[..n].copy_from_slice(&self.live[from..from + n]);
        n
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) {
        if bytes.is_empty() {
            return;
        }
        let (at, len_before) = (index(at), self.live.len());
        let before = self.live[at.min(len_before)..(at + bytes.len()).min(len_before)].to_vec();
        put(&mut self.live, at, bytes);
        self.push(What::Write { at, bytes: bytes.to_vec() }, len_before, before);
    }

    pub(super) fn truncate(&mut self, len: u64) {
        let (len, len_before) = (index(len), self.live.len());
        let before = self.live[len.min(len_before)..].to_vec();
        self.live.resize(len, 0);
        self.allocated = 0;
        self.push(What::Truncate { len }, len_before, before);
    }

    pub(super) fn allocate(&mut self, up_to: u64) {
        self.allocated = self.allocated.max(up_to);
    }

    pub(super) fn sync(&mut self) {
        match self.changes.iter().any(|c| c.state == State::Lost) {
            false => self.changes.clear(),
            true => self.mark(State::Durable),
        }
    }

    pub(super) fn sync_failed(&mut self) {
        self.mark(State::Lost);
    }

    pub(super) fn corrupt(&mut self, damage: impl FnOnce(&mut Vec<u8>)) {
        self.changes.clear();
        damage(&mut self.live);
    }

    /// The bytes that no crash takes.
    pub(super) fn synced(&self) -> Vec<u8> {
        let mut bytes = self.live.clone();
        undo(&mut bytes, &self.changes);
        for change in self.changes.iter().filter(|c| c.state == State::Durable) {
            redo(&mut bytes, change);
        }
        bytes
    }

    pub(super) fn crash(&mut self, survival: Survival<'_>) {
        let changes = std::mem::take(&mut self.changes);
        undo(&mut self.live, &changes);
        let unsynced = changes.iter().filter(|c| c.state == State::Unsynced).count() as u64;
        let fate = match survival {
            Survival::Nothing => Fate::AllLost,
            Survival::Everything => Fate::AllKept,
            Survival::Chance(_) if unsynced == 0 => Fate::AllLost,
            Survival::Chance(entropy) => match below(entropy, 8) {
                0 => Fate::AllLost,
                1 => Fate::AllKept,
                2..=4 => Fate::Prefix(below(entropy, unsynced + 1)),
                _ => Fate::Mixed,
            },
        };
        let mut nth = 0;
        for change in &changes {
            match change.state {
                State::Durable => redo(&mut self.live, change),
                State::Lost => {}
                State::Unsynced => {
                    survive(&mut self.live, change, &fate, nth, survival);
                    nth += 1;
                }
            }
        }
        // Reserved space is no promise about a crash.
        self.allocated = 0;
    }

    fn push(&mut self, what: What, len_before: usize, before: Vec<u8>) {
        self.changes.push(Change { state: State::Unsynced, what, len_before, before });
    }

    fn mark(&mut self, state: State) {
        self.changes.iter_mut().filter(|c| c.state == State::Unsynced).for_each(|c| c.state = state);
    }
}

fn survive(bytes: &mut Vec<u8>, change: &Change, fate: &Fate, nth: u64, survival: Survival<'_>) {
    match (fate, survival) {
        (Fate::AllLost, _) => {}
        (Fate::AllKept, _) => redo(bytes, change),
        (Fate::Prefix(kept), _) if nth < *kept => redo(bytes, change),
        (Fate::Prefix(kept), Survival::Chance(entropy)) if nth == *kept => tear(bytes, change, entropy),
        (Fate::Prefix(_), _) => {}
        (Fate::Mixed, Survival::Chance(entropy)) => match below(entropy, 3) {
            0 => redo(bytes, change),
            1 => tear(bytes, change, entropy),
            _ => lose(bytes, change, entropy),
        },
        (Fate::Mixed, _) => {}
    }
}

fn undo(bytes: &mut Vec<u8>, changes: &[Change]) {
    for change in changes.iter().rev() {
        let at = match &change.what {
            What::Write { at, .. } => *at,
            What::Truncate { len } => *len,
        };
        bytes.resize(change.len_before, 0);
        if !change.before.is_empty() {
            put(bytes, at, &change.before);
        }
    }
}

fn redo(bytes: &mut Vec<u8>, change: &Change) {
    match &change.what {
        What::Write { at, bytes: new } => put(bytes, *at, new),
        What::Truncate { len } => bytes.resize(*len, 0),
    }
}

/// Keeps some of the sectors of a write.
fn tear(bytes: &mut Vec<u8>, change: &Change, entropy: &dyn Entropy) {
    let What::Write { at, bytes: new } = &change.what else {
        return lose(bytes, change, entropy);
    };
    let mut from = 0;
    while from < new.len() {
        let sector_end = (((*at + from) as u64 / SECTOR_BYTES + 1) * SECTOR_BYTES) as usize;
        let to = new.len().min(sector_end - at);
        if below(entropy, 2) == 0 {
            put(bytes, at + from, &new[from..to]);
        }
        from = to;
    }
}

/// Loses a change; the length may have been written all the same, as zeroes.
fn lose(bytes: &mut Vec<u8>, change: &Change, entropy: &dyn Entropy) {
    if let What::Write { at, bytes: new } = &change.what
        && at + new.len() > bytes.len()
        && below(entropy, 4) == 0
    {
        bytes.resize(at + new.len(), 0);
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = at + new.len();
    if end > bytes.len() {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(new);
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("a simulated file fits in memory")
}
