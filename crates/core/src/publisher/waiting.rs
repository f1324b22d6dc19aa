//! The bytes that wait for the log: bounded, and when full a publish fails at once.

use super::Counters;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Room for some bytes; dropping it gives the room back.
#[derive(Debug)]
pub(super) struct Room {
    counters: Arc<Counters>,
    bytes: usize,
}

impl Room {
    /// Takes room for `bytes`. An empty buffer takes any one call.
    ///
    /// # Errors
    /// `Overloaded`: nothing was stored.
    pub(super) fn take(counters: &Arc<Counters>, bytes: usize, bytes_max: usize) -> Result<Room> {
        let fits = |waiting: usize| {
            let after = waiting.saturating_add(bytes);
            (waiting == 0 || after <= bytes_max).then_some(after)
        };
        match counters.waiting_bytes.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(Room { counters: counters.clone(), bytes }),
            Err(_) => Err(Error::new(
                ErrorKind::Overloaded,
                "overloaded",
                "too many bytes wait for the log already; nothing was stored",
            )
            .with_limit(bytes_max as u64)),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.counters.waiting_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
