//! A session: one connection of the client protocol, from `connect` to its end, in one task.
//!
//! ```text
//!                 ┌─ shutdown, deadlines, pings
//! commands ─────> │
//! work done ────> ├─ one select ──> lines of one frame ──> link
//! subscriptions ─>┘
//! ```
//! Commands are carried out in their order. What takes time is *work*, beside which pings and deliveries go on: a few
//! subscribes at once, anything else alone. While there is work no more commands are read, and while the link has no
//! room nothing is pulled or read at all. So a session holds one frame that comes in, one that goes out, and the pages
//! of its work; how far behind a slow client is, is kept in the log. A reply to `subscribe` goes out before the first
//! publication, because pulling begins when the reply is written.

mod delivery;
mod handling;
mod history;
mod link;
mod opening;
mod pings;
mod place;
mod settings;
mod subscriptions;

pub(crate) use link::Link;
pub use settings::SessionSettings;

use crate::app::App;
use crate::clients::Seat;
use crate::pace::{Pace, Verdict};
use crate::protocol::reply::Replies;
use crate::protocol::{Carrier, Command, Disconnect, Refusal};
use crate::stream;
use crate::websocket::{HEAD_BYTES_MAX, Message, Received, Text};
use bytes::Bytes;
use dualstream_core::decisions::Disconnect as Order;
use dualstream_core::hub::Allowance;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use handling::Done;
use pings::{Due, Pings};
use std::net::SocketAddr;
use std::sync::Arc;
use subscriptions::Subscriptions;
use uuid::Uuid;

/// Subscribes that are worked on at a time.
const OPENINGS_MAX: usize = 8;

/// How a client came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// By what.
    pub carrier: Carrier,
    /// Where it is.
    pub peer: Option<SocketAddr>,
    /// Secret id of the session.
    pub session: Uuid,
    /// Pings are control frames instead of lines.
    pub has_frame_pings: bool,
}

/// One connection of the client protocol.
pub(crate) struct Session {
    app: Arc<App>,
    arrival: Arrival,
    stage: Stage,
    /// Its place among the clients of this node, from `connect` on.
    seat: Option<Seat>,
    /// Lines of a frame that were not carried out yet.
    lines: Lines,
    /// A command that waits for the work before it.
    waiting: Option<Command>,
    work: FuturesOrdered<BoxFuture<'static, Done>>,
    /// The work is subscribes, beside which others may begin.
    is_opening: bool,
    subscriptions: Subscriptions,
    /// How much live items may wait for it.
    allowance: Arc<Allowance>,
    pings: Pings,
    commands: Pace,
    errors: Pace,
    out: Text,
    /// What was appended before is no measure of latency.
    began_ms: i64,
}

/// ```text
/// Opening ── connect ──> Open
///    └ refused ──> Failed: any further command ends the connection
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Open,
    Failed,
}

/// How a session ends.
enum End {
    /// The server ends it.
    Because(Disconnect),
    /// Somebody wants it ended.
    Ordered(Order),
    /// The peer broke the protocol, or closed: that code is answered.
    Answered(u16, &'static str),
    /// The peer is gone.
    Gone,
}

impl From<Disconnect> for End {
    fn from(disconnect: Disconnect) -> End {
        End::Because(disconnect)
    }
}

impl Session {
    pub fn new(app: Arc<App>, arrival: Arrival) -> Session {
        let settings = &app.settings.session;
        Session {
            arrival,
            stage: Stage::Opening,
            seat: None,
            lines: Lines::default(),
            waiting: None,
            work: FuturesOrdered::new(),
            is_opening: false,
            subscriptions: Subscriptions::new(settings.ping_interval, app.settings.write_bytes_max),
            allowance: app.hub.allowance(),
            pings: Pings::new(settings),
            commands: Pace::new(f64::from(settings.commands_per_second), settings.commands_burst),
            errors: Pace::new(f64::from(settings.errors_per_minute) / 60.0, settings.errors_per_minute),
            out: Text::default(),
            began_ms: stream::now_ms(),
            app,
        }
    }

    /// Serves the client to its end.
    pub async fn run<L: Link>(mut self, mut link: L) {
        let end = self.serve(&mut link).await;
        let Session { app, subscriptions, seat, .. } = self;
        drop((subscriptions, seat));
        let close_wait = app.settings.session.close_wait;
        match end {
            End::Because(disconnect) => {
                app.metrics.client_disconnected(disconnect.code());
                link.close(disconnect.code(), disconnect.reason(), close_wait).await;
            }
            End::Ordered(order) => {
                app.metrics.client_disconnected(order.code());
                link.close(order.code(), order.reason(), close_wait).await;
            }
            End::Answered(code, reason) => link.finish(code, reason).await,
            End::Gone => {}
        }
    }

