//! How to reach a cluster, and what may be said about the clients of it.

use super::client;
use dualstream_core::{Error, Result};
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A cluster and the properties of its clients.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    bootstrap: String,
    properties: BTreeMap<String, String>,
}

/// What may be said of a property.
enum Rule {
    /// Nothing.
    Fixed,
    /// A whole number from the first to the second.
    Between(u64, u64),
}

/// Properties that keep events safe, or that this program uses itself: with the rule, and why. Aliases are apart.
const RULES: [(&str, Rule, &str); 30] = [
    ("bootstrap.servers", Rule::Fixed, "the addresses are the setting `kafka` itself"),
    ("metadata.broker.list", Rule::Fixed, "the addresses are the setting `kafka` itself"),
    ("enable.idempotence", Rule::Fixed, "without it a retry stores a record twice or out of order"),
    ("acks", Rule::Fixed, "an event is acknowledged only when all replicas in sync have it"),
    ("request.required.acks", Rule::Fixed, "an event is acknowledged only when all replicas in sync have it"),
    (
        "transactional.id",
        Rule::Fixed,
        "a topic of events has one kind of writer, which makes no transactions",
    ),
    ("max.in.flight", Rule::Between(1, 5), "with more, the broker cannot tell a repeated record"),
    (
        "max.in.flight.requests.per.connection",
        Rule::Between(1, 5),
        "with more, the broker cannot tell a repeated record",
    ),
    ("partitioner", Rule::Fixed, "a key has the same partition for all programs that speak to Kafka"),
    ("delivery.report.only.error", Rule::Fixed, "every record is answered"),
    (
        "delivery.timeout.ms",
        Rule::Between(1_000, 900_000),
        "who publishes waits so long for a broker, and not for ever",
    ),
    (
        "message.timeout.ms",
        Rule::Between(1_000, 900_000),
        "who publishes waits so long for a broker, and not for ever",
    ),
    ("queue.buffering.max.messages", Rule::Between(1, 10_000_000), "what waits for a broker is bounded"),
    (
        "queue.buffering.max.kbytes",
        Rule::Between(1_024, 16 << 20),
        "what waits for a broker is bounded, and has room for an event",
    ),
    ("allow.auto.create.topics", Rule::Fixed, "topics are created with settings of their own, or not at all"),
    ("enable.auto.commit", Rule::Fixed, "where reading goes on is kept by this program"),
    ("auto.commit.enable", Rule::Fixed, "where reading goes on is kept by this program"),
    ("enable.auto.offset.store", Rule::Fixed, "where reading goes on is kept by this program"),
    ("auto.offset.reset", Rule::Fixed, "a place that is gone is told, never replaced by another"),
    ("isolation.level", Rule::Fixed, "what is not committed is never read"),
    (
        "fetch.queue.backoff.ms",
        Rule::Between(0, 10),
        "a reader that has room waits no longer for the next records",
    ),
    (
        "queued.max.messages.kbytes",
        Rule::Fixed,
        "what is fetched and not taken yet is bounded by this program",
    ),
    ("fetch.max.bytes", Rule::Fixed, "what is fetched and not taken yet is bounded by this program"),
    ("fetch.wait.max.ms", Rule::Fixed, "how long a fetch waits is part of how soon records are read"),
    (
        "fetch.error.backoff.ms",
        Rule::Fixed,
        "how soon a fetch that failed is tried again is part of how soon it heals",
    ),
    ("check.crcs", Rule::Fixed, "records that were damaged on their way are noticed"),
    ("enable.partition.eof", Rule::Fixed, "this program asks for the ends of partitions where it needs them"),
    ("log.queue", Rule::Fixed, "this program takes what its clients log by itself"),
    ("group.protocol", Rule::Fixed, "partitions are assigned by this program, not by a group"),
    ("group.instance.id", Rule::Fixed, "partitions are assigned by this program, not by a group"),
];

/// How much may wait for a broker unless it is set.
const QUEUE_KBYTES_DEFAULT: u64 = 128 * 1024;
const QUEUE_RECORDS_DEFAULT: u64 = 500_000;
/// How long a record may wait for its outcome unless it is set: a failed broker is replaced in 10 to 20 s.
const DELIVERY_MS_DEFAULT: u64 = 30_000;

