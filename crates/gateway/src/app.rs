//! What every request handler shares.

use crate::clients::Clients;
use crate::emulation::{Forwarding, Sessions};
use crate::inflow::Inflow;
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::readiness::{Readiness, Status};
use crate::stream::now_ms;
use crate::{Problem, Settings};
use axum::response::Response;
use bytes::Bytes;
use dualstream_core::hub::Hub;
use dualstream_core::publisher::DualPublisher;
use http::header::{ALLOW, SEC_WEBSOCKET_VERSION, UPGRADE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Bodies are counted in units of this many bytes.
const BODY_UNIT_BYTES: usize = 1 << 10;

/// Handles and limits.
pub(crate) struct App {
    pub settings: Arc<Settings>,
    pub publisher: DualPublisher,
    pub hub: Hub,
    pub operations: Operations,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Sessions that requests speak in.
    pub sessions: Arc<Sessions>,
    /// The way to those of other nodes.
    pub forwarding: Forwarding,
    pub readiness: Arc<Readiness>,
    pub metrics: Metrics,
    /// Turns true at shutdown.
    pub draining: watch::Receiver<bool>,
    pub started_ms: i64,
    bodies: Arc<Semaphore>,
    /// Sets the request ids of one process apart from those of another.
    nonce: u64,
    requests: AtomicU64,
}

impl App {
    pub fn new(
        settings: Settings,
        publisher: DualPublisher,
        hub: Hub,
        operations: Operations,
        status: Arc<dyn Status>,
        metrics: Metrics,
        draining: watch::Receiver<bool>,
    ) -> App {
        let readiness = Arc::new(Readiness::new(status));
        metrics.observe(&publisher, &hub, &readiness);
        App {
            bodies: Arc::new(Semaphore::new(settings.bodies_bytes_max / BODY_UNIT_BYTES)),
            sessions: Sessions::new(settings.session.emulated_max, settings.session.message_bytes_max),
            forwarding: Forwarding::default(),
            settings: Arc::new(settings),
            publisher,
            hub,
            clients: Clients::new(operations.nodes.membership.clone()),
            operations,
            readiness,
            metrics,
            draining,
            started_ms: now_ms(),
            nonce: RandomState::new().hash_one(0),
            requests: AtomicU64::new(0),
        }
    }

    /// Reads a whole body of at most `bytes_max`, within the budget for all.
    pub async fn body(
        &self,
        inflow: Inflow,
        bytes_max: usize,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
        let budget = self.reserve(inflow.bytes_expected(bytes_max))?;
        Ok((inflow.whole(bytes_max).await?, budget))
    }

    /// Takes a share of the budget for request bodies, given back on drop.
    pub fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(BODY_UNIT_BYTES)).unwrap_or(u32::MAX);
        self.bodies.clone().try_acquire_many_owned(units).map_err(|_| {
            let message = "too many request bodies are being read; nothing was stored";
            Problem::http(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
                .with_limit(self.settings.bodies_bytes_max as u64)
                .closing()
        })
    }

    /// Completes an answer: renders a problem, and names the request.
    pub fn finish(&self, mut response: Response) -> Response {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{:08x}-{number:08x}", self.nonce >> 32);
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let mut given = std::mem::take(response.headers_mut());
            response = problem.render(&request_id);
            for name in [ALLOW, UPGRADE, SEC_WEBSOCKET_VERSION] {
                if let Some(value) = given.remove(&name) {
                    response.headers_mut().insert(name, value);
                }
            }
        }
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            headers.insert("x-request-id", request_id);
        }
        self.metrics.request_answered(response.status());
        response
    }
}
