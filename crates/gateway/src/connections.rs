//! `/v1/connections`: who is connected, to any node, and an end to it.
//!
//! ```text
//! list        own instance ─▶ Clients        others ─▶ the registry, page by page, in the order of the instances
//! disconnect  here ─▶ Clients, at once       elsewhere, by the registry ─▶ a decision, carried out by whoever has it
//! ```

mod disconnect;
mod place;

pub(crate) use disconnect::disconnect;

use crate::Problem;
use crate::app::App;
use crate::instances;
use crate::query::Query;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dualstream_core::event::codec::push_string;
use dualstream_core::registry::{Connection, InstanceId, PAGE_CONNECTIONS_MAX, Page, PageEnd, page_invalid};
use dualstream_core::time::format_rfc3339;
use dualstream_core::{Error, Result};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use place::Place;
use std::fmt::Write;
use std::sync::Arc;
use uuid::Uuid;

/// Connections of a page when `limit` is not given.
const LIMIT_DEFAULT: usize = 100;
/// Pages of the registry that are looked through for one of ours: a user may have few connections among many.
const PAGES_MAX: usize = 20;

/// `GET /v1/connections`.
pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = Query::new(request.uri(), &["instance", "user", "after", "limit"])?;
    let wanted = Wanted {
        instance: query.one("instance")?.map(InstanceId::new).transpose()?,
        user: query.one("user")?.map(str::to_owned),
        after: query.one("after")?.map(str::parse).transpose()?,
        limit: query.count("limit", PAGE_CONNECTIONS_MAX)?.unwrap_or(LIMIT_DEFAULT),
    };
    let found = wanted.find(&app).await?;
    let mut body = instances::begin(app.operations.nodes.membership.is_some(), "connections");
    for (index, (instance, connection)) in found.connections.iter().enumerate() {
        body.push_str(if index == 0 { "" } else { "," });
        push_connection(&mut body, instance, connection);
    }
    body.push_str("],\"next\":");
    match &found.next {
        Some(next) => push_string(&mut body, &next.to_string()),
        None => body.push_str("null"),
    }
    body.push('}');
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// What is asked for.
struct Wanted {
    instance: Option<InstanceId>,
    user: Option<String>,
    after: Option<Place>,
    limit: usize,
}

/// A page, and where the next one begins.
#[derive(Default)]
struct Found {
    connections: Vec<(InstanceId, Connection)>,
    next: Option<Place>,
}

impl Wanted {
    async fn find(&self, app: &App) -> Result<Found> {
        let mut found = Found::default();
        let mut places = self.places(app).await?.into_iter();
        let mut place = places.next();
        for _ in 0..PAGES_MAX {
            let (Some(Place { instance, end }), true) = (&place, found.connections.len() < self.limit) else {
                break;
            };
            let limit = self.limit - found.connections.len();
            let page = page(app, instance, end.clone(), limit).await?;
            let wanted = page.connections.into_iter().filter(|one| self.is_wanted(one));
            found.connections.extend(wanted.map(|one| (instance.clone(), one)));
            place = match page.next {
                Some(end) => Some(Place { instance: instance.clone(), end: Some(end) }),
                None => places.next(),
            };
        }
        found.next = place;
        Ok(found)
    }

    /// Where to read: the place asked for, and the beginning of each instance behind it.
    async fn places(&self, app: &App) -> Result<Vec<Place>> {
        let instances = match &self.instance {
            Some(instance) => vec![instance.clone()],
            None => instances_of(app).await?,
        };
        let from = self.after.as_ref().map(|place| &place.instance);
        let rest = instances.into_iter().filter(|instance| from.is_none_or(|from| instance > from));
        let rest = rest.map(|instance| Place { instance, end: None });
        Ok(self.after.iter().cloned().chain(rest).collect())
    }

    fn is_wanted(&self, connection: &Connection) -> bool {
        self.user.as_deref().is_none_or(|user| *connection.user == *user)
    }
}

/// The nodes whose connections can be listed, in order.
async fn instances_of(app: &App) -> Result<Vec<InstanceId>> {
    let nodes = &app.operations.nodes;
    let Some(membership) = &nodes.membership else { return Ok(vec![nodes.own.id.clone()]) };
    let listed = membership.instances().await?.into_iter().map(|listed| listed.instance.owner.id);
    let mut ids: Vec<InstanceId> = listed.chain([nodes.own.id.clone()]).collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// A page of one node's connections: of this one they are known better than in the registry.
async fn page(app: &App, instance: &InstanceId, end: Option<PageEnd>, limit: usize) -> Result<Page> {
    let nodes = &app.operations.nodes;
    if *instance == nodes.own.id {
        let end = end.map(|end| Uuid::parse_str(&end.0).map_err(|_| page_invalid())).transpose()?;
        let (connections, next) = app.clients.page(end, limit);
        return Ok(Page { connections, next: next.map(|id| PageEnd(id.to_string().into())) });
    }
    match &nodes.membership {
        Some(membership) => membership.connections(instance.clone(), end, limit).await,
        None => Ok(Page::default()),
    }
}

fn push_connection(out: &mut String, instance: &InstanceId, connection: &Connection) {
    let Connection { client, user, transport, protocol, name, version, connected_ms, remote } = connection;
    let texts = [("id", client), ("user", user), ("transport", transport), ("protocol", protocol)];
    let _ = write!(out, "{{\"instance\":\"{instance}\"");
    for (member, text) in texts.into_iter().chain([("name", name), ("version", version)]) {
        let _ = write!(out, ",\"{member}\":");
        push_string(out, text);
    }
    let _ = write!(out, ",\"connected\":\"{}\"", format_rfc3339(*connected_ms));
    if let Some(remote) = remote {
        out.push_str(",\"remote\":");
        push_string(out, remote);
    }
    out.push('}');
}

/// There is nobody of that id.
fn unknown() -> Error {
    let message = "no client of this id is connected";
    Error::new(dualstream_core::ErrorKind::NotFound, "unknown_connection", message).with_field("id")
}
