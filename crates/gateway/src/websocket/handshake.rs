//! The opening handshake (RFC 6455, section 4.2), strictly.

use crate::Problem;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use sha1::{Digest, Sha1};

/// Appended to the key of a handshake (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Checks the request, and gives the answer that opens the WebSocket. The first of the peer's subprotocols that is one
/// of `protocols` is chosen.
///
/// # Errors
/// 426 `upgrade_required`, 400 `invalid_handshake`.
pub fn answer(request: &Request<Body>, protocols: &[&'static str]) -> Result<Response, Problem> {
    let headers = request.headers();
    let is_upgrade = has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket");
    if request.method() != Method::GET || request.version() != Version::HTTP_11 || !is_upgrade {
        return Err(upgrade_required("this path takes a WebSocket handshake over HTTP/1.1"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(upgrade_required("the version of the WebSocket protocol is 13"));
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    match key(headers) {
        Some(key) if !has_body => Ok(accept(key, chosen(headers, protocols))),
        _ => {
            let message = "a handshake has one sec-websocket-key of 16 bytes and no body";
            Err(Problem::http(StatusCode::BAD_REQUEST, "invalid_handshake", message).closing())
        }
    }
}

/// Whether the peer offers this subprotocol.
pub fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    has_token(headers, SEC_WEBSOCKET_PROTOCOL, protocol)
}

fn key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|_| keys.next().is_none())?;
    STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16).then_some(key)
}

fn accept(key: &HeaderValue, protocol: Option<&'static str>) -> Response {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize();
    let headers = [
        (CONNECTION, "Upgrade".to_owned()),
        (UPGRADE, "websocket".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, STANDARD.encode(digest)),
    ];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    if let Some(protocol) = protocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

fn chosen(headers: &HeaderMap, protocols: &[&'static str]) -> Option<&'static str> {
    protocols.iter().copied().find(|protocol| offers(headers, protocol))
}

fn upgrade_required(message: &'static str) -> Problem {
    Problem::http(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message).closing()
}

/// The answer to a handshake that is none: 426 says what would be (RFC 9110, section 15.5.22).
pub fn refuse(problem: Problem) -> Response {
    match problem.status() {
        StatusCode::UPGRADE_REQUIRED => {
            let headers = [(UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")];
            (headers, problem).into_response()
        }
        _ => problem.into_response(),
    }
}

fn has_token(headers: &HeaderMap, name: http::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_key_is_accepted_as_the_standard_says() {
        let request = Request::builder()
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "other, centrifuge-json")
            .body(Body::empty());
        let response = answer(&request.unwrap(), &["centrifuge-json"]).unwrap();
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "centrifuge-json");
        assert_eq!(response.status(), 101);
    }
}
