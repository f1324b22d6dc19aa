//! Batches of other programs are read whatever they are compressed with.

use crate::cluster::{name, shared, topics};
use dualstream_core::log::Span;
use dualstream_core::mirror::Upstream;
use dualstream_core::testing::{Follower, tail_places};
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const RECORDS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_read() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = name("codecs");
    topics(&upstream).create(TopicSpec::events(topic.clone())).await.unwrap();
    let value = |n: usize| format!("{n:0200}");
    for (partition, codec) in (0..).zip(CODECS) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap());
        // A batch that is not worth it is not compressed: these are.
        config.set("compression.type", codec).set("linger.ms", "100");
        let producer: BaseProducer = config.create().unwrap();
        for n in 0..RECORDS {
            let value = value(n);
            let record = BaseRecord::<str, str>::to(topic.as_str()).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }
    let mut follower = Follower::new(&upstream, tail_places(&topic, &[0; 12])).await;
    follower.until(&topic, &[RECORDS as u64; CODECS.len()]).await;
    for (partition, codec) in (0..).zip(CODECS) {
        let followed = follower.records(&topic, partition);
        assert!(followed.iter().map(|r| r.value.clone().unwrap()).eq((0..RECORDS).map(value)), "{codec}");
        let span = Span { partition, from: 0, until: RECORDS as u64 };
        assert_eq!(upstream.fetch(&topic, span, 1 << 20).await.unwrap().records, followed, "{codec}");
    }
}
