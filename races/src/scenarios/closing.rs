//! The hub ends at any moment, also while somebody subscribes: everybody is told, nobody waits for ever.

use crate::world::{World, all, request, spawn};
use dualstream_core::hub::{self, Mode};
use std::sync::atomic::Ordering::SeqCst;

pub fn run() {
    shuttle::future::block_on(async {
        let world = World::new(hub::Settings::default());
        let hub = world.hub.clone();
        let mut tasks = Vec::new();
        for (target, mode) in [("ai:x", Mode::Live), ("chat:x", Mode::Reliable), ("chat:*", Mode::Live)] {
            let hub = hub.clone();
            tasks.push(spawn(async move {
                loop {
                    match hub.subscribe(request(target, mode)).await {
                        Ok(mut subscription) => while !subscription.next(1 << 20).await.is_empty() {},
                        Err(error) => {
                            assert_eq!(error.code(), "closed");
                            return;
                        }
                    }
                }
            }));
        }
        world.send("chat:x", "1".into()).await;
        world.close().await;
        all(tasks).await;
        assert_eq!(hub.counters().subscriptions.load(SeqCst), 0);
        assert_eq!(hub.counters().inbox_bytes.load(SeqCst), 0);
    });
}
