//! A WebSocket over the bytes of a connection: whole messages in, whole frames out, an orderly end.

use super::frame::{self, Decoder, Fault, Message, Text};
use bytes::Bytes;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// One WebSocket.
#[derive(Debug)]
pub struct Connection<S> {
    io: S,
    decoder: Decoder,
    message_deadline: Duration,
    /// When the message that is not whole yet began.
    began: Option<Instant>,
}

/// What comes from a peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Message),
    /// It broke the protocol.
    Fault(Fault),
    /// It is gone without a word.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A WebSocket over `io`, its handshake done; `read_ahead` came with it.
    pub fn new(io: S, read_ahead: Bytes, message_bytes_max: usize, message_deadline: Duration) -> Self {
        Connection { io, decoder: Decoder::new(message_bytes_max, read_ahead), message_deadline, began: None }
    }

    /// The next message. Cancel-safe.
    pub async fn receive(&mut self) -> Received {
        loop {
            match self.decoder.next() {
                Ok(Some(message)) => {
                    self.began = None;
                    return Received::Message(message);
                }
                Ok(None) => {}
                Err(fault) => return Received::Fault(fault),
            }
            let read = match self.decoder.is_partial() {
                false => self.io.read_buf(self.decoder.space()).await,
                true => {
                    let at = *self.began.get_or_insert_with(Instant::now) + self.message_deadline;
                    match tokio::time::timeout_at(at, self.io.read_buf(self.decoder.space())).await {
                        Ok(read) => read,
                        Err(_) => return Received::Fault(Fault { code: 1009, reason: "message too slow" }),
                    }
                }
            };
            if !read.is_ok_and(|bytes| bytes > 0) {
                return Received::Gone;
            }
        }
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// The peer is gone, or took nothing for too long.
    pub async fn send(&mut self, mut text: Text) -> io::Result<()> {
        self.io.write_all(text.encode()).await
    }

    /// Sends a ping frame.
    ///
    /// # Errors
    /// As [`send`](Connection::send).
    pub async fn ping(&mut self) -> io::Result<()> {
        self.io.write_all(&frame::ping()).await
    }

    /// Answers a ping frame.
    ///
    /// # Errors
    /// As [`send`](Connection::send).
    pub async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.io.write_all(&frame::pong(payload)).await
    }

    /// Says why this ends, waits at most `wait` for the peer to say so too, and closes.
    pub async fn close(mut self, code: u16, reason: &str, wait: Duration) {
        if self.io.write_all(&frame::close_frame(code, reason)).await.is_ok() {
            let _ = tokio::time::timeout(wait, self.until_closed()).await;
        }
        let _ = self.io.shutdown().await;
    }

    /// Closes after a close frame or a fault of the peer: what it still sends is not read as frames.
    pub async fn finish(mut self, code: u16, reason: &str) {
        let _ = self.io.write_all(&frame::close_frame(code, reason)).await;
        let _ = self.io.shutdown().await;
    }

    async fn until_closed(&mut self) {
        while let Received::Message(message) = self.receive().await {
            if let Message::Close(_) = message {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_that_trickles_in_is_cut_off() {
        let (io, mut peer) = tokio::io::duplex(1_000);
        let mut connection = Connection::new(io, Bytes::new(), 1_000, Duration::from_secs(10));
        let began = Instant::now();
        let trickle = async {
            peer.write_all(&[0x01, 0x80, 0, 0, 0, 0]).await.unwrap();
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                peer.write_all(&[0x00, 0x80, 0, 0, 0, 0]).await.unwrap();
            }
        };
        tokio::select! {
            received = connection.receive() => {
                assert_eq!(received, Received::Fault(Fault { code: 1009, reason: "message too slow" }));
            }
            () = trickle => {}
        }
        assert!(began.elapsed() < Duration::from_secs(12));
    }
}
