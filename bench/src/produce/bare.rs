//! librdkafka with the settings of the producer of dualstream, its deliveries only counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dualstream_core::log::Part;
use rdkafka::{
    ClientConfig,
    client::ClientContext,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};

use super::{ANSWER_MAX, BATCH, PASS, TOPIC};

/// A producer with a thread that counts what was delivered.
pub(crate) struct Bare {
    producer: Arc<BaseProducer<Count>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Count {
    delivered: AtomicU64,
    failed: AtomicU64,
    /// Who sends, and waits while too many are under way.
    sender: Thread,
}

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, _: usize) {
        let count = if result.is_ok() { &self.delivered } else { &self.failed };
        if count.fetch_add(1, Ordering::Relaxed) % BATCH as u64 == 0 {
            self.sender.unpark();
        }
    }
}

impl Bare {
    pub fn start(bootstrap: &str) -> Result<Bare> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("acks", "all");
        config.set("max.in.flight", "5").set("linger.ms", "1").set("batch.size", "1000000");
        config.set("queue.buffering.max.messages", "0");
        let (delivered, failed) = Default::default();
        let count = Count { delivered, failed, sender: thread::current() };
        let producer: Arc<BaseProducer<Count>> = Arc::new(config.create_with_context(count)?);
        let is_over = Arc::new(AtomicBool::new(false));
        let (polled, over) = (producer.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                polled.poll(Duration::from_millis(100));
            }
        });
        Ok(Bare { producer, is_over, thread: Some(thread) })
    }

    /// Sends calls one after the other for the time of a pass, so many records under way at the most; how many were delivered.
    /// `then` is told the number of each call once it is sent.
    pub fn publish(
        &self,
        calls: &[Vec<Part>],
        under_way_max: usize,
        then: impl Fn(usize) -> Result<()>,
    ) -> Result<u64> {
        let count = self.producer.context();
        let before = count.delivered.load(Ordering::Relaxed);
        let until = Instant::now() + PASS;
        let mut sent = 0;
        for (number, call) in calls.iter().enumerate().cycle() {
            if Instant::now() >= until {
                break;
            }
            for part in call {
                for record in &part.records {
                    let headers = OwnedHeaders::new_with_capacity(record.headers.as_slice().len());
                    let headers = record.headers.iter().try_fold(headers, |headers, header| {
                        let key = std::str::from_utf8(&header.name)?;
                        anyhow::Ok(headers.insert(Header { key, value: header.value.as_deref() }))
                    })?;
                    let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(TOPIC, sent as usize)
                        .headers(headers);
                    message.partition = Some(i32::try_from(part.partition)?);
                    (message.key, message.payload) = (record.key.as_deref(), record.value.as_deref());
                    self.producer.send(message).map_err(|(error, _)| error)?;
                    sent += 1;
                }
            }
            then(number)?;
            while sent - (count.delivered.load(Ordering::Relaxed) - before) >= under_way_max as u64 {
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        self.producer.flush(ANSWER_MAX)?;
        while count.delivered.load(Ordering::Relaxed) - before < sent {
            thread::park_timeout(Duration::from_millis(1));
        }
        ensure!(count.failed.load(Ordering::Relaxed) == 0, "some were not delivered");
        Ok(sent)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it was told already.
            let _ = thread.join();
        }
    }
}
