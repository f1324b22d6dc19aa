//! What each kind of client is configured with. Properties that are given come first, then what may not be given.

use super::Settings;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Of the one producer.
pub(crate) fn producer(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    // While requests are under way records gather by themselves. So waiting for more is short: under load 1 ms fills
    // batches, and on a quiet node it is all that an event waits.
    config.set("linger.ms", "1").set("max.in.flight", "5");
    common(&mut config, settings);
    config.remove("message.timeout.ms").remove("max.in.flight.requests.per.connection");
    let in_flight = ["max.in.flight", "max.in.flight.requests.per.connection"]
        .into_iter()
        .find_map(|name| settings.properties().get(name));
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight", in_flight.map_or("5", String::as_str))
        .set("partitioner", "murmur2_random")
        .set("delivery.report.only.error", "false")
        .set("delivery.timeout.ms", settings.delivery_max().as_millis().to_string())
        // What waits is bounded before it comes to librdkafka: 0 lifts its bound of messages.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", i32::MAX.to_string());
    config
}

/// Of consumers that are assigned partitions; what they need beside is theirs to set.
pub(crate) fn consumer(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("group.id", "dualstream").set("fetch.queue.backoff.ms", "5");
    common(&mut config, settings);
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        // Its log would come between the messages, and is the producer's once more: the brokers are the same.
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// Of the client for administration.
pub(crate) fn admin(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    common(&mut config, settings);
    // Of the producer alone: a client that is not idempotent is not made with it.
    config.remove("enable.gapless.guarantee");
    // Nobody takes its log, which the producer's says once more: what is not written needs no room.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config
}

fn common(config: &mut ClientConfig, settings: &Settings) {
    config
        .set("client.id", "dualstream")
        // A broker that hangs is left after 10 s, one that came back is found within 1 s.
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        // Brokers close connections that idle.
        .set("log.connection.close", "false")
        // A topic that is made takes less to be known to all brokers; one that is missing is told after it.
        .set("topic.metadata.propagation.max.ms", "5000");
    for (name, value) in settings.properties() {
        config.set(name, value);
    }
    config.set("bootstrap.servers", settings.bootstrap()).set("allow.auto.create.topics", "false");
    config.set_log_level(RDKafkaLogLevel::Info);
}

/// What librdkafka says goes to the log of this program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said;

impl ClientContext for Said {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "kafka client: {reason}");
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Said {}

/// A line of librdkafka's log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
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
