//! The bus over more than one server of Redis, and over TLS.

#[cfg(feature = "redis-tls")]
use crate::log_claim::claim;
use crate::running::{Running, conforms, message, next, settings, until_heard};
use dualstream_backends::redis::Settings;
#[cfg(feature = "redis-tls")]
use dualstream_backends::redis::{Address, Commands};
use dualstream_core::bus::{Bus, Delivery};
#[cfg(feature = "redis-tls")]
use dualstream_core::log_id::LogId;
use dualstream_services::redis::{Sentinel, Setup};
use futures::StreamExt;
#[cfg(feature = "redis-tls")]
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

fn sentinel_at(sentinel: &Sentinel) -> Settings {
    let hosts: Vec<String> = sentinel.addresses().iter().map(ToString::to_string).collect();
    settings(&format!("redis+sentinel://{}/{}", hosts.join(","), Sentinel::MASTER))
}

/// The master fails: Sentinel names another one, and everything goes on there.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sentinel = Setup::new().start_sentinel(dir.path(), 3).unwrap();
    let running = Running::start(sentinel_at(&sentinel));
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    let master = sentinel.master().unwrap().unwrap();
    sentinel.servers[master].process.kill().unwrap();
    running.until_down().await;
    sentinel.until_master_is_not(master).unwrap();
    running.until_up().await;
    assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    until_heard(&running, &mut stream, "chat:a").await;
}

/// The master is taken away without a word: it answers as ever, and nobody else is there any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_detached_master_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let sentinel = Setup::new().start_sentinel(dir.path(), 3).unwrap();
    let probe_interval = Duration::from_millis(500);
    let running = Running::start(Settings { probe_interval, ..sentinel_at(&sentinel) });
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    let new = sentinel.detach().unwrap();
    assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    assert_eq!(sentinel.servers[new].subscribers(&["chat:a"]).unwrap(), [1]);
    let mut others = sentinel.servers[new].client().unwrap();
    others.send(&["SUBSCRIBE", "chat:b"]).unwrap();
    others.read().unwrap();
    while sentinel.servers[new].command(&["PUBLISH", "chat:a", "of others"]).unwrap().integer().unwrap() == 0
    {
    }
    assert_eq!(next(&mut stream).await, message("chat:a", "of others"));
    // The publishing connection follows.
    while running.bus.counters().publisher_reconnects.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    running.publish("chat:b", "after");
    assert_eq!(others.read().unwrap().array().unwrap()[2].text().unwrap(), "after");
}

/// Any node of a Cluster brings what is published on any other; one that dies is left for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_one_bus() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Setup::new().start_cluster(dir.path(), false).unwrap();
    let hosts: Vec<String> = cluster.servers.iter().map(|server| server.endpoint().to_string()).collect();
    let at = || settings(&format!("redis+cluster://{}", hosts.join(",")));
    conforms(at).await;
    let running = Running::start(Settings { probe_interval: Duration::from_millis(500), ..at() });
    running.until_up().await;
    let names: Vec<String> = (0..50).map(|n| format!("chat:{n}")).collect();
    let mut streams = futures::future::join_all(names.iter().map(|name| running.subscribe(name))).await;
    for (server, name) in cluster.servers.iter().cycle().zip(&names) {
        server.command(&["PUBLISH", name, "1"]).unwrap();
    }
    for (stream, name) in streams.iter_mut().zip(&names) {
        assert_eq!(next(stream).await, message(name, "1"));
    }
    // That which publishes, so none of what is subscribed is lost.
    cluster.servers[0].process.kill().unwrap();
    while running.bus.counters().publisher_reconnects.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    running.until_up().await;
    running.bus.publish(names.iter().map(|name| message(name, "2")).collect());
    for (stream, name) in streams.iter_mut().zip(&names) {
        assert_eq!(next(stream).await, message(name, "2"));
    }
}

