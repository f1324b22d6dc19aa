//! The commands that came for one session and that it has not read yet: bounded in bytes.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What waiting commands cost beside their bytes.
const OVERHEAD: usize = 64;

/// Put into by requests, read by the one session.
pub struct Inbox {
    waiting: Mutex<Waiting>,
    news: Notify,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    all: VecDeque<Bytes>,
    bytes: usize,
}

impl Inbox {
    /// An empty one of at most `bytes_max`, or one request of any size.
    pub fn new(bytes_max: usize) -> Inbox {
        Inbox { waiting: Mutex::default(), news: Notify::new(), bytes_max }
    }

    /// Takes the commands of one request; false when there is no room.
    pub fn push(&self, commands: Bytes) -> bool {
        let mut waiting = self.lock();
        let weight = commands.len() + OVERHEAD;
        if waiting.bytes > 0 && waiting.bytes + weight > self.bytes_max {
            return false;
        }
        waiting.bytes += weight;
        waiting.all.push_back(commands);
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// The commands of the oldest request. Cancel-safe.
    pub async fn next(&self) -> Bytes {
        loop {
            if let Some(commands) = self.pop() {
                return commands;
            }
            self.news.notified().await;
        }
    }

    fn pop(&self) -> Option<Bytes> {
        let mut waiting = self.lock();
        let commands = waiting.all.pop_front()?;
        waiting.bytes -= commands.len() + OVERHEAD;
        Some(commands)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn what_has_no_room_is_refused() {
        let inbox = Inbox::new(200);
        let long = Bytes::from(vec![b'x'; 500]);
        assert!(inbox.push(long.clone()), "an empty one takes one of any size");
        assert!(!inbox.push(Bytes::new()));
        assert_eq!(inbox.next().now_or_never(), Some(long));
        assert!(inbox.push(Bytes::from_static(b"a")) && inbox.push(Bytes::from_static(b"b")));
        assert!(inbox.push(Bytes::new()) && !inbox.push(Bytes::new()));
        let read = || inbox.next().now_or_never();
        assert_eq!((read(), read(), read()), (Some("a".into()), Some("b".into()), Some(Bytes::new())));
        assert_eq!(read(), None);
    }
}
