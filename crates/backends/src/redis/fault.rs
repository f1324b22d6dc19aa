//! What the client says is wrong, in the words of dualstream.

use dualstream_core::{Error, ErrorKind};
use redis::RedisError;
use std::error::Error as _;
use std::fmt::Display;

/// An error of a server, with where it stands and why.
pub(super) fn at(place: impl Display, error: &RedisError) -> Error {
    let message = format!("Redis at {place}: {}", reason(error));
    let (kind, code) = match is_refusal(error) {
        true => (ErrorKind::Denied, "redis_denied"),
        false => (ErrorKind::Unavailable, "redis_unavailable"),
    };
    Error::new(kind, code, message).with_source(error.clone())
}

/// Whether the server knows who asks and does not let them: asking again changes nothing.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "NOPERM" | "WRONGPASS"))
}

/// Whether it is another server of a Cluster that serves this slot, or will be.
pub(super) fn is_elsewhere(error: &RedisError) -> bool {
    matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN"))
}

/// Why, in a few words.
pub(super) fn reason(error: &RedisError) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    if error.is_connection_refusal() {
        return "connection refused".to_owned();
    }
    if error.is_connection_dropped() {
        return "the connection was lost".to_owned();
    }
    match (error.code(), error.detail(), error.source()) {
        (Some(code), Some(detail), _) => format!("{code} {detail}"),
        (_, _, Some(cause)) => cause.to_string(),
        _ => error.to_string(),
    }
}