impl Settings {
    /// Checks addresses (`host:port`, several with commas) and properties of librdkafka
    /// (<https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>).
    ///
    /// # Errors
    /// `invalid_setting` names the setting and says what is wrong with it, or why it cannot be set.
    pub fn new(bootstrap: &str, properties: BTreeMap<String, String>) -> Result<Settings> {
        let addresses: Vec<&str> = bootstrap.split(',').map(str::trim).collect();
        if !addresses.iter().all(|address| is_address(address)) {
            let message =
                format!("an address of Kafka is host:port, several with commas, and not '{bootstrap}'");
            return Err(Error::invalid("invalid_setting", "kafka", message));
        }
        for (name, value) in &properties {
            check(name, value)?;
        }
        let settings = Settings { bootstrap: addresses.join(","), properties };
        for config in [client::producer(&settings), client::consumer(&settings), client::admin(&settings)] {
            config.create_native_config().map_err(|error| refused(&error))?;
        }
        Ok(settings)
    }

    /// Where the cluster is asked for its brokers first.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Properties as they were given.
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// Bytes of records that may wait for a broker.
    pub(crate) fn queue_bytes_max(&self) -> usize {
        let kbytes = self.number("queue.buffering.max.kbytes").unwrap_or(QUEUE_KBYTES_DEFAULT);
        usize::try_from(kbytes * 1024).unwrap_or(usize::MAX)
    }

    /// Records that may wait for a broker.
    pub(crate) fn queue_records_max(&self) -> usize {
        let records = self.number("queue.buffering.max.messages").unwrap_or(QUEUE_RECORDS_DEFAULT);
        usize::try_from(records).unwrap_or(usize::MAX)
    }

    /// Bytes of a batch of the producer, if that is set.
    pub(crate) fn batch_bytes(&self) -> Option<u64> {
        self.number("batch.size")
    }

    /// How long a record may wait for its outcome.
    pub(crate) fn delivery_max(&self) -> Duration {
        let given =
            ["delivery.timeout.ms", "message.timeout.ms"].into_iter().find_map(|name| self.number(name));
        Duration::from_millis(given.unwrap_or(DELIVERY_MS_DEFAULT))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.properties.get(name)?.parse().ok()
    }
}

fn is_address(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check(name: &str, value: &str) -> Result<()> {
    if !cfg!(feature = "kafka-tls") && needs_tls(name, value) {
        let message = "this program was built without TLS to Kafka: build it with the feature `kafka-tls`";
        return Err(Error::invalid("invalid_setting", format!("kafka.{name}"), message));
    }
    let Some((_, rule, why)) = RULES.iter().find(|(known, ..)| *known == name) else { return Ok(()) };
    let message = match rule {
        Rule::Fixed => format!("`kafka.{name}` cannot be set: {why}"),
        Rule::Between(least, most) => match value.parse::<u64>() {
            Ok(number) if (*least..=*most).contains(&number) => return Ok(()),
            _ => format!("`kafka.{name}` is a number from {least} to {most}: {why}"),
        },
    };
    Err(Error::invalid("invalid_setting", format!("kafka.{name}"), message))
}

/// What librdkafka can do only with OpenSSL; it would say so with less clear words, or later.
fn needs_tls(name: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    match name {
        "security.protocol" => value.ends_with("SSL"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("SCRAM") || value == "OAUTHBEARER",
        _ => {
            ["ssl.", "enable.ssl.", "https.", "sasl.oauthbearer."].iter().any(|start| name.starts_with(start))
        }
    }
}

/// A property that librdkafka does not take. Its value is not told: it may be a secret.
pub(crate) fn refused(error: &KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, why, name, _) => {
            Error::invalid("invalid_setting", format!("kafka.{name}"), format!("`kafka.{name}`: {why}"))
        }
        KafkaError::ClientCreation(why) => {
            Error::invalid("invalid_setting", "kafka", format!("the client of Kafka cannot be made: {why}"))
        }
        other => Error::invalid("invalid_setting", "kafka", other.to_string()),
    }
}

/// Without values: passwords are among them.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("Settings").field("bootstrap", &self.bootstrap).field("properties", &names).finish()
    }
}

#[cfg(test)]
mod tests;
