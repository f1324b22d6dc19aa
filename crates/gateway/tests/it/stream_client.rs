//! A client of the client protocol without a WebSocket, over raw sockets: a stream down, and a request for what it says.

use crate::peer::reply;
use crate::server::Server;
use crate::wire::{Answer, JSON, Wire, post};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How the stream comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Sse,
    HttpStream,
}

impl Way {
    pub const BOTH: [Way; 2] = [Way::Sse, Way::HttpStream];

    /// Its name in lists and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Way::Sse => "sse",
            Way::HttpStream => "http_stream",
        }
    }

    /// The request that opens a stream with these commands.
    pub fn request(self, commands: &str, headers: &str) -> Vec<u8> {
        match self {
            Way::HttpStream => post("/connection/http_stream", &format!("{JSON}{headers}"), commands),
            Way::Sse => {
                let query: String = form_urlencoded::Serializer::new(String::new())
                    .append_pair("cf_connect", commands)
                    .finish();
                format!("GET /connection/sse?{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
            }
        }
    }
}

/// Such a client.
pub struct StreamClient {
    pub wire: Wire,
    way: Way,
    lines: VecDeque<Value>,
    id: u32,
    /// Where its commands go.
    pub door: SocketAddr,
    pub node: String,
    pub session: String,
    pub client: String,
}

impl StreamClient {
    /// Opens a stream with its first commands.
    pub async fn open(server: &Server, way: Way, commands: &str) -> StreamClient {
        let mut wire = Wire::connect(server.address).await;
        wire.send(way.request(commands, "")).await;
        let (status, headers) = wire.head().await.unwrap();
        let wanted = match way {
            Way::Sse => "text/event-stream",
            Way::HttpStream => "application/x-ndjson",
        };
        assert_eq!(status, 200);
        // Each session is a connection that was accepted: what bounds those bounds these.
        for (name, value) in [("content-type", wanted), ("connection", "close")] {
            assert!(headers.contains(&(name.to_owned(), value.to_owned())), "{headers:?}");
        }
        let [node, session, client] = Default::default();
        StreamClient {
            wire,
            way,
            lines: VecDeque::new(),
            id: 100,
            door: server.address,
            node,
            session,
            client,
        }
    }

    /// A client that is connected.
    pub async fn connect(server: &Server, way: Way) -> StreamClient {
        let connect = r#"{"id":1,"connect":{"name":"test","version":"0.7"}}"#;
        let mut client = StreamClient::open(server, way, connect).await;
        client.connected().await;
        client
    }

    /// Reads the reply to `connect`.
    pub async fn connected(&mut self) {
        let reply = self.line().await;
        let text = |name: &str| reply["connect"][name].as_str().unwrap().to_owned();
        (self.node, self.session, self.client) = (text("node"), text("session"), text("client"));
    }

    /// The next line; pings are answered.
    pub async fn line(&mut self) -> Value {
        loop {
            match self.any_line().await.expect("the stream goes on") {
                Value::Object(members) if members.is_empty() => {
                    assert_eq!(self.say("{}").await.status, 204);
                }
                line => return line,
            }
        }
    }

    /// The next line, pings too; `None` at the end.
    pub async fn any_line(&mut self) -> Option<Value> {
        while self.lines.is_empty() {
            let chunk = String::from_utf8(self.wire.chunk().await?).unwrap();
            let text = match self.way {
                Way::HttpStream => chunk,
                Way::Sse => chunk.strip_suffix('\n').unwrap().replace("data: ", ""),
            };
            assert!(text.ends_with('\n'), "a chunk is whole lines");
            self.lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        self.lines.pop_front()
    }

    /// How the server ends it; what comes before is dropped.
    pub async fn end(&mut self) -> (u64, String) {
        let mut last = Value::Null;
        while let Some(line) = self.any_line().await {
            last = line;
        }
        let said = &last["push"]["disconnect"];
        let code = said["code"].as_u64().unwrap_or_else(|| panic!("{last} at the end"));
        (code, said["reason"].as_str().unwrap().to_owned())
    }

    /// Posts commands, whatever becomes of them.
    pub async fn say(&self, commands: &str) -> Answer {
        let body = json!({"session": self.session, "node": self.node, "data": commands}).to_string();
        Wire::connect(self.door).await.ask(post("/emulation", JSON, body)).await
    }

    /// Posts a command; gives its id.
    pub async fn command(&mut self, mut command: Value) -> u32 {
        self.id += 1;
        command["id"] = self.id.into();
        let answer = self.say(&command.to_string()).await;
        assert_eq!(answer.status, 204, "{}", answer.body);
        self.id
    }

    /// Posts a command and gives its reply. What comes before the reply is kept.
    pub async fn ask(&mut self, command: Value) -> Value {
        let id = self.command(command).await;
        let (reply, mut before) = reply(id, async || self.line().await).await;
        before.append(&mut self.lines);
        self.lines = before;
        reply
    }

    /// The next push that is a publication.
    pub async fn publication(&mut self) -> Value {
        let line = self.line().await;
        assert!(line["push"]["pub"].is_object(), "{line}");
        line["push"].clone()
    }
}
