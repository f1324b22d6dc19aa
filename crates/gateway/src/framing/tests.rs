//! Requests, whole and in pieces: where they end, and what is refused.

use super::*;

const LIMITS: Limits = Limits { head_bytes_max: 2_000, target_bytes_max: 100 };

fn run(bytes: &[u8], cuts: &[usize]) -> (usize, u64, Option<Fault>) {
    let mut guard = Guard::new(LIMITS);
    let mut passed = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let scan = guard.scan(&bytes[passed..end]);
        passed += scan.pass;
        assert!(passed <= end);
        if scan.fault.is_some() {
            return (passed, guard.heads(), scan.fault);
        }
    }
    (passed, guard.heads(), None)
}

/// Whole, in every two pieces, and byte by byte: the same.
fn outcome(bytes: &[u8]) -> (usize, u64, Option<Fault>) {
    let whole = run(bytes, &[]);
    let bytewise: Vec<usize> = (0..bytes.len()).collect();
    let text = bytes.escape_ascii();
    assert_eq!(run(bytes, &bytewise), whole, "byte by byte: {text}");
    for cut in 0..bytes.len().min(3_000) {
        assert_eq!(run(bytes, &[cut]), whole, "cut at {cut}: {text}");
    }
    whole
}

fn head(fields: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

const GET: &str = "GET /health/live?x=%20 HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n";

#[test]
fn requests_end_where_they_say() {
    for (text, heads) in [
        (GET.to_owned(), 1),
        (GET.repeat(3), 3),
        (format!("\r\n{GET}"), 1),
        (head("Content-Length: 3\r\n") + "a\nb" + GET, 2),
        (head("content-length:\t3 \r\n") + "\r\n\r" + GET, 2),
        (head("Content-Length: 0\r\n") + GET, 2),
        (head("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n" + GET, 2),
        (
            head("transfer-encoding: Chunked \r\n")
                + "3;a=\"b\"\r\n\r\n0\r\n00a\r\n0123456789\r\n0\r\n\r\n"
                + GET,
            2,
        ),
        (head("Transfer-Encoding: chunked\r\n") + "1\r\n\n\r\n0\r\nA: b\r\nC:\r\n\r\n" + GET, 2),
        ("OPTIONS * HTTP/1.0\r\nHost: x\r\n\r\n".to_owned() + GET, 2),
        ("GET http://x/y?z HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 1),
        ("GET /\u{436}?\u{436} HTTP/1.1\r\nHost: x\r\nX: \u{436}\ta b\r\nX:\r\n\r\n".to_owned(), 1),
    ] {
        assert_eq!(outcome(text.as_bytes()), (text.len(), heads, None), "{text}");
    }
}

#[test]
fn what_is_not_whole_does_not_pass() {
    for (text, passed, heads) in [
        ("".to_owned(), 0, 0),
        ("\r\n".to_owned(), 0, 0),
        (GET[..GET.len() - 1].to_owned(), 0, 0),
        (GET.to_owned() + "GET /", GET.len(), 1),
        (head("Content-Length: 5\r\n") + "abcd", head("Content-Length: 5\r\n").len() + 4, 1),
    ] {
        assert_eq!(outcome(text.as_bytes()), (passed, heads, None), "{text}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let many = "X: 1\r\n".repeat(100);
    for (text, fault) in [
        ("GET /\r\n".to_owned(), Fault::RequestLine),
        ("GET / HTTP/1.1 \r\n".into(), Fault::RequestLine),
        ("GET  / HTTP/1.1\r\n".into(), Fault::RequestLine),
        ("GET\t/ HTTP/1.1\r\n".into(), Fault::RequestLine),
        (" GET / HTTP/1.1\r\n".into(), Fault::RequestLine),
        ("G(T / HTTP/1.1\r\n".into(), Fault::RequestLine),
        ("GET / http/1.1\r\n".into(), Fault::RequestLine),
        ("GET / HTTP/1.10\r\n".into(), Fault::RequestLine),
        ("\r\n\r\n".into(), Fault::RequestLine),
        ("A".repeat(40), Fault::RequestLine),
        ("A".repeat(40) + " /", Fault::RequestLine),
        ("GET / HTTP/1.2\r\n".into(), Fault::Version),
        ("PRI * HTTP/2.0\r\n".into(), Fault::Version),
        ("GET * HTTP/1.1\r\n".into(), Fault::Target),
        ("GET x HTTP/1.1\r\n".into(), Fault::Target),
        ("CONNECT x:80 HTTP/1.1\r\n".into(), Fault::Target),
        ("GET ftp://x/ HTTP/1.1\r\n".into(), Fault::Target),
        ("GET http:// HTTP/1.1\r\n".into(), Fault::Target),
        ("GET /a#b HTTP/1.1\r\n".into(), Fault::Target),
        ("GET /<a> HTTP/1.1\r\n".into(), Fault::Target),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(100)), Fault::TargetTooLong(100)),
        (format!("GET /{}", "a".repeat(200)), Fault::TargetTooLong(100)),
        ("GET / HTTP/1.1\n".into(), Fault::LineEnd),
        ("GET / HTTP/1.1\r\r\n".into(), Fault::LineEnd),
        ("GET /\rHost: x".into(), Fault::LineEnd),
        ("\n".into(), Fault::LineEnd),
        ("\u{16}\u{3}\u{1}".into(), Fault::Control),
        (head("X: a\0b\r\n"), Fault::Control),
        (head("X: a\u{7f}b\r\n"), Fault::Control),
        (head("X: a\nY: b\r\n"), Fault::LineEnd),
        (head("X: a\rY: b\r\n"), Fault::LineEnd),
        (head("X: 1\r\n 2\r\n"), Fault::Folded),
        (head("X: 1\r\n\t2\r\n"), Fault::Folded),
        ("GET / HTTP/1.1\r\n Host: x\r\n".into(), Fault::Folded),
        (head("X : 1\r\n"), Fault::SpaceBeforeColon),
        (head("X\t: 1\r\n"), Fault::SpaceBeforeColon),
        (head("X\r\n"), Fault::FieldName),
        (head(": 1\r\n"), Fault::FieldName),
        (head("X Y: 1\r\n"), Fault::FieldName),
        (head("X\u{fc}: 1\r\n"), Fault::FieldName),
        (head(&many), Fault::TooManyFields(100)),
        (head(&format!("X: {}\r\n", "a".repeat(2_000))), Fault::HeadTooLarge(2_000)),
        (head("").replace("\r\n\r\n", &format!("\r\nX: {}", "a".repeat(2_000))), Fault::HeadTooLarge(2_000)),
        (head("Content-Length: 1\r\nContent-Length: 1\r\n"), Fault::Length),
        (head("Content-Length: 1\r\ncontent-length: 2\r\n"), Fault::Length),
        (head("Content-Length: 1, 1\r\n"), Fault::Length),
        (head("Content-Length: \r\n"), Fault::Length),
        (head("Content-Length: -1\r\n"), Fault::Length),
        (head("Content-Length: +1\r\n"), Fault::Length),
        (head("Content-Length: 0x1\r\n"), Fault::Length),
        (head("Content-Length: 1 1\r\n"), Fault::Length),
        (head("Content-Length: 18446744073709551616\r\n"), Fault::Length),
        (head("Content-Length: 9223372036854775808\r\n"), Fault::Length),
        (head("Transfer-Encoding: chunked, identity\r\n"), Fault::Coding),
        (head("Transfer-Encoding: identity\r\n"), Fault::Coding),
        (head("Transfer-Encoding: gzip, chunked\r\n"), Fault::Coding),
        (head("Transfer-Encoding: \u{b}chunked\r\n"), Fault::Control),
        (head("Transfer-Encoding: xchunked\r\n"), Fault::Coding),
        (head("Transfer-Encoding:\r\n"), Fault::Coding),
        (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Fault::Coding),
        (head("Transfer-Encoding: chunked\r\n").replace("1.1", "1.0"), Fault::Coding),
        (head("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), Fault::TwoLengths),
        (head("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), Fault::TwoLengths),
        ("GET / HTTP/1.1\r\n\r\n".into(), Fault::Host),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), Fault::Host),
        (head("Host: x\r\n"), Fault::Host),
        (head("").replace("Host: x", "Host: x, y"), Fault::Host),
        (head("").replace("Host: x", "Host: x/y"), Fault::Host),
        (head("").replace("Host: x", "Host: y@x"), Fault::Host),
    ] {
        assert_eq!(outcome(text.as_bytes()), (0, 0, Some(fault)), "{text}");
        // The same behind a request that is fine.
        let text = GET.to_owned() + &text;
        assert_eq!(outcome(text.as_bytes()), (GET.len(), 1, Some(fault)), "{text}");
    }
    assert_eq!(outcome(b"GET /\xff HTTP/1.1\r\n"), (0, 0, Some(Fault::Target)));
}

#[test]
fn malformed_chunks_end_a_body_where_they_begin() {
    let head = head("Transfer-Encoding: chunked\r\n");
    let long = |count: usize| "a".repeat(count);
    for (body, fine) in [
        ("xyz\r\n".to_owned(), 0),
        ("\r\n".into(), 0),
        (";a\r\n".into(), 0),
        ("-1\r\n".into(), 0),
        ("0x1\r\n".into(), 1),
        ("1 \r\n".into(), 1),
        ("1\n".into(), 1),
        ("1\r\r\n".into(), 2),
        ("1\r\nab\r\n".into(), 4),
        ("1\r\na\n".into(), 4),
        ("1\r\na\r\r".into(), 5),
        ("1;a\nb\r\n".into(), 3),
        ("1;\0\r\n".into(), 2),
        ("1234567890abcdef\r\n".into(), 15),
        (format!("1;{}\r\n", long(5_000)), 2 + 4_096),
        ("0\r\n x: y\r\n".into(), 3),
        ("0\r\nx\r\n".into(), 4),
        ("0\r\nx : y\r\n".into(), 4),
        ("0\r\nx: y\n".into(), 7),
        ("0\r\nx: \0\r\n".into(), 6),
        (format!("0\r\nx:{}", long(9_000)), 5 + (8 << 10) - 1),
        ("0\r\n\r\r".into(), 4),
        ("0\r\n\n".into(), 3),
    ] {
        let text = head.clone() + &body;
        assert_eq!(outcome(text.as_bytes()), (head.len() + fine, 1, Some(Fault::Chunk)), "{body:?}");
    }
}

#[test]
fn nothing_passes_behind_a_request_for_an_upgrade() {
    for (text, behind) in [
        (GET.replace("\r\n\r\n", "\r\nUpgrade: websocket\r\n\r\n"), GET),
        (head("upgrade: h2c\r\nContent-Length: 2\r\n") + "ab", "\u{81}\u{81}"),
        (head("Upgrade: x\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", "\0"),
    ] {
        let whole = text.clone() + behind;
        assert_eq!(outcome(whole.as_bytes()), (text.len(), 1, None), "{text}");
    }
    let mut guard = Guard::new(LIMITS);
    let text = head("upgrade: h2c\r\nContent-Length: 1\r\n");
    guard.scan(text.as_bytes());
    assert!(guard.is_in_body() && !guard.is_held());
    guard.scan(b"a");
    assert!(!guard.is_in_body() && guard.is_held());
}
