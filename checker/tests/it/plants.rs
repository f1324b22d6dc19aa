//! Every anomaly, planted into a clean run: it is named, and nothing else is.

use crate::story::{EPOCH, Op, Story, rules, story};
use dualstream_checker::{Blame, History, Item, Kind, Operation as O, Place, Report, judge};
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

const EVENTS: usize = 3_000;

/// Plants, judges, and expects this kind alone, with an excerpt.
fn planted(kind: Kind, plant: impl Fn(&mut Story)) -> Report {
    let mut story = story(EVENTS);
    plant(&mut story);
    let report = story.judge();
    assert_eq!(report.kinds(), [kind], "{report}");
    assert!(report.anomalies.iter().all(|anomaly| !anomaly.excerpt.is_empty()), "{report}");
    report
}

/// The same, and it is named once.
fn planted_once(kind: Kind, plant: impl Fn(&mut Story)) {
    let report = planted(kind, plant);
    assert_eq!(report.counts[&kind], 1, "{report}");
}

fn deliveries(story: &Story, of: &str) -> Vec<usize> {
    story.all(|op| matches!(op, O::Deliver { chain, .. } if *chain == of))
}

fn reads(story: &Story, of: &str) -> Vec<usize> {
    story.all(|op| matches!(op, O::Read { reader, .. } if *reader == of))
}

fn is_seen(op: &Op, id: &str) -> bool {
    matches!(op, O::Read { item, .. } | O::Deliver { item, .. } if item.id == id)
}

/// Events that were sent once and acknowledged, in the order of their acks; those of batches only if asked for.
fn acked(story: &Story) -> Vec<(usize, &'static str, Place)> {
    let mut sent: HashMap<&str, u32> = HashMap::new();
    for (_, op) in &story.steps {
        if let O::Invoke { id, .. } = op {
            *sent.entry(id).or_default() += 1;
        }
    }
    let steps = story.steps.iter().enumerate();
    steps
        .filter_map(|(at, (_, op))| match op {
            O::Ok { id, place, process } if *process != "batcher" && sent[id] == 1 => Some((at, *id, *place)),
            _ => None,
        })
        .collect()
}

fn in_the_middle<T: Copy>(all: &[T]) -> T {
    all[all.len() / 2]
}

/// Exchanges two events wherever they stand.
fn exchange(story: &mut Story, one: &'static str, other: &'static str) {
    let crc = |wanted: &str, story: &Story| {
        story.steps.iter().find_map(|(_, op)| match op {
            O::Invoke { id, crc, .. } if *id == wanted => Some(*crc),
            _ => None,
        })
    };
    let crcs = [(one, crc(one, story).unwrap()), (other, crc(other, story).unwrap())];
    for item in story.items().filter(|item| item.id == one || item.id == other) {
        let (id, crc) = if item.id == one { crcs[1] } else { crcs[0] };
        (item.id, item.crc) = (id, item.crc.map(|_| crc));
    }
    let at = |wanted: &str| story.all(|op| matches!(op, O::Ok { id, .. } if *id == wanted))[0];
    let (first, second) = (at(one), at(other));
    let places = [first, second].map(|at| match &story.steps[at].1 {
        O::Ok { place, .. } => *place,
        other => panic!("{other:?}"),
    });
    for (at, now) in [(first, places[1]), (second, places[0])] {
        if let O::Ok { place, .. } = &mut story.steps[at].1 {
            *place = now;
        }
    }
}

#[test]
fn an_acked_event_that_nobody_finds() {
    planted_once(Kind::LostAck, |story| {
        let (_, lost, _) = in_the_middle(&acked(story));
        story.steps.retain(|(_, op)| !is_seen(op, lost));
    });
}

#[test]
fn an_acked_event_that_one_node_lacks() {
    planted_once(Kind::LostAck, |story| {
        let lost = in_the_middle(&reads(story, "final-1-b"));
        let acked = acked(story);
        let lost = (lost..).find(|&at| acked.iter().any(|(_, id, _)| *id == story.item(at).id)).unwrap();
        story.remove(lost);
    });
}

