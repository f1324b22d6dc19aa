//! Runs the scripts of `crates/gateway/tests/js` against the program: they drive a real Chromium and the public SDK.
//!
//! Needs `node` (18 or later), `npm` and `chromium`. What the scripts import is pinned in `package-lock.json` there and
//! installed on the first run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// Real events, one on each line.
pub const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/github-events.ndjson");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/tests/js");
const NEEDS: &str = "this test needs node 18, npm and chromium: `cargo xtask test` installs them on Debian";

/// Runs a script as `node SCRIPT PROGRAM CHROMIUM EVENTS` to its end.
pub fn run(script: &str) {
    install();
    let mut node = Command::new("node");
    node.current_dir(SCRIPTS).arg(script).arg(env!("CARGO_BIN_EXE_dualstream")).arg(chromium()).arg(EVENTS);
    let done = node.output().expect(NEEDS);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{script}: {out}{err}");
}

fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|file| file.is_file())
        .expect(NEEDS)
}

/// Installs what the scripts import unless it is there.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let modules = Path::new(SCRIPTS).join("node_modules");
        if ["centrifuge", "playwright-core", "ws"].iter().all(|name| modules.join(name).exists()) {
            return;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(SCRIPTS);
        let done = npm.output().expect(NEEDS);
        assert!(done.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&done.stderr));
    });
}
