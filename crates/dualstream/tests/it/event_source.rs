//! A client of event streams as browsers have one (WHATWG HTML, section 9.2), over a plain socket: it remembers the last
//! id and sends it when it connects again. It connects only when it is told to, so that a test decides when.

use crate::program::PATIENCE;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    pub event: String,
    pub data: String,
}

/// The client.
pub struct EventSource {
    address: SocketAddr,
    path: String,
    last_id: Option<String>,
    stream: Option<BufReader<Chunks>>,
}

impl EventSource {
    /// Connects, and waits for the stream to say where it begins.
    pub fn open(address: SocketAddr, path: &str) -> EventSource {
        let mut source = EventSource { address, path: path.to_owned(), last_id: None, stream: None };
        source.connect();
        assert!(source.last_id.is_some(), "a stream begins with its position");
        source
    }

    /// Connects, again with the last id, up to the first blank line.
    pub fn connect(&mut self) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let resume = self.last_id.as_deref().map(|id| format!("Last-Event-ID: {id}\r\n"));
        let (path, address, resume) = (&self.path, self.address, resume.unwrap_or_default());
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{resume}\r\n")
            .unwrap();
        let mut socket = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(socket.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
        self.stream = Some(BufReader::new(Chunks { socket, left: 0 }));
        assert!(self.block().is_some_and(|message| message.is_none()), "a stream begins with a comment");
    }

    /// Forgets the connection with everything in it that was not read.
    pub fn disconnect(&mut self) {
        self.stream = None;
    }

    /// The next message; `None` when the connection ended.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.block()? {
                return Some(message);
            }
        }
    }

    /// Lines up to a blank one; inside, the message if they are one.
    fn block(&mut self) -> Option<Option<Message>> {
        let (mut id, mut event, mut data) = (None, String::new(), None::<String>);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = Some(value.to_owned()),
                "event" => event = value.to_owned(),
                "data" => {
                    assert!(data.is_none(), "compact JSON is one line");
                    data = Some(value.to_owned());
                }
                _ => {}
            }
        }
        // What was not ended by a blank line never happened: the id counts from here.
        self.last_id = id.or(self.last_id.take());
        Some(data.map(|data| Message { event, data }))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.as_mut()?.read_until(b'\n', &mut line) {
            Ok(_) if line.pop() == Some(b'\n') => Some(String::from_utf8(line).unwrap()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("the stream is silent, without even a heartbeat")
            }
            _ => {
                self.stream = None;
                None
            }
        }
    }
}

/// The bytes in the chunks of a body (RFC 9112, section 7.1).
struct Chunks {
    socket: BufReader<TcpStream>,
    /// Bytes left of this chunk.
    left: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut size = String::new();
            self.socket.read_line(&mut size)?;
            self.left =
                usize::from_str_radix(size.trim_end(), 16).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.left);
        let read = self.socket.read(&mut buffer[..length])?;
        self.left -= read;
        if self.left == 0 {
            self.socket.read_exact(&mut [0; 2])?;
        }
        Ok(read)
    }
}
