//! Deciding over the embedded log, which loses power: whoever was answered finds it decided after that.

use crate::rig::{Rig, Seeded, small, topic};
use dualstream_core::decisions::{Decision, Decisions, Outcome, Settings};
use dualstream_core::log::Log;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinHandle;

async fn open(rig: &Rig, seed: u64) -> (Decisions, JoinHandle<()>) {
    let settings = Settings { snapshot_every: 25, page_records_max: 10, ..Settings::default() };
    let (log, topics) = (Arc::new(rig.log.clone()), Arc::new(rig.log.clone()));
    let opened = Decisions::open(settings, log, topics, rig.clock.clone(), Seeded::new(seed)).await;
    let (decisions, runner) = opened.unwrap();
    (decisions, tokio::spawn(runner.run(std::future::pending())))
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_outlives_power() {
    let name = topic("events");
    let mut rig = Rig::start(small(), 7).await;
    let mut answered: BTreeMap<u128, u64> = BTreeMap::new();
    for life in 0..20 {
        let (decisions, runner) = open(&rig, 100 + life).await;
        let state = decisions.state();
        assert!(state.is_whole());
        for (&topic_id, &generation) in &answered {
            // What was proposed and not answered may be decided too.
            assert!(state.generation(&name, topic_id) >= generation, "life {life}");
        }
        for _ in 0..rig.entropy.below(60) {
            let topic_id = u128::from(rig.entropy.below(12));
            let from = decisions.state().generation(&name, topic_id);
            let decision = Decision::Generation { topic: name.clone(), topic_id, from };
            let outcome = decisions.propose(decision).await.unwrap();
            assert!(matches!(outcome, Outcome::Decided { .. }), "{outcome:?}");
            answered.insert(topic_id, from + 1);
        }
        // Something is on its way when the power goes.
        let last =
            Decision::Generation { topic: name.clone(), topic_id: 99, from: state.generation(&name, 99) };
        let late = tokio::spawn(async move { decisions.propose(last).await });
        for _ in 0..rig.entropy.below(8) {
            tokio::task::yield_now().await;
        }
        late.abort();
        runner.abort();
        rig = rig.crash();
    }
    let (decisions, _) = open(&rig, 200).await;
    let bounds = rig.log.bounds(&Settings::default().topic).unwrap();
    assert!(bounds.earliest[0] > 0 && decisions.state().snapshot() > Some(bounds.earliest[0]), "{bounds:?}");
}
