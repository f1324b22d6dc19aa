//! The text of Server-Sent Events (WHATWG HTML, section 9.2).
//!
//! No field can be injected: ids are tokens of this server, a line end or NUL in an event type becomes a space, and
//! data is split at every line end. The name of what the stream itself says, `unrecoverable`, is never that of an event:
//! one of that type comes without a name.

use bytes::{Bytes, BytesMut};
use dualstream_core::announcement::Announcement;
use dualstream_core::event::codec::{Plain, push_string};
use dualstream_core::hub::{Entry, Item, Live, Slot};
use dualstream_core::position::Resume;
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Name of what says that events can no longer be had.
const UNRECOVERABLE: &str = "unrecoverable";

/// How the events of a stream are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Naming {
    /// `event:` is the type of the event.
    #[default]
    Type,
    /// No `event:`, so that `onmessage` of an `EventSource` gets all of them.
    Message,
}

/// The beginning of a stream: where it stands, and how soon to come back.
pub fn opening(resume: &str, retry: Duration) -> Bytes {
    let mut out = format!("retry: {}\n", retry.as_millis());
    push_id(&mut out, resume);
    out.push_str(": ok\n\n");
    Bytes::from(out)
}

/// A sign of life. A block without data delivers nothing, but its id is remembered.
pub fn heartbeat(resume: &str) -> Bytes {
    let mut out = String::from(": heartbeat\n");
    push_id(&mut out, resume);
    out.push('\n');
    Bytes::from(out)
}

/// The last words of a stream.
pub fn farewell(reason: &str, resume: &str, retry: Duration) -> Bytes {
    let mut out = format!(": {reason}\nretry: {}\n", retry.as_millis());
    push_id(&mut out, resume);
    out.push('\n');
    Bytes::from(out)
}

/// About how many bytes an item will be.
pub fn size(item: &Item) -> usize {
    match item {
        Item::Event { entry, resume } => {
            entry.record().value.as_ref().map_or(0, Bytes::len) + resume.len() + 400
        }
        Item::Announcement(live) | Item::Message(live) => live.payload.len() + 100,
        Item::Unrecoverable { .. } | Item::Lost(_) => 1_000,
    }
}

/// Appends an item. What is the same for all subscribers is encoded once and kept with the entry.
pub fn push_item(out: &mut BytesMut, item: &Item, naming: Naming) {
    match item {
        Item::Event { entry, resume } => {
            push(out, "id: ", resume);
            match naming {
                // One that was read for this stream alone: what nobody shares is not kept.
                _ if Arc::strong_count(entry) == 1 => push_alone(out, entry, naming),
                Naming::Type => out.extend_from_slice(entry.frame(Slot::Sse, named_frame)),
                Naming::Message => push_data(out, &entry.wire.json),
            }
        }
        Item::Announcement(live) => match naming {
            Naming::Type => out.extend_from_slice(live.frame(Slot::Sse, announcement_frame)),
            Naming::Message => push_data(out, &live.payload),
        },
        Item::Message(live) => out.extend_from_slice(live.frame(Slot::Sse, message_frame)),
        Item::Unrecoverable { reason, earliest, latest, resume } => {
            push(out, "event: ", UNRECOVERABLE);
            push(out, "id: ", resume);
            push_data(out, lost(reason, earliest, latest).as_bytes());
        }
        Item::Lost(_) => {}
    }
}

fn lost(reason: &str, earliest: &Resume, latest: &Resume) -> String {
    let mut out = String::from("{\"reason\":");
    push_string(&mut out, reason);
    let _ = write!(out, ",\"earliest\":\"{earliest}\",\"latest\":\"{latest}\"}}");
    out
}

/// An event straight into the stream.
fn push_alone(out: &mut BytesMut, entry: &Entry, naming: Naming) {
    let plain = Plain::new(entry.record(), &entry.position);
    if naming == Naming::Type {
        push_type(out, plain.event_type());
    }
    out.extend_from_slice(b"data: ");
    plain.push_json(out);
    out.extend_from_slice(b"\n\n");
}

/// Type and data of an entry: the part of its frame that depends on nothing else.
fn named_frame(entry: &Entry) -> Bytes {
    let mut out = BytesMut::with_capacity(entry.wire.json.len() + entry.wire.event_type.len() + 20);
    push_type(&mut out, &entry.wire.event_type);
    push_data(&mut out, &entry.wire.json);
    out.freeze()
}

/// Type and data of an announcement.
fn announcement_frame(live: &Live) -> Bytes {
    let mut out = BytesMut::with_capacity(live.payload.len() + 64);
    if let Some(announcement) = Announcement::parse(&live.payload) {
        push_type(&mut out, &announcement.event_type);
    }
    push_data(&mut out, &live.payload);
    out.freeze()
}

/// A message of the bus: data alone.
fn message_frame(live: &Live) -> Bytes {
    let mut out = BytesMut::with_capacity(live.payload.len() + 8);
    push_data(&mut out, &live.payload);
    out.freeze()
}

fn push_type(out: &mut BytesMut, event_type: &str) {
    let name = one_line(event_type);
    if name != UNRECOVERABLE {
        push(out, "event: ", &name);
    }
}

