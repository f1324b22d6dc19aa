//! Histories in which every promise is kept, in ways that are easily taken for broken ones.

use crate::story::{EPOCH, Op, Story, story};
use dualstream_checker::{Item, Operation, Place, Start};

#[test]
fn a_run_with_faults_retries_and_reconnects_is_clean() {
    let report = story(6_000).judge();
    assert!(report.is_clean(), "{report}");
    let totals = report.totals;
    assert!(totals.events > 6_000 && totals.acknowledged < totals.events, "{totals}");
    assert!(totals.failed > 50 && totals.unknown > 100 && totals.stored > 6_000, "{totals}");
    assert!(totals.full_reads == 4 && totals.unrecoverable == 1 && totals.resumed > 20, "{totals}");
}

#[test]
fn an_empty_history_is_clean() {
    assert!(Story::default().judge().is_clean());
}

#[test]
fn what_retention_removed_is_not_lost() {
    let mut story = story(3_000);
    let trimmed = 5;
    let is_trimmed =
        |op: &Op| matches!(op, Operation::Read { item, .. } if item.place.unwrap().offset < trimmed);
    story.steps.retain(|(_, op)| !is_trimmed(op));
    for (_, op) in &mut story.steps {
        if let Operation::ReadBegins { earliest, .. } = op {
            earliest.fill(trimmed);
        }
    }
    let report = story.judge();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_topic_made_anew_is_excused_and_its_subscribers_were_told() {
    let mut story = Story::default();
    let place = |epoch, offset| Place { epoch, partition: 3, offset };
    story.steps.push((1, subscribe()));
    publish(&mut story, "old", place(EPOCH, 0));
    story.append(1, deliver("old", place(EPOCH, 0)));
    let gone = story.clone();
    for op in [
        Operation::Recreated { topic: "events" },
        Operation::Unrecoverable { chain: "c", from: Start::Earliest },
    ] {
        story.append(1, op);
    }
    let goes_on = |story: &mut Story| {
        publish(story, "new", place(EPOCH + 1, 0));
        story.append(1, deliver("new", place(EPOCH + 1, 0)));
        read(story, "new", place(EPOCH + 1, 0));
    };
    goes_on(&mut story);
    let report = story.judge();
    assert!(report.is_clean(), "{report}");
    let mut silent = gone;
    goes_on(&mut silent);
    let kinds: Vec<_> = silent.judge().kinds().iter().map(|kind| kind.name()).collect();
    assert_eq!(kinds, ["lost_ack", "epoch_skipped"]);
}

#[test]
fn an_unclean_start_that_keeps_everything_is_clean() {
    let mut story = Story::default();
    let place = |epoch, offset| Place { epoch, partition: 3, offset };
    story.steps.push((1, subscribe()));
    publish(&mut story, "kept", place(EPOCH, 0));
    story.append(1, deliver("kept", place(EPOCH, 0)));
    story.append(1, Operation::Unrecoverable { chain: "c", from: Start::Earliest });
    story.append(1, deliver("kept", place(EPOCH + 1, 0)));
    read(&mut story, "kept", place(EPOCH + 1, 0));
    let report = story.judge();
    assert!(report.is_clean(), "{report}");
}

fn subscribe() -> Op {
    let (chain, node, topic) = ("c", "a", Some("events"));
    let (channel, mode, from) = ("gh:*", dualstream_checker::Mode::Reliable, Start::Earliest);
    Operation::Subscribe { chain, node, topic, channel, mode, from }
}

fn publish(story: &mut Story, id: &'static str, place: Place) {
    let (process, key, topic) = ("p", "gh:x", "events");
    story.append(1, Operation::Invoke { process, id, key, topic, crc: 1, batch: None });
    story.append(1, Operation::Ok { process, id, place });
}

fn item(id: &'static str, place: Place) -> Item<&'static str> {
    Item { id, key: "gh:x", crc: Some(1), place: Some(place) }
}

fn deliver(id: &'static str, place: Place) -> Op {
    Operation::Deliver { chain: "c", item: item(id, place) }
}

fn read(story: &mut Story, id: &'static str, place: Place) {
    let (reader, node, topic) = ("final", "a", "events");
    let earliest = [0; 12].into();
    story.append(1, Operation::ReadBegins { reader, node, topic, epoch: place.epoch, earliest });
    story.append(1, Operation::Read { reader, item: item(id, place) });
    let mut latest = [0; 12];
    latest[place.partition as usize] = place.offset + 1;
    story.append(1, Operation::ReadEnds { reader, latest: latest.into() });
}
