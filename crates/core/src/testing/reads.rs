//! Reading: the one order, pages, filters, spans, seeking, and what cannot be read.

use super::sample::{bounds, create, fill, nth, places, read_between};
use super::{Backend, Check, checks, commit_all, part, read_all};
use crate::ErrorKind;
use crate::filter::Filter;
use crate::log::{Read, Span};
use crate::record::{NewRecord, Record};
use crate::topic::{Epoch, TopicName};
use bytes::Bytes;

/// The checks, in reading order.
pub const CHECKS: &[Check<Backend>] = checks![Backend:
    the_order_never_changes,
    pages_of_any_size_are_the_same,
    a_cursor_taken_anywhere_is_exact,
    spans_are_exact,
    bytes_bound_a_page,
    seek_finds_append_times,
    stale_and_future_positions_are_refused,
    trimmed_offsets_are_unrecoverable,
];

const EVENTS: usize = 1200;

fn filters() -> Vec<Filter> {
    vec![
        Filter::All,
        Filter::prefix(""),
        Filter::prefix("repo:"),
        Filter::source("repo:hot"),
        Filter::source("user:key-62"),
        Filter::source("nobody:x"),
        Filter::prefix("user:").union(Filter::source("repo:hot")).union(Filter::source("order:hot")),
    ]
}

/// A topic with events and, between them, records that are none.
async fn filled(b: &Backend) -> (TopicName, Vec<Record>) {
    let (topic, other) = (create(b, "a").await, create(b, "b").await);
    for round in 0..6 {
        fill(&*b.log, &topic, round * EVENTS / 6, (round + 1) * EVENTS / 6).await;
        fill(&*b.log, &other, round * 50, round * 50 + 50).await;
        let plain = NewRecord { key: Some(Bytes::from(format!("plain-{round}"))), ..NewRecord::default() };
        commit_all(&*b.log, vec![part(&topic, plain)]).await;
    }
    let all = read_all(&*b.log, &topic).await;
    assert_eq!(all.len(), EVENTS + 6);
    (topic, all)
}

fn wanted(all: &[Record], filter: &Filter) -> Vec<(u32, u64)> {
    let wanted: Vec<_> = all.iter().filter(|r| filter.matches_record(r)).cloned().collect();
    places(&wanted)
}

/// Reading again gives the same order, also after more was appended, and within a partition it is that of offsets.
async fn the_order_never_changes(b: Backend) {
    let (topic, all) = filled(&b).await;
    fill(&*b.log, &topic, EVENTS, EVENTS + 300).await;
    let more = read_all(&*b.log, &topic).await;
    assert!(more[..all.len()] == all[..], "what was read is a prefix of what is read later");
    let mut next = [0; 12];
    for (partition, offset) in places(&more) {
        assert_eq!(offset, next[partition as usize]);
        next[partition as usize] += 1;
    }
}

/// Forwards and backwards, with every filter and at every limit, pages put together equal the model.
async fn pages_of_any_size_are_the_same(b: Backend) {
    let (topic, all) = filled(&b).await;
    let ends = bounds(&*b.log, &topic);
    for filter in filters() {
        let mut model = wanted(&all, &filter);
        for reverse in [false, true] {
            for records_max in [1, 2, 3, 7, 64, 1000, 10_000] {
                let (stretch, limits) = ((&ends.earliest[..], &ends.latest[..]), (records_max, 1 << 20));
                let read = read_between(&*b.log, &topic, &filter, stretch, limits, reverse).await;
                assert_eq!(places(&read), model, "{filter:?} by {records_max}, reverse: {reverse}");
            }
            model.reverse();
        }
    }
}

/// The vector after any record, given as a cursor, continues with exactly the rest; as `until`, ends exactly there.
async fn a_cursor_taken_anywhere_is_exact(b: Backend) {
    let (topic, all) = filled(&b).await;
    let ends = bounds(&*b.log, &topic);
    let mut vector = ends.earliest.clone();
    for (at, record) in all.iter().enumerate() {
        vector[record.partition as usize] = record.offset + 1;
        if at % 29 != 0 && at + 3 < all.len() {
            continue;
        }
        for filter in filters() {
            let limits = (500, 1 << 20);
            let rest = read_between(&*b.log, &topic, &filter, (&vector, &ends.latest), limits, false).await;
            assert_eq!(places(&rest), wanted(&all[at + 1..], &filter), "after {at}");
            let before =
                read_between(&*b.log, &topic, &filter, (&ends.earliest, &vector), limits, false).await;
            assert_eq!(places(&before), wanted(&all[..=at], &filter), "up to {at}");
        }
    }
}

/// Some partitions, each with its own from and until.
async fn spans_are_exact(b: Backend) {
    let (topic, all) = filled(&b).await;
    let at = bounds(&*b.log, &topic);
    let spans: Vec<Span> = [7, 2, 11]
        .into_iter()
        .map(|partition: u32| {
            let end = at.latest[partition as usize];
            Span { partition, from: end / 3, until: end / 3 * 2 }
        })
        .collect();
    let inside = |r: &&Record| {
        spans.iter().any(|s| s.partition == r.partition && (s.from..s.until).contains(&r.offset))
    };
    let mut model: Vec<_> = all.iter().filter(inside).map(|r| (r.partition, r.offset)).collect();
    for reverse in [false, true] {
        let read = Read {
            topic: topic.clone(),
            epoch: at.epoch,
            spans: spans.clone(),
            filter: Filter::All,
            records_max: EVENTS,
            bytes_max: 64 << 20,
            reverse,
        };
        let page = b.log.read(read).await.expect("readable");
        assert_eq!(places(&page.records), model);
        let ends: Vec<_> = spans.iter().map(|s| if reverse { s.from } else { s.until }).collect();
        assert_eq!(page.next, ends, "in the order of the spans");
        model.reverse();
    }
}

