//! The component: settings and handles in, `run` until shutdown.

use crate::app::App;
use crate::exchange::{Answer, Exchange};
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::pace::Pace;
use crate::protocol::Carrier;
use crate::readiness::Status;
use crate::session::{Arrival, Session};
use crate::socket::Socket;
use crate::transport::Transport;
use crate::websocket::Connection;
use crate::{Problem, Settings, admission, emulation, routes, stream};
use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dualstream_core::decisions::{Decisions, Disconnect as Order};
use dualstream_core::hub::Hub;
use dualstream_core::publisher::DualPublisher;
use futures::FutureExt;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tower_service::Service;
use uuid::Uuid;

/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// So many connections past the limit are answered 503 at a time; others past it are closed at once.
const REFUSALS_MAX: usize = 64;
/// Time a refused connection has.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(2);
/// Connections that may wait to be accepted, as far as the system allows (`net.core.somaxconn`): all clients come back at
/// once after a restart, and one that finds no room tries again a second later, or more.
const WAITING_MAX: i32 = 4_096;
/// How often the parts are looked at when nobody asks.
const LOOK: Duration = Duration::from_secs(1);
/// What the library may hold of a request.
const BUFFER_BYTES: usize = 64 << 10;

/// The HTTP server. `run` owns every connection.
///
/// ```text
/// accept ──> one task per connection ──> admission ──> route ──> handler ──> answer
///               ├ Socket: write deadline      (Host, Origin, limits)  (panic = 500)
///               ├ Transport: framing, header deadline
///               └ hyper: HTTP/1.1 only
/// ```
pub struct Gateway {
    app: Arc<App>,
    drain: watch::Sender<bool>,
}

impl Gateway {
    /// A gateway over a publisher, a hub, and what operators ask for.
    pub fn new(
        settings: Settings,
        publisher: DualPublisher,
        hub: Hub,
        operations: Operations,
        status: Arc<dyn Status>,
        metrics: Metrics,
    ) -> Gateway {
        let (drain, draining) = watch::channel(false);
        let app = App::new(settings, publisher, hub, operations, status, metrics, draining);
        Gateway { app: Arc::new(app), drain }
    }

    /// One connection of the client protocol, to its end, over bytes that are no socket: its WebSocket handshake was
    /// done elsewhere. It has no write deadline.
    pub fn session<S>(&self, io: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings = &self.app.settings.session;
        let connection =
            Connection::new(io, Bytes::new(), settings.message_bytes_max, settings.message_deadline);
        let (carrier, session) = (Carrier::WebSocket, Uuid::new_v4());
        let arrival = Arrival { carrier, peer: None, session, has_frame_pings: false };
        Session::new(self.app.clone(), arrival).run(connection)
    }

    /// Serves `listener` until `shutdown` resolves, then in order: accepts no more, closes idle connections, lets
    /// requests finish, ends event streams and WebSockets spread over the drain time, and cuts what is left after twice that time.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let Gateway { app, drain } = self;
        if let Err(error) = SockRef::from(&listener).listen(WAITING_MAX) {
            tracing::warn!(%error, "the queue of connections that wait to be accepted stays as it was");
        }
        let decisions = app.operations.nodes.decisions.clone();
        let per_second = app.settings.connects_per_second;
        let mut pace = Pace::new(f64::from(per_second), per_second);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let server = Server::new(app);
        let mut connections = JoinSet::new();
        // Beside the connections: what it hands on takes no time of those who are accepted. Ends with this.
        let mut control = JoinSet::new();
        control.spawn(emulation::listen(server.app.clone()));
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => note_panic(ended),
                order = ordered(decisions.as_ref()) => drop(server.app.clients.end(order)),
                _ = looks.tick() => drop(server.app.readiness.look(stream::now_ms())),
                accepted = accept(&listener, &pace) => match accepted {
                    Ok(stream) => {
                        pace.take();
                        server.begin(stream, &mut connections);
                    }
                    Err(error) => back_off(&error).await,
                },
            }
        }
        drop(listener);
        drain.send_replace(true);
        let deadline = server.app.settings.drain * 2;
        let all = async {
            while let Some(ended) = connections.join_next().await {
                note_panic(ended);
            }
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections cut at the shutdown deadline");
        }
        connections.shutdown().await;
    }
}

/// The next connection that is within the pace: those past it wait in the system's queue, so that a crowd that comes at
/// once is served one after the other, and not all a little. Cancel-safe.
async fn accept(listener: &TcpListener, pace: &Pace) -> io::Result<TcpStream> {
    pace.ready().await;
    listener.accept().await.map(|(stream, _)| stream)
}

/// The next client that the nodes decided to disconnect, here or elsewhere.
async fn ordered(decisions: Option<&Decisions>) -> Order {
    match decisions {
        Some(decisions) => decisions.ordered().await,
        None => std::future::pending().await,
    }
}

