//! `dualstream subscribe`: follows channels over Server-Sent Events, and comes back where it was after a break.

use super::block_on;
use crate::client::backoff::Backoff;
use crate::client::events::query;
use crate::client::sse::{Message, Parser};
use crate::client::{Connection, Error, Request};
use crate::shown::Printer;
use crate::{Global, exit, output};
use http::HeaderName;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::timeout;

/// Longer than two heartbeats of the server.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What to follow.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  dualstream subscribe events:repo:owner/repo
  dualstream subscribe 'events:user:*' --since 2026-11-21T08:00:00Z
  dualstream --output json subscribe 'events:*' --recent 10 | jq .type")]
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
        connection: Connection::new(&global.server),
        backoff: Backoff::new(Duration::from_secs(args.patience)),
        last_id: None,
        left: args.count,
        args,
    };
    block_on(follower.run())
}

struct Follower {
    args: Arguments,
    printer: Printer,
    connection: Connection,
    backoff: Backoff,
    /// Where to go on after a break.
    last_id: Option<String>,
    /// How many events are still wanted, if that is limited.
    left: Option<u64>,
}

/// Why a stream ended.
enum End {
    /// Everything wanted came.
    Done,
    /// It broke, or the server ended it.
    Broken(Error),
}

impl Follower {
    async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let broken = match self.follow().await? {
                End::Done => return Ok(()),
                End::Broken(error) => error,
            };
            if !broken.is_temporary() || !self.backoff.failed(broken.retry_after()).await {
                return Err(broken.into());
            }
        }
    }

    /// One stream from its beginning to its end.
    async fn follow(&mut self) -> Result<End, output::Error> {
        let request = self.args.request(self.last_id.as_deref());
        let mut body = match self.connection.open(&request).await {
            Ok(response) => response.into_body(),
            Err(error) => return Ok(End::Broken(error)),
        };
        let mut parser = Parser::default();
        loop {
            let chunk = match timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Ok(End::Broken(self.connection.broken(error.into()))),
                Ok(None) => {
                    return Ok(End::Broken(self.connection.broken("the server ended the stream".into())));
                }
                Err(late) => return Ok(End::Broken(self.connection.broken(late.into()))),
            };
            self.backoff.succeeded();
            let messages = match parser.feed(&chunk) {
                Ok(messages) => messages,
                Err(error) => return Ok(End::Broken(self.connection.strange(error.to_string()))),
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
            exit::tell(format_args!("some events can no longer be had: {}", message.data));
            return Ok(false);
        }
        output::line(&self.printer.line(&message.data))?;
        self.left = self.left.map(|left| left - 1);
        Ok(self.left == Some(0))
    }
}
