//! `cargo xtask faults`: the suite of faults for long, optimised, and what no test may assert: how long acks take while
//! Redis is well, hangs or is dead. Not part of `ci`, which runs the same suite once and briefly.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::Instant;

/// Arguments of `cargo xtask faults`.
#[derive(clap::Args)]
pub struct Args {
    /// How often each fault is made
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..))]
    rounds: u32,
    /// How long the main job with Redis stops a node
    #[arg(long, default_value_t = 60)]
    stopped_seconds: u32,
    /// Events of the main job over Kafka
    #[arg(long, default_value_t = 200_000)]
    events: u32,
    /// Only tests whose names contain this
    #[arg(value_name = "NAME")]
    only: Option<String>,
    /// Leave out the latencies
    #[arg(long)]
    no_latency: bool,
}

const LATENCY: &str = "latency::acks_while_redis_is_well_hangs_and_is_dead";
/// The 99th percentile of acks with Redis in any state, over that of the log alone.
const RATIO_MAX: f64 = 1.05;

/// Acks in one state of Redis.
#[derive(Debug, PartialEq)]
struct Acks {
    state: String,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    count: u64,
}

/// Runs the rounds, then measures, and prints what each took.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        println!("\n=== round {round} of {}", args.rounds);
        let began = Instant::now();
        let outcome = process::run(&mut suite(workspace, args));
        rounds.push((outcome.is_ok(), began.elapsed().as_secs_f64() / 60.0));
    }
    let acks = if args.no_latency { Vec::new() } else { measure(workspace)? };
    println!("\n{:<8} {:<8} {:>7}", "round", "result", "minutes");
    for (index, (is_green, minutes)) in rounds.iter().enumerate() {
        println!("{:<8} {:<8} {minutes:>7.1}", index + 1, if *is_green { "green" } else { "FAILED" });
    }
    print!("{}", table(&acks));
    let failed = rounds.iter().filter(|(is_green, _)| !is_green).count();
    ensure!(failed == 0, "{failed} of {} rounds failed", rounds.len());
    let slow: Vec<&str> = slow(&acks).collect();
    ensure!(
        slow.is_empty(),
        "acks are more than {RATIO_MAX} times those of the log alone: {}",
        slow.join(", ")
    );
    Ok(())
}

/// The whole suite, one test after the other: they share two cores with what they start.
fn suite(workspace: &Workspace, args: &Args) -> Command {
    let mut cargo = tests(workspace);
    // What is ignored elsewhere is run here; the latencies are measured by themselves.
    cargo.args(["--include-ignored", "--skip", LATENCY, "--test-threads", "1"]).args(&args.only);
    cargo.env("FAULTS_STOPPED_SECONDS", args.stopped_seconds.to_string());
    cargo.env("FAULTS_EVENTS", args.events.to_string());
    cargo
}

fn measure(workspace: &Workspace) -> Result<Vec<Acks>> {
    println!("\n=== acks while redis is well, hangs and is dead");
    let said = process::output(tests(workspace).args(["--ignored", "--exact", "--nocapture", LATENCY]))?;
    let acks = said.lines().filter_map(|line| line.split_once("acks: "));
    let acks = acks.map(|(_, words)| parse(words).with_context(|| format!("'{words}' are no acks")));
    let acks = acks.collect::<Result<Vec<_>>>()?;
    ensure!(!acks.is_empty(), "nothing was measured:\n{said}");
    Ok(acks)
}

fn tests(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--release", "-p", "dualstream-faults", "--test", "it", "--"]);
    cargo
}

/// `P50 P99 P999 COUNT STATE…`, in microseconds: of some rounds the one in the middle.
fn parse(words: &str) -> Option<Acks> {
    let mut words = words.splitn(5, ' ');
    let mut number = || words.next()?.parse().ok();
    let (p50_us, p99_us, p999_us, count) = (number()?, number()?, number()?, number()?);
    Some(Acks { state: words.next()?.to_owned(), p50_us, p99_us, p999_us, count })
}

/// The first is the log alone.
fn ratio(acks: &[Acks], of: &Acks) -> f64 {
    acks.first().map_or(1.0, |alone| of.p99_us as f64 / alone.p99_us.max(1) as f64)
}

fn slow(acks: &[Acks]) -> impl Iterator<Item = &str> {
    acks.iter().filter(|of| ratio(acks, of) > RATIO_MAX).map(|of| of.state.as_str())
}

fn table(acks: &[Acks]) -> String {
    let line = |of: &Acks| {
        let Acks { state, p50_us, p99_us, p999_us, count } = of;
        format!("{state:<16} {p50_us:>8} {p99_us:>8} {p999_us:>8} {:>8.2} {count:>8}\n", ratio(acks, of))
    };
    let lines: String = acks.iter().map(line).collect();
    if lines.is_empty() {
        return lines;
    }
    format!(
        "\n{:<16} {:>8} {:>8} {:>8} {:>8} {:>8}\n{lines}",
        "acks, µs", "p50", "p99", "p999", "p99 ×", "acks"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_are_read_and_judged_by_those_of_the_log_alone() {
        let said = [
            "500 1000 3000 20000 the log alone",
            "510 1040 2000 20000 redis is well",
            "490 1060 9000 20000 redis hangs",
        ];
        let acks: Vec<Acks> = said.iter().map(|line| parse(line).unwrap()).collect();
        assert_eq!(acks[1].state, "redis is well");
        assert_eq!(slow(&acks).collect::<Vec<_>>(), ["redis hangs"]);
        assert!(table(&acks).contains("1.04"), "{}", table(&acks));
        assert_eq!(parse("no acks at all"), None);
        assert_eq!(table(&[]), "");
    }
}
