//! Cuts a stream of pieces into lines, each a slice of its piece unless it spans two.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Lines of a body so far.
#[derive(Default)]
pub struct Lines {
    /// The line that has not ended.
    open: BytesMut,
    /// Whether what is left of the open line is dropped.
    is_dropping: bool,
    /// Number of the last line handed out, from 1.
    number: u64,
    ready: VecDeque<Bytes>,
    bytes_max: usize,
}

/// A line, or the fact that it is too long.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1; empty lines count too.
    pub number: u64,
    /// Its text without the line end; `None` when it passes the limit.
    pub text: Option<Bytes>,
}

/// Stands in the queue for a line that was dropped: no line holds a line end.
const TOO_LONG: &[u8] = b"\n";

impl Lines {
    /// Lines of at most so many bytes each.
    pub fn new(bytes_max: usize) -> Lines {
        Lines { bytes_max, ..Lines::default() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, mut piece: Bytes) {
        while let Some(end) = memchr::memchr(b'\n', &piece) {
            let head = piece.split_to(end);
            bytes::Buf::advance(&mut piece, 1);
            self.extend(&head, true);
        }
        self.extend(&piece, false);
    }

    /// The body is over: a last line needs no line end.
    pub fn finish(&mut self) {
        if self.is_dropping || !self.open.is_empty() {
            self.extend(&Bytes::new(), true);
        }
    }

    /// The next whole line that is not empty.
    pub fn next(&mut self) -> Option<Line> {
        loop {
            let text = self.ready.pop_front()?;
            self.number += 1;
            if &text[..] == TOO_LONG {
                return Some(Line { number: self.number, text: None });
            }
            let text = match text.last() {
                Some(b'\r') => text.slice(..text.len() - 1),
                _ => text,
            };
            if !text.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
                return Some(Line { number: self.number, text: Some(text) });
            }
        }
    }

    fn extend(&mut self, part: &Bytes, ends: bool) {
        if !self.is_dropping && self.open.len() + part.len() > self.bytes_max {
            self.is_dropping = true;
            self.open = BytesMut::new();
        }
        match (ends, self.is_dropping) {
            (false, true) => {}
            (false, false) => self.open.extend_from_slice(part),
            (true, true) => {
                self.is_dropping = false;
                self.ready.push_back(Bytes::from_static(TOO_LONG));
            }
            (true, false) if self.open.is_empty() => self.ready.push_back(part.clone()),
            (true, false) => {
                self.open.extend_from_slice(part);
                self.ready.push_back(self.open.split().freeze());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cutting_gives_the_same_lines() {
        let body = b"a\r\n\n  \nbb\n123456789\n12345678\nlast";
        let wanted = [(1, Some("a")), (4, Some("bb")), (5, None), (6, Some("12345678")), (7, Some("last"))];
        for size in 1..=body.len() {
            let mut lines = Lines::new(8);
            body.chunks(size).for_each(|piece| lines.push(Bytes::from_static(piece)));
            lines.finish();
            let mut found = Vec::new();
            while let Some(line) = lines.next() {
                found.push((line.number, line.text.map(|t| String::from_utf8(t.to_vec()).unwrap())));
            }
            let found: Vec<_> = found.iter().map(|(n, t)| (*n, t.as_deref())).collect();
            assert_eq!(found, wanted, "{size}");
        }
    }
}
