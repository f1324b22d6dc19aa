//! The headers of events, made once per source type: equal headers share one list in memory and in a batch.

use crate::event::Event;
use crate::record::Headers;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Most source types that are remembered.
const SOURCE_TYPES_MAX: usize = 1024;

/// A bounded cache of headers by source type.
#[derive(Debug, Default)]
pub(super) struct HeadersCache(Mutex<BTreeMap<String, Headers>>);

impl HeadersCache {
    /// The headers of an event of `source_type`.
    pub(super) fn of(&self, source_type: &str) -> Headers {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(headers) = known.get(source_type) {
            return headers.clone();
        }
        if known.len() >= SOURCE_TYPES_MAX {
            known.clear();
        }
        let headers = Event::headers(source_type);
        known.insert(source_type.to_owned(), headers.clone());
        headers
    }
}
