//! Reliable subscribers join while events are stored, over a ring of any size: each sees a contiguous run to the end.

use crate::world::{World, all, spawn, until};
use dualstream_core::hub::{self, Mode};
use shuttle::rand::Rng;
use std::sync::Arc;
use tokio::sync::oneshot;

const EARLY: usize = 3;

pub fn run() {
    shuttle::future::block_on(async {
        let ring_bytes_max = if shuttle::rand::thread_rng().gen_bool(0.5) { 1 } else { 1 << 20 };
        let world = Arc::new(World::new(hub::Settings { ring_bytes_max, ..hub::Settings::default() }));
        let (mut tasks, mut joined) = (Vec::new(), Vec::new());
        for target in ["chat:x", "chat:*"] {
            let (world, (ready, is_ready)) = (world.clone(), oneshot::channel::<()>());
            joined.push(is_ready);
            tasks.push(spawn(async move {
                let mut subscription = world.subscribe(target, Mode::Reliable).await;
                drop(ready);
                let seen = until(&mut subscription, "number-3").await;
                let first = EARLY + 1 - seen.len();
                for (at, json) in seen.iter().enumerate() {
                    assert!(json.contains(&format!("number-{}", first + at)), "{seen:?}");
                }
            }));
        }
        for number in 0..EARLY {
            world.send("chat:x", format!("\"number-{number}\"")).await;
        }
        for is_ready in joined {
            let _ = is_ready.await;
        }
        world.send("chat:x", format!("\"number-{EARLY}\"")).await;
        all(tasks).await;
        Arc::into_inner(world).expect("nobody else holds it").end().await;
    });
}
