//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! One file per command, in the order of the list below; [`process`] starts programs and [`workspace`] knows where
//! things are. Nothing here is part of the product, and nothing the product needs at run time may live here.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command's report is what it prints")]

mod ci;
mod faults;
mod fuzz;
mod mutants;
mod optimised;
mod power;
mod process;
mod races;
mod services;
mod test;
mod tidy;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, then run `ci`: the one command before a commit
    Test(test::Args),
    /// Formatting, lints, tidy, tests, docs, examples and simulation, each within its minutes
    Ci(ci::Args),
    /// Check what no compiler does: imports, names, sizes, words, links
    Tidy,
    /// Run the simulator in release mode: `cargo xtask sim --seeds 1000`
    Sim(optimised::Args),
    /// Run the benchmarks in release mode: `cargo xtask bench --help`
    Bench(optimised::Args),
    /// Fuzz one target, or each in turn, with the nightly compiler
    Fuzz(fuzz::Args),
    /// Try orders of threads in the hub: `cargo xtask races --seeds 5000`
    Races(optimised::Args),
    /// Plant each known bug and see it caught
    Mutants(mutants::Args),
    /// Lose power on a real file system, again and again (root, loop devices)
    Power(power::Args),
    /// Break brokers, Redis and nodes again and again, and measure acks meanwhile
    Faults(faults::Args),
    /// Start, end and look at the real servers the tests use
    Services(services::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Test(args) => test::run(&workspace, &args),
        Task::Ci(args) => ci::run(&workspace, &args),
        Task::Tidy => tidy::run(&workspace),
        Task::Sim(args) => optimised::run(&workspace, "dualstream-sim", &args),
        Task::Bench(args) => optimised::run(&workspace, "dualstream-bench", &args),
        Task::Fuzz(args) => fuzz::run(&workspace, &args),
        Task::Races(args) => races::run(&workspace, &args.rest),
        Task::Mutants(args) => mutants::run(&workspace, &args),
        Task::Power(args) => power::run(&workspace, &args),
        Task::Faults(args) => faults::run(&workspace, &args),
        Task::Services(args) => services::run(&workspace, &args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_other_programs_are_passed_on_as_they_are() {
        for command in ["sim", "bench", "races"] {
            Cli::try_parse_from(["xtask", command, "--seeds", "3", "--help"]).unwrap();
        }
    }
}
