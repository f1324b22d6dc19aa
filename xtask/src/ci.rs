//! `cargo xtask ci`: everything a change must pass, on a laptop as on a build machine.
//!
//! Each suite has a budget in minutes. A suite that takes longer fails even when it is green: time is taken away
//! from everybody, and slowly, so nobody notices unless a table says so.

use crate::process;
use crate::services;
use crate::tidy;
use crate::workspace::Workspace;
use anyhow::{Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use std::process::Command;
use std::time::{Duration, Instant};

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Suites to run, in the order of the list; all when absent
    #[arg(value_name = "SUITE", value_parser = PossibleValuesParser::new(SUITES.map(|suite| suite.name)))]
    suites: Vec<String>,
    /// Go on after a suite has failed
    #[arg(long)]
    keep_going: bool,
    /// Leave out the tests against real servers (Kafka, Redis); fails on build machines
    #[arg(long)]
    no_services: bool,
}

/// In the order they run: what fails fastest comes first.
const SUITES: [Suite; 9] = [
    Suite { name: "format", budget_minutes: 1, run: format },
    Suite { name: "clippy", budget_minutes: 8, run: clippy },
    Suite { name: "tidy", budget_minutes: 1, run: tidiness },
    Suite { name: "test", budget_minutes: 24, run: test },
    Suite { name: "tls", budget_minutes: 6, run: tls },
    Suite { name: "docs", budget_minutes: 4, run: docs },
    Suite { name: "examples", budget_minutes: 3, run: examples },
    Suite { name: "races", budget_minutes: 5, run: races },
    Suite { name: "sim", budget_minutes: 8, run: sim },
];

/// All budgets together: a full run on two cores, from a clean clone.
const BUDGET_MINUTES_MAX: u64 = 60;
const _: () = assert!(budget_minutes(&SUITES) <= BUDGET_MINUTES_MAX, "the suites' budgets exceed the hour");

/// When a run is stopped, so that a hanging test is named here before the build machine gives up without a word.
const RUN_MINUTES_MAX: u64 = 80;

const SIM_SEEDS: &str = "500";
/// Each is as dear as many of the others.
const SHARED_LOG_SEEDS: &str = "200";

struct Suite {
    name: &'static str,
    budget_minutes: u64,
    run: fn(&Run<'_>) -> Result<()>,
}

struct Run<'a> {
    workspace: &'a Workspace,
    deadline: Instant,
    with_services: bool,
}

/// Runs the suites and prints what each took.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let started = Instant::now();
    let deadline = started + minutes(RUN_MINUTES_MAX);
    let run = Run { workspace, deadline, with_services: !args.no_services };
    let suites = chosen(&args.suites);
    let mut rows = Vec::new();
    for (index, suite) in suites.iter().enumerate() {
        println!("\n=== {}/{} {} (budget {} min)", index + 1, suites.len(), suite.name, suite.budget_minutes);
        let row = measure(&run, suite);
        println!("=== {}: {} in {:.1} min", row.name, row.verdict.word(), in_minutes(row.took));
        let stop = row.verdict != Verdict::Passed && !args.keep_going;
        rows.push(row);
        if stop {
            break;
        }
    }
    println!("\n{}", table(&suites, &rows));
    conclude(&suites, &rows, started.elapsed())?;
    if args.no_services {
        println!("{}", services::SKIPPED);
        ensure!(!is_build_machine(), "build machines test everything: take --no-services away");
    }
    Ok(())
}

fn is_build_machine() -> bool {
    std::env::var_os("CI").is_some()
}

fn chosen(names: &[String]) -> Vec<&'static Suite> {
    SUITES.iter().filter(|suite| names.is_empty() || names.iter().any(|name| name == suite.name)).collect()
}

struct Row {
    name: &'static str,
    took: Duration,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Passed,
    Failed,
    OverBudget,
}

impl Verdict {
    fn of(green: bool, took: Duration, budget_minutes: u64) -> Verdict {
        match green {
            false => Verdict::Failed,
            true if took > minutes(budget_minutes) => Verdict::OverBudget,
            true => Verdict::Passed,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "green",
            Verdict::Failed => "FAILED",
            Verdict::OverBudget => "OVER BUDGET",
        }
    }
}

fn measure(run: &Run<'_>, suite: &Suite) -> Row {
    let started = Instant::now();
    let result = (suite.run)(run);
    if let Err(error) = &result {
        println!("{}: {error:#}", suite.name);
    }
    let took = started.elapsed();
    Row { name: suite.name, took, verdict: Verdict::of(result.is_ok(), took, suite.budget_minutes) }
}

