//! How fast does the bus over Redis publish, deliver and subscribe again, against Redis' own measure, a bare socket and
//! the clock?

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use dualstream_backends::redis::{Address, RedisBus, Settings as BusSettings};
use dualstream_core::{
    bus::{Bus, Delivery, Health, Message},
    channel::{Channel, Target},
};
use dualstream_services::Redis;
use futures::{StreamExt, stream::BoxStream};
use tokio::{runtime, sync::oneshot, task::JoinHandle};

use crate::{
    Settings,
    embedded::{SplitMix, SystemClock},
    report::{Report, Table},
    samples::Samples,
};

const CHANNEL: &str = "events:repo:owner/name";
/// What an announcement weighs.
const ANNOUNCEMENT: &str = r#"{"id":"0198c2f5-8a6e-7c4e-9b1a-2f3d4c5b6a79","type":"push","source_id":"owner/name","position":"AZjC9YpufE6bGi89TFtqeQAAAAMAAAAAAAAwOQ"}"#;
const MESSAGES: usize = 200_000;
const BATCH: usize = 100;
/// Of the queue before Redis, so that nothing is dropped while it is measured.
const QUEUED_MAX: usize = 4 << 20;
const DELIVERED: usize = 100_000;
const DELIVERED_BYTES: usize = 256;
const CHANNELS: usize = 10_000;

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let redis = Redis::start(dir.path(), false)?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _in_runtime = runtime.enter();
    let tables = vec![
        publish(settings, &runtime, &redis)?,
        deliver(settings, &runtime, &redis)?,
        subscribe(settings, &runtime, &redis)?,
    ];
    Ok(Report(tables))
}

/// A bus with its runner.
pub(crate) struct Running {
    pub bus: RedisBus,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<()>,
}

impl Running {
    pub async fn start(redis: &Redis) -> Result<Running> {
        let address = Address::parse(&format!("redis://{}", redis.address))?;
        let settings = BusSettings {
            deadline: Duration::from_secs(5),
            queue_bytes_max: 64 << 20,
            subscriber_bytes_max: 256 << 20,
            ..BusSettings::new(address)
        };
        let (bus, runner) = RedisBus::new(settings, Arc::new(SystemClock), Arc::new(SplitMix::default()))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(runner.run(async {
            let _ = stopped.await;
        }));
        bus.watch().wait_for(|health| *health == Health::Up).await?;
        Ok(Running { bus, _stop: stop, _task: task })
    }

    /// Publishes so many, and waits until Redis took all.
    async fn publish(&self, count: usize) -> Result<Duration> {
        let counters = self.bus.counters();
        let batch = vec![message(CHANNEL, ANNOUNCEMENT.into())?; BATCH];
        let until = counters.published.load(Ordering::Relaxed) + count as u64;
        let begun = Instant::now();
        for _ in 0..count / BATCH {
            while counters.waiting_bytes.load(Ordering::Relaxed) > QUEUED_MAX {
                tokio::task::yield_now().await;
            }
            self.bus.publish(batch.clone());
        }
        while counters.published.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
        let (dropped, failed) =
            (counters.dropped.load(Ordering::Relaxed), counters.failed.load(Ordering::Relaxed));
        ensure!((dropped, failed) == (0, 0), "{dropped} dropped, {failed} failed");
        Ok(begun.elapsed())
    }

    async fn subscribe(&self, target: &str) -> Result<BoxStream<'static, Delivery>> {
        Ok(self.bus.subscribe(Target::parse(target)?).await?)
    }
}

fn message(channel: &str, payload: Bytes) -> Result<Message> {
    Ok(Message { channel: Channel::new(channel)?, payload })
}

/// A variant, and how fast it was.
struct Row {
    name: &'static str,
    times: Samples,
    count: usize,
}

impl Row {
    fn new(name: &'static str, count: usize) -> Row {
        Row { name, times: Samples::default(), count }
    }

    fn per_second(&self) -> f64 {
        self.count as f64 / self.times.median_us() * 1e6
    }

