//! Faults of clients, by their number in the matrix: 34, connections that are half open.

use dualstream_checker::Recorder;
use dualstream_faults::load::{Load, Topics};
use dualstream_faults::stage::until_metric;
use dualstream_faults::{Audience, Node};
use dualstream_services::Proxy;
use dualstream_services::proxy::Flow;

const CLIENTS: &str = "dualstream_client_connections_inflight";

/// 34: the network to a client swallows everything. It answers no ping, so the node lets go of it, soon after; and when
/// the network is whole the client comes back and has missed nothing.
#[tokio::test(flavor = "multi_thread")]
async fn f34_a_half_open_client_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "--set",
        "limits.ping_interval=1s",
        "--set",
        "limits.pong_max=500ms",
        "--set",
        "namespaces.other.stream=dual",
    ];
    let node = Node::start(dir.path(), "a", &settings.map(str::to_owned)).unwrap();
    let recorder = Recorder::new();
    recorder.node_up("a");
    let topics = Topics { events: "events".into(), other: "other".into() };
    let mut audience = Audience::new(&recorder, &topics);
    let proxy = Proxy::start(node.address).unwrap();
    let far = ("a".to_owned(), proxy.address());
    audience.browse("far", "events", "events:*", "made:*", far).await.unwrap();
    audience.browse("near", "events", "events:*", "made:*", node.place()).await.unwrap();
    let load = Load::start(&recorder, &topics, &[node.address]);
    load.more(100).await.unwrap();
    until_metric(&node, CLIENTS, |open| open == 2.0).await.unwrap();
    for flow in [Flow::Dropped, Flow::Held] {
        let fault = recorder.fault("the client is cut off");
        proxy.both(flow);
        until_metric(&node, CLIENTS, |open| open == 1.0).await.unwrap();
        load.more(100).await.unwrap();
        proxy.heal();
        fault.ends();
        until_metric(&node, CLIENTS, |open| open == 2.0).await.unwrap();
    }
    audience.judge(load, &[&node], "f34").await.unwrap();
}
