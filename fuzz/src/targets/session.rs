//! A connection of the client protocol that does what the bytes say, over a real hub, publisher and bus: commands of
//! any kind and in any order, frames that are none, messages from elsewhere, time that passes, and a client that does
//! not read.

#[path = "../../../crates/gateway/tests/it/tiny_log.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "the log of the gateway's tests, which replay this too, can do more than is needed here"
)]
mod tiny_log;

use bytes::Bytes;
use dualstream_core::bus::{Bus, Health, Message};
use dualstream_core::channel::Channel;
use dualstream_core::channels::Channels;
use dualstream_core::conflation::ConflateKey;
use dualstream_core::hub::{self, Hub};
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::namespace::{Namespace, Namespaces, SlowClient, Stream};
use dualstream_core::publisher::{self, DualPublisher};
use dualstream_core::registry::{About, InstanceId};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::TopicName;
use dualstream_core::topic_admin::TopicAdmin;
use dualstream_gateway::{Gateway, Metrics, Nodes, Operations, Part, SessionSettings, Settings, Status};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tiny_log::TinyLog;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

/// Bytes between client and server: small, so that the server often finds no room.
const PIPE_BYTES: usize = 512;
const STEPS_MAX: usize = 200;
const CHANNELS: [&str; 10] =
    ["events:repo:a", "chat:x", "chat:*", "events:*", "ai:1", "ai:*", "board:1", "nope:x", "", "chat:\"é"];

/// Whatever a client does: the server panics never, answers each command at most once and in lines of JSON, publishes
/// only to who is subscribed, and forgets the connection when it has ended.
pub fn session_commands(data: &[u8]) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime of one thread");
    runtime.block_on(async {
        let mut world = World::new();
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let session = tokio::spawn(world.gateway.session(server));
        let mut client = Client::new(client);
        let mut script = Script(data);
        for _ in 0..STEPS_MAX {
            if !client.step(&mut script, &mut world).await {
                break;
            }
        }
        client.end().await;
        session.await.expect("a session does not panic");
        client.check();
        let counters = world.hub.counters();
        assert_eq!(counters.subscriptions.load(SeqCst), 0, "subscriptions that nobody has");
        drop(world.stop);
        world.runner.await.expect("the runner does not panic");
        assert_eq!(counters.inbox_bytes.load(SeqCst), 0, "bytes that wait for nobody");
    });
}

/// The bytes that are left.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

struct World {
    gateway: Gateway,
    publisher: DualPublisher,
    bus: MemoryBus,
    hub: Hub,
    runner: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
    sent: u64,
}

struct Fine;

impl Status for Fine {
    fn parts(&self) -> Vec<Part> {
        vec![Part { name: "log", health: Health::Up, is_needed: true }]
    }
}

impl World {
    fn new() -> World {
        let (log, bus) = (Arc::new(TinyLog::new()), MemoryBus::default());
        let publisher = DualPublisher::new(
            publisher::Settings::default(),
            log.clone(),
            Arc::new(bus.clone()),
            namespaces(),
            Arc::new(ManualClock::new(1_700_000_000_000)),
            Arc::new(SeededEntropy::new(7)),
        );
        let settings =
            hub::Settings { inbox_bytes_max: 2_000, ring_bytes_max: 4_000, ..hub::Settings::default() };
        let (hub, runner) = Hub::new(settings, log.clone(), Arc::new(bus.clone()), namespaces());
        let (stop, stopped) = oneshot::channel::<()>();
        let runner = tokio::spawn(runner.run(async { drop(stopped.await) }));
        let operations = Operations {
            topics: TopicAdmin::new(log.clone(), log.clone(), namespaces()),
            channels: Channels::new(log, hub.clone()),
            nodes: Nodes { own: own(), membership: None, decisions: None, control: None },
        };
        let session = SessionSettings {
            commands_per_second: 1_000,
            commands_burst: 1_000,
            channels_max: 6,
            patterns_max: 2,
            message_bytes_max: 2_000,
            ..SessionSettings::default()
        };
        let settings = Settings { session, write_bytes_max: 1_000, ..Settings::default() };
        let metrics = Metrics::new(None, None);
        let gateway =
            Gateway::new(settings, publisher.clone(), hub.clone(), operations, Arc::new(Fine), metrics);
        World { gateway, publisher, bus, hub, runner, stop, sent: 0 }
    }

