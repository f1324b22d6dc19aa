//! `bench publish`: events in, nobody listens.

use super::load::Load;
use super::measured::Moment;
use super::publisher::{Channels, Stream};
use super::report::Report;
use super::schedule::Schedule;
use super::server_side::ServerSide;
use super::tally::Tally;
use crate::progress::Progress;
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long answers are waited for in the end.
const SETTLE_MAX: Duration = Duration::from_secs(35);

/// What to publish.
pub struct Publish {
    pub connections: u64,
    pub batch: u64,
    pub size: usize,
    /// Events per second.
    pub rate: Option<f64>,
}

/// Publishers at work.
pub struct Publishers {
    pub schedule: Rc<Schedule>,
    tasks: JoinSet<()>,
}

impl Publishers {
    /// `connections` of them.
    pub fn start(
        load: &Load,
        stream: &Rc<Stream>,
        schedule: Schedule,
        connections: u64,
        tally: &Rc<Tally>,
    ) -> Publishers {
        let (schedule, mut tasks) = (Rc::new(schedule), JoinSet::new());
        for _ in 0..connections {
            let (stream, schedule) = (stream.clone(), schedule.clone());
            let (server, tally) = (load.server.clone(), tally.clone());
            tasks.spawn_local(async move { stream.publish(&server, &schedule, &tally).await });
        }
        Publishers { schedule, tasks }
    }

    /// Gives out no more turns and waits for the last answers.
    pub async fn end(&mut self) {
        self.schedule.end();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Who has not answered by then is counted as missing.
        let _ = tokio::time::timeout(SETTLE_MAX, all).await;
    }
}

/// Publishes.
///
/// # Errors
/// The server cannot be reached.
pub async fn run(load: &Load, channels: Channels, asked: &Publish) -> anyhow::Result<Report> {
    let tally = Rc::new(Tally::new(0));
    let mut server = ServerSide::new(&load.server);
    let count = channels.count;
    let stream = Rc::new(Stream::new(channels, asked.size, asked.batch, u64::MAX));
    let requests = asked.rate.map(|rate| rate / asked.batch as f64);
    let schedule = Schedule::new(&tally, requests, u64::MAX, u64::MAX);
    let mut publishers = Publishers::start(load, &stream, schedule, asked.connections, &tally);
    let progress = Progress::of_records(None);
    load.pass(load.warm_up, &tally, &progress).await;
    tally.measure();
    let from = Moment::now(&tally, &mut server).await;
    load.pass(load.duration, &tally, &progress).await;
    let to = Moment::now(&tally, &mut server).await;
    publishers.end().await;
    drop(progress);
    let asked = vec![
        ("connections", json!(asked.connections)),
        ("channels", json!(count)),
        ("events_per_request", json!(asked.batch)),
        ("size", json!(asked.size)),
        ("rate", json!(asked.rate)),
    ];
    let mut report = Report::new("publish", asked, from.until(&to), &tally);
    report.latency_of = "from the intended send time of a request to its answer";
    report.more.push(("published_in_all", json!(tally.published.get())));
    Ok(report)
}
