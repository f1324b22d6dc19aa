//! The effective configuration of each kind of client.

use super::Settings;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Of the one producer.
pub(crate) fn producer(settings: &Settings) -> ClientConfig {
    let mut config = common(settings);
    config.set("enable.idempotence", "true").set("acks", "all");
    config
}

/// Of consumers that are assigned partitions; what they need beside is theirs to set.
pub(crate) fn consumer(settings: &Settings) -> ClientConfig {
    let mut config = common(settings);
    config
        .set("group.id", "dualstream")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("fetch.queue.backoff.ms", "10");
    config
}

/// Of the client for administration.
pub(crate) fn admin(settings: &Settings) -> ClientConfig {
    common(settings)
}

fn common(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in settings.properties() {
        config.set(name, value);
    }
    config.set("bootstrap.servers", settings.bootstrap()).set("client.id", "dualstream");
    config
}

/// What librdkafka says goes to the log of this program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said;

impl ClientContext for Said {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, "kafka client: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(facility, "kafka client: {message}")
            }
            RDKafkaLogLevel::Debug => tracing::debug!(facility, "kafka client: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "kafka client: {reason}");
    }
}

impl ConsumerContext for Said {}
