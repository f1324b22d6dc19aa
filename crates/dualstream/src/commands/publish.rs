//! `dualstream publish`: one event from flags, or lines from a file or standard input.
//!
//! ```text
//! file ──thread──> Batches (ids) ──≤ 2 waiting──> POST, again until answered ──> tally
//! ```
//! Every line has an id before it is sent, so sending it again is safe: after a lost connection, a server that was
//! killed, or a run of this command that was. When it gives up, the lines of a file that were never sent are counted.

use super::block_on;
use crate::client::backoff::Backoff;
use crate::client::events::Summary;
use crate::client::line_id::uuid_v7;
use crate::client::lines::{Batch, Batches, Line, Rejected};
use crate::client::{Connection, Error, Request, publish_lines};
use crate::output::{self, Format};
use crate::progress::Progress;
use crate::{Global, exit};
use anyhow::{Context, bail};
use bytes::Bytes;
use dualstream::core::clock::Clock;
use dualstream::system::{SystemClock, SystemEntropy};
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Batches read ahead of the one that is being sent.
const AHEAD_MAX: usize = 2;
/// Failures that are told one by one.
const TOLD_MAX: u64 = 100;

/// What to publish.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  dualstream publish --type greeting --source-type user --source-id octocat --data '{\"text\":\"hi\"}'
  dualstream publish events.ndjson
  tail -f app.ndjson | dualstream publish -

A line without id gets one: from a file a hash of the line (XXH3-128 of its bytes and of how often it came before), so
that publishing the file again stores nothing twice; from standard input a UUIDv7. The summary counts every line of a
file: stored, stored before (duplicates), failed, and not sent when the command gave up before their turn.")]
pub struct Arguments {
    /// File of events, one JSON object a line, plain or CloudEvents; - for standard input
    #[arg(required_unless_present = "event_type")]
    file: Option<PathBuf>,
    /// Type of the event, e.g. github.push
    #[arg(long = "type", value_name = "TYPE", requires_all = ["source_type", "source_id"], conflicts_with = "file")]
    event_type: Option<String>,
    /// Kind of its source, e.g. repo
    #[arg(long, value_name = "KIND", requires = "event_type")]
    source_type: Option<String>,
    /// Name of its source, e.g. owner/repo
    #[arg(long, value_name = "NAME", requires = "event_type")]
    source_id: Option<String>,
    /// What it says, as JSON
    #[arg(long, value_name = "JSON", requires = "event_type", default_value = "null", value_parser = json)]
    data: Box<RawValue>,
    /// Its id; publishing an id again stores nothing
    #[arg(long, requires = "event_type")]
    id: Option<String>,
    /// When it happened, RFC 3339
    #[arg(long, requires = "event_type")]
    time: Option<String>,
    /// Seconds without any success after which to give up
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error} (a string is '\"text\"')"))
}

/// Publishes.
pub fn run(args: Arguments, global: &Global) -> anyhow::Result<()> {
    let mut sender = Sender {
        connection: Connection::new(global.server()),
        backoff: Backoff::new(Duration::from_secs(args.patience)),
    };
    match &args.file {
        None => block_on(publish_one(&args, global, &mut sender)),
        Some(path) => {
            let input = open(path)?;
            block_on(publish_all(input, global, &mut sender))
        }
    }
}

async fn publish_one(args: &Arguments, global: &Global, sender: &mut Sender) -> anyhow::Result<()> {
    let id = args.id.clone().unwrap_or_else(|| uuid_v7(SystemClock.now_ms(), &SystemEntropy::default()));
    let mut event = serde_json::json!({
        "id": id, "type": args.event_type, "source_type": args.source_type, "source_id": args.source_id,
        "data": args.data,
    });
    if let Some(time) = &args.time {
        event["time"] = time.as_str().into();
    }
    let request = Request::post("/v1/events", "application/json", Bytes::from(event.to_string()));
    let answer = sender.send(async |connection| connection.fetch(&request).await).await;
    let answer = answer.with_context(|| format!("the event with id {id} is not known to be stored"))?;
    let text = String::from_utf8_lossy(&answer);
    output::line(&match global.output {
        Format::Json => text.into_owned(),
        Format::Human => receipt(&text),
    })?;
    Ok(())
}

fn receipt(answer: &str) -> String {
    let receipt: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    let text = |name: &str| receipt[name].as_str().unwrap_or("?").to_owned();
    let verb = if receipt["duplicate"] == true { "was stored before" } else { "stored" };
    format!("{verb}  {}  {}  position {}", text("channel"), text("id"), text("position"))
}

/// What is being read.
struct Input {
    batches: mpsc::Receiver<io::Result<Batch>>,
    /// Its size; none for a pipe, which may have no end.
    bytes: Option<u64>,
}

/// Starts reading.
fn open(path: &Path) -> anyhow::Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(Input { batches: read_ahead(Batches::of_stream(io::stdin()))?, bytes: None });
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bytes = file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
    let batches = if bytes.is_some() { Batches::of_file(file) } else { Batches::of_pipe(file) };
    Ok(Input { batches: read_ahead(batches)?, bytes })
}

