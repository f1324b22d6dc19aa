//! Bodies of `POST /v1/events` in every form.

use bytes::Bytes;
use dualstream_core::event::{Event, codec};
use dualstream_core::record::Headers;
use dualstream_gateway::fuzzing::{self, Form};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Longest line: short, so that there are some.
const LINE_BYTES_MAX: usize = 1_000;
const FORMS: [Form; 5] = [Form::Json, Form::Lines, Form::CloudEvent, Form::CloudEvents, Form::Binary];

/// One byte for the form, then the body; before the body of a binary CloudEvent its headers, a line each, and an empty
/// line. What is taken is stored as strict JSON, and read back as the same event.
pub fn publish_body(data: &[u8]) {
    let Some((&form, body)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    match FORMS[usize::from(form) % FORMS.len()] {
        Form::Lines => lines(&body, usize::from(form)),
        Form::Binary => {
            let (headers, body) = with_headers(&body);
            take(Form::Binary, &headers, &body);
        }
        form => take(form, &HeaderMap::new(), &body),
    }
}

fn lines(body: &Bytes, size: usize) {
    let pieces =
        |size: usize| (0..body.len()).step_by(size).map(move |at| body.slice(at..body.len().min(at + size)));
    let whole = fuzzing::lines(pieces(body.len().max(1)), LINE_BYTES_MAX);
    assert_eq!(fuzzing::lines(pieces(size), LINE_BYTES_MAX), whole, "in pieces of {size}");
    whole.into_iter().filter_map(|(_, event)| event.ok()).for_each(stored);
}

fn take(form: Form, headers: &HeaderMap, body: &Bytes) {
    let events = match fuzzing::events(form, headers, body) {
        Ok(events) => events,
        Err(problem) => {
            assert!((400..500).contains(&problem.status().as_u16()), "{problem:?}");
            return;
        }
    };
    if form != Form::Binary {
        let json: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(body);
        assert!(json.is_ok(), "what is taken is JSON to everybody: {json:?}");
    }
    events.into_iter().for_each(stored);
}

/// What is stored of an event says what the event said.
fn stored(event: Event) {
    if event.check().is_err() {
        return;
    }
    let id = event.id.clone().unwrap_or_else(|| "made".into());
    let time = event.time.clone().unwrap_or_else(|| "2026-11-21T00:00:00Z".into());
    let Ok(record) = event.clone().into_record(&id, &time, Headers::default()) else { return };
    let value = record.value.expect("an event's record has a value");
    assert!(!value.contains(&b'\n') && !value.contains(&b'\r'), "one line");
    assert!(codec::parse(&value).is_some_and(|parsed| parsed.id == id), "{value:?}");
    match fuzzing::events(Form::CloudEvent, &HeaderMap::new(), &value) {
        Ok(again) => assert_eq!(again, [Event { id: Some(id), time: Some(time), ..event }], "{value:?}"),
        // It is one level deeper, and holds some members more.
        Err(problem) => assert!(matches!(problem.code(), "too_deep" | "too_large"), "{problem:?}: {value:?}"),
    }
}

fn with_headers(body: &Bytes) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let mut rest = body.clone();
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let line = rest.split_to(end);
        rest = rest.slice(1..);
        let Some(colon) = line.iter().position(|&b| b == b':') else { break };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    (headers, rest)
}