/// A node that left its Cluster without a word answers as ever: connections go on to the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_cut_off_from_its_cluster_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Setup::new().start_cluster(dir.path(), false).unwrap();
    let probe_interval = Duration::from_millis(500);
    let hosts: Vec<String> = cluster.servers.iter().map(|server| server.endpoint().to_string()).collect();
    let at = settings(&format!("redis+cluster://{}", hosts.join(",")));
    let running = Running::start(Settings { probe_interval, connections: 1, ..at });
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    assert_eq!(cluster.servers[1].subscribers(&["chat:a"]).unwrap(), [1]);
    cluster.servers[1].command(&["CLUSTER", "RESET", "SOFT"]).unwrap();
    assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    until_heard(&running, &mut stream, "chat:a").await;
    assert_eq!(cluster.servers[1].subscribers(&["chat:a"]).unwrap(), [0]);
}

/// With TLS it is a bus for whoever trusts the server's certificate; others are told why not.
#[cfg(feature = "redis-tls")]
#[tokio::test(flavor = "multi_thread")]
async fn tls_lets_in_who_trusts_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().tls().user("app", "secret1").start(dir.path()).unwrap();
    let roots = std::fs::read(redis.authority().unwrap().certificate()).unwrap();
    let with = |address: Address| Settings { address, ..settings("redis://127.0.0.1") };
    let address =
        Address::parse(&format!("rediss://app@{}", redis.endpoint())).unwrap().with_password("secret1");
    conforms(|| with(address.clone().with_root_certificates(roots.clone()))).await;
    let stranger = Running::start(with(address));
    let reason = stranger.until_down().await;
    assert!(reason.contains("certificate"), "{reason}");
}

/// The same behind Sentinels, which speak TLS too, and in a Cluster, classic and sharded; each with a user.
#[cfg(feature = "redis-tls")]
#[tokio::test(flavor = "multi_thread")]
async fn tls_lets_in_to_whoever_sentinels_and_clusters_name() {
    let dir = tempfile::tempdir().unwrap();
    let secured = Setup::new().tls().user("app", "secret1");
    let sentinel = secured.start_sentinel(&dir.path().join("sentinel"), 1).unwrap();
    let roots = std::fs::read(sentinel.servers[0].authority().unwrap().certificate()).unwrap();
    let url = format!("rediss+sentinel://app:secret1@{}/{}", sentinel.addresses()[0], Sentinel::MASTER);
    is_let_in(&url, &roots, false).await;
    let cluster = secured.start_cluster(&dir.path().join("cluster"), false).unwrap();
    let roots = std::fs::read(cluster.servers[0].authority().unwrap().certificate()).unwrap();
    // The others are named by the one.
    let url = format!("rediss+cluster://app:secret1@{}", cluster.servers[0].endpoint());
    for sharded in [false, true] {
        is_let_in(&url, &roots, sharded).await;
    }
    let names: Vec<String> = (0..20).map(|n| format!("claim-{n}:")).collect();
    let address = Address::parse(&url).unwrap().with_root_certificates(roots);
    for name in &names {
        let commands = Arc::new(Commands::new(address.clone(), name, Duration::from_secs(5)));
        claim(&commands, LogId::Embedded(1)).take().await.unwrap();
    }
}

/// Whoever knows password and certificate, and nobody else.
#[cfg(feature = "redis-tls")]
async fn is_let_in(url: &str, roots: &[u8], sharded: bool) {
    let with = |address: Address| Settings { address, sharded, ..settings("redis://127.0.0.1") };
    let address = Address::parse(url).unwrap();
    let trusted = address.clone().with_root_certificates(roots.to_vec());
    let running = Running::start(with(trusted.clone()));
    running.until_up().await;
    for name in (0..20).map(|n| format!("chat:{n}")) {
        let mut stream = running.subscribe(&name).await;
        running.publish(&name, "1");
        assert_eq!(next(&mut stream).await, message(&name, "1"));
    }
    for (wrong, word) in [(trusted.with_password("wrong"), "WRONGPASS"), (address, "certificate")] {
        let reason = Running::start(with(wrong)).until_down().await;
        assert!(reason.contains(word) && !reason.contains("secret1"), "{reason}");
    }
}
