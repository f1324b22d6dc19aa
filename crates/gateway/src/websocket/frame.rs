//! Frames of RFC 6455, as data: bytes in, messages out, no I/O.
//!
//! What comes is checked before it is kept: a frame whose header alone is wrong or says too much is refused on its
//! header, nothing is set aside for it. Extensions are not negotiated, so there is no compression.

use bytes::{Buf, Bytes, BytesMut};

/// Most frames of one message.
const FRAGMENTS_MAX: usize = 1_024;
/// Longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Longest header of a frame that is sent: two bytes, and eight of length.
pub const HEAD_BYTES_MAX: usize = 10;

/// Room for an event of common size; a frame of nothing holds no memory.
const FIRST_BYTES: usize = 1 << 10;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text, checked to be UTF-8.
    Text(Bytes),
    /// Bytes.
    Binary,
    /// A ping; its payload goes back in a pong.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The end, with the peer's code if it gave one.
    Close(Option<u16>),
}

/// How a peer broke the protocol: the close code it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// 1002, 1007 or 1009.
    pub code: u16,
    /// One phrase.
    pub reason: &'static str,
}

/// A message or frame while it comes in.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Fragments so far of a message that is not whole.
    message: BytesMut,
    /// Kind of that message.
    kind: Option<u8>,
    fragments: usize,
    message_bytes_max: usize,
}

/// A frame header.
struct Head {
    is_last: bool,
    opcode: u8,
    mask: [u8; 4],
    head_bytes: usize,
    payload_bytes: usize,
}

impl Decoder {
    /// A decoder of messages of at most `message_bytes_max`; `read_ahead` is what came with the handshake.
    pub fn new(message_bytes_max: usize, read_ahead: Bytes) -> Decoder {
        let buffer = BytesMut::from(&read_ahead[..]);
        Decoder { buffer, message: BytesMut::new(), kind: None, fragments: 0, message_bytes_max }
    }

