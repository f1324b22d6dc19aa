//! Balancers with the settings of the guide send requests to the nodes that are there.

use dualstream_services::Balancer;
use dualstream_services::balancer::Kind;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Nothing here takes so long.
const MAX: Duration = Duration::from_secs(20);

/// Answers every request with its name.
fn node(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut request = [0; 4096];
                // A request of these tests is one packet; a check of the balancer hangs up.
                while stream.read(&mut request).is_ok_and(|length| length > 0) {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                    if stream.write_all(head.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(MAX)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_go_to_all_nodes_and_past_one_that_is_away() {
    let away = dualstream_services::ports::free(1).unwrap()[0];
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let dir = tempfile::tempdir().unwrap();
        let nodes = [node("one"), node("two"), away];
        let mut balancer = Balancer::start(kind, &dir.path().join("balancer"), &nodes).unwrap();
        let mut answered = BTreeSet::new();
        for _ in 0..20 {
            let answer = get(balancer.address);
            assert!(answer.starts_with("HTTP/1.1 200"), "{kind:?}: {answer}");
            answered.extend(["one", "two"].into_iter().filter(|name| answer.ends_with(name)));
        }
        assert_eq!(answered.len(), 2, "{kind:?}");
        balancer.process.kill().unwrap();
        let left = TcpStream::connect(balancer.address);
        assert!(left.is_err(), "{kind:?}: nobody listens after its death");
    }
}
