//! The body of a request while it comes in: bounded in bytes, and in how slow it may be.

use crate::framing::Fault;
use crate::{Problem, Settings};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::time::Duration;
use tokio::time::Instant;

/// A request body. The time nobody waited for it (because the log was slow) is not held against the peer.
pub struct Inflow {
    body: Body,
    received: u64,
    waited: Duration,
    grace: Duration,
    rate_min: u64,
}

impl Inflow {
    /// A body under the deadlines of `settings`.
    pub fn new(body: Body, settings: &Settings) -> Inflow {
        Inflow {
            body,
            received: 0,
            waited: Duration::ZERO,
            grace: settings.body_grace,
            rate_min: settings.body_rate_min.max(1),
        }
    }

    /// The next piece; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// 408 `body_too_slow`, 400 `body_incomplete`; the connection is closed after either.
    pub async fn frame(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let earned = Duration::from_secs_f64(self.received as f64 / self.rate_min as f64);
            let allowed = (self.grace + earned).saturating_sub(self.waited);
            let began = Instant::now();
            let frame = tokio::time::timeout(allowed, self.body.frame()).await;
            self.waited += began.elapsed();
            match frame {
                Err(_) => return Err(too_slow(self.rate_min)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(Fault::Chunk.problem()),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// All of it, if it is at most `bytes_max`: a length that says otherwise is refused before anything is read.
    ///
    /// # Errors
    /// 413 `payload_too_large`, and those of [`frame`](Inflow::frame).
    pub async fn whole(mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        if self.body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        let Some(first) = self.frame().await? else { return Ok(Bytes::new()) };
        let mut all = BytesMut::new();
        while let Some(next) = self.frame().await? {
            if all.is_empty() {
                all.reserve(first.len() + next.len());
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&next);
            if all.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
        }
        match (all.is_empty(), first.len() > bytes_max) {
            (true, true) => Err(too_large(bytes_max)),
            (true, false) => Ok(first),
            (false, _) => Ok(all.freeze()),
        }
    }

    /// Bytes to set aside for a body that is to be held whole: its length if it says one.
    pub fn bytes_expected(&self, bytes_max: usize) -> usize {
        let exact = self.body.size_hint().exact();
        exact.map_or(bytes_max, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX).min(bytes_max))
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let message = format!("the body is larger than {bytes_max} bytes");
    Problem::http(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
        .with_limit(bytes_max as u64)
        .closing()
}

fn too_slow(rate_min: u64) -> Problem {
    let message = format!("the body comes at less than {rate_min} bytes per second");
    Problem::http(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message).with_limit(rate_min).closing()
}
