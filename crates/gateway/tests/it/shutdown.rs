//! An ordered end with many clients, some over WebSocket, some over event streams.

use crate::peer::{Frame, Peer};
use crate::server::Server;
use crate::wire::{Wire, get};
use bytes::Bytes;
use dualstream_core::channel::Channel;
use dualstream_core::hub;
use dualstream_gateway::Settings;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

const EACH: usize = 60;

/// What a client tells while it follows.
enum Told {
    /// It got the event of this number.
    Got(usize, u64),
    /// It was told to come back.
    Left(usize),
}

/// What it knows at its end.
struct Seen {
    events: u64,
    /// Where an event stream goes on.
    resume: Option<String>,
}

/// One after the other, while the others are served on.
struct Crowd {
    told: UnboundedReceiver<Told>,
    here: BTreeSet<usize>,
    tasks: JoinSet<Seen>,
}

impl Crowd {
    async fn gather(server: &Server) -> Crowd {
        let (tell, told) = unbounded_channel();
        let (mut here, mut tasks) = (BTreeSet::new(), JoinSet::new());
        for number in 0..EACH {
            let mut peer = Peer::connect(server.address).await;
            peer.subscribe("events:repo:a").await;
            tasks.spawn(follow_peer(2 * number, peer, tell.clone()));
            let mut wire = Wire::connect(server.address).await;
            wire.send(get("/v1/stream?channel=events:repo:a")).await;
            assert_eq!(wire.head().await.unwrap().0, 200);
            let opening = wire.chunk().await.unwrap();
            tasks.spawn(follow_stream(2 * number + 1, wire, opening, tell.clone()));
            here.extend([2 * number, 2 * number + 1]);
        }
        Crowd { told, here, tasks }
    }

    /// Waits until everybody who is here got the event, or left instead; how many left.
    async fn round(&mut self, event: u64) -> usize {
        let before = self.here.len();
        let mut waited = self.here.clone();
        while !waited.is_empty() {
            match self.told.recv().await.unwrap() {
                Told::Got(client, number) if number == event => drop(waited.remove(&client)),
                Told::Got(..) => {}
                Told::Left(client) => {
                    waited.remove(&client);
                    self.here.remove(&client);
                }
            }
        }
        before - self.here.len()
    }
}

async fn follow_peer(client: usize, mut peer: Peer, tell: UnboundedSender<Told>) -> Seen {
    let mut events = 0;
    loop {
        match peer.frame().await {
            Frame::Text(text) => {
                for line in text.lines() {
                    let line: Value = serde_json::from_str(line).unwrap();
                    let Some(number) = line["push"]["pub"]["data"]["data"].as_u64() else { continue };
                    assert_eq!(number, events, "in order, without a gap");
                    events += 1;
                    tell.send(Told::Got(client, number)).unwrap();
                }
            }
            Frame::Ping => {}
            Frame::Close(code, reason) => {
                assert_eq!((code, reason.as_str()), (3001, "shutdown"));
                peer.send(0x88, code.to_be_bytes()).await;
                tell.send(Told::Left(client)).unwrap();
                return Seen { events, resume: None };
            }
            Frame::Gone => panic!("it is told that it may come back"),
        }
    }
}

async fn follow_stream(client: usize, mut wire: Wire, opening: Vec<u8>, tell: UnboundedSender<Told>) -> Seen {
    let mut seen = Seen { events: 0, resume: None };
    let mut text = String::from_utf8(opening).unwrap();
    loop {
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                seen.resume = Some(id.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                let number = serde_json::from_str::<Value>(data).unwrap()["data"].as_u64();
                assert_eq!(number, Some(seen.events), "in order, without a gap");
                seen.events += 1;
                tell.send(Told::Got(client, seen.events - 1)).unwrap();
            }
        }
        match wire.chunk().await {
            Some(chunk) => text = String::from_utf8(chunk).unwrap(),
            None => {
                assert!(text.contains("the server is stopping"), "{text}");
                tell.send(Told::Left(client)).unwrap();
                return seen;
            }
        }
    }
}

async fn publish(server: &Server, number: u64) {
    let channel = Channel::new("events:repo:a").unwrap();
    server.publisher.send(&channel, Bytes::from(number.to_string())).await.unwrap();
}

/// Fault 31. Whoever is still there is served on: it gets what is published meanwhile. Nobody misses what was acknowledged:
/// what each got is a beginning of it, and it goes on from there on the next server.
#[tokio::test]
async fn clients_leave_one_after_the_other_and_nothing_acknowledged_is_lost() {
    let drain = Duration::from_secs(2);
    let mut server = Server::with(Settings { drain, ..Settings::default() }).await;
    let mut crowd = Crowd::gather(&server).await;
    let (mut stored, mut left) = (0, Vec::new());
    let mut round = async |server: &Server, crowd: &mut Crowd| {
        publish(server, stored).await;
        stored += 1;
        crowd.round(stored - 1).await
    };
    assert_eq!(round(&server, &mut crowd).await, 0);
    server.stop();
    while !crowd.here.is_empty() {
        left.push(round(&server, &mut crowd).await);
    }
    (&mut server.task).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody new is taken");
    assert!(left.len() > 2 && left.iter().all(|many| *many < EACH), "all at once: {left:?}");

    let next =
        Server::over(server.log.clone(), Settings::default(), hub::Settings::default(), "127.0.0.1:0").await;
    while let Some(seen) = crowd.tasks.join_next().await {
        let Seen { events, resume: Some(resume) } = seen.unwrap() else { continue };
        let (mut wire, mut since, mut rest) =
            (Wire::connect(next.address).await, Some(resume), Vec::<u64>::new());
        while let Some(place) = since {
            let target = format!("/v1/events?channel=events:repo:a&limit=1000&since={place}");
            let page = wire.ask(get(&target)).await.json();
            rest.extend(page["events"].as_array().unwrap().iter().map(|e| e["data"].as_u64().unwrap()));
            since = page["next"].as_str().map(String::from);
        }
        assert_eq!(rest, (events..stored).collect::<Vec<_>>());
    }
}
