//! Administration of topics upstream, so that the log here knows of every change at once.

use super::log::MirroredLog;
use crate::log::Log;
use crate::topic::{TopicAlteration, TopicInfo, TopicName, TopicSpec};
use crate::topics::Topics;
use crate::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a new topic may be without leaders.
const LEADERS_MAX: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);

/// The topics of a [`MirroredLog`]: those of upstream, each with the epoch and the size it has there.
pub struct MirroredTopics {
    upstream: Arc<dyn Topics>,
    log: MirroredLog,
}

impl MirroredTopics {
    /// The topics that `upstream` administers, read through `log`.
    pub fn new(upstream: Arc<dyn Topics>, log: MirroredLog) -> MirroredTopics {
        MirroredTopics { upstream, log }
    }

    /// The log learns of the topic as it is now.
    async fn known(&self, info: TopicInfo) -> Result<TopicInfo> {
        let bounds = self.log.open(&info.spec.name).await?;
        Ok(TopicInfo { epoch: bounds.epoch, ..info })
    }
}

impl Topics for MirroredTopics {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>> {
        async move {
            let name = spec.name.clone();
            let created = self.upstream.create(spec).await;
            let was_there = matches!(&created, Err(error) if error.code() == "topic_exists");
            if !was_there {
                created.as_ref().map_err(Error::clone)?;
            }
            let deadline = Instant::now() + LEADERS_MAX;
            loop {
                match self.log.open(&name).await {
                    // Not every broker knows of it yet, whoever created it, or its partitions have no leaders.
                    Err(error)
                        if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NotFound)
                            && Instant::now() < deadline =>
                    {
                        tokio::time::sleep(RETRY).await;
                    }
                    opened => {
                        let epoch = opened?.epoch;
                        return created.map(|info| TopicInfo { epoch, ..info });
                    }
                }
            }
        }
        .boxed()
    }

    /// All of upstream, whether the log knows them or not: it learns of none by being asked for all.
    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        async move {
            let mut all = self.upstream.list().await?;
            for info in &mut all {
                if let Ok(bounds) = self.log.bounds(&info.spec.name) {
                    info.epoch = bounds.epoch;
                }
            }
            Ok(all)
        }
        .boxed()
    }

    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>> {
        async move { self.known(self.upstream.describe(name).await?).await }.boxed()
    }

    fn alter(&self, name: TopicName, change: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>> {
        async move { self.known(self.upstream.alter(name, change).await?).await }.boxed()
    }

    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>> {
        async move {
            self.upstream.delete(name.clone()).await?;
            self.log.close(&name).await
        }
        .boxed()
    }

    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>> {
        async move {
            self.upstream.trim(name.clone(), below).await?;
            self.log.open(&name).await.map(drop)
        }
        .boxed()
    }
}

impl std::fmt::Debug for MirroredTopics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirroredTopics").finish_non_exhaustive()
    }
}