#[test]
fn an_event_nobody_published() {
    planted_once(Kind::Phantom, |story| {
        let last = *reads(story, "final-0-a").last().unwrap();
        let mut item = story.item(last);
        item.id = "phantom";
        item.place.as_mut().unwrap().offset += 1;
        story.insert(last + 1, O::Read { reader: "final-0-a", item });
    });
    planted_once(Kind::Phantom, |story| {
        let at = in_the_middle(&deliveries(story, "ears"));
        let item = Item { id: "phantom", place: None, ..story.item(at) };
        story.insert(at, O::Deliver { chain: "ears", item });
    });
    planted_once(Kind::Phantom, |story| {
        let heard = in_the_middle(&deliveries(story, "ears"));
        let op = story.remove(heard);
        let O::Deliver { item, .. } = &op else { panic!() };
        let sent = story.all(|op| matches!(op, O::Invoke { id, .. } if *id == item.id))[0];
        story.insert(sent, op);
    });
}

#[test]
fn an_event_whose_publish_failed() {
    planted_once(Kind::AbortedRead, |story| {
        let begins = story.all(|op| matches!(op, O::FaultBegins { .. }))[0];
        let (at, id, _) = *acked(story).iter().find(|(at, ..)| *at > begins + 100).unwrap();
        let O::Ok { process, .. } = story.steps[at].1 else { panic!() };
        story.steps[at].1 = O::Fail { process, id, code: "unavailable", blame: Blame::Server };
    });
}

#[test]
fn an_event_with_another_value_key_or_topic() {
    planted(Kind::Altered, |story| {
        let (_, altered, _) = in_the_middle(&acked(story));
        for item in story.items().filter(|item| item.id == altered) {
            item.crc = item.crc.map(|crc| crc ^ 1);
        }
    });
    planted_once(Kind::Altered, |story| {
        let at = in_the_middle(&deliveries(story, "all-events"));
        if let O::Deliver { item, .. } = &mut story.steps[at].1 {
            item.key = "gh:other";
        }
    });
    planted_once(Kind::Altered, |story| {
        let (from, to) =
            (in_the_middle(&reads(story, "final-1-a")), *reads(story, "final-0-a").last().unwrap());
        let mut item = story.item(from);
        item.place = story.item(to).place;
        item.place.as_mut().unwrap().offset += 1;
        story.insert(to + 1, O::Read { reader: "final-0-a", item });
    });
}

#[test]
fn two_events_or_values_at_one_place() {
    planted_once(Kind::Diverged, |story| {
        let read = reads(story, "final-0-b");
        let (at, other) = (in_the_middle(&read), story.item(read[read.len() / 2 + 1]).id);
        if let O::Read { item, .. } = &mut story.steps[at].1 {
            item.id = other;
        }
    });
    planted_once(Kind::Diverged, |story| {
        let at = in_the_middle(&deliveries(story, "everything"));
        if let O::Deliver { item, .. } = &mut story.steps[at].1 {
            item.crc = item.crc.map(|crc| crc ^ 1);
        }
    });
    planted_once(Kind::Diverged, |story| {
        let acked = acked(story);
        let (at, _, place) = in_the_middle(&acked);
        let (_, _, other) = *acked.iter().find(|(_, _, other)| other.partition != place.partition).unwrap();
        if let O::Ok { place, .. } = &mut story.steps[at].1 {
            *place = other;
        }
    });
}

#[test]
fn an_event_that_was_there_and_is_gone() {
    planted_once(Kind::Vanished, |story| {
        let acked: BTreeSet<&str> = acked(story).into_iter().map(|(_, id, _)| id).collect();
        let unknown = story.all(|op| matches!(op, O::Info { code: "connection_lost", .. }));
        let ids = unknown.iter().map(|&at| match &story.steps[at].1 {
            O::Info { id, .. } => *id,
            other => panic!("{other:?}"),
        });
        let ids: BTreeSet<&str> = ids.filter(|id| !acked.contains(id)).collect();
        let read = reads(story, "final-0-b");
        let gone = *read.iter().find(|&&at| ids.contains(story.item(at).id)).unwrap();
        story.remove(gone);
    });
}

