//! Each check is seen to fail.

use super::*;
use crate::body::body;
use dualstream_core::channel::Target;
use dualstream_core::event::{Data, Event};
use dualstream_core::log::{Bounds, Gap};
use dualstream_core::position::{Cursor, Next, Resume};

const OLD: Epoch = Epoch(7);
const NEW: Epoch = Epoch(8);

/// Sources that are all in one partition of `events`, so that offsets are easy to read.
fn sources() -> impl Iterator<Item = Source> {
    let partition = Source(0).partition();
    (0..SOURCES).map(Source).filter(move |s| s.topic() == 0 && s.partition() == partition)
}

fn partition() -> u32 {
    Source(0).partition()
}

fn place(epoch: Epoch, offset: u64) -> Place {
    Place { topic: 0, epoch, partition: partition(), offset }
}

/// A checker that knows `count` events of different sources, sent one after the other, all answered `outcome`.
fn checker(fsync_always: bool, count: u64, outcome: impl Fn(u64) -> Outcome) -> Checker {
    let mut checker = Checker::new(fsync_always, false);
    open(&mut checker, OLD, &[]);
    for (source, n) in sources().zip(0..count) {
        checker.make(source, Some(format!("e{n}")), 40, None);
        checker.sent(&[n], 10 * n);
        checker.ended(n, outcome(n), 10 * n + 1).unwrap();
    }
    checker
}

fn stored(n: u64) -> Outcome {
    Outcome::Stored { id: format!("e{n}"), place: place(OLD, n), duplicate: false }
}

fn record(checker: &Checker, n: u64, offset: u64) -> Record {
    let fact = &checker.facts()[n as usize];
    let event = Event {
        event_type: "sim.happened".into(),
        source_type: fact.source.kind().into(),
        source_id: fact.source.id(),
        data: Data::Json(body(n, fact.bytes)),
        ..Event::default()
    };
    let headers = Event::headers(fact.source.kind());
    let new = event.into_record(&format!("e{n}"), "2026-11-21T08:30:00Z", headers).unwrap();
    Record {
        partition: partition(),
        offset,
        append_time_ms: n as i64,
        timestamp_ms: n as i64,
        key: new.key,
        value: new.value,
        headers: new.headers,
    }
}

/// The topic holds these events, each at the offset beside it.
fn full(checker: &Checker, epoch: Epoch, events: &[(u64, u64)], gaps: Vec<Gap>) -> FullRead {
    let mut latest = vec![0; PARTITIONS as usize];
    latest[partition() as usize] = events.iter().map(|e| e.1 + 1).max().unwrap_or(0);
    let bounds = Bounds { epoch, earliest: vec![0; PARTITIONS as usize], latest };
    let records: Vec<_> = events.iter().map(|&(n, offset)| record(checker, n, offset)).collect();
    let backwards = (records.iter().rev().cloned().collect(), gaps.clone());
    FullRead { topic: 0, bounds, records, gaps, backwards }
}

fn open(checker: &mut Checker, epoch: Epoch, events: &[(u64, u64)]) {
    reopen(checker, epoch, events).unwrap();
}

fn reopen(checker: &mut Checker, epoch: Epoch, events: &[(u64, u64)]) -> Verdict {
    let read = full(checker, epoch, events, Vec::new());
    checker.reopened(&[read], false)
}

#[track_caller]
fn breaks(verdict: Verdict, promise: &str) {
    assert_eq!(verdict.unwrap_err().promise, promise);
}

#[test]
fn everything_kept_is_fine() {
    let mut checker = checker(true, 3, stored);
    open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2)]);
    open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2)]);
    checker.check_sources().unwrap();
}

#[test]
fn an_acknowledged_event_may_not_be_lost() {
    let mut checker = checker(true, 3, stored);
    breaks(reopen(&mut checker, OLD, &[(0, 0), (1, 1)]), "nothing durable is lost");
}

#[test]
fn what_was_read_may_not_be_lost() {
    let mut checker = checker(true, 2, |_| Outcome::Unknown(None));
    open(&mut checker, OLD, &[(0, 0), (1, 1)]);
    breaks(reopen(&mut checker, OLD, &[(0, 0)]), "nothing durable is lost");
}

#[test]
fn what_was_announced_may_not_be_lost_nor_announced_early() {
    let mut checker = checker(true, 1, |_| Outcome::Unknown(None));
    let ends = |end| vec![end; PARTITIONS as usize];
    breaks(checker.announced(place(OLD, 0), "e0", &ends(0)), "ack before announcement");
    checker.announced(place(OLD, 0), "e0", &ends(1)).unwrap();
    breaks(reopen(&mut checker, OLD, &[]), "nothing durable is lost");
}

