//! `dualstream-sim --seeds N --seed S`: runs the seeds S to S + N − 1 and stops at the first that breaks a promise.
//!
//! Exit 0: every promise was kept. Exit 1: one was not; the seed, the promise and the lines that show it are printed,
//! and the whole history is in `target/sim/seed-S.log`.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use dualstream_sim::{Over, Report};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seeds that run at once.
const THREADS: usize = 2;
/// A seed that takes longer goes round in circles without any time passing in it.
const SEED_MAX: Duration = Duration::from_secs(100);

/// Runs dualstream's publisher, hub and log under a seeded simulation with faults.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Several nodes that mirror one log which stands elsewhere, as with Kafka, instead of one node with its own
    #[arg(long)]
    shared_log: bool,
    /// Say what each seed did; with one seed, print its whole history
    #[arg(long)]
    verbose: bool,
}

impl Args {
    fn over(&self) -> Over {
        if self.shared_log { Over::SharedLog } else { Over::OwnLog }
    }
}

/// What the threads share.
struct Work {
    next: AtomicU64,
    end: u64,
    over: Over,
    stop: AtomicBool,
    /// What each thread runs, since when.
    running: Mutex<[Option<(u64, Instant)>; THREADS]>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let end = args.seed.saturating_add(args.seeds);
    let work = Arc::new(Work {
        next: AtomicU64::new(args.seed),
        end,
        over: args.over(),
        stop: AtomicBool::new(false),
        running: Mutex::default(),
    });
    let (reports, received) = mpsc::channel();
    for thread in 0..THREADS {
        let (work, reports) = (work.clone(), reports.clone());
        std::thread::Builder::new()
            .name(format!("sim-{thread}"))
            .spawn(move || work.run(thread, &reports))?;
    }
    drop(reports);
    let began = Instant::now();
    let (mut done, mut events) = (0, 0);
    let mut failed: Option<Report> = None;
    loop {
        match received.recv_timeout(Duration::from_secs(1)) {
            Ok(report) => {
                done += 1;
                events += report.events;
                progress(&args, done, &report)?;
                if report.broken.is_some() && failed.as_ref().is_none_or(|f| report.seed < f.seed) {
                    work.stop.store(true, Relaxed);
                    failed = Some(report);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(seed) = work.stuck() {
                    say(&format!("\nseed {seed} broke a promise\n  progress: it is stuck in one instant\n"))?;
                    return Ok(ExitCode::from(1));
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match failed {
        Some(report) => {
            tell(&args, &report)?;
            Ok(ExitCode::from(1))
        }
        None => {
            let seconds = began.elapsed().as_secs_f64();
            say(&format!("\r{done} seeds, {events} events, every promise kept ({seconds:.1} s)\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Work {
    fn run(&self, thread: usize, reports: &mpsc::Sender<Report>) {
        while !self.stop.load(Relaxed) {
            let seed = self.next.fetch_add(1, Relaxed);
            if seed >= self.end {
                return;
            }
            self.mark(thread, Some((seed, Instant::now())));
            let report = dualstream_sim::run(seed, self.over);
            self.mark(thread, None);
            if reports.send(report).is_err() {
                return;
            }
        }
    }

    fn mark(&self, thread: usize, seed: Option<(u64, Instant)>) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)[thread] = seed;
    }

    fn stuck(&self) -> Option<u64> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().flatten().find(|(_, since)| since.elapsed() > SEED_MAX).map(|(seed, _)| *seed)
    }
}

fn progress(args: &Args, done: u64, report: &Report) -> Result<()> {
    if args.verbose && args.seeds == 1 {
        return say(&report.history);
    }
    if args.verbose {
        let Report { seed, events, hash, history, .. } = report;
        return say(&format!(
            "seed {seed}: {events} events, {} lines, {hash:016x}\n",
            history.lines().count()
        ));
    }
    if std::io::stderr().is_terminal() {
        let mut out = std::io::stderr();
        write!(out, "\r{done} of {} seeds", args.seeds)?;
        out.flush()?;
    }
    Ok(())
}

/// Prints why a seed failed, and keeps its history.
fn tell(args: &Args, report: &Report) -> Result<()> {
    let path = PathBuf::from("target/sim").join(format!("seed-{}.log", report.seed));
    std::fs::create_dir_all("target/sim").context("cannot create target/sim")?;
    std::fs::write(&path, &report.history).with_context(|| format!("cannot write {}", path.display()))?;
    let Some((broken, excerpt)) = &report.broken else { return Ok(()) };
    say(&format!(
        "\nseed {} broke a promise\n  {}: {}\n\n{excerpt}\nthe whole history: {}\nagain: dualstream-sim{} --seeds 1 --seed {}\n",
        report.seed,
        broken.promise,
        broken.what,
        path.display(),
        if args.shared_log { " --shared-log" } else { "" },
        report.seed
    ))
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
