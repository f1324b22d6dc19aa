//! The client protocol without a WebSocket: a stream down, and requests up.
//!
//! ```text
//! GET  /connection/sse ─────────┬─▶ Sessions ── a place ──▶ Session ──▶ Downstream: the body of the answer
//! POST /connection/http_stream ─┘      ▲
//! POST /emulation ── of this node ─────┤
//!          └──────── of another ──▶ Forwarding ── bus ──▶ its Forwarding
//! ```
//! The session is the one of a WebSocket; only its [`Link`](crate::session::Link) is another. A request up may reach any
//! node: it names the node and the session. What it says of a session elsewhere goes over the bus and may be lost, as all
//! that does: the client's command times out, and it connects again.

mod downstream;
mod forwarding;
mod inbox;
mod sessions;

pub(crate) use forwarding::{Forwarding, listen};
pub(crate) use sessions::Sessions;

use crate::app::App;
use crate::exchange::Exchange;
use crate::inflow::Inflow;
use crate::json::{self, Field};
use crate::protocol::Carrier;
use crate::session::{Arrival, Session};
use crate::stream::X_ACCEL_BUFFERING;
use crate::{Problem, admission, media_type};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use downstream::{Downstream, Slot};
use dualstream_core::{Error, ErrorKind};
use futures::FutureExt;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use sessions::Outcome;
use std::net::SocketAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Most commands of one request: more than a client has channels, at once.
const COMMANDS_MAX: usize = 256;
/// What stands around the commands in the body of `/emulation`: names, ids, braces.
const ENVELOPE_BYTES_MAX: usize = 1 << 10;

/// `GET /connection/sse?cf_connect=`. Other parameters are let pass, as on a WebSocket. A page of any site may make a browser
/// send this, and no `Origin` with it: so nothing is taken but the one command that connects.
pub(crate) async fn sse(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    admission::own_or_allowed_origin(request.headers(), &app.settings)?;
    let query = request.uri().query().unwrap_or_default();
    let mut said = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "cf_connect");
    match (said.next(), said.next()) {
        (Some((_, command)), None) => {
            if command.trim_end().contains('\n') {
                let message = "cf_connect is the one command that connects; the others go to POST /emulation";
                return Err(Error::invalid("too_many_commands", "cf_connect", message).with_limit(1).into());
            }
            open(app, Carrier::Sse, peer(&request), Bytes::from(command.into_owned().into_bytes()))
        }
        (Some(_), Some(_)) => {
            let message = "cf_connect may be given once";
            Err(Error::invalid("repeated_parameter", "cf_connect", message).into())
        }
        (None, _) => {
            let message = "give the first command: ?cf_connect=";
            Err(Error::invalid("missing_parameter", "cf_connect", message).into())
        }
    }
}

/// `POST /connection/http_stream`: the body is the first commands.
pub(crate) async fn http_stream(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    media_type::require_json(request.headers())?;
    let peer = peer(&request);
    let bytes_max = app.settings.session.message_bytes_max;
    let (commands, _budget) = app.body(Inflow::new(request.into_body(), &app.settings), bytes_max).await?;
    open(app, Carrier::HttpStream, peer, commands)
}

