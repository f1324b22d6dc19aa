//! What a topic is, and where its partitions begin and end.
//!
//! ```text
//!  describe ─▶ DescribeTopics ─┬─▶ DescribeConfigs
//!   id, partitions, leaders    └─▶ ListOffsets: start, last stable offset, high watermark; to each leader at once
//! ```
//! It keeps nothing but which topics were seen (`memory`): brokers are asked every time, and may be a little behind.

mod memory;

use super::client::{self, Said};
use super::outcome;
use super::producer::{Batching, Health};
use super::settings::{Settings, refused};
use dualstream_core::mirror::{Described, Sought};
use dualstream_core::topic::{Cleanup, TimestampKind, TopicName, TopicSpec};
use dualstream_core::{Error, ErrorKind, Result};
use dualstream_kafka_ffi::{At, Isolation, TopicDescription, describe_topics, list_offsets};
use memory::Memory;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long brokers may take to answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long the broker may take that is asked first, before another one is: it may be away, and nobody said so.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a broker is asked again that says of a topic what contradicts what was seen of it.
const DOUBT_MAX: Duration = Duration::from_secs(1);
/// How long partitions may be without a leader before that is told: who asks tries again by itself.
const LEADERLESS_MAX: Duration = Duration::from_secs(2);
/// How often.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Calls that wait for brokers, each on a thread of its own.
const CALLS_MAX: usize = 8;

/// The client for administration. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admin {
    client: Arc<AdminClient<Said>>,
    calls: Arc<Semaphore>,
    /// Knows why brokers do not answer: this client is not told.
    health: Arc<Health>,
    /// Learns what topics take.
    batching: Arc<Batching>,
    memory: Arc<Memory>,
}

impl Admin {
    /// A client that is not connected yet.
    pub(crate) fn new(settings: &Settings, health: Arc<Health>, batching: Arc<Batching>) -> Result<Admin> {
        let client = client::admin(settings).create_with_context(Said).map_err(|error| refused(&error))?;
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        Ok(Admin { client: Arc::new(client), calls, health, batching, memory: Arc::default() })
    }

