//! RFC 3339 text to and from milliseconds since 1970 (UTC).

use crate::{Error, Result};
use std::fmt::Write;

/// `2026-11-21T08:30:00.123Z` for `ms` since 1970; out-of-range values are clamped to the years −9999…9999.
pub fn format_rfc3339(ms: i64) -> String {
    let mut text = String::with_capacity(24);
    push_rfc3339(&mut text, ms);
    text
}

/// Appends what [`format_rfc3339`] makes.
pub fn push_rfc3339(out: &mut impl Write, ms: i64) {
    const DAY_MS: i64 = 86_400_000;
    // What is before 1970 or past its end is left to the calendar.
    if !(0..=jiff::Timestamp::MAX.as_millisecond()).contains(&ms) {
        let _ = out.write_str(&format_any(ms));
        return;
    }
    let (days, time) = (ms / DAY_MS, ms % DAY_MS);
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, digits: usize, mut value: i64| {
        for place in (at..at + digits).rev() {
            text[place] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, time / 3_600_000);
    put(14, 2, time / 60_000 % 60);
    put(17, 2, time / 1_000 % 60);
    put(20, 3, time % 1_000);
    let _ = out.write_str(std::str::from_utf8(&text).expect("digits are ASCII"));
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`, for days that are not negative).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn format_any(ms: i64) -> String {
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
    fn digits_agree_with_the_calendar() {
        let mut ms = -100_000_000_000_i64;
        while ms < 253_500_000_000_000 {
            assert_eq!(format_rfc3339(ms), format_any(ms), "{ms}");
            // Some hours less than four days, so that every time of the day and every day comes by.
            ms += 337_991_713;
        }
        for ms in [0, 951_782_399_999, 951_782_400_000, 253_402_300_799_999, 253_402_300_800_000, i64::MAX] {
            assert_eq!(format_rfc3339(ms), format_any(ms));
        }
    }

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
