//! What a client gets: replies and pushes, as JSON, one line each. Zero values are left out, as the protocol wants.

use super::command::Position;
use super::refusal::Refusal;
use dualstream_core::event::codec::push_string;
use std::io::Write;

/// The reply to `connect`.
pub struct Connected<'a> {
    /// Id of the client.
    pub client: &'a str,
    /// Seconds between pings; `None` when there are none on this level.
    pub ping_s: Option<u64>,
    /// Secret id of the session.
    pub session: &'a str,
    /// Id of the node.
    pub node: &'a str,
}

/// The reply to `subscribe`.
#[derive(Debug, Default)]
pub struct Subscribed {
    /// Where the client stands; `None` for a subscription that has no positions.
    pub position: Option<Position>,
    /// An attempt to recover took place.
    pub was_recovering: bool,
    /// It succeeded.
    pub recovered: bool,
}

/// Ends the line before this one, if there is one.
fn begin(out: &mut Vec<u8>, is_first: bool) {
    if !is_first {
        out.push(b'\n');
    }
}

/// Replies of one frame.
pub struct Replies<'a> {
    out: &'a mut Vec<u8>,
    /// Bytes of the frame before its first line.
    head_bytes: usize,
}

impl<'a> Replies<'a> {
    /// Appends to a frame whose lines begin after `head_bytes`.
    pub fn new(out: &'a mut Vec<u8>, head_bytes: usize) -> Replies<'a> {
        Replies { out, head_bytes }
    }

    /// Begins a line.
    pub fn line(&mut self) -> &mut Vec<u8> {
        begin(self.out, self.out.len() <= self.head_bytes);
        self.out
    }

    /// Begins a line with `head`.
    pub fn line_of(&mut self, head: &[u8]) -> &mut Vec<u8> {
        self.line().extend_from_slice(head);
        self.out
    }

    /// A ping.
    pub fn ping(&mut self) {
        self.line().extend_from_slice(b"{}");
    }

    /// The reply to a command that was refused.
    pub fn refuse(&mut self, id: u32, refusal: Refusal) {
        let (code, message) = (refusal.code(), refusal.message());
        let temporary = if refusal.is_temporary() { r#","temporary":true"# } else { "" };
        write(
            self.line(),
            format_args!(r#"{{"id":{id},"error":{{"code":{code},"message":"{message}"{temporary}}}}}"#),
        );
    }

    /// The reply to `connect`.
    pub fn connected(&mut self, id: u32, connected: &Connected<'_>) {
        let Connected { client, ping_s, session, node } = connected;
        let version = concat!("dualstream ", env!("CARGO_PKG_VERSION"));
        let ping = ping_s.map_or(String::new(), |s| format!(r#","ping":{s},"pong":true"#));
        write(
            self.line(),
            format_args!(
                r#"{{"id":{id},"connect":{{"client":"{client}","version":"{version}"{ping},"session":"{session}","node":"{node}"}}}}"#
            ),
        );
    }

    /// The reply to `subscribe`, with the publications that `publications` appends.
    pub fn subscribed(&mut self, id: u32, subscribed: &Subscribed, publications: &[u8]) {
        let out = self.line();
        write(out, format_args!(r#"{{"id":{id},"subscribe":{{"#));
        let first = out.len();
        if let Some(Position { offset, epoch }) = &subscribed.position {
            write(out, format_args!(r#""recoverable":true,"positioned":true,"epoch":{}"#, quoted(epoch)));
            if *offset > 0 {
                write(out, format_args!(r#","offset":{offset}"#));
            }
        }
        let further = [(subscribed.was_recovering, "was_recovering"), (subscribed.recovered, "recovered")];
        for (_, name) in further.iter().filter(|(is_set, _)| *is_set) {
            let comma = if out.len() > first { "," } else { "" };
            write(out, format_args!(r#"{comma}"{name}":true"#));
        }
        if !publications.is_empty() {
            out.extend_from_slice(br#","publications":["#);
            out.extend_from_slice(publications);
            out.push(b']');
        }
        out.extend_from_slice(b"}}");
    }

    /// The reply to a command whose result is empty.
    pub fn done(&mut self, id: u32, command: &str) {
        write(self.line(), format_args!(r#"{{"id":{id},"{command}":{{}}}}"#));
    }

    /// The reply to `history`.
    pub fn history(&mut self, id: u32, top: &Position, publications: &[u8]) {
        let out = self.line();
        write(out, format_args!(r#"{{"id":{id},"history":{{"publications":["#));
        out.extend_from_slice(publications);
        let Position { offset, epoch } = top;
        write(out, format_args!(r#"],"epoch":{},"offset":{offset}}}}}"#, quoted(epoch)));
    }

    /// Ends a subscription; an SDK subscribes again.
    pub fn insufficient_state(&mut self, channel: &str) {
        let channel = quoted(channel);
        write(
            self.line(),
            format_args!(
                r#"{{"push":{{"channel":{channel},"unsubscribe":{{"code":2500,"reason":"insufficient state"}}}}}}"#
            ),
        );
    }

    /// Ends the connection, where no close frame can say so.
    pub fn disconnected(&mut self, code: u16, reason: &str) {
        let reason = quoted(reason);
        write(
            self.line(),
            format_args!(r#"{{"push":{{"disconnect":{{"code":{code},"reason":{reason}}}}}}}"#),
        );
    }
}

/// What every publication pushed to a subscription begins with; it ends with `}}`.
pub fn push_head(channel: &str) -> Vec<u8> {
    format!(r#"{{"push":{{"channel":{},"pub":"#, quoted(channel)).into_bytes()
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes any bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let mut out = Vec::new();
        let mut replies = Replies::new(&mut out, 0);
        let connected = Connected { client: "c1", ping_s: Some(25), session: "s", node: "n" };
        replies.connected(1, &connected);
        let position = Some(Position { offset: 5, epoch: "e1".into() });
        let subscribed = Subscribed { position, was_recovering: true, recovered: true };
        replies.subscribed(2, &subscribed, br#"{"data":1}"#);
        replies.subscribed(3, &Subscribed { was_recovering: true, ..Subscribed::default() }, b"");
        replies.subscribed(4, &Subscribed::default(), b"");
        replies.refuse(5, Refusal::PermissionDenied);
        replies.refuse(6, Refusal::TooManyRequests);
        replies.done(7, "publish");
        replies.history(8, &Position::default(), b"");
        replies.insufficient_state("a\"b");
        replies.disconnected(3001, "a\"b");
        replies.ping();
        let version = env!("CARGO_PKG_VERSION");
        let wanted = [
            &format!(
                r#"{{"id":1,"connect":{{"client":"c1","version":"dualstream {version}","ping":25,"pong":true,"session":"s","node":"n"}}}}"#
            ),
            r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":5,"was_recovering":true,"recovered":true,"publications":[{"data":1}]}}"#,
            r#"{"id":3,"subscribe":{"was_recovering":true}}"#,
            r#"{"id":4,"subscribe":{}}"#,
            r#"{"id":5,"error":{"code":103,"message":"permission denied"}}"#,
            r#"{"id":6,"error":{"code":111,"message":"too many requests","temporary":true}}"#,
            r#"{"id":7,"publish":{}}"#,
            r#"{"id":8,"history":{"publications":[],"epoch":"","offset":0}}"#,
            r#"{"push":{"channel":"a\"b","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
            r#"{"push":{"disconnect":{"code":3001,"reason":"a\"b"}}}"#,
            "{}",
        ];
        assert_eq!(String::from_utf8(out).unwrap(), wanted.join("\n"));
    }
}
