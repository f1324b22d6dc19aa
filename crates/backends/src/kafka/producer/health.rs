//! Whether brokers answer, as far as the producer has seen.

use crate::kafka::outcome;
use dualstream_core::{Error, ErrorKind};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// ```text
///              a record has waited its whole time, and nothing was stored since
///  reachable ───────────────────────────────────────────────────────────────────▶ away: calls fail at once
///            ◀───────────────────────────────────────────────────────────────────
///                        a broker answers when it is asked, once a second
/// ```
#[derive(Debug, Default)]
pub(crate) struct Health {
    is_away: AtomicBool,
    /// A topic brokers are to be asked about; of several at once the first.
    doubt: Mutex<Option<(String, Doubt)>>,
    stored: AtomicU64,
    /// What the client said last of its connections.
    reason: Mutex<Option<(Code, String)>>,
}

/// Why brokers are to be asked about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A record of it waited its whole time in vain.
    TimedOut,
    /// The client holds it for missing or forbidden, and would do so for minutes.
    Refused,
}

impl Doubt {
    pub(super) fn of(code: Code) -> Option<Doubt> {
        match code {
            Code::MessageTimedOut => Some(Doubt::TimedOut),
            Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed => Some(Doubt::Refused),
            _ => None,
        }
    }
}

impl Health {
    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Gives what it was before.
    pub(super) fn set_away(&self, is_away: bool) -> bool {
        self.is_away.swap(is_away, Ordering::Relaxed)
    }

    pub(super) fn say_stored(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }

    /// How many records were stored so far.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(super) fn say_doubt(&self, topic: &str, doubt: Doubt) {
        let mut first = lock(&self.doubt);
        if first.is_none() {
            *first = Some((topic.to_owned(), doubt));
        }
    }

    pub(super) fn take_doubt(&self) -> Option<(String, Doubt)> {
        lock(&self.doubt).take()
    }

    /// An error of a connection; that all of them are down says less than why.
    pub(super) fn say(&self, code: Code, reason: &str) {
        if code != Code::AllBrokersDown {
            *lock(&self.reason) = Some((code, reason.to_owned()));
        }
    }

    /// Brokers answer again.
    pub(super) fn forget_reason(&self) {
        *lock(&self.reason) = None;
    }

    /// No broker answers: what is known of why, with the setting to look at.
    pub(crate) fn unreachable(&self) -> Error {
        let message = match &*lock(&self.reason) {
            Some((code, reason)) => {
                format!("no broker of Kafka answers ({reason}): {}", outcome::setting_of(*code))
            }
            None => format!("no broker of Kafka answers: {}", outcome::setting_of(Code::AllBrokersDown)),
        };
        Error::new(ErrorKind::Unavailable, "log_unavailable", message)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
