//! Clients without a WebSocket behind a balancer: their streams are on one node, and what they say comes to any.

use dualstream_faults::http::Connection;
use dualstream_faults::{Fleet, Way};
use dualstream_services::balancer::Kind;
use dualstream_services::redis::Setup;

const WAYS: [&str; 2] = ["http_stream", "sse"];

/// Nodes pass on what comes to the wrong one, over Redis: the balancer sends it anywhere, and some clients say all they say
/// to one node, wherever their streams are. Each node is restarted under load, and one is killed: clients come back through
/// the balancer, wherever they land, and miss nothing. They are pinged every two seconds, so that each says something all
/// the while.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another fleet of nodes for what the tests of the gateway hold on one bus: cargo xtask faults"]
async fn clients_without_a_websocket_land_anywhere_and_miss_nothing() {
    let settings = ["shutdown_max=5s", "limits.ping_interval=2s", "limits.pong_max=1500ms"];
    let redis = Some((Setup::new(), 1));
    let mut fleet = Fleet::set("emulation", Kind::Nginx, &settings, redis).await.unwrap();
    let (front, events) = (fleet.front(), fleet.topics.events.clone());
    for transport in WAYS {
        for number in 0..6 {
            let door = fleet.nodes.get(number).map(|node| node.address);
            let (way, name) = (Way { transport, door }, format!("{transport}-{number}"));
            let to = front[0].clone();
            fleet.audience.browse_by(way, &name, &events, "events:*", "made:*", to).await.unwrap();
        }
    }
    let load = fleet.load();
    load.more(200).await.unwrap();
    assert_passed_on(&fleet, &[0, 1, 2]).await;
    for node in 0..3 {
        let fault = fleet.recorder.fault(&format!("node {node} is restarted"));
        fleet.roll(node).await.unwrap();
        fault.ends();
        load.more(200).await.unwrap();
    }
    let fault = fleet.recorder.fault("node 1 is killed");
    fleet.kill(1).unwrap();
    load.more(200).await.unwrap();
    assert_passed_on(&fleet, &[0, 2]).await;
    fleet.restart(1).await.unwrap();
    fault.ends();
    load.more(200).await.unwrap();
    fleet.judge(load).await.unwrap();
}

/// Some of these nodes handed requests on, and some got them so. That they did since their last start: counters begin anew.
async fn assert_passed_on(fleet: &Fleet, nodes: &[usize]) {
    let (mut passed_on, mut told) = ([0.0; 2], String::new());
    for node in nodes.iter().map(|&node| &fleet.nodes[node]) {
        let response = Connection::open(node.address).await.unwrap().get("/metrics").await.unwrap();
        let page = String::from_utf8(response.body().to_vec()).unwrap();
        for line in page.lines().filter(|line| line.starts_with("dualstream_client_")) {
            told.push_str(&format!("{} {line}\n", node.name));
            for (count, outcome) in passed_on.iter_mut().zip(["forwarded", "received"]) {
                let name = format!("dualstream_client_emulation_requests_total{{outcome=\"{outcome}\"}} ");
                *count += line.strip_prefix(&name).map_or(0.0, |value| value.parse::<f64>().unwrap());
            }
        }
    }
    assert!(passed_on.iter().all(|count| *count > 0.0), "nothing is passed on\n{told}");
}