impl Input {
    /// How many lines were not sent, where that can be known.
    async fn count_rest(&mut self) -> Option<u64> {
        self.bytes?;
        let mut lines = 0;
        while let Some(batch) = self.batches.recv().await {
            let Batch { lines: sendable, rejected, .. } = batch.ok()?;
            lines += (sendable.len() + rejected.len()) as u64;
        }
        Some(lines)
    }
}

/// Reads on a thread of its own, which ends with the input or with the receiver.
fn read_ahead<R: Read + Send + 'static>(
    mut batches: Batches<R>,
) -> anyhow::Result<mpsc::Receiver<io::Result<Batch>>> {
    let (sender, receiver) = mpsc::channel(AHEAD_MAX);
    std::thread::Builder::new().name("reader".into()).spawn(move || {
        while let Some(batch) = batches.next().transpose() {
            let failed = batch.is_err();
            if sender.blocking_send(batch).is_err() || failed {
                break;
            }
        }
    })?;
    Ok(receiver)
}

async fn publish_all(mut input: Input, global: &Global, sender: &mut Sender) -> anyhow::Result<()> {
    let progress = Progress::of_bytes(input.bytes);
    let mut tally = Tally { unsent: Some(0), ..Tally::default() };
    let mut outcome = Ok(());
    while let Some(batch) = input.batches.recv().await {
        let Batch { lines, rejected, input_bytes } = match batch.context("cannot read the input") {
            Ok(batch) => batch,
            Err(error) => {
                tally.unsent = None;
                outcome = Err(error);
                break;
            }
        };
        rejected.iter().for_each(|Rejected { number, reason }| tally.fail(&progress, *number, reason));
        outcome = publish_batch(lines, sender, &mut tally, &progress).await;
        progress.advance(input_bytes, tally.stored + tally.duplicates);
        if outcome.is_err() {
            tally.unsent = input.count_rest().await;
            break;
        }
    }
    drop(progress);
    tally.report(global.output)?;
    outcome?;
    match tally.failed {
        0 => Ok(()),
        failed => bail!("{failed} lines were not stored"),
    }
}

/// Sends lines until each is stored or refused for good. No line is sent before the ones of earlier batches are.
async fn publish_batch(
    mut lines: Vec<Line>,
    sender: &mut Sender,
    tally: &mut Tally,
    progress: &Progress,
) -> anyhow::Result<()> {
    while !lines.is_empty() {
        let summary = match sender.send(async |connection| publish_lines(connection, &lines).await).await {
            Ok(summary) => summary,
            Err(error) => {
                let (first, last) = (lines[0].number, lines[lines.len() - 1].number);
                tally.failed += lines.len() as u64;
                return Err(error).with_context(|| {
                    format!("gave up: lines {first} to {last} are not known to be stored; publish again, nothing is stored twice")
                });
            }
        };
        lines = tally.take(summary, lines, progress);
        if !lines.is_empty() && !sender.backoff.failed(None).await {
            lines.iter().for_each(|line| tally.fail(progress, line.number, "gave up trying"));
            bail!("the server cannot store events now; publish again later, nothing is stored twice");
        }
    }
    Ok(())
}

/// A connection, and the patience to try again.
struct Sender {
    connection: Connection,
    backoff: Backoff,
}

impl Sender {
    async fn send<T>(
        &mut self,
        mut ask: impl AsyncFnMut(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            match ask(&mut self.connection).await {
                Ok(answer) => {
                    self.backoff.succeeded();
                    return Ok(answer);
                }
                Err(error) if error.is_temporary() && self.backoff.failed(error.retry_after()).await => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What became of the lines.
#[derive(Default)]
struct Tally {
    stored: u64,
    duplicates: u64,
    failed: u64,
    /// Lines after the ones above; `None` when nobody knows how many there are.
    unsent: Option<u64>,
}

impl Tally {
    /// Counts an answer; gives back the lines to send again.
    fn take(&mut self, summary: Summary, lines: Vec<Line>, progress: &Progress) -> Vec<Line> {
        self.stored += summary.stored;
        self.duplicates += summary.duplicates;
        let mut again = Vec::new();
        for failure in summary.failures {
            let Some(line) = failure.line.checked_sub(1).and_then(|index| lines.get(index)) else { continue };
            match failure.retryable {
                true => again.push(line.clone()),
                false => self.fail(progress, line.number, &format!("{} ({})", failure.message, failure.code)),
            }
        }
        again
    }

    fn fail(&mut self, progress: &Progress, line: u64, reason: &str) {
        self.failed += 1;
        match self.failed {
            ..=TOLD_MAX => progress.aside(|| exit::tell(format_args!("line {line}: {reason}"))),
            failed if failed == TOLD_MAX + 1 => {
                progress.aside(|| exit::tell("further failures are only counted"))
            }
            _ => {}
        }
    }

    fn report(&self, format: Format) -> Result<(), output::Error> {
        let Tally { stored, duplicates, failed, unsent } = self;
        output::line(&match format {
            Format::Human => {
                let rest = match unsent {
                    Some(0) => String::new(),
                    Some(unsent) => format!(", not sent {unsent}"),
                    None => ", not sent: the rest of the input".to_owned(),
                };
                format!("stored {stored}, duplicates {duplicates}, failed {failed}{rest}")
            }
            Format::Json => {
                serde_json::json!({ "stored": stored, "duplicates": duplicates, "failed": failed, "unsent": unsent })
                    .to_string()
            }
        })
    }
}
