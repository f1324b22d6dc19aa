//! What a run found: for people a table and a picture, for programs one JSON object.

use super::latencies::{Latencies, MARKS};
use super::measured::Measured;
use super::tally::Tally;
use crate::output::{self, Format};
use serde_json::{Value, json};
use std::time::Duration;

const BAR_COLUMNS: usize = 40;

/// A run's result.
pub struct Report {
    /// Name of the benchmark.
    pub name: &'static str,
    /// What was asked for, by name.
    pub asked: Vec<(&'static str, Value)>,
    pub measured: Measured,
    pub latencies: Latencies,
    /// From where to where a latency goes.
    pub latency_of: &'static str,
    /// Deliveries that did not come, and subscribers that saw something twice or something else.
    pub missing: u64,
    pub wrong: u64,
    pub failed: u64,
    pub lost: u64,
    pub first_failure: Option<String>,
    /// Further numbers of this benchmark.
    pub more: Vec<(&'static str, Value)>,
}

impl Report {
    /// A report of what a tally holds now.
    pub fn new(
        name: &'static str,
        asked: Vec<(&'static str, Value)>,
        measured: Measured,
        tally: &Tally,
    ) -> Report {
        Report {
            name,
            asked,
            measured,
            latencies: tally.latencies.take(),
            latency_of: "",
            missing: 0,
            wrong: 0,
            failed: tally.failed.get(),
            lost: tally.lost.get(),
            first_failure: tally.first_failure.take(),
            more: Vec::new(),
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn print(&self, format: Format) -> Result<(), output::Error> {
        match format {
            Format::Json => output::line(&self.json().to_string()),
            Format::Human => output::text(&self.human()),
        }
    }

    /// What went wrong, if something did.
    pub fn fault(&self) -> Option<String> {
        let Report { missing, wrong, failed, lost, .. } = self;
        let counts = [
            (*failed, "publishes failed"),
            (*lost, "connections were lost"),
            (*missing, "deliveries are missing"),
            (*wrong, "subscribers saw something twice or out of nowhere"),
        ];
        let told: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let first = self.first_failure.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        (!told.is_empty()).then(|| format!("{}{first}", told.join(", ")))
    }

    /// What was done: deliveries, or without subscribers publishes.
    fn done(&self) -> (u64, &'static str) {
        match self.measured.delivered {
            0 => (self.measured.published, "events"),
            delivered => (delivered, "deliveries"),
        }
    }

    fn json(&self) -> Value {
        let Measured { time, published, delivered, server_cpu, own_cpu } = &self.measured;
        let mut report = json!({
            "benchmark": self.name,
            "seconds": time.as_secs_f64(),
            "published": published,
            "delivered": delivered,
            "missing": self.missing,
            "wrong": self.wrong,
            "failed": self.failed,
            "connections_lost": self.lost,
            "server_cpu_seconds": server_cpu,
            "client_cpu_seconds": own_cpu,
            "latency_us": self.quantiles_us(),
        });
        let further =
            self.asked.iter().chain(&self.more).map(|(name, value)| ((*name).to_owned(), value.clone()));
        if let Value::Object(report) = &mut report {
            report.extend(further);
        }
        report
    }

    fn quantiles_us(&self) -> Value {
        let each =
            MARKS.iter().map(|(q, name)| ((*name).to_owned(), micros(self.latencies.quantile(*q)).into()));
        let mut all: serde_json::Map<String, Value> = each.collect();
        all.insert("count".into(), self.latencies.count().into());
        Value::Object(all)
    }

    fn human(&self) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        for (name, value) in self.asked.iter().filter(|(_, value)| !value.is_null()) {
            rows.push((name.replace('_', " "), plain(value)));
        }
        let Measured { time, published, server_cpu, own_cpu, .. } = &self.measured;
        let (seconds, (done, what)) = (time.as_secs_f64().max(1e-9), self.done());
        rows.push(("measured for".into(), format!("{seconds:.1} s")));
        rows.push(("events published".into(), rate(*published, seconds)));
        if what == "deliveries" {
            rows.push((what.into(), rate(done, seconds)));
        }
        rows.extend(self.more.iter().map(|(name, value)| (name.replace('_', " "), plain(value))));
        match server_cpu {
            Some(cpu) if *cpu > 0.0 && done > 0 => rows.push((
                "server".into(),
                format!(
                    "{:.2} µs of CPU each, {} {what} per CPU second, {:.0} % of a core",
                    cpu * 1e6 / done as f64,
                    grouped((done as f64 / cpu) as u64),
                    100.0 * cpu / seconds
                ),
            )),
            _ => {}
        }
        rows.extend(
            own_cpu.map(|cpu| ("this program".into(), format!("{:.0} % of a core", 100.0 * cpu / seconds))),
        );
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.name);
        for (name, value) in rows {
            text += &format!("  {name:<width$}  {value}\n");
        }
        if self.latencies.count() > 0 {
            let told: Vec<String> = MARKS
                .iter()
                .map(|(q, name)| format!("{name} {}", short(self.latencies.quantile(*q))))
                .collect();
            text += &format!("\nlatency {}: {}\n", self.latency_of, told.join("  "));
            text += &format!("bars on a log scale, {} in all\n", grouped(self.latencies.count()));
            text += &self.latencies.picture(BAR_COLUMNS);
        }
        text
    }
}

fn rate(count: u64, seconds: f64) -> String {
    format!("{} ({}/s)", grouped(count), grouped((count as f64 / seconds).round() as u64))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() => grouped(number.as_u64().unwrap_or_default()),
        Value::Number(number) => format!("{:.1}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// With a comma after every three digits.
fn grouped(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

fn micros(time: Duration) -> f64 {
    (time.as_nanos() as f64 / 100.0).round() / 10.0
}

fn short(time: Duration) -> String {
    match time.as_nanos() {
        0..1_000_000 => format!("{:.0} µs", micros(time)),
        1_000_000..1_000_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