#[test]
fn what_is_gone_stays_gone() {
    let mut checker = checker(true, 3, stored);
    let mut read = full(&checker, OLD, &[(2, 2)], Vec::new());
    read.bounds.earliest[partition() as usize] = 2;
    checker.reopened(&[read], false).unwrap();
    let read = full(&checker, OLD, &[(0, 0), (1, 1), (2, 2)], Vec::new());
    breaks(checker.reopened(&[read], false), "what is gone stays gone");
}

#[test]
fn a_refused_event_may_not_be_stored() {
    let mut checker = checker(true, 1, |_| Outcome::Refused(None));
    breaks(reopen(&mut checker, OLD, &[(0, 0)]), "refused means not stored");
}

#[test]
fn an_event_is_stored_once() {
    let mut checker = checker(true, 1, stored);
    breaks(reopen(&mut checker, OLD, &[(0, 0), (0, 1)]), "stored once");
}

#[test]
fn an_offset_has_one_value() {
    let mut checker = checker(true, 2, |_| Outcome::Unknown(None));
    open(&mut checker, OLD, &[(0, 0)]);
    breaks(reopen(&mut checker, OLD, &[(1, 0)]), "one value per offset");
}

#[test]
fn offsets_have_no_holes() {
    let mut checker = checker(true, 2, |_| Outcome::Unknown(None));
    breaks(reopen(&mut checker, OLD, &[(0, 0), (1, 2)]), "offsets are dense");
}

#[test]
fn bytes_may_not_change() {
    let mut checker = checker(true, 1, stored);
    let mut read = full(&checker, OLD, &[(0, 0)], Vec::new());
    let value = String::from_utf8(read.records[0].value.take().unwrap().to_vec()).unwrap();
    read.records[0].value = Some(value.replace("\"p\":\"a", "\"p\":\"b").into());
    breaks(checker.reopened(&[read], false), "nothing invented");
}

#[test]
fn a_duplicate_is_answered_with_the_first_position() {
    let mut checker = checker(true, 1, stored);
    checker.sent(&[0], 100);
    let again = Outcome::Stored { id: "e0".into(), place: place(OLD, 5), duplicate: true };
    breaks(checker.ended(0, again, 101), "a duplicate is answered with the first position");
}

#[test]
fn another_body_under_an_id_is_a_conflict() {
    let mut checker = checker(true, 1, stored);
    let n = checker.make(Source(0), Some("e0".into()), 40, Some(0));
    checker.sent(&[n], 100);
    let accepted = Outcome::Stored { id: "e0".into(), place: place(OLD, 1), duplicate: false };
    breaks(checker.ended(n, accepted, 101), "conflict");
}

#[test]
fn a_commit_is_whole() {
    let mut checker = Checker::new(true, false);
    open(&mut checker, OLD, &[]);
    sources().take(2).enumerate().for_each(|(n, source)| {
        checker.make(source, Some(format!("e{n}")), 40, None);
    });
    checker.sent(&[0, 1], 1);
    for n in [0, 1] {
        checker.ended(n, Outcome::Unknown(None), 2).unwrap();
    }
    breaks(reopen(&mut checker, OLD, &[(0, 0)]), "a commit is whole");
}

#[test]
fn the_order_of_a_source_is_that_of_its_acks() {
    let mut checker = Checker::new(true, false);
    open(&mut checker, OLD, &[]);
    for n in [0, 1] {
        checker.make(Source(0), Some(format!("e{n}")), 40, None);
        checker.sent(&[n], 10 * n);
        let place = place(OLD, 1 - n);
        checker
            .ended(n, Outcome::Stored { id: format!("e{n}"), place, duplicate: false }, 10 * n + 1)
            .unwrap();
    }
    breaks(checker.check_sources(), "order of a source");
}

#[test]
fn an_epoch_changes_only_where_acks_are_not_synced() {
    let mut synced = checker(true, 1, stored);
    breaks(reopen(&mut synced, NEW, &[(0, 0)]), "epochs");
    let mut periodic = checker(false, 3, stored);
    open(&mut periodic, OLD, &[(0, 0), (1, 1), (2, 2)]);
    open(&mut periodic, NEW, &[(0, 0)]);
}

#[test]
fn only_a_suffix_may_be_lost() {
    let mut checker = checker(false, 3, stored);
    open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2)]);
    breaks(reopen(&mut checker, NEW, &[(1, 0), (2, 1)]), "a suffix of the one order");
}

