//! `dualstream bench`: measures a running server from outside.

use crate::Global;
use crate::bench::fan_out::{self, FanOut};
use crate::bench::publish::{self, Publish};
use crate::bench::publisher::Channels;
use crate::bench::replay::{self, Replay};
use crate::bench::subscriber::Place;
use crate::bench::{Load, Report};
use crate::client::Server;
use anyhow::bail;
use clap::value_parser;
use dualstream::core::clock::Entropy;
use dualstream::settings::Period;
use dualstream::system::SystemEntropy;
use std::time::Duration;
use tokio::task::LocalSet;

/// Smallest data of an event: its time and number have room in it.
const SIZE_MIN: u64 = 64;
/// Largest: a request of one event is within every server's limits.
const SIZE_MAX: u64 = 512 << 10;
/// Most bytes of one request of many events.
const REQUEST_BYTES_MAX: u64 = 32 << 20;

/// What to measure.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Publishes over HTTP while nobody listens
    #[command(after_help = "Examples:
  dualstream bench publish --embedded
  dualstream bench publish --connections 256 --rate 20000
  dualstream --output json bench publish --batch 100 --connections 4")]
    Publish(PublishArguments),
    /// Publishes to subscribers over WebSocket, and counts every delivery
    #[command(after_help = "Examples:
  dualstream bench fan-out --embedded
  dualstream bench fan-out --subscribers 2000 --rate 50
  dualstream bench fan-out --subscribers 5000 --channels 5000 --connections 256 --rate 20000
  dualstream --server http://a:8000 bench fan-out --listen-at http://b:8000 --live --rate 200")]
    FanOut(FanOutArguments),
    /// Clients come back over WebSocket and recover what they missed, from the log
    #[command(after_help = "Examples:
  dualstream bench replay --embedded
  dualstream bench replay --clients 5000 --channels 5000 --events 100

To measure a server that was just started: store with --id NAME --fill-only, start it again, and run with --id NAME.")]
    Replay(ReplayArguments),
}

/// Flags of every benchmark.
#[derive(clap::Args)]
struct Common {
    /// Start a server on an empty temporary directory instead of using --server
    #[arg(long)]
    embedded: bool,
    /// Bytes of the data of an event
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = value_parser!(u64).range(SIZE_MIN..=SIZE_MAX))]
    size: u64,
    /// Namespace of the channels; it must be durable unless it is for fan-out
    #[arg(long, default_value = "events", value_parser = name)]
    namespace: String,
}

/// How long.
#[derive(clap::Args)]
struct Time {
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long to run before
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = warm_up)]
    warm_up: Duration,
    /// Events per second, whatever the server does; without it as many as it takes
    #[arg(long, value_name = "EVENTS", value_parser = rate)]
    rate: Option<f64>,
}

/// `bench publish`.
#[derive(clap::Args)]
pub struct PublishArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    time: Time,
    /// Connections, one request at a time each
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u64).range(1..=10_000))]
    connections: u64,
    /// Channels the events are dealt over
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    channels: u64,
    /// Events in one request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=10_000))]
    batch: u64,
}

/// `bench fan-out`.
#[derive(clap::Args)]
pub struct FanOutArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    time: Time,
    /// Connections that publish, one request at a time each
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = value_parser!(u64).range(1..=10_000))]
    connections: u64,
    /// Connections that listen; a multiple of the channels
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u64).range(1..=60_000))]
    subscribers: u64,
    /// Channels the events are dealt over
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=60_000))]
    channels: u64,
    /// Without --rate: events that are on their way to their subscribers at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = value_parser!(u64).range(1..=1_000_000))]
    in_flight: u64,
    /// Subscribers connect to this server, events are published to the other: two nodes of one deployment
    #[arg(long, value_name = "URL", conflicts_with = "embedded")]
    listen_at: Option<Server>,
    /// Subscribers are told of events live, by announcements, instead of getting them from the log
    #[arg(long)]
    live: bool,
}