    fn cells(&self, alone: f64) -> Vec<String> {
        let rate = self.per_second();
        let cells = [format!("{rate:.0}"), format!("{:.2}", rate / alone), self.times.len().to_string()];
        [self.name.to_owned()].into_iter().chain(cells).collect()
    }
}

fn publish(settings: &Settings, runtime: &runtime::Runtime, redis: &Redis) -> Result<Table> {
    // In both, one connection that is sent everything and counts it.
    let reader = Bare::subscribe(redis.address, CHANNEL)?;
    let counting = reader.drain()?;
    let running = runtime.block_on(Running::start(redis))?;
    let mut rows = [
        Row::new("`redis-benchmark -P 64`", MESSAGES),
        Row::new("`RedisBus::publish`, batches of 100", MESSAGES),
    ];
    let begun = Instant::now();
    for cycle in 0.. {
        let times = [benchmark(redis)?, runtime.block_on(running.publish(MESSAGES))?];
        for (row, time) in rows.iter_mut().zip(times).filter(|_| cycle > 0) {
            row.times.push(time);
        }
        if cycle > 0 && begun.elapsed() > settings.time_per_table {
            break;
        }
    }
    drop(counting);
    let alone = rows[0].per_second();
    Ok(Table {
        title: format!(
            "Announcements of {} B into one Redis with one subscriber, over one connection",
            ANNOUNCEMENT.len()
        ),
        header: vec!["publisher", "messages/s, median", "of redis-benchmark", "passes"],
        rows: rows.iter().map(|row| row.cells(alone)).collect(),
    })
}

/// What Redis' own program needs for as many of the same.
fn benchmark(redis: &Redis) -> Result<Duration> {
    let port = redis.address.port().to_string();
    let count = MESSAGES.to_string();
    let args = ["-p", &port, "-c", "1", "-P", "64", "-n", &count, "--csv", "PUBLISH", CHANNEL, ANNOUNCEMENT];
    let output =
        Command::new("redis-benchmark").args(args).output().context("redis-benchmark is in redis-tools")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().context("redis-benchmark said nothing")?;
    // The payload has commas and quotes of its own: the numbers are the last seven columns.
    let columns: Vec<&str> = last.rsplitn(8, ',').collect();
    let rate: f64 =
        columns.get(6).context("a rate")?.trim_matches('"').parse().with_context(|| last.to_owned())?;
    Ok(Duration::from_secs_f64(MESSAGES as f64 / rate))
}

fn deliver(settings: &Settings, runtime: &runtime::Runtime, redis: &Redis) -> Result<Table> {
    let mut bare = Bare::subscribe(redis.address, "chat:bare")?;
    let running = runtime.block_on(Running::start(redis))?;
    let mut stream = Some(runtime.block_on(running.subscribe("chat:node"))?);
    let mut rows = [
        Row::new("bare socket, bytes counted", DELIVERED),
        Row::new("`RedisBus`, one subscriber", DELIVERED),
    ];
    let (to_bare, to_node) = (commands("chat:bare"), commands("chat:node"));
    let begun = Instant::now();
    for cycle in 0.. {
        let times = [
            pushed(redis.address, &to_bare, || bare.count(DELIVERED))?,
            pushed(redis.address, &to_node, || {
                // A task of the runtime, as every subscriber of a node is.
                let read = stream.take().context("it was given back")?;
                stream = Some(runtime.block_on(runtime.spawn(received(read)))??);
                Ok(())
            })?,
        ];
        for (row, time) in rows.iter_mut().zip(times).filter(|_| cycle > 0) {
            row.times.push(time);
        }
        if cycle > 0 && begun.elapsed() > settings.time_per_table {
            break;
        }
    }
    let alone = rows[0].per_second();
    Ok(Table {
        title: format!(
            "Messages of {DELIVERED_BYTES} B from Redis to one subscriber, published over one pipelined connection"
        ),
        header: vec!["subscriber", "messages/s, median", "of bare", "passes"],
        rows: rows.iter().map(|row| row.cells(alone)).collect(),
    })
}