#[test]
fn an_ack_of_no_place_of_its_event() {
    for (partition, offset) in [(0, 1_000_000), (1, 1_000_000)] {
        planted_once(Kind::AckElsewhere, |story| {
            let (at, ..) = in_the_middle(&acked(story));
            if let O::Ok { place, .. } = &mut story.steps[at].1 {
                place.partition = (place.partition + partition) % 12;
                place.offset += offset;
            }
        });
    }
}

#[test]
fn an_event_at_two_places() {
    planted_once(Kind::Duplicate, |story| {
        for reader in ["final-0-a", "final-0-b"] {
            let read = reads(story, reader);
            let last = *read.last().unwrap();
            let end = story.item(last).place.unwrap();
            let before = read.iter().rev().skip(3).map(|&at| story.item(at));
            let mut item =
                before.take_while(|item| item.place.unwrap().partition == end.partition).next().unwrap();
            item.place = Some(Place { offset: end.offset + 1, ..end });
            story.insert(last + 1, O::Read { reader, item });
        }
    });
}

/// A repeat that is hidden from full reads, and given to a subscriber.
#[test]
fn a_repeat_that_is_not_hidden() {
    planted_once(Kind::Duplicate, |story| {
        let at = deliveries(story, "only-2")[0];
        let mut item = story.item(at);
        item.place.as_mut().unwrap().offset += 100_000;
        let last = *deliveries(story, "only-2").last().unwrap();
        story.insert(last + 1, O::Deliver { chain: "only-2", item });
    });
}

