//! Topics on the wire: what is asked of them, and what they are. The names are Apache Kafka's settings with `_` for `.`
//! (`retention.ms`, `cleanup.policy`, `message.timestamp.type` without its first word), so they say the same of every log.

use crate::json::{self, Field};
use crate::plain_event::{missing, required};
use crate::since;
use bytes::Bytes;
use dualstream_core::event::codec::push_string;
use dualstream_core::hub::Since;
use dualstream_core::topic::{Cleanup, TimestampKind, TopicAlteration, TopicName, TopicSpec};
use dualstream_core::topic_admin::{Before, TopicStatus};
use dualstream_core::{Error, ErrorKind};
use std::fmt::Write;

/// Reads what is to be created. What is not said has the defaults of a topic of events; a compacted one keeps its
/// records whatever their age.
///
/// # Errors
/// `missing_field`, `unknown_field`, `invalid_field`, `invalid_topic`, `invalid_cleanup_policy`, and those of JSON.
pub fn decode_spec(body: &Bytes) -> Result<TopicSpec, Error> {
    let fields = json::object(body)?;
    let name = fields.iter().find(|field| field.name == "name").ok_or_else(|| missing("name"))?;
    let name = TopicName::new(&required(name)?).map_err(|error| error.with_field("name"))?;
    let mut spec = TopicSpec::events(name);
    let mut retention_ms = None;
    for field in &fields {
        match field.name.as_ref() {
            "name" => {}
            "partitions" => spec.partitions = partitions(field)?,
            "retention_ms" => retention_ms = Some(bound(field)?),
            "retention_bytes" => spec.retention_bytes = bound(field)?,
            "cleanup_policy" => spec.cleanup = cleanup(field)?,
            "timestamp_type" => spec.timestamp = timestamp(field)?,
            _ => {
                let members =
                    "name, partitions, retention_ms, retention_bytes, cleanup_policy and timestamp_type";
                return Err(unknown(field, format!("a topic is created with {members}")));
            }
        }
    }
    if spec.cleanup == Cleanup::Compact {
        spec.retention_ms = None;
    }
    spec.retention_ms = retention_ms.unwrap_or(spec.retention_ms);
    Ok(spec)
}

/// Reads what is to be changed: exactly what is named.
///
/// # Errors
/// `unknown_field`, `invalid_field`, and those of JSON.
pub fn decode_alteration(body: &Bytes) -> Result<TopicAlteration, Error> {
    let mut change = TopicAlteration::default();
    for field in &json::object(body)? {
        match field.name.as_ref() {
            "partitions" => change.partitions = Some(partitions(field)?),
            "retention_ms" => change.retention_ms = Some(bound(field)?),
            "retention_bytes" => change.retention_bytes = Some(bound(field)?),
            _ => {
                let members = "partitions, retention_ms and retention_bytes";
                return Err(unknown(field, format!("{members} of a topic can be altered, nothing else")));
            }
        }
    }
    Ok(change)
}

/// Reads up to where a topic is to be trimmed.
///
/// # Errors
/// `missing_field`, `unknown_field`, `invalid_field`, `invalid_time`, `invalid_position`, and those of JSON.
pub fn decode_before(body: &Bytes) -> Result<Before, Error> {
    let fields = json::object(body)?;
    if let Some(other) = fields.iter().find(|field| field.name != "before") {
        return Err(unknown(other, "a topic is trimmed before one place: {\"before\": …}".to_owned()));
    }
    let text = required(fields.first().ok_or_else(|| missing("before"))?)?;
    if let Ok(position) = text.parse() {
        return Ok(Before::Position(position));
    }
    match since::parse(&text).map_err(|error| error.with_field("before"))? {
        Since::Latest => Ok(Before::Latest),
        Since::Earliest => Ok(Before::Time(i64::MIN)),
        Since::Time(time_ms) => Ok(Before::Time(time_ms)),
        Since::At(resume) => Ok(Before::Resume(resume)),
    }
}

