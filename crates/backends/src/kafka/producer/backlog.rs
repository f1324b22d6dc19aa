//! How much waits for a broker, and how much may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Records and bytes that were taken and are not answered. Its bound stands before librdkafka's, so that a full queue is
/// told before anything of a call was tried.
#[derive(Debug)]
pub(super) struct Backlog {
    records: AtomicUsize,
    bytes: AtomicUsize,
    records_max: usize,
    bytes_max: usize,
}

/// A place in the backlog, given back with the value.
#[derive(Debug)]
pub(super) struct Reserved {
    backlog: Arc<Backlog>,
    records: usize,
    bytes: usize,
}

impl Backlog {
    pub(super) fn new(records_max: usize, bytes_max: usize) -> Arc<Backlog> {
        let (records, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Backlog { records, bytes, records_max, bytes_max })
    }

    /// Takes a place; an empty backlog takes any one call. The last quarter is only for calls that flow off, which is asked
    /// for then: what nobody stores may wait, and leaves room for the rest.
    pub(super) fn reserve(
        self: &Arc<Backlog>,
        records: usize,
        bytes: usize,
        flows_off: impl FnOnce() -> bool,
    ) -> Option<Reserved> {
        let before = self.records.fetch_add(records, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Given back by itself if it is not handed out.
        let reserved = Reserved { backlog: self.clone(), records, bytes };
        let (records, bytes) = (before.saturating_add(records), bytes_before.saturating_add(bytes));
        let fits = records <= self.records_max && bytes <= self.bytes_max;
        let is_last = || records > self.records_max / 4 * 3 || bytes > self.bytes_max / 4 * 3;
        (before == 0 || fits && (!is_last() || flows_off())).then_some(reserved)
    }

    pub(super) fn records_max(&self) -> usize {
        self.records_max
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.backlog.records.fetch_sub(self.records, Ordering::Relaxed);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_records_and_bytes() {
        let backlog = Backlog::new(10, 1000);
        let flows = || true;
        let first = backlog.reserve(6, 10, flows).unwrap();
        assert!(backlog.reserve(5, 10, flows).is_none(), "too many records");
        assert!(backlog.reserve(1, 991, flows).is_none(), "too many bytes");
        assert!(backlog.reserve(4, 990, || false).is_none(), "the last quarter");
        let second = backlog.reserve(4, 990, flows).unwrap();
        assert!(backlog.reserve(1, 0, flows).is_none());
        drop(first);
        drop(second);
        let one = backlog.reserve(100, 100_000, || false).expect("an empty one takes any call");
        drop(one);
        assert_eq!((backlog.records.load(Ordering::Relaxed), backlog.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
