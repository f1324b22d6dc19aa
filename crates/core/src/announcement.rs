//! What the bus carries for a stored event: never the payload, only where it stands.

use crate::event::codec::push_string;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;

/// `{"id","type","source_id","position"}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Announcement<'a> {
    /// The event's id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Its type.
    #[serde(borrow, rename = "type")]
    pub event_type: Cow<'a, str>,
    /// Its source.
    #[serde(borrow)]
    pub source_id: Cow<'a, str>,
    /// Its [position](crate::position::Position) as text.
    #[serde(borrow)]
    pub position: Cow<'a, str>,
}

impl<'a> Announcement<'a> {
    /// Its JSON text.
    pub fn encode(&self) -> Bytes {
        let mut out = String::with_capacity(160);
        for (name, value) in [
            ("{\"id\":", &self.id),
            (",\"type\":", &self.event_type),
            (",\"source_id\":", &self.source_id),
            (",\"position\":", &self.position),
        ] {
            out.push_str(name);
            push_string(&mut out, value);
        }
        out.push('}');
        Bytes::from(out)
    }

    /// Reads one; `None` if `payload` is something else (the bus is not trusted).
    pub fn parse(payload: &'a [u8]) -> Option<Announcement<'a>> {
        serde_json::from_slice(payload).ok()
    }
}