/// The members of a topic as lists have them, without braces.
pub fn push_topic(out: &mut String, status: &TopicStatus) {
    let TopicStatus { info, namespaces, .. } = status;
    let spec = &info.spec;
    let _ = write!(out, "\"name\":\"{}\",\"internal\":{}", spec.name, spec.name.is_internal());
    let _ = write!(out, ",\"partitions\":{},\"records\":{}", spec.partitions, status.records());
    push_count(out, "bytes", info.bytes);
    push_count(out, "segments", info.segments);
    push_count(out, "retention_ms", spec.retention_ms);
    push_count(out, "retention_bytes", spec.retention_bytes);
    let (cleanup, timestamp) = (cleanup_word(spec.cleanup), timestamp_word(spec.timestamp));
    let _ = write!(out, ",\"cleanup_policy\":\"{cleanup}\",\"timestamp_type\":\"{timestamp}\"");
    let _ = write!(out, ",\"epoch\":\"{}\",\"namespaces\":[", info.epoch);
    for (index, namespace) in namespaces.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        push_string(out, namespace);
    }
    out.push(']');
}

/// What is said of one topic beside [`push_topic`]: its ends, as tokens and for each partition.
pub fn push_ends(out: &mut String, status: &TopicStatus) {
    let (earliest, latest) = status.ends();
    let _ = write!(out, ",\"earliest\":\"{earliest}\",\"latest\":\"{latest}\",\"offsets\":[");
    let ends = status.bounds.earliest.iter().zip(&status.bounds.latest);
    for (partition, (earliest, latest)) in ends.enumerate() {
        out.push_str(if partition == 0 { "" } else { "," });
        let _ = write!(out, "{{\"partition\":{partition},\"earliest\":{earliest},\"latest\":{latest}}}");
    }
    out.push(']');
}

fn push_count(out: &mut String, name: &str, count: Option<u64>) {
    let _ = match count {
        Some(count) => write!(out, ",\"{name}\":{count}"),
        None => write!(out, ",\"{name}\":null"),
    };
}

fn partitions(field: &Field<'_>) -> Result<u32, Error> {
    // What is too many for the log is told by the log.
    number(field).map(|count| u32::try_from(count).unwrap_or(u32::MAX)).ok_or_else(|| {
        Error::invalid("invalid_field", "partitions", "partitions is a whole number, 1 to 10000")
    })
}

/// A bound that may be lifted with `null`.
fn bound(field: &Field<'_>) -> Result<Option<u64>, Error> {
    if field.value.is_null() {
        return Ok(None);
    }
    number(field).filter(|&bound| bound > 0).map(Some).ok_or_else(|| {
        let message = format!("{} is a whole number, 1 or more, or null for no bound", field.name);
        Error::invalid("invalid_field", field.name.to_string(), message)
    })
}

fn number(field: &Field<'_>) -> Option<u64> {
    field.value.text().parse().ok()
}

const CLEANUPS: [(&str, Cleanup); 2] = [("delete", Cleanup::Delete), ("compact", Cleanup::Compact)];
const TIMESTAMPS: [(&str, TimestampKind); 2] =
    [("LogAppendTime", TimestampKind::Append), ("CreateTime", TimestampKind::Create)];

fn cleanup_word(cleanup: Cleanup) -> &'static str {
    CLEANUPS.iter().find(|(_, kind)| *kind == cleanup).map_or("", |(word, _)| word)
}

fn timestamp_word(timestamp: TimestampKind) -> &'static str {
    TIMESTAMPS.iter().find(|(_, kind)| *kind == timestamp).map_or("", |(word, _)| word)
}

fn cleanup(field: &Field<'_>) -> Result<Cleanup, Error> {
    let text = required(field)?;
    CLEANUPS.iter().find(|(word, _)| *word == text).map(|(_, cleanup)| *cleanup).ok_or_else(|| {
        Error::invalid("invalid_cleanup_policy", "cleanup_policy", "cleanup_policy is delete or compact")
    })
}

