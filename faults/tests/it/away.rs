//! Faults 8 and 10 of the matrix: no way to the brokers, silently and loudly; and 14 and 15 as an idempotent producer
//! meets them: what was stored is not told.

use dualstream_faults::http::Connection;
use dualstream_faults::stage::{page, until_page};
use dualstream_faults::{Node, Stage};
use dualstream_services::proxy::Flow;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a proxy may take to see what a publisher at work sends.
const SEEN_MAX: Duration = Duration::from_secs(30);

/// One event, as somebody sends it who does not try again: status, `Retry-After` and code.
async fn publish_once(node: &Node, id: &str, pad: usize) -> (u16, Option<String>, String) {
    let body = json!({
        "id": id, "type": "probe", "source_type": "probe", "source_id": id, "data": {"pad": "x".repeat(pad)}
    });
    let mut connection = Connection::open(node.address).await.unwrap();
    let response = connection.post("/v1/events", body.to_string().into()).await.unwrap();
    let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    (response.status().as_u16(), retry, answer["code"].as_str().unwrap_or_default().to_owned())
}

/// 8: the network swallows everything between the nodes and the brokers. Reads go on from the mirror; a publish is told
/// that it is not stored, or that nobody knows; nothing is invented; and it heals.
#[tokio::test(flavor = "multi_thread")]
async fn f08_cut_from_the_brokers() {
    let stage = Stage::set("f08", &["kafka.delivery.timeout.ms=3000"]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    let path = "/v1/channels/events:*/events?since=earliest&limit=100";
    for node in [&stage.a, &stage.b] {
        until_page(node, path, 100).await.unwrap();
    }
    let fault = stage.recorder.fault("the nodes are cut from the brokers");
    stage.cluster.proxies().for_each(|proxy| proxy.both(Flow::Held));
    load.until(|outcomes| outcomes.failed + outcomes.unknown >= 80).await.unwrap();
    for node in [&stage.a, &stage.b] {
        let (status, events) = page(node, path).await.unwrap();
        assert_eq!((status, events.len()), (200, 100), "the mirror is read");
        let (status, retry, code) = publish_once(node, "cut", 1).await;
        match status {
            503 => assert!(retry.is_some(), "{code}"),
            504 => assert_eq!(code, "outcome_unknown"),
            other => panic!("{other}: {code}"),
        }
    }
    stage.cluster.proxies().for_each(|proxy| proxy.heal());
    fault.ends();
    load.more(300).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 10: nobody listens at any broker. Publishes wait, then fail fast, with the time to come back; however much is offered,
/// the memory of the node stays bounded.
#[tokio::test(flavor = "multi_thread")]
async fn f10_all_brokers_are_away() {
    const OFFERED: usize = 1_000;
    const EVENT: usize = 200 << 10;
    let settings = [
        "kafka.delivery.timeout.ms=5000",
        "kafka.queue.buffering.max.kbytes=8192",
        "limits.publish_waiting_bytes_max=8MiB",
    ];
    let stage = Stage::set("f10", &settings).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    let before = stage.a.metric("dualstream_process_resident_memory_bytes").await.unwrap();
    let fault = stage.recorder.fault("all brokers are away");
    for proxy in stage.cluster.proxies() {
        proxy.refuse();
        proxy.reset();
    }
    // 200 MB, far more than all queues hold.
    let mut codes = std::collections::BTreeMap::new();
    for round in 0..OFFERED / 100 {
        let offer = |i: usize| {
            let (node, id) = (&stage.a, format!("away-{round}-{i}"));
            async move { publish_once(node, &id, EVENT).await }
        };
        for answer in futures::future::join_all((0..100).map(offer)).await {
            let (status, retry, code) = answer;
            assert!(matches!(status, 429 | 503 | 504), "{status} {code}");
            assert!(status == 504 || retry.is_some(), "{status} {code}: when to come back is said");
            *codes.entry((status, code)).or_insert(0) += 1;
        }
    }
    let after = stage.a.metric("dualstream_process_resident_memory_bytes").await.unwrap();
    let grown = (after - before) / f64::from(1 << 20);
    assert!(grown < 150.0, "the node grew by {grown:.0} MiB: {codes:?}");
    assert!(codes.keys().any(|(status, code)| *status == 503 && code == "log_unavailable"), "{codes:?}");
    stage.cluster.proxies().for_each(|proxy| proxy.heal());
    fault.ends();
    load.more(300).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 14 and 15: brokers store and their answers are lost, again and again, then the connections break. The producer sends
/// the same again; the broker knows it by its number, so that nothing is stored twice, or out of order.
#[tokio::test(flavor = "multi_thread")]
async fn f14_f15_lost_acks() {
    let stage = Stage::set("f14", &[]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    for (round, flow) in [Flow::Dropped, Flow::Held, Flow::Dropped].into_iter().enumerate() {
        let fault = stage.recorder.fault(&format!("answers are lost, round {round}"));
        for proxy in stage.cluster.proxies() {
            proxy.responses(flow);
        }
        for proxy in stage.cluster.proxies() {
            let before = proxy.counts().requests.passed;
            let is_seen = |counts: &dualstream_services::proxy::Counts| counts.requests.passed > before + 200;
            proxy.until(SEEN_MAX, "requests", is_seen).unwrap();
            proxy.reset();
            proxy.heal();
        }
        fault.ends();
        load.more(200).await.unwrap();
    }
    let outcomes = load.outcomes();
    assert_eq!((outcomes.failed, outcomes.unknown), (0, 0), "it is sent again by itself: {outcomes:?}");
    for node in [&stage.a, &stage.b] {
        let hidden = node.metric("dualstream_mirror_hidden_total").await.unwrap();
        assert_eq!(hidden, 0.0, "no record is stored twice");
    }
    stage.judge(load).await.unwrap();
}
