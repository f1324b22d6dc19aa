//! CloudEvents 1.0 over HTTP: structured and binary mode in, structured mode out.
//!
//! `source` of the form `/{type}/{id}` is the event's source. Any other source needs the extension attributes
//! `sourcetype` and `sourceid`, which then say it, and is kept in the extension `originalsource`.

use crate::Problem;
use crate::json::{self, Value};
use crate::media_type::is_json;
use crate::plain_event::{missing, optional, required};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dualstream_core::Error;
use dualstream_core::channel::{check_source_id, check_source_type};
use dualstream_core::event::codec::push_string;
use dualstream_core::event::{Data, Event};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;

/// Attributes as they were given, before it is known what source they name.
#[derive(Default)]
struct Attributes {
    event: Event,
    specversion: Option<String>,
    source: Option<String>,
    source_type: Option<String>,
    source_id: Option<String>,
    content_type: Option<String>,
}

/// Reads one event in structured mode.
///
/// # Errors
/// 400 for what breaks JSON or CloudEvents, 422 `unmapped_source`.
pub fn decode(text: &Bytes) -> Result<Event, Problem> {
    let mut given = Attributes::default();
    let (mut data, mut base64) = (None, None);
    for field in json::object(text)? {
        match field.name.as_ref() {
            "data" => data = Some(field.value),
            "data_base64" => base64 = Some(Bytes::from(required(&field)?)),
            "specversion" => given.specversion = Some(required(&field)?),
            "id" => given.event.id = Some(required(&field)?),
            "source" => given.source = Some(required(&field)?),
            "type" => given.event.event_type = required(&field)?,
            "time" => given.event.time = optional(&field)?,
            "datacontenttype" => given.content_type = optional(&field)?,
            "sourcetype" => given.source_type = optional(&field)?,
            "sourceid" => given.source_id = optional(&field)?,
            _ if field.value.is_null() => {}
            _ if field.value.is_nested() => {
                let message = "an extension attribute is a string, a number, true or false";
                return Err(Error::invalid("invalid_extension", field.name.into_owned(), message).into());
            }
            _ => given.event.extensions.push((field.name.clone().into_owned(), field.value.compact(text))),
        }
    }
    given.event.data = match (data, base64) {
        (None, None) => Data::Absent,
        (Some(data), None) => data_of(data, given.content_type.take(), text),
        (None, Some(base64)) => bytes_of(base64, given.content_type.take())?,
        (Some(_), Some(_)) => {
            let message = "an event has data or data_base64, not both";
            return Err(Error::invalid("invalid_data", "data_base64", message).into());
        }
    };
    given.into_event()
}

/// Reads one element of a batch.
///
/// # Errors
/// As [`decode`].
pub fn decode_element(element: Value<'_>, whole: &Bytes) -> Result<Event, Problem> {
    decode(&whole.slice_ref(element.text().as_bytes()))
}

/// Reads one event in binary mode: attributes from the `ce-` headers (percent-encoded), data from the body.
///
/// # Errors
/// As [`decode`].
pub fn decode_binary(headers: &HeaderMap, body: &Bytes) -> Result<Event, Problem> {
    let mut given = Attributes::default();
    for header in headers.keys() {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        let invalid = |message| Error::invalid("invalid_header", format!("ce-{name}"), message);
        let mut values = headers.get_all(header).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(invalid("an attribute is given once").into());
        };
        let value = percent_decode(value.as_bytes()).decode_utf8();
        let value = value.map_err(|_| invalid("the header is not percent-encoded UTF-8"))?.into_owned();
        match name {
            "specversion" => given.specversion = Some(value),
            "id" => given.event.id = Some(value),
            "source" => given.source = Some(value),
            "type" => given.event.event_type = value,
            "time" => given.event.time = Some(value),
            "sourcetype" => given.source_type = Some(value),
            "sourceid" => given.source_id = Some(value),
            "data" | "datacontenttype" => {
                return Err(invalid("the body is the data, and Content-Type says what it is").into());
            }
            _ => {
                let mut text = String::with_capacity(value.len() + 2);
                push_string(&mut text, &value);
                given.event.extensions.push((name.to_owned(), Bytes::from(text)));
            }
        }
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_owned);
    given.event.data = match &content_type {
        _ if body.is_empty() => Data::Absent,
        Some(kind) if is_json_type(kind) => Data::Json(json::check(body)?.compact(body)),
        _ => Data::Base64 { text: Bytes::from(STANDARD.encode(body)), content_type },
    };
    given.into_event()
}

impl Attributes {
    fn into_event(self) -> Result<Event, Problem> {
        let Attributes { mut event, specversion, source, source_type, source_id, .. } = self;
        match specversion.as_deref() {
            Some("1.0") => {}
            Some(_) => {
                let message = "specversion must be 1.0";
                return Err(Error::invalid("unsupported_specversion", "specversion", message).into());
            }
            None => return Err(missing("specversion").into()),
        }
        if event.id.is_none() {
            return Err(missing("id").into());
        }
        if event.event_type.is_empty() {
            return Err(missing("type").into());
        }
        let source = source.ok_or_else(|| missing("source"))?;
        (event.source_type, event.source_id) = match (source_type, source_id) {
            (Some(source_type), Some(source_id)) => {
                if source != format!("/{source_type}/{source_id}") {
                    if event.extensions.iter().any(|(name, _)| name == "originalsource") {
                        let message =
                            "originalsource holds a source that is mapped, and cannot be given beside one";
                        return Err(Error::invalid("invalid_extension", "originalsource", message).into());
                    }
                    let mut text = String::new();
                    push_string(&mut text, &source);
                    event.extensions.push(("originalsource".to_owned(), Bytes::from(text)));
                }
                (source_type, source_id)
            }
            _ => split(&source).ok_or_else(unmapped)?,
        };
        Ok(event)
    }
}

