//! How fast is a topic of Kafka read by the tail of a mirror, against a consumer of librdkafka that only counts?

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dualstream_backends::kafka::{KafkaUpstream, Settings as KafkaSettings};
use dualstream_core::{
    mirror::{self, Place, Upstream},
    topic::TopicName,
};
use dualstream_kafka_ffi::consume;
use dualstream_services::Kafka;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, DefaultConsumerContext},
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};
use tokio::runtime::{self, Runtime};

use crate::{
    Settings,
    cpu_time::cpu_time,
    embedded::PARTITIONS,
    mirrored::Mirrored,
    report::{Report, Table},
    samples::Samples,
    workload::{Workload, value_bytes},
};

const RECORDS: u64 = 1_000_000;
const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 256;
/// What a producer sends at once decides how large batches are for readers.
const COMMIT: usize = 1_000;
const TOPIC: &str = "bench";
const ANSWER_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let kafka = Kafka::start(&dir.path().join("kafka"), 1, false)?;
    let bootstrap = kafka.bootstrap();
    let partitions = PARTITIONS.to_string();
    let create = ["--create", "--topic", TOPIC, "--partitions", &partitions];
    kafka.tool("org.apache.kafka.tools.TopicCommand", &create)?;
    let value_bytes = fill(&bootstrap)?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rows = [
        Row::new("librdkafka, one message a call, counted"),
        Row::new("librdkafka, in batches, counted"),
        Row::new("the same, headers read too"),
        Row::new("tail of a mirror: records"),
        Row::new("mirror: begun, followed and stored"),
    ];
    let begun = Instant::now();
    for cycle in 0.. {
        rows[0].measure(cycle > 0, || polled(&bootstrap))?;
        rows[1].measure(cycle > 0, || batched(&bootstrap, false))?;
        rows[2].measure(cycle > 0, || batched(&bootstrap, true))?;
        rows[3].measure(cycle > 0, || runtime.block_on(runtime.spawn(followed(bootstrap.clone())))?)?;
        rows[4].measure(cycle > 0, || mirrored(dir.path(), &runtime, &bootstrap))?;
        if cycle > 0 && begun.elapsed() > settings.time_per_table {
            break;
        }
    }
    let bare = rows[1].passes.median_us();
    let table = Table {
        title: format!(
            "Catching up with {RECORDS} x {EVENT_BYTES} B over {PARTITIONS} partitions of one broker on the same machine, from connecting to the last record"
        ),
        header: vec![
            "reader",
            "records/s, median",
            "MB/s",
            "own CPU µs/record",
            "of batches, counted",
            "passes",
        ],
        rows: rows.iter().map(|row| row.cells(bare, value_bytes)).collect(),
    };
    Ok(Report(vec![table]))
}

