//! Kafka as the log, with its mirror on this node.
//!
//! ```text
//! publisher ─▶ MirroredLog ─ append ─▶ Kafka
//!                  ▲                     │ tail
//!  readers ◀───────┴── mirror files ◀── follower
//! ```
//! First the topic of decisions is read: only then the epochs of the others are known, and they can be opened.
//! The one place that names Kafka, the mirror's files and the decisions of the cluster together.

use super::backend::{Backend, Store, Upstream, World};
use super::parts::LogCounters;
use super::{log_settings, topics};
use crate::settings::Settings;
use anyhow::Context;
use dualstream_backends::kafka::{self, KafkaUpstream};
use dualstream_core::decisions::{self, DECISIONS_TOPIC, Decisions, Generations};
use dualstream_core::log_id::LogId;
use dualstream_core::mirror::{self, Foreign, MirroredLog, MirroredSources, MirroredTopics};
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_log::{FileStorage, Fsync, Mirror};
use std::future::pending;
use std::sync::Arc;

/// Reaches the cluster, creates what topics are missing and opens the mirror.
pub(super) async fn open(
    settings: &Settings,
    world: &World,
    storage: FileStorage,
) -> anyhow::Result<Backend> {
    let in_dir = || format!("cannot open the mirror in {} (--data-dir)", settings.data_dir.display());
    // Nothing of a mirror has to survive: it is synced by checkpoints alone.
    let files = dualstream_log::Settings {
        fsync: Fsync::Every(settings.log.checkpoint_interval.as_duration()),
        ..log_settings(settings)
    };
    let (clock, entropy) = (world.clock.clone(), world.entropy.clone());
    let (mirror, writer) =
        dualstream_log::open_mirror(files, Arc::new(storage), clock, entropy).with_context(in_dir)?;
    let closing = mirror.clone();
    let mut store = Store::start(writer, move || closing.close())?;
    match connect(settings, world, mirror.clone(), &mut store).await {
        Ok((upstream, topics, id)) => Ok(Backend {
            topics,
            sources: Arc::new(MirroredSources::new(upstream.log.clone(), Arc::new(mirror.clone()))),
            stats: Arc::new(LogCounters(mirror, Mirror::counters)),
            log: Arc::new(upstream.log.clone()),
            upstream: Some(upstream),
            store,
            id,
        }),
        Err(error) => {
            store.close().await;
            Err(error.context(format!("cannot use Kafka at {} (log.kafka)", settings.log.kafka.0)))
        }
    }
}

/// The log over Kafka and its administration, with every topic of the namespaces known; and which log it is.
async fn connect(
    settings: &Settings,
    world: &World,
    mirror: Mirror,
    store: &mut Store,
) -> anyhow::Result<(Upstream, Arc<dyn Topics>, Option<LogId>)> {
    let client = kafka::Settings::new(&settings.log.kafka.0, settings.kafka.clone())?;
    let upstream = Arc::new(KafkaUpstream::new(client)?);
    let generations = Arc::new(Generations::new(TopicName::new(DECISIONS_TOPIC)?));
    let administration = Arc::new(upstream.topics(generations.clone()));
    let World { clock, entropy } = world.clone();
    let (log, runner) = MirroredLog::new(
        mirror_settings(settings),
        upstream.clone(),
        Arc::new(mirror),
        generations.clone(),
        clock.clone(),
        entropy.clone(),
    );
    store.feed(tokio::spawn(runner.run(pending())));
    let topics: Arc<dyn Topics> = Arc::new(MirroredTopics::new(administration, log.clone()));
    let own = TopicName::new(DECISIONS_TOPIC)?;
    if !settings.log.create_topics
        && let Err(error) = log.open(&own).await
    {
        return Err(if error.code() == "unknown_topic" { missing(&own) } else { error.into() });
    }
    let (decisions, runner) = Decisions::open(
        decisions::Settings::default(),
        Arc::new(log.clone()),
        topics.clone(),
        clock,
        entropy,
    )
    .await?;
    store.feed(tokio::spawn(runner.run(pending())));
    // From here on the epoch of every topic is known.
    generations.learn(decisions.clone());
    for wanted in topics::wanted(settings)? {
        make_known(settings, &log, &*topics, wanted).await?;
    }
    // Asked only where nodes share more than Kafka.
    let id = match settings.bus.redis.is_set() {
        true => Some(LogId::Kafka {
            cluster: upstream.cluster_id().await?,
            topic: settings.log.topic.to_string(),
        }),
        false => None,
    };
    Ok((Upstream { log, decisions }, topics, id))
}

/// Learns of a topic, and creates it first if it may. One that is there is used as it is: others may own it.
async fn make_known(
    settings: &Settings,
    log: &MirroredLog,
    topics: &dyn Topics,
    wanted: TopicSpec,
) -> anyhow::Result<()> {
    let name = wanted.name.clone();
    match log.open(&name).await {
        Ok(bounds) => {
            let (has, set) = (bounds.partitions(), wanted.partitions);
            if has != set {
                tracing::info!(topic = %name, "the topic has {has} partitions and keeps them; log.partitions = {set} is for new topics");
            }
            Ok(())
        }
        Err(error) if error.code() == "unknown_topic" && !settings.log.create_topics => Err(missing(&name)),
        Err(error) if error.code() == "unknown_topic" => match topics.create(wanted).await {
            Ok(topic) => {
                tracing::info!(topic = %name, partitions = topic.spec.partitions, "created topic");
                Ok(())
            }
            // Another node was first.
            Err(error) if error.code() == "topic_exists" => Ok(log.open(&name).await.map(drop)?),
            Err(error) => Err(error).with_context(|| format!("cannot create topic '{name}'")),
        },
        Err(error) => Err(error.into()),
    }
}

fn missing(topic: &TopicName) -> anyhow::Error {
    anyhow::anyhow!(
        "topic '{topic}' is missing in Kafka, and log.create_topics = false: create it, or let it be created"
    )
}

fn mirror_settings(settings: &Settings) -> mirror::Settings {
    mirror::Settings {
        backfill_records: settings.log.mirror_backfill,
        idle: settings.log.mirror_idle.as_duration(),
        foreign: settings.namespaces().iter().filter_map(|namespace| Foreign::of(namespace)).collect(),
        topic_bytes_max: Some(settings.log.mirror_bytes_max.as_bytes()),
        ..mirror::Settings::default()
    }
}
