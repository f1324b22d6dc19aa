//! RFC 3339 text to and from milliseconds since 1970 (UTC).

use crate::{Error, Result};

/// `2026-11-21T08:30:00.123Z` for `ms` since 1970; out-of-range values are clamped to the years −9999…9999.
pub fn format_rfc3339(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{at:.3}")
}

/// Milliseconds since 1970 of an RFC 3339 time.
///
/// # Errors
/// `invalid_time` when `text` is not RFC 3339.
pub fn parse_rfc3339(text: &str) -> Result<i64> {
    let bytes = text.as_bytes();
    let shaped =
        bytes.len() >= 20 && bytes.len() <= 64 && bytes[4] == b'-' && matches!(bytes[10], b'T' | b't');
    let at = if shaped { text.parse::<jiff::Timestamp>().ok() } else { None };
    at.map(|t| t.as_millisecond()).ok_or_else(|| {
        Error::invalid("invalid_time", "time", "time is not RFC 3339, like 2026-11-21T08:30:00.123Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        assert_eq!(format_rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(parse_rfc3339("2023-11-14T22:13:20.123Z").unwrap(), 1_700_000_000_123);
        assert_eq!(parse_rfc3339("2023-11-14T23:13:20.123+01:00").unwrap(), 1_700_000_000_123);
        for bad in ["", "yesterday", "2023-11-14", "2023-11-14 22:13:20Z", "20231114T221320Z"] {
            assert!(parse_rfc3339(bad).is_err(), "{bad}");
        }
    }
}
