//! A WebSocket client that says hello, answers pings, and waits to be told to go:
//! <https://www.rfc-editor.org/rfc/rfc6455#section-5>. It keeps what the server says last: nothing else is of interest.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The server pings more often.
const SILENT_MAX: Duration = Duration::from_secs(120);
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client that is connected.
pub struct Socket {
    task: JoinHandle<Result<Closed>>,
}

/// How the server ended it.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// The code of its last frame.
    pub code: u16,
    /// When that came.
    pub at: Instant,
}

impl Socket {
    /// Connects to a node as a client of the client protocol.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn open(address: SocketAddr) -> Result<Socket> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENT_MAX))?;
        let mut stream = BufReader::new(stream);
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let mut lines = stream.by_ref().lines();
        let status = lines.next().context("an answer")??;
        ensure!(status.contains(" 101 "), "{address} answers {status}");
        while !lines.next().context("the end of the answer")??.is_empty() {}
        say(stream.get_mut(), TEXT, b"{\"id\":1,\"connect\":{}}")?;
        let (kind, answer) = frame(&mut stream)?;
        let is_connected = kind == TEXT && answer.windows(9).any(|word| word == b"\"connect\"");
        ensure!(is_connected, "{address} answers {}", String::from_utf8_lossy(&answer));
        Ok(Socket { task: thread::spawn(move || until_closed(stream)) })
    }

    /// How it ended; waits for that.
    ///
    /// # Errors
    /// When nobody said why.
    pub fn closed(self) -> Result<Closed> {
        self.task.join().map_err(|_| anyhow::anyhow!("a client failed"))?
    }
}

fn until_closed(mut stream: BufReader<TcpStream>) -> Result<Closed> {
    loop {
        match frame(&mut stream)? {
            (CLOSE, payload) => {
                let code = payload.first_chunk().context("the server says why")?;
                return Ok(Closed { code: u16::from_be_bytes(*code), at: Instant::now() });
            }
            (PING, payload) => say(stream.get_mut(), PONG, &payload)?,
            // A ping of the client protocol.
            (TEXT, payload) if payload == b"{}" => say(stream.get_mut(), TEXT, b"{}")?,
            _ => {}
        }
    }
}

/// A whole frame: the server breaks up none so short.
fn frame(stream: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let length = match head[1] {
        length @ 0..=125 => usize::from(length),
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            usize::from(u16::from_be_bytes(length))
        }
        _ => bail!("the server says too much"),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((head[0] & 0x0f, payload))
}

/// With a mask that changes nothing.
fn say(stream: &mut impl Write, kind: u8, payload: &[u8]) -> Result<()> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).context("a short word")?;
    let head = [0x80 | kind, 0x80 | length, 0, 0, 0, 0];
    Ok(stream.write_all(&[&head[..], payload].concat())?)
}
