//! dualstream inside a program, without a server: an embedded log in a directory, an in-process bus, a publisher and a
//! subscription over both.
//!
//! `cargo run -p dualstream --example embedded`

use anyhow::Context;
use dualstream::core::channel::Target;
use dualstream::core::event::{Data, Event};
use dualstream::core::hub::{self, Hub, Item, Mode, OnUnrecoverable, Start, Subscribe};
use dualstream::core::memory::bus::MemoryBus;
use dualstream::core::publisher::{self, DualPublisher};
use dualstream::core::topic::TopicSpec;
use dualstream::core::topics::Topics;
use dualstream::log::FileStorage;
use dualstream::settings::Settings;
use dualstream::system::{SystemClock, SystemEntropy};
use std::io::Write;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
    // The default namespaces: `events`, stored in the topic of that name.
    let namespaces = Settings::default().namespaces();

    // The log is the truth. Its writer blocks on the disk, so it has a thread of its own.
    let storage = Arc::new(FileStorage::open(directory.path())?);
    let (log, writer) = dualstream::log::open(Default::default(), storage, clock.clone(), entropy.clone())?;
    let writer = std::thread::spawn(move || writer.run());
    for namespace in namespaces.iter().filter(|namespace| namespace.is_durable()) {
        log.create(TopicSpec::events(namespace.topic.clone())).await?;
    }

    // The bus is a hint that makes it fast. The hub joins both for subscribers; its runner is a task to own.
    let bus = Arc::new(MemoryBus::default());
    let log_of = || Arc::new(log.clone());
    let (hub, runner) = Hub::new(hub::Settings::default(), log_of(), bus.clone(), namespaces.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runner = tokio::spawn(runner.run(async {
        // Dropping the sender stops it too.
        let _ = stopped.await;
    }));
    let publisher =
        DualPublisher::new(publisher::Settings::default(), log_of(), bus, namespaces, clock, entropy);

    let mut subscription = hub
        .subscribe(Subscribe {
            targets: vec![Target::parse("events:*")?],
            mode: Mode::Reliable,
            start: Start::Latest,
            on_unrecoverable: OnUnrecoverable::Close,
        })
        .await?;

    let cities = ["Lisbon", "Oslo", "Quito"];
    for outcome in publisher.publish(cities.iter().map(|city| measured(city)).collect()).await {
        let receipt = outcome.map_err(|failure| failure.error)?;
        writeln!(std::io::stdout(), "stored {} at {}", receipt.channel, receipt.position)?;
    }

    let mut seen = 0;
    while seen < cities.len() {
        for item in subscription.next(64 << 10).await {
            let Item::Event { entry, .. } = item else { anyhow::bail!("a reliable subscription was cut") };
            let json = std::str::from_utf8(&entry.wire.json)?;
            writeln!(std::io::stdout(), "{}  {json}", entry.channel)?;
            seen += 1;
        }
    }

    // In order: subscribers, hub, log.
    drop(subscription);
    drop(stop);
    runner.await?;
    log.close();
    writer.join().ok().context("the writer of the log panicked")??;
    Ok(())
}

/// A new event; without an id of its own it gets one.
fn measured(city: &str) -> Event {
    Event {
        event_type: "weather.measured".into(),
        source_type: "city".into(),
        source_id: city.into(),
        data: Data::Json("{\"celsius\":21}".into()),
        ..Event::default()
    }
}
