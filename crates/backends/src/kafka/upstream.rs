//! Kafka behind the seam of a mirror.

use super::describe::{ANSWER_MAX, Admin};
use super::diagnoses::Diagnoses;
use super::producer::{Health, Producer};
use super::topics::KafkaTopics;
use super::{Settings, outcome, range::Ranges, tail};
use dualstream_core::Result;
use dualstream_core::log::{Appended, Part, Span};
use dualstream_core::mirror::{Described, Epochs, Run, Sought, Tail, Upstream};
use dualstream_core::topic::TopicName;
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::sync::Arc;
use std::time::Duration;

/// How long is looked for the reason of a failure before it is told without.
const DIAGNOSIS_MAX: Duration = Duration::from_secs(2);

/// A Kafka cluster as the log that holds the truth.
pub struct KafkaUpstream {
    settings: Settings,
    producer: Producer,
    admin: Admin,
    ranges: Ranges,
    diagnoses: Diagnoses,
}

impl KafkaUpstream {
    /// Clients of the cluster; nothing is asked of it yet.
    pub fn new(settings: Settings) -> Result<KafkaUpstream> {
        let ranges = Ranges::new(&settings)?;
        let producer = Producer::new(settings.clone())?;
        let admin = Admin::new(&settings, producer.health(), producer.batching())?;
        Ok(KafkaUpstream { settings, producer, admin, ranges, diagnoses: Diagnoses::default() })
    }

    /// The topics of the cluster, in the epochs that `epochs` says.
    pub fn topics(&self, epochs: Arc<dyn Epochs>) -> KafkaTopics {
        KafkaTopics::new(self.admin.clone(), epochs)
    }

    /// Id of the cluster, as its brokers tell it.
    ///
    /// # Errors
    /// `log_unavailable` when none of them does in time.
    pub async fn cluster_id(&self) -> Result<String> {
        self.admin.call(|client| client.fetch_cluster_id(ANSWER_MAX).ok_or(Code::OperationTimedOut)).await
    }

    /// Says why records waited in vain: it is the cluster that has to be looked at, and often one setting of it.
    async fn explain(&self, topics: &[TopicName], outcomes: &mut [Vec<Appended>]) {
        let mut told: Option<(&TopicName, Option<String>)> = None;
        for (topic, outcomes) in topics.iter().zip(outcomes) {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome::is_timed_out(outcome)) {
                if told.as_ref().is_none_or(|(of, _)| *of != topic) {
                    let why = self.why(topic).await;
                    if let Some(why) = &why {
                        self.producer.health().explain(topic, why);
                    }
                    told = Some((topic, why));
                }
                if let Some((_, Some(why))) = &told {
                    outcome::explain(outcome, why);
                }
            }
        }
    }

    async fn why(&self, topic: &TopicName) -> Option<String> {
        let look = || look(self.admin.clone(), self.producer.health(), topic.clone()).boxed();
        self.diagnoses.of(topic, look).await
    }
}

/// Why records of a topic wait in vain.
async fn look(admin: Admin, health: Arc<Health>, topic: TopicName) -> Option<String> {
    let diagnosis = tokio::time::timeout(DIAGNOSIS_MAX, admin.diagnose(&topic));
    let (diagnosis, answering) = futures::join!(diagnosis, admin.answering(&topic, DIAGNOSIS_MAX));
    let unreachable = || Some(health.unreachable().message().to_owned());
    match (diagnosis, answering) {
        (Ok(Ok(Some(why))), _) => Some(why),
        (_, Some((0, _))) => unreachable(),
        (_, Some((some, all))) if some < all => {
            Some(format!("{some} of the {all} brokers that keep '{topic}' answer"))
        }
        (Ok(Ok(None)), _) => None,
        (Ok(Err(error)), _) => Some(error.message().to_owned()),
        (Err(_), _) => unreachable(),
    }
}

impl Upstream for KafkaUpstream {
    fn append(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<Vec<Vec<Appended>>>> {
        let topics: Vec<TopicName> = parts.iter().map(|part| part.topic.clone()).collect();
        // Taken here and not when the future is first asked: in the order of the calls.
        let taken = self.producer.append(parts);
        Box::pin(async move {
            let mut outcomes = taken?.await;
            if outcomes.iter().flatten().any(outcome::is_timed_out) {
                // In memory of its own, that calls which do not need it are small.
                self.explain(&topics, &mut outcomes).boxed().await;
            }
            Ok(outcomes)
        })
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Described>> {
        // Topics that are known are described once a second.
        self.ranges.tend();
        Box::pin(self.admin.describe(topic))
    }

    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span, bytes_max: usize) -> BoxFuture<'a, Result<Run>> {
        Box::pin(self.ranges.fetch(topic, span, bytes_max))
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Sought>> {
        Box::pin(self.admin.seek(topic, time_ms))
    }

    fn tail(&self) -> Result<Box<dyn Tail>> {
        tail::open(&self.settings)
    }
}
