//! `cargo xtask bench`: the benchmarks with their own arguments, always optimised, or the numbers mean nothing.

use crate::process;
use crate::workspace::Workspace;
use anyhow::Result;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Passed on to the benchmarks
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the benchmarks.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut cargo = workspace.cargo();
    process::run(cargo.args(["run", "--release", "-p", "dualstream-bench", "--"]).args(&args.rest))
}
