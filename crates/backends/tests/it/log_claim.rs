//! One log under one prefix.

use crate::redis_server::Server;
use dualstream_backends::redis::{Commands, LogClaim};
use dualstream_core::ErrorKind;
use dualstream_core::bus::Health;
use dualstream_core::log_id::LogId;
use dualstream_core::registry::LEASE;
use dualstream_core::testing::{ManualClock, SeededEntropy};
use std::sync::Arc;

pub(crate) fn claim(commands: &Arc<Commands>, log: LogId) -> LogClaim {
    LogClaim::new(commands.clone(), log, Arc::new(ManualClock::new(7)), Arc::new(SeededEntropy::new(1)))
}

fn kafka(cluster: &str, topic: &str) -> LogId {
    LogId::Kafka { cluster: cluster.into(), topic: topic.into() }
}

/// Nobody else's: with a sentence that names the setting and the mend.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_log_is_refused() {
    let server = Server::start();
    let all = [
        LogId::Embedded(0xfeed),
        LogId::Embedded(0xbeef),
        kafka("cluster", "events"),
        kafka("cluster", "others"),
        kafka("else", "events"),
    ];
    for (n, first) in all.iter().enumerate() {
        let commands = server.commands();
        claim(&commands, first.clone()).take().await.unwrap();
        for (_, second) in all.iter().enumerate().filter(|(m, _)| *m != n) {
            let second = claim(&commands, second.clone());
            let error = second.take().await.unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "log_conflict"));
            assert_eq!(error.field(), Some("bus.prefix"));
            assert!(error.message().contains(&first.to_string()), "{error}");
            assert!(error.message().contains(&format!("'{}'", commands.prefix())), "{error}");
            assert!(error.mend().unwrap().contains("bus.prefix"));
            assert!(matches!(second.health(), Health::Down { .. }));
        }
        let other_prefix = server.commands();
        claim(&other_prefix, LogId::Embedded(1)).take().await.unwrap();
    }
}

/// Nodes of one Kafka cluster, and an embedded log that crashed and starts again at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_log_is_let_in_at_once() {
    let server = Server::start();
    for log in [LogId::Embedded(5), kafka("cluster", "events")] {
        let commands = server.commands();
        for _ in 0..3 {
            let claim = claim(&commands, log.clone());
            claim.take().await.unwrap();
            assert_eq!(claim.health(), Health::Up);
        }
        let key = format!("{}log", commands.prefix());
        assert_eq!(server.keys(commands.prefix()), [key]);
    }
}

/// A claim nobody renews ends, and one that is renewed does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_a_lease() {
    let server = Server::start();
    let commands = server.commands();
    let (first, second) = (claim(&commands, LogId::Embedded(1)), claim(&commands, LogId::Embedded(2)));
    first.take().await.unwrap();
    for _ in 0..3 {
        server.age(commands.prefix(), LEASE * 3 / 4);
        first.take().await.unwrap();
        second.take().await.unwrap_err();
    }
    server.age(commands.prefix(), LEASE);
    second.take().await.unwrap();
    assert_eq!(first.take().await.unwrap_err().code(), "log_conflict", "it was away for too long");
}

/// An embedded log's is given up, so that another may begin; Kafka's belongs to other nodes too.
#[tokio::test(flavor = "multi_thread")]
async fn who_stops_gives_up_what_is_its_own() {
    let server = Server::start();
    let commands = server.commands();
    let embedded = claim(&commands, LogId::Embedded(1));
    embedded.take().await.unwrap();
    embedded.keep(async {}).await;
    let shared = claim(&commands, kafka("cluster", "events"));
    shared.take().await.unwrap();
    embedded.keep(async {}).await;
    shared.keep(async {}).await;
    assert_eq!(claim(&commands, LogId::Embedded(2)).take().await.unwrap_err().code(), "log_conflict");
}

/// Nobody can say then; the conflict is told when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_nobody_is_refused() {
    let mut server = Server::start();
    let commands = server.commands();
    server.redis().process.kill().unwrap();
    let late = claim(&commands, LogId::Embedded(1));
    assert_eq!(late.take().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let Health::Down { since_ms: 7, reason } = late.health() else { panic!("{:?}", late.health()) };
    assert!(reason.contains("refused"), "{reason}");
    server.redis().restart().unwrap();
    claim(&server.commands_under(commands.prefix()), LogId::Embedded(2)).take().await.unwrap();
    let mut error = late.take().await.unwrap_err();
    // The failure to connect may be told once more.
    while error.kind() == ErrorKind::Unavailable {
        error = late.take().await.unwrap_err();
    }
    assert_eq!(error.code(), "log_conflict");
    let Health::Down { reason, .. } = late.health() else { panic!("{:?}", late.health()) };
    assert!(reason.contains("another log"), "{reason}");
}

/// What Kafka's nodes claim by is told by the brokers, and the same through each client.
#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_cluster_has_one_id() {
    let cluster = crate::cluster::shared();
    let (first, second) = (cluster.upstream(&[]), cluster.upstream(&[]));
    let id = first.cluster_id().await.unwrap();
    assert!(!id.is_empty());
    assert_eq!(second.cluster_id().await.unwrap(), id);
}
