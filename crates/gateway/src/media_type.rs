//! Which form a request body has, from its headers.

use crate::Problem;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

/// What `POST /v1/events` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`: one event or an array.
    Json,
    /// `application/x-ndjson`: one event a line.
    Lines,
    /// `application/cloudevents+json`.
    CloudEvent,
    /// `application/cloudevents-batch+json`.
    CloudEvents,
    /// `ce-` headers; the body is the data.
    Binary,
}

/// The form of the events in a request.
///
/// # Errors
/// 415 `unsupported_media_type` or `unsupported_content_encoding`.
pub fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    refuse_encoding(headers)?;
    let is_binary = headers.contains_key("ce-specversion") || headers.contains_key("ce-id");
    match essence(headers)?.as_deref() {
        Some("application/cloudevents+json") => Ok(Form::CloudEvent),
        Some("application/cloudevents-batch+json") => Ok(Form::CloudEvents),
        _ if is_binary => Ok(Form::Binary),
        Some("application/json") => Ok(Form::Json),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(Form::Lines),
        _ => Err(unsupported(
            "the Content-Type must be application/json, application/x-ndjson, application/cloudevents+json or \
             application/cloudevents-batch+json",
        )),
    }
}

/// Checks that a request body is JSON.
///
/// # Errors
/// As [`form`].
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    refuse_encoding(headers)?;
    match essence(headers)? {
        Some(essence) if is_json(&essence) => Ok(()),
        _ => Err(unsupported("the Content-Type must be application/json")),
    }
}

/// Whether a media type (lower case, without parameters) is JSON.
pub fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// The media type in lower case without its parameters, of which only `charset=utf-8` is taken.
fn essence(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| all.next().is_none());
    let Some(text) = text else { return Err(unsupported("the Content-Type is not one media type")) };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let charset = parameters.split(';').find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    match charset {
        Some(charset) if is_json(&essence) && !charset.eq_ignore_ascii_case("utf-8") => {
            Err(unsupported("JSON is UTF-8: the charset must be utf-8"))
        }
        _ => Ok(Some(essence)),
    }
}

fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_identity = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        true => Ok(()),
        false => Err(Problem::http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_content_encoding",
            "compressed bodies are not taken: send it without Content-Encoding",
        )
        .with_field("content-encoding")
        .closing()),
    }
}

fn unsupported(message: &'static str) -> Problem {
    Problem::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
        .with_field("content-type")
}
