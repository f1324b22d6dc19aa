//! Where an event stands, and where a subscription resumes: opaque URL-safe tokens for clients.
//!
//! ```text
//! token    = base64url(bytes), no padding
//! position = 1, epoch (8, big-endian), partition (varint), offset (varint)
//! cursor   = 2, epoch (8), partition (varint), next offset (varint)                 one partition
//!          | 3, epoch (8), partitions (varint), next offset of each (varint …)      all partitions
//! resume   = token of position or cursor, joined by '.', one per topic
//! ```

use crate::topic::Epoch;
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest resume token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
const PARTITIONS_MAX: u64 = 10_000;

/// Where one record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Epoch of its topic.
    pub epoch: Epoch,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

/// Where reading one topic goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Epoch of the topic.
    pub epoch: Epoch,
    /// The next offsets.
    pub next: Next,
}

/// The next offsets of a [`Cursor`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Of the only partition that matters (a single channel).
    One {
        /// The partition.
        partition: u32,
        /// Its next offset.
        offset: u64,
    },
    /// Of all partitions.
    All(Vec<u64>),
}

/// Where a subscription over one or more topics goes on: one cursor per topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Resume(pub Vec<Cursor>);

impl Position {
    /// The cursor just after it.
    pub fn after(self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            next: Next::One { partition: self.partition, offset: self.offset.saturating_add(1) },
        }
    }
}

impl Cursor {
    /// Its token.
    pub fn token(&self) -> Arc<str> {
        let numbers = |text: &mut Text| match &self.next {
            Next::One { partition, offset } => text.varints([u64::from(*partition), *offset]),
            Next::All(offsets) => {
                text.varints([offsets.len() as u64]);
                text.varints(offsets.iter().copied());
            }
        };
        let kind = if matches!(self.next, Next::One { .. }) { 2 } else { 3 };
        Text::with(kind, self.epoch, numbers, |text| text.into())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |text: &mut Text| text.varints([u64::from(self.partition), self.offset]);
        Text::with(1, self.epoch, numbers, |text| f.write_str(text))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.token())
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, cursor) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            cursor.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Position> {
        match parse(text)? {
            Token::Position(position) => Ok(position),
            Token::Cursor(_) => Err(bad("this is a cursor; the position of one event is needed here")),
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// A position is taken as the cursor just after it.
    fn from_str(text: &str) -> Result<Cursor> {
        match parse(text)? {
            Token::Position(position) => Ok(position.after()),
            Token::Cursor(cursor) => Ok(cursor),
        }
    }
}

impl FromStr for Resume {
    type Err = Error;

    fn from_str(text: &str) -> Result<Resume> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(bad("the position is too long").with_limit(TOKEN_BYTES_MAX as u64));
        }
        text.split('.').map(str::parse).collect::<Result<_>>().map(Resume)
    }
}

enum Token {
    Position(Position),
    Cursor(Cursor),
}

fn parse(text: &str) -> Result<Token> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(bad("the position is too long").with_limit(TOKEN_BYTES_MAX as u64));
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad("not a position or cursor of this server"))?;
    decode(&bytes).ok_or_else(|| bad("not a position or cursor of this server"))
}

fn bad(message: &'static str) -> Error {
    Error::invalid("invalid_position", "position", message)
}

fn decode(bytes: &[u8]) -> Option<Token> {
    let (&kind, rest) = bytes.split_first()?;
    let (epoch, mut rest) = rest.split_first_chunk::<8>()?;
    let epoch = Epoch(u64::from_be_bytes(*epoch));
    let token = match kind {
        1 | 2 => {
            let partition = u32::try_from(take_varint(&mut rest)?).ok()?;
            let offset = take_varint(&mut rest)?;
            match kind {
                1 => Token::Position(Position { epoch, partition, offset }),
                _ => Token::Cursor(Cursor { epoch, next: Next::One { partition, offset } }),
            }
        }
        3 => {
            let count = take_varint(&mut rest).filter(|&n| n <= PARTITIONS_MAX)?;
            let offsets = (0..count).map(|_| take_varint(&mut rest)).collect::<Option<_>>()?;
            Token::Cursor(Cursor { epoch, next: Next::All(offsets) })
        }
        _ => return None,
    };
    rest.is_empty().then_some(token)
}

/// LEB128, canonical: no needless zero byte at its end, so one value has one text.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(value);
        }
    }
    None
}

/// Bytes of a token before they are text: every event has one or two, so short ones are made without the heap.
struct Text {
    short: [u8; Text::SHORT],
    len: usize,
    /// All of them, once there are more.
    long: Vec<u8>,
}

impl Text {
    /// A cursor of twelve partitions fits, whatever its offsets.
    const SHORT: usize = 144;

    /// Hands the text of a token to `take`.
    fn with<T>(kind: u8, epoch: Epoch, numbers: impl FnOnce(&mut Text), take: impl FnOnce(&str) -> T) -> T {
        let mut bytes = Text { short: [0; Text::SHORT], len: 0, long: Vec::new() };
        bytes.push(kind);
        epoch.0.to_be_bytes().into_iter().for_each(|byte| bytes.push(byte));
        numbers(&mut bytes);
        if !bytes.long.is_empty() {
            return take(&URL_SAFE_NO_PAD.encode(&bytes.long));
        }
        let mut text = [0; Text::SHORT.div_ceil(3) * 4];
        let length = URL_SAFE_NO_PAD.encode_slice(&bytes.short[..bytes.len], &mut text);
        let length = length.expect("four characters for three bytes are room enough");
        take(std::str::from_utf8(&text[..length]).expect("base64 is ASCII"))
    }

    fn varints(&mut self, values: impl IntoIterator<Item = u64>) {
        for mut value in values {
            while value >= 0x80 {
                self.push(value as u8 | 0x80);
                value >>= 7;
            }
            self.push(value as u8);
        }
    }

    fn push(&mut self, byte: u8) {
        match self.short.get_mut(self.len).filter(|_| self.long.is_empty()) {
            Some(free) => *free = byte,
            None => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(&self.short);
                }
                self.long.push(byte);
            }
        }
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let epoch = Epoch(0xfeed_f00d_dead_beef);
        for (partition, offset) in [(0, 0), (11, 127), (9_999, u64::MAX), (3, 128)] {
            let position = Position { epoch, partition, offset };
            assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
            assert_eq!(position.to_string().parse::<Cursor>().unwrap(), position.after());
            let cursor = Cursor { epoch, next: Next::All(vec![offset; 12]) };
            let many = Cursor { epoch, next: Next::All(vec![offset; 1_000]) };
            assert_eq!(many.to_string().parse::<Cursor>().unwrap(), many);
            let both = Resume(vec![cursor, position.after()]);
            assert_eq!(both.to_string().parse::<Resume>().unwrap(), both);
        }
    }

    #[test]
    fn garbage_is_refused() {
        let good = Position { epoch: Epoch(1), partition: 3, offset: 300 }.to_string();
        for bad in ["", "x", "latest", "AAAA", &good[1..], &format!("{good}A"), &format!("{good}.")] {
            assert!(bad.parse::<Resume>().is_err(), "{bad:?}");
        }
        let cursor = Cursor { epoch: Epoch(1), next: Next::All(vec![1, 2]) };
        assert!(cursor.to_string().parse::<Position>().is_err());
    }
}
