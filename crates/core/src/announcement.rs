//! What the bus carries for a stored event: never the payload, only where it stands.

use crate::event::codec::push_string;
use crate::position::Position;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write;

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
        let Unplaced(mut out) = Unplaced::new(&self.id, &self.event_type, &self.source_id);
        push_string(&mut out, &self.position);
        ended(out)
    }

    /// Reads one; `None` if `payload` is something else (the bus is not trusted).
    pub fn parse(payload: &'a [u8]) -> Option<Announcement<'a>> {
        serde_json::from_slice(payload).ok()
    }
}

/// An announcement of an event that does not stand anywhere yet: its JSON text up to the position.
#[derive(Clone, Debug)]
pub struct Unplaced(String);

impl Unplaced {
    /// Of an event.
    pub fn new(id: &str, event_type: &str, source_id: &str) -> Unplaced {
        let mut out = String::with_capacity(ROOM + id.len() + event_type.len() + source_id.len());
        for (name, value) in [("{\"id\":", id), (",\"type\":", event_type), (",\"source_id\":", source_id)] {
            out.push_str(name);
            push_string(&mut out, value);
        }
        out.push_str(",\"position\":");
        Unplaced(out)
    }

    /// The whole announcement, once it is known where the event stands.
    pub fn at(self, position: Position) -> Bytes {
        let Unplaced(mut out) = self;
        // Writing to memory does not fail; the text of a position has nothing to escape.
        let _ = write!(out, "\"{position}\"");
        ended(out)
    }
}

/// The names of the members, and a position.
const ROOM: usize = 100;

fn ended(mut out: String) -> Bytes {
    out.push('}');
    // As long as its memory it is taken over as it is.
    out.shrink_to_fit();
    Bytes::from(out)
}