fn push_id(out: &mut String, resume: &str) {
    if !resume.is_empty() {
        let _ = writeln!(out, "id: {resume}");
    }
}

fn push(out: &mut BytesMut, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\n");
}

/// Data, and the blank line that ends the event.
fn push_data(out: &mut BytesMut, payload: &[u8]) {
    if memchr::memchr2(b'\n', b'\r', payload).is_none() && std::str::from_utf8(payload).is_ok() {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\n\n");
        return;
    }
    let text = String::from_utf8_lossy(payload).replace("\r\n", "\n");
    for line in text.split(['\n', '\r']) {
        push(out, "data: ", line);
    }
    out.extend_from_slice(b"\n");
}

fn one_line(text: &str) -> Cow<'_, str> {
    const ENDS: [char; 3] = ['\n', '\r', '\0'];
    match text.contains(ENDS) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.replace(ENDS, " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::position::Position;
    use dualstream_core::record::{Headers, Record};
    use dualstream_core::topic::Epoch;
    use std::sync::Arc;

    fn text(item: &Item, naming: Naming) -> String {
        let mut out = BytesMut::new();
        push_item(&mut out, item, naming);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn event(value: &str) -> Item {
        let record = Record {
            partition: 1,
            offset: 2,
            append_time_ms: 0,
            timestamp_ms: 0,
            key: Some(Bytes::from_static(b"i")),
            value: Some(Bytes::from(value.to_owned())),
            headers: Headers::default(),
        };
        let position = Position { epoch: Epoch(1), partition: 1, offset: 2 };
        let entry = Arc::new(Entry::new(position, Arc::from("events:s:i"), record));
        Item::Event { entry, resume: Arc::from("TOKEN") }
    }

    #[test]
    fn events_are_one_block_each() {
        let item = event(r#"{"id":"1","type":"push","time":"t","data":1}"#);
        let typed = text(&item, Naming::Type);
        assert!(typed.starts_with("id: TOKEN\nevent: push\ndata: {\"id\":\"1\"") && typed.ends_with("}\n\n"));
        assert_eq!(typed.lines().count(), 4, "{typed}");
        assert!(text(&item, Naming::Message).starts_with("id: TOKEN\ndata: {"));
    }

    #[test]
    fn what_is_shared_is_as_what_is_not() {
        for value in [r#"{"id":"1","type":"a\nb","time":"t","data":{"x":"\"\u2028"}}"#, "[1,\n2]", "no json"]
        {
            for naming in [Naming::Type, Naming::Message] {
                let item = event(value);
                let alone = text(&item, naming);
                let Item::Event { entry, .. } = &item else { unreachable!("made above") };
                let _also = entry.clone();
                assert_eq!(text(&item, naming), alone, "{value}");
                assert_eq!(alone.lines().count(), if naming == Naming::Type { 4 } else { 3 }, "{alone}");
            }
        }
    }

    #[test]
    fn no_field_can_be_injected() {
        let message = |payload: &'static [u8]| {
            Item::Message(Arc::new(Live::new(Arc::from("dashboard:x"), Bytes::from_static(payload))))
        };
        for (item, wanted) in [
            (message(b"{}"), "data: {}\n\n"),
            (message(b"a\nid: 1\r\nb\rc"), "data: a\ndata: id: 1\ndata: b\ndata: c\n\n"),
            (message(b"a\n\nevent: x"), "data: a\ndata: \ndata: event: x\n\n"),
            (message(b"\xff"), "data: \u{fffd}\n\n"),
        ] {
            assert_eq!(text(&item, Naming::Type), wanted);
        }
        let typed = text(&event(r#"{"id":"1\n2","type":"a\nid: x\r\u0000b","time":"t"}"#), Naming::Type);
        assert!(typed.starts_with("id: TOKEN\nevent: a id: x  b\ndata: {"), "{typed}");
        assert_eq!(typed.lines().count(), 4, "{typed}");
    }

    #[test]
    fn an_event_is_never_taken_for_a_loss() {
        let typed = text(&event(r#"{"id":"1","type":"unrecoverable","time":"t","data":1}"#), Naming::Type);
        assert!(typed.starts_with("id: TOKEN\ndata: {\"id\":\"1\",\"type\":\"unrecoverable\""), "{typed}");
        let position = Position { epoch: Epoch(1), partition: 1, offset: 2 };
        for (event_type, name) in [("unrecoverable", ""), ("push", "event: push\n")] {
            let payload =
                format!(r#"{{"id":"1","type":"{event_type}","source_id":"i","position":"{position}"}}"#);
            let live = Live::new(Arc::from("events:s:i"), Bytes::from(payload.clone()));
            let announced = text(&Item::Announcement(Arc::new(live)), Naming::Type);
            assert_eq!(announced, format!("{name}data: {payload}\n\n"));
        }
    }

    #[test]
    fn a_loss_names_what_can_be_had() {
        let item = Item::Unrecoverable {
            reason: "retention",
            earliest: Resume::default(),
            latest: Resume::default(),
            resume: Arc::from("NEW"),
        };
        let wanted = "event: unrecoverable\nid: NEW\ndata: {\"reason\":\"retention\",\"earliest\":\"\",\"latest\":\"\"}\n\n";
        assert_eq!(text(&item, Naming::Message), wanted);
    }
}
