//! `bench fan-out`: events in, and every one of them out to all subscribers of its channel.

use super::fleet::Fleet;
use super::load::Load;
use super::measured::Moment;
use super::publish::Publishers;
use super::publisher::{Channels, Stream};
use super::report::Report;
use super::schedule::Schedule;
use super::server_side::ServerSide;
use super::subscriber::Place;
use super::tally::Tally;
use crate::client::Server;
use crate::progress::Progress;
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;

/// How long a delivery is waited for while none comes.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// Who publishes and who listens.
pub struct FanOut {
    pub connections: u64,
    pub subscribers: u64,
    pub size: usize,
    /// Events per second.
    pub rate: Option<f64>,
    pub in_flight_max: u64,
    /// The server of the subscribers, if it is another.
    pub listen_at: Option<Server>,
    pub place: Place,
}

/// Publishes to subscribers.
///
/// # Errors
/// The server cannot be reached, or refuses a subscriber.
pub async fn run(load: &Load, channels: Channels, asked: &FanOut) -> anyhow::Result<Report> {
    let fan = asked.subscribers / channels.count;
    let tally = Rc::new(Tally::new(fan));
    let mut server = ServerSide::new(&load.server);
    let idle_bytes = server.memory_bytes().await;
    let is_live = asked.place == Place::Live;
    let stream = Rc::new(Stream { is_live, ..Stream::new(channels, asked.size, 1, u64::MAX) });
    let listen_at = asked.listen_at.as_ref().unwrap_or(&load.server);
    let fleet = Fleet::open(listen_at, &stream.channels, asked.subscribers, asked.place, &tally, u64::MAX);
    let fleet = load.unless_stopped(fleet).await?;
    let connected_bytes = server.memory_bytes().await;
    let schedule = Schedule::new(&tally, asked.rate, asked.in_flight_max, u64::MAX);
    let mut publishers = Publishers::start(load, &stream, schedule, asked.connections, &tally);
    let progress = Progress::of_records(None);
    load.pass(load.warm_up, &tally, &progress).await;
    tally.measure();
    let from = Moment::now(&tally, &mut server).await;
    load.pass(load.duration, &tally, &progress).await;
    let to = Moment::now(&tally, &mut server).await;
    publishers.end().await;
    load.settle(&tally, SETTLE_MAX, || tally.delivered.get() >= tally.published.get() * fan).await;
    drop(progress);
    let rows = vec![
        ("subscribers", json!(asked.subscribers)),
        ("channels", json!(stream.channels.count)),
        ("connections", json!(asked.connections)),
        ("size", json!(asked.size)),
        ("rate", json!(asked.rate)),
        ("in_flight", if asked.rate.is_none() { json!(asked.in_flight_max) } else { json!(null) }),
    ];
    let mut report = Report::new("fan-out", rows, from.until(&to), &tally);
    report.latency_of = "from the intended send time to delivery";
    (report.missing, report.wrong) = fleet.compare(&stream.stored.borrow());
    report.more.push(("published_in_all", json!(tally.published.get())));
    report.more.push(("delivered_in_all", json!(tally.delivered.get())));
    let each = idle_bytes.zip(connected_bytes).map(|(idle, full)| (full - idle) / asked.subscribers as f64);
    report.more.extend(each.map(|bytes| ("server_bytes_per_subscriber", json!(bytes.round()))));
    Ok(report)
}
