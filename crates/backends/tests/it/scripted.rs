//! A Cluster of one node that says what a real one says only when a slot moves at the wrong moment.

use dualstream_backends::redis::{Address, Settings};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What its connections share.
#[derive(Default)]
struct Node {
    port: u16,
    /// Who is sent what is published on a channel.
    subscribers: Mutex<BTreeMap<String, TcpStream>>,
    /// The channel whose slot moves away while one is asked for, and that one.
    moves: Mutex<Option<(String, String)>>,
}

/// Settings for a bus at a new node. When `asked` is asked for the first time, the slot of it and of `lost` is just
/// moving away: what is sent of `lost` comes before the answer. It is back at once.
pub(crate) fn node_that_moves(lost: &str, asked: &str) -> Settings {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let moves = Mutex::new(Some((lost.to_owned(), asked.to_owned())));
    let node = Arc::new(Node { port, moves, ..Node::default() });
    // It ends with the program of tests, which is soon.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let node = node.clone();
            thread::spawn(move || node.serve(&stream));
        }
    });
    let address = Address::parse(&format!("redis+cluster://127.0.0.1:{port}")).unwrap();
    Settings { sharded: true, ..Settings::new(address) }
}

fn command(from: &mut impl BufRead) -> Option<Vec<String>> {
    let count = number(from)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(from)? + 2];
        from.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Some(words)
}

/// That of a line like `*3` or `$7`.
fn number(from: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    line.trim().get(1..)?.parse().ok()
}

impl Node {
    fn serve(&self, stream: &TcpStream) {
        let mut reading = BufReader::new(stream);
        while let Some(words) = command(&mut reading) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let answer = self.answer(&words, stream);
            // Whoever hung up is read from no more.
            let _ = (&*stream).write_all(answer.as_bytes());
        }
    }

    fn answer(&self, words: &[&str], to: &TcpStream) -> String {
        match words {
            ["HELLO", ..] => "%1\r\n+proto\r\n:3\r\n".to_owned(),
            ["PING", text] => bulk(text),
            ["CLUSTER", "SLOTS"] => {
                let master = format!("*3\r\n{}:{}\r\n{}", bulk("127.0.0.1"), self.port, bulk("id"));
                format!("*1\r\n*3\r\n:0\r\n:16383\r\n{master}")
            }
            ["CLUSTER", "INFO"] => bulk("cluster_state:ok"),
            ["SSUBSCRIBE", name] => match self.moved(name) {
                Some(lost) => {
                    format!("{}-MOVED 1 127.0.0.1:{}\r\n", push("sunsubscribe", &lost, ":0\r\n"), self.port)
                }
                None => {
                    self.subscribers.lock().unwrap().insert((*name).to_owned(), to.try_clone().unwrap());
                    push("ssubscribe", name, ":1\r\n")
                }
            },
            ["SPUBLISH", name, payload] => match self.subscribers.lock().unwrap().get_mut(*name) {
                Some(subscriber) => {
                    // As above.
                    let _ = subscriber.write_all(push("smessage", name, &bulk(payload)).as_bytes());
                    ":1\r\n".to_owned()
                }
                None => ":0\r\n".to_owned(),
            },
            _ => "+OK\r\n".to_owned(),
        }
    }

    /// What is given up because this is asked for, once.
    fn moved(&self, name: &str) -> Option<String> {
        let (lost, _) = self.moves.lock().unwrap().take_if(|(_, asked)| asked == name)?;
        self.subscribers.lock().unwrap().remove(&lost);
        Some(lost)
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn push(kind: &str, name: &str, rest: &str) -> String {
    format!(">3\r\n{}{}{rest}", bulk(kind), bulk(name))
}
