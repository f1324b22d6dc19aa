//! Ten thousand clients that connect and say nothing: each is closed in its time, and what they took comes back. The
//! server is a process of its own, so that each has the file descriptors of one.

use crate::program::PATIENCE;
use crate::server::{ANY, Server};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const CLIENTS: usize = 10_000;
/// File descriptors of this process that are somebody else's.
const RESERVED: usize = 2_000;
const HANDSHAKE: &[u8] = b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What a process holds: file descriptors, and bytes of memory.
#[derive(Debug)]
struct Held {
    files: usize,
    bytes: usize,
}

fn held(process: u32) -> Held {
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes = resident.split_whitespace().next().unwrap().parse::<usize>().unwrap();
    Held { files, bytes: kibibytes << 10 }
}

/// How many files this process may open, as it was started.
fn files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

fn open(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.write_all(HANDSHAKE).unwrap();
    socket
}

/// Connects so many, and waits until the server has closed each; what it held in between.
fn wave(server: &Server, count: usize) -> Held {
    let (mut sockets, mut peak) = (Vec::new(), held(server.process()));
    for number in 0..count {
        sockets.push(open(server));
        if number % 500 == 499 {
            // Answered: so nobody waits in the system's queue, which has no room for all.
            sockets[number].peek(&mut [0]).unwrap();
            // A slow machine has closed the first before the last has come.
            let now = held(server.process());
            peak = Held { files: peak.files.max(now.files), bytes: peak.bytes.max(now.bytes) };
        }
    }
    for mut socket in sockets {
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let closed = [&[0x88, 7][..], &3502_u16.to_be_bytes(), b"stale"].concat();
        assert!(answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(&closed), "{answer:?}");
    }
    peak
}

/// Waits until the server has no more files open than before: each connection is closed on its side a moment after it
/// is on ours.
fn until_closed(server: &Server, before: &Held) {
    let begin = Instant::now();
    loop {
        let now = held(server.process());
        if now.files <= before.files {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{} files are open, {} were before", now.files, before.files);
        std::thread::yield_now();
    }
}

#[test]
fn ten_thousand_who_say_nothing_are_closed_and_leave_nothing() {
    let count = CLIENTS.min(files_max().saturating_sub(RESERVED));
    assert!(count >= 500, "a process may open {} files only: ulimit -n", files_max());
    let folder = tempfile::tempdir().unwrap();
    let set = ["--set", "limits.unauthenticated_max=10s", "--set", "limits.close_max=10ms"];
    let server = Server::start_with(folder.path(), ANY, &set);
    wave(&server, 10);
    let before = held(server.process());
    let first = wave(&server, count);
    assert!(first.files > before.files, "{before:?} {first:?}");
    until_closed(&server, &before);
    let second = wave(&server, count / 5);
    let each = (first.bytes - before.bytes) / (first.files - before.files);
    println!("{count} clients: {before:?} before, {first:?} and {second:?} at the most, {each} bytes each");
    assert!(each < 64 << 10, "{each} bytes for a client that says nothing");
    let grown = second.bytes.saturating_sub(first.bytes);
    assert!(grown < first.bytes / 4, "the second wave took {grown} bytes more than the first");
    until_closed(&server, &before);
    server.stop();
}
