//! Channels, patterns, and what a subscriber may name.

use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Longest channel or pattern in bytes.
pub const CHANNEL_BYTES_MAX: usize = 255;
/// Longest `source_type` in bytes.
pub const SOURCE_TYPE_BYTES_MAX: usize = 64;
/// Longest `source_id` in bytes.
pub const SOURCE_ID_BYTES_MAX: usize = 180;

/// A channel: `namespace:rest`, or a bare name that belongs to the default namespace. At most 255 bytes of printable
/// UTF-8 without space, `*`, `?`, `[`, `]`, `\`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// All channels that begin with a prefix: one `*`, last, after a `:`. It matches the whole rest, `:` and `/`
/// included. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// What can be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// One channel.
    Channel(Channel),
    /// All channels of a pattern.
    Pattern(Pattern),
}

impl Channel {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// `invalid_channel`, with the rule that is broken.
    pub fn new(name: &str) -> Result<Channel> {
        check_channel(name)?;
        check_rest(name, "channel", "invalid_channel")?;
        Ok(Channel(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `(namespace, rest)`; `None` for a bare name.
    pub fn split(&self) -> Option<(&str, &str)> {
        self.0.split_once(':')
    }
}

impl Pattern {
    /// Checks and wraps a pattern.
    ///
    /// # Errors
    /// `invalid_pattern`, with the rule that is broken.
    pub fn new(text: &str) -> Result<Pattern> {
        check_channel(text)?;
        let Some(prefix) = text.strip_suffix('*').filter(|p| p.ends_with(':')) else {
            return Err(Error::invalid(
                "invalid_pattern",
                "channel",
                "a pattern has one '*', at its end, after a ':' (like events:repo:*)",
            ));
        };
        check_rest(prefix, "channel", "invalid_pattern")?;
        Ok(Pattern(text.into()))
    }

    /// The pattern as text, `*` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What every matching channel begins with; ends with `:`.
    pub fn prefix(&self) -> &str {
        &self.0[..self.0.len() - 1]
    }

    /// Whether `channel` matches.
    pub fn matches(&self, channel: &str) -> bool {
        channel.len() > self.prefix().len() && channel.starts_with(self.prefix())
    }
}

impl Target {
    /// A pattern if the text holds a `*`, else a channel.
    ///
    /// # Errors
    /// As [`Channel::new`] and [`Pattern::new`].
    pub fn parse(text: &str) -> Result<Target> {
        match text.contains('*') {
            true => Pattern::new(text).map(Target::Pattern),
            false => Channel::new(text).map(Target::Channel),
        }
    }

    /// The channel or pattern as text.
    pub fn as_str(&self) -> &str {
        match self {
            Target::Channel(channel) => channel.as_str(),
            Target::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Whether `channel` is it or matches it.
    pub fn matches(&self, channel: &str) -> bool {
        match self {
            Target::Channel(own) => own.as_str() == channel,
            Target::Pattern(pattern) => pattern.matches(channel),
        }
    }
}

fn check_channel(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > CHANNEL_BYTES_MAX {
        return Err(Error::invalid("invalid_channel", "channel", "a channel is 1 to 255 bytes")
            .with_limit(CHANNEL_BYTES_MAX as u64));
    }
    if name.starts_with(':') || name.starts_with('$') {
        return Err(Error::invalid("invalid_channel", "channel", "a channel does not begin with ':' or '$'"));
    }
    Ok(())
}

fn check_rest(text: &str, field: &'static str, code: &'static str) -> Result<()> {
    match is_plain(text) || text.chars().all(is_name_char) {
        true => Ok(()),
        false => Err(Error::invalid(
            code,
            field,
            format!(
                "{field} holds a character that is not allowed: space, control, invisible, or one of * ? [ ] \\"
            ),
        )),
    }
}

/// Whether all of it are ASCII characters that are legal in a name. So is nearly every name, and every name of every event
/// is looked at: all bytes, many at a time, as there hardly ever is another.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & is_plain_byte(byte))
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\')
}

/// Printable, visible, no space, none of `* ? [ ] \`.
pub(crate) fn is_name_char(c: char) -> bool {
    if let Ok(byte @ ..0x80) = u8::try_from(c) {
        return is_plain_byte(byte);
    }
    let invisible = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}');
    !(c.is_control() || c.is_whitespace() || invisible)
}

/// Checks a `source_type`: 1–64 of `[a-z0-9_-]`.
///
/// # Errors
/// `invalid_source_type`.
pub fn check_source_type(text: &str) -> Result<()> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    if text.is_empty() || text.len() > SOURCE_TYPE_BYTES_MAX || !text.bytes().all(legal) {
        return Err(Error::invalid(
            "invalid_source_type",
            "source_type",
            "source_type is 1 to 64 of [a-z0-9_-]",
        )
        .with_limit(SOURCE_TYPE_BYTES_MAX as u64));
    }
    Ok(())
}

/// Checks a `source_id`: 1–180 bytes of printable UTF-8 without space, `*`, `?`, `[`, `]`, `\`.
///
/// # Errors
/// `invalid_source_id`.
pub fn check_source_id(text: &str) -> Result<()> {
    if text.is_empty() || text.len() > SOURCE_ID_BYTES_MAX {
        return Err(Error::invalid("invalid_source_id", "source_id", "source_id is 1 to 180 bytes")
            .with_limit(SOURCE_ID_BYTES_MAX as u64));
    }
    check_rest(text, "source_id", "invalid_source_id")
}

/// A channel is ordered and hashed as its text is.
impl std::borrow::Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

macro_rules! text_noun {
    ($noun:ty) => {
        impl fmt::Display for $noun {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $noun {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}
text_noun!(Channel);
text_noun!(Pattern);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "events:user:octocat", "events:repo:owner/repo", "chat:room#1", "ns:grün", "a::b"]
        {
            assert_eq!(Channel::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(256);
        for bad in
            ["", ":x", "$internal:x", "a b", "a*", "a?", "a[", "a\\b", "a\nb", "a\0", "a\u{202e}b", &long]
        {
            assert!(Channel::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patterns() {
        let all = Pattern::new("events:user:*").unwrap();
        assert!(all.matches("events:user:octocat") && all.matches("events:user:a:b/c"));
        assert!(!all.matches("events:user:") && !all.matches("events:users:x"));
        for bad in ["*", "a*", "a:**", "a:*:b", "a:*b", ":*", "a:?*", "a: *"] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }
}
