//! Messages of librdkafka as records.
//!
//! Its memory is copied once: keys, values and headers of a run go into one block, of which the records are slices.
//! Equal lists of headers are one list, as most records of a topic have one of few.

use bytes::Bytes;
use dualstream_core::record::{Header, Headers, Record};
use dualstream_kafka_ffi::{Message, Stamp};
use std::ops::Range;

/// How many of the last lists of headers the next one is compared with.
const LISTS_COMPARED: usize = 4;

/// The records of some messages of one partition, and the bytes they take. `time_ms` is the latest append time of the
/// partition so far.
pub(crate) fn records(partition: u32, messages: &[Message<'_>], time_ms: &mut i64) -> (Vec<Record>, usize) {
    let (lists, list_of) = Lists::gather(messages);
    let mut block = lists.copy(messages);
    let bytes = block.len() + messages.len() * size_of::<Record>();
    let lists = lists.split(&mut block);
    let record = |(message, &list): (&Message<'_>, &usize)| {
        let (append_time_ms, timestamp_ms) = times(message.timestamp(), time_ms);
        let mut own = |bytes: Option<&[u8]>| bytes.map(|bytes| block.split_to(bytes.len()));
        Record {
            partition,
            offset: offset(message),
            append_time_ms,
            timestamp_ms,
            key: own(message.key()),
            value: own(message.value()),
            headers: lists[list].clone(),
        }
    };
    (messages.iter().zip(&list_of).map(record).collect(), bytes)
}

/// Offset of a message: of one that is a record it is never negative.
pub(crate) fn offset(message: &Message<'_>) -> u64 {
    u64::try_from(message.offset()).unwrap_or(0)
}

/// Append time and timestamp of a record. Brokers whose clocks differ and producers give times that go back: the append
/// time does not.
fn times(stamp: Option<Stamp>, latest_ms: &mut i64) -> (i64, i64) {
    let (Some(Stamp::Append(time_ms)) | Some(Stamp::Create(time_ms))) = stamp else {
        return (*latest_ms, *latest_ms);
    };
    *latest_ms = time_ms.max(*latest_ms);
    match stamp {
        // Kafka's word for no timestamp is -1.
        Some(Stamp::Create(time_ms)) if time_ms != -1 => (*latest_ms, time_ms),
        _ => (*latest_ms, *latest_ms),
    }
}

/// Lists of headers that differ, as they are in librdkafka's memory.
struct Lists<'a> {
    headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
    /// Where in `headers` each list is.
    lists: Vec<Range<usize>>,
}

impl<'a> Lists<'a> {
    /// The lists of some messages, and which one each message has.
    fn gather(messages: &[Message<'a>]) -> (Lists<'a>, Vec<usize>) {
        let mut all = Lists { headers: Vec::new(), lists: Vec::new() };
        let list_of = messages.iter().map(|message| all.add(message)).collect();
        (all, list_of)
    }

    fn add(&mut self, message: &Message<'a>) -> usize {
        let start = self.headers.len();
        self.headers.extend(message.headers());
        let (before, new) = self.headers.split_at(start);
        let is_same = |list: &Range<usize>| before[list.clone()] == *new;
        let recent = self.lists.len().saturating_sub(LISTS_COMPARED);
        if let Some(index) = self.lists[recent..].iter().rposition(is_same) {
            self.headers.truncate(start);
            return recent + index;
        }
        self.lists.push(start..self.headers.len());
        self.lists.len() - 1
    }

    /// One block with all lists, then key and value of each message.
    fn copy(&self, messages: &[Message<'_>]) -> Bytes {
        let of_headers = self.headers.iter().flat_map(|&(name, value)| [Some(name), value]);
        let of_messages = messages.iter().flat_map(|message| [message.key(), message.value()]);
        let parts = of_headers.chain(of_messages).flatten();
        let mut block = Vec::with_capacity(parts.clone().map(<[u8]>::len).sum());
        parts.for_each(|part| block.extend_from_slice(part));
        block.into()
    }

    /// The lists as slices of the start of their block, which is taken off.
    fn split(&self, block: &mut Bytes) -> Vec<Headers> {
        let mut header = |&(name, value): &(&[u8], Option<&[u8]>)| Header {
            name: block.split_to(name.len()),
            value: value.map(|value| block.split_to(value.len())),
        };
        let mut list =
            |list: &Range<usize>| Headers::new(self.headers[list.clone()].iter().map(&mut header).collect());
        self.lists.iter().map(&mut list).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_times_never_go_back() {
        let mut latest = 0;
        let mut next = |stamp| times(stamp, &mut latest);
        assert_eq!(next(None), (0, 0));
        assert_eq!(next(Some(Stamp::Append(50))), (50, 50));
        assert_eq!(next(Some(Stamp::Append(40))), (50, 50), "the clock of another broker");
        assert_eq!(next(Some(Stamp::Create(70))), (70, 70));
        assert_eq!(next(Some(Stamp::Create(60))), (70, 60), "the producer's time stays");
        assert_eq!(next(Some(Stamp::Create(-1))), (70, 70), "none");
        assert_eq!(next(None), (70, 70));
    }
}
