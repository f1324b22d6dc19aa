//! `dualstream subscribe`: follows channels over Server-Sent Events, and comes back where it was after a break, at the
//! same server or at the next one it was given.
//!
//! ```text
//!           ┌──── a block ends: printed, its id kept ────┐
//! connect ──▶ stream ────────────────────────────────────┘
//!    ▲          │ broken, silent, ended
//!    └─ pause ──┘ with the last id, at the next server
//! ```
//! What is printed is exact for channels that are stored: an id is kept only after everything before it was printed.

use super::block_on;
use crate::client::backoff::Backoff;
use crate::client::events::query;
use crate::client::sse::{Message, Parser};
use crate::client::{Connection, Error, Request};
use crate::shown::Printer;
use crate::{Global, exit, output, signals};
use http::HeaderName;
use http_body_util::BodyExt;
use indicatif::HumanDuration;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Longer than two heartbeats of the server.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What to follow.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  dualstream subscribe events:repo:owner/repo
  dualstream subscribe 'events:user:*' --since 2026-11-21T08:00:00Z
  dualstream --output json subscribe 'events:*' --recent 10 | jq .type
  dualstream subscribe 'events:*' --server http://10.0.0.1:8000 --server http://10.0.0.2:8000

With several servers of one log it goes on at the next one when one is lost, after the last event it printed. Ctrl-C ends
it, and says with which --since to go on.")]
pub struct Arguments {
    /// Channels, or patterns with one * at the end
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Begin at a position, an RFC 3339 time, earliest or latest
    #[arg(long, value_name = "WHERE", conflicts_with_all = ["recent", "live"])]
    since: Option<String>,
    /// Begin with the last so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=300), conflicts_with = "live")]
    recent: Option<u16>,
    /// Announcements only, which may be lost, instead of full events in log order
    #[arg(long, conflicts_with = "reliable")]
    live: bool,
    /// Full events in log order, without gap or duplicate (the default)
    #[arg(long)]
    reliable: bool,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Seconds without a connection after which to give up
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience: u64,
}

impl Arguments {
    /// The request, to go on after `last_id`.
    fn request(&self, last_id: Option<&str>) -> Request {
        let recent = self.recent.map(|recent| recent.to_string());
        let mut pairs: Vec<(&str, &str)> =
            self.channels.iter().map(|channel| ("channel", channel.as_str())).collect();
        pairs.extend(self.live.then_some(("mode", "live")));
        if last_id.is_none() {
            pairs.extend(self.since.as_deref().map(|since| ("since", since)));
            pairs.extend(recent.as_deref().map(|recent| ("recent", recent)));
        }
        let mut request = Request::get(format!("/v1/stream?{}", query(&pairs)));
        request.headers.extend(last_id.map(|id| (HeaderName::from_static("last-event-id"), id.to_owned())));
        request
    }
}

/// Follows.
pub fn run(args: Arguments, global: &Global) -> anyhow::Result<()> {
    let follower = Follower {
        printer: Printer::new(global.output),
        connections: global.servers.iter().map(Connection::new).collect(),
        now: 0,
        health: Health::New,
        shown: 0,
        backoff: Backoff::new(Duration::from_secs(args.patience)),
        last_id: None,
        left: args.count,
        args,
    };
    block_on(async {
        let interrupted = signals::first()?;
        let mut follower = follower;
        tokio::select! {
            ended = follower.run() => ended,
            () = interrupted => {
                follower.say_goodbye();
                Ok(())
            }
        }
    })
}

struct Follower {
    args: Arguments,
    printer: Printer,
    /// One for each server.
    connections: Vec<Connection>,
    /// Which of them is used.
    now: usize,
    health: Health,
    backoff: Backoff,
    /// How many events were printed.
    shown: u64,
    /// Where to go on after a break.
    last_id: Option<String>,
    /// How many events are still wanted, if that is limited.
    left: Option<u64>,
}

/// Whether events come, and what was said of that.
#[derive(Clone, Copy)]
enum Health {
    /// There was no connection yet.
    New,
    /// They come.
    Up,
    /// They do not come since then, and it was said; whether they came before.
    Down { since: Instant, was_up: bool },
}

/// Why a stream ended.
enum End {
    /// Everything wanted came.
    Done,
    /// It broke, or the server ended it.
    Broken(Error),
}

