//! One error for the whole platform's seams: a kind that says what the caller should do, a stable code word for
//! programs, and one sentence for people. Causes are kept as [`source`](std::error::Error::source), never formatted in.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong; sending it again will not help.
    Invalid,
    /// The caller may not do this.
    Denied,
    /// There is no such thing.
    NotFound,
    /// It was there and is no longer (retention passed it, or its epoch ended).
    Gone,
    /// It contradicts what is stored (same id, other body).
    Conflict,
    /// Larger than a limit.
    TooLarge,
    /// The caller is over its share; slow down.
    Limited,
    /// No storage space is left; nothing was stored.
    Full,
    /// A part is away; nothing was stored, retry later.
    Unavailable,
    /// Too much is waiting already; nothing was stored, retry later.
    Overloaded,
    /// The outcome is not known; retry with the same id.
    Unknown,
    /// A newer owner has taken over; stop.
    Fenced,
    /// The component was shut down.
    Closed,
    /// Stored bytes are damaged.
    Corrupt,
    /// A bug.
    Internal,
}

/// An error of a seam. Cheap to clone: one round's failure is answered to every waiting caller.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    code: &'static str,
    message: Cow<'static, str>,
    detail: Option<Box<Detail>>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What few errors have: apart, so that a result that may be an error stays small.
#[derive(Clone, Debug, Default)]
struct Detail {
    field: Option<Box<str>>,
    limit: Option<u64>,
    mend: Option<Box<str>>,
}

impl Error {
    /// An error of `kind` with the stable word `code` and one sentence.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<Cow<'static, str>>) -> Error {
        Error { kind, code, message: message.into(), detail: None, source: None }
    }

    /// [`ErrorKind::Invalid`] with the name of the offending field.
    pub fn invalid(
        code: &'static str,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Error {
        Error::new(ErrorKind::Invalid, code, message).with_field(field)
    }

    /// Names the field that is wrong.
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Error {
        self.detail().field = Some(field.into().into());
        self
    }

    /// Says how to get what was wanted all the same, in one sentence.
    pub fn with_mend(mut self, mend: impl Into<Box<str>>) -> Error {
        self.detail().mend = Some(mend.into());
        self
    }

    /// Names the limit that was passed.
    pub fn with_limit(mut self, limit: u64) -> Error {
        self.detail().limit = Some(limit);
        self
    }

    /// Keeps the cause.
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.source = Some(Arc::new(source));
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// One sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field that is wrong, where one is.
    pub fn field(&self) -> Option<&str> {
        self.detail.as_ref()?.field.as_deref()
    }

    /// The limit that was passed, where one was.
    pub fn limit(&self) -> Option<u64> {
        self.detail.as_ref()?.limit
    }

    /// How to get what was wanted all the same, where that can be said.
    pub fn mend(&self) -> Option<&str> {
        self.detail.as_ref()?.mend.as_deref()
    }

    fn detail(&mut self) -> &mut Detail {
        self.detail.get_or_insert_default()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Two errors are equal when they say the same, whatever caused them.
impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.kind == other.kind && self.code == other.code && self.message == other.message
    }
}

impl Eq for Error {}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}
