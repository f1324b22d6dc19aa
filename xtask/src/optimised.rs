//! `cargo xtask sim`, `cargo xtask bench`: programs of the workspace with their own arguments, always optimised: a seed
//! counts only if many run, and a measurement of unoptimised code means nothing.

use crate::process;
use crate::workspace::Workspace;
use anyhow::Result;

/// Arguments of such a command.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Passed on to the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Runs the program of `package`.
pub fn run(workspace: &Workspace, package: &str, args: &Args) -> Result<()> {
    let mut cargo = workspace.cargo();
    process::run(cargo.args(["run", "--release", "-p", package, "--"]).args(&args.rest))
}
