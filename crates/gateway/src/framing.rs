//! Where each HTTP/1.1 request of a connection begins and ends (RFC 9112), decided before the HTTP library sees a byte.
//!
//! ```text
//!            ┌────────────────────────────────────────┐
//!            v                                        │
//! Head ──> Sized(bytes left) ─────────────────────────┤
//!   │ ──> Chunks ─────────────────────────────────────┤
//!   │ ──> (no body) ──────────────────────────────────┘
//!   └ asks for an upgrade: after its body ──> Held
//! ```
//! Whatever two programs could read differently is refused: two lengths, a length beside chunks, a line that does not
//! end with CR LF, folded lines, spaces before a colon, control characters, codings other than `chunked`. A head goes on
//! whole or not at all; a body goes on as it comes. What passes here is never refused by the library.
//!
//! No I/O, no clock, no copies: the caller keeps what has not passed and gives it again with more behind it. What this
//! does not do: it reads no header for its meaning except those that frame the message, and no bodies.

mod chunks;
mod fault;
mod head;

pub use fault::Fault;

use chunks::Chunks;
use head::{Body, Head};

/// Limits of a head, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Request line and fields together.
    pub head_bytes_max: usize,
    /// The request target.
    pub target_bytes_max: usize,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Guard {
    limits: Limits,
    state: State,
    /// Whether the request in progress asks for an upgrade.
    asks_upgrade: bool,
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// So many bytes of the body are still to come.
    Sized(u64),
    Chunks(Chunks),
    /// What follows a request for an upgrade is no request, whatever becomes of the upgrade.
    Held,
}

/// What becomes of bytes that were looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// So many of them go on. The others are given again, with more behind them, unless there is a fault.
    pub pass: usize,
    /// What is wrong with the bytes after those. Nothing of the connection is looked at after it.
    pub fault: Option<Fault>,
}

impl Guard {
    /// The guard of a new connection.
    pub fn new(limits: Limits) -> Guard {
        Guard { limits, state: State::Head(Head::default()), asks_upgrade: false, heads: 0 }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Heads that have passed.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the last head that passed has a body that is not over: a fault is the body's.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Sized(_) | State::Chunks(_))
    }

    /// Whether nothing passes any more, because an upgrade was asked for.
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// Looks at all bytes that have not passed: those of the last call, and new ones behind them.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut pass = 0;
        loop {
            let left = &bytes[pass..];
            let (used, is_over) = match self.step(left) {
                Ok(step) => step,
                Err((used, fault)) => return Scan { pass: pass + used, fault: Some(fault) },
            };
            pass += used;
            if !is_over || pass == bytes.len() {
                return Scan { pass, fault: None };
            }
        }
    }

    /// How many bytes belong to what is in progress, and whether it is over.
    fn step(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, Fault)> {
        match &mut self.state {
            State::Head(head) => match head.scan(bytes, &self.limits).map_err(|fault| (0, fault))? {
                None => Ok((0, false)),
                Some((end, frame)) => {
                    self.heads += 1;
                    self.asks_upgrade = frame.asks_upgrade;
                    match frame.body {
                        Body::Sized(0) => self.end_request(),
                        Body::Sized(length) => self.state = State::Sized(length),
                        Body::Chunked => self.state = State::Chunks(Chunks::default()),
                    }
                    Ok((end, true))
                }
            },
            State::Sized(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                let is_over = *left == 0;
                if is_over {
                    self.end_request();
                }
                Ok((used, is_over))
            }
            State::Chunks(chunks) => match chunks.scan(bytes).map_err(|used| (used, Fault::Chunk))? {
                Some(end) => {
                    self.end_request();
                    Ok((end, true))
                }
                None => Ok((bytes.len(), false)),
            },
            State::Held => Ok((0, false)),
        }
    }

    fn end_request(&mut self) {
        self.state = if self.asks_upgrade { State::Held } else { State::Head(Head::default()) };
    }
}

#[cfg(test)]
mod tests;
