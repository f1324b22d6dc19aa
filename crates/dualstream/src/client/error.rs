//! What can go wrong with a request, and whether trying again may help.

use serde::Deserialize;
use std::time::Duration;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke: nothing is known about what the server did.
    #[error("no answer from http://{authority}")]
    Unreachable {
        /// The server.
        authority: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with an error.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer is not what this client knows.
    #[error("the answer of http://{authority} is not understood: {reason}")]
    Strange {
        /// The server.
        authority: String,
        /// What is odd about it.
        reason: String,
    },
}

/// An error answer (RFC 9457 with the server's own fields).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// HTTP status.
    #[serde(skip)]
    pub http_status: u16,
    /// How long to wait before trying again, where the server says so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Stable word.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Which field or parameter it is about.
    pub field: Option<Box<str>>,
    /// How to get what was wanted all the same.
    pub mend: Option<Box<str>>,
    /// Which element of an array it is about, from 0.
    pub index: Option<usize>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refusal { http_status, code, message, .. } = self;
        if code.is_empty() {
            return write!(f, "the server answered with status {http_status}");
        }
        match self.field.as_deref().filter(|field| !message.contains(field)) {
            Some(field) => write!(f, "{field}: {message} ({code}, status {http_status})")?,
            None => write!(f, "{message} ({code}, status {http_status})")?,
        }
        self.mend.as_deref().map_or(Ok(()), |mend| write!(f, "\nhelp: {mend}"))
    }
}

impl Error {
    /// Whether the same request may succeed later. Only for requests that may be repeated.
    pub fn is_temporary(&self) -> bool {
        match self {
            Error::Unreachable { .. } => true,
            Error::Refused(refusal) => matches!(refusal.http_status, 429 | 502 | 503 | 504 | 507),
            Error::Strange { .. } => false,
        }
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}
