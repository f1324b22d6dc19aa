//! Subscribers of one bus-only channel come and go while what it is subscribed with lingers, or does not any more: who
//! has subscribed gets what is published then.

use crate::world::{World, all, let_linger_pass, send, spawn, until};
use dualstream_core::hub::{self, Mode};
use std::sync::Arc;

pub fn run() {
    shuttle::future::block_on(async {
        let world = Arc::new(World::new(hub::Settings::default()));
        let mut tasks = Vec::new();
        for client in 0..2 {
            let world = world.clone();
            tasks.push(spawn(async move {
                for round in 0..2 {
                    let mut subscription = world.subscribe("ai:x", Mode::Live).await;
                    let own = format!("\"{client}-{round}\"");
                    send(&world.publisher, "ai:x", own.clone()).await;
                    until(&mut subscription, &own).await;
                }
            }));
        }
        tasks.push(spawn(async { let_linger_pass() }));
        all(tasks).await;
        Arc::into_inner(world).expect("nobody else holds it").end().await;
    });
}
