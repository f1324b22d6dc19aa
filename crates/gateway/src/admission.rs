//! What is checked of every request before it is routed: target, Host, Origin.
//!
//! A page of another site can make a browser send requests here. It reads no answer (no CORS headers for it) and,
//! because a request that changes state with an `Origin` other than the server's own is refused, changes nothing. Nor
//! does it help that site to make its own name resolve to this machine: the server answers to its own names only.

use crate::{Problem, Settings};
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN, VARY,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use std::net::IpAddr;

const LOCALHOST: &str = "localhost";
const CHANNELS: &str = "/v1/channels/";

/// Checks a request and puts its target into the form the routes expect. Gives the foreign origin that may read the
/// answer, if there is one.
///
/// # Errors
/// 403 `host_denied`, `origin_denied`.
pub(crate) fn admit(
    request: &mut Request<Body>,
    settings: &Settings,
) -> Result<Option<HeaderValue>, Problem> {
    check_host(request, settings)?;
    let origin = foreign_origin(request.headers());
    let origin = match origin {
        Some(origin) if settings.allowed_origins.iter().any(|allowed| origin == allowed) => Some(origin),
        Some(_) if !request.method().is_safe() => {
            let message = "this origin may not change anything here (setting allowed_origins)";
            return Err(Problem::http(StatusCode::FORBIDDEN, "origin_denied", message)
                .with_field("origin")
                .closing());
        }
        _ => None,
    };
    if let Some(uri) = one_segment_channel(request.uri()) {
        *request.uri_mut() = uri;
    }
    Ok(origin)
}

/// Refuses what a page of a foreign origin asks for that is not allowed. A WebSocket needs this beside [`admit`]: its
/// handshake is a GET, and a page of any site may make it and read what comes.
///
/// # Errors
/// 403 `origin_denied`.
pub(crate) fn own_or_allowed_origin(headers: &HeaderMap, settings: &Settings) -> Result<(), Problem> {
    match foreign_origin(headers) {
        Some(origin) if !settings.allowed_origins.iter().any(|allowed| origin == allowed) => {
            let message = "pages of this origin may not connect here (setting allowed_origins)";
            Err(Problem::http(StatusCode::FORBIDDEN, "origin_denied", message).with_field("origin").closing())
        }
        _ => Ok(()),
    }
}

