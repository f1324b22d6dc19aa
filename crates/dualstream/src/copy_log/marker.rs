//! The header that says where a record was copied from.
//!
//! `EPOCH/OFFSET`: the epoch of the source topic in 16 hex digits, and the offset there in decimal ones. The partition is
//! the record's own. A copy of a copy carries the last one alone. `ds-seen` is about offsets of the source and is left out:
//! what it hides is not copied.

use dualstream_core::hidden::SEEN_HEADER;
use dualstream_core::record::{Header, Headers, NewRecord, Record};
use dualstream_core::topic::Epoch;

/// Name of the header.
pub const COPIED_HEADER: &str = "ds-copied-from";

/// The record to append for one that was read.
pub(super) fn marked(record: &Record, epoch: Epoch) -> NewRecord {
    let value = format!("{epoch}/{}", record.offset);
    let header = Header { name: COPIED_HEADER.into(), value: Some(value.into()) };
    NewRecord {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: Headers::new(own(&record.headers).cloned().chain([header]).collect()),
        timestamp_ms: Some(record.timestamp_ms),
        identity: None,
    }
}

/// The headers that are the record's own, whichever log it stands in.
pub(super) fn own(headers: &Headers) -> impl Iterator<Item = &Header> {
    headers
        .iter()
        .filter(|header| header.name != COPIED_HEADER.as_bytes() && header.name != SEEN_HEADER.as_bytes())
}

/// Offset in the source of a record that was copied from it in its epoch `of`.
pub(super) fn source_offset(record: &Record, of: Epoch) -> Option<u64> {
    let value = std::str::from_utf8(record.headers.get(COPIED_HEADER)?).ok()?;
    let (epoch, offset) = value.split_once('/')?;
    let offset: u64 = offset.parse().ok()?;
    (epoch == of.to_string() && value == format!("{of}/{offset}")).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: Vec<Header>) -> Record {
        let (append_time_ms, timestamp_ms) = (5, 6);
        let headers = Headers::new(headers);
        Record { partition: 1, offset: 42, append_time_ms, timestamp_ms, key: None, value: None, headers }
    }

    fn header(name: &'static str, value: &'static str) -> Header {
        Header { name: name.into(), value: Some(value.into()) }
    }

    #[test]
    fn what_is_written_is_read_and_replaces_what_was() {
        let read = record(vec![header("a", "1"), header(SEEN_HEADER, "40"), header(COPIED_HEADER, "x/1")]);
        let copy = marked(&read, Epoch(7));
        assert_eq!(copy.headers.as_slice().len(), 2, "{:?}", copy.headers);
        let copy = Record { headers: copy.headers, offset: 3, ..read };
        assert_eq!(source_offset(&copy, Epoch(7)), Some(42));
        assert_eq!(source_offset(&copy, Epoch(8)), None, "another source");
        assert_eq!(own(&copy.headers).collect::<Vec<_>>(), [&header("a", "1")]);
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for odd in [
            "",
            "/",
            "0000000000000007",
            "0000000000000007/",
            "0000000000000007/01",
            "7/1",
            "0000000000000007/+1",
        ] {
            assert_eq!(source_offset(&record(vec![header(COPIED_HEADER, odd)]), Epoch(7)), None, "{odd:?}");
        }
        assert_eq!(source_offset(&record(vec![]), Epoch(7)), None);
    }
}
