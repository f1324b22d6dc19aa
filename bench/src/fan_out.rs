//! How many deliveries over WebSocket does a second of the server's processor time take, and how late are they?
//!
//! The load is `dualstream bench`, a process of its own; the server is another. Both are the released program. What a row
//! costs the server is its own processor time while the row was measured. Every delivery is counted: a row in which one
//! is missing, or comes twice, is no result but a failure.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    Settings,
    report::{Report, Table},
    server::Server,
    warm::warm_memory,
};

/// One row: its name, the arguments of `dualstream bench`, and the least or most that is wanted.
struct Row {
    name: &'static str,
    arguments: &'static str,
    wanted: Wanted,
}

/// What a row is to reach.
#[derive(Clone, Copy)]
enum Wanted {
    /// Deliveries per processor second of the server.
    PerCpuSecond(f64),
    /// A quantile of the latency, at most.
    Latency(&'static str, Duration),
    /// A quantile of the latency, at most that of a publish in the same run and this much more.
    BesideAck(&'static str, Duration),
}

/// Most resident bytes of the server for a subscriber to whom nothing happens.
const IDLE_BYTES_MAX: u64 = 12 << 10;
const MS: Duration = Duration::from_millis(1);

/// Publishes as many as a latency beside an ack is measured with.
const ACKS: &str = "publish --connections 1 --channels 1 --rate 200";

/// Fan-out, and latencies.
const FAN_OUT: [Row; 6] = [
    Row {
        name: "one channel, 2,000 subscribers, as fast as it goes",
        arguments: "fan-out --subscribers 2000",
        wanted: Wanted::PerCpuSecond(1_000_000.0),
    },
    Row {
        name: "the same, 100,000 deliveries/s",
        arguments: "fan-out --subscribers 2000 --rate 50",
        wanted: Wanted::Latency("p99", MS.saturating_mul(15)),
    },
    Row {
        name: "5,000 channels, 1 subscriber each, 20,000 events/s one by one over 256 connections",
        arguments: "fan-out --subscribers 5000 --channels 5000 --connections 256 --rate 20000",
        wanted: Wanted::PerCpuSecond(50_000.0),
    },
    Row {
        name: "one subscriber, 200 events/s, bus only",
        arguments: "fan-out --subscribers 1 --connections 1 --rate 200 --namespace live",
        wanted: Wanted::Latency("p50", Duration::from_micros(300)),
    },
    Row {
        name: "the same; slowest in a hundred",
        arguments: "fan-out --subscribers 1 --connections 1 --rate 200 --namespace live",
        wanted: Wanted::Latency("p99", MS),
    },
    Row {
        name: "one subscriber, 200 events/s, synced",
        arguments: "fan-out --subscribers 1 --connections 1 --rate 200",
        wanted: Wanted::BesideAck("p50", Duration::from_micros(500)),
    },
];

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let mut rows = Vec::new();
    for (number, row) in FAN_OUT.iter().enumerate() {
        let server = start(settings, &dir.path().join(number.to_string()))?;
        let mut found = measure(settings, &server, row.arguments, settings.time_per_table)?;
        if let Wanted::BesideAck(quantile, _) = row.wanted {
            found.ack_us =
                measure(settings, &server, ACKS, settings.time_per_table)?.quantile_us(quantile)?;
        }
        server.stop()?;
        rows.push(row_of(row, &found)?);
    }
    Ok(Report(vec![table(
        "Events of 256 B of data published over HTTP, to subscribers over WebSocket, synced before the ack unless bus only; latency from the intended send time",
        rows,
    )]))
}

pub(crate) fn run_recovery(settings: &Settings) -> Result<Report> {
    const EACH: &str = "replay --id coming-back --clients 5000 --events 100";
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let mut rows = Vec::new();
    for (name, channels, wanted) in [
        ("5,000 clients of 1 channel, 100 events each", 1, Wanted::PerCpuSecond(1_000_000.0)),
        ("5,000 clients of 50 channels, 100 events each", 50, Wanted::PerCpuSecond(1_000_000.0)),
        ("5,000 clients of 5,000 channels, 100 events each", 5_000, Wanted::PerCpuSecond(1_000_000.0)),
    ] {
        let data = dir.path().join(channels.to_string());
        let arguments = format!("{EACH} --channels {channels}");
        let server = start(settings, &data)?;
        measure(settings, &server, &format!("{arguments} --fill-only"), Duration::ZERO)?;
        server.kill()?;
        let server = start(settings, &data)?;
        let found = measure(settings, &server, &arguments, Duration::ZERO)?;
        server.stop()?;
        rows.push(row_of(&Row { name, arguments: "", wanted }, &found)?);
    }
    Ok(Report(vec![table(
        "Clients that come back over WebSocket after the server was killed and started again, and recover 100 events of 256 B of data; without the processor time of the connects",
        rows,
    )]))
}

pub(crate) fn run_idle(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let server = start(settings, &dir.path().join("data"))?;
    // An event every ten seconds, so that nearly nothing but pings happens.
    let arguments = "fan-out --subscribers 10000 --channels 10000 --connections 1 --rate 0.1 --warm-up 5s";
    let found = measure(settings, &server, arguments, Duration::from_secs(30))?;
    server.stop()?;
    let bytes = found.number("server_bytes_per_subscriber")?;
    let share = 100.0 * found.number("server_cpu_seconds")? / found.number("seconds")?;
    Ok(Report(vec![Table {
        title: "WebSockets with one subscription to which nothing is delivered, over 30 s".into(),
        header: vec!["connections", "server bytes each", "wanted", "% of a core", "wanted"],
        rows: vec![vec![
            "10,000".into(),
            format!("{bytes:.0}"),
            format!("≤ {IDLE_BYTES_MAX}"),
            format!("{share:.2}"),
            "≤ 2".into(),
        ]],
    }]))
}

/// A server with a namespace `live` that stores nothing.
fn start(settings: &Settings, data: &Path) -> Result<Server> {
    Server::start_with(&settings.server, data, &["--set", "namespaces.live.stream=bus"])
}

/// A row for each quantile that is to be reached, of one run against a server that is there.
pub(crate) fn latencies(
    settings: &Settings,
    server: &Server,
    name: &'static str,
    arguments: &'static str,
    wanted: &[(&'static str, Duration)],
) -> Result<Vec<Vec<String>>> {
    let found = measure(settings, server, arguments, settings.time_per_table)?;
    let row =
        |&(quantile, most)| row_of(&Row { name, arguments, wanted: Wanted::Latency(quantile, most) }, &found);
    wanted.iter().map(row).collect()
}

/// Announcements to one live subscriber of another node: a row for each quantile, beside that of the acks.
pub(crate) fn live(
    settings: &Settings,
    publish_at: &Server,
    listen_at: &Server,
    wanted: &[(&'static str, Duration)],
) -> Result<Vec<Vec<String>>> {
    let arguments = format!(
        "fan-out --subscribers 1 --connections 1 --rate 200 --warm-up 10s --live --listen-at http://{}",
        listen_at.address
    );
    let mut found = measure(settings, publish_at, &arguments, settings.time_per_table)?;
    let acks = measure(settings, publish_at, ACKS, settings.time_per_table)?;
    let mut row = |&(quantile, more)| {
        found.ack_us = acks.quantile_us(quantile)?;
        let name = "one live subscriber of the other node, 200 events/s";
        row_of(&Row { name, arguments: "", wanted: Wanted::BesideAck(quantile, more) }, &found)
    };
    wanted.iter().map(&mut row).collect()
}

pub(crate) fn table(title: &str, rows: Vec<Vec<String>>) -> Table {
    Table {
        title: title.into(),
        header: vec![
            "load",
            "deliveries/s",
            "server µs CPU each",
            "deliveries/CPU second",
            "p50 ms",
            "p99 ms",
            "max ms",
            "client % of a core",
            "wanted",
        ],
        rows,
    }
}

/// What `dualstream bench` said.
struct Found {
    json: String,
    /// What it is compared with, of a publish alone.
    ack_us: f64,
}

fn measure(settings: &Settings, server: &Server, arguments: &str, time: Duration) -> Result<Found> {
    let mut command = Command::new(&settings.server);
    command.args(["--output", "json", "--server", &format!("http://{}", server.address), "bench"]);
    command.args(arguments.split(' '));
    if !time.is_zero() {
        command.args(["--duration", &format!("{}ms", time.as_millis())]);
    }
    let output = command.output().context("cannot start the load")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "bench {arguments}: {said}");
    Ok(Found { json: String::from_utf8(output.stdout)?, ack_us: 0.0 })
}

impl Found {
    /// A number of the report, which is one flat JSON object but for the latencies.
    fn number(&self, name: &str) -> Result<f64> {
        let mark = format!("\"{name}\":");
        let at = self.json.find(&mark).with_context(|| format!("no {name} in {}", self.json))? + mark.len();
        let text = &self.json[at..];
        let end = text.find([',', '}']).unwrap_or(text.len());
        text[..end].parse().with_context(|| format!("{name} is {:?}", &text[..end]))
    }

    fn quantile_us(&self, name: &str) -> Result<f64> {
        self.number(name)
    }
}

fn row_of(row: &Row, found: &Found) -> Result<Vec<String>> {
    let (delivered, seconds) = (found.number("delivered")?, found.number("seconds")?);
    let (cpu, own) = (found.number("server_cpu_seconds")?, found.number("client_cpu_seconds")?);
    let ms = |name: &str| -> Result<String> {
        Ok(match found.number("count")? {
            0.0 => "-".into(),
            _ => format!("{:.2}", found.quantile_us(name)? / 1e3),
        })
    };
    let wanted = match row.wanted {
        Wanted::PerCpuSecond(least) => format!("≥ {least:.0}/CPU second"),
        Wanted::Latency(name, most) => format!("{name} ≤ {:.1} ms", most.as_secs_f64() * 1e3),
        Wanted::BesideAck(quantile, more) => {
            let most = found.ack_us + more.as_secs_f64() * 1e6;
            format!("{quantile} ≤ {:.2} ms (ack {:.2} ms)", most / 1e3, found.ack_us / 1e3)
        }
    };
    Ok(vec![
        row.name.into(),
        format!("{:.0}", delivered / seconds),
        format!("{:.2}", cpu * 1e6 / delivered),
        format!("{:.0}", delivered / cpu),
        ms("p50")?,
        ms("p99")?,
        ms("max")?,
        format!("{:.0}", 100.0 * own / seconds),
        wanted,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_report() {
        let json = r#"{"delivered":12,"latency_us":{"count":3,"p50":1.5,"p99":2},"seconds":2.5}"#.to_owned();
        let found = Found { json, ack_us: 0.0 };
        assert_eq!((found.number("delivered").unwrap(), found.number("p50").unwrap()), (12.0, 1.5));
        assert_eq!((found.number("p99").unwrap(), found.number("seconds").unwrap()), (2.0, 2.5));
        assert!(found.number("p9").is_err());
    }
}
