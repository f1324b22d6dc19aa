//! Follows the topic of decisions for ever: reads on, shows what is decided, answers who proposed, and writes a snapshot
//! when one is due.

use super::decision::ProposalId;
use super::reader::{Judged, Reader};
use super::state::{State, Verdict};
use super::{Outcome, Shared, codec};
use crate::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of a snapshot: one record of any log takes them.
const SNAPSHOT_BYTES_MAX: usize = 900 << 10;
/// After a snapshot that came too late, the next is tried so much later: this part of the way between two, and at least so
/// many offsets, or those that came too late would be the reason for more.
const AGAIN_PART: u64 = 100;
const AGAIN_MIN: u64 = 4;

/// Keeps [`Decisions`](super::Decisions) up to date, and answers proposals.
pub struct Runner {
    shared: Arc<Shared>,
    /// `None` when all is to be read anew.
    reader: Option<Reader>,
    snapshots: Snapshots,
}

/// The snapshots of this node.
#[derive(Default)]
struct Snapshots {
    /// The one that was appended last.
    own: Option<ProposalId>,
    /// No other before this offset.
    not_before: u64,
    /// What is written or trimmed now.
    chore: Option<BoxFuture<'static, Result<()>>>,
}

impl Runner {
    pub(super) fn new(shared: Arc<Shared>, reader: Reader) -> Runner {
        Runner { shared, reader: Some(reader), snapshots: Snapshots::default() }
    }

    /// Follows until `shutdown` resolves. From then on proposals are `decisions_closed`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            if let Err(error) = self.turn().await {
                self.shared.note_health(Some(&error));
                self.note(&error);
                tokio::time::sleep(self.shared.settings.retry).await;
            }
        }
    }

    async fn turn(&mut self) -> Result<()> {
        let Some(reader) = &mut self.reader else { return self.begin_anew().await };
        self.snapshots.begin_if_due(&self.shared, reader.state());
        tokio::select! {
            biased;
            () = self.snapshots.step(&self.shared) => {}
            judged = next(reader, &self.shared) => self.take(judged?),
        }
        Ok(())
    }

    fn take(&mut self, mut judged: Vec<Judged>) {
        let Some(reader) = &self.reader else { return };
        // Before who proposed it hears of it.
        self.shared.orders.push(judged.iter_mut().filter_map(|judged| judged.order.take()));
        self.shared.publish(reader.state(), judged.iter().filter_map(outcome).collect());
        self.snapshots.read_back(&self.shared, &judged);
    }

    /// Nothing is shown before all is read: meanwhile what was known counts.
    async fn begin_anew(&mut self) -> Result<()> {
        let Shared { settings, log, topics, counters, proposals, orders, .. } = &*self.shared;
        let (mut reader, end) = Reader::begin(settings, log, &**topics, counters).await?;
        self.shared.note_overtaken(reader.state().next());
        let mut outcomes = Vec::new();
        let wanted = |judged: &Judged| proposals.is_waiting(judged.id);
        let judge = |mut judged: Judged| {
            // Some were told before: a connection that is gone is not closed again.
            orders.push(judged.order.take());
            outcomes.extend(outcome(&judged).filter(|_| wanted(&judged)));
        };
        reader.catch_up(end, judge).await?;
        self.shared.note_health(None);
        self.shared.publish(reader.state(), outcomes);
        self.snapshots = Snapshots::default();
        self.reader = Some(reader);
        Ok(())
    }

    fn restart(&mut self, why: &str) {
        self.shared.counters.restarts.fetch_add(1, Relaxed);
        tracing::error!(topic = %self.shared.settings.topic, "the topic of decisions is read anew, and only what it says now counts: {why}");
        self.reader = None;
    }

    fn note(&mut self, error: &Error) {
        self.shared.counters.errors.fetch_add(1, Relaxed);
        match (error.kind(), error.code()) {
            // A snapshot says what went.
            (ErrorKind::Gone, "position_unrecoverable") => self.reader = None,
            (ErrorKind::Gone | ErrorKind::NotFound | ErrorKind::Invalid, _) if self.reader.is_some() => {
                self.restart(error.message());
            }
            _ => {}
        }
    }
}

impl Shared {
    /// What was decided by records that went before they were read is said by the snapshot; what was ordered is not.
    fn note_overtaken(&self, next: u64) {
        let seen = self.states.borrow().next();
        if next > seen {
            self.counters.gaps.fetch_add(1, Relaxed);
            tracing::warn!(topic = %self.settings.topic, seen, next, "records were trimmed before this node read them: an order to disconnect among them is not carried out here");
        }
    }
}

/// The next page that has something.
async fn next(reader: &mut Reader, shared: &Shared) -> Result<Vec<Judged>> {
    let before = reader.state().next();
    let mut is_new = true;
    loop {
        let judged = reader.page().await?;
        shared.note_health(None);
        if reader.state().next() > before {
            return Ok(judged);
        }
        if !is_new {
            // It grew, and yet there is nothing to read: what is new is not visible yet.
            tokio::time::sleep(shared.settings.retry).await;
        }
        is_new = false;
        reader.grown().await;
    }
}

fn outcome(judged: &Judged) -> Option<(ProposalId, Outcome)> {
    let outcome = match judged.verdict {
        Verdict::Decided => Outcome::Decided { offset: judged.offset },
        Verdict::Refused(refusal) => Outcome::Refused(refusal),
        _ => return None,
    };
    Some((judged.id, outcome))
}

impl Snapshots {
    /// Goes on with what is to be done. Cancel-safe.
    async fn step(&mut self, shared: &Shared) {
        let Some(chore) = &mut self.chore else { return std::future::pending().await };
        let done = chore.await;
        self.chore = None;
        if let Err(error) = done {
            shared.counters.errors.fetch_add(1, Relaxed);
            tracing::debug!(code = error.code(), "no snapshot of decisions, or no trim: {error}");
        }
    }

    /// What lies before the snapshot before an own one that counts is not needed any more. That one stays, should the
    /// new one be damaged.
    fn read_back(&mut self, shared: &Arc<Shared>, judged: &[Judged]) {
        let own = judged.iter().find(|judged| Some(judged.id) == self.own);
        if let Some(Judged { verdict: Verdict::Snapshot { before: Some(before), .. }, .. }) = own {
            let (shared, below) = (shared.clone(), *before);
            let trim = async move { shared.topics.trim(shared.settings.topic.clone(), vec![below]).await };
            self.chore = Some(trim.boxed());
        }
    }

    fn begin_if_due(&mut self, shared: &Arc<Shared>, state: &State) {
        let every = shared.settings.snapshot_every;
        let is_due = state.wants_snapshot(every) && state.next() >= self.not_before;
        if self.chore.is_some() || !is_due {
            return;
        }
        self.not_before = state.next() + (every / AGAIN_PART).max(AGAIN_MIN);
        let id = shared.fresh_id();
        let value = codec::snapshot(id, shared.clock.now_ms(), state);
        if value.len() > SNAPSHOT_BYTES_MAX {
            tracing::warn!(bytes = value.len(), "what is decided does not fit into a snapshot");
            return;
        }
        self.own = Some(id);
        let shared = shared.clone();
        self.chore = Some(async move { shared.append(value).await.map(drop) }.boxed());
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.shared.proposals.close();
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}
