//! Where requests begin and end, against a reading of RFC 9112 that looks at everything at once.

use dualstream_gateway::fuzzing::{self, Cut, Limits};
use http::{HeaderName, HeaderValue, Method, Uri};

const LIMITS: Limits = Limits { head_bytes_max: 1_000, target_bytes_max: 100 };

/// One byte for the size of the pieces, then what comes from a client: the guard cuts it the same in any pieces, as the
/// plain reading does, and lets only pass what the HTTP library takes.
pub fn http_head(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = fuzzing::cut(bytes, bytes.len(), LIMITS);
    // Which of several faults is told may depend on how much of a line is there.
    let place = |cut: Cut| (cut.passed, cut.heads, cut.fault.is_some());
    assert_eq!(place(fuzzing::cut(bytes, usize::from(piece), LIMITS)), place(whole), "in pieces of {piece}");
    assert_eq!(place(fuzzing::cut(bytes, 1, LIMITS)), place(whole), "byte by byte");
    let plain = Reading::of(bytes);
    assert_eq!(whole.heads, plain.heads, "{whole:?} {plain:?}");
    match plain.end {
        End::Fault => assert!(whole.fault.is_some(), "{whole:?} {plain:?}"),
        // What is not whole may be refused already.
        End::OpenHead => {
            assert!(whole.fault.is_some() || whole.passed == plain.passed, "{whole:?} {plain:?}")
        }
        End::OpenBody => assert!(whole.fault.is_some() || whole.passed == bytes.len(), "{whole:?} {plain:?}"),
        End::Upgrade => assert!(whole.fault.is_none() && whole.passed == plain.passed, "{whole:?} {plain:?}"),
    }
}

/// What bytes are.
#[derive(Debug)]
struct Reading {
    /// Bytes of whole requests.
    passed: usize,
    heads: u64,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fault,
    OpenHead,
    OpenBody,
    Upgrade,
}

/// What a head says.
struct Head {
    length: usize,
    is_chunked: bool,
    asks_upgrade: bool,
}

impl Reading {
    fn of(bytes: &[u8]) -> Reading {
        let mut reading = Reading { passed: 0, heads: 0, end: End::OpenHead };
        while let Err(()) = reading.step(&bytes[reading.passed..]) {}
        reading
    }

    /// Reads one request; `Ok` at the end.
    fn step(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let blank = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(end) = find(&bytes[blank..], b"\r\n\r\n") else { return Ok(()) };
        let after = blank + end + 4;
        let head = match head(&bytes[blank..blank + end]) {
            Some(head) if after <= LIMITS.head_bytes_max => head,
            _ => {
                self.end = End::Fault;
                return Ok(());
            }
        };
        self.heads += 1;
        let body = &bytes[after..];
        let used = match head.is_chunked {
            true => chunks(body),
            false if body.len() < head.length => Err(End::OpenBody),
            false => Ok(head.length),
        };
        match used {
            Ok(used) => self.passed += after + used,
            Err(end) => {
                self.end = end;
                return Ok(());
            }
        }
        if head.asks_upgrade {
            self.end = End::Upgrade;
            return Ok(());
        }
        Err(())
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Reads a head without the empty line at its end.
fn head(bytes: &[u8]) -> Option<Head> {
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut rest = bytes;
    while let Some(at) = find(rest, b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    if lines.iter().any(|line| line.iter().any(|b| b.is_ascii_control() && *b != b'\t')) {
        return None;
    }
    let is_old = request_line(lines[0])?;
    let fields: Vec<(String, &[u8])> = lines[1..].iter().map(|line| field(line)).collect::<Option<_>>()?;
    let all = |name: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(n, _)| n == name).map(|(_, value)| *value).collect()
    };
    let (lengths, codings, hosts) = (all("content-length"), all("transfer-encoding"), all("host"));
    let length = match lengths[..] {
        [] => Some(0),
        [length] if length.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(length).ok()?.parse::<i64>().ok()
        }
        _ => None,
    }?;
    let is_host = |host: &[u8]| {
        !host.is_empty()
            && host.iter().all(|&b| b.is_ascii_alphanumeric() || ".-_:[]%~".contains(char::from(b)))
    };
    let is_clear = match codings[..] {
        [] => true,
        [coding] => coding.eq_ignore_ascii_case(b"chunked") && lengths.is_empty() && !is_old,
        _ => false,
    };
    let is_fine = is_clear && hosts.len() == 1 && is_host(hosts[0]) && fields.len() <= 100;
    is_fine.then_some(Head {
        length: usize::try_from(length).ok()?,
        is_chunked: !codings.is_empty(),
        asks_upgrade: !all("upgrade").is_empty(),
    })
}

/// Whether it is of HTTP/1.0; `None` when it is none the library takes.
fn request_line(line: &[u8]) -> Option<bool> {
    let parts: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let [method, target, version] = parts[..] else { return None };
    Method::from_bytes(method).ok().filter(|_| method.len() <= 32)?;
    let uri = Uri::try_from(target).ok()?;
    let text = std::str::from_utf8(target).ok().filter(|_| target.len() <= LIMITS.target_bytes_max)?;
    let is_url =
        |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || "!$%&'()*+,-./:;=?@[\\]^_{|}~".contains(c);
    let is_server_form = match text {
        "*" => method == b"OPTIONS",
        _ => text.starts_with('/') || matches!(uri.scheme_str(), Some("http" | "https")),
    };
    let is_old = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return None,
    };
    (is_server_form && text.chars().all(is_url)).then_some(is_old)
}

fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|&b| b == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = line[colon + 1..].trim_ascii();
    HeaderValue::from_bytes(value).ok()?;
    Some((name.as_str().to_owned(), value))
}

/// Bytes of a chunked body, or how it ends otherwise.
fn chunks(bytes: &[u8]) -> Result<usize, End> {
    let mut at = 0;
    loop {
        let end = at + find(&bytes[at..], b"\r\n").ok_or(End::OpenBody)?;
        let line = &bytes[at..end];
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        let is_text = extension.iter().all(|b| !b.is_ascii_control() || *b == b'\t');
        if !(1..=15).contains(&digits) || !is_text || !matches!(extension.first(), None | Some(b';')) {
            return Err(End::Fault);
        }
        let text = std::str::from_utf8(&line[..digits]).map_err(|_| End::Fault)?;
        let size = usize::from_str_radix(text, 16).map_err(|_| End::Fault)?;
        at = end + 2;
        if size == 0 {
            return trailers(&bytes[at..]).map(|used| at + used);
        }
        let Some(rest) = at.checked_add(size).and_then(|end| bytes.get(end..)) else {
            return Err(End::OpenBody);
        };
        match rest {
            [b'\r', b'\n', ..] => at += size + 2,
            [] | [b'\r'] => return Err(End::OpenBody),
            _ => return Err(End::Fault),
        }
    }
}

fn trailers(bytes: &[u8]) -> Result<usize, End> {
    let mut at = 0;
    loop {
        let end = at + find(&bytes[at..], b"\r\n").ok_or(End::OpenBody)?;
        let line = &bytes[at..end];
        at = end + 2;
        if line.is_empty() {
            return Ok(at);
        }
        let is_text = line.iter().all(|b| !b.is_ascii_control() || *b == b'\t');
        if field(line).is_none() || !is_text {
            return Err(End::Fault);
        }
    }
}
