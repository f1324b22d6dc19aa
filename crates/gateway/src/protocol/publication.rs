//! Publications: events, announcements and messages as clients of this protocol get them.
//!
//! ```text
//! channel  {"data":…,"tags":{…},"offset":N}                                  encoded once per event
//! pattern  {"offset":N,"epoch":"…",  +  "data":…,"tags":{…},"channel":"…"}   the second part once per event
//! live     {"data":…}                                                        no position; encoded once per item
//! ```
//! `data` is the whole event object in the namespace `events`, and the event's bare `data` elsewhere. `tags` hold its
//! id, type and position.

use super::command::Position;
use crate::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dualstream_core::event::codec::push_string;
use dualstream_core::hub::{Entry, Live, Slot};
use dualstream_core::namespace::EVENTS;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::Write;

/// Appends an event of a single channel.
pub fn push_event(out: &mut Vec<u8>, entry: &Entry) {
    out.extend_from_slice(entry.frame(Slot::Json, |entry| {
        let mut frame = b"{".to_vec();
        push_body(&mut frame, entry);
        let _ = write!(frame, ",\"offset\":{}}}", entry.position.offset.saturating_add(1));
        Bytes::from(frame)
    }));
}

/// Appends an event of a pattern, with the place after it.
pub fn push_event_of_pattern(out: &mut Vec<u8>, entry: &Entry, place: &Position) {
    let Position { offset, epoch } = place;
    let _ = write!(out, "{{\"offset\":{offset},\"epoch\":\"{epoch}\",");
    out.extend_from_slice(entry.frame(Slot::JsonPattern, |entry| {
        let mut frame = Vec::new();
        push_body(&mut frame, entry);
        push_channel(&mut frame, &entry.channel);
        Bytes::from(frame)
    }));
}

/// Appends a live item of a single channel.
pub fn push_live(out: &mut Vec<u8>, live: &Live) {
    out.extend_from_slice(live.frame(Slot::Json, |live| {
        let mut frame = Vec::with_capacity(live.payload.len() + 9);
        push_payload(&mut frame, &live.payload);
        frame.push(b'}');
        Bytes::from(frame)
    }));
}

/// Appends a live item of a pattern.
pub fn push_live_of_pattern(out: &mut Vec<u8>, live: &Live) {
    out.extend_from_slice(live.frame(Slot::JsonPattern, |live| {
        let mut frame = Vec::with_capacity(live.payload.len() + live.channel.len() + 22);
        push_payload(&mut frame, &live.payload);
        push_channel(&mut frame, &live.channel);
        Bytes::from(frame)
    }));
}

/// `{"data":…`
fn push_payload(out: &mut Vec<u8>, payload: &Bytes) {
    out.extend_from_slice(b"{\"data\":");
    match json::check(payload) {
        Ok(value) => out.extend_from_slice(&value.compact(payload)),
        // The bus is open to all who can reach it: what is no JSON must not break the frame.
        Err(_) => {
            let _ = write!(out, "{{\"base64\":\"{}\"}}", STANDARD.encode(payload));
        }
    }
}

/// `"data":…,"tags":{…}`
fn push_body(out: &mut Vec<u8>, entry: &Entry) {
    let wire = &entry.wire;
    out.extend_from_slice(b"\"data\":");
    match is_whole(&entry.channel) {
        true => out.extend_from_slice(&wire.json),
        false => out.extend_from_slice(data_of(&wire.json)),
    }
    let mut tags = String::from(",\"tags\":{\"id\":");
    push_string(&mut tags, &wire.id);
    tags.push_str(",\"type\":");
    push_string(&mut tags, &wire.event_type);
    out.extend_from_slice(tags.as_bytes());
    let _ = write!(out, ",\"position\":\"{}\"}}", entry.position);
}

fn push_channel(out: &mut Vec<u8>, channel: &str) {
    let mut text = String::from(",\"channel\":");
    push_string(&mut text, channel);
    text.push('}');
    out.extend_from_slice(text.as_bytes());
}

fn is_whole(channel: &str) -> bool {
    channel.split_once(':').is_none_or(|(namespace, _)| namespace == EVENTS)
}

/// The member `data` of an event object that this server made.
fn data_of(event: &[u8]) -> &[u8] {
    let members = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(event).unwrap_or_default();
    members.get("data").map_or(b"null", |data| data.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::position;
    use dualstream_core::record::{Headers, Record};
    use dualstream_core::topic::Epoch;
    use std::sync::Arc;

    fn entry(channel: &str) -> Entry {
        let value = r#"{"id":"i\"1","type":"push","time":"t","data":{"a":1}}"#;
        let record = Record {
            partition: 3,
            offset: 7,
            append_time_ms: 0,
            timestamp_ms: 0,
            key: Some(Bytes::from_static(b"x")),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: Headers::default(),
        };
        let position = position::Position { epoch: Epoch(1), partition: 3, offset: 7 };
        Entry::new(position, Arc::from(channel), record)
    }

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_are_whole_in_events_and_bare_elsewhere() {
        let place = Position { offset: 42, epoch: "TOKEN".into() };
        let bare = entry("chat:x");
        let position = bare.position;
        let tags = format!(r#""tags":{{"id":"i\"1","type":"push","position":"{position}"}}"#);
        assert_eq!(text(|out| push_event(out, &bare)), format!(r#"{{"data":{{"a":1}},{tags},"offset":8}}"#));
        let pattern =
            format!(r#"{{"offset":42,"epoch":"TOKEN","data":{{"a":1}},{tags},"channel":"chat:x"}}"#);
        assert_eq!(text(|out| push_event_of_pattern(out, &bare, &place)), pattern);
        let whole = entry("events:repo:x");
        let json = String::from_utf8(whole.wire.json.to_vec()).unwrap();
        assert!(json.contains(r#""source_id":"x""#) && json.contains(r#""data":{"a":1}"#));
        assert_eq!(text(|out| push_event(out, &whole)), format!(r#"{{"data":{json},{tags},"offset":8}}"#));
    }

    #[test]
    fn whatever_a_bus_carries_stays_one_line_of_json() {
        let item = |payload: &'static [u8]| Live::new(Arc::from("ai:1"), Bytes::from_static(payload));
        let live = |payload| text(|out| push_live(out, &item(payload)));
        let pattern = |payload| text(|out| push_live_of_pattern(out, &item(payload)));
        assert_eq!(live(b"{\n\"a\" : 1}"), r#"{"data":{"a":1}}"#);
        assert_eq!(pattern(b"\"x\""), r#"{"data":"x","channel":"ai:1"}"#);
        assert_eq!(live(b"}}\n{"), r#"{"data":{"base64":"fX0Kew=="}}"#);
    }

    #[test]
    fn a_live_item_is_encoded_once_for_all() {
        let live = Live::new(Arc::from("ai:1"), Bytes::from_static(b"{ \"a\": 1 }"));
        let first = text(|out| push_live(out, &live));
        let kept = live.frame(Slot::Json, |_| unreachable!("it was made already"));
        assert_eq!((first.as_bytes(), text(|out| push_live(out, &live))), (&kept[..], first.clone()));
    }
}