/// `(type, id)` of a source `/{type}/{id}`.
fn split(source: &str) -> Option<(String, String)> {
    let (source_type, source_id) = source.strip_prefix('/')?.split_once('/')?;
    check_source_type(source_type).ok()?;
    check_source_id(source_id).ok()?;
    Some((source_type.to_owned(), source_id.to_owned()))
}

fn unmapped() -> Problem {
    Problem::http(
        StatusCode::UNPROCESSABLE_ENTITY,
        "unmapped_source",
        "source is not of the form /{type}/{id}: give the extension attributes sourcetype and sourceid",
    )
    .with_field("source")
}

/// Data of a structured event. A string under a content type that is not JSON is text of that type.
fn data_of(data: Value<'_>, content_type: Option<String>, whole: &Bytes) -> Data {
    match (&content_type, data.as_string()) {
        (Some(kind), Some(text)) if !is_json_type(kind) => {
            Data::Base64 { text: Bytes::from(STANDARD.encode(text.as_bytes())), content_type }
        }
        _ => Data::Json(data.compact(whole)),
    }
}

fn bytes_of(text: Bytes, content_type: Option<String>) -> Result<Data, Error> {
    match STANDARD.decode(&text) {
        Ok(_) => Ok(Data::Base64 { text, content_type }),
        Err(_) => Err(Error::invalid("invalid_data", "data_base64", "data_base64 is not base64")),
    }
}

fn is_json_type(content_type: &str) -> bool {
    is_json(&content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structured(further: &str) -> Result<Event, Problem> {
        decode(&Bytes::from(format!(r#"{{"specversion":"1.0","id":"1","type":"t",{further}}}"#)))
    }

    #[test]
    fn sources_are_mapped() {
        for (source, further, wanted) in [
            ("/repo/owner/name", "", Some(("repo", "owner/name"))),
            ("https://x.y/z", r#","sourcetype":"repo","sourceid":"o""#, Some(("repo", "o"))),
            ("https://x.y/z", "", None),
            ("/Repo/x", "", None),
            ("/repo", "", None),
        ] {
            let event = structured(&format!(r#""source":"{source}"{further}"#));
            match (event, wanted) {
                (Ok(event), Some(wanted)) => {
                    assert_eq!((event.source_type.as_str(), event.source_id.as_str()), wanted);
                    assert_eq!(event.extensions.len(), usize::from(!further.is_empty()));
                }
                (Err(problem), None) => assert_eq!(problem.status(), 422),
                (event, _) => panic!("{source}: {event:?}"),
            }
        }
    }

    #[test]
    fn no_attribute_is_given_twice() {
        let binary = |further: &[(&'static str, &'static str)]| {
            let given = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "t"), ("ce-source", "/a/b")];
            let mut headers = HeaderMap::new();
            for (name, value) in given.iter().chain(further) {
                headers.append(*name, value.parse().unwrap());
            }
            decode_binary(&headers, &Bytes::from_static(b"1")).map_err(|problem| problem.code())
        };
        assert!(binary(&[("ce-ext", "1"), ("content-type", "application/json")]).is_ok());
        for further in [
            [("ce-id", "2"), ("x", "")],
            [("ce-ext", "1"), ("ce-ext", "1")],
            [("ce-data", "2"), ("x", "")],
            [("ce-datacontenttype", "text/plain"), ("x", "")],
        ] {
            assert_eq!(binary(&further).err(), Some("invalid_header"), "{further:?}");
        }
        let twice = r#""source":"urn:x","sourcetype":"a","sourceid":"b","originalsource":"urn:y""#;
        assert_eq!(structured(twice).unwrap_err().code(), "invalid_extension");
    }

    #[test]
    fn data_of_any_type() {
        let base64 = |text: &'static str, kind: &str| Data::Base64 {
            text: Bytes::from_static(text.as_bytes()),
            content_type: Some(kind.to_owned()),
        };
        for (further, wanted) in [
            ("", Data::Absent),
            (r#","data":[1, 2]"#, Data::Json(Bytes::from_static(b"[1,2]"))),
            (r#","datacontenttype":"text/plain","data":"hi""#, base64("aGk=", "text/plain")),
            (r#","datacontenttype":"image/png","data_base64":"AAA=""#, base64("AAA=", "image/png")),
        ] {
            let event = structured(&format!(r#""source":"/a/b"{further}"#)).unwrap();
            assert_eq!(event.data, wanted, "{further}");
        }
        assert!(structured(r#""source":"/a/b","data":1,"data_base64":"AAA=""#).is_err());
        assert!(structured(r#""source":"/a/b","data_base64":"%""#).is_err());
        assert!(structured(r#""source":"/a/b","ext":{}"#).is_err());
    }
}
