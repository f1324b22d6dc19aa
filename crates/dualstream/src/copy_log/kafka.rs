//! Apache Kafka as a side of a copy.

use super::sides::{Held, PAGE_BYTES, Source, Target};
use dualstream_backends::kafka::{KafkaTopics, KafkaUpstream, Settings};
use dualstream_core::Result;
use dualstream_core::log::{Appended, Part, Span};
use dualstream_core::mirror::{FirstGeneration, Run, Upstream, epoch_of};
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What its client is set to unless it was said otherwise.
const PROPERTIES: [(&str, &str); 2] = [
    // A record that cannot be stored ends the client, before a later one is stored.
    ("enable.gapless.guarantee", "true"),
    // Brokers may take long to come back: whoever copies has the time.
    ("delivery.timeout.ms", "120000"),
];

/// The topics of a Kafka cluster.
pub struct KafkaSide {
    upstream: KafkaUpstream,
    topics: KafkaTopics,
}

impl KafkaSide {
    /// Clients of the cluster at `host:port`, several with commas; nothing is asked of it yet.
    ///
    /// # Errors
    /// `invalid_setting` names a property that cannot be set, and why.
    pub fn new(bootstrap: &str, properties: &BTreeMap<String, String>) -> Result<KafkaSide> {
        let mut all = properties.clone();
        for (name, value) in PROPERTIES {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let upstream = KafkaUpstream::new(Settings::new(bootstrap, all)?)?;
        let topics = upstream.topics(Arc::new(FirstGeneration));
        Ok(KafkaSide { upstream, topics })
    }
}

impl Source for KafkaSide {
    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicName>>> {
        async {
            let names = self.topics.list().await?.into_iter().map(|topic| topic.spec.name);
            Ok(names.filter(|name| !name.is_internal()).collect())
        }
        .boxed()
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Held>> {
        async {
            let now = self.upstream.describe(topic).await?;
            let epoch = epoch_of(now.id, now.spec.partitions, 0);
            Ok(Held { epoch, spec: now.spec, earliest: now.earliest, latest: now.latest })
        }
        .boxed()
    }

    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span) -> BoxFuture<'a, Result<Run>> {
        self.upstream.fetch(topic, span, PAGE_BYTES)
    }

    fn may_repeat(&self) -> bool {
        true
    }
}

impl Target for KafkaSide {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        self.topics.create(spec).map(|created| created.map(drop)).boxed()
    }

    fn append(&self, part: Part) -> BoxFuture<'_, Result<Vec<Appended>>> {
        let stored = self.upstream.append(vec![part]);
        async { Ok(stored.await?.into_iter().flatten().collect()) }.boxed()
    }

    fn settles_after(&self) -> Duration {
        Duration::from_secs(1)
    }
}
