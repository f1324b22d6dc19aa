//! `DELETE /v1/connections/{id}`.

use super::{instances_of, unknown};
use crate::app::App;
use crate::protocol::Disconnect;
use crate::query::Query;
use crate::{Problem, routes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dualstream_core::decisions::{CODES, Decision, Decisions, Disconnect as Order, Outcome};
use dualstream_core::registry::{InstanceId, Membership, PAGE_CONNECTIONS_MAX};
use dualstream_core::{Error, ErrorKind, Result};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long the registry is searched for a client.
const FIND_MAX: Duration = Duration::from_secs(5);

/// A client of this node is gone at once: 200. For one of another node it is decided: 202 with the decision.
pub(crate) async fn disconnect(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let id = routes::parameter(request.uri().path())?.parse::<Uuid>().map_err(|_| unknown())?;
    let order = order(id, &Query::new(request.uri(), &["code", "reason", "reconnect"])?)?;
    let nodes = &app.operations.nodes;
    if app.clients.end(order.clone()) {
        return Ok(answer(StatusCode::OK, id, &nodes.own.id, ""));
    }
    let (membership, decisions) = match (&nodes.membership, &nodes.decisions) {
        (Some(membership), Some(decisions)) => (membership, decisions),
        (None, Some(_)) => return Err(no_registry().into()),
        // There is no other node.
        (_, None) => return Err(unknown().into()),
    };
    let search = find(&app, membership, id);
    let found = tokio::time::timeout(FIND_MAX, search).await.map_err(|_| too_slow())??;
    let instance = found.ok_or_else(unknown)?;
    let offset = decide(decisions, order).await?;
    Ok(answer(StatusCode::ACCEPTED, id, &instance, &format!(",\"decision\":{offset}")))
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

/// The instance that said it has this client.
async fn find(app: &App, membership: &Membership, id: Uuid) -> Result<Option<InstanceId>> {
    let client = id.to_string();
    for instance in instances_of(app).await? {
        let mut end = None;
        loop {
            let page = membership.connections(instance.clone(), end, PAGE_CONNECTIONS_MAX).await?;
            if page.connections.iter().any(|connection| *connection.client == *client) {
                return Ok(Some(instance));
            }
            end = page.next;
            if end.is_none() {
                break;
            }
        }
    }
    Ok(None)
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

fn answer(status: StatusCode, id: Uuid, instance: &InstanceId, more: &str) -> Response {
    let is_done = status == StatusCode::OK;
    let body = format!("{{\"id\":\"{id}\",\"instance\":\"{instance}\",\"disconnected\":{is_done}{more}}}");
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

fn no_registry() -> Error {
    let message = "the client is not connected to this node, and without the registry no other one is asked";
    Error::new(ErrorKind::Conflict, "registry_needed", message)
        .with_mend("set bus.redis on all nodes, or ask the node that has the client")
}

fn too_slow() -> Error {
    Error::new(ErrorKind::Unavailable, "registry_unavailable", "the registry could not be searched in time")
}
