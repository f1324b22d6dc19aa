//! One HTTP/1.1 connection that is made when it is needed, and made again after it broke.

use super::{Error, Refusal, Server};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderName, Method, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longer than any time a server holds a request before it answers.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// Largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection to a server.
pub struct Connection {
    server: Server,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query of the API, e.g. `/v1/events?channel=…`.
    pub path: String,
    /// Headers beside the usual ones.
    pub headers: Vec<(HeaderName, String)>,
    /// Body and its content type.
    pub body: Option<(&'static str, Bytes)>,
}

impl Request {
    /// A `GET`.
    pub fn get(path: impl Into<String>) -> Request {
        Request { method: Method::GET, path: path.into(), headers: Vec::new(), body: None }
    }

    /// A `POST`.
    pub fn post(path: impl Into<String>, content_type: &'static str, body: Bytes) -> Request {
        Request { method: Method::POST, body: Some((content_type, body)), ..Request::get(path) }
    }
}

impl Connection {
    /// A connection to `server`; nothing is sent yet.
    pub fn new(server: &Server) -> Connection {
        Connection { server: server.clone(), sender: None }
    }

    /// The server, as people name it.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.authority())
    }

    /// Sends a request and gives the answer whose body is still to be read. An error answer is an error.
    pub async fn open(&mut self, request: &Request) -> Result<Response<Incoming>, Error> {
        let answer = match timeout(ANSWER_MAX, self.send(request)).await {
            Ok(answer) => answer,
            Err(late) => Err(late.into()),
        };
        match answer {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => Err(self.refusal(response).await),
            Err(source) => Err(self.broken(source)),
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn fetch(&mut self, request: &Request) -> Result<Bytes, Error> {
        let response = self.open(request).await?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        match timeout(ANSWER_MAX, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(source)) => Err(self.broken(source)),
            Err(late) => Err(self.broken(late.into())),
        }
    }

    /// An answer that this client does not know.
    pub fn strange(&self, reason: impl Into<String>) -> Error {
        Error::Strange { authority: self.server.authority(), reason: reason.into() }
    }

    /// The connection broke.
    pub fn broken(&mut self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        self.sender = None;
        Error::Unreachable { authority: self.server.authority(), source }
    }

    async fn send(
        &mut self,
        request: &Request,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let mut sender = match self.idle().await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut builder = http::Request::builder()
            .method(&request.method)
            .uri(self.server.path(&request.path))
            .header(HOST, self.server.authority())
            .header(ACCEPT, "application/json, application/problem+json, text/event-stream");
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let body = request.body.clone().map(|(content_type, body)| {
            builder
                .headers_mut()
                .map(|headers| headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type)));
            body
        });
        let response = sender.send_request(builder.body(Full::new(body.unwrap_or_default()))?).await?;
        self.sender = Some(sender);
        Ok(response)
    }

    /// The connection of the last request, if it can take another one.
    async fn idle(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        let mut sender = self.sender.take()?;
        sender.ready().await.is_ok().then_some(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(self.server.authority())).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; what it has to say the sender says too.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn refusal(&mut self, response: Response<Incoming>) -> Error {
        let http_status = response.status().as_u16();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = timeout(ANSWER_MAX, Limited::new(response.into_body(), 1 << 20).collect()).await;
        // A body that cannot be read leaves the status, which says enough; the connection may be in the middle of it.
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            _ => {
                self.sender = None;
                Bytes::new()
            }
        };
        let said: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        Error::Refused(Refusal { http_status, retry_after: retry_after.map(Duration::from_secs), ..said })
    }
}
