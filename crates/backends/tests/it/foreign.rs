//! Programs that know nothing of dualstream: transactional producers on its topics.

use dualstream_core::log::Part;
use dualstream_core::testing::Foreign;
use dualstream_core::topic::TopicName;
use dualstream_kafka_ffi::{At, Isolation, list_offsets};
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Longest wait for an answer: a bound of failures, not a measure.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Transactional producers of one cluster.
pub(crate) struct Transactions {
    bootstrap: String,
    name: String,
    /// The transaction that is open.
    held: Mutex<Option<BaseProducer>>,
}

impl Transactions {
    /// `name` is what their ids begin with.
    pub(crate) fn new(bootstrap: &str, name: &str) -> Transactions {
        Transactions { bootstrap: bootstrap.into(), name: name.into(), held: Mutex::default() }
    }

    /// A transaction with some records in it.
    fn begin(&self, kind: &str, part: &Part) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("transactional.id", format!("{}-{kind}", self.name));
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(ANSWER_MAX).unwrap();
        producer.begin_transaction().unwrap();
        for record in &part.records {
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, header| {
                let key = std::str::from_utf8(&header.name).unwrap();
                headers.insert(Header { key, value: header.value.as_deref() })
            });
            let sent = BaseRecord {
                topic: part.topic.as_str(),
                partition: i32::try_from(part.partition).ok(),
                payload: record.value.as_deref(),
                key: record.key.as_deref(),
                timestamp: None,
                headers: Some(headers),
                delivery_opaque: (),
            };
            producer.send(sent).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(ANSWER_MAX).unwrap();
        producer
    }

    /// Waits until nothing of a partition is held back.
    fn until_seen(&self, producer: &BaseProducer, topic: &TopicName, partition: u32) {
        let place = (topic.as_str(), &[i32::try_from(partition).unwrap()][..]);
        let end = |isolation| {
            list_offsets(producer.client(), place, At::Latest, isolation, ANSWER_MAX).unwrap()[0].1
        };
        let deadline = Instant::now() + ANSWER_MAX;
        while end(Isolation::Committed) != end(Isolation::Uncommitted) {
            assert!(Instant::now() < deadline, "the transaction is not over");
        }
    }
}

impl Foreign for Transactions {
    fn transaction(&self, part: Part, is_committed: bool) -> BoxFuture<'_, ()> {
        let producer = self.begin("short", &part);
        match is_committed {
            true => producer.commit_transaction(ANSWER_MAX).unwrap(),
            false => producer.abort_transaction(ANSWER_MAX).unwrap(),
        }
        self.until_seen(&producer, &part.topic, part.partition);
        async {}.boxed()
    }

    fn hold<'a>(&'a self, topic: &'a TopicName, partition: u32) -> BoxFuture<'a, ()> {
        let records = vec![Default::default()];
        let part = Part { topic: topic.clone(), partition, records };
        *self.held.lock().unwrap() = Some(self.begin("held", &part));
        async {}.boxed()
    }

    fn release<'a>(&'a self, topic: &'a TopicName, partition: u32) -> BoxFuture<'a, ()> {
        let producer = self.held.lock().unwrap().take().expect("one is held");
        producer.abort_transaction(ANSWER_MAX).unwrap();
        self.until_seen(&producer, topic, partition);
        async {}.boxed()
    }
}
