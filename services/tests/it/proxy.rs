//! The fault proxy: each fault is seen from both sides, and ends.

use dualstream_services::Proxy;
use dualstream_services::proxy::{Counts, Flow, Then};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Nothing here takes so long.
const MAX: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_secs(3600);

/// A server whose side of each connection the test has.
struct Server {
    address: SocketAddr,
    accepted: Receiver<TcpStream>,
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn server() -> Server {
    let (listener, address) = listen();
    let (sender, accepted) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if sender.send(stream.unwrap()).is_err() {
                return;
            }
        }
    });
    Server { address, accepted }
}

/// One that sends everything back.
fn echo() -> SocketAddr {
    let (listener, address) = listen();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &stream, &mut &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

impl Server {
    fn next(&self) -> TcpStream {
        patient(self.accepted.recv_timeout(MAX).unwrap())
    }
}

fn connect(proxy: &Proxy) -> TcpStream {
    patient(TcpStream::connect(proxy.address()).unwrap())
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(MAX)).unwrap();
    stream
}

/// Both ends of a connection through the proxy.
fn pair(proxy: &Proxy, server: &Server) -> (TcpStream, TcpStream) {
    (connect(proxy), server.next())
}

fn gets(mut stream: &TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

fn sends(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

fn is_reset(mut stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.read(&mut byte), Err(error) if error.kind() == ErrorKind::ConnectionReset)
}

/// Nothing waits to be read now.
fn is_quiet(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let quiet = matches!(stream.read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    quiet
}

fn until(proxy: &Proxy, is_seen: impl Fn(&Counts) -> bool) {
    proxy.until(MAX, "what was sent", is_seen).unwrap();
}

#[test]
fn without_faults_everything_passes_both_ways_and_so_does_the_end() {
    let proxy = Proxy::start(echo()).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7) as u8).collect();
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let (stream, bytes) = (connect(&proxy), bytes.clone());
            std::thread::spawn(move || {
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        sends(&stream, &bytes);
                        stream.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut back = Vec::new();
                    (&stream).read_to_end(&mut back).unwrap();
                    assert!(back == bytes);
                });
            })
        })
        .collect();
    // Pauses in the middle lose nothing.
    for _ in 0..20 {
        proxy.both(Flow::Held);
        proxy.heal();
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    until(&proxy, |counts| counts.open == 0);
    let counts = proxy.counts();
    assert_eq!((counts.accepted, counts.resets, counts.requests.dropped), (12, 0, 0));
    assert_eq!((counts.requests.passed, counts.responses.passed), (36_000_000, 36_000_000));
}

#[test]
fn what_is_delayed_comes_later_and_in_order() {
    let (server, delay) = (server(), Duration::from_millis(30));
    let proxy = Proxy::start(server.address).unwrap();
    let (client, stream) = pair(&proxy, &server);
    proxy.requests(Flow::Delayed(delay));
    let began = Instant::now();
    sends(&client, b"one");
    until(&proxy, |counts| counts.requests.taken == 3);
    sends(&client, b"two");
    gets(&stream, b"onetwo");
    assert!(began.elapsed() >= delay);
    proxy.requests(Flow::Delayed(NEVER));
    sends(&client, b"three");
    until(&proxy, |counts| counts.requests.taken == 11);
    assert_eq!(proxy.counts().requests.passed, 6);
    sends(&stream, b"the other way is open");
    gets(&client, b"the other way is open");
    proxy.heal();
    gets(&stream, b"three");
}

#[test]
fn what_is_slow_takes_its_time_and_holds_up_who_sends() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let (client, stream) = pair(&proxy, &server);
    proxy.responses(Flow::Slow { bytes_per_s: 20_000 });
    let began = Instant::now();
    sends(&stream, &[7; 4_000]);
    gets(&client, &[7; 4_000]);
    // All but the last piece have been waited for.
    assert!(began.elapsed() >= Duration::from_millis(140), "{:?}", began.elapsed());
    proxy.responses(Flow::Slow { bytes_per_s: 1 });
    let sender = std::thread::spawn(move || sends(&stream, &vec![8; 20 << 20]));
    until(&proxy, |counts| counts.responses.taken > 1 << 20);
    assert!(proxy.counts().responses.taken < 2 << 20);
    proxy.heal();
    gets(&client, &vec![8; 20 << 20]);
    sender.join().unwrap();
}

#[test]
fn what_is_held_goes_on_when_it_is_healed() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let (client, stream) = pair(&proxy, &server);
    proxy.both(Flow::Held);
    sends(&client, b"question");
    sends(&stream, b"answer");
    until(&proxy, |counts| counts.requests.taken == 8 && counts.responses.taken == 6);
    assert!(is_quiet(&client) && is_quiet(&stream));
    // Neither end of a held connection hears of the other's.
    client.shutdown(Shutdown::Write).unwrap();
    proxy.heal();
    gets(&stream, b"question");
    gets(&client, b"answer");
    assert_eq!((&stream).read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_server_does_it_and_the_answer_is_lost() {
    for flow in [Flow::Held, Flow::Dropped] {
        let server = server();
        let proxy = Proxy::start(server.address).unwrap();
        let (client, stream) = pair(&proxy, &server);
        proxy.responses(flow);
        sends(&client, b"append");
        gets(&stream, b"append");
        sends(&stream, b"done");
        until(&proxy, |counts| counts.responses.taken == 4);
        assert!(is_quiet(&client));
        proxy.heal();
        match flow {
            Flow::Held => gets(&client, b"done"),
            _ => assert!(is_reset(&client)),
        }
    }
}

#[test]
fn a_black_hole_keeps_connections_open_and_what_lost_bytes_is_reset_after() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let (loser, stream) = pair(&proxy, &server);
    let (idle, idle_stream) = pair(&proxy, &server);
    proxy.both(Flow::Dropped);
    sends(&loser, b"lost");
    until(&proxy, |counts| counts.requests.dropped == 4);
    assert!(is_quiet(&loser) && is_quiet(&stream));
    // Who comes now is connected to nothing.
    let newcomer = connect(&proxy);
    until(&proxy, |counts| counts.open == 3);
    assert!(server.accepted.try_recv().is_err());
    proxy.heal();
    assert!(is_reset(&loser) && is_reset(&stream));
    sends(&idle, b"still here");
    gets(&idle_stream, b"still here");
    sends(&newcomer, b"hello");
    gets(&server.next(), b"hello");
    assert_eq!(proxy.counts().resets, 1);
}

