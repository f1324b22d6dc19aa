//! Reads the topic of decisions from its last snapshot on.
//!
//! ```text
//! earliest ……… snapshot ……… snapshot ……… latest
//!                             ◀── pages, newest first, until one is found
//!                             ──▶ pages, in order, into the state
//! ```

use super::Disconnect;
use super::counters::Counters;
use super::decision::ProposalId;
use super::settings::Settings;
use super::state::{self, Applied, State, Verdict};
use crate::filter::Filter;
use crate::log::{Bounds, Log, Page, Read, Span};
use crate::record::Record;
use crate::topic::{Cleanup, Epoch, TimestampKind, TopicAlteration, TopicName, TopicSpec};
use crate::topics::Topics;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of one page.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A place in the topic, and what is decided before it.
pub(super) struct Reader {
    log: Arc<dyn Log>,
    topic: TopicName,
    epoch: Epoch,
    page_records_max: usize,
    counters: Arc<Counters>,
    state: State,
}

/// What became of a record of ours.
pub(super) struct Judged {
    pub id: ProposalId,
    pub offset: u64,
    pub verdict: Verdict,
    /// What is to be done now, once.
    pub order: Option<Disconnect>,
}

impl Reader {
    /// Reads to the end as it is now, creating the topic where there is none.
    pub async fn open(
        settings: &Settings,
        log: &Arc<dyn Log>,
        topics: &dyn Topics,
        counters: &Arc<Counters>,
    ) -> Result<Reader> {
        let (mut reader, end) = Reader::begin(settings, log, topics, counters).await?;
        reader.catch_up(end, |_| {}).await?;
        Ok(reader)
    }

