//! Administration of topics as people and programs do it: the seam [`Topics`] with the rules that keep a deployment
//! right, whatever log is behind it.
//!
//! What it refuses, each time with the way around it ([`Error::mend`]):
//!
//! * raising the partitions of a topic that has records, unless forced: its keys would move;
//! * deleting a topic that a namespace stores into, unless forced;
//! * anything that changes an internal topic (`__…`), and compaction of a topic that holds events.
//!
//! The rules look first and act then: a record that is published in between is not seen. It caches nothing.

use crate::log::{Bounds, Log};
use crate::namespace::Namespaces;
use crate::position::{Cursor, Next, Position, Resume};
use crate::topic::{Cleanup, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use crate::topics::Topics;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Most topics of a deployment that are made through here: each takes memory and files on its own.
pub const TOPICS_MAX: usize = 1_000;

/// Administers topics. Cheap to clone.
#[derive(Clone)]
pub struct TopicAdmin {
    topics: Arc<dyn Topics>,
    log: Arc<dyn Log>,
    namespaces: Namespaces,
}

/// A topic as it is now.
#[derive(Clone, Debug)]
pub struct TopicStatus {
    /// How it is kept, its epoch, its size.
    pub info: TopicInfo,
    /// What can be read of it.
    pub bounds: Bounds,
    /// Namespaces that store into it, by name.
    pub namespaces: Vec<String>,
}

/// Up to where a topic is trimmed; what stands exactly there stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// The first record appended at this time or later (milliseconds since 1970).
    Time(i64),
    /// One record: only its partition is trimmed.
    Position(Position),
    /// A place as histories and streams give it.
    Resume(Resume),
    /// The end as it is now: everything goes.
    Latest,
}

impl TopicStatus {
    /// Offsets between start and end, all partitions together: its records, and holes that compaction left.
    pub fn records(&self) -> u64 {
        self.bounds
            .earliest
            .iter()
            .zip(&self.bounds.latest)
            .map(|(&from, &until)| until.saturating_sub(from))
            .sum()
    }

    /// Tokens of its start and its end.
    pub fn ends(&self) -> (Resume, Resume) {
        let token = |offsets: &[u64]| {
            Resume(vec![Cursor { epoch: self.bounds.epoch, next: Next::All(offsets.to_vec()) }])
        };
        (token(&self.bounds.earliest), token(&self.bounds.latest))
    }
}

impl TopicAdmin {
    /// Over the topics of `log`. `namespaces` say what is in use.
    pub fn new(topics: Arc<dyn Topics>, log: Arc<dyn Log>, namespaces: Namespaces) -> TopicAdmin {
        TopicAdmin { topics, log, namespaces }
    }

    /// All topics by name, internal ones included.
    ///
    /// # Errors
    /// What the log fails with.
    pub async fn list(&self) -> Result<Vec<TopicStatus>> {
        let all = self.topics.list().await?;
        // One that was deleted since then is not listed, nor one that the log does not know: see `describe`.
        Ok(all.into_iter().filter_map(|info| self.status(info).ok()).collect())
    }

