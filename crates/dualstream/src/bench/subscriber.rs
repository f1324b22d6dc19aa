//! One subscriber: a connection of the client protocol with one channel.

use super::tally::Tally;
use crate::client::{Frame, Server, WebSocket};
use anyhow::{Context, bail, ensure};
use memchr::memmem::Finder;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;

const PATH: &str = "/connection/websocket";
/// Longest frame of a server: a write of the default size, and one event of any size.
const FRAME_BYTES_MAX: usize = 2 << 20;
/// Where the data of an event begins to say when and which it is.
static STAMP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("{\"at\":"));
/// The same in the type of an event, of which an announcement tells.
static LIVE_STAMP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"type\":\"bench."));
/// What a publication begins with.
const PUSH: &[u8] = b"{\"push\":";

/// What a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Events, from now on.
    Latest,
    /// Events, from the beginning of what is kept.
    Earliest,
    /// Announcements.
    Live,
}

/// A subscriber, subscribed.
pub struct Subscriber {
    socket: WebSocket,
    buffer: Rc<Buffer>,
    /// The sum of the numbers of its events, beside how many they are: neither a gap nor a repetition stays unseen.
    pub seen: Rc<Cell<Seen>>,
    /// What came in the reply already, as text.
    reply: Vec<u8>,
}

/// How many events, and the sum of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub count: u64,
    pub sum: u64,
}

impl Seen {
    /// One event more.
    pub fn add(&mut self, number: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
    }
}

/// What all connections read into.
pub type Buffer = RefCell<Vec<u8>>;

/// A buffer for any number of connections of one thread.
pub fn buffer() -> Rc<Buffer> {
    Rc::new(RefCell::new(vec![0; FRAME_BYTES_MAX]))
}

/// The data of an event, of exactly `bytes` unless that is too few.
pub fn data(at_ns: u64, number: u64, bytes: usize) -> String {
    let mut data = format!("{{\"at\":{at_ns},\"n\":{number},\"p\":\"");
    let padding = bytes.saturating_sub(data.len() + 2);
    data.extend(std::iter::repeat_n('x', padding));
    data.push_str("\"}");
    data
}

/// The type of an event that is announced to live subscribers: they are told no data.
pub fn live_type(at_ns: u64, number: u64) -> String {
    format!("bench.{at_ns}.{number}")
}

/// When it was meant to be sent, and its number, from a publication.
fn stamp(line: &[u8]) -> Option<(u64, u64)> {
    let after = |mark: &Finder<'_>| mark.find(line).map(|at| &line[at + mark.needle().len()..]);
    let (rest, next) = match after(&STAMP) {
        Some(rest) => (rest, &b",\"n\":"[..]),
        None => (after(&LIVE_STAMP)?, &b"."[..]),
    };
    let (at_ns, rest) = number(rest)?;
    let (number, _) = number(rest.strip_prefix(next)?)?;
    Some((at_ns, number))
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value =
        text[..digits].iter().fold(0u64, |value, digit| value.wrapping_mul(10) + u64::from(digit - b'0'));
    (digits > 0).then_some((value, &text[digits..]))
}

