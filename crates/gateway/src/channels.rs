//! `GET /v1/channels`: which channels there are.

use crate::Problem;
use crate::app::App;
use crate::query::Query;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dualstream_core::channels::{LIMIT_MAX, List, Page};
use dualstream_core::event::codec::push_string;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::fmt::Write;
use std::sync::Arc;

/// Channels of a page when `limit` is not given.
const LIMIT_DEFAULT: usize = 100;

pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = Query::new(request.uri(), &["prefix", "after", "limit"])?;
    let list = List {
        prefix: query.one("prefix")?.unwrap_or_default().to_owned(),
        after: query.one("after")?.map(str::to_owned),
        limit: query.count("limit", LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT),
    };
    let page = app.operations.channels.list(&list).await?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, print(&page)).into_response())
}

fn print(page: &Page) -> String {
    let mut out = String::from("{\"channels\":[");
    for (index, listed) in page.channels.iter().enumerate() {
        out.push_str(if index == 0 { "{\"channel\":" } else { ",{\"channel\":" });
        push_string(&mut out, &listed.channel);
        let _ = write!(out, ",\"subscribers\":{}}}", listed.subscribers);
    }
    out.push_str("],\"next\":");
    match &page.next {
        Some(next) => push_string(&mut out, next),
        None => out.push_str("null"),
    }
    out.push('}');
    out
}
