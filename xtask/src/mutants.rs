//! `cargo xtask mutants`: plants each bug of `sim/mutants` and `sim/shared-log-mutants`, one at a time, and sees the simulator catch it; each of
//! `races/mutants`, and sees Shuttle catch it.
//!
//! ```text
//! git ls-files ──> copy of the workspace ──> build ──> run each seed: must pass   (the baseline)
//!                        │ plant ──> build ──> run the mutant's seed: must exit 1 ──> take out, next
//! ```
//! A simulator that finds nothing proves nothing until it is seen to find something. Only exit code 1 counts as
//! caught: a mutant that does not build, panics in the harness or hangs says nothing about the checks.

mod copy;
mod mutant;
mod toml;

pub use mutant::{Hunter, Mutant, name};

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use copy::Copy;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long one seed may run. Caught mutants end at once, passing seeds in seconds.
const RUN_MAX: Duration = Duration::from_secs(120);

/// Exit code of a simulator that found a broken promise.
const EXIT_FOUND: i32 = 1;

/// Arguments of `cargo xtask mutants`.
#[derive(clap::Args)]
pub struct Args {
    /// One mutant: a file of sim/mutants, sim/shared-log-mutants or races/mutants without `.toml`
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Try the seeds 1 to N and write the first that catches the mutant into its file
    #[arg(long, value_name = "N")]
    search: Option<u64>,
}

/// Plants the mutants and prints which were caught.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mutants = chosen(workspace, args.only.as_deref())?;
    let copy = Copy::of(workspace)?;
    let mut baselines = Vec::new();
    for hunter in Hunter::ALL.into_iter().filter(|hunter| mutants.iter().any(|m| m.hunter == *hunter)) {
        println!("building {hunter:?} as it is");
        ensure!(copy.build(hunter)?, "{hunter:?} does not build unchanged");
        baselines.push((hunter, copy.keep(hunter)?));
    }
    let mut rows = Vec::new();
    for mutant in &mutants {
        println!("\n=== {}: {}", mutant.name, mutant.title);
        let started = Instant::now();
        let baseline = baselines.iter().find(|(hunter, _)| *hunter == mutant.hunter);
        let (_, baseline) = baseline.context("it was built for its mutants")?;
        let verdict = Trial { workspace, copy: &copy, baseline, mutant }.run(args.search)?;
        println!("=== {}: {verdict:?}", mutant.name);
        rows.push(Row {
            name: mutant.name.clone(),
            title: mutant.title.clone(),
            verdict,
            took: started.elapsed(),
        });
    }
    println!("\n{}", table(&rows));
    let caught = rows.iter().filter(|row| matches!(row.verdict, Verdict::Caught(_))).count();
    ensure!(caught == rows.len(), "{} of {} mutants were not caught", rows.len() - caught, rows.len());
    Ok(())
}

fn chosen(workspace: &Workspace, only: Option<&str>) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for path in workspace.files()? {
        let found = name(&path).filter(|(_, name)| only.is_none_or(|only| only == *name));
        let Some((hunter, name)) = found else { continue };
        let text = std::fs::read_to_string(workspace.root().join(&path))?;
        mutants.push(Mutant::parse(hunter, name, &text).with_context(|| format!("cannot read {path}"))?);
    }
    match only {
        Some(name) => ensure!(!mutants.is_empty(), "there is no mutant {name}"),
        None => ensure!(!mutants.is_empty(), "there are no mutants"),
    }
    Ok(mutants)
}

/// How a mutant fared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// By the simulator, with this seed.
    Caught(u64),
    Missed,
    /// Anything that says nothing about the simulator's checks.
    Void(String),
}

/// How a simulator ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Passed,
    Found,
    Other(String),
}

impl Ending {
    fn of(code: Option<Option<i32>>) -> Ending {
        match code {
            Some(Some(0)) => Ending::Passed,
            Some(Some(EXIT_FOUND)) => Ending::Found,
            Some(Some(code)) => Ending::Other(format!("exit code {code}")),
            Some(None) => Ending::Other("ended by a signal".into()),
            None => Ending::Other(format!("hung for {} s", RUN_MAX.as_secs())),
        }
    }
}

/// One mutant against the simulator.
struct Trial<'a> {
    workspace: &'a Workspace,
    copy: &'a Copy,
    baseline: &'a Path,
    mutant: &'a Mutant,
}

