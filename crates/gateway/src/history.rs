//! `GET …/events`: pages of what a channel or pattern holds, and single events by position.

use crate::app::App;
use crate::query::Query;
use crate::{Problem, routes, since};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dualstream_core::channel::Target;
use dualstream_core::event::{CONTENT_TYPE as CLOUDEVENT, codec};
use dualstream_core::hub::{Entry, HISTORY_LIMIT_MAX, History, HistoryPage, Since};
use dualstream_core::position::{Position, Resume};
use dualstream_core::{Error, ErrorKind};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use std::fmt::Write;
use std::sync::Arc;

/// Events of a page when `limit` is not given.
const LIMIT_DEFAULT: usize = 100;

pub(crate) async fn of_channel(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = Query::new(request.uri(), &["since", "limit", "reverse"])?;
    page(&app, &routes::parameter(request.uri().path())?, &query).await
}

pub(crate) async fn of_query(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = Query::new(request.uri(), &["channel", "since", "limit", "reverse"])?;
    let missing = || Error::invalid("missing_parameter", "channel", "name a channel or pattern: ?channel=");
    let channel = query.one("channel")?.ok_or_else(missing)?;
    page(&app, channel, &query).await
}

async fn page(app: &App, channel: &str, query: &Query) -> Result<Response, Problem> {
    let target = Target::parse(channel)?;
    let reverse = query.word("reverse", &[("true", true), ("false", false)])?.unwrap_or(false);
    let limit = query.count("limit", HISTORY_LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let since = match query.one("since")? {
        Some(text) => since::parse(text)?,
        None if reverse => Since::Latest,
        None => Since::Earliest,
    };
    let found = app.hub.history(History { target: target.clone(), since, limit, reverse }).await;
    match found {
        Ok(page) => Ok(json(print(&page))),
        Err(error) if error.code() == "position_from_future" => {
            let message = "the position lies past the end of the log";
            Err(unrecoverable(message.to_owned(), "since", app.hub.ends(&target)?))
        }
        Err(error) if error.kind() == ErrorKind::Gone => {
            Err(unrecoverable(error.message().to_owned(), "since", app.hub.ends(&target)?))
        }
        Err(error) => Err(error.into()),
    }
}

/// A position that cannot be had any more comes with what can.
fn unrecoverable(message: String, field: &'static str, (earliest, latest): (Resume, Resume)) -> Problem {
    Problem::http(StatusCode::GONE, "position_unrecoverable", message)
        .with_field(field)
        .with("earliest", earliest.to_string())
        .with("latest", latest.to_string())
}

fn print(page: &HistoryPage) -> String {
    let bytes: usize = page.entries.iter().map(|entry| entry.wire.json.len() + 1).sum();
    let mut out = String::with_capacity(bytes + 400);
    for (index, entry) in page.entries.iter().enumerate() {
        out.push_str(if index == 0 { "{\"events\":[" } else { "," });
        out.push_str(&String::from_utf8_lossy(&entry.wire.json));
    }
    out.push_str(if page.entries.is_empty() { "{\"events\":[]" } else { "]" });
    match &page.next {
        Some(next) => drop(write!(out, ",\"next\":\"{next}\"")),
        None => out.push_str(",\"next\":null"),
    }
    let _ = write!(out, ",\"earliest\":\"{}\",\"latest\":\"{}\"", page.earliest, page.latest);
    for (index, gap) in page.gaps.iter().enumerate() {
        out.push_str(if index == 0 { ",\"gaps\":[" } else { "," });
        let (from, to, after, records) = (gap.from, gap.until, gap.after, gap.records());
        let _ = write!(out, "{{\"from\":\"{from}\",\"to\":\"{to}\",\"partition\":{},", from.partition);
        let _ = write!(out, "\"offset\":{},\"records\":{records},\"after\":{after}}}", from.offset);
    }
    out.push_str(if page.gaps.is_empty() { "}" } else { "]}" });
    out
}

pub(crate) async fn one(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    Query::new(request.uri(), &[])?;
    let position: Position = routes::parameter(request.uri().path())?.parse()?;
    let entry = match app.hub.event(position).await {
        Ok(entry) => entry,
        Err(error) if error.kind() == ErrorKind::Gone => {
            return Err(unrecoverable(error.message().to_owned(), "position", app.hub.ends_near(position)));
        }
        Err(error) => return Err(error.into()),
    };
    match wants_cloudevent(request.headers()) {
        false => Ok(json(entry.wire.json.clone())),
        true => cloudevent(&entry),
    }
}

fn wants_cloudevent(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(CLOUDEVENT))
    })
}

/// The stored form of an event is a CloudEvent.
fn cloudevent(entry: &Entry) -> Result<Response, Problem> {
    match &entry.record().value {
        Some(value) if codec::parse(value).is_some() => {
            Ok(([(CONTENT_TYPE, CLOUDEVENT)], value.clone()).into_response())
        }
        _ => {
            let message = "this record is no event, and so no CloudEvent";
            Err(Problem::http(StatusCode::NOT_ACCEPTABLE, "not_a_cloudevent", message).with_field("accept"))
        }
    }
}

fn json(body: impl Into<axum::body::Body>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (headers, body.into()).into_response()
}