/// `POST /emulation`: commands for a session that is open, here or on another node.
pub(crate) async fn command(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Problem> {
    media_type::require_json(request.headers())?;
    // Every sign of the commands may be escaped: most that are have one sign more.
    let bytes_max = 2 * app.settings.session.message_bytes_max + ENVELOPE_BYTES_MAX;
    let (body, _budget) = app.body(Inflow::new(request.into_body(), &app.settings), bytes_max).await?;
    let Said { node, session, commands } = Said::decode(&body)?;
    check(&app, &commands)?;
    let own = app.operations.nodes.own.id.as_str();
    let told = match node == own {
        true => take(&app, session, commands),
        false => app.forwarding.send(&app.operations.nodes, &node, session, &commands).await,
    };
    app.metrics.emulation_answered(node == own, told.is_ok());
    told.map(|()| StatusCode::NO_CONTENT).map_err(Problem::from)
}

/// What a request up says.
struct Said {
    node: String,
    session: Uuid,
    commands: Bytes,
}

impl Said {
    fn decode(body: &[u8]) -> Result<Said, Error> {
        let members = json::object(body)?;
        let node = text(&members, "node")?;
        let session = text(&members, "session")?.parse().map_err(|_| unknown_session())?;
        Ok(Said { node, session, commands: Bytes::from(text(&members, "data")?.into_bytes()) })
    }
}

fn text(members: &[Field<'_>], name: &'static str) -> Result<String, Error> {
    let Some(field) = members.iter().find(|field| field.name == name) else {
        return Err(Error::invalid("missing_field", name, format!("{name} must be given")));
    };
    let not_text = || Error::invalid("invalid_field", name, format!("{name} is a string"));
    field.value.as_string().map(String::from).ok_or_else(not_text)
}

/// Refuses more than a session takes from one message.
fn check(app: &App, commands: &[u8]) -> Result<(), Error> {
    let bytes_max = app.settings.session.message_bytes_max;
    if commands.len() > bytes_max {
        let message = format!("the commands are larger than {bytes_max} bytes");
        return Err(Error::new(ErrorKind::TooLarge, "payload_too_large", message)
            .with_field("data")
            .with_limit(bytes_max as u64));
    }
    let lines = commands.strip_suffix(b"\n").unwrap_or(commands);
    if memchr::memchr_iter(b'\n', lines).count() >= COMMANDS_MAX {
        let message = format!("a request has at most {COMMANDS_MAX} commands");
        return Err(Error::new(ErrorKind::TooLarge, "too_many_commands", message)
            .with_field("data")
            .with_limit(COMMANDS_MAX as u64));
    }
    Ok(())
}

fn take(app: &App, session: Uuid, commands: Bytes) -> Result<(), Error> {
    match app.sessions.take(session, commands) {
        Outcome::Taken => Ok(()),
        Outcome::Unknown => Err(unknown_session()),
        Outcome::Busy => {
            let message = "the session has not read what came before";
            let limit = app.settings.session.message_bytes_max;
            Err(Error::new(ErrorKind::Limited, "session_busy", message)
                .with_field("session")
                .with_limit(limit as u64))
        }
    }
}

/// Begins a session with its first commands. The connection ends with it, so that each session was a connection accepted,
/// as each WebSocket was: one limit and one pace for all.
fn open(
    app: Arc<App>,
    carrier: Carrier,
    peer: Option<SocketAddr>,
    first: Bytes,
) -> Result<Response, Problem> {
    check(&app, &first)?;
    let place = app.sessions.open().ok_or_else(|| too_many(&app))?;
    place.inbox().push(first);
    let arrival = Arrival { carrier, peer, session: place.id(), has_frame_pings: false };
    let open = app.metrics.client_opened(carrier);
    let slot = Slot::default();
    let link = Downstream::new(carrier, place, slot.clone());
    let session = Session::new(app, arrival);
    let session = async move {
        let _open = open;
        session.run(link).await;
    };
    let media_type = match carrier {
        Carrier::Sse => "text/event-stream",
        Carrier::HttpStream | Carrier::WebSocket => "application/x-ndjson",
    };
    let headers = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (X_ACCEL_BUFFERING, "no"),
        (CONNECTION, "close"),
    ];
    let body = Body::from_stream(downstream::Body::new(session.boxed(), slot));
    Ok((headers, body).into_response())
}

fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<Arc<Exchange>>().and_then(|exchange| exchange.peer())
}

fn too_many(app: &App) -> Error {
    let message = "the server has as many sessions without a WebSocket as it serves at a time (setting limits.emulated_max)";
    Error::new(ErrorKind::Overloaded, "too_many_sessions", message)
        .with_limit(app.settings.session.emulated_max as u64)
}

/// There is no session of that id, or no node.
fn unknown_session() -> Error {
    let message = "there is no such session on such a node: connect again";
    Error::new(ErrorKind::NotFound, "unknown_session", message).with_field("session")
}