/// What every connection task shares.
struct Server {
    app: Arc<App>,
    router: Router,
    slots: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Server {
    fn new(app: Arc<App>) -> Server {
        Server {
            router: routes::router(&app),
            slots: Arc::new(Semaphore::new(app.settings.connections_max)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            app,
        }
    }

    fn begin(&self, stream: TcpStream, connections: &mut JoinSet<()>) {
        let settings = &self.app.settings;
        let socket = Socket::new(stream, settings.write_stall_max, settings.peer_silence_max);
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            connections.spawn(serve(self.app.clone(), self.router.clone(), socket, slot));
        } else if let Ok(slot) = self.refusals.clone().try_acquire_owned() {
            connections.spawn(refuse(self.app.clone(), socket, slot));
        }
    }
}

/// One connection, from its first byte to its last.
async fn serve(app: Arc<App>, router: Router, socket: Socket, _slot: OwnedSemaphorePermit) {
    let _open = app.metrics.connection_opened();
    let mut draining = app.draining.clone();
    let exchange = Arc::new(Exchange::new(socket.peer()));
    let transport = Transport::new(socket, &app.settings, exchange.clone());
    let shared = exchange.clone();
    let service = service_fn(move |request| answer(app.clone(), router.clone(), shared.clone(), request));
    // Boxed, to be given back when a session begins: it is as large as all that a quiet WebSocket needs.
    let mut connection =
        Box::pin(http(&transport).serve_connection(TokioIo::new(transport), service).with_upgrades());
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = begins(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    drop(connection);
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    } else if let Some(session) = exchange.session() {
        session.await;
    }
}

/// The library's part: what is decided by the transport is not decided again.
fn http(transport: &Transport) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(transport.head_bytes_max().max(BUFFER_BYTES));
    builder
}

/// Resolves when shutdown begins.
async fn begins(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|is_draining| *is_draining).await;
}

/// A connection past the limit: its first request is answered 503.
async fn refuse(app: Arc<App>, socket: Socket, _slot: OwnedSemaphorePermit) {
    let exchange = Arc::new(Exchange::default());
    let transport = Transport::new(socket, &app.settings, exchange.clone());
    let service = service_fn(|_: http::Request<Incoming>| {
        let too_many = || {
            Problem::http(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_connections",
                "the server has as many connections as it serves at a time",
            )
            .with_limit(app.settings.connections_max as u64)
            .closing()
        };
        let problem = exchange.refusal().cloned().unwrap_or_else(too_many);
        let response = exchange.clone().watch(app.finish(problem.into_response()));
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http(&transport).serve_connection(TokioIo::new(transport), service);
    let _ = tokio::time::timeout(REFUSAL_DEADLINE, connection).await;
}

/// One request. A panic in a handler is this request's failure and nobody else's.
async fn answer(
    app: Arc<App>,
    router: Router,
    exchange: Arc<Exchange>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Answer>, Infallible> {
    let response = match exchange.refusal() {
        Some(problem) => app.finish(problem.clone().into_response()),
        None => respond(&app, router, &exchange, request.map(axum::body::Body::new)).await,
    };
    Ok(exchange.watch(response))
}

async fn respond(
    app: &App,
    mut router: Router,
    exchange: &Arc<Exchange>,
    mut request: axum::extract::Request,
) -> Response {
    let origin = match admission::admit(&mut request, &app.settings) {
        Ok(origin) => origin,
        Err(problem) => return app.finish(problem.into_response()),
    };
    let asks_upgrade = request.headers().contains_key(UPGRADE);
    if asks_upgrade || request.uri().path().starts_with(routes::OF_CLIENTS) {
        request.extensions_mut().insert(exchange.clone());
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let handled = match origin.is_some() && method == Method::OPTIONS {
        true => Ok(Ok(admission::preflight())),
        false => AssertUnwindSafe(router.call(request)).catch_unwind().await,
    };
    let Ok(response) = handled.unwrap_or_else(|_| {
        let code = "internal";
        let message = "something went wrong inside the server";
        Ok(Problem::http(StatusCode::INTERNAL_SERVER_ERROR, code, message).closing().into_response())
    });
    let mut response = app.finish(response);
    admission::allow(origin, response.headers_mut());
    if asks_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // What follows is not read: it may be meant for the protocol that was asked for.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if response.status().is_server_error() {
        let path: String = uri.path().chars().take(256).collect();
        let request_id = response.headers().get("x-request-id");
        tracing::warn!(%method, ?path, ?request_id, status = response.status().as_u16(), "a request failed");
    }
    response
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection task panicked");
    }
}

/// Accept fails per connection (the peer is gone already) or for want of resources: then accepting pauses while
/// everything open goes on.
async fn back_off(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}
