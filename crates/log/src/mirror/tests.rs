//! Tests of a mirror from inside: what its index says.

use super::recover;
use crate::engine::Engine;
use crate::segment::Indexed;
use crate::{MemoryStorage, Settings};
use dualstream_core::filter::Filter;
use dualstream_core::mirror::Run;
use dualstream_core::record::Record;
use dualstream_core::testing::{ManualClock, SeededEntropy, event_record};
use dualstream_core::topic::{Epoch, TopicName, TopicSpec};
use std::sync::Arc;

fn record(partition: u32, offset: u64, key: &str) -> Record {
    let new = event_record("user", key, &offset.to_string(), &"x".repeat(400));
    Record {
        partition,
        offset,
        append_time_ms: 1,
        timestamp_ms: 1,
        key: new.key,
        value: new.value,
        headers: new.headers,
    }
}

fn filled() -> (Engine, TopicName) {
    let (clock, entropy) = (Arc::new(ManualClock::new(1)), Arc::new(SeededEntropy::new(1)));
    let settings = Settings { segment_bytes: 200 << 10, ..Settings::default() };
    let mut engine = recover(settings, Arc::new(MemoryStorage::new()), clock, entropy).unwrap();
    let topic = TopicName::new("events").unwrap();
    engine.begin(TopicSpec::events(topic.clone()), Epoch(1), vec![0; 12]).unwrap();
    for i in 0..1_500_u64 {
        let partition = i as u32 % 12;
        let key = if i == 700 { "rare".into() } else { format!("key-{i}") };
        let from = engine.stores[&1].next[partition as usize];
        let run = Run {
            topic: topic.clone(),
            id: 0,
            partition,
            records: vec![record(partition, from + 1, &key)],
            next: from + 4,
        };
        engine.copy(&topic, &[run], &[]).unwrap();
    }
    (engine, topic)
}

/// Where transactions end there are no records: that is known, and no reason to read every block.
#[test]
fn holes_of_the_log_are_not_looked_into() {
    let (engine, topic) = filled();
    let view = engine.shared.topic(&topic).unwrap();
    let state = view.state();
    assert!(state.segments.len() > 2);
    let filter = Filter::source("user:rare");
    let wanted = |is_built: bool| -> usize {
        let blocks = |index: Indexed<'_>| index.wanted(&filter).unwrap().len();
        state
            .segments
            .iter()
            .map(|segment| {
                if is_built {
                    segment.seal();
                }
                blocks(segment.index(&view.topic()).unwrap())
            })
            .sum()
    };
    assert_eq!(wanted(false), 1);
    assert_eq!(wanted(true), 1, "a sidecar that was built anew says the same");
}
