//! Why a command is not carried out: the error of its reply.

use dualstream_core::{Error, ErrorKind};

/// An error code of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Something went wrong inside the server, or is away; trying again may help.
    Internal,
    /// The namespace of the channel is not configured.
    UnknownChannel,
    /// The client may not do this.
    PermissionDenied,
    /// There is no such command.
    MethodNotFound,
    /// The channel is subscribed already.
    AlreadySubscribed,
    /// More than a connection may have.
    LimitExceeded,
    /// The command is wrong.
    BadRequest,
    /// The command or channel has no such feature.
    NotAvailable,
    /// Commands come too fast.
    TooManyRequests,
    /// The position asked for cannot be had.
    UnrecoverablePosition,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 10] = [
        Refusal::Internal,
        Refusal::UnknownChannel,
        Refusal::PermissionDenied,
        Refusal::MethodNotFound,
        Refusal::AlreadySubscribed,
        Refusal::LimitExceeded,
        Refusal::BadRequest,
        Refusal::NotAvailable,
        Refusal::TooManyRequests,
        Refusal::UnrecoverablePosition,
    ];

    /// Its number.
    pub fn code(self) -> u32 {
        self.parts().0
    }

    /// Its words.
    pub fn message(self) -> &'static str {
        self.parts().1
    }

    /// Whether the same command may succeed later: SDKs try again.
    pub fn is_temporary(self) -> bool {
        matches!(self, Refusal::Internal | Refusal::TooManyRequests)
    }

    /// Whether a client that is made well gets it rarely; too many of these end a connection.
    pub fn is_a_mistake(self) -> bool {
        !self.is_temporary() && self != Refusal::UnrecoverablePosition
    }

    fn parts(self) -> (u32, &'static str) {
        match self {
            Refusal::Internal => (100, "internal server error"),
            Refusal::UnknownChannel => (102, "unknown channel"),
            Refusal::PermissionDenied => (103, "permission denied"),
            Refusal::MethodNotFound => (104, "method not found"),
            Refusal::AlreadySubscribed => (105, "already subscribed"),
            Refusal::LimitExceeded => (106, "limit exceeded"),
            Refusal::BadRequest => (107, "bad request"),
            Refusal::NotAvailable => (108, "not available"),
            Refusal::TooManyRequests => (111, "too many requests"),
            Refusal::UnrecoverablePosition => (112, "unrecoverable position"),
        }
    }
}

/// The table from error kinds to codes of this protocol.
impl From<&Error> for Refusal {
    fn from(error: &Error) -> Refusal {
        match error.kind() {
            ErrorKind::NotFound => Refusal::UnknownChannel,
            ErrorKind::Denied => Refusal::PermissionDenied,
            ErrorKind::Invalid | ErrorKind::Conflict => Refusal::BadRequest,
            ErrorKind::TooLarge => Refusal::LimitExceeded,
            ErrorKind::Limited => Refusal::TooManyRequests,
            ErrorKind::Gone => Refusal::UnrecoverablePosition,
            ErrorKind::Full
            | ErrorKind::Unavailable
            | ErrorKind::Overloaded
            | ErrorKind::Unknown
            | ErrorKind::Fenced
            | ErrorKind::Closed
            | ErrorKind::Corrupt
            | ErrorKind::Internal => Refusal::Internal,
        }
    }
}
