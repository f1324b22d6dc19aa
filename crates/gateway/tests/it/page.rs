//! The page and its files, as a browser asks for them. What they do in one is tested with the program.

use crate::server::Server;
use crate::wire::{Wire, get};

#[tokio::test]
async fn every_file_that_is_named_is_there_and_under_the_strict_policy() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let page = wire.ask(get("/")).await.body;
    assert!(!page.contains("<script>") && !page.contains("style=") && !page.contains("http"), "{page}");
    let mut wanted = vec!["/".to_owned()];
    wanted.extend(quoted(&page, "/page/"));
    let mut seen = 0;
    while let Some(path) = wanted.get(seen).cloned() {
        seen += 1;
        let answer = wire.ask(get(&path)).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        for rule in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"]
        {
            assert!(policy.contains(rule) && !policy.contains("unsafe"), "{path}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!answer.body.contains(sink), "{path} has {sink}");
        }
        for module in quoted(&answer.body, "./").map(|name| name.replace("./", "/page/")) {
            if !wanted.contains(&module) {
                wanted.push(module);
            }
        }
    }
    assert!(seen > 10, "{wanted:?}");
}

/// What stands between double quotes and begins with `start`.
fn quoted<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split('"').filter(move |piece| piece.starts_with(start)).map(String::from)
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let script = wire.ask(get("/page/main.js")).await;
    assert!(script.header("content-type").unwrap().starts_with("text/javascript"));
    let tag = script.header("etag").unwrap();
    assert_ne!(Some(tag), wire.ask(get("/page/page.css")).await.header("etag"));
    let asked = |tag: &str| format!("GET /page/main.js HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\n\r\n");
    assert_eq!(wire.ask(asked(&format!("\"other\", {tag}"))).await.status, 304);
    assert_eq!(wire.ask(asked("\"other\"")).await.status, 200);
}

#[tokio::test]
async fn a_file_that_is_none_of_the_page_is_not_there() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    for path in ["/page/", "/page/other.js", "/page/..%2Fpage.rs", "/page/a/b"] {
        assert_eq!(wire.ask(get(path)).await.code(), "unknown_path", "{path}");
    }
}
