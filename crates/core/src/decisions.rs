//! What a cluster decides, made as records of one topic: no election, no other service, nothing that trusts the bus.
//!
//! ```text
//!  propose ── append ──▶ __dualstream (one partition) ──▶ every node reads on ─▶ State ─▶ acts
//!     ▲                                                          │
//!     └────────────── what became of the proposal ◀──────────────┘
//! ```
//! A proposal is appended and read back; the first valid one in log order wins, and everyone acts on reading. So two
//! nodes that propose the same or the contrary at once need not know of each other: all that read as far hold the same
//! [`State`], and an append whose outcome is unknown is decided or not like any other. A snapshot record now and then
//! lets a new reader begin near the end.
//!
//! Some decisions stay, as part of the state; others are orders, which each node carries out when it reads them and which
//! are kept nowhere: whoever comes later has nothing to do with them.
//!
//! What it is not: a lock service (nobody is told that he lost it), or a place for what changes often.

mod codec;
mod counters;
mod decision;
mod disconnect;
mod follower;
mod generations;
mod orders;
mod proposals;
mod reader;
mod settings;
mod state;

pub use counters::Counters;
pub use decision::{Decision, ProposalId, Refusal};
pub use disconnect::{CODES, Disconnect, REASON_BYTES_MAX};
pub use follower::Runner;
pub use generations::Generations;
pub use settings::Settings;
pub use state::{Applied, GENERATIONS_MAX, State, Verdict};

use crate::bus::Health;
use crate::clock::{Clock, Entropy};
use crate::log::{Appended, Commit, Log, Part};
use crate::record::NewRecord;
use crate::topic::TopicName;
use crate::topics::Topics;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use orders::Orders;
use proposals::{Answer, Proposals};
use reader::Reader;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// The internal topic (one partition, kept for ever but for what a snapshot says) in which is decided.
pub const DECISIONS_TOPIC: &str = "__dualstream";

/// The decisions of a cluster, as this node knows them. Cheap to clone.
#[derive(Clone)]
pub struct Decisions {
    shared: Arc<Shared>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its record decided.
    Decided {
        /// Where it stands.
        offset: u64,
    },
    /// Another record had decided the same before.
    AlreadyDecided,
    /// It is not valid, and was not when its record was read.
    Refused(Refusal),
}

struct Shared {
    settings: Settings,
    log: Arc<dyn Log>,
    topics: Arc<dyn Topics>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    counters: Arc<Counters>,
    proposals: Proposals,
    orders: Orders,
    health: Mutex<Health>,
    states: watch::Sender<Arc<State>>,
}

