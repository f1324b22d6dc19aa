//! Where to begin, as clients write it: `earliest`, `latest`, an RFC 3339 append time, or a position or cursor.

use dualstream_core::Error;
use dualstream_core::hub::{Since, Start};
use dualstream_core::time::parse_rfc3339;

/// Reads the parameter `since`.
///
/// # Errors
/// `invalid_time` or `invalid_position`, with the field `since`.
pub fn parse(text: &str) -> Result<Since, Error> {
    let parsed = match text {
        "earliest" => Ok(Since::Earliest),
        "latest" => Ok(Since::Latest),
        // Tokens have no colon, times have two. A '+' that was not percent-encoded came as a space.
        _ if text.contains(':') => parse_rfc3339(&text.replace(' ', "+")).map(Since::Time),
        _ => text.parse().map(Since::At),
    };
    parsed.map_err(|error| error.with_field("since"))
}

/// The same place for a subscription.
pub fn start(since: Since) -> Start {
    match since {
        Since::Earliest => Start::Earliest,
        Since::Latest => Start::Latest,
        Since::Time(ms) => Start::Time(ms),
        Since::At(resume) => Start::Resume(resume),
    }
}
