//! The way down: an answer whose body is a session.
//!
//! ```text
//! connection ── pulls ──▶ Body ── polls ──▶ Session ── send ──▶ Slot
//!     ▲                     │                                     │
//!     └──────── a frame ────┴◀────────────── takes ───────────────┘
//! ```
//! The session runs in the task of its connection, only while that has room for more: a client that takes nothing stops its
//! session, as on a WebSocket. It is dropped with the body once the client is gone.

use super::sessions::Place;
use crate::protocol::Carrier;
use crate::protocol::reply::Replies;
use crate::session::Link;
use crate::websocket::{HEAD_BYTES_MAX, Message, Received, Text};
use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// What the session said and the connection did not take yet. Both sides are polled by one task, one after the other.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Bytes>>>);

/// A client that speaks by requests and listens to an answer.
pub struct Downstream {
    carrier: Carrier,
    place: Place,
    slot: Slot,
}

/// The body of that answer.
pub struct Body {
    session: Option<BoxFuture<'static, ()>>,
    slot: Slot,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Downstream {
    /// A client at `place`, whose body takes from the same `slot`.
    pub fn new(carrier: Carrier, place: Place, slot: Slot) -> Downstream {
        Downstream { carrier, place, slot }
    }

    /// Says lines, and resolves when they were taken: the body is polled again then, and the session by it.
    async fn say(&self, lines: Text) {
        *self.slot.lock() = Some(framed(self.carrier, lines));
        poll_fn(|_| if self.slot.lock().is_some() { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

impl Link for Downstream {
    async fn receive(&mut self) -> Received {
        Received::Message(Message::Text(self.place.inbox().next().await))
    }

    async fn send(&mut self, lines: Text) -> io::Result<()> {
        self.say(lines).await;
        Ok(())
    }

    /// There is no close frame: the code is told in a push.
    async fn close(self, code: u16, reason: &str, _wait: Duration) {
        let mut lines = Text::default();
        Replies::new(lines.payload(), HEAD_BYTES_MAX).disconnected(code, reason);
        self.say(lines).await;
    }

    async fn finish(self, code: u16, reason: &str) {
        self.close(code, reason, Duration::ZERO).await;
    }
}

impl Body {
    /// A body that is what `session` puts into `slot`.
    pub fn new(session: BoxFuture<'static, ()>, slot: Slot) -> Body {
        Body { session: Some(session), slot }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(session) = &mut self.session
            && session.as_mut().poll(cx).is_ready()
        {
            self.session = None;
        }
        let said = self.slot.lock().take();
        match (said, &self.session) {
            (Some(said), _) => Poll::Ready(Some(Ok(said))),
            (None, Some(_)) => Poll::Pending,
            (None, None) => Poll::Ready(None),
        }
    }
}

/// Lines as a client of this kind reads them.
fn framed(carrier: Carrier, mut lines: Text) -> Bytes {
    if carrier != Carrier::Sse {
        lines.payload().push(b'\n');
        return lines.into_payload();
    }
    let lines = lines.into_payload();
    let mut event = Vec::with_capacity(lines.len() + 64);
    for line in lines.split(|byte| *byte == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_each_reads_them() {
        let framed = |carrier| {
            let mut lines = Text::default();
            lines.payload().extend_from_slice(b"{\"id\":1}\n{}");
            framed(carrier, lines)
        };
        assert_eq!(framed(Carrier::HttpStream), "{\"id\":1}\n{}\n");
        assert_eq!(framed(Carrier::Sse), "data: {\"id\":1}\ndata: {}\n\n");
    }
}