#[test]
fn what_was_damaged_may_be_whole_after_all() {
    let reopened = |events: &[(u64, u64)]| {
        let mut checker = checker(true, 4, stored);
        open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
        checker.damaged(1);
        reopen(&mut checker, NEW, events)
    };
    reopened(&[(0, 0), (1, 1), (2, 2), (3, 3)]).unwrap();
    breaks(reopened(&[(0, 0), (1, 1), (3, 2)]), "a suffix of the one order");
}

#[test]
fn damage_is_reported_and_takes_its_batch_alone() {
    let gap = |offset| Gap { partition: partition(), from: offset, until: offset + 1, after: 0 };
    let damaged = || {
        let mut checker = checker(true, 3, stored);
        open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2)]);
        checker.damaged(1);
        checker
    };
    let mut said = damaged();
    let read = full(&said, OLD, &[(0, 0), (2, 2)], vec![gap(1)]);
    said.reopened(&[read], false).unwrap();
    breaks(reopen(&mut damaged(), OLD, &[(0, 0), (2, 2)]), "damage is reported");
    let mut cut = damaged();
    let read = full(&cut, OLD, &[(0, 0)], vec![gap(1)]);
    breaks(cut.reopened(&[read], false), "nothing durable is lost");
}

#[test]
fn backwards_is_as_forwards() {
    let gap = Gap { partition: partition(), from: 1, until: 2, after: 0 };
    let reopened = |change: fn(&mut FullRead)| {
        let mut checker = checker(true, 3, stored);
        open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2)]);
        checker.damaged(1);
        let mut read = full(&checker, OLD, &[(0, 0), (2, 2)], vec![gap]);
        change(&mut read);
        checker.reopened(&[read], false)
    };
    reopened(|_| {}).unwrap();
    breaks(reopened(|read| read.backwards.0.reverse()), "backwards as forwards");
    breaks(reopened(|read| drop(read.backwards.0.pop())), "backwards as forwards");
    breaks(reopened(|read| read.backwards.1.clear()), "backwards as forwards");
    breaks(reopened(|read| read.backwards.1.extend(read.gaps.clone())), "backwards as forwards");
}

/// A subscriber of everything that began at offset 0 and was given these events, of five.
fn given(steps: impl Fn(&mut Chain)) -> Verdict {
    let mut checker = checker(true, 5, stored);
    open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
    let chain = checker.chain("subscriber".into(), vec![Target::parse("events:*").unwrap()]);
    let at = |offset| Resume(vec![Cursor { epoch: OLD, next: Next::All(vec![offset; PARTITIONS as usize]) }]);
    let starts = [vec![0; PARTITIONS as usize], vec![0; PARTITIONS as usize]];
    let chain = checker.chain_mut(chain);
    chain.steps.push(Step::Began(Start::Earliest { after: starts }, at(0)));
    steps(chain);
    checker.check_chains()
}

fn event(n: u64) -> Step {
    Step::Event(place(OLD, n), n)
}

#[test]
fn a_subscriber_is_given_everything_once_in_order() {
    given(|chain| chain.steps.extend([0, 1, 2, 3, 4].map(event))).unwrap();
    breaks(given(|chain| chain.steps.extend([0, 2, 3, 4].map(event))), "contiguous");
    breaks(given(|chain| chain.steps.extend([0, 1, 1, 2, 3, 4].map(event))), "contiguous");
    breaks(given(|chain| chain.steps.extend([1, 0, 2, 3, 4].map(event))), "contiguous");
    breaks(given(|chain| chain.steps.extend([0, 1, 2, 3].map(event))), "caught up");
}

#[test]
fn a_subscriber_that_was_told_goes_on_where_it_was_told() {
    let at = |offset| Resume(vec![Cursor { epoch: OLD, next: Next::All(vec![offset; PARTITIONS as usize]) }]);
    given(|chain| {
        chain.steps.extend([event(0), Step::Moved(at(3)), event(3), event(4)]);
    })
    .unwrap();
    breaks(given(|chain| chain.steps.extend([event(0), Step::Moved(at(3)), event(4)])), "contiguous");
}

#[test]
fn a_start_past_what_is_kept_is_wrong() {
    let mut checker = checker(true, 2, stored);
    open(&mut checker, OLD, &[(0, 0), (1, 1)]);
    let index = checker.chain("subscriber".into(), vec![Target::parse("events:*").unwrap()]);
    let all = |offset| [vec![offset; PARTITIONS as usize], vec![offset; PARTITIONS as usize]];
    let at = Resume(vec![Cursor { epoch: OLD, next: Next::All(all(1)[0].clone()) }]);
    checker.chain_mut(index).steps.push(Step::Began(Start::Earliest { after: all(0) }, at.clone()));
    breaks(checker.check_chains(), "where it starts");
    let recent = Start::Recent { count: 2, before: all(2), after: all(2), earliest: all(0) };
    checker.chain_mut(index).steps = vec![Step::Began(recent, at), event(1)];
    breaks(checker.check_chains(), "where it starts");
}

