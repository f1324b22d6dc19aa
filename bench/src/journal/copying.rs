//! The designs compared: a journal with stores filled in different ways, and stores without a journal.

use std::{
    fs::File,
    num::NonZero,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

use super::{frame::Frame, recycled::Recycled, stores::Stores};
use crate::{rounds::Variant, samples::Samples};

/// Stores without a journal: every one written is synced.
pub(crate) struct SyncedStores(pub Stores);

impl Variant for SyncedStores {
    fn prepare(&mut self, _rounds: usize, bytes: u64) -> Result<()> {
        self.0.prepare(bytes)
    }

    fn round(&mut self, frame: &Arc<Frame>) -> Result<()> {
        self.0.copy(frame)?;
        self.0.sync()
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle()
    }
}

/// Stores alone, never synced in a round: what the copy costs by itself.
pub(crate) struct UnsyncedStores(pub Stores);

impl Variant for UnsyncedStores {
    fn prepare(&mut self, _rounds: usize, bytes: u64) -> Result<()> {
        self.0.prepare(bytes)
    }

    fn round(&mut self, frame: &Arc<Frame>) -> Result<()> {
        self.0.copy(frame)
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle()
    }
}

/// Journal frame, sync, then the copy, on one thread.
pub(crate) struct Copied {
    pub journal: Recycled,
    pub stores: Stores,
}

impl Variant for Copied {
    fn prepare(&mut self, _rounds: usize, bytes: u64) -> Result<()> {
        self.stores.prepare(bytes)
    }

    fn round(&mut self, frame: &Arc<Frame>) -> Result<()> {
        self.journal.append(frame)?;
        self.stores.copy(frame)
    }

    fn finish(&mut self) -> Result<()> {
        self.stores.flush()
    }

    fn settle(&mut self) -> Result<()> {
        self.stores.settle()
    }
}

/// Journal frame and sync; the copy on a thread of its own, behind the answer.
pub(crate) struct CopiedBehind {
    journal: Recycled,
    stores: Arc<Mutex<Stores>>,
    frames: SyncSender<Option<Arc<Frame>>>,
    drained: Receiver<Result<()>>,
}

/// Rounds the copy may lag behind.
const LAG_ROUNDS_MAX: usize = 8;

impl CopiedBehind {
    pub fn start(journal: Recycled, stores: Stores) -> Self {
        let stores = Arc::new(Mutex::new(stores));
        let (frames, inbox) = sync_channel::<Option<Arc<Frame>>>(LAG_ROUNDS_MAX);
        let (report, drained) = channel();
        let own = Arc::clone(&stores);
        thread::spawn(move || copy_behind(&own, &inbox, &report));
        CopiedBehind { journal, stores, frames, drained }
    }
}

fn copy_behind(stores: &Mutex<Stores>, inbox: &Receiver<Option<Arc<Frame>>>, report: &Sender<Result<()>>) {
    let mut result = Ok(());
    for frame in inbox {
        match frame {
            Some(frame) => result = result.and_then(|()| locked(stores).copy(&frame)),
            None => _ = report.send(std::mem::replace(&mut result, Ok(()))),
        }
    }
}

fn locked(stores: &Mutex<Stores>) -> std::sync::MutexGuard<'_, Stores> {
    stores.lock().expect("no holder of the stores panics")
}

impl Variant for CopiedBehind {
    fn prepare(&mut self, _rounds: usize, bytes: u64) -> Result<()> {
        locked(&self.stores).prepare(bytes)
    }

    fn round(&mut self, frame: &Arc<Frame>) -> Result<()> {
        self.journal.append(frame)?;
        self.frames.send(Some(Arc::clone(frame))).context("the copying thread has ended")
    }

    fn finish(&mut self) -> Result<()> {
        self.frames.send(None).context("the copying thread has ended")?;
        self.drained.recv().context("the copying thread has ended")?
    }

    fn settle(&mut self) -> Result<()> {
        locked(&self.stores).settle()
    }
}

/// `Copied`, with checkpoints on another thread: the dirty stores are synced while rounds go on.
pub(crate) struct Checkpointed {
    copied: Copied,
    interval: Interval,
    bytes_since_checkpoint: u64,
    bytes_since_hint: u64,
    /// Set while a checkpoint runs; none is begun meanwhile.
    running: Arc<AtomicBool>,
    requests: Sender<Request>,
    results: Receiver<Result<()>>,
    awaited: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Interval {
    pub checkpoint_bytes: u64,
    /// Start writing back what came since the last hint, without waiting for it.
    pub hint_bytes: u64,
}

enum Request {
    Checkpoint(Vec<(Arc<File>, u64)>),
    WriteBack { files: Vec<(Arc<File>, u64)>, bytes_per_file: u64 },
}

impl Checkpointed {
    /// `durations` receives how long each checkpoint took.
    pub fn start(copied: Copied, interval: Interval, durations: Arc<Mutex<Samples>>) -> Self {
        let (requests, inbox) = channel();
        let (report, results) = channel();
        let running = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&running);
        thread::spawn(move || {
            for request in inbox {
                match request {
                    Request::WriteBack { files, bytes_per_file } => {
                        _ = start_write_back(&files, bytes_per_file)
                    }
                    Request::Checkpoint(files) => {
                        let start = Instant::now();
                        let result = files.iter().try_for_each(|(file, _)| file.sync_data());
                        durations.lock().expect("no holder of the durations panics").push(start.elapsed());
                        busy.store(false, Ordering::Release);
                        _ = report.send(result.map_err(Into::into));
                    }
                }
            }
        });
        Checkpointed {
            copied,
            interval,
            bytes_since_checkpoint: 0,
            bytes_since_hint: 0,
            running,
            requests,
            results,
            awaited: 0,
        }
    }

    fn request(&self, request: Request) -> Result<()> {
        self.requests.send(request).context("the checkpoint thread has ended")
    }
}

/// `POSIX_FADV_DONTNEED` on dirty pages starts writing them and keeps them: Linux drops clean pages only.
fn start_write_back(files: &[(Arc<File>, u64)], bytes_per_file: u64) -> Result<()> {
    for (file, end) in files {
        let start = end.saturating_sub(bytes_per_file);
        fadvise(&**file, start, NonZero::new(end - start), Advice::DontNeed)?;
    }
    Ok(())
}

impl Variant for Checkpointed {
    fn prepare(&mut self, rounds: usize, bytes: u64) -> Result<()> {
        self.copied.prepare(rounds, bytes)
    }

    fn round(&mut self, frame: &Arc<Frame>) -> Result<()> {
        self.copied.round(frame)?;
        self.bytes_since_hint += frame.bytes().len() as u64;
        if self.bytes_since_hint >= self.interval.hint_bytes {
            let files = self.copied.stores.files();
            let bytes_per_file = self.bytes_since_hint / files.len() as u64;
            self.bytes_since_hint = 0;
            self.request(Request::WriteBack { files, bytes_per_file })?;
        }
        self.bytes_since_checkpoint += frame.bytes().len() as u64;
        let due = self.bytes_since_checkpoint >= self.interval.checkpoint_bytes;
        if due && !self.running.swap(true, Ordering::Acquire) {
            self.bytes_since_checkpoint = 0;
            self.awaited += 1;
            self.request(Request::Checkpoint(self.copied.stores.files()))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for _ in 0..std::mem::take(&mut self.awaited) {
            self.results.recv().context("the checkpoint thread has ended")??;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.copied.settle()
    }
}
