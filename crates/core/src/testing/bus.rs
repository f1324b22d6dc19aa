//! The bus: what arrives, in which order, and that nobody is held up.

use super::{BusBackend, Check, checks};
use crate::bus::{Delivery, Health, Message};
use crate::channel::{Channel, Target};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

/// The checks, in reading order.
pub const CHECKS: &[Check<BusBackend>] = checks![BusBackend:
    messages_arrive_in_order,
    patterns_match_the_whole_rest,
    every_subscriber_gets_a_copy,
    nothing_is_kept,
    odd_names_are_taken_literally,
    publishing_does_not_wait_for_readers,
    it_says_it_is_up,
];

impl BusBackend {
    fn message(&self, rest: &str, payload: impl Into<Bytes>) -> Message {
        let channel = Channel::new(&format!("{}:{rest}", self.prefix)).expect("a legal channel");
        Message { channel, payload: payload.into() }
    }

    async fn subscribe(&self, rest: &str) -> BoxStream<'static, Delivery> {
        self.bus.subscribe(self.target(rest)).await.expect("subscribed")
    }

    fn target(&self, rest: &str) -> Target {
        Target::parse(&format!("{}:{rest}", self.prefix)).expect("a legal target")
    }
}

/// The payloads up to a message `end`; a loss is no error of a bus, but there is no reason for one here.
async fn until_end(stream: &mut BoxStream<'static, Delivery>) -> Vec<(String, String)> {
    let mut got = Vec::new();
    while let Some(delivery) = stream.next().await {
        let Delivery::Message(Message { channel, payload }) = delivery else { panic!("{delivery:?}") };
        let payload = String::from_utf8_lossy(&payload).into_owned();
        if payload == "end" {
            return got;
        }
        got.push((channel.to_string(), payload));
    }
    panic!("the stream ended")
}

/// In the order they were published, over batches, with the bytes unchanged.
async fn messages_arrive_in_order(b: BusBackend) {
    let mut own = b.subscribe("a").await;
    for batch in 0..20 {
        let message = |n| b.message(if n % 2 == 0 { "a" } else { "b" }, format!("{}", batch * 50 + n));
        assert_eq!(b.bus.publish((0..50).map(message).collect()), 50);
    }
    b.bus.publish(vec![b.message("a", "end")]);
    let got: Vec<_> = until_end(&mut own).await.into_iter().map(|(_, payload)| payload).collect();
    let sent: Vec<_> = (0..1000).filter(|n| n % 2 == 0).map(|n| n.to_string()).collect();
    assert_eq!(got, sent);
}

/// `:` and `/` included, but at least something, and nothing beside it; or they are refused.
async fn patterns_match_the_whole_rest(b: BusBackend) {
    if !b.bus.has_patterns() {
        let refused = b.bus.subscribe(b.target("user:*")).await.err().expect("refused");
        assert_eq!(refused.code(), "bus_without_patterns");
        return;
    }
    let mut all = b.subscribe("user:*").await;
    let rests = ["user:x", "users:x", "user", "user:", "user:a:b/c", "repo:user:x", "user:ü"];
    b.bus.publish(rests.iter().map(|rest| b.message(rest, *rest)).collect());
    b.bus.publish(vec![b.message("user:z", "end")]);
    let got: Vec<_> = until_end(&mut all).await;
    let wanted = ["user:x", "user:a:b/c", "user:ü"].map(|r| (format!("{}:{r}", b.prefix), r.to_owned()));
    assert_eq!(got, wanted, "with the channel they were published on");
}

/// Two of one channel, a pattern over it and a longer pattern: each gets every message once.
async fn every_subscriber_gets_a_copy(b: BusBackend) {
    let mut streams = Vec::new();
    for rest in
        ["a:x", "a:x", "*", "a:*"].into_iter().filter(|rest| b.bus.has_patterns() || !rest.ends_with('*'))
    {
        streams.push(b.subscribe(rest).await);
    }
    b.bus.publish((0..100).map(|n| b.message("a:x", n.to_string())).collect());
    b.bus.publish(vec![b.message("a:x", "end")]);
    for stream in &mut streams {
        assert_eq!(until_end(stream).await.len(), 100);
    }
}

/// What was published before is gone, and so is what comes after the stream was dropped.
async fn nothing_is_kept(b: BusBackend) {
    // In a Redis Cluster what stands in braces decides which server it is: both are on the same.
    let mut passed = b.subscribe("b{x}").await;
    // Behind a message that came, a server has done with all that were published before it.
    let mut publish_and_wait = async |payload: &'static str| {
        b.bus.publish(vec![b.message("a{x}", payload), b.message("b{x}", "end")]);
        until_end(&mut passed).await;
    };
    publish_and_wait("before").await;
    let first = b.subscribe("a{x}").await;
    drop(first);
    publish_and_wait("between").await;
    let mut second = b.subscribe("a{x}").await;
    b.bus.publish(vec![b.message("a{x}", "after"), b.message("a{x}", "end")]);
    let got: Vec<_> = until_end(&mut second).await.into_iter().map(|(_, payload)| payload).collect();
    // What came for a subscriber that left may still be on its way when the next one joins.
    let late: Vec<_> = got.iter().filter(|payload| *payload != "between").collect();
    assert_eq!(late, ["after"]);
}

/// What is special to some server is not special here.
async fn odd_names_are_taken_literally(b: BusBackend) {
    let name = if b.bus.has_patterns() { "a^-!{x}.$:*" } else { "a^-!{x}.$:y" };
    let mut odd = b.subscribe(name).await;
    b.bus.publish(vec![b.message("b^-!{x}.$:y", "other"), b.message("a^-!{x}.$:y", "own")]);
    b.bus.publish(vec![b.message("a^-!{x}.$:y", "end")]);
    assert_eq!(until_end(&mut odd).await.len(), 1);
}

/// A subscriber that reads nothing costs bounded memory and holds nobody up; it may be told what it lost, and what it
/// does get is in order.
async fn publishing_does_not_wait_for_readers(b: BusBackend) {
    let mut slow = b.subscribe("a").await;
    let mut other = b.subscribe("b").await;
    let large = "x".repeat(64 << 10);
    for n in 0..500 {
        b.bus.publish(vec![b.message("a", format!("{n:04}{large}"))]);
    }
    b.bus.publish(vec![b.message("b", "1"), b.message("b", "end")]);
    assert_eq!(until_end(&mut other).await.len(), 1);
    let (mut last, mut lost, mut got) = (-1, 0, 0);
    while got + lost < 500 {
        match slow.next().await.expect("the stream goes on") {
            Delivery::Lost(count) => lost += count,
            Delivery::Message(message) => {
                let n = String::from_utf8_lossy(&message.payload[..4]).parse().expect("a number");
                assert!(n > last, "in order");
                (last, got) = (n, got + 1);
            }
        }
    }
    assert!(got > 0);
}

/// A bus that was reached just now says so.
async fn it_says_it_is_up(b: BusBackend) {
    let _stream = b.subscribe("a").await;
    assert_eq!(b.bus.health(), Health::Up);
}
