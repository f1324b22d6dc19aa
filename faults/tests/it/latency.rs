//! The half of I7 that is a matter of time: what Redis adds to an ack while it is well, hangs or is dead. It measures and
//! promises nothing: `cargo xtask faults` runs it, in release mode, and judges.

use dualstream_faults::Node;
use dualstream_faults::http::Connection;
use dualstream_services::Redis;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Each in every round, so that what the machine does besides is done to all of them.
const STATES: [State; 4] = [State::Without, State::Well, State::Hangs, State::Dead];
const ROUNDS: usize = 20;
const PUBLISHERS: usize = 4;
/// Of each publisher, in one state and round.
const EVENTS: usize = 250;

#[derive(Clone, Copy, Debug)]
enum State {
    Without,
    Well,
    Hangs,
    Dead,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Without => "the log alone",
            State::Well => "redis is well",
            State::Hangs => "redis hangs",
            State::Dead => "redis is dead",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures: cargo xtask faults"]
async fn acks_while_redis_is_well_hangs_and_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(&dir.path().join("redis"), false).unwrap();
    let url = format!("redis://{}", redis.endpoint());
    let alone = Node::start(dir.path(), "alone", &[]).unwrap();
    let with = Node::start(dir.path(), "with", &["--redis".to_owned(), url]).unwrap();
    with.until_bus_is("up").await.unwrap();
    for node in [&alone, &with] {
        measure(node.address, "warm").await;
    }
    let mut took: [Vec<Vec<Duration>>; STATES.len()] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..STATES.len() {
            // Each state is at every place of a round as often as the others.
            let at = (round + turn) % STATES.len();
            let id = format!("{round}-{at}");
            took[at].push(match STATES[at] {
                State::Without => measure(alone.address, &id).await,
                State::Well => measure(with.address, &id).await,
                State::Hangs => {
                    redis.process.pause().unwrap();
                    let took = measure(with.address, &id).await;
                    redis.process.resume().unwrap();
                    took
                }
                State::Dead => {
                    redis.process.kill().unwrap();
                    let took = measure(with.address, &id).await;
                    redis.restart().unwrap();
                    took
                }
            });
            with.until_bus_is("up").await.unwrap();
        }
    }
    for (state, rounds) in STATES.iter().zip(&mut took) {
        let at = |share| median(rounds.iter_mut().map(|round| quantile(round, share)).collect());
        let [p50, p99, p999] = [500, 990, 999].map(at);
        println!("acks: {p50} {p99} {p999} {} {}", ROUNDS * PUBLISHERS * EVENTS, state.name());
    }
}

/// Microseconds that so many of a thousand acks take at the most.
fn quantile(took: &mut [Duration], of_thousand: usize) -> u128 {
    took.sort_unstable();
    took[took.len() * of_thousand / 1000].as_micros()
}

/// Of the rounds the one in the middle: what else the machine did in some of them is left out.
fn median(mut rounds: Vec<u128>) -> u128 {
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

/// How long each ack takes, over some connections at a time.
async fn measure(node: SocketAddr, id: &str) -> Vec<Duration> {
    let publish = |publisher: usize| async move {
        let mut connection = Connection::open(node).await.unwrap();
        let mut took = Vec::with_capacity(EVENTS);
        for number in 0..EVENTS {
            let body = json!({
                "id": format!("{id}-{publisher}-{number}"), "type": "t", "source_type": "made",
                "source_id": format!("{publisher}-{}", number % 250), "data": {"pad": "x".repeat(200)}
            });
            let sent = Instant::now();
            let response = connection.post("/v1/events", body.to_string().into()).await.unwrap();
            took.push(sent.elapsed());
            let answer: Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(response.status(), 201, "{answer}");
        }
        took
    };
    futures::future::join_all((0..PUBLISHERS).map(publish)).await.concat()
}
