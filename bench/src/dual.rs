//! How fast does the publisher write to Kafka and announce over Redis, against librdkafka and a pipelined `PUBLISH` of the
//! same bytes side by side?

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dualstream_core::{
    announcement::Unplaced, event::codec, log::Part, position::Position, publisher::DualPublisher,
    record::NewRecord, topic::Epoch,
};
use dualstream_services::Redis;
use tokio::runtime::{self, Runtime};

use crate::{
    Settings,
    bus::{Hangup, Running, command},
    produce::{BATCH, BATCH_CALLERS, Bare, Row, broker, calls, events, library, mirrored, publish, table},
    report::Report,
};

const ANSWER_MAX: Duration = Duration::from_secs(60);

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let kafka = broker(dir.path())?;
    let redis = Redis::start(dir.path(), false)?;
    let bootstrap = kafka.bootstrap();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (batches, event_batches) = (calls(BATCH)?, events(BATCH));
    let (bare, pipeline) = (Bare::start(&bootstrap)?, Pipeline::start(redis.address, &batches)?);
    let mirrored = mirrored(dir.path(), &runtime, &bootstrap)?;
    let running = {
        let _in_runtime = runtime.enter();
        runtime.block_on(Running::start(&redis))?
    };
    let library = library(&mirrored, Arc::new(running.bus.clone()));
    let rows = vec![
        Row::new("librdkafka and a pipelined `PUBLISH`", BATCH, BATCH_CALLERS, || {
            let sent = bare.publish(&batches, BATCH * BATCH_CALLERS, |number| pipeline.send(number))?;
            pipeline.until_answered()?;
            Ok(sent)
        }),
        Row::new("`DualPublisher`", BATCH, BATCH_CALLERS, || {
            let stored = runtime.block_on(publish(&library, &event_batches, BATCH_CALLERS))?;
            until_published(&runtime, &running, &library)?;
            Ok(stored)
        }),
    ];
    let title = "Events of 256 B to 12 partitions of one broker, acknowledged, and announced over one Redis, answered, all on the same machine; beside librdkafka and one connection that sends the same bytes";
    Ok(Report(vec![table(title.into(), rows, settings.time_per_table)?]))
}

/// Waits until Redis took all announcements.
fn until_published(runtime: &Runtime, running: &Running, library: &DualPublisher) -> Result<()> {
    let counters = running.bus.counters();
    let announced = library.counters().announced.load(Ordering::Relaxed);
    let begun = Instant::now();
    runtime.block_on(async {
        while counters.published.load(Ordering::Relaxed) < announced {
            ensure!(begun.elapsed() < ANSWER_MAX, "Redis does not answer");
            tokio::task::yield_now().await;
        }
        Ok(())
    })?;
    let lost = library.counters().announcements_lost.load(Ordering::Relaxed);
    let (dropped, failed) =
        (counters.dropped.load(Ordering::Relaxed), counters.failed.load(Ordering::Relaxed));
    ensure!((lost, dropped, failed) == (0, 0, 0), "{lost} not taken, {dropped} dropped, {failed} failed");
    Ok(())
}

/// A connection that is sent commands, and a thread that counts the answers.
struct Pipeline {
    commands: Vec<Vec<u8>>,
    stream: TcpStream,
    asked: AtomicU64,
    answered: Arc<AtomicU64>,
    _hangup: Hangup,
}

impl Pipeline {
    /// For the announcements of each call.
    fn start(address: SocketAddr, calls: &[Vec<Part>]) -> Result<Pipeline> {
        let commands = calls.iter().map(|parts| {
            let records = parts.iter().flat_map(|part| &part.records);
            records.map(announcement).collect::<Result<Vec<_>>>().map(|commands| commands.concat())
        });
        let commands = commands.collect::<Result<_>>()?;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (mut answers, answered) = (stream.try_clone()?, Arc::new(AtomicU64::new(0)));
        let (hangup, counted) = (Hangup::of(&stream)?, answered.clone());
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = answers.read(&mut buffer) {
                // One `\n` ends each.
                let lines = memchr::memchr_iter(b'\n', &buffer[..read]).count();
                counted.fetch_add(lines as u64, Ordering::Relaxed);
            }
        });
        Ok(Pipeline { commands, stream, asked: AtomicU64::new(0), answered, _hangup: hangup })
    }

    /// Sends the announcements of the call of that number.
    fn send(&self, number: usize) -> Result<()> {
        (&self.stream).write_all(&self.commands[number])?;
        self.asked.fetch_add(BATCH as u64, Ordering::Relaxed);
        Ok(())
    }

    fn until_answered(&self) -> Result<()> {
        let begun = Instant::now();
        while self.answered.load(Ordering::Relaxed) < self.asked.load(Ordering::Relaxed) {
            ensure!(begun.elapsed() < ANSWER_MAX, "Redis does not answer");
            thread::yield_now();
        }
        Ok(())
    }
}

/// What announces a record, as it goes over the wire.
fn announcement(record: &NewRecord) -> Result<Vec<u8>> {
    let event = record.value.as_deref().and_then(codec::parse).context("an event")?;
    let source_id = std::str::from_utf8(record.key.as_deref().unwrap_or_default())?;
    let source_type = record.headers.get("source_type").context("the type of its source")?;
    let position = Position { epoch: Epoch(1 << 60), partition: 3, offset: 1 << 20 };
    let payload = Unplaced::new(&event.id, &event.event_type, source_id).at(position);
    let channel = format!("events:{}:{source_id}", std::str::from_utf8(source_type)?);
    Ok(command(&["PUBLISH", &channel, std::str::from_utf8(&payload)?]))
}
