//! The page in a real Chromium against the program: `crates/gateway/tests/browser/page.mjs` says what is looked at.
//!
//! Needs `node` (20 or later), `npm` and `chromium`; what drives the browser is pinned in `package-lock.json` there and
//! installed on the first run.

use std::path::{Path, PathBuf};
use std::process::Command;

const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/github-events.ndjson");
const BROWSER_TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/tests/browser");

#[test]
fn the_page_does_in_a_browser_what_it_promises() {
    install();
    let mut script = Command::new("node");
    script.current_dir(BROWSER_TESTS).arg("page.mjs").arg(env!("CARGO_BIN_EXE_dualstream"));
    let done = script.arg(chromium()).arg(EVENTS).output().expect("node is installed");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{err}");
}

fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|file| file.is_file())
        .expect("the test of the page needs chromium: apt-get install chromium, or leave it out with --skip page::")
}

/// Installs what drives the browser unless it is there.
fn install() {
    if Path::new(BROWSER_TESTS).join("node_modules/playwright-core/package.json").exists() {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(BROWSER_TESTS);
    let missing =
        "the test of the page needs node 20 and npm: install them, or leave it out with --skip page::";
    let done = npm.output().expect(missing);
    assert!(done.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&done.stderr));
}
