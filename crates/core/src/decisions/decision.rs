//! What a cluster decides, and why a proposal may be refused.

use super::Disconnect;
use crate::topic::TopicName;

/// What can be proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Records of a topic that were read are not there any more: the generation after `from` begins. Valid iff `from` is
    /// the present one, so that of all who find the loss at once, one is right and all see one new generation.
    Generation {
        /// The topic.
        topic: TopicName,
        /// Its identity upstream: a topic of that name that was created again has another, and begins at 0.
        topic_id: u128,
        /// The generation in which the loss was found; 0 before the first.
        from: u64,
    },
    /// A client is to be disconnected by the node that has it. Always valid: it is done by whoever reads it, and nothing
    /// of it is kept.
    Disconnect(Disconnect),
}

/// Why a record that was understood decided nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Another generation than `from` is present.
    NotPresent {
        /// The present one.
        present: u64,
    },
    /// As many topics have a generation as there may be ([`GENERATIONS_MAX`](super::GENERATIONS_MAX)).
    Full,
    /// A snapshot that says the state at another offset than its own: a record came in between.
    NotItsOffset,
}

/// Names a proposal, so that its record is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId(pub u128);
