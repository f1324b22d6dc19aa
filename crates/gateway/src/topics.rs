//! `/v1/topics…`: administers topics. What may be done is decided by [`TopicAdmin`], here it only gets its form.
//!
//! [`TopicAdmin`]: dualstream_core::topic_admin::TopicAdmin

use crate::app::App;
use crate::inflow::Inflow;
use crate::query::Query;
use crate::topic_json::{decode_alteration, decode_before, decode_spec, push_ends, push_topic};
use crate::{Problem, media_type, routes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dualstream_core::topic::TopicName;
use dualstream_core::topic_admin::TopicStatus;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use std::fmt::Write;
use std::sync::Arc;

/// `GET /v1/topics`.
pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = Query::new(request.uri(), &["internal"])?;
    let with_internal = query.word("internal", &[("true", true), ("false", false)])?.unwrap_or(false);
    let mut body = String::from("{\"topics\":[");
    let all = app.operations.topics.list().await?;
    let shown = all.iter().filter(|status| with_internal || !status.info.spec.name.is_internal());
    for (index, status) in shown.enumerate() {
        body.push_str(if index == 0 { "{" } else { ",{" });
        push_topic(&mut body, status);
        body.push('}');
    }
    Ok(json(StatusCode::OK, body + "]}"))
}

/// `GET /v1/topics/{topic}`.
pub(crate) async fn describe(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    Query::new(request.uri(), &[])?;
    let status = app.operations.topics.describe(named(&request)?).await?;
    Ok(json(StatusCode::OK, described(&status) + "}"))
}

/// `POST /v1/topics`.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    Query::new(request.uri(), &[])?;
    let spec = decode_spec(&body(&app, request).await?)?;
    let created = app.operations.topics.create(spec).await;
    let status = created.map_err(|error| match error.field() {
        Some("topic") => error.with_field("name"),
        _ => error,
    })?;
    let location = format!("/v1/topics/{}", status.info.spec.name);
    Ok(([(LOCATION, location)], json(StatusCode::CREATED, described(&status) + "}")).into_response())
}

/// `PATCH /v1/topics/{topic}`.
pub(crate) async fn alter(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let is_forced = forced(&request)?;
    let name = named(&request)?;
    let change = decode_alteration(&body(&app, request).await?)?;
    let keeps_till_start = change.retention_ms.is_some() || change.retention_bytes.is_some();
    let status = app.operations.topics.alter(name, change, is_forced).await?;
    let mut body = described(&status);
    // Over Kafka, which tells no sizes, the settings apply only to topics that are made.
    let is_set_at_start = status.info.bytes.is_some() && !status.namespaces.is_empty();
    if keeps_till_start && is_set_at_start {
        body.push_str(
            ",\"warning\":\"a namespace stores into this topic: at the next start it gets the retention of the \
             settings again (log.retention, log.retention_bytes)\"",
        );
    }
    Ok(json(StatusCode::OK, body + "}"))
}

/// `DELETE /v1/topics/{topic}`.
pub(crate) async fn delete(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let is_forced = forced(&request)?;
    app.operations.topics.delete(named(&request)?, is_forced).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/topics/{topic}/trim`.
pub(crate) async fn trim(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    Query::new(request.uri(), &[])?;
    let name = named(&request)?;
    let before = decode_before(&body(&app, request).await?)?;
    let (status, gone) = app.operations.topics.trim(name, before).await?;
    let mut body = described(&status);
    let _ = write!(body, ",\"trimmed\":{gone}}}");
    Ok(json(StatusCode::OK, body))
}

fn named(request: &Request) -> Result<TopicName, Problem> {
    Ok(TopicName::new(&routes::parameter(request.uri().path())?)?)
}

fn forced(request: &Request) -> Result<bool, Problem> {
    let query = Query::new(request.uri(), &["force"])?;
    Ok(query.word("force", &[("true", true), ("false", false)])?.unwrap_or(false))
}

async fn body(app: &App, request: Request) -> Result<Bytes, Problem> {
    media_type::require_json(request.headers())?;
    let (body, _budget) =
        app.body(Inflow::new(request.into_body(), &app.settings), app.settings.body_bytes_max).await?;
    Ok(body)
}

/// All there is to say of a topic, still open for more members.
fn described(status: &TopicStatus) -> String {
    let mut body = String::from("{");
    push_topic(&mut body, status);
    push_ends(&mut body, status);
    body
}

fn json(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
