//! `POST /v1/events`: one event, an array, NDJSON, CloudEvents.

use crate::app::App;
use crate::inflow::Inflow;
use crate::json::{self, Value};
use crate::media_type::{self, Form};
use crate::query::Query;
use crate::receipt::{push_outcome, push_receipt};
use crate::{Problem, cloudevent, ingest, plain_event};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dualstream_core::event::{Data, EVENT_BYTES_MAX, Event};
use dualstream_core::publisher::{Failure, Receipt};
use dualstream_core::record::Headers;
use dualstream_core::{Error, ErrorKind};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// Most events of an array.
pub const ARRAY_EVENTS_MAX: usize = 1_000;
/// Bytes an event's record may have beside its payload; smaller payloads need no exact count.
const ENVELOPE_BYTES_MAX: usize = 16 << 10;

pub(crate) async fn publish(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let form = media_type::form(request.headers())?;
    let query = Query::new(request.uri(), &["results"])?;
    let is_streaming = query.word("results", &[("stream", ())])?.is_some();
    let (parts, body) = request.into_parts();
    let inflow = Inflow::new(body, &app.settings);
    if form == Form::Lines {
        return ingest::answer(app, inflow, is_streaming).await;
    }
    let (body, _budget) = app.body(inflow, app.settings.body_bytes_max).await?;
    match decode(form, &parts.headers, &body)? {
        Decoded::One(event) => one(&app, *event).await,
        Decoded::Many(events) => many(&app, events).await,
    }
}

/// The events of a body that was read whole.
pub(crate) enum Decoded {
    /// An event alone: it is answered by itself.
    One(Box<Event>),
    /// An array, each of it checked.
    Many(Vec<Event>),
}

/// Decodes a body of any form but lines.
///
/// # Errors
/// What is wrong with it; of an array with the `index` of the element.
pub(crate) fn decode(form: Form, headers: &HeaderMap, body: &Bytes) -> Result<Decoded, Problem> {
    let one = |event| Ok(Decoded::One(Box::new(event)));
    match form {
        Form::Binary => one(cloudevent::decode_binary(headers, body)?),
        Form::CloudEvent => one(cloudevent::decode(body)?),
        Form::CloudEvents => elements(body, cloudevent::decode_element).map(Decoded::Many),
        _ if json::first_byte(body) == Some(b'[') => {
            elements(body, |e, whole| Ok(plain_event::decode_element(e, whole)?)).map(Decoded::Many)
        }
        _ => one(plain_event::decode(body)?),
    }
}

async fn one(app: &App, event: Event) -> Result<Response, Problem> {
    let outcome = app.publisher.publish(vec![event]).await.pop();
    outcome.unwrap_or_else(|| Err(no_outcome())).map(|receipt| created(&receipt)).map_err(Problem::from)
}

/// 201 with the receipt of a stored event.
pub(crate) fn created(receipt: &Receipt) -> Response {
    let mut body = String::with_capacity(200);
    body.push('{');
    push_receipt(&mut body, receipt);
    body.push('}');
    let location = format!("/v1/events/{}", receipt.position);
    let headers = [(CONTENT_TYPE, "application/json"), (LOCATION, location.as_str())];
    (StatusCode::CREATED, headers, body).into_response()
}

/// Decodes an array and checks all of it, before anything of it is stored.
fn elements(
    body: &Bytes,
    decode: impl Fn(Value<'_>, &Bytes) -> Result<Event, Problem>,
) -> Result<Vec<Event>, Problem> {
    let elements = json::array(body).map_err(|(index, error)| Problem::from(error).at_index(index))?;
    if elements.len() > ARRAY_EVENTS_MAX {
        let message =
            format!("an array has at most {ARRAY_EVENTS_MAX} events; use application/x-ndjson for more");
        let error = Error::new(ErrorKind::Invalid, "too_many_events", message);
        return Err(Problem::from(error.with_limit(ARRAY_EVENTS_MAX as u64)).at_index(ARRAY_EVENTS_MAX));
    }
    let checked = elements.into_iter().enumerate().map(|(index, element)| {
        let event = decode(element, body).and_then(|event| match check(&event) {
            Ok(()) => Ok(event),
            Err(error) => Err(Problem::from(error)),
        });
        event.map_err(|problem| problem.at_index(index))
    });
    checked.collect()
}

/// Everything that can be wrong with an event by itself.
fn check(event: &Event) -> Result<(), Error> {
    event.check()?;
    let payload = match &event.data {
        Data::Absent => 0,
        Data::Json(text) | Data::Base64 { text, .. } => text.len(),
    };
    let further: usize = event.extensions.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if payload + further > EVENT_BYTES_MAX - ENVELOPE_BYTES_MAX {
        let id = event.id.clone().unwrap_or_else(|| "0".repeat(36));
        let time = event.time.clone().unwrap_or_else(|| "0".repeat(24));
        event.clone().into_record(&id, &time, Headers::default())?;
    }
    Ok(())
}

/// 201 when all are stored; the one problem when all have it; else 207 with one outcome per event.
async fn many(app: &App, events: Vec<Event>) -> Result<Response, Problem> {
    let outcomes = app.publisher.publish(events).await;
    let is_one_problem = |problem: &Problem| {
        let same = |outcome: &Result<Receipt, Failure>| {
            outcome.as_ref().is_err_and(|f| Problem::from(f.clone()).status() == problem.status())
        };
        // Ids that the server made are in the outcomes only, and a retry needs them.
        problem.status() != StatusCode::GATEWAY_TIMEOUT && outcomes.iter().all(same)
    };
    if let Some(Err(first)) = outcomes.first() {
        let problem = Problem::from(first.clone());
        if is_one_problem(&problem) {
            return Err(problem.at_index(0));
        }
    }
    let all_stored = outcomes.iter().all(Result::is_ok);
    let mut body = String::with_capacity(outcomes.len() * 250);
    for (index, outcome) in outcomes.into_iter().enumerate() {
        body.push_str(if index == 0 { "[{" } else { ",{" });
        push_outcome(&mut body, outcome);
        body.push('}');
    }
    body.push_str(if body.is_empty() { "[]" } else { "]" });
    let status = if all_stored { StatusCode::CREATED } else { StatusCode::MULTI_STATUS };
    Ok((status, [(CONTENT_TYPE, "application/json")], Body::from(body)).into_response())
}

/// The publisher answers every event; if it did not, nobody knows what became of this one.
pub(crate) fn no_outcome() -> Failure {
    Failure { id: None, error: Error::new(ErrorKind::Unknown, "outcome_unknown", "the outcome is not known") }
}
