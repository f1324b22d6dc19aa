//! Errors of the storage as errors of the log.

use dualstream_core::{Error, ErrorKind};
use std::io;

/// An input/output error met while trying to `what`.
pub(crate) fn storage(what: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::new(ErrorKind::Full, "storage_full", "no space is left for the log; nothing was stored")
                .with_source(error)
        }
        _ => Error::new(ErrorKind::Unavailable, "storage_error", format!("could not {what}"))
            .with_source(error),
    }
}

/// No topic of that name.
pub(crate) fn unknown_topic(name: &dualstream_core::topic::TopicName) -> Error {
    Error::new(ErrorKind::NotFound, "unknown_topic", format!("there is no topic '{name}'"))
        .with_field("topic")
}