/// One record always fits; more only within the bytes.
async fn bytes_bound_a_page(b: Backend) {
    let (topic, all) = filled(&b).await;
    let at = bounds(&*b.log, &topic);
    for bytes_max in [1, 1000, 20_000] {
        let stretch = (&at.earliest[..], &at.latest[..]);
        let read = read_between(&*b.log, &topic, &Filter::All, stretch, (EVENTS, bytes_max), false).await;
        assert_eq!(places(&read), places(&all));
        let page = Read {
            topic: topic.clone(),
            epoch: at.epoch,
            spans: Span::all(&at.earliest, &at.latest),
            filter: Filter::All,
            records_max: EVENTS,
            bytes_max,
            reverse: false,
        };
        let records = b.log.read(page).await.expect("readable").records;
        let size = |r: &Record| r.key.as_ref().map_or(0, Bytes::len) + r.value.as_ref().map_or(0, Bytes::len);
        let all_but_last: usize = records.iter().rev().skip(1).map(size).sum();
        assert!(!records.is_empty() && all_but_last <= bytes_max, "{all_but_last} of {bytes_max}");
    }
}

/// For each partition the first offset appended at or after a time.
async fn seek_finds_append_times(b: Backend) {
    let (topic, all) = filled(&b).await;
    let latest = bounds(&*b.log, &topic).latest;
    let times = all.iter().map(|r| r.append_time_ms);
    let (first, last) = (times.clone().min().expect("not empty"), times.max().expect("not empty"));
    for time in [i64::MIN, 0, first - 1, first, first + (last - first) / 2, last, last + 1, i64::MAX] {
        let mut model = latest.clone();
        for record in all.iter().rev().filter(|r| r.append_time_ms >= time) {
            model[record.partition as usize] = record.offset;
        }
        assert_eq!(b.log.seek(&topic, time).await.expect("the topic is there"), model, "{time}");
    }
}

/// Another epoch is `Gone`, past the end is `Invalid`, an unknown topic `NotFound`.
async fn stale_and_future_positions_are_refused(b: Backend) {
    let (topic, _) = filled(&b).await;
    let at = bounds(&*b.log, &topic);
    let read = |epoch, from: u64| Read {
        topic: topic.clone(),
        epoch,
        spans: vec![Span { partition: 4, from, until: u64::MAX }],
        filter: Filter::All,
        records_max: 10,
        bytes_max: 1000,
        reverse: false,
    };
    let stale = b.log.read(read(Epoch(at.epoch.0 ^ 1), 0)).await.expect_err("another epoch");
    assert_eq!((stale.kind(), stale.code()), (ErrorKind::Gone, "epoch_changed"));
    let future = b.log.read(read(at.epoch, at.latest[4] + 1)).await.expect_err("past the end");
    assert_eq!((future.kind(), future.code()), (ErrorKind::Invalid, "position_from_future"));
    let end = b.log.read(read(at.epoch, at.latest[4])).await.expect("the end is no error");
    assert!(end.records.is_empty() && end.next == [at.latest[4]]);
    let missing = b.log.bounds(&b.topic("missing")).expect_err("no such topic");
    assert_eq!((missing.kind(), missing.code()), (ErrorKind::NotFound, "unknown_topic"));
    let elsewhere = Read { topic: b.topic("missing"), ..read(at.epoch, 0) };
    assert_eq!(b.log.read(elsewhere).await.expect_err("no such topic").kind(), ErrorKind::NotFound);
}

/// What is trimmed is unreadable at once, and only that; the start itself is readable.
async fn trimmed_offsets_are_unrecoverable(b: Backend) {
    let (topic, all) = filled(&b).await;
    let at = bounds(&*b.log, &topic);
    let mut below = at.earliest.clone();
    (below[4], below[9]) = (at.latest[4] / 2, at.latest[9]);
    b.topics.trim(topic.clone(), below.clone()).await.expect("trimmed");
    b.topics.trim(topic.clone(), vec![0; 12]).await.expect("already gone: changes nothing");
    let trimmed = bounds(&*b.log, &topic);
    assert_eq!((trimmed.epoch, &trimmed.earliest, &trimmed.latest), (at.epoch, &below, &at.latest));
    let kept: Vec<_> = places(&all).into_iter().filter(|(p, o)| *o >= below[*p as usize]).collect();
    for filter in [Filter::All, Filter::source("repo:hot")] {
        let read = read_between(&*b.log, &topic, &filter, (&below, &at.latest), (100, 1 << 20), false).await;
        let wanted: Vec<_> = wanted(&all, &filter).into_iter().filter(|place| kept.contains(place)).collect();
        assert_eq!(places(&read), wanted);
    }
    for (partition, from) in [(4, below[4] - 1), (9, 0)] {
        for reverse in [false, true] {
            let read = Read {
                topic: topic.clone(),
                epoch: at.epoch,
                spans: vec![Span { partition, from, until: at.latest[partition as usize] }],
                filter: Filter::All,
                records_max: 10,
                bytes_max: 1000,
                reverse,
            };
            let gone = b.log.read(read).await.expect_err("it was trimmed");
            assert_eq!((gone.kind(), gone.code()), (ErrorKind::Gone, "position_unrecoverable"));
        }
    }
    let past = b.topics.trim(topic.clone(), at.latest.iter().map(|l| l + 1).collect()).await;
    assert_eq!(past.expect_err("past the end").kind(), ErrorKind::Invalid);
    let next = commit_all(&*b.log, vec![part(&topic, nth(EVENTS + 5))]).await;
    assert!(matches!(next.parts[0].records[0], crate::log::Appended::Stored(o) if o > 0), "offsets go on");
}
