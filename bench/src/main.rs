//! `dualstream-bench`: the measurements that decisions rest on (`docs/adr/`), each beside its alternatives.
//!
//! One file per benchmark. A benchmark interleaves its variants in short blocks, so that noise of the machine
//! hits all of them alike, and answers with tables of medians and ratios. `--write` puts the tables into
//! `bench/RESULTS.md`, in a section per benchmark.
//!
//! Not a regression test: absolute numbers hold for the machine they were taken on, ratios travel further.

#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::machine::Machine;
use crate::report::{Report, Results};

mod append;
mod browser;
mod bus;
mod callers;
mod channels;
mod compression;
mod cpu_time;
mod dual;
mod embedded;
mod fan_out;
mod filled;
mod http;
mod journal;
mod kafka;
mod machine;
mod mirror;
mod mirrored;
mod needle;
mod produce;
mod publish;
mod replay;
mod report;
mod rounds;
mod samples;
mod server;
mod size;
mod tail;
mod warm;
mod workload;

/// As the server has it: what is measured of the library here is what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure one or more parts of dualstream and print the results as tables.
#[derive(Parser)]
#[command(name = "dualstream-bench", version)]
struct Arguments {
    /// What to measure: `journal`, `compression`, `append`, `topics`, `callers`, `replay`, `publish`,
    /// `needle`, `produce`, `mirror`, `size`, `channels`, `fan-out`, `recovery`, `idle`, `tail`, `browser`, `delivery`, `channel`, `bus`, `dual`, `live`. Everything when none is named.
    names: Vec<String>,

    /// Where to put the files measured: the file system matters. They are removed afterwards.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"), hide_default_value = true)]
    dir: PathBuf,

    /// How long to measure per table, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,

    /// Real events, one JSON object a line.
    #[arg(
        long,
        default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/github-events.ndjson"),
        hide_default_value = true
    )]
    events: PathBuf,

    /// The released program, for what is measured from outside.
    #[arg(
        long,
        default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/dualstream"),
        hide_default_value = true
    )]
    server: PathBuf,

    /// Events in the log of `needle`.
    #[arg(long, default_value_t = 10_000_000)]
    needle_events: u64,

    /// Keep the log of `needle`, and use it again if it is there.
    #[arg(long)]
    keep: bool,

    /// Put the results into `bench/RESULTS.md`, keeping the sections of other benchmarks.
    #[arg(long)]
    write: bool,
}

/// What every benchmark is given.
pub(crate) struct Settings {
    pub dir: PathBuf,
    pub time_per_table: Duration,
    pub events: PathBuf,
    pub server: PathBuf,
    pub needle_events: u64,
    pub keep: bool,
}

/// A benchmark: its name on the command line and in `RESULTS.md`, and what runs it.
type Benchmark = (&'static str, fn(&Settings) -> Result<Report>);

const BENCHMARKS: [Benchmark; 22] = [
    ("journal", journal::run),
    ("compression", compression::run),
    ("append", append::run),
    ("topics", append::run_topics),
    ("callers", callers::run),
    ("replay", replay::run),
    ("publish", publish::run),
    ("needle", needle::run),
    ("mirror", mirror::run),
    ("produce", produce::run),
    ("size", size::run),
    ("channels", channels::run),
    ("fan-out", fan_out::run),
    ("recovery", fan_out::run_recovery),
    ("idle", fan_out::run_idle),
    ("tail", tail::run),
    ("browser", browser::run),
    ("delivery", kafka::run_delivery),
    ("channel", kafka::run_channel),
    ("bus", bus::run),
    ("dual", dual::run),
    ("live", kafka::run_live),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let chosen = chosen(&arguments.names)?;
    std::fs::create_dir_all(&arguments.dir)
        .with_context(|| format!("cannot create {}", arguments.dir.display()))?;
    let settings = Settings {
        time_per_table: Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?,
        dir: arguments.dir,
        events: arguments.events,
        server: arguments.server,
        needle_events: arguments.needle_events,
        keep: arguments.keep,
    };
    let machine = Machine::describe(&settings.dir)?;
    report::print(&format!("{machine}\n"))?;
    for (name, run) in chosen {
        let report = run(&settings).with_context(|| format!("benchmark {name}"))?;
        report::print(&report.to_string())?;
        if arguments.write {
            Results::at(concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md")).put(&machine, name, &report)?;
        }
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Benchmark>> {
    if names.is_empty() {
        return Ok(BENCHMARKS.to_vec());
    }
    names
        .iter()
        .map(|name| match BENCHMARKS.iter().find(|(known, _)| known == name) {
            Some(benchmark) => Ok(*benchmark),
            None => {
                bail!("no benchmark {name:?}; there are: {}", BENCHMARKS.map(|(known, _)| known).join(", "))
            }
        })
        .collect()
}
