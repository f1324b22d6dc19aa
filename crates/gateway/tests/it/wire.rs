//! HTTP/1.1 over a raw socket, so that a test decides every byte.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Nothing here takes so long unless it hangs.
const HANG: Duration = Duration::from_secs(20);

pub struct Wire {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Whether it is a problem as every problem is: complete, and without a word about the inside.
    pub fn assert_problem(&self, name: &str) {
        let json = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{name}");
        assert_eq!(json["request_id"].as_str(), self.header("x-request-id"), "{name}");
        assert_eq!(json["status"], self.status, "{name}");
        assert!(json["message"].is_string() && json["retryable"] == false, "{name}: {json}");
        assert!(!self.body.contains("src/") && !self.body.contains("panicked"), "{name}: {json}");
    }

    /// The stable word of a problem; empty for any other answer.
    pub fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        json["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    /// Writes; a server that closed already is no failure here.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await;
    }

    /// Writes; whether the server took it.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within(self.stream.get_mut().write_all(bytes.as_ref())).await.is_ok()
    }

    /// Says that nothing more comes; what the server still sends is read.
    pub async fn end(&mut self) {
        within(self.stream.get_mut().shutdown()).await.unwrap();
    }

    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await.expect("an answer")
    }

    /// The next answer; `None` when the server closed instead.
    pub async fn answer(&mut self) -> Option<Answer> {
        let (status, headers) = self.head().await?;
        let mut answer = Answer { status, headers, body: String::new() };
        if answer.header("transfer-encoding") == Some("chunked") {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk().await {
                body.extend(chunk);
            }
            answer.body = String::from_utf8(body).unwrap();
        } else if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            within(self.stream.read_exact(&mut body)).await.unwrap();
            answer.body = String::from_utf8(body).unwrap();
        }
        Some(answer)
    }

    /// Status and headers of the next answer.
    pub async fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let status = self.line().await?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None => return Some((status, headers)),
            }
        }
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
        let mut bytes = vec![0; size + 2];
        within(self.stream.read_exact(&mut bytes)).await.ok()?;
        bytes.truncate(size);
        (size > 0).then_some(bytes)
    }

    /// The next WebSocket frame of the server: its first byte and its payload; `None` at the end.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        within(self.stream.read_exact(&mut head)).await.ok()?;
        let length = match head[1] {
            126 => u64::from(within(self.stream.read_u16()).await.ok()?),
            127 => within(self.stream.read_u64()).await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; length as usize];
        within(self.stream.read_exact(&mut payload)).await.ok()?;
        Some((head[0], payload))
    }

    /// Whether the server closes; what it still sends is dropped.
    pub async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let _ = within(self.stream.read_to_end(&mut rest)).await;
        true
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match within(self.stream.read_line(&mut line)).await {
            Ok(n) if n > 0 => Some(line.trim_end().to_owned()),
            _ => None,
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("the server hangs")
}

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

pub fn post(target: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub const JSON: &str = "Content-Type: application/json\r\n";

pub fn event(source_id: &str, data: &str) -> String {
    format!(r#"{{"type":"t","source_type":"repo","source_id":"{source_id}","data":{data}}}"#)
}
