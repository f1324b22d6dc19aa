//! The page in a real Chromium against the program: `crates/gateway/tests/js/page.mjs` says what is looked at. The JavaScript of
//! the documents too.

use crate::browser;

#[test]
fn the_page_does_in_a_browser_what_it_promises() {
    browser::run("page.mjs");
}

#[test]
fn the_snippets_of_the_documents_do_what_they_say() {
    browser::run("snippets.mjs");
}
