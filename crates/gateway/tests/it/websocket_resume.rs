//! Coming back: what a client missed is there, once and in order, or it is told that it is not.

use crate::peer::Peer;
use crate::server::Server;
use crate::tiny_log::TinyLog;
use crate::wire::{Wire, event, post};
use dualstream_core::hub;
use dualstream_core::topic::TopicName;
use dualstream_gateway::{SessionSettings, Settings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const LINES: &str = "Content-Type: application/x-ndjson\r\n";
const KEYS: u64 = 101;

/// Publishes numbers, each under one of many keys, so that they are spread over all partitions.
async fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    let lines: String =
        numbers.clone().map(|n| event(&format!("key-{}", n % KEYS), &n.to_string()) + "\n").collect();
    let mut wire = Wire::connect(server.address).await;
    let stored = wire.ask(post("/v1/events", LINES, lines)).await.json();
    assert_eq!(stored["stored"], numbers.end - numbers.start);
}

async fn publish_to(server: &Server, key: &str, numbers: std::ops::Range<u64>) {
    let lines: String = numbers.map(|n| event(key, &n.to_string()) + "\n").collect();
    Wire::connect(server.address).await.ask(post("/v1/events", LINES, lines)).await;
}

/// What an SDK keeps of a subscription. One that tracks epochs takes them from publications, too.
#[derive(Clone, Debug, Default)]
struct Kept {
    offset: u64,
    epoch: String,
    numbers: Vec<u64>,
    tracks_epochs: bool,
}

impl Kept {
    fn reply(&mut self, reply: &Value) {
        assert_eq!((&reply["recoverable"], &reply["positioned"]), (&json!(true), &json!(true)), "{reply}");
        self.offset = reply["offset"].as_u64().unwrap_or(0);
        self.epoch = reply["epoch"].as_str().unwrap().to_owned();
        for publication in reply["publications"].as_array().into_iter().flatten() {
            self.publication(publication);
        }
    }

    fn publication(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().unwrap();
        assert!(offset > self.offset, "offsets rise: {} then {offset}", self.offset);
        self.offset = offset;
        if let Some(epoch) = publication["epoch"].as_str().filter(|_| self.tracks_epochs) {
            self.epoch = epoch.to_owned();
        }
        self.numbers.push(publication["data"]["data"].as_u64().unwrap());
    }

    async fn until(&mut self, peer: &mut Peer, count: usize) {
        while self.numbers.len() < count {
            let push = peer.publication().await;
            self.publication(&push["pub"]);
        }
    }

    /// Every number once, those of each key in order.
    fn check(&self, count: u64) {
        for key in 0..KEYS {
            let own = self.numbers.iter().copied().filter(|n| n % KEYS == key);
            assert!(own.eq((0..count).filter(|n| n % KEYS == key)), "key {key} of {:?}", self.numbers);
        }
    }
}

fn tracking() -> Kept {
    Kept { tracks_epochs: true, ..Kept::default() }
}

async fn restart(log: &Arc<TinyLog>, hub: hub::Settings) -> Server {
    Server::over(log.clone(), Settings::default(), hub, "127.0.0.1:0").await
}

