//! Damaged and torn files, bit by bit.

use crate::rig::{Rig, id_of, small, topic};
use dualstream_core::log::Log;
use std::collections::BTreeSet;

async fn fill(rig: &Rig, count: u32) {
    for i in 0..count {
        let ids = [format!("{i}-a"), format!("{i}-b")];
        rig.publish(&topic("events"), &[(i, &ids[0]), (i + 1, &ids[1])]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn restart_keeps_everything() {
    let mut rig = Rig::start(small(), 1).await;
    for round in 1..=4 {
        fill(&rig, 100 * round).await;
        let before = rig.all(&topic("events")).await;
        let bounds = rig.log.bounds(&topic("events")).unwrap();
        rig = rig.restart().await;
        assert_eq!(rig.all(&topic("events")).await, before);
        assert_eq!(rig.log.bounds(&topic("events")).unwrap(), bounds);
        assert_eq!(rig.log.damage(), Vec::<String>::new());
    }
    let ids: BTreeSet<String> = rig.all(&topic("events")).await.iter().map(id_of).collect();
    assert_eq!(ids.len(), 800);
}
