//! How late does a real Chromium hear of an event that was published a moment ago?
//!
//! Chromium is driven by `crates/gateway/tests/js/latency.mjs`, which says how the clocks are compared; it needs `node`,
//! `chromium`, and what the tests of the page install there. Every event must come, once.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    Settings,
    report::{Report, Table},
    server::Server,
};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/gateway/tests/js");
const EVENTS_PER_SECOND: f64 = 100.0;
/// What a median is to reach; a row on the screen waits for the next frame and is not held to it.
const WANTED_MS: f64 = 3.0;
const ON_THE_SCREEN: &str = "the page at /";

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let server = Server::start_with(
        &settings.server,
        &dir.path().join("data"),
        &["--set", "namespaces.live.stream=bus"],
    )?;
    let events = (settings.time_per_table.as_secs_f64() * EVENTS_PER_SECOND).ceil().max(1.0);
    let output = Command::new("node")
        .current_dir(SCRIPTS)
        .arg("latency.mjs")
        .arg(format!("http://{}", server.address))
        .arg(chromium()?)
        .arg(events.to_string())
        .output()
        .context("cannot start node")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "latency.mjs (`npm ci` in {SCRIPTS} if a module is missing): {said}");
    server.stop()?;
    let rows = String::from_utf8(output.stdout)?.lines().map(row).collect::<Result<_>>()?;
    Ok(Report(vec![Table {
        title: "From the request of a publisher in another process to the handler in the page, one event of 200 B every 10 ms, synced before the ack unless bus only; both processes read one clock, apart by the doubt at most".into(),
        header: vec!["in Chromium", "events", "p50 ms", "p99 ms", "max ms", "± ms", "ack p50 ms", "wanted p50"],
        rows,
    }]))
}

fn chromium() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut files = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    files.find(|file| file.is_file()).context("no chromium on the PATH")
}

/// A row of the table from a line of the script.
fn row(line: &str) -> Result<Vec<String>> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, events, numbers @ ..] = &columns[..] else { anyhow::bail!("latency.mjs says {line:?}") };
    let numbers: Vec<f64> = numbers.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [median, p99, most, ack, doubt] = numbers[..] else { anyhow::bail!("latency.mjs says {line:?}") };
    let mut row = vec![name.to_string(), events.to_string()];
    row.extend([median, p99, most, doubt, ack].map(|ms| format!("{ms:.2}")));
    row.push(if name.starts_with(ON_THE_SCREEN) { "-".into() } else { format!("≤ {WANTED_MS:.0} ms") });
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_row() {
        let found = row("EventSource\t500\t2.594\t6.488\t7.361\t2.520\t0.121").unwrap();
        assert_eq!(found, ["EventSource", "500", "2.59", "6.49", "7.36", "0.12", "2.52", "≤ 3 ms"]);
        assert_eq!(row("the page at /, until\t1\t1\t1\t1\t1\t1").unwrap()[7], "-");
        assert!(row("EventSource\t500\t2.594").is_err());
    }
}
