//! A WebSocket to the server (RFC 6455), for the client protocol: text messages, both ways.
//!
//! It reads into a buffer that its caller lends, so that thousands of connections hold no memory while nothing comes.
//! A server of this project sends whole, unmasked, uncompressed frames; anything else is an error. It does not answer
//! pings and reconnects nothing: that is left to its caller.

use super::Server;
use dualstream::core::clock::Entropy;
use dualstream::system::SystemEntropy;
use std::cell::RefCell;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const OPEN_MAX: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Any 16 bytes will do: it only shows that the server speaks the protocol. This is the example of RFC 6455, section
/// 1.3, with its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// First bytes of frames: final, and of which kind.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// An open WebSocket.
pub struct WebSocket {
    stream: TcpStream,
    /// The beginning of a frame that is not whole yet.
    carry: Vec<u8>,
    entropy: SystemEntropy,
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A text message.
    Text(&'a [u8]),
    /// The end, and why.
    Close(u16, &'a [u8]),
    /// A ping or pong frame.
    Control,
}

impl WebSocket {
    /// Opens `path` of a server.
    ///
    /// # Errors
    /// The server cannot be reached, or answers something else than a WebSocket.
    pub async fn open(server: &Server, path: &str) -> io::Result<WebSocket> {
        timeout(OPEN_MAX, WebSocket::shake_hands(server, path)).await?
    }

    async fn shake_hands(server: &Server, path: &str) -> io::Result<WebSocket> {
        let mut stream = TcpStream::connect(server.authority()).await?;
        stream.set_nodelay(true)?;
        let (path, host) = (server.path(path), server.authority());
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        let end = loop {
            if let Some(at) = memchr::memmem::find(&head, b"\r\n\r\n") {
                break at;
            }
            if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
                return Err(strange("no answer to the handshake"));
            }
        };
        let carry = head.split_off(end + 4);
        match String::from_utf8_lossy(&head) {
            head if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) => {
                Ok(WebSocket { stream, carry, entropy: SystemEntropy::default() })
            }
            head => Err(strange(head.lines().next().unwrap_or_default())),
        }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        let mask = (self.entropy.next_u64() as u32).to_be_bytes();
        let mut frame = vec![TEXT];
        match text.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).await
    }

    /// Waits until something comes and gives every whole frame of it to `each`; false when the server closed. Frames
    /// must fit into `buffer`. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke, or the server breaks the protocol.
    pub async fn read(&mut self, buffer: &RefCell<Vec<u8>>, each: impl FnMut(Frame<'_>)) -> io::Result<bool> {
        if !self.carry.is_empty() && frame(&self.carry)?.is_some() {
            return self.cut(&mut buffer.borrow_mut(), 0, each).map(|()| true);
        }
        loop {
            self.stream.readable().await?;
            // Borrowed only while nothing is waited for: all connections share it.
            let mut buffer = buffer.borrow_mut();
            let kept = self.carry.len();
            if kept >= buffer.len() {
                return Err(strange("a frame is larger than any the server should send"));
            }
            match self.stream.try_read(&mut buffer[kept..]) {
                Ok(0) => return Ok(false),
                Ok(read) => return self.cut(&mut buffer, read, each).map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Cuts what was kept and `read` bytes behind it into frames; keeps the rest.
    fn cut(&mut self, buffer: &mut [u8], read: usize, mut each: impl FnMut(Frame<'_>)) -> io::Result<()> {
        let kept = self.carry.len();
        buffer[..kept].copy_from_slice(&self.carry);
        let mut left = &buffer[..kept + read];
        while let Some((said, bytes)) = frame(left)? {
            each(said);
            left = &left[bytes..];
        }
        self.carry.clear();
        self.carry.extend_from_slice(left);
        Ok(())
    }
}

/// The frame at the front and its length; `None` until it is whole.
fn frame(bytes: &[u8]) -> io::Result<Option<(Frame<'_>, usize)>> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    let (head, length): (usize, usize) = match (second, rest) {
        (0..=125, _) => (2, usize::from(second)),
        (126, &[a, b, ..]) => (4, usize::from(u16::from_be_bytes([a, b]))),
        (127, &[a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize),
        (126 | 127, _) => return Ok(None),
        _ => return Err(strange("a frame of the server is masked")),
    };
    let Some(payload) = head.checked_add(length).and_then(|end| bytes.get(head..end)) else {
        return Ok(None);
    };
    let said = match (first, payload) {
        (TEXT, text) => Frame::Text(text),
        (CLOSE, [high, low, reason @ ..]) => Frame::Close(u16::from_be_bytes([*high, *low]), reason),
        (CLOSE, _) => Frame::Close(1005, b""),
        (PING | PONG, _) => Frame::Control,
        _ => return Err(strange("a frame of the server is of no known kind")),
    };
    Ok(Some((said, head + length)))
}

fn strange(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_where_they_end() {
        let long = [&[0x81, 126, 0, 200][..], &[b'x'; 200]].concat();
        let stream =
            [&[0x81, 2, b'{', b'}'][..], &long, &[0x89, 0], &[0x88, 4, 0x0b, 0xb9, b'o', b'k']].concat();
        let mut left = &stream[..];
        let mut seen = Vec::new();
        while let Some((said, bytes)) = frame(left).unwrap() {
            seen.push(said);
            left = &left[bytes..];
        }
        let wanted =
            [Frame::Text(b"{}"), Frame::Text(&[b'x'; 200]), Frame::Control, Frame::Close(3001, b"ok")];
        assert_eq!(seen, wanted);
        for end in 0..long.len() {
            assert_eq!(frame(&long[..end]).unwrap(), None, "{end}");
        }
        for bad in [[0x81, 0x81], [0x82, 0], [0x01, 0], [0xc1, 0]] {
            assert!(frame(&bad).is_err(), "{bad:?}");
        }
    }
}
