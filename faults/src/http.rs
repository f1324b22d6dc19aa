//! As much HTTP as is needed: a request and its whole answer, or an answer that goes on.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// A connection.
pub struct Connection {
    address: SocketAddr,
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Whoever asks is told.
            let _ = connection.await;
        });
        Ok(Connection { address, sender })
    }

    /// Posts JSON and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Response<Bytes>> {
        self.send(Request::post(path), body).await
    }

    /// Patches with JSON and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn patch(&mut self, path: &str, body: Bytes) -> Result<Response<Bytes>> {
        self.send(Request::patch(path), body).await
    }

    async fn send(&mut self, request: http::request::Builder, body: Bytes) -> Result<Response<Bytes>> {
        let request = request
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        self.answer(request).await
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn get(&mut self, path: &str) -> Result<Response<Bytes>> {
        let request = Request::get(path).header("host", self.address.to_string()).body(Full::default())?;
        self.answer(request).await
    }

    /// Deletes, and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn delete(&mut self, path: &str) -> Result<Response<Bytes>> {
        let request = Request::delete(path).header("host", self.address.to_string()).body(Full::default())?;
        self.answer(request).await
    }

    async fn answer(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// Opens an event stream, again after `last_id`.
    ///
    /// # Errors
    /// When the connection breaks or the answer is no stream.
    pub async fn stream(mut self, path: &str, last_id: Option<&str>) -> Result<Response<Incoming>> {
        let mut request =
            Request::get(path).header("host", self.address.to_string()).header("accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::default())?).await?;
        ensure!(response.status() == StatusCode::OK, "the stream was answered {}", response.status());
        Ok(response)
    }
}
