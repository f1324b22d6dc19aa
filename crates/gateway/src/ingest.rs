//! NDJSON of any length in bounded memory.
//!
//! ```text
//! pieces ──> Lines ──> batch (≤ 1,000 lines, ≤ 1 MiB) ──> publish ──> outcomes by line
//!                      read while the batch before it is published; published at once when nothing more is ready
//! ```
//! One batch is published at a time, so the order of each key is the order of its lines. A line that is no event
//! fails alone. When the log takes nothing of a whole batch, the lines after it fail like it without being tried.
//! Every line is accounted for: stored, duplicates and failed add up to the lines that are not empty.

use crate::app::App;
use crate::events::no_outcome;
use crate::inflow::Inflow;
use crate::lines::{Line, Lines};
use crate::receipt::push_outcome;
use crate::{Problem, plain_event};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dualstream_core::event::Event;
use dualstream_core::publisher::{DualPublisher, Failure, Receipt};
use dualstream_core::{Error, ErrorKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::fmt::Write;
use std::sync::Arc;

/// Most lines of a batch.
const BATCH_LINES_MAX: usize = 1_000;
/// Most bytes of a batch; one line always fits.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Failures listed in the summary.
const FAILURES_MAX: usize = 1_000;
/// Bytes one ingest holds: a batch being published, one being read, one open line.
const BYTES_HELD: usize = 3 << 20;

/// Publishes a body of lines. The answer is one summary at the end, or with `is_streaming` an outcome per line as
/// they come and then the summary.
pub(crate) async fn answer(app: Arc<App>, inflow: Inflow, is_streaming: bool) -> Result<Response, Problem> {
    let budget = app.reserve(BYTES_HELD)?;
    let mut ingest = Ingest::new(&app, inflow);
    let mut summary = Summary::default();
    if is_streaming {
        let state = (ingest, summary, budget, false);
        let outcomes = futures::stream::unfold(state, async |(mut ingest, mut summary, budget, ended)| {
            if ended {
                return None;
            }
            let (text, ended) = match ingest.next().await {
                Some(outcomes) => (summary.add_and_print(outcomes), false),
                None => (summary.finish(&ingest) + "\n", true),
            };
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (ingest, summary, budget, ended)))
        });
        let headers = [(CONTENT_TYPE, "application/x-ndjson")];
        return Ok((StatusCode::OK, headers, Body::from_stream(outcomes)).into_response());
    }
    while let Some(outcomes) = ingest.next().await {
        summary.add(outcomes);
    }
    if let Some(fault) = ingest.fault.take() {
        let counts =
            [("stored", summary.stored), ("duplicates", summary.duplicates), ("failed", summary.failed)];
        return Err(counts.into_iter().fold(fault, |fault, (name, count)| fault.with_count(name, count)));
    }
    let status = if summary.failed == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, [(CONTENT_TYPE, "application/json")], summary.finish(&ingest)).into_response())
}

/// What became of one line.
struct Outcome {
    line: u64,
    result: Result<Receipt, Failure>,
}

#[derive(Default)]
struct Summary {
    stored: u64,
    duplicates: u64,
    failed: u64,
    /// The first failures, printed.
    failures: String,
}

impl Summary {
    fn add(&mut self, outcomes: Vec<Outcome>) {
        for Outcome { line, result } in outcomes {
            match result {
                Ok(receipt) if receipt.duplicate => self.duplicates += 1,
                Ok(_) => self.stored += 1,
                Err(failure) => {
                    self.failed += 1;
                    if self.failed <= FAILURES_MAX as u64 {
                        self.failures.push_str(if self.failures.is_empty() { "{" } else { ",{" });
                        let _ = write!(self.failures, "\"line\":{line},");
                        push_outcome(&mut self.failures, Err(failure));
                        self.failures.push('}');
                    }
                }
            }
        }
    }

    fn add_and_print(&mut self, outcomes: Vec<Outcome>) -> String {
        let mut out = String::with_capacity(outcomes.len() * 250);
        for outcome in &outcomes {
            let _ = write!(out, "{{\"line\":{},", outcome.line);
            push_outcome(&mut out, outcome.result.clone());
            out.push_str("}\n");
        }
        self.add(outcomes);
        out
    }

    fn finish(&self, ingest: &Ingest) -> String {
        let mut out = format!(
            "{{\"stored\":{},\"duplicates\":{},\"failed\":{},\"failures\":[{}]",
            self.stored, self.duplicates, self.failed, self.failures
        );
        if let Some(fault) = &ingest.fault {
            let _ = write!(out, ",{}", fault.members());
        }
        out.push('}');
        out
    }
}

