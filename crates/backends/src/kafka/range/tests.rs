//! What is taken of runs, without a client.

use super::*;
use dualstream_core::record::Headers;

fn record(offset: u64) -> Record {
    let value = Some(bytes::Bytes::from(vec![b'x'; 100]));
    let (partition, append_time_ms, timestamp_ms) = (3, 1, 1);
    Record { partition, offset, append_time_ms, timestamp_ms, key: None, value, headers: Headers::default() }
}

fn run(offsets: &[u64], next: u64) -> Run {
    let records = offsets.iter().copied().map(record).collect();
    Run { id: 7, topic: TopicName::new("t").unwrap(), partition: 3, records, next }
}

/// What a request takes of runs that come one after the other: offsets, and where it goes on.
fn taken(from: u64, until: u64, bytes_max: usize, runs: &[(&[u64], u64)]) -> (Vec<u64>, u64) {
    let place = Place { topic: TopicName::new("t").unwrap(), partition: 3, from };
    let (deadline, abandoned) = (Instant::now(), Arc::default());
    let request = Request { place, until, bytes_max, deadline, abandoned };
    let (mut read, mut bytes) = (run(&[], from), 0);
    for (offsets, next) in runs {
        request.take(run(offsets, *next), &mut read, &mut bytes);
    }
    (read.records.iter().map(|record| record.offset).collect(), read.next)
}

#[test]
fn a_span_ends_at_the_first_record_behind_it() {
    assert_eq!(taken(0, 10, 1 << 20, &[(&[1, 2], 3), (&[7, 12, 13], 14)]), (vec![1, 2, 7], 10));
    assert_eq!(taken(0, 10, 1 << 20, &[(&[10], 11)]), (vec![], 10));
    assert_eq!(taken(0, 10, 1 << 20, &[(&[9], 10)]), (vec![9], 10));
    assert_eq!(taken(0, 10, 1 << 20, &[(&[3], 4), (&[], 25)]), (vec![3], 10), "the end is behind the span");
    assert_eq!(taken(0, 10, 1 << 20, &[(&[3], 4), (&[], 8)]), (vec![3], 8), "the end is in the span");
}

#[test]
fn it_stops_behind_the_record_that_is_enough() {
    assert_eq!(taken(0, 10, 1, &[(&[1, 2, 3], 4)]), (vec![1], 2));
    assert_eq!(taken(0, 10, 200, &[(&[1, 2, 3], 4)]), (vec![1, 2], 3));
    assert_eq!(taken(0, 10, 201, &[(&[1, 2], 3), (&[5, 6], 7)]), (vec![1, 2, 5], 6));
    assert_eq!(taken(0, 10, 200, &[(&[1, 2], 3), (&[5, 6], 7)]), (vec![1, 2], 3));
}
