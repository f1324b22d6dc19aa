//! `DELETE /v1/connections/{id}`.

use super::unknown;
use crate::app::App;
use crate::protocol::Disconnect;
use crate::query::Query;
use crate::{Problem, routes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dualstream_core::decisions::{CODES, Decision, Decisions, Disconnect as Order, Outcome};
use dualstream_core::{Error, ErrorKind, Result};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::sync::Arc;
use uuid::Uuid;

/// A client of this node is gone at once: 200. For any other it is decided, whoever has it: 202 with the decision. Nobody is
/// asked whether there is such a client: the registry may not know yet, and a decision needs no Redis.
pub(crate) async fn disconnect(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let id = routes::parameter(request.uri().path())?.parse::<Uuid>().map_err(|_| unknown())?;
    let order = order(id, &Query::new(request.uri(), &["code", "reason", "reconnect"])?)?;
    let nodes = &app.operations.nodes;
    if app.clients.end(order.clone()) {
        let own = &nodes.own.id;
        return Ok(answer(
            StatusCode::OK,
            format!("{{\"id\":\"{id}\",\"instance\":\"{own}\",\"disconnected\":true}}"),
        ));
    }
    let decisions = match (&nodes.membership, &nodes.decisions) {
        (Some(_), Some(decisions)) => decisions,
        (None, Some(_)) => return Err(no_registry().into()),
        // There is no other node.
        (_, None) => return Err(unknown().into()),
    };
    let offset = decide(decisions, order).await?;
    let body = format!("{{\"id\":\"{id}\",\"disconnected\":false,\"decision\":{offset}}}");
    Ok(answer(StatusCode::ACCEPTED, body))
}

/// What is asked for: to be gone, unless something else is said.
fn order(id: Uuid, query: &Query) -> Result<Order> {
    let code = query.count("code", usize::from(*CODES.end()))?;
    let reconnect = query.word("reconnect", &[("true", true), ("false", false)])?;
    let (code, reason) = match (code, reconnect) {
        (Some(_), Some(_)) => {
            let message = "a code says by itself whether the client is to come back: give one of the two";
            return Err(Error::invalid("invalid_parameter", "reconnect", message));
        }
        // The largest code fits.
        (Some(code), None) => (u16::try_from(code).unwrap_or(u16::MAX), ""),
        (None, Some(true)) => (Disconnect::ForceReconnect.code(), Disconnect::ForceReconnect.reason()),
        (None, _) => (Disconnect::Force.code(), Disconnect::Force.reason()),
    };
    Order::new(id.as_u128(), code, query.one("reason")?.unwrap_or(reason))
}

/// Where the decision stands.
async fn decide(decisions: &Decisions, order: Order) -> Result<u64> {
    match decisions.propose(Decision::Disconnect(order)).await? {
        Outcome::Decided { offset } => Ok(offset),
        // An order is always valid.
        outcome @ (Outcome::AlreadyDecided | Outcome::Refused(_)) => {
            let message = format!("the order was not decided: {outcome:?}");
            Err(Error::new(ErrorKind::Conflict, "decision_refused", message))
        }
    }
}

fn answer(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn no_registry() -> Error {
    let message =
        "the client is not connected to this node, and without Redis none is disconnected from another one";
    Error::new(ErrorKind::Conflict, "registry_needed", message)
        .with_mend("set bus.redis on all nodes, or ask the node that has the client")
}
