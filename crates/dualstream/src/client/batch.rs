//! Publishes a batch of lines in the form they have: plain events as NDJSON, CloudEvents as one JSON array.
//!
//! Of NDJSON the server takes what it can, line by line. An array it checks as a whole: it stores nothing while one
//! element is no event, and names that one; it is put aside and the rest is sent again.

use super::events::{LineFailure, Summary};
use super::lines::{Form, Line};
use super::{Connection, Error, Refusal, Request};
use bytes::Bytes;
use serde::Deserialize;

/// Publishes lines of one form. Safe to repeat: every line has an id.
///
/// # Errors
/// Also when the answer does not tell of every line: then nothing is known of those it leaves out.
pub async fn publish_lines(connection: &mut Connection, lines: &[Line]) -> Result<Summary, Error> {
    match lines.first().map(|line| line.form) {
        None => Ok(Summary::default()),
        Some(Form::Plain) => plain(connection, lines).await,
        Some(Form::CloudEvent) => cloud_events(connection, lines).await,
    }
}

async fn plain(connection: &mut Connection, lines: &[Line]) -> Result<Summary, Error> {
    let body = joined(lines.iter(), b"", b"\n", b"\n");
    let answer = connection.fetch(&Request::post("/v1/events", "application/x-ndjson", body)).await?;
    let summary: Summary =
        serde_json::from_slice(&answer).map_err(|error| connection.strange(error.to_string()))?;
    check_told(connection, summary.lines(), lines.len())?;
    Ok(summary)
}

/// An answer tells of every event that was sent, and of no other.
fn check_told(connection: &Connection, told: u64, sent: usize) -> Result<(), Error> {
    match told == sent as u64 {
        true => Ok(()),
        false => Err(connection.strange(format!("it tells of {told} events, {sent} were sent"))),
    }
}

async fn cloud_events(connection: &mut Connection, lines: &[Line]) -> Result<Summary, Error> {
    let mut left: Vec<usize> = (0..lines.len()).collect();
    let mut summary = Summary::default();
    while !left.is_empty() {
        let body = joined(left.iter().map(|&index| &lines[index]), b"[", b",", b"]");
        let request = Request::post("/v1/events", "application/cloudevents-batch+json", body);
        match connection.fetch(&request).await {
            Ok(answer) => {
                let outcomes: Vec<Outcome> =
                    serde_json::from_slice(&answer).map_err(|error| connection.strange(error.to_string()))?;
                check_told(connection, outcomes.len() as u64, left.len())?;
                left.iter().zip(outcomes).for_each(|(&index, outcome)| summary.add(index, outcome));
                break;
            }
            Err(Error::Refused(refusal)) => {
                let Some(refused) = refused(&refusal, &mut left) else { return Err(Error::Refused(refusal)) };
                let failed = |index| failure(index, &refusal.code, &refusal.message, false);
                summary.failures.extend(refused.into_iter().map(failed));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(summary)
}

/// Takes the lines out that a refusal is about; `None` when it is about none of them.
fn refused(refusal: &Refusal, left: &mut Vec<usize>) -> Option<Vec<usize>> {
    match (refusal.http_status, refusal.index) {
        // What comes from the log and not from the check is answered like this when it is so for all.
        (409, _) => Some(std::mem::take(left)),
        (400 | 413 | 422, Some(at)) if at < left.len() => Some(vec![left.remove(at)]),
        (400 | 413 | 422, None) if left.len() == 1 => Some(std::mem::take(left)),
        _ => None,
    }
}

/// What became of one element.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Outcome {
    duplicate: bool,
    code: Option<String>,
    message: String,
    retryable: bool,
}

impl Summary {
    fn add(&mut self, index: usize, Outcome { duplicate, code, message, retryable }: Outcome) {
        match code {
            Some(code) => self.failures.push(failure(index, &code, &message, retryable)),
            None if duplicate => self.duplicates += 1,
            None => self.stored += 1,
        }
    }
}

fn failure(index: usize, code: &str, message: &str, retryable: bool) -> LineFailure {
    LineFailure { line: index + 1, code: code.to_owned(), message: message.to_owned(), retryable }
}

fn joined<'a>(lines: impl Iterator<Item = &'a Line>, before: &[u8], between: &[u8], after: &[u8]) -> Bytes {
    let mut body = before.to_vec();
    for (index, line) in lines.enumerate() {
        if index > 0 {
            body.extend_from_slice(between);
        }
        body.extend_from_slice(&line.text);
    }
    body.extend_from_slice(after);
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_about_one_line_or_all_or_none() {
        let about = |http_status, index, lines: usize| {
            let mut left: Vec<usize> = (10..10 + lines).collect();
            (refused(&Refusal { http_status, index, ..Refusal::default() }, &mut left), left)
        };
        assert_eq!(about(422, Some(1), 3), (Some(vec![11]), vec![10, 12]));
        assert_eq!(about(409, Some(0), 2), (Some(vec![10, 11]), vec![]));
        assert_eq!(about(413, None, 1), (Some(vec![10]), vec![]));
        assert_eq!(about(413, None, 2), (None, vec![10, 11]));
        assert_eq!(about(400, Some(2), 2), (None, vec![10, 11]));
        assert_eq!(about(503, Some(0), 2), (None, vec![10, 11]));
    }

    #[test]
    fn bodies() {
        let line = |text: &str| Line { number: 1, text: text.into(), form: Form::Plain };
        let lines = [line("{}"), line("{ }")];
        assert_eq!(joined(lines.iter(), b"", b"\n", b"\n"), "{}\n{ }\n");
        assert_eq!(joined(lines.iter(), b"[", b",", b"]"), "[{},{ }]");
    }
}
