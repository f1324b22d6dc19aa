//! Which records of a shared log repeat an event: a rule over the log alone, so that every node, page and replay agrees.
//!
//! Writers on several nodes may append the same event at the same moment, each having looked for it before. An event with
//! an id of its caller therefore carries the header `ds-seen`: the offset below which its writer had looked in its
//! partition. The record at offset `o` with `ds-seen` = `s` is *hidden* iff the same identity (source and id) stands in
//! `[max(s, o − 65,536), o)` of its partition. Its position is an alias of the first of them. Programs that read the
//! topic without dualstream see both.
//!
//! A record without the header is never hidden, and one whose first copy was taken by retention is not hidden any more.

mod left_out;

pub use left_out::LeftOut;

use crate::record::{Header, Headers, Record};
use bytes::Bytes;

/// Header that says how far its writer had looked for the same event: an offset in decimal digits.
pub const SEEN_HEADER: &str = "ds-seen";

/// Most offsets before a record in which its first copy is looked for.
pub const WINDOW: u64 = 65_536;

/// The offsets in which a first copy of `record` would hide it; `None` for one that nothing hides.
pub fn looked_for_in(record: &Record) -> Option<std::ops::Range<u64>> {
    let seen = parse(record.headers.get(SEEN_HEADER)?)?;
    let from = seen.max(record.offset.saturating_sub(WINDOW));
    (from < record.offset).then_some(from..record.offset)
}

/// The headers of an event whose writer had looked below `seen`.
pub fn with_seen(headers: &Headers, seen: u64) -> Headers {
    let header = Header {
        name: Bytes::from_static(SEEN_HEADER.as_bytes()),
        value: Some(Bytes::from(seen.to_string())),
    };
    Headers::new(headers.iter().cloned().chain([header]).collect())
}

/// Decimal digits without a sign or a leading zero, as [`with_seen`] writes them; anything else is somebody else's.
fn parse(value: &Bytes) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, seen: &str) -> Record {
        let value = Some(Bytes::copy_from_slice(seen.as_bytes()));
        let headers = Headers::new(vec![Header { name: SEEN_HEADER.into(), value }]);
        let (partition, append_time_ms, timestamp_ms, key, value) = (3, 1, 1, None, None);
        Record { partition, offset, append_time_ms, timestamp_ms, key, value, headers }
    }

    #[test]
    fn the_window_ends_at_the_record() {
        assert_eq!(looked_for_in(&record(10, "7")), Some(7..10));
        assert_eq!(looked_for_in(&record(10, "10")), None, "it had looked everywhere");
        assert_eq!(looked_for_in(&record(10, "11")), None, "a writer cannot have looked past itself");
        assert_eq!(looked_for_in(&record(WINDOW + 10, "3")), Some(10..WINDOW + 10));
        for odd in ["", "-1", "+1", "007", "1 ", "x", "99999999999999999999"] {
            assert_eq!(looked_for_in(&record(10, odd)), None, "{odd:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = Headers::new(vec![Header { name: "source_type".into(), value: Some("repo".into()) }]);
        let headers = with_seen(&plain, 41);
        let record = Record { headers: headers.clone(), ..record(42, "0") };
        assert_eq!(looked_for_in(&record), Some(41..42));
        assert_eq!(headers.get("source_type"), plain.get("source_type"));
    }
}
