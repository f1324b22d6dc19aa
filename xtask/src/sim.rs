//! `cargo xtask sim`: the simulator with its own arguments, always optimised, as a seed counts only if many run.

use crate::process;
use crate::workspace::Workspace;
use anyhow::Result;

/// Arguments of `cargo xtask sim`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Passed on to the simulator
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the simulator.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut cargo = workspace.cargo();
    process::run(cargo.args(["run", "--release", "-p", "dualstream-sim", "--"]).args(&args.rest))
}
