//! What the two sides of one connection tell each other: the transport that reads requests, and the service that answers
//! them.
//!
//! The HTTP library stands between them and says neither when an answer is over nor what it read. All of it happens in
//! the one task of the connection.

use crate::Problem;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

/// Shared by both sides of a connection.
#[derive(Default)]
pub struct Exchange {
    peer: Option<SocketAddr>,
    answered: AtomicU64,
    refusal: OnceLock<Problem>,
    session: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Exchange {
    /// Of a connection to `peer`.
    pub fn new(peer: Option<SocketAddr>) -> Exchange {
        Exchange { peer, ..Exchange::default() }
    }

    /// The address at the other end.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Requests whose answers are over.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The next request stands for one that is refused.
    pub fn refuse(&self, problem: Problem) {
        // There is one refusal: the connection ends with it.
        let _ = self.refusal.set(problem);
    }

    /// Why the request is refused, if it is.
    pub fn refusal(&self) -> Option<&Problem> {
        self.refusal.get()
    }

    /// Sets what the connection goes on as once the answer to an upgrade is out. It stays the same task, so it has an
    /// owner and counts.
    pub fn hand_over(&self, session: BoxFuture<'static, ()>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    /// What was set.
    pub fn session(&self) -> Option<BoxFuture<'static, ()>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes the end of an answer known.
    pub fn watch(self: Arc<Self>, response: Response) -> http::Response<Answer> {
        response.map(|body| Answer { body, exchange: self })
    }
}

/// The body of an answer; its end is the answer's.
pub struct Answer {
    body: Body,
    exchange: Arc<Exchange>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.exchange.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