impl Follower {
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let broken = match self.follow().await? {
                End::Done => return Ok(()),
                End::Broken(error) => error,
            };
            if !broken.is_temporary() {
                return Err(broken.into());
            }
            self.say_lost(&broken);
            if !self.backoff.failed(broken.retry_after()).await {
                return Err(broken.into());
            }
            self.now = (self.now + 1) % self.connections.len();
        }
    }

    /// Says that no events come, once.
    fn say_lost(&mut self, broken: &Error) {
        let (what, was_up) = match self.health {
            Health::Down { .. } => return,
            Health::New => ("not connected yet", false),
            Health::Up => ("connection lost", true),
        };
        self.health = Health::Down { since: Instant::now(), was_up };
        let next = match self.connections.len() {
            1 => "trying again".to_owned(),
            count => format!("trying {count} servers in turn"),
        };
        exit::tell(format_args!("{what}: {}; {next}", told(broken)));
    }

    /// Says that events come again.
    fn say_found(&mut self) {
        if let Health::Down { since, was_up } = self.health {
            let server = self.connections[self.now].url();
            let after = HumanDuration(since.elapsed());
            let rest = meanwhile(was_up, self.last_id.is_some(), self.args.live);
            exit::tell(format_args!("connected to {server} after {after:#}{rest}"));
        }
        self.health = Health::Up;
    }

    /// The last word after Ctrl-C.
    fn say_goodbye(&self) {
        let events = output::counted(self.shown, "event");
        match &self.last_id {
            Some(id) if !self.args.live => {
                exit::tell(format_args!("stopped after {events}; to go on: --since {id}"))
            }
            _ => exit::tell(format_args!("stopped after {events}")),
        }
    }

    /// One stream from its beginning to its end.
    async fn follow(&mut self) -> Result<End, output::Error> {
        let request = self.args.request(self.last_id.as_deref());
        let connection = &mut self.connections[self.now];
        let mut body = match connection.open(&request).await {
            Ok(response) => response.into_body(),
            Err(error) => return Ok(End::Broken(error)),
        };
        let mut parser = Parser::default();
        loop {
            let chunk = match timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => {
                    return Ok(End::Broken(self.connections[self.now].broken(error.into())));
                }
                Ok(None) => {
                    let ended = "the server ended the stream".into();
                    return Ok(End::Broken(self.connections[self.now].broken(ended)));
                }
                Err(_) => {
                    let silent = "the server is silent".into();
                    return Ok(End::Broken(self.connections[self.now].broken(silent)));
                }
            };
            self.backoff.succeeded();
            self.say_found();
            let messages = match parser.feed(&chunk) {
                Ok(messages) => messages,
                Err(error) => {
                    return Ok(End::Broken(self.connections[self.now].strange(error.to_string())));
                }
            };
            for message in messages {
                if self.show(&message)? {
                    return Ok(End::Done);
                }
            }
            if let Some(id) = parser.last_id() {
                self.last_id = Some(id.to_owned());
            }
        }
    }

    /// Prints a message; whether it was the last one wanted.
    fn show(&mut self, message: &Message) -> Result<bool, output::Error> {
        if message.event == "unrecoverable" {
            exit::tell(format_args!("some events can no longer be had: {}", lost(&message.data)));
            return Ok(false);
        }
        output::line(&self.printer.line(&message.data))?;
        self.shown += 1;
        self.left = self.left.map(|left| left - 1);
        Ok(self.left == Some(0))
    }
}

/// What a break means for what is printed.
fn meanwhile(was_up: bool, has_id: bool, is_live: bool) -> &'static str {
    match (was_up, has_id, is_live) {
        // Nothing was promised yet.
        (false, ..) => "",
        (_, _, true) => ": what was announced meanwhile is not repeated",
        (_, true, _) => ": going on after the last event",
        (_, false, _) => ": what was sent meanwhile on channels that store nothing is not repeated",
    }
}

/// Why events cannot be had, as people say it.
fn lost(data: &str) -> String {
    #[derive(Deserialize)]
    struct Unrecoverable {
        reason: String,
    }
    let Ok(Unrecoverable { reason }) = serde_json::from_str(data) else { return data.to_owned() };
    let meaning = match reason.as_str() {
        "retention" => "they are older than what is kept",
        "epoch" => "their topic was made again or repartitioned, or lost them in a crash",
        "future" => "the log ends before that place",
        "damage" => "they cannot be read from the disk",
        _ => return reason,
    };
    format!("{meaning} ({reason})")
}

/// An error with its causes, on one line.
fn told(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_of_a_break_that_cannot_be_known() {
        assert_eq!(meanwhile(false, false, false), "");
        assert_eq!(meanwhile(false, false, true), "");
        assert!(meanwhile(true, false, false).contains("is not repeated"));
        assert!(meanwhile(true, true, false).contains("after the last event"));
        assert!(meanwhile(true, true, true).contains("is not repeated"));
    }
}
