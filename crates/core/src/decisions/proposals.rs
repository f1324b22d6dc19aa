//! Who waits for what became of a proposal of this node.

use super::decision::ProposalId;
use super::{Outcome, unknown};
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Most proposals of a node that wait at once.
const WAITING_MAX: usize = 1_024;

/// The proposals that wait.
#[derive(Default)]
pub(super) struct Proposals {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    is_closed: bool,
    by_id: BTreeMap<ProposalId, oneshot::Sender<Outcome>>,
}

impl Proposals {
    /// Begins to wait for a proposal.
    pub fn begin(&self, id: ProposalId) -> Result<Answer<'_>> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            let message = "the server shuts down and proposes nothing any more";
            return Err(Error::new(ErrorKind::Closed, "decisions_closed", message));
        }
        if waiting.by_id.len() >= WAITING_MAX {
            let message = format!("{WAITING_MAX} proposals wait for the log already");
            return Err(Error::new(ErrorKind::Overloaded, "too_many_proposals", message)
                .with_limit(WAITING_MAX as u64));
        }
        let (sender, outcome) = oneshot::channel();
        waiting.by_id.insert(id, sender);
        Ok(Answer { proposals: self, id, outcome })
    }

    pub fn is_waiting(&self, id: ProposalId) -> bool {
        self.lock().by_id.contains_key(&id)
    }

    pub fn answer(&self, outcomes: Vec<(ProposalId, Outcome)>) {
        let mut waiting = self.lock();
        for (id, outcome) in outcomes {
            if let Some(sender) = waiting.by_id.remove(&id) {
                // Who gave up meanwhile is not told.
                let _ = sender.send(outcome);
            }
        }
    }

    /// Nobody is answered any more.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.by_id.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one who waits.
pub(super) struct Answer<'a> {
    proposals: &'a Proposals,
    id: ProposalId,
    outcome: oneshot::Receiver<Outcome>,
}

impl Answer<'_> {
    /// What became of it. Cancel-safe; not to be called again after it resolved.
    pub async fn wait(&mut self) -> Result<Outcome> {
        (&mut self.outcome).await.map_err(|_| unknown())
    }

    /// Whether it is known by now.
    pub fn is_there(&self) -> bool {
        !self.proposals.is_waiting(self.id)
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.proposals.lock().by_id.remove(&self.id);
    }
}
