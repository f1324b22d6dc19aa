//! Sentinels make another server the master: when asked, when it is gone, and without a word to its clients.

use dualstream_services::background::State;
use dualstream_services::redis::{Client, Sentinel, Setup, Value};
use dualstream_services::{Background, Service, redis};
use std::time::Duration;

/// Nothing here takes so long.
const MAX: Duration = Duration::from_secs(20);

#[test]
fn a_replica_becomes_the_master() {
    let dir = tempfile::tempdir().unwrap();
    let mut sentinel = Setup::new().start_sentinel(dir.path(), 3).unwrap();
    assert_eq!(sentinel.master().unwrap(), Some(0));
    let second = sentinel.fail_over().unwrap();
    assert_ne!(second, 0);
    sentinel.until_watched().unwrap();
    sentinel.servers[second].process.kill().unwrap();
    let third = sentinel.until_master_is_not(second).unwrap();
    sentinel.servers[second].restart().unwrap();
    sentinel.until_watched().unwrap();
    assert_eq!(sentinel.master().unwrap(), Some(third));
    sentinel.servers[third].command(&["SET", "written", "there"]).unwrap();
}

#[test]
fn proxies_and_a_password_stand_before_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new().proxied().user("app", "secret");
    let mut sentinel = setup.start_sentinel(dir.path(), 1).unwrap();
    assert_eq!(sentinel.master().unwrap(), Some(0));
    let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinel::MASTER];
    let told = sentinel.sentinels[0].command(&asked).unwrap();
    let port = sentinel.servers[0].endpoint().port().to_string();
    assert_eq!(told.array().unwrap()[1], Value::Text(port), "the proxy is told, not the server");
    sentinel.servers[0].process.kill().unwrap();
    sentinel.until_master_is_not(0).unwrap();
}

#[test]
fn a_detached_master_keeps_its_subscribers_and_is_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let sentinel = Setup::new().start_sentinel(dir.path(), 1).unwrap();
    let mut subscriber = Client::connect(sentinel.servers[0].endpoint(), MAX).unwrap();
    subscriber.command(&["SUBSCRIBE", "c"]).unwrap();
    let new = sentinel.detach().unwrap();
    assert_eq!(sentinel.master().unwrap(), Some(new));
    sentinel.servers[new].command(&["PUBLISH", "c", "lost"]).unwrap();
    sentinel.servers[0].command(&["PUBLISH", "c", "heard"]).unwrap();
    let heard = subscriber.read().unwrap();
    assert_eq!(heard.array().unwrap()[2], Value::Text("heard".into()));
    assert_eq!(sentinel.servers[0].info("role").unwrap(), "master");
}

#[test]
fn in_the_background_sentinels_and_clusters_go_up_and_down() {
    let dir = tempfile::tempdir().unwrap();
    let background = Background::of(dir.path());
    for (service, count, roles) in [(Service::Sentinel, 6, 2), (Service::Cluster, 6, 1)] {
        let started = background.up(service).unwrap();
        assert_eq!(started.len(), count);
        assert_eq!(started.chunk_by(|one, next| one.role == next.role).count(), roles);
        let states = background.status(service).unwrap();
        assert!(states.iter().all(|(_, state)| *state == State::Up), "{states:?}");
        assert_eq!(background.down(service).unwrap(), count);
        assert!(started.iter().all(|server| redis::ping(server.address).is_err()));
    }
}
