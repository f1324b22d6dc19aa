//! The generation of each topic that stands upstream, as it was decided: what makes positions of before a loss void on
//! every node.

use super::decision::Decision;
use super::{Decisions, Outcome};
use crate::mirror::{Epochs, epoch_of};
use crate::topic::{Epoch, TopicName};
use crate::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Epochs by decided generations. The topic of decisions itself is of generation 0, because it is read to know of any
/// other; when this node finds that it lost records, then of the next, which no other node has to know: no position in
/// that topic is given out.
///
/// ```text
/// Generations::new ─▶ MirroredLog::new ─▶ its Runner runs ─▶ Decisions::open ─▶ learn ─▶ topics can be opened
/// ```
#[derive(Debug)]
pub struct Generations {
    own: TopicName,
    own_losses: AtomicU64,
    decisions: OnceLock<Decisions>,
}

impl Generations {
    /// Knows of no topic yet but the one of decisions.
    pub fn new(decisions_topic: TopicName) -> Generations {
        Generations { own: decisions_topic, own_losses: AtomicU64::new(0), decisions: OnceLock::new() }
    }

    /// From now on all epochs are known. Only the first call counts.
    pub fn learn(&self, decisions: Decisions) {
        // A second one would be of the same topic, and know the same.
        let _ = self.decisions.set(decisions);
    }

    fn decisions(&self) -> Result<&Decisions> {
        let unread = || {
            let message = "what the cluster decided is not read yet";
            Error::new(ErrorKind::Unavailable, "decisions_unread", message)
        };
        self.decisions.get().ok_or_else(unread)
    }

    async fn next(&self, topic: &TopicName, id: u128, partitions: u32, of: Epoch) -> Result<()> {
        if *topic == self.own {
            // What was decided and is lost is not decided any more. Whoever reads it begins anew with the epoch.
            let losses = self.own_losses.load(Ordering::Acquire);
            if epoch_of(id, partitions, losses) == of {
                self.own_losses.store(losses + 1, Ordering::Release);
            }
            return Ok(());
        }
        let decisions = self.decisions()?;
        let from = decisions.state().generation(topic, id);
        if epoch_of(id, partitions, from) != of {
            return Ok(());
        }
        let decision = Decision::Generation { topic: topic.clone(), topic_id: id, from };
        match decisions.propose(decision).await? {
            Outcome::Decided { .. } => {
                tracing::warn!(%topic, generation = from + 1, "the topic lost records that were read: positions of before are void");
                Ok(())
            }
            Outcome::AlreadyDecided => Ok(()),
            Outcome::Refused(refusal) => {
                let message = format!("the next generation of '{topic}' was refused: {refusal:?}");
                Err(Error::new(ErrorKind::Conflict, "decision_refused", message))
            }
        }
    }
}

impl Epochs for Generations {
    fn epoch(&self, topic: &TopicName, id: u128, partitions: u32) -> Result<Epoch> {
        let generation = match *topic == self.own {
            true => self.own_losses.load(Ordering::Acquire),
            false => self.decisions()?.state().generation(topic, id),
        };
        Ok(epoch_of(id, partitions, generation))
    }

    fn truncated<'a>(
        &'a self,
        topic: &'a TopicName,
        id: u128,
        partitions: u32,
        of: Epoch,
    ) -> BoxFuture<'a, Result<()>> {
        self.next(topic, id, partitions, of).boxed()
    }
}
