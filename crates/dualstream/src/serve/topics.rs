//! The topics of the namespaces: made at the start, and kept as they are set.

use crate::settings::Settings;
use anyhow::Context;
use dualstream_core::topic::{TopicAlteration, TopicSpec};
use dualstream_core::topics::Topics;

/// Creates the topics of all durable namespaces that are not there.
pub(super) async fn create(settings: &Settings, topics: &dyn Topics) -> anyhow::Result<()> {
    for wanted in wanted(settings)? {
        let name = wanted.name.clone();
        match topics.create(wanted.clone()).await {
            Ok(topic) => {
                tracing::info!(topic = %topic.spec.name, partitions = topic.spec.partitions, "created topic")
            }
            Err(error) if error.code() == "topic_exists" => keep_as_set(topics, &wanted).await?,
            Err(error) => return Err(error).with_context(|| format!("cannot create topic '{name}'")),
        }
    }
    Ok(())
}

/// What the settings want of each topic.
pub(super) fn wanted(settings: &Settings) -> anyhow::Result<Vec<TopicSpec>> {
    let partitions = u32::try_from(settings.log.partitions).context("log.partitions is too large")?;
    let namespaces = settings.namespaces();
    let spec = |topic| TopicSpec {
        partitions,
        retention_ms: settings.log.retention.map(|p| p.as_millis()),
        retention_bytes: settings.log.retention_bytes.map(|s| s.as_bytes()),
        ..TopicSpec::events(topic)
    };
    Ok(namespaces.iter().filter(|n| n.is_durable()).map(|n| spec(n.topic.clone())).collect())
}

/// Applies the settings to a topic that was there. Its partitions stay: raising them would move keys.
async fn keep_as_set(topics: &dyn Topics, wanted: &TopicSpec) -> anyhow::Result<()> {
    let spec = topics.describe(wanted.name.clone()).await?.spec;
    let topic = &spec.name;
    if spec.partitions != wanted.partitions {
        let (has, set) = (spec.partitions, wanted.partitions);
        tracing::warn!(%topic, "the topic has {has} partitions and keeps them; log.partitions = {set} is for new topics");
    }
    if (spec.retention_ms, spec.retention_bytes) != (wanted.retention_ms, wanted.retention_bytes) {
        let change = TopicAlteration {
            retention_ms: Some(wanted.retention_ms),
            retention_bytes: Some(wanted.retention_bytes),
            partitions: None,
        };
        topics.alter(wanted.name.clone(), change).await?;
        tracing::info!(%topic, "the topic's retention was changed to what is set");
    }
    Ok(())
}
