//! Pages of the log that were read lately, shared by all who are behind at the same place: when a server starts again
//! and thousands come back, each range is read for all, and its entries are
//! made and encoded once.
//!
//! ```text
//! the first asks for (filter, from…) ─▶ reads alone: most are alone
//! the second ─▶ reads for all, whoever waits drives it ─▶ entries ─▶ each takes those below its own end
//! ```
//! A page says what matches from some offsets on, as far as it goes. That stays true while the log keeps those offsets,
//! so whoever wants more than it holds reads on behind it. A page with damage, an error, and anything below the start
//! of the log are not shared: those are told by the log itself. Bounded in bytes; it is a cache, nothing is lost with it.

use super::entry::Entry;
use super::shared::Shared;
use crate::Result;
use crate::filter::Filter;
use crate::log::{Gap, Log, Page, Read};
use crate::record::{Headers, Record};
use crate::sync::{Mutex, MutexGuard, OnceLock};
use crate::topic::Epoch;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

/// Most bytes of entries that are kept for those who come later.
const BYTES_MAX: usize = 16 << 20;
/// Most pages, and most places that one asked for.
const PAGES_MAX: usize = 128;

/// The pages of one topic.
#[derive(Default)]
pub(super) struct Pages {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Oldest first.
    pages: VecDeque<(Key, Reading)>,
    /// What one has asked for, oldest first.
    asked: VecDeque<Key>,
}

type Reading = futures::future::Shared<BoxFuture<'static, Option<Arc<SharedPage>>>>;

/// What makes two reads the same, up to where they end.
#[derive(Clone, PartialEq)]
struct Key {
    epoch: Epoch,
    /// Partition and first offset of each span.
    from: Vec<(u32, u64)>,
    filter: Filter,
    bytes_max: usize,
}

/// A page and the entries of its records.
pub(super) struct SharedPage {
    next: Vec<u64>,
    /// Until the entries are made: they keep the blocks that they were read in.
    records: Mutex<Vec<Record>>,
    made: OnceLock<Made>,
}

/// The entries of a page, and the bytes they count for.
struct Made {
    entries: Vec<Arc<Entry>>,
    bytes: usize,
}

/// What one reader gets of a page.
pub(super) struct Part {
    /// Its entries, in log order.
    pub entries: Vec<Arc<Entry>>,
    /// For each span of the read, where to go on.
    pub next: Vec<u64>,
    /// Damage that was passed over; `after` counts entries.
    pub gaps: Vec<Gap>,
}

impl Pages {
    /// Reads a page that `read` asks for, or takes one that was read for others.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub(super) async fn read(&self, shared: &Arc<Shared>, read: &Read) -> Result<Part> {
        if is_kept(&*shared.log, read)
            && let Some(reading) = self.reading(&shared.log, read)
            && let Some(page) = reading.await
        {
            return Ok(self.part(shared, read, &page));
        }
        let Page { records, next, gaps } = shared.log.read(read.clone()).await?;
        let entries =
            records.into_iter().map(|record| shared.entry(&read.topic, read.epoch, record)).collect();
        Ok(Part { entries, next, gaps })
    }

    /// The page that begins where `read` does, if it has something for it, or one that is read now; `None` for the
    /// first who asks.
    fn reading(&self, log: &Arc<dyn Log>, read: &Read) -> Option<Reading> {
        let from = read.spans.iter().map(|span| (span.partition, span.from)).collect();
        let key = Key { epoch: read.epoch, from, filter: read.filter.clone(), bytes_max: read.bytes_max };
        let mut kept = self.kept();
        if let Some(at) = kept.pages.iter().position(|(known, _)| *known == key) {
            let goes_on =
                |page: &Arc<SharedPage>| page.next.iter().zip(&read.spans).any(|(next, s)| *next > s.from);
            match kept.pages[at].1.peek() {
                // A page that was empty then may not be so now; damage may have been mended.
                Some(page) if !page.as_ref().is_some_and(goes_on) => drop(kept.pages.remove(at)),
                _ => return Some(kept.pages[at].1.clone()),
            }
        } else if !kept.asked.contains(&key) {
            kept.asked.push_back(key);
            if kept.asked.len() > PAGES_MAX {
                kept.asked.pop_front();
            }
            return None;
        }
        let (log, wanted) = (log.clone(), read.clone());
        let reading = async move {
            let Page { records, next, gaps } = log.read(wanted).await.ok()?;
            let records = Mutex::new(records);
            gaps.is_empty().then(|| Arc::new(SharedPage { next, records, made: OnceLock::new() }))
        };
        let reading = reading.boxed().shared();
        kept.pages.push_back((key, reading.clone()));
        kept.keep_budget();
        Some(reading)
    }

    /// What of a page lies below the ends of `read`.
    fn part(&self, shared: &Shared, read: &Read, page: &SharedPage) -> Part {
        let is_new = page.made.get().is_none();
        let Made { entries, .. } = page.made.get_or_init(|| Made::new(shared, read, page));
        if is_new {
            self.kept().keep_budget();
        }
        let is_wanted = |entry: &&Arc<Entry>| {
            let span = read.spans.iter().find(|span| span.partition == entry.position.partition);
            span.is_some_and(|span| entry.position.offset < span.until)
        };
        let next = page.next.iter().zip(&read.spans).map(|(next, span)| (*next).min(span.until)).collect();
        Part { entries: entries.iter().filter(is_wanted).cloned().collect(), next, gaps: Vec::new() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep_budget(&mut self) {
        let bytes_of = |(_, reading): &(Key, Reading)| {
            let page = reading.peek().and_then(Option::as_ref);
            page.and_then(|page| page.made.get()).map_or(0, |made| made.bytes)
        };
        let mut bytes: usize = self.pages.iter().map(bytes_of).sum();
        while bytes > BYTES_MAX || self.pages.len() > PAGES_MAX {
            bytes -= self.pages.pop_front().as_ref().map_or(bytes, bytes_of);
        }
    }
}

impl Made {
    /// Entries in memory of their own: a page may be a few records out of many blocks.
    fn new(shared: &Shared, read: &Read, page: &SharedPage) -> Made {
        let mut headers = (Headers::default(), Headers::default());
        let records = std::mem::take(&mut *page.records.lock().unwrap_or_else(PoisonError::into_inner));
        let entry = |record: Record| {
            if !headers.0.is_same_list(&record.headers) {
                headers = (record.headers.clone(), record.headers.detached());
            }
            shared.entry(&read.topic, read.epoch, record.detached(headers.1.clone()))
        };
        let entries: Vec<_> = records.into_iter().map(entry).collect();
        Made { bytes: entries.iter().map(|entry| weight(entry)).sum(), entries }
    }
}

/// Whether the log still keeps all that `read` wants: what lies below its start is for the log to tell.
fn is_kept(log: &dyn Log, read: &Read) -> bool {
    let Ok(bounds) = log.bounds(&read.topic) else { return false };
    let is_there =
        |partition: u32, from| bounds.earliest.get(partition as usize).is_some_and(|start| from >= *start);
    bounds.epoch == read.epoch && read.spans.iter().all(|span| is_there(span.partition, span.from))
}

/// About what an entry holds once it is encoded: the record, its JSON and one frame.
fn weight(entry: &Entry) -> usize {
    size_of::<Entry>() + 3 * entry.size() + 320
}