#[test]
fn what_is_damaged_is_none_of_the_last_so_many() {
    let begun = |count| {
        let mut checker = checker(true, 4, stored);
        open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
        checker.damaged(1);
        let gap = Gap { partition: partition(), from: 1, until: 2, after: 1 };
        let read = full(&checker, OLD, &[(0, 0), (2, 2), (3, 3)], vec![gap]);
        checker.reopened(&[read], false).unwrap();
        let index = checker.chain("subscriber".into(), vec![Target::parse("events:*").unwrap()]);
        let all = |offset| [vec![offset; PARTITIONS as usize], vec![offset; PARTITIONS as usize]];
        let at = |offset| Resume(vec![Cursor { epoch: OLD, next: Next::All(all(offset)[0].clone()) }]);
        let recent = Start::Recent { count, before: all(4), after: all(4), earliest: all(0) };
        let steps = vec![Step::Began(recent, at(0)), event(0), Step::Moved(at(2)), event(2), event(3)];
        checker.chain_mut(index).steps = steps;
        checker.check_chains()
    };
    begun(3).unwrap();
    breaks(begun(2), "where it starts");
}

#[test]
fn a_start_at_a_time_may_lie_before_what_is_damaged() {
    let begun = |gone: &[(u64, u64)], ms, offset| {
        let mut checker = checker(true, 3, stored);
        open(&mut checker, OLD, &[(0, 0), (1, 1), (2, 2)]);
        checker.damaged(1);
        let gap = Gap { partition: partition(), from: 1, until: 2, after: 1 };
        let read = full(&checker, OLD, gone, if gone.len() < 3 { vec![gap] } else { Vec::new() });
        checker.reopened(&[read], false).unwrap();
        let index = checker.chain("subscriber".into(), vec![Target::parse("events:*").unwrap()]);
        let all = |offset| [vec![offset; PARTITIONS as usize], vec![offset; PARTITIONS as usize]];
        let at = |offset| Resume(vec![Cursor { epoch: OLD, next: Next::All(all(offset)[0].clone()) }]);
        let start = Start::Time { ms, earliest: all(0), before: all(3) };
        let steps = vec![Step::Began(start, at(offset)), Step::Moved(at(2)), event(2)];
        checker.chain_mut(index).steps = steps;
        checker.check_chains()
    };
    let time = |n: u64| record(&checker(true, 3, stored), n, n).append_time_ms;
    assert!(time(1) < time(2), "each is appended at a time of its own");
    begun(&[(0, 0), (2, 2)], time(2), 1).unwrap();
    breaks(begun(&[(0, 0), (1, 1), (2, 2)], time(2), 1), "where it starts");
    breaks(begun(&[(0, 0), (2, 2)], time(1), 2), "where it starts");
}

#[test]
fn unrecoverable_must_be_so() {
    let mut checker = checker(true, 1, stored);
    open(&mut checker, OLD, &[(0, 0)]);
    let token = Resume(vec![Cursor { epoch: OLD, next: Next::All(vec![0; PARTITIONS as usize]) }]);
    let bounds = |epoch, start| {
        let earliest = vec![start; PARTITIONS as usize];
        let bounds = Bounds { epoch, latest: earliest.clone(), earliest };
        [bounds.clone(), bounds]
    };
    assert!(!checker.is_unrecoverable("retention", &token, &bounds(OLD, 0)));
    assert!(checker.is_unrecoverable("retention", &token, &bounds(OLD, 1)));
    assert!(!checker.is_unrecoverable("epoch", &token, &bounds(OLD, 1)));
    assert!(checker.is_unrecoverable("epoch", &token, &bounds(NEW, 0)));
    assert!(!checker.is_unrecoverable("future", &token, &bounds(OLD, 0)));
}

#[test]
fn what_is_heard_live_stands_where_it_says() {
    let mut checker = checker(true, 1, stored);
    open(&mut checker, OLD, &[(0, 0)]);
    checker.heard(place(OLD, 0), "e0", &Source(0).channel());
    checker.check_heard().unwrap();
    checker.heard(place(OLD, 1), "e1", "events:user:k0");
    breaks(checker.check_heard(), "live");
}
