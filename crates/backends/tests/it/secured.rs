//! Clusters that want to know who is there: the right words let in, wrong ones are told with the setting to look at.

use crate::cluster::{name, topics, upstream};
use crate::publish::{part, stored};
use dualstream_core::mirror::Upstream;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind};
use dualstream_services::kafka::{Security, Setup};

const PLAIN: [(&str, &str); 2] = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN")];

async fn told(bootstrap: &str, properties: &[(&str, &str)]) -> Error {
    let error = upstream(bootstrap, properties).describe(&name("t")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_and_a_wrong_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = Setup::new(1).secured(Security::Sasl).user("alice", "secret1").start(dir.path()).unwrap();
    let with = |password| [&PLAIN[..], &[("sasl.username", "alice"), ("sasl.password", password)]].concat();
    let upstream = upstream(&kafka.bootstrap(), &with("secret1"));
    let topic = topics(&upstream).create(TopicSpec::events(name("sasl"))).await.unwrap().spec.name;
    assert_eq!(stored(&upstream, part(&topic, 7, 0..3)).await, [0, 1, 2]);

    let error = told(&kafka.bootstrap(), &with("wrong")).await;
    assert!(error.message().contains("`kafka.sasl.password`"), "{error}");
    assert!(!error.message().contains("wrong"), "{error}");
    // A client that thinks nobody asks.
    let error = told(&kafka.bootstrap(), &[]).await;
    assert!(error.message().contains("`kafka.security.protocol`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_client_at_a_port_of_tls_names_the_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = Setup::new(1).secured(Security::Tls).start(dir.path()).unwrap();
    let error = told(&kafka.bootstrap(), &[]).await;
    assert!(error.message().contains("`kafka.security.protocol`"), "{error}");
}

#[cfg(feature = "kafka-tls")]
mod tls {
    use super::*;
    use dualstream_services::Kafka;

    /// The certificate of who signed the broker's.
    fn authority(kafka: &Kafka) -> String {
        kafka.authority().unwrap().certificate().to_str().unwrap().to_owned()
    }

    async fn stores(kafka: &Kafka, properties: &[(&str, &str)]) {
        let upstream = upstream(&kafka.bootstrap(), properties);
        let topic = topics(&upstream).create(TopicSpec::events(name("tls"))).await.unwrap().spec.name;
        assert_eq!(stored(&upstream, part(&topic, 7, 0..3)).await, [0, 1, 2]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn scram_lets_in() {
        let dir = tempfile::tempdir().unwrap();
        let kafka =
            Setup::new(1).secured(Security::SaslTls).user("alice", "secret1").start(dir.path()).unwrap();
        let authority = authority(&kafka);
        let own = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", "alice"),
            ("sasl.password", "secret1"),
            ("ssl.ca.location", &authority),
        ];
        stores(&kafka, &own).await;
        // An authority that is not known.
        let error = told(&kafka.bootstrap(), &own[..4]).await;
        assert!(error.message().contains("`kafka.ssl.ca.location`"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_certificate_of_the_client_lets_in() {
        let dir = tempfile::tempdir().unwrap();
        let kafka = Setup::new(1).secured(Security::Tls).client_certificates().start(dir.path()).unwrap();
        let authority = authority(&kafka);
        let certificate = kafka.authority().unwrap().issue_pem("client").unwrap();
        let certificate = certificate.to_str().unwrap();
        let own = [
            ("security.protocol", "ssl"),
            ("ssl.ca.location", &authority),
            ("ssl.certificate.location", certificate),
            ("ssl.key.location", certificate),
        ];
        stores(&kafka, &own).await;
        // Who shows none.
        let error = told(&kafka.bootstrap(), &own[..2]).await;
        assert!(error.message().contains("`kafka.ssl.certificate.location`"), "{error}");
    }
}
