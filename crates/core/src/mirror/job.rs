//! What the follower asks and does about one topic beside the tail.
//!
//! A job fails on one of two sides, and says on which: upstream did not answer, or not with what was asked for; or the
//! store on this node could not keep it. The one is asked again, the other is left alone for a while.

use super::followed::Followed;
use super::log::Inner;
use super::topic::Topic;
use super::verify::{self, Look, Loss, Verdict};
use crate::log::Bounds;
use crate::topic::{Cleanup, Epoch, TopicSpec};
use crate::{Error, Result};
use std::sync::atomic::Ordering::Relaxed;

/// Which side failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The log upstream.
    Upstream(Error),
    /// The store on this node.
    Store(Error),
}

/// What a job did.
pub(super) enum Done {
    Refreshed(Result<()>),
    Begun(Result<Begun, Failure>),
    Looked(Result<Verdict, Failure>),
    Stored(Followed, Result<(), Failure>),
    Told,
}

pub(super) enum Begun {
    In { id: u128, epoch: Epoch, known_from: Vec<u64> },
    Lost(Loss),
}

/// Makes a topic ready to be followed: on from where the store stands, if that is near enough and nothing was lost.
pub(super) async fn begin(inner: &Inner, topic: &Topic) -> Result<Begun, Failure> {
    let Look { described, epoch, held, verdict } =
        verify::look(inner, topic).await.map_err(Failure::Upstream)?;
    let backfill = inner.settings.backfill_records;
    let begin: Vec<u64> = described
        .earliest
        .iter()
        .zip(described.high.iter().zip(&described.latest))
        .map(|(&earliest, (high, &stable))| earliest.max(high.saturating_sub(backfill).min(stable)))
        .collect();
    let is_near = |held: &Bounds| {
        held.latest.len() == begin.len() && held.latest.iter().zip(&begin).all(|(held, begin)| held >= begin)
    };
    match verdict {
        Verdict::Lost(loss) => return Ok(Begun::Lost(loss)),
        Verdict::Same if held.as_ref().is_some_and(is_near) => {
            let known_from = held.map_or(begin, |held| held.latest);
            return Ok(Begun::In { id: described.id, epoch, known_from });
        }
        Verdict::Same | Verdict::MappedOtherwise => {}
    }
    let id = described.id;
    let spec = TopicSpec {
        retention_ms: None,
        retention_bytes: inner.settings.topic_bytes_max,
        cleanup: Cleanup::Delete,
        ..described.spec
    };
    inner.counters.begun.fetch_add(1, Relaxed);
    topic.set_level(false);
    inner.store.begin(spec, epoch, begin.clone()).await.map_err(Failure::Store)?;
    Ok(Begun::In { id, epoch, known_from: begin })
}

/// Compares what is held of a topic that is followed; gives up what is out of date.
pub(super) async fn look(inner: &Inner, topic: &Topic) -> Result<Verdict, Failure> {
    let Look { verdict, .. } = verify::look(inner, topic).await.map_err(Failure::Upstream)?;
    if let Verdict::MappedOtherwise = verdict {
        inner.store.forget(&topic.name).await.map_err(Failure::Store)?;
    }
    Ok(verdict)
}
