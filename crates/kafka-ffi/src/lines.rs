//! What a client logs, read beside its messages: some facts it tells nowhere else.

use crate::admin::{c, text};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use std::{ptr, ptr::NonNull, sync::Arc};

/// Everything of it, down to what its property `debug` adds (syslog's word).
const LEVEL_DEBUG: i32 = 7;

/// The lines of a consumer's log, in their order; a line is here before anything is done that comes after it.
pub struct Lines<C: ConsumerContext> {
    queue: *mut c::rd_kafka_queue_t,
    /// The client outlives its queue.
    _consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used by any thread.
unsafe impl<C: ConsumerContext> Send for Lines<C> {}

impl<C: ConsumerContext> Lines<C> {
    /// From now on; nobody else is given them.
    pub fn of(consumer: Arc<BaseConsumer<C>>) -> Lines<C> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive as long as this value; the queue is ours, freed by `drop`. The client was made with
        // a queue for its log, so that the call only fails if there is a bug, and then nothing comes.
        let queue = unsafe {
            let queue = c::rd_kafka_queue_new(client);
            c::rd_kafka_set_log_queue(client, queue);
            c::rd_kafka_set_log_level(client, LEVEL_DEBUG);
            queue
        };
        Lines { queue, _consumer: consumer }
    }
}

impl<C: ConsumerContext> Iterator for Lines<C> {
    type Item = String;

    /// What is there; does not wait.
    fn next(&mut self) -> Option<String> {
        let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the queue is ours; the event is ours and freed once, after its text was copied.
        unsafe {
            let event = NonNull::new(c::rd_kafka_queue_poll(self.queue, 0))?.as_ptr();
            c::rd_kafka_event_log(event, &mut facility, &mut line, &mut level);
            let line = text(line);
            c::rd_kafka_event_destroy(event);
            Some(line)
        }
    }
}

impl<C: ConsumerContext> Drop for Lines<C> {
    fn drop(&mut self) {
        // SAFETY: made by `of`, freed once; what is logged later finds no queue and is dropped by librdkafka.
        unsafe { c::rd_kafka_queue_destroy(self.queue) };
    }
}