    /// One topic.
    ///
    /// # Errors
    /// `unknown_topic`.
    pub async fn describe(&self, name: TopicName) -> Result<TopicStatus> {
        self.status(self.topics.describe(name).await?)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// `topic_exists`, `invalid_partitions`, `internal_topic`, `too_many_topics`, `invalid_cleanup_policy`.
    pub async fn create(&self, spec: TopicSpec) -> Result<TopicStatus> {
        not_internal(&spec.name)?;
        if spec.cleanup == Cleanup::Compact
            && let [namespace, ..] = self.namespaces_of(&spec.name).as_slice()
        {
            return Err(compacted_events(&spec.name, namespace));
        }
        if self.topics.list().await?.len() >= TOPICS_MAX {
            let message = format!("there are {TOPICS_MAX} topics, and no more are made");
            return Err(Error::new(ErrorKind::Conflict, "too_many_topics", message)
                .with_limit(TOPICS_MAX as u64)
                .with_mend("delete topics nobody uses; many sources share one topic, each a key of it"));
        }
        self.status(self.topics.create(spec).await?)
    }

    /// Changes exactly what is named.
    ///
    /// # Errors
    /// `unknown_topic`, `invalid_partitions`, `internal_topic`; `keyed_topic` when the partitions of a topic that has
    /// or had records would be raised, unless forced.
    pub async fn alter(
        &self,
        name: TopicName,
        change: TopicAlteration,
        is_forced: bool,
    ) -> Result<TopicStatus> {
        not_internal(&name)?;
        let TopicStatus { info, bounds, .. } = self.describe(name.clone()).await?;
        let is_raised = change.partitions.is_some_and(|wanted| wanted > info.spec.partitions);
        if is_raised && !is_forced && bounds.latest.iter().any(|&end| end > 0) {
            return Err(keyed(&name));
        }
        self.status(self.topics.alter(name, change).await?)
    }

    /// Deletes a topic with its records.
    ///
    /// # Errors
    /// `unknown_topic`, `internal_topic`; `topic_in_use` when a namespace stores into it, unless forced.
    pub async fn delete(&self, name: TopicName, is_forced: bool) -> Result<()> {
        not_internal(&name)?;
        // One that is not there is not in use, whatever the settings say.
        self.topics.describe(name.clone()).await?;
        match self.namespaces_of(&name).as_slice() {
            [first, ..] if !is_forced => Err(in_use(&name, first)),
            _ => self.topics.delete(name).await,
        }
    }

    /// Makes the records before a place unreadable; their space is freed by whole segments. Gives how many went.
    ///
    /// # Errors
    /// `unknown_topic`, `internal_topic`, `invalid_trim` (the topic is compacted, or the place lies past its end),
    /// `epoch_changed` when the place is of another topic or of an earlier epoch.
    pub async fn trim(&self, name: TopicName, before: Before) -> Result<(TopicStatus, u64)> {
        not_internal(&name)?;
        let old = self.describe(name.clone()).await?;
        if old.info.spec.cleanup == Cleanup::Compact {
            return Err(compacted_trim(&name));
        }
        let wanted = match before {
            Before::Time(time_ms) => self.log.seek(&name, time_ms).await?,
            Before::Latest => old.bounds.latest.clone(),
            Before::Position(at) => {
                let next = Next::One { partition: at.partition, offset: at.offset };
                offsets(&old.bounds, &Cursor { epoch: at.epoch, next })?
            }
            Before::Resume(resume) => {
                let own = resume.0.iter().find(|cursor| cursor.epoch == old.bounds.epoch);
                offsets(&old.bounds, own.ok_or_else(other_epoch)?)?
            }
        };
        self.topics.trim(name.clone(), wanted).await?;
        let new = self.describe(name).await?;
        let starts = new.bounds.earliest.iter().zip(&old.bounds.earliest);
        let gone = starts.map(|(new, old)| new.saturating_sub(*old)).sum();
        Ok((new, gone))
    }

    fn status(&self, info: TopicInfo) -> Result<TopicStatus> {
        let bounds = self.log.bounds(&info.spec.name)?;
        Ok(TopicStatus { bounds, namespaces: self.namespaces_of(&info.spec.name), info })
    }

    fn namespaces_of(&self, topic: &TopicName) -> Vec<String> {
        let using = self.namespaces.iter().filter(|n| n.is_durable() && n.topic == *topic);
        using.map(|namespace| namespace.name.clone()).collect()
    }
}

/// First offset to keep of each partition: what the cursor does not name stays as it is.
fn offsets(bounds: &Bounds, at: &Cursor) -> Result<Vec<u64>> {
    let mut below = bounds.earliest.clone();
    let is_known = match &at.next {
        Next::All(offsets) if offsets.len() == below.len() => {
            below.clone_from(offsets);
            true
        }
        Next::All(_) => false,
        Next::One { partition, offset } => match below.get_mut(*partition as usize) {
            Some(below) => {
                *below = *offset;
                true
            }
            None => false,
        },
    };
    if at.epoch != bounds.epoch || !is_known {
        return Err(other_epoch());
    }
    Ok(below)
}

fn not_internal(name: &TopicName) -> Result<()> {
    if !name.is_internal() {
        return Ok(());
    }
    let message = format!("'{name}' is internal: names that begin with '__' are kept for the log itself");
    Err(Error::new(ErrorKind::Denied, "internal_topic", message)
        .with_field("topic")
        .with_mend("choose a name that does not begin with '__'"))
}

fn keyed(name: &TopicName) -> Error {
    let message = format!(
        "the records of '{name}' are placed by their keys: with more partitions a key goes to another one than before, \
         so its new records can be read before its old ones, the same event may be stored again, and every position \
         and resume token of the topic goes stale"
    );
    Error::new(ErrorKind::Conflict, "keyed_topic", message)
        .with_field("partitions")
        .with_mend("force it, or create a topic with more partitions and publish into that")
}

fn in_use(name: &TopicName, namespace: &str) -> Error {
    let message =
        format!("namespace '{namespace}' stores its events in topic '{name}': deleting it deletes them all");
    Error::new(ErrorKind::Conflict, "topic_in_use", message).with_field("topic").with_mend(format!(
        "give namespace '{namespace}' another topic in the settings, trim the topic, or force it"
    ))
}

fn compacted_events(name: &TopicName, namespace: &str) -> Error {
    let message = format!(
        "namespace '{namespace}' stores its events in '{name}': compaction would keep only the last one of each source"
    );
    Error::invalid("invalid_cleanup_policy", "cleanup_policy", message)
        .with_mend("create it with the cleanup policy 'delete'")
}

fn compacted_trim(name: &TopicName) -> Error {
    let message = format!("'{name}' is compacted: it keeps the last record of every key, however old");
    Error::invalid("invalid_trim", "topic", message)
        .with_mend("append a tombstone for each key that is to go")
}

fn other_epoch() -> Error {
    let message = "the place is not one of this topic as it is now: it is of another topic, or of the time before this \
                   one was recreated or repartitioned";
    Error::new(ErrorKind::Gone, "epoch_changed", message).with_field("before")
}
