//! Where a subscription stands, as its client holds it: `offset` and `epoch`.
//!
//! ```text
//!            offset                             epoch
//! channel    log offset + 1                     the topic's epoch
//! pattern    sum of the cursor's next offsets   the cursor's token
//! ```
//! Both rise with every publication of a subscription, over all its reconnects. Of a pattern the epoch alone says where
//! to go on, and the offset says whether it is the epoch of the last publication: an SDK that keeps the epoch of the
//! subscribe reply and the offset of the last publication holds two that do not belong together. Such a place is void,
//! never guessed at.

use crate::protocol::command::Position;
use dualstream_core::hub::Start;
use dualstream_core::position::{Cursor, Next, Resume};
use dualstream_core::topic::Epoch;

/// Where a client asks to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// There.
    At(Start),
    /// At no place of this server.
    Void,
}

/// The place of a cursor's token; `None` for a token that is none.
pub fn of_token(token: &str) -> Option<Position> {
    let cursor: Cursor = token.parse().ok()?;
    let epoch = match cursor.next {
        Next::One { .. } => cursor.epoch.to_string(),
        Next::All(_) => token.to_owned(),
    };
    Some(Position { offset: count(&cursor.next), epoch })
}

/// The place of a cursor.
pub fn of_cursor(cursor: &Cursor) -> Position {
    let epoch = match cursor.next {
        Next::One { .. } => cursor.epoch.to_string(),
        Next::All(_) => cursor.to_string(),
    };
    Position { offset: count(&cursor.next), epoch }
}

/// What a client's place means for the channel or pattern whose end is `latest`. Offset 0 without an epoch is the
/// beginning of what is kept.
pub fn asked(position: &Position, latest: &Cursor) -> Asked {
    let Position { offset, epoch } = position;
    if epoch.is_empty() && *offset == 0 {
        return Asked::At(Start::Earliest);
    }
    match cursor(position, latest) {
        Some(cursor) => Asked::At(Start::Resume(Resume(vec![cursor]))),
        None => Asked::Void,
    }
}

/// The cursor that a client's place stands for, in the shape of `latest`.
pub fn cursor(position: &Position, latest: &Cursor) -> Option<Cursor> {
    let Position { offset, epoch } = position;
    match &latest.next {
        Next::One { partition, .. } => {
            let epoch = if epoch.is_empty() { latest.epoch } else { epoch_of(epoch)? };
            Some(Cursor { epoch, next: Next::One { partition: *partition, offset: *offset } })
        }
        Next::All(own) => {
            let cursor: Cursor = epoch.parse().ok()?;
            let Next::All(offsets) = &cursor.next else { return None };
            let is_shaped = cursor.epoch != latest.epoch || offsets.len() == own.len();
            (is_shaped && count(&cursor.next) == *offset).then_some(cursor)
        }
    }
}

/// Rises whenever a cursor moves.
fn count(next: &Next) -> u64 {
    match next {
        Next::One { offset, .. } => *offset,
        Next::All(offsets) => offsets.iter().fold(0, |sum, offset| sum.saturating_add(*offset)),
    }
}

fn epoch_of(text: &str) -> Option<Epoch> {
    let is_epoch = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_epoch.then(|| u64::from_str_radix(text, 16).ok().map(Epoch)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: u64, epoch: &str) -> Position {
        Position { offset, epoch: epoch.into() }
    }

    fn at(cursor: Cursor) -> Asked {
        Asked::At(Start::Resume(Resume(vec![cursor])))
    }

    #[test]
    fn a_channel() {
        let here = |offset| Cursor { epoch: Epoch(0xab), next: Next::One { partition: 3, offset } };
        let latest = here(9);
        let epoch = "00000000000000ab";
        assert_eq!(of_token(&here(7).to_string()), Some(position(7, epoch)));
        assert_eq!(of_cursor(&here(7)), position(7, epoch));
        assert_eq!(asked(&position(7, epoch), &latest), at(here(7)));
        assert_eq!(asked(&position(7, ""), &latest), at(here(7)));
        assert_eq!(asked(&position(0, epoch), &latest), at(here(0)));
        assert_eq!(asked(&position(0, ""), &latest), Asked::At(Start::Earliest));
        for void in ["_", "ab", "00000000000000AB", "+0000000000000ab", &here(7).to_string()] {
            assert_eq!(asked(&position(0, void), &latest), Asked::Void, "{void}");
        }
    }

    #[test]
    fn a_pattern() {
        let here = |last| Cursor { epoch: Epoch(0xab), next: Next::All(vec![1, 5, last]) };
        let latest = here(9);
        let token = here(4).to_string();
        assert_eq!(of_token(&token), Some(position(10, &token)));
        assert_eq!(of_cursor(&here(4)), position(10, &token));
        assert_eq!(asked(&position(10, &token), &latest), at(here(4)));
        assert_eq!(asked(&position(0, ""), &latest), Asked::At(Start::Earliest));
        let one = Cursor { epoch: Epoch(0xab), next: Next::One { partition: 1, offset: 10 } }.to_string();
        let short = Cursor { epoch: Epoch(0xab), next: Next::All(vec![4, 6]) }.to_string();
        for (offset, void) in
            [(11, token.as_str()), (9, &token), (10, ""), (10, "_"), (0, "_"), (10, &one), (10, &short)]
        {
            assert_eq!(asked(&position(offset, void), &latest), Asked::Void, "{offset} {void}");
        }
    }
}