    /// Something is sent by somebody else.
    async fn send(&mut self, channel: &str, filler: usize) {
        self.sent += 1;
        let payload = format!(r#"{{"k":{},"n":{},"x":"{}"}}"#, self.sent % 3, self.sent, "x".repeat(filler));
        let Ok(channel) = Channel::new(channel) else { return };
        match channel.as_str().starts_with("ai:") {
            true => drop(self.bus.publish(vec![Message { channel, payload: Bytes::from(payload) }])),
            false => drop(self.publisher.send(&channel, Bytes::from(payload)).await),
        }
    }
}

fn own() -> About {
    let id = InstanceId::fresh(&SeededEntropy::new(7));
    About { id, version: "1".into(), address: "127.0.0.1:8000".into() }
}

fn namespaces() -> Namespaces {
    let conflate = SlowClient::Conflate(ConflateKey::new("/k").expect("a legal pointer"));
    Namespaces::new(
        vec![
            namespace("chat", Stream::Dual, SlowClient::Disconnect),
            namespace("ai", Stream::Bus, SlowClient::Disconnect),
            namespace("board", Stream::Bus, conflate),
        ],
        None,
    )
}

fn namespace(name: &str, stream: Stream, slow_client: SlowClient) -> Namespace {
    let topic = TopicName::new(name).expect("a legal name");
    Namespace { name: name.into(), stream, topic, slow_client, live_feed: true, channel_from: None }
}

/// What a command of the script was.
#[derive(Clone, PartialEq, Eq)]
enum Asked {
    Subscribe(String),
    Unsubscribe(String),
    Other,
}

struct Client {
    io: DuplexStream,
    /// Bytes from the server that are no whole frame yet.
    buffer: Vec<u8>,
    lines: Vec<Value>,
    closed: bool,
    /// By id, commands of the script.
    asked: BTreeMap<u64, Asked>,
    /// The client sent something that is no command of the script: what it is answered is not foretold.
    is_wild: bool,
    /// Lines that go out as one frame.
    frame: Vec<String>,
}

impl Client {
    fn new(io: DuplexStream) -> Client {
        let (buffer, lines, asked, frame) = Default::default();
        Client { io, buffer, lines, closed: false, asked, is_wild: false, frame }
    }

