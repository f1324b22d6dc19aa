//! Presence in Redis against a plain model: random operations, with a clock of the test's.

use crate::redis_server::Server;
use bytes::Bytes;
use dualstream_backends::redis::{PRESENT_MAX, Presence, Present, Stats, Time};
use dualstream_core::channel::Channel;
use dualstream_core::clock::Entropy;
use dualstream_core::testing::SeededEntropy;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const STEPS: usize = 3_000;
/// Keys live by Redis' own time, which hardly moves here.
const LEASE: Duration = Duration::from_secs(3_600);

/// Who is in which channel until when.
#[derive(Default)]
struct Model {
    channels: BTreeMap<String, BTreeMap<String, (Present, i64)>>,
}

impl Model {
    fn at(&mut self, channel: &Channel, now_ms: i64) -> &mut BTreeMap<String, (Present, i64)> {
        let present = self.channels.entry(channel.to_string()).or_default();
        present.retain(|_, (_, until_ms)| *until_ms > now_ms);
        present
    }
}

struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn one<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

fn channels() -> Vec<Channel> {
    let names = ["a:x", "a:y", "}{a:ü", "{}", "}", "events:repo:{o}/r", "a:x:clients"];
    names.into_iter().map(|name| Channel::new(name).unwrap()).collect()
}

/// Each step does one operation on both and compares the answers; now and then everything is compared.
async fn model(server: &Server, seed: u64) {
    let commands = server.commands();
    let (presence, mut model) = (Presence::new(commands.clone()), Model::default());
    let (dice, channels) = (Dice(SeededEntropy::new(seed)), channels());
    let users = ["", "u", "7:x", "ü\n{}", "12"];
    let mut now_ms = 1_700_000_000_000;
    for step in 0..STEPS {
        now_ms += i64::try_from(dice.below(LEASE.as_millis() as u64 / 20)).unwrap();
        let (time, channel) = (Time::At(now_ms), dice.one(&channels));
        let client = format!("client-{}", dice.below(40));
        let present = model.at(channel, now_ms);
        match dice.below(10) {
            0..6 => {
                let info = Bytes::from(format!("{{\"n\":{step}}}"));
                let one = Present { client: client.clone(), user: (*dice.one(&users)).to_owned(), info };
                let lease = LEASE / (1 + dice.below(3) as u32);
                let added = presence.add(channel, &one, lease, time).await.unwrap();
                let until_ms = now_ms + lease.as_millis() as i64;
                assert_eq!(
                    added,
                    present.insert(client, (one, until_ms)).is_none(),
                    "seed {seed} step {step}"
                );
            }
            6 => {
                let removed = presence.remove(channel, &client, time).await.unwrap();
                assert_eq!(removed, present.remove(&client).is_some(), "seed {seed} step {step}");
            }
            7 => {
                let distinct: BTreeSet<_> = present.values().map(|(one, _)| &one.user).collect();
                let wanted = Stats { clients: present.len() as u64, users: Some(distinct.len() as u64) };
                assert_eq!(presence.stats(channel, time).await.unwrap(), wanted, "seed {seed} step {step}");
            }
            _ => {
                let mut listed = presence.list(channel, time).await.unwrap();
                listed.sort_by(|a, b| a.client.cmp(&b.client));
                let wanted: Vec<_> = present.values().map(|(one, _)| one.clone()).collect();
                assert_eq!(listed, wanted, "seed {seed} step {step}");
            }
        }
    }
    // Nothing of what expired stays.
    for channel in &channels {
        assert_eq!(presence.list(channel, Time::At(now_ms + (1 << 40))).await.unwrap(), []);
    }
    assert_eq!(server.keys(commands.prefix()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_as_the_model_says() {
    let server = Server::start();
    for seed in 1..=4 {
        model(&server, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_as_the_model_says_in_a_cluster() {
    let server = Server::start_cluster();
    model(&server, 5).await;
}

/// Both keys go with the last lease, by Redis' own time.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_nobody_is_in_leaves_nothing() {
    let server = Server::start();
    let commands = server.commands();
    let presence = Presence::new(commands.clone());
    let channel = Channel::new("a:x").unwrap();
    let one = |client: &str| Present { client: client.into(), user: "u".into(), info: Bytes::new() };
    for (client, seconds) in [("a", 60), ("c", 60), ("b", 25)] {
        assert!(
            presence.add(&channel, &one(client), Duration::from_secs(seconds), Time::Server).await.unwrap()
        );
    }
    let keys = server.keys(commands.prefix());
    assert_eq!(keys.len(), 2);
    server.age(commands.prefix(), Duration::from_secs(30));
    let stats = presence.stats(&channel, Time::Server).await.unwrap();
    assert_eq!(stats, Stats { clients: 2, users: Some(1) });
    server.age(commands.prefix(), Duration::from_secs(30));
    assert_eq!(server.keys(commands.prefix()), [""; 0]);
}

/// Thousands whose leases ended at once go in one call; those that are too many are counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_counted_and_goes() {
    let server = Server::start();
    let presence = Presence::new(server.commands());
    let channel = Channel::new("a:x").unwrap();
    let add = |n: usize| {
        let one = Present { client: format!("{n}"), user: format!("{}", n % 3), info: Bytes::new() };
        let (presence, channel) = (&presence, &channel);
        async move { presence.add(channel, &one, LEASE, Time::At(0)).await }
    };
    for from in (0..PRESENT_MAX).step_by(500) {
        let added = futures::future::try_join_all((from..from + 500).map(add)).await.unwrap();
        assert!(added.into_iter().all(|is_new| is_new));
    }
    assert_eq!(presence.list(&channel, Time::At(1)).await.unwrap().len(), PRESENT_MAX);
    let stats = presence.stats(&channel, Time::At(1)).await.unwrap();
    assert_eq!(stats, Stats { clients: PRESENT_MAX as u64, users: Some(3) });
    add(PRESENT_MAX).await.unwrap();
    let error = presence.list(&channel, Time::At(1)).await.unwrap_err();
    assert_eq!((error.code(), error.limit()), ("presence_too_large", Some(PRESENT_MAX as u64)));
    let stats = presence.stats(&channel, Time::At(1)).await.unwrap();
    assert_eq!(stats, Stats { clients: PRESENT_MAX as u64 + 1, users: None });
    let late = Time::At(LEASE.as_millis() as i64);
    assert_eq!(presence.stats(&channel, late).await.unwrap(), Stats { clients: 0, users: Some(0) });
    futures::future::try_join_all((0..3_000).map(add)).await.unwrap();
    assert_eq!(presence.list(&channel, late).await.unwrap(), []);
}
