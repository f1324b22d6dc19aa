//! Records of the topic of decisions as JSON, one object each, readable with any consumer.
//!
//! ```text
//! {"version":1,"type":"generation","id":"…","time":"…","topic":"events","topic_id":"…","from":0}
//! {"version":1,"type":"disconnect","id":"…","time":"…","connection":"…","code":3503,"reason":"force disconnect"}
//! {"version":1,"type":"snapshot","id":"…","time":"…","at":10000,"state":{"generations":[{"topic":…,"topic_id":…,"generation":1}]}}
//! ```
//! `id`, `topic_id` and `connection` are 32 hexadecimal digits. `time` is for people. Members that are not known are passed over, but
//! those of a snapshot's `state` are kept: a newer version wrote them, and the next snapshot says them again.

use super::Disconnect;
use super::decision::{Decision, ProposalId};
use super::state::{Held, State};
use crate::time::format_rfc3339;
use crate::topic::TopicName;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// Version of the records.
const VERSION: u64 = 1;
const GENERATION: &str = "generation";
const DISCONNECT: &str = "disconnect";
const SNAPSHOT: &str = "snapshot";

/// What a record is.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed {
    /// Somebody proposes.
    Proposal(ProposalId, Decision),
    /// The state as it was said to be at an offset.
    Snapshot { id: ProposalId, at: u64, held: Held },
    /// Of another version, or of a type that this one does not know.
    Unknown(ProposalId),
    /// Not one of ours.
    Foreign,
}

/// What every record has.
#[derive(Deserialize)]
struct Head {
    version: u64,
    #[serde(rename = "type")]
    kind: String,
    id: Hex,
}

#[derive(Serialize, Deserialize)]
struct Generation {
    topic: String,
    topic_id: Hex,
    from: u64,
}

#[derive(Serialize, Deserialize)]
struct Order {
    connection: Hex,
    code: u16,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    at: u64,
    state: Sections,
}

