//! What is wrong with the framing of a request, and what it is answered.

use super::head::FIELDS_MAX;
use crate::Problem;
use http::StatusCode;

/// A request that cannot be told from what follows it, or is past a limit of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not `method target version`.
    RequestLine,
    /// The target has no known form, or holds characters that must be escaped.
    Target,
    /// The target is longer than this.
    TargetTooLong(usize),
    /// Not HTTP/1.1 or HTTP/1.0.
    Version,
    /// A line that does not end with CR LF, or has a CR within.
    LineEnd,
    /// A line that begins with a space: the obsolete folding of a field.
    Folded,
    /// A field without a colon, or with a name that is no token.
    FieldName,
    /// A space between a field's name and its colon.
    SpaceBeforeColon,
    /// A control character.
    Control,
    /// More fields than this.
    TooManyFields(usize),
    /// A head of more bytes than this.
    HeadTooLarge(usize),
    /// `Content-Length` twice, or not a number.
    Length,
    /// `Transfer-Encoding` twice, not `chunked`, or in HTTP/1.0.
    Coding,
    /// `Content-Length` and `Transfer-Encoding`.
    TwoLengths,
    /// Not exactly one `Host`.
    Host,
    /// The head did not come in time.
    TooSlow,
    /// Malformed chunks: told to whoever reads the body.
    Chunk,
}

impl Fault {
    /// The answer. The connection is closed after it: where the next request begins is not known.
    pub fn problem(self) -> Problem {
        let bad = |code, message: &'static str| Problem::http(StatusCode::BAD_REQUEST, code, message);
        let problem = match self {
            Fault::RequestLine => {
                bad("invalid_request_line", "a request begins with `METHOD /target HTTP/1.1`")
            }
            Fault::Target => bad(
                "invalid_target",
                "a request target is a path or an http URL, with all but the characters of URLs percent-encoded",
            ),
            Fault::TargetTooLong(limit) => {
                let message = format!("the request target is longer than {limit} bytes");
                Problem::http(StatusCode::URI_TOO_LONG, "uri_too_long", message).with_limit(limit as u64)
            }
            Fault::Version => Problem::http(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "unsupported_http_version",
                "this server speaks HTTP/1.1",
            ),
            Fault::LineEnd => bad("invalid_line_end", "each line of a request ends with CR LF"),
            Fault::Folded => bad("invalid_header_line", "a header may not go on in a second line"),
            Fault::FieldName => bad("invalid_header_line", "a header is `name: value` with a token as its name"),
            Fault::SpaceBeforeColon => {
                bad("invalid_header_line", "no space may stand between a header's name and its colon")
            }
            Fault::Control => bad("invalid_header_line", "request line and headers hold no control characters"),
            Fault::TooManyFields(limit) => {
                too_large("too_many_headers", format!("a request has at most {FIELDS_MAX} headers"), limit)
            }
            Fault::HeadTooLarge(limit) => too_large(
                "headers_too_large",
                format!("request line and headers are longer than {limit} bytes"),
                limit,
            ),
            Fault::Length => bad("invalid_content_length", "a request has one Content-Length, a number of bytes")
                .with_field("content-length"),
            Fault::Coding => bad(
                "invalid_transfer_encoding",
                "the only transfer coding taken is one `chunked`, in HTTP/1.1",
            )
            .with_field("transfer-encoding"),
            Fault::TwoLengths => bad(
                "ambiguous_length",
                "a request has either Content-Length or Transfer-Encoding: with both nobody knows where it ends",
            )
            .with_field("content-length"),
            Fault::Host => bad("invalid_host", "a request has exactly one Host header").with_field("host"),
            Fault::TooSlow => Problem::http(
                StatusCode::REQUEST_TIMEOUT,
                "headers_too_slow",
                "request line and headers did not come in time",
            ),
            Fault::Chunk => {
                bad("body_incomplete", "the body ends before its length, or its chunks are malformed")
            }
        };
        problem.closing()
    }
}

fn too_large(code: &'static str, message: String, limit: usize) -> Problem {
    Problem::http(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, code, message).with_limit(limit as u64)
}
