//! Which master of a Redis Cluster serves which of the 16,384 slots, and to which slot a name belongs.
//!
//! The rule is the Cluster's own (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>): the
//! CRC16 of the name, or of what stands in its first braces, if something does.

use super::address::Host;
use redis::Value;
use std::collections::BTreeMap;

/// How many there are, for ever.
pub(super) const SLOTS: usize = 16_384;

/// Names that are tried to find one in some slot: of those of one slot every 16,384th is.
const TRIES: u64 = 1 << 20;

/// Who serves which slots, by the word of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    /// The masters, each with its slots in ranges, both ends included.
    masters: BTreeMap<Host, Vec<(u16, u16)>>,
}

impl Slots {
    /// Reads the answer to `CLUSTER SLOTS` of the node at `asked`; none when it is no such answer.
    pub fn read(answer: &Value, asked: &Host) -> Option<Slots> {
        let Value::Array(ranges) = answer else { return None };
        let mut masters: BTreeMap<Host, Vec<(u16, u16)>> = BTreeMap::new();
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else {
                return None;
            };
            let (first, last) = (slot(*first)?, slot(*last).filter(|last| i64::from(*last) >= *first)?);
            let [name, Value::Int(port), ..] = &master[..] else { return None };
            let name = match name {
                Value::BulkString(name) => String::from_utf8(name.clone()).ok()?,
                Value::SimpleString(name) => name.clone(),
                _ => String::new(),
            };
            let host = match &*name {
                // It is where it was asked.
                "" => Host { name: asked.name.clone(), port: u16::try_from(*port).ok()? },
                // It does not know itself where that is.
                "?" => continue,
                _ => Host { name, port: u16::try_from(*port).ok()? },
            };
            masters.entry(host).or_default().push((first, last));
        }
        Some(Slots { masters })
    }

    /// How many of the slots have a master.
    pub fn count(&self) -> usize {
        let count = |(first, last): &(u16, u16)| usize::from(last - first) + 1;
        self.masters.values().flatten().map(count).sum()
    }

    /// The masters and their ranges.
    pub fn masters(&self) -> impl Iterator<Item = (&Host, &[(u16, u16)])> {
        self.masters.iter().map(|(host, ranges)| (host, &ranges[..]))
    }
}

fn slot(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| usize::from(*slot) < SLOTS)
}

/// The slot of a name.
pub(super) fn slot_of(name: &str) -> u16 {
    let name = name.as_bytes();
    let tag = name.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &name[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|end| &rest[..end])
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(name)) % SLOTS as u16
}

/// A name that begins so and belongs to one of the slots that are wanted.
pub(super) fn name_within(begin: &str, is_wanted: impl Fn(u16) -> bool) -> Option<String> {
    (0..TRIES).map(|n| format!("{begin}:{n}")).find(|name| is_wanted(slot_of(name)))
}

/// CRC-16/XMODEM, bit by bit: names are short.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ (0x1021 * (crc >> 15)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is the check value of the specification; the others were asked of a server.
    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let names = ["foo", "{foo}.bar", "a{foo}b{c}", "a{}b", "a{foo", "events:repo:owner/name", ""];
        let slots = [12182, 12182, 12182, 13694, 113, 11501, 0];
        assert_eq!(names.map(slot_of), slots);
    }

    #[test]
    fn a_name_is_found_in_a_single_slot() {
        for wanted in [0, 777, 16_383] {
            let name = name_within("dualstream:probe:0123456789abcdef", |slot| slot == wanted).unwrap();
            assert_eq!(slot_of(&name), wanted);
        }
        assert_eq!(name_within("a", |_| false), None);
    }

    #[test]
    fn masters_are_read_with_all_their_slots() {
        let text = |text: &str| Value::BulkString(text.into());
        let node = |name: Value, port| Value::Array(vec![name, Value::Int(port), text("id")]);
        let range = |first, last, master: Value| {
            Value::Array(vec![Value::Int(first), Value::Int(last), master, node(text("replica"), 1)])
        };
        let asked = Host { name: "asked".into(), port: 7 };
        let answer = Value::Array(vec![
            range(0, 9, node(text("a"), 1)),
            range(10, 10, node(Value::Nil, 2)),
            range(11, 20, node(text("?"), 3)),
            range(100, 16_383, node(text("a"), 1)),
        ]);
        let slots = Slots::read(&answer, &asked).unwrap();
        let [a, own] = [("a", 1), ("asked", 2)].map(|(name, port)| Host { name: name.into(), port });
        let read: Vec<_> = slots.masters().collect();
        assert_eq!(read, [(&a, &[(0, 9), (100, 16_383)][..]), (&own, &[(10, 10)][..])]);
        assert_eq!(slots.count(), 10 + 16_284 + 1);
        for wrong in [
            Value::Nil,
            Value::Array(vec![range(0, 16_384, node(text("a"), 1))]),
            Value::Array(vec![range(9, 8, node(text("a"), 1))]),
        ] {
            assert_eq!(Slots::read(&wrong, &asked), None);
        }
    }
}
