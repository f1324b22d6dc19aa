//! Arithmetic of cursors: a subscription's next offsets against a vector of all partitions.

use crate::log::{Bounds, Span};
use crate::position::Next;

/// The next offset in a partition; `u64::MAX` for a partition the cursor does not care about.
pub(super) fn offset_in(next: &Next, partition: u32) -> u64 {
    wanted_in(next, partition).unwrap_or(u64::MAX)
}

/// The next offset in a partition; `None` for a partition the cursor does not care about.
fn wanted_in(next: &Next, partition: u32) -> Option<u64> {
    match next {
        Next::One { partition: own, offset } => (*own == partition).then_some(*offset),
        Next::All(offsets) => offsets.get(partition as usize).copied(),
    }
}

/// Moves the next offset of one partition up to `offset`.
pub(super) fn advance_one(next: &mut Next, partition: u32, offset: u64) {
    let own = match next {
        Next::One { partition: own, offset } if *own == partition => Some(offset),
        Next::One { .. } => None,
        Next::All(offsets) => offsets.get_mut(partition as usize),
    };
    if let Some(own) = own {
        *own = offset.max(*own);
    }
}

/// Moves every next offset up to `vector`, none down.
pub(super) fn advance(next: &mut Next, vector: &[u64]) {
    for (partition, &offset) in (0..).zip(vector) {
        advance_one(next, partition, offset);
    }
}

/// Whether some next offset lies past `vector`.
pub(super) fn is_ahead(next: &Next, vector: &[u64]) -> bool {
    (0..).zip(vector).any(|(partition, &offset)| {
        let own = offset_in(next, partition);
        own != u64::MAX && own > offset
    })
}

/// What there is to read from a cursor up to `until`; nothing for partitions it has read.
pub(super) fn spans_to(next: &Next, until: &[u64]) -> Vec<Span> {
    (0..)
        .zip(until)
        .map(|(partition, &until)| Span { partition, from: offset_in(next, partition), until })
        .filter(|span| span.from < span.until)
        .collect()
}

/// The cursor at `vector` of the same shape as `like`.
pub(super) fn shaped(like: &Next, vector: Vec<u64>) -> Next {
    match like {
        Next::One { partition, .. } => Next::One {
            partition: *partition,
            offset: vector.get(*partition as usize).copied().unwrap_or_default(),
        },
        Next::All(_) => Next::All(vector),
    }
}

/// Why a cursor of the topic's epoch cannot be resumed, if it cannot.
pub(super) fn out_of_bounds(next: &Next, bounds: &Bounds) -> Option<&'static str> {
    let each = |bound: &[u64], beyond: fn(u64, u64) -> bool| {
        // A client may write any offset, also the largest.
        (0..)
            .zip(bound)
            .any(|(partition, &bound)| wanted_in(next, partition).is_some_and(|own| beyond(own, bound)))
    };
    match () {
        () if each(&bounds.earliest, |own, earliest| own < earliest) => Some("retention"),
        () if each(&bounds.latest, |own, latest| own > latest) => Some("future"),
        () => None,
    }
}
