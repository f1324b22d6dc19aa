//! How fast do records go to Kafka through the producer of dualstream, against librdkafka alone with the same settings?

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dualstream_backends::kafka::{KafkaUpstream, Settings as KafkaSettings};
use dualstream_core::{
    event::Event,
    log::{Appended, Part},
    memory::bus::MemoryBus,
    mirror::{self, Upstream},
    namespace::Namespaces,
    publisher::{self, DualPublisher},
    topic::TopicName,
};
use dualstream_services::Kafka;
use rdkafka::{
    ClientConfig,
    client::ClientContext,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use tokio::runtime;

use crate::{
    Settings,
    cpu_time::cpu_time,
    embedded::{PARTITIONS, SplitMix, SystemClock},
    mirrored::Mirrored,
    report::{Report, Table},
    samples::Samples,
    workload::Workload,
};

const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 256;
/// Of the namespace `events`.
const TOPIC: &str = "events";
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Calls made beforehand, and made again and again.
const CALLS: usize = 2_000;
const BATCH: usize = 100;
const BATCH_CALLERS: usize = 64;
const SINGLE_CALLERS: usize = 2_000;
const PASS: Duration = Duration::from_millis(2_000);

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let kafka = Kafka::start(&dir.path().join("kafka"), 1, false)?;
    let partitions = PARTITIONS.to_string();
    // Small segments, few of them: what matters is the way into the log.
    let create =
        ["--create", "--topic", TOPIC, "--partitions", &partitions, "--config", "retention.bytes=67108864"];
    kafka.tool("org.apache.kafka.tools.TopicCommand", &create)?;
    let bootstrap = kafka.bootstrap();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (batches, singles) = (calls(BATCH)?, calls(1)?);
    let bare = Bare::start(&bootstrap)?;
    let upstream = |linger: Option<&str>| {
        let own = linger.map(|linger| ("linger.ms".to_owned(), linger.to_owned()));
        anyhow::Ok(Arc::new(KafkaUpstream::new(KafkaSettings::new(&bootstrap, own.into_iter().collect())?)?))
    };
    let (own, hasty, patient) = (upstream(None)?, upstream(Some("0"))?, upstream(Some("5"))?);
    let topic = TopicName::new(TOPIC)?;
    let mirrored = Mirrored::open(
        &dir.path().join("mirror"),
        &runtime,
        &bootstrap,
        &topic,
        mirror::Settings::default(),
    )?;
    let library = DualPublisher::new(
        publisher::Settings::default(),
        Arc::new(mirrored.log.clone()),
        Arc::new(MemoryBus::default()),
        Namespaces::new(Vec::new(), None),
        Arc::new(SystemClock),
        Arc::new(SplitMix::default()),
    );
    let (event_batches, single_events) = (events(BATCH), events(1));
    let mut rows = [
        Row::new("librdkafka alone", BATCH, BATCH_CALLERS),
        Row::new("`append`", BATCH, BATCH_CALLERS),
        Row::new("`append`, `linger.ms` = 5", BATCH, BATCH_CALLERS),
        Row::new("`DualPublisher`, events", BATCH, BATCH_CALLERS),
        Row::new("librdkafka alone", 1, SINGLE_CALLERS),
        Row::new("`append`", 1, SINGLE_CALLERS),
        Row::new("`append`, `linger.ms` = 0", 1, SINGLE_CALLERS),
        Row::new("`append`, `linger.ms` = 5", 1, SINGLE_CALLERS),
        Row::new("`DualPublisher`, events", 1, SINGLE_CALLERS),
    ];
    let begun = Instant::now();
    for cycle in 0.. {
        let many = |upstream| runtime.block_on(append(upstream, &batches, BATCH_CALLERS));
        let single = |upstream| runtime.block_on(append(upstream, &singles, SINGLE_CALLERS));
        rows[0].measure(cycle > 0, || bare.publish(&batches, BATCH * BATCH_CALLERS))?;
        rows[1].measure(cycle > 0, || many(&own))?;
        rows[2].measure(cycle > 0, || many(&patient))?;
        rows[3].measure(cycle > 0, || runtime.block_on(publish(&library, &event_batches, BATCH_CALLERS)))?;
        rows[4].measure(cycle > 0, || bare.publish(&singles, SINGLE_CALLERS))?;
        rows[5].measure(cycle > 0, || single(&own))?;
        rows[6].measure(cycle > 0, || single(&hasty))?;
        rows[7].measure(cycle > 0, || single(&patient))?;
        rows[8].measure(cycle > 0, || runtime.block_on(publish(&library, &single_events, SINGLE_CALLERS)))?;
        if cycle > 0 && begun.elapsed() > settings.time_per_table {
            break;
        }
    }
    let alone = [0, 0, 0, 0, 4, 4, 4, 4, 4].map(|row: usize| rows[row].per_second());
    let table = Table {
        title: format!(
            "Records of {EVENT_BYTES} B to {PARTITIONS} partitions of one broker on the same machine, acknowledged; librdkafka alone: the same settings, bytes and records under way, deliveries only counted"
        ),
        header: vec![
            "producer",
            "records a call",
            "calls under way",
            "records/s, median",
            "of alone",
            "records/own CPU second",
            "passes",
        ],
        rows: rows.iter().zip(alone).map(|(row, alone)| row.cells(alone)).collect(),
    };
    Ok(Report(vec![table]))
}

