//! Redis answers, hangs, dies and comes back on its port; it tells who subscribes; passwords and TLS are asked for.

use dualstream_services::background::State;
use dualstream_services::proxy::Flow;
use dualstream_services::redis::{Client, Setup, Value};
use dualstream_services::{Background, Redis, Service, redis};
use std::process::Command;
use std::time::Duration;

/// Nothing here takes so long.
const MAX: Duration = Duration::from_secs(20);

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
fn subscribers_are_counted_and_get_what_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), false).unwrap();
    let mut subscriber = Client::connect(server.endpoint(), MAX).unwrap();
    subscriber.command(&["SUBSCRIBE", "events:user:a b"]).unwrap();
    assert_eq!(server.subscribers(&["events:user:a b", "nobody's"]).unwrap(), [1, 0]);
    assert_eq!(server.channels().unwrap(), ["events:user:a b"]);
    assert_eq!(server.command(&["PUBLISH", "events:user:a b", "{\"é\":1}\r\n"]).unwrap(), Value::Integer(1));
    let words = ["message", "events:user:a b", "{\"é\":1}\r\n"].map(|word| Value::Text(word.into()));
    assert_eq!(subscriber.read().unwrap(), Value::Array(words.to_vec()));
    assert_eq!(server.command(&["GET", "nothing"]).unwrap(), Value::Nil);
    let refused = format!("{:#}", server.command(&["INCR"]).unwrap_err());
    assert!(refused.contains("INCR") && refused.contains("wrong number of arguments"), "{refused}");
    server.configure("maxmemory", "1mb").unwrap();
    assert_eq!(server.info("maxmemory").unwrap(), "1048576");
}

#[test]
fn a_proxy_stands_between_it_and_its_clients_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Setup::new().proxied().start(dir.path()).unwrap();
    redis::ping(server.endpoint()).unwrap();
    server.proxy.as_ref().unwrap().both(Flow::Held);
    assert!(redis::ping(server.endpoint()).is_err());
    server.command(&["PING"]).unwrap();
    server.proxy.as_ref().unwrap().heal();
    server.process.kill().unwrap();
    server.restart().unwrap();
    redis::ping(server.endpoint()).unwrap();
}

#[test]
fn a_password_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Setup::new().user("app", "secret").start(dir.path()).unwrap();
    let mut client = Client::connect(server.endpoint(), MAX).unwrap();
    let refused = format!("{:#}", client.command(&["PING"]).unwrap_err());
    assert!(refused.contains("NOAUTH"), "{refused}");
    let refused = format!("{:#}", client.command(&["AUTH", "app", "wrong"]).unwrap_err());
    assert!(refused.contains("WRONGPASS"), "{refused}");
    client.command(&["AUTH", "app", "secret"]).unwrap();
    client.command(&["PING"]).unwrap();
    server.command(&["PING"]).unwrap();
}

#[test]
fn tls_is_asked_for_and_its_authority_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let server = Setup::new().tls().proxied().start(dir.path()).unwrap();
    assert!(redis::ping(server.endpoint()).is_err(), "it is no plain server");
    server.command(&["PING"]).unwrap();
    let port = server.endpoint().port().to_string();
    let ping = |trusted: &[&str]| {
        let mut cli = Command::new("redis-cli");
        let said = cli.args(["-h", "127.0.0.1", "-p", &port, "--tls"]).args(trusted).arg("PING").output();
        String::from_utf8(said.unwrap().stdout).unwrap()
    };
    let authority = server.authority().unwrap().certificate();
    assert_eq!(ping(&["--cacert", authority.to_str().unwrap()]), "PONG\n");
    assert_eq!(ping(&[]), "", "nobody else trusts that authority");
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