impl Subscriber {
    /// Connects, and subscribes to `channel`.
    pub async fn open(
        server: &Server,
        channel: &str,
        place: Place,
        buffer: &Rc<Buffer>,
    ) -> anyhow::Result<Subscriber> {
        let mut socket = WebSocket::open(server, PATH).await.context("cannot open a WebSocket")?;
        let how = match place {
            Place::Latest => "",
            Place::Earliest => ",\"recover\":true",
            Place::Live => ",\"data\":{\"mode\":\"live\"}",
        };
        let commands = format!(
            "{{\"id\":1,\"connect\":{{\"name\":\"dualstream bench\"}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"{how}}}}}"
        );
        socket.send(&commands).await.context("cannot subscribe")?;
        let mut subscriber =
            Subscriber { socket, buffer: buffer.clone(), seen: Rc::default(), reply: Vec::new() };
        subscriber.until_subscribed().await?;
        Ok(subscriber)
    }

    async fn until_subscribed(&mut self) -> anyhow::Result<()> {
        loop {
            let (mut told, mut text) = (None, Vec::new());
            let open = self.socket.read(&self.buffer, |frame| match frame {
                Frame::Text(more) => {
                    text.extend_from_slice(more);
                    text.push(b'\n');
                }
                Frame::Close(code, reason) => {
                    told = Some((code, String::from_utf8_lossy(reason).into_owned()))
                }
                Frame::Control => {}
            });
            let open = open.await.context("cannot subscribe")?;
            if let Some((code, reason)) = told {
                bail!("the server closed the connection: {code} {reason}");
            }
            ensure!(open, "the server closed the connection");
            for line in text.split(|byte| *byte == b'\n') {
                let said = String::from_utf8_lossy(line);
                ensure!(!said.contains("\"error\":{"), "the server refused to subscribe: {said}");
            }
            let is_subscribed = memchr::memmem::find(&text, b"\"subscribe\":{").is_some();
            self.reply.append(&mut text);
            if is_subscribed {
                return Ok(());
            }
        }
    }

    /// Counts what comes until `events_max` came or the connection ends; how it ended, if it did.
    pub async fn follow(&mut self, tally: &Tally, events_max: u64) -> anyhow::Result<()> {
        let reply = std::mem::take(&mut self.reply);
        let mut counted = Counted::default();
        // The reply to a recovery has many publications in one line.
        for at in STAMP.find_iter(&reply) {
            counted.publication(&reply[at..], tally);
        }
        self.add(&counted, tally);
        while self.seen.get().count < events_max {
            let mut counted = Counted::default();
            let open = self.socket.read(&self.buffer, |frame| counted.frame(frame, tally)).await?;
            self.add(&counted, tally);
            for _ in 0..counted.pings {
                self.socket.send("{}").await?;
            }
            if let Some(end) = counted.end {
                bail!("the server closed a connection: {end}");
            }
            ensure!(open, "the server closed a connection");
        }
        Ok(())
    }

    fn add(&mut self, counted: &Counted, tally: &Tally) {
        let Seen { count, sum } = self.seen.get();
        self.seen.set(Seen { count: count + counted.seen.count, sum: sum.wrapping_add(counted.seen.sum) });
        tally.deliver(counted.seen.count);
    }
}

/// What one read brought.
#[derive(Default)]
struct Counted {
    seen: Seen,
    pings: usize,
    end: Option<String>,
    now_ns: Option<u64>,
}

impl Counted {
    fn frame(&mut self, frame: Frame<'_>, tally: &Tally) {
        match frame {
            Frame::Text(text) => {
                let mut rest = text;
                while !rest.is_empty() {
                    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    self.line(&rest[..end], tally);
                    rest = rest.get(end + 1..).unwrap_or_default();
                }
            }
            Frame::Close(code, reason) => {
                self.end = Some(format!("{code} {}", String::from_utf8_lossy(reason)));
            }
            Frame::Control => {}
        }
    }

    fn line(&mut self, line: &[u8], tally: &Tally) {
        if line == b"{}" {
            self.pings += 1;
        } else if line.starts_with(PUSH) {
            self.publication(line, tally);
        }
    }

    fn publication(&mut self, text: &[u8], tally: &Tally) {
        let Some((at_ns, number)) = stamp(text) else { return };
        self.seen.add(number);
        // All that one read brought was there at one time.
        let now_ns = *self.now_ns.get_or_insert_with(|| tally.now_ns());
        tally.note(at_ns, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_is_counted() {
        let data = data(123_456, 7, 100);
        assert_eq!(data.len(), 100);
        let line = format!(r#"{{"push":{{"channel":"c","pub":{{"data":{{"id":"x","data":{data}}}}}}}}}"#);
        assert_eq!(stamp(line.as_bytes()), Some((123_456, 7)));
        assert_eq!(stamp(b"{\"push\":{\"unsubscribe\":{}}}"), None);
        let announced = format!(
            r#"{{"push":{{"channel":"c","pub":{{"data":{{"id":"x","type":"{}"}}}}}}}}"#,
            live_type(5, 8)
        );
        assert_eq!(stamp(announced.as_bytes()), Some((5, 8)));
        let tally = Tally::new(1);
        let mut counted = Counted::default();
        counted.frame(Frame::Text(format!("{line}\n{{}}\n{line}").as_bytes()), &tally);
        assert_eq!((counted.seen, counted.pings), (Seen { count: 2, sum: 14 }, 1));
    }
}