fn timestamp(field: &Field<'_>) -> Result<TimestampKind, Error> {
    let text = required(field)?;
    TIMESTAMPS.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind).ok_or_else(|| {
        Error::invalid("invalid_field", "timestamp_type", "timestamp_type is LogAppendTime or CreateTime")
    })
}

fn unknown(field: &Field<'_>, message: String) -> Error {
    let name: String = field.name.chars().take(64).collect();
    Error::new(ErrorKind::Invalid, "unknown_field", message).with_field(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default() {
        let spec = |text: &'static str| decode_spec(&Bytes::from_static(text.as_bytes()));
        let name = TopicName::new("t").unwrap();
        assert_eq!(spec(r#"{"name":"t"}"#).unwrap(), TopicSpec::events(name.clone()));
        assert_eq!(
            spec(r#"{"name":"t","cleanup_policy":"compact"}"#).unwrap(),
            TopicSpec::table(name.clone(), 12)
        );
        let all = r#"{"retention_ms":5,"cleanup_policy":"compact","name":"t","partitions":3,"retention_bytes":7,"timestamp_type":"CreateTime"}"#;
        assert_eq!(
            spec(all).unwrap(),
            TopicSpec {
                name: name.clone(),
                partitions: 3,
                timestamp: TimestampKind::Create,
                cleanup: Cleanup::Compact,
                retention_ms: Some(5),
                retention_bytes: Some(7),
            }
        );
        let unbounded = spec(r#"{"name":"t","retention_ms":null,"retention_bytes":null}"#).unwrap();
        assert_eq!(unbounded, TopicSpec { retention_ms: None, ..TopicSpec::events(name) });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, code, field) in [
            ("{}", "missing_field", "name"),
            (r#"{"name":7}"#, "invalid_field", "name"),
            (r#"{"name":"a b"}"#, "invalid_topic", "name"),
            (r#"{"name":"t","partitions":"3"}"#, "invalid_field", "partitions"),
            (r#"{"name":"t","partitions":-1}"#, "invalid_field", "partitions"),
            (r#"{"name":"t","partitions":1.5}"#, "invalid_field", "partitions"),
            (r#"{"name":"t","partitions":null}"#, "invalid_field", "partitions"),
            (r#"{"name":"t","retention_ms":0}"#, "invalid_field", "retention_ms"),
            (r#"{"name":"t","retention_bytes":-1}"#, "invalid_field", "retention_bytes"),
            (r#"{"name":"t","cleanup_policy":"none"}"#, "invalid_cleanup_policy", "cleanup_policy"),
            (r#"{"name":"t","timestamp_type":"append"}"#, "invalid_field", "timestamp_type"),
            (r#"{"name":"t","replication_factor":3}"#, "unknown_field", "replication_factor"),
        ] {
            let error = decode_spec(&Bytes::from(text)).unwrap_err();
            assert_eq!((error.code(), error.field()), (code, Some(field)), "{text}");
        }
        let error = decode_alteration(&Bytes::from(r#"{"cleanup_policy":"delete"}"#)).unwrap_err();
        assert_eq!((error.code(), error.field()), ("unknown_field", Some("cleanup_policy")));
        for (text, code) in [
            ("{}", "missing_field"),
            (r#"{"before":7}"#, "invalid_field"),
            (r#"{"before":"2026-13-01T00:00:00Z"}"#, "invalid_time"),
            (r#"{"before":"yesterday"}"#, "invalid_position"),
        ] {
            let error = decode_before(&Bytes::from(text)).unwrap_err();
            assert_eq!((error.code(), error.field()), (code, Some("before")), "{text}");
        }
    }

    #[test]
    fn exactly_what_is_named_is_changed() {
        let change = |text: &'static str| decode_alteration(&Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!(change("{}"), TopicAlteration::default());
        assert_eq!(
            change(r#"{"retention_ms":null}"#),
            TopicAlteration { retention_ms: Some(None), ..TopicAlteration::default() }
        );
        assert_eq!(
            change(r#"{"partitions":24,"retention_bytes":9}"#),
            TopicAlteration { partitions: Some(24), retention_bytes: Some(Some(9)), retention_ms: None }
        );
    }
}
