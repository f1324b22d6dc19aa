//! `POST /v1/channels/{channel}/messages`: any JSON on a channel.

use crate::app::App;
use crate::events::created;
use crate::inflow::Inflow;
use crate::query::Query;
use crate::{Problem, json, media_type, routes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dualstream_core::channel::Channel;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::Arc;

pub(crate) async fn send(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    Query::new(request.uri(), &[])?;
    media_type::require_json(request.headers())?;
    let channel = Channel::new(&routes::parameter(request.uri().path())?)?;
    let (body, _budget) =
        app.body(Inflow::new(request.into_body(), &app.settings), app.settings.body_bytes_max).await?;
    let payload = json::check(&body)?.compact(&body);
    match app.publisher.send(&channel, payload).await? {
        Some(receipt) => Ok(created(&receipt)),
        None => Ok((StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], "{}").into_response()),
    }
}
