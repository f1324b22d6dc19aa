//! Lines that are commands, that can be answered, and that are none.

use super::*;

fn decode(line: &str) -> Result<Command, Undecodable> {
    Command::decode(&Bytes::copy_from_slice(line.as_bytes()))
}

fn request(line: &str) -> Request {
    decode(line).unwrap().request
}

#[test]
fn commands_are_read() {
    let position = |offset, epoch: &str| Position { offset, epoch: epoch.into() };
    let subscribe = |channel: &str| Subscribe { channel: channel.into(), ..Subscribe::default() };
    let said =
        |name: &str, version: &str| Request::Connect(Connect { name: name.into(), version: version.into() });
    for (line, wanted) in [
        (r#"{"id":1,"connect":{"token":"…","name":"js","version":"5"}}"#, said("js", "5")),
        (r#"{"id":1,"connect":{"name":7,"version":null},"subscribe":{"channel":"a"}}"#, said("", "")),
        (r#"{"connect":null,"id":4,"subscribe":{"channel":"a"}}"#, Request::Subscribe(subscribe("a"))),
        (
            r#"{"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"e1","offset":18446744073709551615,"flag":3}}"#,
            Request::Subscribe(Subscribe {
                recover: Some(position(u64::MAX, "e1")),
                rejects_unrecovered: true,
                ..subscribe("a")
            }),
        ),
        (
            r#"{"id":2,"subscribe":{"channel":"a","offset":5,"data":{"mode":"live","of":"app"}}}"#,
            Request::Subscribe(Subscribe { live: true, ..subscribe("a") }),
        ),
        (r#"{"id":2,"subscribe":{"channel":"a","data":"live"}}"#, Request::Subscribe(subscribe("a"))),
        (
            r#"{"id":2,"subscribe":{"channel":"a","type":1}}"#,
            Request::Subscribe(Subscribe { is_special: true, ..subscribe("a") }),
        ),
        (
            r#"{"id":2,"subscribe":{"channel":"a","tf":{"op":""}}}"#,
            Request::Subscribe(Subscribe { is_special: true, ..subscribe("a") }),
        ),
        (r#"{"id":3,"unsubscribe":{"channel":"a"}}"#, Request::Unsubscribe { channel: "a".into() }),
        (
            r#"{"id":5,"publish":{"channel":"a","data":{"b" : [1, "x  y"]}}}"#,
            Request::Publish(Publish {
                channel: "a".into(),
                data: Bytes::from_static(br#"{"b":[1,"x  y"]}"#),
                is_special: false,
            }),
        ),
        (
            r#"{"id":6,"history":{"channel":"a","limit":-1,"since":{"offset":7,"epoch":"e"},"reverse":true}}"#,
            Request::History(History {
                channel: "a".into(),
                limit: -1,
                since: Some(position(7, "e")),
                reverse: true,
            }),
        ),
        ("{}", Request::Pong),
        (r#"{"subscribe":{"channel":"a"}}"#, Request::Pong),
        (r#"{"send":{"data":1}}"#, Request::Send),
        (r#"{"id":9,"rpc":{"method":"x"}}"#, Request::NotOffered),
        (r#"{"id":9,"ping":{}}"#, Request::NotOffered),
        (r#"{"id":9,"dance":{}}"#, Request::Unknown),
        (r#"{"id":9}"#, Request::Unknown),
    ] {
        assert_eq!(request(line), wanted, "{line}");
    }
}

#[test]
fn parts_that_are_wrong_can_be_answered() {
    for line in [
        r#"{"id":2,"subscribe":{"channel":5}}"#,
        r#"{"id":2,"subscribe":[]}"#,
        r#"{"id":2,"subscribe":{"channel":"a","offset":-1}}"#,
        r#"{"id":2,"subscribe":{"channel":"a","offset":18446744073709551616}}"#,
        r#"{"id":2,"subscribe":{"channel":"a","offset":1.0}}"#,
        r#"{"id":2,"subscribe":{"channel":"a","recover":"yes"}}"#,
        r#"{"id":2,"subscribe":{"channel":"a","data":{"mode":"dead"}}}"#,
        r#"{"id":2,"publish":{"channel":"a"}}"#,
        r#"{"id":2,"history":{"channel":"a","limit":2147483648}}"#,
        r#"{"id":2,"history":{"channel":"a","since":{"offset":"1"}}}"#,
    ] {
        assert_eq!(request(line), Request::Malformed { is_connect: false }, "{line}");
    }
    assert_eq!(request(r#"{"id":1,"connect":1}"#), Request::Malformed { is_connect: true });
}

#[test]
fn what_is_no_command_is_undecodable() {
    for line in [
        "",
        " ",
        "[]",
        "null",
        "{",
        r#"{"id":"1","connect":{}}"#,
        r#"{"id":1.0,"connect":{}}"#,
        r#"{"id":-1,"connect":{}}"#,
        r#"{"id":4294967296,"connect":{}}"#,
        r#"{"id":1,"id":2,"connect":{}}"#,
        r#"{"id":1,"connect":{}} x"#,
        &format!(r#"{{"id":1,"connect":{}{}}}"#, "[".repeat(80), "]".repeat(80)),
    ] {
        assert_eq!(decode(line), Err(Undecodable), "{line}");
    }
}