/// `bench replay`.
#[derive(clap::Args)]
pub struct ReplayArguments {
    #[command(flatten)]
    common: Common,
    /// Connections that come back; a multiple of the channels
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u64).range(1..=60_000))]
    clients: u64,
    /// Channels
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=60_000))]
    channels: u64,
    /// Events of each channel, which every one of its clients missed
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(1..=100_000))]
    events: u64,
    /// Name of the run, to use what an earlier run stored
    #[arg(long, value_name = "NAME", value_parser = name)]
    id: Option<String>,
    /// Only store the events
    #[arg(long, requires = "id")]
    fill_only: bool,
}

/// Measures and prints.
pub fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, measure(command, global))?;
    report.print(global.output)?;
    match report.fault() {
        Some(fault) => bail!("{fault}"),
        None => Ok(()),
    }
}

async fn measure(command: Command, global: &Global) -> anyhow::Result<Report> {
    match command {
        Command::Publish(args) => {
            check_batch(args.batch, &args.common)?;
            let load = load(&args.common, Some(&args.time), global).await?;
            let PublishArguments { connections, batch, .. } = args;
            let asked = Publish { connections, batch, size: args.common.size as usize, rate: args.time.rate };
            publish::run(&load, channels(&args.common, args.channels, None), &asked).await
        }
        Command::FanOut(args) => {
            check_multiple("subscribers", args.subscribers, args.channels)?;
            let load = load(&args.common, Some(&args.time), global).await?;
            if args.live && args.common.namespace != "events" {
                bail!("--live is for the namespace events: its announcements say which event they are of");
            }
            let FanOutArguments { connections, subscribers, in_flight: in_flight_max, listen_at, .. } = args;
            let (size, rate) = (args.common.size as usize, args.time.rate);
            let place = if args.live { Place::Live } else { Place::Latest };
            let asked = FanOut { connections, subscribers, size, rate, in_flight_max, listen_at, place };
            fan_out::run(&load, channels(&args.common, args.channels, None), &asked).await
        }
        Command::Replay(args) => {
            check_multiple("clients", args.clients, args.channels)?;
            let load = load(&args.common, None, global).await?;
            let ReplayArguments { clients, events, fill_only, .. } = args;
            let asked = Replay { clients, events, size: args.common.size as usize, fill_only };
            replay::run(&load, channels(&args.common, args.channels, args.id), &asked).await
        }
    }
}

async fn load(common: &Common, time: Option<&Time>, global: &Global) -> anyhow::Result<Load> {
    let (warm_up, duration) = time.map_or_else(Default::default, |time| (time.warm_up, time.duration));
    Load::new(global.server().clone(), common.embedded, warm_up, duration).await
}

fn channels(common: &Common, count: u64, id: Option<String>) -> Channels {
    let run = id.unwrap_or_else(|| format!("{:08x}", SystemEntropy::default().next_u64() as u32));
    Channels { namespace: common.namespace.clone(), run, count }
}

fn check_multiple(what: &str, count: u64, channels: u64) -> anyhow::Result<()> {
    match count.is_multiple_of(channels) {
        true => Ok(()),
        false => bail!("--{what} {count} is no multiple of --channels {channels}: every channel has as many"),
    }
}

fn check_batch(batch: u64, common: &Common) -> anyhow::Result<()> {
    if batch > 1 && common.namespace != "events" {
        bail!("--batch is for the namespace events");
    }
    if batch * common.size > REQUEST_BYTES_MAX {
        bail!("--batch times --size is more than {REQUEST_BYTES_MAX} bytes in one request");
    }
    Ok(())
}

fn name(text: &str) -> Result<String, String> {
    let is_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    match text.len() {
        1..=64 if text.bytes().all(is_name) => Ok(text.to_owned()),
        _ => Err("1 to 64 of a-z, 0-9, - and _".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    period(text, Duration::from_millis(100), Duration::from_secs(3_600))
}

fn warm_up(text: &str) -> Result<Duration, String> {
    period(text, Duration::ZERO, Duration::from_secs(600))
}

fn period(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let time = Period::parse(text).ok_or("a number and its unit, such as 500ms, 10s or 2m")?.as_duration();
    match (min..=max).contains(&time) {
        true => Ok(time),
        false => Err(format!("{} to {}", Period::from(min), Period::from(max))),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("0.1 to 10000000 events per second".into()),
    }
}
