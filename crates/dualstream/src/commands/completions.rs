//! `dualstream completions`: a script that completes command lines.

use crate::{Cli, output};
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the script for a shell.
pub fn run(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dualstream", &mut script);
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(())
}