/// A sender is held up, not the proxy's memory filled.
#[test]
fn what_is_held_is_bounded() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let (client, stream) = pair(&proxy, &server);
    proxy.requests(Flow::Held);
    let total = 20 << 20;
    let sender = std::thread::spawn(move || sends(&client, &vec![7; total]));
    until(&proxy, |counts| counts.requests.taken >= 1 << 20);
    assert!(proxy.counts().requests.taken < 2 << 20);
    proxy.heal();
    gets(&stream, &vec![7; total]);
    sender.join().unwrap();
}

#[test]
fn connections_are_reset_on_both_sides() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let pairs: Vec<_> = (0..12).map(|_| pair(&proxy, &server)).collect();
    assert_eq!(proxy.reset(), 12);
    assert!(pairs.iter().all(|(client, stream)| is_reset(client) && is_reset(stream)));
    assert_eq!(proxy.reset(), 0);
    let (client, stream) = pair(&proxy, &server);
    sends(&client, b"again");
    gets(&stream, b"again");
    // One side's reset is told the other.
    drop(client);
    sends(&stream, b"x");
    until(&proxy, |counts| counts.responses.taken == 1);
    assert_eq!((&stream).read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn stranded_connections_are_silent_for_good_and_new_ones_pass() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let (client, stream) = pair(&proxy, &server);
    sends(&client, b"before");
    gets(&stream, b"before");
    assert_eq!(proxy.strand(), 1);
    sends(&client, b"lost");
    sends(&stream, b"lost");
    let (new, new_stream) = pair(&proxy, &server);
    sends(&new, b"new");
    gets(&new_stream, b"new");
    proxy.heal();
    assert_eq!((proxy.counts().requests.passed, proxy.counts().responses.passed), (9, 0));
    for side in [&client, &stream] {
        side.set_nonblocking(true).unwrap();
        let mut side = side;
        assert_eq!(side.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "nobody is told");
        side.set_nonblocking(false).unwrap();
    }
    assert_eq!(proxy.reset(), 2);
    assert!(is_reset(&client) && is_reset(&stream));
}

#[test]
fn new_connections_are_refused_and_old_ones_go_on() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let (client, stream) = pair(&proxy, &server);
    for _ in 0..3 {
        proxy.refuse();
        let error = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        sends(&client, b"old");
        gets(&stream, b"old");
        // The port is kept: nobody else can have it.
        assert!(TcpListener::bind(proxy.address()).is_err());
        proxy.heal();
        let (new, new_stream) = pair(&proxy, &server);
        sends(&new, b"new");
        gets(&new_stream, b"new");
    }
}

#[test]
fn a_connection_is_cut_after_so_many_bytes() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let (client, stream) = pair(&proxy, &server);
    proxy.requests(Flow::CutAfter { bytes: 10, then: Then::Reset });
    sends(&client, b"0123456");
    gets(&stream, b"0123456");
    sends(&client, b"789abc");
    assert!(is_reset(&client));
    until(&proxy, |counts| counts.resets == 1);
    assert_eq!(proxy.counts().requests.passed, 10);
    let (client, stream) = pair(&proxy, &server);
    sends(&client, b"once only");
    gets(&stream, b"once only");
}

#[test]
fn a_direction_falls_silent_after_so_many_bytes() {
    let server = server();
    let proxy = Proxy::start(server.address).unwrap();
    let pairs = [pair(&proxy, &server), pair(&proxy, &server)];
    proxy.responses(Flow::CutAfter { bytes: 4, then: Then::Hold });
    for (client, stream) in &pairs {
        sends(stream, b"abc");
        until(&proxy, |counts| counts.responses.taken >= 3);
        sends(client, b"heard");
        gets(stream, b"heard");
    }
    until(&proxy, |counts| counts.responses.taken == 6);
    assert_eq!(proxy.counts().responses.passed, 4);
    proxy.heal();
    pairs.iter().for_each(|(client, _)| gets(client, b"abc"));
}

#[test]
fn new_connections_go_to_a_new_target() {
    let (first, second) = (server(), server());
    let proxy = Proxy::start(first.address).unwrap();
    let (client, stream) = pair(&proxy, &first);
    proxy.set_target(second.address);
    let (other, other_stream) = pair(&proxy, &second);
    sends(&client, b"first");
    sends(&other, b"second");
    gets(&stream, b"first");
    gets(&other_stream, b"second");
}

#[test]
fn without_a_target_clients_are_reset() {
    let (listener, address) = listen();
    let proxy = Proxy::start(address).unwrap();
    drop(listener);
    assert!(is_reset(&connect(&proxy)));
    until(&proxy, |counts| counts.unanswered == 1 && counts.open == 0);
}

#[test]
fn what_is_not_seen_is_told() {
    let proxy = Proxy::start(echo()).unwrap();
    let error = proxy.until(Duration::from_millis(20), "a client", |counts| counts.accepted > 0).unwrap_err();
    assert!(error.to_string().contains("the proxy saw a client not within 20ms"), "{error}");
}
