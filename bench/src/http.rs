//! A client that costs next to nothing: requests are made beforehand, answers are looked at just enough.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

const BUFFER_BYTES: usize = 64 << 10;

/// One kept connection, one request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; BUFFER_BYTES], filled: 0 })
    }

    pub fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request)?)
    }

    /// Waits for an answer with a length and returns its body. Any status but 2xx fails.
    pub fn answer(&mut self) -> Result<&[u8]> {
        self.filled = 0;
        loop {
            let read = self.read()?;
            ensure!(read > 0, "the server closed the connection");
            let Some(head) = memmem::find(&self.buffer[..self.filled], b"\r\n\r\n") else { continue };
            let body = head + 4;
            let end = body + content_length(&self.buffer[..body])?;
            if end > self.buffer.len() {
                self.buffer.resize(end, 0);
            }
            while self.filled < end {
                ensure!(self.read()? > 0, "the server closed the connection");
            }
            if !self.buffer.starts_with(b"HTTP/1.1 2") {
                bail!("the server answered {}", String::from_utf8_lossy(&self.buffer[..end]));
            }
            return Ok(&self.buffer[body..end]);
        }
    }

    /// The last answer, with its head.
    pub fn whole(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Reads what there is of an answer without end.
    pub fn more(&mut self) -> Result<&[u8]> {
        self.filled = 0;
        let read = self.read()?;
        ensure!(read > 0, "the server closed the connection");
        Ok(&self.buffer[..read])
    }

    fn read(&mut self) -> Result<usize> {
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        self.filled += read;
        Ok(read)
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    const NAME: &[u8] = b"content-length: ";
    let at = memmem::find(head, NAME).context("an answer without content-length")? + NAME.len();
    let digits = head[at..].iter().take_while(|b| b.is_ascii_digit());
    Ok(digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0')))
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The bytes of a request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}