/// What is sent: calls of so many records.
fn calls(records: usize) -> Result<Arc<Vec<Vec<Part>>>> {
    let topic = [TopicName::new(TOPIC)?];
    let mut workload = Workload::new(SOURCES, EVENT_BYTES);
    Ok(Arc::new((0..CALLS).map(|_| Ok(workload.commit(&topic, records)?.parts)).collect::<Result<_>>()?))
}

/// The same events, not encoded yet.
fn events(count: usize) -> Arc<Vec<Vec<Event>>> {
    let mut workload = Workload::new(SOURCES, EVENT_BYTES);
    Arc::new((0..CALLS).map(|_| (0..count).map(|_| workload.event()).collect()).collect())
}

async fn append(upstream: &Arc<KafkaUpstream>, calls: &Arc<Vec<Vec<Part>>>, callers: usize) -> Result<u64> {
    let upstream = upstream.clone();
    called(calls, callers, move |call| {
        let upstream = upstream.clone();
        async move {
            let outcomes = upstream.append(call).await?;
            let is_stored = |outcome: &&Appended| matches!(outcome, Appended::Stored(_));
            let refused = outcomes.iter().flatten().find(|outcome| !is_stored(outcome));
            ensure!(refused.is_none(), "{refused:?}");
            Ok(outcomes.iter().map(Vec::len).sum::<usize>() as u64)
        }
    })
    .await
}

/// Encoded with ids of their own, stored and announced.
async fn publish(library: &DualPublisher, calls: &Arc<Vec<Vec<Event>>>, callers: usize) -> Result<u64> {
    let library = library.clone();
    called(calls, callers, move |call| {
        let library = library.clone();
        async move {
            let receipts = library.publish(call).await;
            let refused = receipts.iter().find_map(|receipt| receipt.as_ref().err());
            ensure!(refused.is_none(), "{refused:?}");
            Ok(receipts.len() as u64)
        }
    })
    .await
}

/// Callers that each wait for their answers; how many records were stored.
async fn called<T, F>(
    calls: &Arc<Vec<Vec<T>>>,
    callers: usize,
    call: impl Fn(Vec<T>) -> F + Clone + Send + 'static,
) -> Result<u64>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<u64>> + Send,
{
    let until = Instant::now() + PASS;
    let caller = |number: usize| {
        let (call, calls) = (call.clone(), calls.clone());
        tokio::spawn(async move {
            let mut stored = 0;
            for at in number.. {
                if Instant::now() >= until {
                    break;
                }
                stored += call(calls[at % CALLS].clone()).await?;
            }
            anyhow::Ok(stored)
        })
    };
    let callers: Vec<_> = (0..callers).map(caller).collect();
    let mut stored = 0;
    for caller in callers {
        stored += caller.await??;
    }
    Ok(stored)
}

