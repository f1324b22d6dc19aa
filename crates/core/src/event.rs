//! An event: what a user publishes.

pub mod codec;

use crate::channel::{check_source_id, check_source_type, is_name_char, is_plain};
use crate::filter::SOURCE_TYPE_HEADER;
use crate::identity::{self, Identity};
use crate::record::{Header, Headers, NewRecord};
use crate::time::parse_rfc3339;
use crate::{Error, Result};
use bytes::Bytes;

/// Largest encoded event (its record value): 900 KiB, so that it fits Kafka's default message size.
pub const EVENT_BYTES_MAX: usize = 900 << 10;
/// Longest event id in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Longest event type in bytes.
pub const TYPE_BYTES_MAX: usize = 255;
/// Most CloudEvents attributes beside the ones dualstream knows.
pub const EXTENSIONS_MAX: usize = 64;
/// `content-type` header of an event's record.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// An event as a publisher gives it. Field by field it is a CloudEvent 1.0 with `source = /{source_type}/{source_id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What identifies it among the events of its source; a UUIDv7 is made when absent.
    pub id: Option<String>,
    /// What happened, e.g. `github.push`.
    pub event_type: String,
    /// Kind of the source, e.g. `repo`.
    pub source_type: String,
    /// Name of the source, e.g. `owner/repo`; the key of the record.
    pub source_id: String,
    /// When it happened, RFC 3339; the publish time when absent.
    pub time: Option<String>,
    /// What it says.
    pub data: Data,
    /// Further CloudEvents attributes (`subject`, `dataschema`, extensions), kept and returned as they came: name and
    /// its value as JSON text.
    pub extensions: Vec<(String, Bytes)>,
}

/// The payload of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Data {
    /// None.
    #[default]
    Absent,
    /// One JSON value as compact text on one line, already checked.
    Json(Bytes),
    /// Bytes as base64 text (CloudEvents `data_base64`), already checked, with their content type.
    Base64 {
        /// The base64 text.
        text: Bytes,
        /// `datacontenttype`, if it was given.
        content_type: Option<String>,
    },
}

impl Event {
    /// Checks every name and limit; JSON text is trusted to be checked.
    ///
    /// # Errors
    /// `invalid_…` naming the field and the rule.
    pub fn check(&self) -> Result<()> {
        check_source_type(&self.source_type)?;
        check_source_id(&self.source_id)?;
        check_text("type", "invalid_type", &self.event_type, TYPE_BYTES_MAX)?;
        if let Some(id) = &self.id {
            check_text("id", "invalid_id", id, ID_BYTES_MAX)?;
        }
        if let Some(time) = &self.time {
            parse_rfc3339(time)?;
        }
        if self.extensions.len() > EXTENSIONS_MAX {
            return Err(Error::invalid("too_many_extensions", "extensions", "at most 64 further attributes")
                .with_limit(EXTENSIONS_MAX as u64));
        }
        for (name, _) in &self.extensions {
            let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
                return Err(Error::invalid(
                    "invalid_extension",
                    "extensions",
                    "an attribute name is 1 to 64 of [a-z0-9]",
                ));
            }
        }
        Ok(())
    }

    /// The record that holds it: key = `source_id`, headers `content-type` and `source_type`, value = CloudEvents JSON
    /// with `id` and `time` as given or else as filled in by the publisher.
    ///
    /// # Errors
    /// `event_too_large` when the value passes [`EVENT_BYTES_MAX`].
    pub fn into_record(self, id: &str, time: &str, headers: Headers) -> Result<NewRecord> {
        let value = codec::encode(&self, id, time);
        if value.len() > EVENT_BYTES_MAX {
            return Err(Error::new(
                crate::ErrorKind::TooLarge,
                "event_too_large",
                format!("the event is {} bytes encoded; the limit is {EVENT_BYTES_MAX}", value.len()),
            )
            .with_field("data")
            .with_limit(EVENT_BYTES_MAX as u64));
        }
        let hash = identity::hash(self.source_type.as_bytes(), self.source_id.as_bytes(), id.as_bytes());
        Ok(NewRecord {
            identity: Some(Identity { hash, check: self.id.is_some(), time_given: self.time.is_some() }),
            key: Some(Bytes::from(self.source_id)),
            value: Some(value),
            headers,
            timestamp_ms: None,
        })
    }

    /// The headers of an event's record.
    pub fn headers(source_type: &str) -> Headers {
        Headers::new(vec![
            Header {
                name: Bytes::from_static(b"content-type"),
                value: Some(Bytes::from_static(CONTENT_TYPE.as_bytes())),
            },
            Header {
                name: Bytes::from_static(SOURCE_TYPE_HEADER.as_bytes()),
                value: Some(Bytes::copy_from_slice(source_type.as_bytes())),
            },
        ])
    }
}

/// 1 to `limit` bytes of visible text (spaces inside are fine): it travels in SSE fields and log lines.
fn check_text(field: &'static str, code: &'static str, text: &str, limit: usize) -> Result<()> {
    let legal = |c: char| c == ' ' || is_name_char(c) || matches!(c, '*' | '?' | '[' | ']' | '\\');
    let is_legal = || is_plain(text) || text.trim() == text && text.chars().all(legal);
    if text.is_empty() || text.len() > limit || !is_legal() {
        return Err(Error::invalid(code, field, format!("{field} is 1 to {limit} bytes of visible text"))
            .with_limit(limit as u64));
    }
    Ok(())
}
