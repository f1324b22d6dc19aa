//! What went wrong, as `application/problem+json` (RFC 9457): the one table from error kinds to HTTP statuses.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use dualstream_core::event::codec::push_string;
use dualstream_core::publisher::Failure;
use dualstream_core::{Error, ErrorKind};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use std::borrow::Cow;
use std::fmt::Write;

/// Seconds a client is told to wait after 429 and 503.
const RETRY_AFTER_S: &str = "1";

/// An answer that is not what was asked for. Says nothing about the inside of the server.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    limit: Option<u64>,
    retryable: bool,
    /// Further members: name and value.
    further: Vec<(&'static str, Member)>,
    closes: bool,
}

#[derive(Clone, Debug)]
enum Member {
    Number(u64),
    Text(String),
}

/// HTTP status of an error kind, and whether the same request may succeed later. The only such table.
fn status_of(kind: ErrorKind) -> (StatusCode, bool) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, false),
        ErrorKind::Denied => (StatusCode::FORBIDDEN, false),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, false),
        ErrorKind::Gone => (StatusCode::GONE, false),
        ErrorKind::Conflict => (StatusCode::CONFLICT, false),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, false),
        ErrorKind::Limited => (StatusCode::TOO_MANY_REQUESTS, true),
        ErrorKind::Full => (StatusCode::INSUFFICIENT_STORAGE, true),
        ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::Fenced | ErrorKind::Closed => {
            (StatusCode::SERVICE_UNAVAILABLE, true)
        }
        ErrorKind::Unknown => (StatusCode::GATEWAY_TIMEOUT, true),
        ErrorKind::Corrupt | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, false),
    }
}

impl Problem {
    /// A problem of HTTP itself, which no error kind stands for.
    pub fn http(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Problem {
        Problem {
            status,
            code,
            message: message.into(),
            field: None,
            limit: None,
            retryable: status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS,
            further: Vec::new(),
            closes: false,
        }
    }

    /// Names the limit that was passed.
    pub fn with_limit(mut self, limit: u64) -> Problem {
        self.limit = Some(limit);
        self
    }

    /// Names the field, header or parameter that is wrong.
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Problem {
        self.field = Some(field.into());
        self
    }

    /// Says which element of the request it is about.
    pub fn at_index(self, index: usize) -> Problem {
        self.with_count("index", index as u64)
    }

    /// Adds a member that is a number.
    pub fn with_count(mut self, name: &'static str, count: u64) -> Problem {
        self.further.push((name, Member::Number(count)));
        self
    }

    /// Adds a member.
    pub fn with(mut self, name: &'static str, text: impl Into<String>) -> Problem {
        self.further.push((name, Member::Text(text.into())));
        self
    }

    /// Closes the connection after the answer: what follows on it is not trusted, or not wanted.
    pub fn closing(mut self) -> Problem {
        self.closes = true;
        self
    }

    /// The stable word.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The members of the JSON object, without its braces.
    pub fn members(&self) -> String {
        let mut out = String::with_capacity(200);
        let _ = write!(out, "\"status\":{},\"code\":\"{}\",\"message\":", self.status.as_u16(), self.code);
        push_string(&mut out, &self.message);
        if let Some(field) = &self.field {
            out.push_str(",\"field\":");
            push_string(&mut out, field);
        }
        if let Some(limit) = self.limit {
            let _ = write!(out, ",\"limit\":{limit}");
        }
        let _ = write!(out, ",\"retryable\":{}", self.retryable);
        for (name, member) in &self.further {
            let _ = write!(out, ",\"{name}\":");
            match member {
                Member::Number(number) => drop(write!(out, "{number}")),
                Member::Text(text) => push_string(&mut out, text),
            }
        }
        out
    }

    /// The whole answer to the request of that id.
    pub fn render(self, request_id: &str) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = format!("{{\"title\":\"{title}\",{},\"request_id\":\"{request_id}\"}}", self.members());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE || self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let (status, retryable) = status_of(error.kind());
        let message = match error.kind() {
            ErrorKind::Internal => Cow::Borrowed("something went wrong inside the server"),
            _ => Cow::Owned(error.message().to_owned()),
        };
        let mend = error.mend().map(|mend| ("mend", Member::Text(mend.to_owned())));
        Problem {
            further: mend.into_iter().collect(),
            field: error.field().map(|field| Cow::Owned(field.to_owned())),
            limit: error.limit(),
            retryable,
            ..Problem::http(status, error.code(), message)
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let problem = Problem::from(failure.error);
        match failure.id {
            Some(id) => problem.with("id", id),
            None => problem,
        }
    }
}

/// Handlers return problems; the outermost layer, which knows the id of the request, renders them.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}
