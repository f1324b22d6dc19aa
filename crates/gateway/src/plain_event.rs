//! An event as plain JSON: `{"type","source_type","source_id","data","id"?,"time"?}` and nothing else.

use crate::json::{self, Field, Value};
use bytes::Bytes;
use dualstream_core::event::{Data, Event};
use dualstream_core::{Error, ErrorKind};

/// Reads one event from a text that holds nothing else. Names and limits are checked later, by
/// [`Event::check`]; its data is a slice of `text` where it is compact already.
///
/// # Errors
/// What [`json::object`] finds, `unknown_field`, `missing_field`, `invalid_…` for a field of the wrong kind.
pub fn decode(text: &Bytes) -> Result<Event, Error> {
    let mut event = Event::default();
    let (mut has_type, mut has_source_type, mut has_source_id, mut has_data) = (false, false, false, false);
    for field in json::object(text)? {
        match field.name.as_ref() {
            "type" => (has_type, event.event_type) = (true, required(&field)?),
            "source_type" => (has_source_type, event.source_type) = (true, required(&field)?),
            "source_id" => (has_source_id, event.source_id) = (true, required(&field)?),
            "data" => (has_data, event.data) = (true, Data::Json(field.value.compact(text))),
            "id" => event.id = optional(&field)?,
            "time" => event.time = optional(&field)?,
            _ => return Err(unknown(&field)),
        }
    }
    for (is_there, name) in [
        (has_type, "type"),
        (has_source_type, "source_type"),
        (has_source_id, "source_id"),
        (has_data, "data"),
    ] {
        if !is_there {
            return Err(missing(name));
        }
    }
    Ok(event)
}

/// Reads one element of an array.
///
/// # Errors
/// As [`decode`].
pub fn decode_element(element: Value<'_>, whole: &Bytes) -> Result<Event, Error> {
    decode(&whole.slice_ref(element.text().as_bytes()))
}

/// The string a field must be.
pub(crate) fn required(field: &Field<'_>) -> Result<String, Error> {
    field.value.as_string().map(Into::into).ok_or_else(|| no_string(&field.name))
}

/// The string a field may be; `null` is none.
pub(crate) fn optional(field: &Field<'_>) -> Result<Option<String>, Error> {
    match field.value.is_null() {
        true => Ok(None),
        false => required(field).map(Some),
    }
}

pub(crate) fn missing(name: &'static str) -> Error {
    Error::invalid("missing_field", name, format!("{name} is missing"))
}

fn no_string(name: &str) -> Error {
    Error::invalid("invalid_field", name.to_owned(), format!("{name} must be a string"))
}

fn unknown(field: &Field<'_>) -> Error {
    let name: String = field.name.chars().take(64).collect();
    Error::new(
        ErrorKind::Invalid,
        "unknown_field",
        "an event has type, source_type, source_id, data, and may have id and time; what else there is to say belongs \
         into data",
    )
    .with_field(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_what_is_wrong_with_them() {
        let whole = r#"{"type":"t","source_type":"s","source_id":"i","data":{"a": 1},"id":"x","time":null}"#;
        let event = decode(&Bytes::from_static(whole.as_bytes())).unwrap();
        assert_eq!(event.data, Data::Json(Bytes::from_static(b"{\"a\":1}")));
        assert_eq!((event.id.as_deref(), event.time), (Some("x"), None));
        for (text, code, field) in [
            ("[]", "invalid_json", None),
            (r#"{"type":"t","source_type":"s","source_id":"i"}"#, "missing_field", Some("data")),
            (r#"{"source_type":"s","source_id":"i","data":1}"#, "missing_field", Some("type")),
            (r#"{"type":7}"#, "invalid_field", Some("type")),
            (r#"{"type":null}"#, "invalid_field", Some("type")),
            (r#"{"id":7}"#, "invalid_field", Some("id")),
            (r#"{"Type":"t"}"#, "unknown_field", Some("Type")),
        ] {
            let error = decode(&Bytes::from(text)).unwrap_err();
            assert_eq!((error.code(), error.field()), (code, field), "{text}");
        }
    }
}
