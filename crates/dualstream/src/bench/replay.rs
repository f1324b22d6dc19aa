//! `bench replay`: clients that come back and recover what they missed, from the log.
//!
//! What connecting itself costs is measured first, with clients that missed nothing, and told beside.

use super::fleet::Fleet;
use super::load::Load;
use super::measured::{Measured, Moment};
use super::publish::Publishers;
use super::publisher::{Channels, Stream};
use super::report::Report;
use super::schedule::Schedule;
use super::server_side::ServerSide;
use super::subscriber::{Place, Seen};
use super::tally::Tally;
use crate::client::events::query;
use crate::client::{Connection, Request};
use crate::progress::Progress;
use anyhow::ensure;
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;

/// How long an event is waited for while none comes.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// Events of a request that fills, and connections that do.
const BATCH: u64 = 500;
const FILLERS: u64 = 4;

/// Who comes back, and what each missed.
pub struct Replay {
    pub clients: u64,
    /// Events of each channel.
    pub events: u64,
    pub size: usize,
    /// Store the events and end.
    pub fill_only: bool,
}

/// Recovers.
///
/// # Errors
/// The server cannot be reached, or refuses a client.
pub async fn run(load: &Load, channels: Channels, asked: &Replay) -> anyhow::Result<Report> {
    let (total, run) = (asked.events * channels.count, channels.run.clone());
    let stored: Vec<Seen> =
        (0..channels.count).map(|channel| stored(&channels, channel, asked.events)).collect();
    let stream = Rc::new(Stream::new(channels, asked.size, BATCH.min(total), total));
    if !is_filled(load, &stream.channels).await? {
        fill(load, &stream, total).await?;
    }
    let wanted = if asked.fill_only { 0 } else { asked.events * asked.clients };
    let tally = Rc::new(Tally::new(1));
    let (mut connects, mut all) = (Measured::default(), Measured::default());
    let (mut missing, mut wrong) = (0, 0);
    if wanted > 0 {
        let mut server = ServerSide::new(&load.server);
        let from = Moment::now(&tally, &mut server).await;
        let (nothing, none) = (Rc::new(Tally::new(0)), u64::MAX);
        let idle = Fleet::open(&load.server, &stream.channels, asked.clients, Place::Latest, &nothing, none);
        let idle = load.unless_stopped(idle).await?;
        connects = from.until(&Moment::now(&tally, &mut server).await);
        drop(idle);
        tally.measure();
        let from = Moment::now(&tally, &mut server).await;
        let fleet =
            Fleet::open(&load.server, &stream.channels, asked.clients, Place::Earliest, &tally, asked.events);
        let mut fleet = load.unless_stopped(fleet).await?;
        tokio::select! {
            () = fleet.done() => {}
            () = load.settle(&tally, SETTLE_MAX, || false) => {}
            () = load.stop.told() => {}
        }
        all = from.until(&Moment::now(&tally, &mut server).await);
        (missing, wrong) = fleet.compare(&stored);
    }
    let rows = vec![
        ("clients", json!(asked.clients)),
        ("channels", json!(stream.channels.count)),
        ("events_each", json!(asked.events)),
        ("size", json!(asked.size)),
        ("id", json!(run)),
    ];
    let beside = all.server_cpu.zip(connects.server_cpu).map(|(all, connects)| all - connects);
    let measured = Measured { server_cpu: beside, ..all.clone() };
    let mut report = Report::new("replay", rows, measured, &tally);
    // When it was stored is long ago: there is no latency.
    report.latencies = Default::default();
    (report.missing, report.wrong) = (missing, wrong);
    report.more = vec![
        ("connect_seconds", json!(connects.time.as_secs_f64())),
        ("connect_cpu_seconds", json!(connects.server_cpu)),
        ("whole_cpu_seconds", json!(all.server_cpu)),
    ];
    Ok(report)
}

/// What a channel holds when it is filled.
fn stored(channels: &Channels, channel: u64, events: u64) -> Seen {
    let mut seen = Seen::default();
    (0..events).for_each(|round| seen.add(round * channels.count + channel));
    seen
}

/// Whether a run of this id stored its events before.
async fn is_filled(load: &Load, channels: &Channels) -> anyhow::Result<bool> {
    let last = channels.name(channels.count - 1);
    let request = Request::get(format!("/v1/events?{}", query(&[("channel", &last), ("limit", "1")])));
    let page = Connection::new(&load.server).fetch(&request).await?;
    let page: crate::client::events::HistoryPage<'_> = serde_json::from_slice(&page)?;
    Ok(!page.events.is_empty())
}

async fn fill(load: &Load, stream: &Rc<Stream>, total: u64) -> anyhow::Result<()> {
    let tally = Rc::new(Tally::new(0));
    let requests = total.div_ceil(stream.batch);
    let schedule = Schedule::new(&tally, None, u64::MAX, requests);
    let progress = Progress::of_records(Some(total));
    let mut publishers = Publishers::start(load, stream, schedule, FILLERS, &tally);
    let is_done = || tally.published.get() >= total || tally.failed.get() > 0;
    while !is_done() && !load.stop.is_told() {
        let before = tally.published.get();
        tokio::select! { () = tally.moved() => {}, () = load.stop.told() => {} }
        progress.advance(tally.published.get() - before, tally.published.get());
    }
    publishers.end().await;
    let failure = tally.first_failure.take().unwrap_or_else(|| "stopped".into());
    ensure!(tally.published.get() >= total, "the events to replay could not be stored: {failure}");
    Ok(())
}
