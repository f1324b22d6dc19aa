//! Events to and from JSON: the CloudEvents form that is stored, and the plain form clients get.
//!
//! ```text
//! stored   {"specversion":"1.0","id":…,"source":"/repo/owner/name","type":…,"time":…,"datacontenttype":…, further…,"data":…}
//! clients  {"id":…,"type":…,"source_type":…,"source_id":…,"time":…,"appended":…,"data":…,"position":…}
//! ```
//! `time` is the publisher's, `appended` the log's own: the time that `since` means.

use super::{Data, Event};
use crate::filter::source_of;
use crate::position::Position;
use crate::record::Record;
use crate::time::format_rfc3339;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;

/// What every stored value written here begins with, up to the id.
const HEAD: &str = r#"{"specversion":"1.0","id":""#;

/// A stored event, borrowed from its record's value.
#[derive(Debug, Deserialize)]
pub struct StoredEvent<'a> {
    /// Its id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Its type.
    #[serde(borrow, rename = "type")]
    pub event_type: Cow<'a, str>,
    /// When it happened.
    #[serde(borrow, default)]
    pub time: Option<Cow<'a, str>>,
    /// Its payload as JSON text.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// Its payload as base64 text, as JSON string text.
    #[serde(borrow, default)]
    pub data_base64: Option<&'a RawValue>,
}

impl StoredEvent<'_> {
    /// Whether type and payload are equal.
    pub fn has_same_body(&self, other: &StoredEvent<'_>) -> bool {
        let text = |raw: Option<&RawValue>| raw.map(|r| r.get().to_owned());
        self.event_type == other.event_type
            && text(self.data) == text(other.data)
            && text(self.data_base64) == text(other.data_base64)
    }
}

/// The CloudEvents JSON of an event.
pub fn encode(event: &Event, id: &str, time: &str) -> Bytes {
    let payload = match &event.data {
        Data::Absent => 0,
        Data::Json(text) | Data::Base64 { text, .. } => text.len(),
    };
    let mut out = String::with_capacity(payload + 200 + event.source_id.len());
    out.push_str(&HEAD[..HEAD.len() - 1]);
    push_string(&mut out, id);
    out.push_str(",\"source\":");
    push_string(&mut out, &format!("/{}/{}", event.source_type, event.source_id));
    out.push_str(",\"type\":");
    push_string(&mut out, &event.event_type);
    out.push_str(",\"time\":");
    push_string(&mut out, time);
    let mut out = push_extensions(out, event).into_bytes();
    match &event.data {
        Data::Absent => {}
        Data::Json(text) => {
            out.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
            out.extend_from_slice(text);
        }
        Data::Base64 { text, content_type } => {
            if let Some(content_type) = content_type {
                let mut field = String::from(",\"datacontenttype\":");
                push_string(&mut field, content_type);
                out.extend_from_slice(field.as_bytes());
            }
            out.extend_from_slice(b",\"data_base64\":\"");
            out.extend_from_slice(text);
            out.push(b'"');
        }
    }
    out.push(b'}');
    Bytes::from(out)
}

fn push_extensions(mut out: String, event: &Event) -> String {
    for (name, value) in &event.extensions {
        let _ = write!(out, ",\"{name}\":{}", String::from_utf8_lossy(value));
    }
    out
}

/// Parses a stored value; `None` if it is not an event.
pub fn parse(value: &[u8]) -> Option<StoredEvent<'_>> {
    serde_json::from_slice(value).ok()
}

/// The id in a stored value, without parsing it whole where it was written by [`encode`].
pub fn id_of(value: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(rest) = value.strip_prefix(HEAD.as_bytes())
        && let Some(end) = rest.iter().take(512).position(|&b| b == b'"' || b == b'\\')
        && rest[end] == b'"'
    {
        return std::str::from_utf8(&rest[..end]).ok().map(Cow::Borrowed);
    }
    parse(value).map(|event| event.id)
}

/// What clients get for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The event's id, or the position of a record that is no event.
    pub id: String,
    /// The event's type; `record` for a record that is no event.
    pub event_type: String,
    /// The whole object as JSON text on one line.
    pub json: Bytes,
}

/// The plain JSON form of a record, for clients. Records that are no events have `type` `record`: a JSON value is
/// their `data`, other bytes `{"base64":…}`, and a tombstone has `"removed":true`.
pub fn wire(record: &Record, position: &Position) -> Wire {
    let position = position.to_string();
    match record.value.as_deref().and_then(parse) {
        Some(event) => wire_event(record, &event, &position),
        None => wire_record(record, position),
    }
}

fn wire_event(record: &Record, event: &StoredEvent<'_>, position: &str) -> Wire {
    let payload = record.value.as_ref().map_or(0, Bytes::len);
    let mut out = String::with_capacity(payload + 200);
    out.push_str("{\"id\":");
    push_string(&mut out, &event.id);
    out.push_str(",\"type\":");
    push_string(&mut out, &event.event_type);
    push_source(&mut out, record);
    out.push_str(",\"time\":");
    match &event.time {
        Some(time) => push_string(&mut out, time),
        None => push_string(&mut out, &format_rfc3339(record.append_time_ms)),
    }
    push_appended(&mut out, record);
    out.push_str(",\"data\":");
    match (event.data, event.data_base64) {
        (Some(data), _) => out.push_str(data.get()),
        (None, Some(text)) => {
            let _ = write!(out, "{{\"base64\":{}}}", text.get());
        }
        (None, None) => out.push_str("null"),
    }
    push_position(&mut out, position);
    Wire {
        id: event.id.clone().into_owned(),
        event_type: event.event_type.clone().into_owned(),
        json: one_line(out),
    }
}

