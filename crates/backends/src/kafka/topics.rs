//! Administration of topics of Kafka.
//!
//! What a topic is created with beside its [`TopicSpec`] is what keeps events safe: three replicas of which two must have
//! a record (fewer where there are fewer brokers, which is said in the log), and no leader that lacks records. What is
//! altered is altered alone; everything else of a topic stays as whoever runs the cluster set it.
//!
//! Kafka bounds the size of each partition and not of a topic: a bound is divided among them, rounded up. It does not tell
//! what a topic occupies: [`TopicInfo::bytes`] is `None`.

use super::describe::{ANSWER_MAX, Admin, LOOK_AGAIN, spec, unknown, value};
use dualstream_core::mirror::Epochs;
use dualstream_core::topic::{Cleanup, TimestampKind, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::{Error, Result};
use dualstream_kafka_ffi::{TopicDescription, alter_topic, describe_topics};
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::admin::{NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;

/// Most partitions of a topic.
const PARTITIONS_MAX: u32 = 10_000;
const REPLICAS: usize = 3;
/// The broker's own default: an event of 900 KiB and all the client puts into one batch (`batch.size`) fit.
const MESSAGE_BYTES_MAX: &str = "1048588";
/// The topics of a Kafka cluster.
#[derive(Clone)]
pub struct KafkaTopics {
    admin: Admin,
    epochs: Arc<dyn Epochs>,
}

impl KafkaTopics {
    pub(crate) fn new(admin: Admin, epochs: Arc<dyn Epochs>) -> KafkaTopics {
        KafkaTopics { admin, epochs }
    }

    async fn create_topic(&self, wanted: TopicSpec) -> Result<TopicInfo> {
        check_partitions(wanted.partitions)?;
        let brokers = self.brokers().await?;
        let (replicas, in_sync) = (brokers.clamp(1, REPLICAS), if brokers >= REPLICAS { "2" } else { "1" });
        let retention_ms = bound(wanted.retention_ms);
        let retention_bytes = bound(per_partition(wanted.retention_bytes, wanted.partitions));
        let topic = NewTopic::new(
            wanted.name.as_str(),
            i32::try_from(wanted.partitions).unwrap_or(i32::MAX),
            TopicReplication::Fixed(i32::try_from(replicas).unwrap_or(1)),
        )
        .set("min.insync.replicas", in_sync)
        .set("unclean.leader.election.enable", "false")
        .set("message.timestamp.type", timestamp(wanted.timestamp))
        .set("cleanup.policy", cleanup(wanted.cleanup))
        .set("retention.ms", &retention_ms)
        .set("retention.bytes", &retention_bytes)
        .set("max.message.bytes", MESSAGE_BYTES_MAX);
        let created = self.admin.client().create_topics([&topic], &Admin::options()).await;
        self.outcome(created, &wanted.name)?;
        if brokers < REPLICAS {
            let name = &wanted.name;
            tracing::warn!(
                "kafka: topic '{name}' has {replicas} replicas, and records of it are acknowledged by {in_sync}: there are \
                 {brokers} brokers, and {REPLICAS} of them would survive the loss of one"
            );
        }
        self.admin.settled(&wanted.name, |topic| topic.is_some()).await?;
        self.info(&wanted.name).await
    }

    async fn list_topics(&self) -> Result<Vec<TopicInfo>> {
        let names = self.admin.call(|client| {
            let all = client.fetch_metadata(None, ANSWER_MAX).map_err(|error| code_of(&error))?;
            Ok(all.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>())
        });
        let names = names.await?;
        let names_of: Vec<&str> = names.iter().map(String::as_str).collect();
        let configs = self.admin.configs(&names_of).await?;
        let asked = names.clone();
        let described = self.admin.call(move |client| {
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            if asked.is_empty() { Ok(Vec::new()) } else { describe_topics(client, &asked, ANSWER_MAX) }
        });
        let described = described.await?;
        // One that was deleted since then is not listed, nor one that this server may not look at.
        let known = described.into_iter().flatten().filter(|topic| !topic.partitions.is_empty());
        let mut infos: Vec<TopicInfo> = known
            .filter_map(|topic| {
                let name = TopicName::new(&topic.name).ok()?;
                let spec = spec(name, count(&topic), configs.get(&topic.name)?);
                Some(self.told(spec, topic.id))
            })
            .collect::<Result<_>>()?;
        infos.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(infos)
    }

    async fn info(&self, name: &TopicName) -> Result<TopicInfo> {
        let topic = self.admin.topic(name).await?;
        let config = self.admin.config(name).await?;
        self.told(spec(name.clone(), count(&topic), &config), topic.id)
    }

    fn told(&self, spec: TopicSpec, id: u128) -> Result<TopicInfo> {
        let epoch = self.epochs.epoch(&spec.name, id, spec.partitions)?;
        Ok(TopicInfo { spec, epoch, bytes: None, segments: None })
    }

    async fn alter_topic(&self, name: TopicName, change: TopicAlteration) -> Result<TopicInfo> {
        let partitions = count(&self.admin.topic(&name).await?);
        let wanted = change.partitions.unwrap_or(partitions);
        check_partitions(wanted)?;
        if wanted < partitions {
            return Err(invalid_partitions(format!(
                "'{name}' has {partitions} partitions, which are never lowered"
            )));
        }
        let mut settings = Vec::new();
        if let Some(retention_ms) = change.retention_ms {
            settings.push(("retention.ms", bound(retention_ms)));
        }
        if let Some(retention_bytes) = change.retention_bytes {
            settings.push(("retention.bytes", bound(per_partition(retention_bytes, wanted))));
        }
        if !settings.is_empty() {
            let (topic, settings) = (name.clone(), settings.clone());
            let altered = self.admin.call(move |client| {
                let changes: Vec<_> =
                    settings.iter().map(|(setting, value)| (*setting, value.as_str())).collect();
                alter_topic(client, topic.as_str(), &changes, ANSWER_MAX)
            });
            altered.await?;
        }
        if wanted > partitions {
            let more = NewPartitions::new(name.as_str(), wanted as usize);
            let created = self.admin.client().create_partitions([&more], &Admin::options()).await;
            self.outcome(created, &name)?;
        }
        self.admin.settled(&name, |topic| topic.is_some_and(|topic| count(topic) >= wanted)).await?;
        self.altered(&name, wanted, &settings).await
    }

    /// The topic as brokers tell it that know of the change: others may be asked the next time.
    async fn altered(
        &self,
        name: &TopicName,
        partitions: u32,
        settings: &[(&str, String)],
    ) -> Result<TopicInfo> {
        let deadline = tokio::time::Instant::now() + ANSWER_MAX;
        loop {
            let (topic, config) = (self.admin.topic(name).await?, self.admin.config(name).await?);
            let is_seen = settings.iter().all(|(setting, wanted)| value(&config, setting) == Some(wanted))
                && count(&topic) >= partitions;
            if is_seen || tokio::time::Instant::now() >= deadline {
                return self.told(spec(name.clone(), count(&topic), &config), topic.id);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn delete_topic(&self, name: TopicName) -> Result<()> {
        // Known by its identity, so that it is not taken for one that is made after it.
        self.admin.topic(&name).await?;
        let deleted = self.admin.client().delete_topics(&[name.as_str()], &Admin::options()).await;
        self.outcome(deleted, &name)?;
        self.admin.memory().forget(&name);
        self.admin.settled(&name, |topic| topic.is_none()).await
    }

    async fn trim_topic(&self, name: TopicName, below: Vec<u64>) -> Result<()> {
        let now = self.admin.describe(&name).await?;
        if below.len() != now.latest.len() || below.iter().zip(&now.latest).any(|(below, end)| below > end) {
            return Err(invalid_trim("one offset for each partition, none past its end"));
        }
        let mut wanted = TopicPartitionList::new();
        for (partition, (&below, &start)) in (0..).zip(below.iter().zip(&now.earliest)) {
            if below > start {
                let below = Offset::Offset(i64::try_from(below).unwrap_or(i64::MAX));
                wanted
                    .add_partition_offset(name.as_str(), partition, below)
                    .map_err(|error| self.admin.failed_with(error))?;
            }
        }
        if wanted.count() == 0 {
            return Ok(());
        }
        let trimmed = self.admin.client().delete_records(&wanted, &Admin::options()).await;
        let trimmed = trimmed.map_err(|error| self.admin.failed_with(error))?;
        for one in trimmed.elements() {
            match one.error().err().and_then(|error| error.rdkafka_error_code()) {
                None => {}
                Some(Code::PolicyViolation | Code::OffsetOutOfRange) => {
                    return Err(invalid_trim("the topic is compacted, or the place lies past its end"));
                }
                Some(code) => return Err(self.admin.failed(code)),
            }
        }
        Ok(())
    }

    async fn brokers(&self) -> Result<usize> {
        let brokers = self.admin.call(|client| {
            // Any topic, there or not, rather than all: the brokers come with the answer.
            let any = client.fetch_metadata(Some("__dualstream"), ANSWER_MAX);
            Ok(any.map_err(|error| code_of(&error))?.brokers().len())
        });
        brokers.await
    }

    fn outcome(&self, answers: KafkaResult<Vec<TopicResult>>, name: &TopicName) -> Result<()> {
        let answers = answers.map_err(|error| self.admin.failed_with(error))?;
        match answers.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some((_, Code::UnknownTopicOrPartition)) => Err(unknown(name)),
            Some((_, code)) => Err(self.admin.failed(code)),
        }
    }
}

impl Topics for KafkaTopics {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>> {
        self.create_topic(spec).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        self.list_topics().boxed()
    }

    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>> {
        async move { self.info(&name).await }.boxed()
    }

    fn alter(&self, name: TopicName, change: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>> {
        self.alter_topic(name, change).boxed()
    }

    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>> {
        self.delete_topic(name).boxed()
    }

    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>> {
        self.trim_topic(name, below).boxed()
    }
}

fn count(topic: &TopicDescription) -> u32 {
    u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX)
}

fn check_partitions(partitions: u32) -> Result<()> {
    match partitions {
        1..=PARTITIONS_MAX => Ok(()),
        _ => Err(invalid_partitions(format!("a topic has 1 to {PARTITIONS_MAX} partitions"))),
    }
}

fn invalid_partitions(message: String) -> Error {
    Error::invalid("invalid_partitions", "partitions", message).with_limit(u64::from(PARTITIONS_MAX))
}

fn invalid_trim(message: &'static str) -> Error {
    Error::invalid("invalid_trim", "below", message)
}

fn timestamp(kind: TimestampKind) -> &'static str {
    match kind {
        TimestampKind::Append => "LogAppendTime",
        TimestampKind::Create => "CreateTime",
    }
}

fn cleanup(cleanup: Cleanup) -> &'static str {
    match cleanup {
        Cleanup::Delete => "delete",
        Cleanup::Compact => "compact",
    }
}

/// Kafka's word for no bound is -1, and its numbers are signed.
fn bound(bound: Option<u64>) -> String {
    bound.map_or_else(|| "-1".to_owned(), |bound| bound.min(i64::MAX.unsigned_abs()).to_string())
}

fn per_partition(bytes: Option<u64>, partitions: u32) -> Option<u64> {
    bytes.map(|bytes| bytes.div_ceil(u64::from(partitions.max(1))))
}

fn code_of(error: &rdkafka::error::KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Fail)
}
