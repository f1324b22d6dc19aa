//! `cargo xtask fuzz`: cargo-fuzz on the targets of `fuzz/fuzz_targets`, which need the nightly compiler.
//!
//! Not part of `ci`: there the saved corpora are replayed by ordinary tests, in seconds and on stable.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// A file of fuzz/fuzz_targets without `.rs`; each of them in turn when absent
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Install cargo-fuzz first if it is missing
    #[arg(long)]
    install: bool,
}

/// Fuzzes until the time is over or an input breaks a target.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let targets = targets(workspace, args.target.as_deref())?;
    ensure_nightly(workspace)?;
    ensure_cargo_fuzz(workspace, args.install)?;
    for target in targets {
        let time = format!("-max_total_time={}", args.seconds);
        let mut cargo = workspace.command("cargo");
        process::run(cargo.args(["+nightly", "fuzz", "run", &target, "--", &time]))?;
    }
    Ok(())
}

fn targets(workspace: &Workspace, wanted: Option<&str>) -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for file in workspace.files()? {
        let name = file.strip_prefix("fuzz/fuzz_targets/").and_then(|name| name.strip_suffix(".rs"));
        targets.extend(name.map(String::from));
    }
    let Some(wanted) = wanted else {
        ensure!(!targets.is_empty(), "there is no file in fuzz/fuzz_targets");
        return Ok(targets);
    };
    ensure!(
        targets.iter().any(|target| target == wanted),
        "there is no fuzz target `{wanted}`; there are: {}",
        targets.join(", ")
    );
    Ok(vec![wanted.to_owned()])
}

fn ensure_nightly(workspace: &Workspace) -> Result<()> {
    let found = process::succeeds(workspace.command("cargo").args(["+nightly", "--version"]))?;
    ensure!(found, "fuzzing needs the nightly compiler: rustup toolchain install nightly");
    Ok(())
}

fn ensure_cargo_fuzz(workspace: &Workspace, install: bool) -> Result<()> {
    if process::succeeds(workspace.command("cargo").args(["fuzz", "--version"]))? {
        return Ok(());
    }
    ensure!(install, "cargo-fuzz is not installed: run `cargo xtask fuzz --install`");
    process::run(workspace.cargo().args(["install", "cargo-fuzz", "--locked"]))
        .context("cannot install cargo-fuzz")
}
