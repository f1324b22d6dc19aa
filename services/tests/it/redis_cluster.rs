//! A cluster shares its slots, tells its clients where each is, and moves them.

use dualstream_services::redis::{Client, Setup};
use std::time::Duration;

/// Nothing here takes so long.
const MAX: Duration = Duration::from_secs(20);

#[test]
fn slots_move_with_their_keys_and_subscribers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Setup::new().proxied().start_cluster(dir.path(), false).unwrap();
    assert_eq!(cluster.servers.len(), 3);
    let slot = cluster.slot("events:repo:a/b").unwrap();
    let from = cluster.owner(slot).unwrap();
    let to = (from + 1) % 3;
    cluster.servers[from].command(&["SET", "events:repo:a/b", "kept"]).unwrap();
    let mut subscriber = Client::connect(cluster.servers[from].endpoint(), MAX).unwrap();
    subscriber.command(&["SSUBSCRIBE", "events:repo:a/b"]).unwrap();
    cluster.move_slot(slot, to).unwrap();
    assert_eq!(cluster.owner(slot).unwrap(), to);
    assert_eq!(cluster.servers[to].command(&["GET", "events:repo:a/b"]).unwrap().text().unwrap(), "kept");
    let told = subscriber.read().unwrap();
    assert_eq!(told.array().unwrap()[0].text().unwrap(), "sunsubscribe");
    let moved = format!("{:#}", cluster.servers[from].command(&["GET", "events:repo:a/b"]).unwrap_err());
    let there = cluster.servers[to].endpoint().to_string();
    assert!(moved.contains("MOVED") && moved.contains(&there), "the proxy is named: {moved}");
}

#[test]
fn a_replica_takes_over_from_its_master() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Setup::new().user("app", "secret").start_cluster(dir.path(), true).unwrap();
    let slot = cluster.slot("events:user:a").unwrap();
    let master = cluster.owner(slot).unwrap();
    cluster.servers[master].process.kill().unwrap();
    cluster.until_whole().unwrap();
    assert_eq!(cluster.owner(slot).unwrap(), master + 3, "its replica");
    cluster.servers[master].restart().unwrap();
    cluster.until_whole().unwrap();
    assert_eq!(cluster.servers[master].info("role").unwrap(), "slave");
}