#[test]
fn an_event_before_one_that_was_acked_before_it_was_sent() {
    planted_once(Kind::Misordered, |story| {
        let mut seen: HashMap<&str, (usize, &'static str)> = HashMap::new();
        let mut keys: HashMap<&str, &'static str> = HashMap::new();
        let (mut sent, mut pairs) = (HashMap::new(), Vec::new());
        for (at, (_, op)) in story.steps.iter().enumerate() {
            if let O::Invoke { id, key, .. } = op {
                sent.insert(*id, at);
                keys.insert(id, key);
            }
        }
        for (at, id, _) in acked(story) {
            if let Some((before, first)) = seen.insert(keys[id], (at, id))
                && before < sent[id]
            {
                pairs.push((sent[id] - before, first, id));
            }
        }
        // The nearest: nothing was given to anybody between them.
        let (_, first, second) = pairs.into_iter().min().unwrap();
        exchange(story, first, second);
    });
}

#[test]
fn two_events_of_a_batch_in_the_other_order() {
    planted_once(Kind::BatchMisordered, |story| {
        let ids = ["e507-0", "e507-3"];
        exchange(story, ids[0], ids[1]);
    });
}

#[test]
fn a_key_in_two_partitions() {
    planted_once(Kind::KeySplit, |story| {
        let places: HashMap<&str, Place> =
            acked(story).into_iter().map(|(_, id, place)| (id, place)).collect();
        let last = deliveries(story, "everything");
        let at = last.iter().rev().find(|&&at| {
            let item = story.item(at);
            places.contains_key(item.id) && item.place.unwrap().partition == 11
        });
        let moved = story.item(at.copied().unwrap()).id;
        let there = Place { epoch: EPOCH, partition: 10, offset: 900_000 };
        story.items().filter(|item| item.id == moved).for_each(|item| item.place = item.place.map(|_| there));
        for (_, op) in &mut story.steps {
            match op {
                O::Ok { id, place, .. } if *id == moved => *place = there,
                O::ReadEnds { latest, .. } => latest[10] = 900_001,
                _ => {}
            }
        }
    });
}

/// Neighbours of one partition among the deliveries of a chain.
fn neighbours(story: &Story, chain: &str) -> (usize, usize) {
    let all = deliveries(story, chain);
    let pairs = all.windows(2).map(|pair| (pair[0], pair[1]));
    let mut pairs = pairs.skip(all.len() / 2).filter(|(one, other)| one + 1 == *other);
    let partition = |at: usize| (story.item(at).place.unwrap().partition, story.item(at).key);
    pairs.find(|&(one, other)| partition(one).0 == partition(other).0).unwrap()
}

#[test]
fn a_subscriber_gets_a_later_event_first() {
    planted_once(Kind::Disordered, |story| {
        let (one, other) = neighbours(story, "all-events");
        let ops = (story.steps[one].1.clone(), story.steps[other].1.clone());
        (story.steps[other].1, story.steps[one].1) = ops;
    });
    planted_once(Kind::Disordered, |story| {
        let read = reads(story, "final-0-a");
        let (one, other) = (read[0], read[1]);
        let ops = (story.steps[one].1.clone(), story.steps[other].1.clone());
        (story.steps[other].1, story.steps[one].1) = ops;
    });
}

#[test]
fn a_subscriber_gets_an_event_twice() {
    for chain in ["all-events", "ears", "only-4"] {
        planted_once(Kind::Redelivered, |story| {
            let all = deliveries(story, chain);
            let again = story.steps[in_the_middle(&all)].1.clone();
            story.insert(all.last().unwrap() + 1, again);
        });
    }
    planted_once(Kind::Redelivered, |story| {
        let at = in_the_middle(&reads(story, "final-0-a"));
        let again = story.steps[at].1.clone();
        story.insert(at + 1, again);
    });
}

#[test]
fn a_subscriber_misses_an_event() {
    for chain in ["all-events", "everything", "only-2", "only-4", "new-events", "late-orders", "cut-off"] {
        planted_once(Kind::Gap, |story| {
            let (first, _) = match chain {
                "only-2" | "only-4" => (deliveries(story, chain)[0], 0),
                _ => neighbours(story, chain),
            };
            story.remove(first);
        });
    }
}

/// The first that it is due, wherever it began.
#[test]
fn a_subscriber_misses_its_first_event() {
    for chain in ["all-events", "new-events", "late-orders"] {
        planted_once(Kind::Gap, |story| {
            let first = deliveries(story, chain)[0];
            story.remove(first);
        });
    }
}

#[test]
fn a_subscriber_misses_an_event_over_a_reconnect() {
    for chain in ["all-events", "everything"] {
        planted_once(Kind::LostOnResume, |story| {
            let resumes = story.all(|op| matches!(op, O::Subscribe { chain: of, .. } if *of == chain))[1];
            let first = *deliveries(story, chain).iter().find(|at| **at > resumes).unwrap();
            story.remove(first);
        });
    }
}

#[test]
fn a_subscriber_is_told_that_it_has_what_it_has_not() {
    for is_given_later in [true, false] {
        planted_once(Kind::EarlyBookmark, |story| {
            let marks = story.all(|op| matches!(op, O::Progress { .. }));
            let last = *deliveries(story, "all-events").last().unwrap();
            let mark = *marks.iter().find(|at| **at > last).unwrap();
            let op = story.remove(last);
            if is_given_later {
                story.insert(mark, op);
            }
        });
    }
}

#[test]
fn a_subscriber_slips_into_another_epoch() {
    planted_once(Kind::EpochSkipped, |story| {
        let all = deliveries(story, "all-events");
        for &at in &all[all.len() / 2..] {
            if let O::Deliver { item, .. } = &mut story.steps[at].1 {
                item.place.as_mut().unwrap().epoch = EPOCH + 1;
            }
        }
    });
}

#[test]
fn a_subscriber_gets_what_it_did_not_ask_for() {
    for (chain, other) in [("only-2", "only-8"), ("ears", "only-8")] {
        planted_once(Kind::Strayed, |story| {
            let from = deliveries(story, other)[0];
            let item = story.item(from);
            story.insert(from + 1, O::Deliver { chain, item });
        });
    }
}

#[test]
fn a_gauge_that_does_not_return_to_zero() {
    planted_once(Kind::Leak, |story| {
        let last = *story.all(|op| matches!(op, O::Gauge { .. })).last().unwrap();
        if let O::Gauge { value, .. } = &mut story.steps[last].1 {
            *value = 1;
        }
    });
}

#[test]
fn a_publish_that_fails_long_after_the_fault() {
    let (process, key, topic, crc, batch) = ("p9", "gh:source-0", "events", 0, None);
    planted_once(Kind::Unhealed, |story| {
        let id = "much-later";
        story.append(60_000_000, O::Invoke { process, id, key, topic, crc, batch });
        story.append(1, O::Info { process, id, code: "ack_unknown" });
    });
    planted_once(Kind::Unhealed, |story| {
        let id = "long-before";
        let first = story.all(|op| matches!(op, O::Invoke { .. }))[0];
        story.steps.iter_mut().skip(first).for_each(|(at_us, _)| *at_us += 60_000_000);
        story.insert(first + 1, O::Invoke { process, id, key, topic, crc, batch });
        story.insert(first + 2, O::Fail { process, id, code: "unavailable", blame: Blame::Server });
    });
}

#[test]
fn a_publish_that_feels_a_fault_of_the_bus() {
    let (process, key, topic, crc, batch) = ("p9", "gh:source-0", "events", 0, None);
    let fault = "redis hangs";
    for is_over in [false, true] {
        planted_once(Kind::Felt, |story| {
            story.append(60_000_000, O::FaultBegins { fault, of_bus: true });
            if is_over {
                story.append(1_000, O::FaultEnds { fault });
            }
            story.append(1_000, O::Invoke { process, id: "felt", key, topic, crc, batch });
            story.append(1, O::Info { process, id: "felt", code: "ack_unknown" });
        });
    }
}

#[test]
fn a_publish_that_waits_for_the_bus() {
    planted_once(Kind::Felt, |story| {
        let sent = slow(story);
        story.insert(sent, O::FaultBegins { fault: "redis hangs", of_bus: true });
    });
}

#[test]
fn a_publish_that_takes_long_without_a_fault() {
    planted_once(Kind::Unhealed, |story| {
        slow(story);
    });
}

/// Adds a publish to its end that is acknowledged after 40 s: where it was sent.
fn slow(story: &mut Story) -> usize {
    let (process, id, key, topic, crc) = ("p9", "slow", "other:0", "orders", 5);
    let mut end = 0;
    for (_, op) in &mut story.steps {
        if let O::ReadEnds { reader, latest } = op
            && reader.starts_with("final-1")
        {
            (end, latest[11]) = (latest[11], latest[11] + 1);
        }
    }
    let place = Place { epoch: EPOCH, partition: 11, offset: end };
    let item = Item { id, key, crc: Some(crc), place: Some(place) };
    for reader in ["final-1-a", "final-1-b"] {
        let last = *reads(story, reader).last().unwrap();
        story.insert(last + 1, O::Read { reader, item });
    }
    let reads = story.all(|op| matches!(op, O::ReadBegins { reader, .. } if reader.starts_with("final")))[0];
    story.steps.iter_mut().skip(reads).for_each(|(at_us, _)| *at_us += 40_000_000);
    story.insert(reads, O::Invoke { process, id, key, topic, crc, batch: None });
    story.insert(reads + 2, O::Ok { process, id, place });
    story.insert(reads + 3, O::Deliver { chain: "everything", item });
    reads
}

#[test]
fn a_subscriber_that_is_late_without_a_fault() {
    planted_once(Kind::Late, |story| {
        let last = *deliveries(story, "only-2").last().unwrap();
        let op = story.remove(last);
        story.append(40_000_000, op);
    });
}

#[test]
fn a_subscriber_that_never_comes_to_the_end() {
    planted_once(Kind::Unseen, |story| {
        let last = *deliveries(story, "only-2").last().unwrap();
        story.remove(last);
    });
    planted_once(Kind::Unseen, |story| {
        let all = deliveries(story, "only-3");
        all.into_iter().rev().for_each(|at| drop(story.remove(at)));
    });
}

#[test]
fn a_failure_without_a_code() {
    for code in ["", "No brokers!"] {
        planted_once(Kind::NoCode, |story| set_code(story, code));
    }
}

#[test]
fn a_failure_with_a_code_nobody_knows() {
    planted_once(Kind::UnlistedCode, |story| set_code(story, "out_of_luck"));
}

fn set_code(story: &mut Story, now: &'static str) {
    let at = in_the_middle(&story.all(|op| matches!(op, O::Fail { .. })));
    if let O::Fail { code, .. } = &mut story.steps[at].1 {
        *code = now;
    }
}

#[test]
fn a_code_that_means_two_things() {
    planted_once(Kind::AmbiguousCode, |story| {
        let at = in_the_middle(&story.all(|op| matches!(op, O::Fail { code: "unavailable", .. })));
        let O::Fail { process, id, code, .. } = story.steps[at].1 else { panic!() };
        story.steps[at].1 = O::Info { process, id, code };
    });
}

#[test]
fn a_publish_without_an_outcome() {
    planted_once(Kind::Unanswered, |story| {
        let (at, ..) = in_the_middle(&acked(story));
        story.remove(at);
    });
}

#[test]
fn counters_that_do_not_add_up() {
    planted_once(Kind::Unbalanced, |story| {
        let last = *story.all(|op| matches!(op, O::Counter { counter: "stored", .. })).last().unwrap();
        if let O::Counter { value, .. } = &mut story.steps[last].1 {
            *value -= 1;
        }
    });
}

#[test]
fn a_counter_that_goes_back() {
    planted_once(Kind::CounterFell, |story| {
        let at = story.all(|op| matches!(op, O::Counter { node: "a", counter: "dropped", .. }))[0];
        if let O::Counter { value, .. } = &mut story.steps[at].1 {
            *value += 1;
        }
    });
}

#[test]
fn a_history_that_contradicts_itself() {
    let place = Place { epoch: EPOCH, partition: 0, offset: 0 };
    let item = Item { id: "e0", key: "gh:x", crc: None, place: Some(place) };
    let nonsense: [Op; 6] = [
        O::Ok { process: "nobody", id: "e0", place },
        O::Deliver { chain: "none", item },
        O::Read { reader: "none", item },
        O::Balance { left: ["accepted"].into(), right: ["no_such"].into() },
        O::Unrecoverable { chain: "only-0", from: dualstream_checker::Start::Resume },
        O::ReadEnds { reader: "none", latest: [0; 12].into() },
    ];
    for op in nonsense {
        let mut story = story(500);
        story.append(1, op);
        let report = story.judge();
        assert!(report.kinds().contains(&Kind::Malformed), "{report}");
    }
}

#[test]
fn a_topic_that_was_not_read_at_the_end() {
    planted_once(Kind::NoFinalRead, |story| {
        let ends = |op: &Op| matches!(op, O::ReadEnds { reader, .. } if reader.starts_with("final-1"));
        story.steps.retain(|(_, op)| !ends(op));
    });
}

/// Of many of one kind all are counted, and some are shown.
#[test]
fn many_are_counted_and_few_are_shown() {
    let report = planted(Kind::LostAck, |story| {
        let lost: BTreeSet<&str> = acked(story).into_iter().step_by(10).map(|(_, id, _)| id).collect();
        story.steps.retain(|(_, op)| !lost.iter().any(|id| is_seen(op, id)));
    });
    assert!(report.counts[&Kind::LostAck] > 100, "{report}");
    assert_eq!(report.anomalies.len(), 10);
}

#[test]
fn every_kind_has_a_plant() {
    let source = include_str!("plants.rs");
    for kind in Kind::ALL {
        assert!(source.contains(&format!("Kind::{kind:?}")), "{kind}");
    }
}

/// How long a million events take: eight million operations to write, read and judge.
#[test]
#[ignore = "a measurement, for `--release`"]
fn a_million_events() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.jsonl");
    let history = story(1_000_000).history();
    let began = Instant::now();
    history.write(&file).unwrap();
    println!("written in {:?}", began.elapsed());
    let began = Instant::now();
    let read = History::read(&file).unwrap();
    println!("read in {:?}", began.elapsed());
    let began = Instant::now();
    let report = judge(&read, &rules());
    println!("judged in {:?}: {}", began.elapsed(), report.totals);
    assert!(report.is_clean(), "{report}");
}
