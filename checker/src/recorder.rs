//! How tests record what they do and see, from any thread: handles that make a wrong order hard to write.
//!
//! ```
//! use dualstream_checker::{Event, Place, Recorder, Rules, Start, value_crc};
//!
//! let recorder = Recorder::new();
//! let chain = recorder.subscribe("c1", "node-a", Some("events"), "gh:*", Start::Latest);
//! let event = Event { topic: "events", key: "gh:repo", id: "e1", crc: value_crc(b"{}") };
//! let place = Place { epoch: 7, partition: 3, offset: 0 };
//!
//! let call = recorder.process("p1").invoke(event);
//! call.ok(place); // or fail, or info; a call that is dropped is one whose outcome is not known
//! chain.delivered("e1", "gh:repo", Some(event.crc), Some(place));
//! let read = recorder.full_read("final", "node-a", "events", 7, &[0; 12]);
//! read.met("e1", "gh:repo", event.crc, place);
//! read.ends(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
//!
//! let report = recorder.expect_clean(&Rules::default(), "history.jsonl".as_ref());
//! assert_eq!((report.totals.acknowledged, report.totals.delivered), (1, 1));
//! ```

use crate::history::History;
use crate::judge::{Rules, judge};
use crate::operation::{Blame, Item, Mode, Operation, Place, Start};
use crate::report::Report;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The code of a publish whose caller did not wait for the outcome.
pub(crate) const ABANDONED: &str = "abandoned";

/// A history that grows. Clones write into the same.
#[derive(Clone, Debug)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
    began: Instant,
}

/// Somebody who publishes.
#[derive(Clone, Debug)]
pub struct Process {
    recorder: Recorder,
    name: Box<str>,
}

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its key: the channel, `type:source`.
    pub key: &'a str,
    /// Its id: no other event of the history has it.
    pub id: &'a str,
    /// [`value_crc`](crate::value_crc) of its value.
    pub crc: u32,
}

/// A publish under way.
#[derive(Debug)]
pub struct Call {
    recorder: Recorder,
    process: Box<str>,
    id: Box<str>,
    has_outcome: bool,
}

/// A read of a topic from its beginning to its end.
#[derive(Debug)]
pub struct FullRead {
    recorder: Recorder,
    name: Box<str>,
}

/// One subscriber over all its reconnects.
#[derive(Clone, Debug)]
pub struct Chain {
    recorder: Recorder,
    name: Box<str>,
    topic: Option<Box<str>>,
    channel: Box<str>,
    mode: Mode,
}

/// Something that is broken on purpose until [`ends`](Fault::ends).
#[derive(Debug)]
#[must_use = "a fault that never ends excuses everything"]
pub struct Fault {
    recorder: Recorder,
    name: Box<str>,
}

impl Recorder {
    /// One whose history begins now.
    #[expect(clippy::new_without_default, reason = "it begins to count time")]
    pub fn new() -> Recorder {
        Recorder { history: Arc::default(), began: Instant::now() }
    }

    /// What was recorded so far.
    pub fn history(&self) -> History {
        self.lock().clone()
    }

    /// Records any operation, now.
    pub fn record(&self, operation: Operation<&str>) {
        let mut history = self.lock();
        // Read with the lock held: the order of times is the order of operations.
        let at_us = u64::try_from(self.began.elapsed().as_micros()).expect("a test ends within an age");
        history.push(at_us, operation);
    }

    /// Somebody who publishes; the same name is the same process.
    pub fn process(&self, name: &str) -> Process {
        Process { recorder: self.clone(), name: name.into() }
    }

    /// A full read begins; its name is used once.
    pub fn full_read(&self, name: &str, node: &str, topic: &str, epoch: u64, earliest: &[u64]) -> FullRead {
        self.record(Operation::ReadBegins { reader: name, node, topic, epoch, earliest: earliest.into() });
        FullRead { recorder: self.clone(), name: name.into() }
    }

    /// A reliable subscriber begins. `channel` is a key, or the beginning of keys followed by `*`. Record it after the
    /// server has confirmed it, or what was published before counts as missed.
    pub fn subscribe(
        &self,
        chain: &str,
        node: &str,
        topic: Option<&str>,
        channel: &str,
        from: Start,
    ) -> Chain {
        self.chain(chain, node, topic, channel, Mode::Reliable, from)
    }

    /// A live subscriber begins.
    pub fn listen(&self, chain: &str, node: &str, topic: Option<&str>, channel: &str) -> Chain {
        self.chain(chain, node, topic, channel, Mode::Live, Start::Latest)
    }

    fn chain(
        &self,
        chain: &str,
        node: &str,
        topic: Option<&str>,
        channel: &str,
        mode: Mode,
        from: Start,
    ) -> Chain {
        self.record(Operation::Subscribe { chain, node, topic, channel, mode, from });
        let topic = topic.map(Box::from);
        Chain { recorder: self.clone(), name: chain.into(), topic, channel: channel.into(), mode }
    }

    /// Something is broken from now on.
    pub fn fault(&self, name: &str) -> Fault {
        self.begin(name, false)
    }

    /// The bus is broken from now on, and nothing else: no publish may fail for it.
    pub fn bus_fault(&self, name: &str) -> Fault {
        self.begin(name, true)
    }

