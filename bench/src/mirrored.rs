//! A log over a broker with its mirror in this process, as a server has it but without decisions of a cluster.

use std::{collections::BTreeMap, future::pending, path::Path, sync::Arc, thread::JoinHandle};

use anyhow::Result;
use dualstream_backends::kafka::{KafkaUpstream, Settings as KafkaSettings};
use dualstream_core::{
    mirror::{FirstGeneration, MirroredLog, Settings},
    topic::TopicName,
};
use dualstream_log::{FileStorage, Mirror, open_mirror};
use tokio::{runtime::Runtime, task::AbortHandle};

use crate::embedded::{SplitMix, SystemClock};

/// The log, the task that follows and the thread that writes; ended when dropped.
pub(crate) struct Mirrored {
    pub log: MirroredLog,
    mirror: Mirror,
    follower: AbortHandle,
    writer: Option<JoinHandle<dualstream_core::Result<()>>>,
}

impl Mirrored {
    /// Opens one with its files in `dir` and a topic that exists; it is followed once it is read.
    pub fn open(
        dir: &Path,
        runtime: &Runtime,
        bootstrap: &str,
        topic: &TopicName,
        settings: Settings,
    ) -> Result<Self> {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SplitMix::default()));
        let storage = Arc::new(FileStorage::open(dir)?);
        let (mirror, writer) =
            open_mirror(dualstream_log::Settings::default(), storage, clock.clone(), entropy.clone())?;
        let writer = std::thread::Builder::new().name("mirror-writer".into()).spawn(move || writer.run())?;
        let upstream = Arc::new(KafkaUpstream::new(KafkaSettings::new(bootstrap, BTreeMap::new())?)?);
        let store = Arc::new(mirror.clone());
        let (log, runner) =
            MirroredLog::new(settings, upstream, store, Arc::new(FirstGeneration), clock, entropy);
        let follower = runtime.spawn(runner.run(pending())).abort_handle();
        let mirrored = Mirrored { log, mirror, follower, writer: Some(writer) };
        runtime.block_on(mirrored.log.open(topic))?;
        Ok(mirrored)
    }
}

impl Drop for Mirrored {
    fn drop(&mut self) {
        self.follower.abort();
        self.mirror.close();
        if let Some(writer) = self.writer.take() {
            // Nothing of a mirror has to survive.
            drop(writer.join());
        }
    }
}
