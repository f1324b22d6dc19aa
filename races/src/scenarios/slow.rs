//! Queues overflow, are conflated and dropped while their client fetches from them: nothing is counted twice or lost
//! without a word, and the latest of a key is not lost to an older one.

use crate::world::{World, all, let_linger_pass, request, shown, spawn};
use dualstream_core::hub::{self, Mode, Subscription};
use std::sync::Arc;

const MESSAGES: u64 = 5;

pub fn run() {
    shuttle::future::block_on(async {
        let settings =
            hub::Settings { inbox_bytes_max: 900, inboxes_bytes_max: 1_300, ..hub::Settings::default() };
        let world = Arc::new(World::new(settings));
        let (allowance, mut tasks) = (world.hub.allowance(), Vec::new());
        for channel in ["ai:x", "board:x"] {
            let wanted = request(channel, Mode::Live);
            let subscription = world.hub.subscribe_within(&allowance, wanted).await.expect("the hub is open");
            tasks.push(spawn(fetch(subscription)));
            let world = world.clone();
            tasks.push(spawn(async move {
                for version in 1..=MESSAGES {
                    world.send(channel, format!("{{\"k\":{},\"v\":{version}}}", version % 2)).await;
                }
            }));
        }
        all(tasks).await;
        assert_eq!(allowance.bytes(), 0, "bytes of the client");
        let_linger_pass();
        Arc::into_inner(world).expect("nobody else holds it").end().await;
    });
}

/// Fetches until it saw the last message, or that something was lost.
async fn fetch(mut subscription: Subscription) {
    let (mut last, mut lost) = ([0; 2], 0);
    loop {
        for item in subscription.next(1).await {
            let text = shown(&item);
            if let Some(count) = text.strip_prefix("lost ") {
                lost += count.parse::<u64>().expect("a number");
                continue;
            }
            let number = |at: usize| u64::from(text.as_bytes()[at] - b'0');
            let (key, version) = (number(5), number(11));
            assert!(version > last[key as usize], "{text} after {last:?}");
            last[key as usize] = version;
        }
        if last[(MESSAGES % 2) as usize] == MESSAGES || lost > 0 {
            return;
        }
    }
}
