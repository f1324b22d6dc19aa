//! A client of the client protocol over a raw socket, so that a test decides every byte.

use crate::wire::Wire;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;

pub const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub struct Peer {
    pub wire: Wire,
    /// Lines of frames that were not looked at yet.
    lines: VecDeque<Value>,
    id: u32,
}

/// Takes lines until the reply to a command comes; what came before it.
pub async fn reply(id: u32, mut next: impl AsyncFnMut() -> Value) -> (Value, VecDeque<Value>) {
    let mut before = VecDeque::new();
    loop {
        let line = next().await;
        if line["id"] == id {
            return (line, before);
        }
        before.push_back(line);
    }
}

/// What comes from the server.
#[derive(Debug)]
pub enum Frame {
    Text(String),
    Ping,
    Close(u16, String),
    /// It closed without a close frame.
    Gone,
}

impl Peer {
    /// A WebSocket, not connected yet in the sense of the protocol.
    pub async fn open(address: SocketAddr, target: &str, headers: &str) -> Peer {
        let mut wire = Wire::connect(address).await;
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}{headers}\r\n")).await;
        let (status, headers) = wire.head().await.unwrap();
        assert_eq!(status, 101);
        let accept = ("sec-websocket-accept".to_owned(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        assert!(headers.contains(&accept), "{headers:?}");
        Peer { wire, lines: Default::default(), id: 1 }
    }

    /// A client that is connected.
    pub async fn connect(address: SocketAddr) -> Peer {
        let mut peer = Peer::open(address, "/connection/websocket", "").await;
        let reply = peer.ask(json!({"connect": {"name": "test"}})).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        peer
    }

    /// Sends a frame of any kind.
    pub async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.wire.send(masked(first, payload.as_ref())).await;
    }

    /// Sends lines as one frame of text.
    pub async fn say(&mut self, text: impl AsRef<str>) {
        self.send(0x81, text.as_ref()).await;
    }

    /// Sends a command; gives its id.
    pub async fn command(&mut self, mut command: Value) -> u32 {
        let id = self.id;
        command["id"] = id.into();
        self.id += 1;
        self.say(command.to_string()).await;
        id
    }

    /// Sends a command and gives its reply. What comes before the reply is kept.
    pub async fn ask(&mut self, command: Value) -> Value {
        let id = self.command(command).await;
        let (reply, mut before) = reply(id, async || self.line().await).await;
        before.append(&mut self.lines);
        self.lines = before;
        reply
    }

    pub async fn subscribe(&mut self, channel: &str) -> Value {
        let reply = self.ask(json!({"subscribe": {"channel": channel}})).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        reply["subscribe"].clone()
    }

    /// Subscribes to go on at a place.
    pub async fn recover(&mut self, channel: &str, offset: u64, epoch: &str) -> Value {
        let reply = self
            .ask(
                json!({"subscribe": {"channel": channel, "recover": true, "offset": offset, "epoch": epoch}}),
            )
            .await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        reply["subscribe"].clone()
    }

    /// The next line.
    pub async fn line(&mut self) -> Value {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return line;
            }
            match self.frame().await {
                Frame::Text(text) => self.keep(&text),
                other => panic!("{other:?} instead of a line"),
            }
        }
    }

    /// The next push that is a publication; pings are passed over.
    pub async fn publication(&mut self) -> Value {
        loop {
            let line = self.line().await;
            match line {
                Value::Object(ref members) if members.is_empty() => {}
                _ => {
                    assert!(line["push"]["pub"].is_object(), "{line}");
                    return line["push"].clone();
                }
            }
        }
    }

    fn keep(&mut self, text: &str) {
        self.lines.extend(text.split('\n').map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Frame {
        let Some((first, payload)) = self.wire.frame().await else { return Frame::Gone };
        match first {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x89 => Frame::Ping,
            0x88 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Frame::Close(code, String::from_utf8(payload[2..].to_vec()).unwrap())
            }
            other => panic!("frame {other:x}"),
        }
    }

    /// How the server ends the connection; lines before that are dropped. The end is answered as a client does.
    pub async fn end(&mut self) -> (u16, String) {
        loop {
            match self.frame().await {
                Frame::Text(_) | Frame::Ping => {}
                Frame::Close(code, reason) => {
                    self.send(0x88, code.to_be_bytes()).await;
                    return (code, reason);
                }
                Frame::Gone => return (1006, String::new()),
            }
        }
    }
}

/// A masked frame.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0xfe);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xff);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}
