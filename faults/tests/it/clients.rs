//! Faults of clients, by their number in the matrix: 33, clients that are slow, and 34, connections that are half open.

use dualstream_checker::{Recorder, Start};
use dualstream_faults::load::{Load, Topics};
use dualstream_faults::stage::until_metric;
use dualstream_faults::{Audience, Listener, Node};
use dualstream_services::Proxy;
use dualstream_services::proxy::Flow;
use tempfile::TempDir;

const CLIENTS: &str = "dualstream_client_connections_inflight";
const OVERRUNS: &str = "dualstream_ring_overruns_total";
/// What events are larger by, so that few of them fill what the system holds for a connection.
const PAD_BYTES: usize = 48 << 10;

/// One node and nobody who reads yet; its files go last.
struct Scene {
    node: Node,
    recorder: Recorder,
    topics: Topics,
    audience: Audience,
    dir: TempDir,
}

fn set(settings: &[&str]) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings.iter().chain(&["namespaces.other.stream=dual"]);
    let args: Vec<String> = settings.flat_map(|setting| ["--set", setting].map(str::to_owned)).collect();
    let node = Node::start(dir.path(), "a", &args).unwrap();
    let recorder = Recorder::new();
    recorder.node_up("a");
    let topics = Topics { events: "events".into(), other: "other".into() };
    let audience = Audience::new(&recorder, &topics);
    Scene { node, recorder, topics, audience, dir }
}

/// 33: clients take nothing any more, then little at a time. Nobody else notices: publishers and other clients go on. They
/// are behind by more than the ring holds, and get all of it from the log, once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn f33_slow_clients_hold_nobody_up() {
    let Scene { node, recorder, topics, mut audience, dir: _dir } = set(&["limits.ring_bytes_max=1MiB"]);
    let proxy = Proxy::start(node.address).unwrap();
    let far = ("a".to_owned(), proxy.address());
    audience.browse("slow", "events", "events:*", "made:*", far.clone()).await.unwrap();
    for (name, place) in [("slow", far), ("fast", node.place())] {
        audience.read_whole(name, Start::Latest, &[place]).await.unwrap();
    }
    let channels = ["events:made:*".to_owned()];
    let listener = Listener::start(&recorder, "live", "made", &channels, vec![node.place()]).await.unwrap();
    audience.listeners.push(listener);
    let load = Load::padded(&recorder, &topics, &[node.address], PAD_BYTES);
    load.more(40).await.unwrap();
    let before = node.metric(OVERRUNS).await.unwrap();
    let fault = recorder.fault("clients are slow");
    for flow in [Flow::Held, Flow::Slow { bytes_per_s: 64 << 10 }] {
        proxy.responses(flow);
        load.more(200).await.unwrap();
        audience.listeners[0].more(20).await.unwrap();
    }
    proxy.heal();
    fault.ends();
    // Those that were slow find that the ring has passed them.
    until_metric(&node, OVERRUNS, |overruns| overruns >= before + 2.0).await.unwrap();
    load.more(20).await.unwrap();
    let outcomes = load.outcomes();
    assert_eq!((outcomes.failed, outcomes.unknown), (0, 0), "no publish waits for a client: {outcomes:?}");
    audience.judge(load, &[&node], "f33").await.unwrap();
}

/// 34: the network to a client swallows everything. It answers no ping, so the node lets go of it, soon after; and when
/// the network is whole the client comes back and has missed nothing.
#[tokio::test(flavor = "multi_thread")]
async fn f34_a_half_open_client_is_let_go() {
    let Scene { node, recorder, topics, mut audience, dir: _dir } =
        set(&["limits.ping_interval=1s", "limits.pong_max=500ms"]);
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