    /// A reader at the last snapshot, and the end of the topic.
    pub async fn begin(
        settings: &Settings,
        log: &Arc<dyn Log>,
        topics: &dyn Topics,
        counters: &Arc<Counters>,
    ) -> Result<(Reader, u64)> {
        let topic = settings.topic.clone();
        prepare(topics, &topic).await?;
        let Bounds { epoch, earliest, latest } = log.bounds(&topic)?;
        let (Some(&start), Some(&end)) = (earliest.first(), latest.first()) else {
            return Err(unfit("it has no partition"));
        };
        let (log, counters) = (log.clone(), counters.clone());
        let page_records_max = settings.page_records_max;
        let mut reader = Reader { log, topic, epoch, page_records_max, counters, state: State::new(start) };
        match reader.last_snapshot(Span { partition: 0, from: start, until: end }).await? {
            Some(at) => reader.state = State::new(at),
            None if start > 0 => {
                reader.counters.gaps.fetch_add(1, Relaxed);
                tracing::error!(topic = %reader.topic, start, "what was decided before the start of the topic is lost: something deleted records of it");
            }
            None => {}
        }
        Ok((reader, end))
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Reads on up to `end`.
    pub async fn catch_up(&mut self, end: u64, mut judged: impl FnMut(Judged)) -> Result<()> {
        while self.state.next() < end {
            let before = self.state.next();
            self.page().await?.into_iter().for_each(&mut judged);
            if self.state.next() == before {
                return Err(stuck());
            }
        }
        Ok(())
    }

    /// The next page; where there is nothing more it is empty and the state stays. Cancel-safe.
    pub async fn page(&mut self) -> Result<Vec<Judged>> {
        let span = Span { partition: 0, from: self.state.next(), until: u64::MAX };
        let page = self.log.read(self.read(span, false)).await?;
        Ok(self.take(page))
    }

    /// Resolves when there is more. Cancel-safe.
    pub async fn grown(&self) {
        self.log.wait(&self.topic, self.epoch, &[self.state.next()]).await;
    }

    fn take(&mut self, Page { records, next, gaps }: Page) -> Vec<Judged> {
        let mut judged = Vec::new();
        let mut gaps = gaps.into_iter().peekable();
        for (index, record) in records.iter().enumerate() {
            while gaps.next_if(|gap| gap.after <= index).is_some() {
                self.pass_gap();
            }
            let Applied { id, verdict, order } = self.state.apply(record);
            self.note(record, verdict);
            judged.extend(id.map(|id| Judged { id, offset: record.offset, verdict, order }));
        }
        gaps.for_each(|_| self.pass_gap());
        self.state.pass_to(next.first().copied().unwrap_or(0));
        judged
    }

    fn pass_gap(&mut self) {
        self.state.pass_gap();
        self.counters.gaps.fetch_add(1, Relaxed);
        tracing::error!(topic = %self.topic, next = self.state.next(), "records of the topic are damaged: what they decided is lost here");
    }

    fn note(&self, record: &Record, verdict: Verdict) {
        let counters = &*self.counters;
        let add = |counter: &AtomicU64| counter.fetch_add(1, Relaxed);
        match verdict {
            Verdict::Decided => add(&counters.decided),
            Verdict::Refused(_) => add(&counters.refused),
            Verdict::Unknown => add(&counters.unknown),
            Verdict::Foreign => {
                tracing::warn!(topic = %self.topic, offset = record.offset, "a record that is none of ours");
                add(&counters.foreign)
            }
            Verdict::Snapshot { differs, .. } => {
                if differs {
                    add(&counters.differed);
                    tracing::error!(topic = %self.topic, offset = record.offset, "a snapshot says something else than what was decided; from here on it counts everywhere");
                }
                add(&counters.snapshots)
            }
        };
    }

    /// Where the last snapshot of a span stands that is one.
    async fn last_snapshot(&self, span: Span) -> Result<Option<u64>> {
        let mut read = self.read(span, true);
        while !read.is_over() {
            let before = read.spans.clone();
            let page = self.log.read(read.clone()).await?;
            if let Some(found) = page.records.iter().find(|record| state::is_snapshot(record)) {
                return Ok(Some(found.offset));
            }
            read.go_on(&page);
            if read.spans == before {
                return Err(stuck());
            }
        }
        Ok(None)
    }

    fn read(&self, span: Span, reverse: bool) -> Read {
        Read {
            topic: self.topic.clone(),
            epoch: self.epoch,
            spans: vec![span],
            filter: Filter::All,
            records_max: self.page_records_max,
            bytes_max: PAGE_BYTES_MAX,
            reverse,
        }
    }
}

/// The topic is there, and is as it has to be.
async fn prepare(topics: &dyn Topics, topic: &TopicName) -> Result<()> {
    let spec = TopicSpec {
        name: topic.clone(),
        partitions: 1,
        timestamp: TimestampKind::Append,
        cleanup: Cleanup::Delete,
        retention_ms: None,
        retention_bytes: None,
    };
    let found = match topics.describe(topic.clone()).await {
        Ok(info) => info.spec,
        Err(error) if error.kind() == ErrorKind::NotFound => match topics.create(spec).await {
            Ok(info) => info.spec,
            // Another node was faster.
            Err(error) if error.code() == "topic_exists" => topics.describe(topic.clone()).await?.spec,
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    if found.partitions != 1 {
        return Err(unfit("it has more than one partition"));
    }
    if found.cleanup == Cleanup::Compact {
        return Err(unfit("it is compacted"));
    }
    if found.retention_ms.is_some() || found.retention_bytes.is_some() {
        tracing::warn!(%topic, "the topic of decisions forgets by age or size: that is taken off");
        let (retention_ms, retention_bytes) = (Some(None), Some(None));
        topics
            .alter(topic.clone(), TopicAlteration { retention_ms, retention_bytes, partitions: None })
            .await?;
    }
    Ok(())
}

fn unfit(why: &str) -> Error {
    let message = format!("the topic of decisions cannot be used: {why}");
    Error::new(ErrorKind::Conflict, "decisions_topic_unfit", message)
        .with_field("topic")
        .with_mend("delete it when no decision in it matters any more, and it is made anew; every position of a topic that lost records is then taken for a good one")
}

fn stuck() -> Error {
    let message = "the topic of decisions cannot be read to its end yet";
    Error::new(ErrorKind::Unavailable, "decisions_unread", message)
}
