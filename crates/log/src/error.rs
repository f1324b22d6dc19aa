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

/// A sync failed, for whatever reason: what it should have made durable may be lost, also if the disk was only full,
/// and another try may succeed all the same.
#[derive(Debug)]
struct SyncFailed(io::Error);

impl std::fmt::Display for SyncFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a sync failed")
    }
}

impl std::error::Error for SyncFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// The error of a sync, so marked that nobody takes it for one after which to try again.
pub(crate) fn sync_failed(error: io::Error) -> io::Error {
    io::Error::other(SyncFailed(error))
}

/// Whether a sync failed.
pub(crate) fn is_sync_failed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<SyncFailed>())
}
