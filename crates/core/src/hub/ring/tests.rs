//! The bound of a ring in bytes holds whatever is made of its entries.

use super::super::frames::Slot;
use super::*;
use crate::record::Header;
use bytes::Bytes;
use futures::FutureExt;
use std::sync::atomic::Ordering::Relaxed;

const SLOTS: [Slot; 5] = [Slot::Sse, Slot::Json, Slot::JsonPattern, Slot::Protobuf, Slot::ProtobufPattern];

fn page(from: u64, count: u64) -> Page {
    let header = |name: &'static str, value: &'static str| Header {
        name: Bytes::from_static(name.as_bytes()),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    let headers = Headers::new(vec![header("source_type", "repo"), header("note", "of some length")]);
    let record = |i: u64| Record {
        partition: (i % 12) as u32,
        offset: from + i / 12,
        append_time_ms: 0,
        timestamp_ms: 0,
        key: Some(format!("owner/{}", i % 1_000).into()),
        value: Some(format!("{{\"id\":\"{i}\",\"type\":\"push\",\"data\":\"{}\"}}", "x".repeat(700)).into()),
        headers: headers.clone(),
    };
    Page { records: (0..count).map(record).collect(), next: vec![from + count / 12; 12], gaps: Vec::new() }
}

/// Every encoding of an entry there is, and how long they are together.
fn encode_all(entry: &Entry) -> usize {
    let frame = |entry: &Entry| Bytes::from([&entry.wire.json[..], b"and the frame around it"].concat());
    let whole: usize = SLOTS.iter().map(|&slot| entry.frame(slot, frame).len()).sum();
    let live = entry.live();
    let frames = SLOTS
        .iter()
        .map(|&slot| live.frame(slot, |live| [&live.payload[..], b"frame"].concat().into()).len());
    let record = entry.record();
    let texts = [&record.key, &record.value].into_iter().flatten().map(Bytes::len).sum::<usize>();
    let tokens = entry.token_one().len() + entry.token_all(|| vec![7; 12]).len();
    let wire = entry.wire.json.len() + entry.wire.id.len() + entry.wire.event_type.len();
    whole + live.payload.len() + frames.sum::<usize>() + texts + tokens + wire + entry.channel.len()
}

#[test]
fn the_bound_holds_when_everything_is_encoded() {
    const BYTES_MAX: usize = 600 << 10;
    let counters = Arc::new(Counters::default());
    let ring = Ring::new(TopicName::new("events").unwrap(), counters.clone(), BYTES_MAX);
    let keys = [Key::Prefix(Box::default())];
    ring.restart(Some((Epoch(1), vec![0; 12])));
    ring.join(1, &keys, &Arc::default());
    let head = ring.head().unwrap();
    for round in 0..12 {
        ring.push(page(round * 2, 24), |_| "events:repo:some".into());
    }
    assert!(ring.bytes() < BYTES_MAX && ring.over().now_or_never().is_none());
    let mut next = Next::All(head.vector);
    let taken = ring.take(&keys, head.life, head.index, &mut next, usize::MAX);
    let Take::Picks { picks, .. } = taken else { panic!("nothing was evicted") };
    let each: Vec<usize> = picks.iter().map(|pick| encode_all(&pick.entry)).collect();
    assert!(each.iter().sum::<usize>() > 2 * BYTES_MAX, "it is too much by far");
    assert!(ring.over().now_or_never().is_some(), "the feed is told");
    while counters.ring_bytes.load(Relaxed) > BYTES_MAX {
        assert!(ring.evict());
    }
    let held: usize = {
        let state = ring.read();
        state.chunks.iter().flat_map(|c| &c.steps).filter_map(|s| s.entry.as_deref()).map(encode_all).sum()
    };
    assert!(held <= ring.bytes() && ring.bytes() <= BYTES_MAX, "{held} in {}", ring.bytes());
    assert!(held > BYTES_MAX / 2, "most of what counts is what was encoded: {held}");
    drop(ring);
    assert_eq!(counters.ring_bytes.load(Relaxed), 0);
    picks[0].entry.live().frame(Slot::Sse, |_| Bytes::new());
    assert_eq!(counters.ring_bytes.load(Relaxed), 0, "what left the ring is its reader's");
}
