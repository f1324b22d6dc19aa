//! What fuzz targets call: the decoders of request bodies and the guard, without a socket. Not for anybody else.

pub use crate::framing::Limits;
pub use crate::media_type::Form;

use crate::Problem;
use crate::events::{self, Decoded};
use crate::framing::Guard;
use crate::lines::Lines;
use crate::plain_event;
use bytes::Bytes;
use dualstream_core::event::Event;
use http::HeaderMap;

/// Decodes a body that was read whole.
///
/// # Errors
/// As the request is refused.
pub fn events(form: Form, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, Problem> {
    match events::decode(form, headers, body)? {
        Decoded::One(event) => Ok(vec![*event]),
        Decoded::Many(events) => Ok(events),
    }
}

/// Decodes a body of lines that comes in pieces: the number of each line that is not empty, and its event or what is
/// wrong with it.
pub fn lines(
    pieces: impl Iterator<Item = Bytes>,
    line_bytes_max: usize,
) -> Vec<(u64, Result<Event, &'static str>)> {
    let mut lines = Lines::new(line_bytes_max);
    pieces.for_each(|piece| lines.push(piece));
    lines.finish();
    let mut events = Vec::new();
    while let Some(line) = lines.next() {
        let event = match line.text {
            Some(text) => plain_event::decode(&text).map_err(|error| error.code()),
            None => Err("line_too_large"),
        };
        events.push((line.number, event));
    }
    events
}

/// How a guard cuts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that passed.
    pub passed: usize,
    /// Heads among them.
    pub heads: u64,
    /// Why the next byte did not.
    pub fault: Option<&'static str>,
}

/// Shows a guard bytes that come in pieces of `piece_bytes`.
pub fn cut(bytes: &[u8], piece_bytes: usize, limits: Limits) -> Cut {
    let mut guard = Guard::new(limits);
    let mut cut = Cut { passed: 0, heads: 0, fault: None };
    let mut end = 0;
    while end < bytes.len() && cut.fault.is_none() {
        end = bytes.len().min(end + piece_bytes.max(1));
        let scan = guard.scan(&bytes[cut.passed..end]);
        cut.passed += scan.pass;
        cut.fault = scan.fault.map(|fault| fault.problem().code());
    }
    cut.heads = guard.heads();
    cut
}