fn table(suites: &[&Suite], rows: &[Row]) -> String {
    let mut lines = vec![format!("{:<10} {:<12} {:>7} {:>7}", "suite", "result", "minutes", "budget")];
    for (index, suite) in suites.iter().enumerate() {
        let (word, took) = match rows.get(index) {
            Some(row) => (row.verdict.word(), format!("{:.1}", in_minutes(row.took))),
            None => ("not run", "-".to_owned()),
        };
        lines.push(format!("{:<10} {word:<12} {took:>7} {:>7}", suite.name, suite.budget_minutes));
    }
    lines.join("\n")
}

fn conclude(suites: &[&Suite], rows: &[Row], took: Duration) -> Result<()> {
    let mut faults = Vec::new();
    for (row, suite) in rows.iter().zip(suites) {
        match row.verdict {
            Verdict::Passed => {}
            Verdict::Failed => faults.push(format!("{} failed", row.name)),
            Verdict::OverBudget => faults.push(format!(
                "{} took {:.1} minutes of {}: make it faster, or change the budgets in xtask/src/ci.rs",
                row.name,
                in_minutes(row.took),
                suite.budget_minutes
            )),
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    println!("\nall suites green in {:.1} minutes", in_minutes(took));
    Ok(())
}

fn format(run: &Run<'_>) -> Result<()> {
    run.step(run.workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(run: &Run<'_>) -> Result<()> {
    run.step(run.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn tidiness(run: &Run<'_>) -> Result<()> {
    tidy::run(run.workspace)
}

/// Also replays the fuzz corpora, which are ordinary tests of the crates they belong to.
fn test(run: &Run<'_>) -> Result<()> {
    let mut cargo = run.cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if !run.with_services {
        cargo.args(services::PACKAGES.iter().flat_map(|package| ["--exclude", package]));
    }
    run.step(&mut cargo)
}

/// Servers that speak TLS: a build of its own, as OpenSSL takes minutes of processor time.
fn tls(run: &Run<'_>) -> Result<()> {
    if !run.with_services {
        println!("left out: TLS to Kafka and Redis");
        return Ok(());
    }
    let mut cargo = run.cargo();
    cargo.args(["test", "-p", "dualstream-backends", "--features", "kafka-tls,redis-tls", "--test", "it"]);
    run.step(cargo.args(["--", "tls"]))
}

fn docs(run: &Run<'_>) -> Result<()> {
    run.step(run.cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Every example ends by itself with exit code 0.
fn examples(run: &Run<'_>) -> Result<()> {
    for file in run.workspace.files()? {
        if let Some(name) = example(&file) {
            run.step(run.cargo().args(["run", "-p", "dualstream", "--example", name]))?;
        }
    }
    Ok(())
}

fn example(file: &str) -> Option<&str> {
    let name = file.strip_prefix("crates/dualstream/examples/")?;
    let name = name.strip_suffix("/main.rs").or_else(|| name.strip_suffix(".rs"))?;
    (!name.contains('/')).then_some(name)
}

fn sim(run: &Run<'_>) -> Result<()> {
    let seeds = |args: &[&str]| {
        let mut cargo = run.cargo();
        cargo.args(["run", "--release", "-p", "dualstream-sim", "--"]).args(args);
        run.step(&mut cargo)
    };
    seeds(&["--seeds", SIM_SEEDS])?;
    seeds(&["--shared-log", "--seeds", SHARED_LOG_SEEDS])
}

/// A thousand schedules of each scenario: seconds, after the build.
fn races(run: &Run<'_>) -> Result<()> {
    run.step(&mut crate::races::command(run.workspace))
}

impl Run<'_> {
    /// Cargo, without incremental files on build machines, which start from nothing and never use them.
    fn cargo(&self) -> Command {
        let mut cargo = self.workspace.cargo();
        if is_build_machine() {
            cargo.env("CARGO_INCREMENTAL", "0");
        }
        cargo
    }

    fn step(&self, command: &mut Command) -> Result<()> {
        process::run_until(command, self.deadline)
    }
}

const fn budget_minutes(suites: &[Suite]) -> u64 {
    let (mut sum, mut index) = (0, 0);
    while index < suites.len() {
        sum += suites[index].budget_minutes;
        index += 1;
    }
    sum
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

fn in_minutes(took: Duration) -> f64 {
    took.as_secs_f64() / 60.0
}

#[cfg(test)]
mod tests;