impl Decisions {
    /// Reads all that is decided; creates the topic where there is none. Nothing is read on, and no proposal answered,
    /// while the [`Runner`] does not run. Over a mirror `topics` are those that make it known to the log.
    ///
    /// # Errors
    /// `decisions_topic_unfit` when the topic has several partitions or is compacted; what the log fails with.
    pub async fn open(
        settings: Settings,
        log: Arc<dyn Log>,
        topics: Arc<dyn Topics>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(Decisions, Runner)> {
        let counters = Arc::new(Counters::default());
        let reader = Reader::open(&settings, &log, &*topics, &counters).await?;
        let (states, _) = watch::channel(Arc::new(reader.state().clone()));
        let (proposals, orders) = (Proposals::default(), Orders::new(counters.clone()));
        let health = Mutex::new(Health::Up);
        let shared =
            Shared { settings, log, topics, clock, entropy, counters, proposals, orders, health, states };
        let shared = Arc::new(shared);
        Ok((Decisions { shared: shared.clone() }, Runner::new(shared, reader)))
    }

    /// What is decided by all that was read. Never goes back, unless the topic itself does.
    pub fn state(&self) -> Arc<State> {
        self.shared.states.borrow().clone()
    }

    /// The state after `seen`: waits while that is what is known. Cancel-safe.
    pub async fn changed(&self, seen: &Arc<State>) -> Arc<State> {
        let mut states = self.shared.states.subscribe();
        let changed = states.wait_for(|state| !Arc::ptr_eq(state, seen)).await;
        changed.expect("this handle holds the sender").clone()
    }

    /// Proposes, and waits for what became of it: then [`state`](Decisions::state) shows it. Dropping the future leaves
    /// the outcome open.
    ///
    /// # Errors
    /// `decision_unknown`: not read back in time; it may be decided yet, and to propose it again is safe.
    /// `too_many_proposals`, `decisions_closed`, and what the log refuses with: nothing was proposed.
    pub async fn propose(&self, decision: Decision) -> Result<Outcome> {
        let shared = &*self.shared;
        let deadline = Instant::now() + shared.settings.answer_max;
        let id = shared.fresh_id();
        let answer = shared.proposals.begin(id)?;
        if let Proposed::Before = shared.append_in_time(id, &decision, deadline).await? {
            return Ok(Outcome::AlreadyDecided);
        }
        tokio::select! {
            biased;
            outcome = self.answered(&decision, answer) => outcome,
            () = tokio::time::sleep_until(deadline) => Err(unknown()),
        }
    }

    /// The next order to disconnect that was read since [`open`](Decisions::open), in the order of the log, now and then
    /// one twice. For one who follows them all: each is given once. Cancel-safe.
    pub async fn ordered(&self) -> Disconnect {
        self.shared.orders.next().await
    }

    /// Whether what is decided can be read now.
    pub fn health(&self) -> Health {
        self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    async fn answered(&self, decision: &Decision, mut answer: Answer<'_>) -> Result<Outcome> {
        let mut seen = self.state();
        loop {
            tokio::select! {
                biased;
                outcome = answer.wait() => return Ok(match outcome? {
                    Outcome::Refused(_) if self.state().has(decision) => Outcome::AlreadyDecided,
                    outcome => outcome,
                }),
                state = self.changed(&seen) => seen = state,
            }
            // Its own record would have been answered in the same step.
            if seen.has(decision) && !answer.is_there() {
                return Ok(Outcome::AlreadyDecided);
            }
        }
    }
}

/// What the append of a proposal came to.
enum Proposed {
    /// It stands in the log, or may.
    Perhaps,
    /// It does not, and need not: another had decided the same before.
    Before,
}

impl Shared {
    /// Appends, again while the log is away.
    async fn append_in_time(
        &self,
        id: ProposalId,
        decision: &Decision,
        deadline: Instant,
    ) -> Result<Proposed> {
        loop {
            if self.states.borrow().has(decision) {
                return Ok(Proposed::Before);
            }
            let value = codec::proposal(id, self.clock.now_ms(), decision);
            match tokio::time::timeout_at(deadline, self.append(value)).await {
                Ok(Ok(_)) | Err(_) => return Ok(Proposed::Perhaps),
                Ok(Err(error)) => match error.kind() {
                    ErrorKind::Unknown => return Ok(Proposed::Perhaps),
                    ErrorKind::Unavailable | ErrorKind::Overloaded
                        if Instant::now() + self.settings.retry < deadline =>
                    {
                        self.counters.errors.fetch_add(1, Relaxed);
                        tokio::time::sleep(self.settings.retry).await;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    async fn append(&self, value: Bytes) -> Result<u64> {
        let record = NewRecord { value: Some(value), ..NewRecord::default() };
        let part = Part { topic: self.settings.topic.clone(), partition: 0, records: vec![record] };
        let committed = self.log.commit(Commit { parts: vec![part], guard: None }).await?;
        let appended = committed.parts.into_iter().flat_map(|part| part.records).next();
        match appended {
            Some(Appended::Stored(offset)) => Ok(offset),
            Some(Appended::Failed(error)) => Err(error),
            Some(Appended::Duplicate { offset, .. } | Appended::Conflict { offset, .. }) => Ok(offset),
            None => Err(unknown()),
        }
    }

    fn fresh_id(&self) -> ProposalId {
        let (high, low) = (self.entropy.next_u64(), self.entropy.next_u64());
        ProposalId(u128::from(high) << 64 | u128::from(low))
    }

    /// Notes whether the topic could be read; says so once for each change.
    fn note_health(&self, error: Option<&Error>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = &self.settings.topic;
        match error {
            _ if !health.note(error, &*self.clock) => {}
            None => tracing::info!(%topic, "what the nodes decide can be read again"),
            Some(error) => {
                tracing::warn!(%topic, code = error.code(), "what the nodes decide cannot be read: {error}");
            }
        }
    }

    /// Shows a state and answers those whose records it has, in one step.
    fn publish(&self, state: &State, outcomes: Vec<(ProposalId, Outcome)>) {
        self.states.send_modify(|current| {
            *current = Arc::new(state.clone());
            self.proposals.answer(outcomes);
        });
    }
}

fn unknown() -> Error {
    let message = "the proposal was not read back in time: it may be decided yet";
    Error::new(ErrorKind::Unknown, "decision_unknown", message)
}

/// The topic's name.
fn topic_name() -> TopicName {
    TopicName::new(DECISIONS_TOPIC).expect("it is a legal name")
}

impl std::fmt::Debug for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decisions").field("next", &self.state().next()).finish_non_exhaustive()
    }
}
