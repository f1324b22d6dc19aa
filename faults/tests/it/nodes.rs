//! Faults of nodes, by their number in the matrix, as they are over Kafka: 30, 36 and 37, nodes that hang and disks that
//! are full.

use dualstream_checker::Start;
use dualstream_faults::stage::until_metric;
use dualstream_faults::stream::Stream;
use dualstream_faults::{Outcomes, Stage};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// 30, 35 and 36: a node is killed with all its readers. They all come back at once, on the other node, each after the
/// last event it saw; and a node without its mirror begins it anew, as a new machine would.
#[tokio::test(flavor = "multi_thread")]
async fn f30_a_node_is_killed_with_its_readers() {
    const READERS: usize = 100;
    let mut stage = Stage::set("f30", &[]).await.unwrap();
    let events = stage.topics.events.clone();
    for number in 0..READERS {
        let (name, key) = (format!("reader-{number}"), format!("made:{}-{}", number % 4, number % 50));
        let nodes = vec![stage.a.place(), stage.b.place()];
        stage
            .audience
            .read(&name, &events, &format!("events:{key}"), &key, Start::Latest, nodes)
            .await
            .unwrap();
    }
    let load = stage.load();
    load.more(400).await.unwrap();
    let fault = stage.recorder.fault("node a is killed");
    stage.recorder.node_down("a");
    stage.a.kill().unwrap();
    load.more(400).await.unwrap();
    until_metric(&stage.b, "dualstream_event_streams", |open| open as usize >= READERS).await.unwrap();
    std::fs::remove_dir_all(stage.a.data()).unwrap();
    stage.a.restart().unwrap();
    stage.recorder.node_up("a");
    fault.ends();
    load.more(200).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 36: while it is published, readers hang up after any number of events and come back after the last one they saw, on the
/// other node: at every depth, from what only the brokers hold over the mirror into the ring, and over each seam between
/// them. One of the nodes has a mirror that begins near the end.
#[tokio::test(flavor = "multi_thread")]
async fn f36_readers_come_back_at_every_depth() {
    const READERS: u64 = 12;
    let mut stage = Stage::set("f36", &["log.mirror_backfill=20"]).await.unwrap();
    let load = stage.load();
    load.more(600).await.unwrap();
    stage.recorder.node_down("b");
    stage.b.kill().unwrap();
    std::fs::remove_dir_all(stage.b.data()).unwrap();
    stage.b.restart().unwrap();
    stage.recorder.node_up("b");
    for seed in 0..READERS {
        let mut nodes = vec![stage.a.place(), stage.b.place()];
        nodes.rotate_left(usize::from(seed % 2 == 1));
        stage.audience.read_in_pieces(seed, nodes).await.unwrap();
    }
    load.more(1_200).await.unwrap();
    let ranges = stage.b.metric("dualstream_mirror_range_reads_total").await.unwrap();
    assert!(ranges > 0.0, "nothing was read of the brokers");
    stage.judge(load).await.unwrap();
}

/// A node hangs for longer than its clients and brokers wait, and wakes with all its requests: what it has sent meanwhile
/// is known again by its ids, and its readers get what they missed.
#[tokio::test(flavor = "multi_thread")]
async fn f30_a_node_hangs_and_wakes() {
    const HANGS: Duration = Duration::from_secs(12);
    let stage = Stage::set("f30h", &["kafka.delivery.timeout.ms=3000"]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    let fault = stage.recorder.fault("node a hangs");
    stage.a.pause().unwrap();
    let began = Instant::now();
    while began.elapsed() < HANGS {
        load.more(20).await.unwrap();
    }
    stage.a.resume().unwrap();
    fault.ends();
    load.more(300).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// The disk of the mirror fills up, and has room again. It is only a copy: readers go on, and publishes are told the
/// truth.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_the_mirror_is_full() {
    const MARGIN: u64 = 1 << 30;
    let free = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
    let least = (free.f_bavail * free.f_frsize).saturating_sub(MARGIN);
    let stage = Stage::set("full", &[&format!("log.free_bytes_min={least}B")]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    let begun = "dualstream_mirror_begun_total";
    let before = stage.a.metric(begun).await.unwrap();
    let fault = stage.recorder.fault("the disk is full");
    let filler = tempfile::tempfile().unwrap();
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, 2 * MARGIN).unwrap();
    until_metric(&stage.a, begun, |now| now > before).await.unwrap();
    // A copy that is behind for long cannot tell whether an event with an id repeats one: that is said, and tried again.
    let answered = |outcomes: &Outcomes| outcomes.acknowledged + outcomes.failed;
    let so_far = answered(&load.outcomes());
    load.until(|outcomes| answered(outcomes) >= so_far + 80).await.unwrap();
    drop(filler);
    fault.ends();
    load.more(200).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 37: what a reader that was away still needs is deleted. It is told so, with what there is, and never led past it in
/// silence.
#[tokio::test(flavor = "multi_thread")]
async fn f37_retention_deletes_what_a_reader_needs() {
    let mut stage = Stage::set("f37", &[]).await.unwrap();
    let load = stage.load();
    let path = "/v1/stream?channel=events:*&since=latest";
    let mut stream = Stream::open(stage.a.address, path, None).await.unwrap();
    let id = loop {
        let block = stream.next().await.unwrap().expect("the stream goes on");
        if let Some(id) = block.field("id") {
            break id.to_owned();
        }
    };
    drop(stream);
    load.more(400).await.unwrap();

    // Its readers have all of it, and go on behind it.
    let fault = stage.recorder.fault("records are deleted");
    let file = tempfile::NamedTempFile::new().unwrap();
    let all =
        (0..12).map(|partition| json!({"topic": stage.topics.events, "partition": partition, "offset": -1}));
    let deleted = json!({"version": 1, "partitions": all.collect::<Vec<_>>()});
    std::fs::write(file.path(), deleted.to_string()).unwrap();
    let order = ["--offset-json-file", file.path().to_str().unwrap()];
    stage.cluster.tool("org.apache.kafka.tools.DeleteRecordsCommand", &order).unwrap();
    stage.recorder.recreated(&stage.topics.events);
    // Neither node has a copy of what is gone.
    for node in [&mut stage.a, &mut stage.b] {
        stage.recorder.node_down(&node.name);
        node.kill().unwrap();
        std::fs::remove_dir_all(node.data()).unwrap();
        node.restart().unwrap();
        stage.recorder.node_up(&node.name);
    }
    fault.ends();
    for node in [&stage.a, &stage.b] {
        let path = "/v1/stream?channel=events:*&on_unrecoverable=earliest";
        let mut stream = Stream::open(node.address, path, Some(&id)).await.unwrap();
        let told = data_of(&mut stream).await;
        assert_eq!((told.0.as_str(), &told.1["reason"]), ("unrecoverable", &json!("retention")), "{told:?}");
        // On from there, and not with what was before.
        let (event, next) = data_of(&mut stream).await;
        assert_eq!((event.as_str(), &next["source_type"]), ("fault", &json!("made")), "{next}");
    }
    load.more(100).await.unwrap();
    load.stop().await.unwrap();
}

/// The next event of a stream: its name, and its data.
async fn data_of(stream: &mut Stream) -> (String, Value) {
    loop {
        let block = stream.next().await.unwrap().expect("the stream goes on");
        if let (Some(event), Some(data)) = (block.field("event"), block.field("data")) {
            return (event.to_owned(), serde_json::from_str(data).unwrap());
        }
    }
}

/// The first such field of a stream.
pub(crate) async fn first_id(body: &mut hyper::body::Incoming, field: &str) -> String {
    let mut text = String::new();
    loop {
        let frame = body.frame().await.expect("the stream goes on").unwrap();
        let Ok(data) = frame.into_data() else { continue };
        text.push_str(std::str::from_utf8(&data).unwrap());
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some(value) = whole.lines().find_map(|line| line.strip_prefix(field)) {
            return value.trim().to_owned();
        }
    }
}
