//! `GET /v1/channels`.

use crate::server::Server;
use crate::wire::{JSON, Wire, event, get, post};
use serde_json::{Value, json};

#[tokio::test]
async fn channels_come_in_pages_with_their_subscribers() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    for n in 0..30 {
        let event = event(&format!("o/key-{:02}", n % 10), "1");
        assert_eq!(wire.ask(post("/v1/events", JSON, event)).await.status, 201);
    }
    assert_eq!(wire.ask(post("/v1/channels/chat:room/messages", JSON, "1")).await.status, 201);
    let mut follower = Wire::connect(server.address).await;
    follower.send(get("/v1/stream?channel=events:repo:o/key-03&channel=ai:stream:1")).await;
    follower.head().await.unwrap();
    follower.chunk().await.unwrap();

    let (mut all, mut after) = (Vec::<Value>::new(), String::new());
    loop {
        let page = wire.ask(get(&format!("/v1/channels?limit=4{after}"))).await.json();
        let channels = page["channels"].as_array().unwrap();
        assert!(channels.len() <= 4);
        all.extend(channels.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let stored = |n: u32| {
        let subscribers = u32::from(n == 3);
        json!({"channel": format!("events:repo:o/key-{n:02}"), "subscribers": subscribers})
    };
    let mut expected = vec![
        json!({"channel": "ai:stream:1", "subscribers": 1}),
        json!({"channel": "chat:room", "subscribers": 0}),
    ];
    expected.extend((0..10).map(stored));
    assert_eq!(all, expected);
    let page = wire.ask(get("/v1/channels?prefix=events:repo:o/key-03")).await.json();
    assert_eq!(page, json!({"channels": [stored(3)], "next": null}));
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_told() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    for (target, code) in [
        ("/v1/channels?limit=0", "invalid_parameter"),
        ("/v1/channels?limit=1001", "invalid_parameter"),
        ("/v1/channels?pattern=*", "unknown_parameter"),
        ("/v1/channels?prefix=a&prefix=b", "repeated_parameter"),
    ] {
        let answer = wire.ask(get(target)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{target}");
    }
}
