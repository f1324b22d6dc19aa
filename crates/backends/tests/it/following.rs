//! The tail of a mirror while brokers are killed, hang, and lose what it stands at.

use dualstream_backends::kafka::{KafkaUpstream, Settings};
use dualstream_core::ErrorKind;
use dualstream_core::log::Span;
use dualstream_core::mirror::Upstream;
use dualstream_core::record::Record;
use dualstream_core::testing::{Follower, tail_places};
use dualstream_core::topic::TopicName;
use dualstream_services::Kafka;
use futures::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;

const PARTITIONS: i32 = 12;
/// What waits in librdkafka, on the shelf and in the producer, and what the allocator keeps.
const MEMORY_MAX: u64 = 100 << 20;

/// A cluster with a topic, and what was acknowledged.
struct World {
    kafka: Kafka,
    topic: TopicName,
    producer: FutureProducer,
    acked: BTreeMap<(u32, u64), String>,
    written: usize,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start(brokers: usize) -> World {
        let dir = tempfile::tempdir().unwrap();
        let kafka = Kafka::start(dir.path(), brokers, false).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap());
        let replicas = TopicReplication::Fixed(i32::try_from(brokers).unwrap());
        let new = NewTopic::new("followed", PARTITIONS, replicas);
        let created = admin(&kafka).create_topics([&new], &AdminOptions::new()).await.unwrap();
        created.into_iter().for_each(|topic| drop(topic.unwrap()));
        config.set("enable.idempotence", "true").set("queue.buffering.max.kbytes", "16384");
        let (topic, producer) = (TopicName::new("followed").unwrap(), config.create().unwrap());
        World { kafka, topic, producer, acked: BTreeMap::new(), written: 0, _dir: dir }
    }

    fn upstream(&self) -> KafkaUpstream {
        KafkaUpstream::new(Settings::new(&self.kafka.bootstrap(), BTreeMap::new()).unwrap()).unwrap()
    }

    /// Writes into all partitions, and waits until everything is acknowledged.
    async fn write(&mut self, count: usize, bytes: usize) {
        let values: Vec<(i32, String)> = (self.written..self.written + count)
            .map(|n| (i32::try_from(n).unwrap() % PARTITIONS, format!("{n:0bytes$}")))
            .collect();
        self.written += count;
        for values in values.chunks(2_000) {
            let send = |(partition, value): &(i32, String)| {
                let record = FutureRecord::<str, str>::to("followed").partition(*partition).payload(value);
                self.producer.send_result(record).map_err(|(error, _)| error).unwrap()
            };
            let sent: Vec<_> = values.iter().map(send).collect();
            for (delivered, (_, value)) in join_all(sent).await.into_iter().zip(values) {
                let place = delivered.unwrap().map_err(|(error, _)| error).unwrap();
                let key = (u32::try_from(place.partition).unwrap(), u64::try_from(place.offset).unwrap());
                assert_eq!(self.acked.insert(key, value.clone()), None);
            }
        }
    }

    /// The end of each partition.
    fn ends(&self) -> Vec<u64> {
        let last = |partition| self.acked.range((partition, 0)..=(partition, u64::MAX)).next_back();
        (0..12).map(|partition| last(partition).map_or(0, |((_, offset), _)| offset + 1)).collect()
    }

    /// What was followed is what was acknowledged: nothing lost, nothing twice, nothing invented.
    fn judge(&self, follower: &Follower) {
        let value = |record: &Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        let followed = (0..12).flat_map(|partition| follower.records(&self.topic, partition));
        let followed: BTreeMap<_, _> =
            followed.map(|record| ((record.partition, record.offset), value(record))).collect();
        assert_eq!(followed.len(), self.acked.len());
        assert!(followed == self.acked, "another record than the one that was acknowledged");
    }
}

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().unwrap()
}