    /// What was seen of topics.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn client(&self) -> &AdminClient<Said> {
        &self.client
    }

    pub(crate) fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(ANSWER_MAX)).operation_timeout(Some(ANSWER_MAX))
    }

    /// A call that blocks. It goes on when the future is dropped, until it is answered or its time is over.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Client<Said>) -> Result<T, Code> + Send + 'static,
    ) -> Result<T> {
        let permit = self.calls.clone().acquire_owned().await.expect("it is never closed");
        let client = self.client.clone();
        let called = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            call(client.inner())
        });
        let outcome = called.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "internal", "a call to Kafka ended by a panic").with_source(error)
        })?;
        outcome.map_err(|code| self.failed(code))
    }

    /// What a failed call means.
    pub(crate) fn failed(&self, code: Code) -> Error {
        match code {
            code if is_silence(code) => self.health.unreachable().with_source(code),
            code => outcome::refused(code),
        }
    }

    /// What a failed call of the safe API means, which hides the code of some.
    pub(crate) fn failed_with(&self, error: KafkaError) -> Error {
        match &error {
            KafkaError::AdminOp(code) => self.failed(*code),
            _ => match error.rdkafka_error_code() {
                Some(code) => self.failed(code),
                None => self.health.unreachable().with_source(error),
            },
        }
    }

    /// Identity and partitions of a topic. What contradicts what was seen before is believed when it was said for a
    /// while: brokers learn of changes one after the other, and one that starts again may know less than it did. What was
    /// true only before what was seen is never believed.
    pub(crate) async fn topic(&self, name: &TopicName) -> Result<TopicDescription> {
        let deadline = Instant::now() + DOUBT_MAX;
        loop {
            let now = self.ask(name).await?;
            let is_over = Instant::now() >= deadline;
            if is_over && self.memory.is_of_before(name, now.as_ref()) {
                let message = format!("the broker that answers does not know what became of '{name}'");
                return Err(Error::new(ErrorKind::Unavailable, "log_unavailable", message));
            }
            if is_over || self.memory.agrees(name, now.as_ref()) {
                self.memory.note(name, now.as_ref());
                return now.ok_or_else(|| unknown(name));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Number of partitions of a topic, and its identity, when each of them has a leader.
    async fn led(&self, name: &TopicName) -> Result<(u128, u32)> {
        let deadline = Instant::now() + LEADERLESS_MAX;
        loop {
            let topic = self.topic(name).await?;
            let leaderless = topic.partitions.iter().filter(|one| one.leader.is_none()).count();
            let count = topic.partitions.len();
            if leaderless == 0 {
                return Ok((topic.id, u32::try_from(count).unwrap_or(u32::MAX)));
            }
            if Instant::now() >= deadline {
                let message = format!("{leaderless} of {count} partitions of '{name}' have no leader");
                return Err(Error::new(ErrorKind::Unavailable, "log_unavailable", message));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What a broker says of a topic.
    async fn ask(&self, name: &TopicName) -> Result<Option<TopicDescription>> {
        let asked = name.clone();
        let described = self.call(move |client| {
            let topics = [asked.as_str()];
            match describe_topics(client, &topics, FIRST_ANSWER_MAX) {
                // The client goes on waiting for the broker it took for the controller, until it looks brokers up anew.
                Err(timeout @ Code::OperationTimedOut) => {
                    let refreshed =
                        client.fetch_metadata(Some(asked.as_str()), ANSWER_MAX - FIRST_ANSWER_MAX);
                    refreshed.map_err(|_| timeout)?;
                    describe_topics(client, &topics, FIRST_ANSWER_MAX)
                }
                answered => answered,
            }
        });
        match described.await?.into_iter().next() {
            Some(Ok(topic)) if !topic.partitions.is_empty() => Ok(Some(topic)),
            Some(Err(code)) if !is_missing(code) => Err(self.failed(code)),
            _ => Ok(None),
        }
    }

    /// Waits until a broker that is asked knows of a change that was made.
    pub(crate) async fn settled(
        &self,
        name: &TopicName,
        is_done: impl Fn(Option<&TopicDescription>) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + ANSWER_MAX;
        loop {
            let now = self.ask(name).await?;
            if is_done(now.as_ref()) && !self.memory.is_of_before(name, now.as_ref()) {
                self.memory.note(name, now.as_ref());
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.failed(Code::RequestTimedOut));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// How a topic is kept that is known to be there.
    pub(crate) async fn config(&self, name: &TopicName) -> Result<ConfigResource> {
        let deadline = Instant::now() + DOUBT_MAX;
        loop {
            let mut configs = self.configs(&[name.as_str()]).await?;
            if let Some(config) = configs.remove(name.as_str()) {
                return Ok(config);
            }
            if Instant::now() >= deadline {
                let message = format!(
                    "Kafka does not tell the settings of '{name}': it was deleted, or an ACL is missing"
                );
                return Err(Error::new(ErrorKind::Denied, "kafka_denied", message).with_field("topic"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// How topics are kept, by name; ones that the broker does not know, or does not tell of, are left out.
    pub(crate) async fn configs(&self, names: &[&str]) -> Result<BTreeMap<String, ConfigResource>> {
        let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        if asked.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answers = self.client.describe_configs(&asked, &Admin::options()).await;
        let answers = answers.map_err(|error| self.failed_with(error))?;
        // An error of one comes as no settings at all.
        let told = answers.into_iter().flatten().filter(|resource| !resource.entries.is_empty());
        let named = told.filter_map(|resource| match &resource.specifier {
            OwnedResourceSpecifier::Topic(name) => Some((name.clone(), resource)),
            _ => None,
        });
        Ok(named.collect())
    }

    /// See `Upstream::describe`.
    pub(crate) async fn describe(&self, name: &TopicName) -> Result<Described> {
        let led = self.led(name).await;
        if led.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            self.batching.forget(name);
        }
        let (id, count) = led?;
        let (config, earliest, latest, high) = futures::try_join!(
            self.config(name),
            self.offsets(name, count, At::Earliest, Isolation::Uncommitted),
            self.offsets(name, count, At::Latest, Isolation::Committed),
            self.offsets(name, count, At::Latest, Isolation::Uncommitted),
        )?;
        if let Some(bytes) = value(&config, "max.message.bytes").and_then(|bytes| bytes.parse().ok()) {
            self.batching.fit(name, bytes).await;
        }
        // Asked for at the same time, so each may be older than the other.
        let at_least = |offsets: Vec<Option<u64>>, least: &[u64]| -> Vec<u64> {
            offsets.iter().zip(least).map(|(&offset, &least)| offset.unwrap_or(0).max(least)).collect()
        };
        let earliest = at_least(earliest, &vec![0; count as usize]);
        let latest = at_least(latest, &earliest);
        let high = at_least(high, &latest);
        Ok(Described { id, spec: spec(name.clone(), count, &config), earliest, latest, high })
    }

    /// See `Upstream::seek`.
    pub(crate) async fn seek(&self, name: &TopicName, time_ms: i64) -> Result<Sought> {
        if time_ms == i64::MAX {
            return self.ends(name).await;
        }
        let (id, count) = self.led(name).await?;
        // The ends first: what is appended in between is not later than them.
        let ends = self.offsets(name, count, At::Latest, Isolation::Committed).await?;
        let found = self.offsets(name, count, At::Time(time_ms), Isolation::Committed).await?;
        let offsets = found.iter().zip(ends).map(|(&found, end)| found.or(end).unwrap_or(0)).collect();
        Ok(Sought { id, offsets })
    }

    /// Pages of history ask for the ends alone, of a topic that is known by then: it is looked up meanwhile whether it is
    /// still the same.
    async fn ends(&self, name: &TopicName) -> Result<Sought> {
        let mut known = self.memory.partitions(name);
        loop {
            let count = match known {
                Some(count) => count,
                None => self.led(name).await?.1,
            };
            let ends = self.offsets(name, count, At::Latest, Isolation::Committed);
            let (topic, ends) = futures::try_join!(self.topic(name), ends)?;
            if topic.partitions.len() == count as usize {
                let offsets = ends.into_iter().map(|end| end.unwrap_or(0)).collect();
                return Ok(Sought { id: topic.id, offsets });
            }
            known = None;
        }
    }

    /// One offset of each partition. Leaders that are new, or move, are asked again.
    async fn offsets(
        &self,
        name: &TopicName,
        count: u32,
        at: At,
        isolation: Isolation,
    ) -> Result<Vec<Option<u64>>> {
        let deadline = Instant::now() + ANSWER_MAX;
        let mut is_again = false;
        loop {
            let asked = name.clone();
            let answers = self.call(move |client| {
                if is_again {
                    // Who leads is remembered by the client, and looked up anew by this alone.
                    let _ = client.fetch_metadata(Some(asked.as_str()), ANSWER_MAX);
                }
                let partitions: Vec<i32> = (0..).take(count as usize).collect();
                match list_offsets(client, (asked.as_str(), &partitions), at, isolation, FIRST_ANSWER_MAX) {
                    // It knows no leader of any of them.
                    Err(none @ Code::NoEnt) => {
                        Ok(partitions.into_iter().map(|one| (one, Err(none))).collect())
                    }
                    answered => answered,
                }
            });
            let answers = answers.await?;
            let failure =
                answers.iter().find_map(|(partition, one)| Some((*partition, *one.as_ref().err()?)));
            let Some((partition, code)) = failure else {
                let offsets: Vec<_> = answers.into_iter().filter_map(|(_, offset)| offset.ok()).collect();
                // A partition that was not answered for would move all behind it.
                let is_whole = offsets.len() == count as usize;
                return if is_whole { Ok(offsets) } else { Err(self.failed(Code::BadMessage)) };
            };
            if Instant::now() >= deadline {
                let message = format!("partition {partition} of '{name}' has no leader that answers");
                let unavailable = Error::new(ErrorKind::Unavailable, "log_unavailable", message);
                return Err(unavailable.with_source(code));
            }
            if code == Code::TopicAuthorizationFailed {
                return Err(self.failed(code));
            }
            // It may have been deleted since it was described, or have lost leaders.
            self.led(name).await?;
            tokio::time::sleep(LOOK_AGAIN).await;
            is_again = true;
        }
    }

    /// How many of the brokers that keep a topic answer within that time, and how many there are; `None` when it is not known
    /// which.
    pub(crate) async fn answering(&self, name: &TopicName, within: Duration) -> Option<(usize, usize)> {
        let brokers = self.memory.brokers(name);
        let options = &AdminOptions::new().request_timeout(Some(within));
        let asked = brokers.iter().map(async |&broker| {
            let answer = self.client.describe_configs(&[ResourceSpecifier::Broker(broker)], options).await;
            // A refusal is an answer too.
            answer.is_ok_and(|of| of.iter().all(|one| !matches!(one, Err(code) if is_silence(*code))))
        });
        let answered =
            futures::future::join_all(asked).await.into_iter().filter(|answered| *answered).count();
        (!brokers.is_empty()).then_some((answered, brokers.len()))
    }

    /// Why records of a topic waited their whole time in vain, if it can be seen.
    pub(crate) async fn diagnose(&self, name: &TopicName) -> Result<Option<String>> {
        let topic = self.topic(name).await?;
        let config = self.config(name).await?;
        let wanted =
            value(&config, "min.insync.replicas").and_then(|wanted| wanted.parse().ok()).unwrap_or(1);
        let count = topic.partitions.len();
        let leaderless = topic.partitions.iter().filter(|one| one.leader.is_none()).count();
        let few = topic.partitions.iter().filter(|one| one.in_sync.len() < wanted).count();
        Ok(match (leaderless, few) {
            (0, 0) => None,
            (0, few) => Some(format!(
                "{few} of {count} partitions of '{name}' have fewer replicas in sync than its `min.insync.replicas` = {wanted}"
            )),
            (leaderless, _) => Some(format!("{leaderless} of {count} partitions of '{name}' have no leader")),
        })
    }
}

/// The settings of a topic, in the words of dualstream.
pub(crate) fn spec(name: TopicName, partitions: u32, config: &ConfigResource) -> TopicSpec {
    let number = |setting| value(config, setting).and_then(|value| value.parse::<u64>().ok());
    let is_appended = value(config, "message.timestamp.type") == Some("LogAppendTime");
    let is_compacted = value(config, "cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    TopicSpec {
        name,
        partitions,
        timestamp: if is_appended { TimestampKind::Append } else { TimestampKind::Create },
        cleanup: if is_compacted { Cleanup::Compact } else { Cleanup::Delete },
        // Kafka's word for no bound is -1, which is no `u64`; what is only compacted is not kept by time either.
        retention_ms: number("retention.ms").filter(|_| is_deleted(config)),
        // Kafka bounds each partition.
        retention_bytes: number("retention.bytes")
            .filter(|_| is_deleted(config))
            .map(|bytes| bytes.saturating_mul(u64::from(partitions))),
    }
}

fn is_deleted(config: &ConfigResource) -> bool {
    value(config, "cleanup.policy").is_none_or(|policy| policy.contains("delete"))
}

pub(crate) fn value<'a>(config: &'a ConfigResource, setting: &str) -> Option<&'a str> {
    config.get(setting)?.value.as_deref()
}

/// Whether no broker said anything.
fn is_silence(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::Authentication
            | Code::SSL
    )
}

fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId
    )
}

pub(crate) fn unknown(name: &TopicName) -> Error {
    let message = format!("there is no topic '{name}'");
    Error::new(ErrorKind::NotFound, "unknown_topic", message).with_field("topic")
}