/// Takes all messages, and gives the stream back.
async fn received(mut stream: BoxStream<'static, Delivery>) -> Result<BoxStream<'static, Delivery>> {
    for _ in 0..DELIVERED {
        let delivery = stream.next().await.context("the bus is open")?;
        ensure!(matches!(delivery, Delivery::Message(_)), "{delivery:?}");
    }
    Ok(stream)
}

fn subscribe(settings: &Settings, runtime: &runtime::Runtime, redis: &Redis) -> Result<Table> {
    let running = runtime.block_on(Running::start(redis))?;
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("events:repo:owner/name-{n}")).collect();
    let streams = futures::future::join_all(names.iter().map(|name| running.subscribe(name)));
    let streams = runtime.block_on(streams).into_iter().collect::<Result<Vec<_>>>()?;
    let mut again = Samples::default();
    let begun = Instant::now();
    while begun.elapsed() < settings.time_per_table || again.len() < 5 {
        // A connection that lasted no time would be made again after a pause.
        thread::sleep(Duration::from_millis(1_100));
        let before = running.bus.counters().interrupted.load(Ordering::Relaxed);
        let killed = Instant::now();
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        let is_back = || {
            let interrupted = running.bus.counters().interrupted.load(Ordering::Relaxed) - before;
            interrupted == CHANNELS as u64 && running.bus.confirmed() == CHANNELS
        };
        while !is_back() {
            thread::yield_now();
        }
        again.push(killed.elapsed());
    }
    drop(streams);
    Ok(Table {
        title: format!(
            "{CHANNELS} channels on two connections, both killed: until Redis confirmed all again"
        ),
        header: vec!["", "ms, median", "ms, worst", "passes"],
        rows: vec![vec![
            "`RedisBus`".to_owned(),
            format!("{:.0}", again.median_us() / 1e3),
            format!("{:.0}", again.max_us() / 1e3),
            again.len().to_string(),
        ]],
    })
}

/// A connection that subscribes and looks at nothing.
struct Bare(TcpStream, usize);

impl Bare {
    fn subscribe(address: SocketAddr, channel: &str) -> Result<Bare> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&command(&["SUBSCRIBE", channel]))?;
        let mut confirmation =
            vec![0; format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len()).len()];
        stream.read_exact(&mut confirmation)?;
        let pushed =
            format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${DELIVERED_BYTES}\r\n\r\n", channel.len());
        Ok(Bare(stream, pushed.len() + DELIVERED_BYTES))
    }

    /// Reads so many messages.
    fn count(&mut self, messages: usize) -> Result<()> {
        let (mut left, mut buffer) = (messages * self.1, vec![0; 64 << 10]);
        while left > 0 {
            let read = self.0.read(&mut buffer)?;
            ensure!(read > 0, "Redis hung up");
            left -= read;
        }
        Ok(())
    }

    /// Reads whatever comes until the value is dropped.
    fn drain(mut self) -> Result<Hangup> {
        let hangup = Hangup::of(&self.0)?;
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while self.0.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        Ok(hangup)
    }
}

/// Ends a connection that another thread reads.
pub(crate) struct Hangup(TcpStream);

impl Hangup {
    pub fn of(stream: &TcpStream) -> Result<Hangup> {
        Ok(Hangup(stream.try_clone()?))
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{words}", words.matches("\r\n").count() / 2).into_bytes()
}

/// All messages for a channel, as they go over the wire.
fn commands(channel: &str) -> Bytes {
    command(&["PUBLISH", channel, &"x".repeat(DELIVERED_BYTES)]).repeat(DELIVERED).into()
}

/// Publishes while `receive` waits for all of it.
fn pushed(address: SocketAddr, commands: &Bytes, receive: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let mut stream = TcpStream::connect(address)?;
    let mut answers = stream.try_clone()?;
    let commands = commands.clone();
    let begun = Instant::now();
    let writer = thread::spawn(move || stream.write_all(&commands));
    // `:1`, each time.
    let reader = thread::spawn(move || answers.read_exact(&mut vec![0; DELIVERED * 4]));
    receive()?;
    let time = begun.elapsed();
    let threads = [writer.join(), reader.join()];
    for thread in threads {
        thread.ok().context("a thread panicked")??;
    }
    Ok(time)
}