impl Trial<'_> {
    fn run(&self, search: Option<u64>) -> Result<Verdict> {
        let planted = self.mutant.apply(|file| self.copy.read(file))?;
        self.copy.write(&planted)?;
        let verdict = self.judge(search);
        // Taken out whatever happened: the next mutant starts from the code as it is.
        self.copy.restore(planted.keys())?;
        verdict
    }

    fn judge(&self, search: Option<u64>) -> Result<Verdict> {
        if !self.copy.build(self.mutant.hunter)? {
            return Ok(Verdict::Void("does not build".into()));
        }
        let mutated = self.copy.built(self.mutant.hunter);
        match (search, self.mutant.seed) {
            (Some(seeds), _) => self.search(&mutated, seeds),
            (None, Some(seed)) => self.try_seed(&mutated, seed),
            (None, None) => Ok(Verdict::Void("no seed: find one with --search".into())),
        }
    }

    fn search(&self, mutated: &Path, seeds: u64) -> Result<Verdict> {
        for seed in 1..=seeds {
            let verdict = self.try_seed(mutated, seed)?;
            if verdict == Verdict::Caught(seed) {
                let path = self.workspace.root().join(self.mutant.hunter.path(&self.mutant.name));
                let text = std::fs::read_to_string(&path)?;
                std::fs::write(&path, mutant::with_seed(&text, seed))?;
                return Ok(verdict);
            }
            if verdict != Verdict::Missed {
                println!("seed {seed}: {verdict:?}");
            }
        }
        Ok(Verdict::Missed)
    }

    /// The mutated simulator first: it is the one that usually ends the matter.
    fn try_seed(&self, mutated: &Path, seed: u64) -> Result<Verdict> {
        Ok(match self.simulate(mutated, seed, &self.mutant.name)? {
            Ending::Passed => Verdict::Missed,
            Ending::Other(how) => Verdict::Void(how),
            Ending::Found => match self.simulate(self.baseline, seed, "baseline")? {
                Ending::Passed => Verdict::Caught(seed),
                _ => Verdict::Void(format!("seed {seed} fails without the mutant too")),
            },
        })
    }

    fn simulate(&self, simulator: &Path, seed: u64, log: &str) -> Result<Ending> {
        let log = File::create(self.copy.log(log))?;
        let mut command = Command::new(simulator);
        command.args(["--seeds", "1", "--seed", &seed.to_string()]);
        if self.mutant.hunter == Hunter::SharedLog {
            command.arg("--shared-log");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let status = process::status_until(&mut command, Instant::now() + RUN_MAX)?;
        Ok(Ending::of(status.map(|status| status.code())))
    }
}

struct Row {
    name: String,
    title: String,
    verdict: Verdict,
    took: Duration,
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("mutant".len());
    let mut lines =
        vec![format!("{:<width$}  {:<7} {:>6} {:>8}  what", "mutant", "result", "seed", "seconds")];
    for row in rows {
        let (word, seed, what) = match &row.verdict {
            Verdict::Caught(seed) => ("caught", seed.to_string(), row.title.clone()),
            Verdict::Missed => ("MISSED", "-".into(), row.title.clone()),
            Verdict::Void(why) => ("VOID", "-".into(), format!("{} ({why})", row.title)),
        };
        let seconds = row.took.as_secs();
        lines.push(format!("{:<width$}  {word:<7} {seed:>6} {seconds:>8}  {what}", row.name));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exit_code_one_is_a_finding() {
        assert_eq!(Ending::of(Some(Some(0))), Ending::Passed);
        assert_eq!(Ending::of(Some(Some(1))), Ending::Found);
        for void in [Some(Some(101)), Some(Some(2)), Some(None), None] {
            assert!(matches!(Ending::of(void), Ending::Other(_)));
        }
    }

    #[test]
    fn the_table_shows_each_mutant() {
        let row = |name: &str, verdict| Row {
            name: name.into(),
            title: "late ack".into(),
            verdict,
            took: Duration::from_secs(9),
        };
        let rows = [row("ack-early", Verdict::Caught(17)), row("b", Verdict::Void("does not build".into()))];
        let table = table(&rows);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[1], "ack-early  caught      17        9  late ack");
        assert_eq!(lines[2], "b          VOID         -        9  late ack (does not build)");
    }
}