#[derive(Serialize, Deserialize)]
struct Sections {
    #[serde(default)]
    generations: Vec<Present>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Present {
    topic: String,
    topic_id: Hex,
    generation: u64,
}

#[derive(Serialize)]
struct Line<B> {
    version: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    id: Hex,
    time: String,
    #[serde(flatten)]
    body: B,
}

/// 128 bits as 32 hexadecimal digits.
#[derive(Clone, Copy)]
struct Hex(u128);

/// What the value of a record says.
pub(super) fn parse(value: Option<&[u8]>) -> Parsed {
    value.and_then(of_json).unwrap_or(Parsed::Foreign)
}

fn of_json(value: &[u8]) -> Option<Parsed> {
    let Head { version, kind, id } = serde_json::from_slice(value).ok()?;
    let id = ProposalId(id.0);
    match (version, kind.as_str()) {
        (VERSION, GENERATION) => {
            let Generation { topic, topic_id, from } = serde_json::from_slice(value).ok()?;
            let topic = TopicName::new(&topic).ok()?;
            Some(Parsed::Proposal(id, Decision::Generation { topic, topic_id: topic_id.0, from }))
        }
        (VERSION, DISCONNECT) => {
            let Order { connection, code, reason } = serde_json::from_slice(value).ok()?;
            let order = Disconnect::new(connection.0, code, &reason).ok()?;
            Some(Parsed::Proposal(id, Decision::Disconnect(order)))
        }
        (VERSION, SNAPSHOT) => {
            let Snapshot { at, state } = serde_json::from_slice(value).ok()?;
            let generation =
                |of: Present| Some(((TopicName::new(&of.topic).ok()?, of.topic_id.0), of.generation));
            let generations = state.generations.into_iter().map(generation).collect::<Option<_>>()?;
            Some(Parsed::Snapshot { id, at, held: Held { generations, others: state.others } })
        }
        _ => Some(Parsed::Unknown(id)),
    }
}

/// The value of a record that proposes.
pub(super) fn proposal(id: ProposalId, time_ms: i64, decision: &Decision) -> Bytes {
    match decision {
        Decision::Generation { topic, topic_id, from } => {
            let (topic, topic_id) = (topic.as_str().to_owned(), Hex(*topic_id));
            line(GENERATION, id, time_ms, Generation { topic, topic_id, from: *from })
        }
        Decision::Disconnect(order) => {
            let (connection, reason) = (Hex(order.connection()), order.reason().to_owned());
            line(DISCONNECT, id, time_ms, Order { connection, code: order.code(), reason })
        }
    }
}

/// The value of a snapshot of `state`, valid at its own next offset.
pub(super) fn snapshot(id: ProposalId, time_ms: i64, state: &State) -> Bytes {
    let Held { generations, others } = state.held();
    let present = |((topic, id), generation): (&(TopicName, u128), &u64)| Present {
        topic: topic.as_str().to_owned(),
        topic_id: Hex(*id),
        generation: *generation,
    };
    let generations = generations.iter().map(present).collect();
    let body = Snapshot { at: state.next(), state: Sections { generations, others: others.clone() } };
    line(SNAPSHOT, id, time_ms, body)
}

fn line(kind: &'static str, id: ProposalId, time_ms: i64, body: impl Serialize) -> Bytes {
    let line = Line { version: VERSION, kind, id: Hex(id.0), time: format_rfc3339(time_ms), body };
    serde_json::to_vec(&line).expect("names are text, and no map has other keys").into()
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| is_hex);
        number.map(Hex).ok_or_else(|| serde::de::Error::custom("not 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(from: u64) -> Decision {
        Decision::Generation { topic: TopicName::new("events").unwrap(), topic_id: 0xabc, from }
    }

    /// Other versions read these lines, and people do.
    #[test]
    fn lines_are_what_they_always_were() {
        let line = proposal(ProposalId(7), 1_700_000_000_123, &generation(2));
        let expected = concat!(
            r#"{"version":1,"type":"generation","id":"00000000000000000000000000000007","#,
            r#""time":"2023-11-14T22:13:20.123Z","topic":"events","#,
            r#""topic_id":"00000000000000000000000000000abc","from":2}"#
        );
        assert_eq!(line, expected);
        assert_eq!(parse(Some(&line)), Parsed::Proposal(ProposalId(7), generation(2)));
    }

    #[test]
    fn an_order_to_disconnect() {
        let order = Disconnect::new(0xabc, 3503, "say \"why\"").unwrap();
        let line = proposal(ProposalId(7), 1_700_000_000_123, &Decision::Disconnect(order.clone()));
        let expected = concat!(
            r#"{"version":1,"type":"disconnect","id":"00000000000000000000000000000007","#,
            r#""time":"2023-11-14T22:13:20.123Z","#,
            r#""connection":"00000000000000000000000000000abc","code":3503,"reason":"say \"why\""}"#
        );
        assert_eq!(line, expected);
        assert_eq!(parse(Some(&line)), Parsed::Proposal(ProposalId(7), Decision::Disconnect(order)));
        for foreign in [expected.replace("3503", "1000"), expected.replace("say", "line\\nline")] {
            assert_eq!(parse(Some(foreign.as_bytes())), Parsed::Foreign, "{foreign}");
        }
    }

    #[test]
    fn a_snapshot_says_the_state_and_what_it_does_not_know_of_it() {
        let line = concat!(
            r#"{"version":1,"type":"snapshot","id":"00000000000000000000000000000007","#,
            r#""time":"1970-01-01T00:00:00.000Z","at":41,"state":{"generations":[{"topic":"events","#,
            r#""topic_id":"00000000000000000000000000000abc","generation":3}],"owners":{"a":[1,null]}}}"#
        );
        let Parsed::Snapshot { id, at, held } = parse(Some(line.as_bytes())) else { panic!("no snapshot") };
        assert_eq!((id, at), (ProposalId(7), 41));
        let state = State::holding(41, held);
        assert_eq!(state.generation(&TopicName::new("events").unwrap(), 0xabc), 3);
        assert_eq!(snapshot(id, 0, &state), line);
    }

    #[test]
    fn what_is_not_ours_is_told_from_what_is_newer() {
        let line = String::from_utf8(proposal(ProposalId(7), 0, &generation(0)).to_vec()).unwrap();
        for newer in [line.replace("generation", "owner"), line.replace("\"version\":1", "\"version\":2")] {
            assert_eq!(parse(Some(newer.as_bytes())), Parsed::Unknown(ProposalId(7)), "{newer}");
        }
        let more = line.replace("\"from\"", "\"why\":[],\"from\"");
        assert_eq!(parse(Some(more.as_bytes())), Parsed::Proposal(ProposalId(7), generation(0)));
        let foreign = [
            "",
            "null",
            "{}",
            "\"text\"",
            &line[1..],
            &line.replace("000abc", "+00abc"),
            &line.replace("000abc", "abc"),
            &line.replace("events", "no topic"),
            &line.replace("\"from\":0", "\"from\":-1"),
            &line.replace("\"from\":0", "\"until\":0"),
            &line.replace("generation", "snapshot"),
        ];
        for foreign in foreign {
            assert_eq!(parse(Some(foreign.as_bytes())), Parsed::Foreign, "{foreign}");
        }
        assert_eq!(parse(None), Parsed::Foreign);
        assert_eq!(parse(Some(&[0xff, 0xfe])), Parsed::Foreign);
    }
}