/// librdkafka with a thread that counts what was delivered.
struct Bare {
    producer: Arc<BaseProducer<Count>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Count {
    delivered: AtomicU64,
    failed: AtomicU64,
    /// Who sends, and waits while too many are under way.
    sender: Thread,
}

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, _: usize) {
        let count = if result.is_ok() { &self.delivered } else { &self.failed };
        if count.fetch_add(1, Ordering::Relaxed) % BATCH as u64 == 0 {
            self.sender.unpark();
        }
    }
}

impl Bare {
    fn start(bootstrap: &str) -> Result<Bare> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("acks", "all");
        config.set("max.in.flight", "5").set("linger.ms", "1").set("batch.size", "1000000");
        config.set("queue.buffering.max.messages", "0");
        let (delivered, failed) = Default::default();
        let count = Count { delivered, failed, sender: thread::current() };
        let producer: Arc<BaseProducer<Count>> = Arc::new(config.create_with_context(count)?);
        let is_over = Arc::new(AtomicBool::new(false));
        let (polled, over) = (producer.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                polled.poll(Duration::from_millis(100));
            }
        });
        Ok(Bare { producer, is_over, thread: Some(thread) })
    }

    fn publish(&self, calls: &[Vec<Part>], under_way_max: usize) -> Result<u64> {
        let count = self.producer.context();
        let before = count.delivered.load(Ordering::Relaxed);
        let until = Instant::now() + PASS;
        let mut sent = 0;
        for call in calls.iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            for part in call {
                for record in &part.records {
                    let headers = OwnedHeaders::new_with_capacity(record.headers.as_slice().len());
                    let headers = record.headers.iter().try_fold(headers, |headers, header| {
                        let key = std::str::from_utf8(&header.name)?;
                        anyhow::Ok(headers.insert(Header { key, value: header.value.as_deref() }))
                    })?;
                    let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(TOPIC, sent as usize)
                        .headers(headers);
                    message.partition = Some(i32::try_from(part.partition)?);
                    (message.key, message.payload) = (record.key.as_deref(), record.value.as_deref());
                    self.producer.send(message).map_err(|(error, _)| error)?;
                    sent += 1;
                }
            }
            while sent - (count.delivered.load(Ordering::Relaxed) - before) >= under_way_max as u64 {
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        self.producer.flush(ANSWER_MAX)?;
        while count.delivered.load(Ordering::Relaxed) - before < sent {
            thread::park_timeout(Duration::from_millis(1));
        }
        ensure!(count.failed.load(Ordering::Relaxed) == 0, "some were not delivered");
        Ok(sent)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it was told already.
            let _ = thread.join();
        }
    }
}

struct Row {
    name: &'static str,
    batch: usize,
    callers: usize,
    /// Time per million records.
    passes: Samples,
    records: u64,
    cpu: Duration,
}

impl Row {
    fn new(name: &'static str, batch: usize, callers: usize) -> Row {
        Row { name, batch, callers, passes: Samples::default(), records: 0, cpu: Duration::ZERO }
    }

    fn measure(&mut self, counts: bool, pass: impl FnOnce() -> Result<u64>) -> Result<()> {
        let (cpu, start) = (cpu_time(), Instant::now());
        let records = pass().context(self.name)?;
        if counts {
            self.passes.push(start.elapsed().mul_f64(1e6 / records as f64));
            self.cpu += cpu_time() - cpu;
            self.records += records;
        }
        Ok(())
    }

    fn per_second(&self) -> f64 {
        1e12 / self.passes.median_us()
    }

    fn cells(&self, alone: f64) -> Vec<String> {
        vec![
            self.name.into(),
            self.batch.to_string(),
            self.callers.to_string(),
            format!("{:.0}", self.per_second()),
            format!("{:.2}", self.per_second() / alone),
            format!("{:.0}", self.records as f64 / self.cpu.as_secs_f64()),
            self.passes.len().to_string(),
        ]
    }
}
