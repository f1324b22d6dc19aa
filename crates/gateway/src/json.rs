//! Strict JSON in one pass over raw bytes: what two parsers could read differently is refused here.
//!
//! Guarantees for every text that passes: valid JSON (RFC 8259) in UTF-8 without byte order mark, one value and nothing
//! after it, no object with two equal keys (escapes resolved), no lone surrogates, depth, number of keys and length of
//! numbers bounded. Errors name line and column. It builds no tree: it yields the members of the outermost object or
//! array as slices of the input, and compacts them only where there is white space to drop.

mod scan;

use bytes::Bytes;
use dualstream_core::{Error, ErrorKind};
use scan::Scanner;
use std::borrow::Cow;

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 64;
/// Most keys in one document, all objects together.
pub const KEYS_MAX: usize = 10_000;
/// Longest number literal in bytes.
pub const NUMBER_BYTES_MAX: usize = 1_024;

/// A value inside a checked text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    text: &'a str,
    is_compact: bool,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its key, escapes resolved.
    pub name: Cow<'a, str>,
    /// Its value.
    pub value: Value<'a>,
}

/// Checks a text that holds any one value.
///
/// # Errors
/// `invalid_json`, `too_deep`, `too_large`.
pub fn check(text: &[u8]) -> Result<Value<'_>, Error> {
    let text = utf8(text)?;
    let mut scanner = Scanner::new(text);
    scanner.document(Scanner::value).map_err(|fault| fault.explain(text))
}

/// Checks a text that holds an object, and gives its members in their order.
///
/// # Errors
/// As [`check`]; `invalid_json` too when it is no object.
pub fn object(text: &[u8]) -> Result<Vec<Field<'_>>, Error> {
    let text = utf8(text)?;
    let mut scanner = Scanner::new(text);
    let mut fields = Vec::with_capacity(8);
    scanner.document(|s| s.object(Some(&mut fields))).map_err(|fault| fault.explain(text))?;
    Ok(fields)
}

/// Checks a text that holds an array, and gives its elements. The limits hold for each element by itself.
///
/// # Errors
/// As [`check`], with the index of the element that is wrong; `invalid_json` too when it is no array.
pub fn array(text: &[u8]) -> Result<Vec<Value<'_>>, (usize, Error)> {
    let text = utf8(text).map_err(|error| (0, error))?;
    let mut scanner = Scanner::new(text);
    let mut elements = Vec::new();
    match scanner.document(|s| s.outer_array(&mut elements)) {
        Ok(()) => Ok(elements),
        Err(fault) => Err((elements.len(), fault.explain(text))),
    }
}

/// The first byte that is not white space: tells an array from an object before either is parsed.
pub fn first_byte(text: &[u8]) -> Option<u8> {
    text.iter().copied().find(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
}

impl<'a> Value<'a> {
    /// Its text as it came.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Its text without white space between tokens: a slice of `whole` where there was none.
    ///
    /// # Panics
    /// When the value was not scanned from `whole`.
    pub fn compact(&self, whole: &Bytes) -> Bytes {
        match self.is_compact {
            true => whole.slice_ref(self.text.as_bytes()),
            false => Bytes::from(without_space(self.text.as_bytes())),
        }
    }

    /// The string it is; `None` for any other value.
    pub fn as_string(&self) -> Option<Cow<'a, str>> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        match memchr::memchr(b'\\', inner.as_bytes()) {
            None => Some(Cow::Borrowed(inner)),
            Some(_) => serde_json::from_str(self.text).ok().map(Cow::Owned),
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.text == "null"
    }

    /// Whether it is an object or array.
    pub fn is_nested(&self) -> bool {
        self.text.starts_with(['{', '['])
    }
}

fn utf8(text: &[u8]) -> Result<&str, Error> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(invalid("the text begins with a byte order mark, at 1:1"));
    }
    std::str::from_utf8(text).map_err(|error| {
        let (line, column) = place(&text[..error.valid_up_to()]);
        invalid(format!("the text is not UTF-8, at {line}:{column}"))
    })
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, "invalid_json", message)
}

/// Line and column (both from 1, columns in characters) just after `before`.
fn place(before: &[u8]) -> (usize, usize) {
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let is_start = |b: &&u8| **b & 0xc0 != 0x80;
    (line, before[start..].iter().filter(is_start).count() + 1)
}

/// Drops white space outside strings of a checked text.
fn without_space(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if !in_string && matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        }
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests;