    fn begin(&self, name: &str, of_bus: bool) -> Fault {
        self.record(Operation::FaultBegins { fault: name, of_bus });
        Fault { recorder: self.clone(), name: name.into() }
    }

    /// What counters and gauges of a node say.
    pub fn gauge(&self, node: &str, gauge: &str, value: i64) {
        self.record(Operation::Gauge { node, gauge, value });
    }

    /// What a counter of a node says.
    pub fn counter(&self, node: &str, counter: &str, value: u64) {
        self.record(Operation::Counter { node, counter, value });
    }

    /// These counters must give the same on both sides when the history ends.
    pub fn balance(&self, left: &[&str], right: &[&str]) {
        self.record(Operation::Balance { left: left.into(), right: right.into() });
    }

    /// A node was started.
    pub fn node_up(&self, node: &str) {
        self.record(Operation::NodeUp { node });
    }

    /// A node was ended.
    pub fn node_down(&self, node: &str) {
        self.record(Operation::NodeDown { node });
    }

    /// A topic was created again, or cut, on purpose.
    pub fn recreated(&self, topic: &str) {
        self.record(Operation::Recreated { topic });
    }

    /// Judges what was recorded. Keeps the history in a file when a promise is broken, for `dualstream-checker check`.
    ///
    /// # Panics
    /// With the report, when a promise is broken.
    pub fn expect_clean(&self, rules: &Rules, kept: &Path) -> Report {
        let history = self.history();
        let report = judge(&history, rules);
        if !report.is_clean() {
            let kept = match history.write(kept) {
                Ok(()) => format!("the history is in {}", kept.display()),
                Err(error) => format!("the history is lost: {error:#}"),
            };
            panic!("{report}\n{kept}");
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Is about to publish: call it before anything is sent.
    pub fn invoke(&self, event: Event<'_>) -> Call {
        self.send(event, None)
    }

    /// The same for an event of a batch: call it for all of them, in their order, before anything is sent. No two
    /// batches of a process have the same number.
    pub fn invoke_in_batch(&self, event: Event<'_>, batch: u32) -> Call {
        self.send(event, Some(batch))
    }

    fn send(&self, event: Event<'_>, batch: Option<u32>) -> Call {
        let Event { topic, key, id, crc } = event;
        self.recorder.record(Operation::Invoke { process: &self.name, id, key, topic, crc, batch });
        let (recorder, process) = (self.recorder.clone(), self.name.clone());
        Call { recorder, process, id: id.into(), has_outcome: false }
    }
}

impl Call {
    /// It was acknowledged.
    pub fn ok(mut self, place: Place) {
        self.has_outcome = true;
        self.recorder.record(Operation::Ok { process: &self.process, id: &self.id, place });
    }

    /// It is certainly not stored. `code` is the stable code of the error; empty if it had none.
    pub fn fail(mut self, code: &str, blame: Blame) {
        self.has_outcome = true;
        self.recorder.record(Operation::Fail { process: &self.process, id: &self.id, code, blame });
    }

    /// Whether it is stored is not known: an answer that says so, or none (`connection_lost`, `timed_out`).
    pub fn info(mut self, code: &str) {
        self.unknown(code);
    }

    fn unknown(&mut self, code: &str) {
        self.has_outcome = true;
        self.recorder.record(Operation::Info { process: &self.process, id: &self.id, code });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.has_outcome {
            self.unknown(ABANDONED);
        }
    }
}

impl FullRead {
    /// Met an event.
    pub fn met(&self, id: &str, key: &str, crc: u32, place: Place) {
        let item = Item { id, key, crc: Some(crc), place: Some(place) };
        self.recorder.record(Operation::Read { reader: &self.name, item });
    }

    /// Met the end of all partitions.
    pub fn ends(self, latest: &[u64]) {
        self.recorder.record(Operation::ReadEnds { reader: &self.name, latest: latest.into() });
    }
}

impl Chain {
    /// Was given an event: its value's CRC if the value came along, its place if that was told.
    pub fn delivered(&self, id: &str, key: &str, crc: Option<u32>, place: Option<Place>) {
        let item = Item { id, key, crc, place };
        self.recorder.record(Operation::Deliver { chain: &self.name, item });
    }

    /// Goes on where it stopped, on this node.
    pub fn resumed(&self, node: &str) {
        self.recorder.record(Operation::Subscribe {
            chain: &self.name,
            node,
            topic: self.topic.as_deref(),
            channel: &self.channel,
            mode: self.mode,
            from: Start::Resume,
        });
    }

    /// Was told that it has everything below these offsets: a token of progress.
    pub fn told(&self, epoch: u64, next: &[u64]) {
        self.recorder.record(Operation::Progress { chain: &self.name, epoch, next: next.into() });
    }

    /// Was told that it cannot, and where it goes on instead.
    pub fn unrecoverable(&self, from: Start) {
        self.recorder.record(Operation::Unrecoverable { chain: &self.name, from });
    }

    /// Is given up by the test: it need not have everything.
    pub fn closed(&self) {
        self.recorder.record(Operation::Close { chain: &self.name });
    }
}

impl Fault {
    /// It is whole again, as far as the test can make it so.
    pub fn ends(self) {
        self.recorder.record(Operation::FaultEnds { fault: &self.name });
    }
}