    /// Does the next thing; false at the end of the script or of the connection.
    async fn step(&mut self, script: &mut Script<'_>, world: &mut World) -> bool {
        let (Some(kind), Some(detail)) = (script.byte(), script.byte()) else { return false };
        let channel = CHANNELS[usize::from(detail) % CHANNELS.len()];
        let quoted = Value::from(channel).to_string();
        match kind % 16 {
            0 => self.command("connect", "", Asked::Other),
            1 | 2 => {
                let live = if detail & 0x80 != 0 { r#","data":{"mode":"live"}"# } else { "" };
                self.command(
                    "subscribe",
                    &format!(r#""channel":{quoted}{live}"#),
                    Asked::Subscribe(channel.into()),
                );
            }
            3 => {
                let offset = i64::from(script.byte().unwrap_or_default()) - 2;
                let place = match self.epoch(channel) {
                    Some(epoch) => {
                        format!(r#""channel":{quoted},"recover":true,"offset":{offset},"epoch":{epoch}"#)
                    }
                    None => format!(r#""channel":{quoted},"recover":true,"offset":{offset}"#),
                };
                self.command("subscribe", &place, Asked::Subscribe(channel.into()));
            }
            4 | 5 => self.command(
                "unsubscribe",
                &format!(r#""channel":{quoted}"#),
                Asked::Unsubscribe(channel.into()),
            ),
            6 => self.command(
                "history",
                &format!(r#""channel":{quoted},"limit":{}"#, detail as i8),
                Asked::Other,
            ),
            7 => self.command("publish", &format!(r#""channel":{quoted},"data":[{detail}]"#), Asked::Other),
            8 => self.frame.push("{}".into()),
            9 => self.send_frame().await,
            10 => world.send(channel, 0).await,
            11 => world.send(channel, 300).await,
            12 => self.read(usize::from(detail)).await,
            13 => tokio::time::sleep(Duration::from_millis(u64::from(detail) * 50)).await,
            14 => {
                self.is_wild = true;
                let text = script.bytes(usize::from(detail));
                self.write(&masked(0x81, &text)).await;
            }
            _ => {
                self.is_wild = true;
                let bytes = script.bytes(usize::from(detail));
                self.write(&bytes).await;
            }
        }
        if self.frame.len() > 8 || detail & 0x40 == 0 {
            self.send_frame().await;
        }
        !self.closed
    }

    fn command(&mut self, name: &str, fields: &str, asked: Asked) {
        let id = self.asked.len() as u64 + 1;
        self.asked.insert(id, asked);
        self.frame.push(format!(r#"{{"id":{id},"{name}":{{{fields}}}}}"#));
    }

    /// The epoch that a channel was said to have last.
    fn epoch(&self, channel: &str) -> Option<&Value> {
        let of_channel = |line: &&Value| {
            let id = line["id"].as_u64().unwrap_or_default();
            line["subscribe"]["epoch"].is_string()
                && self.asked.get(&id) == Some(&Asked::Subscribe(channel.to_owned()))
        };
        self.lines.iter().rev().find(of_channel).map(|line| &line["subscribe"]["epoch"])
    }

    async fn send_frame(&mut self) {
        if !self.frame.is_empty() {
            let text = std::mem::take(&mut self.frame).join("\n");
            self.write(&masked(0x81, text.as_bytes())).await;
        }
    }

    /// Writes all of it, and reads when the server takes no more.
    async fn write(&mut self, mut bytes: &[u8]) {
        let mut space = [0; 256];
        while !bytes.is_empty() && !self.closed {
            let (mut reader, mut writer) = tokio::io::split(&mut self.io);
            tokio::select! {
                biased;
                written = writer.write(bytes) => match written {
                    Ok(count) => bytes = &bytes[count..],
                    Err(_) => self.closed = true,
                },
                read = reader.read(&mut space) => match read {
                    Ok(count) if count > 0 => self.buffer.extend_from_slice(&space[..count]),
                    _ => self.closed = true,
                },
            }
        }
        self.decode();
    }

    /// Reads about so many bytes, of those that come within a moment.
    async fn read(&mut self, count: usize) {
        let mut space = [0; 256];
        let mut left = count * 16;
        while left > 0 && !self.closed {
            let moment = Duration::from_millis(1);
            match tokio::time::timeout(moment, self.io.read(&mut space)).await {
                Ok(Ok(count)) if count > 0 => {
                    self.buffer.extend_from_slice(&space[..count]);
                    left = left.saturating_sub(count);
                }
                Ok(_) => self.closed = true,
                Err(_) => break,
            }
        }
        self.decode();
    }

    /// Goes without a word, and reads what is left.
    async fn end(&mut self) {
        self.send_frame().await;
        // The server may be gone already.
        let _ = self.io.shutdown().await;
        let mut space = [0; 256];
        while let Ok(count @ 1..) = self.io.read(&mut space).await {
            self.buffer.extend_from_slice(&space[..count]);
        }
        self.decode();
        assert!(self.buffer.is_empty(), "half a frame at the end");
    }

    /// Takes whole frames of the server.
    fn decode(&mut self) {
        let mut rest = &self.buffer[..];
        while let &[first, short, ref more @ ..] = rest {
            let (length, payload) = match (short, more) {
                (0..=125, _) => (usize::from(short), more),
                (126, &[a, b, ref payload @ ..]) => (usize::from(u16::from_be_bytes([a, b])), payload),
                (126, _) => break,
                _ => panic!("a frame of the server is masked or larger than it writes: {short}"),
            };
            let Some(payload) = payload.get(..length) else { break };
            rest = &rest[rest.len() - more.len() + if short == 126 { 2 } else { 0 } + length..];
            match first {
                0x81 => {
                    let text = std::str::from_utf8(payload).expect("text of the server is UTF-8");
                    let line =
                        |line| serde_json::from_str::<Value>(line).expect("a line of the server is JSON");
                    self.lines.extend(text.split('\n').map(line));
                }
                0x88 => self.lines.push(Value::from("closed")),
                0x89 | 0x8a => {}
                other => panic!("a frame of kind {other:x}"),
            }
        }
        self.buffer = rest.to_vec();
    }

    /// What every client may rely on.
    fn check(&self) {
        let after_close = self.lines.iter().skip_while(|line| *line != "closed").count();
        assert!(after_close <= 1, "something comes after the end");
        if self.is_wild {
            return;
        }
        let (mut answered, mut subscribed) = (BTreeSet::new(), BTreeSet::new());
        for line in self.lines.iter().filter(|line| line.is_object()) {
            if let Some(id) = line["id"].as_u64() {
                let asked = self.asked.get(&id).expect("a reply to what was asked");
                assert!(answered.insert(id), "two replies to {id}: {line}");
                match asked {
                    Asked::Subscribe(channel) if line["error"].is_null() => {
                        assert!(subscribed.insert(channel.clone()), "subscribed twice: {line}");
                    }
                    Asked::Unsubscribe(channel) if line["error"].is_null() => {
                        subscribed.remove(channel);
                    }
                    _ => {}
                }
            } else if let Some(channel) = line["push"]["channel"].as_str() {
                assert!(subscribed.contains(channel), "nobody asked for {line}");
                if line["push"]["unsubscribe"].is_object() {
                    subscribed.remove(channel);
                }
            } else {
                assert_eq!(*line, Value::Object(Default::default()), "a line is a reply, a push or a ping");
            }
        }
    }
}

/// A masked frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length => {
            out.push(0xfe);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
    out
}
