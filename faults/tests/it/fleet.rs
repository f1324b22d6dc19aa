//! Faults of several nodes behind a load balancer, by their number in the matrix: 31, nodes that are ended in order, one
//! after the other, and 35, everybody who comes back at once.

use dualstream_checker::Start;
use dualstream_faults::socket::Socket;
use dualstream_faults::stage::until_metric;
use dualstream_faults::{Fleet, Listener, fleet};
use dualstream_services::balancer::Kind;
use dualstream_services::redis::Setup;
use std::time::Duration;

/// Streams that come back at once.
const HERD: usize = 200;
/// Clients of each node that wait for its end.
const CLIENTS: usize = 30;
/// In which all ends of a node must be; those of its clients are spread over a third of it.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// Come again: the node goes.
const SHUTDOWN: u16 = 3001;

/// 31: three nodes with Redis are restarted one after the other under load. Each ends by itself, with 0, and sends its
/// clients away one after the other, to come again; publishers lose nothing, readers and an SDK come back through the
/// balancer, each on whatever node is there, and what only the bus brings is heard on all of them. 35: then the balancer dies with
/// all connections, and when it is there again everybody comes at once.
#[tokio::test(flavor = "multi_thread")]
async fn f31_f35_a_rolling_restart_loses_nothing() {
    let settings = [format!("shutdown_max={}s", SHUTDOWN_MAX.as_secs())];
    let settings = settings.each_ref().map(String::as_str);
    let redis = Some((Setup::new(), 1));
    let mut fleet = Fleet::set("f31", Kind::Haproxy, &settings, redis).await.unwrap();
    let (front, events) = (fleet.front(), fleet.topics.events.clone());
    for number in 0..6 {
        fleet.audience.read_whole(&format!("reader-{number}"), Start::Latest, &front).await.unwrap();
    }
    fleet.audience.browse("sdk", &events, "events:*", "made:*", front[0].clone()).await.unwrap();
    let (tokens, heard) = ("tokens", [fleet::TOKENS.to_owned()]);
    let listener = Listener::start(&fleet.recorder, tokens, tokens, &heard, front.clone()).await.unwrap();
    fleet.audience.listeners.push(listener);
    let load = fleet.load();
    load.more(200).await.unwrap();
    for node in 0..3 {
        let address = fleet.nodes[node].address;
        let clients: Vec<Socket> = (0..CLIENTS).map(|_| Socket::open(address).unwrap()).collect();
        let fault = fleet.recorder.fault(&format!("node {node} is restarted"));
        fleet.roll(node).await.unwrap();
        fault.ends();
        load.more(200).await.unwrap();
        sent_away_one_after_the_other(clients);
        fleet.until_healed().await.unwrap();
    }
    for number in 0..HERD {
        let (name, key) = (format!("herd-{number}"), format!("made:{}-{}", number % 4, number % 50));
        let channel = format!("events:{key}");
        // The oldest events are asked for: those of its channel before it came are known.
        fleet.audience.read(&name, &events, &channel, &key, Start::Earliest, front.clone()).await.unwrap();
    }
    let fault = fleet.recorder.fault("the balancer is killed");
    fleet.balancer.process.kill().unwrap();
    for node in &fleet.nodes {
        until_metric(node, "dualstream_event_streams", |open| open == 0.0).await.unwrap();
    }
    fleet.balancer.process.restart().unwrap();
    load.more(200).await.unwrap();
    fault.ends();
    fleet.judge(load).await.unwrap();
}

/// To come again, and not all at once. A machine that is busy only makes it longer.
fn sent_away_one_after_the_other(clients: Vec<Socket>) {
    let closed: Vec<_> = clients.into_iter().map(|client| client.closed().unwrap()).collect();
    assert!(closed.iter().all(|closed| closed.code == SHUTDOWN), "{closed:?}");
    let (first, last) =
        (closed.iter().map(|closed| closed.at).min(), closed.iter().map(|closed| closed.at).max());
    let spread = last.unwrap() - first.unwrap();
    assert!(spread > SHUTDOWN_MAX / 6, "all within {spread:?}");
}
