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
use crate::time::push_rfc3339;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::{self, Write};

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
    out.push_str(",\"source\":\"/");
    for (part, end) in [(&event.source_type, '/'), (&event.source_id, '"')] {
        push_escaped(&mut out, part);
        out.push(end);
    }
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
    // As long as its memory it is taken over as it is.
    out.shrink_to_fit();
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
    let plain = Plain::new(record, position);
    let mut json = String::with_capacity(plain.size());
    plain.push_json(&mut json);
    // It is kept: no more memory than it is long.
    json.shrink_to_fit();
    let event_type = plain.event_type().to_owned();
    Wire { id: plain.into_id(), event_type, json: Bytes::from(json) }
}

/// A record as clients get it, before it is text: [`wire`] without memory of its own.
pub struct Plain<'a> {
    record: &'a Record,
    position: &'a Position,
    event: Option<StoredEvent<'a>>,
}

impl<'a> Plain<'a> {
    /// The plain form of the record at `position`.
    pub fn new(record: &'a Record, position: &'a Position) -> Plain<'a> {
        Plain { record, position, event: record.value.as_deref().and_then(parse) }
    }

    /// As [`Wire::event_type`].
    pub fn event_type(&self) -> &str {
        self.event.as_ref().map_or("record", |event| &event.event_type)
    }

    fn into_id(self) -> String {
        self.event.map_or_else(|| self.position.to_string(), |event| event.id.into_owned())
    }

    /// About how many bytes of JSON it is.
    fn size(&self) -> usize {
        self.record.value.as_ref().map_or(0, Bytes::len) + 240
    }

    /// Appends the JSON text, on one line.
    pub fn push_json(&self, out: &mut impl Write) {
        put(out, "{\"id\":");
        match &self.event {
            Some(event) => push_string(out, &event.id),
            None => print(out, format_args!("\"{}\"", self.position)),
        }
        put(out, ",\"type\":");
        push_string(out, self.event_type());
        push_source(out, self.record);
        put(out, ",\"time\":");
        match &self.event {
            Some(StoredEvent { time: Some(time), .. }) => push_string(out, time),
            Some(_) => push_time(out, self.record.append_time_ms),
            None => push_time(out, self.record.timestamp_ms),
        }
        put(out, ",\"appended\":");
        push_time(out, self.record.append_time_ms);
        match &self.event {
            Some(event) => push_data(out, event),
            None => push_value(out, self.record.value.as_deref()),
        }
        print(out, format_args!(",\"position\":\"{}\"}}", self.position));
    }
}

fn push_data(out: &mut impl Write, event: &StoredEvent<'_>) {
    put(out, ",\"data\":");
    match (event.data, event.data_base64) {
        (Some(data), _) => push_one_line(out, data.get()),
        (None, Some(text)) => {
            put(out, "{\"base64\":");
            push_one_line(out, text.get());
            put(out, "}");
        }
        (None, None) => put(out, "null"),
    }
}

/// The value of a record that is no event.
fn push_value(out: &mut impl Write, value: Option<&[u8]>) {
    let Some(value) = value else {
        put(out, ",\"removed\":true,\"data\":null");
        return;
    };
    put(out, ",\"data\":");
    match serde_json::from_slice::<&RawValue>(value) {
        Ok(json) => push_one_line(out, json.get()),
        Err(_) => {
            print(out, format_args!("{{\"base64\":\"{}\"}}", STANDARD.encode(value)));
        }
    }
}

fn push_source(out: &mut impl Write, record: &Record) {
    let (source_type, source_id) = match source_of(&record.headers, record.key.as_deref()) {
        Some((t, id)) => (String::from_utf8_lossy(t), String::from_utf8_lossy(id)),
        None => (Cow::Borrowed(""), String::from_utf8_lossy(record.key.as_deref().unwrap_or_default())),
    };
    put(out, ",\"source_type\":");
    push_string(out, &source_type);
    put(out, ",\"source_id\":");
    push_string(out, &source_id);
}

fn push_time(out: &mut impl Write, ms: i64) {
    put_char(out, '"');
    push_rfc3339(out, ms);
    put_char(out, '"');
}

/// JSON written elsewhere may be spread over lines; between tokens a line end is the same as a space.
fn push_one_line(out: &mut impl Write, json: &str) {
    if !any_byte(json, |byte| matches!(byte, b'\n' | b'\r')) {
        return put(out, json);
    }
    let mut lines = json.split(['\n', '\r']);
    put(out, lines.next().unwrap_or_default());
    for line in lines {
        put_char(out, ' ');
        put(out, line);
    }
}

/// Appends `text` as a JSON string.
pub fn push_string(out: &mut impl Write, text: &str) {
    put_char(out, '"');
    push_escaped(out, text);
    put_char(out, '"');
}

/// Appends what stands between the quotes of a JSON string.
fn push_escaped(out: &mut impl Write, text: &str) {
    if !any_byte(text, needs_care) {
        return put(out, text);
    }
    let mut rest = text;
    while let Some(at) = rest.bytes().position(needs_care) {
        // A byte that needs care is ASCII or the first of its character.
        let (plain, tail) = rest.split_at(at);
        let mut tail = tail.chars();
        put(out, plain);
        match tail.next() {
            Some('"') => put(out, "\\\""),
            Some('\\') => put(out, "\\\\"),
            Some(c) if u32::from(c) < 0x20 || matches!(c, '\u{2028}' | '\u{2029}') => {
                print(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            Some(c) => put_char(out, c),
            None => {}
        }
        rest = tail.as_str();
    }
    put(out, rest);
}

/// Whether there is such a byte. It looks at all of them, many at a time, as there hardly ever is one.
fn any_byte(text: &str, is_it: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |found, byte| found | is_it(byte))
}

/// Whether a byte of UTF-8 begins what is escaped, or may.
fn needs_care(byte: u8) -> bool {
    const LINE_SEPARATORS: u8 = 0xe2;
    byte < 0x20 || matches!(byte, b'"' | b'\\' | LINE_SEPARATORS)
}

/// Writing to memory does not fail.
fn put(out: &mut impl Write, text: &str) {
    let _ = out.write_str(text);
}

fn put_char(out: &mut impl Write, c: char) {
    let _ = out.write_char(c);
}

fn print(out: &mut impl Write, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
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
    fn strings_are_escaped() {
        for text in
            ["", "plain", "a\"b\\c", "\u{0}\n\u{1f}é", "€ \u{2028}\u{2029}\u{2027}…", "\u{1f600}\"", "\u{7f}"]
        {
            let mut out = String::new();
            push_string(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            assert!(!out.contains(['\n', '\u{2028}', '\u{2029}', '\u{0}']), "{out}");
        }
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
