//! What may be set, what may not, and what the clients are in effect.

use super::*;
use rdkafka::config::NativeClientConfig;

fn settings(properties: &[(&str, &str)]) -> Result<Settings> {
    let own = properties.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Settings::new("127.0.0.1:9092", own)
}

#[test]
fn what_safety_fixes_is_in_effect() {
    // Properties that are given stay beside it.
    let settings = settings(&[("linger.ms", "3"), ("queued.min.messages", "77")]).unwrap();
    let producer = client::producer(&settings).create_native_config().unwrap();
    let consumer = client::consumer(&settings).create_native_config().unwrap();
    let wanted_of_producer = [
        ("metadata.broker.list", "127.0.0.1:9092"),
        ("enable.idempotence", "true"),
        ("request.required.acks", "-1"),
        ("max.in.flight.requests.per.connection", "5"),
        ("partitioner", "murmur2_random"),
        ("delivery.report.only.error", "false"),
        ("allow.auto.create.topics", "false"),
        ("message.timeout.ms", "30000"),
        ("queue.buffering.max.ms", "3"),
    ];
    let wanted_of_consumer = [
        ("metadata.broker.list", "127.0.0.1:9092"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("fetch.queue.backoff.ms", "5"),
        ("check.crcs", "true"),
        ("allow.auto.create.topics", "false"),
        ("queued.min.messages", "77"),
    ];
    for (name, value) in wanted_of_producer {
        assert_eq!(in_effect(&producer, name), value, "producer: {name}");
    }
    for (name, value) in wanted_of_consumer {
        assert_eq!(in_effect(&consumer, name), value, "consumer: {name}");
    }
    // librdkafka's own queue is wider than ours, which refuses first.
    assert_eq!(in_effect(&producer, "queue.buffering.max.messages"), "0");
    assert_eq!(in_effect(&producer, "queue.buffering.max.kbytes"), "2147483647");
}

#[test]
fn what_is_set_to_be_logged_is_logged_beside_what_readers_need() {
    for (given, wanted) in
        [(&[][..], "metadata"), (&[("debug", "broker,fetch")][..], "broker,fetch,metadata")]
    {
        let consumer = crate::kafka::tail::config(&settings(given).unwrap());
        assert_eq!(consumer.get("debug"), Some(wanted));
        consumer.create_native_config().unwrap();
    }
}

/// As librdkafka has it, its defaults included.
fn in_effect(config: &NativeClientConfig, name: &str) -> String {
    config.get(name).unwrap()
}

#[test]
fn what_safety_fixes_cannot_be_set() {
    for (name, rule, why) in &RULES {
        let value = if matches!(rule, Rule::Fixed) { "true" } else { "99999999999" };
        let error = settings(&[(name, value)]).unwrap_err();
        assert_eq!(
            (error.code(), error.field()),
            ("invalid_setting", Some(format!("kafka.{name}").as_str()))
        );
        assert!(error.message().contains(why), "{error}");
    }
    for (name, value) in [("max.in.flight", "1"), ("delivery.timeout.ms", "5000"), ("linger.ms", "0.5")] {
        settings(&[(name, value)]).unwrap();
    }
}

#[test]
fn what_librdkafka_does_not_know_is_named() {
    let error = settings(&[("linger.msec", "5")]).unwrap_err();
    assert_eq!((error.code(), error.field()), ("invalid_setting", Some("kafka.linger.msec")));
    let error = settings(&[("linger.ms", "soon")]).unwrap_err();
    assert_eq!(error.field(), Some("kafka.linger.ms"));
}

#[test]
fn addresses_are_host_and_port() {
    for good in ["localhost:9092", "a:1, b:2,[::1]:3", "broker-1.example:9092"] {
        assert!(Settings::new(good, BTreeMap::new()).is_ok(), "{good}");
    }
    for bad in ["", "localhost", ":9092", "localhost:", "a:1,,b:2", "a:99999", "a:0", "a b:1"] {
        let error = Settings::new(bad, BTreeMap::new()).unwrap_err();
        assert_eq!((error.code(), error.field()), ("invalid_setting", Some("kafka")), "{bad}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let settings = settings(&[("sasl.password", "hunter2"), ("sasl.username", "alice")]).unwrap();
    let shown = format!("{settings:?}");
    assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    let error = super::check("max.in.flight", "hunter2").unwrap_err();
    assert!(!error.message().contains("hunter2"));
}

#[test]
#[cfg(not(feature = "kafka-tls"))]
fn what_needs_tls_is_named_without_it() {
    let all = [
        ("security.protocol", "SASL_SSL"),
        ("security.protocol", "ssl"),
        ("ssl.ca.location", "/etc/ca.pem"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
    ];
    for (name, value) in all {
        let error = settings(&[(name, value)]).unwrap_err();
        assert_eq!(error.field(), Some(format!("kafka.{name}").as_str()));
        assert!(error.message().contains("kafka-tls"), "{error}");
    }
    settings(&[("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN")]).unwrap();
}
