//! `dualstream config`: shows and checks settings.

use crate::{Global, exit, output};
use dualstream::settings::{DEFAULT_TOML, Environment, Sources, reference};
use std::path::PathBuf;

/// What to do with settings.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Prints the default settings with their documentation
    #[command(after_help = "Example:
  dualstream config default > dualstream.toml")]
    Default,
    /// Checks a file and the environment as `serve` would; exits with 78 when they are refused
    #[command(after_help = "Example:
  dualstream config check dualstream.toml")]
    Check {
        /// The file; without one the environment alone is checked
        #[arg(env = "DUALSTREAM_CONFIG")]
        file: Option<PathBuf>,
    },
    /// Prints the JSON Schema of a settings file
    #[command(after_help = "Example:
  dualstream config schema > dualstream.schema.json")]
    Schema,
    /// Prints the reference page of all settings (Markdown)
    #[command(after_help = "Example:
  dualstream config doc > settings.md")]
    Doc,
}

/// Does it.
pub fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    match command {
        Command::Default => output::text(DEFAULT_TOML)?,
        Command::Check { file } => check(file, global)?,
        Command::Schema => output::line(&format!("{:#}", reference::schema()))?,
        Command::Doc => output::text(&reference::markdown())?,
    }
    Ok(())
}

fn check(file: Option<PathBuf>, global: &Global) -> anyhow::Result<()> {
    let sources = Sources { file, environment: Environment::read(std::env::vars_os()), flags: Vec::new() };
    let loaded = sources.load()?;
    for warning in &loaded.warnings {
        exit::tell(format_args!("warning: {warning}"));
    }
    output::line(match global.output {
        output::Format::Human => "the settings are fine",
        output::Format::Json => "{\"ok\":true}",
    })?;
    Ok(())
}
