//! Why records of topics wait in vain: looked for once for all who wait, and told for a while.
//!
//! It does not look by itself: who asks brings how.

use dualstream_core::topic::TopicName;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a reason is told before it is looked for again.
const KEPT: Duration = Duration::from_secs(10);

type Reason = Shared<BoxFuture<'static, Option<String>>>;

/// What was looked for lately.
pub(super) struct Diagnoses {
    kept: Duration,
    begun: Mutex<BTreeMap<TopicName, (Instant, Reason)>>,
}

impl Default for Diagnoses {
    fn default() -> Diagnoses {
        Diagnoses { kept: KEPT, begun: Mutex::default() }
    }
}

impl Diagnoses {
    /// The reason of a topic; `look` looks for it unless that was begun a moment ago.
    pub(super) fn of(
        &self,
        topic: &TopicName,
        look: impl FnOnce() -> BoxFuture<'static, Option<String>>,
    ) -> Reason {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, (at, _)| at.elapsed() < self.kept);
        let (_, reason) = begun.entry(topic.clone()).or_insert_with(|| (Instant::now(), look().shared()));
        reason.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn all_who_wait_are_told_what_one_finds() {
        let (mut diagnoses, looks) = (Diagnoses::default(), Arc::new(AtomicUsize::new(0)));
        let ask = |diagnoses: &Diagnoses, topic: &str| {
            let looks = looks.clone();
            diagnoses.of(&TopicName::new(topic).unwrap(), || {
                async move { Some(format!("reason {}", looks.fetch_add(1, Ordering::Relaxed))) }.boxed()
            })
        };
        let all: Vec<Reason> = (0..2_000).map(|_| ask(&diagnoses, "t")).collect();
        for told in futures::future::join_all(all).await {
            assert_eq!(told.as_deref(), Some("reason 0"));
        }
        assert_eq!(ask(&diagnoses, "other").await.as_deref(), Some("reason 1"));
        diagnoses.kept = Duration::ZERO;
        assert_eq!(ask(&diagnoses, "t").await.as_deref(), Some("reason 2"), "it may be another one by now");
        assert_eq!(diagnoses.begun.lock().unwrap().len(), 1);
    }
}
