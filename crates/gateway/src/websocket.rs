//! `GET /connection/websocket`: the client protocol over a WebSocket.
//!
//! The frame layer is our own: whatever is wrong is answered with its close code, which the peer really gets, because the
//! end goes through [`Socket`](crate::socket::Socket), which lingers. The session runs in the task of its connection.

mod connection;
mod frame;
mod handshake;

pub(crate) use connection::{Connection, Received};
pub(crate) use frame::{HEAD_BYTES_MAX, Message, Text};

use crate::admission;
use crate::app::App;
use crate::exchange::Exchange;
use crate::protocol::{Carrier, Disconnect};
use crate::session::{Arrival, Session};
use crate::transport::Transport;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::Uri;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use uuid::Uuid;

const JSON: &str = "centrifuge-json";
const PROTOBUF: &str = "centrifuge-protobuf";

/// The upgrade. The session begins when the answer is out.
pub(crate) async fn open(State(app): State<Arc<App>>, mut request: Request) -> Response {
    if let Err(problem) = admission::own_or_allowed_origin(request.headers(), &app.settings) {
        return problem.into_response();
    }
    let response = match handshake::answer(&request, &[JSON, PROTOBUF]) {
        Ok(response) => response,
        Err(problem) => return handshake::refuse(problem),
    };
    let wanted = Wanted::of(&request);
    let upgrade = hyper::upgrade::on(&mut request);
    if let Some(exchange) = request.extensions().get::<Arc<Exchange>>() {
        exchange.hand_over(serve(app, upgrade, wanted).boxed());
    }
    response
}

/// What a client asks of the connection beside the protocol itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    protobuf: bool,
    frame_pings: bool,
}

impl Wanted {
    /// Parameters of others are let pass: load balancers and applications add their own.
    fn of(request: &Request) -> Wanted {
        let has = |name: &str, value: &str| has_parameter(request.uri(), name, value);
        Wanted {
            protobuf: handshake::offers(request.headers(), PROTOBUF)
                || has("format", "protobuf")
                || has("cf_protocol", "protobuf"),
            frame_pings: has("cf_ws_frame_ping_pong", "true"),
        }
    }
}

fn has_parameter(uri: &Uri, name: &str, value: &str) -> bool {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(n, v)| n == name && v == value)
}

async fn serve(app: Arc<App>, upgrade: OnUpgrade, wanted: Wanted) {
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(Parts { io, .. }) = upgraded.downcast::<TokioIo<Transport>>() else {
        tracing::error!("a connection is not of the kind that was upgraded");
        return;
    };
    let (socket, early) = io.into_inner().into_raw();
    let peer = socket.peer();
    let settings = &app.settings.session;
    let connection = Connection::new(socket, early, settings.message_bytes_max, settings.message_deadline);
    let _open = app.metrics.client_opened(Carrier::WebSocket);
    if wanted.protobuf {
        let refused = Disconnect::InappropriateProtocol;
        app.metrics.client_disconnected(refused.code());
        return connection.close(refused.code(), refused.reason(), settings.close_wait).await;
    }
    let (carrier, session) = (Carrier::WebSocket, Uuid::new_v4());
    let arrival = Arrival { carrier, peer, session, has_frame_pings: wanted.frame_pings };
    Session::new(app, arrival).run(connection).await;
}
