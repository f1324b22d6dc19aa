//! How fast do records go to Kafka through the producer of dualstream, against librdkafka alone with the same settings?

mod bare;
mod row;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dualstream_backends::kafka::{KafkaUpstream, Settings as KafkaSettings};
use dualstream_core::{
    bus::Bus,
    event::Event,
    log::{Appended, Part},
    memory::bus::MemoryBus,
    mirror::{self, Upstream},
    namespace::Namespaces,
    publisher::{self, DualPublisher},
    topic::TopicName,
};
use dualstream_services::Kafka;
use tokio::runtime::{self, Runtime};

pub(crate) use bare::Bare;
pub(crate) use row::{Row, table};

use crate::{
    Settings,
    embedded::{PARTITIONS, SplitMix, SystemClock},
    mirrored::Mirrored,
    report::Report,
    workload::Workload,
};

const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 256;
/// Of the namespace `events`.
pub(crate) const TOPIC: &str = "events";
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Calls made beforehand, and made again and again.
const CALLS: usize = 2_000;
pub(crate) const BATCH: usize = 100;
pub(crate) const BATCH_CALLERS: usize = 64;
const SINGLE_CALLERS: usize = 2_000;
const PASS: Duration = Duration::from_millis(2_000);

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let kafka = broker(dir.path())?;
    let bootstrap = kafka.bootstrap();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (batches, singles) = (calls(BATCH)?, calls(1)?);
    let bare = Bare::start(&bootstrap)?;
    let upstream = |linger: Option<&str>| {
        let own = linger.map(|linger| ("linger.ms".to_owned(), linger.to_owned()));
        anyhow::Ok(Arc::new(KafkaUpstream::new(KafkaSettings::new(&bootstrap, own.into_iter().collect())?)?))
    };
    let (own, hasty, patient) = (upstream(None)?, upstream(Some("0"))?, upstream(Some("5"))?);
    let mirrored = mirrored(dir.path(), &runtime, &bootstrap)?;
    let library = library(&mirrored, Arc::new(MemoryBus::default()));
    let (event_batches, single_events) = (events(BATCH), events(1));
    let many = |upstream: &Arc<KafkaUpstream>| runtime.block_on(append(upstream, &batches, BATCH_CALLERS));
    let single = |upstream: &Arc<KafkaUpstream>| runtime.block_on(append(upstream, &singles, SINGLE_CALLERS));
    let publish = |calls, callers| runtime.block_on(publish(&library, calls, callers));
    let alone = |calls, under_way| bare.publish(calls, under_way, |_| Ok(()));
    let rows = vec![
        Row::new("librdkafka alone", BATCH, BATCH_CALLERS, || alone(&batches, BATCH * BATCH_CALLERS)),
        Row::new("`append`", BATCH, BATCH_CALLERS, || many(&own)),
        Row::new("`append`, `linger.ms` = 5", BATCH, BATCH_CALLERS, || many(&patient)),
        Row::new("`DualPublisher`, events", BATCH, BATCH_CALLERS, || publish(&event_batches, BATCH_CALLERS)),
        Row::new("librdkafka alone", 1, SINGLE_CALLERS, || alone(&singles, SINGLE_CALLERS)),
        Row::new("`append`", 1, SINGLE_CALLERS, || single(&own)),
        Row::new("`append`, `linger.ms` = 0", 1, SINGLE_CALLERS, || single(&hasty)),
        Row::new("`append`, `linger.ms` = 5", 1, SINGLE_CALLERS, || single(&patient)),
        Row::new("`DualPublisher`, events", 1, SINGLE_CALLERS, || publish(&single_events, SINGLE_CALLERS)),
    ];
    let title = format!(
        "Records of {EVENT_BYTES} B to {PARTITIONS} partitions of one broker on the same machine, acknowledged; librdkafka alone: the same settings, bytes and records under way, deliveries only counted"
    );
    Ok(Report(vec![table(title, rows, settings.time_per_table)?]))
}

/// A broker with the topic that is written to.
pub(crate) fn broker(dir: &Path) -> Result<Kafka> {
    let kafka = Kafka::start(&dir.join("kafka"), 1, false)?;
    let partitions = PARTITIONS.to_string();
    // Small segments, few of them: what matters is the way into the log.
    let create =
        ["--create", "--topic", TOPIC, "--partitions", &partitions, "--config", "retention.bytes=67108864"];
    kafka.tool("org.apache.kafka.tools.TopicCommand", &create)?;
    Ok(kafka)
}

/// The log over the broker.
pub(crate) fn mirrored(dir: &Path, runtime: &Runtime, bootstrap: &str) -> Result<Mirrored> {
    let topic = TopicName::new(TOPIC)?;
    Mirrored::open(&dir.join("mirror"), runtime, bootstrap, &topic, mirror::Settings::default())
}

/// Publishes to the log and to a bus.
pub(crate) fn library(mirrored: &Mirrored, bus: Arc<dyn Bus>) -> DualPublisher {
    DualPublisher::new(
        publisher::Settings::default(),
        Arc::new(mirrored.log.clone()),
        bus,
        Namespaces::new(Vec::new(), None),
        Arc::new(SystemClock),
        Arc::new(SplitMix::default()),
    )
}

/// What is sent: calls of so many records.
pub(crate) fn calls(records: usize) -> Result<Arc<Vec<Vec<Part>>>> {
    let topic = [TopicName::new(TOPIC)?];
    let mut workload = Workload::new(SOURCES, EVENT_BYTES);
    Ok(Arc::new((0..CALLS).map(|_| Ok(workload.commit(&topic, records)?.parts)).collect::<Result<_>>()?))
}

/// The same events, not encoded yet.
pub(crate) fn events(count: usize) -> Arc<Vec<Vec<Event>>> {
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
pub(crate) async fn publish(
    library: &DualPublisher,
    calls: &Arc<Vec<Vec<Event>>>,
    callers: usize,
) -> Result<u64> {
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
