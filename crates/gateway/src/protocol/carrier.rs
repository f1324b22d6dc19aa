//! What carries the client protocol.

/// One of the ways a client may come; SDKs name them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A WebSocket: frames both ways.
    WebSocket,
    /// Server-Sent Events down, requests up.
    Sse,
    /// Lines of an answer that does not end down, requests up.
    HttpStream,
}

impl Carrier {
    /// All of them.
    pub const ALL: [Carrier; 3] = [Carrier::WebSocket, Carrier::Sse, Carrier::HttpStream];

    /// Its name in lists and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Carrier::WebSocket => "websocket",
            Carrier::Sse => "sse",
            Carrier::HttpStream => "http_stream",
        }
    }
}
