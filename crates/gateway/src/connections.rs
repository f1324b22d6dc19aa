//! `/v1/connections`: who is connected, to any node, and an end to it.
//!
//! ```text
//! list        own instance ─▶ Clients        others ─▶ the registry, page by page, in the order of the instances
//! disconnect  here ─▶ Clients, at once       else ─▶ a decision, carried out by whoever has it
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
use dualstream_core::registry::{Connection, InstanceId, PAGE_CONNECTIONS_MAX, page_invalid};
use dualstream_core::time::format_rfc3339;
use dualstream_core::{Error, Result};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use place::{End, Place};
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
            let room = self.limit.saturating_sub(found.connections.len());
            let (Some(from), true) = (&place, room > 0) else {
                break;
            };
            let (wanted, end) = self.read(app, from, room).await?;
            let instance = from.instance.clone();
            found.connections.extend(wanted.into_iter().map(|one| (instance.clone(), one)));
            place = match end {
                Some(end) => Some(Place { instance, end: Some(end) }),
                None => places.next(),
            };
        }
        found.next = place;
        Ok(found)
    }

    /// What is wanted of a page, of about the size there is room for. Those of one user are looked for in the largest page;
    /// where that has too many of them it is read again, as a smaller one: there is no place inside a page.
    async fn read(&self, app: &App, from: &Place, room: usize) -> Result<(Vec<Connection>, Option<End>)> {
        if self.user.is_some() {
            let (mut all, end) = page(app, from, PAGE_CONNECTIONS_MAX).await?;
            all.retain(|one| self.is_wanted(one));
            if all.len() <= room {
                return Ok((all, end));
            }
        }
        let (mut some, end) = page(app, from, room).await?;
        some.retain(|one| self.is_wanted(one));
        Ok((some, end))
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

/// A page of one node's connections: of this one they are known better than in the registry. A place of the other kind
/// than the node would make itself is another node's: the registry knows the one, and for the other begins anew.
async fn page(app: &App, from: &Place, limit: usize) -> Result<(Vec<Connection>, Option<End>)> {
    let nodes = &app.operations.nodes;
    let is_own = from.instance == nodes.own.id;
    let end = match &from.end {
        Some(End::Registry(end)) => Some(end.clone()),
        Some(End::Client(client)) if is_own => return Ok(own_page(app, Some(*client), limit)),
        None if is_own => return Ok(own_page(app, None, limit)),
        Some(End::Client(_)) | None => None,
    };
    match (&nodes.membership, end) {
        (Some(membership), end) => {
            let page = membership.connections(from.instance.clone(), end, limit).await?;
            Ok((page.connections, page.next.map(End::Registry)))
        }
        (None, Some(_)) => Err(page_invalid()),
        (None, None) => Ok((Vec::new(), None)),
    }
}

fn own_page(app: &App, after: Option<Uuid>, limit: usize) -> (Vec<Connection>, Option<End>) {
    let (connections, next) = app.clients.page(after, limit);
    (connections, next.map(End::Client))
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
