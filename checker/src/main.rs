//! `dualstream-checker check FILE`: judges a history that a test has written.
//!
//! Exit 0: every promise was kept. Exit 1: one was not; the anomalies are printed. Exit 2: the file is no history.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::{Parser, Subcommand};
use dualstream_checker::{History, Report, Rules, judge};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Judges what a test did and saw against what dualstream promises.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge a history
    Check {
        /// A file of JSON lines
        file: PathBuf,
        /// How soon after a fault everything must work again
        #[arg(long, value_name = "MS", default_value_t = Rules::default().heal_ms_max)]
        heal_ms_max: u64,
        /// A documented code of errors; may be given again. None: any will do
        #[arg(long = "code", value_name = "CODE")]
        codes: Vec<String>,
        /// How many anomalies of each kind are shown
        #[arg(long, value_name = "COUNT", default_value_t = Rules::default().shown_max)]
        shown_max: usize,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(Args { command }: Args) -> Result<Report> {
    let Command::Check { file, heal_ms_max, codes, shown_max } = command;
    let codes = (!codes.is_empty()).then(|| codes.into_iter().collect());
    let report = judge(&History::read(&file)?, &Rules { heal_ms_max, codes, shown_max });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(report)
}
