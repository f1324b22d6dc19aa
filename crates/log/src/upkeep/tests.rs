//! What the writer itself does, and what it leaves to the job.

use super::*;
use crate::queue::{Pending, Ticket, weight};
use crate::recovery::recover;
use crate::settings::Settings;
use crate::storage::{File, MemoryStorage, Mode, Storage};
use dualstream_core::event::{Data, Event};
use dualstream_core::log::{Commit, Part};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::{TopicName, TopicSpec};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

const HOUR_MS: i64 = 3_600_000;

/// A disk that counts how often a sidecar is opened.
#[derive(Clone, Default)]
struct Watched {
    disk: MemoryStorage,
    sidecars: Arc<AtomicUsize>,
}

impl Watched {
    /// Sidecars opened since it was asked last.
    fn opened(&self) -> usize {
        self.sidecars.swap(0, Relaxed)
    }
}

impl Storage for Watched {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        self.sidecars.fetch_add(usize::from(path.ends_with(".index")), Relaxed);
        self.disk.open(path, mode)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self) -> io::Result<(u64, u64)> {
        self.disk.free_bytes()
    }
}

fn open(storage: &Watched, clock: &Arc<ManualClock>) -> Engine {
    let settings = Settings { segment_bytes: 8 << 10, ..Settings::default() };
    let entropy = Arc::new(SeededEntropy::new(1));
    recover(settings, Arc::new(storage.clone()), clock.clone(), entropy).unwrap()
}

fn publish(engine: &mut Engine, topic: &TopicName, count: u32) {
    for i in 0..count {
        let event = Event {
            event_type: "test".into(),
            source_type: "user".into(),
            source_id: (i % 40).to_string(),
            data: Data::Json("{}".into()),
            ..Event::default()
        };
        let headers = Event::headers("user");
        let record = event.into_record(&i.to_string(), "2026-11-21T00:00:00.000Z", headers).unwrap();
        let parts = vec![Part { topic: topic.clone(), partition: i % 12, records: vec![record] }];
        let (answer, _) = tokio::sync::oneshot::channel();
        let bytes = weight(&parts);
        let commit = Commit { parts, guard: None };
        assert!(engine.commit(vec![Pending { commit, bytes, ticket: Ticket::default(), answer }]).is_ok());
    }
}

fn checkpoint(engine: &mut Engine) {
    let job = engine.checkpoint_job(Occasion::Running).unwrap().unwrap();
    assert!(engine.checkpoint_done(job.run()).is_none());
}

/// Looking after the topics costs the writer no read: after a start the job finds out what it has to know.
#[test]
fn the_writer_reads_no_sidecar_to_look_after_its_topics() {
    let (storage, clock) = (Watched::default(), Arc::new(ManualClock::new(1_000 * HOUR_MS)));
    let topic = TopicName::new("events").unwrap();
    let mut engine = open(&storage, &clock);
    let retention_ms = Some(HOUR_MS as u64);
    engine.create(TopicSpec { retention_ms, ..TopicSpec::events(topic.clone()) }).unwrap();
    publish(&mut engine, &topic, 400);
    checkpoint(&mut engine);
    drop(engine);
    storage.opened();
    let mut engine = open(&storage, &clock);
    clock.advance(3 * HOUR_MS);
    engine.retain();
    assert_eq!(storage.opened(), 0, "opening and looking after a log need no sidecar");
    checkpoint(&mut engine);
    assert!(storage.opened() > 3, "the job measures");
    engine.retain();
    assert_eq!(storage.opened(), 0);
    assert!(engine.removals.len() > 6, "what is old is given up then: {:?}", engine.removals);
}
