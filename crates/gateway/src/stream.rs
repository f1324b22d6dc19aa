//! `GET …/stream`: a subscription as Server-Sent Events.
//!
//! The body is pulled by the connection, and pulls from the subscription, only while the socket has room: a slow
//! reader is a cursor that is behind. Whatever is ready goes out in one write.

use crate::app::App;
use crate::clients::Seat;
use crate::metrics::Open;
use crate::query::Query;
use crate::sse::{self, Naming};
use crate::{Problem, routes, since};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use dualstream_core::Error;
use dualstream_core::channel::Target;
use dualstream_core::hub::{Hub, Item, Mode, OnUnrecoverable, RECENT_MAX, Start, Subscribe, Subscription};
use dualstream_core::registry::Connection;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use uuid::Uuid;

const PARAMETERS: [&str; 5] = ["since", "recent", "mode", "on_unrecoverable", "event"];

pub(crate) async fn of_channel(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = Query::new(request.uri(), &PARAMETERS)?;
    let target = Target::parse(&routes::parameter(request.uri().path())?)?;
    open(app, vec![target], &query, request.headers()).await
}

pub(crate) async fn of_query(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = Query::new(request.uri(), &[&["channel"], &PARAMETERS[..]].concat())?;
    let mut targets = query.all("channel").map(Target::parse).collect::<Result<Vec<_>, _>>()?;
    targets.sort();
    targets.dedup();
    if targets.is_empty() {
        let message = "name at least one channel or pattern: ?channel=";
        return Err(Error::invalid("missing_parameter", "channel", message).into());
    }
    open(app, targets, &query, request.headers()).await
}

async fn open(
    app: Arc<App>,
    targets: Vec<Target>,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let policies = [
        ("latest", OnUnrecoverable::Latest),
        ("earliest", OnUnrecoverable::Earliest),
        ("close", OnUnrecoverable::Close),
    ];
    let modes = [("reliable", Mode::Reliable), ("live", Mode::Live)];
    let naming = query.word("event", &[("type", Naming::Type), ("message", Naming::Message)])?;
    let request = Subscribe {
        targets,
        mode: query.word("mode", &modes)?.unwrap_or_default(),
        start: start(query, headers)?,
        on_unrecoverable: query.word("on_unrecoverable", &policies)?.unwrap_or_default(),
    };
    let subscription = app.hub.subscribe(request).await?;
    let tail = Tail::new(app, subscription, naming.unwrap_or_default());
    let headers =
        [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (X_ACCEL_BUFFERING, "no")];
    let body = futures::stream::unfold(tail, async |mut tail| tail.next().await.map(|bytes| (bytes, tail)));
    Ok((headers, Body::from_stream(body.map(Ok::<Bytes, Infallible>))).into_response())
}

/// Tells nginx not to collect the answer before passing it on.
pub(crate) const X_ACCEL_BUFFERING: http::HeaderName = http::HeaderName::from_static("x-accel-buffering");

/// `Last-Event-ID` beats `since` beats `recent`: what a client saw last is where it goes on.
fn start(query: &Query, headers: &HeaderMap) -> Result<Start, Error> {
    let since = query.one("since")?.map(since::parse).transpose()?;
    let recent = query.count("recent", RECENT_MAX)?;
    let mut ids = headers.get_all("last-event-id").iter();
    if let Some(id) = ids.next() {
        let invalid = || Error::invalid("invalid_position", "last-event-id", "not a position of this server");
        let id = id.to_str().ok().filter(|_| ids.next().is_none()).ok_or_else(invalid)?;
        if !id.is_empty() {
            return id.parse().map(Start::Resume).map_err(|error: Error| error.with_field("last-event-id"));
        }
    }
    match (since, recent) {
        (Some(since), _) => Ok(since::start(since)),
        (None, Some(count)) => Ok(Start::Recent(count)),
        (None, None) => Ok(Start::Latest),
    }
}

/// The body of one stream.
struct Tail {
    app: Arc<App>,
    subscription: Subscription,
    naming: Naming,
    stage: Stage,
    /// Resolves when this stream is to end for shutdown.
    ending: BoxFuture<'static, ()>,
    /// Its place among the clients of this node.
    seat: Seat,
    /// What was appended before is no measure of latency.
    began_ms: i64,
    _open: Open,
}

/// ```text
/// Opening ──> Following ──> Ended
/// ```
#[derive(PartialEq, Eq)]
enum Stage {
    Opening,
    Following,
    Ended,
}

