//! What the events of one source type have in common, made once: equal headers share one list in memory and in a batch.

use crate::event::Event;
use crate::namespace::{Namespace, Namespaces};
use crate::record::Headers;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most source types that are remembered.
const SOURCE_TYPES_MAX: usize = 1024;

/// Where events of a source type go, and with which headers.
#[derive(Debug)]
pub(super) struct Route {
    pub source_type: String,
    pub namespace: Arc<Namespace>,
    pub headers: Headers,
}

/// A bounded cache of routes by source type.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<BTreeMap<String, Arc<Route>>>);

impl Routes {
    /// The route of events of `source_type`.
    pub(super) fn of(&self, source_type: &str, namespaces: &Namespaces) -> Arc<Route> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = known.get(source_type) {
            return route.clone();
        }
        if known.len() >= SOURCE_TYPES_MAX {
            known.clear();
        }
        let namespace = namespaces.of_source_type(source_type).clone();
        let (source_type, headers) = (source_type.to_owned(), Event::headers(source_type));
        let route = Arc::new(Route { source_type, namespace, headers });
        known.insert(route.source_type.clone(), route.clone());
        route
    }
}
