//! The TCP stream of a connection, with the deadlines HTTP itself does not have.
//!
//! A peer that takes nothing for [`write_stall_max`](crate::Settings::write_stall_max) while there is something to
//! write is cut off. At the end the write half is closed first and what the peer still sends is dropped for a short
//! while: closing at once would answer a body that was refused with a reset, and the peer would lose the answer.

use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Longest and most that is dropped after the last answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 4 << 20;

/// A [`TcpStream`] with a write deadline and an orderly end.
pub struct Socket {
    stream: TcpStream,
    write_stall_max: Duration,
    /// Runs while a write waits; also the deadline of the end.
    timer: Option<Pin<Box<Sleep>>>,
    /// Set once the write half is closed: bytes that may still be dropped.
    lingering: Option<usize>,
}

impl Socket {
    /// Takes over an accepted stream.
    pub fn new(stream: TcpStream, write_stall_max: Duration, peer_silence_max: Duration) -> Socket {
        let _ = stream.set_nodelay(true);
        let options = SockRef::from(&stream);
        #[cfg(target_os = "linux")]
        let _ = options.set_tcp_user_timeout(Some(peer_silence_max));
        let _ = options.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(peer_silence_max));
        Socket { stream, write_stall_max, timer: None, lingering: None }
    }

    /// The address at the other end: a balancer's, where one stands between.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// `Pending`, or the error that the peer has been taking nothing for too long.
    fn poll_stalled<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let deadline = self.write_stall_max;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }

    fn poll_written<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match poll {
            Poll::Pending => self.poll_stalled(cx),
            Poll::Ready(result) => {
                self.timer = None;
                Poll::Ready(result)
            }
        }
    }

    /// Drops what still comes until the peer closes too, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [std::mem::MaybeUninit::uninit(); 8 << 10];
        loop {
            let left = self.lingering.get_or_insert(LINGER_BYTES_MAX);
            let mut buffer = ReadBuf::uninit(&mut scratch);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            match read {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && *left > 0 => {
                    *left = left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let deadline = Instant::now() + LINGER;
                    let timer =
                        self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                    return timer.as_mut().poll(cx).map(Ok);
                }
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_written(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.poll_written(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            (self.timer, self.lingering) = (None, Some(LINGER_BYTES_MAX));
        }
        self.poll_linger(cx)
    }
}
