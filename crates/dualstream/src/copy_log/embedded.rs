//! An embedded log as a side of a copy.

use super::sides::{Held, PAGE_BYTES, Source, Target};
use crate::system::{SystemClock, SystemEntropy};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Appended, Bounds, Commit, Log, Part, Read, Span};
use dualstream_core::mirror::Run;
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind, Result};
use dualstream_log::{EmbeddedLog, FileStorage};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Most records of a page.
const PAGE_RECORDS: usize = 10_000;

/// The log of a data directory that nobody serves. Closed with the value.
pub struct EmbeddedSide {
    log: EmbeddedLog,
    writer: Option<JoinHandle<Result<()>>>,
}

impl EmbeddedSide {
    /// Opens a data directory, or makes it.
    ///
    /// # Errors
    /// `data_dir_locked` while somebody serves it, and what else opening one answers.
    pub fn open(dir: &Path) -> Result<EmbeddedSide> {
        let storage = Arc::new(FileStorage::open(dir)?);
        let entropy = Arc::new(SystemEntropy::default());
        let settings = dualstream_log::Settings::default();
        let (log, writer) = dualstream_log::open(settings, storage, Arc::new(SystemClock), entropy)?;
        let run = move || writer.run();
        let writer = std::thread::Builder::new().name("log-writer".into()).spawn(run).map_err(|error| {
            let message = "no thread can be started for the log";
            Error::new(ErrorKind::Unavailable, "log_unavailable", message).with_source(error)
        })?;
        Ok(EmbeddedSide { log, writer: Some(writer) })
    }

    /// A log that somebody else drives.
    pub fn of(log: EmbeddedLog) -> EmbeddedSide {
        EmbeddedSide { log, writer: None }
    }
}

impl Drop for EmbeddedSide {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.log.close();
            // What it could not write was answered to whoever asked for it.
            let _ = writer.join();
        }
    }
}

impl Source for EmbeddedSide {
    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicName>>> {
        async {
            let names = self.log.list().await?.into_iter().map(|topic| topic.spec.name);
            Ok(names.filter(|name| !name.is_internal()).collect())
        }
        .boxed()
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Held>> {
        async {
            let spec = Topics::describe(&self.log, topic.clone()).await?.spec;
            let Bounds { epoch, earliest, latest } = self.log.bounds(topic)?;
            Ok(Held { epoch, spec, earliest, latest })
        }
        .boxed()
    }

    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span) -> BoxFuture<'a, Result<Run>> {
        async move {
            let page = self
                .log
                .read(Read {
                    topic: topic.clone(),
                    epoch: self.log.bounds(topic)?.epoch,
                    spans: vec![span],
                    filter: Filter::All,
                    records_max: PAGE_RECORDS,
                    bytes_max: PAGE_BYTES,
                    reverse: false,
                })
                .await?;
            if let Some(gap) = page.gaps.first() {
                let (partition, from, until) = (gap.partition, gap.from, gap.until);
                let message =
                    format!("topic '{topic}', partition {partition}: offsets {from} to {until} are damaged");
                return Err(Error::new(ErrorKind::Corrupt, "copy_source_damaged", message)
                    .with_field("from")
                    .with_mend(
                        "`dualstream log verify` tells all damage, `dualstream log repair` mends what can be",
                    ));
            }
            let next = page.next.first().copied().unwrap_or(span.from);
            Ok(Run { topic: topic.clone(), id: 0, partition: span.partition, records: page.records, next })
        }
        .boxed()
    }

    fn may_repeat(&self) -> bool {
        false
    }
}

impl Target for EmbeddedSide {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Topics::create(&self.log, spec).map(|created| created.map(drop)).boxed()
    }

    fn append(&self, part: Part) -> BoxFuture<'_, Result<Vec<Appended>>> {
        async {
            let committed = self.log.commit(Commit { parts: vec![part], guard: None }).await?;
            Ok(committed.parts.into_iter().flat_map(|part| part.records).collect())
        }
        .boxed()
    }

    fn settles_after(&self) -> Duration {
        Duration::ZERO
    }
}
