//! The scanner: RFC 8259's grammar by recursive descent, at most [`DEPTH_MAX`] deep.

use super::{DEPTH_MAX, Field, KEYS_MAX, NUMBER_BYTES_MAX, Value, invalid, place};
use dualstream_core::{Error, ErrorKind};
use std::borrow::Cow;
use std::collections::HashSet;

/// So many keys of one object are compared one by one; past it a (randomly keyed) hash set takes over.
const KEYS_COMPARED_MAX: usize = 16;

/// What is wrong, and at which byte.
pub(super) struct Fault {
    what: What,
    at: usize,
}

enum What {
    Syntax(&'static str),
    DuplicateKey,
    TooDeep,
    TooManyKeys,
    NumberTooLong,
}

type Scan<T> = Result<T, Fault>;

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    keys: usize,
    /// White space bytes passed so far: a value that passes none is compact.
    spaces: usize,
    /// Keys of all objects that are open, innermost last.
    open: Vec<Cow<'a, str>>,
}

impl Fault {
    pub(super) fn explain(self, text: &str) -> Error {
        let (line, column) = place(&text.as_bytes()[..self.at]);
        let too_large = |message: String, limit: usize| {
            Error::new(ErrorKind::Invalid, "too_large", message).with_limit(limit as u64)
        };
        match self.what {
            What::Syntax(what) => invalid(format!("{what}, at {line}:{column}")),
            What::DuplicateKey => invalid(format!("an object has the same key twice, at {line}:{column}")),
            What::TooDeep => Error::new(
                ErrorKind::Invalid,
                "too_deep",
                format!("arrays and objects are nested deeper than {DEPTH_MAX}, at {line}:{column}"),
            )
            .with_limit(DEPTH_MAX as u64),
            What::TooManyKeys => {
                too_large(format!("more than {KEYS_MAX} keys, at {line}:{column}"), KEYS_MAX)
            }
            What::NumberTooLong => too_large(
                format!("a number is longer than {NUMBER_BYTES_MAX} bytes, at {line}:{column}"),
                NUMBER_BYTES_MAX,
            ),
        }
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0, depth: 0, keys: 0, spaces: 0, open: Vec::new() }
    }

    /// One value as `scan` takes it, with nothing but white space around it.
    pub(super) fn document<T>(&mut self, scan: impl FnOnce(&mut Self) -> Scan<T>) -> Scan<T> {
        self.space();
        let found = scan(self)?;
        self.space();
        match self.peek() {
            None => Ok(found),
            Some(_) => Err(self.syntax("something follows the value")),
        }
    }

    /// Any value.
    pub(super) fn value(&mut self) -> Scan<Value<'a>> {
        let (start, spaces) = (self.at, self.spaces);
        match self.peek() {
            Some(b'"') => drop(self.string()?),
            Some(b'{') => self.object(None)?,
            Some(b'[') => self.array()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            Some(_) => return Err(self.syntax("a value is expected")),
            None => return Err(self.syntax("the text ends where a value is expected")),
        }
        Ok(Value { text: &self.text[start..self.at], is_compact: self.spaces == spaces })
    }

    /// An object; its members go to `fields` if they are wanted.
    pub(super) fn object(&mut self, mut fields: Option<&mut Vec<Field<'a>>>) -> Scan<()> {
        self.enter(b'{', "an object is expected")?;
        let first = self.open.len();
        let mut many = None;
        self.space();
        if self.take(b'}') {
            return self.leave();
        }
        loop {
            let name = self.key(first, &mut many)?;
            self.space();
            if !self.take(b':') {
                return Err(self.syntax("':' is expected"));
            }
            self.space();
            let value = self.value()?;
            if let Some(fields) = fields.as_deref_mut() {
                fields.push(Field { name, value });
            }
            self.space();
            match self.take(b',') {
                true => self.space(),
                false if self.take(b'}') => break,
                false => return Err(self.syntax("',' or '}' is expected")),
            }
        }
        self.open.truncate(first);
        self.leave()
    }

    /// A key that none of `open[first..]` equals.
    fn key(&mut self, first: usize, many: &mut Option<HashSet<Cow<'a, str>>>) -> Scan<Cow<'a, str>> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.syntax("a key in double quotes is expected"));
        }
        self.keys += 1;
        if self.keys > KEYS_MAX {
            return Err(Fault { what: What::TooManyKeys, at });
        }
        let name = self.string()?;
        let is_new = match many {
            Some(set) => set.insert(name.clone()),
            None => {
                let is_new = !self.open[first..].contains(&name);
                self.open.push(name.clone());
                if self.open.len() - first >= KEYS_COMPARED_MAX {
                    *many = Some(self.open.drain(first..).collect());
                }
                is_new
            }
        };
        match is_new {
            true => Ok(name),
            false => Err(Fault { what: What::DuplicateKey, at }),
        }
    }

    fn array(&mut self) -> Scan<()> {
        self.elements(|scanner| scanner.value().map(drop))
    }

    /// An array whose elements are wanted, each counted by itself.
    pub(super) fn outer_array(&mut self, elements: &mut Vec<Value<'a>>) -> Scan<()> {
        self.elements(|scanner| {
            (scanner.keys, scanner.depth) = (0, 0);
            elements.push(scanner.value()?);
            scanner.depth = 1;
            Ok(())
        })
    }

    fn elements(&mut self, mut element: impl FnMut(&mut Self) -> Scan<()>) -> Scan<()> {
        self.enter(b'[', "an array is expected")?;
        self.space();
        if self.take(b']') {
            return self.leave();
        }
        loop {
            element(self)?;
            self.space();
            match self.take(b',') {
                true => self.space(),
                false if self.take(b']') => return self.leave(),
                false => return Err(self.syntax("',' or ']' is expected")),
            }
        }
    }

    fn enter(&mut self, bracket: u8, otherwise: &'static str) -> Scan<()> {
        let at = self.at;
        if !self.take(bracket) {
            return Err(self.syntax(otherwise));
        }
        self.depth += 1;
        match self.depth > DEPTH_MAX {
            true => Err(Fault { what: What::TooDeep, at }),
            false => Ok(()),
        }
    }

    fn leave(&mut self) -> Scan<()> {
        self.depth -= 1;
        Ok(())
    }

    /// A string, escapes resolved.
    fn string(&mut self) -> Scan<Cow<'a, str>> {
        let start = self.at;
        self.at += 1;
        let mut is_escaped = false;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest.iter().position(|&b| !PLAIN[usize::from(b)]).unwrap_or(rest.len());
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.syntax("a control character stands in a string")),
                None => return Err(self.syntax("the text ends inside a string")),
            }
        }
        self.at += 1;
        if !is_escaped {
            return Ok(Cow::Borrowed(&self.text[start + 1..self.at - 1]));
        }
        let whole = &self.text[start..self.at];
        serde_json::from_str(whole)
            .map(Cow::Owned)
            .map_err(|_| Fault { what: What::Syntax("an escape is not valid in this string"), at: start })
    }

    /// Passes a backslash and what it escapes; `\u` is looked at when the string is resolved.
    fn escape(&mut self) -> Scan<()> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u') => {
                self.at += 2;
                Ok(())
            }
            Some(_) => Err(self.syntax("an escape is not valid")),
            None => Err(self.syntax("the text ends inside a string")),
        }
    }

    fn number(&mut self) -> Scan<()> {
        let start = self.at;
        self.take(b'-');
        match self.take(b'0') {
            true => {}
            false => self.digits()?,
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        match self.at - start > NUMBER_BYTES_MAX {
            true => Err(Fault { what: What::NumberTooLong, at: start }),
            false => Ok(()),
        }
    }

    fn digits(&mut self) -> Scan<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        match count {
            0 => Err(self.syntax("a digit is expected")),
            _ => Ok(()),
        }
    }

    fn word(&mut self, word: &'static str) -> Scan<()> {
        match self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => Err(self.syntax("a value is expected")),
        }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
            self.spaces += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn syntax(&self, what: &'static str) -> Fault {
        Fault { what: What::Syntax(what), at: self.at }
    }
}

/// Bytes that stand for themselves in a string.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};