fn wire_record(record: &Record, position: String) -> Wire {
    let mut out = String::from("{\"id\":");
    push_string(&mut out, &position);
    out.push_str(",\"type\":\"record\"");
    push_source(&mut out, record);
    out.push_str(",\"time\":");
    push_string(&mut out, &format_rfc3339(record.timestamp_ms));
    push_appended(&mut out, record);
    match record.value.as_deref() {
        None => out.push_str(",\"removed\":true,\"data\":null"),
        Some(value) => {
            out.push_str(",\"data\":");
            match serde_json::from_slice::<&RawValue>(value) {
                Ok(json) => out.push_str(json.get()),
                Err(_) => {
                    let _ = write!(out, "{{\"base64\":\"{}\"}}", STANDARD.encode(value));
                }
            }
        }
    }
    push_position(&mut out, &position);
    Wire { id: position, event_type: "record".into(), json: one_line(out) }
}

fn push_source(out: &mut String, record: &Record) {
    let (source_type, source_id) = match source_of(&record.headers, record.key.as_deref()) {
        Some((t, id)) => (String::from_utf8_lossy(t), String::from_utf8_lossy(id)),
        None => (Cow::Borrowed(""), String::from_utf8_lossy(record.key.as_deref().unwrap_or_default())),
    };
    out.push_str(",\"source_type\":");
    push_string(out, &source_type);
    out.push_str(",\"source_id\":");
    push_string(out, &source_id);
}

fn push_appended(out: &mut String, record: &Record) {
    out.push_str(",\"appended\":");
    push_string(out, &format_rfc3339(record.append_time_ms));
}

fn push_position(out: &mut String, position: &str) {
    out.push_str(",\"position\":");
    push_string(out, position);
    out.push('}');
}

/// JSON written elsewhere may be spread over lines; between tokens a line end is the same as a space.
fn one_line(text: String) -> Bytes {
    let mut bytes = text.into_bytes();
    for byte in &mut bytes {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Bytes::from(bytes)
}

/// Appends `text` as a JSON string.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 || c == '\u{2028}' || c == '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Epoch;

    fn record(event: Event) -> Record {
        let headers = Event::headers(&event.source_type);
        let new = event.into_record("id-1", "2026-11-21T08:00:00Z", headers).unwrap();
        Record {
            partition: 3,
            offset: 7,
            append_time_ms: 9,
            timestamp_ms: 0,
            key: new.key,
            value: new.value,
            headers: new.headers,
        }
    }

    fn event(data: Data) -> Event {
        Event {
            event_type: "push".into(),
            source_type: "repo".into(),
            source_id: "o/r".into(),
            data,
            ..Event::default()
        }
    }

    #[test]
    fn stored_and_wire_forms() {
        let record = record(event(Data::Json(Bytes::from_static(b"{\"a\":1}"))));
        assert_eq!(
            std::str::from_utf8(record.value.as_ref().unwrap()).unwrap(),
            r#"{"specversion":"1.0","id":"id-1","source":"/repo/o/r","type":"push","time":"2026-11-21T08:00:00Z","datacontenttype":"application/json","data":{"a":1}}"#
        );
        let position = Position { epoch: Epoch(1), partition: 3, offset: 7 };
        let wire = wire(&record, &position);
        assert_eq!(
            std::str::from_utf8(&wire.json).unwrap(),
            format!(
                r#"{{"id":"id-1","type":"push","source_type":"repo","source_id":"o/r","time":"2026-11-21T08:00:00Z","appended":"1970-01-01T00:00:00.009Z","data":{{"a":1}},"position":"{position}"}}"#
            )
        );
    }

    #[test]
    fn id_is_found_with_and_without_escapes() {
        for id in ["plain", "a\"b", "grün \u{1f600}"] {
            let value = encode(&event(Data::Absent), id, "t");
            assert_eq!(id_of(&value).unwrap(), id);
        }
        assert_eq!(id_of(br#"{"type":"x","id":"foreign"}"#).unwrap(), "foreign");
        assert_eq!(id_of(b"not json"), None);
    }

    #[test]
    fn foreign_records() {
        let position = Position { epoch: Epoch(1), partition: 0, offset: 0 };
        let mut foreign = record(event(Data::Absent));
        for (value, expected) in [
            (None, r#""removed":true,"data":null"#),
            (Some(&b"\xff\x00"[..]), r#""data":{"base64":"/wA="}"#),
            (Some(&b"[1,\n2]"[..]), r#""data":[1, 2]"#),
        ] {
            foreign.value = value.map(Bytes::copy_from_slice);
            let json = wire(&foreign, &position).json;
            let text = std::str::from_utf8(&json).unwrap();
            assert!(text.contains(expected) && text.contains(r#""type":"record""#), "{text}");
        }
    }
}
