//! `dualstream log`: looks after the files of an embedded log that nobody serves.

use crate::{Global, exit, output};
use anyhow::Context;
use dualstream::log::{FileStorage, Report, Storage};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to do with the files.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Reads everything and tells what is damaged; changes nothing. Exits with 1 when something is
    #[command(after_help = "Example:
  dualstream log verify --data-dir dualstream-data")]
    Verify(Directory),
    /// Mends what can be mended without losing a record: damaged indexes and checkpoints
    #[command(after_help = "Example:
  dualstream log repair --data-dir dualstream-data")]
    Repair(Directory),
    /// Copies everything into an empty directory
    #[command(after_help = "Example:
  dualstream log backup --data-dir dualstream-data /backups/dualstream-monday")]
    Backup {
        #[command(flatten)]
        from: Directory,
        /// Directory to copy to; made if it is not there
        to: PathBuf,
    },
}

/// Whose files.
#[derive(clap::Args)]
pub struct Directory {
    /// Directory of the embedded log
    #[arg(long, value_name = "DIRECTORY", env = "DUALSTREAM_DATA_DIR", default_value = "dualstream-data")]
    data_dir: PathBuf,
}

/// Does it. The server must not be running: it owns its directory.
pub fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    match command {
        Command::Verify(Directory { data_dir }) => verify(&open(&data_dir)?, global.output),
        Command::Repair(Directory { data_dir }) => repair(&open(&data_dir)?, global.output),
        Command::Backup { from, to } => backup(&open(&from.data_dir)?, &to, global.output),
    }
}

/// Opens a directory that must be there: opening one makes it.
fn open(data_dir: &Path) -> anyhow::Result<FileStorage> {
    if !data_dir.is_dir() {
        anyhow::bail!("there is no directory {} (--data-dir)", data_dir.display());
    }
    Ok(FileStorage::open(data_dir)?)
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn verify(storage: &dyn Storage, format: output::Format) -> anyhow::Result<()> {
    let bar = spinner();
    let report = dualstream::log::verify(storage, |path| bar.set_message(path.to_owned()))?;
    bar.finish_and_clear();
    match format {
        output::Format::Json => output::line(&as_json(&report))?,
        output::Format::Human => {
            for finding in &report.findings {
                let weight = if finding.loses_records { "damage" } else { "heals" };
                output::line(&format!("{weight}: {}: {}", finding.path, finding.message))?;
            }
            let Report { topics, segments, batches, records, bytes, rounds_to_replay, .. } = &report;
            output::line(&format!(
                "{topics} topics, {segments} segments, {batches} batches, {records} records, {bytes} bytes read; \
                 {rounds_to_replay} rounds to replay at the next start"
            ))?;
        }
    }
    anyhow::ensure!(report.is_sound(), "{} things are wrong", report.findings.len());
    Ok(())
}

fn as_json(report: &Report) -> String {
    let finding = |f: &dualstream::log::Finding| serde_json::json!({ "path": f.path, "loses_records": f.loses_records, "message": f.message });
    serde_json::json!({
        "sound": report.is_sound(),
        "topics": report.topics,
        "segments": report.segments,
        "batches": report.batches,
        "records": report.records,
        "bytes": report.bytes,
        "rounds_to_replay": report.rounds_to_replay,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
    .to_string()
}

fn repair(storage: &dyn Storage, format: output::Format) -> anyhow::Result<()> {
    let done = dualstream::log::repair(storage)?;
    match format {
        output::Format::Json => output::line(&serde_json::json!({ "done": done }).to_string())?,
        output::Format::Human if done.is_empty() => output::line("nothing had to be mended")?,
        output::Format::Human => done.iter().try_for_each(|line| output::line(line))?,
    }
    Ok(())
}

fn backup(from: &dyn Storage, to: &Path, format: output::Format) -> anyhow::Result<()> {
    let target = FileStorage::open(to).with_context(|| format!("cannot write to {}", to.display()))?;
    let bar = spinner();
    let bytes = dualstream::log::backup(from, &target, |path, length| {
        bar.set_message(format!("{path}, {length} bytes"))
    })?;
    bar.finish_and_clear();
    match format {
        output::Format::Json => output::line(&serde_json::json!({ "bytes": bytes }).to_string())?,
        output::Format::Human => output::line(&format!("copied {bytes} bytes to {}", to.display()))?,
    }
    exit::tell("check the copy with: dualstream log verify --data-dir <copy>");
    Ok(())
}
