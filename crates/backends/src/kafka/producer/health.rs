//! Whether brokers answer, as far as the producer has seen.

use crate::kafka::outcome;
use dualstream_core::{Error, ErrorKind};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// ```text
///              a record has waited its whole time, nothing was stored since, and brokers answer
///  reachable ────────────────────────────────────────────────────────────────────────────────▶ stalled: calls fail at
///            ◀──────────────────────────────────────────────────────────────────────────────── once, but one in 10 s
///                        that one is stored, or refused by a broker
///
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
    is_stalled: AtomicBool,
    stall: Mutex<Stall>,
    /// What the client said last of its connections.
    reason: Mutex<Option<(Code, String)>>,
}

/// Brokers answer, and store nothing: some that have to keep a record hang, or are away.
#[derive(Debug, Default)]
struct Stall {
    /// No call is tried before.
    next_try: Option<Instant>,
    /// What was found out about it, and when.
    why: Option<(String, Instant)>,
}

/// How long no call is tried after one was, and after one failed.
const TRY_PAUSE: Duration = Duration::from_secs(10);

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
        self.say_decided();
    }

    /// Brokers decided on a record, one way or the other.
    pub(super) fn say_decided(&self) {
        if self.is_stalled.load(Ordering::Relaxed) && self.is_stalled.swap(false, Ordering::Relaxed) {
            *lock(&self.stall) = Stall::default();
            tracing::info!("kafka: brokers decide on records again");
        }
    }

    /// A record waited its whole time. Of one that was tried while nothing was stored that means: not yet.
    pub(super) fn say_timed_out(&self) {
        if self.is_stalled.load(Ordering::Relaxed) {
            lock(&self.stall).next_try = Some(Instant::now() + TRY_PAUSE);
        }
    }

    /// Nothing is stored since then although brokers answer. A call is tried after a pause, or at once.
    pub(super) fn set_stalled(&self, since: Instant, with_pause: bool) {
        lock(&self.stall).next_try = with_pause.then(|| Instant::now() + TRY_PAUSE);
        if !self.is_stalled.swap(true, Ordering::Relaxed) {
            // Of a time before it is another reason.
            lock(&self.stall).why.take_if(|(_, found)| *found < since);
            tracing::error!(
                "kafka: {}; one call after the other is tried until one is",
                self.stalled().message()
            );
        }
    }

    /// Lets a call pass unless nothing is stored; then one in each pause.
    pub(super) fn admit(&self) -> Result<(), Error> {
        if !self.is_stalled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = Instant::now();
        let mut stall = lock(&self.stall);
        if stall.next_try.is_some_and(|next| now < next) {
            drop(stall);
            return Err(self.stalled());
        }
        stall.next_try = Some(now + TRY_PAUSE);
        Ok(())
    }

    /// The pause is over.
    #[cfg(test)]
    pub(super) fn try_now(&self) {
        lock(&self.stall).next_try = None;
    }

    /// What was found out about records that wait in vain.
    pub(crate) fn explain(&self, why: &str) {
        lock(&self.stall).why = Some((why.to_owned(), Instant::now()));
    }

    fn stalled(&self) -> Error {
        let why = lock(&self.stall).why.clone();
        let why =
            why.as_ref().map_or("brokers that have to keep its records may hang or be away", |(why, _)| why);
        let message = format!("Kafka answers, and stores nothing: {why}");
        Error::new(ErrorKind::Unavailable, "log_unavailable", message)
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
                format!("no broker of Kafka answers ({reason}): {}", outcome::setting_of(*code, reason))
            }
            None => format!("no broker of Kafka answers: {}", outcome::setting_of(Code::AllBrokersDown, "")),
        };
        Error::new(ErrorKind::Unavailable, "log_unavailable", message)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
