//! The head of a request: its request line and fields (RFC 9112, sections 3 and 5).
//!
//! Lines are looked at once, when they are whole; of a line that is not, only what can never become right is refused.

use super::{Fault, Limits};
use http::Uri;
use memchr::memchr;

/// Fields of a head, and of trailers: the library takes as many.
pub const FIELDS_MAX: usize = 100;
/// Longer methods do not exist.
const METHOD_BYTES_MAX: usize = 32;
/// Longest target the library takes.
const LIBRARY_TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;
const VERSION_BYTES: usize = "HTTP/1.1".len();

/// A head, as far as it was looked at.
#[derive(Debug, Default)]
pub struct Head {
    /// Where the line that is not whole begins.
    line: usize,
    /// Up to where no line end is.
    searched: usize,
    /// An empty line before the request line is let pass once: some clients send one after a body.
    has_empty_line: bool,
    version: Option<Version>,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    is_chunked: bool,
    asks_upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What a head says about what follows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub body: Body,
    pub asks_upgrade: bool,
}

/// How long the body is.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    Sized(u64),
    Chunked,
}

impl Head {
    /// Looks at the bytes of this head so far. Where it ends and what it says; `None` when it is not whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<(usize, Frame)>, Fault> {
        while let Some(at) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + at;
            let line = bytes[self.line..end].strip_suffix(b"\r").ok_or(Fault::LineEnd)?;
            check_text(line)?;
            (self.line, self.searched) = (end + 1, end + 1);
            let is_over = self.take(line, limits)?;
            if self.line > limits.head_bytes_max {
                return Err(Fault::HeadTooLarge(limits.head_bytes_max));
            }
            if is_over {
                return self.frame().map(|frame| Some((self.line, frame)));
            }
        }
        self.check_open(bytes, limits)?;
        self.searched = bytes.len();
        Ok(None)
    }

    /// Refuses a line that cannot become right any more.
    fn check_open(&self, bytes: &[u8], limits: &Limits) -> Result<(), Fault> {
        let line = &bytes[self.line..];
        if self.version.is_none() {
            check_open_request_line(line, limits)?;
        }
        if bytes.len() > limits.head_bytes_max {
            return Err(Fault::HeadTooLarge(limits.head_bytes_max));
        }
        // A CR at the end of what was looked at before had no successor then.
        let news = &bytes[self.searched.saturating_sub(1).max(self.line)..];
        check_text(news.strip_suffix(b"\r").unwrap_or(news))
    }

    /// Takes a line without its end; whether it is the last of the head.
    fn take(&mut self, line: &[u8], limits: &Limits) -> Result<bool, Fault> {
        match (self.version, line.is_empty()) {
            (None, true) if self.has_empty_line => Err(Fault::RequestLine),
            (None, true) => {
                self.has_empty_line = true;
                Ok(false)
            }
            (None, false) => {
                self.version = Some(request_line(line, limits)?);
                Ok(false)
            }
            (Some(_), true) => Ok(true),
            (Some(version), false) => self.field(line, version).map(|()| false),
        }
    }

    fn field(&mut self, line: &[u8], version: Version) -> Result<(), Fault> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(Fault::Folded);
        }
        let colon = memchr(b':', line).ok_or(Fault::FieldName)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            let is_space = matches!(name.last(), Some(b' ' | b'\t'));
            return Err(if is_space { Fault::SpaceBeforeColon } else { Fault::FieldName });
        }
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(Fault::TooManyFields(FIELDS_MAX));
        }
        // Of all the others nothing but their form matters here: told apart by their lengths first.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.asks_upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(value, version),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.hosts += 1;
        let host = value.trim_ascii();
        let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]%~".contains(byte);
        match self.hosts == 1 && !host.is_empty() && host.iter().all(is_host) {
            true => Ok(()),
            false => Err(Fault::Host),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let digits = value.trim_ascii();
        if self.length.is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Length);
        }
        let push = |length: u64, digit: &u8| length.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        let length = digits.iter().try_fold(0, push).filter(|&length| i64::try_from(length).is_ok());
        self.length = Some(length.ok_or(Fault::Length)?);
        Ok(())
    }

    fn coding(&mut self, value: &[u8], version: Version) -> Result<(), Fault> {
        let is_chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if self.is_chunked || !is_chunked || version == Version::Http10 {
            return Err(Fault::Coding);
        }
        self.is_chunked = true;
        Ok(())
    }

    /// What a whole head says.
    fn frame(&self) -> Result<Frame, Fault> {
        let body = match (self.length, self.is_chunked) {
            (Some(_), true) => return Err(Fault::TwoLengths),
            (_, true) => Body::Chunked,
            (length, false) => Body::Sized(length.unwrap_or(0)),
        };
        match self.hosts {
            0 => Err(Fault::Host),
            _ => Ok(Frame { body, asks_upgrade: self.asks_upgrade }),
        }
    }
}

fn request_line(line: &[u8], limits: &Limits) -> Result<Version, Fault> {
    let space = memchr(b' ', line).ok_or(Fault::RequestLine)?;
    let (method, rest) = (&line[..space], &line[space + 1..]);
    let space = memchr(b' ', rest).ok_or(Fault::RequestLine)?;
    let (target, version) = (&rest[..space], &rest[space + 1..]);
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(|&byte| is_token(byte)) {
        return Err(Fault::RequestLine);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Fault::Version);
        }
        _ => return Err(Fault::RequestLine),
    };
    check_target(method, target, limits)?;
    Ok(version)
}

/// A target of bytes the library takes, in one of the forms for servers.
fn check_target(method: &[u8], target: &[u8], limits: &Limits) -> Result<(), Fault> {
    if target.len() > limits.target_bytes_max.min(LIBRARY_TARGET_BYTES_MAX) {
        return Err(Fault::TargetTooLong(limits.target_bytes_max));
    }
    let is_ascii = target.iter().all(|&byte| TARGET[byte as usize]);
    let is_text = is_ascii
        || (std::str::from_utf8(target).is_ok()
            && target.iter().all(|&byte| byte >= 0x80 || TARGET[byte as usize]));
    let has_form = match target.first() {
        Some(b'/') => true,
        Some(b'*') => target.len() == 1 && method == b"OPTIONS",
        _ => Uri::try_from(target).is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))),
    };
    if is_text && has_form { Ok(()) } else { Err(Fault::Target) }
}

fn check_open_request_line(line: &[u8], limits: &Limits) -> Result<(), Fault> {
    let space = memchr(b' ', line);
    if space.unwrap_or(line.len()) > METHOD_BYTES_MAX {
        return Err(Fault::RequestLine);
    }
    match space {
        Some(space) if line.len() - space > limits.target_bytes_max + VERSION_BYTES + 3 => {
            Err(Fault::TargetTooLong(limits.target_bytes_max))
        }
        _ => Ok(()),
    }
}

/// No control character but the tab, which is refused where it matters.
fn check_text(line: &[u8]) -> Result<(), Fault> {
    // Without an early end, so that it is done many bytes at a time.
    let has_control = line.iter().fold(false, |found, &b| found | (b < b' ' && b != b'\t') | (b == 0x7f));
    match has_control {
        false => Ok(()),
        true if memchr(b'\r', line).is_some() => Err(Fault::LineEnd),
        true => Err(Fault::Control),
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
pub fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// What may stand in a target unescaped; text beyond ASCII is looked at apart.
const TARGET: [bool; 256] = table(b"!$%&'()*+,-./:;=?@[\\]^_{|}~");

/// Letters, digits and `others`.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut other = 0;
    while other < others.len() {
        table[others[other] as usize] = true;
        other += 1;
    }
    table
}
