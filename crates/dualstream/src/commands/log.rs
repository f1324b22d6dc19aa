//! `dualstream log`: looks after the files of an embedded log. Nobody may serve them meanwhile, except for a backup.

use crate::progress::Progress;
use crate::{Global, output};
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
    /// Copies everything into an empty directory and verifies the copy; a server may go on meanwhile
    #[command(
        after_help = "The copy holds everything that was acknowledged before, and some of what is published meanwhile.
Nothing of the data directory is changed or locked. Exits with 1 when something of the copy is damaged.

Example:
  dualstream log backup --data-dir dualstream-data /backups/dualstream-monday"
    )]
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

/// Does it. But for a backup the server must not be running: it owns its directory.
pub fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    match command {
        Command::Verify(Directory { data_dir }) => verify(&open(&data_dir)?, global.output),
        Command::Repair(Directory { data_dir }) => repair(&open(&data_dir)?, global.output),
        Command::Backup { from, to } => backup(&from.data_dir, &to, global.output),
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
    let report = check(storage)?;
    match format {
        output::Format::Json => output::line(&as_json(&report).to_string())?,
        output::Format::Human => tell(&report)?,
    }
    anyhow::ensure!(report.is_sound(), "{} things are wrong", report.findings.len());
    Ok(())
}

fn check(storage: &dyn Storage) -> anyhow::Result<Report> {
    let bar = spinner();
    let report = dualstream::log::verify(storage, |path| bar.set_message(path.to_owned()))?;
    bar.finish_and_clear();
    Ok(report)
}

fn tell(report: &Report) -> anyhow::Result<()> {
    for finding in &report.findings {
        let weight = if finding.loses_records { "damage" } else { "heals" };
        output::line(&format!("{weight}: {}: {}", finding.path, finding.message))?;
    }
    let Report { topics, segments, batches, records, bytes, rounds_to_replay, .. } = report;
    output::line(&format!(
        "{topics} topics, {segments} segments, {batches} batches, {records} records, {bytes} bytes read; \
         {rounds_to_replay} rounds to replay at the next start"
    ))?;
    Ok(())
}

fn as_json(report: &Report) -> serde_json::Value {
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

fn backup(from: &Path, to: &Path, format: output::Format) -> anyhow::Result<()> {
    let source = FileStorage::read_only(from)?;
    let target = FileStorage::open(to).with_context(|| format!("cannot write to {}", to.display()))?;
    let bar = Progress::of_bytes(Some(0));
    let done = dualstream::log::backup(&source, &target, |progress| {
        bar.at(progress.bytes, progress.bytes_total, progress.path.to_owned());
    })?;
    drop(bar);
    let report = check(&target)?;
    match format {
        output::Format::Json => output::line(
            &serde_json::json!({
                "bytes": done.bytes,
                "passes": done.passes,
                "last_round": done.last_round,
                "copy": as_json(&report),
            })
            .to_string(),
        )?,
        output::Format::Human => {
            tell(&report)?;
            output::line(&format!("copied {} bytes to {}", done.bytes, to.display()))?;
        }
    }
    anyhow::ensure!(report.is_sound(), "{} things are wrong with the copy", report.findings.len());
    Ok(())
}
