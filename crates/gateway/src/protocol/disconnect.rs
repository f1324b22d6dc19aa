//! Why the server ends a connection: the close code, which tells an SDK whether to come back.
//!
//! 3000–3499 and everything below: it reconnects. 3500–3999: it does not.

/// A close code and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disconnect {
    /// The server stops.
    Shutdown,
    /// Something went wrong inside the server.
    Internal,
    /// Live items were dropped because the client is slow.
    Slow,
    /// Somebody wants it to connect again.
    ForceReconnect,
    /// A ping was not answered in time.
    NoPong,
    /// Commands came much faster than they may.
    TooManyRequests,
    /// The client broke the protocol.
    BadRequest,
    /// No `connect` came in time.
    Stale,
    /// Somebody wants it gone.
    Force,
    /// A form of the protocol that is not served here.
    InappropriateProtocol,
    /// Too many commands were refused.
    TooManyErrors,
}

impl Disconnect {
    /// All of them.
    pub const ALL: [Disconnect; 11] = [
        Disconnect::Shutdown,
        Disconnect::Internal,
        Disconnect::Slow,
        Disconnect::ForceReconnect,
        Disconnect::NoPong,
        Disconnect::TooManyRequests,
        Disconnect::BadRequest,
        Disconnect::Stale,
        Disconnect::Force,
        Disconnect::InappropriateProtocol,
        Disconnect::TooManyErrors,
    ];

    /// The close code.
    pub fn code(self) -> u16 {
        self.parts().0
    }

    /// The close reason.
    pub fn reason(self) -> &'static str {
        self.parts().1
    }

    fn parts(self) -> (u16, &'static str) {
        match self {
            Disconnect::Shutdown => (3001, "shutdown"),
            Disconnect::Internal => (3004, "internal server error"),
            Disconnect::Slow => (3008, "slow"),
            Disconnect::ForceReconnect => (3011, "force reconnect"),
            Disconnect::NoPong => (3012, "no pong"),
            Disconnect::TooManyRequests => (3013, "too many requests"),
            Disconnect::BadRequest => (3501, "bad request"),
            Disconnect::Stale => (3502, "stale"),
            Disconnect::Force => (3503, "force disconnect"),
            Disconnect::InappropriateProtocol => (3506, "inappropriate protocol"),
            Disconnect::TooManyErrors => (3509, "too many errors"),
        }
    }
}
