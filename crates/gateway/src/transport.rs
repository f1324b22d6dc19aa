//! What the HTTP library reads and writes: the socket, with the [`Guard`] between.
//!
//! ```text
//! socket ──> guard ──> whole heads, bodies as they come ──> HTTP library ──> service
//!              └ a fault: once all earlier requests are answered, one request of our own,
//!                which the service answers with the refusal and `Connection: close`
//! ```
//! So a refusal comes in order, has the form of every other answer, and is written by the same code. A fault within a
//! body ends what the handler reads of it. Bytes behind a request for an upgrade are kept for what the connection becomes.
//!
//! A head has a deadline, from the accept or the end of the last answer. A connection that asked nothing by then is closed
//! without a word.

use crate::Settings;
use crate::exchange::Exchange;
use crate::framing::{Fault, Guard, Limits};
use crate::socket::Socket;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What the library reads in place of a request that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";

/// The bytes of one connection as long as it speaks HTTP.
pub struct Transport {
    socket: Socket,
    guard: Guard,
    exchange: Arc<Exchange>,
    /// What has not passed the guard, behind what has and was not read yet.
    kept: BytesMut,
    /// So many of the kept bytes may be read.
    ready: usize,
    refusal: Refusal,
    head_deadline: Duration,
    /// When the next head must be there.
    deadline: Pin<Box<Sleep>>,
    /// The number of the head that the deadline is set for.
    awaited: Option<u64>,
}

/// ```text
/// Unneeded ──> Due ──> Made
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Unneeded,
    /// As soon as all earlier requests are answered.
    Due(Fault),
    /// The stand-in was read.
    Made,
}

impl Transport {
    /// A transport over an accepted connection.
    pub fn new(socket: Socket, settings: &Settings, exchange: Arc<Exchange>) -> Transport {
        let limits =
            Limits { head_bytes_max: settings.header_bytes_max, target_bytes_max: settings.uri_bytes_max };
        Transport {
            socket,
            guard: Guard::new(limits),
            exchange,
            kept: BytesMut::new(),
            ready: 0,
            refusal: Refusal::Unneeded,
            head_deadline: settings.header_deadline,
            deadline: Box::pin(tokio::time::sleep(settings.header_deadline)),
            awaited: Some(0),
        }
    }

    /// Bytes of the largest head.
    pub fn head_bytes_max(&self) -> usize {
        self.guard.limits().head_bytes_max
    }

    /// The socket, and what came behind the last request.
    pub fn into_raw(self) -> (Socket, Bytes) {
        (self.socket, self.kept.freeze())
    }

    /// Whether every request that was passed on is answered.
    fn is_idle(&self) -> bool {
        let stand_ins = u64::from(self.refusal == Refusal::Made);
        self.exchange.answered() == self.guard.heads() + stand_ins
    }

    /// Ready when the connection is idle and its next head is late.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_idle() || self.guard.is_held() || self.refusal != Refusal::Unneeded {
            return Poll::Pending;
        }
        if self.awaited != Some(self.guard.heads()) {
            self.awaited = Some(self.guard.heads());
            self.deadline.as_mut().reset(Instant::now() + self.head_deadline);
        }
        self.deadline.as_mut().poll(cx)
    }

    /// Reads kept bytes that passed.
    fn read_ready(&mut self, buffer: &mut ReadBuf<'_>) {
        let bytes = self.ready.min(buffer.remaining());
        buffer.put_slice(&self.kept[..bytes]);
        self.kept.advance(bytes);
        self.ready -= bytes;
        if self.kept.is_empty() {
            self.kept = BytesMut::new();
        }
    }

    /// Shows the guard what was just read into `buffer` behind `begin`, and leaves there what passes.
    fn take(&mut self, buffer: &mut ReadBuf<'_>, begin: usize) {
        let news = &buffer.filled()[begin..];
        let scan = if self.kept.is_empty() {
            let scan = self.guard.scan(news);
            self.kept.extend_from_slice(&news[scan.pass..]);
            buffer.set_filled(begin + scan.pass);
            scan
        } else {
            self.kept.extend_from_slice(news);
            buffer.set_filled(begin);
            let scan = self.guard.scan(&self.kept);
            self.ready = scan.pass;
            scan
        };
        if let Some(fault) = scan.fault {
            self.kept.truncate(self.ready);
            self.refusal = Refusal::Due(fault);
        }
    }

    /// What is read after a fault.
    fn poll_refused(&mut self, fault: Fault) -> Poll<io::Result<()>> {
        if self.guard.is_in_body() {
            return Poll::Ready(Ok(()));
        }
        if !self.is_idle() {
            // `poll_flush` sees to it at the end of the last answer.
            return Poll::Pending;
        }
        self.exchange.refuse(fault.problem());
        self.refusal = Refusal::Made;
        self.kept = BytesMut::from(STAND_IN);
        self.ready = STAND_IN.len();
        Poll::Pending
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let begin = buffer.filled().len();
        loop {
            if self.ready == 0
                && let Refusal::Due(fault) = self.refusal
                && self.poll_refused(fault).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            if self.ready > 0 {
                self.read_ready(buffer);
                return Poll::Ready(Ok(()));
            }
            if self.refusal != Refusal::Unneeded || self.guard.is_held() {
                return Poll::Pending;
            }
            match Pin::new(&mut self.socket).poll_read(cx, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() > begin => self.take(buffer, begin),
                Poll::Ready(ended) => return Poll::Ready(ended),
                Poll::Pending if self.poll_late(cx).is_pending() => return Poll::Pending,
                Poll::Pending if self.kept.is_empty() => return Poll::Ready(Ok(())),
                Poll::Pending => self.refusal = Refusal::Due(Fault::TooSlow),
            }
            if buffer.filled().len() > begin {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// The library flushes at the end of every turn, and reads again only when the socket says so: here the deadline of
    /// the next head begins, and a refusal that waited for the last answer is woken up for.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_due = matches!(self.refusal, Refusal::Due(_)) && self.is_idle() && !self.guard.is_in_body();
        if is_due || self.poll_late(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
