//! How a server ends: in order when it is told to once, at once when it is told twice.

use crate::event_source::EventSource;
use crate::program::finish;
use crate::server::{ANY, Server};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

#[test]
fn an_open_stream_does_not_hold_up_an_ordered_end() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(folder.path());
        let mut stream = EventSource::open(server.address, "/v1/stream?channel=events:*");
        publish(&server, "before");
        assert!(stream.next().unwrap().data.contains("before"));
        server.signal(signal);
        server.until_logged("stopping");
        assert!(stream.next().is_none(), "the stream ends");
        server.until_logged("stopped");
        assert_eq!(server.exit_code(), Some(0), "{signal}");
        let server = Server::start(folder.path());
        assert_eq!(server.client(&["replay", "events:*"]).json_lines().len(), 1);
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let folder = tempfile::tempdir().unwrap();
        let patient =
            ["--set", "shutdown_max=1h", "--set", "http.body_grace=1h", "--set", "http.header_max=1h"];
        let mut server = Server::start_with(folder.path(), ANY, &patient);
        let held = half_a_request(&server);
        server.signal("INT");
        server.until_logged("stopping");
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(code));
        drop(held);
    }
}

/// A publish whose body does not come: the server has said that it waits for it.
fn half_a_request(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\
                Expect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(socket.try_clone().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
    socket
}

fn publish(server: &Server, text: &str) {
    let mut feed = crate::program::dualstream();
    feed.args([
        "--server",
        &server.url(),
        "publish",
        "--type",
        "t",
        "--source-type",
        "s",
        "--source-id",
        "i",
    ]);
    finish(feed.args(["--data", &format!("\"{text}\"")]).spawn().unwrap()).succeeded();
}