/// Produces the events; bytes of their values.
fn fill(bootstrap: &str) -> Result<u64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "20");
    let producer: BaseProducer = config.create()?;
    let topic = [TopicName::new(TOPIC)?];
    let mut workload = Workload::new(SOURCES, EVENT_BYTES);
    let mut bytes = 0;
    for _ in 0..RECORDS / COMMIT as u64 {
        for part in workload.commit(&topic, COMMIT)?.parts {
            for record in &part.records {
                bytes += value_bytes(record) as u64;
                let headers = record.headers.iter().try_fold(OwnedHeaders::new(), |headers, header| {
                    let key = std::str::from_utf8(&header.name)?;
                    anyhow::Ok(headers.insert(Header { key, value: header.value.as_deref() }))
                })?;
                let mut message = BaseRecord::<[u8], [u8]>::to(TOPIC).headers(headers);
                message.partition = Some(i32::try_from(part.partition)?);
                (message.key, message.payload) = (record.key.as_deref(), record.value.as_deref());
                while let Err((error, again)) = producer.send(message) {
                    ensure!(error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "{error}");
                    producer.poll(Duration::from_millis(10));
                    message = again;
                }
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(ANSWER_MAX)?;
    Ok(bytes)
}

/// A consumer at the beginning of all partitions, with librdkafka's own settings.
fn assigned(bootstrap: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "bench").set("enable.auto.commit", "false");
    config.set("fetch.queue.backoff.ms", "5").set("check.crcs", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut places = TopicPartitionList::new();
    for partition in 0..i32::try_from(PARTITIONS)? {
        places.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&places)?;
    Ok(consumer)
}

fn polled(bootstrap: &str) -> Result<u64> {
    let consumer = assigned(bootstrap)?;
    let (mut records, mut bytes) = (0, 0);
    while records < RECORDS {
        let message = consumer.poll(ANSWER_MAX).context("nothing comes")??;
        bytes += message.payload().map_or(0, <[u8]>::len);
        records += 1;
    }
    ensure!(bytes > 0);
    Ok(records)
}

fn batched(bootstrap: &str, with_headers: bool) -> Result<u64> {
    let consumer = assigned(bootstrap)?;
    let (mut records, mut bytes) = (0, 0);
    while records < RECORDS {
        for (wait, count_max) in [(ANSWER_MAX, 1), (Duration::ZERO, COMMIT)] {
            let batch = consume::<DefaultConsumerContext>(&consumer, wait, count_max)?;
            for message in batch.iter().filter(|message| message.error().is_none()) {
                bytes += message.value().map_or(0, <[u8]>::len);
                if with_headers {
                    bytes += message.headers().map(|(name, _)| name.len()).sum::<usize>();
                }
                records += 1;
            }
        }
    }
    ensure!(bytes > 0);
    Ok(records)
}

async fn followed(bootstrap: String) -> Result<u64> {
    let upstream = KafkaUpstream::new(KafkaSettings::new(&bootstrap, BTreeMap::new())?)?;
    let mut tail = upstream.tail()?;
    let topic = TopicName::new(TOPIC)?;
    let place = |partition| Place { topic: topic.clone(), partition, from: 0 };
    tail.assign((0..PARTITIONS).map(place).collect()).await?;
    let mut records = 0;
    while records < RECORDS {
        records += tail.next().await?.iter().map(|run| run.records.len() as u64).sum::<u64>();
    }
    Ok(records)
}

/// A mirror that is begun at the beginning of the topic, until it is level.
fn mirrored(dir: &Path, runtime: &Runtime, bootstrap: &str) -> Result<u64> {
    let dir = tempfile::tempdir_in(dir)?;
    let topic = TopicName::new(TOPIC)?;
    let settings = mirror::Settings { backfill_records: u64::MAX, ..mirror::Settings::default() };
    let mirrored = Mirrored::open(dir.path(), runtime, bootstrap, &topic, settings)?;
    runtime.block_on(mirrored.log.held(&topic))?;
    let begun = Instant::now();
    let records = &mirrored.log.counters().records;
    while records.load(Relaxed) < RECORDS {
        ensure!(begun.elapsed() < ANSWER_MAX, "the mirror does not come to the end");
        thread::sleep(POLL);
    }
    Ok(records.load(Relaxed))
}

struct Row {
    name: &'static str,
    passes: Samples,
    cpu: Duration,
}

impl Row {
    fn new(name: &'static str) -> Self {
        Row { name, passes: Samples::default(), cpu: Duration::ZERO }
    }

    fn measure(&mut self, counts: bool, pass: impl FnOnce() -> Result<u64>) -> Result<()> {
        let (cpu, start) = (cpu_time(), Instant::now());
        let read = pass()?;
        ensure!(read == RECORDS, "{} gave {read} of {RECORDS} records", self.name);
        if counts {
            self.passes.push(start.elapsed());
            self.cpu += cpu_time() - cpu;
        }
        Ok(())
    }

    fn cells(&self, bare_us: f64, value_bytes: u64) -> Vec<String> {
        let median = self.passes.median_us();
        let cpu = self.cpu.as_secs_f64() * 1e6 / self.passes.len() as f64 / RECORDS as f64;
        vec![
            self.name.into(),
            format!("{:.0}", RECORDS as f64 * 1e6 / median),
            format!("{:.0}", value_bytes as f64 / median),
            format!("{cpu:.3}"),
            format!("{:.2}", bare_us / median),
            self.passes.len().to_string(),
        ]
    }
}
