//! Kafka with its own tools: one broker and three, one of them killed and started again; with passwords, certificates and
//! fault proxies.

use dualstream_services::kafka::{self, Client, Mechanism, Security, Setup};
use dualstream_services::proxy::Flow;
use dualstream_services::{Kafka, tls};
use std::path::Path;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

#[test]
fn one_broker_takes_topics_and_keeps_them_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Kafka::start(&dir.path().join("kafka"), 1, false).unwrap();
    cluster.tool(TOPICS, &["--create", "--topic", "events", "--partitions", "12"]).unwrap();
    let address = cluster.brokers[0].address;
    cluster.brokers[0].process.kill().unwrap();
    assert!(kafka::brokers_known(address).is_err());
    cluster.restart(0).unwrap();
    let described = cluster.tool(TOPICS, &["--describe", "--topic", "events"]).unwrap();
    assert!(described.contains("PartitionCount: 12"), "{described}");
    let error = cluster.tool(TOPICS, &["--create", "--topic", "events"]).unwrap_err().to_string();
    assert!(error.contains("already exists"), "{error}");
}

#[test]
fn three_brokers_serve_while_one_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Kafka::start(&dir.path().join("kafka"), 3, false).unwrap();
    cluster.brokers[0].process.kill().unwrap();
    cluster.tool(TOPICS, &["--create", "--topic", "events", "--replication-factor", "2"]).unwrap();
    cluster.restart(0).unwrap();
    let described = cluster.tool(TOPICS, &["--describe", "--topic", "events"]).unwrap();
    assert!(described.contains("ReplicationFactor: 2"), "{described}");
    // Without most of the controllers nothing can be decided: they come back together.
    cluster.brokers.iter_mut().for_each(|broker| broker.process.kill().unwrap());
    cluster.restart_ended().unwrap();
    assert!(cluster.tool(TOPICS, &["--list"]).unwrap().contains("events"));
}

#[test]
fn passwords_over_tls_through_a_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let setup =
        Setup::new(1).proxied().secured(Security::SaslTls).user("alice", "secret").user("bob", "other");
    let cluster = setup.start(&dir.path().join("kafka")).unwrap();
    let settings = |mechanism, name, password| {
        let client = Client { password: Some((mechanism, name, password)), certificate: None };
        cluster.client_settings(client).unwrap().to_str().unwrap().to_owned()
    };
    let list = |file: &str| cluster.client_tool(TOPICS, &["--command-config", file, "--list"], "");
    let alice = settings(Mechanism::ScramSha256, "alice", "secret");
    let create = ["--command-config", &alice, "--create", "--topic", "events", "--partitions", "12"];
    cluster.client_tool(TOPICS, &create, "").unwrap();
    let produce = ["--topic", "events", "--producer.config", &alice, "--property", "parse.key=true"];
    let produce = [&produce[..], &["--property", "key.separator=:"]].concat();
    let records: String = (0..100).map(|n| format!("key-{n}:value {n}\n")).collect();
    cluster.client_tool("org.apache.kafka.tools.ConsoleProducer", &produce, &records).unwrap();
    let consume =
        ["--topic", "events", "--consumer.config", &alice, "--from-beginning", "--max-messages", "100"];
    let said = cluster.client_tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &consume, "").unwrap();
    assert!((0..100).all(|n| said.lines().any(|line| line == format!("value {n}"))), "{said}");
    let passed = cluster.brokers[0].proxy.as_ref().unwrap().counts();
    assert!(passed.requests.passed > 0 && passed.responses.passed > 0, "{passed:?}");
    for (mechanism, name, password) in
        [(Mechanism::ScramSha512, "bob", "other"), (Mechanism::Plain, "bob", "other")]
    {
        assert!(list(&settings(mechanism, name, password)).unwrap().contains("events"));
    }
    assert!(cluster.tool(TOPICS, &["--list"]).unwrap().contains("events"), "the inner way asks for nothing");

    let error = list(&settings(Mechanism::ScramSha256, "alice", "wrong")).unwrap_err().to_string();
    assert!(error.contains("SaslAuthenticationException"), "{error}");
    let other = tls::Authority::create(&dir.path().join("other")).unwrap();
    let text = std::fs::read_to_string(&alice).unwrap();
    let own = cluster.authority().unwrap().certificate();
    let foreign = text.replace(own.to_str().unwrap(), other.certificate().to_str().unwrap());
    assert_ne!(text, foreign);
    std::fs::write(&alice, foreign).unwrap();
    let error = list(&alice).unwrap_err().to_string();
    assert!(error.contains("SslAuthenticationException"), "{error}");
}

#[test]
fn certificates_of_clients() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(1).secured(Security::Tls).client_certificates();
    let cluster = setup.setting("message.max.bytes", "4096").start(&dir.path().join("kafka")).unwrap();
    let list = |certificate: Option<&Path>| {
        let file = cluster.client_settings(Client { password: None, certificate }).unwrap();
        cluster.client_tool(TOPICS, &["--command-config", file.to_str().unwrap(), "--list"], "")
    };
    let certificate = cluster.authority().unwrap().issue("client").unwrap();
    list(Some(&certificate)).unwrap();
    let error = list(None).unwrap_err().to_string();
    assert!(error.contains("SslAuthenticationException") || error.contains("SSL"), "{error}");
    let configs = ["--describe", "--all", "--broker", "1"];
    let said = cluster.tool("kafka.admin.ConfigCommand", &configs).unwrap();
    assert!(said.contains("message.max.bytes=4096"), "one more setting");
}

#[test]
fn clients_follow_what_brokers_advertise_to_a_proxy_each() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Setup::new(3).proxied().start(&dir.path().join("kafka")).unwrap();
    let said = cluster.client_tool("org.apache.kafka.tools.BrokerApiVersionsCommand", &[], "").unwrap();
    for broker in &cluster.brokers {
        let proxy = broker.proxy.as_ref().unwrap();
        assert!(said.contains(&format!(":{} (id:", proxy.address().port())), "{said}");
        assert!(!said.contains(&format!(":{} (id:", broker.address.port())), "{said}");
        assert!(proxy.counts().responses.passed > 0, "{:?}", proxy.counts());
        // Clients are cut off, and the cluster does not notice.
        proxy.both(Flow::Dropped);
        proxy.refuse();
    }
    let create = ["--create", "--topic", "events", "--replication-factor", "3", "--partitions", "12"];
    cluster.tool(TOPICS, &create).unwrap();
    cluster.brokers[2].process.kill().unwrap();
    cluster.restart(2).unwrap();
    cluster.brokers.iter().for_each(|broker| broker.proxy.as_ref().unwrap().heal());
    assert!(cluster.client_tool(TOPICS, &["--list"], "").unwrap().contains("events"));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |setup: Setup| setup.start(dir.path()).unwrap_err().to_string();
    assert_eq!(refused(Setup::new(0)), "a cluster has a broker");
    assert_eq!(refused(Setup::new(1).user("alice", "secret")), "users without SASL");
    assert_eq!(refused(Setup::new(1).client_certificates()), "client certificates without TLS");
    let odd = Setup::new(1).secured(Security::Sasl).user("alice", "a]b");
    assert_eq!(refused(odd), "names and passwords of users are of letters and digits");
}