#[tokio::test]
async fn a_channel_and_a_pattern_go_on_over_restarts() {
    let log = Arc::new(TinyLog::new());
    let (mut pattern, mut channel, mut count) = (tracking(), Kept::default(), 0);
    for round in 0..6 {
        // The ring is far smaller than what is published, so it overruns; every other hub has a large one.
        let ring_bytes_max = if round % 2 == 0 { 20 << 10 } else { 64 << 20 };
        let hub = hub::Settings { ring_bytes_max, page_bytes_max: 4 << 10, ..hub::Settings::default() };
        let server = restart(&log, hub).await;
        let mut peer = Peer::connect(server.address).await;
        for (name, kept) in [("events:repo:*", &mut pattern), ("events:repo:key-7", &mut channel)] {
            let reply = match round {
                0 => peer.subscribe(name).await,
                _ => peer.recover(name, kept.offset, &kept.epoch).await,
            };
            assert_eq!(reply["recovered"].as_bool().unwrap_or(false), round > 0, "{reply}");
            kept.reply(&reply);
        }
        publish(&server, count..count + 700).await;
        // One connection follows half of them, and is gone before it has seen the others.
        let mut follower = Peer::connect(server.address).await;
        pattern.reply(&follower.recover("events:repo:*", pattern.offset, &pattern.epoch).await);
        pattern.until(&mut follower, count as usize + 350).await;
        let mut other = Peer::connect(server.address).await;
        channel.reply(&other.recover("events:repo:key-7", channel.offset, &channel.epoch).await);
        count += 700;
    }
    let server = restart(&log, hub::Settings::default()).await;
    let mut peer = Peer::connect(server.address).await;
    pattern.reply(&peer.recover("events:repo:*", pattern.offset, &pattern.epoch).await);
    pattern.until(&mut peer, count as usize).await;
    pattern.check(count);
    let wanted: Vec<u64> = (0..count).filter(|n| n % KEYS == 7).collect();
    assert_eq!(channel.numbers, wanted);
}

