//! An order to disconnect a client, whichever node it is connected to.

use crate::{Error, ErrorKind, Result};
use std::ops::RangeInclusive;

/// Longest reason in bytes: what a close frame takes beside its code (RFC 6455, 5.5).
pub const REASON_BYTES_MAX: usize = 123;
/// Codes of the client protocol that tell a client whether to come back.
pub const CODES: RangeInclusive<u16> = 3000..=4999;

/// Ends one connection. A connection's id is never used again, so to be told twice does no harm, and to be told late is
/// right as long as the connection is there; neither needs to know which node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    connection: u128,
    code: u16,
    reason: Box<str>,
}

impl Disconnect {
    /// An order to close the connection of that id, with a close code and a reason for the client.
    ///
    /// # Errors
    /// `invalid_disconnect`: the code is none of [`CODES`], or the reason is longer than [`REASON_BYTES_MAX`] or holds
    /// control characters.
    pub fn new(connection: u128, code: u16, reason: &str) -> Result<Disconnect> {
        if !CODES.contains(&code) {
            let message = format!("a close code is {} to {}", CODES.start(), CODES.end());
            return Err(Error::invalid("invalid_disconnect", "code", message));
        }
        if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
            let message = format!("a reason is at most {REASON_BYTES_MAX} bytes of text on one line");
            return Err(Error::new(ErrorKind::Invalid, "invalid_disconnect", message)
                .with_field("reason")
                .with_limit(REASON_BYTES_MAX as u64));
        }
        Ok(Disconnect { connection, code, reason: reason.into() })
    }

    /// Id of the connection.
    pub fn connection(&self) -> u128 {
        self.connection
    }

    /// The close code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What the client is told.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_client_can_be_told() {
        let longest = "\"".repeat(REASON_BYTES_MAX);
        for (code, reason) in [(3000, ""), (3503, "force disconnect"), (4999, &longest)] {
            let order = Disconnect::new(7, code, reason).unwrap();
            assert_eq!((order.connection(), order.code(), order.reason()), (7, code, reason));
        }
        let longer = "x".repeat(REASON_BYTES_MAX + 1);
        for (code, reason, field) in [
            (2999, "", "code"),
            (5000, "", "code"),
            (3503, longer.as_str(), "reason"),
            (3503, "a\nb", "reason"),
        ] {
            let error = Disconnect::new(7, code, reason).unwrap_err();
            assert_eq!((error.code(), error.field()), ("invalid_disconnect", Some(field)));
        }
    }
}
