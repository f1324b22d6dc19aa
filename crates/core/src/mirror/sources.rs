//! What sources a topic upstream has, as far as the mirror holds it.

use super::log::MirroredLog;
use crate::Result;
use crate::sources::{SourceRange, Sources};
use crate::topic::TopicName;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;

/// The sources of a [`MirroredLog`]: those of records that the mirror holds. Asking for them begins the mirror of a topic.
pub struct MirroredSources {
    log: MirroredLog,
    store: Arc<dyn Sources>,
}

impl MirroredSources {
    /// The sources that `store`, the mirror of `log`, lists.
    pub fn new(log: MirroredLog, store: Arc<dyn Sources>) -> MirroredSources {
        MirroredSources { log, store }
    }
}

impl Sources for MirroredSources {
    fn sources<'a>(
        &'a self,
        topic: &'a TopicName,
        range: SourceRange,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        async move {
            self.log.held(topic).await?;
            self.store.sources(topic, range).await
        }
        .boxed()
    }
}

impl std::fmt::Debug for MirroredSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirroredSources").finish_non_exhaustive()
    }
}
