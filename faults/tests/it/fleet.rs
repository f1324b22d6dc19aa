//! Faults of several nodes behind a load balancer, by their number in the matrix: 31, nodes that are ended in order, one
//! after the other, and 35, everybody who comes back at once.

use dualstream_checker::Start;
use dualstream_faults::Fleet;
use dualstream_faults::stage::until_metric;
use dualstream_services::balancer::Kind;

/// Streams that come back at once.
const HERD: usize = 200;

/// 31: three nodes are restarted one after the other under load. Each ends by itself, with 0; publishers lose nothing,
/// and readers and an SDK come back through the balancer, each on whatever node is there. 35: then the balancer dies with
/// all connections, and when it is there again everybody comes at once.
#[tokio::test(flavor = "multi_thread")]
async fn f31_f35_a_rolling_restart_loses_nothing() {
    let settings = ["shutdown_max=5s"];
    let mut fleet = Fleet::set("f31", Kind::Haproxy, &settings, None).await.unwrap();
    let (front, events) = (fleet.front(), fleet.topics.events.clone());
    for number in 0..6 {
        fleet.audience.read_whole(&format!("reader-{number}"), Start::Latest, &front).await.unwrap();
    }
    fleet.audience.browse("sdk", &events, "events:*", "made:*", front[0].clone()).await.unwrap();
    let load = fleet.load();
    load.more(200).await.unwrap();
    for node in 0..3 {
        let fault = fleet.recorder.fault(&format!("node {node} is restarted"));
        fleet.roll(node).await.unwrap();
        fault.ends();
        load.more(200).await.unwrap();
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
