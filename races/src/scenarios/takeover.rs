//! A client comes back while the server still gives up what it had: the old subscription goes, the new one stays.

use crate::world::{World, all, let_linger_pass, spawn, until};
use dualstream_core::hub::{self, Mode};
use std::sync::Arc;

pub fn run() {
    shuttle::future::block_on(async {
        let world = Arc::new(World::new(hub::Settings::default()));
        let mut tasks = Vec::new();
        for (channel, mode) in [("ai:x", Mode::Live), ("chat:x", Mode::Reliable), ("chat:*", Mode::Live)] {
            let old = world.subscribe(channel, mode).await;
            tasks.push(spawn(async move { drop(old) }));
            let world = world.clone();
            tasks.push(spawn(async move {
                let mut new = world.subscribe(channel, mode).await;
                let concrete = channel.replace('*', "y");
                world.send(&concrete, "\"own\"".into()).await;
                // Announcements do not hold the data.
                until(&mut new, if mode == Mode::Live && channel != "ai:x" { "position" } else { "own" })
                    .await;
            }));
        }
        tasks.push(spawn(async { let_linger_pass() }));
        all(tasks).await;
        Arc::into_inner(world).expect("nobody else holds it").end().await;
    });
}
