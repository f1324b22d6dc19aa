//! `/`: the page that follows channels in a browser. Compiled in; nothing is read from a disk, nothing comes from
//! elsewhere.
//!
//! Payloads are foreign text: they reach the page as text nodes only, and the policy forbids every script, style and
//! connection but the server's own. The page uses the public API and nothing else.

use crate::Problem;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
};
use http::{HeaderMap, StatusCode};
use sha1::{Digest, Sha1};
use std::fmt::Write;
use std::sync::LazyLock;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The folder of everything the page loads.
const FOLDER: &str = "/page/";

macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("assets/", $name)))),*]
    };
}

/// Every file, by name. The first is the page itself.
static FILES: [(&str, &[u8]); 16] = files! {
    "page.html" "page.css" "icon.svg" "main.js" "channels.js" "clock.js" "event.js" "follow.js" "keys.js" "list.js"
    "parts.js" "picker.js" "publish.js" "rate.js" "snippet.js" "tree.js"
};

/// A tag for each file, of its content: what a browser has is asked for again, and sent only when it has changed.
static TAGS: LazyLock<[String; FILES.len()]> = LazyLock::new(|| FILES.map(|(_, content)| tag(content)));

pub(crate) async fn html(request: Request) -> Response {
    answer(0, request.headers())
}

pub(crate) async fn file(request: Request) -> Result<Response, Problem> {
    let name = request.uri().path().strip_prefix(FOLDER).unwrap_or_default();
    match FILES.iter().position(|(own, _)| *own == name) {
        Some(place) => Ok(answer(place, request.headers())),
        None => {
            Err(Problem::http(StatusCode::NOT_FOUND, "unknown_path", "the page has no file of this name"))
        }
    }
}

fn answer(place: usize, headers: &HeaderMap) -> Response {
    let ((name, content), tag) = (FILES[place], TAGS[place].as_str());
    let common = [
        (ETAG, tag),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    match is_had(headers, tag) {
        true => (StatusCode::NOT_MODIFIED, common).into_response(),
        false => (common, [(CONTENT_TYPE, kind(name))], content).into_response(),
    }
}

fn is_had(headers: &HeaderMap, tag: &str) -> bool {
    let had = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    had.flat_map(|tags| tags.split(',')).any(|had| matches!(had.trim(), "*") || had.trim() == tag)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}

fn tag(content: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in &Sha1::digest(content)[..8] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}
