//! Copies topics of one log into another: the same partitions, order, keys, values and headers, at offsets of its own.
//!
//! ```text
//!  source ─▶ visible ── pages, in order, without repeats ─▶ partition ── marked, acknowledged one after the other ─▶ target
//!                                                             ▲                                              │
//!                                                             └──── place: where to go on ◀── last records ──┘
//! ```
//! Every copied record carries in the header [`COPIED_HEADER`] where it was copied from, so a target says by itself how far
//! it is: a copy that was interrupted goes on without gap or repeat, and nothing is kept beside the log. Records of somebody
//! else are noticed, and never mixed with unless that is asked for. At the end both sides are read and compared.
//!
//! Memory is bounded: a page and its copy for each of [`AT_ONCE`] partitions, and where repeats may be, the identities of
//! the last 65,536 offsets of each. It does not follow a source: what is there at its beginning is copied.

mod compare;
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
mod marker;
mod partition;
mod place;
mod repeats;
mod sides;
mod visible;

pub use compare::{Compared, Difference, Sum, What};
pub use embedded::EmbeddedSide;
#[cfg(feature = "kafka")]
pub use kafka::KafkaSide;
pub use marker::COPIED_HEADER;
pub use sides::{Held, Source, Target};

use dualstream_core::topic::{Cleanup, Epoch, TimestampKind, TopicName};
use dualstream_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::sleep;

/// Partitions that are copied at once.
pub const AT_ONCE: usize = 4;

/// How often the ends of a target are looked at until they stand.
const LOOKS_MAX: u32 = 30;

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Copy behind records of somebody else.
    pub force: bool,
    /// Copy nothing, compare only.
    pub verify_only: bool,
}

/// How far it is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The topic.
    pub topic: &'a TopicName,
    /// Whether it is being compared, after it was copied.
    pub comparing: bool,
    /// Offsets that are done.
    pub done: u64,
    /// Offsets in all.
    pub total: u64,
}

/// What became of a topic.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The topic.
    pub topic: TopicName,
    /// Whether it was made in the target.
    pub is_created: bool,
    /// Epoch of the copy: positions in the source do not count there.
    pub epoch: Epoch,
    /// Whether the target keeps the timestamps of the source; else a record's is when it was copied.
    pub keeps_timestamps: bool,
    /// Records that this run copied.
    pub records: u64,
    /// Both sides, partition by partition.
    pub partitions: Vec<Compared>,
}

impl Copied {
    /// Whether both sides hold the same.
    pub fn is_equal(&self) -> bool {
        self.partitions.iter().all(Compared::is_equal)
    }
}

/// A topic on both sides.
pub(crate) struct Pair<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    topic: &'a TopicName,
    /// The source as it was at the beginning: so far is copied.
    from: Held,
    force: bool,
}

/// Copies a topic, then compares both sides. Dropping the future is an interruption like any other.
///
/// # Errors
/// `unknown_topic`; `copy_partitions_differ`, `copy_target_taken`, `copy_place_lost`, `copy_source_changed`, `copy_gap`,
/// `copy_interleaved` when the target cannot be what was asked for, each with the mend; `copy_source_damaged`; and what the
/// sides answer. Differences are no error: see [`Copied::is_equal`].
pub async fn copy(
    source: &dyn Source,
    target: &dyn Target,
    topic: &TopicName,
    options: Options,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Copied> {
    let from = source.describe(topic).await?;
    let (held, is_created) = open(target, topic, &from, options).await?;
    let (epoch, count) = (held.epoch, from.latest.len() as u32);
    let keeps_timestamps = held.spec.timestamp == TimestampKind::Create;
    let is_compacted = [&from, &held].iter().any(|side| side.spec.cleanup == Cleanup::Compact);
    let pair = Pair { source, target, topic, from, force: options.force };
    let spans = || pair.from.earliest.iter().zip(&pair.from.latest).map(|(start, end)| end - start);
    let total: u64 = spans().sum();
    let done = AtomicU64::new(0);
    let advance = |comparing: bool, by: u64| {
        let done = done.fetch_add(by, Ordering::Relaxed) + by;
        progress(Progress { topic, comparing, done, total });
    };
    let mut records = 0;
    if !options.verify_only {
        let held = if is_created { held } else { settled(target, topic, held).await? };
        // All of them first: a target that is refused is left as it is.
        let places = futures::stream::iter(0..count).map(|partition| place::find(&pair, partition, &held));
        let places: Vec<u64> = places.buffered(AT_ONCE).try_collect().await?;
        let copies = futures::stream::iter((0..count).zip(places))
            .map(|(partition, next)| partition::copy(&pair, partition, next, &held, |by| advance(false, by)));
        records = copies.buffer_unordered(AT_ONCE).try_fold(0, async |sum, copied| Ok(sum + copied)).await?;
    }
    done.store(0, Ordering::Relaxed);
    let held = target.describe(topic).await?;
    let rule = compare::Rule { keeps_timestamps, is_compacted };
    let compared = futures::stream::iter(0..count)
        .map(|partition| compare::compare(&pair, partition, &held, rule, |by| advance(true, by)));
    let partitions = compared.buffered(AT_ONCE).try_collect().await?;
    Ok(Copied { topic: topic.clone(), is_created, epoch, keeps_timestamps, records, partitions })
}

/// The topic in the target, made if it is missing and may be.
async fn open(target: &dyn Target, topic: &TopicName, from: &Held, options: Options) -> Result<(Held, bool)> {
    let (held, is_created) = match target.describe(topic).await {
        Err(error) if error.code() == "unknown_topic" && !options.verify_only => {
            target.create(from.spec.clone()).await?;
            (target.describe(topic).await?, true)
        }
        held => (held?, false),
    };
    let (has, wanted) = (held.latest.len(), from.latest.len());
    if has != wanted {
        let message =
            format!("topic '{topic}' has {has} partitions in the target, and {wanted} in the source");
        let mend = "delete it in the target, or leave it out: it is created with the source's partitions";
        return Err(Error::new(ErrorKind::Conflict, "copy_partitions_differ", message)
            .with_field("partitions")
            .with_limit(wanted as u64)
            .with_mend(mend));
    }
    Ok((held, is_created))
}

/// The target when its ends stand: what a run that was killed had sent may still be on its way.
async fn settled(target: &dyn Target, topic: &TopicName, mut held: Held) -> Result<Held> {
    let wait = target.settles_after();
    if wait.is_zero() {
        return Ok(held);
    }
    for _ in 0..LOOKS_MAX {
        sleep(wait).await;
        let now = target.describe(topic).await?;
        if now.latest == held.latest {
            return Ok(now);
        }
        held = now;
    }
    Err(interleaved(topic, None))
}

/// Somebody else writes to the target.
fn interleaved(topic: &TopicName, partition: Option<u32>) -> Error {
    let place = partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
    let message = format!("topic '{topic}'{place} of the target is written by somebody else meanwhile");
    let mend = "stop whoever publishes to it, or the other copy; then delete it in the target and copy again";
    Error::new(ErrorKind::Conflict, "copy_interleaved", message).with_field("to").with_mend(mend)
}

#[cfg(test)]
mod tests;