struct Ingest {
    publisher: DualPublisher,
    inflow: Inflow,
    lines: Lines,
    /// No more is read.
    has_ended: bool,
    /// What went wrong with the body itself.
    fault: Option<Problem>,
    /// Why the log takes nothing, once it took nothing of a whole batch.
    away: Option<Error>,
    batch: Batch,
    publishing: Option<BoxFuture<'static, Vec<Outcome>>>,
}

/// Lines on their way to the publisher.
#[derive(Default)]
struct Batch {
    /// Every line, with what is wrong if it is no event.
    lines: Vec<(u64, Option<Error>)>,
    events: Vec<Event>,
    bytes: usize,
}

impl Ingest {
    fn new(app: &App, inflow: Inflow) -> Ingest {
        Ingest {
            publisher: app.publisher.clone(),
            inflow,
            lines: Lines::new(app.settings.body_bytes_max),
            has_ended: false,
            fault: None,
            away: None,
            batch: Batch::default(),
            publishing: None,
        }
    }

    /// The outcomes of the next batch; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Outcome>> {
        loop {
            self.fill();
            if self.publishing.is_none() && self.is_due() {
                let batch = std::mem::take(&mut self.batch);
                self.publishing = Some(batch.publish(self.publisher.clone()).boxed());
                self.fill();
            }
            let can_read = !self.has_ended && !self.batch.is_full();
            let piece = match (&mut self.publishing, can_read) {
                (None, false) => return None,
                (None, true) => self.inflow.frame().await,
                (Some(publishing), false) => {
                    let outcomes = publishing.await;
                    return Some(self.published(outcomes));
                }
                (Some(publishing), true) => tokio::select! {
                    biased;
                    outcomes = publishing => return Some(self.published(outcomes)),
                    piece = self.inflow.frame() => piece,
                },
            };
            self.take(piece);
        }
    }

    /// Whether the batch is published now: it is full, or nothing more is there to read at this moment.
    fn is_due(&mut self) -> bool {
        while !self.batch.lines.is_empty() && !self.batch.is_full() && !self.has_ended {
            match self.inflow.frame().now_or_never() {
                Some(piece) => {
                    self.take(piece);
                    self.fill();
                }
                None => break,
            }
        }
        !self.batch.lines.is_empty()
    }

    /// Takes over a piece of the body, or its end.
    fn take(&mut self, piece: Result<Option<Bytes>, Problem>) {
        match piece {
            Ok(Some(piece)) => self.lines.push(piece),
            Ok(None) => {
                self.has_ended = true;
                self.lines.finish();
            }
            Err(fault) => {
                self.has_ended = true;
                self.fault = Some(fault);
            }
        }
    }

    fn fill(&mut self) {
        while !self.batch.is_full()
            && let Some(line) = self.lines.next()
        {
            match &self.away {
                None => self.batch.push(line),
                Some(error) => self.batch.lines.push((line.number, Some(error.clone()))),
            }
        }
    }

    /// A log that takes nothing of a whole batch takes nothing of the next one either, unless that is about a topic.
    fn published(&mut self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        self.publishing = None;
        let away = |outcome: &Outcome| {
            use ErrorKind::{Closed, Full, Overloaded, Unavailable};
            let error = &outcome.result.as_ref().err()?.error;
            // What is wrong with one topic says nothing of the others.
            let is_of_all = error.field() != Some("topic");
            (is_of_all && matches!(error.kind(), Unavailable | Overloaded | Full | Closed))
                .then(|| error.clone())
        };
        if self.away.is_none()
            && outcomes.iter().all(|outcome| outcome.result.is_err())
            && let Some(first) = outcomes.iter().find_map(away)
        {
            self.batch.refuse(&first);
            self.away = Some(first);
        }
        outcomes
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_LINES_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    fn push(&mut self, line: Line) {
        let decoded = match &line.text {
            Some(text) => {
                self.bytes += text.len();
                plain_event::decode(text)
            }
            None => Err(Error::new(
                ErrorKind::TooLarge,
                "line_too_large",
                "the line is longer than a body may be",
            )),
        };
        match decoded {
            Ok(event) => {
                self.lines.push((line.number, None));
                self.events.push(event);
            }
            Err(error) => self.lines.push((line.number, Some(error))),
        }
    }

    /// Fails every event in it.
    fn refuse(&mut self, error: &Error) {
        self.events.clear();
        for (_, found) in &mut self.lines {
            found.get_or_insert_with(|| error.clone());
        }
    }

    async fn publish(self, publisher: DualPublisher) -> Vec<Outcome> {
        let results = match self.events.is_empty() {
            true => Vec::new(),
            false => publisher.publish(self.events).await,
        };
        let mut results = results.into_iter();
        let outcomes = self.lines.into_iter().map(|(line, error)| {
            let result = match error {
                Some(error) => Err(Failure { id: None, error }),
                None => results.next().unwrap_or_else(|| Err(no_outcome())),
            };
            Outcome { line, result }
        });
        outcomes.collect()
    }
}