#[tokio::test]
async fn every_publication_is_a_place_to_come_back_to() {
    let session = SessionSettings { commands_burst: 1_000, ..SessionSettings::default() };
    let server = Server::with(Settings { session, ..Settings::default() }).await;
    publish(&server, 0..60).await;
    for name in ["events:*", "events:repo:key-7"] {
        let mut kept = tracking();
        let mut peer = Peer::connect(server.address).await;
        let all = peer.recover(name, 0, "").await["publications"].as_array().unwrap().clone();
        for (at, publication) in all.iter().enumerate() {
            let epoch = match publication["epoch"].as_str() {
                Some(epoch) => epoch.to_owned(),
                None => peer.ask(json!({"history": {"channel": name}})).await["history"]["epoch"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            };
            peer.ask(json!({"unsubscribe": {"channel": name}})).await;
            let offset = publication["offset"].as_u64().unwrap();
            let reply = peer.recover(name, offset, &epoch).await;
            assert_eq!(reply["recovered"], true, "{name} {at}");
            let rest = reply["publications"].as_array().cloned().unwrap_or_default();
            let bare = |all: &[Value]| all.iter().map(|p| p["data"].clone()).collect::<Vec<_>>();
            assert_eq!(bare(&rest), bare(&all[at + 1..]), "{name} {at}");
            if rest.is_empty() {
                assert!(reply["offset"].as_u64().unwrap() >= offset, "the end, or where it was");
            } else {
                assert_eq!((&reply["offset"], &reply["epoch"]), (&json!(offset), &json!(epoch)));
            }
            kept.offset = offset;
        }
    }
}

#[tokio::test]
async fn a_deep_recovery_is_a_bounded_reply_and_the_rest_behind_it() {
    let server = Server::start().await;
    publish(&server, 0..2_000).await;
    let mut peer = Peer::connect(server.address).await;
    let reply = peer.recover("events:*", 0, "").await;
    assert_eq!(reply["publications"].as_array().unwrap().len(), 300);
    assert_eq!((&reply["recovered"], &reply["was_recovering"]), (&json!(true), &json!(true)));
    let mut kept = tracking();
    kept.reply(&reply);
    kept.until(&mut peer, 2_000).await;
    kept.check(2_000);
    let large = format!("\"{}\"", "x".repeat(100 << 10));
    let lines: String = (0..8).map(|_| event("large", &large) + "\n").collect();
    Wire::connect(server.address).await.ask(post("/v1/events", LINES, lines)).await;
    let reply = peer.recover("events:repo:large", 0, "").await;
    let count = reply["publications"].as_array().unwrap().len();
    assert!((2..=4).contains(&count), "{count}");
    for _ in count..8 {
        assert_eq!(peer.publication().await["pub"]["data"]["data"].as_str().unwrap().len(), 100 << 10);
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_said_and_never_half_given() {
    let server = Server::start().await;
    publish(&server, 0..300).await;
    let topic = TopicName::new("events").unwrap();
    let mut peer = Peer::connect(server.address).await;
    let pattern = peer.subscribe("events:*").await;
    let channel = peer.subscribe("events:repo:key-7").await;
    let (token, sum) = (pattern["epoch"].as_str().unwrap().to_owned(), pattern["offset"].as_u64().unwrap());
    let (epoch, end) = (channel["epoch"].as_str().unwrap().to_owned(), channel["offset"].as_u64().unwrap());
    server.log.trim_each(&topic, 3);
    let cases = [
        ("events:*", 0, "_".to_owned()),
        ("events:*", sum + 1, token.clone()),
        ("events:*", sum - 1, token.clone()),
        ("events:*", sum, epoch.clone()),
        ("events:*", 5, String::new()),
        ("events:repo:key-7", 0, "_".into()),
        ("events:repo:key-7", 0, epoch.clone()),
        ("events:repo:key-7", 2, epoch.clone()),
        ("events:repo:key-7", end + 1, epoch.clone()),
        ("events:repo:key-7", u64::MAX, epoch.clone()),
        ("events:repo:key-7", end, "00000000000000ff".into()),
        ("events:repo:key-7", end, token.clone()),
    ];
    for (name, offset, old) in cases {
        let mut peer = Peer::connect(server.address).await;
        let reply = peer.recover(name, offset, &old).await;
        assert_eq!(reply["was_recovering"], true, "{name} {offset} {old}");
        assert!(reply["recovered"].is_null() && reply["publications"].is_null(), "{reply}");
        let top = if name == "events:*" { (json!(sum), json!(token)) } else { (json!(end), json!(epoch)) };
        assert_eq!((reply["offset"].clone(), reply["epoch"].clone()), top, "{name} {offset} {old}");
        peer.ask(json!({"unsubscribe": {"channel": name}})).await;
        let wanted = json!({"channel": name, "recover": true, "offset": offset, "epoch": old, "flag": 2});
        let refused = peer.ask(json!({"subscribe": wanted})).await;
        assert_eq!(refused["error"], json!({"code": 112, "message": "unrecoverable position"}));
        assert!(peer.subscribe(name).await["was_recovering"].is_null(), "a refused one is not subscribed");
    }
    // What is still there can be had, and the beginning of it without naming a place.
    let mut peer = Peer::connect(server.address).await;
    assert_eq!(peer.recover("events:*", sum, &token).await["recovered"], true);
    let reply = peer.recover("events:repo:key-7", 0, "").await;
    assert_eq!((&reply["recovered"], reply["offset"].as_u64().unwrap() >= 3), (&json!(true), true));
}

#[tokio::test]
async fn what_lies_before_damage_is_not_given_as_if_it_were_all() {
    let server = Server::start().await;
    publish_to(&server, "one", 0..100).await;
    server.log.damage(&TopicName::new("events").unwrap(), 40);
    let mut peer = Peer::connect(server.address).await;
    let reply = peer.recover("events:*", 0, "").await;
    assert!(reply["recovered"].is_null() && reply["publications"].is_null(), "{reply}");
    // It stands behind the damage, and what follows follows.
    let mut kept = tracking();
    kept.reply(&reply);
    kept.until(&mut peer, 59).await;
    assert_eq!(kept.numbers, (41..100).collect::<Vec<_>>());
    let mut again = Peer::connect(server.address).await;
    let reply =
        again.recover("events:*", reply["offset"].as_u64().unwrap(), reply["epoch"].as_str().unwrap()).await;
    assert_eq!(reply["publications"].as_array().unwrap().len(), 59, "a place to come back to");
}

#[tokio::test]
async fn an_sdk_that_does_not_track_epochs_is_told_of_a_pattern_that_it_cannot_recover() {
    let server = Server::start().await;
    let (mut kept, mut peer) = (Kept::default(), Peer::connect(server.address).await);
    kept.reply(&peer.subscribe("events:*").await);
    let mut away = Peer::connect(server.address).await;
    assert_eq!(away.recover("events:*", kept.offset, &kept.epoch).await["recovered"], true);
    publish(&server, 0..50).await;
    let mut away = Peer::connect(server.address).await;
    let reply = away.recover("events:*", kept.offset, &kept.epoch).await;
    assert_eq!(reply["recovered"], true, "nothing was delivered yet, so its place is whole");
    assert_eq!(reply["publications"].as_array().unwrap().len(), 50);
    kept.until(&mut peer, 30).await;
    let reply = Peer::connect(server.address).await.recover("events:*", kept.offset, &kept.epoch).await;
    assert!(reply["recovered"].is_null() && reply["publications"].is_null(), "{reply}");
}

#[tokio::test]
async fn retention_that_overtakes_a_slow_reader_makes_it_subscribe_again() {
    let server = Server::start().await;
    let mut peer = Peer::connect(server.address).await;
    publish(&server, 0..50).await;
    let big = format!("\"{}\"", "x".repeat(500 << 10));
    let lines: String = (0..40).map(|_| event("big", &big) + "\n").collect();
    Wire::connect(server.address).await.ask(post("/v1/events", LINES, lines)).await;
    let reply = peer.recover("events:repo:big", 0, "").await;
    let mut offset = reply["publications"].as_array().unwrap().last().unwrap()["offset"].as_u64().unwrap();
    let epoch = reply["epoch"].as_str().unwrap().to_owned();
    server.log.trim(&TopicName::new("events").unwrap());
    let line = loop {
        let line = peer.line().await;
        match line["push"]["pub"]["offset"].as_u64() {
            Some(next) => {
                assert_eq!(next, offset + 1, "nothing is left out before the end is told");
                offset = next;
            }
            None => break line,
        }
    };
    let gone = json!({"code": 2500, "reason": "insufficient state"});
    assert_eq!(line, json!({"push": {"channel": "events:repo:big", "unsubscribe": gone}}));
    let reply = peer.recover("events:repo:big", offset, &epoch).await;
    assert_eq!((&reply["was_recovering"], reply["recovered"].is_null()), (&json!(true), true));
    publish_to(&server, "big", 0..1).await;
    assert_eq!(peer.publication().await["pub"]["data"]["data"], 0);
}

#[tokio::test]
async fn the_place_of_a_quiet_channel_is_renewed_before_retention_takes_it() {
    let session = SessionSettings { ping_interval: Duration::from_secs(2), ..SessionSettings::default() };
    let server = Server::with(Settings { session, ..Settings::default() }).await;
    publish(&server, 0..500).await;
    let mut peer = Peer::connect(server.address).await;
    let mut kept = tracking();
    kept.reply(&peer.subscribe("events:user:*").await);
    let passing = async {
        publish(&server, 500..5_000).await;
        server.log.trim_each(&TopicName::new("events").unwrap(), 10);
    };
    let quiet = async {
        loop {
            let line = peer.line().await;
            match line["push"].is_object() {
                true => break line,
                false => peer.say("{}").await,
            }
        }
    };
    let (line, ()) = tokio::join!(quiet, passing);
    assert_eq!(line["push"]["unsubscribe"]["code"], 2500, "{line}");
    let before = kept.offset;
    let reply = peer.recover("events:user:*", kept.offset, &kept.epoch).await;
    assert_eq!(reply["recovered"], true);
    kept.reply(&reply);
    assert!(kept.offset >= before + 4_500, "it stands at the end now");
}
