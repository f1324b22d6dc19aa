//! Redis answers, hangs, dies and comes back on its port.

use dualstream_services::background::State;
use dualstream_services::{Background, Redis, Service, redis};

#[test]
fn it_dies_and_comes_back_on_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Redis::start(dir.path(), false).unwrap();
    redis::ping(server.address).unwrap();
    server.process.pause().unwrap();
    assert!(redis::ping(server.address).is_err(), "it hangs");
    server.process.resume().unwrap();
    redis::ping(server.address).unwrap();
    server.process.kill().unwrap();
    assert!(redis::ping(server.address).is_err());
    server.restart().unwrap();
    redis::ping(server.address).unwrap();
    let address = server.address;
    drop(server);
    assert!(redis::ping(address).is_err(), "it ends with the value");
}

#[test]
fn in_the_background_it_goes_up_and_down() {
    let dir = tempfile::tempdir().unwrap();
    let background = Background::of(dir.path());
    let _down = Down(&background);
    assert_eq!(background.status(Service::Redis).unwrap(), []);
    let started = background.up(Service::Redis).unwrap();
    let states =
        || background.status(Service::Redis).unwrap().into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    assert_eq!(states(), [State::Up]);
    let again = background.up(Service::Redis).unwrap_err().to_string();
    assert!(again.contains("redis is up already"), "{again}");
    assert_eq!(background.down(Service::Redis).unwrap(), 1);
    assert!(redis::ping(started[0].address).is_err());
    assert_eq!(states(), []);
    assert_eq!(background.down(Service::Redis).unwrap(), 0);
}

/// A test that failed leaves no server behind.
struct Down<'a>(&'a Background);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = self.0.down(Service::Redis);
    }
}
