//! `cargo xtask races`: the hub under Shuttle, in a workspace of its own (`races/`), so that no other build pays for it.

use crate::process;
use crate::workspace::Workspace;
use anyhow::Result;
use std::process::Command;

/// Runs it with these arguments.
pub fn run(workspace: &Workspace, rest: &[String]) -> Result<()> {
    process::run(command(workspace).args(rest))
}

/// The command that builds and runs it; what it prints in the end is what a reader looks for.
pub fn command(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--release", "--manifest-path", "races/Cargo.toml", "--"]);
    cargo
}
