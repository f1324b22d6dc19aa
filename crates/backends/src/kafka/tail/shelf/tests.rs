//! The shelf by itself.

use super::*;
use dualstream_core::topic::TopicName;
use futures::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn run(next: u64) -> Item {
    let topic = TopicName::new("t").unwrap();
    Item { outcome: Ok(Run { id: 7, topic, partition: 3, records: Vec::new(), next }), bytes: BYTES_MAX / 4 }
}

fn error() -> Item {
    Item { outcome: Err(super::super::unavailable("check")), bytes: 0 }
}

/// What is there to take at once: where its runs end.
fn take(shelf: &Shelf) -> Option<Result<Vec<u64>>> {
    let taken = shelf.take().now_or_never()?;
    Some(taken.map(|runs| runs.iter().map(|run| run.next).collect()))
}

#[test]
fn runs_come_in_their_order_and_errors_in_their_place() {
    let shelf = Shelf::default();
    assert!(take(&shelf).is_none());
    shelf.put(vec![run(1), run(2)]);
    shelf.put(vec![error(), run(3)]);
    assert_eq!(take(&shelf), Some(Ok(vec![1, 2])));
    assert!(take(&shelf).is_some_and(|taken| taken.is_err()));
    assert_eq!(take(&shelf), Some(Ok(vec![3])));
    assert!(take(&shelf).is_none());
    assert_eq!(shelf.lock().bytes, 0);
}

#[test]
fn an_order_takes_back_what_was_read_before() {
    let shelf = Shelf::default();
    shelf.put(vec![run(1), run(2)]);
    let _told = shelf.order(Vec::new());
    assert!(take(&shelf).is_none());
    // Read before the reader saw the order.
    shelf.put(vec![run(3)]);
    assert!(take(&shelf).is_none());
    assert!(matches!(shelf.step(), Step::Order(_)));
    shelf.put(vec![run(4)]);
    assert_eq!(take(&shelf), Some(Ok(vec![4])));
}

#[test]
fn the_reader_waits_for_room_and_orders_do_not() {
    let shelf = Arc::new(Shelf::default());
    shelf.put((1..=4).map(run).collect());
    let _told = shelf.order(Vec::new());
    assert!(matches!(shelf.step(), Step::Order(_)));
    shelf.put((1..=4).map(run).collect());
    let has_room = Arc::new(AtomicBool::new(false));
    let (reader, seen) = (shelf.clone(), has_room.clone());
    let reader = std::thread::spawn(move || {
        assert!(matches!(reader.step(), Step::Read));
        assert!(seen.load(SeqCst), "it did not wait");
    });
    has_room.store(true, SeqCst);
    assert!(take(&shelf).is_some());
    reader.join().unwrap();
}

#[test]
fn what_is_closed_is_told_after_what_is_there() {
    let shelf = Shelf::default();
    shelf.put(vec![run(1)]);
    let _told = shelf.order(Vec::new());
    shelf.close();
    assert!(matches!(shelf.step(), Step::End));
    assert!(take(&shelf).is_some_and(|taken| taken.is_err_and(|error| error.code() == "log_closed")));
    let refused = shelf.order(Vec::new()).now_or_never();
    assert!(refused.is_some_and(|told| told.is_err()), "nobody is there to do it");
}
