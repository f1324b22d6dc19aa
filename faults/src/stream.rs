//! Blocks of an event stream, as they come.

use crate::http::Connection;
use anyhow::Result;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::time::Duration;

/// A stream without a heartbeat for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// An open event stream.
pub struct Stream {
    body: Incoming,
    buffer: Vec<u8>,
}

/// What stands between two blank lines.
pub struct Block(String);

impl Stream {
    /// Opens one, again after `last_id`.
    ///
    /// # Errors
    /// When nobody answers, or not with a stream.
    pub async fn open(address: SocketAddr, path: &str, last_id: Option<&str>) -> Result<Stream> {
        let connection = Connection::open(address).await?;
        let response = tokio::time::timeout(SILENCE_MAX, connection.stream(path, last_id)).await??;
        Ok(Stream { body: response.into_body(), buffer: Vec::new() })
    }

    /// The next block; none when the stream ended.
    ///
    /// # Errors
    /// When the connection breaks, or nothing is heard for long.
    pub async fn next(&mut self) -> Result<Option<Block>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.buffer.drain(..end + 2).collect();
                return Ok(Some(Block(String::from_utf8(block)?)));
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

impl Block {
    /// The value of a field, if it has one.
    pub fn field(&self, name: &str) -> Option<&str> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.strip_prefix(' ').unwrap_or(value))
    }
}
