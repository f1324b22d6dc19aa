//! What a session speaks over: a WebSocket, or a stream down with requests up.
//!
//! A session is written once, against this. What it says is handed over whole, and it says nothing more before that was
//! taken: so whatever the link is, a client that takes nothing only stands still.

use crate::websocket::{Connection, Received, Text};
use std::future::ready;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// One client, as its session hears it and speaks to it.
pub(crate) trait Link: Send {
    /// What comes next. Cancel-safe.
    fn receive(&mut self) -> impl Future<Output = Received> + Send;

    /// Says lines. Resolves when there is room for more.
    ///
    /// # Errors
    /// The client is gone, or took nothing for too long.
    fn send(&mut self, lines: Text) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends a ping that is no line: only a link that has such is asked to.
    ///
    /// # Errors
    /// As [`send`](Link::send).
    fn ping(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }

    /// Answers a ping that was no line.
    ///
    /// # Errors
    /// As [`send`](Link::send).
    fn pong(&mut self, _payload: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }

    /// Says why the server ends this, and ends it. A client that can answer to that has `wait` to do so.
    fn close(self, code: u16, reason: &str, wait: Duration) -> impl Future<Output = ()> + Send;

    /// Ends what the client ended, or broke.
    fn finish(self, code: u16, reason: &str) -> impl Future<Output = ()> + Send;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Link for Connection<S> {
    fn receive(&mut self) -> impl Future<Output = Received> + Send {
        Connection::receive(self)
    }

    fn send(&mut self, lines: Text) -> impl Future<Output = io::Result<()>> + Send {
        Connection::send(self, lines)
    }

    fn ping(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        Connection::ping(self)
    }

    fn pong(&mut self, payload: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
        Connection::pong(self, payload)
    }

    fn close(self, code: u16, reason: &str, wait: Duration) -> impl Future<Output = ()> + Send {
        Connection::close(self, code, reason, wait)
    }

    fn finish(self, code: u16, reason: &str) -> impl Future<Output = ()> + Send {
        Connection::finish(self, code, reason)
    }
}