impl Tail {
    fn new(app: Arc<App>, subscription: Subscription, naming: Naming) -> Tail {
        let (id, began_ms) = (Uuid::new_v4(), now_ms());
        Tail {
            subscription,
            naming,
            stage: Stage::Opening,
            ending: ending(app.draining.clone(), app.settings.drain).boxed(),
            seat: app.clients.join(id, shown(id, began_ms)),
            began_ms,
            _open: app.metrics.stream_opened(),
            app,
        }
    }

    /// The next write; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let settings = self.app.settings.clone();
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Following;
                return Some(sse::opening(&self.subscription.resume(), settings.retry));
            }
            Stage::Following => {}
            Stage::Ended => return None,
        }
        let heartbeat = tokio::time::sleep(settings.heartbeat);
        let items = tokio::select! {
            biased;
            () = &mut self.ending => return Some(self.end("the server is stopping")),
            order = self.seat.ended() => return Some(self.end(&format!("disconnected: {}", order.reason()))),
            items = self.subscription.next(settings.write_bytes_max) => items,
            () = heartbeat => return Some(sse::heartbeat(&self.subscription.resume())),
        };
        Some(self.encode(&items))
    }

    fn encode(&mut self, items: &[Item]) -> Bytes {
        let mut out = BytesMut::with_capacity(items.iter().map(sse::size).sum());
        for item in items {
            sse::push_item(&mut out, item, self.naming);
            if let Item::Lost(_) = item {
                out.extend_from_slice(&self.end("too slow: messages were dropped"));
                break;
            }
        }
        note_latency(&self.app.hub, self.began_ms, items);
        match items.is_empty() {
            true => self.end("the subscription has ended"),
            false => out.freeze(),
        }
    }

    fn end(&mut self, reason: &str) -> Bytes {
        self.stage = Stage::Ended;
        sse::farewell(reason, &self.subscription.resume(), self.app.settings.retry)
    }
}

/// What lists show of a stream.
fn shown(id: Uuid, connected_ms: i64) -> Connection {
    let nothing: Arc<str> = "".into();
    Connection {
        client: id.to_string().into(),
        user: nothing.clone(),
        transport: "sse".into(),
        protocol: "json".into(),
        name: nothing.clone(),
        version: nothing,
        connected_ms,
        remote: None,
    }
}

/// Records how old the events among `items` are, except those from before `began_ms`: they were asked for late.
pub(crate) fn note_latency(hub: &Hub, began_ms: i64, items: &[Item]) {
    let (now_ms, latency) = (now_ms(), &hub.counters().delivery_latency);
    let appended_ms = |item: &Item| match item {
        Item::Event { entry, .. } => Some(entry.append_time_ms).filter(|at| *at >= began_ms),
        _ => None,
    };
    // All connections count in one place, and events that come together are of one age.
    for together in items.chunk_by(|a, b| appended_ms(a) == appended_ms(b)) {
        if let Some(at) = together.first().and_then(appended_ms) {
            latency.record_many_us(now_ms.abs_diff(at).saturating_mul(1_000), together.len() as u64);
        }
    }
}

/// Resolves at this stream's moment of the drain time after shutdown begins. The moments of successive streams are
/// spread evenly (steps of the golden ratio), so that clients do not come back all at once.
pub(crate) async fn ending(mut draining: watch::Receiver<bool>, drain: Duration) {
    static STREAMS: AtomicU32 = AtomicU32::new(0);
    let share = STREAMS.fetch_add(0x9e37_79b9, Ordering::Relaxed);
    if draining.wait_for(|is_draining| *is_draining).await.is_ok() {
        tokio::time::sleep(drain.mul_f64(f64::from(share) / f64::from(u32::MAX))).await;
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use futures::stream::FuturesUnordered;
    use tokio::time::Instant;

    /// Fault 31. Whatever their number, as many end in each part of the drain time.
    #[tokio::test(start_paused = true)]
    async fn the_ends_of_streams_are_spread_over_the_drain_time() {
        for count in [12, 120, 5_000] {
            let (drain, draining) = watch::channel(false);
            let mut endings: FuturesUnordered<_> =
                (0..count).map(|_| ending(draining.clone(), Duration::from_secs(12)).boxed()).collect();
            assert!(endings.next().now_or_never().is_none(), "nobody leaves before it begins");
            drain.send_replace(true);
            let (began, mut ends) = (Instant::now(), [0; 12]);
            while endings.next().await.is_some() {
                ends[(began.elapsed().as_millis() as usize / 1_000).min(11)] += 1;
            }
            let fair = count / 12;
            assert!(ends.iter().all(|end| (fair / 2..=fair * 2 + 1).contains(end)), "{count}: {ends:?}");
        }
    }
}