    async fn serve<L: Link>(&mut self, link: &mut L) -> End {
        let ending = stream::ending(self.app.draining.clone(), self.app.settings.drain);
        tokio::pin!(ending);
        loop {
            let is_reading = self.work.is_empty() && self.waiting.is_none();
            let step = tokio::select! {
                biased;
                () = &mut ending => Err(Disconnect::Shutdown.into()),
                order = ordered(&mut self.seat) => Err(End::Ordered(order)),
                () = self.pings.wait() => self.tick(link).await,
                Some(done) = self.work.next() => self.finish(done),
                received = link.receive(), if is_reading => self.take(received, link).await,
                Some(pulled) = self.subscriptions.next() => self.deliver(pulled),
            };
            let step = step.and_then(|()| self.carry_out()).and_then(|()| self.gather());
            // What was said before the end is still sent.
            if self.flush(link).await.is_err() {
                return End::Gone;
            }
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn tick<L: Link>(&mut self, link: &mut L) -> Result<(), End> {
        match self.pings.due() {
            Due::Stale => Err(Disconnect::Stale.into()),
            Due::NoPong if !self.work.is_empty() => {
                self.pings.excuse();
                Ok(())
            }
            Due::NoPong => Err(Disconnect::NoPong.into()),
            Due::Ping if self.arrival.has_frame_pings => link.ping().await.map_err(|_| End::Gone),
            Due::Ping => {
                self.replies().ping();
                Ok(())
            }
        }
    }

    async fn take<L: Link>(&mut self, received: Received, link: &mut L) -> Result<(), End> {
        let message = match received {
            Received::Message(message) => message,
            Received::Fault(fault) => return Err(End::Answered(fault.code, fault.reason)),
            Received::Gone => return Err(End::Gone),
        };
        match message {
            Message::Text(text) => {
                self.lines = Lines::new(&text).ok_or(Disconnect::BadRequest)?;
                Ok(())
            }
            Message::Binary => Err(Disconnect::InappropriateProtocol.into()),
            Message::Ping(payload) => match self.commands.take() {
                Verdict::FarOver => Err(Disconnect::TooManyRequests.into()),
                _ => link.pong(&payload).await.map_err(|_| End::Gone),
            },
            Message::Pong => {
                // A pong nobody asked for is allowed in RFC 6455.
                if self.arrival.has_frame_pings {
                    self.pings.pong();
                }
                Ok(())
            }
            Message::Close(code) => Err(End::Answered(code.unwrap_or(1000), "")),
        }
    }

    /// Takes commands as far as they need not wait.
    fn carry_out(&mut self) -> Result<(), End> {
        loop {
            let command = match self.waiting.take() {
                Some(command) => command,
                None => match self.next_command()? {
                    Some(command) => command,
                    None => return Ok(()),
                },
            };
            let is_free = self.work.is_empty();
            let may_join = self.is_opening && command.is_subscribe() && self.work.len() < OPENINGS_MAX;
            if !(is_free || may_join) {
                self.waiting = Some(command);
                return Ok(());
            }
            self.handle(command)?;
        }
    }

    /// The next command that is within the pace.
    fn next_command(&mut self) -> Result<Option<Command>, Disconnect> {
        while let Some(line) = self.lines.next() {
            let command = Command::decode(&line).map_err(|_| Disconnect::BadRequest)?;
            if command.is_pong() || self.stage != Stage::Open {
                return Ok(Some(command));
            }
            match self.commands.take() {
                Verdict::Within => return Ok(Some(command)),
                Verdict::Over => self.refuse(command.id, Refusal::TooManyRequests)?,
                Verdict::FarOver => return Err(Disconnect::TooManyRequests),
            }
        }
        Ok(None)
    }

    /// Adds what is ready already to the frame, up to its size.
    fn gather(&mut self) -> Result<(), End> {
        while self.out.len() < self.app.settings.write_bytes_max {
            match self.subscriptions.next().now_or_never() {
                Some(Some(pulled)) => self.deliver(pulled)?,
                _ => break,
            }
        }
        Ok(())
    }

    async fn flush<L: Link>(&mut self, link: &mut L) -> std::io::Result<()> {
        match self.out.is_empty() {
            true => Ok(()),
            false => link.send(std::mem::take(&mut self.out)).await,
        }
    }

    fn replies(&mut self) -> Replies<'_> {
        Replies::new(self.out.payload(), HEAD_BYTES_MAX)
    }

    /// Answers a command with an error. A command without an id gets no answer.
    fn refuse(&mut self, id: u32, refusal: Refusal) -> Result<(), Disconnect> {
        self.app.metrics.client_refused(refusal);
        if id > 0 {
            self.replies().refuse(id, refusal);
        }
        match refusal.is_a_mistake() && self.errors.take() != Verdict::Within {
            true => Err(Disconnect::TooManyErrors),
            false => Ok(()),
        }
    }
}

/// Resolves when somebody wants this connection ended.
async fn ordered(seat: &mut Option<Seat>) -> Order {
    match seat {
        Some(seat) => seat.ended().await,
        None => std::future::pending().await,
    }
}

/// The lines of a frame.
#[derive(Debug, Default)]
struct Lines {
    rest: Bytes,
}

impl Lines {
    /// `None` for a frame without any. One line end after the last line is allowed.
    fn new(frame: &Bytes) -> Option<Lines> {
        let text = frame.strip_suffix(b"\n").unwrap_or(frame);
        (!text.is_empty()).then(|| Lines { rest: frame.slice_ref(text) })
    }
}

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', &self.rest).unwrap_or(self.rest.len());
        let line = self.rest.split_to(end);
        if !self.rest.is_empty() {
            self.rest = self.rest.slice(1..);
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_frame() {
        let lines = |text: &'static str| {
            Lines::new(&Bytes::from_static(text.as_bytes())).map(|lines| lines.collect::<Vec<_>>())
        };
        assert_eq!(lines("a\nb\n"), Some(vec![Bytes::from("a"), Bytes::from("b")]));
        assert_eq!(lines("a\n\nb"), Some(vec![Bytes::from("a"), Bytes::new(), Bytes::from("b")]));
        assert_eq!((lines(""), lines("\n")), (None, None));
    }
}
