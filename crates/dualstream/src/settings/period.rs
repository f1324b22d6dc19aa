//! A length of time, written with its unit: `"5s"`.

use std::fmt;
use std::time::Duration;

/// A length of time. Written as a whole number and one of `us`, `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Period {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Period {
        Period(Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Period {
        Period(Duration::from_secs(seconds))
    }

    /// So many days.
    pub const fn days(days: u64) -> Period {
        Period::seconds(days * 86_400)
    }

    /// As the standard library counts it.
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// In milliseconds, rounded down.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// In microseconds.
    pub fn as_micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// Reads `"5s"`; `None` for anything else, a number without unit included.
    pub fn parse(text: &str) -> Option<Period> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
        number.parse::<u64>().ok()?.checked_mul(*scale).map(|micros| Period(Duration::from_micros(micros)))
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Period {
        Period(duration)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.as_micros();
        let (unit, scale) = UNITS
            .iter()
            .find(|(_, scale)| micros >= *scale && micros.is_multiple_of(*scale))
            .unwrap_or(&("s", 1));
        write!(f, "{}{unit}", micros / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for text in ["1us", "250ms", "5s", "90s", "10m", "5h", "7d", "0s"] {
            assert_eq!(Period::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Period::parse("24h").unwrap().to_string(), "1d");
        assert_eq!(Period::parse("5 s"), Some(Period::seconds(5)));
        for bad in ["", "5", "s", "1.5s", "-1s", "1w", "5S", "99999999999999999999s", "1h30m"] {
            assert_eq!(Period::parse(bad), None, "{bad:?}");
        }
    }
}
