//! Real clusters: one for all tests that leave it whole, and ones of their own for those that do not.

use dualstream_backends::kafka::{KafkaTopics, KafkaUpstream, Settings};
use dualstream_core::mirror::FirstGeneration;
use dualstream_core::topic::TopicName;
use dualstream_services::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A cluster, ended with the value.
pub(crate) struct Cluster {
    pub(crate) kafka: Mutex<Kafka>,
    _dir: tempfile::TempDir,
}

/// The cluster of three brokers that tests share. It ends with the last test that has it: nothing is dropped when a
/// program of tests ends.
pub(crate) fn shared() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(Cluster::start(3));
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

impl Cluster {
    /// One of its own, to be broken.
    pub(crate) fn start(brokers: usize) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let kafka = Kafka::start(dir.path(), brokers, false).unwrap();
        Cluster { kafka: Mutex::new(kafka), _dir: dir }
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.kafka.lock().unwrap().bootstrap()
    }

    /// Sets something of a topic, `name=value`, as whoever runs the cluster does.
    pub(crate) fn set(&self, topic: &TopicName, setting: &str) {
        let of_topic = ["--alter", "--entity-type", "topics", "--entity-name", topic.as_str()];
        let set = [&of_topic[..], &["--add-config", setting]].concat();
        self.kafka.lock().unwrap().tool("kafka.admin.ConfigCommand", &set).unwrap();
    }

    /// Creates a topic all partitions of which are kept by these brokers (node ids), acknowledged by one of them.
    pub(crate) async fn create_at(&self, topic: &TopicName, brokers: &[i32]) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create().unwrap();
        let places = [brokers; 12];
        let new = NewTopic::new(topic.as_str(), 12, TopicReplication::Variable(&places));
        let new = new.set("min.insync.replicas", "1");
        let created = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
        created.into_iter().for_each(|topic| drop(topic.unwrap()));
    }

    pub(crate) fn upstream(&self, properties: &[(&str, &str)]) -> KafkaUpstream {
        upstream(&self.bootstrap(), properties)
    }
}

pub(crate) fn upstream(bootstrap: &str, properties: &[(&str, &str)]) -> KafkaUpstream {
    let own: BTreeMap<_, _> =
        properties.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    KafkaUpstream::new(Settings::new(bootstrap, own).unwrap()).unwrap()
}

pub(crate) fn topics(upstream: &KafkaUpstream) -> KafkaTopics {
    upstream.topics(Arc::new(FirstGeneration))
}

/// A name no other test has.
pub(crate) fn name(text: &str) -> TopicName {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    TopicName::new(&format!("{text}-{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap()
}