/// The answer to a browser that asks what a page of an allowed origin may send.
pub(crate) fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "content-type, last-event-id"),
        (ACCESS_CONTROL_MAX_AGE, "300"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Lets pages of `origin` read an answer.
pub(crate) fn allow(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// The one `Host` of a request: what frames requests has seen to that.
fn host(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// Refuses a request that calls this server by a name somebody else may have given it.
fn check_host(request: &Request<Body>, settings: &Settings) -> Result<(), Problem> {
    let of_target = request.uri().host();
    let is_fine = |host: &str| is_own_host(host, &settings.allowed_hosts);
    if is_fine(without_port(host(request.headers()))) && of_target.is_none_or(is_fine) {
        return Ok(());
    }
    let message = "this server is called localhost or by a loopback address; other names and addresses are given in \
                   the setting http.allowed_hosts";
    Err(Problem::http(StatusCode::FORBIDDEN, "host_denied", message).with_field("host").closing())
}

fn is_own_host(host: &str, allowed: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    is_localhost(host)
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(address))
}

/// `localhost` and the names under it, which are this machine everywhere (RFC 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    let Some(at) = host.len().checked_sub(LOCALHOST.len()) else { return false };
    let (before, last) = host.as_bytes().split_at(at);
    last.eq_ignore_ascii_case(LOCALHOST.as_bytes()) && matches!(before.last(), None | Some(b'.'))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// The `Origin` of a request unless it is the server's own. `null` is foreign.
fn foreign_origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let (origin, host) = (headers.get(ORIGIN)?, host(headers));
    let text = origin.to_str().unwrap_or_default();
    let own = text.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    (!own).then(|| origin.clone())
}

/// A channel may hold `/`: between `/v1/channels/` and the last segment it is written `%2F` for the router.
fn one_segment_channel(uri: &Uri) -> Option<Uri> {
    let (channel, last) = uri.path().strip_prefix(CHANNELS)?.rsplit_once('/')?;
    if !channel.contains('/') {
        return None;
    }
    let channel = channel.replace('/', "%2F");
    let target = match uri.query() {
        Some(query) => format!("{CHANNELS}{channel}/{last}?{query}"),
        None => format!("{CHANNELS}{channel}/{last}"),
    };
    target.parse::<PathAndQuery>().ok().map(Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &str, headers: &[(&str, &str)]) -> Result<Option<String>, u16> {
        let settings =
            Settings { allowed_origins: vec!["https://app.example".into()], ..Settings::default() };
        let mut request = Request::builder().method(method).uri("/v1/events");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let origin = admit(&mut request.body(Body::empty()).unwrap(), &settings);
        origin.map(|o| o.map(|o| o.to_str().unwrap().to_owned())).map_err(|p| p.status().as_u16())
    }

    #[test]
    fn origins() {
        let host = ("host", "localhost:8000");
        for (method, origin, wanted) in [
            ("POST", "http://localhost:8000", Ok(None)),
            ("POST", "http://LOCALHOST:8000", Ok(None)),
            ("POST", "https://app.example", Ok(Some("https://app.example".to_owned()))),
            ("POST", "https://evil.app.example", Err(403)),
            ("POST", "http://localhost:8001", Err(403)),
            ("POST", "http://localhost:8000.evil", Err(403)),
            ("POST", "null", Err(403)),
            ("GET", "https://evil.example", Ok(None)),
        ] {
            assert_eq!(code(method, &[host, ("origin", origin)]), wanted, "{method} {origin}");
        }
        assert_eq!(code("POST", &[host]), Ok(None));
        assert_eq!(code("GET", &[]), Err(403));
    }

    #[test]
    fn hosts() {
        let allowed_hosts = vec!["box.example".into(), "10.0.0.7".into()];
        let settings = Settings { allowed_hosts, ..Settings::default() };
        for (host, is_own) in [
            ("localhost", true),
            ("LocalHost:8000", true),
            ("localhost.:8000", true),
            ("app.localhost:8000", true),
            ("127.0.0.1", true),
            ("127.8.9.1:80", true),
            ("[::1]", true),
            ("[::1]:8000", true),
            ("[::ffff:127.0.0.1]:8000", true),
            ("box.example:8000", true),
            ("BOX.example", true),
            ("10.0.0.7:8000", true),
            ("xlocalhost", false),
            ("localhost.evil.example:8000", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example:127", false),
            ("a.box.example", false),
            ("10.0.0.8", false),
            ("0.0.0.0:8000", false),
            ("[::]", false),
            ("[::1", false),
            ("2130706433", false),
            (":8000", false),
        ] {
            let request = Request::builder().uri("/").header("host", host).body(Body::empty()).unwrap();
            assert_eq!(check_host(&request, &settings).is_ok(), is_own, "{host}");
            let request = Request::builder().uri("http://evil.example/").header("host", host);
            assert!(check_host(&request.body(Body::empty()).unwrap(), &settings).is_err(), "{host}");
        }
    }

    #[test]
    fn channels_become_one_segment() {
        for (path, wanted) in [
            (
                "/v1/channels/events:repo:o/r/stream?x=a/b",
                Some("/v1/channels/events:repo:o%2Fr/stream?x=a/b"),
            ),
            ("/v1/channels/a//b/events", Some("/v1/channels/a%2F%2Fb/events")),
            ("/v1/channels/a/events", None),
            ("/v1/events/a/b", None),
        ] {
            let uri = one_segment_channel(&path.parse().unwrap());
            assert_eq!(uri.map(|u| u.to_string()).as_deref(), wanted, "{path}");
        }
    }
}
