//! Which live items stand for one another: for a client that is slow the later one replaces the earlier.

use crate::{Error, Result};
use serde_json::Value;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Longest pointer.
const POINTER_BYTES_MAX: usize = 255;
/// A longer value is kept as its hash, so that no key is large.
const VALUE_BYTES_MAX: usize = 128;

/// Where the key of an item is found in its payload: a JSON pointer (RFC 6901). Empty: the channel alone is the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConflateKey(String);

impl ConflateKey {
    /// A key at `pointer`.
    ///
    /// # Errors
    /// `invalid_pointer` when it is no JSON pointer of at most 255 bytes.
    pub fn new(pointer: &str) -> Result<ConflateKey> {
        let begins = pointer.is_empty() || pointer.starts_with('/');
        let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        match begins && escapes && pointer.len() <= POINTER_BYTES_MAX {
            true => Ok(ConflateKey(pointer.to_owned())),
            false => {
                let message = "a conflate key is a JSON pointer like /widgetId, of at most 255 bytes";
                Err(Error::invalid("invalid_pointer", "conflate_key", message))
            }
        }
    }

    /// The pointer.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of an item: its channel, and what the pointer finds in its payload. Where it finds nothing, the channel
    /// alone.
    pub(crate) fn of(&self, channel: &Arc<str>, payload: &[u8]) -> Arc<str> {
        match self.value_in(payload) {
            None => channel.clone(),
            // No channel holds a NUL.
            Some(value) => format!("{channel}\0{value}").into(),
        }
    }

    fn value_in(&self, payload: &[u8]) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let value = serde_json::from_slice::<Value>(payload).ok()?.pointer(&self.0)?.to_string();
        match value.len() > VALUE_BYTES_MAX {
            true => Some(format!("{:032x}", xxh3_128(value.as_bytes()))),
            false => Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_items() {
        let channel: Arc<str> = Arc::from("dashboard:1");
        let key = |pointer: &str, payload: &str| {
            ConflateKey::new(pointer).unwrap().of(&channel, payload.as_bytes()).replace('\0', "|")
        };
        for (pointer, payload, wanted) in [
            ("", r#"{"widgetId":"a"}"#, "dashboard:1"),
            ("/widgetId", r#"{"widgetId":"a","dataVersion":7}"#, "dashboard:1|\"a\""),
            ("/widgetId", r#"{"widgetId":5}"#, "dashboard:1|5"),
            ("/widgetId", r#"{"widgetId":"5"}"#, "dashboard:1|\"5\""),
            ("/a/1/b~1c", r#"{"a":[0,{"b/c":null}]}"#, "dashboard:1|null"),
            ("/widgetId", r#"{"other":1}"#, "dashboard:1"),
            ("/widgetId", "no JSON", "dashboard:1"),
        ] {
            assert_eq!(key(pointer, payload), wanted, "{pointer} {payload}");
        }
        let (one, two) = ("x".repeat(5_000), "y".repeat(5_000));
        let long = |text: &str| key("/k", &format!(r#"{{"k":"{text}"}}"#));
        assert!(long(&one).len() < 64 && long(&one) != long(&two) && long(&one) == long(&one));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for bad in ["widgetId", "/a~2", "/a~", &format!("/{}", "x".repeat(255))] {
            assert_eq!(ConflateKey::new(bad).unwrap_err().code(), "invalid_pointer", "{bad}");
        }
    }
}