/// Rows 9 and 12 of the faults: each broker in turn is killed and started again, so each partition changes its leader,
/// and then one hangs until the others have taken over.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_killed_or_hang_cost_no_record() {
    let mut world = World::start(3).await;
    let upstream = world.upstream();
    world.write(3_000, 100).await;
    let mut follower = Follower::new(&upstream, tail_places(&world.topic, &[0; 12])).await;
    follower.until(&world.topic, &world.ends()).await;
    for broker in 0..3 {
        world.kafka.brokers[broker].process.kill().unwrap();
        world.write(3_000, 100).await;
        follower.until(&world.topic, &world.ends()).await;
        world.kafka.restart(broker).unwrap();
        world.write(3_000, 100).await;
        follower.until(&world.topic, &world.ends()).await;
    }
    world.kafka.brokers[1].process.pause().unwrap();
    world.write(3_000, 100).await;
    follower.until(&world.topic, &world.ends()).await;
    world.kafka.brokers[1].process.resume().unwrap();
    world.write(3_000, 100).await;
    follower.until(&world.topic, &world.ends()).await;
    world.judge(&follower);
    // The readers of spans heal too.
    for partition in 0..12 {
        let span = Span { partition, from: 0, until: u64::MAX };
        let read = upstream.fetch(&world.topic, span, 1 << 30).await.unwrap();
        assert_eq!(read.records, follower.records(&world.topic, partition));
    }
}

/// Row 10: all brokers go and come back; what was followed before goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_away_is_followed_on() {
    let mut world = World::start(1).await;
    let upstream = world.upstream();
    world.write(3_000, 100).await;
    let mut follower = Follower::new(&upstream, tail_places(&world.topic, &[0; 12])).await;
    follower.until(&world.topic, &world.ends()).await;
    world.kafka.brokers[0].process.kill().unwrap();
    let span = Span { partition: 0, from: 0, until: u64::MAX };
    let away = upstream.fetch(&world.topic, span, 1 << 20).await.unwrap_err();
    assert_eq!((away.kind(), away.code()), (ErrorKind::Unavailable, "log_unavailable"));
    world.kafka.restart(0).unwrap();
    world.write(3_000, 100).await;
    follower.until(&world.topic, &world.ends()).await;
    world.judge(&follower);
}

/// More is written than the tail may hold while nobody takes; then retention passes what was not fetched yet.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_costs_little_memory_and_is_told_what_is_gone() {
    let mut world = World::start(1).await;
    let upstream = world.upstream();
    world.write(1_200, 1_000).await;
    let mut follower = Follower::new(&upstream, tail_places(&world.topic, &[0; 12])).await;
    follower.until(&world.topic, &world.ends()).await;
    let mut taken = world.ends();
    let before = resident();
    for _ in 0..20 {
        world.write(2_400, 4_000).await;
        // The judge of this test: it would count for us.
        world.acked.values_mut().for_each(|value| *value = String::new());
    }
    let ends = world.ends();
    assert!(ends.iter().sum::<u64>() * 4_000 > 160 << 20, "{ends:?}");
    let grown = resident().saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{} MiB for what nobody takes", grown >> 20);
    let mut gone = TopicPartitionList::new();
    for (partition, &end) in (0..).zip(&ends) {
        let offset = Offset::Offset(i64::try_from(end).unwrap());
        gone.add_partition_offset("followed", partition, offset).unwrap();
    }
    admin(&world.kafka).delete_records(&gone, &AdminOptions::new()).await.unwrap();
    let error = loop {
        match follower.next().await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.code()), (ErrorKind::Gone, "position_unrecoverable"));
    for (partition, taken) in (0..).zip(&mut taken) {
        let records = follower.records(&world.topic, partition);
        assert!((0..).zip(records).all(|(offset, record)| record.offset == offset), "no jump");
        assert!(records.len() as u64 >= *taken);
    }
    // From where there is something again it goes on.
    follower.assign(tail_places(&world.topic, &ends)).await;
    world.write(1_200, 100).await;
    follower.until(&world.topic, &world.ends()).await;
    for (partition, end) in (0..).zip(world.ends()) {
        let first = ends[partition as usize];
        assert!(follower.records(&world.topic, partition).iter().map(|r| r.offset).eq(first..end));
    }
}

/// Bytes of memory this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