    /// Where to read into.
    pub fn space(&mut self) -> &mut BytesMut {
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * READ_BYTES {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// Whether a message or frame has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || self.kind.is_some()
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// The close code the peer has earned. Nothing after it is to be read.
    pub fn next(&mut self) -> Result<Option<Message>, Fault> {
        while let Some(head) = self.head()? {
            if self.buffer.len() < head.head_bytes + head.payload_bytes {
                return Ok(None);
            }
            self.buffer.advance(head.head_bytes);
            let mut payload = self.buffer.split_to(head.payload_bytes);
            payload.iter_mut().zip(head.mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            if let Some(message) = self.accept(&head, payload)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The header at the front of the buffer, checked as far as it is there; `None` until it is whole.
    fn head(&self) -> Result<Option<Head>, Fault> {
        let &[first, second, ref rest @ ..] = &self.buffer[..] else { return Ok(None) };
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        self.check_kind(first, is_last, opcode, second)?;
        let short = usize::from(second & 0x7f);
        let (length_bytes, payload_bytes) = match (short, rest) {
            (0..=125, _) => (0, short as u64),
            (126, &[a, b, ..]) => (2, u64::from(u16::from_be_bytes([a, b]))),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (8, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            _ => return Ok(None),
        };
        if payload_bytes >> 63 != 0 {
            return Err(broken("a length has its highest bit set"));
        }
        let total = payload_bytes.saturating_add(self.message.len() as u64);
        if opcode < CLOSE && total > self.message_bytes_max as u64 {
            return Err(Fault { code: 1009, reason: "message too big" });
        }
        let Some(mask) = rest.get(length_bytes..).and_then(|mask| mask.first_chunk::<4>()) else {
            return Ok(None);
        };
        let (head_bytes, payload_bytes) = (2 + length_bytes + 4, payload_bytes as usize);
        Ok(Some(Head { is_last, opcode, mask: *mask, head_bytes, payload_bytes }))
    }

    fn check_kind(&self, first: u8, is_last: bool, opcode: u8, second: u8) -> Result<(), Fault> {
        let is_control = opcode >= CLOSE;
        let is_known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        let wrong = [
            (first & 0x70 != 0, "a reserved bit is set"),
            (!is_known, "an opcode is reserved"),
            (second & 0x80 == 0, "a frame is not masked"),
            (is_control && !is_last, "a control frame is fragmented"),
            (is_control && usize::from(second & 0x7f) > CONTROL_BYTES_MAX, "a control frame is too long"),
            (opcode == CONTINUATION && self.kind.is_none(), "a continuation without a beginning"),
            (matches!(opcode, TEXT | BINARY) && self.kind.is_some(), "a message begins inside another"),
        ];
        match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, reason)) => Err(broken(reason)),
            None => Ok(()),
        }
    }

    fn accept(&mut self, head: &Head, payload: BytesMut) -> Result<Option<Message>, Fault> {
        match head.opcode {
            PING => return Ok(Some(Message::Ping(payload.freeze()))),
            PONG => return Ok(Some(Message::Pong)),
            CLOSE => return close(&payload).map(|code| Some(Message::Close(code))),
            _ => {}
        }
        let kind = self.kind.unwrap_or(head.opcode);
        if head.is_last && self.kind.is_none() {
            return whole(kind, payload).map(Some);
        }
        self.fragments += 1;
        if self.fragments > FRAGMENTS_MAX {
            return Err(Fault { code: 1009, reason: "too many fragments" });
        }
        self.message.extend_from_slice(&payload);
        self.kind = (!head.is_last).then_some(kind);
        match head.is_last {
            false => Ok(None),
            true => {
                self.fragments = 0;
                whole(kind, std::mem::take(&mut self.message)).map(Some)
            }
        }
    }
}

/// Room for one read, kept while nothing comes: a command has room in it, larger ones double it.
const READ_BYTES: usize = 512;

fn whole(kind: u8, payload: BytesMut) -> Result<Message, Fault> {
    match (kind, std::str::from_utf8(&payload)) {
        (BINARY, _) => Ok(Message::Binary),
        (_, Ok(_)) => Ok(Message::Text(payload.freeze())),
        (_, Err(_)) => Err(Fault { code: 1007, reason: "text is not UTF-8" }),
    }
}

fn close(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match payload {
        [] => Ok(None),
        [_] => Err(broken("a close frame holds half a code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let is_known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            match (is_known, std::str::from_utf8(reason)) {
                (false, _) => Err(broken("a close code is not allowed")),
                (true, Err(_)) => Err(Fault { code: 1007, reason: "a close reason is not UTF-8" }),
                (true, Ok(_)) => Ok(Some(code)),
            }
        }
    }
}

fn broken(reason: &'static str) -> Fault {
    Fault { code: 1002, reason }
}

/// A text frame while it is filled. Room for the longest header is kept in front, so that nothing is copied to send it.
#[derive(Debug, Default)]
pub struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// Where its payload goes: behind what is there.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes.reserve(FIRST_BYTES);
            self.bytes.resize(HEAD_BYTES_MAX, 0);
        }
        &mut self.bytes
    }

    /// Bytes of its payload.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(HEAD_BYTES_MAX)
    }

    /// Whether it has no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its payload alone.
    pub fn into_payload(self) -> Bytes {
        let head_bytes = HEAD_BYTES_MAX.min(self.bytes.len());
        Bytes::from(self.bytes).slice(head_bytes..)
    }

    /// The whole frame.
    pub fn encode(&mut self) -> &[u8] {
        let length = self.len();
        self.payload();
        let head = head(TEXT, length);
        let start = HEAD_BYTES_MAX - head.len();
        self.bytes[start..HEAD_BYTES_MAX].copy_from_slice(&head);
        &self.bytes[start..]
    }
}

/// A ping without payload.
pub fn ping() -> Vec<u8> {
    head(PING, 0)
}

/// The pong to a ping of that payload.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    [&head(PONG, payload.len()), payload].concat()
}

/// A close frame; the reason is cut to what fits.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    [&head(CLOSE, end + 2)[..], &code.to_be_bytes(), &reason.as_bytes()[..end]].concat()
}

fn head(opcode: u8, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    head.push(0x80 | opcode);
    match length {
        0..=125 => head.push(length as u8),
        126..=0xffff => {
            head.push(126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests;
