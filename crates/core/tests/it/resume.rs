//! Where subscriptions begin and resume, and what cannot be had.

use crate::world::*;
use dualstream_core::channel::Target;
use dualstream_core::event::Event;
use dualstream_core::hub::*;
use dualstream_core::log::Log;
use dualstream_core::position::{Cursor, Next, Position, Resume};

#[tokio::test(start_paused = true)]
async fn every_token_gives_exactly_the_rest() {
    let world = World::new();
    world.publish(0, 120).await;
    for (name, target) in [("events", "events:*"), ("events", "events:repo:k7"), ("chat", "chat:*")] {
        let mut subscription = world.subscribe(&[target], Start::Earliest).await;
        // Half of them caught up, half followed.
        let mut items = drain(&mut subscription, 600).await;
        world.publish(1000, 120).await;
        items.extend(drain(&mut subscription, 600).await);
        let model = world.model(name, target);
        assert_eq!(positions(&items), model);
        for (at, token) in tokens(&items).iter().enumerate() {
            let mut again = world.subscribe(&[target], resume(token)).await;
            assert_eq!(positions(&drain(&mut again, 5000).await), model[at + 1..], "{target} after {at}");
        }
        let mut end = world.subscribe(&[target], resume(&subscription.resume())).await;
        assert!(drain(&mut end, 5000).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_over_several_topics() {
    let world = World::new();
    world.publish(0, 90).await;
    let targets = ["events:*", "chat:*", "ai:x"];
    let mut subscription = world.subscribe(&targets, Start::Earliest).await;
    let mut items = drain(&mut subscription, 700).await;
    world.publish(500, 90).await;
    items.extend(drain(&mut subscription, 700).await);
    let all = positions(&items);
    for (at, token) in tokens(&items).iter().enumerate() {
        let mut again = world.subscribe(&targets, resume(token)).await;
        let mut rest = positions(&drain(&mut again, 5000).await);
        let mut wanted = all[at + 1..].to_vec();
        rest.sort();
        wanted.sort();
        assert_eq!(rest, wanted, "after {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_so_many() {
    let world = World::new();
    for second in 0..30 {
        world.log.set_time(1_700_000_000_000 + second * 1000);
        world.publish(second as usize * 10, 10).await;
    }
    for target in ["events:*", "events:repo:*", "events:repo:k7"] {
        let model = world.model("events", target);
        for count in [0, 1, 3, 50, 5000] {
            let mut subscription = world.subscribe(&[target], Start::Recent(count)).await;
            let from = model.len() - count.min(model.len()).min(RECENT_MAX);
            assert_eq!(positions(&drain(&mut subscription, 900).await), model[from..], "{target} {count}");
        }
    }
    // Over two topics the newest of both.
    let mut both = world.subscribe(&["events:*", "chat:*"], Start::Recent(20)).await;
    let items = drain(&mut both, 900).await;
    assert_eq!(items.len(), 20);
    let oldest = items.iter().map(|i| match i {
        Item::Event { entry, .. } => entry.append_time_ms,
        other => panic!("{other:?}"),
    });
    assert!(oldest.min().unwrap() >= 1_700_000_028_000);
    // From a time.
    let mut since = world.subscribe(&["events:*"], Start::Time(1_700_000_025_000)).await;
    let items = drain(&mut since, 900).await;
    assert!(items.len() >= 33 && positions(&items) == world.model("events", "events:*")[200 - items.len()..]);
}

fn unrecoverable(items: &[Item]) -> (&'static str, String) {
    match &items[0] {
        Item::Unrecoverable { reason, resume, .. } => (reason, resume.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_retention_passed_is_said_once() {
    for target in ["events:*", "events:repo:k7"] {
        let world = World::new();
        world.publish(0, 3000).await;
        let mut subscription = world.subscribe(&[target], Start::Earliest).await;
        let first = subscription.next(1).await;
        let token = tokens(&first)[0].clone();
        let mut bounds = world.log.bounds(&topic("events")).unwrap();
        // One partition's start moves exactly to the cursor: nothing is lost yet.
        let Cursor { next, .. } = token.parse::<Resume>().unwrap().0.remove(0);
        let below = match next {
            Next::All(offsets) => offsets,
            Next::One { partition, offset } => {
                let mut below = vec![0; 12];
                below[partition as usize] = offset;
                below
            }
        };
        world.log.trim_now(&topic("events"), &below);
        let mut exact = world.subscribe(&[target], resume(&token)).await;
        assert_eq!(positions(&drain(&mut exact, 1 << 20).await), world.model("events", target)[..]);
        // Now one record further, everywhere.
        for latest in &mut bounds.latest {
            *latest -= 1;
        }
        world.log.trim_now(&topic("events"), &bounds.latest);
        for policy in [OnUnrecoverable::Latest, OnUnrecoverable::Earliest, OnUnrecoverable::Close] {
            let mut back = world.subscribe_with(&[target], resume(&token), Mode::Reliable, policy).await;
            let items = drain(&mut back, 1 << 20).await;
            assert_eq!(unrecoverable(&items).0, "retention");
            let rest = positions(&items[1..]);
            match policy {
                OnUnrecoverable::Earliest => assert_eq!(rest, world.model("events", target)),
                _ => assert!(rest.is_empty()),
            }
            world.publish(0, 1200).await;
            let later = drain(&mut back, 1 << 20).await;
            assert_eq!(later.is_empty(), policy == OnUnrecoverable::Close);
        }
        // A slow reader that was passed while it lived is told the same.
        let (items, reason) = (drain(&mut subscription, 1 << 20).await, "retention");
        assert_eq!(unrecoverable(&items).0, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn one_partition_below_the_start_is_unrecoverable() {
    let world = World::new();
    world.publish(0, 600).await;
    let bounds = world.log.bounds(&topic("events")).unwrap();
    let mut offsets = bounds.latest.clone();
    offsets[5] = 0;
    let token = Cursor { epoch: bounds.epoch, next: Next::All(offsets.clone()) }.to_string();
    let mut below = vec![0; 12];
    world.log.trim_now(&topic("events"), &below);
    let mut fine = world.subscribe(&["events:*"], resume(&token)).await;
    assert!(!positions(&drain(&mut fine, 1 << 20).await).is_empty());
    below[5] = 1;
    world.log.trim_now(&topic("events"), &below);
    let mut gone = world.subscribe(&["events:*"], resume(&token)).await;
    assert_eq!(unrecoverable(&drain(&mut gone, 1 << 20).await).0, "retention");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_channel_does_not_age_out() {
    for target in ["events:repo:quiet", "events:quiet:*"] {
        let world = World::new();
        let mut subscription = world.subscribe(&[target], Start::Latest).await;
        for round in 0..5 {
            assert!(drain(&mut subscription, 100).await.is_empty());
            world.publish(round * 1000, 1000).await;
            assert!(drain(&mut subscription, 100).await.is_empty());
            let latest = world.log.bounds(&topic("events")).unwrap().latest;
            world.log.trim_now(&topic("events"), &latest);
            let mut again = world.subscribe(&[target], resume(&subscription.resume())).await;
            assert!(drain(&mut again, 100).await.is_empty(), "nothing was missed");
        }
        let mut own = event(0);
        (own.source_type, own.source_id) = match target {
            "events:quiet:*" => ("quiet".into(), "x".into()),
            _ => ("repo".into(), "quiet".into()),
        };
        world.publisher.publish(vec![own]).await;
        assert_eq!(positions(&drain(&mut subscription, 100).await).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn another_epoch_and_the_future() {
    for target in ["events:*", "events:repo:k7"] {
        let world = World::new();
        world.publish(0, 300).await;
        let mut subscription = world.subscribe(&[target], Start::Earliest).await;
        let token = tokens(&drain(&mut subscription, 1 << 20).await).pop().unwrap();
        let bounds = world.log.bounds(&topic("events")).unwrap();
        for further in [1000, u64::MAX] {
            let further = |offset: u64| offset.saturating_add(further);
            let future = match token.parse::<Resume>().unwrap().0.remove(0).next {
                Next::All(offsets) => Next::All(offsets.into_iter().map(further).collect()),
                Next::One { partition, offset } => Next::One { partition, offset: further(offset) },
            };
            let future = Cursor { epoch: bounds.epoch, next: future }.to_string();
            let mut ahead = world.subscribe(&[target], resume(&future)).await;
            assert_eq!(unrecoverable(&drain(&mut ahead, 100).await).0, "future");
        }
        world.log.recreate(&topic("events"));
        let mut stale = world.subscribe(&[target], resume(&token)).await;
        assert_eq!(unrecoverable(&drain(&mut stale, 100).await).0, "epoch");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        // The one that lived through it is told too, and both go on in the new life.
        world.publish(0, 1500).await;
        let items = drain(&mut subscription, 1 << 20).await;
        assert_eq!(unrecoverable(&items).0, "epoch");
        assert_eq!(positions(&drain(&mut stale, 1 << 20).await), world.model("events", target));
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_another_kind_are_refused() {
    let world = World::new();
    world.publish(0, 300).await;
    let single = world.subscribe(&["events:repo:k7"], Start::Earliest).await.resume();
    let pattern = world.subscribe(&["events:*"], Start::Earliest).await.resume();
    let both = world.subscribe(&["events:*", "chat:*"], Start::Earliest).await.resume();
    let refused = [
        (vec!["events:*"], &single),
        (vec!["events:repo:k7", "events:repo:k14"], &single),
        (vec!["events:repo:k9"], &single),
        (vec!["events:*"], &both),
        (vec!["events:*", "chat:*"], &pattern),
    ];
    for (targets, token) in refused {
        let request = Subscribe {
            targets: parse(&targets),
            mode: Mode::Reliable,
            start: resume(token),
            on_unrecoverable: OnUnrecoverable::Latest,
        };
        let error = world.hub.subscribe(request).await.err().expect("refused");
        assert_eq!(error.code(), "cursor_mismatch", "{targets:?}");
    }
    // The position of an event is the place after it in its channel; the vector of a pattern has every channel.
    let at = world.model("events", "events:repo:k7");
    let mut after = world.subscribe(&["events:repo:k7"], resume(&at[0].to_string())).await;
    assert_eq!(positions(&drain(&mut after, 1 << 20).await), at[1..]);
    let mut whole = world.subscribe(&["events:repo:k7"], resume(&pattern)).await;
    assert_eq!(positions(&drain(&mut whole, 1 << 20).await), at);
}

#[tokio::test(start_paused = true)]
async fn damage_is_reported_in_its_place() {
    for target in ["events:*", "events:repo:k7"] {
        for followed in [false, true] {
            let world = World::new();
            let mut subscription = world.subscribe(&[target], Start::Earliest).await;
            assert!(drain(&mut subscription, 100).await.is_empty());
            if !followed {
                world.publish(0, 1000).await;
            }
            let results = world.publisher.publish((0..1000).map(event).collect()).await;
            let model = world.model("events", target);
            let lost = model[model.len() / 2];
            world.log.damage(&topic("events"), lost.partition, lost.offset);
            // Damage elsewhere concerns a single channel only in its own partition.
            world.log.damage(&topic("events"), (lost.partition + 1) % 12, 3);
            drop(results);
            let items = drain(&mut subscription, 1 << 20).await;
            let at = items.iter().position(|i| match i {
                Item::Unrecoverable { reason, resume, .. } => {
                    let cursor = resume.parse::<Resume>().unwrap().0.remove(0);
                    let next = match cursor.next {
                        Next::All(offsets) => offsets[lost.partition as usize],
                        Next::One { offset, .. } => offset,
                    };
                    *reason == "damage" && next == lost.offset + 1
                }
                _ => false,
            });
            let at = at.expect("the damage is reported");
            let is_event = |i: &&Item| matches!(i, Item::Event { .. });
            let events: Vec<Item> = items.iter().filter(is_event).cloned().collect();
            assert_eq!(items[..at].iter().filter(is_event).count(), {
                let before = &model[..model.len() / 2];
                let damaged = |p: &&dualstream_core::position::Position| {
                    target == "events:*" && p.partition == (lost.partition + 1) % 12 && p.offset == 3
                };
                before.len() - before.iter().filter(damaged).count()
            });
            let damaged = if target == "events:*" { 2 } else { 1 };
            assert_eq!(events.len(), model.len() - damaged, "{target} {followed}");
        }
    }
}

/// Pages of any size put together: positions, and the damage between them.
async fn paged(world: &World, target: &str, limit: usize, reverse: bool) -> (Vec<Position>, Vec<HistoryGap>) {
    let (mut seen, mut gaps) = (Vec::new(), Vec::new());
    let mut since = if reverse { Since::Latest } else { Since::Earliest };
    loop {
        let request = History { target: Target::parse(target).unwrap(), since, limit, reverse };
        let page = world.hub.history(request).await.unwrap();
        gaps.extend(page.gaps.iter().map(|gap| HistoryGap { after: seen.len() + gap.after, ..*gap }));
        seen.extend(page.entries.iter().map(|e| e.position));
        let Some(next) = page.next else { return (seen, gaps) };
        since = Since::At(next);
    }
}

#[tokio::test(start_paused = true)]
async fn history_tells_of_damage_in_both_directions() {
    let world = World::new();
    world.publish(0, 500).await;
    for target in ["events:*", "events:repo:*"] {
        let model = world.model("events", target);
        let at = model.len() / 3;
        let lost = model[at];
        world.log.damage(&topic("events"), lost.partition, lost.offset);
        let kept: Vec<Position> = model.iter().filter(|p| **p != lost).copied().collect();
        for limit in [1, 7, 1000] {
            for (reverse, after) in [(false, at), (true, model.len() - 1 - at)] {
                let (mut seen, gaps) = paged(&world, target, limit, reverse).await;
                let until = Position { offset: lost.offset + 1, ..lost };
                let gap = *gaps.iter().find(|gap| gap.from == lost).expect("it is told");
                assert_eq!(
                    (gap, gaps.len()),
                    (HistoryGap { from: lost, until, after }, 1),
                    "{target} {limit}"
                );
                if reverse {
                    seen.reverse();
                }
                assert_eq!(seen, kept, "{target} by {limit}, reverse: {reverse}");
            }
        }
        world.log.mend();
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_so_many_tell_of_damage_among_them() {
    let world = World::new();
    world.publish(0, 500).await;
    for target in ["events:*", "events:repo:k7"] {
        let model = world.model("events", target);
        for back in [1, 2, 5] {
            let lost = model[model.len() - back];
            world.log.damage(&topic("events"), lost.partition, lost.offset);
            let mut subscription = world.subscribe(&[target], Start::Recent(5)).await;
            let items = drain(&mut subscription, 1 << 20).await;
            let (events, told): (Vec<Item>, Vec<Item>) =
                items.into_iter().partition(|i| matches!(i, Item::Event { .. }));
            assert_eq!(told.len(), 1, "{target}, {back} from the end");
            assert_eq!(unrecoverable(&told).0, "damage");
            let wanted: Vec<_> = model[model.len() - 6..].iter().filter(|p| **p != lost).copied().collect();
            assert_eq!(positions(&events), wanted, "{target}, {back} from the end");
            world.log.mend();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damage_at_the_very_end() {
    for policy in [OnUnrecoverable::Latest, OnUnrecoverable::Close] {
        let world = World::new();
        world.publish(0, 300).await;
        let model = world.model("events", "events:repo:*");
        let last = model[model.len() - 1];
        world.log.damage(&topic("events"), last.partition, last.offset);
        let targets = ["events:repo:*"];
        let mut subscription = world.subscribe_with(&targets, Start::Earliest, Mode::Reliable, policy).await;
        let mut items = drain(&mut subscription, 1 << 20).await;
        assert_eq!(unrecoverable(&[items.pop().unwrap()]).0, "damage");
        assert_eq!(positions(&items), model[..model.len() - 1]);
        world.publish(300, 300).await;
        let rest = positions(&drain(&mut subscription, 1 << 20).await);
        match policy {
            OnUnrecoverable::Close => assert!(rest.is_empty()),
            _ => assert_eq!(rest, world.model("events", "events:repo:*")[model.len()..]),
        }
    }
}

/// A cursor need not lie on this node's order of partitions: one of them may be far ahead of the others.
#[tokio::test(start_paused = true)]
async fn a_cursor_ahead_of_the_ring_keeps_its_own_tokens() {
    let world = World::new();
    let _early = world.subscribe(&["events:*"], Start::Latest).await;
    world.publish(0, 300).await;
    let bounds = world.log.bounds(&topic("events")).unwrap();
    let mut offsets = vec![0; 12];
    (offsets[5], offsets[8]) = (bounds.latest[5], bounds.latest[8]);
    let token = Cursor { epoch: bounds.epoch, next: Next::All(offsets) }.to_string();
    let mut subscription = world.subscribe(&["events:*"], resume(&token)).await;
    let mut items = drain(&mut subscription, 2000).await;
    world.publish(300, 100).await;
    items.extend(drain(&mut subscription, 2000).await);
    let wanted = |p: &dualstream_core::position::Position| {
        !matches!(p.partition, 5 | 8) || p.offset >= bounds.latest[p.partition as usize]
    };
    let model: Vec<_> = world.model("events", "events:*").into_iter().filter(wanted).collect();
    assert_eq!(positions(&items), model);
    for (at, token) in tokens(&items).iter().enumerate() {
        let mut again = world.subscribe(&["events:*"], resume(token)).await;
        assert_eq!(positions(&drain(&mut again, 1 << 20).await), model[at + 1..], "after {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_request() {
    let world = World::new();
    let request = |targets| Subscribe {
        targets,
        mode: Mode::Reliable,
        start: Start::Latest,
        on_unrecoverable: OnUnrecoverable::Latest,
    };
    let many = (0..129).map(|n| Target::parse(&format!("events:repo:k{n}")).unwrap()).collect();
    for (targets, code) in [
        (vec![], "too_many_channels"),
        (many, "too_many_channels"),
        (parse(&["nope:x"]), "unknown_channel"),
        (parse(&["events:repo"]), "invalid_channel"),
    ] {
        assert_eq!(world.hub.subscribe(request(targets)).await.err().unwrap().code(), code);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_holds_a_token_is_not_told_of_what_lies_before_it() {
    let settings = Settings { ring_bytes_max: 20_000, ..Settings::default() };
    let world = World::with(settings, None);
    let mut subscription = world.subscribe(&["events:repo:k7", "events:user:nobody"], Start::Latest).await;
    assert!(drain(&mut subscription, 100).await.is_empty());
    let k7 = |n: &usize| event(*n).source_id == "k7" && event(*n).source_type == "repo";
    // The ring goes on with what nobody wants, and the token with it.
    let others: Vec<Event> = (0..400).filter(|n| !k7(n)).map(event).collect();
    world.publisher.publish(others).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let token: Resume = subscription.resume().parse().unwrap();
    let bounds = world.log.bounds(&topic("events")).unwrap();
    let Next::All(told) = &token.0[0].next else { panic!("of all partitions") };
    assert_eq!(told, &bounds.latest, "nothing was missed");
    // Retention passes all of it, and the ring no longer has what comes then.
    world.log.trim_now(&topic("events"), &bounds.latest);
    let wanted: Vec<Event> = (1_000..30_000).filter(k7).take(200).map(event).collect();
    world.publisher.publish(wanted).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let items = drain(&mut subscription, 1 << 20).await;
    assert!(items.iter().all(|item| matches!(item, Item::Event { .. })), "{:?}", items.first());
    assert_eq!(items.len(), world.model("events", "events:repo:k7").len());
}
