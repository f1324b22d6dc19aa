//! Consuming many messages with one call.

use crate::admin::{Code, Duration, c, outcome};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use std::{ffi::CStr, marker::PhantomData, ptr, slice};

/// Takes what was fetched, waiting up to `wait` until there are `count_max` messages. What the consumer's context would be
/// told by `poll` is not told: take the errors from the messages.
///
/// # Errors
/// What librdkafka says of the call itself; errors of a partition come as messages.
pub fn consume<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    wait: Duration,
    count_max: usize,
) -> Result<Batch<'_>, Code> {
    let mut messages = Vec::with_capacity(count_max);
    // SAFETY: the client is alive while it is borrowed; a consumer with a group has such a queue, and null is looked for.
    let queue = unsafe { c::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    if queue.is_null() {
        return Err(Code::UnknownGroup);
    }
    // SAFETY: the vector has room for `count_max` pointers, of which the call fills the first ones and gives their
    // number; each is a message this program owns from then on. The queue is a reference of our own, given back once.
    let taken = unsafe {
        let taken = c::rd_kafka_consume_batch_queue(queue, millis(wait), messages.as_mut_ptr(), count_max);
        c::rd_kafka_queue_destroy(queue);
        taken
    };
    let Ok(taken) = usize::try_from(taken) else {
        // SAFETY: reads a variable of this thread.
        return Err(unsafe { c::rd_kafka_last_error() }.into());
    };
    // SAFETY: so many were filled in.
    unsafe { messages.set_len(taken) };
    Ok(Batch { messages, consumer: PhantomData })
}

/// Ends the wait of a call of [`consume`] in another thread, or of the next one.
pub fn wake<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    // SAFETY: as in `consume`: the client is alive, null is looked for, and the reference is given back once.
    unsafe {
        let queue = c::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        if !queue.is_null() {
            c::rd_kafka_queue_yield(queue);
            c::rd_kafka_queue_destroy(queue);
        }
    }
}

pub(crate) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// Messages that were consumed, given back to their consumer with the value.
#[derive(Debug)]
pub struct Batch<'a> {
    messages: Vec<*mut c::rd_kafka_message_t>,
    /// Messages must go before the client they are of.
    consumer: PhantomData<&'a ()>,
}

// SAFETY: the messages belong to this value alone, and librdkafka lets any thread read and destroy them.
unsafe impl Send for Batch<'_> {}

impl Batch<'_> {
    /// Whether none came in time.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// They in the order they were fetched: by offset in each partition.
    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: each pointer is a message until the batch is dropped, which the borrow outlives.
        self.messages.iter().map(|&message| Message(unsafe { &*message }))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for &message in &self.messages {
            // SAFETY: owned by this value and destroyed once.
            unsafe { c::rd_kafka_message_destroy(message) };
        }
    }
}

/// When a message was stored or made, in ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Given by the broker.
    Append(i64),
    /// Given by the producer.
    Create(i64),
}

/// One consumed message, or what is wrong with a partition.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a>(&'a c::rd_kafka_message_t);

impl<'a> Message<'a> {
    /// What is wrong; of such a message only topic, partition and (at the end of a partition) offset are told.
    pub fn error(&self) -> Option<Code> {
        outcome(self.0.err).err()
    }

    /// Its topic; empty for an error of no topic.
    pub fn topic(&self) -> &'a str {
        if self.0.rkt.is_null() {
            return "";
        }
        // SAFETY: the message holds a reference to its topic, whose name is a string that lives as long.
        let name = unsafe { CStr::from_ptr(c::rd_kafka_topic_name(self.0.rkt)) };
        name.to_str().unwrap_or_default()
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.0.partition
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    /// Its key.
    pub fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: key and length describe memory that the message owns.
        unsafe { bytes(self.0.key.cast(), self.0.key_len) }
    }

    /// Its payload.
    pub fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: payload and length describe memory that the message owns.
        unsafe { bytes(self.0.payload.cast(), self.0.len) }
    }

    /// Its timestamp, if it has one.
    pub fn timestamp(&self) -> Option<Stamp> {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: reads the message, writes the kind.
        let time = unsafe { c::rd_kafka_message_timestamp(self.0, &mut kind) };
        match kind {
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => None,
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => Some(Stamp::Create(time)),
            c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Some(Stamp::Append(time)),
        }
    }

    /// Epoch of the leader it came from (KIP-101); `None` where the broker does not tell.
    pub fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: reads the message.
        let epoch = unsafe { c::rd_kafka_message_leader_epoch(self.0) };
        (epoch >= 0).then_some(epoch)
    }

    /// Its headers in their order: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut headers = ptr::null_mut();
        // SAFETY: the list is parsed into the message, which owns it; without headers it stays null. Parsing happens once
        // and writes only what no other call reads: `Message` is neither `Send` nor `Sync`.
        let outcome = unsafe { c::rd_kafka_message_headers(self.0, &mut headers) };
        let count = match outcome {
            // SAFETY: a list was given.
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => unsafe { c::rd_kafka_header_cnt(headers) },
            _ => 0,
        };
        (0..count).map_while(move |index| {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list lives as long as the message; name and value point into it.
            unsafe {
                let outcome = c::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length);
                let found = outcome == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                found.then(|| (CStr::from_ptr(name).to_bytes(), bytes(value.cast(), length)))
            }
        })
    }
}

/// # Safety
/// What is not null points to so many bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as promised by the caller.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, length) })
}
