//! `dualstream replay`: prints what is stored in a channel, page by page, and ends.

use super::block_on;
use crate::Global;
use crate::client::backoff::Backoff;
use crate::client::events::{HistoryGap, HistoryPage, Shown, query};
use crate::client::{Connection, Request};
use crate::progress::Progress;
use crate::shown::Printer;
use crate::{exit, output};
use anyhow::Context;
use bytes::Bytes;
use dualstream::core::position::{Cursor, Next, Position, Resume};
use std::time::Duration;

const PAGE_EVENTS_MAX: &str = "300";
const PATIENCE: Duration = Duration::from_secs(60);

/// What to print.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  dualstream replay 'events:repo:*'
  dualstream --output json replay events:user:octocat --since 2026-11-21T08:00:00Z > octocat.ndjson")]
pub struct Arguments {
    /// A channel, or a pattern with one * at the end
    channel: String,
    /// Where to begin: a position, an RFC 3339 append time, earliest or latest
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    since: String,
    /// Where to end: a position, whose event is the last, or latest: the end as it is now
    #[arg(long, value_name = "WHERE", default_value = "latest")]
    until: String,
}

/// Prints it.
pub fn run(args: Arguments, global: &Global) -> anyhow::Result<()> {
    let replay = Replay {
        printer: Printer::new(global.output),
        connection: Connection::new(global.server()),
        backoff: Backoff::new(PATIENCE),
        progress: Progress::of_records(None),
        channel: args.channel,
        events: 0,
    };
    let until = match args.until.as_str() {
        "latest" => None,
        token => Some(token.parse().context("--until wants a position or latest")?),
    };
    block_on(replay.run(args.since, until))
}

struct Replay {
    channel: String,
    printer: Printer,
    connection: Connection,
    backoff: Backoff,
    progress: Progress,
    events: u64,
}

impl Replay {
    async fn run(mut self, since: String, until: Option<Resume>) -> anyhow::Result<()> {
        let mut next = Some(since);
        let (mut end, mut first) = (until, None);
        while let Some(since) = next {
            let answer = self.page(&since).await?;
            let page: HistoryPage<'_> = serde_json::from_slice(&answer)
                .map_err(|error| self.connection.strange(error.to_string()))?;
            let end = match &end {
                Some(end) => end,
                None => end.insert(page.latest.parse().context("the server's `latest` is no position")?),
            };
            let mut gaps = page.gaps.iter().peekable();
            for (at, event) in page.events.iter().enumerate() {
                while let Some(gap) = gaps.next_if(|gap| gap.after <= at) {
                    self.tell(gap, end);
                }
                self.show(event.get(), end)?;
            }
            gaps.for_each(|gap| self.tell(gap, end));
            let cursor = page
                .next
                .as_deref()
                .map(str::parse::<Resume>)
                .transpose()
                .context("`next` is no position")?;
            let at = cursor.as_ref().unwrap_or(end);
            let first = *first.get_or_insert_with(|| offsets(at));
            self.progress.set(
                offsets(at).saturating_sub(first),
                offsets(end).saturating_sub(first),
                self.events,
            );
            next = page.next.filter(|_| cursor.is_some_and(|cursor| !reaches(&cursor, end)));
        }
        Ok(())
    }

    async fn page(&mut self, since: &str) -> anyhow::Result<Bytes> {
        let pairs = [("channel", self.channel.as_str()), ("since", since), ("limit", PAGE_EVENTS_MAX)];
        let request = Request::get(format!("/v1/events?{}", query(&pairs)));
        loop {
            match self.connection.fetch(&request).await {
                Ok(answer) => {
                    self.backoff.succeeded();
                    return Ok(answer);
                }
                Err(error) if error.is_temporary() && self.backoff.failed(error.retry_after()).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Prints an event that stands before the end.
    fn show(&mut self, json: &str, end: &Resume) -> Result<(), output::Error> {
        let shown: Shown<'_> = serde_json::from_str(json).unwrap_or_default();
        let position = shown.position.and_then(|position| position.parse::<Position>().ok());
        if position.is_some_and(|position| is_past(&position, end)) {
            return Ok(());
        }
        self.events += 1;
        let line = self.printer.line(json);
        self.progress.aside(|| output::line(&line))
    }

    /// Says on standard error that records before the end are damaged.
    fn tell(&self, gap: &HistoryGap, end: &Resume) {
        if gap.from.parse().is_ok_and(|from| is_past(&from, end)) {
            return;
        }
        let HistoryGap { from, to, records, .. } = gap;
        let damaged = format!(
            "damaged: {records} records from {from} to {to} cannot be read; some may be of this channel"
        );
        self.progress.aside(|| exit::tell(&damaged));
    }
}

/// The next offset of a partition, where the cursor knows it.
fn offset(cursor: &Cursor, wanted: u32) -> Option<u64> {
    match &cursor.next {
        Next::One { partition, offset } => (*partition == wanted).then_some(*offset),
        Next::All(offsets) => offsets.get(wanted as usize).copied(),
    }
}

fn is_past(position: &Position, end: &Resume) -> bool {
    let of_topic = end.0.iter().find(|cursor| cursor.epoch == position.epoch);
    of_topic.and_then(|cursor| offset(cursor, position.partition)).is_some_and(|end| position.offset >= end)
}

/// Whether every partition that has an end has come to it.
fn reaches(at: &Resume, end: &Resume) -> bool {
    end.0.iter().all(|end| {
        let Some(at) = at.0.iter().find(|at| at.epoch == end.epoch) else { return false };
        match &end.next {
            Next::One { partition, offset: end } => offset(at, *partition).is_some_and(|at| at >= *end),
            Next::All(ends) => {
                (0..).zip(ends).all(|(partition, end)| offset(at, partition).is_none_or(|at| at >= *end))
            }
        }
    })
}

/// All next offsets together: how far a cursor is.
fn offsets(resume: &Resume) -> u64 {
    let of = |cursor: &Cursor| match &cursor.next {
        Next::One { offset, .. } => *offset,
        Next::All(offsets) => offsets.iter().copied().fold(0, u64::saturating_add),
    };
    resume.0.iter().map(of).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream::core::topic::Epoch;

    fn all(offsets: &[u64]) -> Resume {
        Resume(vec![Cursor { epoch: Epoch(1), next: Next::All(offsets.to_vec()) }])
    }

    #[test]
    fn the_end_is_a_vector() {
        let end = all(&[3, 0, 7]);
        let position = |partition, offset| Position { epoch: Epoch(1), partition, offset };
        assert!(
            !is_past(&position(0, 2), &end)
                && is_past(&position(0, 3), &end)
                && is_past(&position(1, 0), &end)
        );
        assert!(
            !reaches(&all(&[3, 0, 6]), &end)
                && reaches(&all(&[3, 0, 7]), &end)
                && reaches(&all(&[4, 5, 8]), &end)
        );
        let one = Resume(vec![position(2, 6).after()]);
        assert!(reaches(&one, &Resume(vec![position(2, 6).after()])));
        assert!(!reaches(&one, &Resume(vec![position(2, 9).after()])));
    }
}
